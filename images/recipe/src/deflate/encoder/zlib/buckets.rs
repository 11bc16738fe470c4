//! Positions of a window sorted by the hash of three bytes: for levels that enter all of them.
//!
//! Where every position is entered, which strings a search meets, and in which order, is known from the plaintext alone. A
//! bucket in memory is what the encoder follows from link to link, and many times as fast to look through.

use super::window::{Bytes, FULL, HALF, HASHES, Match, REACH, Search, Window, hash, zeros};

/// The positions of half a window, from 0.
#[derive(Debug)]
struct Half {
    /// By hash, and ascending among those of the same.
    sorted: Box<[u16; HALF]>,
    /// Where the positions of each hash start in `sorted`; they end where those of the next start.
    starts: Box<[u16; HASHES + 1]>,
    /// Where each position is in `sorted`.
    ranks: Box<[u16; HALF]>,
}

impl Default for Half {
    fn default() -> Self {
        Self {
            sorted: zeros(),
            starts: zeros(),
            ranks: zeros(),
        }
    }
}

impl Half {
    /// Sorts the first `count` positions of the half that starts at `from`.
    fn sort(&mut self, bytes: &Bytes, from: usize, count: usize) {
        let bytes = &bytes[from..from + HALF + 2];
        let count = count.min(HALF);
        self.starts.fill(0);
        let mut of = hash(u16::from(bytes[0]), bytes[1]);
        for (rank, byte) in self.ranks.iter_mut().zip(&bytes[2..]).take(count) {
            of = hash(of, *byte);
            *rank = of;
            let next = &mut self.starts[usize::from(of) + 1];
            *next = next.wrapping_add(1);
        }
        let mut all = 0u16;
        for start in &mut self.starts[1..] {
            let count = *start;
            *start = all;
            all = all.wrapping_add(count);
        }
        // What stands at a hash and one is where its next position goes; in the end, where the next hash starts.
        for (position, rank) in self.ranks.iter_mut().enumerate().take(count) {
            let next = &mut self.starts[usize::from(*rank & (HASHES - 1) as u16) + 1];
            *rank = *next;
            self.sorted[usize::from(*next) & (HALF - 1)] = position as u16;
            *next = next.wrapping_add(1);
        }
    }

    /// The positions of a hash.
    #[inline]
    fn bucket(&self, hash: u16) -> &[u16] {
        let hash = usize::from(hash) & (HASHES - 1);
        let (start, end) = (self.starts[hash], self.starts[hash + 1]);
        self.sorted.get(start.into()..end.into()).unwrap_or_default()
    }

    /// The positions of a hash before one that has it.
    #[inline]
    fn bucket_before(&self, hash: u16, position: usize) -> &[u16] {
        let start = self.starts[usize::from(hash) & (HASHES - 1)];
        let end = self.ranks[position & (HALF - 1)];
        self.sorted.get(start.into()..end.into()).unwrap_or_default()
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Buckets {
    lower: Half,
    upper: Half,
}

/// The last of `from`, at most `tries`.
#[inline]
fn last(from: &[u16], tries: usize) -> &[u16] {
    &from[from.len() - tries.min(from.len())..]
}

impl Buckets {
    /// Takes the window's first `count` positions.
    pub fn fill(&mut self, window: &Window, count: usize) {
        self.lower.sort(window.bytes(), 0, count);
        self.upper.sort(window.bytes(), HALF, count.saturating_sub(HALF));
    }

    /// Follows the window, which has slid and was filled: it has `count` positions.
    pub fn slide(&mut self, window: &Window, count: usize) {
        std::mem::swap(&mut self.lower, &mut self.upper);
        self.upper.sort(window.bytes(), HALF, count.saturating_sub(HALF));
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
        let of = hash(hash(u16::from(bytes[at]), bytes[at + 1]), bytes[at + 2]);
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
