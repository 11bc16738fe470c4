//! The disk that is plugged in, as the snapshotter asks about it.

use super::kernel::KernelTrees;
use holdall::ids::Sha256;
use holdall::reader::Disk;
use holdall_images::containerd::snapshotter::{Absent, Chains};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};

/// Which chains there are, and where they are mounted. Without a disk until [`Plugged::plug`].
#[derive(Debug)]
pub struct Plugged {
    chains: PathBuf,
    /// Where chains are mounted by the kernel, unless that is not wanted.
    kernel: Option<KernelTrees>,
    disk: RwLock<Option<Disk>>,
}

impl Plugged {
    /// No disk yet; one will be mounted on `mountpoint`.
    pub fn new(mountpoint: &Path, kernel: Option<KernelTrees>) -> Self {
        Self {
            chains: mountpoint.join("chains/sha256"),
            kernel,
            disk: RwLock::new(None),
        }
    }

    /// Takes the kernel's mounts of chains away, before the disk's own is.
    pub fn end(&self) {
        if let Some(kernel) = &self.kernel {
            kernel.end();
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
        let disk = self.disk.read().clone();
        if let Some(disk) = disk {
            let chain = *chain_id;
            // Beside what the container needs meanwhile. Without a thread to spare it does without.
            let _only_sooner = std::thread::Builder::new()
                .name("warm".to_owned())
                .spawn(move || disk.warm(&chain));
        }
        let by_kernel = self.kernel.as_ref().and_then(|kernel| kernel.directory(chain_id));
        by_kernel.unwrap_or_else(|| self.chains.join(chain_id.to_hex()))
    }

    fn release(&self, chain_id: &Sha256) {
        if let Some(kernel) = &self.kernel {
            kernel.release(chain_id);
        }
    }
}
