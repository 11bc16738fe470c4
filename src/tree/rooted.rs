//! Trees of layers and chains: `rootfs`, and beside it the table of its hard links (FORMAT.md 10.1).

use super::links::Links;
use super::{Directory, Marks, Metadata, Node};
use crate::blob::{BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::content::TreeRef;
use crate::format::links::{LINKS, ROOTFS};
use crate::format::tree::Node as StoredNode;
use crate::name::EntryName;
use std::sync::Arc;

/// The tree of a layer or chain, opened.
#[derive(Debug, Clone)]
pub struct Rooted {
    top: Directory,
    rootfs: Directory,
    marks: Marks,
}

/// What the top directory of such a tree has for metadata: none of its own.
const TOP: Metadata = Metadata {
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime_sec: 0,
    mtime_nsec: 0,
    xattrs: Vec::new(),
};

impl Rooted {
    /// Opens the tree. `layer`: whether it is one layer's, which may have marks for the layers below.
    pub fn open(source: Arc<dyn FrameSource>, tree: TreeRef, layer: bool) -> Result<Self> {
        let bare = Directory::top(Arc::clone(&source), tree, TOP);
        let malformed = |why: &str| Error::malformed(source.name_of(&tree.place), why);
        let links = match bare.entry(&EntryName::new(LINKS.as_bytes())?)? {
            None => None,
            Some(entry) => {
                let StoredNode::File { size, content, .. } = &entry.stored().node else {
                    return Err(malformed("the table of hard links is no file"));
                };
                let bytes = BlobReader::new(Arc::clone(&source), *size, content.clone());
                Some(Arc::new(Links::open(bytes)?))
            }
        };
        let top = Directory { links, layer, ..bare };
        let rootfs = top.entry(&EntryName::new(ROOTFS.as_bytes())?)?;
        let rootfs = rootfs.ok_or_else(|| malformed("a layer's or chain's tree without a root directory"))?;
        if top.len() != 1 + u64::from(top.links.is_some()) {
            return Err(malformed(
                "a layer's or chain's tree has more than a root directory and its links",
            ));
        }
        let marks = match &rootfs.node {
            Node::Directory { marks, .. } => *marks,
            _ => Marks::default(),
        };
        let rootfs = top.open_directory(&rootfs)?;
        Ok(Self { top, rootfs, marks })
    }

    /// The directory that holds `links` and `rootfs`.
    #[must_use]
    pub const fn top(&self) -> &Directory {
        &self.top
    }

    /// The directory that a container sees as `/`.
    #[must_use]
    pub const fn rootfs(&self) -> &Directory {
        &self.rootfs
    }

    /// What a layer's root says of the layers below.
    #[must_use]
    pub const fn rootfs_marks(&self) -> Marks {
        self.marks
    }

    /// The table of hard links; `None` where the tree has none.
    #[must_use]
    pub fn links(&self) -> Option<&Links> {
        self.top.links.as_deref()
    }
}
