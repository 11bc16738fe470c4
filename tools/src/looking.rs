//! A medium that can be looked at and never written: what `--dry-run` works on.

use bytes::Bytes;
use holdall::medium::{DirectoryMedium, Medium, MediumFile, MediumLock, MediumWriter, SlotNumber};
use holdall::name::SignerName;
use holdall::units::{Generation, PackNumber, RecordNumber};
use holdall::{Error, Result, generation};
use std::path::Path;
use std::sync::Arc;

/// Shows a medium's committed state alone. What an interrupted run left is not shown, as taking it over
/// would write. Making durable what is there, as every run does first, is left to the run that writes.
#[derive(Debug)]
pub struct LookingMedium<M>(pub M);

/// The medium in a folder, to be written, or only looked at in a dry run.
pub fn to_write(path: &Path, dry_run: bool) -> Result<Arc<dyn Medium>> {
    let directory = DirectoryMedium::open(path)?;
    Ok(if dry_run {
        Arc::new(LookingMedium(directory))
    } else {
        Arc::new(directory)
    })
}

impl<M: Medium> LookingMedium<M> {
    fn refused<T>(&self) -> Result<T> {
        Err(Error::refused(format!(
            "{}: nothing is written in a dry run",
            self.0.name()
        )))
    }
}

impl<M: Medium> Medium for LookingMedium<M> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        self.0.len(file)
    }

    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        self.0.read(file, offset, len)
    }

    fn packs(&self) -> Result<Vec<PackNumber>> {
        let current = generation::current(&self.0, None)?;
        Ok(generation::pack_set(&self.0, &current.root)?
            .iter()
            .map(|pack| pack.number)
            .collect())
    }

    fn generations(&self) -> Result<Vec<Generation>> {
        self.0.generations()
    }

    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>> {
        self.0.signatures(generation)
    }

    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>> {
        self.0.custody_after(generation)
    }

    fn prepare(&self) -> Result<()> {
        self.refused()
    }

    fn create(&self, _: MediumFile) -> Result<Box<dyn MediumWriter>> {
        self.refused()
    }

    fn resume(&self, file: MediumFile, _: u64) -> Result<Box<dyn MediumWriter>> {
        match file {
            MediumFile::Slot(_) | MediumFile::Root(_) => Ok(Box::new(NoWriter(self.0.place(file)))),
            _ => self.refused(),
        }
    }

    fn write_slot(&self, _: SlotNumber, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn sync_folders(&self) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: MediumFile) -> Result<()> {
        self.refused()
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.0.free_bytes()
    }

    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        self.0.lock()
    }
}

/// Stands for a file that is there already, and takes nothing.
#[derive(Debug)]
struct NoWriter(String);

impl MediumWriter for NoWriter {
    fn append(&mut self, _: &[&[u8]]) -> Result<()> {
        Err(Error::refused(format!(
            "{}: nothing is written in a dry run",
            self.0
        )))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdall::generation::Labels;
    use holdall::ingest::{Ingest, IngestOptions};
    use holdall::medium::DirectoryMedium;
    use holdall::monitor::Silent;
    use std::sync::Arc;

    #[test]
    fn a_dry_run_begins_and_writes_nothing() {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = DirectoryMedium::create(folder.path()).unwrap();
        let labels = Labels {
            origin: "o".to_owned(),
            series: "s".to_owned(),
        };
        generation::init(&disk, &labels, &holdall::custody::Witness::unnamed(), 0).unwrap();
        // What an interrupted run left stays as it is.
        std::fs::File::create(folder.path().join("packs/000001.pack"))
            .unwrap()
            .set_len(10)
            .unwrap();
        let options = IngestOptions {
            witness: holdall::custody::Witness::unnamed(),
            level: holdall::pack::Level::default(),
            state: state.path().to_owned(),
            interrupted: Arc::default(),
        };
        let ingest = Ingest::open(Arc::new(LookingMedium(disk)), &options, Arc::new(Silent)).unwrap();
        assert!(ingest.store_small(b"x", None, "x").is_ok());
        assert!(ingest.commit().is_ok_and(|committed| !committed.changed));
        assert_eq!(
            folder.path().join("packs/000001.pack").metadata().unwrap().len(),
            10
        );
        assert_eq!(folder.path().join("packs").read_dir().unwrap().count(), 1);
    }
}
