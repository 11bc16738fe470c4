//! Delta frames: one zstd frame whose prefix is the plaintext of a base frame (FORMAT.md 5, codec 2).
//!
//! Depth one: a base is never itself a delta, so that a read costs at most one more frame.

use super::frame::{Frame, load_with, place_of};
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::frame::{Base, Codec, FrameKind};
use crate::medium::Medium;
use crate::units::{PackNumber, PackOffset, len64};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// Window of a delta: its base's plaintext, and its own.
pub const WINDOW_LOG: u32 = 21;
/// Bytes of plaintext of bases that are kept while many deltas are made or checked.
const KEPT: u64 = 24 * 1024 * 1024;

/// Compresses `plain` with `base` before it; `level` is zstd's.
pub fn compress(plain: &[u8], base: &[u8], level: i32) -> std::result::Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    let mut context = CCtx::try_create().ok_or("out of memory")?;
    let said = zstd_safe::get_error_name;
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .map_err(said)?;
    context
        .set_parameter(CParameter::WindowLog(WINDOW_LOG))
        .map_err(said)?;
    context.ref_prefix(base).map_err(said)?;
    context.compress2(&mut out, plain).map_err(said)?;
    Ok(out)
}

/// The plaintext of `stored`, at most `len` bytes of it; more is an error. One pass, without a window.
pub(super) fn decompress(
    stored: &[u8],
    base: &[u8],
    len: usize,
) -> std::result::Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(len);
    let mut context = DCtx::try_create().ok_or("out of memory")?;
    let said = zstd_safe::get_error_name;
    context.ref_prefix(base).map_err(said)?;
    context.decompress(&mut out, stored).map_err(said)?;
    Ok(out)
}

/// Refuses a base that is not the frame that was named, is itself a delta, or of another kind than its delta's.
pub fn check_base(frame: &Frame, base: &Base, kind: FrameKind, place: impl Fn() -> String) -> Result<()> {
    if frame.stored_hash != base.hash {
        return Err(Error::mismatch(place(), "the frame where its base should be"));
    }
    if frame.codec == Codec::ZstdDelta || frame.kind != kind {
        return Err(Error::malformed(
            place(),
            "its base is itself a delta, or of another kind",
        ));
    }
    Ok(())
}

/// Reads a base from the medium; one that is a delta is refused before its own base is looked at.
pub fn load_base(medium: &dyn Medium, at: &Place) -> Result<Arc<Frame>> {
    let refused = |_: &Base| {
        let place = place_of(medium, at.pack, at.frame);
        Err(Error::malformed(place, "a delta's base is itself a delta"))
    };
    load_with(medium, at, refused).map(Arc::new)
}

/// Pack, offset and length of a base.
type BaseKey = (PackNumber, PackOffset, u32);

#[derive(Clone)]
struct FrameWeight;

impl Weighter<BaseKey, Arc<Frame>> for FrameWeight {
    fn weight(&self, _: &BaseKey, frame: &Arc<Frame>) -> u64 {
        len64(frame.plain_bytes()) + 256
    }
}

/// Bases that are used again and again while frames are made or checked one after the other. Bounded.
pub struct Bases {
    medium: Arc<dyn Medium>,
    kept: Cache<BaseKey, Arc<Frame>, FrameWeight>,
}

impl std::fmt::Debug for Bases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bases")
            .field("medium", &self.medium)
            .finish_non_exhaustive()
    }
}

impl Bases {
    /// Of that medium; none is read yet.
    #[must_use]
    pub fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            medium,
            kept: Cache::with_weighter(256, KEPT, FrameWeight),
        }
    }

    /// The base, checked down to its chunks. Whether it is the one that a delta means is for the caller to see.
    pub fn get(&self, at: &Place) -> Result<Arc<Frame>> {
        let key = (at.pack, at.frame, at.frame_bytes);
        if let Some(frame) = self.kept.get(&key) {
            return Ok(frame);
        }
        let frame = load_base(self.medium.as_ref(), at)?;
        self.kept.insert(key, Arc::clone(&frame));
        Ok(frame)
    }
}
