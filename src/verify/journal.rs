//! What a run that was stopped leaves to the next one: which packs and which parts of the catalogue it had checked,
//! and what it found there.
//!
//! Only the words of it: where it is kept is known to who implements [`Journal`]. It is kept for one generation, by its
//! ROOT, and for one way of checking; with another of either it means nothing.

use crate::format::frame::{Base, FrameKind};
use crate::units::PackNumber;
use std::fmt;

/// Damage in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackDamage {
    /// The frame that is damaged, from the pack's start; `None` where it is the pack's own header, tables or footer.
    pub frame: Option<u32>,
    /// Where, and what is wrong there.
    pub text: String,
}

/// A delta that holds by itself, and what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    /// Its header, from the pack's start.
    pub frame: u32,
    /// What its chunks are, which is what its base's have to be.
    pub kind: FrameKind,
    /// The base.
    pub base: Base,
}

/// What was found of a pack, all of whose frames were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPack {
    /// The pack.
    pub number: PackNumber,
    /// Frames that were checked.
    pub frames: u64,
    /// What is damaged, in order of the frames, the pack's own tables first.
    pub damages: Vec<PackDamage>,
    /// Deltas, in order. What they stand on is checked once all packs were.
    pub deltas: Vec<Delta>,
}

/// What a part of the catalogue is kept under: a hash of what it is and of where its bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId([u8; 32]);

impl PartId {
    /// The id of the part of that kind (a word without NUL) that these byte strings tell from all others.
    #[must_use]
    pub fn of(kind: &str, said: &[&[u8]]) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(kind.as_bytes()).update(&[0]);
        for one in said {
            // Each with its length, so that no two lists run together.
            hash.update(&crate::units::len64(one.len()).to_le_bytes())
                .update(one);
        }
        Self(*hash.finalize().as_bytes())
    }

    /// Lower-case hex.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Parses what [`PartId::to_hex`] gave.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }
}

impl fmt::Debug for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartId({})", self.to_hex())
    }
}

/// Nothing, where a part is whole; else what is wrong with it.
pub type Verdict = Option<String>;

/// Where a run keeps what it has checked, and what it takes over of one that was stopped. Called from several threads.
///
/// What could not be read (as against read, and found to be wrong) is never kept: the disk may only have been away.
pub trait Journal: fmt::Debug + Send + Sync {
    /// What the stopped run found of that pack, if it had read all of it.
    fn pack(&self, number: PackNumber) -> Option<CheckedPack>;

    /// All of a pack was read.
    fn pack_checked(&self, pack: &CheckedPack);

    /// What the stopped run found of that part, if it had checked it.
    fn part(&self, part: &PartId) -> Option<Verdict>;

    /// A part was checked.
    fn part_checked(&self, part: PartId, verdict: &Verdict);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_other_words_have_other_ids() {
        let ids = [
            PartId::of("a", &[b"bc"]),
            PartId::of("ab", &[b"c"]),
            PartId::of("a", &[b"b", b"c"]),
            PartId::of("a", &[b"bc", b""]),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(PartId::from_hex(&id.to_hex()), Some(*id));
            assert!(ids.iter().skip(at + 1).all(|other| other != id));
        }
        assert_eq!(PartId::from_hex("00"), None);
    }
}
