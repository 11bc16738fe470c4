//! Which containers run from the disk: overlay mounts, in any mount namespace, over its trees.

use crate::exit::ToolError;
use crate::state;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where lower directories of containers can be.
#[derive(Debug)]
pub struct Places {
    /// The disk's mountpoint.
    pub mountpoint: PathBuf,
    /// The state folder that was asked for, where there is a snapshotter: its links lead to the disk.
    pub state: Option<Option<PathBuf>>,
}

/// The beginnings of the paths that overlay mounts over the disk name.
#[derive(Debug)]
pub struct Watched(Vec<String>);

impl Places {
    /// The paths as mounts name them.
    pub fn resolve(self) -> Result<Watched, ToolError> {
        let mountpoint = std::path::absolute(&self.mountpoint);
        let mountpoint = mountpoint.map_err(|e| ToolError::io(self.mountpoint.display(), e))?;
        let mut paths = vec![
            mountpoint.join("chains/sha256"),
            super::kernel::folder_beside(&mountpoint),
        ];
        if let Some(asked) = self.state {
            paths.push(super::loader::snapshotter_folder(&state::folder(asked)?).join("chains"));
        }
        Ok(Watched(
            paths.iter().map(|path| format!("{}/", path.display())).collect(),
        ))
    }
}

impl Watched {
    /// The mountpoints of containers' root file systems that have the disk below; empty where none runs.
    pub fn running(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let Ok(processes) = std::fs::read_dir("/proc") else {
            return found;
        };
        for process in processes.flatten() {
            let name = process.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            // Each mount namespace once: most processes share one. One that ends meanwhile runs no more.
            let Ok(namespace) = std::fs::read_link(process.path().join("ns/mnt")) else {
                continue;
            };
            if seen.insert(namespace)
                && let Ok(text) = std::fs::read_to_string(process.path().join("mountinfo"))
            {
                found.extend(text.lines().filter_map(|line| self.over_the_disk(line)));
            }
        }
        found
    }

    /// The mountpoint in a line of mountinfo, where it is an overlay whose lower directories are the disk's.
    fn over_the_disk(&self, line: &str) -> Option<String> {
        let (place, kind) = line.split_once(" - ")?;
        let options = kind.strip_prefix("overlay ")?;
        let lower = options
            .split([',', ' '])
            .filter(|option| option.starts_with("lowerdir"))
            .flat_map(|option| option.split(['=', ':']))
            // containerd shortens long lists by the folder that all have in common: ours then begin with `chains/`.
            .map(|path| path.replace("\\040", " "))
            .any(|path| {
                path.starts_with("chains/") || self.0.iter().any(|ours| path.starts_with(ours.as_str()))
            });
        lower.then(|| place.split(' ').nth(4).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_over_the_disk_is_told_from_others() {
        let watched = Watched(vec![
            "/run/disk/chains/sha256/".to_owned(),
            "/var/s/chains/".to_owned(),
        ]);
        let line = |lower: &str| {
            format!(
                "40 20 0:30 / /run/c/rootfs rw,relatime shared:1 - overlay overlay rw,lowerdir={lower},upperdir=/a,workdir=/b"
            )
        };
        for (lower, ours) in [
            ("/run/disk/chains/sha256/ab", true),
            ("/x/1/fs:/var/s/chains/ab", true),
            ("snapshots/1/fs:chains/ab", true),
            ("/x/1/fs:/x/2/fs", false),
            ("/run/disk/chains/sha2567/ab", false),
        ] {
            let found = watched.over_the_disk(&line(lower));
            assert_eq!(found, ours.then(|| "/run/c/rootfs".to_owned()), "{lower}");
        }
        assert_eq!(
            watched.over_the_disk("40 20 0:30 / /run/disk rw - fuse.holdall x rw"),
            None
        );
    }
}
