//! A folder that is read beneath only: no path leads out of it, no symbolic link is followed.

use super::{Files, OpenFile};
use crate::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, open, openat2, posix_fadvise};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bytes that one read asks the operating system for.
const READ_BYTES: usize = 1 << 20;

/// An opened folder.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    place: String,
}

impl Folder {
    /// Opens a folder; the path to it may have links, what is in it may not.
    pub fn open(path: &Path, place: &str) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty()).map_err(|errno| Error::io(place, errno.into()))?;
        Ok(Self {
            root,
            place: place.to_owned(),
        })
    }
}

impl Files for Folder {
    fn open(&self, path: &str) -> Result<Option<OpenFile>> {
        let place = || format!("{}: {path}", self.place);
        // Without blocking, as a fifo's opening would wait for a writer that never comes.
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        let file = match openat2(&self.root, path, how) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::ELOOP | Errno::EXDEV) => return Err(Error::Link { place: place() }),
            Err(errno) => return Err(Error::io(place(), errno.into())),
        };
        let metadata = file.metadata().map_err(|err| Error::io(place(), err))?;
        if !metadata.is_file() {
            return Err(Error::malformed(place(), "not a regular file"));
        }
        // Only advice: where the file system takes none, reading works all the same.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        let len = metadata.len();
        Ok(Some(OpenFile {
            reader: Box::new(BufReader::with_capacity(READ_BYTES.min(buffer_for(len)), file)),
            len,
        }))
    }
}

/// Small files need no large buffer.
fn buffer_for(len: u64) -> usize {
    holdall::units::index64(len).max(4096)
}
