//! One layer's tree in memory, put together from its tar's entries in the order they come.
//!
//! Owns what a tar's entry does to what came before it, and what links lead to within the layer (image
//! layer specification, and what `ln`, `mkdir -p` and an extraction beneath a root do). Knows neither tar nor
//! the medium: a file's bytes are whatever `F` the caller has for them.

mod view;

pub use view::{FolderId, LayerEntry, LayerNode};

use super::merge::no_metadata;
use crate::error::Result;
use crate::format::DEPTH_MAX;
use crate::format::tree::{Marks, Metadata, SpecialKind, TARGET_MAX};
use crate::ids::BlobId;
use crate::name::EntryName;
use std::collections::{BTreeMap, VecDeque};

/// Why a layer cannot be had as a tree; it is still carried as bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotATree(pub String);

/// Symbolic links followed on the way to one entry.
const FOLLOWED_MAX: usize = 40;
/// Names in the targets of symbolic links that are followed for one layer. Layers as they are built have next to none.
const STEPS_MAX: usize = 1 << 22;
/// Bytes of symbolic links and devices that further names of them repeat in one layer.
const REPEATED_MAX: usize = 64 << 20;
/// Deepest directory of a layer: its tree's root stands one below the top.
const LAYER_DEPTH_MAX: usize = DEPTH_MAX as usize - 2;

/// What a file's bytes are made of, as an entry of a tree has it.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub blob_id: BlobId,
    /// The bytes, or where they are.
    pub content: crate::format::content::Content,
}

#[derive(Debug, Clone)]
enum Child {
    Folder(usize),
    File(usize),
    /// A symbolic link, device, pipe or socket.
    Other(usize),
    Whiteout,
    OutsideLink(Vec<u8>),
}

/// Anything but a file or directory.
#[derive(Debug)]
struct Other {
    metadata: Metadata,
    kind: OtherKind,
    /// Number of the group of hard links, from 1; 0 for none. Given at the end.
    group: u64,
}

#[derive(Debug)]
enum OtherKind {
    Symlink(Vec<u8>),
    Special(SpecialKind, u32, u32),
}

impl Other {
    /// Bytes that one more name of it takes in a directory's pages.
    fn own_bytes(&self) -> usize {
        let xattrs = self.metadata.xattrs.iter();
        let xattrs = xattrs.map(|(name, value)| name.len() + value.len());
        let target = match &self.kind {
            OtherKind::Symlink(target) => target.len(),
            OtherKind::Special(..) => 0,
        };
        64 + xattrs.sum::<usize>() + target
    }
}

#[derive(Debug, Default)]
struct Folder {
    /// None where the layer has no entry for it.
    metadata: Option<Box<Metadata>>,
    opaque: bool,
    children: BTreeMap<EntryName, Child>,
}

#[derive(Debug)]
struct File<F> {
    metadata: Metadata,
    content: F,
    /// Number of the group of hard links, from 1; 0 for none. Given at the end.
    group: u64,
}

/// A layer's tree.
#[derive(Debug)]
pub struct LayerTree<F> {
    folders: Vec<Folder>,
    files: Vec<File<F>>,
    others: Vec<Other>,
    groups: u64,
    steps: usize,
    repeated: usize,
}

impl<F> Default for LayerTree<F> {
    fn default() -> Self {
        Self {
            folders: vec![Folder::default()],
            files: Vec::new(),
            others: Vec::new(),
            groups: 0,
            steps: 0,
            repeated: 0,
        }
    }
}

/// What becomes of folders on the way to one that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// None is found.
    Find,
    /// They are made, as implied.
    Make,
    /// The same, but not below a whiteout: nothing is seen there that could be marked.
    Mark,
}

fn not_a_tree<T>(path: &[EntryName], why: &str) -> std::result::Result<T, NotATree> {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    Err(NotATree(format!("{}: {why}", path.join("/"))))
}

/// The components of a link's target; None for `..`.
fn components(target: &[u8]) -> std::result::Result<VecDeque<Option<EntryName>>, NotATree> {
    let parts = target
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    parts
        .map(|part| match part {
            b".." => Ok(None),
            part => EntryName::new(part)
                .map(Some)
                .map_err(|e| NotATree(format!("a link's target: {e}"))),
        })
        .collect()
}

impl<F> LayerTree<F> {
    fn folder(&mut self, index: usize) -> std::result::Result<&mut Folder, NotATree> {
        self.folders
            .get_mut(index)
            .ok_or_else(|| NotATree("a folder is not there".to_owned()))
    }

    fn child(&self, folder: usize, name: &EntryName) -> Option<&Child> {
        self.folders.get(folder)?.children.get(name)
    }

    /// Where a symbolic link points; `None` of what is none.
    fn target(&self, other: usize) -> Option<&[u8]> {
        match &self.others.get(other)?.kind {
            OtherKind::Symlink(target) => Some(target),
            OtherKind::Special(..) => None,
        }
    }

    fn other(&mut self, metadata: Metadata, kind: OtherKind) -> Child {
        self.others.push(Other {
            metadata,
            kind,
            group: 0,
        });
        Child::Other(self.others.len() - 1)
    }

    fn new_folder(&mut self, folder: Folder) -> usize {
        self.folders.push(folder);
        self.folders.len() - 1
    }

    /// The folder that a path leads to, symbolic links of this layer followed beneath its root.
    fn walk(&mut self, path: &[EntryName], way: Way) -> std::result::Result<Option<usize>, NotATree> {
        let mut above = Vec::new();
        let mut at = 0;
        let mut ahead: VecDeque<Option<EntryName>> = path.iter().cloned().map(Some).collect();
        let mut followed = 0;
        while let Some(name) = ahead.pop_front() {
            let Some(name) = name else {
                at = above.pop().unwrap_or(0);
                continue;
            };
            if above.len() >= LAYER_DEPTH_MAX {
                return not_a_tree(path, "nested too deep");
            }
            let next = match self.child(at, &name) {
                Some(Child::Folder(next)) => *next,
                Some(Child::Other(other)) => {
                    let Some(target) = self.target(*other) else {
                        return not_a_tree(path, "an entry below something that is no directory");
                    };
                    followed += 1;
                    if followed > FOLLOWED_MAX {
                        return not_a_tree(path, "its symbolic links go round in a circle");
                    }
                    if target.first() == Some(&b'/') {
                        (at, above) = (0, Vec::new());
                    }
                    let mut target = components(target)?;
                    self.steps += target.len() + 1;
                    if self.steps > STEPS_MAX {
                        return not_a_tree(
                            path,
                            "too many symbolic links on the ways to the layer's entries",
                        );
                    }
                    target.append(&mut ahead);
                    ahead = target;
                    continue;
                }
                None if way == Way::Find => return Ok(None),
                Some(Child::Whiteout) if way != Way::Make => return Ok(None),
                found @ (None | Some(Child::Whiteout)) => {
                    let next = Folder::instead_of(found.is_some());
                    let next = self.new_folder(next);
                    self.folder(at)?.children.insert(name, Child::Folder(next));
                    next
                }
                Some(_) => return not_a_tree(path, "an entry below something that is no directory"),
            };
            above.push(at);
            at = next;
        }
        Ok(Some(at))
    }

    /// The folder that an entry stands in, and its name.
    fn place(&mut self, path: &[EntryName]) -> std::result::Result<(usize, EntryName), NotATree> {
        let Some((name, parents)) = path.split_last() else {
            return Err(NotATree("the root is something else than a directory".to_owned()));
        };
        let folder = self.walk(parents, Way::Make)?.unwrap_or(0);
        Ok((folder, name.clone()))
    }

    fn put(&mut self, path: &[EntryName], child: Child) -> std::result::Result<(), NotATree> {
        let (folder, name) = self.place(path)?;
        self.folder(folder)?.children.insert(name, child);
        Ok(())
    }

    /// A directory; one that came before keeps what is in it.
    pub fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> std::result::Result<(), NotATree> {
        let index = match path {
            [] => 0,
            path => {
                if path.len() > LAYER_DEPTH_MAX {
                    return not_a_tree(path, "nested too deep");
                }
                let (folder, name) = self.place(path)?;
                match self.child(folder, &name) {
                    Some(Child::Folder(index)) => *index,
                    found => {
                        let folder_here = Folder::instead_of(matches!(found, Some(Child::Whiteout)));
                        let index = self.new_folder(folder_here);
                        self.folder(folder)?.children.insert(name, Child::Folder(index));
                        index
                    }
                }
            }
        };
        self.folder(index)?.metadata = Some(Box::new(metadata));
        Ok(())
    }

    /// A file.
    pub fn file(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        content: F,
    ) -> std::result::Result<(), NotATree> {
        self.files.push(File {
            metadata,
            content,
            group: 0,
        });
        let index = self.files.len() - 1;
        self.put(path, Child::File(index))
    }

    /// A symbolic link.
    pub fn symlink(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        target: &[u8],
    ) -> std::result::Result<(), NotATree> {
        // Linux has no other, whatever the tar says.
        let metadata = Metadata {
            mode: 0o777,
            ..metadata
        };
        if target.is_empty() || target.len() > TARGET_MAX || target.contains(&0) {
            return not_a_tree(path, "a symbolic link to nothing, or to a name that is too long");
        }
        let child = self.other(metadata, OtherKind::Symlink(target.to_vec()));
        self.put(path, child)
    }

    /// A device, pipe or socket.
    pub fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> std::result::Result<(), NotATree> {
        let child = self.other(metadata, OtherKind::Special(kind, major, minor));
        self.put(path, child)
    }

    /// One more name of what `target` is; of a file of the layers below where this layer has none there.
    pub fn hard_link(
        &mut self,
        path: &[EntryName],
        target: &[EntryName],
    ) -> std::result::Result<(), NotATree> {
        let Some((name, parents)) = target.split_last() else {
            return not_a_tree(path, "a hard link to a directory");
        };
        let found = self.walk(parents, Way::Find)?;
        let child = match found.and_then(|folder| self.child(folder, name)) {
            Some(Child::Folder(_)) => return not_a_tree(path, "a hard link to a directory"),
            Some(Child::Whiteout) => {
                return not_a_tree(path, "a hard link to something that this layer takes away");
            }
            Some(other) => {
                let other = other.clone();
                if let Child::Other(index) = &other {
                    let repeated = self.others.get(*index).map_or(0, Other::own_bytes);
                    self.repeated = self.repeated.saturating_add(repeated);
                }
                if self.repeated > REPEATED_MAX {
                    return not_a_tree(path, "too many hard links to symbolic links and devices");
                }
                other
            }
            None => {
                let text = target
                    .iter()
                    .map(EntryName::as_bytes)
                    .collect::<Vec<_>>()
                    .join(&b'/');
                if text.len() > TARGET_MAX {
                    return not_a_tree(path, "a hard link to a name that is too long");
                }
                Child::OutsideLink(text)
            }
        };
        if path == target {
            return Ok(());
        }
        self.put(path, child)
    }

    /// True where the layer has nothing of its own in a folder, only marks.
    fn is_bare(&self, index: usize) -> bool {
        let mut waiting = vec![index];
        while let Some(folder) = waiting.pop().and_then(|at| self.folders.get(at)) {
            if folder.metadata.is_some() {
                return false;
            }
            for child in folder.children.values() {
                match child {
                    Child::Folder(below) => waiting.push(*below),
                    Child::Whiteout => {}
                    _ => return false,
                }
            }
        }
        true
    }

    /// Hides what the layers below have of that path. What this layer has there itself stays.
    pub fn whiteout(&mut self, path: &[EntryName]) -> std::result::Result<(), NotATree> {
        let Some((name, parents)) = path.split_last() else {
            return Err(NotATree("the root is something else than a directory".to_owned()));
        };
        let Some(folder) = self.walk(parents, Way::Mark)? else {
            return Ok(());
        };
        let name = name.clone();
        match self.child(folder, &name) {
            Some(Child::Folder(index)) if self.is_bare(*index) => {
                self.folder(folder)?.children.insert(name, Child::Whiteout);
            }
            Some(Child::Folder(index)) => {
                let index = *index;
                let folder = self.folder(index)?;
                folder.opaque = true;
                // What was below is gone: its metadata too.
                folder.metadata.get_or_insert_with(|| Box::new(no_metadata()));
            }
            // It takes the place of what is below anyway.
            Some(_) => {}
            None => {
                self.folder(folder)?.children.insert(name, Child::Whiteout);
            }
        }
        Ok(())
    }

    /// Hides all that the layers below have in that directory.
    pub fn opaque(&mut self, directory: &[EntryName]) -> std::result::Result<(), NotATree> {
        if let Some(index) = self.walk(directory, Way::Mark)? {
            self.folder(index)?.opaque = true;
        }
        Ok(())
    }

    /// Every file's content, replaced by ones that were entered meanwhile or not.
    pub fn contents(&self) -> impl Iterator<Item = &F> {
        self.files.iter().map(|file| &file.content)
    }

    /// The tree with each file's content made into something else, and its hard links counted.
    pub fn finish<G>(self, mut each: impl FnMut(F) -> Result<G>) -> Result<LayerTree<G>> {
        let files = self.files.into_iter().map(|file| {
            Ok(File {
                metadata: file.metadata,
                content: each(file.content)?,
                group: file.group,
            })
        });
        let mut tree = LayerTree {
            folders: self.folders,
            files: files.collect::<Result<_>>()?,
            others: self.others,
            groups: 0,
            steps: 0,
            repeated: 0,
        };
        tree.number_links();
        Ok(tree)
    }

    /// Where each file stands in the pre-order of the root's directory, which is 0 itself: by the number of files that
    /// came before it. None for one that a later entry took the place of; of several names, one.
    #[must_use]
    pub fn positions(&self) -> Vec<Option<u64>> {
        let mut positions = vec![None; self.files.len()];
        let mut next = 1;
        let mut open: Vec<_> = self
            .folders
            .first()
            .map(|root| root.children.values())
            .into_iter()
            .collect();
        while let Some(children) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                continue;
            };
            match child {
                Child::Folder(index) => {
                    open.extend(self.folders.get(*index).map(|folder| folder.children.values()))
                }
                Child::File(index) => {
                    if let Some(position) = positions.get_mut(*index) {
                        *position = Some(next);
                    }
                }
                _ => {}
            }
            next += 1;
        }
        positions
    }

    /// Gives each inode that has several names a number, in the order in which the second of them is met.
    fn number_links(&mut self) {
        let files = self.files.len();
        // Files first, then the others.
        let mut names = vec![0_u64; files + self.others.len()];
        let mut order = Vec::new();
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Some(folder) = self.folders.get(at) else {
                continue;
            };
            let mut below = Vec::new();
            for child in folder.children.values() {
                let inode = match child {
                    Child::Folder(index) => {
                        below.push(*index);
                        continue;
                    }
                    Child::File(index) => *index,
                    Child::Other(index) => files + *index,
                    Child::Whiteout | Child::OutsideLink(_) => continue,
                };
                if let Some(count) = names.get_mut(inode) {
                    *count += 1;
                    if *count == 2 {
                        order.push(inode);
                    }
                }
            }
            waiting.extend(below.into_iter().rev());
        }
        for inode in order {
            self.groups += 1;
            let group = match inode.checked_sub(files) {
                None => self.files.get_mut(inode).map(|file| &mut file.group),
                Some(other) => self.others.get_mut(other).map(|other| &mut other.group),
            };
            if let Some(group) = group {
                *group = self.groups;
            }
        }
    }
}

impl Folder {
    /// A new one; where a whiteout stood, nothing of what is below is seen, nor its metadata.
    fn instead_of(whiteout: bool) -> Self {
        Self {
            metadata: whiteout.then(|| Box::new(no_metadata())),
            opaque: whiteout,
            children: BTreeMap::new(),
        }
    }

    fn marks(&self) -> Marks {
        Marks {
            opaque: self.opaque,
            implied: self.metadata.is_none(),
        }
    }
}
