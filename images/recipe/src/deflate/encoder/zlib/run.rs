//! A stretch of plaintext that one of the family compresses, predicted. Positions are indices of the window, but where a
//! name says *place*: that is a position in the input's bytes.

use super::window::{AHEAD, FULL, HALF, Match, NONE, REACH};
use super::{Effort, Family, trees};
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::{Input, TRIES};
use crate::deflate::token::{DISTANCE_EXTRA, LENGTH_MIN, Token, distance_code};
use std::marker::PhantomData;

/// Farthest match of three bytes that is taken, at levels 4 to 9.
const SHORT_DISTANCE: usize = 4096;
/// Bytes before a segment that a level is run over which does not enter all positions, to know which it did.
const REHEARSAL: usize = REACH;

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
    family: &'m mut Family,
    effort: Effort,
    pieces: Option<Pieces>,
    bytes: &'a [u8],
    /// Bytes of the stream before `bytes`.
    ahead: u64,
    /// The place where the window starts.
    base: usize,
    /// The next position, and where the window's bytes end.
    at: usize,
    filled: usize,
    /// The place where the piece ends.
    end: usize,
    /// The place where the block starts, and its tokens.
    block: usize,
    count: usize,
    /// gzip: its copies, and what their distances take in bits, roughly.
    copies: usize,
    distance_bits: usize,
    /// gzip: whether it knows that there is no more input.
    ended: bool,
    /// Tries that are left.
    tries: usize,
    kin: PhantomData<K>,
}

/// The pieces that a stream's plaintext is cut into; each is compressed for itself.
#[derive(Debug, Clone, Copy)]
pub struct Pieces {
    /// Bytes, at least [`HALF`].
    pub length: u64,
    /// Whether the half of a window before each is known to it.
    pub primed: bool,
}

impl<'m, 'a, K: Kin> Run<'m, 'a, K> {
    /// Begins where the segment of `input` starts, in a stream that is compressed in such pieces, or in one.
    pub fn new(family: &'m mut Family, effort: Effort, input: &Input<'a>, pieces: Option<Pieces>) -> Self {
        let mut run = Self {
            family,
            effort,
            pieces,
            bytes: input.bytes,
            ahead: input.offset.saturating_sub(input.start as u64),
            base: 0,
            at: 0,
            filled: 0,
            end: 0,
            block: input.start,
            count: 0,
            copies: 0,
            distance_bits: 0,
            ended: false,
            tries: TRIES,
            kin: PhantomData,
        };
        run.piece(input.start);
        run
    }

    /// Begins at this place in the piece that it lies in.
    fn piece(&mut self, place: usize) {
        let offset = self.ahead.wrapping_add(place as u64);
        let (from, known, length) = match self.pieces {
            None => (0, 0, None),
            Some(Pieces { length, primed }) => (
                offset - offset % length,
                if primed { HALF as u64 } else { 0 },
                Some(length),
            ),
        };
        // Bytes of the piece before the place, and of the window if it never slid. It does where fewer than `AHEAD`
        // bytes are left in it.
        let before = offset - from;
        let all = before + known.min(from);
        let slides = all.saturating_sub((HALF + REACH) as u64).div_ceil(HALF as u64);
        self.at = ((all - slides * HALF as u64) as usize).min(place);
        self.base = place - self.at;
        let rest = length.map_or(usize::MAX, |length| (length - before) as usize);
        self.end = place.saturating_add(rest).min(self.bytes.len());
        let at_most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(place);
        if self.effort.lazily() {
            self.fill();
            self.family.buckets.fill(&self.family.window, self.hashed());
        } else {
            self.rehearse(at_most(all), at_most(before));
            self.begin();
        }
    }

    /// Fills the window, around the next position.
    fn fill(&mut self) {
        self.filled = 0;
        self.load();
        if K::OLD && self.filled < FULL {
            // What gzip compares with behind the end: the window before it slid last, if it did.
            self.family.window.wipe(self.filled, FULL);
            let stale = self.filled.max(HALF);
            if self.base > 0 {
                let (from, to) = (self.base + stale - HALF, self.base + HALF);
                let to = to.min(self.bytes.len());
                self.family.window.load(stale, &self.bytes[from.min(to)..to]);
            }
        }
    }

    /// Enters the positions before the next that the encoder entered: as far as it can be told, by running over the last
    /// of them. `all` bytes before it are known to the encoder, of which the last `before` are of its piece; those before
    /// the piece are all entered.
    fn rehearse(&mut self, all: usize, before: usize) {
        let (base, at) = (self.base, self.at);
        let block = (self.block, self.count, self.copies, self.distance_bits);
        // In a window that reaches as far back as one can, which the encoder's does only before it slides.
        self.at = all.min(HALF + REACH);
        self.base = base + at - self.at;
        self.fill();
        let start = self.at;
        let first = start.saturating_sub(before.min(REHEARSAL));
        self.family.chains.clear();
        self.at = 0;
        self.begin();
        self.enter_until(first);
        if first < start {
            self.begin();
            self.open(self.base + first);
            self.fast(&mut Rehearsal { left: start - first });
        }
        self.family.chains.shift(base - self.base);
        (self.base, self.at, self.ended) = (base, at, false);
        (self.block, self.count, self.copies, self.distance_bits) = block;
        self.fill();
    }

    /// Fills the window up, or to the piece's end; whether there were bytes to fill it with.
    fn load(&mut self) -> bool {
        let filled = (self.end - self.base).min(FULL);
        if filled <= self.filled {
            return false;
        }
        // Two bytes more, for the hash of the last positions.
        let (from, to) = (self.base + self.filled, self.base + filled + 2);
        self.family
            .window
            .load(self.filled, &self.bytes[from..to.min(self.end)]);
        self.filled = filled;
        true
    }

    /// Positions of the window that have three bytes.
    fn hashed(&self) -> usize {
        (self.end - self.base + 1).saturating_sub(LENGTH_MIN)
    }

    /// Predicts the segment.
    pub fn segment<G: Guide>(mut self, guide: &mut G) {
        loop {
            let more = if self.effort.lazily() {
                self.lazily(guide)
            } else {
                self.fast(guide)
            };
            let place = self.base + self.at;
            if !more || place >= self.bytes.len() {
                return;
            }
            self.piece(place);
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
        let slides = self.at >= HALF + REACH;
        if slides {
            self.family.window.slide();
            self.base += HALF;
            self.at -= HALF;
            self.filled = self.filled.saturating_sub(HALF);
        }
        let loaded = self.load();
        if slides && self.effort.lazily() {
            self.family.buckets.slide(&self.family.window, self.hashed());
        } else if slides {
            self.family.chains.shift(HALF);
        }
        if K::OLD && !loaded {
            self.ended = true;
            self.family.window.wipe(self.filled, self.filled + LENGTH_MIN - 1);
        }
    }

    /// Begins to hash at the next position.
    #[inline]
    fn begin(&mut self) {
        self.family.chains.begin(&self.family.window, self.at);
    }

    /// Enters the next position, if it has three bytes.
    #[inline]
    fn enter(&mut self) -> usize {
        if self.at + LENGTH_MIN <= self.filled {
            self.family.chains.enter(&self.family.window, self.at)
        } else {
            0
        }
    }

    /// Enters the positions up to `end`, and goes there.
    #[inline]
    fn enter_until(&mut self, end: usize) {
        for at in self.at..end.min((self.filled + 1).saturating_sub(LENGTH_MIN)) {
            self.family.chains.enter(&self.family.window, at);
        }
        self.at = end;
    }

    /// The length that ends a search.
    #[inline]
    fn nice(&self) -> usize {
        // gzip does not see that it is beyond the end.
        if K::OLD {
            self.effort.nice
        } else {
            self.effort.nice.min(self.left())
        }
    }

    /// Whether the encoder searches at the next position at all.
    #[inline]
    fn searches(&self) -> bool {
        !K::OLD || self.at <= HALF + REACH
    }

    /// The match at the next position, for the head of its chain.
    #[inline]
    fn search(&self, head: usize) -> Match {
        if head == 0 || self.at.wrapping_sub(head) > REACH || !self.searches() {
            return NONE;
        }
        let Family { window, chains, .. } = &*self.family;
        let mut found = chains.longest(window, self.at, head, self.effort.chain, self.nice());
        found.length = found.length.min(self.left());
        found
    }

    /// The match at the next position, where it is longer than `before`, the one at the position before it.
    #[inline]
    fn search_longer(&mut self, before: Match) -> Match {
        let (effort, left) = (&self.effort, self.left());
        if before.length >= effort.lazy || left < LENGTH_MIN || self.tries == 0 || !self.searches() {
            return NONE;
        }
        let tries = if before.length >= effort.good {
            effort.chain >> 2
        } else {
            effort.chain
        };
        let Family { window, buckets, .. } = &*self.family;
        let (mut found, tried) = buckets.longest(window, self.at, before, tries, self.nice());
        self.tries = self.tries.saturating_sub(tried);
        found.length = found.length.min(left);
        if found.length == LENGTH_MIN && found.distance > SHORT_DISTANCE {
            found.length -= 1;
        }
        found
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
        self.close(guide, !full)
    }

    fn open(&mut self, place: usize) {
        self.block = place;
        (self.count, self.copies, self.distance_bits) = (0, 0, 0);
    }

    /// Closes the block, which can be the stream's last.
    fn close<G: Guide>(&mut self, guide: &mut G, last: bool) -> bool {
        let place = self.base + self.at;
        let last = last && place >= self.bytes.len();
        let shape = if G::BLIND {
            Shape::Stored
        } else {
            let storable = self.block >= self.base;
            trees::shape(guide.tokens(), place - self.block, storable)
        };
        self.open(place);
        guide.block(shape, last)
    }

    /// Levels 1 to 3, up to the piece's end; false where there is nothing more to predict.
    fn fast<G: Guide>(&mut self, guide: &mut G) -> bool {
        loop {
            self.refill();
            if self.left() == 0 {
                return true;
            }
            let head = self.enter();
            let found = self.search(head);
            let predicted = if found.length >= LENGTH_MIN {
                Token::copy(found.length, found.distance)
            } else {
                Token::literal(self.family.window.byte(self.at))
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
                    self.begin();
                }
            }
            if !self.ended(guide, full) {
                return false;
            }
        }
    }

    /// Levels 4 to 9, up to the piece's end; false where there is nothing more to predict.
    fn lazily<G: Guide>(&mut self, guide: &mut G) -> bool {
        let mut before = NONE;
        // Whether the position before is still without a token.
        let mut pending = false;
        loop {
            self.refill();
            if self.left() == 0 {
                break;
            }
            let found = self.search_longer(before);
            if !pending {
                before = found;
                self.at += 1;
                pending = true;
                continue;
            }
            let predicted = if before.length >= LENGTH_MIN && found.length <= before.length {
                Token::copy(before.length, before.distance)
            } else {
                Token::literal(self.family.window.byte(self.at - 1))
            };
            let token = guide.token(predicted);
            let full = self.tally(token);
            if token.is_literal() {
                if !self.ended(guide, full) {
                    return false;
                }
                before = if found.length > before.length { found } else { NONE };
                self.at += 1;
            } else {
                let end = self.at - 1 + token.length();
                self.at = end;
                if !self.ended(guide, full) {
                    return false;
                }
                (before, pending) = (NONE, false);
            }
        }
        if !pending {
            return true;
        }
        let token = guide.token(Token::literal(self.family.window.byte(self.at - 1)));
        self.tally(token);
        self.at += token.length() - 1;
        !guide.ends(true) || self.close(guide, true)
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

    fn accept(&mut self, _predicted: &[Token]) -> (usize, usize) {
        (0, 0)
    }

    fn tokens(&self) -> &[Token] {
        &[]
    }

    fn block(&mut self, _shape: Shape, _last: bool) -> bool {
        false
    }
}
