//! What can go wrong with the server itself. What a request can be refused for is in `respond`.

use std::net::SocketAddr;

/// Why the registry does not serve, or why a body broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The listener is reachable from other machines, and the options do not say that it may be.
    #[error(
        "{address}: not a loopback address; without TLS and authentication the registry listens on loopback only"
    )]
    NotLoopback {
        /// Where the listener listens.
        address: SocketAddr,
    },
    /// The listening socket failed.
    #[error("{place}: {source}")]
    Listener {
        /// Which socket.
        place: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The disk failed in the middle of a body.
    #[error(transparent)]
    Store(#[from] holdall::Error),
    /// A blocking read ended without an answer: it panicked, or the runtime is shutting down.
    #[error("{place}: the read was broken off")]
    BrokenOff {
        /// What was being read.
        place: String,
    },
}
