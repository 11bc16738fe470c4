//! The medium: the only place that creates, syncs or removes files of a disk.
//!
//! A small trait, so that a test can build exactly the state that a power cut leaves. What the bytes
//! mean is not known here; which files there are is.

mod aligned;
mod beneath;
mod buffers;
mod directory;
mod memory;

pub use directory::DirectoryMedium;
pub use memory::{Fault, MemoryMedium};

use crate::error::Result;
use crate::name::SignerName;
use crate::units::{Generation, PackNumber, RecordNumber};
use bytes::Bytes;
use std::fmt;

/// One file of a medium. Paths are made from these alone, never from text that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediumFile {
    /// `HOLDALL.txt`, for the person who finds the disk.
    Notice,
    /// `superblock.0` or `.1`.
    Slot(SlotNumber),
    /// `packs/NNNNNN.pack`.
    Pack(PackNumber),
    /// `generations/NNNNNN/ROOT`.
    Root(Generation),
    /// `generations/NNNNNN/packs`, the pack set.
    PackSet(Generation),
    /// `generations/NNNNNN/catalogue`.
    Catalogue(Generation),
    /// `generations/NNNNNN/custody`, the record of what made the generation.
    Custody(Generation),
    /// `generations/NNNNNN/custody.001` and on: records of what happened to it since.
    CustodyAfter(Generation, RecordNumber),
    /// `generations/NNNNNN/ROOT.<signer>.sig`.
    Signature(Generation, SignerName),
}

impl MediumFile {
    /// The generation in whose folder it lies.
    #[must_use]
    pub const fn generation(self) -> Option<Generation> {
        match self {
            Self::Root(g)
            | Self::PackSet(g)
            | Self::Catalogue(g)
            | Self::Custody(g)
            | Self::CustodyAfter(g, _)
            | Self::Signature(g, _) => Some(g),
            Self::Notice | Self::Slot(_) | Self::Pack(_) => None,
        }
    }
}

/// Which of the superblock's two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotNumber {
    /// `superblock.0`
    Zero,
    /// `superblock.1`
    One,
}

impl SlotNumber {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Zero, Self::One];

    /// The one that is not this.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

impl fmt::Display for MediumFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notice => f.write_str("HOLDALL.txt"),
            Self::Slot(SlotNumber::Zero) => f.write_str("superblock.0"),
            Self::Slot(SlotNumber::One) => f.write_str("superblock.1"),
            Self::Pack(n) => write!(f, "packs/{n:06}.pack"),
            Self::Root(g) => write!(f, "generations/{g:06}/ROOT"),
            Self::PackSet(g) => write!(f, "generations/{g:06}/packs"),
            Self::Catalogue(g) => write!(f, "generations/{g:06}/catalogue"),
            Self::Custody(g) => write!(f, "generations/{g:06}/custody"),
            Self::CustodyAfter(g, n) => write!(f, "generations/{g:06}/custody.{n:03}"),
            Self::Signature(g, signer) => write!(f, "generations/{g:06}/ROOT.{signer}.sig"),
        }
    }
}

/// Where a medium's bytes are. Reads may come from many threads; writes from the holder of the lock.
pub trait Medium: Send + Sync + fmt::Debug {
    /// The medium, for messages.
    fn name(&self) -> String;

    /// A file of it, for messages.
    fn place(&self, file: MediumFile) -> String {
        format!("{}/{file}", self.name())
    }

    /// Length of a file in bytes; `None` where it is not there.
    fn len(&self, file: MediumFile) -> Result<Option<u64>>;

    /// Exactly `len` bytes from `offset`; a file that ends before is malformed ("cut short").
    /// The caller has bounded `len`.
    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes>;

    /// Says that these bytes will be read soon, so that the device can begin. A hint: nothing waits, and
    /// nothing is said of failures.
    fn will_need(&self, file: MediumFile, offset: u64, len: u64) {
        let _ = (file, offset, len);
    }

    /// Numbers of the packs that are there, ascending, whether whole or not.
    fn packs(&self) -> Result<Vec<PackNumber>>;

    /// Numbers of the generations that have a folder, ascending, whether whole or not.
    fn generations(&self) -> Result<Vec<Generation>>;

    /// Names of a generation's signatures, ascending.
    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>>;

    /// Numbers of a generation's custody records behind its first, ascending.
    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>>;

    /// Makes the folders of a new medium; refused where anything of a medium is there already.
    fn prepare(&self) -> Result<()>;

    /// Creates a file that must not be there yet, and the folder it lies in.
    fn create(&self, file: MediumFile) -> Result<Box<dyn MediumWriter>>;

    /// Opens a left-over for appending after its first `len` bytes; what lies beyond is cut off.
    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>>;

    /// Writes a slot in place and makes it durable before returning.
    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()>;

    /// Makes every file's existence durable.
    fn sync_folders(&self) -> Result<()>;

    /// Removes a file; not durable before [`Medium::sync_folders`].
    fn remove(&self, file: MediumFile) -> Result<()>;

    /// Bytes that can still be written; `None` where that is not known.
    fn free_bytes(&self) -> Result<Option<u64>>;

    /// Takes the writer's lock, held until the guard is dropped or the process ends; refused at once
    /// ([`crate::Error::Locked`]) where another holds it.
    fn lock(&self) -> Result<Box<dyn MediumLock>>;
}

/// Held by the one writer of a medium.
pub trait MediumLock: Send + Sync + fmt::Debug {}

/// A file being written, from its start to its end.
pub trait MediumWriter: Send + fmt::Debug {
    /// Appends bytes; not durable before [`MediumWriter::finish`].
    fn append(&mut self, parts: &[&[u8]]) -> Result<()>;

    /// Starts writing back what was appended, so that `finish` has less to wait for. A hint.
    fn flush_behind(&mut self) {}

    /// Makes the bytes durable. After an error the file is poisoned: it must be written anew under
    /// another name, since what the kernel still holds need not be on the medium.
    fn finish(self: Box<Self>) -> Result<()>;
}
