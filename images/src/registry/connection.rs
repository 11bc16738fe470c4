//! Connections: accepting no more than a cap, HTTP/1.1 on each with timeouts that are really armed,
//! and an end that lets open answers finish. Knows nothing of what is answered.

use super::stream::Body;
use holdall::monitor::Monitor;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

/// Longest request head, in bytes. A name of 512 bytes and a query of two more leave room for
/// whatever headers a client adds.
const HEAD_BYTES: usize = 64 * 1024;
/// How long to wait before accepting again where the host is short of something (descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Bytes that a client has to take within the time it is waited for: answers hold frames in memory, and
/// a byte a minute must not hold them for ever.
const LEAST_TAKEN: usize = 64 * 1024;

/// What binds a client's patience and ours.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait in the accept queue.
    pub connections: usize,
    /// Longest time from the end of an answer (or the start of the connection) to the end of the
    /// next request's head.
    pub header_timeout: Duration,
    /// Longest time of waiting for a client in which it takes less than [`LEAST_TAKEN`] of what is ready for it.
    pub write_timeout: Duration,
    /// Longest wait for open answers after the shutdown began.
    pub drain: Duration,
}

/// Answers requests on `listener` until `shutdown` completes, then waits for open answers as long
/// as `limits` say and closes what is left. A failing connection ends alone.
pub async fn serve<A, F>(
    listener: TcpListener,
    limits: Limits,
    monitor: Arc<dyn Monitor>,
    answer: A,
    shutdown: impl Future<Output = ()>,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let places = Arc::new(Semaphore::new(
        limits.connections.clamp(1, Semaphore::MAX_PERMITS),
    ));
    let (closing, _) = watch::channel(false);
    let mut open = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        while let Some(ended) = open.try_join_next() {
            if ended.is_err_and(|err| err.is_panic()) {
                monitor.warn("a request of the registry ended in a panic");
            }
        }
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // The client gave up while it waited.
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) =>
            {
                continue;
            }
            Err(err) => {
                monitor.warn(&format!("the registry cannot accept a connection: {err}"));
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let connection = connection(stream, limits, answer.clone(), closing.subscribe());
        open.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    closing.send_replace(true);
    // What is still open after that is aborted as the set is dropped.
    let all_closed = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.drain, all_closed).await;
}

/// One connection from its first request to its end. How it ends is the client's affair: what went
/// wrong on our side was reported where it did.
async fn connection<A, F>(stream: TcpStream, limits: Limits, answer: A, mut closing: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Response<Body>> + Send,
{
    // Small answers go out at once; that this may fail costs only time.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Watched::new(stream, limits.write_timeout));
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            // Without a timer hyper arms no timeout.
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(io, service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream whose writes fail once they have waited `timeout` in all while the other side took less than
/// [`LEAST_TAKEN`]. Time in which nothing was ready for it does not count.
#[derive(Debug)]
struct Watched<S> {
    stream: S,
    timeout: Duration,
    /// Armed while a write waits: since when, and until when at most.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Time waited since the other side last had taken its share.
    waited: Duration,
    /// Bytes taken since then.
    taken: usize,
}

impl<S> Watched<S> {
    const fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
            waiting: None,
            waited: Duration::ZERO,
            taken: 0,
        }
    }

    /// Passes on what a write came to; one that waits has until the deadline.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = &outcome {
            if let Some((since, _)) = self.waiting.take() {
                self.waited += since.elapsed();
            }
            self.taken += written.as_ref().copied().unwrap_or_default();
            if self.taken >= LEAST_TAKEN {
                (self.waited, self.taken) = (Duration::ZERO, 0);
            }
            return outcome;
        }
        let left = self.timeout.saturating_sub(self.waited);
        let (_, deadline) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + left)))
        });
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read, or too slowly",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Not watched: a socket has nothing to flush, and its "done" must not disarm a waiting write.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
