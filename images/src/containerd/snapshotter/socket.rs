//! The unix socket that containerd calls us by.

use super::error::{Result, SnapshotError};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that is listened on, of mode 0660. Its file goes when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub struct SnapshotSocket {
    path: PathBuf,
    listener: UnixListener,
    inode: u64,
}

impl SnapshotSocket {
    /// Listens at `path`, whose folder must be there. The socket that a dead process left is replaced; one that answers, and
    /// whatever is no socket, is refused.
    #[expect(
        clippy::disallowed_methods,
        reason = "the socket's own file, which no store knows"
    )]
    pub fn bind(path: &Path) -> Result<Self> {
        let failed = |err| SnapshotError::io(path, err);
        match std::fs::symlink_metadata(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(failed(err)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SnapshotError::precondition(format!(
                    "{}: there is a file here that is no socket",
                    path.display()
                )));
            }
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => {
                    return Err(SnapshotError::precondition(format!(
                        "{}: another process listens here",
                        path.display()
                    )));
                }
                Err(err) if err.kind() == ErrorKind::ConnectionRefused => {}
                Err(err) => return Err(failed(err)),
            },
        }
        // Under another name until its mode is right: nobody connects in between.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        match std::fs::remove_file(&new) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(SnapshotError::io(&new, err)),
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(failed)?;
        let mode = Mode::from_bits_truncate(0o660);
        fchmodat(nix::fcntl::AT_FDCWD, &new, mode, FchmodatFlags::FollowSymlink)
            .map_err(|err| failed(err.into()))?;
        let inode = std::fs::symlink_metadata(&new).map_err(failed)?.ino();
        std::fs::rename(&new, path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            inode,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same socket, for tokio. To be called within a runtime.
    pub(super) fn listener(&self) -> Result<tokio::net::UnixListener> {
        self.listener
            .try_clone()
            .and_then(tokio::net::UnixListener::from_std)
            .map_err(|err| SnapshotError::io(&self.path, err))
    }
}

impl Drop for SnapshotSocket {
    #[expect(
        clippy::disallowed_methods,
        reason = "the socket's own file, which no store knows"
    )]
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _best_effort = std::fs::remove_file(&self.path);
        }
    }
}
