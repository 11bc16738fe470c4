//! Where the levels that enter every position find the strings of the same hash: sorted, and not linked.

use super::super::buckets::{Half, last};
use super::window::{FULL, HALF, HASHES, Match, REACH, Search, Window, hash};

type Sorted = Half<{ HASHES + 1 }>;

/// Sorts the first `count` positions of the half that starts at `from`.
fn sort(half: &mut Sorted, window: &Window, from: usize, count: usize) {
    let bytes = &window.bytes()[from..from + HALF + 2];
    let hashes = bytes.windows(3).map(|three| usize::from(hash_of(three)));
    half.sort(hashes.take(count));
}

/// The hash of three bytes.
#[inline]
fn hash_of(three: &[u8]) -> u16 {
    three.iter().fold(0, |before, byte| hash(before, *byte))
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Buckets {
    lower: Sorted,
    upper: Sorted,
}

impl Buckets {
    /// Takes the window's first `count` positions.
    pub fn fill(&mut self, window: &Window, count: usize) {
        sort(&mut self.lower, window, 0, count);
        sort(&mut self.upper, window, HALF, count.saturating_sub(HALF));
    }

    /// Follows the window, which has slid and was filled: it has `count` positions.
    pub fn slide(&mut self, window: &Window, count: usize) {
        std::mem::swap(&mut self.lower, &mut self.upper);
        sort(&mut self.upper, window, HALF, count.saturating_sub(HALF));
    }

    /// The first longest string that equals that at `at` and is longer than `before`, among `tries` of the same hash; `before`
    /// where there is none. A match of `nice` bytes ends the search. With it, how many there were to try.
    #[inline]
    pub fn longest(
        &self,
        window: &Window,
        at: usize,
        before: Match,
        tries: usize,
        nice: usize,
    ) -> (Match, usize) {
        let bytes = window.bytes();
        let at = at & (FULL - 1);
        let of = usize::from(hash_of(&bytes[at..at + 3]));
        let (near, far) = if at < HALF {
            (self.lower.bucket_before(of, at), [].as_slice())
        } else {
            (self.upper.bucket_before(of, at), self.lower.bucket(of))
        };
        let near_from = at & HALF;
        let near = last(near, tries);
        let far = last(far, tries - near.len());
        let mut search = Search::new(bytes, at, before);
        if !scan(&mut search, near, near_from, nice, at, true) {
            scan(&mut search, far, 0, nice, at, near.is_empty());
        }
        (search.best(), near.len() + far.len())
    }
}

/// Searches positions, counted from `from`, the last first; whether the search has ended. `first` says that the last of
/// them is the last of all: it may be as far as [`REACH`], the others not quite.
#[inline]
fn scan(
    search: &mut Search<'_>,
    mut positions: &[u16],
    from: usize,
    nice: usize,
    at: usize,
    first: bool,
) -> bool {
    let all = positions.len();
    while let Some(index) = search.last_promising(positions, from) {
        let candidate = usize::from(positions[index]) + from;
        // Those that are left are farther yet.
        let distance = at - candidate;
        if candidate == 0 || distance > REACH || distance == REACH && !(first && index + 1 == all) {
            return true;
        }
        if search.take(candidate, nice) {
            return true;
        }
        positions = &positions[..index];
    }
    false
}
