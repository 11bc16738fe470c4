//! What leads a model through a segment: it predicts each decision of its encoder, and the guide says what the stream
//! has. [`Recorder`] knows the stream and notes where the prediction fails; [`Player`] knows those corrections and
//! writes the stream. Both answer the same to the same model, which is the proof that a recipe gives the stream.

use super::bits::BitWriter;
use super::correction::{Correction, CorrectionReader, CorrectionWriter, Damage};
use super::inflate::{Block, Codes, Shape, fixed};
use super::segment::{BLOCKS_MAX, Input};
use super::token::{
    DISTANCE_BASE, DISTANCE_EXTRA, DISTANCES, END, LENGTH_BASE, LENGTH_EXTRA, LENGTH_MIN, LITERALS, Token,
    distance_code, length_code,
};

/// Says what the stream has, where a model predicts. A model calls [`token`](Self::token) and then
/// [`ends`](Self::ends) for every token, and [`block`](Self::block) when a block has ended.
pub trait Guide {
    /// Whether the shapes of blocks do not matter to it.
    const BLIND: bool = false;

    /// The next token, for the one that the model predicts. It never reaches beyond the segment's end.
    fn token(&mut self, predicted: Token) -> Token;

    /// Whether the block ends behind the last token, for what the model predicts. It does at the segment's end, and where
    /// nobody wants more.
    fn ends(&mut self, predicted: bool) -> bool;

    /// Takes tokens that the stream has as predicted, and behind each of which its block goes on; of the last, that is not
    /// asked. It may stop anywhere; what comes next is asked one by one. How many, and their plaintext's length.
    fn accept(&mut self, predicted: &[Token]) -> (usize, usize);

    /// The tokens of the block so far.
    fn tokens(&self) -> &[Token];

    /// Closes the block that has ended, for the shape and mark that the model predicts. False where there is no more
    /// to predict: the segment has ended, or nobody wants the rest.
    fn block(&mut self, shape: Shape, last: bool) -> bool;
}

/// Compares a model's predictions with a stream.
pub struct Recorder<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    /// Those from the current block on.
    tokens: &'a [Token],
    blocks: &'a [Block],
    /// Of the current block: the tokens so far, and where its plaintext ends.
    count: usize,
    block_end: usize,
    /// What the model predicts within a stored block, which has no tokens.
    stored: Option<Vec<Token>>,
    /// Tokens of the segment so far.
    total: u64,
    corrections: CorrectionWriter,
    /// Bytes of corrections that no prediction could spare.
    unavoidable: usize,
    bounds: Bounds,
    /// Whether a bound was reached.
    stopped: bool,
}

/// How far a stream is compared.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most bytes that the corrections may take.
    pub corrections: usize,
    /// Most bytes of them that a better prediction could have spared.
    pub errors: usize,
    /// Position in the input's bytes after which nobody wants more; `usize::MAX` for all of it.
    pub until: usize,
}

impl Bounds {
    /// All of the stream, as long as the corrections take no more than that.
    #[must_use]
    pub const fn corrections(most: usize) -> Self {
        Self {
            corrections: most,
            errors: usize::MAX,
            until: usize::MAX,
        }
    }
}

impl<'a> Recorder<'a> {
    /// A recorder for the segment of `input` that the stream writes as `blocks` of `tokens`. It stops at the bounds.
    #[must_use]
    pub fn new(input: &Input<'a>, tokens: &'a [Token], blocks: &'a [Block], bounds: Bounds) -> Self {
        let mut recorder = Self {
            bytes: input.bytes,
            at: input.start,
            end: input.end,
            tokens,
            blocks,
            count: 0,
            block_end: input.start,
            stored: None,
            total: 0,
            corrections: CorrectionWriter::default(),
            unavoidable: 0,
            bounds,
            stopped: false,
        };
        recorder.open();
        recorder
    }

    /// Whether the segment has plaintext that a model has to predict.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.at < self.end && !self.stopped
    }

    /// Bytes that wrong predictions took so far.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.corrections.len() - self.unavoidable
    }

    /// The corrections; none if a bound was reached, or the model stopped early.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (self.at == self.end && self.blocks.is_empty() && !self.stopped)
            .then(|| self.corrections.into_bytes())
    }

    fn correct(&mut self, correction: &Correction) {
        self.corrections.push(self.total, correction);
        self.stopped |=
            self.corrections.len() > self.bounds.corrections || self.errors() > self.bounds.errors;
    }

    /// Notes what no model predicts.
    fn spare(&mut self, correction: &Correction) {
        let errors = self.errors();
        self.corrections.push(self.total, correction);
        self.unavoidable = self.corrections.len() - errors;
        self.stopped |= self.corrections.len() > self.bounds.corrections;
    }

    /// Notes the blocks without plaintext that come next, and takes up the one behind.
    fn open(&mut self) {
        while let Some((block, rest)) = self.blocks.split_first() {
            if block.plain > 0 {
                self.block_end = self.at + block.plain;
                self.stored = (block.shape == Shape::Stored).then(|| self.stored.take().unwrap_or_default());
                if let Some(tokens) = &mut self.stored {
                    tokens.clear();
                }
                return;
            }
            self.spare(&Correction::Empty {
                shape: block.shape.clone(),
                last: block.last,
                padding: block.padding,
            });
            self.blocks = rest;
        }
    }
}

impl Guide for Recorder<'_> {
    #[inline]
    fn token(&mut self, predicted: Token) -> Token {
        let actual = match &mut self.stored {
            None => self.tokens[self.count],
            Some(tokens) => {
                let actual = if self.at + predicted.length() <= self.block_end {
                    predicted
                } else {
                    Token::literal(self.bytes[self.at])
                };
                tokens.push(actual);
                actual
            }
        };
        if actual != predicted {
            self.correct(&Correction::Token(actual));
        }
        self.count += 1;
        self.total += 1;
        self.at += actual.length();
        self.stopped |= self.at >= self.bounds.until;
        actual
    }

    #[inline]
    fn ends(&mut self, predicted: bool) -> bool {
        if self.stopped {
            return true;
        }
        let actual = self.at == self.block_end;
        if actual != predicted && self.at < self.end {
            self.correct(&Correction::End);
        }
        actual
    }

    fn accept(&mut self, predicted: &[Token]) -> (usize, usize) {
        let Some(block) = self.blocks.first().filter(|_| self.stored.is_none()) else {
            return (0, 0);
        };
        let left = &self.tokens[self.count.min(block.tokens)..block.tokens];
        let same = predicted
            .iter()
            .zip(left)
            .take_while(|(predicted, actual)| predicted == actual)
            .count();
        // The block ends behind its last token.
        let count = if same == left.len() && same < predicted.len() {
            same.saturating_sub(1)
        } else {
            same
        };
        let length = left[..count].iter().map(|token| token.length()).sum();
        self.count += count;
        self.total += count as u64;
        self.at += length;
        (count, length)
    }

    fn tokens(&self) -> &[Token] {
        match &self.stored {
            Some(tokens) => tokens,
            None => &self.tokens[..self.count],
        }
    }

    fn block(&mut self, shape: Shape, last: bool) -> bool {
        // It stopped within a block: what that is written as is not known.
        if self.stopped {
            return false;
        }
        let Some((block, rest)) = self.blocks.split_first() else {
            return false;
        };
        if block.shape != shape {
            self.correct(&Correction::Shape(block.shape.clone()));
        }
        if block.last != last {
            self.correct(&Correction::Last);
        }
        if block.padding != 0 {
            self.spare(&Correction::Padding(block.padding));
        }
        self.tokens = &self.tokens[block.tokens..];
        self.blocks = rest;
        self.count = 0;
        self.open();
        self.wants_more()
    }
}

/// Writes a stream from a model's predictions and the corrections to them.
pub struct Player<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    block_start: usize,
    blocks: usize,
    tokens: Vec<Token>,
    total: u64,
    reader: CorrectionReader<'a>,
    /// The next correction, and the number of tokens that it comes behind; `u64::MAX` where there is none.
    next: Option<Correction>,
    next_at: u64,
    damage: Option<Damage>,
    out: BitWriter,
}

impl<'a> Player<'a> {
    /// A player for the segment of `input` with these corrections, that writes to `out`.
    #[must_use]
    pub fn new(input: &Input<'a>, corrections: &'a [u8], out: BitWriter) -> Self {
        let mut player = Self {
            bytes: input.bytes,
            at: input.start,
            end: input.end,
            block_start: input.start,
            blocks: 0,
            tokens: Vec::new(),
            total: 0,
            reader: CorrectionReader::new(corrections),
            next: None,
            next_at: 0,
            damage: None,
            out,
        };
        player.advance();
        player.empties();
        player
    }

    /// Whether the segment has plaintext that a model has to predict.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.at < self.end && self.damage.is_none()
    }

    /// What was written.
    ///
    /// # Errors
    /// [`Damage`] where a correction cannot be read, or none of its kind fits its place.
    pub fn finish(self) -> Result<BitWriter, Damage> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        if self.next.is_some() || self.at < self.end || !self.tokens.is_empty() {
            return Err(self.reader.damage("a correction that does not fit its place"));
        }
        Ok(self.out)
    }

    fn advance(&mut self) {
        match self.reader.read() {
            Ok(Some((gap, correction))) => {
                self.next = Some(correction);
                self.next_at = self.total.saturating_add(gap);
            }
            Ok(None) => (self.next, self.next_at) = (None, u64::MAX),
            Err(damage) => {
                self.damage = Some(damage);
                (self.next, self.next_at) = (None, u64::MAX);
            }
        }
    }

    /// Takes the next correction if it comes here and is one that `wanted` takes.
    fn take<T>(&mut self, wanted: impl FnOnce(&Correction) -> Option<T>) -> Option<T> {
        if self.next_at != self.total {
            return None;
        }
        let taken = wanted(self.next.as_ref()?)?;
        self.advance();
        Some(taken)
    }

    fn empties(&mut self) {
        while let Some((shape, last, padding)) = self.take(|correction| match correction {
            Correction::Empty { shape, last, padding } => Some((shape.clone(), *last, *padding)),
            _ => None,
        }) {
            write_block(&mut self.out, &shape, last, padding, &[], &[]);
            self.count();
        }
    }

    fn count(&mut self) {
        self.blocks += 1;
        if self.blocks > BLOCKS_MAX {
            self.damage = Some(self.reader.damage("more blocks than a segment has"));
            (self.next, self.next_at) = (None, u64::MAX);
        }
    }

    #[cold]
    fn corrected_token(&mut self) -> Option<Token> {
        self.take(|correction| match correction {
            Correction::Token(token) => Some(*token),
            _ => None,
        })
    }
}

impl Guide for Player<'_> {
    #[inline]
    fn token(&mut self, predicted: Token) -> Token {
        let mut token = predicted;
        if self.next_at == self.total
            && let Some(corrected) = self.corrected_token()
        {
            token = corrected;
        }
        if token.is_literal() || self.at + token.length() > self.end {
            token = Token::literal(self.bytes.get(self.at).copied().unwrap_or(0));
        }
        self.tokens.push(token);
        self.total += 1;
        self.at += token.length();
        token
    }

    #[inline]
    fn ends(&mut self, predicted: bool) -> bool {
        if self.at >= self.end {
            return true;
        }
        if self.next_at == self.total
            && self
                .take(|correction| (*correction == Correction::End).then_some(()))
                .is_some()
        {
            return !predicted;
        }
        predicted
    }

    fn accept(&mut self, predicted: &[Token]) -> (usize, usize) {
        // A correction comes behind the last of these tokens at the earliest.
        let most = self.next_at.saturating_sub(self.total + 1);
        let predicted = &predicted[..predicted.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
        let left = self.end.saturating_sub(self.at);
        let mut count = predicted.len();
        let mut length: usize = predicted.iter().map(|token| token.length()).sum();
        while length >= left && count > 0 {
            count -= 1;
            length -= predicted[count].length();
        }
        self.tokens.extend_from_slice(&predicted[..count]);
        self.total += count as u64;
        self.at += length;
        (count, length)
    }

    fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn block(&mut self, shape: Shape, last: bool) -> bool {
        let shape = self
            .take(|correction| match correction {
                Correction::Shape(shape) => Some(shape.clone()),
                _ => None,
            })
            .unwrap_or(shape);
        let last = last
            ^ self
                .take(|correction| (*correction == Correction::Last).then_some(()))
                .is_some();
        let padding = self
            .take(|correction| match correction {
                Correction::Padding(padding) => Some(*padding),
                _ => None,
            })
            .unwrap_or(0);
        let plain = &self.bytes[self.block_start..self.at];
        write_block(&mut self.out, &shape, last, padding, &self.tokens, plain);
        self.block_start = self.at;
        self.tokens.clear();
        self.count();
        self.empties();
        self.wants_more()
    }
}

/// Writes one block. A stored one is `plain`, cut to 65,535 bytes; another is `tokens`.
fn write_block(out: &mut BitWriter, shape: &Shape, last: bool, padding: u8, tokens: &[Token], plain: &[u8]) {
    out.write(u64::from(last), 1);
    match shape {
        Shape::Stored => {
            let plain = &plain[..plain.len().min(0xffff)];
            out.write(0, 2);
            out.align(padding);
            let length = plain.len() as u16;
            out.write(u64::from(length), 16);
            out.write(u64::from(!length), 16);
            out.bytes(plain);
        }
        Shape::Fixed => {
            let (literals, distances) = fixed();
            out.write(1, 2);
            write_tokens(out, &literals, &distances, tokens);
        }
        Shape::Dynamic(codes) => {
            let Codes {
                literals,
                distances,
                header,
            } = &**codes;
            out.write(2, 2);
            out.append(header);
            write_tokens(out, literals, distances, tokens);
        }
    }
}

/// A code and how many bits it has, the first bit lowest.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    pub(super) bits: u32,
    pub(super) count: u32,
}

/// The canonical codes of these lengths (RFC 1951, 3.2.2).
pub(super) fn assign<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut next = [0u32; 17];
    for length in lengths {
        next[usize::from(*length & 15) + 1] += u32::from(*length > 0);
    }
    let mut code = 0u32;
    for slot in &mut next[1..] {
        code = (code + *slot) << 1;
        *slot = code;
    }
    let mut codes = [Code::default(); N];
    for (slot, length) in codes.iter_mut().zip(lengths) {
        let count = u32::from(*length & 15);
        if count > 0 {
            let value = &mut next[count as usize];
            *slot = Code {
                bits: value.reverse_bits() >> (32 - count),
                count,
            };
            *value += 1;
        }
    }
    codes
}

/// Tokens whose bits room is made for at once.
const AT_ONCE: usize = 1 << 12;

fn write_tokens(
    out: &mut BitWriter,
    literals: &[u8; LITERALS],
    distances: &[u8; DISTANCES],
    tokens: &[Token],
) {
    /// A distance's code, and what is behind it; the last is a literal's, which has none.
    #[derive(Clone, Copy, Default)]
    struct Distance {
        code: Code,
        base: u32,
        extra: u32,
    }
    let (literals, codes) = (assign(literals), assign(distances));
    let mut words = [Code::default(); Token::INDICES];
    let (bytes, lengths) = words.split_at_mut(END);
    bytes.copy_from_slice(&literals[..END]);
    for (word, length) in lengths.iter_mut().zip(LENGTH_MIN..) {
        let symbol = length_code(length);
        let code = literals[END + 1 + symbol];
        let extra = (length - usize::from(LENGTH_BASE[symbol])) as u32;
        *word = Code {
            bits: code.bits | extra << code.count,
            count: code.count + u32::from(LENGTH_EXTRA[symbol]),
        };
    }
    let mut distances = [Distance::default(); DISTANCES + 1];
    let known = DISTANCE_BASE.into_iter().zip(DISTANCE_EXTRA);
    for ((distance, code), (base, extra)) in distances.iter_mut().zip(codes).zip(known) {
        *distance = Distance {
            code,
            base: base.into(),
            extra: extra.into(),
        };
    }
    // Literals and copies come in no order that a processor foretells, so both take the same steps.
    let string = |token: &Token| {
        let word = words[token.index()];
        let back = token.distance();
        let symbol = distance_code(back);
        let distance = distances[if token.is_literal() { DISTANCES } else { symbol }];
        let extra = (back as u32).wrapping_sub(distance.base) & ((1 << distance.extra) - 1);
        let behind = distance.code.bits | extra << distance.code.count;
        (
            u64::from(word.bits) | u64::from(behind) << word.count,
            word.count + distance.code.count + distance.extra,
        )
    };
    for tokens in tokens.chunks(AT_ONCE) {
        out.write_all(tokens.iter().map(string), AT_ONCE);
    }
    let end = literals[END];
    out.write(u64::from(end.bits), end.count);
}
