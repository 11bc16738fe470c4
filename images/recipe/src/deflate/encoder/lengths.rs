//! Code lengths as encoders choose them, and the header that writes them (RFC 1951, 3.2.7).

use crate::deflate::bits::BitWriter;
use crate::deflate::inflate::Codes;
use crate::deflate::token::{
    DISTANCE_EXTRA, DISTANCES, END, LENGTH_EXTRA, LENGTH_MIN, LITERALS, Token, distance_code, length_code,
};

/// Most symbols of an alphabet.
const SYMBOLS: usize = LITERALS;
/// Longest code.
const BITS: usize = 15;

/// How often each symbol occurs in a block; the end of the block is counted once.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Literals and lengths.
    pub literals: [u32; LITERALS],
    /// Distances.
    pub distances: [u32; DISTANCES],
}

impl Counts {
    /// Counts the tokens' symbols.
    #[must_use]
    pub fn of(tokens: &[Token]) -> Self {
        // Literals and copies come in no order that a processor foretells, so both take the same steps; and every other
        // token is counted elsewhere, so that none waits for the one before it.
        const NO_DISTANCE: usize = DISTANCES;
        let mut indices = [[0u32; Token::INDICES]; 2];
        let mut distances = [[0u32; DISTANCES + 1]; 2];
        for pair in tokens.chunks(2) {
            for ((token, indices), distances) in pair.iter().zip(&mut indices).zip(&mut distances) {
                indices[token.index()] += 1;
                let symbol = distance_code(token.distance());
                distances[if token.is_literal() { NO_DISTANCE } else { symbol }] += 1;
            }
        }
        let mut counts = Self {
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
        };
        for indices in &indices {
            let (literals, lengths) = indices.split_at(END);
            for (sum, count) in counts.literals.iter_mut().zip(literals) {
                *sum += count;
            }
            for (length, count) in lengths.iter().enumerate() {
                counts.literals[END + 1 + length_code(LENGTH_MIN + length)] += count;
            }
        }
        for distances in &distances {
            for (sum, count) in counts.distances.iter_mut().zip(distances) {
                *sum += count;
            }
        }
        counts.literals[END] = 1;
        counts
    }

    /// Extra bits of all lengths and distances.
    #[must_use]
    pub fn extra_bits(&self) -> u64 {
        let lengths = self.literals[END + 1..].iter().zip(LENGTH_EXTRA);
        let distances = self.distances.iter().zip(DISTANCE_EXTRA);
        lengths
            .chain(distances)
            .map(|(count, bits)| u64::from(*count) * u64::from(bits))
            .sum()
    }
}

/// Bits that symbols of these counts take with codes of these lengths.
#[must_use]
pub fn bits_of(counts: &[u32], lengths: &[u8]) -> u64 {
    counts
        .iter()
        .zip(lengths)
        .map(|(count, length)| u64::from(*count) * u64::from(*length))
        .sum()
}

/// The lengths of an optimal code of at most `limit` bits, found by package-merge with packages before symbols of the same
/// weight: symbols that occur more often have shorter codes, and of those that occur equally often the later ones. One
/// symbol or two have one bit each.
pub fn package_merge(counts: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut order = [(0u32, 0u16); SYMBOLS];
    let mut n = 0;
    for (symbol, count) in counts.iter().enumerate() {
        if *count > 0 {
            order[n] = (*count, symbol as u16);
            n += 1;
        }
    }
    let order = &mut order[..n];
    if n <= 2 {
        for (_, symbol) in order {
            lengths[usize::from(*symbol)] = 1;
        }
        return;
    }
    order.sort_unstable();
    let limit = limit.min(n - 1).min(BITS);
    let wanted = 2 * n - 2;
    // Of each level's items, in order of weight: whether it is a symbol; the weights only of the last.
    let mut symbols = [[false; 2 * SYMBOLS]; BITS];
    let mut items = [0usize; BITS];
    let mut weights = [0u32; 2 * SYMBOLS];
    // Both lists end with a weight above all, so that merging needs no branch.
    let (mut single, mut pairs) = ([u32::MAX; SYMBOLS + 1], [u32::MAX; SYMBOLS + 1]);
    for (weight, (count, _)) in single.iter_mut().zip(order.iter()) {
        *weight = *count;
    }
    for level in 0..limit {
        let packages = if level == 0 { 0 } else { items[level - 1] / 2 };
        for (pair, two) in pairs[..packages].iter_mut().zip(weights.as_chunks::<2>().0) {
            *pair = two[0] + two[1];
        }
        pairs[packages] = u32::MAX;
        let count = wanted.min(n + packages);
        let (mut symbol, mut package) = (0, 0);
        for (weight, is_symbol) in weights.iter_mut().zip(&mut symbols[level]).take(count) {
            let take = single[symbol] < pairs[package];
            *weight = single[symbol].min(pairs[package]);
            *is_symbol = take;
            symbol += usize::from(take);
            package += usize::from(!take);
        }
        items[level] = count;
    }
    // A symbol has a bit for every level that it is taken at: the least frequent ones at most.
    let mut take = wanted;
    for level in (0..limit).rev() {
        let taken = symbols[level][..take.min(items[level])]
            .iter()
            .filter(|symbol| **symbol)
            .count();
        for (_, symbol) in &order[..taken] {
            lengths[usize::from(*symbol)] += 1;
        }
        take = 2 * (take - taken);
    }
}

/// How an encoder writes runs of code lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// As Go does: every run of its own, literals and distances as one.
    Go,
    /// As zlib does: likewise, but no run goes on from the literals into the distances.
    Zlib,
}

const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A dynamic block's header: the codes' lengths as runs, and how many of each alphabet it says.
#[derive(Debug)]
pub struct Header {
    symbols: Vec<(u8, u8)>,
    counts: [u32; 19],
    lengths: [u8; 19],
    order: usize,
    literals: usize,
    distances: usize,
}

impl Header {
    /// The header of these lengths, of which the first `literals` and `distances` are written; the code of the lengths is
    /// found by `code`, which is given counts and a limit of 7.
    pub fn new(
        literals: &[u8],
        distances: &[u8],
        runs: Runs,
        code: impl FnOnce(&[u32; 19], &mut [u8; 19]),
    ) -> Self {
        let mut header = Self {
            symbols: Vec::with_capacity(160),
            counts: [0; 19],
            lengths: [0; 19],
            order: 19,
            literals: literals.len(),
            distances: distances.len(),
        };
        match runs {
            Runs::Go => header.runs(literals.iter().chain(distances).copied()),
            Runs::Zlib => {
                header.runs(literals.iter().copied());
                header.runs(distances.iter().copied());
            }
        }
        code(&header.counts, &mut header.lengths);
        while header.order > 4 && header.lengths[ORDER[header.order - 1]] == 0 {
            header.order -= 1;
        }
        header
    }

    fn symbol(&mut self, symbol: u8, extra: usize) {
        self.symbols.push((symbol, extra as u8));
        self.counts[usize::from(symbol)] += 1;
    }

    fn runs(&mut self, lengths: impl Iterator<Item = u8>) {
        let mut run: Option<(u8, usize)> = None;
        for length in lengths {
            match &mut run {
                Some((of, count)) if *of == length => *count += 1,
                _ => {
                    self.run(run);
                    run = Some((length, 1));
                }
            }
        }
        self.run(run);
    }

    fn run(&mut self, run: Option<(u8, usize)>) {
        let Some((length, mut left)) = run else { return };
        if length == 0 {
            while left >= 11 {
                let now = left.min(138);
                self.symbol(18, now - 11);
                left -= now;
            }
            if left >= 3 {
                self.symbol(17, left - 3);
                left = 0;
            }
        } else {
            self.symbol(length, 0);
            left -= 1;
            while left >= 3 {
                let now = left.min(6);
                self.symbol(16, now - 3);
                left -= now;
            }
        }
        for _ in 0..left {
            self.symbol(length, 0);
        }
    }

    /// Bits of the header behind a block's type.
    #[must_use]
    pub fn bits(&self) -> u64 {
        14 + 3 * self.order as u64
            + bits_of(&self.counts, &self.lengths)
            + u64::from(self.counts[16]) * 2
            + u64::from(self.counts[17]) * 3
            + u64::from(self.counts[18]) * 7
    }

    /// The codes, with the header written.
    #[must_use]
    pub fn codes(&self, literals: [u8; LITERALS], distances: [u8; DISTANCES]) -> Codes {
        let mut out = BitWriter::default();
        out.write(self.literals as u64 - 257, 5);
        out.write(self.distances as u64 - 1, 5);
        out.write(self.order as u64 - 4, 4);
        for symbol in &ORDER[..self.order] {
            out.write(u64::from(self.lengths[*symbol]), 3);
        }
        let codes = crate::deflate::guide::assign(&self.lengths);
        for (symbol, extra) in &self.symbols {
            let code = codes[usize::from(*symbol)];
            out.write(u64::from(code.bits), code.count);
            let bits = match symbol {
                16 => 2,
                17 => 3,
                18 => 7,
                _ => 0,
            };
            out.write(u64::from(*extra), bits);
        }
        Codes {
            literals,
            distances,
            header: out.into_bits(),
        }
    }
}

/// One more than the last symbol that occurs; 0 where none does.
#[must_use]
pub fn used(counts: &[u32]) -> usize {
    counts
        .iter()
        .rposition(|count| *count > 0)
        .map_or(0, |last| last + 1)
}
