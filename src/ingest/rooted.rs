//! Writing the tree of a layer or chain: every directory that has something new, the deepest first.
//!
//! Directories name their sub-directories' places, so a tree is written level by level from below: all of one
//! height go into the same frames, and nothing is waited for but once a level.

use super::Inner;
use super::folder::{FolderBuilder, MadeDirectory, OpenTreeEntry};
use super::stored::StoredBlob;
use crate::error::{Error, Result};
use crate::format::content::TreeRef;
use crate::format::links::{self, LINKS, LINKS_MAX, ROOTFS};
use crate::format::tree::{Marks, Metadata, Node, TreeEntry};
use crate::ids::Sha256;
use crate::name::EntryName;
use crate::tree::merge::{Merge, Merged, MergedFolder, Redirect, Upper, no_metadata};
use crate::tree::{Directory, Entry, Rooted};
use crate::units::{index64, len64};
use std::collections::HashMap;
use std::sync::Arc;

/// Directories that one layer may touch.
const FOLDERS_MAX: usize = 1 << 22;

/// One tree to be written.
pub(super) struct Work<'a> {
    /// The tree that the layer is laid over.
    pub(super) lower: Option<Rooted>,
    /// The layer's root.
    pub(super) upper: Upper<'a>,
    /// The root's own metadata, if the layer gives any, and marks.
    pub(super) root: (Option<Metadata>, Marks),
    /// Whether the layer's own tree is written, with its marks.
    pub(super) layer: bool,
    /// The hard-link groups of the trees below; those of the layer are numbered from there on.
    pub(super) groups_below: u64,
    /// The hard-link groups of the outcome.
    pub(super) groups: u64,
    /// What names of files of the layers below stand for, by target.
    pub(super) outside: HashMap<Vec<u8>, TreeEntry>,
}

/// A directory to be written.
struct Task<'a> {
    parent: usize,
    name: Option<EntryName>,
    lower: Option<Directory>,
    upper: Upper<'a>,
    height: u32,
}

/// A directory that was written: with the names of hard-linked inodes below it, by position from its own.
struct Made {
    directory: MadeDirectory,
    names: Vec<(u64, u64)>,
}

/// What goes elsewhere than where the layer has it, with the path of the directory that holds the link.
pub(super) struct Elsewhere<'a> {
    pub(super) directory: Vec<EntryName>,
    pub(super) redirect: Redirect<'a>,
}

/// What is known of a tree before it is written.
pub(super) struct Plan<'a> {
    tasks: Vec<Task<'a>>,
    pub(super) elsewhere: Vec<Elsewhere<'a>>,
}

impl<'a> Work<'a> {
    fn merge(&self, lower: Option<&Directory>, upper: &Upper<'a>) -> Merge<'a> {
        if self.layer {
            Merge::layer(upper)
        } else {
            Merge::chain(lower, upper)
        }
    }

    /// Finds the directories that have to be written.
    pub(super) fn plan(&self) -> Result<Plan<'a>> {
        let below = self.lower.as_ref().filter(|_| !self.root.1.opaque);
        let mut plan = Plan {
            tasks: vec![Task {
                parent: 0,
                name: None,
                lower: below.map(|rooted| rooted.rootfs().clone()),
                upper: self.upper.clone(),
                height: 0,
            }],
            elsewhere: Vec::new(),
        };
        let mut at = 0;
        while let Some(task) = plan.tasks.get(at) {
            let mut merge = self.merge(task.lower.as_ref(), &task.upper);
            let mut found = Vec::new();
            for merged in merge.by_ref() {
                if let Merged::Folder(MergedFolder {
                    name, lower, upper, ..
                }) = merged?
                {
                    found.push(Task {
                        parent: at,
                        name: Some(name),
                        lower,
                        upper,
                        height: 0,
                    });
                }
            }
            for redirect in merge.redirects() {
                let directory = plan.path(at);
                plan.elsewhere.push(Elsewhere { directory, redirect });
            }
            plan.tasks.extend(found);
            if plan.tasks.len() > FOLDERS_MAX {
                return Err(Error::no_tree(format!(
                    "a layer with more than {FOLDERS_MAX} directories"
                )));
            }
            at += 1;
        }
        plan.measure()?;
        Ok(plan)
    }
}

impl Plan<'_> {
    fn path(&self, mut at: usize) -> Vec<EntryName> {
        let mut names = Vec::new();
        while let Some(Task {
            parent,
            name: Some(name),
            ..
        }) = self.tasks.get(at)
        {
            names.push(name.clone());
            at = *parent;
        }
        names.reverse();
        names
    }

    /// Heights, from below: children stand behind their parents.
    fn measure(&mut self) -> Result<()> {
        for at in (1..self.tasks.len()).rev() {
            let Some((parent, height)) = self.tasks.get(at).map(|t| (t.parent, t.height + 1)) else {
                continue;
            };
            if let Some(parent) = self.tasks.get_mut(parent) {
                parent.height = parent.height.max(height);
            }
        }
        // One for the root of all, one for the directory that holds it.
        if self
            .tasks
            .first()
            .is_some_and(|t| t.height + 2 > crate::format::DEPTH_MAX)
        {
            return Err(Error::no_tree("directories are nested too deep"));
        }
        Ok(())
    }
}

impl Inner {
    /// Writes the tree; everything in it is on the medium when this returns.
    pub(super) fn write_rooted(self: &Arc<Self>, work: &Work<'_>, plan: &Plan<'_>) -> Result<TreeRef> {
        let names_below = match work.lower.as_ref().and_then(Rooted::links) {
            Some(links) => by_position(&links.all()?),
            None => Vec::new(),
        };
        let mut order: Vec<usize> = (0..plan.tasks.len()).collect();
        order.sort_by_key(|at| plan.tasks.get(*at).map_or(0, |t| t.height));
        let mut made: HashMap<(usize, EntryName), Made> = HashMap::new();
        let mut height = 0;
        for at in order {
            let Some(task) = plan.tasks.get(at) else { continue };
            if self.is_interrupted() {
                return Err(Error::Interrupted);
            }
            if task.height > height {
                // What is above names the places of what is below.
                self.flush_tree_pages()?;
                height = task.height;
            }
            let done = self.write_folder(work, at, task, &mut made, &names_below)?;
            match &task.name {
                Some(name) => {
                    made.insert((task.parent, name.clone()), done);
                }
                None => return self.write_top(work, done),
            }
        }
        Err(Error::refused("a tree without a root"))
    }

    fn write_folder(
        self: &Arc<Self>,
        work: &Work<'_>,
        at: usize,
        task: &Task<'_>,
        made: &mut HashMap<(usize, EntryName), Made>,
        names_below: &[(u64, u64)],
    ) -> Result<Made> {
        let before = [task.lower.as_ref(), task.upper.stored()];
        let mut builder = FolderBuilder::of_tree(self, &before)?;
        let mut names = Vec::new();
        for merged in work.merge(task.lower.as_ref(), &task.upper) {
            let position = builder.next_position();
            let open = match merged? {
                Merged::Kept(entry) => {
                    keep_names(&entry, position, names_below, &mut names);
                    super::folder::kept(&entry)
                }
                Merged::Regrouped(entry, group) => {
                    let mut open = super::folder::kept(&entry);
                    if let Some(link) = open.entry.node.link_mut() {
                        *link = group;
                        names.push((position, group));
                    }
                    open
                }
                Merged::New(entry) => {
                    let entry = work.new_entry(entry)?;
                    if let link @ 1.. = entry.node.link() {
                        names.push((position, link));
                    }
                    OpenTreeEntry {
                        entry,
                        blob: None,
                        page: None,
                    }
                }
                Merged::Folder(folder) => {
                    let below = made
                        .remove(&(at, folder.name.clone()))
                        .ok_or_else(|| Error::refused("a directory was not written"))?;
                    names.extend(below.names.iter().map(|(rel, group)| (position + rel, *group)));
                    OpenTreeEntry {
                        entry: TreeEntry {
                            name: folder.name,
                            metadata: folder.metadata.unwrap_or_else(no_metadata),
                            node: Node::Directory {
                                tree: below.directory.tree,
                                marks: folder.marks,
                            },
                        },
                        blob: None,
                        page: Some(below.directory.page),
                    }
                }
            };
            if len64(names.len()) > LINKS_MAX {
                return Err(Error::no_tree(format!("more than {LINKS_MAX} hard links")));
            }
            builder.push(open)?;
        }
        Ok(Made {
            directory: builder.finish()?,
            names,
        })
    }

    /// Writes the directory that holds the root and the table of hard links.
    fn write_top(self: &Arc<Self>, work: &Work<'_>, root: Made) -> Result<TreeRef> {
        let mut builder = FolderBuilder::of_tree(self, &[])?;
        if work.groups > LINKS_MAX {
            return Err(Error::no_tree(format!(
                "more than {LINKS_MAX} groups of hard links"
            )));
        }
        if work.groups > 0 {
            // `links` stands before `rootfs`: the root is the second below the top.
            let mut groups = vec![Vec::new(); index64(work.groups)];
            for (position, group) in &root.names {
                let group = group.checked_sub(1).and_then(|n| groups.get_mut(index64(n)));
                group
                    .ok_or_else(|| Error::refused("a hard link of no group"))?
                    .push(position + 2);
            }
            let table = self.store_table(&links::encode(&groups))?;
            builder.push(OpenTreeEntry {
                entry: TreeEntry {
                    name: EntryName::new(LINKS.as_bytes())?,
                    metadata: Metadata {
                        mode: 0o444,
                        ..no_metadata()
                    },
                    node: Node::File {
                        size: table.size,
                        blob_id: table.blob_id,
                        sha256: Sha256::default(),
                        link: 0,
                        content: table
                            .content()
                            .ok_or_else(|| Error::refused("the table of hard links has no place"))?,
                    },
                },
                blob: None,
                page: None,
            })?;
        }
        let (metadata, marks) = &work.root;
        let below = work
            .lower
            .as_ref()
            .map(|rooted| rooted.rootfs().metadata().clone());
        let metadata = metadata.clone().or(below);
        builder.push(OpenTreeEntry {
            entry: TreeEntry {
                name: EntryName::new(ROOTFS.as_bytes())?,
                metadata: metadata.unwrap_or_else(no_metadata),
                node: Node::Directory {
                    tree: root.directory.tree,
                    marks: if work.layer { *marks } else { Marks::default() },
                },
            },
            blob: None,
            page: Some(root.directory.page),
        })?;
        let top = builder.finish()?;
        self.flush_tree_pages()?;
        Ok(TreeRef {
            place: self.belt.wait(&top.page)?,
            ..top.tree
        })
    }

    fn store_table(self: &Arc<Self>, bytes: &[u8]) -> Result<StoredBlob> {
        let mut writer = super::BlobWriter::of_tree(self, &[]);
        writer.write(bytes)?;
        let table = writer.finish(None, None, "the table of hard links")?;
        self.place_all(std::slice::from_ref(&table))?;
        Ok(table)
    }
}

impl Work<'_> {
    /// An entry from above, with the hard-link number that it has in the outcome.
    fn new_entry(&self, mut entry: TreeEntry) -> Result<TreeEntry> {
        if let Node::OutsideLink(target) = &entry.node
            && !self.layer
        {
            let found = self.outside.get(target);
            let found = found.ok_or_else(|| Error::no_tree("a hard link to nothing"))?;
            return Ok(TreeEntry {
                name: entry.name,
                ..found.clone()
            });
        }
        if let Some(link @ 1..) = entry.node.link_mut() {
            *link += self.groups_below;
        }
        Ok(entry)
    }
}

/// The names of all groups by position, ascending.
fn by_position(groups: &[Vec<u64>]) -> Vec<(u64, u64)> {
    let mut names: Vec<(u64, u64)> = (1..)
        .zip(groups)
        .flat_map(|(group, names)| names.iter().map(move |position| (*position, group)))
        .collect();
    names.sort_unstable();
    names
}

/// The hard-linked names in an entry that stays as it was, at their new positions.
fn keep_names(entry: &Entry, position: u64, below: &[(u64, u64)], names: &mut Vec<(u64, u64)>) {
    let from = below.partition_point(|(at, _)| *at < entry.preorder);
    let end = entry.preorder + entry.stored().inodes();
    let within = below.iter().skip(from).take_while(|(at, _)| *at < end);
    names.extend(within.map(|(at, group)| (position + (at - entry.preorder), *group)));
}
