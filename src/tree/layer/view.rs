//! A layer's tree as it is read: folder by folder, in order of name.

use super::{Child, File, FileContent, Folder, LayerTree, Other, OtherKind};
use crate::format::tree::{Marks, Metadata, Node as StoredNode};
use crate::ids::Sha256;
use crate::name::EntryName;

/// A folder of a layer's tree, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderId(usize);

/// An entry of a layer's tree.
#[derive(Debug)]
pub struct LayerEntry {
    /// Its name.
    pub name: EntryName,
    /// Owner, permissions and time; `None` for what has none: whiteouts, outside links, implied directories.
    pub metadata: Option<Metadata>,
    /// What it is.
    pub node: LayerNode,
}

/// What an entry of a layer's tree is.
#[derive(Debug)]
pub enum LayerNode {
    /// A directory.
    Folder(FolderId, Marks),
    /// Anything else; its hard-link number is the layer's.
    Other(Box<StoredNode>),
}

impl LayerTree<FileContent> {
    /// The root.
    #[must_use]
    pub const fn root(&self) -> FolderId {
        FolderId(0)
    }

    /// Groups of hard links; their numbers are from 1.
    #[must_use]
    pub const fn groups(&self) -> u64 {
        self.groups
    }

    /// The root's own metadata and marks.
    #[must_use]
    pub fn root_entry(&self) -> (Option<Metadata>, Marks) {
        self.folders
            .first()
            .map_or_else(Default::default, |f| (f.metadata.as_deref().cloned(), f.marks()))
    }

    /// The entries of a folder, in order of name.
    pub fn entries(&self, folder: FolderId) -> impl Iterator<Item = LayerEntry> + '_ {
        let children = self.folders.get(folder.0).map(|f| &f.children);
        children.into_iter().flatten().map(|(name, child)| {
            let (metadata, node) = match child {
                Child::Folder(index) => {
                    let folder = self.folders.get(*index);
                    let metadata = folder.and_then(|f| f.metadata.as_deref().cloned());
                    let marks = folder.map(Folder::marks).unwrap_or_default();
                    (metadata, LayerNode::Folder(FolderId(*index), marks))
                }
                Child::File(index) => match self.files.get(*index) {
                    Some(file) => (
                        Some(file.metadata.clone()),
                        LayerNode::Other(Box::new(file.node())),
                    ),
                    None => (None, LayerNode::Other(Box::new(StoredNode::Whiteout))),
                },
                Child::Other(index) => match self.others.get(*index) {
                    Some(other) => (
                        Some(other.metadata.clone()),
                        LayerNode::Other(Box::new(other.node())),
                    ),
                    None => (None, LayerNode::Other(Box::new(StoredNode::Whiteout))),
                },
                Child::Whiteout => (None, LayerNode::Other(Box::new(StoredNode::Whiteout))),
                Child::OutsideLink(target) => (
                    None,
                    LayerNode::Other(Box::new(StoredNode::OutsideLink(target.clone()))),
                ),
            };
            LayerEntry {
                name: name.clone(),
                metadata,
                node,
            }
        })
    }
}

impl File<FileContent> {
    fn node(&self) -> StoredNode {
        StoredNode::File {
            size: self.content.size,
            blob_id: self.content.blob_id,
            sha256: Sha256::default(),
            link: self.group,
            content: self.content.content.clone(),
        }
    }
}

impl Other {
    fn node(&self) -> StoredNode {
        match &self.kind {
            OtherKind::Symlink(target) => StoredNode::Symlink {
                target: target.clone(),
                link: self.group,
            },
            OtherKind::Special(kind, major, minor) => StoredNode::Special {
                kind: *kind,
                major: *major,
                minor: *minor,
                link: self.group,
            },
        }
    }
}
