//! Tables of positions by the hash of their bytes, as the levels 1 to 6 keep them.
//!
//! A position is stored with a number added that grows whenever an encoder starts anew, so that nothing has to be cleared:
//! what was stored before lies farther back than any copy reaches.

/// Farthest that most searches look back: less than that.
pub(super) const REACH: u32 = 32 << 10;
/// Added when an encoder starts anew.
const GAP: u32 = 128 << 10;

pub(super) const BITS: u32 = 15;
/// Bits of the hashes of level 2, and of level 3.
pub(super) const WIDE_BITS: u32 = 17;
pub(super) const PAIR_BITS: u32 = 16;

/// The two last positions of a hash: the last in the low half.
pub(super) type Pair = u64;

/// See the module.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) single: Box<[u32; 1 << WIDE_BITS]>,
    pub(super) pairs: Box<[Pair; 1 << PAIR_BITS]>,
    base: u32,
    /// Above all that is stored.
    above: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            single: boxed(),
            pairs: boxed(),
            base: 0,
            above: 0,
        }
    }
}

pub(super) fn boxed<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N]
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([T::default(); N]))
}

impl Tables {
    /// Forgets all positions. Those stored until the next call are below `end`.
    pub(super) fn begin(&mut self, end: usize) {
        if u64::from(self.above) + u64::from(GAP) + end as u64 > u64::from(u32::MAX) {
            self.single.fill(0);
            self.pairs.fill(0);
            self.above = 0;
        }
        self.base = self.above + GAP;
        self.above = self.base + end as u32;
    }

    /// What is added to positions.
    pub(super) fn base(&self) -> u32 {
        self.base
    }
}

/// Whether a position that lies `distance` back (wrapped around where it lies ahead) is within [`REACH`].
#[inline]
pub(super) fn near(distance: u32) -> bool {
    distance.wrapping_sub(1) < REACH - 1
}

/// The pair with a position stored in it.
#[inline]
pub(super) fn push(pair: &mut Pair, position: u32) {
    *pair = *pair << 32 | u64::from(position);
}

#[inline]
pub(super) fn last(pair: Pair) -> u32 {
    pair as u32
}

#[inline]
pub(super) fn before(pair: Pair) -> u32 {
    (pair >> 32) as u32
}

/// The hash of the lowest four bytes.
#[inline]
pub(super) fn hash4(bytes: u64) -> usize {
    ((bytes as u32).wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

/// The hash of the lowest five bytes, in that many bits.
#[inline]
pub(super) fn hash5<const BITS: u32>(bytes: u64) -> usize {
    ((bytes << 24).wrapping_mul(889_523_592_379) >> (64 - BITS)) as usize
}

/// The hash of the lowest seven bytes.
#[inline]
pub(super) fn hash7(bytes: u64) -> usize {
    ((bytes << 8).wrapping_mul(58_295_818_150_454_627) >> (64 - BITS)) as usize
}

/// Eight bytes from `at`, the first lowest.
#[inline]
pub(super) fn eight(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Four bytes from `at`, the first lowest.
#[inline]
pub(super) fn four(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// How many bytes from `at` on are those from `earlier` on, `most` at most.
#[inline]
pub(super) fn common(bytes: &[u8], earlier: usize, at: usize, most: usize) -> usize {
    if at + 8 <= bytes.len() && most >= 8 {
        let differ = eight(bytes, earlier) ^ eight(bytes, at);
        if differ != 0 {
            return (differ.trailing_zeros() / 8) as usize;
        }
    }
    long_common(bytes, earlier, at, most)
}

#[inline(never)]
fn long_common(bytes: &[u8], earlier: usize, at: usize, most: usize) -> usize {
    let most = most.min(bytes.len().saturating_sub(at));
    super::super::go::common(bytes, earlier, at, most)
}
