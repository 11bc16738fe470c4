//! A page of a chunk list (FORMAT.md 7): canonical part, then the places beside it.

use super::codec::{Decoder, Encoder};
use super::content::Place;
use crate::error::{Error, Result};
use crate::ids::{ChunkId, PageHash};

/// Most entries in a page.
pub const FANOUT: usize = 1024;
const MAGIC: &[u8; 4] = b"HLST";
/// Length of an entry's canonical part.
pub const ENTRY_LEN: usize = 40;
const HEAD_LEN: usize = 8;

/// One entry: in a leaf page a chunk or a run of zeros, above it a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListEntry {
    /// Where it ends: bytes of plaintext from the start of what the page covers.
    pub end: u64,
    /// A leaf's `ChunkId` (zeros: a run of zeros), or the page's hash.
    pub hash: [u8; 32],
    /// Where the chunk or page is; all zero for a run of zeros.
    pub place: Place,
}

impl ListEntry {
    /// True for a run of zeros.
    #[must_use]
    pub fn is_zeros(&self) -> bool {
        self.hash == *ChunkId::ZEROS.as_bytes()
    }
}

/// A page: a leaf (level 0) of chunks, or an interior page of pages of the level below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// 0 for a leaf.
    pub level: u8,
    /// 1 to [`FANOUT`] entries, their ends strictly ascending.
    pub entries: Vec<ListEntry>,
}

impl ListPage {
    /// Plaintext bytes that the page covers.
    #[must_use]
    pub fn covers(&self) -> u64 {
        self.entries.last().map_or(0, |e| e.end)
    }

    /// The canonical bytes, which the page's hash covers.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(MAGIC)
            .u8(self.level)
            .u8(0)
            .u16(u16::try_from(self.entries.len()).unwrap_or(u16::MAX));
        for entry in &self.entries {
            out.u64(entry.end).put(&entry.hash);
        }
        out.finish()
    }

    /// The page as it is stored, and its hash.
    #[must_use]
    pub fn encode(&self) -> (PageHash, Vec<u8>) {
        let mut out = Encoder::new();
        let canonical = self.canonical();
        let hash = PageHash::of(&canonical);
        out.put(&canonical);
        for entry in &self.entries {
            entry.place.encode(&mut out);
        }
        (hash, out.finish())
    }

    /// Reads a stored page that must have this hash and level.
    pub fn decode(bytes: &[u8], hash: &PageHash, level: u8, place: &str) -> Result<Self> {
        let mut from = Decoder::new(bytes, place);
        from.magic(MAGIC)?;
        let (found, reserved, count) = (from.u8()?, from.u8()?, usize::from(from.u16()?));
        let canonical_len = HEAD_LEN + ENTRY_LEN * count;
        let canonical = bytes
            .get(..canonical_len)
            .ok_or_else(|| from.error("the page is cut short"))?;
        if PageHash::of(canonical) != *hash {
            return Err(Error::mismatch(place, "a chunk list's page"));
        }
        if found != level || reserved != 0 || count == 0 || count > FANOUT {
            return Err(from.error(format_args!("a page of level {found} with {count} entries")));
        }
        let mut places = Decoder::new(bytes.get(canonical_len..).unwrap_or_default(), place);
        let mut entries = Vec::with_capacity(count);
        let mut before = 0;
        for _ in 0..count {
            let entry = ListEntry {
                end: from.u64()?,
                hash: from.array()?,
                place: Place::decode(&mut places)?,
            };
            let len = entry
                .end
                .checked_sub(before)
                .filter(|len| *len > 0)
                .ok_or_else(|| from.error("ends do not ascend"))?;
            if level == 0 && !entry.is_zeros() && len > u64::from(super::CHUNK_MAX) {
                return Err(from.error(format_args!("a chunk of {len} bytes")));
            }
            before = entry.end;
            entries.push(entry);
        }
        places.end()?;
        Ok(Self { level, entries })
    }

    /// The entry that covers `offset`, and where it starts; `None` past the end.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<(u64, ListEntry)> {
        let at = self.entries.partition_point(|e| e.end <= offset);
        let entry = *self.entries.get(at)?;
        let start = at
            .checked_sub(1)
            .and_then(|i| self.entries.get(i))
            .map_or(0, |e| e.end);
        Some((start, entry))
    }
}
