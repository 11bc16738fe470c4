//! One directory being made: entries come in order of name, pages go out.

use super::ticket::Pending;
use super::{Inner, StoredBlob};
use crate::error::{Error, Result};
use crate::format::PAGE_MAX;
use crate::format::content::{Place, TreeRef};
use crate::format::tree::{Node, TreeChild, TreeEntry, TreePage};
use crate::ids::PageHash;
use crate::name::EntryName;
use crate::tree::Directory;
use crate::units::{index, len64};
use std::collections::HashMap;

/// An entry whose places may not be known yet.
#[derive(Debug)]
pub(super) struct OpenTreeEntry {
    pub(super) entry: TreeEntry,
    /// A file's bytes, where they came in with this run.
    pub(super) blob: Option<StoredBlob>,
    /// A directory's top page, where it was made in this run.
    pub(super) page: Option<Pending>,
}

/// A page written, one level up.
#[derive(Debug)]
struct OpenChild {
    child: TreeChild,
    pending: Pending,
}

/// A directory that was made: its counts and hash, and its top page's place when that is known.
#[derive(Debug)]
pub(super) struct MadeDirectory {
    pub(super) tree: TreeRef,
    pub(super) page: Pending,
}

/// Makes one directory.
#[derive(Debug)]
pub(super) struct FolderBuilder<'a> {
    inner: &'a Inner,
    /// The pages of the directory as it was: those that come out the same are not written again.
    before: HashMap<PageHash, Place>,
    waiting: Vec<OpenTreeEntry>,
    waiting_bytes: usize,
    levels: Vec<Vec<OpenChild>>,
    tree: TreeRef,
    of_tree: bool,
}

/// Longest canonical entry of an interior page: a name with its length, two counts, a hash.
const CHILD_MAX: usize = 2 + 255 + 16 + 32;
/// Bytes before a page's entries.
const HEAD: usize = 7;

impl<'a> FolderBuilder<'a> {
    pub(super) fn new(inner: &'a Inner, before: Option<&Directory>) -> Result<Self> {
        Self::begin(inner, &[before], false)
    }

    /// One of a layer's or chain's tree; the pages of `before` that come out the same are not written again.
    pub(super) fn of_tree(inner: &'a Inner, before: &[Option<&Directory>]) -> Result<Self> {
        Self::begin(inner, before, true)
    }

    fn begin(inner: &'a Inner, before: &[Option<&Directory>], of_tree: bool) -> Result<Self> {
        let mut pages = HashMap::new();
        for directory in before.iter().flatten() {
            directory.pages(|hash, place, _| {
                pages.insert(hash, place);
                Ok(())
            })?;
        }
        Ok(Self {
            inner,
            before: pages,
            waiting: Vec::new(),
            waiting_bytes: HEAD,
            levels: Vec::new(),
            tree: TreeRef::EMPTY,
            of_tree,
        })
    }

    /// Where the next entry stands in pre-order, from this directory's own position.
    pub(super) const fn next_position(&self) -> u64 {
        self.tree.inodes
    }

    fn flush_pages(&self) -> Result<()> {
        if self.of_tree {
            self.inner.flush_tree_pages()
        } else {
            self.inner.flush_pages()
        }
    }

    /// Adds the next entry.
    pub(super) fn push(&mut self, entry: OpenTreeEntry) -> Result<()> {
        // A blob's content is not known before its frames are placed; its length on the page is.
        let len = entry.entry.canonical().len() + entry.blob.as_ref().map_or(0, content_len);
        if self.waiting_bytes + len > index(PAGE_MAX) {
            self.flush_leaf()?;
        }
        self.waiting_bytes += len;
        self.tree.entries += 1;
        self.tree.inodes += entry.entry.inodes();
        self.tree.subdirectories += u64::from(matches!(entry.entry.node, Node::Directory { .. }));
        self.waiting.push(entry);
        Ok(())
    }

    fn flush_leaf(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = HEAD;
        let Some(first) = waiting.first().map(|e| e.entry.name.clone()) else {
            return Ok(());
        };
        let blobs: Vec<StoredBlob> = waiting.iter().filter_map(|e| e.blob.clone()).collect();
        self.inner.place_all(&blobs)?;
        if waiting
            .iter()
            .any(|e| e.page.as_ref().is_some_and(|p| !p.is_placed()))
        {
            self.flush_pages()?;
        }
        let mut entries = Vec::with_capacity(waiting.len());
        for open in waiting {
            let mut entry = open.entry;
            match &mut entry.node {
                Node::File { content, .. } => {
                    if let Some(blob) = open.blob {
                        *content = blob
                            .content()
                            .ok_or_else(|| Error::refused("a blob has no place"))?;
                    }
                }
                Node::Directory { tree, .. } => {
                    if let Some(page) = &open.page {
                        tree.place = self.inner.belt.wait(page)?;
                    }
                }
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink(_) => {}
            }
            entries.push(entry);
        }
        let count = len64(entries.len());
        let inodes = entries.iter().map(TreeEntry::inodes).sum();
        let (hash, pending) = self.page(&TreePage::Leaf(entries))?;
        self.add_to_level(0, first, count, inodes, hash, pending)
    }

    fn page(&self, page: &TreePage) -> Result<(PageHash, Pending)> {
        let (hash, bytes) = page.encode();
        let pending = match self.before.get(&hash) {
            Some(place) => Pending::Known(*place),
            None if self.of_tree => self.inner.add_tree_page(&bytes)?,
            None => self.inner.add_page(&bytes)?,
        };
        Ok((hash, pending))
    }

    fn add_to_level(
        &mut self,
        at: usize,
        first: EntryName,
        entries: u64,
        inodes: u64,
        hash: PageHash,
        pending: Pending,
    ) -> Result<()> {
        if self.levels.len() == at {
            self.levels.push(Vec::new());
        }
        let full = self
            .levels
            .get(at)
            .is_some_and(|l| HEAD + (l.len() + 1) * CHILD_MAX > index(PAGE_MAX));
        if full {
            self.flush_level(at)?;
        }
        let child = TreeChild {
            first,
            entries,
            inodes,
            hash,
            place: Place::default(),
        };
        if let Some(level) = self.levels.get_mut(at) {
            level.push(OpenChild { child, pending });
        }
        Ok(())
    }

    fn flush_level(&mut self, at: usize) -> Result<()> {
        let open = self.levels.get_mut(at).map(std::mem::take).unwrap_or_default();
        let Some(first) = open.first().map(|o| o.child.first.clone()) else {
            return Ok(());
        };
        self.flush_pages()?;
        let (mut children, mut entries, mut inodes) = (Vec::with_capacity(open.len()), 0, 0);
        for OpenChild { mut child, pending } in open {
            child.place = self.inner.belt.wait(&pending)?;
            entries += child.entries;
            inodes += child.inodes;
            children.push(child);
        }
        let level = u8::try_from(at + 1).unwrap_or(u8::MAX);
        let (hash, pending) = self.page(&TreePage::Interior { level, children })?;
        self.add_to_level(at + 1, first, entries, inodes, hash, pending)
    }

    /// Ends the directory.
    pub(super) fn finish(mut self) -> Result<MadeDirectory> {
        self.flush_leaf()?;
        let mut at = 0;
        while self.levels.len() > at + 1 || self.levels.get(at).is_some_and(|l| l.len() > 1) {
            self.flush_level(at)?;
            at += 1;
        }
        let Some(top) = self.levels.get_mut(at).and_then(Vec::pop) else {
            return Ok(MadeDirectory {
                tree: TreeRef::EMPTY,
                page: Pending::Known(Place::default()),
            });
        };
        let tree = TreeRef {
            depth: u8::try_from(at).unwrap_or(u8::MAX),
            hash: top.child.hash,
            ..self.tree
        };
        Ok(MadeDirectory {
            tree,
            page: top.pending,
        })
    }
}

/// An entry of the old tree, as it was.
pub(super) fn kept(entry: &crate::tree::Entry) -> OpenTreeEntry {
    OpenTreeEntry {
        entry: entry.stored().clone(),
        blob: None,
        page: None,
    }
}

/// Length of a blob's content on a page beyond that of the empty inline content that stands for it.
fn content_len(blob: &StoredBlob) -> usize {
    if blob.size <= u64::from(crate::format::INLINE_MAX) {
        crate::units::index64(blob.size)
    } else {
        33 - 2
    }
}
