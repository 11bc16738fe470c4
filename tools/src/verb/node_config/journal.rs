//! What `node-config --write` replaced, so that `--undo` can put it back exactly.
//!
//! In `node-config/` of the state folder: `journal.json` and a copy of each file that was there. The copies and the journal
//! are durable before any file is replaced, and each file is replaced at once or not at all; so whenever a run ends, every
//! file is as it was or as it was to be, and the journal knows both.

use super::{Root, read};
use crate::exit::ToolError;
use holdall::ids::Sha256;
use holdall_images::node_config::NodeFile;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Everything that was written and not undone yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    files: Vec<Entry>,
    /// Folders that were made, outermost first.
    folders: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    /// What it was; none where there was no file.
    before: Option<Before>,
    /// SHA-256 of each text written to it, in hex.
    written: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// The copy's name beside the journal.
    copy: String,
    sha256: String,
    mode: u32,
    uid: u32,
    gid: u32,
}

fn hash(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_hex()
}

fn folder(root: &Root<'_>, state: &Path) -> PathBuf {
    root.place(state).join("node-config")
}

fn changed_since(place: &Path) -> ToolError {
    ToolError::Refused(format!(
        "{}: it was changed since node-config wrote it; --force goes on, and that change is lost with --undo",
        place.display()
    ))
}

/// Replaces a file at once, durably. With the mode and owner given, or those that new files get.
fn replace(place: &Path, bytes: &[u8], as_before: Option<(u32, u32, u32)>) -> Result<(), ToolError> {
    let failed = |e| ToolError::io(place.display(), e);
    let parent = place.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".holdall-")
        .tempfile_in(parent)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let (mode, owner) = as_before.map_or((0o644, None), |(mode, uid, gid)| (mode, Some((uid, gid))));
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(file.as_file(), Some(uid), Some(gid)).map_err(failed)?;
    }
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(place).map_err(|e| failed(e.error))?;
    sync_folder(parent)
}

fn sync_folder(folder: &Path) -> Result<(), ToolError> {
    std::fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| ToolError::io(folder.display(), e))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the node's config, not a medium; what it held is kept elsewhere"
)]
fn remove(place: &Path) -> Result<(), ToolError> {
    match std::fs::remove_file(place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ToolError::io(place.display(), e)),
        _ => place.parent().map_or(Ok(()), sync_folder),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a folder that node-config made itself, if nothing is in it"
)]
fn remove_folder(place: &Path) {
    // One that others have put something into stays.
    let _in_use_or_gone = std::fs::remove_dir(place);
}

/// Writes the files that change, and remembers what they were.
pub fn write(root: &Root<'_>, state: &Path, files: &[NodeFile], force: bool) -> Result<(), ToolError> {
    let mut journal = Journal::load(root, state)?.unwrap_or_default();
    let own = folder(root, state);
    let due: Vec<_> = files
        .iter()
        .filter(|f| f.before.as_ref() != Some(&f.after))
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&own).map_err(|e| ToolError::io(own.display(), e))?;
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| ToolError::io(own.display(), e))?;
    for file in &due {
        journal.remember(root, &own, file, force)?;
    }
    journal.store(&own)?;
    for file in &due {
        let place = root.place(&file.path);
        let as_before = journal
            .files
            .iter()
            .find(|e| e.path == file.path)
            .and_then(|e| e.before.as_ref())
            .map(|b| (b.mode, b.uid, b.gid));
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(|e| ToolError::io(parent.display(), e))?;
        }
        replace(&place, file.after.as_bytes(), as_before)?;
    }
    Ok(())
}

impl Journal {
    /// The journal of what was written and not undone; none where there is nothing.
    pub fn load(root: &Root<'_>, state: &Path) -> Result<Option<Self>, ToolError> {
        let place = folder(root, state).join("journal.json");
        let failed = |e| ToolError::io(place.display(), e);
        let Some(bytes) = read(&place).map_err(failed)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| failed(e.into()))
    }

    fn store(&self, own: &Path) -> Result<(), ToolError> {
        let place = own.join("journal.json");
        let text = serde_json::to_vec_pretty(self).map_err(|e| ToolError::io(place.display(), e.into()))?;
        replace(&place, &text, None)
    }

    /// Takes note of a file about to be written: its copy is durable on return, the journal is not yet.
    fn remember(
        &mut self,
        root: &Root<'_>,
        own: &Path,
        file: &NodeFile,
        force: bool,
    ) -> Result<(), ToolError> {
        let place = root.place(&file.path);
        let failed = |e| ToolError::io(place.display(), e);
        let present = read(&place).map_err(failed)?;
        if present.as_deref() != file.before.as_deref().map(str::as_bytes) {
            return Err(ToolError::Refused(format!(
                "{}: it was changed just now; run this again",
                place.display()
            )));
        }
        let after = hash(file.after.as_bytes());
        if let Some(entry) = self.files.iter_mut().find(|e| e.path == file.path) {
            if !force && !entry.knows(present.as_deref()) {
                return Err(changed_since(&place));
            }
            entry.written.push(after);
            return Ok(());
        }
        let before = match present {
            None => None,
            Some(bytes) => {
                let meta = std::fs::metadata(&place).map_err(failed)?;
                let copy = format!("{}.before", self.files.len());
                replace(&own.join(&copy), &bytes, Some((0o600, meta.uid(), meta.gid())))?;
                Some(Before {
                    copy,
                    sha256: hash(&bytes),
                    mode: meta.mode() & 0o7777,
                    uid: meta.uid(),
                    gid: meta.gid(),
                })
            }
        };
        let parents: Vec<_> = file.path.ancestors().skip(1).collect();
        for parent in parents.into_iter().rev() {
            let is_known = self.folders.iter().any(|f| f == parent);
            if !is_known && !root.place(parent).exists() {
                self.folders.push(parent.to_owned());
            }
        }
        self.files.push(Entry {
            path: file.path.clone(),
            before,
            written: vec![after],
        });
        Ok(())
    }

    /// Puts every file back, and forgets: each path with what was done. Nothing is touched if any file was changed by others
    /// since, unless `force`.
    pub fn undo(
        self,
        root: &Root<'_>,
        state: &Path,
        force: bool,
    ) -> Result<Vec<(PathBuf, &'static str)>, ToolError> {
        let own = folder(root, state);
        let mut olds = Vec::new();
        for entry in &self.files {
            let place = root.place(&entry.path);
            let present = read(&place).map_err(|e| ToolError::io(place.display(), e))?;
            if !force && !entry.knows(present.as_deref()) {
                return Err(changed_since(&place));
            }
            let old = match &entry.before {
                None => None,
                Some(before) => {
                    let copy = own.join(&before.copy);
                    let bytes = read(&copy).map_err(|e| ToolError::io(copy.display(), e))?;
                    let bytes = bytes.filter(|bytes| hash(bytes) == before.sha256);
                    // Checked before anything is put back: half an undo would be worse than none.
                    let Some(bytes) = bytes else {
                        return Err(ToolError::Refused(format!(
                            "{}: the copy of {} is missing or was changed",
                            copy.display(),
                            place.display()
                        )));
                    };
                    Some((bytes, (before.mode, before.uid, before.gid)))
                }
            };
            olds.push((entry, place, old));
        }
        let mut undone = Vec::new();
        for (entry, place, old) in olds {
            match old {
                Some((bytes, as_before)) => {
                    replace(&place, &bytes, Some(as_before))?;
                    undone.push((entry.path.clone(), "as it was"));
                }
                None => {
                    remove(&place)?;
                    undone.push((entry.path.clone(), "removed; it was not there before"));
                }
            }
        }
        for folder in self.folders.iter().rev() {
            remove_folder(&root.place(folder));
        }
        remove(&own.join("journal.json"))?;
        for before in self.files.iter().filter_map(|e| e.before.as_ref()) {
            remove(&own.join(&before.copy))?;
        }
        remove_folder(&own);
        Ok(undone)
    }
}

impl Entry {
    /// Whether this is what was there before, or a text that was written.
    fn knows(&self, present: Option<&[u8]>) -> bool {
        match (present, &self.before) {
            (None, before) => before.is_none(),
            (Some(bytes), before) => {
                let found = hash(bytes);
                self.written.contains(&found) || before.as_ref().is_some_and(|b| b.sha256 == found)
            }
        }
    }
}
