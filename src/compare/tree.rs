//! Two trees, entry by entry, folder by folder. Folders whose hashes are equal are not gone into.

use super::{Difference, Side, lower};
use crate::error::{Error, Result};
use crate::format::DEPTH_MAX;
use crate::format::tree::{Node as StoredNode, TreeEntry};
use crate::name::EntryName;
use crate::tree::{Directory, Entries, Entry};
use crate::units::index;

/// What is not the same, and the names on the way to it.
#[derive(Debug, Clone)]
pub struct TreeDifference {
    /// The names, from the top.
    pub path: Vec<EntryName>,
    /// The entries.
    pub entry: Difference<Box<Entry>>,
}

/// What is not the same in two trees, in order; a folder before what is in it. Ends after the first error.
#[derive(Debug)]
pub struct TreeDifferences {
    within: Vec<Level>,
    /// The names of the folders that are gone into.
    path: Vec<EntryName>,
    /// A folder to go into before anything else.
    below: Option<(EntryName, Level)>,
}

/// A folder that is gone through, on either side or on both.
#[derive(Debug)]
struct Level {
    before: One,
    after: One,
}

#[derive(Debug, Default)]
struct One {
    folder: Option<(Directory, Entries)>,
    next: Option<Box<Entry>>,
}

impl One {
    fn of(folder: Option<Directory>) -> Self {
        let folder = folder.map(|folder| {
            let entries = folder.entries(0);
            (folder, entries)
        });
        Self { folder, next: None }
    }

    /// Holds the next entry. Names out of order would make the merge see what is not there.
    fn turn(&mut self, last: Option<&EntryName>) -> Result<()> {
        let Some((_, entries)) = self.folder.as_mut().filter(|_| self.next.is_none()) else {
            return Ok(());
        };
        let Some(entry) = entries.next().transpose()? else {
            return Ok(());
        };
        if last.is_some_and(|last| *last >= entry.name) {
            return Err(Error::malformed(
                entry.name.to_string(),
                "a folder's names are out of order",
            ));
        }
        self.next = Some(Box::new(entry));
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Box<Entry>>> {
        let Some(entry) = self.next.take() else {
            return Ok(None);
        };
        self.turn(Some(&entry.name))?;
        Ok(Some(entry))
    }

    /// The folder that this entry of it is, if it is one.
    fn open(&self, entry: Option<&Entry>) -> Result<Option<Directory>> {
        match (&self.folder, entry) {
            (Some((folder, _)), Some(entry))
                if matches!(entry.stored().node, StoredNode::Directory { .. }) =>
            {
                folder.open_directory(entry).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Goes through two trees from their tops; where there is none on a side, all of the other is a difference.
#[must_use]
pub fn tree_differences(before: Option<Directory>, after: Option<Directory>) -> TreeDifferences {
    let same = matches!((&before, &after), (Some(before), Some(after)) if same_below(before, after));
    let level = Level {
        before: One::of(before),
        after: One::of(after),
    };
    TreeDifferences {
        within: if same { Vec::new() } else { vec![level] },
        path: Vec::new(),
        below: None,
    }
}

/// Whether two folders hold the same, by the hash over all that is in them.
fn same_below(before: &Directory, after: &Directory) -> bool {
    let said = |folder: &Directory| {
        let tree = folder.stored();
        (tree.hash, tree.entries, tree.inodes, tree.subdirectories)
    };
    said(before) == said(after)
}

/// Whether two entries are the same, what is in folders aside. How a file's bytes are kept is no part of what they are, and
/// neither is the number of a group of hard links.
fn same(before: &TreeEntry, after: &TreeEntry) -> bool {
    let nodes = match (&before.node, &after.node) {
        (
            StoredNode::File { size, blob_id, .. },
            StoredNode::File {
                size: other_size,
                blob_id: other_id,
                ..
            },
        ) => (size, blob_id) == (other_size, other_id),
        (StoredNode::Directory { marks, .. }, StoredNode::Directory { marks: other, .. }) => marks == other,
        (StoredNode::Symlink { target, .. }, StoredNode::Symlink { target: other, .. }) => target == other,
        (
            StoredNode::Special {
                kind, major, minor, ..
            },
            StoredNode::Special {
                kind: other_kind,
                major: other_major,
                minor: other_minor,
                ..
            },
        ) => (kind, major, minor) == (other_kind, other_major, other_minor),
        (before, after) => before == after,
    };
    nodes && before.metadata == after.metadata
}

impl TreeDifferences {
    fn advance(&mut self) -> Result<Option<TreeDifference>> {
        loop {
            if let Some((name, level)) = self.below.take() {
                if self.within.len() > index(DEPTH_MAX) {
                    return Err(Error::malformed(name.to_string(), "folders are nested too deep"));
                }
                self.path.push(name);
                self.within.push(level);
            }
            let Some(level) = self.within.last_mut() else {
                return Ok(None);
            };
            level.before.turn(None)?;
            level.after.turn(None)?;
            let names = (&level.before.next, &level.after.next);
            let side = lower(
                names.0.as_ref().map(|entry| &entry.name),
                names.1.as_ref().map(|entry| &entry.name),
            );
            let Some(side) = side else {
                self.within.pop();
                self.path.pop();
                continue;
            };
            let before = match side {
                Side::Before | Side::Both => level.before.take()?,
                Side::After => None,
            };
            let after = match side {
                Side::After | Side::Both => level.after.take()?,
                Side::Before => None,
            };
            let folders = (
                level.before.open(before.as_deref())?,
                level.after.open(after.as_deref())?,
            );
            let Some(name) = before.as_ref().or(after.as_ref()).map(|entry| entry.name.clone()) else {
                continue;
            };
            let equal = matches!(&folders, (Some(before), Some(after)) if same_below(before, after));
            if !equal && (folders.0.is_some() || folders.1.is_some()) {
                let level = Level {
                    before: One::of(folders.0),
                    after: One::of(folders.1),
                };
                self.below = Some((name.clone(), level));
            }
            let entry = match (before, after) {
                (Some(before), Some(after)) if same(before.stored(), after.stored()) => continue,
                (Some(before), Some(after)) => Difference::Changed(before, after),
                (Some(before), None) => Difference::Removed(before),
                (None, Some(after)) => Difference::Added(after),
                (None, None) => continue,
            };
            let mut path = self.path.clone();
            path.push(name);
            return Ok(Some(TreeDifference { path, entry }));
        }
    }
}

impl Iterator for TreeDifferences {
    type Item = Result<TreeDifference>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            (self.below, self.within) = (None, Vec::new());
        }
        next.transpose()
    }
}
