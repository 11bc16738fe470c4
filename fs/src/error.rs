//! What can go wrong with a mounted disk, and the one table to errno.
//!
//! Owns [`FsError`]. Knows no fuser type: the numbers are `nix`'s.

use crate::view::Kind;
use nix::errno::Errno;
use std::path::PathBuf;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The disk could not be read; the place is in the store's error.
    #[error(transparent)]
    Disk(#[from] holdall::Error),
    /// The kernel asked for an inode number that this generation does not have.
    #[error("inode {number}: no such inode in this generation")]
    NoSuchInode {
        /// The inode number.
        number: u64,
    },
    /// The inode is there, but what was asked makes no sense for its kind.
    #[error("inode {number} is a {found}, not a {wanted}")]
    WrongKind {
        /// The inode number.
        number: u64,
        /// What it is.
        found: Kind,
        /// What it would have to be.
        wanted: Kind,
    },
    /// A file's content ended before the size that its entry promises.
    #[error("inode {number}: content ends at byte {end}, before its size of {size} bytes")]
    CutShort {
        /// The inode number.
        number: u64,
        /// Bytes from the file's start that could be read.
        end: u64,
        /// Bytes that the file should have.
        size: u64,
    },
    /// There are more entries than inode numbers set aside for them.
    #[error("entry {position}: there are no inode numbers this high")]
    NumbersExhausted {
        /// Position of the blob in the catalogue, or of the file in its tree.
        position: u64,
    },
    /// A chain or layer has no EROFS image; it is not asked for twice.
    #[error("{name}: {why}")]
    NoImage {
        /// The chainID or diffID.
        name: String,
        /// What such an image cannot have.
        why: holdall::erofs::NoImage,
    },
    /// A fault in this program, caught before it could end the thread that answers.
    #[error("internal fault while answering {operation} (inode {number})")]
    Fault {
        /// The request.
        operation: &'static str,
        /// The inode number it was about.
        number: u64,
    },
    /// The mountpoint is not there.
    #[error("{mountpoint}: no such directory to mount on")]
    MountpointMissing {
        /// The path that was asked for.
        mountpoint: PathBuf,
    },
    /// The mountpoint is a file or something else.
    #[error("{mountpoint}: not a directory, so nothing can be mounted on it")]
    MountpointNotDirectory {
        /// The path that was asked for.
        mountpoint: PathBuf,
    },
    /// The mountpoint has entries, which a mount would hide.
    #[error("{mountpoint}: not empty; give an empty directory to mount on")]
    MountpointNotEmpty {
        /// The path that was asked for.
        mountpoint: PathBuf,
    },
    /// A FUSE file system is mounted there already and answers.
    #[error("{mountpoint}: {kind} is mounted here already")]
    AlreadyMounted {
        /// The path that was asked for.
        mountpoint: PathBuf,
        /// The file system's type, as in /proc/mounts.
        kind: String,
    },
    /// A FUSE file system is mounted there whose process is gone (ENOTCONN).
    #[error(
        "{mountpoint}: an earlier mount whose process has died is still here; remove it with: fusermount3 -u {mountpoint}"
    )]
    DeadMount {
        /// The path that was asked for.
        mountpoint: PathBuf,
    },
    /// The mountpoint could not be looked at.
    #[error("{mountpoint}: {source}")]
    Mountpoint {
        /// The path that was asked for.
        mountpoint: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The kernel has no FUSE, or this user may not open it.
    #[error(
        "/dev/fuse: {source}; mounting needs this device, readable and writable (as root: modprobe fuse)"
    )]
    NoFuse {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The mount itself was refused.
    #[error("{mountpoint}: cannot mount: {source}")]
    Mount {
        /// Where.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        source: std::io::Error,
    },
    /// Files or directories of the mount are in use.
    #[error("{mountpoint}: in use (fuser -vm {mountpoint} shows by whom); not unmounted")]
    Busy {
        /// Where.
        mountpoint: PathBuf,
    },
    /// Another file system was mounted over ours.
    #[error("{mountpoint}: something else was mounted over this disk; unmount that first")]
    Covered {
        /// Where.
        mountpoint: PathBuf,
    },
    /// Unmounting failed for another reason.
    #[error("{mountpoint}: cannot unmount: {source}")]
    Unmount {
        /// Where.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        source: std::io::Error,
    },
    /// The threads that answer ended although the disk is still mounted.
    #[error("{mountpoint}: the mount stopped answering")]
    Stopped {
        /// Where.
        mountpoint: PathBuf,
    },
}

impl FsError {
    /// The number that the kernel hands to the caller.
    ///
    /// ENOENT is among them only for images that are proved not to be there. What is
    /// missing or late on the medium is EIO, as tools take ENOENT for an answer and ETIMEDOUT for
    /// something to do with a network.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Disk(err) => of_store(err),
            Self::NoSuchInode { .. } => Errno::ESTALE,
            Self::WrongKind {
                wanted: Kind::Directory,
                ..
            } => Errno::ENOTDIR,
            Self::WrongKind {
                found: Kind::Directory,
                wanted: Kind::File,
                ..
            } => Errno::EISDIR,
            Self::WrongKind { .. } => Errno::EINVAL,
            Self::NoImage { .. } => Errno::ENOENT,
            Self::NumbersExhausted { .. } => Errno::EOVERFLOW,
            Self::Busy { .. } => Errno::EBUSY,
            _ => Errno::EIO,
        }
    }
}

/// The store's errors as errno.
fn of_store(err: &holdall::Error) -> Errno {
    use holdall::Error as E;
    match err.root_cause() {
        E::Unsupported { .. } => Errno::EOPNOTSUPP,
        E::Refused { .. } => Errno::EINVAL,
        E::Full { .. } => Errno::ENOSPC,
        E::Locked { .. } => Errno::EBUSY,
        // Damage, whatever its kind; and what a reader never meets.
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdall::Error as E;
    use std::sync::Arc;

    #[test]
    fn damage_is_always_eio() {
        let place = || "packs/000001.pack+4096".to_owned();
        let gone = || std::io::Error::from_raw_os_error(Errno::ENOENT as i32);
        for damage in [
            E::missing(place()),
            E::mismatch(place(), "frame"),
            E::malformed(place(), "too long"),
            E::io(place(), gone()),
            E::Io {
                place: place(),
                source: gone(),
            },
            E::Io {
                place: place(),
                source: std::io::Error::from_raw_os_error(Errno::ENODEV as i32),
            },
            E::Deadline {
                place: place(),
                seconds: 30,
            },
            E::Shared(Arc::new(E::Shared(Arc::new(E::missing(place()))))),
        ] {
            assert!(damage.is_damage());
            let err = FsError::from(damage);
            assert_eq!(err.errno(), Errno::EIO, "{err}");
        }
        assert_eq!(
            FsError::CutShort {
                number: 1,
                end: 2,
                size: 3
            }
            .errno(),
            Errno::EIO
        );
    }

    #[test]
    fn what_is_no_damage_keeps_its_own_number() {
        let unsupported = E::Unsupported {
            place: "ROOT".into(),
            what: "draft-9".into(),
        };
        assert_eq!(FsError::from(unsupported).errno(), Errno::EOPNOTSUPP);
        assert_eq!(FsError::NoSuchInode { number: 99 }.errno(), Errno::ESTALE);
        let wrong = |found, wanted| {
            FsError::WrongKind {
                number: 1,
                found,
                wanted,
            }
            .errno()
        };
        assert_eq!(wrong(Kind::File, Kind::Directory), Errno::ENOTDIR);
        assert_eq!(wrong(Kind::Directory, Kind::File), Errno::EISDIR);
        assert_eq!(wrong(Kind::File, Kind::Symlink), Errno::EINVAL);
    }
}
