//! A segment of the levels 7 to 9: the search goes ahead by a chunk of tokens, and along the stream where that goes another
//! way.

use super::block::{Chunk, Open};
use super::lazy::{CHUNK, Chains, Fate, Search, Taker};
use super::{DEVIATIONS_MAX, DICTIONARY, Setting, Version, literals};
use crate::deflate::guide::Guide;
use crate::deflate::segment::{Input, LOOKAHEAD, TRIES};
use crate::deflate::token::Token;

/// Chunks are written anew only where they save more than a part of their size in 2 to the power of that.
const PENALTY: u32 = 8;

/// Most tokens of a segment that are found though the stream's chunks end before them.
const WASTE_MAX: usize = 1 << 20;

/// Collects tokens, a chunk and what is found with its last.
struct Collect<'m> {
    tokens: &'m mut Vec<Token>,
    /// Where the window began when the chunk was full, and whether it was the last.
    mark: Option<(isize, bool)>,
}

impl Taker for Collect<'_> {
    #[inline]
    fn take(&mut self, token: Token, window: isize, last: bool) -> Fate {
        self.tokens.push(token);
        if self.tokens.len() == CHUNK {
            self.mark = Some((window, last));
        }
        Fate::Taken
    }

    #[inline]
    fn full(&self) -> bool {
        self.tokens.len() >= CHUNK
    }
}

/// Asks the guide for each token.
struct Follow<'a, G> {
    guide: &'a mut G,
    tokens: &'a mut Vec<Token>,
    at: usize,
    end: usize,
    /// Whether the block ended before that.
    ended: bool,
    /// Tokens that were others than predicted.
    deviations: u32,
}

impl<G: Guide> Taker for Follow<'_, G> {
    fn take(&mut self, token: Token, _: isize, _: bool) -> Fate {
        if self.full() {
            return Fate::Over;
        }
        let actual = self.guide.token(token);
        self.tokens.push(actual);
        self.at += actual.length();
        // What comes behind the chunk's last token is only asked when the next is known.
        if !self.full() {
            self.ended = self.guide.ends(false);
        }
        if self.full() {
            Fate::Over
        } else if actual == token {
            Fate::Taken
        } else if self.deviations < DEVIATIONS_MAX {
            self.deviations += 1;
            Fate::Other(self.at)
        } else {
            Fate::Over
        }
    }

    fn full(&self) -> bool {
        self.ended || self.at >= self.end || self.tokens.len() >= CHUNK
    }
}

/// A segment being predicted. Positions are in the input's bytes.
pub(super) struct Run<'m, 'a> {
    chains: &'m mut Chains,
    tokens: &'m mut Vec<Token>,
    setting: Setting,
    input: &'m Input<'a>,
    /// Where the deflate stream's plaintext begins.
    stream: isize,
}

/// What came of a chunk's tokens.
struct Led {
    at: usize,
    /// Whether the block ended before it should.
    ended: bool,
    /// Whether all was as predicted.
    straight: bool,
}

impl<'m, 'a> Run<'m, 'a> {
    pub(super) fn new(
        chains: &'m mut Chains,
        tokens: &'m mut Vec<Token>,
        setting: Setting,
        input: &'m Input<'a>,
    ) -> Self {
        Self {
            chains,
            tokens,
            setting,
            input,
            stream: input.start as isize - input.offset as isize,
        }
    }

    /// Where the encoder began that writes what lies at `at`, where its blocks of output began, and where its input ends.
    fn bounds(&self, at: usize) -> (isize, isize, usize) {
        let length = self.input.bytes.len();
        let known = length - self.input.end < LOOKAHEAD;
        let end = if known { length } else { usize::MAX >> 1 };
        let Some(block) = self.setting.block else {
            return (self.stream, self.stream, end);
        };
        let begun = self.begun(at);
        let origin = begun - (begun - self.stream).min(DICTIONARY as isize);
        // The older versions take the dictionary for a part of the first block.
        let first = if self.setting.version == Version::V1_20 {
            begun
        } else {
            origin
        };
        (origin, first, end.min((begun + block as isize) as usize))
    }

    /// Where pgzip's block begins that `at` lies in, or the stream.
    fn begun(&self, at: usize) -> isize {
        let inside = at as isize - self.stream;
        at as isize - self.setting.block.map_or(inside, |block| inside % block as isize)
    }

    /// A search at `at`.
    fn search(&mut self, at: usize) -> Search {
        let (origin, _, end) = self.bounds(at);
        let from = usize::try_from(origin).unwrap_or(0);
        let dictionary = if self.setting.block.is_some() {
            self.begun(at)
        } else {
            origin
        };
        self.chains.begin(self.input.bytes, from, at, dictionary);
        Search::new(self.setting, self.input.bytes, origin, at, end)
    }

    /// Leads the first `count` tokens by the guide, and the search behind them where the stream goes another way.
    fn lead<G: Guide>(&mut self, guide: &mut G, search: &mut Search, start: usize, count: usize) -> Led {
        let (mut at, mut taken) = (start, 0);
        let end = self.bounds(start).2.min(self.input.end);
        let led = |at, ended, straight| Led { at, ended, straight };
        loop {
            let (tokens, length) = guide.accept(&self.tokens[taken..count]);
            taken += tokens;
            at += length;
            if taken == count {
                return led(at, false, true);
            }
            let predicted = self.tokens[taken];
            let token = guide.token(predicted);
            at += token.length();
            taken += 1;
            self.tokens[taken - 1] = token;
            let straight = token == predicted;
            if straight && taken == count {
                return led(at, false, true);
            }
            let over = at >= end || taken == CHUNK;
            let ended = !over && guide.ends(false);
            if over || ended || !straight {
                self.tokens.truncate(taken);
                *search = self.search(at);
                if over || ended {
                    return led(at, ended, false);
                }
                break;
            }
        }
        let mut tokens = std::mem::take(self.tokens);
        let mut follow = Follow {
            guide,
            tokens: &mut tokens,
            at,
            end,
            ended: false,
            deviations: 0,
        };
        search.run(self.chains, self.input.bytes, &mut follow);
        // Each token is asked for once, and so is what comes behind it: the chunk goes on to its end.
        while !follow.full()
            && let Some(byte) = self.input.bytes.get(follow.at)
        {
            follow.take(Token::literal(*byte), 0, false);
        }
        let led = led(follow.at, follow.ended, false);
        *self.tokens = tokens;
        // It may have gone on beyond the last token that was asked for.
        *search = self.search(led.at);
        led
    }

    pub(super) fn segment<G: Guide>(mut self, guide: &mut G) {
        let bytes = self.input.bytes;
        self.chains.allow(TRIES);
        let mut at = self.input.start;
        let (_, mut block_from, mut end) = self.bounds(at);
        if self.begun(at) != at as isize {
            block_from = at as isize;
        }
        let mut search = self.search(at);
        let mut open: Option<Open> = None;
        let mut waste = 0;
        self.tokens.clear();
        loop {
            if at >= end {
                // pgzip's next block
                self.tokens.clear();
                search = self.search(at);
                (_, block_from, end) = self.bounds(at);
            }
            let mut collect = Collect {
                tokens: self.tokens,
                mark: None,
            };
            search.run(self.chains, bytes, &mut collect);
            let (window, flushed) = collect.mark.unwrap_or((search.window(), true));
            let count = self.tokens.len().min(CHUNK);
            if count == 0 {
                // Nothing is left of what the encoder was given, though the stream goes on.
                self.tokens.push(Token::literal(bytes[at]));
            }
            let count = count.max(1);
            let length: usize = self.tokens[..count].iter().map(|token| token.length()).sum();
            let plain = (block_from >= window)
                .then(|| usize::try_from((at + length) as isize - block_from).ok())
                .flatten();
            let place = |tokens: &[Token], plain, open: Option<&Open>| {
                Chunk {
                    tokens,
                    plain,
                    flushed,
                    penalty: PENALTY,
                }
                .place(self.setting.version, open)
            };
            let mut begun = place(&self.tokens[..count], plain, open.as_ref());
            if let Some(block) = open.take() {
                if !guide.ends(begun.is_some()) {
                    open = Some(block);
                } else if !guide.block(block.shape, false) {
                    return;
                } else if begun.is_none() {
                    begun = place(&self.tokens[..count], plain, None);
                }
            }
            let led = self.lead(guide, &mut search, at, count);
            let mut wasted = 0;
            if led.straight {
                self.tokens.drain(..count);
            } else {
                wasted = CHUNK.saturating_sub(self.tokens.len());
                if open.is_none() {
                    let plain = plain.and_then(|plain| (plain + led.at).checked_sub(at + length));
                    begun = Chunk {
                        tokens: self.tokens,
                        plain,
                        flushed,
                        penalty: PENALTY,
                    }
                    .place(self.setting.version, None);
                }
                self.tokens.clear();
            }
            at = led.at;
            block_from = at as isize;
            let Some(block) = open.take().or(begun) else {
                return;
            };
            let closes = flushed || block.is_closed();
            if at >= self.input.end {
                guide.ends(true);
                guide.block(block.shape, false);
                return;
            }
            if led.ended || closes && guide.ends(true) {
                if !guide.block(block.shape, false) {
                    return;
                }
            } else {
                open = Some(block);
            }
            waste += wasted;
            if waste > WASTE_MAX {
                return literals(guide, self.input, at, open);
            }
        }
    }
}
