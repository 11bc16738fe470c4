//! A medium whose bytes become others between two reads: what is signed is what was written, and what is judged is what was read.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod sample;

use bytes::Bytes;
use holdall::Result;
use holdall::custody::Witness;
use holdall::generation;
use holdall::medium::{Medium, MediumFile, MediumLock, MediumWriter, MemoryMedium, SlotNumber};
use holdall::name::SignerName;
use holdall::reader::{Disk, OpenOptions};
use holdall::seal::{self, Sealed, Sealing};
use holdall::units::{Generation, PackNumber, RecordNumber};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One medium until a slot is written, and another one from then on.
#[derive(Debug)]
struct Turning {
    first: Arc<dyn Medium>,
    then: Arc<dyn Medium>,
    turned: AtomicBool,
}

impl Turning {
    fn now(&self) -> &dyn Medium {
        if self.turned.load(Ordering::Relaxed) {
            self.then.as_ref()
        } else {
            self.first.as_ref()
        }
    }
}

impl Medium for Turning {
    fn name(&self) -> String {
        self.first.name()
    }
    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        self.now().len(file)
    }
    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        self.now().read(file, offset, len)
    }
    fn packs(&self) -> Result<Vec<PackNumber>> {
        self.now().packs()
    }
    fn generations(&self) -> Result<Vec<Generation>> {
        self.now().generations()
    }
    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>> {
        self.now().signatures(generation)
    }
    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>> {
        self.now().custody_after(generation)
    }
    fn prepare(&self) -> Result<()> {
        self.now().prepare()
    }
    fn create(&self, file: MediumFile) -> Result<Box<dyn MediumWriter>> {
        self.now().create(file)
    }
    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>> {
        self.now().resume(file, len)
    }
    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()> {
        self.now().write_slot(slot, bytes)?;
        self.turned.store(true, Ordering::Relaxed);
        Ok(())
    }
    fn sync_folders(&self) -> Result<()> {
        self.now().sync_folders()
    }
    fn remove(&self, file: MediumFile) -> Result<()> {
        self.now().remove(file)
    }
    fn free_bytes(&self) -> Result<Option<u64>> {
        self.now().free_bytes()
    }
    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        self.first.lock()
    }
}

fn seal(medium: &Arc<dyn Medium>) -> Result<Sealed> {
    let before = generation::current(medium.as_ref(), None)?;
    let sealing = Sealing {
        serial: before.root.serial + 1,
        epoch: before.root.epoch,
        expires: None,
        time: 2_000,
        readback: true,
        witness: Witness::unnamed(),
    };
    seal::seal(medium, &before, &sealing, &AtomicBool::new(false))
}

/// Two media with one history, and something else in each.
fn twins() -> (Arc<MemoryMedium>, Arc<MemoryMedium>) {
    let state = tempfile::tempdir().unwrap();
    let one = MemoryMedium::new();
    sample::init(&one);
    let other = one.copy();
    let (one, other) = (Arc::new(one), Arc::new(other));
    for (medium, seed) in [(&one, 1), (&other, 100)] {
        let medium = Arc::clone(medium) as Arc<dyn Medium>;
        sample::add(
            &medium,
            &state.path().join(seed.to_string()),
            &sample::blobs(seed),
        )
        .unwrap();
    }
    (one, other)
}

#[test]
fn a_device_that_has_another_root_than_was_written_gets_no_signature() {
    let (good, evil) = twins();
    let evil = evil as Arc<dyn Medium>;
    seal(&evil).unwrap();
    let turning: Arc<dyn Medium> = Arc::new(Turning {
        first: good,
        then: evil,
        turned: AtomicBool::new(false),
    });
    let why = seal(&turning).unwrap_err().to_string();
    assert!(why.contains("the ROOT that was just written"), "{why}");
}

#[test]
fn a_disk_that_is_opened_by_a_root_shows_nothing_of_another() {
    let (good, evil) = twins();
    let judged = generation::current(good.as_ref(), None).unwrap();
    let (of_evil, of_good) = (sample::blobs(100), sample::blobs(1));
    let found = Disk::at(evil, judged.clone(), &OpenOptions::default())
        .and_then(|disk| sample::read(&disk, &of_evil[5]));
    assert!(found.is_err());
    let disk = Disk::at(good, judged.clone(), &OpenOptions::default()).unwrap();
    assert_eq!(disk.root_hash(), judged.root_hash);
    sample::read(&disk, &of_good[5]).unwrap();
}
