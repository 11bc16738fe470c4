//! Trees: directories read page by page, and inode numbers computed from positions, both ways.
//!
//! An inode's number is its position in the pre-order of its tree, from 0 for the tree's own
//! directory: the same after every restart, without a table.

mod entries;
mod entry;
pub mod layer;
mod links;
pub mod merge;
mod rooted;

pub use entries::Entries;
pub use entry::{Entry, Node};
pub use links::{LinkGroup, Links};
pub use rooted::Rooted;

use crate::blob::{BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::content::{Content, Place, TreeRef};
pub use crate::format::tree::{Marks, Metadata, SpecialKind};
use crate::format::tree::{Node as StoredNode, TreeChild, TreeEntry, TreePage};
use crate::ids::{PageHash, Sha256};
use crate::name::EntryName;

use std::sync::Arc;

/// Frames that are loaded ahead of who goes from entry to entry.
const FRAMES_AHEAD: usize = 3;

/// A directory of a tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory {
    source: Arc<dyn FrameSource>,
    tree: TreeRef,
    inode: u64,
    parent: u64,
    metadata: Arc<Metadata>,
    /// The table of the tree's hard links.
    links: Option<Arc<Links>>,
    /// Whether this is a layer's tree, which may have marks for the layers below.
    layer: bool,
}

/// What an inode number stands for.
#[derive(Debug, Clone)]
pub enum Found {
    /// A directory, the tree's own or one below.
    Directory(Directory),
    /// Anything else, with the directory that holds it.
    Entry(Directory, Entry),
}

/// What a descent through a directory's pages steers by.
#[derive(Clone, Copy)]
enum Aim<'a> {
    Name(&'a EntryName),
    Index(u64),
    Inode(u64),
}

/// A leaf page, with what is counted before it in its directory.
#[derive(Debug, Clone)]
struct Leaf {
    page: Arc<TreePage>,
    entries_before: u64,
    inodes_before: u64,
}

impl Directory {
    /// The top directory of a tree.
    #[must_use]
    pub fn top(source: Arc<dyn FrameSource>, tree: TreeRef, metadata: Metadata) -> Self {
        Self {
            source,
            tree,
            inode: 0,
            parent: 0,
            metadata: Arc::new(metadata),
            links: None,
            layer: false,
        }
    }

    /// Where its pages and files come from.
    pub(crate) const fn source(&self) -> &Arc<dyn FrameSource> {
        &self.source
    }

    /// Its inode number within the tree.
    #[must_use]
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Its parent's inode number; its own at the top.
    #[must_use]
    pub const fn parent_inode(&self) -> u64 {
        self.parent
    }

    /// Owner, permissions and time.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.tree.entries
    }

    /// True where it has no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tree.entries == 0
    }

    /// Inodes below it and itself.
    #[must_use]
    pub const fn inodes(&self) -> u64 {
        self.tree.inodes
    }

    /// Directories directly in it.
    #[must_use]
    pub const fn subdirectories(&self) -> u64 {
        self.tree.subdirectories
    }

    /// The directory as it is stored.
    #[must_use]
    pub const fn stored(&self) -> &TreeRef {
        &self.tree
    }

    fn malformed(&self, why: &str) -> Error {
        Error::malformed(self.source.name_of(&self.tree.place), why)
    }

    /// Descends to the leaf page that the aim lies in; `None` where it is past the end.
    fn leaf(&self, aim: Aim<'_>) -> Result<Option<Leaf>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut at = Leaf {
            page: self
                .source
                .tree_page(&self.tree.hash, self.tree.depth, &self.tree.place)?,
            entries_before: 0,
            inodes_before: 1,
        };
        let mut level = self.tree.depth;
        while let TreePage::Interior { children, .. } = at.page.as_ref() {
            let Some((child, entries, inodes)) = step(children, aim, at.entries_before, at.inodes_before)
            else {
                return Ok(None);
            };
            level = level
                .checked_sub(1)
                .ok_or_else(|| self.malformed("a directory's pages are nested wrongly"))?;
            at = Leaf {
                page: self.source.tree_page(&child.hash, level, &child.place)?,
                entries_before: entries,
                inodes_before: inodes,
            };
        }
        // Inode numbers are sums of counts: with each directory within what its own entry counts, none
        // goes beyond what the top directory has.
        let (entries, inodes) = counts_of(&at.page);
        if at.entries_before + entries > self.tree.entries || at.inodes_before + inodes > self.tree.inodes {
            return Err(self.malformed("a page goes beyond what its directory counts"));
        }
        Ok(Some(at))
    }

    /// The first of the leaf page's entries that is chosen, with its position and inode number.
    fn choose(&self, leaf: &Leaf, chosen: impl Fn(&TreeEntry, u64) -> bool) -> Result<Option<Entry>> {
        let found = numbered(leaf, self.inode).find(|(stored, preorder, _)| chosen(stored, *preorder));
        found
            .map(|(stored, preorder, index)| self.entry_of(stored, preorder, index))
            .transpose()
    }

    fn entry_of(&self, stored: &TreeEntry, preorder: u64, index: u64) -> Result<Entry> {
        let (node, inode) = self.node_of(&stored.node, preorder)?;
        Ok(Entry {
            name: stored.name.clone(),
            metadata: stored.metadata.clone(),
            node,
            inode,
            preorder,
            index,
            stored: Arc::new(stored.clone()),
        })
    }

    /// The node as a reader sees it, and its inode number.
    fn node_of(&self, stored: &StoredNode, preorder: u64) -> Result<(Node, u64)> {
        let (mut inode, mut nlink) = (preorder, 1);
        let link = stored.link();
        if let Some(links) = self.links.as_ref().filter(|_| link != 0) {
            let group = links.group(link)?;
            // Its own first name, or one before it: else two inodes would share a number.
            if group.inode > preorder {
                return Err(self.malformed("a hard link's first name stands behind another"));
            }
            (inode, nlink) = (group.inode, group.nlink);
        }
        let node = match stored {
            StoredNode::File {
                size,
                blob_id,
                sha256,
                ..
            } => Node::File {
                size: *size,
                blob_id: *blob_id,
                sha256: Some(*sha256).filter(|sha256| *sha256 != Sha256::default()),
                nlink,
            },
            StoredNode::Directory { tree, marks } => {
                if !self.layer && *marks != Marks::default() {
                    return Err(self.malformed("a directory with marks outside a layer's tree"));
                }
                Node::Directory {
                    entries: tree.entries,
                    inodes: tree.inodes,
                    subdirectories: tree.subdirectories,
                    marks: *marks,
                }
            }
            StoredNode::Symlink { target, .. } => Node::Symlink {
                target: target.clone(),
                nlink,
            },
            StoredNode::Special {
                kind, major, minor, ..
            } => Node::Special {
                kind: *kind,
                major: *major,
                minor: *minor,
                nlink,
            },
            StoredNode::Whiteout | StoredNode::OutsideLink(_) if !self.layer => {
                return Err(self.malformed("a whiteout or outside link outside a layer's tree"));
            }
            StoredNode::Whiteout => Node::Whiteout,
            StoredNode::OutsideLink(target) => Node::OutsideLink {
                target: target.clone(),
            },
        };
        Ok((node, inode))
    }

    /// The entry of that name.
    pub fn entry(&self, name: &EntryName) -> Result<Option<Entry>> {
        let Some(leaf) = self.leaf(Aim::Name(name))? else {
            return Ok(None);
        };
        self.choose(&leaf, |stored, _| stored.name == *name)
    }

    /// The entries in byte order of name, from position `index` on; pages are read as it goes.
    #[must_use]
    pub fn entries(&self, index: u64) -> Entries {
        Entries {
            directory: self.clone(),
            next: index,
            held: None,
        }
    }

    /// The directory that this entry of it is.
    pub fn open_directory(&self, entry: &Entry) -> Result<Self> {
        let StoredNode::Directory { tree, .. } = &entry.stored.node else {
            return Err(Error::refused(format!("{}: not a directory", entry.name)));
        };
        Ok(Self {
            source: Arc::clone(&self.source),
            tree: *tree,
            inode: entry.inode,
            parent: self.inode,
            metadata: Arc::new(entry.metadata.clone()),
            links: self.links.clone(),
            layer: self.layer,
        })
    }

    /// The bytes of the file that this entry of it is.
    pub fn open_file(&self, entry: &Entry) -> Result<BlobReader> {
        let StoredNode::File { size, content, .. } = &entry.stored.node else {
            return Err(Error::refused(format!("{}: not a file", entry.name)));
        };
        Ok(BlobReader::new(Arc::clone(&self.source), *size, content.clone()))
    }

    /// Begins to load, in the background, the frames that the bytes of the first files from position `index`
    /// on begin in; returns at once. For who reads one file after another.
    pub fn read_files_ahead(&self, index: u64) {
        self.read_ahead(index, |stored| match &stored.node {
            StoredNode::File {
                content: Content::List(list),
                ..
            } => Some(list.place),
            _ => None,
        });
    }

    /// Begins to load, in the background, the frames that the first directories from position `index` on
    /// have their pages in; returns at once. For who walks a tree.
    pub fn read_directories_ahead(&self, index: u64) {
        self.read_ahead(index, |stored| match &stored.node {
            StoredNode::Directory { tree, .. } if tree.entries > 0 => Some(tree.place),
            _ => None,
        });
    }

    /// Begins to load the first frames that entries from `index` on lead to, as far as they are on one page.
    fn read_ahead(&self, index: u64, place_of: impl Fn(&TreeEntry) -> Option<Place>) {
        // A hint: whatever is wrong will be said by the read itself.
        let Ok(Some(leaf)) = self.leaf(Aim::Index(index)) else {
            return;
        };
        let mut places: Vec<Place> = Vec::with_capacity(FRAMES_AHEAD);
        let mut last = None;
        for (stored, _, _) in numbered(&leaf, self.inode).skip_while(|(_, _, at)| *at < index) {
            let Some(place) = place_of(stored) else { continue };
            let frame = Some((place.pack, place.frame));
            if last != frame {
                places.push(place);
                if places.len() == FRAMES_AHEAD {
                    break;
                }
            }
            last = frame;
        }
        if !places.is_empty() {
            self.source.prefetch(&places);
        }
    }

    /// What has that inode number, found by descending along the counts. Inode numbers of other
    /// subtrees than this directory's are `None`.
    pub fn find(&self, inode: u64) -> Result<Option<Found>> {
        let mut directory = self.clone();
        for _ in 0..=crate::format::DEPTH_MAX {
            if inode == directory.inode {
                return Ok(Some(Found::Directory(directory)));
            }
            let Some(offset) = inode
                .checked_sub(directory.inode)
                .filter(|n| *n < directory.tree.inodes)
            else {
                return Ok(None);
            };
            let Some(leaf) = directory.leaf(Aim::Inode(offset))? else {
                return Ok(None);
            };
            let holds = directory.choose(&leaf, |stored, preorder| {
                preorder <= inode && inode < preorder + stored.inodes()
            })?;
            let Some(entry) = holds else {
                return Err(self.malformed("a directory counts more inodes than it has"));
            };
            if !matches!(entry.node, Node::Directory { .. }) {
                return Ok(Some(Found::Entry(directory, entry)));
            }
            directory = directory.open_directory(&entry)?;
        }
        Err(self.malformed("directories are nested too deep"))
    }

    /// Every page of this directory alone, top first: hash, place and level. For who checks or reuses them.
    pub fn pages(&self, mut each: impl FnMut(PageHash, Place, &TreePage) -> Result<()>) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let mut waiting = vec![(self.tree.hash, self.tree.place, self.tree.depth)];
        // Names ascend through a directory: no page of it can stand in it twice.
        let mut seen = std::collections::HashSet::new();
        while let Some((hash, place, level)) = waiting.pop() {
            if !seen.insert(hash) {
                return Err(self.malformed("a page stands twice in a directory"));
            }
            let page = self.source.tree_page(&hash, level, &place)?;
            each(hash, place, &page)?;
            if let TreePage::Interior { children, level } = page.as_ref() {
                waiting.extend(
                    children
                        .iter()
                        .map(|c| (c.hash, c.place, level.saturating_sub(1))),
                );
            }
        }
        Ok(())
    }
}

/// Entries and inodes of a leaf page.
fn counts_of(page: &TreePage) -> (u64, u64) {
    match page {
        TreePage::Leaf(entries) => (
            crate::units::len64(entries.len()),
            entries.iter().map(TreeEntry::inodes).sum(),
        ),
        TreePage::Interior { .. } => (0, 0),
    }
}

/// The child that the aim lies in, and what is counted before it.
fn step<'a>(
    children: &'a [TreeChild],
    aim: Aim<'_>,
    mut entries: u64,
    mut inodes: u64,
) -> Option<(&'a TreeChild, u64, u64)> {
    let mut chosen = None;
    for child in children {
        let within = match aim {
            // Names before the first one still belong to the first page, where they are not found.
            Aim::Name(name) => chosen.is_none() || child.first <= *name,
            Aim::Index(at) => entries <= at && at < entries + child.entries,
            Aim::Inode(at) => inodes <= at && at < inodes + child.inodes,
        };
        if within {
            chosen = Some((child, entries, inodes));
        } else if chosen.is_some() {
            break;
        }
        entries += child.entries;
        inodes += child.inodes;
    }
    chosen
}

/// A leaf page's entries with their positions in the tree and in the directory.
fn numbered(leaf: &Leaf, directory: u64) -> impl Iterator<Item = (&TreeEntry, u64, u64)> {
    let entries = match leaf.page.as_ref() {
        TreePage::Leaf(entries) => entries.as_slice(),
        TreePage::Interior { .. } => &[],
    };
    let mut preorder = directory + leaf.inodes_before;
    entries
        .iter()
        .zip(leaf.entries_before..)
        .map(move |(stored, index)| {
            let at = preorder;
            preorder += stored.inodes();
            (stored, at, index)
        })
}
