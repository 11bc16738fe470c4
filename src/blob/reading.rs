//! One reader's way through a layer that is made again: the window that it is in, and the next one, begun before it is asked
//! for where the layer is read in order.

use super::parts::{Part, Room};
use super::remade::Remade;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

/// Windows, of the whole process, that readers still hold: beyond these they find them in the layers' cache, or not.
static WINDOWS_HELD: AtomicUsize = AtomicUsize::new(32);

/// A reader's way. The reader's clones share it; with the last of them goes what was begun for it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The layer, once it was opened.
    pub(super) layer: OnceLock<Arc<Remade>>,
    way: Mutex<Way>,
}

#[derive(Debug, Default)]
struct Way {
    /// The window that was read last.
    last: Option<u64>,
    /// Its bytes, where it is not yet read to its end.
    held: Option<(Bytes, Room)>,
    /// The part that reached beyond the last window: the next one begins with it.
    edge: Option<Arc<Part>>,
    ahead: Option<Ahead>,
}

/// What a reader has of a window that it comes to.
#[derive(Debug, Default)]
pub(super) struct Come {
    /// Whether the window is the one behind the last.
    pub(super) in_order: bool,
    /// What was begun of it.
    pub(super) begun: Option<Ahead>,
    /// The last part of the window before, which may be the first of this one.
    pub(super) edge: Option<Arc<Part>>,
}

/// A window that was begun before it was asked for.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) number: u64,
    pub(super) parts: Vec<Arc<Part>>,
    /// Of what all that are ahead may take.
    pub(super) room: Room,
}

impl Reading {
    /// The window of that number, if the reader is in it.
    pub(super) fn held(&self, number: u64) -> Option<Bytes> {
        let way = self.way.lock();
        way.held
            .as_ref()
            .filter(|_| way.last == Some(number))
            .map(|(bytes, _)| bytes.clone())
    }

    /// Comes to the window of that number, and takes up what there is of it.
    pub(super) fn come_to(&self, number: u64) -> Come {
        let mut way = self.way.lock();
        way.held = None;
        let in_order = number
            .checked_sub(1)
            .is_some_and(|before| way.last == Some(before));
        way.last = Some(number);
        Come {
            in_order,
            begun: way.ahead.take().filter(|ahead| ahead.number == number),
            edge: way.edge.take(),
        }
    }

    /// Keeps the last part of the window of that number.
    pub(super) fn end_with(&self, number: u64, edge: Option<Arc<Part>>) {
        let mut way = self.way.lock();
        if way.last == Some(number) {
            way.edge = edge;
        }
    }

    /// Keeps what was begun of the window behind.
    pub(super) fn look_ahead(&self, ahead: Option<Ahead>) {
        self.way.lock().ahead = ahead;
    }

    /// Keeps the window while it is read.
    pub(super) fn hold(&self, number: u64, bytes: &Bytes) {
        let mut way = self.way.lock();
        if way.last == Some(number) {
            way.held = Room::one_of(&WINDOWS_HELD).map(|room| (bytes.clone(), room));
        }
    }

    /// Has read the window of that number to its end.
    pub(super) fn leave(&self, number: u64) {
        let mut way = self.way.lock();
        if way.last == Some(number) {
            way.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn readers_hold_no_more_windows_than_there_is_room_for_and_give_back_what_they_leave() {
        let most = WINDOWS_HELD.load(Ordering::Relaxed);
        let readers: Vec<Reading> = (0..most + 8).map(|_| Reading::default()).collect();
        for reader in &readers {
            reader.come_to(3);
            reader.hold(3, &Bytes::from_static(b"a window"));
        }
        let holding = || readers.iter().filter(|reader| reader.held(3).is_some()).count();
        assert!(holding() <= most);
        let before = holding();
        readers.iter().take(5).for_each(|reader| reader.leave(3));
        assert_eq!(holding(), before - 5);
        drop(readers);
        let reader = Reading::default();
        reader.come_to(0);
        reader.hold(0, &Bytes::from_static(b"a window"));
        assert!(reader.held(0).is_some());
    }

    #[test]
    fn only_the_window_behind_the_last_is_in_order() {
        let reader = Reading::default();
        let in_order = |number| reader.come_to(number).in_order;
        assert!(!in_order(0));
        assert!(in_order(1));
        assert!(!in_order(1));
        assert!(in_order(2));
        assert!(!in_order(9));
        assert!(in_order(10));
        assert!(!in_order(0));
    }
}
