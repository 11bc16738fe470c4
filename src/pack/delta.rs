//! Delta frames: one zstd frame whose prefix is the plaintext of a base frame (FORMAT.md 5, codec 2).
//!
//! Depth one: a base is never itself a delta, so that a read costs at most one more frame.

use super::frame::{Frame, load_with, place_of};
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::frame::{Base, Codec, FrameKind};
use crate::medium::Medium;
use std::sync::Arc;
use zstd::zstd_safe::{self, CCtx, CParameter};

/// Window of a delta: its base's plaintext, and its own.
pub const WINDOW_LOG: u32 = 21;

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
