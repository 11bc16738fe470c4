//! Where the levels that enter every position find the strings of the same hash: sorted, and not linked.

use super::super::buckets::{HALF, Half, last, zeros};
use super::{Effort, HASH_BITS, MATCH_MIN, Match, NONE, SHORT_DISTANCE, WINDOW, common, hash, word};
use crate::deflate::token::LENGTH_MAX;

type Sorted = Half<{ (1 << HASH_BITS) + 1 }>;

/// The positions of the half that the next position lies in, and of the half before it. Halves are as long as a window, so
/// that all that is within reach lies in one of them.
#[derive(Debug)]
pub struct Buckets {
    lower: Sorted,
    upper: Sorted,
    /// Where the upper half starts.
    from: usize,
    /// Of each position of the upper half.
    strings: Box<[Strings; HALF]>,
}

/// Where the strings of a position's hash are among the sorted. There are so many hashes that looking one up waits for
/// memory: it waits for many at once where all are looked up together.
#[derive(Debug, Default, Clone, Copy)]
struct Strings {
    /// Those before the position in its half, and those of the half before it.
    near: (u16, u16),
    far: (u16, u16),
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            lower: Sorted::default(),
            upper: Sorted::default(),
            from: 0,
            strings: zeros(),
        }
    }
}

/// The hashes of the positions from `from` on that have four bytes.
fn hashes(bytes: &[u8], from: usize) -> impl Iterator<Item = usize> + Clone {
    let bytes = bytes.get(from..).unwrap_or_default();
    bytes.windows(MATCH_MIN).map(|four| hash(word(four, 0)))
}

impl Buckets {
    /// Begins where the next position is `at`.
    pub fn begin(&mut self, bytes: &[u8], at: usize) {
        self.from = at & !(HALF - 1);
        let before = self.from.checked_sub(HALF);
        self.lower.sort(hashes(bytes, before.unwrap_or(bytes.len())));
        self.sort(bytes);
    }

    /// Goes to `at`, which is in the same half or in the next.
    #[inline]
    pub fn advance(&mut self, bytes: &[u8], at: usize) {
        if at - self.from >= HALF {
            self.next(bytes);
        }
    }

    #[cold]
    fn next(&mut self, bytes: &[u8]) {
        std::mem::swap(&mut self.lower, &mut self.upper);
        self.from += HALF;
        self.sort(bytes);
    }

    /// Sorts the upper half.
    fn sort(&mut self, bytes: &[u8]) {
        self.upper.sort(hashes(bytes, self.from));
        let ranks = self.upper.ranks().iter();
        for ((strings, rank), hash) in self.strings.iter_mut().zip(ranks).zip(hashes(bytes, self.from)) {
            *strings = Strings {
                near: (self.upper.span(hash).0, *rank),
                far: self.lower.span(hash),
            };
        }
    }

    /// The first longest match at `at`, a position of the upper half with four bytes, that is longer than `before`; none
    /// where none is. With it, the tries that it took.
    #[inline]
    pub fn longest(
        &self,
        bytes: &[u8],
        at: usize,
        before: usize,
        window: usize,
        effort: &Effort,
    ) -> (Match, usize) {
        let strings = &self.strings[at & (HALF - 1)];
        let farthest = at.saturating_sub(WINDOW).max(window);
        let near = last(self.upper.sorted(strings.near), effort.chain);
        let near = &near[out_of_reach(near, farthest.saturating_sub(self.from))..];
        let far = last(self.lower.sorted(strings.far), effort.chain - near.len());
        let far = if farthest < self.from {
            &far[out_of_reach(far, (farthest + HALF).saturating_sub(self.from))..]
        } else {
            &[]
        };
        let mut search = Search::new(bytes, at, before, effort.nice);
        // The match that ends the search is not counted, nor is one that is as far as can be.
        let tries = if let Some(index) = search.scan(near, self.from) {
            near.len() - index - 1
        } else if let Some(index) = search.scan(far, self.from.saturating_sub(HALF)) {
            near.len() + far.len() - index - 1
        } else {
            let full = far
                .first()
                .is_some_and(|first| usize::from(*first) + self.from == at);
            near.len() + far.len() - usize::from(full)
        };
        (search.best, tries)
    }
}

/// How many of the positions are before the first within reach.
#[inline]
fn out_of_reach(positions: &[u16], first: usize) -> usize {
    match positions.first() {
        Some(lowest) if usize::from(*lowest) < first => {
            positions.partition_point(|position| usize::from(*position) < first)
        }
        _ => 0,
    }
}

/// A search for the first longest match at a position.
struct Search<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A match has no more bytes, and one of `nice` ends the search.
    most: usize,
    nice: usize,
    best: Match,
    /// What a match must be longer than.
    longest: usize,
    /// A longer match has these four bytes at its end.
    wanted: u32,
}

impl<'a> Search<'a> {
    #[inline]
    fn new(bytes: &'a [u8], at: usize, before: usize, nice: usize) -> Self {
        let most = LENGTH_MAX.min(bytes.len() - at);
        let nice = nice.min(most);
        // A match that ends the search ends it also where it is no longer than the one before.
        let longest = if before < nice {
            before.max(NONE.length)
        } else {
            NONE.length
        };
        Self {
            bytes,
            at,
            most,
            nice,
            best: NONE,
            longest,
            wanted: word(bytes, at + longest - NONE.length),
        }
    }

    /// The last of `positions`, which are counted from `from`, whose match may be longer than the longest so far: its index.
    #[inline]
    fn last_promising(&self, positions: &[u16], from: usize) -> Option<usize> {
        let bytes = &self.bytes[from + self.longest - NONE.length..];
        let wanted = self.wanted;
        if let Some(bytes) = bytes.first_chunk::<{ HALF + 3 }>() {
            positions
                .iter()
                .rposition(|position| word(bytes, usize::from(*position) & (HALF - 1)) == wanted)
        } else {
            positions
                .iter()
                .rposition(|position| word(bytes, usize::from(*position)) == wanted)
        }
    }

    /// Searches positions, counted from `from`, the last first: the index of the one that ends the search.
    #[inline]
    fn scan(&mut self, mut positions: &[u16], from: usize) -> Option<usize> {
        while let Some(index) = self.last_promising(positions, from) {
            let earlier = from + usize::from(positions[index]);
            let length = common(self.bytes, earlier, self.at, self.most);
            let distance = self.at - earlier;
            if length > self.longest && (length > MATCH_MIN || distance <= SHORT_DISTANCE) {
                self.best = Match { length, distance };
                self.longest = length;
                if length >= self.nice {
                    return Some(index);
                }
                self.wanted = word(self.bytes, self.at + length - NONE.length);
            }
            positions = &positions[..index];
        }
        None
    }
}
