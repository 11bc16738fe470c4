//! klauspost/compress, pgzip, and Go's `compress/flate` as of Go 1.27, which descends from the former.
//!
//! Levels 7 to 9 are in [`lazily`]. Levels 1 to 6 search chunks of 65,535 bytes, and remember some of the positions that they come by. A chunk's tokens are
//! written as a block, or in the block of the chunk before, whichever seems smaller; so where a block ends is only known
//! when the next chunk was searched. A search goes ahead of the guide therefore, and is repeated along the stream where that
//! goes another way.
//!
//! pgzip compresses blocks of the plaintext each by itself, with the last 16 KiB before as a dictionary, and flushes behind
//! each.

mod block;
mod found;
mod fourth;
mod lazily;
mod lazy;
mod long;
mod short;
mod sink;
mod table;
mod tree;

use super::{Encoder, Model};
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::{HISTORY, Input, LOOKAHEAD, SEGMENT_LIMIT};
use crate::deflate::token::Token;
use block::{Chunk, Open, STORED_MAX};
use lazy::Chains;
use sink::{Follow, Quiet, Replay, Sink};
use std::ops::RangeInclusive;
use table::Tables;

/// Plaintext of a chunk.
const CHUNK: usize = STORED_MAX;
/// Shorter chunks are not searched.
const SEARCHED_MIN: usize = 13;
/// Chunks shorter than that are written without being searched, by some versions.
const SMALL: usize = 128;
/// Chunks up to that are stored then.
const TINY: usize = 32;
/// Most plaintext of a segment that is searched though the stream's chunks end before it.
const WASTE_MAX: usize = 4 << 20;
/// Most tokens of a chunk that are others than predicted, after which it is not searched any more.
const DEVIATIONS_MAX: u32 = 2_000;
/// What pgzip gives to a block of what comes before.
const DICTIONARY: usize = 16 << 10;
/// The blocks that pgzip can have; larger ones than a segment may be are of no use.
const BLOCKS: RangeInclusive<u32> = DICTIONARY as u32 + 1..=SEGMENT_LIMIT as u32;
const LEVELS: RangeInclusive<u8> = 1..=9;
/// The first level with lazy matches.
const LAZY: u8 = 7;

/// A version of the encoder: the first of those that write the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// klauspost/compress 1.15.12; at levels 1 to 6 up to 1.18.0, at level 4 up to 1.17.11.
    V1_15,
    /// klauspost/compress from 1.15.15 up to 1.18.0, where that differs: at levels 7 to 9.
    V1_17,
    /// klauspost/compress from 1.18.2 up to 1.20.3.
    V1_18,
    /// klauspost/compress from 1.20.4 on.
    V1_20,
    /// Go 1.27.
    Go1_27,
}

impl Version {
    const ALL: [Self; 5] = [Self::V1_15, Self::V1_17, Self::V1_18, Self::V1_20, Self::Go1_27];

    /// Those that differ from each other at that level; `pgzip` says whether within pgzip, which Go's own is not.
    pub fn at(level: u8, pgzip: bool) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |version| *version != Self::V1_17 || level >= LAZY)
            .filter(move |version| *version != Self::Go1_27 || !pgzip)
    }

    /// How encoders of that version are named.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1_15 => "klauspost1.15",
            Self::V1_17 => "klauspost1.17",
            Self::V1_18 => "klauspost1.18",
            Self::V1_20 => "klauspost1.20",
            Self::Go1_27 => "go1.27",
        }
    }

    /// How pgzip with that version is named.
    pub(super) fn pgzip(self) -> &'static str {
        match self {
            Self::V1_15 => "pgzip1.15",
            Self::V1_17 => "pgzip1.17",
            Self::V1_18 => "pgzip1.18",
            Self::V1_20 => "pgzip1.20",
            Self::Go1_27 => "pgzip",
        }
    }

    /// Whether blocks that may take another chunk give the lengths of all codes, those not used too.
    fn writes_all_lengths(self) -> bool {
        matches!(self, Self::V1_15 | Self::V1_17)
    }

    /// Whether codes are made by Huffman's tree, if they are short enough.
    fn is_tree(self) -> bool {
        self == Self::V1_20
    }
}

/// The encoder of the family that has this name.
pub(super) fn named(name: &str) -> Option<Encoder> {
    let (family, rest) = name.split_once(':')?;
    let (level, block) = match rest.split_once(':') {
        Some((level, block)) => (level, Some(block)),
        None => (rest, None),
    };
    let level = level.parse().ok().filter(|level| LEVELS.contains(level))?;
    let named = |name: fn(Version) -> &'static str| {
        Version::ALL
            .into_iter()
            .filter(|version| *version != Version::V1_17 || level >= LAZY)
            .find(|version| name(*version) == family)
    };
    let encoder = match block {
        None => named(Version::name).map(|version| Encoder::Klauspost { version, level }),
        Some(block) => {
            let block = block.parse().ok().filter(|block| BLOCKS.contains(block))?;
            let version = named(Version::pgzip).filter(|version| *version != Version::Go1_27)?;
            Some(Encoder::Pgzip {
                version,
                level,
                block,
            })
        }
    };
    // Numbers are written in one way.
    encoder.filter(|encoder| encoder.to_string() == name)
}

/// An encoder of the family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) version: Version,
    pub(super) level: u8,
    /// Plaintext of pgzip's blocks.
    pub(super) block: Option<u32>,
}

impl Setting {
    pub(super) fn new(version: Version, level: u8, block: Option<u32>) -> Self {
        Self {
            version,
            level,
            // A block longer than a dictionary is what the names allow.
            block: block.map(|block| block.max(*BLOCKS.start())),
        }
    }
}

/// The family's memory.
#[derive(Debug, Default)]
pub struct Klauspost {
    tables: Tables,
    tokens: Vec<Token>,
    before: Vec<Token>,
    chains: Chains,
}

/// The model of one encoder.
pub(super) struct At<'m>(pub(super) &'m mut Klauspost, pub(super) Setting);

impl Model for At<'_> {
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G) {
        if self.1.level >= LAZY {
            return lazily::Run::new(&mut self.0.chains, &mut self.0.tokens, self.1, input).segment(guide);
        }
        Run {
            tables: &mut self.0.tables,
            tokens: &mut self.0.tokens,
            before: &mut self.0.before,
            setting: self.1,
            input,
            low: 0,
            begun: None,
        }
        .segment(guide);
    }
}

/// How a chunk's tokens are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stored,
    Literals,
    Tokens,
}

/// A segment being predicted. Positions are in the input's bytes.
struct Run<'m, 'a> {
    tables: &'m mut Tables,
    /// The tokens of the chunk, and of the one before.
    tokens: &'m mut Vec<Token>,
    before: &'m mut Vec<Token>,
    setting: Setting,
    input: &'m Input<'a>,
    /// Where the encoder's memory begins.
    low: usize,
    /// Where pgzip's block begins.
    begun: Option<isize>,
}

impl Run<'_, '_> {
    /// Where pgzip's block begins that `at` lies in; it may lie before the bytes.
    fn block_start(&self, at: usize) -> Option<isize> {
        let block = u64::from(self.setting.block?);
        let offset = (self.input.offset + at as u64).saturating_sub(self.input.start as u64);
        Some(at as isize - (offset % block) as isize)
    }

    /// Where the chunk ends that begins at `at`, and whether the encoder is flushed there.
    fn chunk(&self, at: usize) -> (usize, bool) {
        let length = self.input.bytes.len();
        let mut end = at + CHUNK;
        let mut flushed = false;
        if let (Some(start), Some(block)) = (self.block_start(at), self.setting.block) {
            let block_end = (start + block as isize) as usize;
            flushed = block_end <= end;
            end = end.min(block_end);
        }
        if end >= length {
            end = length;
            flushed |= length - self.input.end < LOOKAHEAD;
        }
        (end, flushed)
    }

    /// Searches the bytes from `start` to `end`.
    fn search<S: Sink>(&mut self, start: usize, end: usize, sink: &mut S) {
        let bytes = &self.input.bytes[..end];
        if end - start < SEARCHED_MIN {
            return;
        }
        match self.setting.level {
            1 => short::first(self.tables, bytes, start, self.low, sink),
            2 => short::second(self.tables, bytes, start, self.low, sink),
            3 => short::third(self.tables, bytes, start, self.low, sink),
            4 => {
                let origin = (!self.setting.version.writes_all_lengths()).then(|| self.origin(start, end));
                fourth::search(self.tables, bytes, start, self.low, origin, sink);
            }
            5 => long::search::<S, false>(self.tables, bytes, start, self.low, sink),
            _ => long::search::<S, true>(self.tables, bytes, start, self.low, sink),
        }
    }

    /// Where the encoder's buffer begins when it searches the bytes from `start` to `end`: it takes some chunks, and keeps
    /// 32 KiB before the next where that does not fit.
    fn origin(&self, start: usize, end: usize) -> isize {
        const KEPT: usize = 32 << 10;
        const ROOM: usize = 5 * CHUNK;
        /// Chunks that fit behind what is kept.
        const MORE: usize = (ROOM - KEPT) / CHUNK;
        let stream = self.input.start as isize - self.input.offset as isize;
        let begun = self.begun.unwrap_or(stream);
        let dictionary = if self.begun.is_some() {
            (begun - stream).min(DICTIONARY as isize)
        } else {
            0
        };
        let Ok(inside) = usize::try_from(start as isize - begun) else {
            return begun - dictionary;
        };
        let (chunk, length) = (inside / CHUNK, end - start);
        let fit = (ROOM - dictionary as usize) / CHUNK;
        let held = dictionary as usize + fit * CHUNK;
        let Some(behind) = chunk
            .checked_sub(fit)
            .filter(|behind| *behind > 0 || held + length > ROOM)
        else {
            return begun - dictionary;
        };
        let mut moves = behind / MORE;
        if moves > 0 && behind.is_multiple_of(MORE) && KEPT + MORE * CHUNK + length <= ROOM {
            moves -= 1;
        }
        begun + ((fit + moves * MORE) * CHUNK) as isize - KEPT as isize
    }

    /// Brings the tables to what they hold at `at`, as nearly as the plaintext before tells.
    fn prime(&mut self, at: usize) {
        self.tables.begin(self.input.bytes.len());
        let start = self.block_start(at);
        self.begun = start;
        let mut from = at.saturating_sub(CHUNK);
        if let Some(start) = start {
            let inside = self.input.offset + at as u64 - self.input.start as u64;
            let dictionary = start - (DICTIONARY as isize).min(start + inside as isize - at as isize);
            // Either all that the encoder saw is at hand, or what was at hand when it began is not.
            from = from.max(usize::try_from(dictionary).unwrap_or(0));
            if let Ok(dictionary) = usize::try_from(dictionary)
                && at - dictionary <= HISTORY
            {
                from = dictionary;
            }
        }
        self.low = if start.is_some() { from } else { 0 };
        let mut next = from;
        while next < at {
            let end = match start.map(usize::try_from) {
                Some(Ok(start)) if next < start => start,
                _ => (next + CHUNK).min(at),
            };
            self.search(next, end, &mut Quiet);
            next = end;
        }
    }

    /// The same where the chunk before, which began at `before`, is known.
    fn prime_behind(&mut self, at: usize, before: Option<usize>) {
        let begins = self.block_start(at) == Some(at as isize);
        let Some(before) = before.filter(|_| !begins) else {
            self.prime(at);
            return;
        };
        let low = self.low;
        self.prime(before);
        self.low = low;
        let tokens = std::mem::take(self.before);
        self.search(before, at, &mut Replay::new(&tokens, before));
        *self.before = tokens;
    }

    /// How a chunk is written that is not searched.
    fn unsearched(&self, start: usize, plain: usize, flushed: bool) -> Option<Kind> {
        // The newest versions do so only where it is all there is.
        let alone = self.setting.block.is_none() && start == self.input.start && self.input.offset == 0;
        if !flushed || plain >= SMALL || self.setting.version.is_tree() && !alone {
            None
        } else if plain <= TINY {
            Some(Kind::Stored)
        } else {
            Some(Kind::Literals)
        }
    }

    /// How a chunk of `plain` bytes is written that the search found `tokens` in.
    fn kind(&self, tokens: usize, plain: usize) -> Kind {
        let stored = if self.setting.version.is_tree() {
            plain < SEARCHED_MIN || tokens == 0 && plain >= SMALL
        } else {
            tokens == 0
        };
        if stored {
            Kind::Stored
        } else if tokens == 0 || tokens > plain - (plain >> 4) {
            Kind::Literals
        } else {
            Kind::Tokens
        }
    }

    /// Searches the chunk, and leaves the tokens that it is written with.
    fn predict(&mut self, start: usize, end: usize, flushed: bool) -> Kind {
        let mut tokens = std::mem::take(self.tokens);
        tokens.clear();
        let plain = end - start;
        let kind = self.unsearched(start, plain, flushed).unwrap_or_else(|| {
            self.search(start, end, &mut tokens);
            self.kind(tokens.len(), plain)
        });
        if kind != Kind::Tokens {
            tokens.clear();
            tokens.extend(
                self.input.bytes[start..end]
                    .iter()
                    .map(|byte| Token::literal(*byte)),
            );
        }
        *self.tokens = tokens;
        kind
    }

    /// The block that the chunk begins.
    fn place(&self, kind: Kind, plain: usize, flushed: bool, before: Option<&Open>) -> Option<Open> {
        let chunk = Chunk {
            tokens: self.tokens,
            plain: Some(plain),
            flushed,
            penalty: 7,
        };
        match kind {
            Kind::Stored => Some(Open::closed(Shape::Stored)),
            Kind::Literals => chunk.place_literals(self.setting.version, before),
            Kind::Tokens => chunk.place(self.setting.version, before),
        }
    }

    /// Leads the predicted tokens by the guide: where the chunk ended, whether its block did so before it should, and
    /// whether all was as predicted.
    fn lead<G: Guide>(
        &mut self,
        guide: &mut G,
        start: usize,
        end: usize,
        before: Option<usize>,
    ) -> (usize, bool, bool) {
        let (mut at, mut taken) = (start, 0);
        loop {
            let (tokens, length) = guide.accept(&self.tokens[taken..]);
            taken += tokens;
            at += length;
            let Some(predicted) = self.tokens.get(taken).copied() else {
                return (at, false, true);
            };
            let token = guide.token(predicted);
            at += token.length();
            taken += 1;
            if token != predicted {
                self.tokens[taken - 1] = token;
                break;
            }
            if at >= end.min(self.input.end) {
                self.tokens.truncate(taken);
                return (at, false, true);
            }
            if guide.ends(false) {
                self.tokens.truncate(taken);
                return (at, true, false);
            }
        }
        self.tokens.truncate(taken);
        self.prime_behind(start, before);
        let mut tokens = std::mem::take(self.tokens);
        let mut follow = Follow {
            guide,
            tokens: &mut tokens,
            passed: 0,
            at: start,
            end: end.min(self.input.end),
            ended: false,
            deviations: 0,
        };
        self.search(start, end, &mut follow);
        while follow.at < follow.end {
            let literal = Token::literal(self.input.bytes[follow.at]);
            if follow.next(literal).is_none() {
                break;
            }
        }
        let end = (follow.at, follow.ended, false);
        *self.tokens = tokens;
        end
    }

    fn segment<G: Guide>(&mut self, guide: &mut G) {
        let mut at = self.input.start;
        let mut before: Option<usize> = None;
        let mut open: Option<Open> = None;
        let mut waste = 0;
        self.prime(at);
        loop {
            let (end, flushed) = self.chunk(at);
            if before.is_some() && self.block_start(at) == Some(at as isize) {
                self.prime(at);
                before = None;
            }
            let kind = self.predict(at, end, flushed);
            let mut begun = self.place(kind, end - at, flushed, open.as_ref());
            if let Some(block) = open.take() {
                if !guide.ends(begun.is_some()) {
                    open = Some(block);
                } else if !guide.block(block.shape, false) {
                    return;
                } else if begun.is_none() {
                    begun = self.place(kind, end - at, flushed, None);
                }
            }
            let start = at;
            let ended;
            let straight;
            (at, ended, straight) = self.lead(guide, start, end, before);
            if !straight && open.is_none() {
                let plain = at - start;
                let copies = self.tokens.iter().any(|token| !token.is_literal());
                let kind = match kind {
                    _ if copies => Kind::Tokens,
                    Kind::Tokens => Kind::Literals,
                    kind => kind,
                };
                begun = self.place(kind, plain, flushed, None);
            }
            let Some(block) = open.take().or(begun) else {
                return;
            };
            std::mem::swap(self.tokens, self.before);
            before = Some(start);
            let closes = flushed || block.is_closed();
            if at >= self.input.end {
                guide.ends(true);
                guide.block(block.shape, false);
                return;
            }
            if ended || closes && guide.ends(true) {
                if !guide.block(block.shape, false) {
                    return;
                }
            } else {
                open = Some(block);
            }
            waste += end.saturating_sub(at);
            if waste > WASTE_MAX {
                return literals(guide, self.input, at, open);
            }
        }
    }
}

/// Predicts literals alone from `at` on: what is no stream of these encoders must not cost more and more.
fn literals<G: Guide>(guide: &mut G, input: &Input<'_>, mut at: usize, open: Option<Open>) {
    if let Some(block) = open
        && guide.ends(true)
        && !guide.block(block.shape, false)
    {
        return;
    }
    while let Some(byte) = input.bytes.get(at) {
        at += guide.token(Token::literal(*byte)).length();
        if guide.ends(false) && !guide.block(Shape::Fixed, false) {
            return;
        }
    }
}
