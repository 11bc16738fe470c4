//! A medium whose reads have a deadline: they run on threads of their own, so that a device that hangs
//! costs its caller an error and not a thread.

use crate::error::{Error, Result};
use crate::medium::{Medium, MediumFile, MediumLock, MediumWriter, SlotNumber};
use crate::name::SignerName;
use crate::units::{Generation, PackNumber, RecordNumber};
use bytes::Bytes;
use crossbeam_channel::{Sender, bounded, unbounded};
use std::sync::Arc;
use std::time::Duration;

/// Threads that read; one that the device holds ends when that answers.
const THREADS: usize = 2;

struct Job {
    file: MediumFile,
    offset: u64,
    len: usize,
    reply: Sender<Result<Bytes>>,
}

/// Reads another medium, waiting no longer than its deadline.
pub(super) struct PatientMedium {
    medium: Arc<dyn Medium>,
    deadline: Duration,
    jobs: Sender<Job>,
}

impl std::fmt::Debug for PatientMedium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatientMedium")
            .field("medium", &self.medium)
            .finish_non_exhaustive()
    }
}

impl PatientMedium {
    pub(super) fn start(medium: Arc<dyn Medium>, deadline: Duration) -> Result<Self> {
        let (jobs, to_do) = unbounded::<Job>();
        for n in 0..THREADS {
            let (medium, to_do) = (Arc::clone(&medium), to_do.clone());
            let thread = std::thread::Builder::new().name(format!("look-up-{n}"));
            let run = move || {
                for Job {
                    file,
                    offset,
                    len,
                    reply,
                } in to_do
                {
                    // Whoever asked may have given up waiting.
                    let _gave_up = reply.send(medium.read(file, offset, len));
                }
            };
            thread.spawn(run).map_err(|e| Error::io("a thread", e))?;
        }
        Ok(Self {
            medium,
            deadline,
            jobs,
        })
    }
}

impl Medium for PatientMedium {
    fn name(&self) -> String {
        self.medium.name()
    }

    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        self.medium.len(file)
    }

    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        let (reply, answer) = bounded(1);
        let job = Job {
            file,
            offset,
            len,
            reply,
        };
        self.jobs
            .send(job)
            .map_err(|_| Error::refused("the threads that read the medium are gone"))?;
        answer.recv_timeout(self.deadline).map_err(|_| Error::Deadline {
            place: self.place(file),
            seconds: self.deadline.as_secs(),
        })?
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
        self.medium.create(file)
    }

    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>> {
        self.medium.resume(file, len)
    }

    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()> {
        self.medium.write_slot(slot, bytes)
    }

    fn sync_folders(&self) -> Result<()> {
        self.medium.sync_folders()
    }

    fn remove(&self, file: MediumFile) -> Result<()> {
        self.medium.remove(file)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.medium.free_bytes()
    }

    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        self.medium.lock()
    }
}
