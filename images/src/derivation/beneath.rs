//! What a chain becomes whose last layer reaches through links of the layers below: put together in memory.
//!
//! Slow, and apart from how such a chain is written: here a layer is laid over whole folders, which are taken apart where
//! it touches them, and the links are followed in what is there by then. Only what is touched is held.

use crate::{Error, Result};
use holdall::format::DEPTH_MAX;
use holdall::format::tree::{Marks, Metadata, Node, TreeEntry};
use holdall::name::EntryName;
use holdall::reader::Directory;
use holdall::tree::merge::{Merge, Merged, Upper, no_metadata};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Symbolic links followed on the way to one entry.
const FOLLOWED_MAX: usize = 40;
/// Links of the layers below that one layer goes through.
const REDIRECTS_MAX: usize = 1000;

/// A folder as it is by now.
#[derive(Debug, Clone)]
enum Folder {
    /// As the chain below has it.
    Whole(Directory),
    /// Taken apart.
    Open(Metadata, BTreeMap<EntryName, Child>),
}

#[derive(Debug, Clone)]
enum Child {
    Folder(Folder),
    Other(TreeEntry),
}

impl Folder {
    const fn empty() -> Self {
        Self::Open(no_metadata(), BTreeMap::new())
    }

    fn metadata(&self) -> &Metadata {
        match self {
            Self::Whole(directory) => directory.metadata(),
            Self::Open(metadata, _) => metadata,
        }
    }

    fn set_metadata(&mut self, new: Metadata) -> Result<()> {
        self.children()?;
        if let Self::Open(metadata, _) = self {
            *metadata = new;
        }
        Ok(())
    }

    /// What is in it, to be changed.
    fn children(&mut self) -> Result<&mut BTreeMap<EntryName, Child>> {
        if let Self::Whole(directory) = self {
            let mut children = BTreeMap::new();
            for entry in directory.entries(0) {
                let entry = entry?;
                let child = match &entry.stored().node {
                    Node::Directory { .. } => Child::Folder(Self::Whole(directory.open_directory(&entry)?)),
                    _ => Child::Other(entry.stored().clone()),
                };
                children.insert(entry.name, child);
            }
            *self = Self::Open(directory.metadata().clone(), children);
        }
        match self {
            Self::Open(_, children) => Ok(children),
            Self::Whole(_) => Err(Error::refused("a folder that stays whole")),
        }
    }

    /// The folder at that path; none where there is none.
    fn at(&mut self, path: &[EntryName]) -> Result<Option<&mut Self>> {
        let mut folder = self;
        for name in path {
            match folder.children()?.get_mut(name) {
                Some(Child::Folder(below)) => folder = below,
                _ => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// Where `target` leads from the folder `from`, symbolic links followed beneath this one. What is not there is taken as
    /// it is written.
    fn resolve(&mut self, from: &[EntryName], target: &[u8]) -> Result<Vec<EntryName>> {
        let mut path = from.to_vec();
        let mut ahead: VecDeque<Vec<u8>> = VecDeque::new();
        let put = |target: &[u8], path: &mut Vec<EntryName>, ahead: &mut VecDeque<Vec<u8>>| {
            if target.first() == Some(&b'/') {
                path.clear();
            }
            let parts = target.split(|byte| *byte == b'/');
            for part in parts.rev().filter(|part| !part.is_empty() && *part != b".") {
                ahead.push_front(part.to_vec());
            }
        };
        put(target, &mut path, &mut ahead);
        let mut followed = 0;
        while let Some(part) = ahead.pop_front() {
            if part == b".." {
                path.pop();
                continue;
            }
            let name = EntryName::new(&part).map_err(|err| Error::refused(err.to_string()))?;
            let found = match self.at(&path)? {
                Some(folder) => folder.children()?.get(&name).cloned(),
                None => None,
            };
            match found {
                Some(Child::Other(TreeEntry {
                    node: Node::Symlink { target, .. },
                    ..
                })) => {
                    followed += 1;
                    if followed > FOLLOWED_MAX {
                        return Err(Error::refused("symbolic links go round in a circle"));
                    }
                    put(&target, &mut path, &mut ahead);
                }
                _ => path.push(name),
            }
            if path.len() > usize::try_from(DEPTH_MAX).unwrap_or(usize::MAX) {
                return Err(Error::refused("nested too deep"));
            }
        }
        Ok(path)
    }
}

/// A chain in the making.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Folder,
    groups_below: u64,
}

impl Beneath {
    /// The chain below, with so many groups of hard links; or none.
    pub(super) fn new(below: Option<&Directory>, groups_below: u64) -> Self {
        Self {
            root: below.map_or_else(Folder::empty, |below| Folder::Whole(below.clone())),
            groups_below,
        }
    }

    /// Groups of hard links of the layers below, those that the layer gave to their inodes too.
    pub(super) const fn groups_below(&self) -> u64 {
        self.groups_below
    }

    /// What a further name stands for, in a group of its own if it had none.
    fn outside(&mut self, target: &[u8]) -> Result<TreeEntry> {
        let nothing = || Error::refused("a hard link to nothing");
        let (folder, name) = match target.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (
                target.get(..at).unwrap_or_default(),
                target.get(at + 1..).unwrap_or_default(),
            ),
            None => (&[][..], target),
        };
        let path = self.root.resolve(&[], folder)?;
        let name = EntryName::new(name).map_err(|err| Error::refused(err.to_string()))?;
        let folder = self.root.at(&path)?.ok_or_else(nothing)?;
        let Some(Child::Other(entry)) = folder.children()?.get_mut(&name) else {
            return Err(nothing());
        };
        if let Some(link @ 0) = entry.node.link_mut() {
            self.groups_below += 1;
            *link = self.groups_below;
        }
        Ok(entry.clone())
    }

    /// Lays a layer over it.
    pub(super) fn lay(&mut self, upper: &Upper<'_>, root: (Option<Metadata>, Marks)) -> Result<()> {
        let mut outside = HashMap::new();
        for target in upper.outside()? {
            let entry = self.outside(&target)?;
            outside.insert(target, entry);
        }
        let (metadata, marks) = root;
        if marks.opaque {
            self.root = Folder::Open(self.root.metadata().clone(), BTreeMap::new());
        }
        if let Some(metadata) = metadata {
            self.root.set_metadata(metadata)?;
        }
        let mut elsewhere = self.pass(upper, &outside)?;
        let mut left = REDIRECTS_MAX;
        while let Some((from, target, opaque, upper)) = elsewhere.pop() {
            left = left
                .checked_sub(1)
                .ok_or_else(|| Error::refused("too many links into the layers below"))?;
            let path = self.root.resolve(&from, &target)?;
            if path.is_empty() && opaque {
                self.root = Folder::Open(self.root.metadata().clone(), BTreeMap::new());
            }
            let upper = match path.as_slice() {
                [] => upper,
                path => Upper::Under(path.to_vec(), opaque, Box::new(upper)),
            };
            elsewhere.extend(self.pass(&upper, &outside)?);
        }
        Ok(())
    }

    /// Lays over it what does not go elsewhere, folder by folder.
    fn pass<'a>(
        &mut self,
        upper: &Upper<'a>,
        outside: &HashMap<Vec<u8>, TreeEntry>,
    ) -> Result<Vec<Elsewhere<'a>>> {
        let mut elsewhere = Vec::new();
        let mut waiting = VecDeque::from([(Vec::new(), upper.clone())]);
        while let Some((path, upper)) = waiting.pop_front() {
            let groups_below = self.groups_below;
            let Some(folder) = self.root.at(&path)? else {
                return Err(Error::refused("a folder is not there"));
            };
            let children = folder.children()?;
            for laid in Merge::layer(&upper) {
                match laid? {
                    Merged::New(TreeEntry {
                        name,
                        node: Node::Whiteout,
                        ..
                    }) => {
                        children.remove(&name);
                    }
                    Merged::New(mut entry) => {
                        if let Node::OutsideLink(target) = &entry.node {
                            let found = outside.get(target);
                            let found = found.ok_or_else(|| Error::refused("a hard link to nothing"))?;
                            entry = TreeEntry {
                                name: entry.name,
                                ..found.clone()
                            };
                        } else if let Some(link @ 1..) = entry.node.link_mut() {
                            *link += groups_below;
                        }
                        children.insert(entry.name.clone(), Child::Other(entry));
                    }
                    Merged::Folder(new) => {
                        let marks = new.marks;
                        if let Some(Child::Other(TreeEntry {
                            node: Node::Symlink { target, .. },
                            ..
                        })) = children.get(&new.name)
                            && marks.implied
                        {
                            elsewhere.push((path.clone(), target.clone(), marks.opaque, new.upper));
                            continue;
                        }
                        let mut made = match children.remove(&new.name) {
                            Some(Child::Other(_)) if marks.implied => {
                                return Err(Error::refused("an entry below something that is no directory"));
                            }
                            Some(Child::Folder(folder)) if marks.opaque => {
                                Folder::Open(folder.metadata().clone(), BTreeMap::new())
                            }
                            Some(Child::Folder(folder)) => folder,
                            None if marks.implied && new.upper.is_bare()? => continue,
                            None | Some(Child::Other(_)) => Folder::empty(),
                        };
                        if let Some(metadata) = new.metadata {
                            made.set_metadata(metadata)?;
                        }
                        let below = path.iter().chain([&new.name]).cloned().collect();
                        children.insert(new.name, Child::Folder(made));
                        waiting.push_back((below, new.upper));
                    }
                    Merged::Kept(_) | Merged::Regrouped(..) => {
                        return Err(Error::refused("a layer with something from below"));
                    }
                }
            }
        }
        Ok(elsewhere)
    }

    /// The first path at which the stored tree is something else; none where it is the same.
    pub(super) fn differs(self, stored: &Directory) -> Result<Option<String>> {
        if self.root.metadata() != stored.metadata() {
            return Ok(Some("/".to_owned()));
        }
        let mut waiting = vec![(String::new(), self.root, stored.clone())];
        while let Some((path, mut folder, stored)) = waiting.pop() {
            if let Folder::Whole(whole) = &folder
                && whole.stored().hash == stored.stored().hash
                && whole.len() == stored.len()
                && whole.inodes() == stored.inodes()
            {
                continue;
            }
            let children = folder.children()?;
            let mut entries = stored.entries(0);
            for (name, child) in std::mem::take(children) {
                let here = format!("{path}/{name}");
                let Some(found) = entries.next().transpose()? else {
                    return Ok(Some(here));
                };
                match child {
                    Child::Folder(folder)
                        if found.name == name
                            && *folder.metadata() == found.metadata
                            && matches!(&found.stored().node, Node::Directory { marks, .. } if *marks == Marks::default()) =>
                    {
                        waiting.push((here, folder, stored.open_directory(&found)?));
                    }
                    Child::Other(entry) => {
                        if !entry_is(entry, found.stored()) {
                            return Ok(Some(here));
                        }
                    }
                    Child::Folder(_) => return Ok(Some(here)),
                }
            }
            if let Some(found) = entries.next().transpose()? {
                return Ok(Some(format!("{path}/{}", found.name)));
            }
        }
        Ok(None)
    }
}

/// The folder that holds the link, where it leads, whether what is there is hidden, and what goes there.
type Elsewhere<'a> = (Vec<EntryName>, Vec<u8>, bool, Upper<'a>);

/// Whether an entry is the stored one. How a file's bytes are kept is no part of what they are.
pub(super) fn entry_is(mut entry: TreeEntry, stored: &TreeEntry) -> bool {
    if let (Node::File { content, .. }, Node::File { content: kept, .. }) = (&mut entry.node, &stored.node) {
        *content = kept.clone();
    }
    entry.canonical() == stored.canonical()
}

#[cfg(test)]
mod tests {
    use super::super::check_chain;
    use super::*;
    use holdall::generation::{self, Labels};
    use holdall::ids::Sha256;
    use holdall::ingest::{Ingest, IngestOptions, LayerWriter};
    use holdall::medium::{Medium, MemoryMedium};
    use holdall::monitor::Silent;
    use holdall::reader::{Disk, Layer, OpenOptions};
    use std::sync::Arc;

    fn path(text: &str) -> Vec<EntryName> {
        let parts = text.split('/').filter(|part| !part.is_empty());
        parts
            .map(|part| EntryName::new(part.as_bytes()).unwrap())
            .collect()
    }

    fn file(layer: &mut LayerWriter, at: &str, bytes: &str) {
        let size = holdall::units::len64(bytes.len());
        layer.begin_file(&path(at), no_metadata(), size).unwrap();
        layer.data(bytes.as_bytes()).unwrap();
        layer.end_file().unwrap();
    }

    type Script = fn(&mut LayerWriter);

    fn below(layer: &mut LayerWriter) {
        layer.directory(&path("usr/bin"), no_metadata()).unwrap();
        file(layer, "usr/bin/tool", "tool");
        file(layer, "usr/bin/deep/in", "in");
        layer.symlink(&path("bin"), no_metadata(), b"usr/bin").unwrap();
        layer
            .symlink(&path("usr/round"), no_metadata(), b"../bin/./deep")
            .unwrap();
    }

    /// The base's chain, each script's layer over it, and that layer.
    fn disk(scripts: &[Script]) -> Disk {
        let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::new());
        let labels = Labels {
            origin: "o".into(),
            series: "s".into(),
        };
        generation::init(medium.as_ref(), &labels, &holdall::custody::Witness::unnamed(), 0).unwrap();
        let state = tempfile::tempdir().unwrap();
        let options = IngestOptions {
            witness: holdall::custody::Witness::unnamed(),
            state: state.path().to_owned(),
            interrupted: Arc::default(),
            level: holdall::pack::Level::default(),
        };
        let ingest = Ingest::open(Arc::clone(&medium), &options, Arc::new(Silent)).unwrap();
        let tree = |script: Script| {
            let mut layer = ingest.layer_writer();
            script(&mut layer);
            layer.finish().unwrap().0
        };
        let base = ingest.merge(None, &tree(below)).unwrap();
        ingest.put_chain(&id(0), &base);
        for (n, script) in (1..).zip(scripts) {
            let layer = tree(*script);
            ingest.put_layer(&id(n), &id(0), &layer);
            ingest.put_chain(&id(n), &ingest.merge(Some(&base), &layer).unwrap());
        }
        ingest.commit().unwrap();
        Disk::open(medium, &OpenOptions::default()).unwrap()
    }

    fn id(n: u8) -> Sha256 {
        Sha256::of(&[n])
    }

    #[test]
    fn chains_whose_layers_reach_through_links_are_told_from_others() {
        let scripts: [Script; 6] = [
            |layer| file(layer, "bin/new", "new"),
            |layer| file(layer, "bin/new", "other"),
            |layer| layer.hard_link(&path("top"), &path("usr/bin/tool")).unwrap(),
            |layer| {
                layer.hard_link(&path("bin/top"), &path("bin/tool")).unwrap();
                layer.hard_link(&path("bin/again"), &path("bin/tool")).unwrap();
                layer.hard_link(&path("usr/link"), &path("usr/round")).unwrap();
            },
            |layer| {
                layer.opaque(&path("usr/round")).unwrap();
                file(layer, "usr/round/only", "only");
                layer.whiteout(&path("bin/tool")).unwrap();
                layer.whiteout(&path("nowhere/at/all")).unwrap();
            },
            |layer| {
                layer.hard_link(&path("top"), &path("usr/bin/tool")).unwrap();
                file(layer, "one", "1");
                layer.hard_link(&path("two"), &path("one")).unwrap();
            },
        ];
        let disk = disk(&scripts);
        let base = disk.chain(&id(0)).unwrap();
        let layers: Vec<Layer> = disk.layers().map(|layer| layer.unwrap()).collect();
        for n in 1..=6_u8 {
            let layer = layers.iter().find(|layer| layer.diff_id == id(n)).unwrap();
            for other in 1..=6_u8 {
                let chain = disk.chain(&id(other)).unwrap().unwrap();
                let found = check_chain(base.as_ref(), layer, &chain).unwrap();
                assert_eq!(found.is_none(), n == other, "layer {n}, chain {other}: {found:?}");
            }
        }
    }
}
