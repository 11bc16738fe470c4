//! A deflate stream read into its blocks, tokens and plaintext, with all that is needed to write it again.

use super::bits::{BitWriter, Bits};
use super::token::{
    DISTANCE_BASE, DISTANCE_EXTRA, DISTANCES, END, LENGTH_BASE, LENGTH_EXTRA, LENGTH_MAX, LITERALS, Token,
};
use std::io::{self, Read};

/// Most plaintext that one block may hold: 16 MiB. Encoders that are known write 4 MiB at most.
pub const BLOCK_PLAIN_LIMIT: usize = 16 << 20;

/// Why a stream cannot be read as deflate.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// The source ended within a block.
    #[error("the deflate stream ends within a block")]
    Truncated,
    /// Not deflate, or of a kind that no encoder writes.
    #[error("no deflate stream: {0}")]
    Invalid(&'static str),
    /// A block above [`BLOCK_PLAIN_LIMIT`].
    #[error("a deflate block of more than {BLOCK_PLAIN_LIMIT} bytes of plaintext")]
    Large,
}

/// How a block is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As it is: up to 65,535 bytes.
    Stored,
    /// With the codes of RFC 1951, 3.2.6.
    Fixed,
    /// With codes of its own.
    Dynamic(Box<Codes>),
}

/// Code lengths, and how the block's header writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Bits of each literal and length symbol, 0 for one that has no code.
    pub literals: [u8; LITERALS],
    /// Bits of each distance symbol, 0 for one that has no code.
    pub distances: [u8; DISTANCES],
    /// The header, from HLIT to the last code length (RFC 1951, 3.2.7).
    pub header: Bits,
}

/// One block of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// How it is written.
    pub shape: Shape,
    /// Whether it is marked as the stream's last.
    pub last: bool,
    /// Its tokens; none where it is stored.
    pub tokens: usize,
    /// Bytes of its plaintext.
    pub plain: usize,
    /// The bits that a stored block skips to the next byte's start: zeros, by every encoder that is known.
    pub padding: u8,
}

/// Reads the blocks of one deflate stream. Memory is bounded by one block.
pub struct Inflater<R> {
    source: R,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    /// Bytes taken from the buffer since the start, those held as bits included.
    taken: u64,
    held: u64,
    count: u32,
    literals: Decoder,
    distances: Decoder,
}

const BUFFER: usize = 64 << 10;
/// Bytes that a copy may write beyond its end: kept free behind the plaintext.
const SLACK: usize = LENGTH_MAX + 32;

impl<R: Read> Inflater<R> {
    /// Reads from `source`, which stands at the first bit of a deflate stream.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            at: 0,
            end: 0,
            taken: 0,
            held: 0,
            count: 0,
            literals: Decoder::new(),
            distances: Decoder::new(),
        }
    }

    /// Bits of the source that the blocks read so far took.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.taken * 8 - u64::from(self.count)
    }

    /// The bits before [`position`](Self::position) in the byte that it lies in cannot be asked for; this gives the
    /// bytes from the next byte's start that were read from the source already, and ends the reading.
    #[must_use]
    pub fn into_rest(mut self) -> (Vec<u8>, R) {
        let mut rest = Vec::new();
        self.drop_bits(self.count & 7);
        while self.count >= 8 {
            rest.push(self.held as u8);
            self.drop_bits(8);
        }
        rest.extend_from_slice(&self.buffer[self.at..self.end]);
        (rest, self.source)
    }

    /// Reads the next block: its plaintext goes behind `plain` (whose end is the history that copies reach into), its
    /// tokens behind `tokens`. Call it again unless the block is the [last](Block::last).
    ///
    /// # Errors
    /// See [`Refusal`]; `plain` and `tokens` then hold part of the block.
    pub fn block(&mut self, plain: &mut Vec<u8>, tokens: &mut Vec<Token>) -> Result<Block, Refusal> {
        let (plain_before, tokens_before) = (plain.len(), tokens.len());
        let last = self.bits(1)? == 1;
        let mut padding = 0;
        let shape = match self.bits(2)? {
            0 => {
                padding = self.stored(plain)?;
                Shape::Stored
            }
            1 => {
                let codes = fixed();
                self.literals.set(&codes.0)?;
                self.distances.set(&codes.1)?;
                self.compressed(plain, tokens)?;
                Shape::Fixed
            }
            2 => {
                let codes = self.codes()?;
                self.literals.set(&codes.literals)?;
                self.distances.set(&codes.distances)?;
                self.compressed(plain, tokens)?;
                Shape::Dynamic(Box::new(codes))
            }
            _ => return Err(Refusal::Invalid("a block of type 3")),
        };
        Ok(Block {
            shape,
            last,
            tokens: tokens.len() - tokens_before,
            plain: plain.len() - plain_before,
            padding,
        })
    }

    fn stored(&mut self, plain: &mut Vec<u8>) -> Result<u8, Refusal> {
        let padding = self.bits(self.count & 7)? as u8;
        let length = self.bits(16)?;
        if self.bits(16)? != length ^ 0xffff {
            return Err(Refusal::Invalid("a stored block's two lengths disagree"));
        }
        let mut left = length as usize;
        while left > 0 && self.count >= 8 {
            plain.push(self.held as u8);
            self.drop_bits(8);
            left -= 1;
        }
        while left > 0 {
            if self.at == self.end && !self.refill()? {
                return Err(Refusal::Truncated);
            }
            let take = left.min(self.end - self.at);
            plain.extend_from_slice(&self.buffer[self.at..self.at + take]);
            self.at += take;
            self.taken += take as u64;
            left -= take;
        }
        Ok(padding)
    }

    /// The header of a dynamic block, from HLIT on.
    pub(super) fn codes(&mut self) -> Result<Codes, Refusal> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let mut header = BitWriter::default();
        let mut take = |count: u32| -> Result<usize, Refusal> {
            let bits = self.bits(count)?;
            header.write(bits, count);
            Ok(bits as usize)
        };
        let (literals, distances, lengths) = (take(5)? + 257, take(5)? + 1, take(4)? + 4);
        let mut order = [0; 19];
        for symbol in &ORDER[..lengths] {
            order[*symbol] = take(3)? as u8;
        }
        let mut decoder = Decoder::new();
        decoder.set(&order)?;
        let mut all = [0u8; 286 + 2 + 32];
        let mut at = 0;
        while at < literals + distances {
            self.more()?;
            let (symbol, bits) = decoder.symbol(self.held)?;
            if bits > self.count {
                return Err(Refusal::Truncated);
            }
            header.write(self.held & ((1 << bits) - 1), bits);
            self.drop_bits(bits);
            let (value, repeat, extra) = match symbol {
                0..=15 => (symbol as u8, 1, 0),
                16 if at == 0 => {
                    return Err(Refusal::Invalid("a repeated code length without one before it"));
                }
                16 => (all[at - 1], 3, 2),
                17 => (0, 3, 3),
                _ => (0, 11, 7),
            };
            let more = self.bits(extra)?;
            header.write(more, extra);
            let repeat = repeat + more as usize;
            if at + repeat > literals + distances {
                return Err(Refusal::Invalid("more code lengths than the block has symbols"));
            }
            all[at..at + repeat].fill(value);
            at += repeat;
        }
        if all[END] == 0 {
            return Err(Refusal::Invalid("a block without a code for its end"));
        }
        let mut codes = Codes {
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            header: header.into_bits(),
        };
        codes.literals[..literals].copy_from_slice(&all[..literals]);
        codes.distances[..distances].copy_from_slice(&all[literals..literals + distances]);
        Ok(codes)
    }

    fn compressed(&mut self, plain: &mut Vec<u8>, tokens: &mut Vec<Token>) -> Result<(), Refusal> {
        let start = plain.len();
        let mut at = start;
        let outcome = loop {
            if at + SLACK > plain.len() {
                if at - start > BLOCK_PLAIN_LIMIT {
                    break Err(Refusal::Large);
                }
                plain.resize((at + SLACK) + (256 << 10), 0);
            }
            match self.token(plain, at) {
                Ok(Some(token)) => {
                    tokens.push(token);
                    at += token.length();
                }
                Ok(None) => break Ok(()),
                Err(err) => break Err(err),
            }
        };
        plain.truncate(at);
        outcome
    }

    /// The next token, its plaintext written at `at` (with up to [`SLACK`] bytes of no meaning behind); none at the end.
    #[inline]
    fn token(&mut self, plain: &mut [u8], at: usize) -> Result<Option<Token>, Refusal> {
        // 15 + 5 + 15 + 13 bits at most
        self.more()?;
        let (symbol, bits) = self.literals.symbol(self.held)?;
        let mut used = bits;
        let mut rest = self.held >> bits;
        let token = if symbol < 256 {
            plain[at] = symbol as u8;
            Some(Token::literal(symbol as u8))
        } else if symbol == END {
            None
        } else {
            let code = symbol - 257;
            if code > 28 {
                return Err(Refusal::Invalid("a length symbol that does not exist"));
            }
            let extra = u32::from(LENGTH_EXTRA[code]);
            let length = usize::from(LENGTH_BASE[code]) + (rest & ((1 << extra) - 1)) as usize;
            if length == LENGTH_MAX && code != 28 {
                return Err(Refusal::Invalid("a length of 258 written in an odd way"));
            }
            rest >>= extra;
            let (code, bits) = self.distances.symbol(rest)?;
            rest >>= bits;
            used += extra + bits;
            if code > 29 {
                return Err(Refusal::Invalid("a distance symbol that does not exist"));
            }
            let extra = u32::from(DISTANCE_EXTRA[code]);
            let distance = usize::from(DISTANCE_BASE[code]) + (rest & ((1 << extra) - 1)) as usize;
            used += extra;
            if distance > at {
                return Err(Refusal::Invalid("a copy from before the stream's start"));
            }
            copy(plain, at, length, distance);
            Some(Token::copy(length, distance))
        };
        if used > self.count {
            return Err(Refusal::Truncated);
        }
        self.drop_bits(used);
        Ok(token)
    }

    /// `count` bits, at most 16.
    fn bits(&mut self, count: u32) -> Result<u64, Refusal> {
        self.more()?;
        if count > self.count {
            return Err(Refusal::Truncated);
        }
        let bits = self.held & ((1 << count) - 1);
        self.drop_bits(count);
        Ok(bits)
    }

    #[inline]
    fn drop_bits(&mut self, count: u32) {
        self.held >>= count;
        self.count -= count;
    }

    /// Holds at least 48 bits, or all that the source has.
    #[inline]
    fn more(&mut self) -> Result<(), Refusal> {
        if self.count >= 48 {
            return Ok(());
        }
        if let Some(next) = self.buffer[..self.end].get(self.at..self.at + 8) {
            let mut word = [0; 8];
            word.copy_from_slice(next);
            // whole bytes that fit above those held
            let bytes = (63 - self.count) / 8;
            let mask = (1u64 << (bytes * 8)) - 1;
            self.held |= (u64::from_le_bytes(word) & mask) << self.count;
            self.count += bytes * 8;
            self.at += bytes as usize;
            self.taken += u64::from(bytes);
            return Ok(());
        }
        self.more_slowly()
    }

    #[cold]
    fn more_slowly(&mut self) -> Result<(), Refusal> {
        while self.count < 48 {
            if self.at == self.end && !self.refill()? {
                break;
            }
            self.held |= u64::from(self.buffer[self.at]) << self.count;
            self.count += 8;
            self.at += 1;
            self.taken += 1;
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<bool, Refusal> {
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(count) => {
                    (self.at, self.end) = (0, count);
                    return Ok(count > 0);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Refusal::Source(err)),
            }
        }
    }
}

#[inline]
fn copy(plain: &mut [u8], at: usize, length: usize, distance: usize) {
    let from = at - distance;
    if distance >= 16 && length <= 32 {
        let mut word = [0u8; 16];
        word.copy_from_slice(&plain[from..from + 16]);
        plain[at..at + 16].copy_from_slice(&word);
        word.copy_from_slice(&plain[from + 16..from + 32]);
        plain[at + 16..at + 32].copy_from_slice(&word);
    } else if distance >= length {
        plain.copy_within(from..from + length, at);
    } else if distance == 1 {
        let byte = plain[from];
        plain[at..at + length].fill(byte);
    } else {
        for step in 0..length {
            plain[at + step] = plain[from + step];
        }
    }
}

/// The fixed codes (RFC 1951, 3.2.6): bits of each literal and length, and of each distance.
#[must_use]
pub fn fixed() -> ([u8; LITERALS], [u8; DISTANCES]) {
    let mut literals = [8; LITERALS];
    literals[144..256].fill(9);
    literals[256..280].fill(7);
    (literals, [5; DISTANCES])
}

const FAST: u32 = 11;
const BITS_MAX: usize = 15;

/// Finds the symbol that a canonical code stands for.
struct Decoder {
    /// By the next [`FAST`] bits: symbol · 16 + bits, or 0 for a longer code or none.
    fast: Box<[u16; 1 << FAST]>,
    /// Codes of each length, and the symbols in the order of their codes.
    counts: [u16; BITS_MAX + 1],
    symbols: [u16; LITERALS],
}

impl Decoder {
    fn new() -> Self {
        Self {
            fast: Box::new([0; 1 << FAST]),
            counts: [0; BITS_MAX + 1],
            symbols: [0; LITERALS],
        }
    }

    /// Takes the codes of these lengths. As zlib does, a set that is not complete is refused, unless it is empty or one
    /// code of one bit.
    fn set(&mut self, lengths: &[u8]) -> Result<(), Refusal> {
        self.counts = [0; BITS_MAX + 1];
        for length in lengths {
            self.counts[usize::from(*length) & BITS_MAX] += 1;
        }
        self.counts[0] = 0;
        let mut left = 1i32;
        let mut next = [0u16; BITS_MAX + 2];
        let mut code = [0u32; BITS_MAX + 2];
        for bits in 1..=BITS_MAX {
            left = left * 2 - i32::from(self.counts[bits]);
            if left < 0 {
                return Err(Refusal::Invalid("more codes than their lengths have room for"));
            }
            next[bits + 1] = next[bits] + self.counts[bits];
            code[bits + 1] = (code[bits] + u32::from(self.counts[bits])) << 1;
        }
        let total = next[BITS_MAX + 1];
        if left > 0 && !(total == 0 || (total == 1 && self.counts[1] == 1)) {
            return Err(Refusal::Invalid("a set of codes that is not complete"));
        }
        self.fast.fill(0);
        for (symbol, length) in lengths.iter().enumerate() {
            let bits = usize::from(*length);
            if bits == 0 {
                continue;
            }
            self.symbols[usize::from(next[bits])] = symbol as u16;
            next[bits] += 1;
            if bits <= FAST as usize {
                let mut slot = (code[bits].reverse_bits() >> (32 - bits)) as usize;
                while slot < 1 << FAST {
                    self.fast[slot] = (symbol as u16) << 4 | bits as u16;
                    slot += 1 << bits;
                }
            }
            code[bits] += 1;
        }
        Ok(())
    }

    /// The symbol that `held` starts with, and its bits.
    #[inline]
    fn symbol(&self, held: u64) -> Result<(usize, u32), Refusal> {
        let entry = self.fast[held as usize & ((1 << FAST) - 1)];
        if entry != 0 {
            return Ok((usize::from(entry >> 4), u32::from(entry & 15)));
        }
        self.symbol_slowly(held)
    }

    #[cold]
    fn symbol_slowly(&self, held: u64) -> Result<(usize, u32), Refusal> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for bits in 1..=BITS_MAX {
            code |= (held >> (bits - 1)) as u32 & 1;
            let count = u32::from(self.counts[bits]);
            if code < first + count {
                return Ok((
                    usize::from(self.symbols[(index + code - first) as usize]),
                    bits as u32,
                ));
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Refusal::Invalid("a code that does not exist"))
    }
}
