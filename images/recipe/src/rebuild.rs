//! A recipe carried out: the original's bytes, any group of them, checked before they are given.

use crate::deflate::bits::BitWriter;
use crate::deflate::encoder::Models;
use crate::deflate::segment::{HISTORY, Input, LOOKAHEAD, rebuild};
use crate::outboard::GROUP;
use crate::skeleton::{self, Piece, STRETCH, take};
use crate::table::{Damage, Part, Source, StretchEntry, Table, damage};
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// The models take memory that is made once a thread.
    static MODELS: RefCell<Models> = RefCell::default();
}

impl Table {
    /// Groups of the original, of [`GROUP`] bytes but the last.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.size.div_ceil(GROUP as u64)
    }

    /// The parts that have bytes of these groups.
    #[must_use]
    pub fn parts_of(&self, groups: &Range<u64>) -> Range<usize> {
        let Range { start, end } = self.bytes_of(groups);
        let first = self.parts.partition_point(|part| part.end <= start);
        let last = self.parts.partition_point(|part| part.end < end);
        first..(last + 1).min(self.parts.len())
    }

    /// Where these groups' bytes are in the original.
    #[must_use]
    pub fn bytes_of(&self, groups: &Range<u64>) -> Range<u64> {
        let at = |group: u64| group.saturating_mul(GROUP as u64).min(self.size);
        at(groups.start)..at(groups.end)
    }

    /// Where part number `index` starts in the original.
    #[must_use]
    pub fn start_of(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .and_then(|before| self.parts.get(before))
            .map_or(0, |part| part.end)
    }

    /// The original's bytes of these groups, each checked. All parts of them are rebuilt on this thread, and held.
    ///
    /// # Errors
    /// The source's; [`Damage`] where the recipe cannot be read, or does not give the original's bytes.
    pub fn read_groups<S: Source>(&self, source: &S, groups: Range<u64>) -> Result<Vec<u8>, S::Error> {
        let parts = self.parts_of(&groups);
        let mut bytes = Vec::new();
        for index in parts.clone() {
            bytes.append(&mut self.part(source, index)?);
        }
        let (start, wanted) = (self.start_of(parts.start), self.bytes_of(&groups));
        bytes.truncate((wanted.end - start) as usize);
        bytes.drain(..(wanted.start - start) as usize);
        self.check_groups(&groups, &bytes)?;
        Ok(bytes)
    }

    /// Checks that `bytes` are the original's of these groups.
    ///
    /// # Errors
    /// [`Damage`] where they are not.
    pub fn check_groups(&self, groups: &Range<u64>, bytes: &[u8]) -> Result<(), Damage> {
        let wanted = self.bytes_of(groups);
        if bytes.len() as u64 != wanted.end - wanted.start {
            return damage("its parts give too little");
        }
        for (group, part) in groups.clone().zip(bytes.chunks(GROUP)) {
            if !self.outboard.check(group, part) {
                let at = group * GROUP as u64;
                return damage(format!("it does not give the layer's bytes from {at} on"));
            }
        }
        Ok(())
    }

    /// The bytes of part number `index`, not checked yet.
    ///
    /// # Errors
    /// See [`read_groups`](Self::read_groups).
    pub fn part<S: Source>(&self, source: &S, index: usize) -> Result<Vec<u8>, S::Error> {
        let Some(part) = self.parts.get(index) else {
            return Ok(damage("it has no such part")?);
        };
        let mut own = vec![0; part.length as usize];
        source.recipe(part.at, &mut own)?;
        let Some(encoder) = usize::from(part.encoder).checked_sub(1) else {
            return Ok(own);
        };
        let Some(encoder) = self.encoders.get(encoder) else {
            return Ok(damage("it has no such encoder")?);
        };
        let from = index
            .checked_sub(1)
            .and_then(|before| self.parts.get(before))
            .map_or(0, |part| part.plain_end);
        let stream = self.stream_at(from);
        let low = from.saturating_sub(HISTORY as u64).max(stream.0);
        let high = part.plain_end.saturating_add(LOOKAHEAD as u64).min(stream.1);
        let plain = self.plain(source, low..high)?;
        let input = Input {
            bytes: &plain,
            start: (from - low) as usize,
            end: (part.plain_end - low) as usize,
            offset: from - stream.0,
        };
        let out = BitWriter::carrying(part.carry, u32::from(part.phase));
        let run = || MODELS.with_borrow_mut(|models| rebuild(*encoder, models, &input, &own, out));
        let Ok(written) = catch_unwind(AssertUnwindSafe(run)) else {
            // What it left of the models is of no use to the next part.
            MODELS.take();
            return Ok(damage(format!("the model of {encoder} fails on a part of it"))?);
        };
        let (bytes, ..) = written.map_err(|err| Damage(err.to_string()))?.finish();
        self.whole(part, index, bytes).map_err(Into::into)
    }

    fn whole(&self, part: &Part, index: usize, bytes: Vec<u8>) -> Result<Vec<u8>, Damage> {
        let expected = part.end - self.start_of(index);
        if bytes.len() as u64 != expected {
            return damage(format!("a part of {expected} bytes comes out as {}", bytes.len()));
        }
        Ok(bytes)
    }

    /// Bytes of the tar.
    ///
    /// # Errors
    /// See [`read_groups`](Self::read_groups).
    pub fn plain<S: Source>(&self, source: &S, range: Range<u64>) -> Result<Vec<u8>, S::Error> {
        let length = range.end.min(self.plain).saturating_sub(range.start) as usize;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let at = range.start + filled as u64;
            let index = (at / STRETCH as u64) as usize;
            let Some(stretch) = self.stretches.get(index) else {
                return Ok(damage("it has no such stretch")?);
            };
            let start = index as u64 * STRETCH as u64;
            let skip = (at - start) as usize;
            let size = (self.plain - start).min(STRETCH as u64) as usize;
            let now = (size - skip).min(length - filled);
            self.stretch(
                source,
                index,
                stretch,
                size,
                skip,
                &mut bytes[filled..filled + now],
            )?;
            filled += now;
        }
        Ok(bytes)
    }

    /// Fills `buf` with the bytes of a stretch of `size` bytes, from `skip` on.
    fn stretch<S: Source>(
        &self,
        source: &S,
        index: usize,
        entry: &StretchEntry,
        size: usize,
        skip: usize,
        buf: &mut [u8],
    ) -> Result<(), S::Error> {
        let mut encoded = vec![0; entry.length as usize];
        source.recipe(entry.at, &mut encoded)?;
        let pieces = skeleton::decode(&encoded, size).map_err(|err| Damage(err.to_string()))?;
        let mut map = vec![0; entry.map_length as usize];
        source.recipe(entry.map_at, &mut map)?;
        let mut inodes = Inodes {
            map: &map,
            before: 0,
            left: self.files_in(index),
        };
        let end = skip + buf.len();
        let mut at = 0;
        for piece in pieces {
            let length = match &piece {
                Piece::Literal(bytes) => bytes.len(),
                Piece::Zeros(count) | Piece::Carried(count) | Piece::File(count) => *count as usize,
            };
            // Every file counts, those too whose bytes are not wanted.
            let inode = match piece {
                Piece::File(_) => Some(inodes.next()?),
                _ => None,
            };
            let (from, to) = (at.max(skip), (at + length).min(end));
            let begins = at;
            at += length;
            if from >= to {
                continue;
            }
            let wanted = &mut buf[from - skip..to - skip];
            let offset = (from - begins) as u64;
            match piece {
                Piece::Literal(bytes) => wanted.copy_from_slice(&bytes[from - begins..to - begins]),
                Piece::Zeros(_) => wanted.fill(0),
                Piece::File(_) => source.file(inode.unwrap_or_default(), offset, wanted)?,
                Piece::Carried(_) => {
                    let inode = self.carried(source, index)?;
                    source.file(inode, entry.before.saturating_add(offset), wanted)?;
                }
            }
        }
        Ok(())
    }

    /// The file that goes on into stretch number `index`: the last that begins before.
    fn carried<S: Source>(&self, source: &S, index: usize) -> Result<u64, S::Error> {
        let before = (0..index).rev().find(|before| self.files_in(*before) > 0);
        let Some((before, entry)) = before.and_then(|before| Some((before, self.stretches.get(before)?)))
        else {
            return Ok(damage("a file goes on that never began")?);
        };
        let mut map = vec![0; entry.map_length as usize];
        source.recipe(entry.map_at, &mut map)?;
        let mut inodes = Inodes {
            map: &map,
            before: 0,
            left: self.files_in(before),
        };
        let mut last = inodes.next()?;
        while inodes.left > 0 {
            last = inodes.next()?;
        }
        Ok(last)
    }
}

/// The inode numbers of a stretch's files.
struct Inodes<'a> {
    map: &'a [u8],
    before: u64,
    left: u64,
}

impl Inodes<'_> {
    fn next(&mut self) -> Result<u64, Damage> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Damage("more files than its tables say".into()))?;
        let step = take(&mut self.map).map_err(|err| Damage(err.to_string()))?;
        let step = (step >> 1) as i64 ^ -((step & 1) as i64);
        self.before = self.before.wrapping_add_signed(step);
        Ok(self.before)
    }
}
