//! How much loose files may take, found out before anything is read of them.

use crate::exit::ToolError;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What lies below a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// Of these, bytes that are not holes.
    pub allocated: u64,
}

/// Measures a file or a folder with all that is in it. Follows no link.
pub fn measure(path: &Path, interrupted: &AtomicBool) -> Result<Measure, ToolError> {
    let mut measure = Measure::default();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        if interrupted.load(Ordering::Relaxed) {
            return Err(holdall::Error::Interrupted.into());
        }
        let failed = |e| ToolError::io(path.display(), e);
        let found = std::fs::symlink_metadata(&path).map_err(failed)?;
        if found.is_dir() {
            measure.folders += 1;
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // A file among a million need not wait on the stack for its turn.
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else {
                    measure.count(&entry.metadata().map_err(failed)?);
                }
            }
        } else {
            measure.count(&found);
        }
    }
    Ok(measure)
}

impl Measure {
    fn count(&mut self, found: &std::fs::Metadata) {
        self.files += 1;
        if found.is_file() {
            self.bytes = self.bytes.saturating_add(found.len());
            // Blocks of 512 bytes, whatever the file system's own are.
            self.allocated = self
                .allocated
                .saturating_add(found.len().min(found.blocks().saturating_mul(512)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn holes_are_told_from_bytes() {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("sparse"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        let found = measure(folder.path(), &AtomicBool::new(false)).unwrap();
        assert_eq!((found.files, found.folders, found.bytes), (2, 2, 1 << 30));
        assert!(found.allocated < 1 << 20);
    }
}
