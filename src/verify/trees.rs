//! Trees: every page and every file's content resolves, counts are right, hard links are what the table says.

use super::contents::{check_content, usable};
use super::{Check, name_of};
use crate::blob::{FrameSource, Uncached};
use crate::catalogue::CatalogueReader;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf};
use crate::format::content::TreeRef;
use crate::format::tree::Node as StoredNode;
use crate::ids::Sha256;
use crate::tree::{Directory, Entry, Metadata, Node, Rooted};
use std::sync::Arc;

/// Most directories that are remembered as checked; what is beyond is checked again where it is met again.
const REMEMBERED: usize = 1 << 20;

/// A directory that is waiting, with its path for messages.
struct Waiting {
    path: String,
    /// Whether the path is its names as they are: all of them UTF-8.
    exact: bool,
    directory: Directory,
    depth: u32,
}

/// Checks the tree of a leaf: of loose files, of a layer or of a chain, or the one that a blob's recipe refers to.
pub(super) fn check_tree(
    check: &mut Check<'_>,
    catalogue: &CatalogueReader,
    leaf: &Leaf,
    tree: TreeRef,
) -> Result<()> {
    let source: Arc<dyn FrameSource> = Arc::new(Uncached::new(Arc::clone(&check.medium)));
    let files = leaf.kind == Kind::Files;
    let before = check.report.damage_count();
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
        Ok(top) => walk(check, &place, top, files.then_some(catalogue))?,
        Err(e) => check.damage_of(&place, &e)?,
    }
    if !files && check.report.damage_count() > before {
        check.report.damaged_trees.insert(place);
        // What is damaged may be below directories that were remembered: other trees have to name it too.
        check.checked.clear();
    }
    Ok(())
}

/// The chain that an image starts from is there.
pub(super) fn check_rootfs(check: &mut Check<'_>, catalogue: &CatalogueReader, leaf: &Leaf) {
    if !matches!(catalogue.get(Kind::Chain, &leaf.sha256.to_digest()), Ok(Some(_))) {
        let name = name_of(leaf.kind, &leaf.name);
        check.damaged(format!(
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
/// Those of loose files come with the catalogue, which may list them one by one.
fn walk(check: &mut Check<'_>, place: &str, top: Directory, listed: Option<&CatalogueReader>) -> Result<()> {
    let files = listed.is_some();
    // What is damaged is named once a tree, however often it stands in it.
    let mut met = std::collections::HashSet::new();
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
            check.damaged(format!("{place}/{path}: folders are nested too deep"));
            continue;
        }
        let key = (directory.stored().hash, directory.stored().place);
        // The same pages at the same place are the same directory, counts and hard-link numbers included.
        if !files && !directory.is_empty() && (check.checked.contains(&key) || !met.insert(key)) {
            continue;
        }
        let before = check.report.damage_count();
        if let Err(e) = check_pages(check, &directory) {
            check.damage_of(&format!("{place}/{path}"), &e)?;
            if files {
                check.report.damaged_file(format!("{path} (all that is in it)"));
            }
            continue;
        }
        let (mut inodes, mut entries) = (1, 0);
        for entry in directory.entries(0) {
            check.check_interrupted()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    check.damage_of(&format!("{place}/{path}"), &e)?;
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
                    if let Some(catalogue) = listed.filter(|_| exact && check.sealed) {
                        check_listed(check, catalogue, &entry, &below);
                    }
                    check_file(check, place, &entry, below, files)?;
                }
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {}
            }
        }
        if (inodes, entries) != (directory.inodes(), directory.len()) {
            check.damaged(format!("{place}/{path}: its counts are wrong"));
        }
        let whole = check.report.damage_count() == before;
        if !files && whole && check.checked.len() < REMEMBERED && !directory.is_empty() {
            check.checked.insert(key);
        }
    }
    Ok(())
}

/// Every page of the directory is in a frame that holds.
fn check_pages(check: &Check<'_>, directory: &Directory) -> Result<()> {
    if !directory.is_empty() {
        usable(check, &directory.stored().place)?;
    }
    directory.pages(|_, place, _| usable(check, &place))
}

/// A sealed generation lists each loose file besides, with what the tree says of it.
fn check_listed(check: &mut Check<'_>, catalogue: &CatalogueReader, entry: &Entry, path: &str) {
    let Some(leaf) = Leaf::of_file(path, entry.stored()) else {
        return;
    };
    check.nameable_files += 1;
    match catalogue.get(Kind::File, path) {
        Ok(Some((_, found))) if found == leaf => {}
        Ok(Some(_)) => check.damaged(format!(
            "file files/{path}: its leaf says something else than the tree"
        )),
        Ok(None) => check.damaged(format!(
            "file files/{path}: it has no leaf, though the generation is sealed"
        )),
        Err(e) => check.damage(&e),
    }
}

fn check_file(check: &mut Check<'_>, tree: &str, entry: &Entry, path: String, files: bool) -> Result<()> {
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
    check.report.files += u64::from(files);
    let identity: (&Sha256, _) = (sha256, blob_id);
    let deep = check.options.full.then_some(identity);
    if let Some(why) = check_content(check, content, *size, deep)? {
        check.damaged(format!("{tree}/{path}: {why}"));
        if files {
            check.report.damaged_file(path);
        }
    }
    Ok(())
}
