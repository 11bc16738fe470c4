//! Packs: tables against their leaf, then every frame's header and stored bytes, on all cores.

use super::contents::usable;
use super::journal::{CheckedPack, Delta, Journal, PackDamage};
use super::sample::{Drawing, Sample, Sampled};
use super::{Check, is_unreadable};
use crate::error::{Error, Result};
use crate::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use crate::format::pack::{FrameRecord, SetRecord};
use crate::ids::MediumId;
use crate::medium::{Medium, MediumFile};
use crate::monitor::Monitor;
use crate::pack::{self, KeptFrames, PackTables};
use crate::units::{PackNumber, index, len64};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes read at once: neighbouring frames together.
const BATCH: u32 = 1024 * 1024;

/// Neighbouring frames of one pack.
struct Batch {
    pack: Arc<PackRun>,
    frames: Vec<Listed>,
}

/// A frame as the pack's tables list it. Its chunks are not known where the tables are damaged.
struct Listed {
    record: FrameRecord,
    chunks: Option<Vec<FrameChunk>>,
}

/// A pack that is being checked. Every batch of it has it; whoever lets go of it last has what was found.
struct PackRun {
    found: Mutex<FoundPack>,
}

/// What was found of a pack so far.
struct FoundPack {
    checked: CheckedPack,
    /// It has no frame that can be read.
    gone: bool,
    /// Whether something of it could not be read, as against read and found to be wrong.
    unreadable: bool,
    /// Whether all its frames were handed out.
    fed: bool,
}

impl PackRun {
    fn new(number: PackNumber) -> Arc<Self> {
        let checked = CheckedPack {
            number,
            frames: 0,
            damages: Vec::new(),
            deltas: Vec::new(),
        };
        let found = FoundPack {
            checked,
            gone: false,
            unreadable: false,
            fed: false,
        };
        Arc::new(Self {
            found: Mutex::new(found),
        })
    }

    fn damage(&self, frame: Option<u32>, error: &Error) {
        let mut found = self.found.lock();
        found.unreadable |= is_unreadable(error);
        found.checked.damages.push(PackDamage {
            frame,
            text: error.to_string(),
        });
    }
}

/// What the threads share.
struct Threads<'a> {
    medium: Arc<dyn Medium>,
    monitor: &'a dyn Monitor,
    journal: Option<Arc<dyn Journal>>,
    /// Where deltas' bases are had from, where frames are decoded.
    bases: Option<KeptFrames>,
    to_check: Receiver<Batch>,
    found: Sender<FoundPack>,
    /// A read has failed, which may mean that the disk is away.
    doubted: AtomicBool,
}

impl Threads<'_> {
    fn work(&self) {
        for batch in &self.to_check {
            let (pack, bytes) = (Arc::clone(&batch.pack), batch.bytes());
            check_batch(self.medium.as_ref(), batch, self.bases.as_ref());
            if pack.found.lock().unreadable {
                self.doubted.store(true, Ordering::Relaxed);
            }
            self.monitor.advance(bytes);
            self.let_go(pack);
        }
    }

    /// Hands on what was found of a pack, if this was the last who had it.
    fn let_go(&self, pack: Arc<PackRun>) {
        let Some(pack) = Arc::into_inner(pack) else { return };
        let mut found = pack.found.into_inner();
        // The run is being ended, and this pack was not read to its end.
        if !found.fed {
            return;
        }
        found.checked.damages.sort_by_key(|damage| damage.frame);
        found.checked.deltas.sort_by_key(|delta| delta.frame);
        if let Some(journal) = self.journal.as_ref().filter(|_| !found.unreadable) {
            journal.pack_checked(&found.checked);
        }
        let _all_end_together = self.found.send(found);
    }
}

/// Checks all packs of the set, or a sample of their frames; each thread reads and hashes batches of its own.
pub(super) fn check_all(check: &mut Check<'_>, medium_id: &MediumId, set: &[SetRecord]) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (batches, to_check) = bounded::<Batch>(cores * 2);
    let (found, all_found) = crossbeam_channel::unbounded::<FoundPack>();
    let decodes = check.options.full || check.options.sample.is_some();
    let threads = Threads {
        medium: Arc::clone(&check.medium),
        monitor: check.monitor,
        // A sample is no part of anything that another run could go on with.
        journal: check
            .options
            .journal
            .clone()
            .filter(|_| check.options.sample.is_none()),
        bases: decodes.then(|| KeptFrames::new(Arc::clone(&check.medium), KeptFrames::ROOM)),
        to_check,
        found,
        doubted: AtomicBool::new(false),
    };
    let feeder = Feeder {
        medium_id,
        threads: &threads,
        batches,
    };
    std::thread::scope(|scope| {
        // Twice the cores: while some hash, others wait for the device.
        for _ in 0..cores * 2 {
            scope.spawn(|| threads.work());
        }
        match check.options.sample {
            Some(sample) => feeder.feed_sample(check, set, sample),
            None => feeder.feed_all(check, set),
        }
    })?;
    if threads.doubted.load(Ordering::Relaxed) {
        check.still_there()?;
    }
    drop(threads);
    let mut packs: Vec<FoundPack> = all_found.iter().collect();
    packs.sort_by_key(|pack| {
        let damage = pack.checked.damages.first();
        (pack.checked.number, damage.map(|damage| damage.frame))
    });
    let mut deltas = Vec::new();
    for pack in packs {
        let number = pack.checked.number;
        check.report.frames += pack.checked.frames;
        check.report.unreadable |= pack.unreadable;
        if pack.gone {
            check.bad.packs.insert(number);
        }
        for damage in pack.checked.damages {
            if let Some(frame) = damage.frame {
                check.bad.frames.insert((number, frame));
            }
            check.damaged(damage.text);
        }
        let stand_on = pack.checked.deltas.into_iter();
        deltas.extend(stand_on.map(|delta| (number, delta.frame, (delta.base, delta.kind))));
    }
    check_bases(check, &deltas);
    if let Some(sampled) = &mut check.report.sampled {
        sampled.damaged = len64(check.bad.frames.len());
    }
    Ok(())
}

/// Every base is a frame of the set, the one that its deltas name, of their kind, and no delta. What stands on one that does not hold cannot
/// be had either.
fn check_bases(check: &mut Check<'_>, deltas: &[(PackNumber, u32, (Base, FrameKind))]) {
    let mut known: HashMap<(Base, FrameKind), bool> = HashMap::new();
    for (pack, offset, base) in deltas {
        let holds = match known.get(base) {
            Some(holds) => *holds,
            None => {
                let found = base_holds(check, &base.0, base.1);
                if let Err(e) = &found {
                    let medium = check.medium.place(MediumFile::Pack(*pack));
                    check.damaged(format!("{medium} at {offset}: its base: {e}"));
                }
                known.insert(*base, found.is_ok());
                found.is_ok()
            }
        };
        if !holds {
            check.bad.frames.insert((*pack, *offset));
        }
    }
}

fn base_holds(check: &Check<'_>, base: &Base, kind: FrameKind) -> Result<()> {
    usable(check, &base.place())?;
    let place = pack::place_of(check.medium.as_ref(), base.pack, base.frame);
    let header = pack::read_header(check.medium.as_ref(), &base.place(), &place)?;
    if header.stored_hash != base.hash {
        return Err(Error::mismatch(place, "the frame that a delta names as its base"));
    }
    if header.codec == Codec::ZstdDelta {
        return Err(Error::malformed(place, "a delta's base is itself a delta"));
    }
    if header.kind != kind || header.frame_bytes() != base.frame_bytes {
        return Err(Error::malformed(
            place,
            "a delta's base is of another kind, or has another length",
        ));
    }
    Ok(())
}

/// Reads the tables and hands out batches.
struct Feeder<'a> {
    medium_id: &'a MediumId,
    threads: &'a Threads<'a>,
    batches: Sender<Batch>,
}

impl Feeder<'_> {
    /// Hands out every frame of every pack, but of those that an earlier run has read.
    fn feed_all(self, check: &mut Check<'_>, set: &[SetRecord]) -> Result<()> {
        let mut to_read = Vec::new();
        for record in set {
            check.report.packs += 1;
            check.report.stored_bytes += u64::from(record.pack_bytes);
            match self.taken_over(record) {
                Some(checked) => {
                    check.report.taken_over.packs += 1;
                    check.report.taken_over.bytes += u64::from(record.pack_bytes);
                    let _all_end_together = self.threads.found.send(FoundPack {
                        checked,
                        gone: false,
                        unreadable: false,
                        fed: true,
                    });
                }
                None => to_read.push(record),
            }
        }
        let bytes = to_read.iter().map(|record| u64::from(record.pack_bytes));
        check.monitor.expect(bytes.sum());
        for record in to_read {
            let pack = PackRun::new(record.number);
            let fed = self.feed_pack(check, record, &pack);
            pack.found.lock().fed = fed.is_ok();
            self.threads.let_go(pack);
            fed?;
        }
        Ok(())
    }

    /// What an earlier run found of a pack, if it is there still and as long as it was.
    fn taken_over(&self, record: &SetRecord) -> Option<CheckedPack> {
        let checked = self.threads.journal.as_ref()?.pack(record.number)?;
        let len = self.threads.medium.len(MediumFile::Pack(record.number));
        (len.ok()? == Some(u64::from(record.pack_bytes))).then_some(checked)
    }

    fn feed_pack(&self, check: &mut Check<'_>, record: &SetRecord, pack: &Arc<PackRun>) -> Result<()> {
        let frames = self.frames_of(check, record, pack)?;
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for frame in frames {
            if bytes + frame.record.frame_bytes > BATCH && !waiting.is_empty() {
                self.hand_out(check, pack, std::mem::take(&mut waiting))?;
                bytes = 0;
            }
            bytes += frame.record.frame_bytes;
            waiting.push(frame);
        }
        self.hand_out(check, pack, waiting)
    }

    /// Hands out a sample of all frames. Every pack's tables are read for it, and of the rest nothing.
    fn feed_sample(self, check: &mut Check<'_>, set: &[SetRecord], sample: Sample) -> Result<()> {
        let mut drawing = Drawing::new(sample);
        for record in set {
            check.report.packs += 1;
            let pack = PackRun::new(record.number);
            let frames = self.frames_of(check, record, &pack);
            let mut found = pack.found.lock();
            found.checked.frames = 0;
            found.fed = frames.is_ok();
            drop(found);
            self.threads.let_go(pack);
            for frame in frames? {
                drawing.offer(record.number, frame.record.offset.get(), frame);
            }
        }
        let (frames, mut drawn) = drawing.finish();
        // In the order in which they lie on the disk.
        drawn.sort_by_key(|(pack, frame)| (*pack, frame.record.offset));
        let bytes = drawn.iter().map(|(_, frame)| u64::from(frame.record.frame_bytes));
        let drawn_bytes = bytes.sum();
        check.report.stored_bytes = drawn_bytes;
        check.report.sampled = Some(Sampled {
            seed: sample.seed,
            drawn: len64(drawn.len()),
            drawn_bytes,
            frames,
            damaged: 0,
        });
        check.monitor.expect(drawn_bytes);
        for (number, frame) in drawn {
            let pack = PackRun::new(number);
            let mut found = pack.found.lock();
            found.checked.frames = 1;
            found.fed = true;
            drop(found);
            self.hand_out(check, &pack, vec![frame])?;
            self.threads.let_go(pack);
        }
        Ok(())
    }

    fn hand_out(&self, check: &Check<'_>, pack: &Arc<PackRun>, frames: Vec<Listed>) -> Result<()> {
        check.check_interrupted()?;
        // Where the disk was pulled, every further read would fail as well.
        if self.threads.doubted.swap(false, Ordering::Relaxed) {
            check.still_there()?;
        }
        let pack = Arc::clone(pack);
        let _threads_end_only_after_us = self.batches.send(Batch { pack, frames });
        Ok(())
    }

    /// The frames of a pack by its tables. One whose tables are damaged is scanned by its frames' own headers.
    fn frames_of(
        &self,
        check: &mut Check<'_>,
        record: &SetRecord,
        pack: &Arc<PackRun>,
    ) -> Result<Vec<Listed>> {
        check.check_interrupted()?;
        let medium = check.medium.as_ref();
        let mut frames = Vec::new();
        let tables = PackTables::open(medium, self.medium_id, record)
            .and_then(|tables| read_tables(&tables, &mut frames));
        if let Err(e) = tables {
            pack.damage(None, &e);
            if is_unreadable(&e) {
                check.still_there()?;
            }
            if !medium
                .len(MediumFile::Pack(record.number))
                .is_ok_and(|len| len.is_some())
            {
                pack.found.lock().gone = true;
                return Ok(Vec::new());
            }
            let found = pack::scan(medium, record.number)?;
            if let Some(end) = found.stopped_at {
                let place = medium.place(MediumFile::Pack(record.number));
                let why = "no frame can be found from here on";
                pack.damage(None, &Error::malformed(format!("{place} at {end}"), why));
            }
            let scanned = found.frames.into_iter();
            frames = scanned.map(|record| Listed { record, chunks: None }).collect();
        }
        pack.found.lock().checked.frames = len64(frames.len());
        Ok(frames)
    }
}

/// Every frame with its chunks, which must follow each other within it.
fn read_tables(tables: &PackTables<'_>, frames: &mut Vec<Listed>) -> Result<()> {
    tables.frames(|_, record| {
        frames.push(Listed {
            record,
            chunks: Some(Vec::new()),
        });
        Ok(())
    })?;
    tables.chunks(|chunk| {
        let chunks = frames.get_mut(index(chunk.frame)).and_then(|f| f.chunks.as_mut());
        chunks
            .ok_or_else(|| Error::malformed("a pack's tables", "a chunk in a frame that is not there"))?
            .push(FrameChunk {
                id: chunk.id,
                len: chunk.len,
            });
        Ok(())
    })
}

impl Batch {
    fn bytes(&self) -> u64 {
        self.frames.iter().map(|f| u64::from(f.record.frame_bytes)).sum()
    }
}

fn check_batch(medium: &dyn Medium, batch: Batch, bases: Option<&KeptFrames>) {
    let (Some(first), Some(last)) = (batch.frames.first(), batch.frames.last()) else {
        return;
    };
    let start = first.record.offset.get();
    let len = last.record.offset.get() + last.record.frame_bytes - start;
    let file = MediumFile::Pack(batch.pack.found.lock().checked.number);
    let together = medium.read(file, u64::from(start), index(len));
    for listed in &batch.frames {
        let frame = &listed.record;
        let place = || format!("{} at {}", medium.place(file), frame.offset);
        let checked = match &together {
            Ok(bytes) => {
                let from = index(frame.offset.get() - start);
                check_frame(
                    bytes
                        .get(from..from + index(frame.frame_bytes))
                        .unwrap_or_default(),
                    listed,
                    bases,
                    &place,
                )
            }
            // One bad sector must not cost its neighbours: each is tried alone.
            Err(_) => medium
                .read(file, u64::from(frame.offset.get()), index(frame.frame_bytes))
                .and_then(|bytes| check_frame(&bytes, listed, bases, &place)),
        };
        let frame = frame.offset.get();
        match checked {
            Ok(Some((kind, base))) => {
                let delta = Delta { frame, kind, base };
                batch.pack.found.lock().checked.deltas.push(delta);
            }
            Ok(None) => {}
            Err(error) => batch.pack.damage(Some(frame), &error),
        }
    }
}

/// The frame's kind, and the base that it names, if it is a delta.
fn check_frame(
    bytes: &[u8],
    listed: &Listed,
    bases: Option<&KeptFrames>,
    place: &impl Fn() -> String,
) -> Result<Option<(FrameKind, Base)>> {
    let header = FrameHeader::decode(bytes, &place())?;
    let record = &listed.record;
    let agrees = header.stored_hash == record.stored_hash
        && header.frame_bytes() == record.frame_bytes
        && header.plain_bytes == record.plain_bytes
        && header.kind == record.kind
        && header.codec == record.codec
        && header.base.map(|b| b.hash) == record.base
        && header.chunks.len() == usize::from(record.chunks)
        && listed
            .chunks
            .as_ref()
            .is_none_or(|chunks| *chunks == header.chunks);
    if !agrees {
        return Err(Error::malformed(
            place(),
            "the frame's header and the pack's tables contradict each other",
        ));
    }
    pack::check_stored(&header, bytes.get(header.len()..).unwrap_or_default(), place)?;
    if let Some(bases) = bases {
        pack::decode_frame(bytes, |base| bases.base(&base.place()), place)?;
    }
    Ok(header.base.map(|base| (header.kind, base)))
}
