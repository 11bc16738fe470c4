//! Trees: every page and every file's content resolves, counts are right, hard links are what the table says.

use super::catalogue::{DirectoryKey, Leaves};
use super::contents::{check_content, usable};
use super::found::Found;
use super::{Check, is_unreadable, name_of};
use crate::blob::FrameSource;
use crate::catalogue::CatalogueReader;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf};
use crate::format::content::TreeRef;
use crate::format::tree::Node as StoredNode;
use crate::ids::Sha256;
use crate::tree::{Directory, Entry, Metadata, Node, Rooted};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A directory that is waiting, with its path for messages.
struct Waiting {
    path: String,
    /// Whether the path is its names as they are: all of them UTF-8.
    exact: bool,
    directory: Directory,
    depth: u32,
}

/// Checks the tree of a leaf: of loose files, of a layer or of a chain, or the one that a blob's recipe refers to.
pub(super) fn check_tree(leaves: &Leaves<'_>, found: &mut Found, leaf: &Leaf, tree: TreeRef) -> Result<()> {
    let check = leaves.check;
    let source = Arc::clone(&check.held.frames) as Arc<dyn FrameSource>;
    let files = leaf.kind == Kind::Files;
    let before = found.damage_count();
    let place = if files {
        "files".to_owned()
    } else {
        name_of(leaf.kind, &leaf.name)
    };
    let top = if files {
        let metadata = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime_sec: 0,
            mtime_nsec: 0,
            xattrs: Vec::new(),
        };
        Ok(Directory::top(source, tree, metadata))
    } else {
        usable(check, &tree.place)
            .and_then(|()| Rooted::open(source, tree, leaf.kind != Kind::Chain))
            .and_then(|rooted| {
                check_links(check, &rooted)?;
                Ok(rooted.top().clone())
            })
    };
    check.check_interrupted()?;
    match top {
        Ok(top) => {
            let met = walk(leaves, found, &place, top, files)?;
            // Of a damaged tree none is remembered: what is damaged is below some of them, and other trees have to name it too.
            if found.damage_count() == before {
                leaves.are_whole(met);
            }
        }
        Err(e) => damage_of(check, found, &place, &e)?,
    }
    if !files && found.damage_count() > before {
        found.damaged_trees.push(place);
    }
    Ok(())
}

/// Damage of something below the medium's files, named before it. Fails where the disk is gone.
fn damage_of(check: &Check<'_>, found: &mut Found, name: &str, error: &Error) -> Result<()> {
    if is_unreadable(error) {
        check.still_there()?;
        found.unreadable = true;
    }
    found.damaged(format!("{name}: {error}"));
    Ok(())
}

/// The chain that an image starts from is there.
pub(super) fn check_rootfs(catalogue: &CatalogueReader, found: &mut Found, leaf: &Leaf) {
    if !matches!(catalogue.get(Kind::Chain, &leaf.sha256.to_digest()), Ok(Some(_))) {
        let name = name_of(leaf.kind, &leaf.name);
        found.damaged(format!(
            "{name}: chain {} is not on the disk",
            leaf.sha256.to_digest()
        ));
    }
}

/// Every position in the table of hard links is that of an entry that says it is of that group. That none says so
/// which is not in the table is found where it is met.
fn check_links(check: &Check<'_>, rooted: &Rooted) -> Result<()> {
    let Some(links) = rooted.links() else {
        return Ok(());
    };
    for (group, names) in (1..).zip(links.all()?) {
        for position in names {
            check.check_interrupted()?;
            let found = rooted.top().find(position)?;
            let link = match &found {
                Some(crate::tree::Found::Entry(_, entry)) if entry.preorder == position => {
                    Some(entry.stored().node.link())
                }
                _ => None,
            };
            if link != Some(group) {
                return Err(Error::malformed(
                    "the table of hard links",
                    format!("inode {position} is not of group {group}"),
                ));
            }
        }
    }
    Ok(())
}

/// Walks a tree directory by directory, without recursion.
/// Returns the directories that it has walked, but of loose files, whose catalogue may list them one by one.
fn walk(
    leaves: &Leaves<'_>,
    found: &mut Found,
    place: &str,
    top: Directory,
    files: bool,
) -> Result<HashSet<DirectoryKey>> {
    let check = leaves.check;
    // What is damaged is named once a tree, however often it stands in it.
    let mut met = HashSet::new();
    let mut waiting = vec![Waiting {
        path: String::new(),
        exact: true,
        directory: top,
        depth: 0,
    }];
    while let Some(Waiting {
        path,
        exact,
        directory,
        depth,
    }) = waiting.pop()
    {
        check.check_interrupted()?;
        if depth > crate::format::DEPTH_MAX {
            found.damaged(format!("{place}/{path}: folders are nested too deep"));
            continue;
        }
        let key = (directory.stored().hash, directory.stored().place);
        if !files && !directory.is_empty() && (leaves.is_whole(&key) || !met.insert(key)) {
            continue;
        }
        if let Err(e) = check_pages(check, &directory) {
            damage_of(check, found, &format!("{place}/{path}"), &e)?;
            if files {
                found.damaged_file(format!("{path} (all that is in it)"));
            }
            continue;
        }
        let (mut inodes, mut entries) = (1, 0);
        for entry in directory.entries(0) {
            check.check_interrupted()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    damage_of(check, found, &format!("{place}/{path}"), &e)?;
                    break;
                }
            };
            inodes += entry.stored().inodes();
            entries += 1;
            let below = if path.is_empty() {
                entry.name.to_string()
            } else {
                format!("{path}/{}", entry.name)
            };
            let exact = exact && std::str::from_utf8(entry.name.as_bytes()).is_ok();
            match &entry.node {
                Node::Directory { .. } => waiting.push(Waiting {
                    path: below,
                    exact,
                    directory: directory.open_directory(&entry)?,
                    depth: depth + 1,
                }),
                Node::File { .. } => {
                    if files && exact && check.sealed {
                        check_listed(leaves, found, &entry, &below);
                    }
                    check_file(check, found, place, &entry, below, files)?;
                }
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {}
            }
        }
        if (inodes, entries) != (directory.inodes(), directory.len()) {
            found.damaged(format!("{place}/{path}: its counts are wrong"));
        }
    }
    Ok(met)
}

/// Every page of the directory is in a frame that holds.
fn check_pages(check: &Check<'_>, directory: &Directory) -> Result<()> {
    if !directory.is_empty() {
        usable(check, &directory.stored().place)?;
    }
    directory.pages(|_, place, _| usable(check, &place))
}

/// A sealed generation lists each loose file besides, with what the tree says of it.
fn check_listed(leaves: &Leaves<'_>, found: &mut Found, entry: &Entry, path: &str) {
    let Some(leaf) = Leaf::of_file(path, entry.stored()) else {
        return;
    };
    leaves.check.counts.nameable_files.fetch_add(1, Ordering::Relaxed);
    match leaves.catalogue.get(Kind::File, path) {
        Ok(Some((_, listed))) if listed == leaf => {}
        Ok(Some(_)) => found.damaged(format!(
            "file files/{path}: its leaf says something else than the tree"
        )),
        Ok(None) => found.damaged(format!(
            "file files/{path}: it has no leaf, though the generation is sealed"
        )),
        Err(e) => found.damage(&e),
    }
}

fn check_file(
    check: &Check<'_>,
    found: &mut Found,
    tree: &str,
    entry: &Entry,
    path: String,
    files: bool,
) -> Result<()> {
    let StoredNode::File {
        size,
        blob_id,
        sha256,
        content,
        ..
    } = &entry.stored().node
    else {
        return Ok(());
    };
    check.counts.files.fetch_add(u64::from(files), Ordering::Relaxed);
    let identity: (&Sha256, _) = (sha256, blob_id);
    let deep = check.options.full.then_some(identity);
    if let Some(why) = check_content(check, found, content, *size, deep)? {
        found.damaged(format!("{tree}/{path}: {why}"));
        if files {
            found.damaged_file(path);
        }
    }
    Ok(())
}
