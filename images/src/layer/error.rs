//! Why a layer was not read to its end: the run fails, or the layer is no tree to us.

use crate::Error;
use std::io;

/// Why a layer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The layer's source failed, or did not give the bytes it promised: what it said, as it said it.
    #[error("the layer's source: {0}")]
    Source(#[source] io::Error),
    /// The sink failed: what it said.
    #[error(transparent)]
    Sink(Error),
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The layer's bytes came, but they are no tree to us.
    #[error(transparent)]
    NotATree(Box<Refusal>),
}

impl LayerError {
    /// Parts what the caller reports and goes on after from what ends its run: the refusal, or as an error
    /// the failure, `place` being the source. An error of this crate or of the store that the source gave comes out as it
    /// went in.
    pub fn into_refusal(self, place: &str) -> crate::Result<Refusal> {
        match self {
            Self::NotATree(refusal) => Ok(*refusal),
            Self::Source(err) => Err(Error::read(place, err)),
            Self::Sink(err) => Err(err),
            Self::Interrupted => Err(holdall::Error::Interrupted.into()),
        }
    }
}

impl From<Error> for LayerError {
    fn from(err: Error) -> Self {
        Self::Sink(err)
    }
}

/// Where a layer stops being a tree to us, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Offset in the uncompressed stream of the header in question, or of the end of what was read.
    pub at: u64,
    /// Path of the entry as the tar has it, shortened, where it was known.
    pub entry: Option<String>,
    /// What is wrong.
    pub reason: Reason,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = &self.entry {
            write!(f, "entry {entry:?}, ")?;
        }
        write!(f, "at byte {} of the tar: {}", self.at, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// Why a layer is no tree to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Its first block is no tar header.
    #[error("not a tar")]
    NotATar,
    /// It ends in the midst of something.
    #[error("it breaks off in {0}")]
    CutShort(&'static str),
    /// A header does not match its own checksum.
    #[error("a header whose checksum is wrong")]
    Checksum,
    /// A rule of the format is broken.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// It follows a format that is not read.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// There is more of something than is taken.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The most that is taken.
        limit: u64,
    },
    /// It does not decompress.
    #[error("it does not decompress: {0}")]
    Compression(String),
}

impl Reason {
    /// The refusal of what the walk has not placed: the stream's position is filled in, no entry is.
    pub(super) fn at(self, at: u64) -> LayerError {
        LayerError::NotATree(Box::new(Refusal {
            at,
            entry: None,
            reason: self,
        }))
    }

    pub(super) const fn too_large(what: &'static str, limit: u64) -> Self {
        Self::TooLarge { what, limit }
    }
}
