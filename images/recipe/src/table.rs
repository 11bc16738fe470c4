//! A recipe as it is stored: what its parts and stretches need, and behind that the tables that say where each is.
//!
//! ```text
//! corrections, kept bytes, stretches    in the order they came
//! map                                   the inode numbers of each stretch's files
//! encoders                              their names, a line each
//! parts                                 32 bytes each
//! stretches                             40 bytes each
//! outboard                              32 bytes a group of the original, none where there is one group
//! footer                                64 bytes
//! ```
//! All numbers are little-endian.

use crate::deflate::encoder::Encoder;
use crate::deflate::segment::SEGMENT_LIMIT;
use crate::outboard::{GROUP, Outboard};
use crate::skeleton::{ENCODED_MAX, STRETCH, Stretch, put};

const MAGIC: &[u8; 4] = b"HRCP";
const FOOTER: usize = 64;
const PART: usize = 32;
const STRETCH_ENTRY: usize = 40;
/// Longest line of encoders.
const ENCODERS_MAX: u64 = 64 << 10;
/// Most bytes of the original, or of the recipe, that one part has: those of a stored segment with its blocks' headers.
pub const PART_BYTES_MAX: usize = SEGMENT_LIMIT * 2;

/// A recipe that cannot be read, or does not give what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a layer's recipe: {0}")]
pub struct Damage(pub String);

pub(crate) fn damage<T>(what: impl Into<String>) -> Result<T, Damage> {
    Err(Damage(what.into()))
}

/// Some bytes of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where its bytes end in the original; they start where those of the part before end.
    pub end: u64,
    /// Where its plaintext ends in the tar.
    pub plain_end: u64,
    /// Where its corrections, or its bytes as they are, start in the recipe.
    pub at: u64,
    /// Their length.
    pub length: u32,
    /// 0 where it is kept as it is; else the encoder's number, from 1.
    pub encoder: u16,
    /// Whether a deflate stream starts with it: nothing before it is looked back to.
    pub first: bool,
    /// Bits of its first byte that belong to the part before (0 to 7).
    pub phase: u8,
    /// Those bits.
    pub carry: u8,
}

/// Where a stretch of the tar's skeleton is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StretchEntry {
    /// Where it starts in the recipe.
    pub at: u64,
    /// Its length there.
    pub length: u32,
    /// Where its files' inode numbers start in the recipe.
    pub map_at: u64,
    /// Their length there.
    pub map_length: u32,
    /// Files that begin in the stretches before it.
    pub files_before: u64,
    /// Bytes, before it, of the file that goes on into it; 0 where none does.
    pub before: u64,
}

/// Gathers a recipe's bytes in the order they are stored.
#[derive(Debug, Default)]
pub struct TableWriter {
    at: u64,
    parts: Vec<Part>,
    stretches: Vec<(StretchEntry, u64)>,
    files: u64,
    encoders: Vec<Encoder>,
}

/// What a part is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter {
    /// Its bytes.
    Kept(Vec<u8>),
    /// What gives them: the encoder and its corrections.
    Made(Encoder, Vec<u8>),
}

/// A part that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePart {
    /// Where its bytes end in the original.
    pub end: u64,
    /// Where its plaintext ends in the tar.
    pub plain_end: u64,
    /// Whether a deflate stream starts with it.
    pub first: bool,
    /// Bits of its first byte that belong to the part before.
    pub phase: u8,
    /// Those bits.
    pub carry: u8,
    /// What it is made of.
    pub matter: Matter,
}

impl TableWriter {
    /// Takes the next part; the bytes that go into the recipe now.
    pub fn part(&mut self, part: MadePart) -> Vec<u8> {
        let (encoder, bytes) = match part.matter {
            Matter::Kept(bytes) => (0, bytes),
            Matter::Made(encoder, corrections) => {
                let known = self.encoders.iter().position(|known| *known == encoder);
                let number = known.unwrap_or_else(|| {
                    self.encoders.push(encoder);
                    self.encoders.len() - 1
                });
                (number as u16 + 1, corrections)
            }
        };
        self.parts.push(Part {
            end: part.end,
            plain_end: part.plain_end,
            at: self.at,
            length: bytes.len() as u32,
            encoder,
            first: part.first,
            phase: part.phase,
            carry: part.carry,
        });
        self.at += bytes.len() as u64;
        bytes
    }

    /// Takes the next stretch; the bytes that go into the recipe now.
    pub fn stretch(&mut self, stretch: Stretch) -> Vec<u8> {
        let entry = StretchEntry {
            at: self.at,
            length: stretch.encoded.len() as u32,
            map_at: 0,
            map_length: 0,
            files_before: self.files,
            before: stretch.before,
        };
        self.stretches.push((entry, stretch.files));
        self.files += stretch.files;
        self.at += stretch.encoded.len() as u64;
        stretch.encoded
    }

    /// Files so far.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// The bytes that end the recipe: `inodes` are those of the files in the tree that they are read from, in the tar's
    /// order; `outboard` is the original's.
    #[must_use]
    pub fn finish(mut self, inodes: &[u64], outboard: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut inodes = inodes.iter();
        for (entry, files) in &mut self.stretches {
            let start = bytes.len();
            let mut before = 0u64;
            for inode in inodes.by_ref().take(*files as usize) {
                let step = inode.wrapping_sub(before) as i64;
                put(&mut bytes, (step << 1 ^ step >> 63) as u64);
                before = *inode;
            }
            entry.map_at = self.at + start as u64;
            entry.map_length = (bytes.len() - start) as u32;
        }
        let names: Vec<String> = self.encoders.iter().map(ToString::to_string).collect();
        let names = names.join("\n");
        bytes.extend_from_slice(names.as_bytes());
        for part in &self.parts {
            bytes.extend_from_slice(&part.end.to_le_bytes());
            bytes.extend_from_slice(&part.plain_end.to_le_bytes());
            bytes.extend_from_slice(&part.at.to_le_bytes());
            bytes.extend_from_slice(&part.length.to_le_bytes());
            bytes.extend_from_slice(&part.encoder.to_le_bytes());
            bytes.extend_from_slice(&[part.phase | u8::from(part.first) << 7, part.carry]);
        }
        for (entry, _) in &self.stretches {
            for number in [entry.at, entry.map_at, entry.files_before, entry.before] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&entry.length.to_le_bytes());
            bytes.extend_from_slice(&entry.map_length.to_le_bytes());
        }
        bytes.extend_from_slice(outboard);
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(MAGIC);
        footer.extend_from_slice(&1u32.to_le_bytes());
        for number in [
            names.len() as u64,
            self.parts.len() as u64,
            self.stretches.len() as u64,
            outboard.len() as u64,
            self.parts.last().map_or(0, |part| part.end),
            self.parts.last().map_or(0, |part| part.plain_end),
            self.files,
        ] {
            footer.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&footer);
        bytes
    }
}

/// Where a recipe's bytes and the bytes of its files come from.
pub trait Source {
    /// Why they do not.
    type Error: From<Damage>;

    /// Fills `buf` with the recipe's bytes from `offset` on.
    ///
    /// # Errors
    /// Where they cannot be had, or end before.
    fn recipe(&self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Fills `buf` with the bytes, from `offset` on, of the file with that inode number.
    ///
    /// # Errors
    /// Where there is no such file, or its bytes cannot be had, or end before.
    fn file(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error>;
}

/// A recipe's tables, every number in them checked against the others.
#[derive(Debug)]
pub struct Table {
    /// In the original's order.
    pub parts: Vec<Part>,
    /// In the tar's order.
    pub stretches: Vec<StretchEntry>,
    /// The encoders, by their numbers less 1.
    pub encoders: Vec<Encoder>,
    /// What the original's groups are checked by.
    pub outboard: Outboard,
    /// Bytes of the original.
    pub size: u64,
    /// Bytes of the tar.
    pub plain: u64,
    /// Files that it refers to.
    pub files: u64,
    /// The plaintext of each deflate stream: where it starts, and where it ends.
    streams: Vec<(u64, u64)>,
}

impl Table {
    /// Reads the tables of a recipe of `length` bytes, for an original of `size` bytes and that BLAKE3 hash. What is
    /// read is bounded by `length`.
    ///
    /// # Errors
    /// The source's, and [`Damage`] where the tables are none or contradict each other.
    pub fn read<S: Source>(source: &S, length: u64, size: u64, hash: &[u8; 32]) -> Result<Self, S::Error> {
        let Some(footer_at) = length.checked_sub(FOOTER as u64) else {
            return Ok(damage("shorter than its footer")?);
        };
        let mut footer = [0; FOOTER];
        source.recipe(footer_at, &mut footer)?;
        if footer[..4] != *MAGIC || number(&footer, 4, 4) != 1 {
            return Ok(damage("no footer of a kind that is known")?);
        }
        let [names, parts, stretches, outboard, footer_size, plain, files] =
            [8, 16, 24, 32, 40, 48, 56].map(|at| number(&footer, at, 8));
        let groups = size.div_ceil(GROUP as u64);
        let sane = footer_size == size
            && names <= ENCODERS_MAX
            && outboard == if groups < 2 { 0 } else { groups * 32 }
            && plain < 1 << 60
            && stretches == plain.div_ceil(STRETCH as u64);
        let lengths = [
            names,
            parts.saturating_mul(PART as u64),
            stretches.saturating_mul(STRETCH_ENTRY as u64),
            outboard,
        ];
        let total = lengths
            .iter()
            .fold(0u64, |sum, length| sum.saturating_add(*length));
        let Some(start) = footer_at.checked_sub(total).filter(|_| sane) else {
            return Ok(damage("its footer contradicts itself, or the layer's size")?);
        };
        let mut at = start;
        let mut section = |length: u64| -> Result<Vec<u8>, S::Error> {
            let mut bytes = vec![0; length as usize];
            source.recipe(at, &mut bytes)?;
            at += length;
            Ok(bytes)
        };
        let [names, parts, stretches, outboard] = [
            section(names)?,
            section(parts_len(&lengths))?,
            section(lengths[2])?,
            section(outboard)?,
        ];
        let Some(outboard) = Outboard::open(&outboard, size, hash) else {
            return Ok(damage("its outboard does not hash to the layer")?);
        };
        let parts: Vec<Part> = parts.as_chunks::<PART>().0.iter().map(part).collect();
        let table = Self {
            encoders: encoders(&names)?,
            streams: streams(&parts),
            parts,
            stretches: stretches
                .as_chunks::<STRETCH_ENTRY>()
                .0
                .iter()
                .map(stretch)
                .collect(),
            outboard,
            size,
            plain,
            files,
        };
        table.check(start)?;
        Ok(table)
    }

    /// Every number within its bounds; `content` is where the tables start.
    fn check(&self, content: u64) -> Result<(), Damage> {
        let (mut end, mut plain_end) = (0, 0);
        for part in &self.parts {
            let within = part
                .at
                .checked_add(u64::from(part.length))
                .is_some_and(|end| end <= content);
            let (Some(bytes), Some(plain)) =
                (part.end.checked_sub(end), part.plain_end.checked_sub(plain_end))
            else {
                return damage("its parts do not ascend");
            };
            let kept = part.encoder == 0;
            let sane = within
                && part.phase < 8
                && bytes <= PART_BYTES_MAX as u64
                && plain <= SEGMENT_LIMIT as u64
                && part.length as usize <= PART_BYTES_MAX
                && usize::from(part.encoder) <= self.encoders.len()
                && (!kept || u64::from(part.length) == bytes);
            if !sane {
                return damage(format!("the part at byte {end} of the layer is none"));
            }
            (end, plain_end) = (part.end, part.plain_end);
        }
        if end != self.size || plain_end != self.plain {
            return damage("its parts are not the whole layer");
        }
        let mut files = 0;
        for stretch in &self.stretches {
            let ends = [(stretch.at, stretch.length), (stretch.map_at, stretch.map_length)];
            let within = ends.iter().all(|(at, length)| {
                at.checked_add(u64::from(*length))
                    .is_some_and(|end| end <= content)
                    && *length as usize <= ENCODED_MAX
            });
            if !within || stretch.files_before < files || stretch.files_before > self.files {
                return damage("a stretch of its skeleton is none");
            }
            files = stretch.files_before;
        }
        Ok(())
    }

    /// The plaintext of the deflate stream that has `at`.
    pub(crate) fn stream_at(&self, at: u64) -> (u64, u64) {
        let behind = self.streams.partition_point(|(start, _)| *start <= at);
        behind
            .checked_sub(1)
            .and_then(|index| self.streams.get(index))
            .copied()
            .unwrap_or((0, self.plain))
    }

    /// Files that begin in stretch number `index`.
    pub(crate) fn files_in(&self, index: usize) -> u64 {
        let start = self
            .stretches
            .get(index)
            .map_or(self.files, |stretch| stretch.files_before);
        let end = self
            .stretches
            .get(index + 1)
            .map_or(self.files, |stretch| stretch.files_before);
        end - start
    }
}

fn streams(parts: &[Part]) -> Vec<(u64, u64)> {
    let mut streams: Vec<(u64, u64)> = Vec::new();
    let mut start = 0;
    for part in parts {
        if part.first {
            streams.push((start, start));
        }
        if let Some(last) = streams.last_mut() {
            last.1 = part.plain_end;
        }
        start = part.plain_end;
    }
    streams
}

const fn parts_len(lengths: &[u64; 4]) -> u64 {
    lengths[1]
}

fn encoders(names: &[u8]) -> Result<Vec<Encoder>, Damage> {
    let Ok(names) = std::str::from_utf8(names) else {
        return damage("an encoder's name that is no text");
    };
    names
        .lines()
        .map(|name| {
            name.parse()
                .or_else(|_| damage(format!("an encoder that is not known: {name:?}")))
        })
        .collect()
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_le_bytes(number)
}

fn part(bytes: &[u8; PART]) -> Part {
    Part {
        end: number(bytes, 0, 8),
        plain_end: number(bytes, 8, 8),
        at: number(bytes, 16, 8),
        length: number(bytes, 24, 4) as u32,
        encoder: number(bytes, 28, 2) as u16,
        first: bytes[30] & 0x80 != 0,
        phase: bytes[30] & 0x7f,
        carry: bytes[31],
    }
}

fn stretch(bytes: &[u8; STRETCH_ENTRY]) -> StretchEntry {
    StretchEntry {
        at: number(bytes, 0, 8),
        map_at: number(bytes, 8, 8),
        files_before: number(bytes, 16, 8),
        before: number(bytes, 24, 8),
        length: number(bytes, 32, 4) as u32,
        map_length: number(bytes, 36, 4) as u32,
    }
}
