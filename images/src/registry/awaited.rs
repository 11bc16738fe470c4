//! The disk that a registry answers from, which may not be there yet.

use holdall::reader::Disk;
use std::sync::{Arc, OnceLock};

/// A disk, or the place of one that is waited for: until it has come, requests are answered with 503. Clones are of one
/// place.
#[derive(Debug, Clone, Default)]
pub struct Awaited(Arc<OnceLock<Disk>>);

impl Awaited {
    /// The disk is there. The first stays.
    pub fn come(&self, disk: Disk) {
        let _the_first_stays = self.0.set(disk);
    }

    pub(super) fn disk(&self) -> Option<&Disk> {
        self.0.get()
    }
}

impl From<Disk> for Awaited {
    fn from(disk: Disk) -> Self {
        Self(Arc::new(OnceLock::from(disk)))
    }
}
