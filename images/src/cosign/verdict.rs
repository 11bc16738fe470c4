//! What came of looking for an image's signatures.

use super::MAX_SIGNATURES;
use crate::error::Sha256Digest;
use holdall::ids::Sha256;
use holdall::name::ImageName;
use std::collections::BTreeSet;

/// Longest text from outside that a fault keeps, in characters.
const MAX_TEXT: usize = 200;
/// Faults of one image that are told.
const TOLD: usize = 5;

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// No key that was given made it; which cannot be told from one that was made of something else.
    #[error("a signature by another key, or of a payload that was changed since")]
    OtherKey,
    /// It is of another image.
    #[error("a signature whose payload names another digest, {}", Sha256Digest(*.0))]
    OtherDigest(Sha256),
    /// It is of nothing that has a SHA-256.
    #[error("a signature whose payload names no image")]
    NoDigest,
    /// What was signed is not that this is an image to be run.
    #[error("a statement of another kind ({0:?}), which is no signature of the image")]
    OtherStatement(String),
    /// It breaks its format.
    #[error("a malformed signature: {0}")]
    Malformed(String),
    /// It cannot be had.
    #[error("a signature that cannot be read: {0}")]
    Unreadable(String),
    /// The image itself is not what its digest says, or not there.
    #[error("the image's manifest cannot be had: {0}")]
    Manifest(String),
    /// There are more than are looked at.
    #[error("more than {MAX_SIGNATURES} signatures, of which the others were not looked at")]
    TooMany,
}

impl Fault {
    /// A malformed one.
    pub(super) fn malformed(why: impl AsRef<str>) -> Self {
        Self::Malformed(cut(why.as_ref()))
    }

    /// One that signs something else, by the type that it says.
    pub(super) fn other_statement(kind: &str) -> Self {
        Self::OtherStatement(cut(kind))
    }

    /// One that cannot be had.
    pub(super) fn unreadable(why: impl AsRef<str>) -> Self {
        Self::Unreadable(cut(why.as_ref()))
    }

    /// The image's own manifest cannot be had.
    pub(super) fn manifest(why: impl AsRef<str>) -> Self {
        Self::Manifest(cut(why.as_ref()))
    }

    /// What JSON's parser found, without what it read.
    pub(super) fn json(what: &str, err: &serde_json::Error) -> Self {
        Self::malformed(crate::Error::json(what, err).to_string())
    }
}

/// Text that may be from outside, short and on one line: a line of its own could pass for another image's verdict.
fn cut(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(MAX_TEXT).map(shown).collect()
}

/// Whether one image is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The keys that signed it, by their names, in the order they were given; empty where none did.
    pub signed_by: Vec<String>,
    /// What is wrong with other signatures of it.
    pub faults: BTreeSet<Fault>,
}

impl Verdict {
    /// An image of which nothing can be said.
    pub(super) fn of_fault(fault: Fault) -> Self {
        Self {
            signed_by: Vec::new(),
            faults: BTreeSet::from([fault]),
        }
    }

    /// Whether one of the keys signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !self.signed_by.is_empty()
    }

    /// Why it does not count as signed; none where it does.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if self.is_signed() {
            return None;
        }
        let mut told: Vec<String> = self.faults.iter().take(TOLD).map(Fault::to_string).collect();
        if self.faults.len() > TOLD {
            told.push(format!("and {} more", self.faults.len() - TOLD));
        }
        if told.is_empty() {
            told.push("no signature".to_owned());
        }
        Some(told.join("; "))
    }
}

/// An image, and whether it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSigned {
    /// Its name.
    pub name: ImageName,
    /// Its digest, which is what a signature is of.
    pub digest: Sha256,
    /// Whether it is signed.
    pub verdict: Verdict,
}
