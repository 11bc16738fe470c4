//! Go's `compress/flate` as of Go 1.26 and before, at levels 2 to 9 (-1 is 6).
//!
//! Every position's four bytes go into chains of the same hash. At each position the chain is followed for a number of
//! tries, and the first longest match is taken; at levels 4 to 9 only if the next position has no longer one. The window
//! slides by 32 KiB when its last 262 bytes are reached, and with it everything before its start is out of reach, also
//! where it is no further back than a match may be. A block ends after 16,384 tokens.

mod buckets;

use super::Model;
use super::buckets::zeros;
use super::lengths::{Counts, Header, Runs, bits_of, package_merge, used};
use crate::deflate::guide::Guide;
use crate::deflate::inflate::{Shape, fixed};
use crate::deflate::segment::{Input, TRIES};
use crate::deflate::token::{DISTANCES, LENGTH_MAX, LITERALS, Token};
use buckets::Buckets;

const HASH_BITS: u32 = 17;
const WINDOW: usize = 32 << 10;
/// Shortest match.
const MATCH_MIN: usize = 4;
/// Longest match of four bytes that is taken.
const SHORT_DISTANCE: usize = 4096;
const BLOCK_TOKENS: usize = 1 << 14;
pub(super) const STORED_MAX: usize = 65_535;
/// Bytes that a position must have behind it before more input is waited for.
const AHEAD: usize = MATCH_MIN + LENGTH_MAX;

/// What a level sets.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// A match of that length is not given up for a longer one at the next position.
    lazy: usize,
    /// A match of that length ends the search.
    nice: usize,
    /// Tries.
    chain: usize,
    /// Levels without lazy matches: within longer matches than that, positions are not entered.
    enter: Option<usize>,
}

const fn effort(level: i8) -> Effort {
    let (lazy, nice, chain, enter) = match level {
        2 => (0, 16, 8, Some(5)),
        3 => (0, 32, 32, Some(6)),
        4 => (4, 16, 16, None),
        5 => (16, 32, 32, None),
        7 => (32, 128, 256, None),
        8 => (128, 258, 1024, None),
        9 => (258, 258, 4096, None),
        _ => (16, 128, 128, None),
    };
    Effort {
        lazy,
        nice,
        chain,
        enter,
    }
}

/// Positions by the hash of their four bytes, for levels that do not enter all of them. A position is stored with a number added that grows from segment to segment,
/// so that nothing has to be cleared: what is below the segment's own is none of it.
#[derive(Debug)]
pub struct Chains {
    head: Box<[u32; 1 << HASH_BITS]>,
    before: Box<[u32; WINDOW]>,
    base: u32,
    next_base: u32,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            head: zeros(),
            before: zeros(),
            base: 1,
            next_base: 1,
        }
    }
}

#[inline]
fn hash(word: u32) -> usize {
    (word.swap_bytes().wrapping_mul(0x1e35_a7bd) >> (32 - HASH_BITS)) as usize
}

#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

impl Chains {
    /// Begins a segment of `length` bytes.
    fn begin(&mut self, length: usize) {
        if u64::from(self.next_base) + length as u64 >= u64::from(u32::MAX) {
            self.head.fill(0);
            self.before.fill(0);
            self.next_base = 1;
        }
        self.base = self.next_base;
        self.next_base += length as u32;
    }

    /// Enters a position; what is the last before it of the same hash, with the segment's number added.
    #[inline]
    fn enter(&mut self, bytes: &[u8], at: usize) -> u32 {
        let head = &mut self.head[hash(word(bytes, at)) & ((1 << HASH_BITS) - 1)];
        let last = *head;
        self.before[at & (WINDOW - 1)] = last;
        *head = self.base + at as u32;
        last
    }
}

/// See [`Encoder::Go`](super::Encoder::Go).
#[derive(Debug, Default)]
pub struct Go {
    chains: Chains,
    buckets: Buckets,
}

/// A match: its length and distance; no match has the length 3.
#[derive(Clone, Copy)]
struct Match {
    length: usize,
    distance: usize,
}

const NONE: Match = Match {
    length: MATCH_MIN - 1,
    distance: 0,
};

/// How many of the next `most` bytes are the same in both places.
#[inline]
pub(super) fn common(bytes: &[u8], earlier: usize, at: usize, most: usize) -> usize {
    let (a, b) = (&bytes[earlier..earlier + most], &bytes[at..at + most]);
    let (wide, rest) = a.as_chunks::<8>();
    let (other, other_rest) = b.as_chunks::<8>();
    for (step, (a, b)) in wide.iter().zip(other).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return step * 8 + (differ.trailing_zeros() / 8) as usize;
        }
    }
    let same = rest.iter().zip(other_rest).take_while(|(a, b)| a == b).count();
    most - rest.len() + same
}

impl Go {
    /// The first longest match at `at` among the chain that begins with `last`, and the tries that it took.
    #[inline]
    fn search(&self, bytes: &[u8], at: usize, last: u32, window: usize, effort: &Effort) -> (Match, usize) {
        let most = LENGTH_MAX.min(bytes.len() - at);
        let nice = effort.nice.min(most);
        let farthest = at.saturating_sub(WINDOW).max(window);
        let lowest = self.chains.base + farthest as u32;
        let mut best = NONE;
        let mut candidate = last;
        let mut end = word(bytes, at + best.length - 3);
        let mut tries = effort.chain;
        while tries > 0 && candidate >= lowest {
            let earlier = (candidate - self.chains.base) as usize;
            if word(bytes, earlier + best.length - 3) == end {
                let length = common(bytes, earlier, at, most);
                if length > best.length && (length > MATCH_MIN || at - earlier <= SHORT_DISTANCE) {
                    best = Match {
                        length,
                        distance: at - earlier,
                    };
                    if length >= nice {
                        break;
                    }
                    end = word(bytes, at + length - 3);
                }
            }
            if at - earlier == WINDOW {
                break;
            }
            candidate = self.chains.before[earlier & (WINDOW - 1)];
            tries -= 1;
        }
        (best, effort.chain - tries)
    }

    /// How a block of these tokens is written. Its plaintext of `plain` bytes can be stored if it lies in the window.
    fn shape(tokens: &[Token], plain: usize, storable: bool) -> Shape {
        let counts = Counts::of(tokens);
        let extra = counts.extra_bits();
        let dynamic = Dynamic::of(counts);
        let (fixed_literals, fixed_distances) = fixed();
        let fixed = 3
            + bits_of(&dynamic.counts.literals, &fixed_literals)
            + bits_of(&dynamic.counts.distances, &fixed_distances)
            + extra;
        let bits = dynamic.bits() + extra;
        if storable && plain <= STORED_MAX && (plain as u64 + 5) * 8 < bits.min(fixed) {
            Shape::Stored
        } else if bits < fixed {
            dynamic.shape()
        } else {
            Shape::Fixed
        }
    }

    /// Runs the model at that level (2 to 9).
    pub(super) fn run<G: Guide>(&mut self, level: i8, input: &Input<'_>, guide: &mut G) {
        Run::new(self, level, input).segment(guide);
    }
}

/// A block with codes of its own, as Go's encoders choose them.
pub(super) struct Dynamic {
    counts: Counts,
    header: Header,
    literals: [u8; LITERALS],
    distances: [u8; DISTANCES],
}

impl Dynamic {
    pub(super) fn of(mut counts: Counts) -> Self {
        let (used_literals, mut used_distances) = (used(&counts.literals), used(&counts.distances));
        if used_distances == 0 {
            // A block without copies has one distance code all the same.
            counts.distances[0] = 1;
            used_distances = 1;
        }
        let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
        package_merge(&counts.literals, 15, &mut literals);
        package_merge(&counts.distances, 15, &mut distances);
        let header = Header::new(
            &literals[..used_literals],
            &distances[..used_distances],
            Runs::Go,
            |counts, lengths| package_merge(counts, 7, lengths),
        );
        Self {
            counts,
            header,
            literals,
            distances,
        }
    }

    /// What it takes, but for the extra bits of lengths and distances.
    pub(super) fn bits(&self) -> u64 {
        3 + self.header.bits()
            + bits_of(&self.counts.literals, &self.literals)
            + bits_of(&self.counts.distances, &self.distances)
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::Dynamic(Box::new(self.header.codes(self.literals, self.distances)))
    }
}

/// A segment being predicted. Positions are in the input's bytes.
struct Run<'m, 'a> {
    model: &'m mut Go,
    effort: Effort,
    bytes: &'a [u8],
    /// Where the window starts; nothing before it is seen. It may lie before the bytes.
    window: isize,
    /// The next position, and tokens of the block.
    at: usize,
    count: usize,
    block: usize,
    /// Tries that are left.
    tries: usize,
}

impl<'m, 'a> Run<'m, 'a> {
    fn new(model: &'m mut Go, level: i8, input: &Input<'a>) -> Self {
        let effort = effort(level);
        if effort.enter.is_some() {
            model.chains.begin(input.bytes.len());
            for at in input.start.saturating_sub(WINDOW)..input.start {
                if at + MATCH_MIN <= input.bytes.len() {
                    model.chains.enter(input.bytes, at);
                }
            }
        } else {
            model.buckets.begin(input.bytes, input.start);
        }
        // The window's start in the stream is a multiple of its length.
        let slides = (input.offset + AHEAD as u64).saturating_sub(WINDOW as u64 + 1) / WINDOW as u64;
        let window = (slides * WINDOW as u64) as i64 - input.offset as i64 + input.start as i64;
        Self {
            model,
            effort,
            bytes: input.bytes,
            window: window as isize,
            at: input.start,
            count: 0,
            block: input.start,
            tries: TRIES,
        }
    }

    /// Slides the window where its last bytes are reached and there is more input than it has room for.
    #[inline]
    fn slide(&mut self) {
        let behind = self.at as isize - self.window;
        if behind > (2 * WINDOW - AHEAD) as isize
            && self.bytes.len() as isize > self.window + 2 * WINDOW as isize
        {
            self.window += WINDOW as isize;
        }
    }

    /// Enters the next position and searches it.
    #[inline]
    fn search(&mut self) -> Match {
        self.slide();
        if self.bytes.len() - self.at < MATCH_MIN {
            return NONE;
        }
        let last = self.model.chains.enter(self.bytes, self.at);
        if self.tries == 0 {
            return NONE;
        }
        let window = usize::try_from(self.window).unwrap_or(0);
        let (found, tries) = self.model.search(self.bytes, self.at, last, window, &self.effort);
        self.tries = self.tries.saturating_sub(tries);
        found
    }

    /// Whether the encoder searches at the next position, where that before it has a match of `before` bytes.
    #[inline]
    fn searches(&self, before: usize) -> bool {
        let left = self.bytes.len() - self.at;
        left >= MATCH_MIN && left > before && before < self.effort.lazy && self.tries > 0
    }

    /// The match at the next position if it is longer than `before`, and the tries that it took.
    #[inline]
    fn longer(&mut self, before: usize) -> (Match, usize) {
        let window = usize::try_from(self.window).unwrap_or(0);
        let Go { buckets, .. } = &mut *self.model;
        buckets.advance(self.bytes, self.at);
        buckets.longest(self.bytes, self.at, before, window, &self.effort)
    }

    /// Enters the positions up to `end`.
    #[inline]
    fn enter_until(&mut self, from: usize, end: usize) {
        for at in from..end.min((self.bytes.len() + 1).saturating_sub(MATCH_MIN)) {
            self.model.chains.enter(self.bytes, at);
        }
    }

    /// Closes the block if it ends here; false where there is nothing more to predict.
    #[inline]
    fn ended<G: Guide>(&mut self, guide: &mut G, at: usize) -> bool {
        self.count += 1;
        if !guide.ends(self.count == BLOCK_TOKENS) {
            return true;
        }
        let storable = self.block as isize >= self.window;
        let shape = Go::shape(guide.tokens(), at - self.block, storable);
        (self.count, self.block) = (0, at);
        guide.block(shape, false)
    }

    fn segment<G: Guide>(mut self, guide: &mut G) {
        if self.effort.enter.is_some() {
            self.greedy(guide);
        } else {
            self.lazily(guide);
        }
    }

    fn lazily<G: Guide>(&mut self, guide: &mut G) {
        let mut last = NONE;
        // Whether the position before is still without a token.
        let mut pending = false;
        loop {
            let left = self.bytes.len() - self.at;
            self.slide();
            let searched = self.searches(last.length);
            let mut found = NONE;
            if searched {
                let tries;
                (found, tries) = self.longer(last.length);
                self.tries = self.tries.saturating_sub(tries);
            }
            if !pending {
                if left == 0 {
                    return;
                }
                last = found;
                self.at += 1;
                pending = true;
                continue;
            }
            let start = self.at - 1;
            let literal = Token::literal(self.bytes[start]);
            let predicted = if left > 0 && last.length >= MATCH_MIN && found.length <= last.length
                || left == 0 && last.length >= MATCH_MIN
            {
                Token::copy(last.length, last.distance)
            } else {
                literal
            };
            let token = guide.token(predicted);
            if token.is_literal() {
                if !self.ended(guide, self.at) {
                    return;
                }
                if left == 0 {
                    return;
                }
                if searched && predicted != literal {
                    // The encoder has the match that is no longer than the one before it, too.
                    (found, _) = self.longer(NONE.length);
                }
                last = found;
                self.at += 1;
            } else {
                let end = start + token.length();
                self.at = end;
                if !self.ended(guide, end) {
                    return;
                }
                (last, pending) = (NONE, false);
            }
        }
    }

    fn greedy<G: Guide>(&mut self, guide: &mut G) {
        let enter = self.effort.enter.unwrap_or(0);
        while self.at < self.bytes.len() {
            let found = self.search();
            let predicted = if found.length >= MATCH_MIN {
                Token::copy(found.length, found.distance)
            } else {
                Token::literal(self.bytes[self.at])
            };
            let token = guide.token(predicted);
            let end = self.at + token.length();
            if token.length() <= enter {
                self.enter_until(self.at + 1, end);
            }
            self.at = end;
            if !self.ended(guide, end) {
                return;
            }
        }
    }
}

/// The model at one level.
pub(super) struct At<'m>(pub(super) &'m mut Go, pub(super) i8);

impl Model for At<'_> {
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G) {
        self.0.run(self.1, input, guide);
    }
}
