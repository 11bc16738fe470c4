//! The disk that is plugged in, as the snapshotter asks about it.

use holdall::ids::Sha256;
use holdall::reader::Disk;
use holdall_images::containerd::snapshotter::{Absent, Chains};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};

/// Which chains there are, and where they are mounted. Without a disk until [`Plugged::plug`].
#[derive(Debug)]
pub struct Plugged {
    chains: PathBuf,
    disk: RwLock<Option<Disk>>,
}

impl Plugged {
    /// No disk yet; one will be mounted on `mountpoint`.
    pub fn new(mountpoint: &Path) -> Self {
        Self {
            chains: mountpoint.join("chains/sha256"),
            disk: RwLock::new(None),
        }
    }

    /// The disk is there, and mounted.
    pub fn plug(&self, disk: Disk) {
        *self.disk.write() = Some(disk);
    }
}

impl Chains for Plugged {
    fn has(&self, chain_id: &Sha256) -> Result<bool, Absent> {
        let disk = self.disk.read().clone();
        let Some(disk) = disk else {
            let why = "the disk is not plugged in".to_owned();
            return Err(Absent { why });
        };
        let absent = |e: holdall::Error| Absent {
            why: format!("the disk cannot be read: {e}"),
        };
        disk.check_there().map_err(absent)?;
        disk.has_chain(chain_id).map_err(absent)
    }

    fn directory(&self, chain_id: &Sha256) -> PathBuf {
        self.chains.join(chain_id.to_hex())
    }
}
