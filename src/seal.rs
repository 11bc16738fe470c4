//! Sealing: a generation is finished, read back from the device, and signed.
//!
//! The order is the promise: commit, read back everything, sign, read back the signature and the slots. Who holds the key is not known here:
//! an armored signature comes in.

use crate::catalogue::{CatalogueReader, CatalogueWriter};
use crate::custody::{self, Witness};
use crate::error::{Error, Result};
use crate::format::SIGNATURES_MAX;
use crate::format::catalogue::{Kind, Leaf};
use crate::format::custody::Event;
use crate::format::proof::Proof;
use crate::format::root::{Root, State};
use crate::format::superblock::SlotState;
use crate::generation::{self, Current, Making};
use crate::medium::{Medium, MediumFile, SlotNumber};
use crate::monitor::Monitor;
use crate::name::SignerName;
use crate::reader::{Directory, Disk, Node, OpenOptions};
use crate::signature::{self, Signed};
use crate::verify::{self, Report, VerifyOptions};
use ssh_key::public::KeyData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a sealed generation says of itself.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// Its serial, above that of the generation before.
    pub serial: u64,
    /// Its epoch, not below the one before.
    pub epoch: u64,
    /// When it should no longer be used: seconds since 1970.
    pub expires: Option<i64>,
    /// Seconds since 1970.
    pub time: i64,
    /// Whether it will be read back before it is signed: custody says so.
    pub readback: bool,
    /// Who seals.
    pub witness: Witness,
}

/// A generation that was sealed.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Where the medium is at now.
    pub current: Current,
    /// Loose files that are listed one by one.
    pub files: u64,
    /// Loose files whose path cannot be a name, so that they cannot be proven by themselves.
    pub unnamed_files: u64,
}

/// Commits a sealed generation with what the current one has. It is durable when this returns, and says nothing yet: see [`read_back`] and
/// [`attach`]. The caller holds the medium's lock, and has read `before` under it.
pub fn seal(
    medium: &Arc<dyn Medium>,
    before: &Current,
    sealing: &Sealing,
    interrupted: &AtomicBool,
) -> Result<Sealed> {
    may_seal(medium.as_ref(), before)?;
    let mut before = before.clone();
    generation::settle(medium.as_ref(), &mut before)?;
    let packs = generation::pack_set(medium.as_ref(), &before.root)?;
    let disk = Disk::at(Arc::clone(medium), before.clone(), &OpenOptions::default())?;
    let catalogue = CatalogueReader::open(Arc::clone(medium), &before.root)?;
    let number = generation::next_number(medium.as_ref(), &before.root)?;
    let mut writer = CatalogueWriter::new(medium.create(MediumFile::Catalogue(number))?);
    for leaf in catalogue.leaves_from(0) {
        check_interrupted(interrupted)?;
        let leaf = leaf?;
        if leaf.kind >= Kind::File {
            break;
        }
        writer.push(leaf)?;
    }
    let (mut files, mut unnamed_files) = (0, 0);
    if let Some(top) = disk.files()? {
        each_file(&top, interrupted, &mut |leaf| match leaf {
            Some(leaf) => {
                files += 1;
                writer.push(leaf)
            }
            None => {
                unnamed_files += 1;
                Ok(())
            }
        })?;
    }
    // Loose files are listed anew, whatever stood there; this comes behind them.
    for leaf in catalogue.leaves_from(catalogue.range_of(Kind::Hot)?.0) {
        check_interrupted(interrupted)?;
        writer.push(leaf?)?;
    }
    let written = writer.finish()?;
    let making = Making {
        event: Event::Sealed,
        serial: sealing.serial,
        epoch: sealing.epoch,
        expires: sealing.expires,
        time: sealing.time,
        witness: &sealing.witness,
        note: if sealing.readback {
            "readback before signing"
        } else {
            "no-readback"
        }
        .to_owned(),
    };
    let (root, root_hash) = generation::commit(medium.as_ref(), &before, number, &written, &packs, making)?;
    let found = generation::current(medium.as_ref(), None)?;
    // What is signed is what was written here, and not what the medium says that it is.
    if found.root_hash != root_hash {
        return Err(Error::mismatch(
            medium.place(MediumFile::Root(number)),
            "the ROOT that was just written",
        ));
    }
    if !found.warnings.is_empty() {
        return Err(Error::malformed(
            medium.name(),
            format!(
                "damaged as soon as it was sealed, so nothing is signed: {}",
                found.warnings.join("; ")
            ),
        ));
    }
    Ok(Sealed {
        current: Current {
            root,
            root_hash,
            ..found
        },
        files,
        unnamed_files,
    })
}

/// Refused where this generation cannot be sealed.
pub fn may_seal(medium: &dyn Medium, before: &Current) -> Result<()> {
    let refuse = |why: String| Err(Error::refused(format!("{}: {why}", medium.name())));
    generation::check_writable(medium, before)?;
    if !before.warnings.is_empty() {
        return refuse(format!(
            "what is damaged is not sealed: {}",
            before.warnings.join("; ")
        ));
    }
    if before.root.state == State::Sealed {
        return refuse(format!(
            "generation {} is sealed already; `holdall sign` adds a signature to it",
            before.root.generation
        ));
    }
    if before.root.catalogue_leaves == 0 {
        return refuse("there is nothing on this disk yet; `holdall add` comes first".to_owned());
    }
    Ok(())
}

fn check_interrupted(interrupted: &AtomicBool) -> Result<()> {
    if interrupted.load(Ordering::Relaxed) {
        Err(Error::Interrupted)
    } else {
        Ok(())
    }
}

/// Walks loose files in the order of their leaves, which is that of the tree; `None` for one whose path is no name.
fn each_file(
    top: &Directory,
    interrupted: &AtomicBool,
    take: &mut dyn FnMut(Option<Leaf>) -> Result<()>,
) -> Result<()> {
    // Directories on the way down, each with the position that it goes on from: no deeper than trees may be.
    let mut way: Vec<(Directory, Option<String>, u64)> = vec![(top.clone(), Some(String::new()), 0)];
    while let Some((directory, path, position)) = way.pop() {
        check_interrupted(interrupted)?;
        let mut next = position;
        for entry in directory.entries(position) {
            let entry = entry?;
            next += 1;
            let name = std::str::from_utf8(entry.name.as_bytes()).ok();
            let below = path.as_ref().zip(name).map(|(path, name)| {
                if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                }
            });
            match &entry.node {
                Node::Directory { .. } => {
                    let inner = directory.open_directory(&entry)?;
                    way.push((directory, path, next));
                    way.push((inner, below, 0));
                    break;
                }
                Node::File { .. } => {
                    take(below.and_then(|path| Leaf::of_file(&path, entry.stored())))?;
                }
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {}
            }
        }
    }
    Ok(())
}

/// Reads a generation back from the device: every pack, the catalogue, the pack set, slots and custody. `medium` is one that reads past the caches.
/// Damage is an error that names the first of it.
pub fn read_back(
    medium: &Arc<dyn Medium>,
    current: &Current,
    monitor: &dyn Monitor,
    interrupted: &Arc<AtomicBool>,
) -> Result<Report> {
    let options = VerifyOptions {
        generation: Some(current.root.generation),
        interrupted: Arc::clone(interrupted),
        ..VerifyOptions::default()
    };
    let report = verify::verify(medium, &options, monitor)?;
    if report.root != current.root_hash {
        return Err(Error::mismatch(
            medium.place(MediumFile::Root(current.root.generation)),
            "what was read back of ROOT",
        ));
    }
    if let Some(damage) = report.damages.first() {
        return Err(Error::malformed(
            medium.name(),
            format!(
                "the device does not have what was written to it, so nothing is signed. It may be smaller than it says, or failing. {} in all; the first: {}",
                report.damage_count(),
                damage.text
            ),
        ));
    }
    Ok(report)
}

/// Writes a signature of a sealed generation beside its ROOT, reads it and the slots back, and adds it to custody. Refused where it is none of this ROOT, or
/// the same key has signed already. `fresh` is the same medium, read past the caches. The caller holds the lock. Durable when it returns.
pub fn attach(
    medium: &Arc<dyn Medium>,
    fresh: &Arc<dyn Medium>,
    current: &Current,
    signer: SignerName,
    armored: &str,
    signing: &Signing<'_>,
) -> Result<Signed> {
    let root = &current.root;
    let place = medium.place(MediumFile::Signature(root.generation, signer));
    let signed =
        signature::check(root.encode().as_bytes(), armored.as_bytes()).map_err(|fault| Error::Untrusted {
            place: place.clone(),
            why: fault.to_string(),
        })?;
    may_sign(medium.as_ref(), root, signer, signed.key())?;
    let file = MediumFile::Signature(root.generation, signer);
    let mut writer = medium.create(file)?;
    writer.append(&[armored.as_bytes()])?;
    writer.finish()?;
    medium.sync_folders()?;
    let back = fresh.read(file, 0, armored.len())?;
    if back != armored.as_bytes() {
        return Err(Error::mismatch(place, "what was read back of the signature"));
    }
    read_back_slots(fresh.as_ref(), current)?;
    let readback = if signing.readback {
        "readback"
    } else {
        "no-readback"
    };
    custody::append(
        medium.as_ref(),
        current,
        Event::Signed,
        signing.witness,
        &format!("{} {readback}", signed.fingerprint()),
        signing.time,
    )?;
    Ok(signed)
}

/// Who signs, when, and after what.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// Who has it signed.
    pub witness: &'a Witness,
    /// Seconds since 1970.
    pub time: i64,
    /// Whether everything was read back before.
    pub readback: bool,
}

/// Refused where this generation cannot take a signature of that name by that key.
pub fn may_sign(medium: &dyn Medium, root: &Root, signer: SignerName, key: &KeyData) -> Result<()> {
    let generation = root.generation;
    let refuse = |why: String| Err(Error::refused(format!("{}: {why}", medium.name())));
    if root.state == State::Open {
        return refuse(format!(
            "generation {generation} is open; `holdall seal` finishes and signs it"
        ));
    }
    for found in signature::read_all(medium, generation)? {
        if found.check(root).is_ok_and(|other| other.key() == key) {
            return refuse(format!(
                "generation {generation} is signed by this key already, as {}",
                found.signer
            ));
        }
    }
    let names = medium.signatures(generation)?;
    if names.contains(&signer) {
        return refuse(format!(
            "generation {generation} has a signature by the name of {signer} already; give another with --signer"
        ));
    }
    if names.len() >= SIGNATURES_MAX {
        return refuse(format!(
            "generation {generation} has as many signatures as it can have"
        ));
    }
    Ok(())
}

/// The slots, as the device has them, lead to this generation.
fn read_back_slots(fresh: &dyn Medium, current: &Current) -> Result<()> {
    let named = SlotNumber::BOTH.into_iter().any(|slot| {
        matches!(generation::read_slot(fresh, slot), Ok(SlotState::Written(slot)) if slot.root == current.root_hash)
    });
    if named {
        Ok(())
    } else {
        Err(Error::mismatch(
            fresh.place(MediumFile::Slot(SlotNumber::Zero)),
            "what was read back of the slots",
        ))
    }
}

/// The proof of one leaf of an opened disk, with the signatures that lie beside its ROOT. `None` where there is no such leaf.
pub fn prove(disk: &Disk, kind: Kind, name: &str) -> Result<Option<Proof>> {
    let Some((index, leaf, path)) = disk.leaf_with_path(kind, name)? else {
        return Ok(None);
    };
    let medium = disk.medium().as_ref();
    let mut signatures = Vec::new();
    for found in signature::read_all(medium, disk.root().generation)? {
        // One that does not hold says nothing, and would make the proof unreadable.
        if let (Ok(_), Ok(armored)) = (found.check(disk.root()), &found.armored) {
            signatures.push((found.signer, as_in_proof(armored)));
        }
    }
    let place = format!("{}: the proof of {name}", disk.name());
    Proof::new(
        index,
        leaf.canonical(),
        path,
        disk.root().clone(),
        signatures,
        &place,
    )
    .map(Some)
}

/// The armored part alone, with its last line ended.
fn as_in_proof(armored: &str) -> String {
    let mut text = armored.trim().replace('\r', "");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_put_into_a_proof_ends_with_its_last_line() {
        assert_eq!(super::as_in_proof("\na\r\nb\n\n"), "a\nb\n");
    }
}
