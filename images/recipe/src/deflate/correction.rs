//! Where a stream differs from what the model of its encoder predicts.
//!
//! A correction is a number, `gap · 8 + kind` (LEB128; `gap` is how many tokens of the segment lie between it and the
//! correction before it), and what its kind says:
//!
//! | kind | meaning | follows |
//! |---|---|---|
//! | 0 | the next token is another | 0: a literal; else `(length − 2) · 32,768 + distance − 1` |
//! | 1 | the block ends here, or does not, against the prediction | nothing |
//! | 2 | the block that ends here has another shape | a [shape](super::inflate::Shape) |
//! | 3 | the block that ends here is marked last, or is not, against the prediction | nothing |
//! | 4 | the stored block that ends here skips these bits, which are no zeros | one byte |
//! | 5 | a block without plaintext follows | a flag byte (1: marked last; its padding · 2), a shape |
//!
//! A shape is one byte (0 stored, 1 fixed, 2 dynamic); a dynamic one is followed by its header's length in bits and
//! the header's bytes.

use super::bits::Bits;
use super::inflate::{Codes, Inflater, Refusal, Shape};
use super::token::Token;

/// Longest header of a dynamic block, in bits: 14, 19 lengths, 320 code lengths of 7 + 7 bits.
const HEADER_BITS_MAX: u64 = 14 + 19 * 3 + 320 * 14;

/// What a correction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// The next token; a literal is any literal.
    Token(Token),
    /// The block ends, or does not, against the prediction.
    End,
    /// The shape of the block that ends here.
    Shape(Shape),
    /// Whether the block that ends here is the last, against the prediction.
    Last,
    /// The bits that the stored block skips.
    Padding(u8),
    /// A block without plaintext follows.
    Empty {
        /// How it is written.
        shape: Shape,
        /// Whether it is marked as the stream's last.
        last: bool,
        /// The bits that it skips, if it is stored.
        padding: u8,
    },
}

/// A recipe's corrections cannot be read, or do not fit the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrections of a recipe, at byte {at}: {what}")]
pub struct Damage {
    /// Byte offset within the segment's corrections.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Writes corrections one behind the other.
#[derive(Debug, Default)]
pub struct CorrectionWriter {
    bytes: Vec<u8>,
    before: u64,
}

impl CorrectionWriter {
    /// Appends a correction after `tokens` tokens of the segment, which never go down.
    pub fn push(&mut self, tokens: u64, correction: &Correction) {
        let gap = tokens - self.before;
        self.before = tokens;
        let kind = match correction {
            Correction::Token(_) => 0,
            Correction::End => 1,
            Correction::Shape(_) => 2,
            Correction::Last => 3,
            Correction::Padding(_) => 4,
            Correction::Empty { .. } => 5,
        };
        put(&mut self.bytes, gap << 3 | kind);
        match correction {
            Correction::Token(token) if token.is_literal() => put(&mut self.bytes, 0),
            Correction::Token(token) => put(
                &mut self.bytes,
                (token.length() as u64 - 2) << 15 | (token.distance() as u64 - 1),
            ),
            Correction::End | Correction::Last => {}
            Correction::Shape(shape) => put_shape(&mut self.bytes, shape),
            Correction::Padding(padding) => self.bytes.push(*padding),
            Correction::Empty { shape, last, padding } => {
                self.bytes.push(u8::from(*last) | padding << 1);
                put_shape(&mut self.bytes, shape);
            }
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no correction so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The corrections' bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads corrections; they are bytes from outside.
#[derive(Debug)]
pub struct CorrectionReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> CorrectionReader<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next correction and the tokens between it and the one before; none at the end.
    ///
    /// # Errors
    /// [`Damage`] where the bytes are no correction.
    pub fn read(&mut self) -> Result<Option<(u64, Correction)>, Damage> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let head = self.number()?;
        let correction = match head & 7 {
            0 => Correction::Token(match self.number()? {
                0 => Token::literal(0),
                number => {
                    let (length, distance) = ((number >> 15) + 2, number & 0x7fff);
                    if !(3..=258).contains(&length) {
                        return Err(self.damage("a copy of no length that deflate has"));
                    }
                    Token::copy(length as usize, distance as usize + 1)
                }
            }),
            1 => Correction::End,
            2 => Correction::Shape(self.shape()?),
            3 => Correction::Last,
            4 => Correction::Padding(self.byte()?),
            5 => {
                let flags = self.byte()?;
                Correction::Empty {
                    shape: self.shape()?,
                    last: flags & 1 == 1,
                    padding: flags >> 1,
                }
            }
            _ => return Err(self.damage("a correction of no kind that is known")),
        };
        Ok(Some((head >> 3, correction)))
    }

    /// The place that was read up to.
    #[must_use]
    pub fn damage(&self, what: &'static str) -> Damage {
        Damage { at: self.at, what }
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let byte = self
            .bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| self.damage("cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damage("a number of more than 63 bits"))
    }

    fn shape(&mut self) -> Result<Shape, Damage> {
        match self.byte()? {
            0 => Ok(Shape::Stored),
            1 => Ok(Shape::Fixed),
            2 => {
                let count = self.number()?;
                if count > HEADER_BITS_MAX {
                    return Err(self.damage("a header longer than any"));
                }
                let end = self.at + count.div_ceil(8) as usize;
                let bytes = self
                    .bytes
                    .get(self.at..end)
                    .ok_or_else(|| self.damage("cut off within a header"))?;
                let header = Bits {
                    bytes: bytes.to_vec(),
                    count: count as u32,
                };
                let codes = parse(&header).map_err(|_| self.damage("a header that is none"))?;
                self.at = end;
                Ok(Shape::Dynamic(Box::new(codes)))
            }
            _ => Err(self.damage("a shape that is none")),
        }
    }
}

/// The codes that a dynamic block's header gives.
fn parse(header: &Bits) -> Result<Codes, Refusal> {
    let codes = Inflater::new(header.bytes.as_slice()).codes()?;
    if codes.header != *header {
        return Err(Refusal::Invalid("bits behind the header"));
    }
    Ok(codes)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_shape(bytes: &mut Vec<u8>, shape: &Shape) {
    match shape {
        Shape::Stored => bytes.push(0),
        Shape::Fixed => bytes.push(1),
        Shape::Dynamic(codes) => {
            bytes.push(2);
            put(bytes, u64::from(codes.header.count));
            bytes.extend_from_slice(&codes.header.bytes);
        }
    }
}
