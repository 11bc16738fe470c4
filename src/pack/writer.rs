//! A pack being written: header, frames, then tables and footer.

use super::encode::EncodedFrame;
use crate::error::Result;
use crate::format::PACK_MAX;
use crate::format::codec::Encoder;
use crate::format::pack::{
    self, CHUNKS_PER_PAGE, ChunkRecord, FRAMES_PER_PAGE, Footer, FrameRecord, SetRecord,
};
use crate::ids::{MediumId, PageHash};
use crate::medium::{Medium, MediumFile, MediumWriter};
use crate::units::{PackNumber, PackOffset, index, len32, len64};

/// Most chunks in one pack that we write, so that its tables stay small in memory.
const CHUNKS_MAX: usize = 1 << 19;
/// Write-back is started whenever this much was appended.
const FLUSH_EVERY: u32 = 32 * 1024 * 1024;

/// Appends frames to a pack; [`PackWriter::finish`] makes it whole and durable.
#[derive(Debug)]
pub struct PackWriter {
    medium_id: MediumId,
    number: PackNumber,
    writer: Box<dyn MediumWriter>,
    offset: u32,
    flushed: u32,
    frames: Vec<FrameRecord>,
    chunks: Vec<ChunkRecord>,
}

/// A pack that is whole and durable.
#[derive(Debug)]
pub struct WrittenPack {
    /// As a generation lists it.
    pub record: SetRecord,
    /// Its frames, in order.
    pub frames: Vec<FrameRecord>,
    /// Its chunks; `frame` counts [`WrittenPack::frames`].
    pub chunks: Vec<ChunkRecord>,
}

impl PackWriter {
    /// Begins a new pack.
    pub fn create(medium: &dyn Medium, medium_id: MediumId, number: PackNumber) -> Result<Self> {
        let mut writer = medium.create(MediumFile::Pack(number))?;
        writer.append(&[&pack::encode_header(&medium_id, number)])?;
        let offset = len32(pack::HEADER_LEN);
        Ok(Self {
            medium_id,
            number,
            writer,
            offset,
            flushed: offset,
            frames: Vec::new(),
            chunks: Vec::new(),
        })
    }

    /// Goes on with a left-over after its last whole frame; what lies beyond is cut off.
    pub fn resume(
        medium: &dyn Medium,
        medium_id: MediumId,
        number: PackNumber,
        frames: Vec<FrameRecord>,
        chunks: Vec<ChunkRecord>,
    ) -> Result<Self> {
        let Some(last) = frames.last() else {
            // Not even its header need be whole.
            let mut writer = medium.resume(MediumFile::Pack(number), 0)?;
            writer.append(&[&pack::encode_header(&medium_id, number)])?;
            let offset = len32(pack::HEADER_LEN);
            return Ok(Self {
                medium_id,
                number,
                writer,
                offset,
                flushed: offset,
                frames,
                chunks,
            });
        };
        let offset = last.offset.get() + last.frame_bytes;
        let writer = medium.resume(MediumFile::Pack(number), u64::from(offset))?;
        Ok(Self {
            medium_id,
            number,
            writer,
            offset,
            flushed: offset,
            frames,
            chunks,
        })
    }

    /// This pack.
    #[must_use]
    pub const fn number(&self) -> PackNumber {
        self.number
    }

    /// True where no frame was appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// True where the frame, and then the tables, still fit.
    #[must_use]
    pub fn has_room_for(&self, frame: &EncodedFrame) -> bool {
        let chunks = self.chunks.len() + frame.header.chunks.len();
        let footer = Footer {
            medium: self.medium_id,
            number: self.number,
            frames: len32(self.frames.len() + 1),
            chunks: len32(chunks),
            tables: PackOffset::new(self.offset.saturating_add(frame.header.frame_bytes())),
            pages_hash: PageHash::default(),
        };
        chunks <= CHUNKS_MAX && footer.pack_bytes() <= u64::from(PACK_MAX)
    }

    /// Appends a frame, which [`PackWriter::has_room_for`]; where its header begins.
    pub fn append(&mut self, frame: &EncodedFrame) -> Result<PackOffset> {
        let header = &frame.header;
        let offset = PackOffset::new(self.offset);
        self.writer.append(&[&header.encode(), &frame.stored])?;
        let number = len32(self.frames.len());
        let mut start = 0;
        for chunk in &header.chunks {
            self.chunks.push(ChunkRecord {
                id: chunk.id,
                frame: number,
                start,
                len: chunk.len,
            });
            start += chunk.len;
        }
        self.frames.push(record_of(header, offset));
        self.offset += header.frame_bytes();
        if self.offset - self.flushed >= FLUSH_EVERY {
            self.writer.flush_behind();
            self.flushed = self.offset;
        }
        Ok(offset)
    }

    /// Writes tables and footer and makes the pack durable (its folder is synced at commit).
    pub fn finish(mut self) -> Result<WrittenPack> {
        let mut hashes = Vec::new();
        let mut write = |page: Encoder, writer: &mut Box<dyn MediumWriter>| -> Result<()> {
            let bytes = page.finish();
            hashes.extend_from_slice(PageHash::of(&bytes).as_bytes());
            writer.append(&[&bytes])
        };
        for records in self.frames.chunks(FRAMES_PER_PAGE) {
            let mut page = Encoder::new();
            records.iter().for_each(|r| r.encode(&mut page));
            write(page, &mut self.writer)?;
        }
        for records in self.chunks.chunks(CHUNKS_PER_PAGE) {
            let mut page = Encoder::new();
            records.iter().for_each(|r| r.encode(&mut page));
            write(page, &mut self.writer)?;
        }
        let footer = Footer {
            medium: self.medium_id,
            number: self.number,
            frames: len32(self.frames.len()),
            chunks: len32(self.chunks.len()),
            tables: PackOffset::new(self.offset),
            pages_hash: PageHash::of(&hashes),
        };
        self.writer.append(&[&hashes, &footer.encode()])?;
        self.writer.finish()?;
        let pack_bytes = u32::try_from(footer.pack_bytes()).unwrap_or(PACK_MAX);
        let record = SetRecord {
            number: self.number,
            pack_bytes,
            leaf: footer.leaf(),
        };
        Ok(WrittenPack {
            record,
            frames: self.frames,
            chunks: self.chunks,
        })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        len64(index(self.offset))
    }
}

/// A frame's record in the tables.
pub(super) fn record_of(header: &crate::format::frame::FrameHeader, offset: PackOffset) -> FrameRecord {
    FrameRecord {
        offset,
        frame_bytes: header.frame_bytes(),
        plain_bytes: header.plain_bytes,
        stored_bytes: header.stored_bytes,
        codec: header.codec,
        kind: header.kind,
        chunks: u16::try_from(header.chunks.len()).unwrap_or(u16::MAX),
        stored_hash: header.stored_hash,
        base: header.base.map(|b| b.hash),
    }
}
