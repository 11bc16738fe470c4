//! The shown tree: look-ups, attributes, listings, link targets and content by inode number.
//!
//! Owns what is where, and a small bounded cache of what is in use. Knows no fuser type and keeps no
//! table of inodes: a number leads to its node through the catalogue or the tree each time, so nothing
//! grows with what was ever looked at, and a number means the same after a remount.

mod attributes;
mod content;
mod inode;
mod layout;
mod listing;

pub use attributes::{Attributes, Kind};
pub use content::Piece;
pub use inode::{Fixed, Inode};
pub use listing::{Emit, Listed};

use crate::FsError;
use attributes::{Stamp, kind_of};
use bytes::Bytes;
use content::{OpenFile, cut};
use holdall::ids::Sha256;
use holdall::name::EntryName;
use holdall::reader::{Blob, Directory, Disk, Found, Node};
use holdall::units::len64;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::sync::{Arc, OnceLock};

/// Files kept open for reading; another one costs a look-up.
const OPEN_FILES: usize = 512;
/// Directories kept open; another one costs a descent from the tree's root.
const OPEN_DIRECTORIES: usize = 1024;

/// A disk as a tree of files. All calls may come from many threads at once.
#[derive(Debug)]
pub struct View {
    disk: Disk,
    stamp: Stamp,
    read_me: Bytes,
    /// `oci/index.json` once it was asked for. The lock is held while it is made, so it is made once.
    index: Mutex<Option<Bytes>>,
    files: OnceLock<Option<Directory>>,
    directories: Cache<u64, Directory>,
    open_files: Cache<u64, Arc<OpenFile>>,
}

impl View {
    /// Shows `disk`; whatever has no owner of its own belongs to `uid` and `gid`. Reads nothing.
    #[must_use]
    pub fn new(disk: Disk, uid: u32, gid: u32) -> Self {
        let root = disk.root();
        let stamp = Stamp {
            uid,
            gid,
            mtime_sec: root.time,
        };
        let read_me = Bytes::from(layout::read_me(root));
        Self {
            disk,
            stamp,
            read_me,
            index: Mutex::new(None),
            files: OnceLock::new(),
            directories: Cache::new(OPEN_DIRECTORIES),
            open_files: Cache::new(OPEN_FILES),
        }
    }

    /// What `name` is in the directory `parent`; `None` only where it is proved not to be there.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        match self.inode(parent)? {
            Inode::Fixed(fixed) if fixed.holds_blobs() => {
                // Whatever is no digest names no blob.
                let digest = std::str::from_utf8(name)
                    .ok()
                    .and_then(|hex| Sha256::from_hex(hex).ok());
                let Some(digest) = digest else { return Ok(None) };
                match self.disk.blob_position(&digest)? {
                    Some((position, blob)) => self.blob_attributes(position, &blob).map(Some),
                    None => Ok(None),
                }
            }
            Inode::Fixed(fixed) if fixed.kind() == Kind::Directory => {
                let child = fixed
                    .children()
                    .iter()
                    .find(|(child, _)| child.as_bytes() == name);
                child.map(|(_, inode)| self.attributes_of(*inode)).transpose()
            }
            Inode::File(inode) => {
                let (Some(directory), Ok(name)) = (self.directory(inode)?, EntryName::new(name)) else {
                    return Ok(None);
                };
                let Some(entry) = directory.entry(&name)? else {
                    return Ok(None);
                };
                Ok(Some(Attributes::of_entry(
                    self.number(Inode::File(entry.inode))?,
                    &entry,
                )))
            }
            other => Err(self.wrong_kind(other, parent, Kind::Directory)),
        }
    }

    /// The attributes of an inode.
    pub fn getattr(&self, number: u64) -> Result<Attributes, FsError> {
        self.attributes_of(self.inode(number)?)
    }

    /// The target of a symlink, as it was stored.
    pub fn readlink(&self, number: u64) -> Result<Vec<u8>, FsError> {
        match self.inode(number)? {
            Inode::File(inode @ 1..) => match self.find(inode)? {
                Found::Entry(_, entry) => match entry.node {
                    Node::Symlink { target } => Ok(target),
                    node => Err(FsError::WrongKind {
                        number,
                        found: kind_of(&node),
                        wanted: Kind::Symlink,
                    }),
                },
                Found::Directory(_) => Err(FsError::WrongKind {
                    number,
                    found: Kind::Directory,
                    wanted: Kind::Symlink,
                }),
            },
            other => Err(self.wrong_kind(other, number, Kind::Symlink)),
        }
    }

    /// `len` bytes of a file from `offset`; fewer only at its end. `buffer` is used where no single
    /// slice of the cache covers them; it can be used again for the next read.
    pub fn read<'a>(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Piece<'a>, FsError> {
        match self.inode(number)? {
            Inode::Fixed(Fixed::ReadMe) => Ok(Piece::Slice(cut(&self.read_me, offset, len))),
            Inode::Fixed(Fixed::OciLayout) => Ok(Piece::Slice(cut(
                &Bytes::from_static(layout::OCI_LAYOUT),
                offset,
                len,
            ))),
            Inode::Fixed(Fixed::OciIndex) => Ok(Piece::Slice(cut(&self.oci_index()?, offset, len))),
            inode => self.open(number, inode)?.read(offset, len, buffer),
        }
    }

    /// How many inodes are shown in all.
    pub fn inode_count(&self) -> Result<u64, FsError> {
        let files = self.files()?.map_or(1, |directory| directory.inodes());
        Ok(len64(Fixed::ALL.len())
            .saturating_add(self.disk.blob_count()?)
            .saturating_add(files))
    }

    fn attributes_of(&self, inode: Inode) -> Result<Attributes, FsError> {
        let number = self.number(inode)?;
        match inode {
            Inode::Fixed(Fixed::ReadMe) => Ok(self.stamp.file(number, len64(self.read_me.len()), 1)),
            Inode::Fixed(Fixed::OciLayout) => Ok(self.stamp.file(number, len64(layout::OCI_LAYOUT.len()), 1)),
            Inode::Fixed(Fixed::OciIndex) => Ok(self.stamp.file(number, len64(self.oci_index()?.len()), 1)),
            Inode::Fixed(fixed) => Ok(self.stamp.directory(number, self.entries_of(fixed)?)),
            Inode::Blob(position) => self.blob_attributes(position, &self.blob(position)?),
            Inode::File(0) => Ok(match self.files()? {
                Some(directory) => Attributes::of_directory(number, &directory),
                None => self.stamp.directory(number, 0),
            }),
            Inode::File(inode) => Ok(match self.find(inode)? {
                Found::Directory(directory) => Attributes::of_directory(number, &directory),
                Found::Entry(_, entry) => Attributes::of_entry(number, &entry),
            }),
        }
    }

    fn blob_attributes(&self, position: u64, blob: &Blob) -> Result<Attributes, FsError> {
        // Two names: blobs/sha256/… and oci/blobs/sha256/….
        Ok(self.stamp.file(self.number(Inode::Blob(position))?, blob.size, 2))
    }

    fn blob(&self, position: u64) -> Result<Blob, FsError> {
        let missing = || FsError::NoSuchInode {
            number: Inode::Blob(position).number().unwrap_or(0),
        };
        self.disk.blob_at(position)?.ok_or_else(missing)
    }

    fn open(&self, number: u64, inode: Inode) -> Result<Arc<OpenFile>, FsError> {
        self.open_files.get_or_insert_with(&number, || {
            let reader = match inode {
                Inode::Blob(position) => self.disk.open_blob(&self.blob(position)?),
                Inode::File(file @ 1..) => match self.find(file)? {
                    Found::Entry(directory, entry) if matches!(entry.node, Node::File { .. }) => {
                        directory.open_file(&entry)?
                    }
                    Found::Entry(_, entry) => {
                        return Err(FsError::WrongKind {
                            number,
                            found: kind_of(&entry.node),
                            wanted: Kind::File,
                        });
                    }
                    Found::Directory(_) => {
                        return Err(FsError::WrongKind {
                            number,
                            found: Kind::Directory,
                            wanted: Kind::File,
                        });
                    }
                },
                other => return Err(self.wrong_kind(other, number, Kind::File)),
            };
            Ok(Arc::new(OpenFile::new(number, reader)))
        })
    }

    /// The tree of loose files, read once.
    fn files(&self) -> Result<Option<Directory>, FsError> {
        if let Some(files) = self.files.get() {
            return Ok(files.clone());
        }
        let files = self.disk.files()?;
        // Where two threads came here at once, both read the same.
        Ok(self.files.get_or_init(|| files).clone())
    }

    /// The directory of that inode among the loose files; `None` only for `files/` itself, where the
    /// disk has no loose files.
    fn directory(&self, inode: u64) -> Result<Option<Directory>, FsError> {
        if inode == 0 {
            return self.files();
        }
        match self.find(inode)? {
            Found::Directory(directory) => Ok(Some(directory)),
            Found::Entry(_, entry) => Err(FsError::WrongKind {
                number: self.number(Inode::File(inode))?,
                found: kind_of(&entry.node),
                wanted: Kind::Directory,
            }),
        }
    }

    fn find(&self, inode: u64) -> Result<Found, FsError> {
        if let Some(directory) = self.directories.get(&inode) {
            return Ok(Found::Directory(directory));
        }
        let found = self.files()?.map(|root| root.find(inode)).transpose()?.flatten();
        let found = found.ok_or(FsError::NoSuchInode {
            number: Inode::File(inode).number().unwrap_or(0),
        })?;
        if let Found::Directory(directory) = &found {
            self.directories.insert(inode, directory.clone());
        }
        Ok(found)
    }

    fn oci_index(&self) -> Result<Bytes, FsError> {
        let mut index = self.index.lock();
        if let Some(bytes) = &*index {
            return Ok(bytes.clone());
        }
        let images = self
            .disk
            .images(None, None)
            .map(|image| image.map(layout::Listed::from));
        let bytes = Bytes::from(layout::index_json(images)?);
        *index = Some(bytes.clone());
        Ok(bytes)
    }

    fn inode(&self, number: u64) -> Result<Inode, FsError> {
        Inode::from_number(number).ok_or(FsError::NoSuchInode { number })
    }

    fn number(&self, inode: Inode) -> Result<u64, FsError> {
        let position = match inode {
            Inode::Fixed(_) => 0,
            Inode::Blob(position) | Inode::File(position) => position,
        };
        inode.number().ok_or(FsError::NumbersExhausted { position })
    }

    /// For an inode whose kind shows in its number.
    fn wrong_kind(&self, inode: Inode, number: u64, wanted: Kind) -> FsError {
        let found = match inode {
            Inode::Fixed(fixed) => fixed.kind(),
            Inode::Blob(_) => Kind::File,
            // Only files/ itself comes here.
            Inode::File(_) => Kind::Directory,
        };
        FsError::WrongKind {
            number,
            found,
            wanted,
        }
    }
}
