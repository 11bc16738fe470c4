//! Frames and frame headers that stay in memory while leaves are checked: most are come back to, by other files and other trees.

use crate::blob::{FrameSource as _, FromMedium};
use crate::error::Result;
use crate::format::content::Place;
use crate::format::frame::FrameHeader;
use crate::medium::Medium;
use crate::pack::{self, FrameKey, KeptFrames};
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
    pub(super) frames: Arc<FromMedium>,
    headers: Cache<FrameKey, Arc<FrameHeader>, HeaderWeight>,
}

impl Held {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            frames: Arc::new(FromMedium::new(medium, FRAMES)),
            headers: Cache::with_weighter(8192, HEADERS, HeaderWeight),
        }
    }

    /// The header of the frame at a place.
    pub(super) fn header(&self, at: &Place) -> Result<Arc<FrameHeader>> {
        self.headers.get_or_insert_with(&KeptFrames::key(at), || {
            pack::read_header(self.frames.medium(), at, &self.frames.name_of(at)).map(Arc::new)
        })
    }
}
