//! How a chunk of tokens is written: in a block of its own, or in the block before, whose codes then serve for it too.

use super::Version;
use super::tree::tree;
use crate::deflate::encoder::lengths::{Counts, Header, Runs, bits_of, package_merge, used};
use crate::deflate::inflate::{Codes, Shape, fixed};
use crate::deflate::token::{DISTANCE_EXTRA, DISTANCES, END, LENGTH_EXTRA, LITERALS, Token};

/// Most plaintext of a stored block.
pub(super) const STORED_MAX: usize = 65_535;
/// Chunks of fewer tokens are tried with the fixed codes.
const FEW: usize = 250;
/// What the header of a block of literals is reckoned to take, in bits, before it is made.
const LITERAL_HEADER: u64 = 70 * 8;
/// More than any block takes.
const NEVER: u64 = i32::MAX as u64;

/// A block that has been begun, and may take more chunks.
pub(super) struct Open {
    pub(super) shape: Shape,
    /// Bits of its header with the block's three; 0 where it takes no more chunks.
    header: u64,
    /// Whether it has codes for literals alone.
    literal: bool,
}

impl Open {
    /// A block that takes no more chunks.
    pub(super) fn closed(shape: Shape) -> Self {
        Self {
            shape,
            header: 0,
            literal: false,
        }
    }

    /// Whether it takes no more chunks.
    pub(super) fn is_closed(&self) -> bool {
        self.header == 0
    }

    fn codes(&self) -> Option<&Codes> {
        match &self.shape {
            Shape::Dynamic(codes) if self.header > 0 => Some(codes),
            _ => None,
        }
    }
}

/// A chunk to be written.
pub(super) struct Chunk<'a> {
    pub(super) tokens: &'a [Token],
    /// Bytes of its plaintext; none where the encoder has them no more, and cannot store them.
    pub(super) plain: Option<usize>,
    /// Whether the encoder is flushed behind it.
    pub(super) flushed: bool,
    /// Blocks are begun anew only where they save more than their size divided by 2 to the power of that.
    pub(super) penalty: u32,
}

/// The codes of one alphabet as that version makes them.
pub(super) fn code(version: Version, counts: &[u32], limit: usize, lengths: &mut [u8]) {
    if !(version.is_tree() && tree(counts, limit, lengths)) {
        package_merge(counts, limit, lengths);
    }
}

impl Chunk<'_> {
    fn stored_bits(&self) -> Option<u64> {
        self.plain
            .filter(|plain| *plain <= STORED_MAX)
            .map(|plain| (plain as u64 + 5) * 8)
    }

    /// The block that it begins; none where it is written in the one before.
    pub(super) fn place(&self, version: Version, before: Option<&Open>) -> Option<Open> {
        let mut counts = Counts::of(self.tokens);
        let all = version.writes_all_lengths() && !self.flushed;
        let count = self.tokens.len() + usize::from(self.flushed);
        let stored = self.stored_bits();
        let usable = before
            .and_then(|before| Some((before.codes()?, before)))
            .filter(|(codes, before)| !before.literal && covers(codes, &counts));
        let extra = if stored.is_some() || usable.is_some() {
            counts.extra_bits()
        } else {
            0
        };
        if !all && used(&counts.distances) == 0 {
            // A block without copies has one distance code all the same.
            counts.distances[0] = 1;
        }
        // Some versions do not count the block's end before they make a block.
        let end = u32::from(!all);
        if let Some((codes, before)) = usable {
            counts.literals[END] = end;
            let fresh = before.header + estimate(&counts, count);
            let fresh = fresh + u64::from(codes.literals[END]) + (fresh >> self.penalty);
            let again = bits_of(&counts.literals, &codes.literals)
                + bits_of(&counts.distances, &codes.distances)
                + extra;
            let least = fresh.min(again);
            let storable = stored.is_some_and(|stored| stored <= least);
            if count < FEW && fixed_bits(&counts, extra) + 7 < least {
                return Some(Open::closed(if storable { Shape::Stored } else { Shape::Fixed }));
            }
            if storable {
                return Some(Open::closed(Shape::Stored));
            }
            if fresh >= again {
                return None;
            }
        }
        counts.literals[END] = 1;
        let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
        code(version, &counts.literals, 15, &mut literals);
        code(version, &counts.distances, 15, &mut distances);
        let written = if all {
            (286, 30)
        } else {
            (used(&counts.literals), used(&counts.distances))
        };
        let header = Header::new(
            &literals[..written.0],
            &distances[..written.1],
            Runs::Go,
            |counts, lengths| code(version, counts, 7, lengths),
        );
        let size = 3
            + header.bits()
            + bits_of(&counts.literals, &literals)
            + bits_of(&counts.distances, &distances)
            + extra;
        let fixed = fixed_bits(&counts, extra);
        let least = if count < FEW { fixed.min(size) } else { size };
        let shape = if stored.is_some_and(|stored| stored <= least) {
            Shape::Stored
        } else if count < FEW && fixed <= size {
            Shape::Fixed
        } else {
            return Some(Open {
                shape: Shape::Dynamic(Box::new(header.codes(literals, distances))),
                header: if self.flushed { 0 } else { header.bits() + 3 },
                literal: false,
            });
        };
        Some(Open::closed(shape))
    }

    /// The same for a chunk of literals, whose tokens are its plaintext.
    pub(super) fn place_literals(&self, version: Version, before: Option<&Open>) -> Option<Open> {
        let mut counts = Counts::of(self.tokens);
        let plain = self.tokens.len();
        let stored = self.stored_bits();
        if stored.is_some() && plain > 1024 {
            let mean = plain as f64 / 256.0;
            let most = (plain * 2) as f64;
            let mut sum = 0.0;
            for count in &counts.literals[..END] {
                let differ = f64::from(*count) - mean;
                sum += differ * differ;
                if sum > most {
                    break;
                }
            }
            if sum < most {
                return Some(Open::closed(Shape::Stored));
            }
        }
        let mut literals = [0; LITERALS];
        code(version, &counts.literals, 15, &mut literals);
        let before_codes = before.and_then(|before| Some((before.codes()?, before.header)));
        let fresh =
            bits_of(&counts.literals, &literals) + before_codes.map_or(LITERAL_HEADER, |(_, header)| header);
        let fresh = fresh + (fresh >> self.penalty);
        if stored.is_some_and(|stored| stored <= fresh) {
            return Some(Open::closed(Shape::Stored));
        }
        if let Some((codes, _)) = before_codes {
            counts.literals[END] = 0;
            let again = if covers(codes, &counts) {
                bits_of(&counts.literals, &codes.literals)
            } else {
                NEVER
            };
            if fresh >= again {
                return None;
            }
        }
        let mut distances = [0; DISTANCES];
        distances[0] = 1;
        let header = Header::new(&literals[..=END], &distances[..1], Runs::Go, |counts, lengths| {
            code(version, counts, 7, lengths);
        });
        Some(Open {
            header: if self.flushed { 0 } else { header.bits() + 3 },
            shape: Shape::Dynamic(Box::new(header.codes(literals, distances))),
            literal: true,
        })
    }
}

/// Whether there is a code for all that occurs.
fn covers(codes: &Codes, counts: &Counts) -> bool {
    let all = |counts: &[u32], lengths: &[u8]| {
        counts
            .iter()
            .zip(lengths)
            .all(|(count, length)| *count == 0 || *length > 0)
    };
    all(&counts.literals, &codes.literals) && all(&counts.distances, &codes.distances)
}

fn fixed_bits(counts: &Counts, extra: u64) -> u64 {
    let (literals, distances) = fixed();
    3 + bits_of(&counts.literals, &literals) + bits_of(&counts.distances, &distances) + extra
}

/// About the least bits that the symbols take, which there are `count` of: each 1 to 15 bits. The encoder reckons in single
/// precision, and the order of its sums counts.
fn estimate(counts: &Counts, count: usize) -> u64 {
    let bits = |count: f32, share: f32| (-log2(count * share)).clamp(1.0, 15.0) * count;
    let mut sum = 0f32;
    let mut extra = 0;
    let share = 1.0 / count as f32;
    for count in &counts.literals[..END] {
        if *count > 0 {
            sum += bits(*count as f32, share);
        }
    }
    sum += 15.0;
    let mut copies = 0;
    for (count, more) in counts.literals[END + 1..].iter().zip(LENGTH_EXTRA) {
        if *count > 0 {
            sum += bits(*count as f32, share);
            extra += u64::from(*count) * u64::from(more);
            copies += *count;
        }
    }
    if copies > 0 {
        let share = 1.0 / copies as f32;
        for (count, more) in counts.distances.iter().zip(DISTANCE_EXTRA) {
            if *count > 0 {
                sum += bits(*count as f32, share);
                extra += u64::from(*count) * u64::from(more);
            }
        }
    }
    sum as u64 + extra
}

/// An approximation of the binary logarithm: the exponent, and a parabola over the mantissa.
fn log2(value: f32) -> f32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 255) as i32 - 128;
    let mantissa = f32::from_bits((bits & 0x807f_ffff) + (127 << 23));
    exponent as f32 + (((-0.344_848_43f32) * mantissa + 2.024_665_8) * mantissa - 0.674_877_6)
}
