//! The encoder that wrote a stream, found by trial.
//!
//! Every model can be asked, and the one that errs least has it. What a wrong one costs is bounded: all are tried on some
//! copies first, the best of them on more, the best of those on the whole segment, and each stops once it errs more than
//! another did. What the file itself tells orders them and no more: it may be wrong.

use crate::deflate::encoder::{Encoder, Models, Pigz, Version};
use crate::deflate::guide::Bounds;
use crate::deflate::inflate::Block;
use crate::deflate::segment::{Attempt, HISTORY, Input, attempt};
use crate::deflate::token::{LENGTH_MAX, Token};
use std::collections::HashSet;

/// A segment, and how the stream writes it.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Its plaintext.
    pub input: Input<'a>,
    /// Its tokens.
    pub tokens: &'a [Token],
    /// Its blocks.
    pub blocks: &'a [Block],
}

/// What a gzip member's header says of its encoder (RFC 1952, 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// XFL: 2 for the slowest level, 4 for the fastest.
    pub effort: u8,
    /// OS: 3 for Unix, as C programs write; 255 for unknown, as Go does.
    pub system: u8,
}

/// The encoder that fits a segment best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// It.
    pub encoder: Encoder,
    /// What gives the segment with it.
    pub corrections: Vec<u8>,
    /// See [`Attempt::errors`].
    pub errors: usize,
}

/// A round's copies, and how many candidates stay in.
const ROUNDS: [(usize, usize); 2] = [(1 << 9, 8), (1 << 12, 2)];
/// Tokens that are none, of which as many tell as much as one of them.
const OTHERS: usize = 16;
/// A block with fewer copies that tell encoders apart is passed over at the start.
const TELLING: usize = 64;
/// Whole segments that are tried with candidates that have not erred so far, ahead of the others.
const EARLY: usize = 4;
/// More of what the limit allows for than one part in so many is not how the encoder itself errs.
const MUCH: usize = 16;
/// What errs in proportion more often than the limit allows for, times this, is out: the rest may be more like it.
const HOPELESS: usize = 2;
/// pgzip's block, when it is told nothing.
const USUAL: usize = 1 << 20;
/// Bytes of errors more than twice those of the best after which a candidate is out.
const SLACK: usize = 48;

/// Finds the encoder whose corrections are the fewest; none where all take more than `limit` bytes.
#[must_use]
pub fn choose(models: &mut Models, segment: &Segment<'_>, hints: Hints, limit: usize) -> Option<Choice> {
    let whole = |models: &mut Models, encoder, errors| {
        let Segment {
            input,
            tokens,
            blocks,
        } = segment;
        let bounds = Bounds {
            errors,
            ..Bounds::corrections(limit)
        };
        choice(encoder, attempt(encoder, models, input, tokens, blocks, bounds))
    };
    let sample = Sample::of(segment);
    let mut field = ordered(segment, hints);
    let mut early = EARLY;
    for (copies, stay) in ROUNDS {
        let until = sample.until(copies);
        let mut standing: Vec<(usize, Encoder)> = Vec::with_capacity(field.len());
        let mut fewest = usize::MAX / 4;
        for encoder in field {
            let bounds = Bounds {
                corrections: usize::MAX,
                errors: fewest * 2 + SLACK,
                until,
            };
            let Segment {
                input,
                tokens,
                blocks,
            } = &sample.segment;
            let errors = attempt(encoder, models, input, tokens, blocks, bounds).errors;
            if errors == 0 && early > 0 {
                early -= 1;
                if let Some(exact) = whole(models, encoder, 0) {
                    return Some(exact);
                }
            }
            fewest = fewest.min(errors);
            standing.push((errors, encoder));
        }
        let share = sample.share(until);
        let much = (share * (limit / MUCH) as f64) as usize;
        // Those that are equal stay in the order of the field.
        standing.sort_by_key(|(errors, encoder)| weighed(*encoder, *errors, much));
        standing.truncate(stay);
        standing.retain(|(errors, _)| {
            *errors <= fewest * 2 + SLACK && (*errors as f64) <= share * (limit * HOPELESS) as f64
        });
        field = standing.into_iter().map(|(_, encoder)| encoder).collect();
    }
    let mut best: Option<Choice> = None;
    for encoder in field {
        let other = whole(models, encoder, usize::MAX);
        best = best.into_iter().chain(other).min_by_key(|choice| {
            // Of two that are equal the first is taken.
            weighed(choice.encoder, choice.errors, limit / MUCH)
        });
    }
    best
}

/// The errors, more of them for slow levels where they are many: then none of the encoders wrote the stream, and of two that
/// do about as well the one that is carried out sooner is better.
fn weighed(encoder: Encoder, errors: usize, much: usize) -> usize {
    let slow = ["8", "9"].contains(&level(&encoder.to_string()));
    if slow && errors > much {
        errors + errors / 4
    } else {
        errors
    }
}

/// The level in an encoder's name; empty where it has none.
fn level(name: &str) -> &str {
    name.split(':').nth(1).unwrap_or_default()
}

fn choice(encoder: Encoder, attempt: Attempt) -> Option<Choice> {
    let errors = attempt.errors;
    attempt.corrections.map(|corrections| Choice {
        encoder,
        corrections,
        errors,
    })
}

/// Whether the encoders can differ in it: the longest copies are those of runs, which all write alike.
fn tells(token: Token) -> bool {
    !token.is_literal() && token.length() < LENGTH_MAX
}

/// A segment from the first block on that tells encoders apart; all of it where none does.
struct Sample<'a> {
    segment: Segment<'a>,
    /// Bytes of the plaintext of the segment that it is of.
    whole: usize,
}

impl<'a> Sample<'a> {
    fn of(segment: &Segment<'a>) -> Self {
        let whole = segment.input.end - segment.input.start;
        let (mut token, mut plain) = (0, 0);
        for (at, block) in segment.blocks.iter().enumerate() {
            let tokens = &segment.tokens[token..token + block.tokens];
            if tokens.iter().filter(|token| tells(**token)).take(TELLING).count() == TELLING {
                let input = &segment.input;
                let start = input.start + plain;
                let low = start.saturating_sub(HISTORY);
                let input = Input {
                    bytes: &input.bytes[low..],
                    start: start - low,
                    end: input.end - low,
                    offset: input.offset + plain as u64,
                };
                let segment = Segment {
                    input,
                    tokens: &segment.tokens[token..],
                    blocks: &segment.blocks[at..],
                };
                return Self { segment, whole };
            }
            token += block.tokens;
            plain += block.plain;
        }
        Self {
            segment: *segment,
            whole,
        }
    }

    /// Where in the input's bytes that many copies lie behind that tell encoders apart; or many times as many tokens of
    /// other kinds, as it tells something too where an encoder finds no copies.
    fn until(&self, copies: usize) -> usize {
        let Segment {
            input,
            tokens,
            blocks,
        } = &self.segment;
        let (mut tokens, mut at) = (tokens.iter(), input.start);
        let mut left = copies * OTHERS;
        for block in *blocks {
            if block.tokens == 0 {
                at += block.plain.min(left);
                left = left.saturating_sub(block.plain);
            }
            for token in tokens.by_ref().take(block.tokens) {
                at += token.length();
                left = left.saturating_sub(if tells(*token) { OTHERS } else { 1 });
                if left == 0 {
                    break;
                }
            }
            if left == 0 {
                return at;
            }
        }
        usize::MAX
    }

    /// The share of the segment that lies before `until`, as its plaintext goes.
    fn share(&self, until: usize) -> f64 {
        let Input { start, end, .. } = self.segment.input;
        (until.min(end) - start) as f64 / self.whole.max(1) as f64
    }
}

/// The candidates, the likeliest first.
fn ordered(segment: &Segment<'_>, hints: Hints) -> Vec<Encoder> {
    let cuts = cuts(segment);
    let stored = segment.tokens.is_empty();
    let Input {
        start, end, offset, ..
    } = segment.input;
    let seen_so_far = offset + (end - start) as u64;
    // A block that ended would show; and of those that are longer than the stream so far one is like the other.
    let may_cut = |block: u64| {
        let usual = block == USUAL as u64 || block == u64::from(Pigz::DEFAULT.block) << 10;
        // What is stored to a block's very end leaves no mark there: the first that is seen may be that of a later one.
        let shown = cuts
            .iter()
            .any(|cut| *cut as u64 == block || usual && (*cut as u64).is_multiple_of(block));
        shown || usual && block > seen_so_far
    };
    let mut seen = HashSet::new();
    let mut candidates: Vec<(usize, Encoder)> = Vec::new();
    for encoder in all(&cuts) {
        let name = encoder.to_string();
        // Not every length is a block's.
        let is_one = name.parse() == Ok(encoder) && seen.insert(encoder);
        if !is_one || block_of(encoder).is_some_and(|block| !may_cut(block)) {
            continue;
        }
        let (family, level) = (name.split(':').next().unwrap_or_default(), level(&name));
        let c = ["zlib", "gzip", "pigz"]
            .iter()
            .any(|kind| family.starts_with(kind));
        let cut = ["pigz", "pgzip"].iter().any(|kind| family.starts_with(kind));
        let signs = [
            (level == "9") == (hints.effort == 2),
            (level == "1") == (hints.effort == 4),
            (level == "0") == stored,
            c == (hints.system != 255),
            cut != cuts.is_empty(),
        ];
        candidates.push((signs.iter().filter(|sign| !**sign).count(), encoder));
    }
    candidates.sort_by_key(|(unlike, _)| *unlike);
    candidates.into_iter().map(|(_, encoder)| encoder).collect()
}

/// How long the blocks are that it compresses each by itself.
fn block_of(encoder: Encoder) -> Option<u64> {
    match encoder {
        Encoder::Pigz { cut, .. } => Some(u64::from(cut.block) << 10),
        Encoder::Pgzip { block, .. } => Some(block.into()),
        _ => None,
    }
}

/// Those of any stream, and those that cut their input with blocks of these lengths.
fn all(cuts: &[usize]) -> impl Iterator<Item = Encoder> {
    let cut = cuts.iter().flat_map(|cut| {
        let block = u32::try_from(*cut).unwrap_or(0);
        (1..=9).flat_map(move |level| {
            let pigz = [false, true].map(|independent| Encoder::Pigz {
                level,
                cut: Pigz {
                    block: if block % 1024 == 0 { block / 1024 } else { 0 },
                    independent,
                },
            });
            let pgzip = Version::at(level, true).map(move |version| Encoder::Pgzip {
                version,
                level,
                block,
            });
            pigz.into_iter().chain(pgzip)
        })
    });
    Encoder::candidates().chain(cut)
}

/// How long the blocks may be that are compressed each by itself: behind each is a block of nothing that is not the last. A
/// segment ends with the block at whose end it has a mebibyte; where that is exactly one, it may be one that they cut.
fn cuts(segment: &Segment<'_>) -> Vec<usize> {
    let Input {
        start, end, offset, ..
    } = segment.input;
    let mut at = 0;
    let mut ends = segment.blocks.iter().filter_map(|block| {
        at += block.plain;
        (block.plain == 0 && !block.last && at > 0).then_some(at)
    });
    let (first, second) = (ends.next(), ends.next());
    let offset = usize::try_from(offset).unwrap_or(0);
    match (first, second) {
        (Some(first), Some(second)) if second > first && offset > 0 => vec![second - first],
        (Some(first), _) => vec![offset + first],
        _ if (offset + end - start) % USUAL == 0 => vec![USUAL],
        _ => Vec::new(),
    }
}
