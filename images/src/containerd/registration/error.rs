//! What can go wrong between a disk and containerd.

/// The result of a registration's call.
pub type Result<T> = std::result::Result<T, RegistrationError>;

/// Why containerd could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// Nobody answers at the socket.
    #[error("{socket}: containerd does not answer: {why}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// What was said, with its causes.
        why: String,
    },
    /// containerd refused a call.
    #[error("containerd: {call} {subject}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// What it was about: an image's name, a digest.
        subject: String,
        /// The gRPC status code.
        code: tonic::Code,
        /// What it said.
        message: String,
    },
    /// The snapshotter that containerd asked has not the chain.
    #[error("snapshotter {snapshotter} has not {chain_id}: is it the one of this disk?")]
    NotServed {
        /// The snapshotter by containerd's name.
        snapshotter: String,
        /// The chain.
        chain_id: String,
    },
    /// The image cannot be registered.
    #[error("{why}")]
    NotRunnable {
        /// Why.
        why: String,
    },
    /// What the node remembers of a replaced image breaks its format.
    #[error("{place}: malformed: {why}")]
    Malformed {
        /// The state's folder, and the record.
        place: String,
        /// The rule that is broken.
        why: String,
    },
    /// What was found in an image.
    #[error(transparent)]
    Image(#[from] crate::Error),
    /// What the store said.
    #[error(transparent)]
    Store(#[from] holdall::Error),
}

impl RegistrationError {
    pub(super) fn refused(call: &'static str, subject: &str, status: &tonic::Status) -> Self {
        Self::Refused {
            call,
            subject: subject.to_owned(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    pub(super) fn not_runnable(why: impl Into<String>) -> Self {
        Self::NotRunnable { why: why.into() }
    }

    /// True where another try, or going on with the next image, makes no sense.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(code, tonic::Code::Unavailable | tonic::Code::Cancelled),
            _ => false,
        }
    }
}
