//! From plain frames to packs: encoders on every core, then one writer; bounded channels between.
//!
//! The first failure stops all of it: later frames are drained, so that nobody waits for ever.

use super::frames::room;
use super::likeness::Likeness;
use super::ticket::{Claim, Pending};
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::pack::SetRecord;
use crate::ids::{ChunkId, MediumId};
use crate::index::Index;
use crate::medium::{Medium, MediumFile};
use crate::monitor::Monitor;
use crate::pack::{EncodedFrame, Encoder, KeptFrames, Level, PackWriter, PlainFrame};
use crate::sketch::Feature;
use crate::units::PackNumber;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Most buffers kept for the next frames.
const SPARE: usize = 8;

/// Chunks in frames that were handed in, but not yet in a pack that is whole and durable.
pub(super) type OpenChunks = Mutex<HashMap<ChunkId, (Pending, u32)>>;

/// What both ends of the pipeline share.
#[derive(Debug)]
pub(super) struct Belt {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) medium_id: MediumId,
    pub(super) index: Arc<Index>,
    pub(super) open: OpenChunks,
    pub(super) monitor: Arc<dyn MonitorDebug>,
    /// Finds bases; none where no deltas are written.
    pub(super) likeness: Option<Likeness>,
    bases: KeptFrames,
    level: Level,
    failure: OnceLock<Arc<Error>>,
    /// Bytes of the frames of layers' and chains' trees that were appended.
    tree_bytes: AtomicU64,
    /// Buffers of frames that were written: a fresh one costs page faults for each of its pages.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// A monitor that can stand in a `Debug` structure.
pub(super) trait MonitorDebug: Monitor + std::fmt::Debug {}

/// Wraps a monitor that has no `Debug` of its own.
pub(super) struct Shown(pub(super) Arc<dyn Monitor>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}

impl Monitor for Shown {
    fn expect(&self, bytes: u64) {
        self.0.expect(bytes);
    }
    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }
    fn deduplicated(&self, bytes: u64) {
        self.0.deduplicated(bytes);
    }
    fn stored(&self, bytes: u64) {
        self.0.stored(bytes);
    }
    fn step(&self, text: &str) {
        self.0.step(text);
    }
    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
}

impl MonitorDebug for Shown {}

impl Belt {
    pub(super) fn new(
        medium: Arc<dyn Medium>,
        medium_id: MediumId,
        index: Arc<Index>,
        monitor: Arc<dyn Monitor>,
        level: Level,
        likeness: Option<Likeness>,
    ) -> Self {
        Self {
            bases: KeptFrames::new(Arc::clone(&medium), KeptFrames::ROOM),
            level,
            likeness,
            medium,
            medium_id,
            index,
            open: Mutex::default(),
            monitor: Arc::new(Shown(monitor)),
            failure: OnceLock::new(),
            tree_bytes: AtomicU64::new(0),
            spare: Mutex::default(),
        }
    }

    /// How much work is put into taking less space.
    pub(super) const fn level(&self) -> Level {
        self.level
    }

    /// Bytes of the frames of layers' and chains' trees that were appended so far.
    pub(super) fn tree_bytes(&self) -> u64 {
        self.tree_bytes.load(Ordering::Relaxed)
    }

    /// An empty buffer that a frame fits into.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare
            .lock()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(room(self.level)))
    }

    fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.lock();
        if buffer.capacity() >= room(self.level) && spare.len() < SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Fails where the pipeline has.
    pub(super) fn check(&self) -> Result<()> {
        self.failure
            .get()
            .map_or(Ok(()), |e| Err(Error::Shared(Arc::clone(e))))
    }

    /// Waits for a place; says why where the pipeline failed.
    pub(super) fn wait(&self, pending: &Pending) -> Result<Place> {
        pending
            .wait()
            .map_err(|_| self.check().err().unwrap_or_else(died))
    }

    fn fail(&self, error: Error) {
        let _first_one_stays = self.failure.set(Arc::new(error));
    }
}

fn died() -> Error {
    Error::refused("a thread of the writing pipeline died")
}

/// A frame on its way.
pub(super) struct Job<F> {
    pub(super) frame: F,
    pub(super) of_tree: bool,
    /// The frame that it is to become a delta of, where that pays.
    pub(super) like: Option<Pending>,
    pub(super) features: Vec<Feature>,
    pub(super) claim: Claim,
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Pipeline {
    belt: Arc<Belt>,
    /// Held while a frame is made known as a base and handed in: see [`Pipeline::in_order`].
    order: Mutex<()>,
    frames: Option<Sender<Job<PlainFrame>>>,
    encoders: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Result<Vec<SetRecord>>>>,
}

impl std::fmt::Debug for Job<PlainFrame> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Pipeline {
    /// Starts one encoder a core and the writer, which goes on with `resumed` or begins pack `next`.
    pub(super) fn start(belt: &Arc<Belt>, resumed: Option<PackWriter>, next: PackNumber) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (frames, to_encode) = bounded::<Job<PlainFrame>>(cores);
        let (encoded, to_write) = bounded::<Job<EncodedFrame>>(cores);
        let spawned = |e| Error::io("a thread", e);
        let mut encoders = Vec::new();
        for n in 0..cores {
            let (belt, from, to, encoder) = (
                Arc::clone(belt),
                to_encode.clone(),
                encoded.clone(),
                Encoder::new(belt.level)?,
            );
            let thread = std::thread::Builder::new().name(format!("encode-{n}"));
            encoders.push(
                thread
                    .spawn(move || encode(&belt, encoder, &from, &to))
                    .map_err(spawned)?,
            );
        }
        let writer = Writer {
            belt: Arc::clone(belt),
            pack: resumed,
            next,
            done: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("write".to_owned());
        let writer = thread.spawn(move || writer.run(&to_write)).map_err(spawned)?;
        Ok(Self {
            belt: Arc::clone(belt),
            order: Mutex::default(),
            frames: Some(frames),
            encoders,
            writer: Some(writer),
        })
    }

    /// Whoever hands frames in takes its turn. An encoder waits for the base of its delta, so the base has to be on its way
    /// before anybody can hand in a delta of it: otherwise all encoders may wait for a frame that finds no place in the queue.
    /// Encoders and the writer never take it.
    pub(super) fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock()
    }

    /// Hands a frame in; waits where the pipeline is full.
    pub(super) fn submit(&self, job: Job<PlainFrame>) -> Result<()> {
        let sent = self.frames.as_ref().is_some_and(|to| to.send(job).is_ok());
        self.belt.check()?;
        if sent { Ok(()) } else { Err(died()) }
    }

    /// Lets all frames through, finishes the last pack, and gives the packs written.
    pub(super) fn finish(mut self) -> Result<Vec<SetRecord>> {
        let packs = self.join()?;
        self.belt.check()?;
        Ok(packs)
    }

    fn join(&mut self) -> Result<Vec<SetRecord>> {
        self.frames = None;
        for thread in self.encoders.drain(..) {
            thread.join().map_err(|_| died())?;
        }
        self.writer
            .take()
            .map_or_else(|| Ok(Vec::new()), |writer| writer.join().map_err(|_| died())?)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.writer.is_some() {
            // An abandoned run: what is in flight still arrives, so that the next run can take it over.
            let _abandoned = self.join();
        }
    }
}

fn encode(
    belt: &Belt,
    mut encoder: Encoder,
    from: &Receiver<Job<PlainFrame>>,
    to: &Sender<Job<EncodedFrame>>,
) {
    // A job that is dropped fails its claim.
    for job in from {
        if belt.check().is_err() {
            continue;
        }
        // A base that cannot be had (rotten, or the index is wrong about it) is none: the frame stands by itself. One that is on its
        // way was handed in before and is no delta itself, so that it can be waited for here.
        let base = job
            .like
            .as_ref()
            .and_then(|base| belt.wait(base).ok())
            .and_then(|place| belt.bases.base(&place).ok().map(|frame| (place, frame)))
            .filter(|(_, frame)| frame.kind == job.frame.kind);
        match encoder.encode(
            job.frame,
            base.as_ref().map(|(place, frame)| (place, frame.as_ref())),
        ) {
            Ok(frame) => {
                let _writer_died_and_says_so = to.send(Job {
                    frame,
                    of_tree: job.of_tree,
                    like: job.like,
                    features: job.features,
                    claim: job.claim,
                });
            }
            Err(e) => belt.fail(e),
        }
    }
}

struct Writer {
    belt: Arc<Belt>,
    pack: Option<PackWriter>,
    next: PackNumber,
    done: Vec<SetRecord>,
}

impl Writer {
    fn run(mut self, from: &Receiver<Job<EncodedFrame>>) -> Result<Vec<SetRecord>> {
        for Job {
            frame,
            of_tree,
            features,
            claim,
            ..
        } in from
        {
            if self.belt.check().is_err() {
                continue;
            }
            match self.append(&frame) {
                Ok(place) => {
                    if of_tree {
                        let bytes = u64::from(place.frame_bytes);
                        self.belt.tree_bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    if let Some(likeness) = &self.belt.likeness
                        && frame.header.base.is_none()
                        && let Err(e) = likeness.enter(&features, place, claim.ticket())
                    {
                        self.belt.fail(e);
                    }
                    claim.place(place);
                }
                Err(e) => self.belt.fail(e),
            }
            self.belt.recycle(frame.stored);
        }
        if self.belt.check().is_ok() {
            self.finish_pack()?;
        }
        Ok(self.done)
    }

    fn append(&mut self, frame: &EncodedFrame) -> Result<Place> {
        if self.pack.as_ref().is_some_and(|pack| !pack.has_room_for(frame)) {
            self.finish_pack()?;
        }
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => {
                let number = self.next;
                let after = number
                    .get()
                    .checked_add(1)
                    .ok_or_else(|| Error::refused("no pack number is left"))?;
                let created = PackWriter::create(self.belt.medium.as_ref(), self.belt.medium_id, number)?;
                self.next = PackNumber::new(after);
                none.insert(created)
            }
        };
        let at = pack.append(frame)?;
        let frame_bytes = frame.header.frame_bytes();
        self.belt.monitor.stored(u64::from(frame_bytes));
        Ok(Place {
            pack: pack.number(),
            frame: at,
            frame_bytes,
            start: 0,
        })
    }

    /// Makes the pack whole and durable; only then can later runs, and other packs, lean on it.
    fn finish_pack(&mut self) -> Result<()> {
        let Some(pack) = self.pack.take() else {
            return Ok(());
        };
        let number = pack.number();
        if pack.is_empty() {
            return self.belt.medium.remove(MediumFile::Pack(number));
        }
        // After a failed fsync what can be read back need not be on the medium: the next run must not
        // take it over.
        let written = pack.finish().inspect_err(|e| {
            if matches!(e, Error::Io { .. }) {
                let _medium_fails_already = self.belt.medium.remove(MediumFile::Pack(number));
            }
        })?;
        self.belt.index.unsettle()?;
        self.belt
            .index
            .put_pack(number, &written.frames, &written.chunks)?;
        if let Some(likeness) = &self.belt.likeness {
            likeness.settle(number, &written.record.leaf)?;
        }
        // The index knows them first, so that no look-up misses them in between.
        let mut open = self.belt.open.lock();
        for chunk in &written.chunks {
            open.remove(&chunk.id);
        }
        drop(open);
        self.done.push(written.record);
        Ok(())
    }
}
