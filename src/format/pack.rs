//! A pack's header, tables and footer, and the pack set's records (FORMAT.md 6).

use super::codec::{Decoder, Encoder};
use super::frame::{Codec, FrameKind};
use super::superblock::{check_format, format_name};
use super::{PACK_MAX, PAGE_MAX};
use crate::error::{Error, Result};
use crate::ids::{ChunkId, FrameHash, MediumId, PageHash};
use crate::units::{PackNumber, PackOffset, len32};

/// What a pack begins with.
pub const MAGIC: &[u8; 8] = b"HLDPACK\n";
const FOOTER_MAGIC: &[u8; 8] = b"HLDPFOOT";
/// Length of a pack's header.
pub const HEADER_LEN: usize = 64;
/// Length of a pack's footer.
pub const FOOTER_LEN: usize = 128;
/// Length of a frame's record in the tables.
pub const FRAME_RECORD_LEN: usize = 84;
/// Length of a chunk's record in the tables.
pub const CHUNK_RECORD_LEN: usize = 44;
/// Frame records in a full page.
pub const FRAMES_PER_PAGE: usize = PAGE_MAX as usize / FRAME_RECORD_LEN;
/// Chunk records in a full page.
pub const CHUNKS_PER_PAGE: usize = PAGE_MAX as usize / CHUNK_RECORD_LEN;
/// Length of a record of the pack set.
pub const SET_RECORD_LEN: usize = 40;

/// The first 64 bytes of a pack.
#[must_use]
pub fn encode_header(medium: &MediumId, number: PackNumber) -> Vec<u8> {
    let mut out = Encoder::new();
    out.put(MAGIC)
        .put(&format_name())
        .put(medium.as_bytes())
        .u32(number.get())
        .u32(0);
    let check = blake3::hash(out.as_slice());
    out.put(check.as_bytes().get(..16).unwrap_or_default());
    out.finish()
}

/// Checks a pack's header: whose it is, and which number.
pub fn check_header(bytes: &[u8], medium: &MediumId, number: PackNumber, place: &str) -> Result<()> {
    let mut from = Decoder::new(bytes, place);
    from.magic(MAGIC)?;
    check_format(&from.array()?, place)?;
    let found = MediumId::from_bytes(from.array()?);
    if found != *medium {
        return Err(Error::malformed(
            place,
            format!("a pack of another medium, {found}"),
        ));
    }
    if bytes != encode_header(medium, number) {
        return Err(Error::mismatch(place, "the pack's header"));
    }
    Ok(())
}

/// A frame, as a pack's table lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRecord {
    /// Its header, from the pack's start.
    pub offset: PackOffset,
    /// Length of header and stored bytes.
    pub frame_bytes: u32,
    /// Length of the plaintext.
    pub plain_bytes: u32,
    /// Length of the stored bytes.
    pub stored_bytes: u32,
    /// How they are stored.
    pub codec: Codec,
    /// What the chunks are.
    pub kind: FrameKind,
    /// Number of chunks.
    pub chunks: u16,
    /// BLAKE3 of the stored bytes.
    pub stored_hash: FrameHash,
    /// The base of a delta.
    pub base: Option<FrameHash>,
}

impl FrameRecord {
    /// Appends the record's 84 bytes.
    pub fn encode(&self, out: &mut Encoder) {
        out.u32(self.offset.get())
            .u32(self.frame_bytes)
            .u32(self.plain_bytes)
            .u32(self.stored_bytes);
        self.codec.encode(out);
        self.kind.encode(out);
        out.u16(self.chunks)
            .put(self.stored_hash.as_bytes())
            .put(self.base.unwrap_or_default().as_bytes());
    }

    /// Reads a record; that frames follow each other without gaps is checked by the tables' reader.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let record = Self {
            offset: PackOffset::new(from.u32()?),
            frame_bytes: from.u32()?,
            plain_bytes: from.u32()?,
            stored_bytes: from.u32()?,
            codec: Codec::decode(from)?,
            kind: FrameKind::decode(from)?,
            chunks: from.u16()?,
            stored_hash: FrameHash::from_bytes(from.array()?),
            base: Some(FrameHash::from_bytes(from.array()?)).filter(|b| *b != FrameHash::default()),
        };
        let header = len32(super::frame::header_len(record.codec, usize::from(record.chunks)));
        if record.base.is_some() != (record.codec == Codec::ZstdDelta) {
            return Err(from.error("a base is named where none belongs, or missing"));
        }
        if record.stored_bytes > super::FRAME_STORED_MAX
            || record.plain_bytes > super::FRAME_PLAIN_MAX
            || record.frame_bytes != header.saturating_add(record.stored_bytes)
        {
            return Err(from.error("a frame's lengths contradict each other"));
        }
        Ok(record)
    }
}

/// A chunk, as a pack's table lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRecord {
    /// BLAKE3 of the chunk.
    pub id: ChunkId,
    /// The frame it lies in, by its number within the pack, from 0.
    pub frame: u32,
    /// Its offset in the frame's plaintext.
    pub start: u32,
    /// Its length.
    pub len: u32,
}

impl ChunkRecord {
    /// Appends the record's 44 bytes.
    pub fn encode(&self, out: &mut Encoder) {
        out.put(self.id.as_bytes())
            .u32(self.frame)
            .u32(self.start)
            .u32(self.len);
    }

    /// Reads a record.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            id: ChunkId::from_bytes(from.array()?),
            frame: from.u32()?,
            start: from.u32()?,
            len: from.u32()?,
        })
    }
}

/// The last 128 bytes of a pack. Its hash is the pack's leaf in the pack set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The medium.
    pub medium: MediumId,
    /// The pack.
    pub number: PackNumber,
    /// Number of frames.
    pub frames: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// Where the frames end and the tables begin.
    pub tables: PackOffset,
    /// BLAKE3 of the page list: the hashes of all table pages, frames' first.
    pub pages_hash: PageHash,
}

impl Footer {
    /// Number of pages of frame records, and of chunk records.
    #[must_use]
    pub const fn pages(&self) -> (usize, usize) {
        (
            (self.frames as usize).div_ceil(FRAMES_PER_PAGE),
            (self.chunks as usize).div_ceil(CHUNKS_PER_PAGE),
        )
    }

    /// Length of the tables: frame pages, chunk pages, page list. In bytes.
    #[must_use]
    pub const fn tables_bytes(&self) -> u64 {
        let (frame_pages, chunk_pages) = self.pages();
        (self.frames as usize * FRAME_RECORD_LEN
            + self.chunks as usize * CHUNK_RECORD_LEN
            + 32 * (frame_pages + chunk_pages)) as u64
    }

    /// Length of the whole pack, in bytes.
    #[must_use]
    pub fn pack_bytes(&self) -> u64 {
        u64::from(self.tables.get()) + self.tables_bytes() + FOOTER_LEN as u64
    }

    /// The 128 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_body();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(FOOTER_MAGIC)
            .put(&format_name())
            .put(self.medium.as_bytes())
            .u32(self.number.get());
        out.u32(self.frames)
            .u32(self.chunks)
            .u32(self.tables.get())
            .put(self.pages_hash.as_bytes());
        let mut bytes = out.finish();
        bytes.resize(FOOTER_LEN - 32, 0);
        bytes
    }

    /// The pack's leaf: BLAKE3 of the footer's first 96 bytes, which are its last 32.
    #[must_use]
    pub fn leaf(&self) -> PageHash {
        PageHash::of(&self.encode_body())
    }

    /// Reads a footer; `pack_bytes` is the file's length, which it has to account for exactly.
    pub fn decode(
        bytes: &[u8],
        medium: &MediumId,
        number: PackNumber,
        pack_bytes: u64,
        place: &str,
    ) -> Result<Self> {
        let mut from = Decoder::new(bytes, place);
        from.magic(FOOTER_MAGIC)?;
        check_format(&from.array()?, place)?;
        let footer = Self {
            medium: MediumId::from_bytes(from.array()?),
            number: PackNumber::new(from.u32()?),
            frames: from.u32()?,
            chunks: from.u32()?,
            tables: PackOffset::new(from.u32()?),
            pages_hash: PageHash::from_bytes(from.array()?),
        };
        if bytes != footer.encode() {
            return Err(Error::mismatch(place, "the pack's footer"));
        }
        if footer.medium != *medium || footer.number != number {
            return Err(Error::malformed(
                place,
                format!(
                    "the footer is of pack {} of medium {}",
                    footer.number, footer.medium
                ),
            ));
        }
        if footer.pack_bytes() != pack_bytes || pack_bytes > u64::from(PACK_MAX) {
            return Err(Error::malformed(
                place,
                format!(
                    "{pack_bytes} bytes long, where its footer says {}",
                    footer.pack_bytes()
                ),
            ));
        }
        Ok(footer)
    }
}

/// One pack, as a generation lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetRecord {
    /// The pack.
    pub number: PackNumber,
    /// Its length in bytes.
    pub pack_bytes: u32,
    /// Its footer's hash.
    pub leaf: PageHash,
}

impl SetRecord {
    /// The record's 40 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u32(self.number.get())
            .u32(self.pack_bytes)
            .put(self.leaf.as_bytes());
        out.finish()
    }

    /// Reads a record.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            number: PackNumber::new(from.u32()?),
            pack_bytes: from.u32()?,
            leaf: PageHash::from_bytes(from.array()?),
        })
    }
}
