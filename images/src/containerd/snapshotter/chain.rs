//! What the snapshotter knows of a disk: which chains it has, and where their merged trees are shown.

use holdall::ids::Sha256;
use std::path::PathBuf;

/// The chains of the disk that is plugged in. Answers must be quick: containerd waits for them.
pub trait Chains: Send + Sync + 'static {
    /// True where the disk has that chain's merged tree. [`Absent`] where there is no disk to ask.
    fn has(&self, chain_id: &Sha256) -> Result<bool, Absent>;

    /// The folder in which that chain's merged tree is mounted; asked only for chains that the disk has.
    fn directory(&self, chain_id: &Sha256) -> PathBuf;
}

/// There is no disk now, or it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Absent {
    /// What is missing, for people.
    pub why: String,
}
