//! The trees: loose files and chains, whose inodes lead to their nodes by counting.
//!
//! Owns which trees and directories are kept open. Knows nothing of names above a tree's root.

use super::View;
use super::attributes::{Attributes, Kind, kind_of};
use super::inode::{Fixed, Inode, TreeName};
use crate::FsError;
use holdall::ids::{BlobId, Sha256};
use holdall::name::EntryName;
use holdall::reader::{BlobReader, Chain, Directory, Found, Metadata, Node};
use quick_cache::sync::Cache;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Chains kept open; another one costs a look-up and two pages.
const OPEN_CHAINS: usize = 512;
/// Directories kept open; another one costs a descent from its tree's root.
const OPEN_DIRECTORIES: usize = 8192;
/// How far on from the last file one may be that still is taken for the next of a walk: what lies between
/// are directories, links, and small files that the kernel has.
const IN_ORDER: u64 = 64;

/// What is open of the trees.
#[derive(Debug)]
pub(super) struct Trees {
    files: OnceLock<Option<Directory>>,
    chains: Cache<u64, Chain>,
    /// By inode number.
    directories: Cache<u64, Directory>,
    /// The file that was opened last, by inode number. Only a hint: threads race for it.
    last_opened: AtomicU64,
}

impl Trees {
    pub(super) fn new() -> Self {
        Self {
            files: OnceLock::new(),
            chains: Cache::new(OPEN_CHAINS),
            directories: Cache::new(OPEN_DIRECTORIES),
            last_opened: AtomicU64::new(0),
        }
    }
}

impl View {
    /// The tree of loose files, read once.
    pub(super) fn files(&self) -> Result<Option<Directory>, FsError> {
        if let Some(files) = self.trees.files.get() {
            return Ok(files.clone());
        }
        let files = self.disk.files()?;
        // Where two threads came here at once, both read the same.
        Ok(self.trees.files.get_or_init(|| files).clone())
    }

    /// The chain at that position.
    pub(super) fn chain(&self, position: u64) -> Result<Chain, FsError> {
        self.trees.chains.get_or_insert_with(&position, || {
            let missing = || FsError::NoSuchInode {
                number: Inode::Chain { position, inode: 0 }.number().unwrap_or(0),
            };
            self.disk.chain_at(position)?.ok_or_else(missing)
        })
    }

    /// The root directory of the chain of that chainID, as an inode number and open.
    pub(super) fn chain_of(&self, id: &Sha256) -> Result<Option<(u64, Directory)>, FsError> {
        let Some(chain) = self.disk.chain(id)? else {
            return Ok(None);
        };
        let root = self.chain_root(&chain)?;
        self.trees.chains.insert(chain.position, chain);
        Ok(Some(root))
    }

    /// A chain's root directory, as an inode number and open.
    pub(super) fn chain_root(&self, chain: &Chain) -> Result<(u64, Directory), FsError> {
        let root = chain.rootfs();
        let number = self.number(TreeName::Chain(chain.position).inode(root.inode()))?;
        Ok((number, root.clone()))
    }

    /// Where the tree begins to be seen; `None` only for the loose files of a disk without any.
    fn root_of(&self, tree: TreeName) -> Result<Option<Directory>, FsError> {
        match tree {
            TreeName::Files => self.files(),
            TreeName::Chain(position) => Ok(Some(self.chain(position)?.rootfs().clone())),
        }
    }

    /// The directory of that inode; `None` only for `files/` itself, where the disk has no loose files.
    pub(super) fn directory(&self, tree: TreeName, inode: u64) -> Result<Option<Directory>, FsError> {
        if (tree, inode) == (TreeName::Files, 0) {
            return self.files();
        }
        match self.find(tree, inode)? {
            Found::Directory(directory) => Ok(Some(directory)),
            Found::Entry(_, entry) => Err(FsError::WrongKind {
                number: self.number(tree.inode(inode))?,
                found: kind_of(&entry.node),
                wanted: Kind::Directory,
            }),
        }
    }

    /// The directory that a directory of a tree is in: its inode number.
    pub(super) fn parent_of(&self, tree: TreeName, directory: Option<&Directory>) -> Result<u64, FsError> {
        match (tree, directory) {
            (TreeName::Files, Some(directory)) if directory.inode() != 0 => {
                self.number(tree.inode(directory.parent_inode()))
            }
            (TreeName::Files, _) => Ok(Fixed::Root.number()),
            (TreeName::Chain(position), Some(directory))
                if directory.inode() != self.chain(position)?.rootfs().inode() =>
            {
                self.number(tree.inode(directory.parent_inode()))
            }
            (TreeName::Chain(_), _) => Ok(Fixed::ChainsSha256.number()),
        }
    }

    /// What has that inode in a tree.
    pub(super) fn find(&self, tree: TreeName, inode: u64) -> Result<Found, FsError> {
        let number = self.number(tree.inode(inode))?;
        if let Some(directory) = self.trees.directories.get(&number) {
            return Ok(Found::Directory(directory));
        }
        let root = self.root_of(tree)?;
        // What lies beside a chain's root directory is not below it, and so not found.
        let found = root.map(|root| root.find(inode)).transpose()?.flatten();
        let found = found.ok_or(FsError::NoSuchInode { number })?;
        if let Found::Directory(directory) = &found {
            self.trees.directories.insert(number, directory.clone());
        }
        Ok(found)
    }

    /// Keeps a directory open that was come across, so that it need not be descended to.
    pub(super) fn keep_open(&self, number: u64, directory: impl FnOnce() -> holdall::Result<Directory>) {
        if self.trees.directories.peek(&number).is_none()
            && let Ok(directory) = directory()
        {
            self.trees.directories.insert(number, directory);
        }
    }

    /// What that name is in a directory of a tree.
    pub(super) fn lookup_in_tree(
        &self,
        tree: TreeName,
        inode: u64,
        name: &[u8],
    ) -> Result<Option<Attributes>, FsError> {
        let (Some(directory), Ok(name)) = (self.directory(tree, inode)?, EntryName::new(name)) else {
            return Ok(None);
        };
        let Some(entry) = directory.entry(&name)? else {
            return Ok(None);
        };
        let number = self.number(tree.inode(entry.inode))?;
        if matches!(entry.node, Node::Directory { .. }) {
            self.keep_open(number, || directory.open_directory(&entry));
        }
        Ok(Some(Attributes::of_entry(number, &entry)))
    }

    /// The attributes of an inode of a tree.
    pub(super) fn attributes_in_tree(&self, tree: TreeName, inode: u64) -> Result<Attributes, FsError> {
        let number = self.number(tree.inode(inode))?;
        if (tree, inode) == (TreeName::Files, 0) {
            return Ok(match self.files()? {
                Some(directory) => Attributes::of_directory(number, &directory),
                None => self.stamp.directory(number, 0, 2),
            });
        }
        Ok(match self.find(tree, inode)? {
            Found::Directory(directory) => Attributes::of_directory(number, &directory),
            Found::Entry(_, entry) => Attributes::of_entry(number, &entry),
        })
    }

    /// The BlobId and the bytes of a file of a tree.
    pub(super) fn open_in_tree(&self, tree: TreeName, inode: u64) -> Result<(BlobId, BlobReader), FsError> {
        let found = if (tree, inode) == (TreeName::Files, 0) {
            Kind::Directory
        } else {
            match self.find(tree, inode)? {
                Found::Entry(directory, entry) => match &entry.node {
                    Node::File { blob_id, .. } => {
                        // Who copies or checks a tree opens its files in the order of their inodes.
                        let number = self.number(tree.inode(inode))?;
                        let last = self.trees.last_opened.swap(number, Ordering::Relaxed);
                        if number.checked_sub(last).is_some_and(|step| step <= IN_ORDER) {
                            directory.read_files_ahead(entry.index);
                        }
                        return Ok((*blob_id, directory.open_file(&entry)?));
                    }
                    node => kind_of(node),
                },
                Found::Directory(_) => Kind::Directory,
            }
        };
        Err(FsError::WrongKind {
            number: self.number(tree.inode(inode))?,
            found,
            wanted: Kind::File,
        })
    }

    /// What an inode of a tree has for metadata, given to `look`.
    pub(super) fn metadata_in_tree<T>(
        &self,
        tree: TreeName,
        inode: u64,
        look: impl FnOnce(&Metadata) -> T,
    ) -> Result<Option<T>, FsError> {
        if (tree, inode) == (TreeName::Files, 0) {
            return Ok(self.files()?.map(|directory| look(directory.metadata())));
        }
        Ok(Some(match self.find(tree, inode)? {
            Found::Directory(directory) => look(directory.metadata()),
            Found::Entry(_, entry) => look(&entry.metadata),
        }))
    }
}
