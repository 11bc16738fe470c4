//! What can go wrong with a medium, and where. Missing, mismatched, malformed, unsupported, I/O and
//! full are never merged: what to do differs for each.

use crate::ids::ParseIdError;

/// The result of a call into the store.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that should be there is not.
    #[error("{place}: missing")]
    Missing {
        /// The file, object or entry that is not there.
        place: String,
    },
    /// The bytes are well-formed but are not those that their hash names.
    #[error("{place}: damaged: {what} does not match its hash")]
    Mismatch {
        /// The file and offset, or the object.
        place: String,
        /// Which bytes were hashed.
        what: &'static str,
    },
    /// The bytes break the format.
    #[error("{place}: malformed: {why}")]
    Malformed {
        /// The file and offset, or the object.
        place: String,
        /// The rule that is broken.
        why: String,
    },
    /// The bytes follow a format, or have a feature, that this version does not read.
    #[error("{place}: not read by this version: {what}")]
    Unsupported {
        /// The file or object.
        place: String,
        /// The format or feature, by name.
        what: String,
    },
    /// The operating system refused.
    #[error("{place}: {source}")]
    Io {
        /// The path.
        place: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The medium has no room left.
    #[error("{place}: the medium is full")]
    Full {
        /// The path that could not grow.
        place: String,
    },
    /// A read took longer than its deadline; the medium may be failing or gone.
    #[error("{place}: no answer from the medium within {seconds} s")]
    Deadline {
        /// The path.
        place: String,
        /// The deadline.
        seconds: u64,
    },
    /// Another process writes this medium.
    #[error("{place}: another process is writing this medium")]
    Locked {
        /// The medium.
        place: String,
    },
    /// The call makes no sense for this medium or with these arguments.
    #[error("{why}")]
    Refused {
        /// Why, and what to do instead.
        why: String,
    },
    /// A layer, or a layer with those below it, is nothing that a tree can be made of. It is carried all the same.
    #[error("{why}")]
    NoTree {
        /// What it says that no tree can have, or the limit that it goes past.
        why: String,
    },
    /// A source's bytes are not those that were promised.
    #[error("{place}: the source's bytes do not match: expected {expected}, found {found}")]
    SourceMismatch {
        /// The source.
        place: String,
        /// The digest or length that was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// The host's own index failed; it can be rebuilt from the packs.
    #[error("host index {place}: {why} (holdall reindex rebuilds it)")]
    Index {
        /// The index's folder.
        place: String,
        /// What the database said.
        why: String,
    },
    /// What the node keeps for itself cannot be read or written. Nothing rebuilds it.
    #[error("node state {place}: {why}")]
    State {
        /// The folder.
        place: String,
        /// What the database said.
        why: String,
    },
    /// A signature, a proof or a root that is not to be believed, though nothing is damaged.
    #[error("{place}: {why}")]
    Untrusted {
        /// The signature, proof or medium.
        place: String,
        /// Why not.
        why: String,
    },
    /// The run was interrupted on request.
    #[error("interrupted; the last generation stands as it was")]
    Interrupted,
    /// One failure seen by several readers that waited for the same bytes.
    #[error("{0}")]
    Shared(std::sync::Arc<Error>),
}

impl Error {
    /// A [`Error::Malformed`] at `place`.
    pub fn malformed(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Missing`] at `place`.
    pub fn missing(place: impl Into<String>) -> Self {
        Self::Missing { place: place.into() }
    }

    /// A [`Error::Mismatch`] at `place`.
    pub fn mismatch(place: impl Into<String>, what: &'static str) -> Self {
        Self::Mismatch {
            place: place.into(),
            what,
        }
    }

    /// A [`Error::Refused`].
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// A [`Error::NoTree`].
    pub fn no_tree(why: impl Into<String>) -> Self {
        Self::NoTree { why: why.into() }
    }

    /// What the operating system said about `place`; "no space left" becomes [`Error::Full`].
    pub fn io(place: impl Into<String>, source: std::io::Error) -> Self {
        let place = place.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full { place },
            std::io::ErrorKind::NotFound => Self::Missing { place },
            _ => Self::Io { place, source },
        }
    }

    /// The error beneath any sharing.
    #[must_use]
    pub fn root_cause(&self) -> &Self {
        match self {
            Self::Shared(inner) => inner.root_cause(),
            other => other,
        }
    }

    /// True where bytes on the medium are not what they should be (as against a request that cannot
    /// be met, or a host that fails).
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self.root_cause(),
            Self::Missing { .. }
                | Self::Mismatch { .. }
                | Self::Malformed { .. }
                | Self::Io { .. }
                | Self::Deadline { .. }
        )
    }
}

impl From<ParseIdError> for Error {
    fn from(err: ParseIdError) -> Self {
        Self::Refused { why: err.to_string() }
    }
}
