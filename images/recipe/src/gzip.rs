//! A gzip file (RFC 1952) read once: its plaintext comes out, and the parts that its bytes are made of again.

use crate::deflate::encoder::Encoder;
use crate::deflate::inflate::{Block, Inflater, Refusal};
use crate::deflate::segment::{BLOCKS_MAX, HISTORY, LOOKAHEAD};
use crate::deflate::token::Token;
use crate::ladder::Hints;
use crate::pool::{Job, Recorded, submit, threads};
use crate::table::{MadePart, Matter};
use crossbeam_channel::Receiver;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

/// Plaintext after which a segment ends with the block: 1 MiB.
const SEGMENT: usize = 1 << 20;
/// A segment is kept as it is where its corrections would take more than this share of its bytes: a half.
const SHARE: u64 = 2;
/// Segments that no model fits, one after the other, after which no model is tried any more.
const MISSES_MAX: u32 = 3;
/// Segments behind the first that the encoder is looked for anew, where what was found before errs.
const SEARCHES: u32 = 4;
/// It does where errors take more than this share of a segment's bytes, and much more than where it was found.
const ERRORS_SHARE: f64 = 1.0 / 128.0;
const MUCH_MORE: f64 = 1.5;
/// Longest header of a member, name and comment included.
const HEADER_MAX: u64 = 64 << 10;

/// Why a stream is not read as gzip.
#[derive(Debug, thiserror::Error)]
pub enum NotGzip {
    /// The source failed.
    #[error(transparent)]
    Source(io::Error),
    /// A deflate stream that is none.
    #[error(transparent)]
    Deflate(Refusal),
    /// Anything else.
    #[error("no gzip: {0}")]
    Malformed(&'static str),
}

impl From<Refusal> for NotGzip {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Source(err) => Self::Source(err),
            refusal => Self::Deflate(refusal),
        }
    }
}

/// The source's bytes that are in no part yet.
type Remembered = Rc<RefCell<VecDeque<u8>>>;

/// A source whose bytes are remembered, and what was read too far out of it.
struct Source<R> {
    inner: R,
    remembered: Remembered,
    again: Vec<u8>,
    at: usize,
    /// Bytes given since the last [`Source::back`].
    given: u64,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let held = &self.again[self.at..];
        let count = if held.is_empty() {
            let count = self.inner.read(buf)?;
            self.remembered.borrow_mut().extend(&buf[..count]);
            count
        } else {
            let count = held.len().min(buf.len());
            buf[..count].copy_from_slice(&held[..count]);
            self.at += count;
            count
        };
        self.given += count as u64;
        Ok(count)
    }
}

impl<R: Read> Source<R> {
    /// Takes back bytes that were read too far.
    fn back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(&self.again[self.at..]);
        (self.again, self.at, self.given) = (bytes, 0, 0);
    }

    /// The next byte; none at the end.
    fn next(&mut self) -> Result<Option<u8>, NotGzip> {
        let mut byte = [0];
        loop {
            match self.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(NotGzip::Source(err)),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, NotGzip> {
        self.next()?.ok_or(NotGzip::Malformed("cut off"))
    }

    fn u32(&mut self) -> Result<u32, NotGzip> {
        Ok(u32::from_le_bytes([
            self.byte()?,
            self.byte()?,
            self.byte()?,
            self.byte()?,
        ]))
    }

    /// Reads a member's header whose first byte was read (RFC 1952, 2.3).
    fn header(&mut self) -> Result<Hints, NotGzip> {
        let start = self.given;
        if [self.byte()?, self.byte()?] != [0x8b, 8] {
            return Err(NotGzip::Malformed("another magic, or not deflate"));
        }
        let flags = self.byte()?;
        for _ in 0..4 {
            self.byte()?;
        }
        let (effort, system) = (self.byte()?, self.byte()?);
        if flags & 0xe0 != 0 {
            return Err(NotGzip::Malformed("flags that are reserved"));
        }
        if flags & 4 != 0 {
            for _ in 0..u16::from_le_bytes([self.byte()?, self.byte()?]) {
                self.byte()?;
            }
        }
        for flag in [8, 16] {
            while flags & flag != 0 && self.byte()? != 0 {
                if self.given - start > HEADER_MAX {
                    return Err(NotGzip::Malformed("a header of more than 64 KiB"));
                }
            }
        }
        if flags & 2 != 0 {
            for _ in 0..2 {
                self.byte()?;
            }
        }
        Ok(Hints { effort, system })
    }
}

/// A part that is being made; its bytes are remembered meanwhile.
struct Waiting {
    /// None where it is kept as it is.
    answer: Option<Receiver<Recorded>>,
    /// The encoder that it was to be predicted by.
    encoder: Option<Encoder>,
    /// Where it ends, in bits of the source.
    end: u64,
    plain_end: u64,
    first: bool,
}

/// A segment whose plaintext is whole, but not what a model may look at behind it.
struct Closed {
    /// Where it starts and ends in `plain`.
    start: usize,
    end: usize,
    tokens: Vec<Token>,
    blocks: Vec<Block>,
    /// Where it ends, in bits of the source.
    bits: u64,
}

/// Reads the plaintext of a gzip file of one member or several, behind which zeros may stand. Memory is bounded by some
/// segments. All of the plaintext must be read; then [`finish`](Self::finish).
pub struct GzipReader<R: Read> {
    /// None after a failure, and at the end.
    inflater: Option<Inflater<Source<R>>>,
    remembered: Remembered,
    /// Where the member's deflate stream starts in the source.
    deflate_at: u64,
    /// The member's plaintext: before the segment, the segment, what lies behind it.
    plain: Vec<u8>,
    /// Where `plain` starts in the plaintext, and where the member does.
    plain_at: u64,
    member_at: u64,
    /// What was given out of `plain`, and where the open segment starts in it.
    given: usize,
    start: usize,
    tokens: Vec<Token>,
    blocks: Vec<Block>,
    closed: Option<Closed>,
    /// Whether the next segment is the member's first.
    first: bool,
    crc: crc32fast::Hasher,
    hints: Hints,
    encoder: Option<Encoder>,
    misses: u32,
    /// Searches that are left, and the share of a segment's bytes that errors took after the last.
    searches: u32,
    usual: f64,
    waiting: VecDeque<Waiting>,
    /// Where the last part ends, in bits of the source.
    parted: u64,
    parts: Vec<MadePart>,
}

impl<R: Read> GzipReader<R> {
    /// Begins to read `source`.
    ///
    /// # Errors
    /// [`NotGzip`] where it does not begin with a member's header.
    pub fn open(source: R) -> Result<Self, NotGzip> {
        let remembered = Remembered::default();
        let mut source = Source {
            inner: source,
            remembered: Rc::clone(&remembered),
            again: Vec::new(),
            at: 0,
            given: 0,
        };
        if source.next()? != Some(0x1f) {
            return Err(NotGzip::Malformed("another magic"));
        }
        let hints = source.header()?;
        let mut reader = Self {
            deflate_at: source.given,
            inflater: Some(Inflater::new(source)),
            remembered,
            plain: Vec::new(),
            plain_at: 0,
            member_at: 0,
            given: 0,
            start: 0,
            tokens: Vec::new(),
            blocks: Vec::new(),
            closed: None,
            first: true,
            crc: crc32fast::Hasher::new(),
            hints,
            encoder: None,
            misses: 0,
            searches: SEARCHES,
            usual: 0.0,
            waiting: VecDeque::new(),
            parted: 0,
            parts: Vec::new(),
        };
        reader.keep(reader.deflate_at);
        Ok(reader)
    }

    /// Gives plaintext; 0 only at the end.
    ///
    /// # Errors
    /// [`NotGzip`]; there is no more to be had then.
    pub fn plain(&mut self, buf: &mut [u8]) -> Result<usize, NotGzip> {
        while self.given == self.plain.len() {
            let Some(mut inflater) = self.inflater.take() else {
                return Ok(0);
            };
            if self.block(&mut inflater)? {
                self.end_member(inflater)?;
            } else {
                self.inflater = Some(inflater);
            }
        }
        let ready = &self.plain[self.given..];
        let count = ready.len().min(buf.len());
        buf[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }

    /// The parts that were made since the last call, in order.
    pub fn take_parts(&mut self) -> Vec<MadePart> {
        std::mem::take(&mut self.parts)
    }

    /// Waits for the last parts. They are whole only if the plaintext was read to its end without failure.
    #[must_use]
    pub fn finish(mut self) -> Vec<MadePart> {
        while !self.waiting.is_empty() {
            self.collect();
        }
        self.parts
    }

    /// Reads a block; whether it is the member's last.
    fn block(&mut self, inflater: &mut Inflater<Source<R>>) -> Result<bool, NotGzip> {
        let before = self.plain.len();
        let block = inflater.block(&mut self.plain, &mut self.tokens)?;
        let last = block.last;
        self.blocks.push(block);
        self.crc.update(&self.plain[before..]);
        if self
            .closed
            .as_ref()
            .is_some_and(|closed| self.plain.len() - closed.end >= LOOKAHEAD)
        {
            self.hand_in();
        }
        if self.blocks.len() > BLOCKS_MAX {
            return Err(NotGzip::Malformed("more blocks than any encoder writes"));
        }
        if last || (self.closed.is_none() && self.plain.len() - self.start >= SEGMENT) {
            // The last segment sees that there is nothing behind it; and so must the one before.
            self.hand_in();
            self.closed = Some(Closed {
                start: self.start,
                end: self.plain.len(),
                tokens: std::mem::take(&mut self.tokens),
                blocks: std::mem::take(&mut self.blocks),
                bits: self.deflate_at * 8 + inflater.position(),
            });
            self.start = self.plain.len();
        }
        if last {
            self.hand_in();
        }
        Ok(last)
    }

    /// Hands the closed segment in, and forgets the plaintext that nothing looks back to.
    fn hand_in(&mut self) {
        let Some(closed) = self.closed.take() else { return };
        let member = self.member_at.saturating_sub(self.plain_at) as usize;
        let low = closed.start.saturating_sub(HISTORY).max(member);
        let high = self.plain.len().min(closed.end + LOOKAHEAD);
        let bits = closed.bits - self.waiting.back().map_or(self.parted, |waiting| waiting.end);
        let share = ERRORS_SHARE.max(self.usual * MUCH_MORE);
        let answer = (self.misses < MISSES_MAX).then(|| {
            submit(Job {
                bytes: self.plain[low..high].to_vec(),
                start: closed.start - low,
                end: closed.end - low,
                offset: self.plain_at + closed.start as u64 - self.member_at,
                tokens: closed.tokens,
                blocks: closed.blocks,
                limit: (bits / 8 / SHARE) as usize,
                encoder: self.encoder,
                tolerated: (self.searches > 0).then_some((bits as f64 / 8.0 * share) as usize),
                hints: self.hints,
            })
        });
        self.waiting.push_back(Waiting {
            answer,
            encoder: self.encoder,
            end: closed.bits,
            plain_end: self.plain_at + closed.end as u64,
            first: std::mem::take(&mut self.first),
        });
        // The first segment chooses the encoder for the rest.
        let most = if self.encoder.is_none() { 0 } else { threads() + 1 };
        while self.waiting.len() > most {
            self.collect();
        }
        let done = closed.end.saturating_sub(HISTORY).min(self.given);
        self.plain.drain(..done);
        self.plain_at += done as u64;
        self.given -= done;
        self.start -= done;
    }

    /// The source's bytes from the last part on, up to `end`, are kept as they are.
    fn keep(&mut self, end: u64) {
        self.waiting.push_back(Waiting {
            answer: None,
            encoder: None,
            end: end * 8,
            plain_end: self.plain_at + self.plain.len() as u64,
            first: false,
        });
    }

    /// Makes a part of what waits longest.
    fn collect(&mut self) {
        let Some(Waiting {
            answer,
            encoder: asked,
            end,
            plain_end,
            first,
        }) = self.waiting.pop_front()
        else {
            return;
        };
        let wanted = answer.is_some();
        // A pool that is gone predicts nothing: the bytes are kept.
        let recorded = answer.and_then(|answer| answer.recv().ok());
        let mut remembered = self.remembered.borrow_mut();
        let phase = (self.parted & 7) as u8;
        let carry = remembered.front().copied().unwrap_or(0) & ((1 << phase) - 1);
        let count = (end / 8 - self.parted / 8) as usize;
        let count = count.min(remembered.len());
        let bytes: Vec<u8> = remembered.drain(..count).collect();
        if let Some(recorded) = recorded.as_ref().filter(|recorded| recorded.searched) {
            self.searches -= u32::from(asked.is_some() && self.searches > 0);
            self.usual = recorded.errors as f64 / count.max(1) as f64;
        }
        self.parted = end;
        let (phase, carry, matter) = match recorded.and_then(|recorded| recorded.made) {
            Some((encoder, corrections)) => {
                self.misses = 0;
                // Those on their way were asked with the one before.
                if asked != Some(encoder) {
                    self.encoder = Some(encoder);
                }
                (phase, carry, Matter::Made(encoder, corrections))
            }
            None => {
                self.misses += u32::from(wanted);
                (0, 0, Matter::Kept(bytes))
            }
        };
        self.parts.push(MadePart {
            end: end / 8,
            plain_end,
            first,
            phase,
            carry,
            matter,
        });
    }

    /// Reads a member's trailer, and the header of the next, if there is one.
    fn end_member(&mut self, inflater: Inflater<Source<R>>) -> Result<(), NotGzip> {
        let mut at = self.deflate_at + inflater.position().div_ceil(8);
        let (rest, mut source) = inflater.into_rest();
        source.back(rest);
        let size = self.plain_at + self.plain.len() as u64 - self.member_at;
        let crc = std::mem::take(&mut self.crc).finalize();
        if source.u32()? != crc || source.u32()? != size as u32 {
            return Err(NotGzip::Malformed(
                "a member's checksum or length is not that of its plaintext",
            ));
        }
        let again = source.next()?;
        match again {
            Some(0x1f) => self.hints = source.header()?,
            None => {}
            Some(0) => {
                while let Some(byte) = source.next()? {
                    if byte != 0 {
                        return Err(NotGzip::Malformed(
                            "something else than zeros behind the last member",
                        ));
                    }
                }
            }
            Some(_) => {
                return Err(NotGzip::Malformed(
                    "something else than zeros behind the last member",
                ));
            }
        }
        at += source.given;
        self.keep(at);
        if again == Some(0x1f) {
            self.deflate_at = at;
            self.member_at = self.plain_at + self.plain.len() as u64;
            self.first = true;
            self.inflater = Some(Inflater::new(source));
        } else {
            while !self.waiting.is_empty() {
                self.collect();
            }
        }
        Ok(())
    }
}
