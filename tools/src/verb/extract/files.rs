//! Loose files and folders, copied out with modes and times, and with owners where root does it.

use super::Written;
use super::beneath::Beneath;
use crate::exit::ToolError;
use holdall::format::DEPTH_MAX;
use holdall::reader::{Directory, Entries, Entry, Node};
use holdall::units::{index, len64};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A folder that is being copied.
struct Open {
    folder: Directory,
    entries: Entries,
    dest: Beneath,
}

/// Copies a folder with all that is in it to a new or empty one.
pub fn extract_folder(folder: &Directory, dest: &Path) -> Result<Written, ToolError> {
    let mut written = Written::default();
    let open = |folder: Directory, dest| Open {
        entries: folder.entries(0),
        folder,
        dest,
    };
    let mut stack = vec![open(folder.clone(), Beneath::empty(dest)?)];
    while let Some(top) = stack.last_mut() {
        let Some(entry) = top.entries.next() else {
            // Last, as what is made in a folder changes its time.
            top.dest.finish(top.folder.metadata())?;
            stack.pop();
            continue;
        };
        let entry = entry.map_err(ToolError::Disk)?;
        if matches!(entry.node, Node::Directory { .. }) {
            let below = top.folder.open_directory(&entry).map_err(ToolError::Disk)?;
            let made = top.dest.folder(entry.name.as_bytes())?;
            if stack.len() > index(DEPTH_MAX) {
                let why = format!("folders are nested more than {DEPTH_MAX} deep");
                return Err(ToolError::Disk(holdall::Error::malformed(
                    dest.display().to_string(),
                    why,
                )));
            }
            stack.push(open(below, made));
        } else {
            copy(
                &top.folder,
                &entry,
                &top.dest,
                entry.name.as_bytes(),
                &mut written,
            )?;
        }
    }
    Ok(written)
}

/// Copies a file or link to a new path.
pub fn extract_entry(folder: &Directory, entry: &Entry, dest: &Path) -> Result<Written, ToolError> {
    let name = dest
        .file_name()
        .ok_or_else(|| ToolError::Usage(format!("{}: not the name of a file", dest.display())))?;
    let parent = dest
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut written = Written::default();
    copy(
        folder,
        entry,
        &Beneath::existing(parent)?,
        name.as_bytes(),
        &mut written,
    )?;
    Ok(written)
}

fn copy(
    folder: &Directory,
    entry: &Entry,
    dest: &Beneath,
    name: &[u8],
    written: &mut Written,
) -> Result<(), ToolError> {
    match &entry.node {
        Node::File { .. } => {
            let reader = folder.open_file(entry).map_err(ToolError::Disk)?;
            let file = dest.file(name, &reader)?;
            if !dest.finish_file(name, &file, &entry.metadata)? {
                written.without_setuid += 1;
            }
            written.bytes = written.bytes.saturating_add(reader.size());
        }
        Node::Symlink { target, .. } => {
            dest.link(name, target, &entry.metadata)?;
            written.bytes = written.bytes.saturating_add(len64(target.len()));
        }
        Node::Directory { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {
            return Err(ToolError::Refused(format!(
                "{}: a device, pipe or socket; it is not copied out",
                entry.name
            )));
        }
    }
    written.files += 1;
    Ok(())
}
