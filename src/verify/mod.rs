//! Checking a medium from end to end, naming everything that is damaged, and going on to the end.
//!
//! Stored hashes are checked at the device's speed with all cores; `full` also decodes everything and
//! checks ChunkIds, BlobIds and SHA-256s. What follows for images is found by who knows manifests.

mod catalogue;
mod contents;
mod found;
mod held;
mod journal;
mod packs;
mod sample;
mod trees;

pub use journal::{CheckedPack, Delta, Journal, PackDamage, PartId, Verdict};
pub use sample::{Sample, Sampled};

use crate::catalogue::CatalogueReader;
use crate::custody;
use crate::error::{Error, Result};
use crate::format::catalogue::Kind;
use crate::format::content::{Content, TreeRef};
use crate::format::custody::Record;
use crate::format::root::State;
use crate::format::superblock::SlotState;
use crate::generation::{self, Current};
use crate::ids::{MediumId, PageHash, Sha256};
use crate::medium::{Medium, MediumFile, SlotNumber};
use crate::monitor::Monitor;
use crate::units::{Generation, PackNumber, len64};
use found::{Counts, Found};
use held::Held;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Also decode everything, and check ChunkIds, BlobIds and SHA-256s.
    pub full: bool,
    /// Instead of every frame, read and decode these alone. Not together with `full`.
    pub sample: Option<Sample>,
    /// Check this generation instead of the newest.
    pub generation: Option<Generation>,
    /// Set by whoever wants the run to stop.
    pub interrupted: Arc<AtomicBool>,
    /// Where what was checked is kept, and taken over from; of another generation, or kept by other options, it must not be.
    pub journal: Option<Arc<dyn Journal>>,
}

/// Damages, and damaged files, that a report names; of more it has only the number. A hostile medium can have any number.
pub const NAMED_MAX: usize = 10_000;

/// What of a medium damage was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The superblock, a ROOT, the pack set: what a disk is opened by.
    Roots,
    /// Packs: their tables, their frames.
    Packs,
    /// The catalogue, and what it refers to.
    Catalogue,
}

/// What was not read in this run, since an earlier one had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenOver {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs and files whose bytes were compared with their own hashes.
    pub contents: u64,
}

/// Something that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What of the medium.
    pub part: Part,
    /// Where, and what is wrong there.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The medium.
    pub medium: MediumId,
    /// The generation that was checked.
    pub generation: Generation,
    /// BLAKE3 of its ROOT.
    pub root: PageHash,
    /// That ROOT, as it was read: what else is said of the disk has to be of this one.
    pub current: Current,
    /// Packs checked.
    pub packs: u64,
    /// Frames checked.
    pub frames: u64,
    /// Bytes of the packs; of a sample, those of the frames that were drawn.
    pub stored_bytes: u64,
    /// What was drawn, where that was asked for.
    pub sampled: Option<Sampled>,
    /// What of all this an earlier run had read.
    pub taken_over: TakenOver,
    /// Whether something could not be read, as against read and found to be wrong: it may be there another time.
    pub unreadable: bool,
    /// Leaves of the catalogue, checked.
    pub leaves: u64,
    /// Loose files checked.
    pub files: u64,
    /// What is damaged, in the order of finding; no more than [`NAMED_MAX`].
    pub damages: Vec<Damage>,
    /// How many more there are.
    pub more_damages: u64,
    /// Blobs whose bytes cannot all be had.
    pub damaged_blobs: BTreeSet<Sha256>,
    /// Loose files whose bytes cannot all be had, by path below `files/`; no more than [`NAMED_MAX`].
    pub damaged_files: Vec<String>,
    /// How many more there are.
    pub more_damaged_files: u64,
    /// Layers and chains whose trees cannot all be had, as `layer …` and `chain …`: what starts from them.
    pub damaged_trees: BTreeSet<String>,
    /// Whether part of the catalogue could not be read, so that the lists above may be short.
    pub catalogue_damaged: bool,
    /// Custody of the medium up to this generation, oldest first, as far back as the chain holds.
    pub custody: Vec<Record>,
}

impl Report {
    /// True where nothing is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    /// How many damages were found, named or not.
    #[must_use]
    pub fn damage_count(&self) -> u64 {
        len64(self.damages.len()) + self.more_damages
    }
}

/// Frames that cannot be used, by pack and offset; a pack that is missing or has no usable frames at
/// all is listed as a whole.
#[derive(Debug, Default)]
struct BadFrames {
    frames: BTreeSet<(PackNumber, u32)>,
    packs: BTreeSet<PackNumber>,
}

impl BadFrames {
    fn has(&self, pack: PackNumber, frame: u32) -> bool {
        self.packs.contains(&pack) || self.frames.contains(&(pack, frame))
    }
}

/// What all parts of a verification share.
struct Check<'a> {
    medium: Arc<dyn Medium>,
    monitor: &'a dyn Monitor,
    options: &'a VerifyOptions,
    report: Report,
    bad: BadFrames,
    /// What leaves are read from.
    held: Held,
    /// The packs of the generation, with their lengths: a place in any other is damage.
    listed: HashMap<PackNumber, u32>,
    /// Whether the generation is sealed, so that each loose file has a leaf.
    sealed: bool,
    /// What is being checked.
    part: Part,
    counts: Arc<Counts>,
}

impl Check<'_> {
    fn found(&self) -> Found {
        Found::new(self.part, Arc::clone(&self.counts))
    }

    fn damage(&mut self, error: &Error) {
        let mut found = self.found();
        found.damage(error);
        self.take(found);
    }

    fn damaged(&mut self, text: String) {
        let mut found = self.found();
        found.damaged(text);
        self.take(found);
    }

    /// Enters into the report what was found, and tells it.
    fn take(&mut self, found: Found) {
        for damage in &found.damages {
            self.monitor.warn(&damage.text);
        }
        let report = &mut self.report;
        report.unreadable |= found.unreadable;
        report.damages.extend(found.damages);
        report.more_damages += found.more_damages;
        report.damaged_blobs.extend(found.damaged_blobs);
        report.damaged_files.extend(found.damaged_files);
        report.more_damaged_files += found.more_damaged_files;
        report.damaged_trees.extend(found.damaged_trees);
    }

    fn check_interrupted(&self) -> Result<()> {
        if self.options.interrupted.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Fails where the disk is not there any more: then nothing that cannot be read says anything of it.
    fn still_there(&self) -> Result<()> {
        let (_, found) = generation::read_root(self.medium.as_ref(), self.report.generation)?;
        if found == self.report.root {
            return Ok(());
        }
        let place = self.medium.place(MediumFile::Root(self.report.generation));
        Err(Error::mismatch(place, "the ROOT that is being verified"))
    }
}

/// Whether bytes could not be had at all, as against had and found to be wrong. A disk that was pulled looks so.
#[must_use]
pub fn is_unreadable(error: &Error) -> bool {
    matches!(
        error.root_cause(),
        Error::Io { .. } | Error::Missing { .. } | Error::Deadline { .. }
    )
}

/// Checks superblock, ROOT, catalogue, pack set, every frame, every list and reference. Fails only
/// where there is nothing to check (no generation can be opened, another format) or on request.
pub fn verify(medium: &Arc<dyn Medium>, options: &VerifyOptions, monitor: &dyn Monitor) -> Result<Report> {
    let current = generation::current(medium.as_ref(), options.generation)?;
    let report = Report {
        medium: current.root.medium,
        generation: current.root.generation,
        root: current.root_hash,
        current: current.clone(),
        packs: 0,
        frames: 0,
        stored_bytes: 0,
        sampled: None,
        taken_over: TakenOver::default(),
        unreadable: false,
        leaves: 0,
        files: 0,
        damages: Vec::new(),
        more_damages: 0,
        damaged_blobs: BTreeSet::new(),
        damaged_files: Vec::new(),
        more_damaged_files: 0,
        damaged_trees: BTreeSet::new(),
        catalogue_damaged: false,
        custody: Vec::new(),
    };
    let mut check = Check {
        medium: Arc::clone(medium),
        monitor,
        options,
        report,
        bad: BadFrames::default(),
        held: Held::new(Arc::clone(medium)),
        listed: HashMap::new(),
        sealed: current.root.state == State::Sealed,
        part: Part::Roots,
        counts: Arc::default(),
    };
    check_slots(&mut check);
    check_notice(&mut check);
    let custody = custody::chain(medium.as_ref(), &current.root);
    check.report.custody = custody.records;
    if let Some(broken) = &custody.broken {
        check.damage(broken);
    }
    let set = match generation::pack_set(medium.as_ref(), &current.root) {
        Ok(set) => set,
        Err(e) => {
            check.damage(&e);
            Vec::new()
        }
    };
    check.listed = set.iter().map(|p| (p.number, p.pack_bytes)).collect();
    check.part = Part::Packs;
    packs::check_all(&mut check, &current.root.medium, &set)?;
    check.part = Part::Catalogue;
    match CatalogueReader::open(Arc::clone(medium), &current.root) {
        Ok(catalogue) => catalogue::check_all(&mut check, &catalogue)?,
        Err(e) => {
            check.report.catalogue_damaged = true;
            check.damage(&e);
        }
    }
    Ok(check.report)
}

/// A slot that is damaged costs no data, but the next cut may: it is named.
fn check_slots(check: &mut Check<'_>) {
    for slot in SlotNumber::BOTH {
        let state = generation::read_slot(check.medium.as_ref(), slot);
        let whole = state.and_then(|state| match state {
            SlotState::Blank => {
                let other = generation::read_slot(check.medium.as_ref(), slot.other());
                let Ok(SlotState::Written(other)) = other else {
                    return Ok(());
                };
                generation::lost_slot(check.medium.as_ref(), slot, other.generation).map_or(Ok(()), Err)
            }
            SlotState::Written(slot) => match generation::read_root(check.medium.as_ref(), slot.generation) {
                Ok((root, hash)) if hash == slot.root && root.medium == slot.medium => Ok(()),
                Ok(_) => Err(Error::mismatch(
                    check.medium.place(MediumFile::Root(slot.generation)),
                    "ROOT",
                )),
                Err(e) => Err(e),
            },
        });
        if let Err(e) = whole {
            check.damage(&e);
        }
    }
}

fn check_notice(check: &mut Check<'_>) {
    if !check
        .medium
        .len(MediumFile::Notice)
        .is_ok_and(|len| len.is_some())
    {
        check
            .monitor
            .warn("HOLDALL.txt is not there; nothing depends on it");
    }
}

/// What is below a tree leaf, for the walk over directories.
fn tree_of(content: &Content) -> Option<TreeRef> {
    match content {
        Content::Tree(tree) => Some(*tree),
        _ => None,
    }
}

/// The name that a blob's leaf has, for messages.
fn name_of(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Image => format!("image {name}"),
        Kind::Blob => format!("blob {name}"),
        Kind::Referrer => format!("referrer {name}"),
        Kind::Absent => format!("left-out {name}"),
        Kind::Files => "the tree of files".to_owned(),
        Kind::Layer => format!("layer {name}"),
        Kind::Chain => format!("chain {name}"),
        Kind::Rootfs => format!("root file system {name}"),
        Kind::File => format!("file files/{name}"),
        Kind::Hot => format!("hot list {name}"),
    }
}
