//! A medium in a directory of the host's file system.

use super::beneath::Top;
use super::buffers::Buffers;
use super::{Medium, MediumFile, MediumLock, MediumWriter, SlotNumber, aligned};
use crate::error::{Error, Result};
use crate::name::SignerName;
use crate::units::{Generation, PackNumber, RecordNumber, len64};
use bytes::Bytes;
use nix::fcntl::OFlag;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most files of the medium held open for reading.
const OPEN_FILES: usize = 64;

/// A directory that holds one disk.
#[derive(Debug)]
pub struct DirectoryMedium {
    path: PathBuf,
    /// Whether packs are read past the kernel's cache.
    direct: AtomicBool,
    /// Whether everything is, packs or not.
    past_caches: bool,
    /// Folders of generations that files were made in, to be synced.
    written: Mutex<BTreeSet<Generation>>,
    buffers: Arc<Buffers>,
    /// Files open for reading, most recently used last. Few enough that a scan beats a map.
    open: Mutex<Vec<(MediumFile, Arc<File>)>>,
}

impl DirectoryMedium {
    /// The medium at `path`, which must be a directory. Nothing is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let found = std::fs::metadata(path).map_err(|e| Error::io(&place, e))?;
        if !found.is_dir() {
            return Err(Error::refused(format!(
                "{place}: not a directory, so not a medium"
            )));
        }
        // A medium holds no links: said at once, though none is followed later either.
        for folder in ["packs", "generations"] {
            if std::fs::symlink_metadata(path.join(folder)).is_ok_and(|found| !found.is_dir()) {
                return Err(Error::malformed(format!("{place}/{folder}"), "not a folder"));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            direct: AtomicBool::new(false),
            past_caches: false,
            written: Mutex::default(),
            buffers: Arc::default(),
            open: Mutex::new(Vec::new()),
        })
    }

    /// The medium at `path`, whose packs are read past the kernel's cache where the file system can:
    /// for a reader whose own output is cached, as a mount's is, so that nothing is cached twice.
    pub fn open_direct(path: &Path) -> Result<Self> {
        let medium = Self::open(path)?;
        medium.direct.store(true, Ordering::Relaxed);
        Ok(medium)
    }

    /// The medium at `path`, of which everything is read from the device itself: what the kernel has cached of a file is dropped
    /// when the file is opened, and it is read past the cache where the file system can. For who must know what the device has.
    pub fn open_past_caches(path: &Path) -> Result<Self> {
        let mut medium = Self::open_direct(path)?;
        medium.past_caches = true;
        Ok(medium)
    }

    /// The medium at `path`, making the directory where it is not there.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::io(path.display().to_string(), e))?;
        Self::open(path)
    }

    /// Opens a file or folder of the medium, beneath its own folder.
    fn opened(&self, path: &Path, flags: OFlag) -> std::io::Result<File> {
        Top::open(&self.path)?.file(path, flags)
    }

    fn err(&self, file: MediumFile) -> impl Fn(std::io::Error) -> Error {
        let place = self.place(file);
        move |e| failed(&place, e)
    }

    fn is_direct(&self, file: MediumFile) -> bool {
        (self.past_caches || matches!(file, MediumFile::Pack(_))) && self.direct.load(Ordering::Relaxed)
    }

    fn read_err(&self, file: MediumFile, offset: u64, len: usize) -> impl Fn(std::io::Error) -> Error {
        let (place, other) = (self.place(file), self.err(file));
        move |e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::malformed(
                place.clone(),
                format!("cut short: {len} bytes expected at {offset}"),
            ),
            _ => other(e),
        }
    }

    fn reading(&self, file: MediumFile) -> Result<Arc<File>> {
        let mut open = self.open.lock();
        if let Some(at) = open.iter().position(|(name, _)| *name == file) {
            let found = open.remove(at);
            open.push(found.clone());
            return Ok(found.1);
        }
        drop(open);
        let open_with = |more: OFlag| self.opened(&path_of(file), OFlag::O_RDONLY | OFlag::O_NONBLOCK | more);
        let handle = if self.is_direct(file) {
            open_with(OFlag::O_DIRECT).or_else(|e| {
                // A file system that cannot says so when the file is opened.
                if e.raw_os_error() != Some(nix::errno::Errno::EINVAL as i32) {
                    return Err(e);
                }
                self.direct.store(false, Ordering::Relaxed);
                open_with(OFlag::empty())
            })
        } else {
            open_with(OFlag::empty())
        }
        .map_err(self.err(file))?;
        if !handle.metadata().map_err(self.err(file))?.is_file() {
            return Err(Error::malformed(self.place(file), "not a regular file"));
        }
        if self.past_caches {
            use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
            // Only clean pages leave: whoever wrote has synced.
            posix_fadvise(&handle, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(|e| self.err(file)(e.into()))?;
        }
        let handle = Arc::new(handle);
        let mut open = self.open.lock();
        if open.len() >= OPEN_FILES {
            open.remove(0);
        }
        open.push((file, Arc::clone(&handle)));
        Ok(handle)
    }

    fn read_once(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        let handle = self.reading(file)?;
        if self.is_direct(file) {
            return aligned::read(&handle, &self.buffers, offset, len)
                .map_err(self.read_err(file, offset, len));
        }
        let mut bytes = self.buffers.take(len);
        handle
            .read_exact_at(bytes.get_mut(..len).unwrap_or_default(), offset)
            .map_err(self.read_err(file, offset, len))?;
        Ok(self.buffers.lend(bytes, 0, len))
    }

    /// What the names in a generation's folder stand for, in order.
    fn names<T: Ord>(&self, generation: Generation, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        self.parsed(&folder_of(generation), |name, _| parse(name))
    }

    /// What the names in a folder stand for, in order; `parse` is told whether a name is a folder's.
    fn parsed<T: Ord>(&self, folder: &str, parse: impl Fn(&str, bool) -> Option<T>) -> Result<Vec<T>> {
        let names = Top::open(&self.path)
            .and_then(|top| top.names(Path::new(folder)))
            .map_err(|e| failed(&format!("{}/{folder}", self.name()), e))?;
        let mut found: Vec<T> = names
            .iter()
            .filter_map(|(name, is_folder)| parse(name, *is_folder))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        self.opened(Path::new(folder), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(&format!("{}/{folder}", self.name()), e))
    }
}

/// Where a file is, from the medium's folder on.
fn path_of(file: MediumFile) -> PathBuf {
    PathBuf::from(file.to_string())
}

fn folder_of(generation: Generation) -> String {
    format!("generations/{generation:06}")
}

/// What the operating system said; where a link or a file stands in the way, the medium is not what it should be.
fn failed(place: &str, e: std::io::Error) -> Error {
    use nix::errno::Errno;
    match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => Error::malformed(
            place,
            "a symbolic link is there or on the way, and a medium has none",
        ),
        Some(Errno::ENOTDIR) => Error::malformed(place, "what is on the way is not a folder"),
        _ => Error::io(place, e),
    }
}

/// `000001` and above, written as we write it; anything else in the folder is not ours.
fn number(text: &str) -> Option<u32> {
    let n = text.parse::<u32>().ok().filter(|n| *n > 0)?;
    (format!("{n:06}") == text).then_some(n)
}

impl Medium for DirectoryMedium {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn len(&self, file: MediumFile) -> Result<Option<u64>> {
        // What stands there itself, even a link; nothing is opened that would wait.
        match self
            .opened(&path_of(file), OFlag::O_PATH)
            .and_then(|handle| handle.metadata())
        {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Err(Error::malformed(self.place(file), "not a regular file")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.err(file)(e)),
        }
    }

    fn read(&self, file: MediumFile, offset: u64, len: usize) -> Result<Bytes> {
        match self.read_once(file, offset, len) {
            // The device may have been away and come back: a handle from before does not.
            Err(Error::Io { .. }) => {
                self.open.lock().retain(|(name, _)| *name != file);
                self.read_once(file, offset, len)
            }
            read => read,
        }
    }

    fn will_need(&self, file: MediumFile, offset: u64, len: u64) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        if self.is_direct(file) {
            return;
        }
        if let (Ok(handle), Ok(offset), Ok(len)) =
            (self.reading(file), i64::try_from(offset), i64::try_from(len))
        {
            let _hint_only = posix_fadvise(&handle, offset, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        }
    }

    fn packs(&self) -> Result<Vec<PackNumber>> {
        let numbers = self.parsed("packs", |name, _| number(name.strip_suffix(".pack")?))?;
        Ok(numbers.into_iter().map(PackNumber::new).collect())
    }

    fn generations(&self) -> Result<Vec<Generation>> {
        Ok(self
            .parsed("generations", |name, is_folder| {
                number(name).filter(|_| is_folder)
            })?
            .into_iter()
            .map(Generation::new)
            .collect())
    }

    fn signatures(&self, generation: Generation) -> Result<Vec<SignerName>> {
        self.names(generation, |name| {
            let signer = name.strip_prefix("ROOT.")?.strip_suffix(".sig")?;
            SignerName::parse(signer).ok()
        })
    }

    fn custody_after(&self, generation: Generation) -> Result<Vec<RecordNumber>> {
        self.names(generation, |name| {
            let digits = name.strip_prefix("custody.").filter(|digits| digits.len() == 3)?;
            let number = digits.parse().ok().filter(|n: &u16| *n > 0)?;
            (format!("{number:03}") == digits).then_some(RecordNumber::new(number))
        })
    }

    fn prepare(&self) -> Result<()> {
        let place = self.name();
        let mut entries = std::fs::read_dir(&self.path).map_err(|e| Error::io(&place, e))?;
        // A fresh file system may hold lost+found or a volume label's folder; a disk's files it may not.
        let ours = [
            "superblock.0",
            "superblock.1",
            "packs",
            "generations",
            "HOLDALL.txt",
        ];
        let taken = entries.find_map(|e| {
            e.ok()
                .and_then(|e| e.file_name().into_string().ok())
                .filter(|n| ours.contains(&n.as_str()))
        });
        if let Some(taken) = taken {
            return Err(Error::refused(format!(
                "{place}: there is a {taken} already; a new disk wants a place of its own"
            )));
        }
        for folder in ["packs", "generations"] {
            std::fs::create_dir(self.path.join(folder))
                .map_err(|e| Error::io(format!("{place}/{folder}"), e))?;
        }
        Ok(())
    }

    fn create(&self, file: MediumFile) -> Result<Box<dyn MediumWriter>> {
        let path = path_of(file);
        self.written.lock().extend(file.generation());
        let top = Top::open(&self.path).map_err(self.err(file))?;
        if let Some(parent) = path.parent() {
            top.make_folders(parent)
                .map_err(|e| failed(&format!("{}/{}", self.name(), parent.display()), e))?;
        }
        let handle = top
            .file(&path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)
            .map_err(self.err(file))?;
        Ok(Box::new(DirectoryWriter {
            handle,
            place: self.place(file),
            written: 0,
            flushed: 0,
        }))
    }

    fn resume(&self, file: MediumFile, len: u64) -> Result<Box<dyn MediumWriter>> {
        self.open.lock().retain(|(name, _)| *name != file);
        let handle = self
            .opened(&path_of(file), OFlag::O_WRONLY | OFlag::O_APPEND)
            .map_err(self.err(file))?;
        handle.set_len(len).map_err(self.err(file))?;
        Ok(Box::new(DirectoryWriter {
            handle,
            place: self.place(file),
            written: len,
            flushed: len,
        }))
    }

    fn write_slot(&self, slot: SlotNumber, bytes: &[u8]) -> Result<()> {
        let file = MediumFile::Slot(slot);
        let handle = self
            .opened(&path_of(file), OFlag::O_WRONLY)
            .map_err(self.err(file))?;
        handle
            .write_all_at(bytes, 0)
            // One that was damaged may have grown.
            .and_then(|()| handle.set_len(len64(bytes.len())))
            .and_then(|()| handle.sync_all())
            .map_err(self.err(file))
    }

    fn sync_folders(&self) -> Result<()> {
        let mut written = self.written.lock().clone();
        written.extend(self.generations()?.last());
        for generation in &written {
            self.sync_folder(&folder_of(*generation))?;
        }
        self.written
            .lock()
            .retain(|generation| !written.contains(generation));
        self.sync_folder("packs")?;
        self.sync_folder("generations")?;
        let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all());
        sync(&self.path).map_err(|e| Error::io(self.name(), e))?;
        // A disk just made is in its parent's listing only once that is synced; where that cannot be
        // done (it is the root of a file system, or not ours) it need not be.
        if let Some(parent) = self.path.canonicalize().ok().as_deref().and_then(Path::parent) {
            let _best_effort = sync(parent);
        }
        Ok(())
    }

    fn remove(&self, file: MediumFile) -> Result<()> {
        self.open.lock().retain(|(name, _)| *name != file);
        Top::open(&self.path)
            .and_then(|top| top.remove(&path_of(file)))
            .map_err(self.err(file))
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        let place = self.name();
        let found = nix::sys::statvfs::statvfs(&self.path).map_err(|e| Error::io(place, e.into()))?;
        Ok(Some(
            found.blocks_available().saturating_mul(found.fragment_size()),
        ))
    }

    fn lock(&self) -> Result<Box<dyn MediumLock>> {
        let place = self.name();
        let handle = File::open(&self.path).map_err(|e| Error::io(&place, e))?;
        match handle.try_lock() {
            Ok(()) => Ok(Box::new(DirectoryLock { _handle: handle })),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { place }),
            Err(TryLockError::Error(e)) => Err(Error::io(place, e)),
        }
    }
}

/// An advisory lock on the medium's directory: gone with the process, so nothing stale can be left.
#[derive(Debug)]
struct DirectoryLock {
    _handle: File,
}

impl MediumLock for DirectoryLock {}

#[derive(Debug)]
struct DirectoryWriter {
    handle: File,
    place: String,
    written: u64,
    flushed: u64,
}

impl MediumWriter for DirectoryWriter {
    fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = slices.as_mut_slice();
        while rest.iter().any(|s| !s.is_empty()) {
            let n = match self.handle.write_vectored(rest) {
                Ok(0) => {
                    return Err(Error::Full {
                        place: self.place.clone(),
                    });
                }
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(&self.place, e)),
            };
            self.written += len64(n);
            IoSlice::advance_slices(&mut rest, n);
        }
        Ok(())
    }

    fn flush_behind(&mut self) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        // On Linux this starts write-back of the range without waiting; the pages that are clean by
        // then leave the cache, which a disk written once does not need.
        let (from, len) = (
            i64::try_from(self.flushed),
            i64::try_from(self.written - self.flushed),
        );
        if let (Ok(from), Ok(len)) = (from, len) {
            let _hint_only = posix_fadvise(&self.handle, from, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        self.flushed = self.written;
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.handle.sync_all().map_err(|e| Error::io(&self.place, e))
    }
}
