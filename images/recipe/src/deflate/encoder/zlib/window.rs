//! A zlib encoder's window of 64 KiB, and its positions in chains of the same hash of three bytes.
//!
//! Positions are indices of the window, and 0 is none: the string at the window's start is never found. When the window
//! slides by its half, positions in the half that is lost become 0.

use crate::deflate::token::LENGTH_MAX;

/// Half of the window: by so much it slides.
pub const HALF: usize = 32 << 10;
/// The window.
pub const FULL: usize = 2 * HALF;
/// Bytes that a position must have behind it before more input is waited for.
pub const AHEAD: usize = LENGTH_MAX + 4;
/// Farthest match; only the head of a chain may be that far.
pub const REACH: usize = HALF - AHEAD;
/// What comparisons may read behind the window.
const SLACK: usize = 520;
/// No more than this bounds a length, and shows it.
const LENGTH_MASK: usize = 511;
const HASH_BITS: u32 = 15;
const HASH_SHIFT: u32 = 5;
const HASH_MASK: u16 = (1 << HASH_BITS) - 1;

type Bytes = [u8; FULL + SLACK];

/// See the [module](self).
#[derive(Debug)]
pub struct Window {
    bytes: Box<Bytes>,
    head: Box<[u16; 1 << HASH_BITS]>,
    before: Box<[u16; HALF]>,
    /// Of the two bytes at the position that is entered next.
    hash: u16,
}

fn zeros<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N]
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([T::default(); N]))
}

impl Default for Window {
    fn default() -> Self {
        Self {
            bytes: zeros(),
            head: zeros(),
            before: zeros(),
            hash: 0,
        }
    }
}

#[inline]
fn word(bytes: &Bytes, at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Equal bytes at two positions, at most [`LENGTH_MAX`].
#[inline]
fn common(bytes: &Bytes, a: usize, b: usize) -> usize {
    const READ: usize = LENGTH_MAX.next_multiple_of(8);
    let (a, _) = bytes[a..a + READ].as_chunks::<8>();
    let (b, _) = bytes[b..b + READ].as_chunks::<8>();
    let mut length = 0;
    for (a, b) in a.iter().zip(b) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            length += (differ.trailing_zeros() / 8) as usize;
            break;
        }
        length += 8;
    }
    length.min(LENGTH_MAX)
}

/// A match: 2 is the length of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Bytes.
    pub length: usize,
    /// From 1.
    pub distance: usize,
}

/// No match.
pub const NONE: Match = Match {
    length: 2,
    distance: 0,
};

impl Window {
    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.head.fill(0);
    }

    /// Puts bytes at an index; what does not fit is left out.
    pub fn load(&mut self, at: usize, from: &[u8]) {
        let at = at.min(FULL);
        let count = from.len().min(FULL - at);
        self.bytes[at..at + count].copy_from_slice(&from[..count]);
    }

    /// Puts zeros from one index to another.
    pub fn wipe(&mut self, from: usize, to: usize) {
        let to = to.min(FULL + SLACK);
        self.bytes[from.min(to)..to].fill(0);
    }

    /// Moves the upper half to the lower; the upper half stays as it is.
    pub fn slide(&mut self) {
        self.bytes.copy_within(HALF..FULL, 0);
        for position in self.head.iter_mut().chain(self.before.iter_mut()) {
            *position = position.saturating_sub(HALF as u16);
        }
    }

    /// The byte at an index.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at & (FULL - 1)]
    }

    /// Begins to hash anew: the next position to be entered is `at`.
    #[inline]
    pub fn hash_at(&mut self, at: usize) {
        let at = at & (FULL - 1);
        self.hash = (u16::from(self.bytes[at]) << HASH_SHIFT ^ u16::from(self.bytes[at + 1])) & HASH_MASK;
    }

    /// Enters the next position, which is `at`: the last one before it of the same hash.
    #[inline]
    pub fn enter(&mut self, at: usize) -> usize {
        let at = at & (FULL - 1);
        self.hash = (self.hash << HASH_SHIFT ^ u16::from(self.bytes[at + 2])) & HASH_MASK;
        let head = &mut self.head[usize::from(self.hash & HASH_MASK)];
        let last = *head;
        self.before[at & (HALF - 1)] = last;
        *head = at as u16;
        usize::from(last)
    }

    /// The first longest string that equals that at `at`, longer than `best`, in the chain that begins with `head`;
    /// `best` where there is none. `tries` is at least 1, and `nice` ends the search.
    #[inline]
    pub fn longest(&self, at: usize, head: usize, best: Match, tries: usize, nice: usize) -> Match {
        let (bytes, before) = (&*self.bytes, &*self.before);
        let at = at & (FULL - 1);
        let lowest = at.saturating_sub(REACH);
        let mut best = best;
        let mut candidate = head & (FULL - 1);
        let mut tries = tries;
        // A longer match equals the four bytes that end with the one behind the best so far.
        let mut tail = best.length.saturating_sub(3) & LENGTH_MASK;
        let mut mask = if best.length < 3 { 0x00ff_ffff } else { u32::MAX };
        let mut wanted = word(bytes, at + tail);
        loop {
            if (word(bytes, candidate + tail) ^ wanted) & mask == 0 {
                let length = common(bytes, candidate, at);
                if length > best.length {
                    best = Match {
                        length,
                        distance: at.wrapping_sub(candidate),
                    };
                    if length >= nice {
                        break;
                    }
                    tail = (length - 3) & LENGTH_MASK;
                    mask = u32::MAX;
                    wanted = word(bytes, at + tail);
                }
            }
            candidate = usize::from(before[candidate & (HALF - 1)]);
            tries = tries.wrapping_sub(1);
            if candidate <= lowest || tries == 0 {
                break;
            }
        }
        best
    }
}
