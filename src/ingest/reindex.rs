//! The host's index of a medium made anew: from its packs' tables, and what their frames look like from their bytes.

use super::IngestOptions;
use super::likeness::FEATURES_HELD;
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::frame::{Codec, FrameKind};
use crate::format::pack::{FrameRecord, SetRecord};
use crate::generation;
use crate::ids::{MediumId, PageHash};
use crate::index::Index;
use crate::medium::{Medium, MediumFile};
use crate::monitor::Monitor;
use crate::pack::{self, Frame, KeptFrames, LeftOver, PackTables};
use crate::sketch::{self, Feature};
use crate::units::{PackNumber, len64};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of packs below which it is not said that nothing in them can be a base.
const UNLEARNT_SAID: u64 = 4 * 1024 * 1024;

/// What an index made anew has of its medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reindexed {
    /// Packs.
    pub packs: usize,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of packs of which it does not know what they look like: nothing in them can be the base of a delta.
    pub unlearnt_bytes: u64,
}

/// Builds the host's index of a medium anew from its packs. With `likeness`, all frames whose features it does not have are
/// read as well: those that other hosts, or runs at level fast, have written. An interrupted run goes on at the pack it was at.
pub fn reindex(
    medium: &Arc<dyn Medium>,
    options: &IngestOptions,
    likeness: bool,
    monitor: &dyn Monitor,
) -> Result<Reindexed> {
    let _lock = medium.lock()?;
    let current = generation::current(medium.as_ref(), None)?;
    let packs = generation::pack_set(medium.as_ref(), &current.root)?;
    let (medium_id, root) = (&current.root.medium, &current.root_hash);
    let index = Index::open(&options.state, medium_id)?;
    let chunks = rebuild(medium, medium_id, &index, &packs, root, monitor)?;
    if likeness {
        learn(
            medium.as_ref(),
            medium_id,
            &index,
            &packs,
            &options.interrupted,
            monitor,
        )?;
        index.settle(root)?;
    }
    Ok(Reindexed {
        packs: packs.len(),
        chunks,
        unlearnt_bytes: unlearnt_bytes(&index, &packs)?,
    })
}

fn unlearnt_bytes(index: &Index, packs: &[SetRecord]) -> Result<u64> {
    let mut bytes = 0;
    for pack in packs {
        if !index.has_learnt(pack.number, &pack.leaf)? {
            bytes += u64::from(pack.pack_bytes);
        }
    }
    Ok(bytes)
}

/// Says how much of the disk cannot serve as bases, where that is more than a little.
pub(super) fn say_unlearnt(
    medium: &dyn Medium,
    index: &Index,
    packs: &[SetRecord],
    monitor: &dyn Monitor,
) -> Result<()> {
    let unlearnt = unlearnt_bytes(index, packs)?;
    let total: u64 = packs.iter().map(|pack| u64::from(pack.pack_bytes)).sum();
    if unlearnt >= UNLEARNT_SAID.max(total / 8) {
        monitor.warn(&format!(
            "{}: this host's index has no record of what {} MiB of its packs look like (added with another --state, at --level fast, \
             or by an earlier version): new versions of what is in them may be kept whole, which takes more room. holdall reindex \
             --likeness reads them through; the same --state for every add makes that needless",
            medium.name(),
            unlearnt >> 20
        ));
    }
    Ok(())
}

/// Notes what a frame looks like, if it can be a base. Of frames of a pack with a feature in common, the last one in the pack
/// stays in `features`.
pub(super) fn learn_frame(
    features: &mut HashMap<Feature, Place>,
    pack: PackNumber,
    record: &FrameRecord,
    frame: &Frame,
) {
    if !can_be_base(record) {
        return;
    }
    let place = Place {
        pack,
        frame: record.offset,
        frame_bytes: record.frame_bytes,
        start: 0,
    };
    for (_, _, bytes) in frame.chunks() {
        let found = match record.kind {
            FrameKind::Pages => sketch::of_page(&bytes),
            _ => sketch::features(&bytes),
        };
        for feature in found {
            let at = features.entry(feature).or_insert(place);
            if at.frame < place.frame {
                *at = place;
            }
        }
    }
}

fn can_be_base(record: &FrameRecord) -> bool {
    record.kind != FrameKind::Records && record.codec != Codec::ZstdDelta
}

/// Reads the frames of all packs whose features the index does not have. Frames that are damaged are none; a pack of which not
/// all could be found stays unlearnt.
fn learn(
    medium: &dyn Medium,
    medium_id: &MediumId,
    index: &Index,
    packs: &[SetRecord],
    interrupted: &AtomicBool,
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.expect(unlearnt_bytes(index, packs)?);
    for pack in packs {
        if index.has_learnt(pack.number, &pack.leaf)? {
            continue;
        }
        monitor.step(&format!(
            "reading {}",
            medium.place(MediumFile::Pack(pack.number))
        ));
        let mut frames = Vec::new();
        let read = PackTables::open(medium, medium_id, pack).and_then(|tables| {
            tables.frames(|_, record| {
                frames.push(record);
                Ok(())
            })
        });
        // What is wrong with a pack or its tables was said when the rest of the index was built.
        let all_found = match read {
            Ok(()) => true,
            Err(Error::Missing { .. }) => false,
            Err(e) if is_rotten(&e) => {
                let found = pack::scan(medium, pack.number)?;
                frames = found.frames;
                found.stopped_at.is_none()
            }
            Err(e) => return Err(e),
        };
        frames.retain(can_be_base);
        let bytes: u64 = frames.iter().map(|frame| u64::from(frame.frame_bytes)).sum();
        let damaged = learn_pack(medium, index, pack.number, &frames, interrupted, monitor)?;
        if damaged > 0 {
            let place = medium.place(MediumFile::Pack(pack.number));
            monitor.warn(&format!(
                "{place}: {damaged} of its frames cannot be read; holdall verify names them"
            ));
        }
        monitor.advance(u64::from(pack.pack_bytes).saturating_sub(bytes));
        if all_found {
            index.learn(pack.number, &pack.leaf)?;
        }
    }
    Ok(())
}

/// True where the bytes were had and are wrong, which they stay. What could not be had may be there the next time.
fn is_rotten(error: &Error) -> bool {
    matches!(
        error.root_cause(),
        Error::Mismatch { .. } | Error::Malformed { .. }
    )
}

/// Reads these frames of a pack on all cores; how many are damaged. Of frames with a feature in common that different threads
/// read, whichever is entered last counts.
fn learn_pack(
    medium: &dyn Medium,
    index: &Index,
    pack: PackNumber,
    frames: &[FrameRecord],
    interrupted: &AtomicBool,
    monitor: &dyn Monitor,
) -> Result<u64> {
    let (next, damaged, failed) = (AtomicUsize::new(0), Mutex::new(0), Mutex::new(None));
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let threads = cores.min(frames.len());
    let held = FEATURES_HELD / threads.max(1);
    let work = || -> Result<()> {
        let mut features = HashMap::new();
        while let Some(record) = frames.get(next.fetch_add(1, Ordering::Relaxed)) {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let at = Place {
                pack,
                frame: record.offset,
                frame_bytes: record.frame_bytes,
                start: 0,
            };
            match pack::load(medium, &at) {
                Ok(frame) => learn_frame(&mut features, pack, record, &frame),
                Err(e) if is_rotten(&e) => *damaged.lock() += 1,
                Err(e) => return Err(e),
            }
            if features.len() >= held {
                index.add_features(&std::mem::take(&mut features))?;
            }
            monitor.advance(u64::from(record.frame_bytes));
        }
        index.add_features(&features)
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(e) = work() {
                    // The others end at once.
                    next.store(frames.len(), Ordering::Relaxed);
                    failed.lock().get_or_insert(e);
                }
            });
        }
    });
    match failed.into_inner() {
        Some(e) => Err(e),
        None => Ok(damaged.into_inner()),
    }
}

/// Enters the tables of all listed packs. A pack whose tables are damaged is scanned frame by frame:
/// what holds of it is entered, and the damage is reported.
pub(super) fn rebuild(
    shared: &Arc<dyn Medium>,
    medium_id: &MediumId,
    index: &Index,
    packs: &[SetRecord],
    root: &PageHash,
    monitor: &dyn Monitor,
) -> Result<u64> {
    let medium = shared.as_ref();
    let bases = KeptFrames::new(Arc::clone(shared), KeptFrames::ROOM);
    if !packs.is_empty() {
        monitor.step(&format!("building the index from {} packs", packs.len()));
    }
    index.clear()?;
    let mut total = 0;
    for pack in packs {
        let (mut frames, mut chunks) = (Vec::new(), Vec::new());
        let read = PackTables::open(medium, medium_id, pack).and_then(|tables| {
            tables.frames(|_, record| {
                frames.push(record);
                Ok(())
            })?;
            tables.chunks(|record| {
                chunks.push(record);
                Ok(())
            })
        });
        if let Err(e) = read {
            monitor.warn(&format!("{e}; its frames are looked at one by one"));
            if medium.len(MediumFile::Pack(pack.number))?.is_none() {
                continue;
            }
            let kept = |n| packs.iter().any(|p| p.number == n);
            match pack::examine(medium, medium_id, pack.number, &bases, kept, |_, _| Ok(()))? {
                LeftOver::Whole {
                    frames: f, chunks: c, ..
                }
                | LeftOver::Partial { frames: f, chunks: c } => (frames, chunks) = (f, c),
            }
        }
        index.put_pack(pack.number, &frames, &chunks)?;
        total += len64(chunks.len());
    }
    index.settle(root)?;
    Ok(total)
}
