//! One entry of a directory, as a reader sees it.

use crate::format::tree::{Marks, Metadata, SpecialKind, TreeEntry};
use crate::ids::{BlobId, Sha256};
use crate::name::EntryName;
use std::sync::Arc;

/// What an entry is, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the bytes.
        blob_id: BlobId,
        /// SHA-256 of the bytes, where it was taken: of loose files only.
        sha256: Option<Sha256>,
        /// Names that the file has.
        nlink: u32,
    },
    /// A directory.
    Directory {
        /// Entries directly in it.
        entries: u64,
        /// Inodes below it and itself.
        inodes: u64,
        /// Directories directly in it.
        subdirectories: u64,
        /// What it says of the layers below; none outside a layer's tree.
        marks: Marks,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
        /// Names that the link has.
        nlink: u32,
    },
    /// A device, pipe or socket.
    Special {
        /// Which.
        kind: SpecialKind,
        /// Major device number, or 0.
        major: u32,
        /// Minor device number, or 0.
        minor: u32,
        /// Names that it has.
        nlink: u32,
    },
    /// In a layer's tree: what the layers below have of this name is hidden.
    Whiteout,
    /// In a layer's tree: one more name of what the layers below have.
    OutsideLink {
        /// Its path there from the root, without a leading slash.
        target: Vec<u8>,
    },
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// Owner, permissions and time.
    pub metadata: Metadata,
    /// What it is.
    pub node: Node,
    /// Its inode number within the tree: the names of one inode share the position of the first.
    pub inode: u64,
    /// Its position in the tree's pre-order: what its inode number is unless it is a further name.
    pub preorder: u64,
    /// Its position within its directory, from 0.
    pub index: u64,
    pub(super) stored: Arc<TreeEntry>,
}

impl Entry {
    /// The entry as it is stored, places included.
    #[must_use]
    pub fn stored(&self) -> &TreeEntry {
        &self.stored
    }
}
