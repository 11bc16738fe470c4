//! The superblock's two slots (FORMAT.md 3): 4,096 bytes each, self-checking.

use super::FORMAT;
use super::codec::{Decoder, Encoder};
use crate::error::{Error, Result};
use crate::ids::{MediumId, PageHash};
use crate::units::Generation;

/// Bytes in a slot.
pub const SLOT_LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"HOLDALL\n";
const CHECK_AT: usize = SLOT_LEN - 32;

/// What a written slot says: which generation is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The medium this slot was written for.
    pub medium: MediumId,
    /// The committed generation.
    pub generation: Generation,
    /// BLAKE3 of that generation's ROOT.
    pub root: PageHash,
}

/// What the bytes of a slot are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// Never written: all zeros.
    Blank,
    /// Whole, of this format.
    Written(Slot),
}

impl Slot {
    /// The slot's 4,096 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(MAGIC).put(&format_name()).put(self.medium.as_bytes());
        out.u32(self.generation.get()).put(self.root.as_bytes());
        let mut bytes = out.finish();
        bytes.resize(CHECK_AT, 0);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }
}

/// Reads a slot. A damaged one is [`Error::Mismatch`] or [`Error::Malformed`]; one of another format is
/// [`Error::Unsupported`] and names it.
pub fn decode(bytes: &[u8], place: &str) -> Result<SlotState> {
    if bytes.len() != SLOT_LEN {
        return Err(Error::malformed(
            place,
            format!("{} bytes, not {SLOT_LEN}", bytes.len()),
        ));
    }
    if bytes.iter().all(|b| *b == 0) {
        return Ok(SlotState::Blank);
    }
    let (body, check) = bytes.split_at(CHECK_AT);
    if blake3::hash(body).as_bytes() != check {
        return Err(Error::mismatch(place, "the slot"));
    }
    let mut from = Decoder::new(body, place);
    from.magic(MAGIC)?;
    check_format(&from.array()?, place)?;
    let slot = Slot {
        medium: MediumId::from_bytes(from.array()?),
        generation: Generation::new(from.u32()?),
        root: PageHash::from_bytes(from.array()?),
    };
    if from.take(from.remaining())?.iter().any(|b| *b != 0) {
        return Err(Error::malformed(place, "bytes after the last field are not zero"));
    }
    Ok(SlotState::Written(slot))
}

/// The format's name as 16 bytes, padded with NUL.
pub(super) fn format_name() -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(FORMAT.bytes()) {
        *to = from;
    }
    name
}

/// Refuses any format but ours, by name.
pub(super) fn check_format(name: &[u8; 16], place: &str) -> Result<()> {
    if *name == format_name() {
        return Ok(());
    }
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    let found = String::from_utf8_lossy(name.get(..end).unwrap_or_default())
        .escape_debug()
        .to_string();
    Err(Error::Unsupported {
        place: place.to_owned(),
        what: format!("format {found} (this version reads {FORMAT})"),
    })
}
