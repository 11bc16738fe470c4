//! SHA-256 and BLAKE3 of a whole blob: in place for small ones, on a thread of its own for large ones.

use crate::error::{Error, Result};
use crate::ids::{BlobId, Sha256};
use crossbeam_channel::{Sender, bounded};
use sha2::Digest as _;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Both hashes of a byte sequence.
pub(super) struct Hashers {
    sha256: Option<sha2::Sha256>,
    blake3: blake3::Hasher,
}

impl Default for Hashers {
    fn default() -> Self {
        Self {
            sha256: Some(sha2::Sha256::new()),
            blake3: blake3::Hasher::new(),
        }
    }
}

impl Hashers {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.blake3.update(bytes);
    }

    pub(super) fn finish(self) -> (Sha256, BlobId) {
        (
            self.sha256
                .map(|sha256| Sha256::from_bytes(sha256.finalize().into()))
                .unwrap_or_default(),
            BlobId::from_bytes(*self.blake3.finalize().as_bytes()),
        )
    }
}

/// The part of a shared block that is new: its bytes from an offset on.
type Part = (Arc<Vec<u8>>, usize);

enum Where {
    Here(Box<Hashers>),
    Lane(Sender<Part>, JoinHandle<(Sha256, BlobId)>),
    /// Between two states, or after a failure.
    Nowhere,
}

/// Hashes a blob as it comes.
pub(super) struct Hashing(Where);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl Hashing {
    pub(super) fn new() -> Self {
        Self(Where::Here(Box::default()))
    }

    /// Takes BLAKE3 only; the SHA-256 is zeros.
    pub(super) fn blake3_alone() -> Self {
        Self(Where::Here(Box::new(Hashers {
            sha256: None,
            blake3: blake3::Hasher::new(),
        })))
    }

    /// Takes a block's bytes from `from` on. A `long` blob is hashed beside its chunking.
    pub(super) fn update(&mut self, block: &Arc<Vec<u8>>, from: usize, long: bool) -> Result<()> {
        self.0 = match std::mem::replace(&mut self.0, Where::Nowhere) {
            Where::Here(hashers) if long => lane(*hashers)?,
            Where::Here(mut hashers) => {
                hashers.update(block.get(from..).unwrap_or_default());
                self.0 = Where::Here(hashers);
                return Ok(());
            }
            other => other,
        };
        match &self.0 {
            Where::Lane(parts, _) => parts.send((Arc::clone(block), from)).map_err(|_| died()),
            _ => Err(died()),
        }
    }

    pub(super) fn finish(self) -> Result<(Sha256, BlobId)> {
        match self.0 {
            Where::Here(hashers) => Ok(hashers.finish()),
            Where::Lane(parts, thread) => {
                drop(parts);
                thread.join().map_err(|_| died())
            }
            Where::Nowhere => Err(died()),
        }
    }
}

fn lane(mut hashers: Hashers) -> Result<Where> {
    let (parts, from) = bounded::<Part>(1);
    let run = move || {
        for (block, start) in from {
            hashers.update(block.get(start..).unwrap_or_default());
        }
        hashers.finish()
    };
    let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(run);
    Ok(Where::Lane(parts, thread.map_err(|e| Error::io("a thread", e))?))
}

fn died() -> Error {
    Error::refused("the hashing thread died")
}
