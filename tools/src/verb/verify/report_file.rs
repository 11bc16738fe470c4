//! The report in a file of the host.

use super::report::Report;
use super::{html, text};
use crate::exit::ToolError;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What a report file is made as, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

/// A report file that can be written: it takes its name, and the place of what had it, once it is whole.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    form: Form,
    file: NamedTempFile,
}

/// Opens all of them. Refused where one would lie on the disk itself.
pub fn open_all(paths: &[PathBuf], disk: &Path) -> Result<Vec<ReportFile>, ToolError> {
    paths.iter().map(|path| ReportFile::open(path, disk)).collect()
}

impl ReportFile {
    fn open(path: &Path, disk: &Path) -> Result<Self, ToolError> {
        let form = match path.extension().and_then(|ending| ending.to_str()) {
            Some("html" | "htm") => Form::Html,
            Some("json") => Form::Json,
            Some("txt") => Form::Text,
            _ => {
                return Err(ToolError::Usage(format!(
                    "{}: a report's name ends in .html, .json or .txt",
                    path.display()
                )));
            }
        };
        let failed = |e| ToolError::io(path.display(), e);
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let (real, disk) = (
            folder.canonicalize().map_err(failed)?,
            disk.canonicalize().map_err(failed)?,
        );
        if real.starts_with(&disk) {
            return Err(ToolError::Refused(format!(
                "{}: that is on the disk being checked; name a place on this host",
                path.display()
            )));
        }
        let file = tempfile::Builder::new()
            .prefix(".holdall-")
            .tempfile_in(&real)
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            form,
            file,
        })
    }

    /// Writes it; the path that it has.
    pub fn write(mut self, report: &Report) -> Result<PathBuf, ToolError> {
        let failed = |path: &Path, e| ToolError::io(path.display(), e);
        let text = match self.form {
            Form::Html => html::page(report),
            Form::Text => text::whole(report),
            Form::Json => {
                let text = serde_json::to_string_pretty(report);
                text.map_err(|e| failed(&self.path, e.into()))? + "\n"
            }
        };
        let written = self.file.write_all(text.as_bytes()).and_then(|()| {
            let file = self.file.as_file();
            // As other files of the host: who may read it is decided by the folder.
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.sync_all()
        });
        written.map_err(|e| failed(&self.path, e))?;
        match self.file.persist(&self.path) {
            Ok(_) => Ok(self.path),
            Err(e) => Err(failed(&self.path, e.error)),
        }
    }
}
