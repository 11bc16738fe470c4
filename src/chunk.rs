//! Where a byte sequence is cut into chunks: FastCDC of 2020, 16/64/256 KiB (FORMAT.md 2).
//!
//! The cut points decide only what deduplicates; a reader never needs them.

use crate::format::{CHUNK_AVG, CHUNK_MAX, CHUNK_MIN};
use crate::units::index;
use fastcdc::v2020::FastCDC;

/// Lengths of the chunks at the start of `bytes`, in order. Where more bytes may follow
/// (`last` is false), cutting stops as soon as fewer than the largest chunk are left, since the
/// next cut could depend on what follows.
pub fn cuts(bytes: &[u8], last: bool) -> impl Iterator<Item = usize> + '_ {
    let cutter = FastCDC::new(bytes, index(CHUNK_MIN), index(CHUNK_AVG), index(CHUNK_MAX));
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = bytes.len() - at;
        if left == 0 || (!last && left < index(CHUNK_MAX)) {
            return None;
        }
        let (_, end) = cutter.cut(at, left);
        let len = end - at;
        at = end;
        Some(len)
    })
}

/// True where every byte is zero: such a chunk is never stored.
#[must_use]
pub fn is_zeros(bytes: &[u8]) -> bool {
    // Whole words first: a run of zeros is the one case where all of it is looked at.
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|w| *w == [0; 32]) && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0; len];
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_le_bytes());
        hash.finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn chunks_stay_within_their_bounds_and_cover_everything() {
        let bytes = noise(3_000_000, 1);
        let lens: Vec<usize> = cuts(&bytes, true).collect();
        assert_eq!(lens.iter().sum::<usize>(), bytes.len());
        let (last, others) = lens.split_last().unwrap();
        assert!(
            *last <= 256 * 1024 && others.iter().all(|n| (16 * 1024..=256 * 1024).contains(n)),
            "{lens:?}"
        );
        assert_eq!(cuts(b"", true).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn cutting_piecewise_equals_cutting_at_once(pieces in prop::collection::vec(1_usize..700_000, 1..6), seed: u64) {
            let bytes = noise(pieces.iter().sum(), seed);
            let whole: Vec<usize> = cuts(&bytes, true).collect();
            let (mut found, mut carry, mut at) = (Vec::new(), Vec::new(), 0);
            for (n, piece) in pieces.iter().enumerate() {
                carry.extend_from_slice(&bytes[at..at + piece]);
                at += piece;
                let lens: Vec<usize> = cuts(&carry, n + 1 == pieces.len()).collect();
                carry.drain(..lens.iter().sum::<usize>());
                found.extend(lens);
            }
            prop_assert_eq!(found, whole);
        }
    }
}
