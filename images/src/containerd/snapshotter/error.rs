//! What a snapshot call can end with: one variant for each answer that containerd tells apart.

/// The result of a call on snapshots.
pub type Result<T> = std::result::Result<T, SnapshotError>;

/// Why a call on snapshots failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no snapshot of that name.
    #[error("snapshot {name:?} does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is taken; or, where a chain was asked for by label, its snapshot is there to be used.
    #[error("snapshot {name:?} already exists")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// The call makes no sense, whatever the state.
    #[error("{why}")]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// The call makes no sense in the state at hand.
    #[error("{why}")]
    Precondition {
        /// What stands against it.
        why: String,
    },
    /// The disk, or the chain on it, is not there now.
    #[error("{why}")]
    Unavailable {
        /// What is missing.
        why: String,
    },
    /// The operating system refused.
    #[error("{place}: {source}")]
    Io {
        /// The path.
        place: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A record of the node's state breaks its format.
    #[error("{place}: malformed: {why}")]
    Malformed {
        /// The state's folder, and the record.
        place: String,
        /// The rule that is broken.
        why: String,
    },
    /// What the store said of the node's state.
    #[error(transparent)]
    Store(#[from] holdall::Error),
}

impl SnapshotError {
    pub(super) fn not_found(name: &str) -> Self {
        Self::NotFound {
            name: name.to_owned(),
        }
    }

    pub(super) fn exists(name: &str) -> Self {
        Self::AlreadyExists {
            name: name.to_owned(),
        }
    }

    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid { why: why.into() }
    }

    pub(super) fn precondition(why: impl Into<String>) -> Self {
        Self::Precondition { why: why.into() }
    }

    pub(super) fn io(place: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io {
            place: place.display().to_string(),
            source,
        }
    }
}
