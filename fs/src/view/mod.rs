//! The shown tree: look-ups, attributes, listings, link targets and content by inode number.
//!
//! Owns what is where, and a small bounded cache of what is in use. Knows no fuser type and keeps no
//! table of inodes: a number leads to its node through the catalogue or the tree each time, so nothing
//! grows with what was ever looked at (but for the size of each EROFS image), and a number means the same after a remount.

mod attributes;
mod content;
mod erofs;
mod folder;
mod image;
mod inode;
mod layout;
mod listing;
mod tree;
mod xattr;

pub use attributes::{Attributes, Kind};
pub use content::Piece;
pub use inode::{Fixed, Inode, Slot};
pub use listing::{Emit, Listed};

use crate::{FsError, Recorder};
use attributes::{Stamp, kind_of};
use bytes::Bytes;
use content::{OpenFile, Source, cut};
use erofs::Images;
use holdall::ids::Sha256;
use holdall::medium::MediumFile;
use holdall::reader::{Blob, Disk, Found, Node};
use holdall::units::len64;
use image::Folder;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::sync::{Arc, OnceLock};
use tree::Trees;

/// Files kept open for reading; another one costs a look-up.
const OPEN_FILES: usize = 512;

/// How large a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes that it takes on the medium; 0 until that has been found out ([`View::measuring`]).
    pub bytes: u64,
    /// Inodes that are shown, but for those in chains, which to count would open each of them.
    pub inodes: u64,
}

/// A disk as a tree of files. All calls may come from many threads at once.
#[derive(Debug)]
pub struct View {
    disk: Disk,
    stamp: Stamp,
    read_me: Bytes,
    stored_bytes: Arc<OnceLock<u64>>,
    /// `oci/index.json` once it was asked for. The lock is held while it is made, so it is made once.
    index: Mutex<Option<Bytes>>,
    trees: Trees,
    open_files: Cache<u64, Arc<OpenFile>>,
    erofs: Images,
    recorder: Option<Arc<Recorder>>,
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
            stored_bytes: Arc::default(),
            index: Mutex::new(None),
            trees: Trees::new(),
            open_files: Cache::new(OPEN_FILES),
            erofs: Images::new(),
            recorder: None,
        }
    }

    /// The same, with what is read of chains' files told to a recorder.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<Arc<Recorder>>) -> Self {
        Self { recorder, ..self }
    }

    /// What `name` is in the directory `parent`; `None` only where it is proved not to be there.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        let inode = self.inode(parent)?;
        if let Some((tree, inode)) = inode.in_tree() {
            return self.lookup_in_tree(tree, inode, name);
        }
        match inode {
            Inode::Fixed(Fixed::Images) => self.lookup_image(&Folder::top(), name),
            Inode::Fixed(Fixed::ChainsSha256) => {
                let found = digest_of(name).map(|id| self.chain_of(&id)).transpose()?;
                Ok(found
                    .flatten()
                    .map(|(number, root)| Attributes::of_directory(number, &root)))
            }
            Inode::Fixed(Fixed::ErofsChainsSha256) => self.lookup_chain_image(name),
            Inode::Fixed(Fixed::LayersSha256) => self.lookup_layer_folder(name),
            Inode::LayerFolder(byte) => self.lookup_layer_image(byte, name),
            Inode::Fixed(fixed) if fixed.holds_blobs() => {
                let Some(digest) = digest_of(name) else {
                    return Ok(None);
                };
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
            Inode::Image { position, slot } => self.lookup_image(&self.image_folder(position, slot)?, name),
            other => Err(self.wrong_kind(other, parent, Kind::Directory)),
        }
    }

    /// The attributes of an inode.
    pub fn getattr(&self, number: u64) -> Result<Attributes, FsError> {
        self.attributes_of(self.inode(number)?)
    }

    /// The target of a symlink, as it was stored.
    pub fn readlink(&self, number: u64) -> Result<Vec<u8>, FsError> {
        let inode = self.inode(number)?;
        let found = match (inode.in_tree(), inode) {
            (Some((tree, inode)), _) => match self.find(tree, inode)? {
                Found::Entry(_, entry) => match entry.node {
                    Node::Symlink { target, .. } => return Ok(target),
                    node => kind_of(&node),
                },
                Found::Directory(_) => Kind::Directory,
            },
            (None, Inode::Image { position, slot }) => return self.image_link(number, position, slot),
            (None, other) => return Err(self.wrong_kind(other, number, Kind::Symlink)),
        };
        Err(FsError::WrongKind {
            number,
            found,
            wanted: Kind::Symlink,
        })
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
            inode @ Inode::ChainImage(position) => self
                .recorded(position, self.kernel_image(inode)?, offset, len)
                .read(offset, len, buffer),
            inode @ Inode::LayerImage(_) => self.kernel_image(inode)?.read(offset, len, buffer),
            inode @ Inode::Chain { position, .. } => self
                .recorded(position, self.open(number, inode)?, offset, len)
                .read(offset, len, buffer),
            inode => self.open(number, inode)?.read(offset, len, buffer),
        }
    }

    /// The file of that chain, which is about to be read there.
    fn recorded(&self, chain: u64, file: Arc<OpenFile>, offset: u64, len: usize) -> Arc<OpenFile> {
        if let Some(recorder) = &self.recorder {
            recorder.read(chain, file.files_in(offset, len64(len)));
        }
        file
    }

    /// How large the disk is.
    pub fn extent(&self) -> Result<Extent, FsError> {
        let files = self.files()?.map_or(1, |directory| directory.inodes());
        let images = self.disk.image_count()?;
        let inodes = len64(Fixed::ALL.len())
            .saturating_add(self.disk.blob_count()?)
            .saturating_add(self.disk.chain_count()?.saturating_mul(2))
            .saturating_add(self.disk.layer_count()?)
            .saturating_add(images)
            .saturating_add(files);
        let bytes = self.stored_bytes.get().copied().unwrap_or(0);
        Ok(Extent { bytes, inodes })
    }

    /// The work of finding out how many bytes the disk takes, for a thread that may have to wait: a
    /// medium that hangs must hold up no request for so little.
    pub fn measuring(&self) -> impl FnOnce() + Send + use<> {
        let (disk, found) = (self.disk.clone(), Arc::clone(&self.stored_bytes));
        move || {
            // Whatever is wrong with a pack is said by who reads it.
            if let Ok(bytes) = stored_bytes(&disk) {
                let _known_already = found.set(bytes);
            }
        }
    }

    fn attributes_of(&self, inode: Inode) -> Result<Attributes, FsError> {
        let number = self.number(inode)?;
        match inode {
            Inode::Fixed(Fixed::ReadMe) => Ok(self.stamp.file(number, len64(self.read_me.len()), 1)),
            Inode::Fixed(Fixed::OciLayout) => Ok(self.stamp.file(number, len64(layout::OCI_LAYOUT.len()), 1)),
            Inode::Fixed(Fixed::OciIndex) => Ok(self.stamp.file(number, len64(self.oci_index()?.len()), 1)),
            Inode::Fixed(fixed) => {
                let (entries, nlink) = self.counts_of(fixed)?;
                Ok(self.stamp.directory(number, entries, nlink))
            }
            Inode::Blob(position) => self.blob_attributes(position, &self.blob(position)?),
            Inode::LayerFolder(_) => Ok(self.stamp.directory(number, 0, 2)),
            Inode::ChainImage(_) | Inode::LayerImage(_) => {
                let found = self.image_attributes(inode)?;
                found.ok_or(FsError::NoSuchInode { number })
            }
            Inode::File(_) | Inode::Chain { .. } => match inode.in_tree() {
                Some((tree, inode)) => self.attributes_in_tree(tree, inode),
                None => Err(FsError::NoSuchInode { number }),
            },
            Inode::Image { position, slot } => self.standing_attributes(&self.standing(position, slot)?),
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
            let source = match (inode.in_tree(), inode) {
                (None, Inode::Blob(position)) => Source::Blob(self.disk.open_blob(&self.blob(position)?)),
                (Some((tree, inode)), _) => {
                    let (blob, reader) = self.open_in_tree(tree, inode)?;
                    Source::File(blob, reader)
                }
                (None, other) => return Err(self.wrong_kind(other, number, Kind::File)),
            };
            Ok(Arc::new(OpenFile::new(number, source)))
        })
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
            Inode::Fixed(_) | Inode::LayerFolder(_) => 0,
            Inode::Blob(position)
            | Inode::ChainImage(position)
            | Inode::LayerImage(position)
            | Inode::File(position)
            | Inode::Image { position, .. }
            | Inode::Chain { position, .. } => position,
        };
        inode.number().ok_or(FsError::NumbersExhausted { position })
    }

    /// For an inode whose kind shows in its number.
    fn wrong_kind(&self, inode: Inode, number: u64, wanted: Kind) -> FsError {
        let found = match inode {
            Inode::Fixed(fixed) => fixed.kind(),
            Inode::Blob(_) | Inode::ChainImage(_) | Inode::LayerImage(_) => Kind::File,
            Inode::Image {
                slot: Slot::Rootfs(_),
                ..
            } => Kind::Symlink,
            // Of the trees, only `files/` itself comes here.
            Inode::LayerFolder(_) | Inode::File(_) | Inode::Image { .. } | Inode::Chain { .. } => {
                Kind::Directory
            }
        };
        FsError::WrongKind {
            number,
            found,
            wanted,
        }
    }
}

/// The digest that a name in hexadecimal stands for; what is none names no blob and no chain.
fn digest_of(name: &[u8]) -> Option<Sha256> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|hex| Sha256::from_hex(hex).ok())
}

/// Lengths of all packs on the medium, and of the catalogue.
fn stored_bytes(disk: &Disk) -> holdall::Result<u64> {
    let medium = disk.medium();
    let mut bytes = disk.root().catalogue_bytes;
    for pack in medium.packs()? {
        bytes = bytes.saturating_add(medium.len(MediumFile::Pack(pack))?.unwrap_or(0));
    }
    Ok(bytes)
}
