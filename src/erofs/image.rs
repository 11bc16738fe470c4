//! An image that is read: metadata from memory, data from the files of the tree.

use super::Outcome;
use super::inodes::{Made, made_of};
use super::layout::BLOCK;
use crate::blob::{BlobReader, FrameSource};
use crate::error::Result;
use crate::format::content::{Content, Place};
use crate::ids::BlobId;
use crate::tree::{Directory, Rooted};
use crate::units::{index64, len64};
use bytes::Bytes;
use std::sync::Arc;

/// Frames that are loaded ahead of who reads file after file.
const FRAMES_AHEAD: usize = 3;

/// Zeros to give slices of.
static ZEROS: [u8; 4096] = [0; 4096];

/// A file of the tree, from a block's start.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// Where it begins, counted from the first data block.
    pub(super) start: u64,
    /// Its bytes; the rest of its last block is zeros.
    pub(super) size: u64,
    pub(super) blob: BlobId,
    pub(super) content: Content,
}

/// The EROFS image of a tree. Reads are verified as those of the tree's files are.
#[derive(Debug)]
pub struct Image {
    source: Arc<dyn FrameSource>,
    metadata: Bytes,
    extents: Vec<Extent>,
    size: u64,
    held_bytes: u64,
}

impl Image {
    /// Makes the image of a chain's tree: its pages are read, all of them, and none of its files. The same tree gives the same bytes.
    /// [`NoImage`](super::NoImage) is what such an image cannot have: attributes of other namespaces, more than
    /// [`super::NAMES_MAX`] names or [`super::BYTES_MAX`] bytes of what is kept of them.
    pub fn of(tree: &Rooted) -> Outcome<Self> {
        Self::made(tree, &[])
    }

    /// Makes the image of a layer's tree, as overlayfs takes it; `ending` are the root directories of the chains that end with it, where the directories
    /// that it has no entry for have their metadata. [`NoImage`](super::NoImage) is, besides, a link to what is below it, and such a directory
    /// that is not there, or not the same in all of them.
    pub fn of_layer(tree: &Rooted, ending: &[Directory]) -> Outcome<Self> {
        Self::made(tree, ending)
    }

    fn made(tree: &Rooted, ending: &[Directory]) -> Outcome<Self> {
        let mut uuid = [0; 16];
        for (to, from) in uuid.iter_mut().zip(tree.top().stored().hash.as_bytes()) {
            *to = *from;
        }
        let Made {
            metadata,
            extents,
            blocks,
        } = made_of(tree, ending, uuid)?;
        let inline = |extent: &Extent| match &extent.content {
            Content::Inline(bytes) => bytes.len(),
            _ => 0,
        };
        let contents: usize = extents.iter().map(inline).sum();
        let held = metadata.len() + extents.len() * size_of::<Extent>() + contents;
        Ok(Self {
            held_bytes: len64(held),
            source: Arc::clone(tree.rootfs().source()),
            metadata: Bytes::from(metadata),
            extents,
            size: blocks * BLOCK,
        })
    }

    /// Bytes of the image.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of it that are metadata, from its start; whole blocks.
    #[must_use]
    pub const fn metadata_bytes(&self) -> u64 {
        len64(self.metadata.len())
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Up to `max` bytes from `offset`, at least one unless it is at the end: as many as lie together.
    pub fn slice_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        let Some(at) = offset.checked_sub(self.metadata_bytes()) else {
            let start = index64(offset);
            let end = start.saturating_add(max).min(self.metadata.len());
            return Ok(self.metadata.slice(start..end));
        };
        let Some((_, extent)) = self.extent_at(at).filter(|_| offset < self.size) else {
            return Ok(Bytes::new());
        };
        let within = at - extent.start;
        if within < extent.size {
            return self.reader(extent).slice_at(within, max);
        }
        let zeros = extent.size.next_multiple_of(BLOCK) - within;
        let len = index64(zeros).min(max).min(ZEROS.len());
        Ok(Bytes::from_static(&ZEROS).slice(..len))
    }

    /// Begins to load, in the background, what a reader in order wants after `offset`; returns at once.
    pub fn read_ahead(&self, offset: u64) {
        let Some(at) = offset.checked_sub(self.metadata_bytes()) else {
            return;
        };
        let Some((number, extent)) = self.extent_at(at) else {
            return;
        };
        self.reader(extent).read_ahead(at - extent.start);
        let mut places: Vec<Place> = Vec::with_capacity(FRAMES_AHEAD);
        for extent in self.extents.iter().skip(number + 1).take(64 * FRAMES_AHEAD) {
            let Content::List(list) = &extent.content else {
                continue;
            };
            let same = |place: &Place| (place.pack, place.frame) == (list.place.pack, list.place.frame);
            if !places.last().is_some_and(same) {
                places.push(list.place);
                if places.len() == FRAMES_AHEAD {
                    break;
                }
            }
        }
        if !places.is_empty() {
            self.source.prefetch(&places);
        }
    }

    /// The files that lie between two places of the image, and which bytes of each.
    pub fn files_in(&self, from: u64, to: u64) -> impl Iterator<Item = (BlobId, u64, u64)> + '_ {
        let (from, to) = (
            from.saturating_sub(self.metadata_bytes()),
            to.saturating_sub(self.metadata_bytes()),
        );
        let first = self
            .extents
            .partition_point(|extent| extent.start + extent.size <= from);
        let files = self
            .extents
            .iter()
            .skip(first)
            .take_while(move |extent| extent.start < to);
        files.map(move |extent| {
            let (from, to) = (
                from.saturating_sub(extent.start),
                (to - extent.start).min(extent.size),
            );
            (extent.blob, from, to)
        })
    }

    fn reader(&self, extent: &Extent) -> BlobReader {
        BlobReader::new(Arc::clone(&self.source), extent.size, extent.content.clone())
    }

    /// The extent that the place is in, counted from the first data block, and its position.
    fn extent_at(&self, at: u64) -> Option<(usize, &Extent)> {
        let number = self
            .extents
            .partition_point(|extent| extent.start <= at)
            .checked_sub(1)?;
        self.extents.get(number).map(|extent| (number, extent))
    }
}
