//! Places that are not known yet: a frame gets its place only when the writer appends it.

use crate::error::{Error, Result};
use crate::format::content::Place;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

#[derive(Debug)]
enum State {
    Waiting,
    /// Its chunks moved into another frame, that much further on.
    Forwarded(Arc<Ticket>, u32),
    Placed(Place),
    Failed,
}

/// Stands for a frame's place until it has one.
#[derive(Debug)]
pub(super) struct Ticket {
    state: Mutex<State>,
    changed: Condvar,
}

impl Ticket {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::Waiting),
            changed: Condvar::new(),
        })
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_all();
    }

    /// The frame's chunks became part of another, from `delta` on.
    pub(super) fn forward(&self, to: &Arc<Self>, delta: u32) {
        self.set(State::Forwarded(Arc::clone(to), delta));
    }

    fn wait(&self) -> Result<State> {
        let mut state = self.state.lock();
        while matches!(*state, State::Waiting) {
            self.changed.wait(&mut state);
        }
        Ok(match &*state {
            State::Forwarded(to, delta) => State::Forwarded(Arc::clone(to), *delta),
            State::Placed(place) => State::Placed(*place),
            // The pipeline's own failure says why; whoever waits reports that one instead.
            State::Failed | State::Waiting => return Err(Error::Interrupted),
        })
    }
}

/// What a frame's job carries through the pipeline: if the job is lost on its way, whatever the reason,
/// nobody waits for its place for ever.
#[derive(Debug)]
pub(super) struct Claim(Arc<Ticket>);

impl Claim {
    pub(super) const fn new(ticket: Arc<Ticket>) -> Self {
        Self(ticket)
    }

    /// The ticket that it is a claim to.
    pub(super) const fn ticket(&self) -> &Arc<Ticket> {
        &self.0
    }

    /// The frame was appended there.
    pub(super) fn place(self, place: Place) {
        self.0.set(State::Placed(place));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Failed;
            self.0.changed.notify_all();
        }
    }
}

/// A chunk's place, known or to be waited for.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Known(Place),
    /// That frame, and the chunk's offset in its plaintext.
    Ticket(Arc<Ticket>, u32),
}

impl Pending {
    /// Whether both stand for the same place, as far as that can be told without waiting.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if let (Self::Ticket(a, start), Self::Ticket(b, other)) = (self, other)
            && Arc::ptr_eq(a, b)
        {
            return start == other;
        }
        self.known().is_some_and(|place| other.known() == Some(place))
    }

    /// Whether its frame was appended already: waiting for it takes no time.
    pub(super) fn is_placed(&self) -> bool {
        self.known().is_some()
    }

    /// The place, where its frame was appended already.
    fn known(&self) -> Option<Place> {
        let (mut ticket, mut start) = match self {
            Self::Known(place) => return Some(*place),
            Self::Ticket(ticket, start) => (Arc::clone(ticket), *start),
        };
        loop {
            let next = match &*ticket.state.lock() {
                State::Forwarded(to, delta) => {
                    start += delta;
                    Arc::clone(to)
                }
                State::Placed(place) => return Some(Place { start, ..*place }),
                State::Waiting | State::Failed => return None,
            };
            ticket = next;
        }
    }

    /// Waits until the frame is appended. Whoever calls has seen to it that the frame was handed in.
    pub(super) fn wait(&self) -> Result<Place> {
        let (mut ticket, mut start) = match self {
            Self::Known(place) => return Ok(*place),
            Self::Ticket(ticket, start) => (Arc::clone(ticket), *start),
        };
        loop {
            match ticket.wait()? {
                State::Placed(place) => return Ok(Place { start, ..place }),
                State::Forwarded(to, delta) => {
                    start += delta;
                    ticket = to;
                }
                State::Waiting | State::Failed => return Err(Error::Interrupted),
            }
        }
    }
}
