//! Storing configs and layers: several at once, each streamed from the source into the store.

use super::{check_interrupted, check_known};
use crate::image_source::ImageSource;
use crate::manifest::Descriptor;
use crate::pool::in_parallel;
use crate::{Error, Result};
use holdall::ingest::{Ingest, StoredBlob};
use holdall::units::len64;
use std::io::Read;

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 1 << 20;

/// What became of a blob.
pub enum Fetched {
    /// The store has it.
    Stored(StoredBlob),
    /// A layer that may only be had elsewhere, and that the source does not have.
    Absent,
}

/// Stores blobs, skipping those that the medium has; the results are in their order.
pub fn store_all(ingest: &Ingest, source: &dyn ImageSource, blobs: &[Descriptor]) -> Result<Vec<Fetched>> {
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
    let stored = in_parallel(&order, source.parallel(), |(_, blob)| store(ingest, source, blob))?;
    let mut stored: Vec<(usize, Fetched)> = order.iter().map(|(position, _)| *position).zip(stored).collect();
    stored.sort_by_key(|(position, _)| *position);
    Ok(stored.into_iter().map(|(_, fetched)| fetched).collect())
}

fn store(ingest: &Ingest, source: &dyn ImageSource, blob: &Descriptor) -> Result<Fetched> {
    check_interrupted(ingest)?;
    let place = format!("{}: blob {}", source.place(), blob.digest.to_digest());
    if let Some(known) = ingest.known_blob(&blob.digest)? {
        check_known(&known, blob.size, &place)?;
        ingest.monitor().deduplicated(blob.size);
        return Ok(Fetched::Stored(known));
    }
    if let Some(bytes) = blob.embedded() {
        return Ok(Fetched::Stored(ingest.store_small(
            &bytes,
            Some(&blob.digest),
            &place,
        )?));
    }
    match source.open_blob(blob)? {
        Some(reader) => stream(ingest, reader, blob, &place).map(Fetched::Stored),
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
    blob: &Descriptor,
    place: &str,
) -> Result<StoredBlob> {
    let mut writer = ingest.blob_writer();
    let mut piece = vec![0; PIECE_BYTES.min(holdall::units::index64(blob.size).max(1))];
    let mut left = blob.size;
    loop {
        check_interrupted(ingest)?;
        let count = match reader.read(&mut piece) {
            Ok(count) => count,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(Error::read(place, err)),
        };
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        // A source that has more than it said is stopped here, not at the end of what it can send.
        left = left
            .checked_sub(len64(count))
            .ok_or_else(|| Error::mismatch(place, format!("{} bytes", blob.size), "more"))?;
        writer.write(bytes)?;
    }
    Ok(writer.finish(Some(&blob.digest), Some(blob.size), place)?)
}
