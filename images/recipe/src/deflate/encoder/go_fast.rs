//! Go's `compress/flate` as of Go 1.26 and before, at level 1 and those below.
//!
//! Its input is cut into blocks of 65,535 bytes. Level 1 goes through a block in steps that grow while nothing is found, and
//! keeps one position for each hash of four bytes; what it finds may begin up to 32 KiB back, in the block before at the
//! farthest. If that spares too little, the block's bytes are all literals, as they are at level -2. Level 0 stores.

use super::Model;
use super::go::{Dynamic, STORED_MAX, common, word};
use super::lengths::Counts;
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::Input;
use crate::deflate::token::{DISTANCE_MAX, LENGTH_MAX, Token};

const HASH_BITS: u32 = 14;
/// The last bytes of a block, at which no copy begins.
const MARGIN: usize = 15;
/// A shorter block, the stream's last, is not searched.
const SEARCHED_MIN: usize = 128;
/// One that short is stored at level 1.
const STORED_SHORT: usize = 16;

/// The position of each hash that was seen last, plus one.
#[derive(Debug)]
pub struct GoFast {
    table: Box<[u32; 1 << HASH_BITS]>,
    tokens: Vec<Token>,
}

impl Default for GoFast {
    fn default() -> Self {
        Self {
            table: vec![0; 1 << HASH_BITS]
                .into_boxed_slice()
                .try_into()
                .unwrap_or_else(|_| Box::new([0; 1 << HASH_BITS])),
            tokens: Vec::new(),
        }
    }
}

#[inline]
fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x1e35_a7bd) >> (32 - HASH_BITS)) as usize
}

impl GoFast {
    /// Enters a position; the one of the same hash before it, if the same four bytes are there and in reach.
    #[inline]
    fn enter(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let here = word(bytes, at);
        let slot = &mut self.table[hash(here)];
        let earlier = (*slot as usize).checked_sub(1);
        *slot = at as u32 + 1;
        // A block that ended before it was to leaves positions behind that lie ahead.
        earlier
            .filter(|earlier| *earlier < at && at - earlier <= DISTANCE_MAX && word(bytes, *earlier) == here)
    }

    fn literals(&mut self, bytes: &[u8]) {
        self.tokens.extend(bytes.iter().map(|byte| Token::literal(*byte)));
    }

    /// The tokens of the block from `start` to `end`; the one before began at `previous`.
    fn search(&mut self, bytes: &[u8], previous: usize, start: usize, end: usize) {
        self.tokens.clear();
        let (mut at, mut pending) = (start, start);
        let limit = end.saturating_sub(MARGIN);
        // A 32nd of it is the next step: one byte more after every 32 steps without a copy, about.
        let mut skip = 32;
        while at < limit {
            let next = at + (skip >> 5);
            if next > limit {
                break;
            }
            skip += skip >> 5;
            let Some(mut earlier) = self.enter(bytes, at) else {
                at = next;
                continue;
            };
            self.literals(&bytes[pending..at]);
            loop {
                // What lies before the block before can be told apart by its first four bytes alone.
                let length = if earlier + 4 < previous {
                    4
                } else {
                    4 + common(bytes, earlier + 4, at + 4, (LENGTH_MAX - 4).min(end - at - 4))
                };
                self.tokens.push(Token::copy(length, at - earlier));
                at += length;
                pending = at;
                if at >= limit {
                    break;
                }
                self.enter(bytes, at - 1);
                match self.enter(bytes, at) {
                    Some(found) => earlier = found,
                    None => break,
                }
            }
            at += 1;
            skip = 32;
        }
        self.literals(&bytes[pending..end]);
    }

    /// Predicts the block from `start` to `end`: whether it is stored at any rate.
    fn predict(&mut self, level: i8, bytes: &[u8], previous: usize, start: usize, end: usize) -> bool {
        let plain = end - start;
        let short = plain < SEARCHED_MIN;
        if level == 1 && !short {
            self.search(bytes, previous, start, end);
            if self.tokens.len() <= plain - (plain >> 4) {
                return false;
            }
        }
        self.tokens.clear();
        self.literals(&bytes[start..end]);
        level == 0 || level == 1 && plain <= STORED_SHORT
    }
}

fn shape(tokens: &[Token], plain: usize) -> Shape {
    let dynamic = Dynamic::of(Counts::of(tokens));
    let bits = dynamic.bits();
    if plain <= STORED_MAX && (plain as u64 + 5) * 8 < bits + (bits >> 4) {
        Shape::Stored
    } else {
        dynamic.shape()
    }
}

/// The model at one level: 1, 0 or -2.
pub(super) struct At<'m>(pub(super) &'m mut GoFast, pub(super) i8);

impl Model for At<'_> {
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G) {
        let Self(model, level) = self;
        let bytes = input.bytes;
        let mut previous = input.start.saturating_sub(STORED_MAX);
        if *level == 1 {
            model.table.fill(0);
            if previous < input.start {
                model.search(bytes, previous, previous, input.start);
            }
        }
        let mut start = input.start;
        // Where the part of the block begins that is predicted: a block may be longer than it is to be.
        let mut from = start;
        loop {
            let end = input.end.min(from + STORED_MAX);
            let stored = model.predict(*level, bytes, previous, from, end);
            let mut at = from;
            let mut expected = from;
            let mut ended = false;
            for index in 0..model.tokens.len() {
                let token = model.tokens[index];
                let begins = expected;
                expected += token.length();
                // Behind a token that was another, what was predicted is taken up where it begins.
                while !ended && at < expected {
                    let token = if at == begins {
                        token
                    } else {
                        Token::literal(bytes[at])
                    };
                    at += guide.token(token).length();
                    ended = guide.ends(at == end);
                }
                if ended {
                    break;
                }
            }
            (previous, from) = (from, at);
            if ended {
                let shape = if stored {
                    Shape::Stored
                } else {
                    shape(guide.tokens(), at - start)
                };
                if !guide.block(shape, false) {
                    return;
                }
                start = at;
            }
        }
    }
}
