//! The window of 64 KiB that zlib and its kin look back in. It slides by its half.
//!
//! Positions are indices of the window, and 0 is none: the string at the window's start is never found.

pub use super::super::buckets::HALF;
use super::super::buckets::zeros;
use crate::deflate::token::LENGTH_MAX;

/// The window.
pub const FULL: usize = 2 * HALF;
/// Bytes that a position must have behind it before more input is waited for.
pub const AHEAD: usize = LENGTH_MAX + 4;
/// Farthest match; only the last string of the same hash may be that far.
pub const REACH: usize = HALF - AHEAD;
/// What may be read behind the window.
const SLACK: usize = 520;
/// No more than this bounds a length, and shows it.
const LENGTH_MASK: usize = 511;
/// Hashes of three bytes.
pub const HASHES: usize = 1 << 15;
const HASH_SHIFT: u32 = 5;

/// The window's bytes, and some behind it.
pub type Bytes = [u8; FULL + SLACK];

/// The hash of one byte more, for that of the bytes before it: of three at most.
#[inline]
pub fn hash(before: u16, byte: u8) -> u16 {
    (before << HASH_SHIFT ^ u16::from(byte)) & (HASHES - 1) as u16
}

/// See the [module](self).
#[derive(Debug)]
pub struct Window(Box<Bytes>);

impl Default for Window {
    fn default() -> Self {
        Self(zeros())
    }
}

impl Window {
    /// Puts bytes at an index; what lies more than two bytes behind the window is left out.
    pub fn load(&mut self, at: usize, from: &[u8]) {
        let at = at.min(FULL);
        let count = from.len().min(FULL + 2 - at);
        self.0[at..at + count].copy_from_slice(&from[..count]);
    }

    /// Puts zeros from one index to another.
    pub fn wipe(&mut self, from: usize, to: usize) {
        let to = to.min(FULL + SLACK);
        self.0[from.min(to)..to].fill(0);
    }

    /// Moves the upper half to the lower; the upper half stays as it is.
    pub fn slide(&mut self) {
        self.0.copy_within(HALF..FULL, 0);
    }

    /// The byte at an index.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.0[at & (FULL - 1)]
    }

    /// All of it.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
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

/// A search for the first longest string that equals the one at a position.
pub struct Search<'a> {
    bytes: &'a Bytes,
    at: usize,
    best: Match,
    /// A longer match equals the four bytes that end with the one behind the best so far: their place, and what they are.
    /// Where there is no match so far, three bytes are looked at.
    tail: usize,
    wanted: u32,
    mask: u32,
}

impl<'a> Search<'a> {
    /// A search at `at`, for a match longer than `before`.
    #[inline]
    pub fn new(bytes: &'a Bytes, at: usize, before: Match) -> Self {
        let at = at & (FULL - 1);
        let tail = before.length.saturating_sub(3) & LENGTH_MASK;
        Self {
            bytes,
            at,
            best: before,
            tail,
            wanted: word(bytes, at + tail),
            mask: if before.length < 3 { 0x00ff_ffff } else { u32::MAX },
        }
    }

    /// Whether the string at `candidate` (an index of the window) may be longer than the best so far.
    #[inline]
    pub fn promises(&self, candidate: usize) -> bool {
        (word(self.bytes, (candidate & (FULL - 1)) + (self.tail & LENGTH_MASK)) ^ self.wanted) & self.mask
            == 0
    }

    /// The last of `positions`, which are counted from the half of the window that starts at `from`, whose string may be
    /// longer than the best so far: its index in `positions`.
    #[inline]
    pub fn last_promising(&self, positions: &[u16], from: usize) -> Option<usize> {
        let start = (from & HALF) + (self.tail & LENGTH_MASK);
        let bytes = self.bytes[start..].first_chunk::<{ HALF + 3 }>()?;
        let (wanted, mask) = (self.wanted, self.mask);
        positions.iter().rposition(|position| {
            let at = usize::from(*position) & (HALF - 1);
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            (u32::from_le_bytes(word) ^ wanted) & mask == 0
        })
    }

    /// Takes the string at `candidate` if it is longer than the best so far; whether it is `nice` bytes long then.
    #[inline]
    pub fn take(&mut self, candidate: usize, nice: usize) -> bool {
        let candidate = candidate & (FULL - 1);
        let length = common(self.bytes, candidate, self.at);
        if length <= self.best.length {
            return false;
        }
        self.best = Match {
            length,
            distance: self.at.wrapping_sub(candidate),
        };
        self.tail = (length - 3) & LENGTH_MASK;
        self.wanted = word(self.bytes, self.at + self.tail);
        self.mask = u32::MAX;
        length >= nice
    }

    /// The longest so far; the one it began with where there is none.
    #[inline]
    pub fn best(&self) -> Match {
        self.best
    }
}
