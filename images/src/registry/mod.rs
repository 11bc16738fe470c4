//! A read-only registry (OCI distribution specification 1.1) that answers from a disk.
//!
//! In: [`connection`](self) → route → handlers → verified slices of the disk → the client. Owns HTTP
//! in all its forms; knows nothing of packs or frames, and never writes.

mod awaited;
mod connection;
mod error;
mod handlers;
mod place;
mod query;
mod range;
mod respond;
mod route;
mod stream;

pub use awaited::Awaited;
pub use error::RegistryError;
pub use stream::Body;

use connection::Limits;
use handlers::Conditions;
use holdall::monitor::Monitor;
use holdall::reader::Disk;
use hyper::header;
use hyper::{Method, Response};
use respond::{Code, Refusal};
use route::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stream::Turns;
use tokio::net::TcpListener;

/// How a registry serves.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Serve on an address that other machines reach. There is neither TLS nor authentication.
    pub allow_remote: bool,
    /// Connections at once; more wait in the accept queue.
    pub connections: usize,
    /// Look-ups and reads of the disk at once; more wait for their turn. Each has a thread and up
    /// to half a MiB.
    pub reads: usize,
    /// Longest time that a client may take for the head of a request, or between two requests.
    pub header_timeout: Duration,
    /// Longest time of waiting for a client in which it takes less than 64 KiB of what is ready for it.
    pub write_timeout: Duration,
    /// Longest wait for open answers after the shutdown began.
    pub drain: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            allow_remote: false,
            connections: 256,
            reads: 32,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl RegistryOptions {
    /// Whether a listener at `address` may be served: loopback always, else only by
    /// [`RegistryOptions::allow_remote`].
    pub fn check(&self, address: SocketAddr) -> Result<(), RegistryError> {
        if self.allow_remote || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(RegistryError::NotLoopback { address })
    }
}

/// Answers requests from one disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    disk: Awaited,
    turns: Turns,
}

impl Registry {
    /// A registry over `disk` that reads by the limits of `options`; what fails on the disk's side
    /// is told to `monitor` as a warning.
    #[must_use]
    pub fn new(disk: impl Into<Awaited>, options: &RegistryOptions, monitor: Arc<dyn Monitor>) -> Self {
        Self {
            disk: disk.into(),
            turns: Turns::new(options.reads, monitor),
        }
    }

    /// The answer to a request; its body is not read. Must run on a tokio runtime, and never blocks it.
    pub async fn answer<B>(&self, request: hyper::Request<B>) -> Response<Body> {
        let Some(disk) = self.disk.disk() else {
            return Refusal::no_disk().into_response();
        };
        let (head, _) = request.into_parts();
        let answered = self.find(disk, &head).await;
        answered.unwrap_or_else(|refusal| {
            if refusal.status.is_server_error() {
                self.turns.warn(&format!(
                    "{} {}: {}",
                    head.method,
                    head.uri.path(),
                    refusal.message
                ));
            }
            refusal.into_response()
        })
    }

    async fn find(&self, disk: &Disk, head: &hyper::http::request::Parts) -> Result<Response<Body>, Refusal> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Refusal::read_only());
        }
        let own_host = head
            .uri
            .authority()
            .map(hyper::http::uri::Authority::as_str)
            .or_else(|| head.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
        let request = Request::parse(head.uri.path(), head.uri.query(), own_host)?;
        let conditions = Conditions::of(head.method == Method::HEAD, &head.headers);
        let (disk, turns) = (disk.clone(), self.turns.clone());
        let found = self
            .turns
            .start(move || handlers::answer(&disk, &turns, request, &conditions));
        match found.await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => {
                let err = RegistryError::BrokenOff {
                    place: head.uri.path().to_owned(),
                };
                Err(Refusal::new(
                    hyper::StatusCode::INTERNAL_SERVER_ERROR,
                    Code::Unknown,
                    err.to_string(),
                ))
            }
        }
    }
}

/// Serves `disk` on `listener` until `shutdown` completes, and then as long as open answers take
/// (at most [`RegistryOptions::drain`]). Needs a tokio runtime with its network and timers.
///
/// Fails where the listener may not be served; afterwards no request and no connection ends it.
pub async fn serve(
    listener: TcpListener,
    disk: impl Into<Awaited>,
    options: &RegistryOptions,
    monitor: Arc<dyn Monitor>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RegistryError> {
    let place = "the registry's listener";
    let address = listener
        .local_addr()
        .map_err(|source| RegistryError::Listener { place, source })?;
    options.check(address)?;
    let limits = Limits {
        connections: options.connections,
        header_timeout: options.header_timeout,
        write_timeout: options.write_timeout,
        drain: options.drain,
    };
    let registry = Registry::new(disk, options, Arc::clone(&monitor));
    let answer = move |request| {
        let registry = registry.clone();
        async move { registry.answer(request).await }
    };
    connection::serve(listener, limits, monitor, answer, shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served_unless_the_options_say_otherwise() {
        let options = RegistryOptions::default();
        let remote = RegistryOptions {
            allow_remote: true,
            ..RegistryOptions::default()
        };
        for (address, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.0.1:1", false),
        ] {
            assert_eq!(
                options.check(address.parse().unwrap()).is_ok(),
                loopback,
                "{address}"
            );
            assert!(remote.check(address.parse().unwrap()).is_ok());
        }
    }
}
