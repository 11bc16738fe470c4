//! A stretch of plaintext that one of the family compresses, predicted. Positions are indices of the window, but where a
//! name says *place*: that is a position in the input's bytes.

use super::window::{AHEAD, FULL, HALF, Match, NONE, REACH, Window};
use super::{Effort, trees};
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::Input;
use crate::deflate::token::{DISTANCE_EXTRA, LENGTH_MIN, Token, distance_code};
use std::marker::PhantomData;

/// Farthest match of three bytes that is taken, at levels 4 to 9.
const SHORT_DISTANCE: usize = 4096;
/// Bytes before a segment that a level is run over which does not enter all positions, to know which it did.
const REHEARSAL: usize = HALF;

/// In what the encoders of the family differ.
pub trait Kin {
    /// Tokens that a block has room for.
    const TOKENS: usize;
    /// Whether it is gzip, which came first: it looks behind the plaintext's end, does not slide the window when it knows
    /// the end, and so does not search in the last 262 bytes of the window; and it ends blocks early that go well.
    const OLD: bool;
}

/// zlib, with its default memory level, 8.
pub struct Zlib;

impl Kin for Zlib {
    const TOKENS: usize = (1 << 14) - 1;
    const OLD: bool = false;
}

/// GNU gzip.
pub struct Gzip;

impl Kin for Gzip {
    const TOKENS: usize = (1 << 15) - 1;
    const OLD: bool = true;
}

/// gzip looks every so many tokens whether a block goes well.
const LOOK: usize = 1 << 12;

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
    /// gzip: its copies, and what their distances take in bits, roughly.
    copies: usize,
    distance_bits: usize,
    /// gzip: whether it knows that there is no more input.
    ended: bool,
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
            copies: 0,
            distance_bits: 0,
            ended: false,
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
        if self.filled < FULL {
            // What gzip compares with behind the end: the window before it slid last, if it did.
            self.window.wipe(self.filled, FULL);
            let stale = self.filled.max(HALF);
            if let Some(from) = (self.base + stale).checked_sub(HALF).filter(|_| self.base > 0) {
                self.window
                    .load(stale, &self.bytes[from..self.base + FULL - HALF]);
            }
        }
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
            self.open(self.base + first);
            self.fast(&mut rehearsal);
            self.ended = false;
            self.open(self.base + start);
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
        if self.ended {
            return;
        }
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
        } else if K::OLD {
            self.ended = true;
            self.window.wipe(self.filled, self.filled + LENGTH_MIN - 1);
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
        let nice = if K::OLD {
            effort.nice
        } else {
            effort.nice.min(left)
        };
        let mut found = self.window.longest(self.at, head, before, tries, nice);
        found.length = found.length.min(left);
        found
    }

    /// Whether a chain's head is one that can be matched.
    #[inline]
    fn reaches(&self, head: usize) -> bool {
        head != 0 && self.at.wrapping_sub(head) <= REACH && (!K::OLD || self.at <= HALF + REACH)
    }

    /// Counts a token, with which the encoder has come to the next position or beyond; whether the block is full.
    #[inline]
    fn tally(&mut self, token: Token) -> bool {
        self.count += 1;
        if K::OLD {
            if !token.is_literal() {
                self.copies += 1;
                let symbol = distance_code(token.distance());
                self.distance_bits += 5 + usize::from(DISTANCE_EXTRA[symbol]);
            }
            if self.count.is_multiple_of(LOOK) && self.effort.level > 2 && self.goes_well() {
                return true;
            }
        }
        self.count == K::TOKENS
    }

    /// gzip: whether the block has few copies and halves its plaintext all the same.
    fn goes_well(&self) -> bool {
        let plain = self.base + self.at - self.block;
        let bytes = (self.count * 8 + self.distance_bits) >> 3;
        self.copies < self.count / 2 && bytes < plain / 2
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

    fn open(&mut self, place: usize) {
        self.block = place;
        (self.count, self.copies, self.distance_bits) = (0, 0, 0);
    }

    fn close<G: Guide>(&mut self, guide: &mut G, last: bool) -> bool {
        let place = self.base + self.at;
        let shape = if G::BLIND {
            Shape::Stored
        } else {
            let storable = self.block >= self.base;
            trees::shape(guide.tokens(), place - self.block, storable)
        };
        self.open(place);
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
            let full = self.tally(token);
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
            let full = self.tally(token);
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
