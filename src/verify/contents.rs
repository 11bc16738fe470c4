//! Leaves: every chunk list, directory and reference resolves to frames that hold.

use super::catalogue::Leaves;
use super::found::Found;
use super::journal::{PartId, Verdict};
use super::{Check, is_unreadable, name_of, tree_of, trees};
use crate::blob::{self, BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf};
use crate::format::codec::Encoder;
use crate::format::content::{Content, Place};
use crate::format::frame::FrameHeader;
use crate::ids::{BlobId, Sha256};
use crate::medium::MediumFile;
use crate::units::len64;
use sha2::Digest as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Checks one leaf; what is damaged is entered into `found`.
pub(super) fn check_leaf(leaves: &Leaves<'_>, found: &mut Found, leaf: &Leaf) -> Result<()> {
    if let Some(tree) = tree_of(&leaf.content) {
        return trees::check_tree(leaves, found, leaf, tree);
    }
    if leaf.kind == Kind::Rootfs {
        trees::check_rootfs(leaves.catalogue, found, leaf);
        return Ok(());
    }
    let (check, catalogue) = (leaves.check, leaves.catalogue);
    let name = || name_of(leaf.kind, &leaf.name);
    if matches!(leaf.kind, Kind::Image | Kind::Referrer) {
        // They repeat what their blob's leaf says, which is checked for itself.
        let blob = catalogue.get(Kind::Blob, &leaf.sha256.to_digest());
        if !matches!(&blob, Ok(Some((_, blob))) if repeats(leaf, blob)) {
            found.damaged_blobs.push(leaf.sha256);
            found.damaged(format!(
                "{}: it is not the manifest that is listed under its digest",
                name()
            ));
        }
        let by_digest = leaf
            .name
            .rsplit_once("@sha256:")
            .filter(|_| leaf.kind == Kind::Image);
        if by_digest.is_some_and(|(_, hex)| hex != leaf.sha256.to_hex()) {
            found.damaged(format!("{}: it stands for another digest than it names", name()));
        }
        return Ok(());
    }
    if leaf.kind == Kind::Blob && leaf.name != leaf.sha256.to_digest() {
        found.damaged(format!("{}: listed under another digest's name", name()));
    }
    if let Content::Recipe(recipe) = &leaf.content {
        let before = found.damage_count();
        trees::check_tree(leaves, found, leaf, recipe.tree)?;
        if found.damage_count() > before {
            found.damaged_blobs.push(leaf.sha256);
        }
    }
    if leaf.kind == Kind::Hot && !matches!(catalogue.get(Kind::Chain, &leaf.name), Ok(Some(_))) {
        found.damaged(format!("{}: the catalogue has no such chain", name()));
    }
    let deep = check.options.full && matches!(leaf.kind, Kind::Blob | Kind::Hot);
    let identity = deep.then_some((&leaf.sha256, &leaf.blob_id));
    if let Some(why) = check_content(check, found, &leaf.content, leaf.size, identity)? {
        if leaf.kind == Kind::Blob {
            found.damaged_blobs.push(leaf.sha256);
        }
        found.damaged(format!("{}: {why}", name()));
    }
    Ok(())
}

/// Whether an image's or referrer's leaf says of its manifest what the manifest's own leaf does.
fn repeats(leaf: &Leaf, blob: &Leaf) -> bool {
    let canonical = |content: &Content| {
        let mut out = Encoder::new();
        content.encode(&mut out);
        out.finish()
    };
    (leaf.sha256, leaf.blob_id, leaf.size) == (blob.sha256, blob.blob_id, blob.size)
        && canonical(&leaf.content) == canonical(&blob.content)
}

/// Checks that content resolves; with `identity`, also reads it all and compares, or takes over what an earlier run found.
/// Fails only on interruption, and where the disk is gone.
pub(super) fn check_content(
    check: &Check<'_>,
    found: &mut Found,
    content: &Content,
    size: u64,
    identity: Option<(&Sha256, &BlobId)>,
) -> Result<Verdict> {
    // What lies in its leaf costs nothing to be compared again.
    let part = identity
        .filter(|_| !matches!(content, Content::Inline(_)))
        .map(|(sha256, blob_id)| {
            let mut out = Encoder::new();
            out.put(sha256.as_bytes()).put(blob_id.as_bytes()).u64(size);
            content.encode(&mut out);
            content.encode_places(&mut out);
            PartId::of("content", &[&out.finish()])
        })
        .zip(check.options.journal.clone());
    if let Some((id, journal)) = &part
        && let Some(verdict) = journal.part(id)
    {
        check.counts.contents_taken_over.fetch_add(1, Ordering::Relaxed);
        return Ok(verdict);
    }
    let (verdict, unreadable) = match look_at(check, content, size, identity) {
        Ok(()) => (None, false),
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(e) => (Some(e.to_string()), is_unreadable(&e)),
    };
    if unreadable {
        check.still_there()?;
        found.unreadable = true;
    } else if let Some((id, journal)) = part
        // What stands on a frame that could not be read is not known to be damaged.
        && (verdict.is_none() || !(check.report.unreadable || found.unreadable))
    {
        journal.part_checked(id, &verdict);
    }
    Ok(verdict)
}

/// What [`check_content`] does. Fails where the content does.
fn look_at(
    check: &Check<'_>,
    content: &Content,
    size: u64,
    identity: Option<(&Sha256, &BlobId)>,
) -> Result<()> {
    check.check_interrupted()?;
    let source = Arc::clone(&check.held.frames) as Arc<dyn FrameSource>;
    if let Content::Recipe(recipe) = content {
        look_at(check, &recipe.recipe, recipe.size, None)?;
        let Some((sha256, blob_id)) = identity else {
            return Ok(());
        };
        let reader = BlobReader::of_blob(source, (*sha256, *blob_id), size, content.clone());
        return check_identity(check, &reader, sha256, blob_id);
    }
    let reader = BlobReader::new(source, size, content.clone());
    if let Content::List(list) = content
        && list.depth > 0
    {
        usable(check, &list.place)?;
    }
    let mut end = 0;
    let mut header: Option<(Place, Arc<FrameHeader>)> = None;
    for piece in reader.pieces(0) {
        check.check_interrupted()?;
        let piece = piece?;
        end = piece.end;
        if piece.is_zeros() {
            continue;
        }
        usable(check, &piece.place)?;
        // Of a sample, frames that were not drawn are not read, nor their headers: that would be a read of every one.
        if check.options.sample.is_none() {
            resolves(check, &piece, &mut header)?;
        }
    }
    if matches!(content, Content::List(_)) && end != size {
        return Err(Error::malformed(
            "its chunk list",
            format!("it covers {end} bytes of {size}"),
        ));
    }
    match identity {
        Some((sha256, blob_id)) => check_identity(check, &reader, sha256, blob_id),
        None => Ok(()),
    }
}

/// The place is in a listed pack, in a frame that holds.
pub(super) fn usable(check: &Check<'_>, place: &Place) -> Result<()> {
    let name = || blob::name_of(check.medium.as_ref(), place);
    let Some(pack_bytes) = check.listed.get(&place.pack) else {
        return Err(Error::malformed(
            name(),
            "a place in a pack that this generation does not list",
        ));
    };
    if u64::from(place.frame.get()) + u64::from(place.frame_bytes) > u64::from(*pack_bytes) {
        return Err(Error::malformed(name(), "a place beyond the pack's end"));
    }
    if check.bad.packs.contains(&place.pack) {
        return Err(Error::missing(check.medium.place(MediumFile::Pack(place.pack))));
    }
    if check.bad.has(place.pack, place.frame.get()) {
        return Err(Error::mismatch(name(), "the frame it needs"));
    }
    Ok(())
}

/// The frame's own header lists that chunk where the place says.
fn resolves(
    check: &Check<'_>,
    piece: &crate::blob::Piece,
    held: &mut Option<(Place, Arc<FrameHeader>)>,
) -> Result<()> {
    let same = held
        .as_ref()
        .is_some_and(|(at, _)| (at.pack, at.frame) == (piece.place.pack, piece.place.frame));
    let name = || blob::name_of(check.medium.as_ref(), &piece.place);
    if !same {
        *held = Some((piece.place, check.held.header(&piece.place)?));
    }
    let Some((_, header)) = held else { return Ok(()) };
    let mut start = 0;
    for chunk in &header.chunks {
        if start == piece.place.start {
            let right = chunk.id == piece.id
                && u64::from(chunk.len) == piece.end - piece.start
                && header.frame_bytes() == piece.place.frame_bytes;
            return if right {
                Ok(())
            } else {
                Err(Error::malformed(
                    name(),
                    format!("chunk {} is not where its place says", piece.id),
                ))
            };
        }
        start += chunk.len;
    }
    Err(Error::malformed(
        name(),
        format!("chunk {} is not where its place says", piece.id),
    ))
}

/// Reads all bytes and compares what they hash to.
fn check_identity(check: &Check<'_>, reader: &BlobReader, sha256: &Sha256, blob_id: &BlobId) -> Result<()> {
    let (mut sha, mut blake) = (sha2::Sha256::new(), blake3::Hasher::new());
    let mut at = 0;
    while at < reader.size() {
        check.check_interrupted()?;
        let slice = reader.slice_at(at, 1024 * 1024)?;
        if slice.is_empty() {
            break;
        }
        sha.update(&slice);
        blake.update(&slice);
        at += len64(slice.len());
    }
    // In trees of layers the SHA-256 was not taken.
    if *sha256 != Sha256::default() && Sha256::from_bytes(sha.finalize().into()) != *sha256 {
        return Err(Error::mismatch("its bytes", "SHA-256 of all of them"));
    }
    if BlobId::from_bytes(*blake.finalize().as_bytes()) != *blob_id {
        return Err(Error::mismatch("its bytes", "BLAKE3 of all of them"));
    }
    Ok(())
}
