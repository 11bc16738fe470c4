//! Reading a frame: one read into a private buffer, then every check, then verified plaintext.

use super::decompress::decompress;
use super::delta;
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::frame::{Base, Codec, FIXED_LEN, FRAME_MAX, FrameHeader, FrameKind};
use crate::ids::{ChunkId, FrameHash};
use crate::medium::{Medium, MediumFile};
use crate::units::{PackNumber, PackOffset, index, len32};
use bytes::Bytes;
use std::sync::Arc;

/// A frame whose every byte was checked.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What its chunks are.
    pub kind: FrameKind,
    /// BLAKE3 of its stored bytes.
    pub stored_hash: FrameHash,
    /// How its bytes are stored.
    pub codec: Codec,
    plain: Bytes,
    /// Each chunk's id and where it ends; the ends ascend.
    chunks: Vec<(u32, ChunkId)>,
}

impl Frame {
    /// The plaintext.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Bytes of plaintext.
    #[must_use]
    pub const fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// The chunk that begins at `start`, which must have this id and length.
    pub fn chunk(&self, start: u32, id: &ChunkId, len: u64, place: impl Fn() -> String) -> Result<Bytes> {
        let at = self.chunks.partition_point(|(end, _)| *end <= start);
        let begins = at
            .checked_sub(1)
            .and_then(|i| self.chunks.get(i))
            .map_or(0, |(end, _)| *end);
        match self.chunks.get(at) {
            Some((end, found)) if begins == start && found == id && u64::from(end - start) == len => {
                Ok(self.plain.slice(index(start)..index(*end)))
            }
            _ => Err(Error::malformed(
                place(),
                format!("a place leads to offset {start} of this frame, where chunk {id} is not"),
            )),
        }
    }

    /// The page that begins at `start`. Its own hash is checked by who knows it.
    pub fn page(&self, start: u32, place: impl Fn() -> String) -> Result<Bytes> {
        let at = self.chunks.partition_point(|(end, _)| *end <= start);
        let begins = at
            .checked_sub(1)
            .and_then(|i| self.chunks.get(i))
            .map_or(0, |(end, _)| *end);
        match self.chunks.get(at) {
            Some((end, _)) if begins == start && self.kind == FrameKind::Pages => {
                Ok(self.plain.slice(index(start)..index(*end)))
            }
            _ => Err(Error::malformed(
                place(),
                format!("a place leads to offset {start} of this frame, where no page begins"),
            )),
        }
    }

    /// The bytes from `start` to `end` of the plaintext; empty where they are not all there.
    #[must_use]
    pub fn bytes(&self, start: u32, end: u32) -> Bytes {
        if start <= end && index(end) <= self.plain.len() {
            self.plain.slice(index(start)..index(end))
        } else {
            Bytes::new()
        }
    }

    /// Every chunk with its offset, in order.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, ChunkId, Bytes)> + '_ {
        self.chunks.iter().scan(0, |start, (end, id)| {
            let chunk = (*start, *id, self.plain.slice(index(*start)..index(*end)));
            *start = *end;
            Some(chunk)
        })
    }
}

/// Where a frame is, for messages.
#[must_use]
pub fn place_of(medium: &dyn Medium, pack: PackNumber, frame: PackOffset) -> String {
    format!("{} at {frame}", medium.place(MediumFile::Pack(pack)))
}

/// Reads the header of the frame that `at` names, and nothing of what it stores.
pub fn read_header(medium: &dyn Medium, at: &Place, place: &str) -> Result<FrameHeader> {
    let (file, from) = (MediumFile::Pack(at.pack), u64::from(at.frame.get()));
    let fixed = medium.read(file, from, FIXED_LEN.min(index(at.frame_bytes)))?;
    let len = FrameHeader::peek_len(&fixed, place)?;
    if len > index(at.frame_bytes) {
        return Err(Error::malformed(
            place,
            "a place names a frame shorter than its header",
        ));
    }
    FrameHeader::decode(&medium.read(file, from, len)?, place)
}

/// Bytes of plaintext of the frame that `at` names, as its header says. What it stores is not read: this is for figures.
pub fn read_plain_bytes(medium: &dyn Medium, at: &Place) -> Result<u32> {
    let place = place_of(medium, at.pack, at.frame);
    let header = read_header(medium, at, &place)?;
    check_len(&header, at, || place)?;
    Ok(header.plain_bytes)
}

fn check_len(header: &FrameHeader, at: &Place, place: impl FnOnce() -> String) -> Result<()> {
    if header.frame_bytes() == at.frame_bytes {
        return Ok(());
    }
    let (found, said) = (header.frame_bytes(), at.frame_bytes);
    Err(Error::malformed(
        place(),
        format!("a frame of {found} bytes, where a place says {said}"),
    ))
}

/// Reads and checks the frame that `at` names, and its base where it is a delta: its length, its header, BLAKE3 of
/// the stored bytes, bounded decompression, BLAKE3 of each chunk; in this order, from the one buffer that was read.
pub fn load(medium: &dyn Medium, at: &Place) -> Result<Frame> {
    load_with(medium, at, |base| delta::load_base(medium, &base.place()))
}

/// The same, with the base had from `bases`: a cache that [`delta::check_base`] was asked about, or the medium.
pub fn load_with(
    medium: &dyn Medium,
    at: &Place,
    bases: impl FnOnce(&Base) -> Result<Arc<Frame>>,
) -> Result<Frame> {
    let place = || place_of(medium, at.pack, at.frame);
    if at.frame_bytes > FRAME_MAX {
        return Err(Error::malformed(
            place(),
            format!("a place names a frame of {} bytes", at.frame_bytes),
        ));
    }
    let bytes = medium.read(
        MediumFile::Pack(at.pack),
        u64::from(at.frame.get()),
        index(at.frame_bytes),
    )?;
    let header = FrameHeader::decode(&bytes, &place())?;
    check_len(&header, at, place)?;
    decode(&header, bytes.slice(header.len()..), bases, place)
}

/// Checks a whole frame that was read already: header, stored bytes, plaintext, chunks. Its base, where it is a delta,
/// comes from `bases`.
pub fn decode_frame(
    bytes: &[u8],
    bases: impl FnOnce(&Base) -> Result<Arc<Frame>>,
    place: impl Fn() -> String,
) -> Result<Frame> {
    let header = FrameHeader::decode(bytes, &place())?;
    let stored = Bytes::copy_from_slice(bytes.get(header.len()..).unwrap_or_default());
    decode(&header, stored, bases, place)
}

/// Checks stored bytes against their header, without decompressing.
pub fn check_stored(header: &FrameHeader, stored: &[u8], place: impl Fn() -> String) -> Result<()> {
    if len32(stored.len()) != header.stored_bytes || FrameHash::of(stored) != header.stored_hash {
        return Err(Error::mismatch(place(), "a stored frame"));
    }
    Ok(())
}

/// Plaintext out of a frame's stored bytes, checked before and after.
fn decode(
    header: &FrameHeader,
    stored: Bytes,
    bases: impl FnOnce(&Base) -> Result<Arc<Frame>>,
    place: impl Fn() -> String,
) -> Result<Frame> {
    check_stored(header, &stored, &place)?;
    let broken = |why| Error::malformed(place(), format!("zstd: {why}"));
    let plain = match header.codec {
        Codec::Raw => stored,
        Codec::Zstd => {
            // The buffer is of the declared size, which the header's decoder has bounded; a stream
            // that wants more fails instead of growing it.
            Bytes::from(decompress(&stored, &[], index(header.plain_bytes)).map_err(broken)?)
        }
        Codec::ZstdDelta => {
            let missing = || Error::malformed(place(), "a delta that names no base");
            let base = header.base.as_ref().ok_or_else(missing)?;
            // The frame's own stored bytes hold; whatever is wrong now is the base's, and says so.
            let frame = bases(base)?;
            delta::check_base(&frame, base, header.kind, &place)?;
            Bytes::from(decompress(&stored, frame.plain(), index(header.plain_bytes)).map_err(broken)?)
        }
    };
    if len32(plain.len()) != header.plain_bytes {
        return Err(Error::malformed(
            place(),
            format!(
                "{} bytes of plaintext, where the header says {}",
                plain.len(),
                header.plain_bytes
            ),
        ));
    }
    let mut chunks = Vec::with_capacity(header.chunks.len());
    let mut start = 0;
    for chunk in &header.chunks {
        let end = start + chunk.len;
        if ChunkId::of(plain.get(index(start)..index(end)).unwrap_or_default()) != chunk.id {
            return Err(Error::mismatch(place(), "a chunk"));
        }
        chunks.push((end, chunk.id));
        start = end;
    }
    Ok(Frame {
        kind: header.kind,
        stored_hash: header.stored_hash,
        codec: header.codec,
        plain,
        chunks,
    })
}
