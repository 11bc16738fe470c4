//! Generations: which one a medium is at, and how the next one is committed.
//!
//! The commit's order of system calls is the promise of "all or nothing": see [`commit`].

use crate::catalogue::WrittenCatalogue;
use crate::custody::{self, Witness};
use crate::error::{Error, Result};
use crate::format::codec::Decoder;
use crate::format::custody::Event;
use crate::format::features::Features;
use crate::format::lines::label;
use crate::format::pack::{SET_RECORD_LEN, SetRecord};
use crate::format::root::{Root, State};
use crate::format::superblock::{self, SLOT_LEN, Slot, SlotState};
use crate::format::{
    CHUNK_AVG, CHUNK_MAX, CHUNK_MIN, FRAME_PLAIN_MAX, INLINE_MAX, PACK_MAX, PACKS_MAX, PAGE_MAX, ROOT_MAX,
};
use crate::ids::{MediumId, PageHash};
use crate::medium::{Medium, MediumFile, SlotNumber};
use crate::merkle;
use crate::units::{Generation, index, index64, len64};

/// The generation a medium is at.
#[derive(Debug, Clone)]
pub struct Current {
    /// Its ROOT.
    pub root: Root,
    /// BLAKE3 of its ROOT.
    pub root_hash: PageHash,
    /// The slot that names it; `None` where it was asked for by number, or found without a slot.
    pub slot: Option<SlotNumber>,
    /// What is wrong with the medium, though this generation can be read.
    pub warnings: Vec<String>,
}

/// Reads a ROOT, checking only itself.
pub fn read_root(medium: &dyn Medium, generation: Generation) -> Result<(Root, PageHash)> {
    let file = MediumFile::Root(generation);
    let place = medium.place(file);
    let len = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
    if len > u64::from(ROOT_MAX) {
        return Err(Error::malformed(
            place,
            format!("{len} bytes long, more than a ROOT can be"),
        ));
    }
    let bytes = medium.read(file, 0, index64(len))?;
    let root = Root::decode(&bytes, &place)?;
    if root.generation != generation {
        return Err(Error::malformed(
            place,
            format!("it is of generation {}", root.generation),
        ));
    }
    Ok((root, PageHash::of(&bytes)))
}

/// The state of one slot, or what is wrong with it.
pub fn read_slot(medium: &dyn Medium, slot: SlotNumber) -> Result<SlotState> {
    let file = MediumFile::Slot(slot);
    let place = medium.place(file);
    let len = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
    if len != len64(SLOT_LEN) {
        return Err(Error::malformed(
            place,
            format!("{len} bytes long, not {SLOT_LEN}"),
        ));
    }
    superblock::decode(&medium.read(file, 0, SLOT_LEN)?, &place)
}

/// The ROOT that a slot names, if it is there and matches.
fn root_of(medium: &dyn Medium, slot: &Slot) -> Result<(Root, PageHash)> {
    let (root, hash) = read_root(medium, slot.generation)?;
    if hash != slot.root || root.medium != slot.medium {
        return Err(Error::mismatch(
            medium.place(MediumFile::Root(slot.generation)),
            "ROOT",
        ));
    }
    Ok((root, hash))
}

/// Finds the newest committed generation by the slots, or the one that is asked for.
///
/// A slot that is damaged, while the ROOT of a generation after the other slot's is whole and names
/// that slot's ROOT as the one before it, was being written or has rotted since: everything that
/// ROOT needs was durable before the slot was touched, so that generation is the newest one.
pub fn current(medium: &dyn Medium, asked: Option<Generation>) -> Result<Current> {
    if let Some(generation) = asked {
        let (root, root_hash) = read_root(medium, generation)?;
        return Ok(Current {
            root,
            root_hash,
            slot: None,
            warnings: Vec::new(),
        });
    }
    let mut best: Option<Current> = None;
    let mut warnings = Vec::new();
    let mut damaged = Vec::new();
    let mut blank = None;
    for number in SlotNumber::BOTH {
        let read = read_slot(medium, number).and_then(|state| match state {
            SlotState::Blank => Ok(None),
            SlotState::Written(slot) => root_of(medium, &slot).map(Some),
        });
        match read {
            Ok(None) => blank = Some(number),
            Ok(Some((root, root_hash))) => {
                if best.as_ref().is_none_or(|b| b.root.generation < root.generation) {
                    best = Some(Current {
                        root,
                        root_hash,
                        slot: Some(number),
                        warnings: Vec::new(),
                    });
                }
            }
            // A disk of another format is not a damaged one: say so, and nothing else.
            Err(e @ Error::Unsupported { .. }) => return Err(e),
            Err(e) => {
                warnings.push(e.to_string());
                damaged.push(e);
            }
        }
    }
    let Some(mut best) = best else {
        return Err(no_generation(medium, damaged));
    };
    if let Some(lost) = blank.and_then(|number| lost_slot(medium, number, best.root.generation)) {
        warnings.push(lost.to_string());
        damaged.push(lost);
    }
    if !damaged.is_empty() {
        // The highest one: a lower one is what an interrupted commit left before it.
        let committed = best.root_hash;
        for generation in medium
            .generations()?
            .into_iter()
            .filter(|g| *g > best.root.generation)
            .rev()
        {
            let read = read_root(medium, generation);
            if let Err(e @ Error::Unsupported { .. }) = read {
                // Whoever wrote it knew more: an older generation is not shown in its place.
                return Err(e);
            }
            if let Ok((root, root_hash)) = read
                && root.medium == best.root.medium
                && root.previous == Some(committed)
            {
                warnings.push(format!(
                    "generation {generation} was found by its ROOT, as its slot is damaged"
                ));
                best = Current {
                    root,
                    root_hash,
                    slot: best.slot,
                    warnings: Vec::new(),
                };
                break;
            }
        }
    }
    Ok(Current { warnings, ..best })
}

/// What is wrong with a blank slot beside one that names `other`: the first commit after `init` writes
/// the slot that `init` left blank, so that beside any later generation a blank one was lost.
#[must_use]
pub fn lost_slot(medium: &dyn Medium, blank: SlotNumber, other: Generation) -> Option<Error> {
    let place = medium.place(MediumFile::Slot(blank));
    (other.get() > 1)
        .then(|| Error::malformed(place, format!("blank, though generation {other} is committed")))
}

fn no_generation(medium: &dyn Medium, mut damaged: Vec<Error>) -> Error {
    let place = medium.name();
    let no_slot = SlotNumber::BOTH
        .iter()
        .all(|slot| matches!(medium.len(MediumFile::Slot(*slot)), Ok(None)));
    let there = medium.generations();
    let no_generation = match &there {
        Ok(there) => there.is_empty(),
        Err(e) => matches!(e, Error::Missing { .. }),
    };
    if no_slot && no_generation {
        return Error::refused(format!(
            "{place}: no Holdall disk is here (no superblock): is it mounted? holdall init makes a new one"
        ));
    }
    let readable: Vec<String> = there
        .unwrap_or_default()
        .into_iter()
        .filter(|g| read_root(medium, *g).is_ok())
        .map(|g| g.to_string())
        .collect();
    let offer = if readable.is_empty() {
        "and no generation's ROOT can be read".to_owned()
    } else {
        format!(
            "but these generations can be opened with --generation: {}",
            readable.join(", ")
        )
    };
    let why = match damaged.pop() {
        Some(_) if no_slot => {
            format!("both slots of the superblock are missing, though generations/ is here, {offer}")
        }
        Some(e) => format!("neither slot of the superblock can be used ({e}), {offer}"),
        None => format!(
            "both slots of the superblock are blank: holdall init was interrupted (empty the folder and run it again), {offer}"
        ),
    };
    Error::malformed(place, why)
}

/// The packs of a generation, checked against its ROOT.
pub fn pack_set(medium: &dyn Medium, root: &Root) -> Result<Vec<SetRecord>> {
    let file = MediumFile::PackSet(root.generation);
    let place = medium.place(file);
    let len = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
    if root.packs > PACKS_MAX {
        return Err(Error::malformed(
            place,
            format!("ROOT lists {} packs, more than a generation can have", root.packs),
        ));
    }
    if len != u64::from(root.packs) * len64(SET_RECORD_LEN) {
        return Err(Error::malformed(
            place,
            format!("{len} bytes long, where ROOT lists {} packs", root.packs),
        ));
    }
    let bytes = medium.read(file, 0, index64(len))?;
    let hashes: Vec<_> = bytes.chunks(SET_RECORD_LEN).map(merkle::leaf_hash).collect();
    if merkle::root(&hashes) != root.packs_root {
        return Err(Error::mismatch(place, "the pack set"));
    }
    let mut from = Decoder::new(&bytes, &place);
    let mut records: Vec<SetRecord> = Vec::with_capacity(index(root.packs));
    while from.remaining() > 0 {
        let record = SetRecord::decode(&mut from)?;
        if records.last().is_some_and(|last| last.number >= record.number) {
            return Err(from.error("packs are out of order"));
        }
        records.push(record);
    }
    Ok(records)
}

/// What the operator says of a new disk.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Who writes it.
    pub origin: String,
    /// The series it belongs to.
    pub series: String,
}

/// The text of `HOLDALL.txt`.
#[must_use]
pub fn notice(medium: &MediumId, labels: &Labels) -> String {
    format!(
        "This is a Holdall transfer disk.\n\n\
         It carries container images and files. Nothing on it needs unpacking: the command `holdall` mounts it,\n\
         serves it as a registry, and checks every byte that leaves it.\n\n\
         medium  {medium}\norigin  {}\nseries  {}\n\n\
         Check it:    holdall verify --full THIS-FOLDER\n\
         Who signed:  for each signature generations/N/ROOT.NAME.sig of the last generation N, with stock OpenSSH:\n\
         \x20            ssh-keygen -Y verify -f allowed_signers -I WHO -n holdall-root@v1 \\\n\
         \x20              -s generations/N/ROOT.NAME.sig < generations/N/ROOT\n\
         List it:     holdall ls THIS-FOLDER\n\
         Mount it:    holdall mount THIS-FOLDER /mnt\n\
         Serve it:    holdall serve THIS-FOLDER --listen 127.0.0.1:5577\n\n\
         Do not change, add or rename files here by other means.\n",
        labels.origin, labels.series
    )
}

/// Makes a new medium with an empty first generation.
pub fn init(medium: &dyn Medium, labels: &Labels, witness: &Witness, time: i64) -> Result<Root> {
    let place = medium.name();
    let origin = label(&labels.origin, "an origin", &place)?;
    let series = label(&labels.series, "a series", &place)?;
    witness.check()?;
    let mut id = [0; MediumId::LEN];
    getrandom::fill(&mut id).map_err(|e| {
        Error::io(
            "the system's random numbers",
            std::io::Error::other(e.to_string()),
        )
    })?;
    let id = MediumId::from_bytes(id);
    medium.prepare()?;
    let mut file = medium.create(MediumFile::Notice)?;
    file.append(&[notice(&id, labels).as_bytes()])?;
    file.finish()?;
    for slot in SlotNumber::BOTH {
        let mut file = medium.create(MediumFile::Slot(slot))?;
        file.append(&[&[0; SLOT_LEN]])?;
        file.finish()?;
    }
    let generation = Generation::new(1);
    let catalogue =
        crate::catalogue::CatalogueWriter::new(medium.create(MediumFile::Catalogue(generation))?).finish()?;
    let mut root = Root {
        features: Features::default(),
        medium: id,
        origin,
        series,
        epoch: 1,
        serial: 1,
        generation,
        state: State::Open,
        previous: None,
        time,
        expires: None,
        catalogue_leaves: catalogue.leaves,
        catalogue_bytes: catalogue.bytes,
        catalogue_root: catalogue.root,
        packs: 0,
        packs_root: merkle::root(&[]),
        custody: None,
        chunking: [CHUNK_MIN, CHUNK_AVG, CHUNK_MAX],
        limits: [FRAME_PLAIN_MAX, PAGE_MAX, PACK_MAX, INLINE_MAX],
    };
    let record = custody::first(&root, witness);
    custody::write(medium, MediumFile::Custody(generation), &record)?;
    root.custody = Some(record.hash());
    publish(medium, &root, &[], SlotNumber::One)?;
    Ok(root)
}

/// Fails where the generation makes use of what a writer has to know, and this version does not.
pub fn check_writable(medium: &dyn Medium, before: &Current) -> Result<()> {
    let place = medium.place(MediumFile::Root(before.root.generation));
    before.root.features.check_writable(&place)
}

/// The number that the next generation takes: above every folder there is, so that nothing that an
/// interrupted commit left is ever written over.
pub fn next_number(medium: &dyn Medium, current: &Root) -> Result<Generation> {
    let last = medium
        .generations()?
        .last()
        .copied()
        .unwrap_or(current.generation)
        .max(current.generation);
    last.get()
        .checked_add(1)
        .map(Generation::new)
        .ok_or_else(|| Error::refused(format!("{}: no generation number is left", medium.name())))
}

/// What a new generation says of itself, besides what is in it.
#[derive(Debug, Clone)]
pub struct Making<'a> {
    /// [`Event::Added`], which makes an open generation, or [`Event::Sealed`].
    pub event: Event,
    /// Above that of the generation before.
    pub serial: u64,
    /// Not below that of the generation before.
    pub epoch: u64,
    /// When it should no longer be used.
    pub expires: Option<i64>,
    /// Seconds since 1970.
    pub time: i64,
    /// Who makes it.
    pub witness: &'a Witness,
    /// For the custody record: what was done, in a line.
    pub note: String,
}

/// Commits the generation after `before`, whose catalogue was written and synced. Every pack in
/// `packs` is synced. Returns the new ROOT and its hash; only then may anything be acknowledged.
pub fn commit(
    medium: &dyn Medium,
    before: &Current,
    generation: Generation,
    catalogue: &WrittenCatalogue,
    packs: &[SetRecord],
    making: Making<'_>,
) -> Result<(Root, PageHash)> {
    let hashes: Vec<_> = packs.iter().map(|p| merkle::leaf_hash(&p.encode())).collect();
    if making.serial <= before.root.serial || making.epoch < before.root.epoch {
        return Err(Error::refused(format!(
            "serial {} and epoch {}, where the generation before has serial {} and epoch {}: the serial grows, and the epoch never falls",
            making.serial, making.epoch, before.root.serial, before.root.epoch
        )));
    }
    let mut root = Root {
        // What others had written here besides is not kept up by this version.
        features: Features::default(),
        epoch: making.epoch,
        serial: making.serial,
        generation,
        state: if making.event == Event::Sealed {
            State::Sealed
        } else {
            State::Open
        },
        previous: Some(before.root_hash),
        time: making.time.max(before.root.time),
        expires: making.expires,
        catalogue_leaves: catalogue.leaves,
        catalogue_bytes: catalogue.bytes,
        catalogue_root: catalogue.root,
        packs: crate::units::len32(packs.len()),
        packs_root: merkle::root(&hashes),
        custody: None,
        chunking: [CHUNK_MIN, CHUNK_AVG, CHUNK_MAX],
        ..before.root.clone()
    };
    let record = custody::next(medium, before, &root, making)?;
    custody::write(medium, MediumFile::Custody(generation), &record)?;
    root.custody = Some(record.hash());
    // The slot of the current generation is never written: it is what a failed commit falls back to.
    let slot = before.slot.map_or(SlotNumber::One, SlotNumber::other);
    let hash = publish(medium, &root, packs, slot)?;
    Ok((root, hash))
}

/// Makes durable what a run that begins has found and will lean on: the last run may have ended, or
/// been killed, between writing and syncing it. A run that finds everything there already writes
/// nothing, and yet says that it is safe.
pub fn settle(medium: &dyn Medium, current: &mut Current) -> Result<()> {
    let Some(slot) = current.slot else { return Ok(()) };
    let named =
        matches!(read_slot(medium, slot), Ok(SlotState::Written(found)) if found.root == current.root_hash);
    if named {
        return medium.resume(MediumFile::Slot(slot), len64(SLOT_LEN))?.finish();
    }
    // Found by its ROOT: all that this needs was synced before it was written, but for itself. Its own
    // slot is the damaged one, which is written again.
    let root = MediumFile::Root(current.root.generation);
    let len = medium
        .len(root)?
        .ok_or_else(|| Error::missing(medium.place(root)))?;
    medium.resume(root, len)?.finish()?;
    medium.sync_folders()?;
    write_slot(medium, slot.other(), &current.root, current.root_hash)?;
    current.slot = Some(slot.other());
    Ok(())
}

/// Writes a slot. One whose fsync fails gets its old bytes back, as well as that can be done: what the
/// system still holds of the new ones must not be taken for committed by the next run.
fn write_slot(medium: &dyn Medium, slot: SlotNumber, root: &Root, hash: PageHash) -> Result<()> {
    let file = MediumFile::Slot(slot);
    if medium.len(file)?.is_none() {
        medium.create(file)?.finish()?;
        medium.sync_folders()?;
    }
    let old = medium.read(file, 0, SLOT_LEN);
    let bytes = Slot {
        medium: root.medium,
        generation: root.generation,
        root: hash,
    }
    .encode();
    medium.write_slot(slot, &bytes).inspect_err(|_| {
        if let Ok(old) = old {
            let _medium_fails_already = medium.write_slot(slot, &old);
        }
    })
}

/// The end of a commit. Order: custody record (by the caller) and pack set, fsync; ROOT, fsync; folders, fsync; then the slot, fsync.
/// A cut before the last step leaves the generation before; after it, this one.
fn publish(medium: &dyn Medium, root: &Root, packs: &[SetRecord], slot: SlotNumber) -> Result<PageHash> {
    let mut file = medium.create(MediumFile::PackSet(root.generation))?;
    let records: Vec<u8> = packs.iter().flat_map(SetRecord::encode).collect();
    file.append(&[&records])?;
    file.finish()?;
    let text = root.encode();
    if len64(text.len()) > u64::from(ROOT_MAX) {
        return Err(Error::refused(
            "ROOT would be longer than 4096 bytes: origin and series are too long",
        ));
    }
    let mut file = medium.create(MediumFile::Root(root.generation))?;
    file.append(&[text.as_bytes()])?;
    file.finish()?;
    medium.sync_folders()?;
    let hash = root.hash();
    write_slot(medium, slot, root, hash)?;
    Ok(hash)
}
