//! Storing configs and layers: several at once, each streamed from the source into the store.

use super::trees::{self, Derived};
use super::{check_interrupted, check_known};
use crate::image_source::ImageSource;
use crate::manifest::Descriptor;
use crate::pool::in_parallel;
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::ingest::{BlobWriter, Ingest, StoredBlob};
use holdall::units::len64;
use std::collections::BTreeSet;
use std::io::Read;

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 1 << 20;

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
        Some(reader) => stream(ingest, reader, blob, &place, layer),
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
    reader: Box<dyn Read + Send>,
    blob: &Descriptor,
    place: &str,
    layer: bool,
) -> Result<Fetched> {
    let mut tee = Tee {
        ingest,
        reader,
        writer: ingest.blob_writer(),
        left: blob.size,
        size: blob.size,
        place,
        failed: None,
    };
    let derived = if layer {
        // What the source says comes before what a reader of the layer makes of it.
        let derived = trees::derive(ingest, &mut tee, place);
        if let Some(err) = tee.failed.take() {
            return Err(err);
        }
        Some(derived?)
    } else {
        None
    };
    let mut piece = vec![0; PIECE_BYTES.min(holdall::units::index64(blob.size).max(1))];
    while tee.next(&mut piece)? > 0 {}
    let stored = tee.writer.finish(Some(&blob.digest), Some(blob.size), place)?;
    Ok(Fetched::Stored(stored, derived))
}

/// A source whose bytes go into the store as they are read.
struct Tee<'a> {
    ingest: &'a Ingest,
    reader: Box<dyn Read + Send>,
    writer: BlobWriter,
    left: u64,
    size: u64,
    place: &'a str,
    failed: Option<Error>,
}

impl Tee<'_> {
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
        self.writer.write(piece.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

impl Read for Tee<'_> {
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
