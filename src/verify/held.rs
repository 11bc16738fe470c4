//! Frames and frame headers that stay in memory while leaves are checked: most are come back to, by other files and other trees.

use crate::blob::{FrameSource, RemadeCache, name_of};
use crate::error::Result;
use crate::format::content::Place;
use crate::format::frame::FrameHeader;
use crate::medium::Medium;
use crate::pack::{self, Frame, FrameKey, KeptFrames};
use crate::units::len64;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes of plaintext of frames that are kept.
const FRAMES: u64 = 64 * 1024 * 1024;
/// Bytes of headers that are kept.
const HEADERS: u64 = 16 * 1024 * 1024;

#[derive(Clone)]
struct HeaderWeight;

impl Weighter<FrameKey, Arc<FrameHeader>> for HeaderWeight {
    fn weight(&self, _: &FrameKey, header: &Arc<FrameHeader>) -> u64 {
        len64(header.len()) + 128
    }
}

/// What the checks of leaves read from. Bounded.
pub(super) struct Held {
    frames: KeptFrames,
    headers: Cache<FrameKey, Arc<FrameHeader>, HeaderWeight>,
    remade: RemadeCache,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl Held {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            frames: KeptFrames::new(medium, FRAMES),
            headers: Cache::with_weighter(8192, HEADERS, HeaderWeight),
            remade: RemadeCache::default(),
        }
    }

    /// The header of the frame at a place.
    pub(super) fn header(&self, at: &Place) -> Result<Arc<FrameHeader>> {
        self.headers.get_or_insert_with(&KeptFrames::key(at), || {
            let medium = self.frames.medium();
            pack::read_header(medium, at, &name_of(medium, at)).map(Arc::new)
        })
    }
}

impl FrameSource for Held {
    fn frame(&self, place: &Place) -> Result<Arc<Frame>> {
        self.frames.frame(place)
    }

    fn name_of(&self, place: &Place) -> String {
        name_of(self.frames.medium(), place)
    }

    fn remade(&self) -> &RemadeCache {
        &self.remade
    }
}
