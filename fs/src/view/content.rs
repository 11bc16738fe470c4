//! Verified content on its way out: a file that is being read.
//!
//! Owns when a reply is a slice of the cache and when it has to be assembled, and when reading goes
//! on ahead. Knows nothing of names or attributes.

use crate::FsError;
use bytes::Bytes;
use holdall::erofs::Image;
use holdall::ids::BlobId;
use holdall::reader::BlobReader;
use holdall::units::{index64, len64};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// A read at least this long, in bytes, is taken for part of a sequential one: only the kernel's
/// read-ahead, or a program that means to read on, asks for so much.
const SEQUENTIAL_BYTES: usize = 64 << 10;

/// Bytes of a file: a slice of the verified cache where one covers them, else put together.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Straight from the cache.
    Slice(Bytes),
    /// Put together in the caller's buffer.
    Assembled(&'a [u8]),
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Assembled(bytes) => bytes,
        }
    }
}

/// The part of `bytes` at `offset`, at most `len` long; empty past the end.
pub(super) fn cut(bytes: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = index64(offset).min(bytes.len());
    let end = start.saturating_add(len).min(bytes.len());
    bytes.slice(start..end)
}

/// Where a file's bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A blob.
    Blob(BlobReader),
    /// A file of a tree.
    File(BlobId, BlobReader),
    /// A tree as a file system's image.
    Erofs(Image),
}

impl Source {
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Blob(reader) | Self::File(_, reader) => reader.size(),
            Self::Erofs(image) => image.size(),
        }
    }

    fn slice_at(&self, offset: u64, max: usize) -> holdall::Result<Bytes> {
        match self {
            Self::Blob(reader) | Self::File(_, reader) => reader.slice_at(offset, max),
            Self::Erofs(image) => image.slice_at(offset, max),
        }
    }

    fn read_ahead(&self, offset: u64) {
        match self {
            Self::Blob(reader) | Self::File(_, reader) => reader.read_ahead(offset),
            Self::Erofs(image) => image.read_ahead(offset),
        }
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct OpenFile {
    number: u64,
    source: Source,
    /// Where a read would begin that goes on from the last one. Only a hint: threads race for it.
    next: AtomicU64,
}

impl OpenFile {
    pub(super) fn new(number: u64, source: Source) -> Self {
        Self {
            number,
            source,
            next: AtomicU64::new(0),
        }
    }

    /// Length in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.source.size()
    }

    /// Bytes of memory that it takes, besides the frames that it is read from.
    pub(super) const fn held_bytes(&self) -> u64 {
        match &self.source {
            Source::Blob(_) | Source::File(..) => 0,
            Source::Erofs(image) => image.held_bytes(),
        }
    }

    /// Files of a tree that these bytes are of, and which bytes of each.
    pub(super) fn files_in(
        &self,
        offset: u64,
        len: u64,
    ) -> Box<dyn Iterator<Item = (BlobId, u64, u64)> + '_> {
        let end = offset.saturating_add(len).min(self.size());
        match &self.source {
            Source::Blob(_) => Box::new(std::iter::empty()),
            Source::File(blob, _) => Box::new((offset < end).then_some((*blob, offset, end)).into_iter()),
            Source::Erofs(image) => Box::new(image.files_in(offset, end)),
        }
    }

    /// `len` bytes from `offset`, fewer only at the end: the kernel takes a short reply for the end of
    /// the file, so an early end is an error and not a reply.
    pub(super) fn read<'a>(
        &self,
        offset: u64,
        len: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Piece<'a>, FsError> {
        let size = self.source.size();
        let len = len.min(index64(size.saturating_sub(offset)));
        if len == 0 {
            return Ok(Piece::Slice(Bytes::new()));
        }
        let end = offset.saturating_add(len64(len));
        let sequential = self.next.swap(end, Ordering::Relaxed) == offset || len >= SEQUENTIAL_BYTES;
        // First, so that what this read needs besides its first frame is loaded beside it too.
        if sequential {
            self.source.read_ahead(offset);
        }
        let first = self.source.slice_at(offset, len)?;
        if first.len() >= len {
            return Ok(Piece::Slice(cut(&first, 0, len)));
        }
        buffer.clear();
        buffer.extend_from_slice(&first);
        while buffer.len() < len {
            let at = offset.saturating_add(len64(buffer.len()));
            let slice = self.source.slice_at(at, len - buffer.len())?;
            if slice.is_empty() {
                return Err(FsError::CutShort {
                    number: self.number,
                    end: at,
                    size,
                });
            }
            buffer.extend_from_slice(&slice);
        }
        Ok(Piece::Assembled(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_leaves_the_bytes() {
        let bytes = Bytes::from_static(b"holdall");
        for (offset, len, expected) in [
            (0, 7, &b"holdall"[..]),
            (4, 2, b"al"),
            (4, usize::MAX, b"all"),
            (7, 1, b""),
            (u64::MAX, usize::MAX, b""),
        ] {
            assert_eq!(cut(&bytes, offset, len), expected);
        }
    }
}
