//! Positions of a window in chains of the same hash of three bytes, the last first: for levels that do not enter all of
//! them.

use super::window::{FULL, HALF, HASHES, Match, REACH, Search, Window, hash, zeros};

/// See the [module](self). What the window loses becomes 0, which is none.
#[derive(Debug)]
pub struct Chains {
    head: Box<[u16; HASHES]>,
    before: Box<[u16; HALF]>,
    /// Of the two bytes at the position that is entered next.
    hash: u16,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            head: zeros(),
            before: zeros(),
            hash: 0,
        }
    }
}

impl Chains {
    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.head.fill(0);
    }

    /// Follows the window, which starts so many bytes later now.
    pub fn shift(&mut self, by: usize) {
        self.before.rotate_left(by & (HALF - 1));
        let by = u16::try_from(by).unwrap_or(u16::MAX);
        for positions in [self.head.as_mut_slice(), self.before.as_mut_slice()] {
            for position in positions {
                *position = position.saturating_sub(by);
            }
        }
    }

    /// Begins to hash anew: the next position to be entered is `at`.
    #[inline]
    pub fn begin(&mut self, window: &Window, at: usize) {
        let at = at & (FULL - 1);
        self.hash = hash(u16::from(window.bytes()[at]), window.bytes()[at + 1]);
    }

    /// Enters the next position, which is `at`: the last one before it of the same hash.
    #[inline]
    pub fn enter(&mut self, window: &Window, at: usize) -> usize {
        let at = at & (FULL - 1);
        self.hash = hash(self.hash, window.bytes()[at + 2]);
        let head = &mut self.head[usize::from(self.hash) & (HASHES - 1)];
        let last = *head;
        self.before[at & (HALF - 1)] = last;
        *head = at as u16;
        usize::from(last)
    }

    /// The first longest string that equals that at `at`, in the chain that begins with `head`. `tries` is at least 1, and a
    /// match of `nice` bytes ends the search.
    #[inline]
    pub fn longest(&self, window: &Window, at: usize, head: usize, tries: usize, nice: usize) -> Match {
        let lowest = at.saturating_sub(REACH);
        let mut search = Search::new(window.bytes(), at, super::window::NONE);
        let mut candidate = head;
        let mut tries = tries;
        loop {
            if search.promises(candidate) && search.take(candidate, nice) {
                break;
            }
            candidate = usize::from(self.before[candidate & (HALF - 1)]);
            tries = tries.wrapping_sub(1);
            if candidate <= lowest || tries == 0 {
                break;
            }
        }
        search.best()
    }
}
