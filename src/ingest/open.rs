//! The beginning of a run: lock, current generation, an index that can be trusted, left-overs adopted.

use super::likeness::{FEATURES_HELD, Likeness};
use super::pipeline::{Belt, Pipeline, Shown};
use super::reindex::{learn_frame, rebuild, say_unlearnt};
use super::{Ingest, Inner, Shared};
use crate::blob::FromMedium;
use crate::catalogue::CatalogueReader;
use crate::custody::Witness;
use crate::error::{Error, Result};
use crate::format::catalogue::Leaf;
use crate::format::codec::Decoder;
use crate::format::content::Place;
use crate::format::frame::FrameKind;
use crate::format::pack::{ChunkRecord, FrameRecord, SetRecord};
use crate::format::root::State;
use crate::generation;
use crate::ids::MediumId;
use crate::index::Index;
use crate::medium::{Medium, MediumFile};
use crate::monitor::Monitor;
use crate::pack::{self, KeptFrames, LeftOver, Level, PackTables, PackWriter};
use crate::sketch::Feature;
use crate::units::{Generation, PackNumber};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How to begin a run.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// The host's state folder, for the index.
    pub state: PathBuf,
    /// Set by whoever wants the run to stop.
    pub interrupted: Arc<AtomicBool>,
    /// Who adds, for the custody record.
    pub witness: Witness,
    /// How much work is put into taking less space.
    pub level: Level,
}

/// What was found of an interrupted run.
#[derive(Debug, Default)]
struct Adopted {
    whole: Vec<SetRecord>,
    resumed: Option<PackWriter>,
    /// Frames of records, to be read once the index knows all chunks.
    records: Vec<Place>,
    /// Chunks of the resumed pack, which no index knows yet.
    open: Vec<(PackNumber, FrameRecord, Vec<ChunkRecord>)>,
    /// What its frames look like, as far as the index does not have it.
    features: HashMap<Feature, Place>,
}

impl Ingest {
    /// Begins a run: refused where another process writes the medium.
    pub fn open(medium: Arc<dyn Medium>, options: &IngestOptions, monitor: Arc<dyn Monitor>) -> Result<Self> {
        let lock = medium.lock()?;
        let mut current = generation::current(medium.as_ref(), None)?;
        for warning in &current.warnings {
            monitor.warn(warning);
        }
        generation::check_writable(medium.as_ref(), &current)?;
        if current.root.state == State::Sealed {
            monitor.warn(&format!(
                "{}: generation {} is sealed; what is added makes an open one, which nobody has signed",
                medium.name(),
                current.root.generation
            ));
        }
        generation::settle(medium.as_ref(), &mut current)?;
        let medium_id = current.root.medium;
        let mut packs = generation::pack_set(medium.as_ref(), &current.root)?;
        // Whatever the index says: nothing is deduplicated against a pack that is not there, or whose
        // tables do not hold.
        for pack in &packs {
            PackTables::open(medium.as_ref(), &medium_id, pack)?;
        }
        let index = Arc::new(Index::open(&options.state, &medium_id)?);
        if !index.mirrors(&current.root_hash)? {
            rebuild(
                &medium,
                &medium_id,
                &index,
                &packs,
                &current.root_hash,
                monitor.as_ref(),
            )?;
        }
        if options.level.writes_deltas() {
            say_unlearnt(medium.as_ref(), &index, &packs, monitor.as_ref())?;
        }
        let catalogue = CatalogueReader::open(Arc::clone(&medium), &current.root)?;
        let adopted = adopt(
            &medium,
            &medium_id,
            &index,
            &packs,
            current.root.generation,
            options.level,
            monitor.as_ref(),
        )?;
        packs.extend(adopted.whole.iter().copied());
        packs.sort_by_key(|p| p.number);
        let highest = medium
            .packs()?
            .last()
            .copied()
            .into_iter()
            .chain(packs.last().map(|p| p.number))
            .max()
            .unwrap_or_default();
        let next = highest
            .get()
            .checked_add(1)
            .map(PackNumber::new)
            .ok_or_else(|| Error::refused("no pack number is left"))?;
        let first_generation = generation::next_number(medium.as_ref(), &current.root)?;
        let likeness = options.level.writes_deltas().then(|| {
            let kept = packs.iter().map(|p| p.number);
            Likeness::new(
                Arc::clone(&index),
                kept.chain(adopted.resumed.as_ref().map(PackWriter::number)),
                next,
            )
        });
        if let Some(likeness) = &likeness {
            likeness.resume(adopted.features);
        }
        let belt = Arc::new(Belt::new(
            Arc::clone(&medium),
            medium_id,
            Arc::clone(&index),
            Arc::clone(&monitor),
            options.level,
            likeness,
        ));
        seed_open_chunks(&belt, &adopted.open);
        let pipeline = Pipeline::start(&belt, adopted.resumed, next)?;
        let inner = Inner {
            belt,
            monitor: Arc::new(Shown(monitor)),
            pipeline: RwLock::new(Some(pipeline)),
            shared: Mutex::new(Shared::new()),
            current,
            catalogue,
            source: Arc::new(FromMedium::new(Arc::clone(&medium), KeptFrames::ROOM)),
            edits: Mutex::new(BTreeMap::new()),
            again: Mutex::default(),
            packs,
            first_pack: next,
            first_generation,
            interrupted: Arc::clone(&options.interrupted),
            witness: options.witness.clone(),
        };
        for place in &adopted.records {
            inner.adopt_records(place)?;
        }
        Ok(Self {
            inner: Arc::new(inner),
            _lock: lock,
        })
    }
}

/// The chunks of a pack that goes on being written can be found like any that is on its way.
fn seed_open_chunks(belt: &Belt, open: &[(PackNumber, FrameRecord, Vec<ChunkRecord>)]) {
    let mut map = belt.open.lock();
    for (pack, frame, chunks) in open {
        for chunk in chunks {
            let place = Place {
                pack: *pack,
                frame: frame.offset,
                frame_bytes: frame.frame_bytes,
                start: chunk.start,
            };
            map.insert(chunk.id, (super::Pending::Known(place), chunk.len));
        }
    }
}

impl Inner {
    /// Takes over the records of one frame, each only if all that it refers to is there.
    fn adopt_records(&self, place: &Place) -> Result<()> {
        let frame = pack::load(self.belt.medium.as_ref(), place)?;
        for (_, _, bytes) in frame.chunks() {
            let Ok(leaf) = Leaf::decode(&mut Decoder::new(&bytes, "a record")) else {
                continue;
            };
            if self.record_holds(&leaf) && self.record_is_true(&leaf)? {
                self.belt.index.put_record(&leaf.sha256, &bytes)?;
            }
        }
        Ok(())
    }
}

/// Looks at every pack that no generation lists. What their frames look like is learnt where the run looks for bases.
fn adopt(
    shared: &Arc<dyn Medium>,
    medium_id: &MediumId,
    index: &Index,
    listed: &[SetRecord],
    newest: Generation,
    level: Level,
    monitor: &dyn Monitor,
) -> Result<Adopted> {
    let medium = shared.as_ref();
    let bases = KeptFrames::new(Arc::clone(shared), KeptFrames::ROOM);
    let mut adopted = Adopted::default();
    // A pack of any older generation is listed by it, though perhaps no longer by the newest.
    let mut known: Vec<PackNumber> = listed.iter().map(|p| p.number).collect();
    // One above the newest was never committed: what it lists is left over like the rest.
    for generation in medium.generations()?.into_iter().filter(|g| *g <= newest) {
        if let Ok((root, _)) = generation::read_root(medium, generation)
            && root.medium == *medium_id
            && let Ok(set) = generation::pack_set(medium, &root)
        {
            known.extend(set.iter().map(|p| p.number));
        }
    }
    let left: Vec<PackNumber> = medium
        .packs()?
        .into_iter()
        .filter(|n| !known.contains(n))
        .collect();
    let last = left.last().copied();
    for number in left {
        // An interrupted run is taken up again: whatever it changed in the index must not be trusted alone.
        index.unsettle()?;
        let kept = |pack| listed.iter().chain(&adopted.whole).any(|p| p.number == pack);
        let mut features = HashMap::new();
        let seen = |record: &FrameRecord, frame: &pack::Frame| {
            if !level.writes_deltas() {
                return Ok(());
            }
            learn_frame(&mut features, number, record, frame);
            if features.len() >= FEATURES_HELD {
                // Whatever becomes of the pack, its whole frames stay where they are.
                index.add_features(&std::mem::take(&mut features))?;
            }
            Ok(())
        };
        match pack::examine(medium, medium_id, number, &bases, kept, seen)? {
            LeftOver::Whole {
                record,
                frames,
                chunks,
            } => {
                monitor.warn(&format!(
                    "{}: left by an interrupted run, taken over whole",
                    medium.place(MediumFile::Pack(number))
                ));
                // That run may have ended before its fsync: what was read need not be on the medium yet.
                medium
                    .resume(MediumFile::Pack(number), u64::from(record.pack_bytes))?
                    .finish()?;
                index.put_pack(number, &frames, &chunks)?;
                if level.writes_deltas() {
                    index.add_features(&features)?;
                    index.learn(number, &record.leaf)?;
                }
                adopted.records.extend(record_frames(number, &frames));
                adopted.whole.push(record);
            }
            LeftOver::Partial { frames, chunks } => {
                monitor.warn(&format!(
                    "{}: left unfinished by an interrupted run, {} whole frames taken over",
                    medium.place(MediumFile::Pack(number)),
                    frames.len()
                ));
                let writer = PackWriter::resume(medium, *medium_id, number, frames.clone(), chunks.clone())?;
                adopted.records.extend(record_frames(number, &frames));
                if Some(number) == last {
                    adopted.open = by_frame(number, &frames, &chunks);
                    adopted.resumed = Some(writer);
                    adopted.features = features;
                } else if frames.is_empty() {
                    medium.remove(MediumFile::Pack(number))?;
                } else {
                    let record = writer.finish()?.record;
                    index.put_pack(number, &frames, &chunks)?;
                    if level.writes_deltas() {
                        index.add_features(&features)?;
                        index.learn(number, &record.leaf)?;
                    }
                    adopted.whole.push(record);
                }
            }
        }
    }
    Ok(adopted)
}

fn record_frames(number: PackNumber, frames: &[FrameRecord]) -> Vec<Place> {
    let records = frames.iter().filter(|f| f.kind == FrameKind::Records);
    records
        .map(|f| Place {
            pack: number,
            frame: f.offset,
            frame_bytes: f.frame_bytes,
            start: 0,
        })
        .collect()
}

fn by_frame(
    number: PackNumber,
    frames: &[FrameRecord],
    chunks: &[ChunkRecord],
) -> Vec<(PackNumber, FrameRecord, Vec<ChunkRecord>)> {
    let mut rest = chunks;
    let mut out = Vec::new();
    for frame in frames {
        let (mine, others) = rest.split_at(usize::from(frame.chunks).min(rest.len()));
        rest = others;
        if frame.kind == FrameKind::Plaintext {
            out.push((number, frame.clone(), mine.to_vec()));
        }
    }
    out
}
