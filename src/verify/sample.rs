//! A sample: some frames drawn at random out of all, and what it proves that none of them is damaged.
//!
//! Which frames are drawn follows from the seed alone: those whose keyed hashes are the lowest. So every frame is as
//! likely as any other, the same seed draws the same frames, and a larger sample has the smaller one in it. One pass over
//! the packs' tables is enough, with no more in memory than the sample.

use crate::units::PackNumber;
use std::collections::BinaryHeap;

/// How many frames to draw, and by which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Frames to draw, each at most once; all of them where there are no more.
    pub frames: u64,
    /// The seed. Where it is known to who wrote the disk, damage can be put where it is not looked for.
    pub seed: u64,
}

/// What was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// The seed that it was drawn by.
    pub seed: u64,
    /// Frames that were drawn, read and decoded.
    pub drawn: u64,
    /// Their bytes.
    pub drawn_bytes: u64,
    /// Frames that it was drawn from.
    pub frames: u64,
    /// Of the drawn ones, how many are damaged.
    pub damaged: u64,
}

impl Sampled {
    /// The least number of damaged frames of which it can be said, with 95 % confidence, that the disk has fewer: were so
    /// many of its `M` frames damaged or more, `N` that are drawn would miss all of them in one case of twenty at most
    /// (`C(M-D, N) / C(M, N) ≤ 0.05`). `None` where a drawn one is damaged, and where there are no frames.
    #[must_use]
    pub fn fewer_than(&self) -> Option<u64> {
        (self.damaged == 0 && self.drawn > 0).then(|| fewer_than(self.frames, self.drawn))
    }
}

/// How likely it may be that a sample misses all damage there is, where it is said that there is less.
const DOUBT: f64 = 0.05;

/// The smallest `D` for which `C(frames - D, drawn) / C(frames, drawn)` is no more than [`DOUBT`].
fn fewer_than(frames: u64, drawn: u64) -> u64 {
    // The same fraction is the product over i < D of (frames - drawn - i) / (frames - i): each further damaged
    // frame is one more that must not be among those drawn.
    let (mut missed, mut damaged) = (1.0, 0);
    while missed > DOUBT && damaged < frames {
        missed *= real(frames.saturating_sub(drawn).saturating_sub(damaged)) / real(frames - damaged);
        damaged += 1;
    }
    damaged
}

/// Exact below 2^53, which is more frames than any disk has.
const fn real(n: u64) -> f64 {
    n as f64
}

/// Draws as frames are offered one after the other.
pub(super) struct Drawing<T> {
    sample: Sample,
    key: [u8; 32],
    offered: u64,
    lowest: BinaryHeap<Drawn<T>>,
}

/// A frame, ordered by its hash.
struct Drawn<T> {
    rank: [u8; 32],
    pack: PackNumber,
    frame: T,
}

impl<T> PartialEq for Drawn<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Drawn<T> {}

impl<T> PartialOrd for Drawn<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Drawn<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<T> Drawing<T> {
    pub(super) fn new(sample: Sample) -> Self {
        Self {
            sample,
            key: blake3::derive_key(
                "holdall verify: the frames of a sample",
                &sample.seed.to_le_bytes(),
            ),
            offered: 0,
            lowest: BinaryHeap::new(),
        }
    }

    /// Offers the frame at that offset of that pack.
    pub(super) fn offer(&mut self, pack: PackNumber, offset: u32, frame: T) {
        self.offered += 1;
        let place = (u64::from(pack.get()) << 32) | u64::from(offset);
        let rank = *blake3::keyed_hash(&self.key, &place.to_le_bytes()).as_bytes();
        let full = crate::units::len64(self.lowest.len()) >= self.sample.frames;
        if full && self.lowest.peek().is_none_or(|highest| highest.rank <= rank) {
            return;
        }
        if full {
            self.lowest.pop();
        }
        self.lowest.push(Drawn { rank, pack, frame });
    }

    /// How many were offered, and those that were drawn, in no order.
    pub(super) fn finish(self) -> (u64, Vec<(PackNumber, T)>) {
        let drawn = self.lowest.into_iter().map(|drawn| (drawn.pack, drawn.frame));
        (self.offered, drawn.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(frames: u64, seed: u64, of: u32) -> Vec<u32> {
        let mut drawing = Drawing::new(Sample { frames, seed });
        for n in 0..of {
            drawing.offer(PackNumber::new(n % 3 + 1), n, n);
        }
        let (offered, drawn) = drawing.finish();
        assert_eq!(offered, u64::from(of));
        let mut drawn: Vec<u32> = drawn.into_iter().map(|(_, n)| n).collect();
        drawn.sort_unstable();
        drawn
    }

    #[test]
    fn the_same_seed_draws_the_same_and_a_larger_sample_has_the_smaller_in_it() {
        let (few, many) = (draw(10, 7, 1000), draw(50, 7, 1000));
        assert_eq!((few.len(), many.len()), (10, 50));
        assert_eq!(few, draw(10, 7, 1000));
        assert!(few.iter().all(|n| many.contains(n)));
        assert_ne!(few, draw(10, 8, 1000));
        assert_eq!(draw(10, 7, 4), [0, 1, 2, 3]);
        assert!(draw(10, 7, 0).is_empty());
    }

    #[test]
    fn every_frame_is_as_likely_as_any_other() {
        let mut drawn = [0_u32; 50];
        for seed in 0..4000 {
            for n in draw(5, seed, 50) {
                drawn[n as usize] += 1;
            }
        }
        // 400 are expected of each, with a deviation of 19: five of them either way.
        assert!(drawn.iter().all(|n| (305..=495).contains(n)), "{drawn:?}");
    }

    /// The same, by counting: how many of the choices of `drawn` out of `frames` miss all of `damaged`.
    fn by_counting(frames: u32, drawn: u32) -> u64 {
        let choices: Vec<u32> = (0..1_u32 << frames).filter(|c| c.count_ones() == drawn).collect();
        let missed = |damaged: u32| {
            let missing = choices.iter().filter(|c| **c & ((1 << damaged) - 1) == 0);
            missing.count() as f64 / choices.len() as f64
        };
        (1..=frames)
            .find(|damaged| missed(*damaged) <= 0.05)
            .map_or(0, u64::from)
    }

    #[test]
    fn what_a_clean_sample_proves_is_what_counting_all_samples_says() {
        for frames in 1..=14 {
            for drawn in 1..=frames {
                let sampled = Sampled {
                    seed: 0,
                    drawn: u64::from(drawn),
                    drawn_bytes: 0,
                    frames: u64::from(frames),
                    damaged: 0,
                };
                assert_eq!(
                    sampled.fewer_than(),
                    Some(by_counting(frames, drawn)),
                    "{drawn} of {frames}"
                );
            }
        }
    }

    #[test]
    fn a_sample_of_300_leaves_about_one_in_a_hundred_and_one_of_all_leaves_nothing() {
        assert_eq!(fewer_than(1_000_000, 300), 9_935);
        assert_eq!(fewer_than(1_000_000, 1_000_000), 1);
        let damaged = Sampled {
            seed: 0,
            drawn: 5,
            drawn_bytes: 0,
            frames: 10,
            damaged: 1,
        };
        assert_eq!(damaged.fewer_than(), None);
    }
}
