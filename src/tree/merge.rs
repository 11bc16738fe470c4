//! What a directory becomes when a layer is laid over it: entry by entry, in order of name.
//!
//! The rules of whiteouts, opaque marks and implied directories stand here once; who writes chains and who
//! checks them both go by them.

use super::layer::{FileContent, FolderId, LayerNode, LayerTree};
use super::{Directory, Entries, Entry, Marks, Metadata};
use crate::error::{Error, Result};
use crate::format::tree::{Node as StoredNode, TreeEntry};
use crate::name::EntryName;
use std::collections::{HashSet, VecDeque};
use std::iter::Peekable;

/// A directory of what is laid over another.
#[derive(Debug, Clone)]
pub enum Upper<'a> {
    /// Of a layer in memory.
    Memory(&'a LayerTree<FileContent>, FolderId),
    /// Of a layer's stored tree.
    Stored(Directory),
    /// Directories that are only passed through, down those names, and whether the last hides what is below in it.
    Under(Vec<EntryName>, bool, Box<Upper<'a>>),
    /// The number of its hard-link group, given to what has that name.
    Regroup(EntryName, u64),
}

/// An entry of what is laid over.
#[derive(Debug)]
struct UpperEntry<'a> {
    name: EntryName,
    metadata: Option<Metadata>,
    node: UpperNode<'a>,
}

#[derive(Debug)]
enum UpperNode<'a> {
    Folder(Upper<'a>, Marks),
    Other(StoredNode),
    Regroup(u64),
}

/// An entry of the outcome.
#[derive(Debug)]
pub enum Merged<'a> {
    /// As it was below, with all that is in it.
    Kept(Entry),
    /// As it was below, but of that group of hard links.
    Regrouped(Entry, u64),
    /// Not a directory, from above. Its hard-link number is the layer's.
    New(TreeEntry),
    /// A directory that has something from above in it.
    Folder(MergedFolder<'a>),
}

/// A directory that has something from above in it.
#[derive(Debug)]
pub struct MergedFolder<'a> {
    /// Its name.
    pub name: EntryName,
    /// Its metadata; `None` where neither side has any.
    pub metadata: Option<Metadata>,
    /// What its entry above says; none where the outcome has no marks.
    pub marks: Marks,
    /// What is seen of it from below.
    pub lower: Option<Directory>,
    /// What is laid over.
    pub upper: Upper<'a>,
}

/// What the layer puts below a directory that is a symbolic link in the layers beneath: it goes where the link leads.
#[derive(Debug)]
pub struct Redirect<'a> {
    /// The link's name.
    pub name: EntryName,
    /// The link's target.
    pub target: Vec<u8>,
    /// Whether what is there from below is hidden.
    pub opaque: bool,
    /// What goes there.
    pub upper: Upper<'a>,
}

type UpperEntries<'a> = Box<dyn Iterator<Item = Result<UpperEntry<'a>>> + 'a>;

impl<'a> Upper<'a> {
    fn entries(&self) -> UpperEntries<'a> {
        match self {
            Self::Memory(tree, folder) => {
                let tree = *tree;
                Box::new(tree.entries(*folder).map(move |entry| {
                    Ok(UpperEntry {
                        name: entry.name,
                        metadata: entry.metadata,
                        node: match entry.node {
                            LayerNode::Folder(folder, marks) => {
                                UpperNode::Folder(Self::Memory(tree, folder), marks)
                            }
                            LayerNode::Other(node) => UpperNode::Other(*node),
                        },
                    })
                }))
            }
            Self::Stored(directory) => {
                let directory = directory.clone();
                Box::new(directory.entries(0).map(move |entry| {
                    let entry = entry?;
                    let (metadata, node) = match &entry.stored().node {
                        StoredNode::Directory { marks, .. } => (
                            Some(entry.metadata.clone()).filter(|_| !marks.implied),
                            UpperNode::Folder(Self::Stored(directory.open_directory(&entry)?), *marks),
                        ),
                        node @ (StoredNode::Whiteout | StoredNode::OutsideLink(_)) => {
                            (None, UpperNode::Other(node.clone()))
                        }
                        node => (Some(entry.metadata.clone()), UpperNode::Other(node.clone())),
                    };
                    Ok(UpperEntry {
                        name: entry.name,
                        metadata,
                        node,
                    })
                }))
            }
            Self::Under(names, opaque, below) => {
                let Some((first, rest)) = names.split_first() else {
                    return below.entries();
                };
                let upper = if rest.is_empty() {
                    below.as_ref().clone()
                } else {
                    Self::Under(rest.to_vec(), *opaque, below.clone())
                };
                let implied = Marks {
                    implied: true,
                    opaque: *opaque && rest.is_empty(),
                };
                Box::new(std::iter::once(Ok(UpperEntry {
                    name: first.clone(),
                    metadata: None,
                    node: UpperNode::Folder(upper, implied),
                })))
            }
            Self::Regroup(name, group) => Box::new(std::iter::once(Ok(UpperEntry {
                name: name.clone(),
                metadata: None,
                node: UpperNode::Regroup(*group),
            }))),
        }
    }

    /// True where nothing is laid over: only marks, for what is below.
    pub fn is_bare(&self) -> Result<bool> {
        let mut waiting = vec![self.clone()];
        while let Some(upper) = waiting.pop() {
            for entry in upper.entries() {
                match entry?.node {
                    UpperNode::Folder(below, marks) if marks.implied => waiting.push(below),
                    UpperNode::Other(StoredNode::Whiteout) => {}
                    UpperNode::Folder(..) | UpperNode::Other(_) | UpperNode::Regroup(_) => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// What the layer has further names for in the layers below: the paths there, each once.
    pub fn outside(&self) -> Result<Vec<Vec<u8>>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut waiting = VecDeque::from([self.clone()]);
        while let Some(upper) = waiting.pop_front() {
            for entry in upper.entries() {
                match entry?.node {
                    UpperNode::Folder(below, _) => waiting.push_back(below),
                    UpperNode::Other(StoredNode::OutsideLink(target)) if seen.insert(target.clone()) => {
                        found.push(target);
                    }
                    UpperNode::Other(_) | UpperNode::Regroup(_) => {}
                }
            }
        }
        Ok(found)
    }

    /// The stored directory that this is, if it is one.
    #[must_use]
    pub const fn stored(&self) -> Option<&Directory> {
        match self {
            Self::Stored(directory) => Some(directory),
            _ => None,
        }
    }
}

/// The outcome of one directory, in order of name; ends after the first error.
pub struct Merge<'a> {
    lower: Option<(Directory, Peekable<Entries>)>,
    upper: Peekable<UpperEntries<'a>>,
    /// Whether the outcome is the layer's own tree, with its marks.
    layer: bool,
    redirects: Vec<Redirect<'a>>,
}

impl std::fmt::Debug for Merge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").finish_non_exhaustive()
    }
}

impl<'a> Merge<'a> {
    /// Lays `upper` over `lower`.
    #[must_use]
    pub fn chain(lower: Option<&Directory>, upper: &Upper<'a>) -> Self {
        Self {
            lower: lower.map(|d| (d.clone(), d.entries(0).peekable())),
            upper: upper.entries().peekable(),
            layer: false,
            redirects: Vec::new(),
        }
    }

    /// The layer alone, its marks kept.
    #[must_use]
    pub fn layer(upper: &Upper<'a>) -> Self {
        Self {
            layer: true,
            ..Self::chain(None, upper)
        }
    }

    /// What was met that goes elsewhere.
    #[must_use]
    pub fn redirects(self) -> Vec<Redirect<'a>> {
        self.redirects
    }

    fn step(&mut self) -> Result<Option<Merged<'a>>> {
        loop {
            let below = self.lower.as_mut().and_then(|(_, entries)| entries.peek());
            let order = match (below, self.upper.peek()) {
                (None, None) => return Ok(None),
                (Some(Ok(lower)), Some(Ok(upper))) => lower.name.cmp(&upper.name),
                (Some(_), None) | (Some(Err(_)), _) => std::cmp::Ordering::Less,
                (None, Some(_)) | (_, Some(Err(_))) => std::cmp::Ordering::Greater,
            };
            let lower = if order.is_le() {
                self.lower
                    .as_mut()
                    .and_then(|(_, entries)| entries.next())
                    .transpose()?
            } else {
                None
            };
            if order.is_lt() {
                return Ok(lower.map(Merged::Kept));
            }
            let Some(upper) = self.upper.next().transpose()? else {
                return Ok(None);
            };
            if let Some(merged) = self.one(lower, upper)? {
                return Ok(Some(merged));
            }
        }
    }

    /// One name that the layer has, and perhaps the directory below.
    fn one(&mut self, lower: Option<Entry>, upper: UpperEntry<'a>) -> Result<Option<Merged<'a>>> {
        let UpperEntry { name, metadata, node } = upper;
        match node {
            UpperNode::Other(StoredNode::Whiteout) if !self.layer => Ok(None),
            UpperNode::Other(node) => Ok(Some(Merged::New(TreeEntry {
                name,
                metadata: metadata.unwrap_or_else(no_metadata),
                node,
            }))),
            UpperNode::Regroup(group) => match lower {
                Some(entry) => Ok(Some(Merged::Regrouped(entry, group))),
                None => Err(Error::refused(format!("{name}: a hard link to nothing"))),
            },
            UpperNode::Folder(upper, marks) => {
                if let Some(entry) = lower
                    .as_ref()
                    .filter(|entry| !matches!(entry.stored().node, StoredNode::Directory { .. }))
                    && marks.implied
                {
                    let StoredNode::Symlink { target, .. } = &entry.stored().node else {
                        return Err(Error::no_tree(format!(
                            "{name}: the layer has entries below something that is no directory"
                        )));
                    };
                    self.redirects.push(Redirect {
                        name,
                        target: target.clone(),
                        opaque: marks.opaque,
                        upper,
                    });
                    return Ok(lower.map(Merged::Kept));
                }
                // Marks for what is not there are nothing.
                if lower.is_none() && marks.implied && !self.layer && upper.is_bare()? {
                    return Ok(None);
                }
                let opened = match (&self.lower, &lower) {
                    (Some((directory, _)), Some(entry))
                        if matches!(entry.stored().node, StoredNode::Directory { .. }) =>
                    {
                        Some(directory.open_directory(entry)?)
                    }
                    _ => None,
                };
                let metadata = metadata.or_else(|| opened.as_ref().map(|d| d.metadata().clone()));
                let opened = opened.filter(|_| !marks.opaque);
                Ok(Some(Merged::Folder(MergedFolder {
                    name,
                    metadata,
                    marks: if self.layer { marks } else { Marks::default() },
                    lower: opened,
                    upper,
                })))
            }
        }
    }
}

impl<'a> Iterator for Merge<'a> {
    type Item = Result<Merged<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if matches!(next, Some(Err(_))) {
            self.lower = None;
            let none: UpperEntries<'a> = Box::new(std::iter::empty());
            self.upper = none.peekable();
        }
        next
    }
}

/// What an entry has that no source gave metadata: as `mkdir -p` makes a directory, at no time.
#[must_use]
pub const fn no_metadata() -> Metadata {
    Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime_sec: 0,
        mtime_nsec: 0,
        xattrs: Vec::new(),
    }
}
