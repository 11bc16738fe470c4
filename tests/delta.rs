//! Frames kept as the difference to another: written where it pays, read through their base, and what becomes of them when
//! the base is lost or lies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod sample;

use holdall::Error;
use holdall::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use holdall::format::pack::FrameRecord;
use holdall::generation;
use holdall::ids::{ChunkId, FrameHash, MediumId, Sha256};
use holdall::ingest::{self, Ingest, IngestOptions, Reindexed};
use holdall::medium::{Medium, MediumFile, MediumLock, MediumWriter, MemoryMedium, SlotNumber};
use holdall::monitor::{Monitor, Silent};
use holdall::name::SignerName;
use holdall::pack::{self, EncodedFrame, Level, PackTables, PackWriter};
use holdall::sketch;
use holdall::units::{Generation, PackNumber, RecordNumber, index};
use holdall::verify::Report;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

const SIZE: usize = 600_000;

/// A file, and its next version: bytes changed all over, and some put in, so that no chunk is the same.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let before = sample::noise(SIZE, 1);
    let mut after = before.clone();
    for at in (0..SIZE).step_by(1_500) {
        after[at] ^= 0x55;
    }
    after.splice(5_000..5_000, sample::noise(77, 2));
    (before, after)
}

struct Written {
    medium: MemoryMedium,
    shared: Arc<dyn Medium>,
    state: tempfile::TempDir,
}

fn blank() -> Written {
    let medium = MemoryMedium::new();
    sample::init(&medium);
    Written {
        shared: Arc::new(medium.clone()),
        medium,
        state: tempfile::tempdir().unwrap(),
    }
}

impl Written {
    fn begin(&self, level: Level) -> Ingest {
        let options = IngestOptions {
            witness: holdall::custody::Witness::unnamed(),
            level,
            state: self.state.path().to_owned(),
            interrupted: Arc::default(),
        };
        Ingest::open(Arc::clone(&self.shared), &options, Arc::new(Silent)).unwrap()
    }

    fn add(&self, level: Level, blobs: &[Vec<u8>]) {
        let ingest = self.begin(level);
        sample::put(&ingest, blobs).unwrap();
        ingest.commit().unwrap();
    }

    fn bytes(&self) -> u64 {
        let packs = self.medium.packs().unwrap();
        packs
            .iter()
            .map(|p| self.medium.len(MediumFile::Pack(*p)).unwrap().unwrap())
            .sum()
    }

    /// All frames, with their packs.
    fn frames(&self) -> Vec<(PackNumber, FrameRecord)> {
        let root = generation::current(&self.medium, None).unwrap().root;
        let mut out = Vec::new();
        for pack in generation::pack_set(&self.medium, &root).unwrap() {
            let tables = PackTables::open(&self.medium, &root.medium, &pack).unwrap();
            let mut push = |_, frame| {
                out.push((pack.number, frame));
                Ok(())
            };
            tables.frames(&mut push).unwrap();
        }
        out
    }

    fn deltas(&self) -> Vec<(PackNumber, FrameRecord)> {
        let mut frames = self.frames();
        frames.retain(|(_, frame)| frame.codec == Codec::ZstdDelta);
        frames
    }

    /// The first frame of files.
    fn first_frame(&self) -> (PackNumber, FrameRecord) {
        let mut frames = self.frames().into_iter();
        frames.find(|(_, f)| f.kind == FrameKind::Plaintext).unwrap()
    }

    fn verified(&self, full: bool) -> Report {
        sample::verified_twice(&self.shared, full).unwrap()
    }

    fn assert_whole(&self, blobs: &[&Vec<u8>]) {
        for full in [false, true] {
            let report = self.verified(full);
            assert!(report.is_whole(), "{:?}", report.damages);
        }
        let disk = sample::open(&self.shared).unwrap();
        blobs.iter().for_each(|blob| sample::read(&disk, blob).unwrap());
    }
}

#[test]
fn the_next_version_of_a_file_takes_what_has_changed() {
    let (before, after) = versions();
    let disk = blank();
    disk.add(Level::Default, std::slice::from_ref(&before));
    assert!(disk.deltas().is_empty());
    let was = disk.bytes();
    disk.add(Level::Default, std::slice::from_ref(&after));
    let grown = disk.bytes() - was;
    assert!(!disk.deltas().is_empty());
    assert!(
        grown < SIZE as u64 / 6,
        "{grown} bytes for {SIZE} that hardly differ"
    );
    disk.assert_whole(&[&before, &after]);
}

#[test]
fn both_in_one_run_and_an_index_made_anew_do_as_well() {
    let (before, after) = versions();
    let disk = blank();
    disk.add(Level::Default, &[before.clone(), after.clone()]);
    let elsewhere = Written {
        state: tempfile::tempdir().unwrap(),
        ..disk
    };
    elsewhere.assert_whole(&[&before, &after]);
    let mut third = after.clone();
    third[SIZE / 2] ^= 1;
    elsewhere.add(Level::Default, std::slice::from_ref(&third));
    elsewhere.assert_whole(&[&before, &after, &third]);
}

#[test]
fn a_base_is_never_a_delta_however_many_versions_there_are() {
    let (before, mut version) = versions();
    let disk = blank();
    disk.add(Level::Default, &[before]);
    for n in 0..6_usize {
        version[n * 50_000 + 3] ^= 0x77;
        disk.add(Level::Default, std::slice::from_ref(&version));
    }
    let bases: Vec<_> = disk
        .deltas()
        .into_iter()
        .filter_map(|(_, frame)| frame.base)
        .collect();
    assert!(bases.len() >= 6, "{}", bases.len());
    let frames = disk.frames();
    for base in bases {
        let found = frames
            .iter()
            .find(|(_, frame)| frame.stored_hash == base)
            .unwrap();
        assert_ne!(found.1.codec, Codec::ZstdDelta);
    }
    disk.assert_whole(&[&version]);
}

#[test]
fn strangers_are_kept_by_themselves_and_so_is_everything_at_the_fast_level() {
    let (before, after) = versions();
    let disk = blank();
    disk.add(Level::Default, &[sample::noise(SIZE, 8), sample::words(SIZE, 9)]);
    assert!(disk.deltas().is_empty());
    disk.add(Level::Fast, &[before, after]);
    assert!(disk.deltas().is_empty());
}

#[test]
fn a_run_that_broke_off_is_taken_up_with_its_deltas() {
    let (before, after) = versions();
    for at_once in [false, true] {
        let disk = blank();
        if !at_once {
            disk.add(Level::Default, std::slice::from_ref(&before));
        }
        {
            let ingest = disk.begin(Level::Default);
            // The second follows at once: the first is still on its way to a pack.
            sample::put(&ingest, &[before.clone(), after.clone()]).unwrap();
        }
        disk.add(Level::Default, &[before.clone(), after.clone()]);
        // Both once would be twice the size; a frame that was not full when the run broke off may be there twice.
        assert!(disk.bytes() < SIZE as u64 * 3 / 2, "{}", disk.bytes());
        assert!(!disk.deltas().is_empty());
        disk.assert_whole(&[&before, &after]);
    }
}

#[test]
fn many_writers_of_versions_of_one_thing_do_not_wait_for_each_other() {
    let (before, after) = versions();
    let writers = 4 * std::thread::available_parallelism().unwrap().get();
    for round in 0..10 {
        let disk = blank();
        let ingest = disk.begin(Level::Default);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (ingest, mut blob) = (
                    &ingest,
                    if writer % 2 == 0 {
                        before.clone()
                    } else {
                        after.clone()
                    },
                );
                for at in (writer + round..SIZE).step_by(3_000) {
                    blob[at] ^= 0x11;
                }
                scope.spawn(move || sample::put(ingest, &[blob]).unwrap());
            }
        });
        ingest.commit().unwrap();
        assert!(!disk.deltas().is_empty());
        assert!(disk.verified(true).is_whole());
    }
}

#[test]
fn what_a_killed_run_left_can_be_a_base() {
    let (before, after) = versions();
    for unfinished in [false, true] {
        let disk = blank();
        {
            let ingest = disk.begin(Level::Default);
            sample::put(&ingest, std::slice::from_ref(&before)).unwrap();
        }
        let pack = disk.medium.packs().unwrap()[0];
        if unfinished {
            // A few bytes are missing of its tables.
            disk.medium
                .tamper(MediumFile::Pack(pack), |bytes| bytes.truncate(bytes.len() - 9));
        }
        // What the run knew is lost with it.
        let taken_up = Written {
            state: tempfile::tempdir().unwrap(),
            ..disk
        };
        taken_up.add(Level::Default, std::slice::from_ref(&after));
        assert!(!taken_up.deltas().is_empty(), "{unfinished}");
        taken_up.assert_whole(&[&after]);
    }
}

/// What a run had to say.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Monitor for Warnings {
    fn warn(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// Adds a blob from that host; how much the packs grew, and what was said of what the host does not know.
fn add_from(disk: &Written, state: &Path, blob: &[u8]) -> (u64, usize) {
    let (was, said) = (disk.bytes(), Arc::new(Warnings::default()));
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: Level::Default,
        state: state.to_owned(),
        interrupted: Arc::default(),
    };
    let monitor = Arc::<Warnings>::clone(&said);
    let ingest = Ingest::open(Arc::clone(&disk.shared), &options, monitor).unwrap();
    sample::put(&ingest, &[blob.to_vec()]).unwrap();
    ingest.commit().unwrap();
    let said = said.0.lock().unwrap();
    let of_it = said.iter().filter(|text| text.contains("reindex --likeness"));
    (disk.bytes() - was, of_it.count())
}

fn reindexed(
    medium: &Arc<dyn Medium>,
    state: &Path,
    likeness: bool,
    monitor: &dyn Monitor,
) -> holdall::Result<Reindexed> {
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: Level::Default,
        state: state.to_owned(),
        interrupted: Arc::default(),
    };
    ingest::reindex(medium, &options, likeness, monitor)
}

#[test]
fn another_host_says_that_it_knows_no_bases_and_finds_them_when_asked() {
    const LARGE: usize = 6 << 20;
    let mut version = sample::noise(LARGE, 1);
    let mut change = |seed: usize| {
        for at in (seed * 700..LARGE).step_by(20_000) {
            version[at] ^= 0x55;
        }
        version.clone()
    };
    let disk = blank();
    let hosts: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let [here, elsewhere, learnt] = [0, 1, 2].map(|n| hosts[n].path());
    // Nothing is there yet, and then all that is there was added here.
    assert_eq!(add_from(&disk, here, &change(0)).1, 0);
    let (grown, said) = add_from(&disk, here, &change(1));
    assert!(grown < LARGE as u64 / 2 && said == 0, "{grown} {said}");
    // Elsewhere it is said each time, and what is added there is known from then on.
    let (grown, said) = add_from(&disk, elsewhere, &change(2));
    assert!(grown > LARGE as u64 / 2 && said == 1, "{grown} {said}");
    let (grown, said) = add_from(&disk, elsewhere, &change(3));
    assert!(grown < LARGE as u64 / 2 && said == 1, "{grown} {said}");
    // Asked to, a third host finds out by itself, stopped in between or not.
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: Level::Default,
        state: learnt.to_owned(),
        interrupted: Arc::new(true.into()),
    };
    let stopped = ingest::reindex(&disk.shared, &options, true, &Silent);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    let tables = reindexed(&disk.shared, learnt, false, &Silent).unwrap();
    assert!(tables.unlearnt_bytes > LARGE as u64, "{tables:?}");
    let all = reindexed(&disk.shared, learnt, true, &Silent).unwrap();
    assert_eq!((all.chunks, all.unlearnt_bytes), (tables.chunks, 0));
    let last = change(4);
    let (grown, said) = add_from(&disk, learnt, &last);
    assert!(grown < LARGE as u64 / 2 && said == 0, "{grown} {said}");
    disk.assert_whole(&[&last]);
}

#[test]
fn what_is_damaged_is_no_base_and_is_counted() {
    let (before, after) = versions();
    let disk = blank();
    disk.add(Level::Fast, std::slice::from_ref(&before));
    let (pack, frame) = disk.first_frame();
    let last = index(frame.offset.get() + frame.frame_bytes) - 1;
    disk.medium
        .tamper(MediumFile::Pack(pack), |bytes| bytes[last] ^= 1);
    let said = Warnings::default();
    reindexed(&disk.shared, disk.state.path(), true, &said).unwrap();
    let said = said.0.into_inner().unwrap();
    assert!(
        said.len() == 1 && said[0].contains("1 of its frames cannot be read"),
        "{said:?}"
    );
    disk.add(Level::Default, std::slice::from_ref(&after));
    let deltas = disk.deltas();
    assert!(
        !deltas.is_empty()
            && deltas
                .iter()
                .all(|(_, delta)| delta.base != Some(frame.stored_hash))
    );
}

#[test]
fn what_was_added_at_the_fast_level_is_said_though_the_rest_is_known() {
    let disk = blank();
    let here = disk.state.path();
    assert_eq!(add_from(&disk, here, &versions().0).1, 0);
    disk.add(Level::Fast, &[sample::noise(6 << 20, 3)]);
    assert_eq!(add_from(&disk, here, b"a little").1, 1);
    reindexed(&disk.shared, here, true, &Silent).unwrap();
    assert_eq!(add_from(&disk, here, b"a little more").1, 0);
}

#[test]
fn what_a_device_does_not_give_is_read_the_next_time() {
    let disk = blank();
    disk.add(Level::Fast, &[versions().0]);
    let (pack, frame) = disk.first_frame();
    let failing: Arc<dyn Medium> = Arc::new(Watched {
        medium: disk.medium.clone(),
        reads: Mutex::default(),
        failing: Some((MediumFile::Pack(pack), u64::from(frame.offset.get()))),
    });
    let here = disk.state.path();
    let error = reindexed(&failing, here, true, &Silent).unwrap_err();
    assert!(matches!(error.root_cause(), Error::Io { .. }), "{error}");
    assert!(
        reindexed(&disk.shared, here, false, &Silent)
            .unwrap()
            .unlearnt_bytes
            > 0
    );
    assert_eq!(
        reindexed(&disk.shared, here, true, &Silent)
            .unwrap()
            .unlearnt_bytes,
        0
    );
}

#[test]
fn a_pack_whose_frames_are_not_all_found_stays_unlearnt() {
    let disk = blank();
    disk.add(Level::Fast, &[versions().0]);
    let (pack, frame) = disk.first_frame();
    let file = MediumFile::Pack(pack);
    let unlearnt = || {
        let state = tempfile::tempdir().unwrap();
        reindexed(&disk.shared, state.path(), true, &Silent)
            .unwrap()
            .unlearnt_bytes
    };
    // Without its tables, frames are found from header to header.
    disk.medium.tamper(file, |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(unlearnt(), 0);
    let header = index(frame.offset.get());
    disk.medium.tamper(file, |bytes| bytes[header] ^= 1);
    assert!(unlearnt() > 0);
    disk.medium.take(file);
    assert!(unlearnt() > 0);
}

#[test]
fn another_pack_of_the_same_number_is_not_taken_for_learnt() {
    let disk = blank();
    let before = disk.medium.copy();
    disk.add(Level::Default, &[versions().0]);
    // As where the medium was put back to a copy of before, and written elsewhere.
    let put_back = Written {
        shared: Arc::new(before.clone()),
        medium: before,
        state: tempfile::tempdir().unwrap(),
    };
    put_back.add(Level::Fast, &[versions().1]);
    assert_eq!(put_back.first_frame().0, disk.first_frame().0);
    let here = disk.state.path();
    assert!(
        reindexed(&put_back.shared, here, false, &Silent)
            .unwrap()
            .unlearnt_bytes
            > 0
    );
}

#[test]
fn a_pack_that_was_taken_over_is_learnt_even_if_nothing_in_it_can_be_a_base() {
    // One byte over and over: nothing in it tells it from others.
    let mut plain = (1..=u8::MAX).map(|byte| vec![byte; 5_000]);
    let plain = plain.find(|bytes| sketch::features(bytes).is_empty()).unwrap();
    for unfinished in [false, true] {
        let disk = blank();
        {
            let ingest = disk.begin(Level::Default);
            sample::put(&ingest, std::slice::from_ref(&plain)).unwrap();
            // Its frame is not full: who reads it has it written.
            let known = ingest.known_blob(&Sha256::of(&plain)).unwrap().unwrap();
            ingest.read_known(&known, plain.len() as u64).unwrap();
        }
        let first = disk.medium.packs().unwrap()[0];
        if unfinished {
            disk.medium
                .tamper(MediumFile::Pack(first), |bytes| bytes.truncate(bytes.len() - 9));
        }
        let taken_up = Written {
            state: tempfile::tempdir().unwrap(),
            ..disk
        };
        taken_up.add(Level::Default, std::slice::from_ref(&plain));
        let state = taken_up.state.path();
        let found = reindexed(&taken_up.shared, state, false, &Silent).unwrap();
        assert_eq!(found.unlearnt_bytes, 0, "{unfinished} {found:?}");
    }
}

/// A medium that counts how often the bytes at each place of its packs are read, and does not give those at one of them.
#[derive(Debug)]
struct Watched {
    medium: MemoryMedium,
    reads: Mutex<HashMap<(MediumFile, u64, usize), usize>>,
    failing: Option<(MediumFile, u64)>,
}

impl Medium for Watched {
    fn read(&self, file: MediumFile, offset: u64, len: usize) -> holdall::Result<bytes::Bytes> {
        if self.failing == Some((file, offset)) {
            return Err(Error::io(
                self.medium.place(file),
                std::io::Error::other("no answer"),
            ));
        }
        *self.reads.lock().unwrap().entry((file, offset, len)).or_default() += 1;
        self.medium.read(file, offset, len)
    }
    fn name(&self) -> String {
        self.medium.name()
    }
    fn len(&self, file: MediumFile) -> holdall::Result<Option<u64>> {
        self.medium.len(file)
    }
    fn packs(&self) -> holdall::Result<Vec<PackNumber>> {
        self.medium.packs()
    }
    fn generations(&self) -> holdall::Result<Vec<Generation>> {
        self.medium.generations()
    }
    fn signatures(&self, generation: Generation) -> holdall::Result<Vec<SignerName>> {
        self.medium.signatures(generation)
    }
    fn custody_after(&self, generation: Generation) -> holdall::Result<Vec<RecordNumber>> {
        self.medium.custody_after(generation)
    }
    fn prepare(&self) -> holdall::Result<()> {
        self.medium.prepare()
    }
    fn create(&self, file: MediumFile) -> holdall::Result<Box<dyn MediumWriter>> {
        self.medium.create(file)
    }
    fn resume(&self, file: MediumFile, len: u64) -> holdall::Result<Box<dyn MediumWriter>> {
        self.medium.resume(file, len)
    }
    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> holdall::Result<()> {
        self.medium.write_slot(slot, bytes)
    }
    fn sync_folders(&self) -> holdall::Result<()> {
        self.medium.sync_folders()
    }
    fn remove(&self, file: MediumFile) -> holdall::Result<()> {
        self.medium.remove(file)
    }
    fn free_bytes(&self) -> holdall::Result<Option<u64>> {
        self.medium.free_bytes()
    }
    fn lock(&self) -> holdall::Result<Box<dyn MediumLock>> {
        self.medium.lock()
    }
}

#[test]
fn a_base_of_many_deltas_is_read_once_when_a_run_is_taken_up() {
    let (before, mut version) = versions();
    let disk = blank();
    disk.add(Level::Default, &[before]);
    {
        let ingest = disk.begin(Level::Default);
        for n in 0..8_usize {
            version[n * 50_000 + 3] ^= 0x77;
            sample::put(&ingest, std::slice::from_ref(&version)).unwrap();
        }
    }
    let counting = Arc::new(Watched {
        medium: disk.medium.clone(),
        reads: Mutex::default(),
        failing: None,
    });
    let taken_up = Written {
        shared: Arc::<Watched>::clone(&counting),
        ..disk
    };
    let ingest = taken_up.begin(Level::Default);
    let reads = std::mem::take(&mut *counting.reads.lock().unwrap());
    sample::put(&ingest, std::slice::from_ref(&version)).unwrap();
    ingest.commit().unwrap();
    let deltas = taken_up.deltas();
    let mut of_base: HashMap<FrameHash, usize> = HashMap::new();
    for base in deltas.iter().filter_map(|(_, delta)| delta.base) {
        *of_base.entry(base).or_default() += 1;
    }
    let mut most = 0;
    for (pack, frame) in taken_up.frames() {
        let Some(deltas) = of_base.remove(&frame.stored_hash) else {
            continue;
        };
        let at = (
            MediumFile::Pack(pack),
            u64::from(frame.offset.get()),
            index(frame.frame_bytes),
        );
        most = most.max(deltas);
        assert_eq!(reads.get(&at), Some(&1), "{deltas} deltas");
    }
    assert!(most > 3, "{most}");
    taken_up.assert_whole(&[&version]);
}

#[test]
fn a_run_that_broke_off_does_not_make_what_was_there_forgotten() {
    let (before, after) = versions();
    let disk = blank();
    disk.add(Level::Default, std::slice::from_ref(&before));
    {
        let ingest = disk.begin(Level::Default);
        sample::put(&ingest, &[sample::noise(SIZE, 9)]).unwrap();
    }
    disk.add(Level::Default, std::slice::from_ref(&after));
    assert!(!disk.deltas().is_empty());
    disk.assert_whole(&[&before, &after]);
}

#[test]
fn a_damaged_base_costs_what_stands_on_it_and_verify_names_both() {
    let (before, after) = versions();
    let disk = blank();
    let other = sample::words(SIZE, 5);
    disk.add(Level::Default, &[before.clone(), other.clone()]);
    disk.add(Level::Default, std::slice::from_ref(&after));
    let hash = disk.deltas()[0].1.base.unwrap();
    let (pack, base) = disk
        .frames()
        .into_iter()
        .find(|(_, f)| f.stored_hash == hash)
        .unwrap();
    let at = index(base.offset.get() + base.frame_bytes) - 10;
    disk.medium.tamper(MediumFile::Pack(pack), |bytes| bytes[at] ^= 1);
    let opened = sample::open(&disk.shared).unwrap();
    for blob in [&before, &after] {
        let error = sample::read(&opened, blob).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }
    sample::read(&opened, &other).unwrap();
    for full in [false, true] {
        let report = disk.verified(full);
        for blob in [&before, &after] {
            assert!(report.damaged_blobs.contains(&Sha256::of(blob)), "full: {full}");
        }
        assert!(!report.damaged_blobs.contains(&Sha256::of(&other)));
        assert!(
            report
                .damages
                .iter()
                .any(|d| d.text.contains("packs/000001.pack"))
        );
    }
}

/// A frame of these bytes, of that codec and base.
fn frame(plain: &[u8], stored: Vec<u8>, base: Option<Base>) -> EncodedFrame {
    let len = u32::try_from(plain.len()).unwrap();
    let codec = if base.is_some() {
        Codec::ZstdDelta
    } else {
        Codec::Raw
    };
    let header = FrameHeader {
        codec,
        kind: FrameKind::Plaintext,
        plain_bytes: len,
        stored_bytes: u32::try_from(stored.len()).unwrap(),
        stored_hash: FrameHash::of(&stored),
        base,
        chunks: vec![FrameChunk {
            id: ChunkId::of(plain),
            len,
        }],
    };
    EncodedFrame { header, stored }
}

/// A zstd frame of `plain` with nothing before it: as a delta it is one of any base.
fn alone(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

/// Appends a frame; where it is, as a delta of it says.
fn append(writer: &mut PackWriter, frame: &EncodedFrame) -> Base {
    let at = writer.append(frame).unwrap();
    Base {
        hash: frame.header.stored_hash,
        pack: PackNumber::new(1),
        frame: at,
        frame_bytes: frame.header.frame_bytes(),
    }
}

fn load(medium: &MemoryMedium, at: &Base) -> holdall::Result<Vec<u8>> {
    pack::load(medium, &at.place()).map(|frame| frame.plain().to_vec())
}

#[test]
fn bases_that_lie_are_refused_by_name() {
    let medium = MemoryMedium::new();
    let plain = sample::words(5_000, 3);
    let mut writer = PackWriter::create(&medium, MediumId::from_bytes([7; 16]), PackNumber::new(1)).unwrap();
    let raw = append(&mut writer, &frame(&plain, plain.clone(), None));
    let good = append(&mut writer, &frame(&plain, alone(&plain), Some(raw)));
    let of_delta = append(&mut writer, &frame(&plain, alone(&plain), Some(good)));
    let renamed = Base {
        hash: FrameHash::of(b"another"),
        ..raw
    };
    let of_another = append(&mut writer, &frame(&plain, alone(&plain), Some(renamed)));
    let beyond = Base {
        pack: PackNumber::new(9),
        ..raw
    };
    let of_missing = append(&mut writer, &frame(&plain, alone(&plain), Some(beyond)));
    let shifted = Base {
        frame: good.frame,
        ..raw
    };
    let of_elsewhere = append(&mut writer, &frame(&plain, alone(&plain), Some(shifted)));
    let huge = Base {
        frame_bytes: u32::MAX,
        ..raw
    };
    let of_huge = append(&mut writer, &frame(&plain, alone(&plain), Some(huge)));
    // The header is not under the stored hash: a frame can name itself.
    let own = Base {
        hash: FrameHash::of(&alone(&plain)),
        frame: holdall::units::PackOffset::new(u32::try_from(writer.written()).unwrap()),
        ..good
    };
    let cyclic = append(&mut writer, &frame(&plain, alone(&plain), Some(own)));
    writer.finish().unwrap();

    assert_eq!(load(&medium, &good).unwrap(), plain);
    let refused = |at: &Base, says: &str| {
        let error = load(&medium, at).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(says), "{error}");
        error
    };
    assert!(matches!(
        refused(&of_delta, "itself a delta"),
        Error::Malformed { .. }
    ));
    assert!(matches!(
        refused(&cyclic, "itself a delta"),
        Error::Malformed { .. }
    ));
    assert!(matches!(refused(&of_another, "base"), Error::Mismatch { .. }));
    assert!(matches!(
        refused(&of_missing, "packs/000009.pack"),
        Error::Missing { .. }
    ));
    refused(&of_elsewhere, "packs/000001.pack");
    assert!(matches!(
        refused(&of_huge, "frame of 4294967295 bytes"),
        Error::Malformed { .. }
    ));
}

#[test]
fn a_delta_that_wants_more_than_it_declares_is_cut_short_by_an_error() {
    let medium = MemoryMedium::new();
    let plain = vec![b'x'; 900_000];
    let mut writer = PackWriter::create(&medium, MediumId::from_bytes([7; 16]), PackNumber::new(1)).unwrap();
    let under = plain[..200_000].to_vec();
    let raw = append(&mut writer, &frame(&under, under.clone(), None));
    let bomb = append(&mut writer, &frame(&under, alone(&plain), Some(raw)));
    writer.finish().unwrap();
    let error = load(&medium, &bomb).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn level_max_takes_less_and_is_read_the_same() {
    let text: Vec<u8> = (0..120_000_u32)
        .flat_map(|n| format!("line {} of {}\n", n * 7 % 1_000, n).into_bytes())
        .collect();
    let sizes: Vec<u64> = [Level::Fast, Level::Default, Level::Max]
        .into_iter()
        .map(|level| {
            let disk = blank();
            disk.add(level, std::slice::from_ref(&text));
            disk.assert_whole(&[&text]);
            disk.bytes()
        })
        .collect();
    assert!(sizes[2] < sizes[0] && sizes[2] < sizes[1], "{sizes:?}");
}
