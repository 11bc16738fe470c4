//! A blob that came in: its identity at once, its places as soon as its frames have theirs.

use super::ticket::Pending;
use crate::format::content::Content;
use crate::format::list::ListEntry;
use crate::ids::{BlobId, ChunkId, PageHash, Sha256};
use parking_lot::Mutex;
use std::sync::Arc;

/// A chunk, or a run of zeros, whose place may not be known yet.
#[derive(Debug, Clone)]
pub(super) struct OpenEntry {
    /// Where it ends, from the start of its page.
    pub(super) end: u64,
    pub(super) hash: [u8; 32],
    pub(super) pending: Pending,
}

impl OpenEntry {
    pub(super) fn placed(&self, place: crate::format::content::Place) -> ListEntry {
        ListEntry {
            end: self.end,
            hash: self.hash,
            place,
        }
    }
}

/// What a blob is made of, as far as it is known.
#[derive(Debug, Clone)]
pub(super) enum Made {
    /// Everything is known.
    Ready(Content),
    /// One chunk.
    Chunk(ChunkId, Pending),
    /// One page of a list, not written yet.
    Page(Vec<OpenEntry>),
    /// Pages are written; the top one's place is to come.
    Written {
        depth: u8,
        hash: PageHash,
        pending: Pending,
    },
}

/// A blob that the medium holds, or will with the next commit.
#[derive(Debug, Clone)]
pub struct StoredBlob {
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// BLAKE3 of the bytes.
    pub blob_id: BlobId,
    /// Length in bytes.
    pub size: u64,
    pub(super) made: Arc<Mutex<Made>>,
}

impl PartialEq for StoredBlob {
    fn eq(&self, other: &Self) -> bool {
        (self.sha256, self.blob_id, self.size) == (other.sha256, other.blob_id, other.size)
    }
}

impl Eq for StoredBlob {}

impl StoredBlob {
    pub(super) fn new(sha256: Sha256, blob_id: BlobId, size: u64, made: Made) -> Self {
        Self {
            sha256,
            blob_id,
            size,
            made: Arc::new(Mutex::new(made)),
        }
    }

    /// Takes what is better known now; what is known whole stays.
    pub(super) fn improve(&self, better: Made) {
        let mut made = self.made.lock();
        if !matches!(*made, Made::Ready(_)) {
            *made = better;
        }
    }

    /// The content, once everything has its place.
    pub(super) fn content(&self) -> Option<Content> {
        match &*self.made.lock() {
            Made::Ready(content) => Some(content.clone()),
            _ => None,
        }
    }

    /// Whether the medium had every byte of it before this run (or an interrupted one) began.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        matches!(&*self.made.lock(), Made::Ready(_))
    }
}
