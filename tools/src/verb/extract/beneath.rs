//! A folder of the host that is written beneath only: everything is made new, no link is followed.

use crate::exit::ToolError;
use holdall::reader::{BlobReader, Metadata};
use holdall::units::len64;
use nix::NixPath;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, geteuid, symlinkat};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes asked for at once.
const PIECE: usize = 1 << 20;
/// Read and written by the owner alone until the metadata is set.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An opened folder, and its path for messages.
#[derive(Debug)]
pub struct Beneath {
    fd: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// A folder that is made, or is there and empty.
    pub fn empty(path: &Path) -> Result<Self, ToolError> {
        let failed = |e| ToolError::io(path.display(), e);
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
                    let why = "not empty; nothing is written over, so name a new folder";
                    return Err(ToolError::Refused(format!("{}: {why}", path.display())));
                }
            }
            Err(e) => return Err(failed(e)),
        }
        Self::existing(path)
    }

    /// A folder that is there.
    pub fn existing(path: &Path) -> Result<Self, ToolError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|e| ToolError::io(path.display(), e.into()))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    fn failed(&self, name: &(impl NixPath + ?Sized)) -> impl Fn(nix::Error) -> ToolError {
        let name = name.with_nix_path(|name| String::from_utf8_lossy(name.to_bytes()).into_owned());
        let place = self.path.join(name.unwrap_or_default()).display().to_string();
        move |e| match e {
            nix::Error::EEXIST => ToolError::Refused(format!(
                "{place}: it is there already, and nothing is written over"
            )),
            e => ToolError::io(&place, e.into()),
        }
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &[u8]) -> Result<Self, ToolError> {
        let failed = self.failed(name);
        mkdirat(&self.fd, name, Mode::S_IRWXU).map_err(&failed)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(&failed)?;
        let path = self.path.join(String::from_utf8_lossy(name).as_ref());
        Ok(Self { fd, path })
    }

    /// Makes a file in it, readable by its owner alone.
    fn create(&self, name: &[u8]) -> Result<File, ToolError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(
            openat(&self.fd, name, flags, PRIVATE).map_err(self.failed(name))?,
        ))
    }

    /// Makes a file of those bytes in it, readable by all.
    pub fn small_file(&self, name: &[u8], bytes: &[u8]) -> Result<(), ToolError> {
        let mut file = self.create(name)?;
        file.write_all(bytes).map_err(|e| self.failed(name)(errno(&e)))?;
        self.finish_blob(name, &file)
    }

    /// Lets all read a file of it.
    pub fn finish_blob(&self, name: &[u8], file: &File) -> Result<(), ToolError> {
        fchmod(file.as_fd(), Mode::from_bits_truncate(0o644)).map_err(self.failed(name))
    }

    /// Lets all look into the folder.
    pub fn open_to_all(&self) -> Result<(), ToolError> {
        let mode = Mode::from_bits_truncate(0o755);
        fchmod(&self.fd, mode).map_err(|e| ToolError::io(self.path.display(), e.into()))
    }

    /// Makes a file of a blob's checked bytes in it; runs of zeros become holes.
    pub fn file(&self, name: &[u8], reader: &BlobReader) -> Result<File, ToolError> {
        let mut file = self.create(name)?;
        let failed = |e: std::io::Error| self.failed(name)(errno(&e));
        // Pieces are named by lists only; what lies in an entry itself is small and has no holes.
        let mut holes = reader
            .pieces(0)
            .filter(|piece| piece.as_ref().map_or(true, holdall::reader::Piece::is_zeros));
        let mut hole = holes.next().transpose().map_err(ToolError::Disk)?;
        let mut at = 0;
        while at < reader.size() {
            if let Some(zeros) = hole.filter(|zeros| zeros.start <= at) {
                at = zeros.end;
                file.seek(SeekFrom::Start(at)).map_err(failed)?;
                hole = holes.next().transpose().map_err(ToolError::Disk)?;
                continue;
            }
            let slice = reader.slice_at(at, PIECE).map_err(ToolError::Disk)?;
            if slice.is_empty() {
                break;
            }
            reader.read_ahead(at);
            file.write_all(&slice).map_err(failed)?;
            at += len64(slice.len());
        }
        file.set_len(reader.size()).map_err(failed)?;
        Ok(file)
    }

    /// Makes a link in it.
    pub fn link(&self, name: &[u8], target: &[u8], metadata: &Metadata) -> Result<(), ToolError> {
        let failed = self.failed(name);
        symlinkat(target, &self.fd, name).map_err(&failed)?;
        if geteuid().is_root() {
            let (uid, gid) = owners(metadata);
            fchownat(&self.fd, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(&failed)?;
        }
        let time = time(metadata);
        utimensat(&self.fd, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(&failed)
    }

    /// Sets owner, permissions and time of the folder itself, once all is in it.
    pub fn finish(&self, metadata: &Metadata) -> Result<(), ToolError> {
        set(&self.fd, metadata, 0o7777).map_err(|e| ToolError::io(self.path.display(), e.into()))
    }

    /// Sets owner, permissions and time of a file in it; false where setuid or setgid was left out: what
    /// came on a disk must not become another user's rights here.
    pub fn finish_file(&self, name: &[u8], file: &File, metadata: &Metadata) -> Result<bool, ToolError> {
        set(file.as_fd(), metadata, 0o1777).map_err(self.failed(name))?;
        Ok(metadata.mode & 0o6000 == 0)
    }
}

/// In this order: changing the owner takes permission bits away, and either would change nothing of times.
fn set(fd: impl AsFd, metadata: &Metadata, mask: u32) -> nix::Result<()> {
    if geteuid().is_root() {
        let (uid, gid) = owners(metadata);
        fchown(&fd, uid, gid)?;
    }
    fchmod(&fd, Mode::from_bits_truncate(u32::from(metadata.mode) & mask))?;
    let time = time(metadata);
    futimens(&fd, &time, &time)
}

fn owners(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(metadata.uid)),
        Some(Gid::from_raw(metadata.gid)),
    )
}

fn time(metadata: &Metadata) -> TimeSpec {
    TimeSpec::new(metadata.mtime_sec, i64::from(metadata.mtime_nsec))
}

fn errno(e: &std::io::Error) -> nix::Error {
    e.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw)
}
