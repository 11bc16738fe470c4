//! Turning plaintext into a frame: probed, compressed where that pays, hashed.

use crate::error::{Error, Result};
use crate::format::frame::{Codec, FrameChunk, FrameHeader, FrameKind};
use crate::ids::FrameHash;
use crate::units::len32;

/// Bytes that the probe looks at, taken from the middle and both ends.
const PROBE: usize = 24 * 1024;
/// A frame is compressed only where that saves at least one part in this many.
const WORTH: usize = 32;
const LEVEL: i32 = 3;

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
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder with its own compressor.
    pub fn new() -> Result<Self> {
        let failed = |e| Error::io("zstd", e);
        let probe = zstd::bulk::Compressor::new(1).map_err(failed)?;
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(failed)?;
        Ok(Self { probe, compressor })
    }

    /// Encodes a frame: zstd where it pays, else as it is.
    pub fn encode(&mut self, frame: PlainFrame) -> Result<EncodedFrame> {
        let plain_bytes = len32(frame.plain.len());
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
