//! Layers that come in gzipped: read once, into their tree and the recipe that gives their bytes back.
//!
//! The layer's own bytes are hashed and let go. What no model of an encoder predicts is kept within the recipe.

use super::blobs::Tee;
use super::trees::{Derived, Entering};
use crate::layer::{self, Limits, Retrace};
use crate::manifest::Descriptor;
use crate::{Error, Result};
use crossbeam_channel::{Sender, bounded};
use holdall::ids::{BlobId, Sha256};
use holdall::ingest::{BlobWriter, Ingest, LayerFault, StoredBlob, StoredTree};
use holdall_recipe::outboard::OutboardWriter;
use holdall_recipe::skeleton::Stretch;
use holdall_recipe::table::{MadePart, TableWriter};
use sha2::Digest as _;
use std::io::Read;
use std::thread::JoinHandle;

/// What became of a layer.
pub enum Retraced {
    /// It is kept as a recipe.
    Stored(StoredBlob, Derived),
    /// It cannot be: it is no tree, or an entry of it takes the place of another.
    Not,
}

/// A layer's identity, and what its groups are checked by.
struct Identity {
    sha256: Sha256,
    blob_id: BlobId,
    outboard: Vec<u8>,
}

/// Hashes a layer's bytes beside the reading of them.
struct Hashing {
    pieces: Sender<Vec<u8>>,
    thread: JoinHandle<Identity>,
}

impl Hashing {
    fn start() -> Result<Self> {
        let (pieces, from) = bounded::<Vec<u8>>(4);
        let run = move || {
            let (mut sha256, mut outboard) = (sha2::Sha256::new(), OutboardWriter::default());
            for piece in from {
                sha256.update(&piece);
                outboard.update(&piece);
            }
            let (hash, outboard) = outboard.finish();
            Identity {
                sha256: Sha256::from_bytes(sha256.finalize().into()),
                blob_id: BlobId::from_bytes(hash),
                outboard,
            }
        };
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(run);
        let thread = thread.map_err(|err| holdall::Error::io("a thread", err))?;
        Ok(Self { pieces, thread })
    }

    fn finish(self) -> Result<Identity> {
        drop(self.pieces);
        self.thread.join().map_err(|_| died())
    }
}

fn died() -> Error {
    Error::refused("the hashing thread died".to_owned())
}

/// Writes a recipe as it is found.
struct Recording {
    writer: BlobWriter,
    table: TableWriter,
}

impl Retrace for Recording {
    fn part(&mut self, part: MadePart) -> Result<()> {
        Ok(self.writer.write(&self.table.part(part))?)
    }

    fn stretch(&mut self, stretch: Stretch) -> Result<()> {
        Ok(self.writer.write(&self.table.stretch(stretch))?)
    }
}

/// What a layer was taken apart into.
struct Parts {
    identity: Identity,
    diff_id: Sha256,
    recipe: StoredBlob,
    tree: StoredTree,
}

/// Stores a gzipped layer as its tree and a recipe. The error is that of the store, or of the source.
pub fn store(
    ingest: &Ingest,
    reader: Box<dyn Read + Send>,
    blob: &Descriptor,
    place: &str,
) -> Result<Retraced> {
    let Some(parts) = take_apart(ingest, reader, blob, place)? else {
        return Ok(Retraced::Not);
    };
    let Identity { sha256, blob_id, .. } = parts.identity;
    let stored = ingest.remade_blob(&sha256, &blob_id, blob.size, &parts.recipe, &parts.tree)?;
    let derived = Derived::Tree {
        diff_id: parts.diff_id,
        tree: parts.tree,
    };
    Ok(Retraced::Stored(stored, derived))
}

/// Reads the layer into its parts, which give it again; none where it cannot be taken apart.
fn take_apart(
    ingest: &Ingest,
    reader: Box<dyn Read + Send>,
    blob: &Descriptor,
    place: &str,
) -> Result<Option<Parts>> {
    let hashing = Hashing::start()?;
    let monitor = ingest.monitor();
    let mut tee = Tee::new(ingest, reader, blob.size, place, |bytes| {
        monitor.advance(holdall::units::len64(bytes.len()));
        hashing.pieces.send(bytes.to_vec()).map_err(|_| died())
    });
    let mut recording = Recording {
        writer: ingest.recipe_writer(),
        table: TableWriter::default(),
    };
    let mut sink = Entering::new(ingest);
    let limits = Limits::default();
    let interrupted = || ingest.interrupted();
    let read = layer::read_retraced(&mut tee, &limits, &mut sink, &mut recording, &interrupted);
    tee.check()?;
    let summary = match (sink.fault, read) {
        (Some(LayerFault::Store(err)), _) => return Err(err.into()),
        (Some(LayerFault::NotATree(_)), _) => return Ok(None),
        (None, Err(err)) => return err.into_refusal(place).map(|_| None),
        (None, Ok(summary)) => summary,
    };
    tee.drain()?;
    drop(tee);
    let identity = hashing.finish()?;
    if identity.sha256 != blob.digest {
        let (expected, found) = (blob.digest.to_digest(), identity.sha256.to_digest());
        return Err(Error::mismatch(place, expected, found));
    }
    let (tree, positions) = match sink.writer.finish() {
        Ok(finished) => finished,
        Err(LayerFault::NotATree(_) | LayerFault::Store(holdall::Error::NoTree { .. })) => {
            return Ok(None);
        }
        Err(LayerFault::Store(err)) => return Err(err.into()),
    };
    let inode = |file: &u64| positions.get(holdall::units::index64(*file)).copied().flatten();
    let inodes: Option<Vec<u64>> = summary.whole_files.iter().map(inode).collect();
    let Some(inodes) = inodes else { return Ok(None) };
    let Recording { mut writer, table } = recording;
    writer.write(&table.finish(&inodes, &identity.outboard))?;
    let recipe = writer.finish(None, None, place)?;
    Ok(Some(Parts {
        identity,
        diff_id: summary.diff_id,
        recipe,
        tree,
    }))
}

#[cfg(test)]
#[path = "retrace_test.rs"]
mod tests;
