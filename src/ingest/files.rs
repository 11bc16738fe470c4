//! Loose files and folders: merged, in order of name, into the one tree that a generation has of them.

use super::blob::BlobWriter;
use super::folder::{FolderBuilder, MadeDirectory, OpenTreeEntry, kept};
use super::{Edit, Ingest, Inner, StoredBlob};
use crate::error::{Error, Result};
use crate::format::DEPTH_MAX;
use crate::format::catalogue::{Kind, Leaf, sort_key};
use crate::format::codec::Encoder;
use crate::format::content::{Content, TreeRef};
use crate::format::tree::{Metadata, Node, TARGET_MAX, TreeEntry};
use crate::ids::{BlobId, Sha256};
use crate::name::EntryName;
use crate::tree::Directory;
use nix::errno::Errno;
use nix::unistd::Whence;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the leaf that holds the tree of loose files.
pub const FILES: &str = "files";
/// Files read at once, and then entered in order.
const BATCH: usize = 128;

/// What came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesAdded {
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes in the files.
    pub bytes: u64,
}

/// Something to be entered into a directory.
#[derive(Debug)]
enum Addition {
    /// What lies there, folders with all that is in them.
    Source(PathBuf),
    /// A folder that is only passed through.
    Under(EntryName, Box<Addition>),
}

/// Where the walk is: for limits, progress and counts.
#[derive(Debug, Default)]
struct Walk {
    depth: u32,
    added: FilesAdded,
}

/// Metadata of folders that no source gave any: as a folder made now. Those there already keep theirs.
fn passed_through() -> Metadata {
    Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime_sec: super::commit::now(),
        mtime_nsec: 0,
        xattrs: Vec::new(),
    }
}

impl Ingest {
    /// Adds a file, or a folder with all that is in it, as `into/name`. What is there of the same
    /// name is replaced; folders are merged. Nothing is followed out of the source: links are kept
    /// as links. Devices, pipes and sockets are refused by name.
    pub fn add_path(&self, source: &Path, into: &[EntryName], name: EntryName) -> Result<FilesAdded> {
        let inner = &self.inner;
        let before = inner.files_tree()?;
        let mut addition = Addition::Source(source.to_owned());
        let mut first = name;
        for folder in into.iter().rev() {
            addition = Addition::Under(first, Box::new(addition));
            first = folder.clone();
        }
        let mut walk = Walk::default();
        let top = before.map(|tree| Directory::top(Arc::clone(&inner.source), tree, passed_through()));
        let made = inner.merge(top.as_ref(), std::iter::once(Ok((first, addition))), &mut walk)?;
        inner.flush_pages()?;
        let tree = TreeRef {
            place: inner.belt.wait(&made.page)?,
            ..made.tree
        };
        inner.put_files(tree);
        Ok(walk.added)
    }
}

impl Inner {
    fn files_tree(&self) -> Result<Option<TreeRef>> {
        let key = sort_key(Kind::Files, FILES);
        let leaf = match self.edits.lock().get(&key) {
            Some(Edit::Leaf(leaf)) => Some(leaf.as_ref().clone()),
            _ => None,
        };
        let leaf = match leaf {
            Some(leaf) => Some(leaf),
            None => self.catalogue.get(Kind::Files, FILES)?.map(|(_, leaf)| leaf),
        };
        Ok(leaf.and_then(|leaf| match leaf.content {
            Content::Tree(tree) => Some(tree),
            _ => None,
        }))
    }

    fn put_files(&self, tree: TreeRef) {
        let mut canonical = Encoder::new();
        tree.encode(&mut canonical);
        let leaf = Leaf {
            kind: Kind::Files,
            name: FILES.to_owned(),
            media_type: String::new(),
            sha256: Sha256::of(canonical.as_slice()),
            blob_id: BlobId::of(canonical.as_slice()),
            size: canonical.len(),
            content: Content::Tree(tree),
        };
        self.edits
            .lock()
            .insert(leaf.sort_key(), Edit::Leaf(Box::new(leaf)));
    }

    /// A directory of what was there before and what is added; both in order of name.
    fn merge(
        self: &Arc<Self>,
        before: Option<&Directory>,
        additions: impl Iterator<Item = Result<(EntryName, Addition)>>,
        walk: &mut Walk,
    ) -> Result<MadeDirectory> {
        walk.depth += 1;
        if walk.depth > DEPTH_MAX {
            return Err(Error::refused(format!(
                "folders are nested more than {DEPTH_MAX} deep"
            )));
        }
        let mut builder = FolderBuilder::new(self, before)?;
        let mut old = before.map(|d| d.entries(0)).into_iter().flatten().peekable();
        let mut additions = additions.peekable();
        while additions.peek().is_some() {
            let mut batch = Vec::new();
            for next in additions.by_ref().take(BATCH) {
                let (name, addition) = next?;
                batch.push(Found::look(name, addition)?);
            }
            self.read_files(&mut batch)?;
            for found in batch {
                while let Some(entry) = old.next_if(|e| e.as_ref().is_ok_and(|e| e.name < found.name)) {
                    builder.push(kept(&entry?))?;
                }
                let replaced = match old.next_if(|e| e.as_ref().is_ok_and(|e| e.name == found.name)) {
                    Some(entry) => Some(entry?),
                    None => None,
                };
                let below = match (&replaced, before) {
                    (Some(entry), Some(directory))
                        if matches!(entry.stored().node, Node::Directory { .. }) =>
                    {
                        Some(directory.open_directory(entry)?)
                    }
                    _ => None,
                };
                if below.is_some() != found.is_folder() && replaced.is_some() {
                    let why = "a folder and something else of one name cannot take each other's place";
                    return Err(Error::refused(format!("{}: {why}", found.name)));
                }
                let mut entry = self.entry(found, below.as_ref(), walk)?;
                if let Some(replaced) = &replaced {
                    keep_content(&mut entry, replaced);
                }
                builder.push(entry)?;
            }
        }
        for entry in old {
            builder.push(kept(&entry?))?;
        }
        walk.depth -= 1;
        builder.finish()
    }

    /// Reads the batch's files on all cores.
    fn read_files(self: &Arc<Self>, batch: &mut [Found]) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let mut files: Vec<&mut Found> = batch
            .iter_mut()
            .filter(|f| matches!(f.what, What::File(..)))
            .collect();
        let share = files.len().div_ceil(cores).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = files
                .chunks_mut(share)
                .map(|part| scope.spawn(move || part.iter_mut().try_for_each(|found| found.read(self))))
                .collect();
            for thread in threads {
                thread
                    .join()
                    .map_err(|_| Error::refused("a reading thread died"))??;
            }
            Ok(())
        })
    }

    fn entry(
        self: &Arc<Self>,
        found: Found,
        below: Option<&Directory>,
        walk: &mut Walk,
    ) -> Result<OpenTreeEntry> {
        let Found { name, metadata, what } = found;
        match what {
            What::File(_, blob) => {
                let blob = blob.ok_or_else(|| Error::refused("a file was not read"))?;
                walk.added.files += 1;
                walk.added.bytes += blob.size;
                let content = blob.content().unwrap_or(Content::Inline(Vec::new()));
                let placed = blob.is_placed();
                let node = Node::File {
                    size: blob.size,
                    blob_id: blob.blob_id,
                    sha256: blob.sha256,
                    link: 0,
                    content,
                };
                Ok(OpenTreeEntry {
                    entry: TreeEntry { name, metadata, node },
                    blob: (!placed).then_some(blob),
                    page: None,
                })
            }
            What::Link(target) => {
                walk.added.files += 1;
                Ok(OpenTreeEntry {
                    entry: TreeEntry {
                        name,
                        metadata,
                        node: Node::Symlink { target, link: 0 },
                    },
                    blob: None,
                    page: None,
                })
            }
            What::Folder(path) => {
                walk.added.folders += 1;
                self.monitor.step(&path.display().to_string());
                let names = names_in(&path)?;
                let additions = names.into_iter().map(|name| {
                    let child = path.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
                    Ok((name, Addition::Source(child)))
                });
                // Boxed, as each level of folders would otherwise be a type of its own.
                let additions: Box<dyn Iterator<Item = Result<(EntryName, Addition)>>> = Box::new(additions);
                self.folder(name, metadata, below, additions, walk)
            }
            What::PassedThrough(first, addition) => {
                let metadata = below.map_or(metadata, |d| d.metadata().clone());
                let additions: Box<dyn Iterator<Item = Result<(EntryName, Addition)>>> =
                    Box::new(std::iter::once(Ok((first, *addition))));
                self.folder(name, metadata, below, additions, walk)
            }
        }
    }

    fn folder(
        self: &Arc<Self>,
        name: EntryName,
        metadata: Metadata,
        below: Option<&Directory>,
        additions: Box<dyn Iterator<Item = Result<(EntryName, Addition)>> + '_>,
        walk: &mut Walk,
    ) -> Result<OpenTreeEntry> {
        let made = self.merge(below, additions, walk)?;
        Ok(OpenTreeEntry {
            entry: TreeEntry {
                name,
                metadata,
                node: Node::directory(made.tree),
            },
            blob: None,
            page: Some(made.page),
        })
    }
}

/// Where the file's bytes are those of the file it replaces, its chunk list is that one's too: none is
/// written again.
fn keep_content(entry: &mut OpenTreeEntry, replaced: &crate::tree::Entry) {
    if let (
        Node::File {
            blob_id: new,
            size: new_size,
            content,
            ..
        },
        Node::File {
            blob_id,
            size,
            content: old,
            ..
        },
    ) = (&mut entry.entry.node, &replaced.stored().node)
        && (*new, *new_size) == (*blob_id, *size)
    {
        *content = old.clone();
        entry.blob = None;
    }
}

/// Names in a folder, in byte order.
fn names_in(path: &Path) -> Result<Vec<EntryName>> {
    let place = path.display().to_string();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(&place, e))? {
        let entry = entry.map_err(|e| Error::io(&place, e))?;
        names.push(EntryName::new(entry.file_name().as_bytes())?);
    }
    names.sort_unstable();
    Ok(names)
}

/// An addition that was looked at.
#[derive(Debug)]
struct Found {
    name: EntryName,
    metadata: Metadata,
    what: What,
}

#[derive(Debug)]
enum What {
    File(PathBuf, Option<StoredBlob>),
    Link(Vec<u8>),
    Folder(PathBuf),
    PassedThrough(EntryName, Box<Addition>),
}

impl Found {
    fn look(name: EntryName, addition: Addition) -> Result<Self> {
        let path = match addition {
            Addition::Under(first, below) => {
                return Ok(Self {
                    name,
                    metadata: passed_through(),
                    what: What::PassedThrough(first, below),
                });
            }
            Addition::Source(path) => path,
        };
        let place = path.display().to_string();
        let found = std::fs::symlink_metadata(&path).map_err(|e| Error::io(&place, e))?;
        let metadata = metadata_of(&found);
        let what = if found.is_file() {
            What::File(path, None)
        } else if found.is_dir() {
            What::Folder(path)
        } else if found.is_symlink() {
            let target = std::fs::read_link(&path)
                .map_err(|e| Error::io(&place, e))?
                .into_os_string()
                .into_vec();
            if target.len() > TARGET_MAX {
                return Err(Error::refused(format!(
                    "{place}: its target is longer than {TARGET_MAX} bytes"
                )));
            }
            What::Link(target)
        } else {
            return Err(Error::refused(format!(
                "{place}: a device, pipe or socket; only files, folders and links can be added"
            )));
        };
        Ok(Self { name, metadata, what })
    }

    const fn is_folder(&self) -> bool {
        matches!(self.what, What::Folder(_) | What::PassedThrough(..))
    }

    /// Takes the file's bytes in. A file that changes meanwhile is an error: what would be stored
    /// is neither what it was nor what it is.
    fn read(&mut self, inner: &Arc<Inner>) -> Result<()> {
        let What::File(path, blob) = &mut self.what else {
            return Ok(());
        };
        let place = path.display().to_string();
        let io = |e| Error::io(&place, e);
        let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let mut file: File = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&*path)
            .map_err(io)?;
        let before = file.metadata().map_err(io)?;
        if !before.is_file() {
            return Err(Error::refused(format!("{place}: it is no file any more")));
        }
        let mut writer = BlobWriter::of(inner);
        copy(&mut file, &before, &mut writer, &place)?;
        let stored = writer.finish(None, None, &place)?;
        let after = file.metadata().map_err(io)?;
        if stored.size != after.len() || metadata_of(&before) != metadata_of(&after) {
            return Err(Error::refused(format!("{place}: it changed while it was read")));
        }
        self.metadata = metadata_of(&after);
        *blob = Some(stored);
        Ok(())
    }
}

/// Takes a file's bytes in; what the file system says are holes is not read.
fn copy(file: &mut File, found: &std::fs::Metadata, writer: &mut BlobWriter, place: &str) -> Result<()> {
    if found.blocks().saturating_mul(512) >= found.len() {
        writer.copy_from(file, place)?;
        return Ok(());
    }
    let seek = |file: &File, at: u64, whence| {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        match nix::unistd::lseek(file, at, whence) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            // Past the last byte of what is asked for.
            Err(Errno::ENXIO) => Ok(None),
            Err(e) => Err(Error::io(place, e.into())),
        }
    };
    let mut at = 0;
    while let Some(start) = seek(file, at, Whence::SeekData)? {
        writer.write_zeros(start.saturating_sub(at))?;
        let end = seek(file, start, Whence::SeekHole)?.unwrap_or(found.len());
        // A search for a hole has moved the place where reading goes on.
        seek(file, start, Whence::SeekSet)?;
        let read = writer.copy_from(
            &mut std::io::Read::take(&mut *file, end.saturating_sub(start)),
            place,
        )?;
        at = start + read;
        if at < end {
            return Ok(());
        }
    }
    writer.write_zeros(found.len().saturating_sub(at))
}

fn metadata_of(found: &std::fs::Metadata) -> Metadata {
    Metadata {
        mode: u16::try_from(found.mode() & 0o7777).unwrap_or(0),
        uid: found.uid(),
        gid: found.gid(),
        mtime_sec: found.mtime(),
        mtime_nsec: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        xattrs: Vec::new(),
    }
}
