//! A power cut, or a kill, at every operation of a commit: the medium shows the generation before or the
//! one after, keeps what was acknowledged, and takes up where the run broke off.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod sample;

use holdall::medium::{Fault, Medium, MediumFile, MediumLock, MediumWriter, MemoryMedium, SlotNumber};
use holdall::monitor::Silent;
use holdall::name::SignerName;
use holdall::units::{Generation, PackNumber, RecordNumber};
use holdall::verify::{VerifyOptions, verify};
use holdall::{Error, Result};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Takes a picture of the medium before its n-th change, and goes on.
#[derive(Debug, Clone)]
struct Watched {
    medium: MemoryMedium,
    at: usize,
    changes: Arc<AtomicUsize>,
    picture: Arc<Mutex<Option<MemoryMedium>>>,
}

impl Watched {
    fn new(medium: &MemoryMedium, at: usize) -> Self {
        Self {
            medium: medium.clone(),
            at,
            changes: Arc::default(),
            picture: Arc::default(),
        }
    }

    fn change(&self) {
        if self.changes.fetch_add(1, Ordering::SeqCst) == self.at {
            *self.picture.lock() = Some(self.medium.copy());
        }
    }
}

#[derive(Debug)]
struct WatchedWriter(Watched, Box<dyn MediumWriter>);

impl MediumWriter for WatchedWriter {
    fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        self.0.change();
        self.1.append(parts)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.change();
        self.1.finish()
    }
}

impl Medium for Watched {
    fn name(&self) -> String {
        self.medium.name()
    }
    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        self.medium.len(file)
    }
    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<bytes::Bytes> {
        self.medium.read(file, offset, len)
    }
    fn packs(&self) -> Result<Vec<PackNumber>> {
        self.medium.packs()
    }
    fn generations(&self) -> Result<Vec<Generation>> {
        self.medium.generations()
    }

    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>> {
        self.medium.signatures(generation)
    }

    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>> {
        self.medium.custody_after(generation)
    }
    fn prepare(&self) -> Result<()> {
        self.medium.prepare()
    }
    fn create(&self, file: MediumFile) -> Result<Box<dyn MediumWriter>> {
        self.change();
        Ok(Box::new(WatchedWriter(self.clone(), self.medium.create(file)?)))
    }
    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>> {
        self.change();
        Ok(Box::new(WatchedWriter(
            self.clone(),
            self.medium.resume(file, len)?,
        )))
    }
    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()> {
        self.change();
        // Between writing and syncing lies a moment of its own.
        self.medium.set_faults(&[Fault::SyncFails(0)]);
        let unsynced = self.medium.write_slot(slot, bytes);
        self.medium.set_faults(&[]);
        assert!(unsynced.is_err());
        self.change();
        self.medium.write_slot(slot, bytes)
    }
    fn sync_folders(&self) -> Result<()> {
        self.change();
        self.medium.sync_folders()
    }
    fn remove(&self, file: MediumFile) -> Result<()> {
        self.change();
        self.medium.remove(file)
    }
    fn free_bytes(&self) -> Result<Option<u64>> {
        self.medium.free_bytes()
    }
    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        self.medium.lock()
    }
}

/// Inline, one chunk, several chunks, zeros: little enough to be checked some hundred times.
fn few(seed: u64) -> Vec<Vec<u8>> {
    let mut blobs = sample::blobs(seed);
    blobs.remove(5);
    blobs
}

fn share(medium: &MemoryMedium) -> Arc<dyn Medium> {
    Arc::new(medium.clone())
}

/// A disk with some blobs committed.
fn committed(state: &Path) -> MemoryMedium {
    let medium = MemoryMedium::new();
    sample::init(&medium);
    sample::add(&share(&medium), state, &few(0)).unwrap();
    medium
}

/// What a cut leaves of unsynced bytes: by turns nothing, all, or a part that a seed decides.
fn cut(medium: &MemoryMedium, seed: u64) -> MemoryMedium {
    let mut draws = 0;
    medium.after_power_cut(|file, unsynced| {
        draws += 1;
        let noise = sample::noise(8, seed * 1_000 + draws);
        let draw = usize::try_from(u64::from_le_bytes(noise.try_into().unwrap()) >> 8).unwrap();
        let may_vanish = !matches!(file, MediumFile::Slot(_));
        match seed % 4 {
            0 => (!may_vanish).then_some(0),
            1 => Some(unsynced),
            _ => (draw % 5 != 0 || !may_vanish).then(|| draw % (unsynced + 1)),
        }
    })
}

fn stored_bytes(medium: &MemoryMedium) -> u64 {
    medium
        .packs()
        .unwrap()
        .into_iter()
        .map(|n| medium.len(MediumFile::Pack(n)).unwrap().unwrap_or(0))
        .sum()
}

/// The committed generation is whole and has these blobs.
fn check(medium: &MemoryMedium, blobs: &[Vec<u8>], what: &str) -> u32 {
    let disk = sample::open(&share(medium)).unwrap_or_else(|e| panic!("{what}: {e}"));
    for bytes in blobs {
        sample::read(&disk, bytes).unwrap_or_else(|e| panic!("{what}: a blob of {} bytes: {e}", bytes.len()));
    }
    let options = VerifyOptions {
        full: true,
        ..VerifyOptions::default()
    };
    let report = verify(&share(medium), &options, &Silent).unwrap();
    // A slot that the cut tore is named, and costs nothing.
    let torn = |text: &str| text.contains("superblock");
    let damages: Vec<_> = report.damages.iter().filter(|d| !torn(&d.text)).collect();
    assert!(damages.is_empty(), "{what}: {damages:?}");
    disk.root().generation.get()
}

/// How many changes a run makes, and the medium before each of them.
fn pictures(before: &MemoryMedium, blobs: &[Vec<u8>]) -> Vec<MemoryMedium> {
    let mut out = Vec::new();
    loop {
        let state = tempfile::tempdir().unwrap();
        let watched = Watched::new(&before.copy(), out.len());
        sample::add(
            &(Arc::new(watched.clone()) as Arc<dyn Medium>),
            state.path(),
            blobs,
        )
        .unwrap();
        match watched.picture.lock().take() {
            Some(picture) => out.push(picture),
            None => return out,
        };
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_generation_before_or_the_one_after() {
    let state = tempfile::tempdir().unwrap();
    let before = committed(state.path());
    let (old, new) = (few(0), few(100));
    let generation = check(&before, &old, "before");
    let pictures = pictures(&before, &new);
    assert!(pictures.len() > 20, "{} moments", pictures.len());
    for (moment, picture) in pictures.iter().enumerate() {
        for seed in 0..4 {
            let what = format!("moment {moment}, seed {seed}");
            let left = cut(picture, seed);
            let found = check(&left, &old, &what);
            assert!(
                found == generation || found == generation + 1,
                "{what}: generation {found}"
            );
            let state = tempfile::tempdir().unwrap();
            sample::add(&share(&left), state.path(), &new).unwrap_or_else(|e| panic!("{what}: {e}"));
            let all = [old.clone(), new.clone()].concat();
            check(&left, &all, &what);
            // What is acknowledged now survives the harshest cut.
            check(&cut(&left, 0), &all, &format!("{what}, then another cut"));
        }
    }
}

#[test]
fn a_kill_at_any_moment_and_then_a_power_cut_loses_nothing_that_the_next_run_acknowledged() {
    let state = tempfile::tempdir().unwrap();
    let before = committed(state.path());
    let (old, new) = (few(0), few(100));
    for (moment, picture) in pictures(&before, &new).iter().enumerate() {
        let what = format!("moment {moment}");
        // Killed: the system still holds what was written, synced or not.
        let killed = picture.copy();
        let state = tempfile::tempdir().unwrap();
        sample::add(&share(&killed), state.path(), &new).unwrap_or_else(|e| panic!("{what}: {e}"));
        for seed in 0..4 {
            check(
                &cut(&killed, seed),
                &[old.clone(), new.clone()].concat(),
                &format!("{what}, seed {seed}"),
            );
        }
    }
}

#[test]
fn a_failed_sync_fails_the_run_and_costs_nothing_that_was_there() {
    let state = tempfile::tempdir().unwrap();
    let before = committed(state.path());
    let (old, new) = (few(0), few(100));
    let mut failures = 0;
    for n in 0..40 {
        let medium = before.copy();
        medium.set_faults(&[Fault::SyncFails(n)]);
        let state = tempfile::tempdir().unwrap();
        match sample::add(&share(&medium), state.path(), &new) {
            Ok(_) => break,
            Err(e) => assert!(matches!(e.root_cause(), Error::Io { .. }), "{e}"),
        }
        failures += 1;
        medium.set_faults(&[]);
        check(&medium, &old, &format!("sync {n} failed"));
        for seed in 0..4 {
            check(
                &cut(&medium, seed),
                &old,
                &format!("sync {n} failed, then a cut, seed {seed}"),
            );
        }
        sample::add(&share(&medium), state.path(), &new).unwrap();
        let all = [old.clone(), new.clone()].concat();
        check(
            &cut(&medium, 0),
            &all,
            &format!("sync {n} failed, then a good run, then a cut"),
        );
    }
    assert!(failures >= 4, "{failures} syncs");
}

#[test]
fn left_overs_are_taken_over_and_not_stored_twice() {
    let state = tempfile::tempdir().unwrap();
    let medium = committed(state.path());
    let new = few(100);
    let ingest = sample::begin(&share(&medium), state.path()).unwrap();
    sample::put(&ingest, &new).unwrap();
    drop(ingest);
    let before = stored_bytes(&medium);
    sample::add(&share(&medium), state.path(), &new).unwrap();
    let after = stored_bytes(&medium);
    check(&medium, &new, "after");
    assert!(after - before < 300_000, "{before} bytes, then {after}");
    let again = sample::add(&share(&medium), state.path(), &new).unwrap();
    assert!(!again.changed);
    assert_eq!(stored_bytes(&medium), after);
}
