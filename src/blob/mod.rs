//! Blobs: whole byte sequences read at any offset through their chunk lists.
//!
//! Knows frames and pages, not names. Where frames come from (straight from the medium, or through a
//! cache) is behind [`FrameSource`].

mod keeping;
mod lent;
mod parts;
mod reading;
mod remade;
mod stream;

pub use remade::{RecipeFigures, RemadeCache};
pub use stream::BlobStream;

use crate::error::{Error, Result};
use crate::format::content::{Content, ListRef, Place};
use crate::format::list::{ListEntry, ListPage};
use crate::format::tree::TreePage;
use crate::ids::{BlobId, ChunkId, PageHash, Sha256};
use crate::medium::{Medium, MediumFile};
use crate::pack::{self, Frame, KeptFrames};
use crate::units::{index64, len32, len64};
use bytes::Bytes;
use reading::Reading;
use std::sync::Arc;

/// Where verified frames, and the pages in them, come from.
pub trait FrameSource: Send + Sync + std::fmt::Debug {
    /// The frame at a place, every byte checked.
    fn frame(&self, place: &Place) -> Result<Arc<Frame>>;

    /// The chunk, checked, where it stands once more and can be had sooner than from its place.
    fn at_hand(&self, piece: &Piece) -> Option<Bytes> {
        let _ = piece;
        None
    }

    /// Bytes of plaintext of the frame at a place, for figures: what it stores need not be read.
    fn plain_bytes(&self, place: &Place) -> Result<u32> {
        Ok(len32(self.frame(place)?.plain_bytes()))
    }

    /// Says which frames will be wanted next, soonest first: they may be loaded in the background.
    fn prefetch(&self, places: &[Place]) {
        let _ = places;
    }

    /// The frame's place, for messages.
    fn name_of(&self, place: &Place) -> String;

    /// Where layers that are made again are kept while they are read.
    fn remade(&self) -> &RemadeCache;

    /// The page of a chunk list with that hash.
    fn list_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<ListPage>> {
        let name = || self.name_of(place);
        let bytes = self.frame(place)?.page(place.start, name)?;
        Ok(Arc::new(ListPage::decode(&bytes, hash, level, &name())?))
    }

    /// The page of a directory with that hash.
    fn tree_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<TreePage>> {
        let name = || self.name_of(place);
        let bytes = self.frame(place)?.page(place.start, name)?;
        Ok(Arc::new(TreePage::decode(&bytes, hash, level, &name())?))
    }
}

/// Frames straight from the medium, of which the last ones stay: for who writes, checks, or walks in order.
#[derive(Debug)]
pub struct FromMedium {
    frames: KeptFrames,
    remade: RemadeCache,
}

impl FromMedium {
    /// A source that reads that medium, with room for so many bytes of plaintext.
    #[must_use]
    pub fn new(medium: Arc<dyn Medium>, room: u64) -> Self {
        Self {
            frames: KeptFrames::new(medium, room),
            remade: RemadeCache::default(),
        }
    }

    /// What it reads.
    #[must_use]
    pub fn medium(&self) -> &dyn Medium {
        self.frames.medium()
    }
}

impl FrameSource for FromMedium {
    fn frame(&self, place: &Place) -> Result<Arc<Frame>> {
        self.frames.frame(place)
    }

    fn plain_bytes(&self, place: &Place) -> Result<u32> {
        pack::read_plain_bytes(self.medium(), place)
    }

    fn name_of(&self, place: &Place) -> String {
        name_of(self.medium(), place)
    }

    fn remade(&self) -> &RemadeCache {
        &self.remade
    }
}

/// A frame's place on that medium, for messages.
#[must_use]
pub fn name_of(medium: &dyn Medium, place: &Place) -> String {
    format!(
        "{} at {}",
        medium.place(MediumFile::Pack(place.pack)),
        place.frame
    )
}

/// A chunk, or a run of zeros, of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its offset in the blob.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Its id; [`ChunkId::ZEROS`] for a run of zeros.
    pub id: ChunkId,
    /// Where it is.
    pub place: Place,
}

impl Piece {
    /// True for a run of zeros.
    #[must_use]
    pub fn is_zeros(&self) -> bool {
        self.id == ChunkId::ZEROS
    }
}

/// Random access to the verified bytes of a blob or file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobReader {
    source: Arc<dyn FrameSource>,
    size: u64,
    content: Arc<Content>,
    /// Of a blob: what a recipe's outcome is checked by.
    hashes: Option<(Sha256, BlobId)>,
    /// Of a blob that has a recipe: where it is being read.
    reading: Option<Arc<Reading>>,
}

/// Zeros to give slices of.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl BlobReader {
    /// A reader over content of that size, which is no recipe.
    #[must_use]
    pub fn new(source: Arc<dyn FrameSource>, size: u64, content: Content) -> Self {
        Self {
            source,
            size,
            content: Arc::new(content),
            hashes: None,
            reading: None,
        }
    }

    /// A reader over a blob of that size and these hashes, which a recipe's outcome is checked by: each group by the BlobId
    /// before it leaves, and of what is read in order the SHA-256 before its end does.
    #[must_use]
    pub fn of_blob(
        source: Arc<dyn FrameSource>,
        hashes: (Sha256, BlobId),
        size: u64,
        content: Content,
    ) -> Self {
        let reading = matches!(content, Content::Recipe(_)).then(Arc::default);
        Self {
            hashes: Some(hashes),
            reading,
            ..Self::new(source, size, content)
        }
    }

    /// The layer that it is, if it is made again from a recipe, and where it is being read.
    fn layer(&self) -> Result<Option<(Arc<remade::Remade>, &Reading)>> {
        let (Content::Recipe(recipe), Some(hashes), Some(reading)) =
            (self.content.as_ref(), &self.hashes, &self.reading)
        else {
            return Ok(None);
        };
        let cache = self.source.remade();
        let layer = reading.layer(|| cache.layer(&self.source, hashes, self.size, recipe))?;
        Ok(Some((layer, reading)))
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that it takes of the packs: of each frame, headers included, the share that its chunks have in the plaintext.
    /// Chunks that others use too are counted. Reads those frames' headers; nothing for a recipe or what is kept inline.
    pub fn stored_bytes(&self) -> Result<u64> {
        let (mut sum, mut last) = (0, None);
        for piece in self.pieces(0) {
            let piece = piece?;
            if piece.is_zeros() {
                continue;
            }
            let Place {
                pack,
                frame,
                frame_bytes,
                ..
            } = piece.place;
            let plain = match last {
                Some((same, plain)) if same == (pack, frame, frame_bytes) => plain,
                _ => u64::from(self.source.plain_bytes(&piece.place)?).max(1),
            };
            last = Some(((pack, frame, frame_bytes), plain));
            sum += (piece.end - piece.start) * u64::from(frame_bytes) / plain;
        }
        Ok(sum)
    }

    /// What its recipe is made of; `None` where it has none.
    pub fn recipe(&self) -> Result<Option<RecipeFigures>> {
        self.layer()?.map(|(layer, _)| layer.figures()).transpose()
    }

    /// The leaf page that covers `offset`, and the offset it begins at; `None` for a single chunk.
    fn leaf_page(&self, list: &ListRef, offset: u64) -> Result<Option<(u64, Arc<ListPage>)>> {
        if list.depth == 0 {
            return Ok(None);
        }
        let mut page = self.source.list_page(&list.hash, list.depth - 1, &list.place)?;
        if page.covers() != self.size {
            let why = format!(
                "a chunk list covers {} bytes of a blob of {}",
                page.covers(),
                self.size
            );
            return Err(Error::malformed(self.source.name_of(&list.place), why));
        }
        let mut base = 0;
        while page.level > 0 {
            let (start, entry) = page
                .find(offset - base)
                .ok_or_else(|| self.past_end(&list.place))?;
            let below =
                self.source
                    .list_page(&PageHash::from_bytes(entry.hash), page.level - 1, &entry.place)?;
            if below.covers() != entry.end - start {
                return Err(Error::malformed(
                    self.source.name_of(&entry.place),
                    "a chunk list's page covers less or more than its parent says",
                ));
            }
            base += start;
            page = below;
        }
        Ok(Some((base, page)))
    }

    fn past_end(&self, place: &Place) -> Error {
        Error::malformed(self.source.name_of(place), "a chunk list ends before its blob")
    }

    fn unsupported(&self) -> Error {
        Error::Unsupported {
            place: "a blob".to_owned(),
            what: format!("content '{}'", self.content.name()),
        }
    }

    /// The piece that covers `offset`, which must be below the size, and the pieces that follow it in
    /// the same page as far as they are at hand.
    fn pieces_at(&self, offset: u64) -> Result<(Piece, Vec<Piece>)> {
        let Content::List(list) = self.content.as_ref() else {
            return Err(self.unsupported());
        };
        let Some((base, page)) = self.leaf_page(list, offset)? else {
            let id = ChunkId::from_bytes(*list.hash.as_bytes());
            return Ok((
                Piece {
                    start: 0,
                    end: self.size,
                    id,
                    place: list.place,
                },
                Vec::new(),
            ));
        };
        let at = page.entries.partition_point(|e| e.end <= offset - base);
        let mut start = base
            + at.checked_sub(1)
                .and_then(|i| page.entries.get(i))
                .map_or(0, |e| e.end);
        let mut pieces = page.entries.iter().skip(at).take(48).map(|e: &ListEntry| {
            let piece = Piece {
                start,
                end: base + e.end,
                id: ChunkId::from_bytes(e.hash),
                place: e.place,
            };
            start = piece.end;
            piece
        });
        let first = pieces.next().ok_or_else(|| self.past_end(&list.place))?;
        Ok((first, pieces.collect()))
    }

    /// Every piece, in order, from the one that covers `offset`.
    pub fn pieces(&self, offset: u64) -> impl Iterator<Item = Result<Piece>> + '_ {
        let mut at = offset;
        let mut held: std::collections::VecDeque<Piece> = std::collections::VecDeque::new();
        let listed = matches!(self.content.as_ref(), Content::List(_));
        std::iter::from_fn(move || {
            if held.is_empty() {
                if at >= self.size || !listed {
                    return None;
                }
                match self.pieces_at(at) {
                    Ok((first, more)) => {
                        held.push_back(first);
                        held.extend(more);
                    }
                    Err(e) => {
                        at = self.size;
                        return Some(Err(e));
                    }
                }
            }
            let piece = held.pop_front()?;
            at = piece.end;
            Some(Ok(piece))
        })
    }

    /// The longest run of verified bytes at hand from `offset`, at most `max` and at least one byte;
    /// empty only at the end of the blob. No copy: a slice of a frame, which may be shared.
    pub fn slice_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        if offset >= self.size || max == 0 {
            return Ok(Bytes::new());
        }
        if let Content::Inline(bytes) = self.content.as_ref() {
            let rest = bytes.get(index64(offset)..).unwrap_or_default();
            return Ok(Bytes::copy_from_slice(rest.get(..max).unwrap_or(rest)));
        }
        if let Some((layer, reading)) = self.layer()? {
            return layer.slice_at(reading, offset, max);
        }
        let (piece, more) = self.pieces_at(offset)?;
        let skip = offset - piece.start;
        let left = piece.end - offset;
        if piece.is_zeros() {
            let n = index64(left).min(max).min(ZEROS.len());
            return Ok(Bytes::from_static(ZEROS.get(..n).unwrap_or_default()));
        }
        if let Some(chunk) = self.source.at_hand(&piece) {
            let n = index64(left).min(max);
            return Ok(chunk.slice(index64(skip)..index64(skip) + n));
        }
        let frame = self.source.frame(&piece.place)?;
        let check = |p: &Piece| {
            frame.chunk(p.place.start, &p.id, p.end - p.start, || {
                self.source.name_of(&p.place)
            })
        };
        let first = check(&piece)?;
        // Chunks that follow each other in the frame as they do in the blob leave as one slice.
        let mut last = piece;
        for next in &more {
            let adjoins = !next.is_zeros()
                && (next.place.pack, next.place.frame) == (last.place.pack, last.place.frame)
                && u64::from(next.place.start) == u64::from(last.place.start) + (last.end - last.start);
            if !adjoins || last.end - offset >= len64(max) || check(next).is_err() {
                break;
            }
            last = *next;
        }
        if last == piece {
            let n = index64(left).min(max);
            return Ok(first.slice(index64(skip)..index64(skip) + n));
        }
        let n = index64(last.end - offset).min(max);
        let start = piece.place.start.saturating_add(len32(index64(skip)));
        Ok(frame.bytes(start, start.saturating_add(len32(n))))
    }

    /// Fills `buf` from `offset` as far as the blob goes; how many bytes that was.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let slice = self.slice_at(offset + len64(done), rest.len())?;
            if slice.is_empty() {
                break;
            }
            for (to, from) in rest.chunks_mut(slice.len()).take(1).zip(std::iter::once(&slice)) {
                to.copy_from_slice(from);
            }
            done += slice.len();
        }
        Ok(done)
    }

    /// Begins to load, in the background, the frames after the one that covers `offset`; returns at once.
    pub fn read_ahead(&self, offset: u64) {
        if offset >= self.size || !matches!(self.content.as_ref(), Content::List(_)) {
            return;
        }
        // A hint: whatever is wrong will be said by the read itself.
        if let Ok((piece, more)) = self.pieces_at(offset) {
            let mut last = piece.place;
            let mut next = Vec::new();
            for piece in more
                .iter()
                .filter(|p| !p.is_zeros() && self.source.at_hand(p).is_none())
            {
                if (piece.place.pack, piece.place.frame) != (last.pack, last.frame) {
                    next.push(piece.place);
                    last = piece.place;
                }
            }
            self.source.prefetch(&next);
        }
    }
}
