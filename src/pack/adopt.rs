//! What an interrupted run left in a pack: which of its frames are whole.

use super::frame::{Frame, decode_frame, place_of};
use super::kept::KeptFrames;
use super::tables::PackTables;
use super::writer::record_of;
use crate::error::{Error, Result};
use crate::format::PACK_MAX;
use crate::format::frame::{Base, FIXED_LEN, FrameHeader};
use crate::format::pack::{
    CHUNK_RECORD_LEN, ChunkRecord, FOOTER_LEN, FRAME_RECORD_LEN, FrameRecord, HEADER_LEN, MAGIC, SetRecord,
    check_header,
};
use crate::ids::MediumId;
use crate::medium::{Medium, MediumFile};
use crate::units::{PackNumber, PackOffset, index, len32, len64};

/// A pack that no generation lists.
#[derive(Debug)]
pub enum LeftOver {
    /// It was finished: tables and every frame's stored hash hold.
    Whole {
        /// As a generation may list it.
        record: SetRecord,
        /// Its frames.
        frames: Vec<FrameRecord>,
        /// Its chunks.
        chunks: Vec<ChunkRecord>,
    },
    /// It was not finished; these frames at its start are whole.
    Partial {
        /// The whole frames.
        frames: Vec<FrameRecord>,
        /// Their chunks.
        chunks: Vec<ChunkRecord>,
    },
}

/// Looks at a pack without trusting anything in it: frames are found by their headers, each one's
/// stored bytes are hashed, and the first that does not hold ends the scan. A delta holds only if its base stands before it in
/// this pack, or in one that `kept` says the next generation lists whole. `bases` are of the same medium.
/// `seen` is given each frame that holds; where it fails, so does this.
pub fn examine(
    medium: &dyn Medium,
    medium_id: &MediumId,
    number: PackNumber,
    bases: &KeptFrames,
    kept: impl Fn(PackNumber) -> bool,
    mut seen: impl FnMut(&FrameRecord, &Frame) -> Result<()>,
) -> Result<LeftOver> {
    let file = MediumFile::Pack(number);
    let len = medium.len(file)?.unwrap_or(0);
    let mut frames: Vec<FrameRecord> = Vec::new();
    let mut chunks = Vec::new();
    let place = medium.place(file);
    if len < len64(HEADER_LEN) {
        return Ok(LeftOver::Partial { frames, chunks });
    }
    match check_header(&medium.read(file, 0, HEADER_LEN)?, medium_id, number, &place) {
        Ok(()) => {}
        // A whole header of another medium or format: somebody put it here, and nothing of it is ours
        // to take over or to cut.
        Err(e @ (Error::Unsupported { .. } | Error::Malformed { .. })) if is_pack(medium, file)? => {
            return Err(e);
        }
        Err(_) => return Ok(LeftOver::Partial { frames, chunks }),
    }
    let mut offset = len32(HEADER_LEN);
    while let Some((header, frame)) = whole_frame(medium, number, offset, len, bases, &kept)? {
        let mut start = 0;
        for chunk in &header.chunks {
            chunks.push(ChunkRecord {
                id: chunk.id,
                frame: len32(frames.len()),
                start,
                len: chunk.len,
            });
            start += chunk.len;
        }
        let record = record_of(&header, PackOffset::new(offset));
        seen(&record, &frame)?;
        frames.push(record);
        offset = offset.saturating_add(header.frame_bytes());
    }
    // Whole only if its own tables say exactly what was found.
    if let Ok(tables) = PackTables::open_unlisted(medium, medium_id, number, len) {
        let mut listed = Vec::new();
        let mut listed_chunks = Vec::new();
        let read = tables
            .frames(|_, record| {
                listed.push(record);
                Ok(())
            })
            .and_then(|()| {
                tables.chunks(|record| {
                    listed_chunks.push(record);
                    Ok(())
                })
            });
        if read.is_ok() && listed == frames && listed_chunks == chunks {
            let record = SetRecord {
                number,
                pack_bytes: u32::try_from(len).unwrap_or(u32::MAX),
                leaf: tables.footer().leaf(),
            };
            return Ok(LeftOver::Whole {
                record,
                frames,
                chunks,
            });
        }
    }
    Ok(LeftOver::Partial { frames, chunks })
}

/// Frames found by their headers alone.
#[derive(Debug)]
pub struct Scan {
    /// Frames whose headers hold, in order.
    pub frames: Vec<FrameRecord>,
    /// Where the scan stopped short of the tables; `None` where every frame up to them was found.
    pub stopped_at: Option<u32>,
}

/// Finds a pack's frames without its tables, checking headers only: from each to the next, until
/// something else stands there.
pub fn scan(medium: &dyn Medium, number: PackNumber) -> Result<Scan> {
    let file = MediumFile::Pack(number);
    let len = medium.len(file)?.unwrap_or(0);
    let mut found = Scan {
        frames: Vec::new(),
        stopped_at: None,
    };
    let mut offset = len32(HEADER_LEN);
    while let Some(header) = header_at(medium, number, offset, len)? {
        found.frames.push(record_of(&header, PackOffset::new(offset)));
        offset = offset.saturating_add(header.frame_bytes());
    }
    // Past the last frame stand its tables, of which each frame and each chunk has a record.
    let chunks: u64 = found.frames.iter().map(|f| u64::from(f.chunks)).sum();
    let tables = len64(found.frames.len()) * len64(FRAME_RECORD_LEN) + chunks * len64(CHUNK_RECORD_LEN);
    if u64::from(offset) + tables + len64(FOOTER_LEN) > len
        || found.frames.is_empty()
        || len - u64::from(offset) > 2 * tables + 4096
    {
        found.stopped_at = Some(offset);
    }
    Ok(found)
}

/// Whether the file begins as packs do.
fn is_pack(medium: &dyn Medium, file: MediumFile) -> Result<bool> {
    Ok(medium.read(file, 0, MAGIC.len())?.as_ref() == MAGIC.as_slice())
}

fn whole_frame(
    medium: &dyn Medium,
    number: PackNumber,
    offset: u32,
    len: u64,
    bases: &KeptFrames,
    kept: impl Fn(PackNumber) -> bool,
) -> Result<Option<(FrameHeader, Frame)>> {
    let Some(header) = header_at(medium, number, offset, len)? else {
        return Ok(None);
    };
    let place = || place_of(medium, number, PackOffset::new(offset));
    // Down to the chunks: later runs deduplicate against them.
    let bytes = medium.read(
        MediumFile::Pack(number),
        u64::from(offset),
        index(header.frame_bytes()),
    )?;
    // Whether a base may be one is asked for each delta, however often it was read.
    let base = |base: &Base| {
        let before = base.pack == number && base.frame.get().saturating_add(base.frame_bytes) <= offset;
        if before || kept(base.pack) {
            bases.base(&base.place())
        } else {
            Err(Error::missing(place_of(medium, base.pack, base.frame)))
        }
    };
    match decode_frame(&bytes, base, place) {
        Ok(frame) => Ok(Some((header, frame))),
        // A base that the device does not give at the moment says nothing of the frame: nothing is cut off for it.
        Err(err @ (Error::Io { .. } | Error::Deadline { .. })) => Err(err),
        Err(_) => Ok(None),
    }
}

/// The frame's header at an offset, if one stands there and the file holds the whole frame.
fn header_at(medium: &dyn Medium, number: PackNumber, offset: u32, len: u64) -> Result<Option<FrameHeader>> {
    let file = MediumFile::Pack(number);
    let left = len.saturating_sub(u64::from(offset));
    if left < len64(FIXED_LEN) {
        return Ok(None);
    }
    let place = place_of(medium, number, PackOffset::new(offset));
    let fixed = medium.read(file, u64::from(offset), FIXED_LEN)?;
    let Ok(header_len) = FrameHeader::peek_len(&fixed, &place) else {
        return Ok(None);
    };
    if left < len64(header_len) {
        return Ok(None);
    }
    let Ok(header) = FrameHeader::decode(&medium.read(file, u64::from(offset), header_len)?, &place) else {
        return Ok(None);
    };
    let end = u64::from(offset) + u64::from(header.frame_bytes());
    Ok((end <= len && end <= u64::from(PACK_MAX)).then_some(header))
}
