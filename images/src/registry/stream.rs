//! Bodies: none, a text in memory, or a blob streamed in constant memory.
//!
//! A blob's slices are read on blocking threads, a batch at a time and one batch ahead of the
//! client. The async side owns the loop: a client that stops reading costs memory for two batches,
//! but neither a thread nor a turn at the disk. Knows nothing of requests or of connections.

use super::error::RegistryError;
use bytes::Bytes;
use holdall::monitor::Monitor;
use holdall::reader::BlobReader;
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Bytes read in one go on a blocking thread: enough that the change of threads costs little, and
/// few enough that many clients at once stay within the memory they are promised.
pub const BATCH_BYTES: u64 = 512 * 1024;

/// Verified bytes at an offset: what a [`BlobReader`] does.
pub trait Slices: Send + Sync + 'static {
    /// As [`BlobReader::slice_at`]; blocks.
    fn slice_at(&self, offset: u64, max: usize) -> holdall::Result<Bytes>;
    /// As [`BlobReader::read_ahead`]; returns at once.
    fn read_ahead(&self, offset: u64);
}

impl Slices for BlobReader {
    fn slice_at(&self, offset: u64, max: usize) -> holdall::Result<Bytes> {
        Self::slice_at(self, offset, max)
    }
    fn read_ahead(&self, offset: u64) {
        Self::read_ahead(self, offset);
    }
}

/// A part of a blob that is to be streamed.
#[derive(Clone)]
pub struct Stretch {
    /// Where the bytes come from.
    pub slices: Arc<dyn Slices>,
    /// What the bytes are, for messages.
    pub place: String,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

impl Stretch {
    /// The next slices, at most [`BATCH_BYTES`], not empty unless the stretch is. Blocks.
    pub fn read_batch(&self) -> holdall::Result<Vec<Bytes>> {
        let stop = self.end.min(self.start.saturating_add(BATCH_BYTES));
        if stop < self.end {
            // The next frame begins to load while this batch waits for its own.
            self.slices.read_ahead(self.start);
        }
        let mut batch = Vec::new();
        let mut offset = self.start;
        while offset < stop {
            let wanted = stop - offset;
            let slice = self
                .slices
                .slice_at(offset, usize::try_from(wanted).unwrap_or(usize::MAX))?;
            let length = bytes_of(&slice);
            if length == 0 || length > wanted {
                return Err(holdall::Error::malformed(
                    format!("{} at {offset}", self.place),
                    format!("{length} bytes where 1 to {wanted} were expected"),
                ));
            }
            offset += length;
            batch.push(slice);
        }
        Ok(batch)
    }

    /// What is left after `batch`.
    fn after(mut self, batch: &[Bytes]) -> Self {
        self.start += batch.iter().map(bytes_of).sum::<u64>();
        self
    }
}

impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}..{}", self.place, self.start, self.end)
    }
}

fn bytes_of(slice: &Bytes) -> u64 {
    u64::try_from(slice.len()).unwrap_or(u64::MAX)
}

/// Whose turn at the disk it is, and who hears of failures. Shared by all requests of a server.
#[derive(Clone)]
pub struct Turns {
    turns: Arc<Semaphore>,
    monitor: Arc<dyn Monitor>,
}

impl Turns {
    /// At most `reads` blocking reads at once; failures in the middle of a body go to `monitor`.
    pub fn new(reads: usize, monitor: Arc<dyn Monitor>) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(reads.clamp(1, Semaphore::MAX_PERMITS))),
            monitor,
        }
    }

    /// Starts `work` on a blocking thread when its turn comes. The turn is held while `work` runs,
    /// whether or not somebody still waits for its answer.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => tokio::task::spawn_blocking(move || {
                let answer = work();
                drop(turn);
                Some(answer)
            }),
            Err(_) => {
                let turns = Arc::clone(&self.turns);
                tokio::spawn(async move {
                    let turn = turns.acquire_owned().await.ok()?;
                    let running = tokio::task::spawn_blocking(move || {
                        let answer = work();
                        drop(turn);
                        answer
                    });
                    running.await.ok()
                })
            }
        }
    }

    /// Tells the operator of a failure.
    pub fn warn(&self, text: &str) {
        self.monitor.warn(text);
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turns({} free)", self.turns.available_permits())
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Stream(Stream),
}

/// A batch under way; None where its thread ended without an answer.
type Loading = JoinHandle<Option<holdall::Result<Vec<Bytes>>>>;

#[derive(Debug)]
struct Stream {
    turns: Turns,
    /// Slices that are next, in order.
    ready: VecDeque<Bytes>,
    /// What has not been asked for yet.
    rest: Stretch,
    /// The batch that is being read: the bytes before `rest`.
    loading: Option<(Stretch, Loading)>,
    /// Bytes that the client is still to be given.
    remaining: u64,
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }

    /// A text in memory.
    #[must_use]
    pub const fn whole(text: Bytes) -> Self {
        Self(Kind::Whole(text))
    }

    /// A stretch of a blob whose first batch has been read by `Stretch::read_batch`, so that a
    /// failure there could still be answered with a status.
    #[must_use]
    pub fn stream(turns: Turns, stretch: Stretch, first: Vec<Bytes>) -> Self {
        let remaining = stretch.end.saturating_sub(stretch.start);
        let rest = stretch.after(&first);
        Self(Kind::Stream(Stream {
            turns,
            ready: first.into(),
            rest,
            loading: None,
            remaining,
        }))
    }
}

impl Stream {
    /// Begins the next batch if none is under way.
    fn look_ahead(&mut self) {
        if self.loading.is_some() || self.rest.start >= self.rest.end {
            return;
        }
        let batch = self.rest.clone();
        self.rest.start = self.rest.end.min(self.rest.start.saturating_add(BATCH_BYTES));
        let work = batch.clone();
        self.loading = Some((batch, self.turns.start(move || work.read_batch())));
    }

    fn poll_slice(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, RegistryError>>> {
        loop {
            self.look_ahead();
            if let Some(slice) = self.ready.pop_front() {
                self.remaining = self.remaining.saturating_sub(bytes_of(&slice));
                return Poll::Ready(Some(Ok(slice)));
            }
            let Some((batch, loading)) = &mut self.loading else {
                return Poll::Ready(None);
            };
            let outcome = ready!(Pin::new(loading).poll(context));
            let err = match outcome {
                Ok(Some(Ok(slices))) => {
                    self.ready.extend(slices);
                    self.loading = None;
                    continue;
                }
                Ok(Some(Err(err))) => RegistryError::Store(err),
                Ok(None) | Err(_) => RegistryError::BrokenOff {
                    place: format!("{batch:?}"),
                },
            };
            self.turns.warn(&format!(
                "{}: broken off in the middle of an answer: {err}",
                batch.place
            ));
            self.loading = None;
            self.rest.start = self.rest.end;
            return Poll::Ready(Some(Err(err)));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The client is gone: a batch that still waits for its turn need not be read.
        if let Some((_, loading)) = &self.loading {
            loading.abort();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = RegistryError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RegistryError>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(text) if text.is_empty() => Poll::Ready(None),
            Kind::Whole(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Kind::Stream(stream) => stream
                .poll_slice(context)
                .map(|slice| slice.map(|it| it.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(text) => text.is_empty(),
            Kind::Stream(stream) => stream.remaining == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Whole(text) => bytes_of(text),
            Kind::Stream(stream) => stream.remaining,
        })
    }
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod tests;
