//! Layers' trees, the chains merged of them, and which chain an image starts from.

use super::rooted::{Plan, Work};
use super::{Edit, Ingest, Inner};
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf, sort_key};
use crate::format::codec::Encoder;
use crate::format::content::{Content, TreeRef};
use crate::format::tree::{Marks, Metadata, TreeEntry};
use crate::ids::{BlobId, Sha256};
use crate::name::EntryName;
use crate::tree::layer::{FileContent, LayerTree};
use crate::tree::merge::Upper;
use crate::tree::{Directory, Node as Seen, Rooted};
use crate::units::len64;
use std::collections::HashMap;
use std::sync::Arc;

/// Passes over a chain for what a layer has below symbolic links of the layers beneath, and for hard links to files
/// of theirs. Layers as they are built need none; each writes the directories that it touches.
const PASSES_MAX: usize = 1000;
/// Symbolic links followed on the way to one file.
const FOLLOWED_MAX: usize = 40;

/// A tree of a layer or chain that the medium has, or will with the next commit.
#[derive(Debug, Clone)]
pub struct StoredTree {
    tree: TreeRef,
}

impl StoredTree {
    pub(super) const fn new(tree: TreeRef) -> Self {
        Self { tree }
    }

    pub(super) const fn tree(&self) -> &TreeRef {
        &self.tree
    }
}

/// A layer's name in the catalogue (FORMAT.md 9.1).
#[must_use]
pub fn layer_name(diff_id: &Sha256, blob: &Sha256) -> String {
    format!("{}/{}", diff_id.to_digest(), blob.to_digest())
}

impl Ingest {
    fn known_tree(&self, kind: Kind, name: &str) -> Result<Option<StoredTree>> {
        let edited = match self.inner.edits.lock().get(&sort_key(kind, name)) {
            Some(Edit::Leaf(leaf)) => Some(leaf.as_ref().clone()),
            _ => None,
        };
        let leaf = match edited {
            Some(leaf) => Some(leaf),
            None => self.inner.catalogue.get(kind, name)?.map(|(_, leaf)| leaf),
        };
        Ok(leaf.and_then(|leaf| match leaf.content {
            Content::Tree(tree) => Some(StoredTree { tree }),
            _ => None,
        }))
    }

    fn put_tree(&self, kind: Kind, name: String, tree: &StoredTree) {
        let mut canonical = Encoder::new();
        tree.tree.encode(&mut canonical);
        let leaf = Leaf {
            kind,
            name,
            media_type: String::new(),
            sha256: Sha256::of(canonical.as_slice()),
            blob_id: BlobId::of(canonical.as_slice()),
            size: canonical.len(),
            content: Content::Tree(tree.tree),
        };
        self.inner
            .edits
            .lock()
            .insert(leaf.sort_key(), Edit::Leaf(Box::new(leaf)));
    }

    /// The layer's tree, if it was made of that blob and the blob's tar has that diffID.
    pub fn known_layer(&self, diff_id: &Sha256, blob: &Sha256) -> Result<Option<StoredTree>> {
        self.known_tree(Kind::Layer, &layer_name(diff_id, blob))
    }

    /// Lists a layer's tree: that of `blob`, whose tar has the SHA-256 `diff_id`.
    pub fn put_layer(&self, diff_id: &Sha256, blob: &Sha256, tree: &StoredTree) {
        self.put_tree(Kind::Layer, layer_name(diff_id, blob), tree);
    }

    /// The merged tree of that chain, if the medium has it.
    pub fn known_chain(&self, chain: &Sha256) -> Result<Option<StoredTree>> {
        self.known_tree(Kind::Chain, &chain.to_digest())
    }

    /// Lists the merged tree of a chain.
    pub fn put_chain(&self, chain: &Sha256, tree: &StoredTree) {
        self.put_tree(Kind::Chain, chain.to_digest(), tree);
    }

    /// Lists that containers of the manifest or index `target` start from that chain on `platform`, a word that
    /// can be a file's name, as `linux-amd64`.
    pub fn put_root_filesystem(&self, target: &Sha256, platform: &str, chain: &Sha256) -> Result<()> {
        EntryName::new(platform.as_bytes())?;
        let leaf = Leaf {
            kind: Kind::Rootfs,
            name: format!("{}/{platform}", target.to_digest()),
            media_type: String::new(),
            sha256: *chain,
            blob_id: BlobId::default(),
            size: 0,
            content: Content::Nothing,
        };
        self.inner
            .edits
            .lock()
            .insert(leaf.sort_key(), Edit::Leaf(Box::new(leaf)));
        Ok(())
    }

    /// Lays a layer over a chain and gives the merged tree; over nothing, for a chain's first. Directories
    /// that the layer does not touch are shared. Refused where the two cannot be put together (an entry below
    /// a file, a hard link to nothing).
    pub fn merge(&self, chain: Option<&StoredTree>, layer: &StoredTree) -> Result<StoredTree> {
        let inner = &self.inner;
        let layer = Rooted::open(Arc::clone(&inner.source), layer.tree, true)?;
        let groups = layer.links().map_or(0, crate::tree::Links::len);
        let marks = layer.rootfs_marks();
        let root = (
            Some(layer.rootfs().metadata().clone()).filter(|_| !marks.implied),
            marks,
        );
        let mut passes = Passes {
            inner,
            chain: chain.map(|chain| chain.tree),
            groups_below: 0,
            groups: 0,
            left: PASSES_MAX,
        };
        passes.lay(Upper::Stored(layer.rootfs().clone()), root, groups)?;
        let tree = passes.chain.ok_or_else(|| Error::refused("a chain of nothing"))?;
        Ok(StoredTree { tree })
    }
}

impl Inner {
    /// Writes a layer's own tree.
    pub(super) fn write_layer(self: &Arc<Self>, layer: &LayerTree<FileContent>) -> Result<StoredTree> {
        let work = Work {
            lower: None,
            upper: Upper::Memory(layer, layer.root()),
            root: layer.root_entry(),
            layer: true,
            groups_below: 0,
            groups: layer.groups(),
            outside: HashMap::new(),
        };
        let plan = work.plan()?;
        Ok(StoredTree::new(self.write_rooted(&work, &plan)?))
    }
}

/// A chain that a layer is being laid over, pass by pass.
struct Passes<'i> {
    inner: &'i Arc<Inner>,
    chain: Option<TreeRef>,
    groups_below: u64,
    groups: u64,
    left: usize,
}

impl Passes<'_> {
    fn open(&self) -> Result<Option<Rooted>> {
        let source = Arc::clone(&self.inner.source);
        self.chain
            .map(|tree| Rooted::open(source, tree, false))
            .transpose()
    }

    fn write(&mut self, work: &Work<'_>, plan: &Plan<'_>) -> Result<()> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::no_tree("too many links into the layers below"))?;
        self.chain = Some(self.inner.write_rooted(work, plan)?);
        Ok(())
    }

    fn lay(&mut self, upper: Upper<'_>, root: (Option<Metadata>, Marks), groups: u64) -> Result<()> {
        let below = self.open()?;
        self.groups_below = below
            .as_ref()
            .and_then(Rooted::links)
            .map_or(0, crate::tree::Links::len);
        self.groups = self.groups_below + groups;
        // All of them at first, those below links of the layers beneath too: they are of the chain as it was.
        let mut outside = HashMap::new();
        for target in upper.outside()? {
            let entry = self.outside(&target)?;
            outside.insert(target, entry);
        }
        let work = |lower, upper, root, outside| Work {
            lower,
            upper,
            root,
            layer: false,
            groups_below: 0,
            groups: 0,
            outside,
        };
        // The files that got a group of their own are in other pages now: the chain is opened anew.
        let main = Work {
            groups_below: self.groups_below,
            groups: self.groups,
            ..work(self.open()?, upper, root, outside)
        };
        let plan = main.plan()?;
        self.write(&main, &plan)?;
        let mut elsewhere = plan.elsewhere;
        while let Some(found) = elsewhere.pop() {
            let Some(lower) = self.open()? else { break };
            let path = resolve(lower.rootfs(), &found.directory, &found.redirect.target)?;
            let opaque = found.redirect.opaque;
            let implied = Marks {
                opaque: opaque && path.is_empty(),
                implied: true,
            };
            let beneath = match path.as_slice() {
                [] => found.redirect.upper,
                path => Upper::Under(path.to_vec(), opaque, Box::new(found.redirect.upper)),
            };
            let pass = Work {
                groups_below: self.groups_below,
                groups: self.groups,
                ..work(Some(lower), beneath, (None, implied), main.outside.clone())
            };
            let plan = pass.plan()?;
            self.write(&pass, &plan)?;
            elsewhere.extend(plan.elsewhere);
        }
        Ok(())
    }

    /// What a hard link names of the layers below, in a group of its own if it had none.
    fn outside(&mut self, target: &[u8]) -> Result<TreeEntry> {
        let nothing = || {
            Error::no_tree(format!(
                "a hard link to {}, which the layers below do not have",
                String::from_utf8_lossy(target)
            ))
        };
        let below = self.open()?.ok_or_else(nothing)?;
        let (folder, name) = match target.iter().rposition(|b| *b == b'/') {
            Some(at) => (
                target.get(..at).unwrap_or_default(),
                target.get(at + 1..).unwrap_or_default(),
            ),
            None => (&[][..], target),
        };
        let mut path = resolve(below.rootfs(), &[], folder)?;
        let name = named(name)?;
        let folder = open_path(below.rootfs(), &path)?.ok_or_else(nothing)?;
        let entry = folder.entry(&name)?.ok_or_else(nothing)?;
        let mut found = entry.stored().clone();
        match found.node.link_mut() {
            None => Err(Error::no_tree(format!(
                "a hard link to the directory {}",
                String::from_utf8_lossy(target)
            ))),
            Some(link @ 0) => {
                // Groups of the chain come first: those of the layer are numbered behind it.
                self.groups_below += 1;
                self.groups += 1;
                *link = self.groups_below;
                let group = Upper::Regroup(name, self.groups_below);
                let upper = if path.is_empty() {
                    group
                } else {
                    Upper::Under(std::mem::take(&mut path), false, Box::new(group))
                };
                let implied = Marks {
                    opaque: false,
                    implied: true,
                };
                let work = Work {
                    lower: Some(below),
                    upper,
                    root: (None, implied),
                    layer: false,
                    groups_below: self.groups_below,
                    groups: self.groups_below,
                    outside: HashMap::new(),
                };
                let plan = work.plan()?;
                self.write(&work, &plan)?;
                Ok(found)
            }
            _ => Ok(found),
        }
    }
}

/// A component of a link's target as a name.
fn named(component: &[u8]) -> Result<EntryName> {
    EntryName::new(component).map_err(|err| Error::no_tree(format!("a link's target: {err}")))
}

/// The directory at that path; `None` where there is none.
fn open_path(root: &Directory, path: &[EntryName]) -> Result<Option<Directory>> {
    let mut at = root.clone();
    for name in path {
        let Some(entry) = at.entry(name)? else {
            return Ok(None);
        };
        if !matches!(entry.node, Seen::Directory { .. }) {
            return Ok(None);
        }
        at = at.open_directory(&entry)?;
    }
    Ok(Some(at))
}

/// Where `target` leads from `folder`, symbolic links followed beneath the root. What is not there is taken
/// as it is written.
fn resolve(root: &Directory, folder: &[EntryName], target: &[u8]) -> Result<Vec<EntryName>> {
    let mut path: Vec<EntryName> = if target.first() == Some(&b'/') {
        Vec::new()
    } else {
        folder.to_vec()
    };
    let split = |target: &[u8]| -> Result<Vec<Option<EntryName>>> {
        let parts = target
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty() && *p != b".");
        let mut names = parts
            .map(|p| match p {
                b".." => Ok(None),
                name => Ok(Some(named(name)?)),
            })
            .collect::<Result<Vec<_>>>()?;
        names.reverse();
        Ok(names)
    };
    let mut ahead = split(target)?;
    let mut followed = 0;
    while let Some(next) = ahead.pop() {
        let Some(name) = next else {
            path.pop();
            continue;
        };
        let entry = match open_path(root, &path)? {
            Some(directory) => directory.entry(&name)?,
            None => None,
        };
        match entry.map(|entry| entry.node) {
            Some(Seen::Symlink { target, .. }) => {
                followed += 1;
                if followed > FOLLOWED_MAX {
                    return Err(Error::no_tree(format!(
                        "{name}: symbolic links go round in a circle"
                    )));
                }
                if target.first() == Some(&b'/') {
                    path.clear();
                }
                ahead.extend(split(&target)?);
            }
            _ => path.push(name),
        }
        if len64(path.len()) > u64::from(crate::format::DEPTH_MAX) {
            return Err(Error::no_tree(format!("{}: nested too deep", path.len())));
        }
    }
    Ok(path)
}
