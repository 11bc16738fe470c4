//! Storing configs and layers: several at once, each streamed from the source into the store.

use super::retrace::{self, Retraced};
use super::trees::{self, Derived};
use super::{check_interrupted, check_known};
use crate::image_source::ImageSource;
use crate::manifest::Descriptor;
use crate::pool::in_parallel;
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, StoredBlob};
use holdall::units::len64;
use std::collections::BTreeSet;
use std::io::{Cursor, Read};

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 1 << 20;
/// Layers from this size on are kept as recipes: 16 KiB. Of smaller ones the recipe would be larger.
pub const RETRACED_MIN: u64 = 16 << 10;

/// What became of a blob.
pub enum Fetched {
    /// The store has it; with its tree, where it is a layer that came in now.
    Stored(StoredBlob, Option<Derived>),
    /// A layer that may only be had elsewhere, and that the source does not have.
    Absent,
}

/// Stores blobs, skipping those that the medium has; the results are in their order.
/// Those that are `layers` are read as trees while they come in.
pub fn store_all(
    ingest: &Ingest,
    source: &dyn ImageSource,
    blobs: &[Descriptor],
    layers: &BTreeSet<Sha256>,
) -> Result<Vec<Fetched>> {
    let mut expected: u64 = 0;
    for blob in blobs {
        if ingest.known_blob(&blob.digest)?.is_none() {
            expected = expected.saturating_add(blob.size);
        }
    }
    ingest.monitor().expect(expected);
    // The largest first, so that none of them is left to the end alone.
    let mut order: Vec<(usize, &Descriptor)> = blobs.iter().enumerate().collect();
    order.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.size));
    let stored = in_parallel(&order, source.parallel(), |(_, blob)| {
        store(ingest, source, blob, layers.contains(&blob.digest))
    })?;
    let mut stored: Vec<(usize, Fetched)> = order.iter().map(|(position, _)| *position).zip(stored).collect();
    stored.sort_by_key(|(position, _)| *position);
    Ok(stored.into_iter().map(|(_, fetched)| fetched).collect())
}

fn store(ingest: &Ingest, source: &dyn ImageSource, blob: &Descriptor, layer: bool) -> Result<Fetched> {
    check_interrupted(ingest)?;
    let place = format!("{}: blob {}", source.place(), blob.digest.to_digest());
    if let Some(known) = ingest.known_blob(&blob.digest)? {
        check_known(&known, blob.size, &place)?;
        ingest.monitor().deduplicated(blob.size);
        return Ok(Fetched::Stored(known, None));
    }
    if let Some(bytes) = blob.embedded() {
        let stored = ingest.store_small(&bytes, Some(&blob.digest), &place)?;
        return Ok(Fetched::Stored(stored, None));
    }
    match source.open_blob(blob)? {
        Some(reader) => stream(ingest, reader, source, blob, &place, layer),
        None if blob.is_nondistributable() => {
            ingest.monitor().warn(&format!(
                "{place}: left out: the source does not have this layer, which is distributed elsewhere only"
            ));
            Ok(Fetched::Absent)
        }
        None => Err(Error::missing(place)),
    }
}

fn stream(
    ingest: &Ingest,
    mut reader: Box<dyn Read + Send>,
    source: &dyn ImageSource,
    blob: &Descriptor,
    place: &str,
    layer: bool,
) -> Result<Fetched> {
    if layer && blob.size >= RETRACED_MIN && !ingest.level().keeps_layers_whole() {
        let (gzip, again) = is_gzip(reader, place)?;
        reader = again;
        if gzip {
            match retrace::store(ingest, reader, blob, place)? {
                Retraced::Stored(stored, derived) => return Ok(Fetched::Stored(stored, Some(derived))),
                Retraced::Not => {}
            }
            // Why comes out when it is read once more, to be kept as it is.
            reader = source
                .open_blob(blob)?
                .ok_or_else(|| Error::missing(place.to_owned()))?;
        }
    }
    let mut writer = ingest.blob_writer();
    let mut tee = Tee::new(ingest, reader, blob.size, place, |bytes| Ok(writer.write(bytes)?));
    let derived = if layer {
        // What the source says comes before what a reader of the layer makes of it.
        let derived = trees::derive(ingest, &mut tee, place);
        tee.check()?;
        Some(derived?)
    } else {
        None
    };
    tee.drain()?;
    drop(tee);
    let stored = writer.finish(Some(&blob.digest), Some(blob.size), place)?;
    Ok(Fetched::Stored(stored, derived))
}

/// Whether that is gzip, by its first bytes; and the source as it was.
fn is_gzip(mut reader: Box<dyn Read + Send>, place: &str) -> Result<(bool, Box<dyn Read + Send>)> {
    let mut magic = Vec::new();
    reader
        .by_ref()
        .take(2)
        .read_to_end(&mut magic)
        .map_err(|err| Error::read(place, err))?;
    let gzip = magic == [0x1f, 0x8b];
    Ok((gzip, Box::new(Cursor::new(magic).chain(reader))))
}

/// A source whose bytes also go elsewhere as they are read.
pub(super) struct Tee<'a, W> {
    ingest: &'a Ingest,
    reader: Box<dyn Read + Send>,
    to: W,
    left: u64,
    size: u64,
    place: &'a str,
    failed: Option<Error>,
}

impl<'a, W: FnMut(&[u8]) -> Result<()>> Tee<'a, W> {
    /// Reads a blob of `size` bytes; `to` is given them, in order.
    pub(super) fn new(
        ingest: &'a Ingest,
        reader: Box<dyn Read + Send>,
        size: u64,
        place: &'a str,
        to: W,
    ) -> Self {
        Self {
            ingest,
            reader,
            to,
            left: size,
            size,
            place,
            failed: None,
        }
    }

    /// Fails where the source, or what its bytes go to, has.
    pub(super) fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Reads what is left.
    pub(super) fn drain(&mut self) -> Result<()> {
        let mut piece = vec![0; PIECE_BYTES.min(holdall::units::index64(self.size).max(1))];
        while self.next(&mut piece)? > 0 {}
        Ok(())
    }

    fn next(&mut self, piece: &mut [u8]) -> Result<usize> {
        check_interrupted(self.ingest)?;
        let count = loop {
            match self.reader.read(piece) {
                Ok(count) => break count,
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Error::read(self.place, err)),
            }
        };
        // A source that has more than it said is stopped here, not at the end of what it can send.
        self.left = self
            .left
            .checked_sub(len64(count))
            .ok_or_else(|| Error::mismatch(self.place, format!("{} bytes", self.size), "more"))?;
        (self.to)(piece.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

impl<W: FnMut(&[u8]) -> Result<()>> Read for Tee<'_, W> {
    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        if self.failed.is_some() {
            return Err(std::io::Error::other("the source failed"));
        }
        self.next(piece).map_err(|err| {
            let text = err.to_string();
            self.failed = Some(err);
            std::io::Error::other(text)
        })
    }
}
