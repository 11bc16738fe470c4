//! Turning plaintext into a frame: probed, compressed where that pays, hashed.

use super::delta;
use super::frame::Frame;
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use crate::ids::FrameHash;
use crate::units::len32;

/// Bytes that the probe looks at, taken from the middle and both ends.
const PROBE: usize = 24 * 1024;
/// A frame is compressed only where that saves at least one part in this many.
const WORTH: usize = 32;
/// A delta is kept only where it is at most this share of the frame by itself, in percent: a frame that is no delta may be a
/// base, and costs one read.
const DELTA_WORTH: usize = 80;
/// A delta that small in the plaintext is kept without asking what the frame by itself would take.
const DELTA_SURE: usize = 24;

/// How much work is put into taking less space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// zstd 1, no deltas, and layers whole beside their files: quick to write and to pull from, and large.
    Fast,
    /// zstd 3, deltas.
    #[default]
    Default,
    /// zstd 19 in frames of 1 MiB, deltas: for what is written once and carried often.
    Max,
}

impl Level {
    const fn zstd(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Default => 3,
            Self::Max => 19,
        }
    }

    /// Plaintext at which a frame is handed in, in bytes. Larger frames compress better, smaller ones cost less to read a little
    /// from: on a corpus of 23 images 128, 192 and 256 KiB gave 483, 477 and 474 MB, and a cold read of 4 KiB took 1.4 times
    /// what squashfs takes with blocks of 128 KiB at 128 KiB, 1.9 times at 256 KiB.
    #[must_use]
    pub const fn frame_target(self) -> usize {
        match self {
            Self::Fast | Self::Default => 192 * 1024,
            Self::Max => 1024 * 1024,
        }
    }

    /// Whether frames are compared with those that are there.
    #[must_use]
    pub const fn writes_deltas(self) -> bool {
        !matches!(self, Self::Fast)
    }

    /// Whether a layer's bytes are kept as they are beside its files, though a recipe could give them back.
    #[must_use]
    pub const fn keeps_layers_whole(self) -> bool {
        matches!(self, Self::Fast)
    }
}

/// A frame's plaintext and its chunks, in order.
#[derive(Debug)]
pub struct PlainFrame {
    /// What the chunks are.
    pub kind: FrameKind,
    /// The chunks' bytes, one after the other.
    pub plain: Vec<u8>,
    /// Their ids and lengths.
    pub chunks: Vec<FrameChunk>,
}

/// A frame ready to be appended to a pack.
#[derive(Debug)]
pub struct EncodedFrame {
    /// Its header.
    pub header: FrameHeader,
    /// Its stored bytes.
    pub stored: Vec<u8>,
}

/// Encodes frames; each thread has its own, as the compressor's tables are reused.
pub struct Encoder {
    probe: zstd::bulk::Compressor<'static>,
    compressor: zstd::bulk::Compressor<'static>,
    level: Level,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder with its own compressor.
    pub fn new(level: Level) -> Result<Self> {
        let failed = |e| Error::io("zstd", e);
        let probe = zstd::bulk::Compressor::new(1).map_err(failed)?;
        let compressor = zstd::bulk::Compressor::new(level.zstd()).map_err(failed)?;
        Ok(Self {
            probe,
            compressor,
            level,
        })
    }

    /// Encodes a frame: as a delta of `base`, a frame that stands at that place, or by zstd, where it pays, else as it is.
    pub fn encode(&mut self, frame: PlainFrame, base: Option<(&Place, &Frame)>) -> Result<EncodedFrame> {
        let plain_bytes = len32(frame.plain.len());
        if let Some((place, base)) = base
            && let Some(stored) = self.delta(&frame.plain, base.plain())?
        {
            let base = Base {
                hash: base.stored_hash,
                pack: place.pack,
                frame: place.frame,
                frame_bytes: place.frame_bytes,
            };
            let header = FrameHeader {
                codec: Codec::ZstdDelta,
                kind: frame.kind,
                plain_bytes,
                stored_bytes: len32(stored.len()),
                stored_hash: FrameHash::of(&stored),
                base: Some(base),
                chunks: frame.chunks,
            };
            return Ok(EncodedFrame { header, stored });
        }
        let compressed = if self.seems_worth_it(&frame.plain)? {
            self.compress(&frame.plain)?
        } else {
            None
        };
        let (codec, stored) = match compressed {
            Some(stored) => (Codec::Zstd, stored),
            None => (Codec::Raw, frame.plain),
        };
        let header = FrameHeader {
            codec,
            kind: frame.kind,
            plain_bytes,
            stored_bytes: len32(stored.len()),
            stored_hash: FrameHash::of(&stored),
            base: None,
            chunks: frame.chunks,
        };
        Ok(EncodedFrame { header, stored })
    }

    /// The delta, where it pays.
    fn delta(&mut self, plain: &[u8], base: &[u8]) -> Result<Option<Vec<u8>>> {
        let failed = |why| Error::refused(format!("zstd: {why}"));
        let stored = delta::compress(plain, base, self.level.zstd()).map_err(failed)?;
        if stored.len() <= plain.len() / DELTA_SURE {
            return Ok(Some(stored));
        }
        let alone = match self.compress(plain)? {
            Some(stored) => stored.len(),
            None => plain.len(),
        };
        Ok((stored.len() <= alone * DELTA_WORTH / 100).then_some(stored))
    }

    /// Compresses a sample: what is compressed or encrypted already is found out at a thirtieth of
    /// the cost of trying it all.
    fn seems_worth_it(&mut self, plain: &[u8]) -> Result<bool> {
        if plain.len() <= 2 * PROBE {
            return Ok(true);
        }
        let third = PROBE / 3;
        let middle = plain.len() / 2;
        let parts = [0..third, middle..middle + third, plain.len() - third..plain.len()];
        let mut saved = false;
        for part in parts {
            let sample = plain.get(part).unwrap_or_default();
            let packed = self.probe.compress(sample).map_err(|e| Error::io("zstd", e))?;
            saved |= packed.len() + sample.len() / WORTH < sample.len();
        }
        Ok(saved)
    }

    fn compress(&mut self, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let stored = self
            .compressor
            .compress(plain)
            .map_err(|e| Error::io("zstd", e))?;
        Ok((stored.len() + plain.len() / WORTH < plain.len()).then_some(stored))
    }
}
