//! A blob's bytes one after another, for who wants a [`std::io::Read`].

use super::BlobReader;
use crate::units::len64;
use bytes::Bytes;
use std::io::Read;

/// Most bytes taken from the blob at once.
const STEP: usize = 1 << 20;

/// Reads a blob from its first byte on, every chunk checked.
#[derive(Debug)]
pub struct BlobStream {
    reader: BlobReader,
    next: u64,
    held: Bytes,
}

impl BlobStream {
    /// The bytes of that blob.
    #[must_use]
    pub const fn new(reader: BlobReader) -> Self {
        Self {
            reader,
            next: 0,
            held: Bytes::new(),
        }
    }
}

impl Read for BlobStream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.held.is_empty() && self.next < self.reader.size() {
            self.reader.read_ahead(self.next);
            self.held = self
                .reader
                .slice_at(self.next, STEP)
                .map_err(std::io::Error::other)?;
            self.next += len64(self.held.len());
        }
        let len = buf.len().min(self.held.len());
        let now = self.held.split_to(len);
        buf.get_mut(..len).unwrap_or_default().copy_from_slice(&now);
        Ok(len)
    }
}
