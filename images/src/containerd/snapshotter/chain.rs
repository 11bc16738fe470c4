//! What the snapshotter knows of a disk: which chains it has, and where their merged trees are shown.

use holdall::ids::Sha256;
use std::path::PathBuf;

/// The chains of the disk that is plugged in. Answers must be quick: containerd waits for them.
pub trait Chains: Send + Sync + 'static {
    /// True where the disk has that chain's merged tree. [`Absent`] where there is no disk to ask.
    fn has(&self, chain_id: &Sha256) -> Result<bool, Absent>;

    /// The folder in which that chain's merged tree is mounted; asked only for chains that the disk has. It stays there until
    /// [`release`](Self::release).
    fn directory(&self, chain_id: &Sha256) -> PathBuf;

    /// No active snapshot and no view stands on that chain any more: what was mounted for it may go until the folder is asked
    /// for again, which nobody does meanwhile. Must not wait for the disk.
    fn release(&self, chain_id: &Sha256);
}

/// There is no disk now, or it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Absent {
    /// What is missing, for people.
    pub why: String,
}
