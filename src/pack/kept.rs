//! Frames that are come back to, kept decoded.

use super::delta::load_base;
use super::frame::{Frame, load_with};
use crate::error::Result;
use crate::format::content::Place;
use crate::medium::Medium;
use crate::units::{PackNumber, PackOffset, len64};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Pack, offset and length of a frame.
pub type FrameKey = (PackNumber, PackOffset, u32);

/// What a frame weighs in a cache: its plaintext, and what is around it.
#[derive(Debug, Clone)]
pub struct FrameWeight;

impl Weighter<FrameKey, Arc<Frame>> for FrameWeight {
    fn weight(&self, _: &FrameKey, frame: &Arc<Frame>) -> u64 {
        len64(frame.plain_bytes()) + 256
    }
}

/// Frames of a medium, the last ones kept: bases of deltas, and whatever else is used again and again. Bounded.
pub struct KeptFrames {
    medium: Arc<dyn Medium>,
    kept: Cache<FrameKey, Arc<Frame>, FrameWeight>,
}

impl std::fmt::Debug for KeptFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptFrames")
            .field("medium", &self.medium)
            .finish_non_exhaustive()
    }
}

impl KeptFrames {
    /// Bytes of plaintext that are kept, where nothing else is said: many deltas stand on few bases.
    pub const ROOM: u64 = 24 * 1024 * 1024;

    /// Of that medium, with room for so many bytes of plaintext; none is read yet.
    #[must_use]
    pub fn new(medium: Arc<dyn Medium>, room: u64) -> Self {
        Self {
            medium,
            kept: Cache::with_weighter(256, room, FrameWeight),
        }
    }

    /// What this and other caches know a frame by.
    #[must_use]
    pub const fn key(at: &Place) -> FrameKey {
        (at.pack, at.frame, at.frame_bytes)
    }

    /// The base, checked down to its chunks. Whether it is the one that a delta means, and no delta, is for the caller to see.
    pub fn base(&self, at: &Place) -> Result<Arc<Frame>> {
        if let Some(frame) = self.kept.get(&Self::key(at)) {
            return Ok(frame);
        }
        let frame = load_base(self.medium.as_ref(), at)?;
        self.kept.insert(Self::key(at), Arc::clone(&frame));
        Ok(frame)
    }

    /// The frame, checked down to its chunks; where it is a delta, its base is kept too.
    pub fn frame(&self, at: &Place) -> Result<Arc<Frame>> {
        self.kept.get_or_insert_with(&Self::key(at), || {
            load_with(self.medium.as_ref(), at, |base| self.base(&base.place())).map(Arc::new)
        })
    }

    /// Where they are read from.
    #[must_use]
    pub fn medium(&self) -> &dyn Medium {
        self.medium.as_ref()
    }
}
