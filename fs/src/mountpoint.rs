//! What is at a mountpoint: a directory to mount on, or a mount of which kind.
//!
//! Owns the reading of the kernel's mount table, and takes away what a killed process of ours left there.
//! Knows nothing of sessions.

use crate::FsError;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

const MOUNT_TABLE: &str = "/proc/self/mountinfo";
/// Our mounts' type in that table.
const KIND: &str = "fuse.holdall";
/// Dead mounts on one path that are taken away, one under the other.
const DEAD_MAX: usize = 16;

/// One mount of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// `major:minor` of what is mounted, as sysfs names it too.
    pub(crate) device: String,
    pub(crate) mountpoint: PathBuf,
    /// The file system's type: `ext4`, `fuse.holdall`.
    pub(crate) kind: String,
}

/// The topmost mount at that very path; `None` where nothing is mounted there.
pub(crate) fn mounted_at(path: &Path) -> io::Result<Option<MountEntry>> {
    Ok(topmost(&std::fs::read(MOUNT_TABLE)?, path))
}

fn topmost(table: &[u8], path: &Path) -> Option<MountEntry> {
    // Later mounts come later in the table, and cover earlier ones.
    table
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .rfind(|entry| entry.mountpoint == path)
}

/// A line of the table: `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = fields.nth(2)?;
    let mountpoint = fields.nth(1)?;
    // Between the options and the type lies any number of fields, ended by a dash.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mountpoint = PathBuf::from(std::ffi::OsString::from_vec(unescape(mountpoint)));
    Some(MountEntry {
        device: text(device),
        mountpoint,
        kind: text(kind),
    })
}

/// Undoes the table's `\040` for what would break a line apart.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

/// Checks that `path` is an empty directory without a FUSE mount, and gives its absolute path. A mount of
/// ours whose process is dead is taken away first: nobody will ever answer for it again. Lazily, as
/// whoever still holds a file of it gets nothing but ENOTCONN either way.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, FsError> {
    for _ in 0..DEAD_MAX {
        match check(path) {
            Err(FsError::DeadMount { mountpoint }) if take_away(path) => drop(mountpoint),
            other => return other,
        }
    }
    check(path)
}

/// Takes a dead mount of ours away; false where there is none, or it may not be.
fn take_away(path: &Path) -> bool {
    // The mountpoint itself does not answer; its parent does.
    let absolute = path.file_name().and_then(|name| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(parent.join(name))
    });
    let Some(absolute) = absolute else { return false };
    let ours = mounted_at(&absolute).is_ok_and(|at| at.is_some_and(|at| at.kind == KIND));
    ours && match umount2(&absolute, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => true,
        Err(Errno::EPERM) => {
            crate::mount::fusermount(&absolute, true).is_ok_and(|said| said.status.success())
        }
        Err(_) => false,
    }
}

/// Checks that `path` is an empty directory without a FUSE mount, and gives its absolute path.
fn check(path: &Path) -> Result<PathBuf, FsError> {
    let mountpoint = || path.to_owned();
    let by_error = |source: io::Error| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOTCONN) => FsError::DeadMount {
            mountpoint: mountpoint(),
        },
        Some(Errno::ENOENT) => FsError::MountpointMissing {
            mountpoint: mountpoint(),
        },
        Some(Errno::ENOTDIR) => FsError::MountpointNotDirectory {
            mountpoint: mountpoint(),
        },
        _ => FsError::Mountpoint {
            mountpoint: mountpoint(),
            source,
        },
    };
    let absolute = path.canonicalize().map_err(by_error)?;
    // Asked of the table and not of the directory: a dead mount goes on answering stat from the
    // kernel's cache. statfs is never cached.
    if let Some(there) = mounted_at(&absolute)
        .map_err(by_error)?
        .filter(|entry| entry.kind.starts_with("fuse"))
    {
        return Err(match nix::sys::statvfs::statvfs(&absolute) {
            Err(Errno::ENOTCONN | Errno::ECONNABORTED) => FsError::DeadMount {
                mountpoint: mountpoint(),
            },
            _ => FsError::AlreadyMounted {
                mountpoint: mountpoint(),
                kind: there.kind,
            },
        });
    }
    if !absolute.metadata().map_err(by_error)?.is_dir() {
        return Err(FsError::MountpointNotDirectory {
            mountpoint: mountpoint(),
        });
    }
    if absolute
        .read_dir()
        .map_err(by_error)?
        .next()
        .transpose()
        .map_err(by_error)?
        .is_some()
    {
        return Err(FsError::MountpointNotEmpty {
            mountpoint: mountpoint(),
        });
    }
    // The kernel and fusermount3 take C strings.
    if absolute.as_os_str().as_bytes().contains(&0) {
        return Err(FsError::MountpointMissing {
            mountpoint: mountpoint(),
        });
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
        36 1 98:0 /a /mnt/a\\040b\\134 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
        40 1 0:51 / /mnt/x rw - tmpfs none rw\n\
        41 40 0:52 / /mnt/x ro,nosuid,nodev - fuse.holdall holdall ro,user_id=0\n";

    #[test]
    fn the_topmost_mount_of_a_path_is_found() {
        let at = |path: &str| topmost(TABLE, Path::new(path)).map(|entry| (entry.device, entry.kind));
        assert_eq!(at("/mnt/x"), Some(("0:52".into(), "fuse.holdall".into())));
        assert_eq!(at("/mnt/a b\\"), Some(("98:0".into(), "ext3".into())));
        assert_eq!(at("/proc"), Some(("0:20".into(), "proc".into())));
        assert_eq!(at("/mnt"), None);
    }

    #[test]
    fn only_an_empty_directory_is_a_mountpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(matches!(
            check(&path("none")),
            Err(FsError::MountpointMissing { .. })
        ));
        std::fs::File::create(path("file")).unwrap();
        assert!(matches!(
            check(&path("file")),
            Err(FsError::MountpointNotDirectory { .. })
        ));
        assert!(matches!(
            check(&path("file/x")),
            Err(FsError::MountpointNotDirectory { .. })
        ));
        assert!(matches!(
            check(folder.path()),
            Err(FsError::MountpointNotEmpty { .. })
        ));
        std::fs::create_dir(path("dir")).unwrap();
        assert_eq!(
            check(&path("dir/../dir")).unwrap(),
            path("dir").canonicalize().unwrap()
        );
    }
}
