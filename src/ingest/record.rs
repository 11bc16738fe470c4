//! Records of finished blobs, by which a run that is taken up again need not take them in once more.

use super::stored::StoredBlob;
use super::ticket::Pending;
use super::{Inner, hashing, leaf_of};
use crate::blob::BlobReader;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf};
use crate::format::content::Content;
use crate::ids::ChunkId;
use std::sync::Arc;

impl Inner {
    /// Leaves a record of a finished blob in the pack, so that an interrupted run need not take it in
    /// again though no generation lists it.
    pub(super) fn record(&self, blob: &StoredBlob) -> Result<()> {
        let Some(content @ Content::List(_)) = blob.content() else {
            return Ok(());
        };
        let bytes = leaf_of(Kind::Blob, &blob.sha256.to_digest(), "", blob, content).encode();
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| {
            shared
                .records
                .add(ChunkId::of(&bytes), &bytes, &[], belt, pipeline)?;
            shared.records.submit(belt, pipeline)
        })
    }

    /// True where the bytes are those that the record names: it came from a medium, and stands in for a
    /// source's bytes.
    pub(super) fn record_is_true(&self, leaf: &Leaf) -> Result<bool> {
        let reader = BlobReader::new(Arc::clone(&self.source), leaf.size, leaf.content.clone());
        let mut hashers = hashing::Hashers::default();
        let mut at = 0;
        while at < reader.size() {
            if self.is_interrupted() {
                return Err(Error::Interrupted);
            }
            match reader.slice_at(at, 1 << 20) {
                Ok(slice) if !slice.is_empty() => {
                    hashers.update(&slice);
                    at += crate::units::len64(slice.len());
                }
                _ => return Ok(false),
            }
        }
        Ok(hashers.finish() == (leaf.sha256, leaf.blob_id))
    }

    /// True where the chunk list's every chunk is where the index says chunks are.
    pub(super) fn record_holds(&self, leaf: &Leaf) -> bool {
        let reader = BlobReader::new(Arc::clone(&self.source), leaf.size, leaf.content.clone());
        let mut end = 0;
        for piece in reader.pieces(0) {
            let Ok(piece) = piece else { return false };
            end = piece.end;
            let is_there = |place| matches!(place, Some(Pending::Known(place)) if place == piece.place);
            let known = piece.is_zeros()
                || self
                    .find_chunk(
                        &piece.id,
                        crate::units::len32(crate::units::index64(piece.end - piece.start)),
                    )
                    .is_ok_and(is_there);
            if !known {
                return false;
            }
        }
        end == leaf.size || leaf.size == 0
    }
}
