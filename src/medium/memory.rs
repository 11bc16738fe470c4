//! A medium in memory, for tests: it can fail on request, and show what a power cut leaves.

use super::{Medium, MediumFile, MediumLock, MediumWriter, SlotNumber};
use crate::error::{Error, Result};
use crate::name::SignerName;
use crate::units::{Generation, PackNumber, RecordNumber, index64, len64};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a [`MemoryMedium`] does wrong, until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Writes fail once this many bytes are stored in all.
    FullAfter(u64),
    /// The n-th call of `finish` or `write_slot` from now on (from 0) fails.
    SyncFails(u32),
    /// Every read takes this long.
    SlowReads(Duration),
}

#[derive(Debug, Clone, Default)]
struct Stored {
    bytes: Vec<u8>,
    /// The bytes as of the last sync; `None` before the first.
    synced: Option<Vec<u8>>,
    /// Whether the name itself would survive a power cut.
    name_synced: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<MediumFile, Stored>,
    faults: Vec<Fault>,
}

/// Files in memory, with a record of what was made durable.
#[derive(Debug, Default, Clone)]
pub struct MemoryMedium {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
}

impl MemoryMedium {
    /// An empty medium.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: &[Fault]) {
        self.state.lock().faults = faults.to_vec();
    }

    /// Every file there is.
    #[must_use]
    pub fn files(&self) -> Vec<MediumFile> {
        self.state.lock().files.keys().copied().collect()
    }

    /// Changes the bytes of a file in place, as a failing device or a hostile hand would.
    pub fn tamper(&self, file: MediumFile, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(stored) = self.state.lock().files.get_mut(&file) {
            change(&mut stored.bytes);
            stored.synced = Some(stored.bytes.clone());
        }
    }

    /// Takes a file away.
    pub fn take(&self, file: MediumFile) {
        self.state.lock().files.remove(&file);
    }

    /// A copy of all bytes as they are now, faults and lock left behind.
    #[must_use]
    pub fn copy(&self) -> Self {
        let files = self.state.lock().files.clone();
        Self {
            state: Arc::new(Mutex::new(State {
                files,
                faults: Vec::new(),
            })),
            locked: Arc::default(),
        }
    }

    /// What a power cut now would leave: of what was not synced, each file keeps as much as `keep`
    /// says, given the number of unsynced bytes (a name that was not synced may vanish: `None`). Bytes
    /// written over synced ones are such bytes too: those that are not kept are the old ones.
    #[must_use]
    pub fn after_power_cut(&self, mut keep: impl FnMut(MediumFile, usize) -> Option<usize>) -> Self {
        let copy = self.copy();
        let mut state = copy.state.lock();
        let names: Vec<MediumFile> = state.files.keys().copied().collect();
        for name in names {
            let Some(stored) = state.files.get_mut(&name) else {
                continue;
            };
            let synced = stored.synced.clone().unwrap_or_default();
            let settled = stored.name_synced && stored.synced.as_ref() == Some(&stored.bytes);
            if settled {
                continue;
            }
            let same = stored
                .bytes
                .iter()
                .zip(&synced)
                .take_while(|(new, old)| new == old)
                .count();
            match (keep(name, stored.bytes.len() - same), stored.name_synced) {
                (None, false) => {
                    state.files.remove(&name);
                }
                (kept, _) => {
                    stored.bytes.truncate(same + kept.unwrap_or(0));
                    stored
                        .bytes
                        .extend_from_slice(synced.get(stored.bytes.len()..).unwrap_or_default());
                    stored.synced = Some(stored.bytes.clone());
                    stored.name_synced = true;
                }
            }
        }
        drop(state);
        copy
    }

    fn sync(&self, file: MediumFile) -> Result<()> {
        let place = self.place(file);
        let mut state = self.state.lock();
        for fault in &mut state.faults {
            if let Fault::SyncFails(left) = fault {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => return Err(Error::io(place, std::io::Error::from_raw_os_error(5))),
                }
            }
        }
        if let Some(stored) = state.files.get_mut(&file) {
            stored.synced = Some(stored.bytes.clone());
        }
        Ok(())
    }
}

impl Medium for MemoryMedium {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        Ok(self.state.lock().files.get(&file).map(|f| len64(f.bytes.len())))
    }

    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        let slow = self.state.lock().faults.iter().find_map(|f| match f {
            Fault::SlowReads(time) => Some(*time),
            _ => None,
        });
        if let Some(time) = slow {
            std::thread::sleep(time);
        }
        let state = self.state.lock();
        let stored = state
            .files
            .get(&file)
            .ok_or_else(|| Error::missing(self.place(file)))?;
        let start = index64(offset);
        stored
            .bytes
            .get(start..start.saturating_add(len))
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| {
                Error::malformed(
                    self.place(file),
                    format!("cut short: {len} bytes expected at {offset}"),
                )
            })
    }

    fn packs(&self) -> Result<Vec<PackNumber>> {
        let packs = self.files().into_iter().filter_map(|f| match f {
            MediumFile::Pack(n) => Some(n),
            _ => None,
        });
        Ok(packs.collect())
    }

    fn generations(&self) -> Result<Vec<Generation>> {
        let mut generations: Vec<Generation> = self
            .files()
            .into_iter()
            .filter_map(MediumFile::generation)
            .collect();
        generations.sort_unstable();
        generations.dedup();
        Ok(generations)
    }

    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>> {
        let signers = self.files().into_iter().filter_map(|f| match f {
            MediumFile::Signature(g, signer) if g == generation => Some(signer),
            _ => None,
        });
        Ok(signers.collect())
    }

    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>> {
        let numbers = self.files().into_iter().filter_map(|f| match f {
            MediumFile::CustodyAfter(g, number) if g == generation => Some(number),
            _ => None,
        });
        Ok(numbers.collect())
    }

    fn prepare(&self) -> Result<()> {
        if self.files().is_empty() {
            Ok(())
        } else {
            Err(Error::refused("memory: there is a disk already"))
        }
    }

    fn create(&self, file: MediumFile) -> Result<Box<dyn MediumWriter>> {
        let mut state = self.state.lock();
        if state.files.contains_key(&file) {
            return Err(Error::io(
                self.place(file),
                std::io::ErrorKind::AlreadyExists.into(),
            ));
        }
        state.files.insert(file, Stored::default());
        Ok(Box::new(MemoryWriter {
            medium: self.clone(),
            file,
        }))
    }

    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>> {
        let mut state = self.state.lock();
        let stored = state
            .files
            .get_mut(&file)
            .ok_or_else(|| Error::missing(self.place(file)))?;
        stored.bytes.truncate(index64(len));
        Ok(Box::new(MemoryWriter {
            medium: self.clone(),
            file,
        }))
    }

    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()> {
        let file = MediumFile::Slot(slot);
        if let Some(stored) = self.state.lock().files.get_mut(&file) {
            stored.bytes = bytes.to_vec();
        }
        self.sync(file)
    }

    fn sync_folders(&self) -> Result<()> {
        for stored in self.state.lock().files.values_mut() {
            stored.name_synced = true;
        }
        Ok(())
    }

    fn remove(&self, file: MediumFile) -> Result<()> {
        self.take(file);
        Ok(())
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        let state = self.state.lock();
        let used: u64 = state.files.values().map(|f| len64(f.bytes.len())).sum();
        Ok(state.faults.iter().find_map(|f| match f {
            Fault::FullAfter(limit) => Some(limit.saturating_sub(used)),
            _ => None,
        }))
    }

    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(Error::Locked { place: self.name() });
        }
        Ok(Box::new(MemoryLock {
            locked: Arc::clone(&self.locked),
        }))
    }
}

#[derive(Debug)]
struct MemoryLock {
    locked: Arc<AtomicBool>,
}

impl MediumLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locked.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct MemoryWriter {
    medium: MemoryMedium,
    file: MediumFile,
}

impl MediumWriter for MemoryWriter {
    fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        let free = self.medium.free_bytes()?;
        let mut state = self.medium.state.lock();
        let stored = state.files.entry(self.file).or_default();
        let total: usize = parts.iter().map(|p| p.len()).sum();
        if free.is_some_and(|free| free < len64(total)) {
            return Err(Error::Full {
                place: format!("memory/{}", self.file),
            });
        }
        for part in parts {
            stored.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.medium.sync(self.file)
    }
}
