//! A layer's marks as overlayfs takes them, and what of a tree must not be taken for one.

use super::xattrs::Xattr;
use super::{NoImage, Outcome};
use crate::tree::{Directory, Metadata};

/// What overlayfs goes by in a layer: a directory that hides those of its name below, and one that whiteouts stand in, which it otherwise shows
/// where no layer below has it (Linux, b79e05aaa166).
pub(super) const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");
pub(super) const HAS_WHITEOUTS: (&[u8], &[u8]) = (b"trusted.overlay.origin", b"");

/// What overlayfs takes for a whiteout has no permissions; its owner and time are nobody's matter.
pub(super) const WHITEOUT: Metadata = Metadata {
    mode: 0,
    uid: 0,
    gid: 0,
    mtime_sec: 0,
    mtime_nsec: 0,
    xattrs: Vec::new(),
};

/// True for what overlayfs takes its marks from: a medium must not steer the overlays of who mounts it.
fn steers_an_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The attributes that an image shows.
pub(super) fn shown_xattrs(metadata: &Metadata) -> Vec<Xattr> {
    let shown = |(name, _): &&Xattr| !steers_an_overlay(name);
    metadata.xattrs.iter().filter(shown).cloned().collect()
}

/// What an implied directory has: what all of these, which it is in the chains, have.
pub(super) fn given(there: &[Directory], name: impl std::fmt::Display) -> Outcome<Metadata> {
    let mut all = there.iter().map(Directory::metadata);
    match all.next() {
        Some(first) if all.all(|other| other == first) => Ok(first.clone()),
        Some(_) => NoImage::because(format!(
            "chains that end with it have different metadata at {name}"
        )),
        None => NoImage::because(format!(
            "{name} has the metadata of layers below, and no chain ends with it"
        )),
    }
}
