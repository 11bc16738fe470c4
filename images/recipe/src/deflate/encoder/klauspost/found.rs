//! A match that a search has found, before it is taken.

use super::table::{common, near};

/// Bytes behind the last position that is searched.
pub(super) const MARGIN: usize = 11;

/// A match being made.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub(super) at: usize,
    pub(super) earlier: usize,
    pub(super) length: usize,
}

impl Match {
    /// Takes the match at `later` with what lies `distance` back instead, if it is longer.
    #[inline]
    pub(super) fn replace(&mut self, bytes: &[u8], later: usize, distance: u32, low: usize, longest: usize) {
        if near(distance) && later >= low + distance as usize {
            let earlier = later - distance as usize;
            let length = common(bytes, earlier, later, longest);
            if length > self.length {
                *self = Self {
                    at: later,
                    earlier,
                    length,
                };
            }
        }
    }

    /// Extends it backwards, not below `emitted`.
    #[inline]
    pub(super) fn back(&mut self, bytes: &[u8], emitted: usize, low: usize) {
        while self.earlier > low && self.at > emitted && bytes[self.earlier - 1] == bytes[self.at - 1] {
            self.at -= 1;
            self.earlier -= 1;
            self.length += 1;
        }
    }
}
