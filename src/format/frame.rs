//! A frame's header (FORMAT.md 5): what stands before the stored bytes, enough to read them alone.

use super::codec::{Decoder, Encoder};
use super::content::Place;
use super::{CHUNK_MAX, FRAME_CHUNKS_MAX, FRAME_PLAIN_MAX, FRAME_STORED_MAX};
use crate::error::{Error, Result};
use crate::ids::{ChunkId, FrameHash};
use crate::units::{PackNumber, PackOffset, index, len32};

const MAGIC: &[u8; 4] = b"HFRM";
/// Bytes before the chunk entries.
pub const FIXED_LEN: usize = 80;
/// Bytes of each chunk entry.
pub const ENTRY_LEN: usize = 36;
/// Bytes of a delta's base place, after the chunk entries.
pub const BASE_PLACE_LEN: usize = 12;
/// Bytes of the header's own check, at its end.
pub const CHECK_LEN: usize = 16;
/// Longest frame, header and stored bytes.
pub const FRAME_MAX: u32 = FRAME_STORED_MAX + 80 + 36 * FRAME_CHUNKS_MAX + 12 + 16;

/// How a frame's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
    /// One zstd frame with the plaintext of a base frame as its prefix.
    ZstdDelta,
}

impl Codec {
    const fn tag(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::ZstdDelta => 2,
        }
    }

    pub(super) fn encode(self, out: &mut Encoder) {
        out.u8(self.tag());
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(match from.u8()? {
            0 => Self::Raw,
            1 => Self::Zstd,
            2 => Self::ZstdDelta,
            tag => return Err(from.error(format_args!("unknown codec {tag}"))),
        })
    }
}

/// What a frame's chunks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Pieces of blobs and files.
    Plaintext,
    /// Pages of chunk lists and trees.
    Pages,
    /// Records of blobs that are finished though no generation lists them yet.
    Records,
}

impl FrameKind {
    const fn tag(self) -> u8 {
        match self {
            Self::Plaintext => 0,
            Self::Pages => 1,
            Self::Records => 2,
        }
    }

    pub(super) fn encode(self, out: &mut Encoder) {
        out.u8(self.tag());
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(match from.u8()? {
            0 => Self::Plaintext,
            1 => Self::Pages,
            2 => Self::Records,
            tag => return Err(from.error(format_args!("unknown kind of frame {tag}"))),
        })
    }
}

/// One chunk of a frame, as its header lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameChunk {
    /// BLAKE3 of the chunk.
    pub id: ChunkId,
    /// Its length in bytes of plaintext.
    pub len: u32,
}

/// The frame that a delta was compressed against: what it is, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Base {
    /// BLAKE3 of its stored bytes.
    pub hash: FrameHash,
    /// Its pack.
    pub pack: PackNumber,
    /// Its header, from the pack's start.
    pub frame: PackOffset,
    /// Length of its header and stored bytes.
    pub frame_bytes: u32,
}

impl Base {
    /// Where it is, as places say it.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place {
            pack: self.pack,
            frame: self.frame,
            frame_bytes: self.frame_bytes,
            start: 0,
        }
    }
}

/// What stands before a frame's stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// How the bytes are stored.
    pub codec: Codec,
    /// What the chunks are.
    pub kind: FrameKind,
    /// Length of the plaintext: the sum of the chunks' lengths.
    pub plain_bytes: u32,
    /// Length of the stored bytes that follow the header.
    pub stored_bytes: u32,
    /// BLAKE3 of the stored bytes.
    pub stored_hash: FrameHash,
    /// The base frame of a delta.
    pub base: Option<Base>,
    /// The chunks, in order.
    pub chunks: Vec<FrameChunk>,
}

/// Length of the header of a frame with `chunks` chunks.
#[must_use]
pub const fn header_len(codec: Codec, chunks: usize) -> usize {
    let place = if matches!(codec, Codec::ZstdDelta) {
        BASE_PLACE_LEN
    } else {
        0
    };
    FIXED_LEN + ENTRY_LEN * chunks + place + CHECK_LEN
}

impl FrameHeader {
    /// Length of the encoded header.
    #[must_use]
    pub fn len(&self) -> usize {
        header_len(self.codec, self.chunks.len())
    }

    /// Never: a header has a fixed part.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Length of header and stored bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u32 {
        len32(self.len()).saturating_add(self.stored_bytes)
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(MAGIC);
        self.codec.encode(&mut out);
        self.kind.encode(&mut out);
        out.u16(u16::try_from(self.chunks.len()).unwrap_or(u16::MAX));
        out.u32(self.plain_bytes)
            .u32(self.stored_bytes)
            .put(self.stored_hash.as_bytes());
        out.put(self.base.map(|b| b.hash).unwrap_or_default().as_bytes());
        for chunk in &self.chunks {
            out.put(chunk.id.as_bytes()).u32(chunk.len);
        }
        if let Some(base) = &self.base {
            out.u32(base.pack.get())
                .u32(base.frame.get())
                .u32(base.frame_bytes);
        }
        let check = blake3::hash(out.as_slice());
        out.put(check.as_bytes().get(..CHECK_LEN).unwrap_or_default());
        out.finish()
    }

    /// The length of the whole header, told by its first [`FIXED_LEN`] bytes: how much more a scan has
    /// to read. Bounded by [`FRAME_CHUNKS_MAX`].
    pub fn peek_len(fixed: &[u8], place: &str) -> Result<usize> {
        let mut from = Decoder::new(fixed, place);
        from.magic(MAGIC)?;
        let codec = Codec::decode(&mut from)?;
        from.u8()?;
        let chunks = u32::from(from.u16()?);
        if chunks == 0 || chunks > FRAME_CHUNKS_MAX {
            return Err(from.error(format_args!("a frame of {chunks} chunks")));
        }
        Ok(header_len(codec, index(chunks)))
    }

    /// Reads a header from the start of `bytes`, checking its own check and that all lengths agree.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let len = Self::peek_len(bytes, place)?;
        let header = bytes
            .get(..len)
            .ok_or_else(|| Error::malformed(place, "the frame's header is cut short"))?;
        let (body, check) = header.split_at(len - CHECK_LEN);
        if !blake3::hash(body).as_bytes().starts_with(check) {
            return Err(Error::mismatch(place, "the frame's header"));
        }
        let mut from = Decoder::new(body, place);
        from.magic(MAGIC)?;
        let codec = Codec::decode(&mut from)?;
        let kind = FrameKind::decode(&mut from)?;
        let count = from.u16()?;
        let plain_bytes = from.u32()?;
        let stored_bytes = from.u32()?;
        let stored_hash = FrameHash::from_bytes(from.array()?);
        let base_hash = FrameHash::from_bytes(from.array()?);
        if (base_hash != FrameHash::default()) != (codec == Codec::ZstdDelta) {
            return Err(from.error("a base is named where none belongs, or missing"));
        }
        let mut chunks = Vec::with_capacity(usize::from(count));
        let mut sum = 0_u64;
        for _ in 0..count {
            let chunk = FrameChunk {
                id: ChunkId::from_bytes(from.array()?),
                len: from.u32()?,
            };
            if chunk.len == 0 || chunk.len > CHUNK_MAX {
                return Err(from.error(format_args!("a chunk of {} bytes", chunk.len)));
            }
            sum += u64::from(chunk.len);
            chunks.push(chunk);
        }
        let base = if codec == Codec::ZstdDelta {
            Some(Base {
                hash: base_hash,
                pack: PackNumber::new(from.u32()?),
                frame: PackOffset::new(from.u32()?),
                frame_bytes: from.u32()?,
            })
        } else {
            None
        };
        from.end()?;
        if base.is_some() && kind == FrameKind::Records {
            return Err(from.error("a delta of records"));
        }
        if plain_bytes > FRAME_PLAIN_MAX || sum != u64::from(plain_bytes) {
            return Err(from.error("the frame's plaintext is not the sum of its chunks, or too long"));
        }
        let raw_disagrees = codec == Codec::Raw && stored_bytes != plain_bytes;
        if stored_bytes == 0 || stored_bytes > FRAME_STORED_MAX || raw_disagrees {
            return Err(from.error(format_args!("a frame of {stored_bytes} stored bytes")));
        }
        Ok(Self {
            codec,
            kind,
            plain_bytes,
            stored_bytes,
            stored_hash,
            base,
            chunks,
        })
    }
}
