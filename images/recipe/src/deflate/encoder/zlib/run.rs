//! A stretch of plaintext that one of the family compresses, predicted. Positions are indices of the window, but where a
//! name says *place*: that is a position in the input's bytes.

use super::window::{AHEAD, FULL, HALF, Match, NONE, REACH, Window};
use super::{Effort, trees};
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::Input;
use crate::deflate::token::{LENGTH_MIN, Token};
use std::marker::PhantomData;

/// Farthest match of three bytes that is taken, at levels 4 to 9.
const SHORT_DISTANCE: usize = 4096;
/// Bytes before a segment that a level is run over which does not enter all positions, to know which it did.
const REHEARSAL: usize = HALF;

/// In what the encoders of the family differ.
pub trait Kin {
    /// Tokens that a block has room for.
    const TOKENS: usize;
}

/// zlib, with its default memory level, 8.
pub struct Zlib;

impl Kin for Zlib {
    const TOKENS: usize = (1 << 14) - 1;
}

/// See the [module](self).
pub struct Run<'m, 'a, K> {
    window: &'m mut Window,
    effort: Effort,
    bytes: &'a [u8],
    /// The place where the window starts.
    base: usize,
    /// The next position, and where the window's bytes end.
    at: usize,
    filled: usize,
    /// The place where the plaintext ends.
    end: usize,
    /// The place where the block starts, and its tokens.
    block: usize,
    count: usize,
    kin: PhantomData<K>,
}

impl<'m, 'a, K: Kin> Run<'m, 'a, K> {
    /// Begins where the segment of `input` starts, in a stream that is compressed in one piece.
    pub fn new(window: &'m mut Window, effort: Effort, input: &Input<'a>) -> Self {
        // The window slides where fewer than `AHEAD` bytes are left in it.
        let slides = input
            .offset
            .saturating_sub((HALF + REACH) as u64)
            .div_ceil(HALF as u64);
        let at = ((input.offset - slides * HALF as u64) as usize).min(input.start);
        let mut run = Self {
            window,
            effort,
            bytes: input.bytes,
            base: input.start - at,
            at,
            filled: 0,
            end: input.bytes.len(),
            block: input.start,
            count: 0,
            kin: PhantomData,
        };
        run.prime();
        run
    }

    /// Fills the window, and enters the positions before the first.
    fn prime(&mut self) {
        self.window.clear();
        self.filled = (self.end - self.base).min(FULL);
        self.window
            .load(0, &self.bytes[self.base..self.base + self.filled]);
        let start = self.at;
        let mut first = start;
        if self.effort.level < 4 {
            first = start.saturating_sub(REHEARSAL);
        }
        self.at = first.saturating_sub(HALF);
        self.window.hash_at(self.at);
        self.enter_until(first);
        self.at = first;
        if first < start {
            let mut rehearsal = Rehearsal { left: start - first };
            self.window.hash_at(first);
            self.fast(&mut rehearsal);
            self.block = self.base + start;
            self.count = 0;
        }
        self.at = start;
        self.window.hash_at(start);
    }

    /// Predicts the segment.
    pub fn segment<G: Guide>(mut self, guide: &mut G) {
        if self.effort.level < 4 {
            self.fast(guide);
        } else {
            self.lazily(guide);
        }
    }

    fn left(&self) -> usize {
        self.filled.saturating_sub(self.at)
    }

    /// Sees to it that the next position has [`AHEAD`] bytes behind it, or all that there are.
    #[inline]
    fn refill(&mut self) {
        if self.left() < AHEAD {
            self.refill_now();
        }
    }

    #[cold]
    fn refill_now(&mut self) {
        if self.at >= HALF + REACH {
            self.window.slide();
            self.base += HALF;
            self.at -= HALF;
            self.filled = self.filled.saturating_sub(HALF);
        }
        let filled = (self.end - self.base).min(FULL);
        if filled > self.filled {
            let from = self.base + self.filled;
            self.window
                .load(self.filled, &self.bytes[from..self.base + filled]);
            self.filled = filled;
        }
    }

    /// Enters the next position, if it has three bytes.
    #[inline]
    fn enter(&mut self) -> usize {
        if self.at + LENGTH_MIN <= self.filled {
            self.window.enter(self.at)
        } else {
            0
        }
    }

    /// Enters the positions up to `end`, and goes there.
    #[inline]
    fn enter_until(&mut self, end: usize) {
        for at in self.at..end.min((self.filled + 1).saturating_sub(LENGTH_MIN)) {
            self.window.enter(at);
        }
        self.at = end;
    }

    /// The match at the next position, where it is longer than `before`, the one at the position before it.
    #[inline]
    fn search(&self, head: usize, before: Match) -> Match {
        let (effort, left) = (&self.effort, self.left());
        let tries = if before.length >= effort.good {
            effort.chain >> 2
        } else {
            effort.chain
        };
        let mut found = self
            .window
            .longest(self.at, head, before, tries, effort.nice.min(left));
        found.length = found.length.min(left);
        found
    }

    /// Whether a chain's head is one that can be matched.
    #[inline]
    fn reaches(&self, head: usize) -> bool {
        head != 0 && self.at.wrapping_sub(head) <= REACH
    }

    /// Counts a token; whether the block is full with it.
    #[inline]
    fn tally(&mut self) -> bool {
        self.count += 1;
        self.count == K::TOKENS
    }

    /// Closes the block if it ends here; false where there is nothing more to predict. A block that is full leaves the
    /// mark of the stream's last to an empty one.
    #[inline]
    fn ended<G: Guide>(&mut self, guide: &mut G, full: bool) -> bool {
        let over = self.left() == 0;
        if !guide.ends(full || over) {
            return true;
        }
        self.close(guide, over && !full)
    }

    fn close<G: Guide>(&mut self, guide: &mut G, last: bool) -> bool {
        let place = self.base + self.at;
        let shape = if G::BLIND {
            Shape::Stored
        } else {
            let storable = self.block >= self.base;
            trees::shape(guide.tokens(), place - self.block, storable)
        };
        self.block = place;
        self.count = 0;
        guide.block(shape, last)
    }

    /// Levels 1 to 3.
    fn fast<G: Guide>(&mut self, guide: &mut G) {
        loop {
            self.refill();
            if self.left() == 0 {
                return;
            }
            let head = self.enter();
            let mut found = NONE;
            if self.reaches(head) {
                found = self.search(head, NONE);
            }
            let predicted = if found.length >= LENGTH_MIN {
                Token::copy(found.length, found.distance)
            } else {
                Token::literal(self.window.byte(self.at))
            };
            let token = guide.token(predicted);
            let full = self.tally();
            let end = self.at + token.length();
            self.at += 1;
            if token.length() > 1 {
                if token.length() <= self.effort.lazy && end + LENGTH_MIN <= self.filled {
                    self.enter_until(end);
                } else {
                    self.at = end;
                    self.window.hash_at(end);
                }
            }
            if !self.ended(guide, full) {
                return;
            }
        }
    }

    /// Levels 4 to 9.
    fn lazily<G: Guide>(&mut self, guide: &mut G) {
        let mut before = NONE;
        // Whether the position before is still without a token.
        let mut pending = false;
        loop {
            self.refill();
            if self.left() == 0 {
                break;
            }
            let head = self.enter();
            let mut found = NONE;
            if before.length < self.effort.lazy && self.reaches(head) {
                found = self.search(head, before);
                if found.length == LENGTH_MIN && found.distance > SHORT_DISTANCE {
                    found.length -= 1;
                }
            }
            if !pending {
                before = found;
                self.at += 1;
                pending = true;
                continue;
            }
            let predicted = if before.length >= LENGTH_MIN && found.length <= before.length {
                Token::copy(before.length, before.distance)
            } else {
                Token::literal(self.window.byte(self.at - 1))
            };
            let token = guide.token(predicted);
            let full = self.tally();
            if token.is_literal() {
                if !self.ended(guide, full) {
                    return;
                }
                before = if found.length > before.length { found } else { NONE };
                self.at += 1;
            } else {
                let end = self.at - 1 + token.length();
                self.at += 1;
                self.enter_until(end);
                if !self.ended(guide, full) {
                    return;
                }
                (before, pending) = (NONE, false);
            }
        }
        if pending {
            guide.token(Token::literal(self.window.byte(self.at - 1)));
            guide.ends(true);
            self.close(guide, true);
        }
    }
}

/// Leads a model over plaintext before a segment, for what it remembers of it.
struct Rehearsal {
    left: usize,
}

impl Guide for Rehearsal {
    const BLIND: bool = true;

    fn token(&mut self, predicted: Token) -> Token {
        // What lies beyond is another token's start in the stream.
        let token = if predicted.length() <= self.left {
            predicted
        } else {
            Token::literal(predicted.byte())
        };
        self.left -= token.length();
        token
    }

    fn ends(&mut self, _predicted: bool) -> bool {
        self.left == 0
    }

    fn tokens(&self) -> &[Token] {
        &[]
    }

    fn block(&mut self, _shape: Shape, _last: bool) -> bool {
        false
    }
}
