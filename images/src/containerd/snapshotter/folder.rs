//! The node's own folders of snapshots: `snapshots/<number>/fs`, with `work` beside it where it is written.
//!
//! Knows no names and no records. What is removed here is below the state folder, and no link is followed.

use super::error::{Result, SnapshotError};
use super::record::{Kind, Usage};
use nix::unistd::{Gid, Uid, chown};
use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The folders of all snapshots of one state folder.
#[derive(Debug)]
pub(super) struct Folders {
    state: PathBuf,
    snapshots: PathBuf,
}

impl Folders {
    /// Makes `snapshots`, `chains` and `empty` in the state folder, where they are not there.
    pub fn open(state: &Path) -> Result<Self> {
        let folders = Self {
            state: state.to_owned(),
            snapshots: state.join("snapshots"),
        };
        make(state, 0o700, true)?;
        make(&folders.snapshots, 0o700, true)?;
        make(&state.join("chains"), 0o700, true)?;
        make(&folders.empty(), 0o755, true)?;
        sync(state)?;
        Ok(folders)
    }

    /// A folder that stays empty.
    pub fn empty(&self) -> PathBuf {
        self.state.join("empty")
    }

    fn folder(&self, id: u64) -> PathBuf {
        self.snapshots.join(id.to_string())
    }

    /// A snapshot's own files.
    pub fn files(&self, id: u64) -> PathBuf {
        self.folder(id).join("fs")
    }

    /// What overlay needs beside them.
    pub fn work(&self, id: u64) -> PathBuf {
        self.folder(id).join("work")
    }

    /// Makes the folder of a snapshot, durably: a record may name it when this returns. Its files' root is
    /// 0755, as containerd's overlay has it, and belongs to `owner`.
    pub fn create(&self, id: u64, kind: Kind, owner: Option<(u32, u32)>) -> Result<()> {
        let folder = self.folder(id);
        make(&folder, 0o700, false)?;
        make(&self.files(id), 0o755, false)?;
        if let Some((uid, gid)) = owner {
            let files = self.files(id);
            chown(&files, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|err| SnapshotError::io(&files, err.into()))?;
        }
        if kind == Kind::Active {
            make(&self.work(id), 0o711, false)?;
        }
        sync(&folder)?;
        sync(&self.snapshots)
    }

    /// Removes the folder of a snapshot that no record names; no matter if it is not there.
    #[expect(
        clippy::disallowed_methods,
        reason = "the folder is the node's, below the state folder, and no record names it"
    )]
    pub fn remove(&self, id: u64) -> Result<()> {
        let folder = self.folder(id);
        match std::fs::remove_dir_all(&folder) {
            Err(err) if err.kind() != ErrorKind::NotFound => Err(SnapshotError::io(&folder, err)),
            _ => Ok(()),
        }
    }

    /// The numbers of all folders there are.
    pub fn numbers(&self) -> Result<HashSet<u64>> {
        let failed = |err| SnapshotError::io(&self.snapshots, err);
        let mut numbers = HashSet::new();
        for entry in std::fs::read_dir(&self.snapshots).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    /// A short way to a chain's folder, below the state folder: overlay's option string has room for one page, and
    /// containerd shortens paths that begin alike.
    #[expect(
        clippy::disallowed_methods,
        reason = "a link of the node's own, below the state folder"
    )]
    pub fn link(&self, name: &str, target: &Path) -> Result<PathBuf> {
        let link = self.state.join("chains").join(name);
        if std::fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(link);
        }
        // Under another name first: whoever mounts sees the old link or the new one.
        let new = self.state.join("chains").join(format!("{name}.new"));
        match std::fs::remove_file(&new) {
            Err(err) if err.kind() != ErrorKind::NotFound => return Err(SnapshotError::io(&new, err)),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &new).map_err(|err| SnapshotError::io(&new, err))?;
        std::fs::rename(&new, &link).map_err(|err| SnapshotError::io(&link, err))?;
        Ok(link)
    }

    /// What a snapshot's own files take: each inode once, in blocks of the file system. What vanishes meanwhile is not
    /// counted.
    pub fn usage(&self, id: u64) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut seen = HashSet::new();
        let mut waiting = vec![self.files(id)];
        while let Some(path) = waiting.pop() {
            let metadata = match std::fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(err) if err.kind() == ErrorKind::NotFound => continue,
                Err(err) => return Err(SnapshotError::io(&path, err)),
            };
            // A second name of what has several: counted already.
            if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            usage.inodes += 1;
            usage.bytes += metadata.blocks().saturating_mul(512);
            if metadata.is_dir() {
                let entries = match std::fs::read_dir(&path) {
                    Ok(entries) => entries,
                    Err(err) if err.kind() == ErrorKind::NotFound => continue,
                    Err(err) => return Err(SnapshotError::io(&path, err)),
                };
                for entry in entries {
                    waiting.push(entry.map_err(|err| SnapshotError::io(&path, err))?.path());
                }
            }
        }
        Ok(usage)
    }
}

/// Makes a folder with exactly that mode, whatever the umask.
fn make(path: &Path, mode: u32, may_exist: bool) -> Result<()> {
    let failed = |err| SnapshotError::io(path, err);
    match DirBuilder::new().mode(mode).create(path) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists && may_exist => return Ok(()),
        other => other.map_err(failed)?,
    }
    let mode = nix::sys::stat::Mode::from_bits_truncate(mode);
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        path,
        mode,
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .map_err(|err| failed(err.into()))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|err| SnapshotError::io(path, err))
}
