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

    /// The frame was appended there.
    pub(super) fn place(&self, place: Place) {
        self.set(State::Placed(place));
    }

    /// The frame will never be written: the run has failed.
    pub(super) fn fail(&self) {
        self.set(State::Failed);
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

/// A chunk's place, known or to be waited for.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Known(Place),
    /// That frame, and the chunk's offset in its plaintext.
    Ticket(Arc<Ticket>, u32),
}

impl Pending {
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
