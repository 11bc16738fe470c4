//! Parts of layers, and the threads that make them: one a core, for the whole process, made when first wanted.
//!
//! What somebody waits for goes before what somebody may want, and a part that nobody wants any more is not begun. A thread
//! waits for frames, and for nothing else: never for another part. Knows nothing of layers.

use crate::error::{Error, Result};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// How long somebody waits for a thread to begin a part before making it themselves: what holds the threads may be
/// another medium that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What makes parts.
pub(super) trait Make: Send + Sync {
    /// The bytes of part number `part`, not checked yet.
    fn make(&self, part: usize) -> Result<Bytes>;

    /// What it makes parts of, for messages.
    fn name(&self) -> String;
}

/// A part that somebody wants or may want: made once, however many wait for it. Who drops it wants it no more.
pub(super) struct Part {
    maker: Arc<dyn Make>,
    number: usize,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Wanted,
    Begun,
    Made(Bytes),
    Failed(Arc<Error>),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({})", self.number)
    }
}

impl Part {
    /// Part number `number` of what `maker` makes. Nobody makes it before it is ordered or waited for.
    pub(super) fn new(maker: Arc<dyn Make>, number: usize) -> Arc<Self> {
        Arc::new(Self {
            maker,
            number,
            state: Mutex::new(State::Wanted),
            changed: Condvar::new(),
        })
    }

    /// Its number.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// Whether it can still be had: it did not fail.
    pub(super) fn is_sound(&self) -> bool {
        !matches!(*self.state.lock(), State::Failed(_))
    }

    /// Its bytes; waits for them. An error, or a panic, of whoever made it is everybody's who waits.
    pub(super) fn bytes(&self) -> Result<Bytes> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Made(bytes) => return Ok(bytes.clone()),
                State::Failed(err) => return Err(Error::Shared(Arc::clone(err))),
                // Whoever began it ends it, as soon as its reads do. Those of a disk that is open have deadlines; those of
                // a check or an add have none, and wait for a device that hangs as whatever else they do does.
                State::Begun => self.changed.wait(&mut state),
                State::Wanted => {
                    let late = self.changed.wait_for(&mut state, Threads::patience()).timed_out();
                    if late {
                        drop(state);
                        self.run();
                        state = self.state.lock();
                    }
                }
            }
        }
    }

    fn waits(&self) -> bool {
        matches!(*self.state.lock(), State::Wanted)
    }

    /// Makes it, unless somebody has begun to.
    fn run(&self) {
        {
            let mut state = self.state.lock();
            if !matches!(*state, State::Wanted) {
                return;
            }
            *state = State::Begun;
        }
        self.changed.notify_all();
        let made = catch_unwind(AssertUnwindSafe(|| self.maker.make(self.number)));
        let made = made.unwrap_or_else(|_| {
            let why = format!("making part {} of it failed", self.number);
            Err(Error::malformed(self.maker.name(), why))
        });
        *self.state.lock() = match made {
            Ok(bytes) => State::Made(bytes),
            Err(err) => State::Failed(Arc::new(err)),
        };
        self.changed.notify_all();
    }
}

/// How soon a part is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits for it.
    Now,
    /// Somebody may want it.
    Ahead,
}

/// What the threads are to do. Parts that were dropped still stand in it, as nothing.
#[derive(Debug, Default)]
struct Orders {
    now: VecDeque<Weak<Part>>,
    ahead: VecDeque<Weak<Part>>,
}

/// The threads.
pub(super) struct Threads {
    orders: Mutex<Orders>,
    come: Condvar,
    started: AtomicUsize,
}

impl Threads {
    /// Those of this process.
    pub(super) fn of_process() -> &'static Self {
        static THREADS: OnceLock<Threads> = OnceLock::new();
        static STARTED: std::sync::Once = std::sync::Once::new();
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let threads = THREADS.get_or_init(|| Self {
            orders: Mutex::default(),
            come: Condvar::new(),
            started: AtomicUsize::new(0),
        });
        STARTED.call_once(|| {
            for n in 0..cores {
                let thread = std::thread::Builder::new().name(format!("remake-{n}"));
                // Where no thread can be had, whoever wants a part makes it.
                if thread.spawn(|| threads.work()).is_ok() {
                    threads.started.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        threads
    }

    fn patience() -> Duration {
        if Self::of_process().started.load(Ordering::Relaxed) == 0 {
            Duration::ZERO
        } else {
            PATIENCE
        }
    }

    /// Has these parts made, in this order. Returns at once.
    pub(super) fn order(&self, parts: &[Arc<Part>], urgency: Urgency) {
        let mut orders = self.orders.lock();
        let orders = match urgency {
            Urgency::Now => &mut orders.now,
            Urgency::Ahead => &mut orders.ahead,
        };
        orders.retain(|part| part.strong_count() > 0);
        orders.extend(parts.iter().filter(|part| part.waits()).map(Arc::downgrade));
        self.come.notify_all();
    }

    /// Whether parts that somebody waits for wait for a thread.
    pub(super) fn are_busy(&self) -> bool {
        self.orders.lock().now.iter().any(|part| part.strong_count() > 0)
    }

    fn work(&self) {
        loop {
            let mut orders = self.orders.lock();
            let next = orders.now.pop_front().or_else(|| orders.ahead.pop_front());
            let Some(part) = next else {
                self.come.wait(&mut orders);
                continue;
            };
            drop(orders);
            if let Some(part) = part.upgrade() {
                part.run();
            }
        }
    }
}

#[cfg(test)]
#[path = "parts_test.rs"]
mod tests;
