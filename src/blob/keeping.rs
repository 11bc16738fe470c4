//! What readers of layers that are made again keep from one read to the next: bounded for the whole process, however many
//! readers there are, and however long they are idle.

use super::parts::Part;
use super::reading::Ahead;
use super::remade::Remade;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Bytes of windows that readers are in: beyond these they find them in the layers' cache, or not.
const WINDOWS: usize = 32 << 20;
/// Bytes of parts that reach beyond the window that was read last.
const EDGES: usize = 16 << 20;
/// Bytes of the tables of layers that are being read.
const LAYERS: usize = 64 << 20;
/// Bytes of parts, for each core, that may be made before anybody asks for them.
const AHEAD_A_CORE: usize = 4 << 20;
/// Most bytes of such parts, however many cores there are.
const AHEAD_MOST: usize = 32 << 20;
/// After how long what was not asked for gives way to what others want to keep.
const IDLE: Duration = Duration::from_secs(10);

/// What all readers keep.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) layers: Kept<Arc<Remade>>,
    pub(super) windows: Kept<Bytes>,
    pub(super) edges: Kept<Arc<Part>>,
    pub(super) ahead: Kept<Ahead>,
}

impl Keeping {
    /// That of this process.
    pub(super) fn of_process() -> &'static Self {
        static KEEPING: LazyLock<Keeping> = LazyLock::new(|| {
            let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            Keeping {
                layers: Kept::new(LAYERS, IDLE),
                windows: Kept::new(WINDOWS, IDLE),
                edges: Kept::new(EDGES, IDLE),
                ahead: Kept::new(cores.saturating_mul(AHEAD_A_CORE).min(AHEAD_MOST), IDLE),
            }
        });
        &KEEPING
    }
}

/// Things that readers keep, at most one each, and all of them together at most so many bytes.
#[derive(Debug)]
pub(super) struct Kept<T> {
    most: usize,
    idle: Duration,
    things: Mutex<Things<T>>,
}

#[derive(Debug)]
struct Things<T> {
    bytes: usize,
    /// The one asked for last stands at the end.
    by_use: VecDeque<Thing<T>>,
}

#[derive(Debug)]
struct Thing<T> {
    reader: u64,
    bytes: usize,
    used: Instant,
    thing: T,
}

impl<T> Things<T> {
    fn remove(&mut self, reader: u64) -> Option<Thing<T>> {
        let at = self.by_use.iter().position(|thing| thing.reader == reader)?;
        let found = self.by_use.remove(at)?;
        self.bytes = self.bytes.saturating_sub(found.bytes);
        Some(found)
    }

    fn push(&mut self, thing: Thing<T>) {
        self.bytes = self.bytes.saturating_add(thing.bytes);
        self.by_use.push_back(thing);
    }

    /// The reader that has not asked for the longest, if that is `idle` or longer.
    fn idle(&self, now: Instant, idle: Duration) -> Option<u64> {
        let oldest = self.by_use.front()?;
        (now.saturating_duration_since(oldest.used) >= idle).then_some(oldest.reader)
    }
}

impl<T> Kept<T> {
    /// At most `most` bytes, of which those that were not asked for during `idle` give way.
    pub(super) const fn new(most: usize, idle: Duration) -> Self {
        Self {
            most,
            idle,
            things: Mutex::new(Things {
                bytes: 0,
                by_use: VecDeque::new(),
            }),
        }
    }

    /// Keeps a thing of so many bytes in place of what the reader had; false where there is no room for it.
    pub(super) fn put(&self, reader: u64, bytes: usize, thing: T) -> bool {
        let now = Instant::now();
        // Let go of once the lock is: it may be the last of something large.
        let mut gone = Vec::new();
        let mut things = self.things.lock();
        gone.extend(things.remove(reader));
        while things.bytes.saturating_add(bytes) > self.most {
            let idle = things.idle(now, self.idle);
            let Some(idle) = idle.filter(|_| bytes <= self.most) else {
                return false;
            };
            gone.extend(things.remove(idle));
        }
        things.push(Thing {
            reader,
            bytes,
            used: now,
            thing,
        });
        true
    }

    /// What the reader keeps, which it keeps no more.
    pub(super) fn take(&self, reader: u64) -> Option<T> {
        self.things.lock().remove(reader).map(|found| found.thing)
    }
}

impl<T: Clone> Kept<T> {
    /// What the reader keeps.
    pub(super) fn get(&self, reader: u64) -> Option<T> {
        let mut things = self.things.lock();
        let mut found = things.remove(reader)?;
        let thing = found.thing.clone();
        found.used = Instant::now();
        things.push(found);
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::MAX;

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_what_is_taken_makes_room() {
        let kept = Kept::new(100, NEVER);
        assert!(kept.put(1, 60, "one"));
        assert!(!kept.put(2, 41, "two"));
        assert!(kept.put(3, 40, "three"));
        assert!(!kept.put(4, 1, "four"));
        assert_eq!((kept.get(2), kept.get(4)), (None, None));
        assert_eq!(kept.take(1), Some("one"));
        assert_eq!(kept.take(1), None);
        assert!(kept.put(4, 60, "four"));
        assert!(!kept.put(1, 1, "one"));
        assert_eq!((kept.get(3), kept.get(4)), (Some("three"), Some("four")));
    }

    #[test]
    fn a_reader_keeps_one_thing_whatever_it_had_before() {
        let kept = Kept::new(100, NEVER);
        for bytes in [100, 1, 100] {
            assert!(kept.put(1, bytes, bytes));
            assert_eq!(kept.get(1), Some(bytes));
        }
        assert!(!kept.put(1, 101, 101));
        assert_eq!(kept.get(1), None, "what it had is not what it is at");
    }

    #[test]
    fn what_is_idle_gives_way_and_the_longest_idle_first() {
        let kept = Kept::new(3, Duration::ZERO);
        for reader in 0..3 {
            assert!(kept.put(reader, 1, reader));
        }
        assert_eq!(kept.get(0), Some(0));
        assert!(kept.put(3, 1, 3));
        assert_eq!(kept.get(1), None);
        assert!(!kept.put(4, 4, 4), "more than there is at all");
        assert_eq!([0, 2, 3].map(|reader| kept.get(reader).is_some()), [true; 3]);
        assert!(kept.put(4, 2, 4));
        assert_eq!([0, 2].map(|reader| kept.get(reader)), [None; 2]);
        assert_eq!([3, 4].map(|reader| kept.get(reader)), [Some(3), Some(4)]);
    }

    #[test]
    fn what_the_process_makes_ahead_has_a_bound() {
        let ahead = &Keeping::of_process().ahead;
        assert!(ahead.most >= AHEAD_A_CORE && ahead.most <= AHEAD_MOST);
    }
}
