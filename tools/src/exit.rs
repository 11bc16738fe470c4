//! Failures and exit codes: one table from every crate's errors.

use holdall::Error as StoreError;
use holdall::ids::MediumId;
use holdall::trust::Refusal;
use holdall_fs::FsError;
use holdall_images::Error as ImagesError;
use holdall_images::registry::RegistryError;
use std::path::Path;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed; the message says what and where.
    Failed,
    /// The command line was not understood.
    Usage,
    /// Damage was found, and named.
    Damage,
    /// Refused: it needs a decision of the operator's.
    Refused,
    /// The medium is full; its last generation is whole.
    Full,
    /// A signature, a proof or the policy does not hold.
    Untrusted,
    /// The disk is older than one that this node has accepted, or another with the same serial.
    Rollback,
    /// Interrupted; the last generation is whole.
    Interrupted,
}

impl Exit {
    /// The code that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Damage => 3,
            Self::Refused => 4,
            Self::Full => 5,
            Self::Untrusted => 6,
            Self::Rollback => 7,
            Self::Interrupted => 130,
        }
    }
}

/// What went wrong, in whichever crate.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The store, while a medium was opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store, while an opened disk was read: what is missing there is damage.
    #[error(transparent)]
    Disk(StoreError),
    /// Sources of images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The mounted disk.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The snapshotter, as it is started.
    #[error(transparent)]
    Snapshots(#[from] holdall_images::containerd::snapshotter::SnapshotError),
    /// Registration with containerd.
    #[error(transparent)]
    Registration(#[from] holdall_images::containerd::registration::RegistrationError),
    /// The host's operating system.
    #[error("{place}: {source}")]
    Io {
        /// The path.
        place: String,
        /// What it said.
        source: std::io::Error,
    },
    /// A disk does not have what was asked for.
    #[error("{place}: {what}")]
    NotThere {
        /// The medium.
        place: String,
        /// What is not there.
        what: String,
    },
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// It needs a decision, which the text names.
    #[error("{0}")]
    Refused(String),
    /// What is to be added surely does not fit.
    #[error("{0}")]
    NoRoom(String),
    /// One of several sources failed, so that nothing was committed.
    #[error("{}{error}", prefix(source_text, error))]
    Source {
        /// The source as it was spelled.
        source_text: String,
        /// What went wrong with it.
        error: Box<ToolError>,
    },
    /// The node does not believe the disk.
    #[error("{place}: refused: {refusal}")]
    Untrusted {
        /// The medium or proof.
        place: String,
        /// Why.
        refusal: Refusal,
    },
    /// A generation was sealed, and then not signed.
    #[error(
        "generation {generation} is sealed, and not signed (`holdall sign` takes it up from here): {error}"
    )]
    Unsigned {
        /// The generation.
        generation: u32,
        /// What went wrong.
        error: Box<ToolError>,
    },
    /// What is to be checked as a proof is none.
    #[error("{place} is no proof of `holdall prove`: {why}")]
    NoProof {
        /// The file.
        place: String,
        /// The rule that it breaks.
        why: String,
    },
    /// A run that only reads was interrupted.
    #[error("interrupted; nothing was being written to the disk")]
    Stopped,
    /// Whoever reads the output has closed it.
    #[error("the output was closed")]
    Closed,
}

/// The source's spelling, unless the message begins with a place in it anyway.
fn prefix(source: &str, error: &ToolError) -> String {
    let kind = source.split_inclusive(':').next().unwrap_or(source);
    if error.to_string().starts_with(kind) || !names_source(error) {
        return String::new();
    }
    format!("{source}: ")
}

/// Whether the failure is about a source, and not about the medium or the operator.
fn names_source(error: &ToolError) -> bool {
    error.store().is_none_or(|error| {
        let error = error.root_cause();
        !is_host_index(error)
            && !matches!(
                error,
                StoreError::Full { .. } | StoreError::Interrupted | StoreError::Locked { .. }
            )
    })
}

/// Whether the failure is of the host's own index, which says nothing of the medium. What is malformed
/// in it names its folder, `index/` and the medium's id, or a record of it.
fn is_host_index(error: &StoreError) -> bool {
    match error {
        StoreError::Index { .. } => true,
        StoreError::Malformed { place, .. } => {
            let folder = Path::new(place);
            let of_medium = folder.file_name().and_then(|id| id.to_str());
            place == "a record of the host index"
                || (of_medium.is_some_and(|id| MediumId::from_hex(id).is_ok())
                    && folder.parent().is_some_and(|parent| parent.ends_with("index")))
        }
        _ => false,
    }
}

impl ToolError {
    /// A failure of the host's operating system at `place`.
    pub fn io(place: impl ToString, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Io {
            place: place.to_string(),
            source,
        }
    }

    /// What is damaged, where that is why an opened disk could not be read; else the failure. A document of the disk that
    /// cannot be taken apart is damage as well.
    pub fn damage_of(error: ImagesError) -> Result<String, Self> {
        let error = match error {
            ImagesError::Store(error) => Self::Disk(error),
            ImagesError::Malformed { .. } | ImagesError::Unsupported { .. } => return Ok(error.to_string()),
            other => Self::Images(other),
        };
        match error.exit() {
            Exit::Damage => Ok(error.to_string()),
            _ => Err(error),
        }
    }

    /// The store's error beneath, if it is one.
    pub fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::Disk(error) => Some(error),
            Self::Images(ImagesError::Store(error)) => Some(error),
            Self::Fs(FsError::Disk(error)) => Some(error),
            Self::Registry(RegistryError::Store(error)) => Some(error),
            Self::Source { error, .. } | Self::Unsigned { error, .. } => error.store(),
            _ => None,
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        if let Self::Source { error, .. } | Self::Unsigned { error, .. } = self {
            return error.exit();
        }
        if let Some(error) = self.store() {
            return match error.root_cause() {
                error if is_host_index(error) => Exit::Failed,
                StoreError::Mismatch { .. } | StoreError::Malformed { .. } => Exit::Damage,
                StoreError::Refused { .. } | StoreError::NoTree { .. } | StoreError::Locked { .. } => {
                    Exit::Refused
                }
                StoreError::Full { .. } => Exit::Full,
                StoreError::Untrusted { .. } => Exit::Untrusted,
                StoreError::Interrupted => Exit::Interrupted,
                other if other.is_damage() && !matches!(self, Self::Store(_) | Self::Images(_)) => {
                    Exit::Damage
                }
                _ => Exit::Failed,
            };
        }
        match self {
            Self::Usage(_) | Self::Images(ImagesError::NotASource { .. }) => Exit::Usage,
            Self::Refused(_)
            | Self::Images(
                ImagesError::NameTaken(_) | ImagesError::Refused { .. } | ImagesError::NoPlatform { .. },
            )
            | Self::Registry(RegistryError::NotLoopback { .. })
            | Self::Fs(
                FsError::MountpointNotEmpty { .. }
                | FsError::AlreadyMounted { .. }
                | FsError::DeadMount { .. },
            ) => Exit::Refused,
            Self::NoRoom(_) => Exit::Full,
            Self::NoProof { .. } => Exit::Damage,
            Self::Stopped => Exit::Interrupted,
            Self::Untrusted { refusal, .. } => crate::believe::exit_of(refusal),
            Self::Closed => Exit::Done,
            _ => Exit::Failed,
        }
    }

    /// One word for programs.
    pub fn kind(&self) -> &'static str {
        if let Some(error) = self.store() {
            return match error.root_cause() {
                error if is_host_index(error) => "index",
                StoreError::Missing { .. } => "missing",
                StoreError::Mismatch { .. } => "mismatch",
                StoreError::Malformed { .. } => "malformed",
                StoreError::Unsupported { .. } => "unsupported",
                StoreError::Io { .. } => "io",
                StoreError::Full { .. } => "full",
                StoreError::Deadline { .. } => "deadline",
                StoreError::Locked { .. } => "locked",
                StoreError::Refused { .. } | StoreError::NoTree { .. } => "refused",
                StoreError::SourceMismatch { .. } => "source-mismatch",
                StoreError::Interrupted => "interrupted",
                StoreError::Untrusted { .. } => "untrusted",
                _ => "failed",
            };
        }
        match self {
            Self::Source { error, .. } | Self::Unsigned { error, .. } => error.kind(),
            Self::Untrusted { refusal, .. } => refusal.kind(),
            Self::Images(error) => match error {
                ImagesError::NotASource { .. } => "usage",
                ImagesError::Missing { .. } => "missing",
                ImagesError::Mismatch { .. } => "source-mismatch",
                ImagesError::Malformed { .. } | ImagesError::Link { .. } | ImagesError::TooLarge { .. } => {
                    "malformed"
                }
                ImagesError::Unsupported { .. } => "unsupported",
                ImagesError::Io { .. } => "io",
                ImagesError::Transport { .. } | ImagesError::Registry { .. } => "registry",
                ImagesError::Denied { .. } => "denied",
                ImagesError::NoPlatform { .. } => "no-platform",
                ImagesError::NameTaken(_) => "name-taken",
                ImagesError::Refused { .. } => "refused",
                _ => "failed",
            },
            Self::Fs(_) => "mount",
            Self::Registry(RegistryError::NotLoopback { .. }) | Self::Refused(_) => "refused",
            Self::Registry(_) | Self::Io { .. } => "io",
            Self::NotThere { .. } => "not-there",
            Self::Usage(_) => "usage",
            Self::NoRoom(_) => "no-room",
            Self::NoProof { .. } => "malformed",
            Self::Stopped => "interrupted",
            _ => "failed",
        }
    }

    /// Where it went wrong, where that is known apart from the message.
    pub fn place(&self) -> Option<String> {
        if let Some(error) = self.store() {
            return match error.root_cause() {
                StoreError::Missing { place }
                | StoreError::Mismatch { place, .. }
                | StoreError::Malformed { place, .. }
                | StoreError::Unsupported { place, .. }
                | StoreError::Io { place, .. }
                | StoreError::Full { place }
                | StoreError::Deadline { place, .. }
                | StoreError::Locked { place }
                | StoreError::SourceMismatch { place, .. }
                | StoreError::Index { place, .. } => Some(place.clone()),
                _ => None,
            };
        }
        match self {
            Self::Source { source_text, .. } => Some(source_text.clone()),
            Self::Io { place, .. } | Self::NotThere { place, .. } | Self::NoProof { place, .. } => {
                Some(place.clone())
            }
            _ => None,
        }
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self, is_add: bool) -> Option<String> {
        let text = match self.store().map(StoreError::root_cause) {
            Some(StoreError::Interrupted) if is_add => {
                Some("run the same add again: what was stored is kept")
            }
            Some(StoreError::Full { .. }) if is_add => Some(
                "the last generation is whole; free some room or use a larger disk, then run the same add again",
            ),
            Some(StoreError::Locked { .. }) => Some("wait until it is done"),
            Some(error) if is_host_index(error) => Some("holdall reindex builds the host's index anew"),
            Some(StoreError::Missing { .. }) if self.exit() == Exit::Damage => Some(
                "holdall verify names everything that is damaged, and holdall info -v the generations that can be opened",
            ),
            Some(StoreError::Mismatch { .. } | StoreError::Malformed { .. }) => {
                Some("holdall verify names everything that is damaged")
            }
            Some(_) => None,
            None => match self {
                Self::Source { .. } => Some("nothing was added"),
                Self::Untrusted { refusal, .. } => return set_back(refusal),
                _ => None,
            },
        };
        text.map(str::to_owned)
    }
}

/// How a node takes an older disk after all.
fn set_back(refusal: &Refusal) -> Option<String> {
    let (Refusal::LowerEpoch {
        origin,
        series,
        epoch,
        serial,
        ..
    }
    | Refusal::LowerSerial {
        origin,
        series,
        epoch,
        serial,
        ..
    }) = refusal
    else {
        return None;
    };
    let epoch = if *epoch == 1 {
        String::new()
    } else {
        format!(" --epoch {epoch}")
    };
    Some(format!(
        "if this older disk is meant: holdall trust set --origin {} --series {} --serial {serial}{epoch}",
        quoted(origin),
        quoted(series)
    ))
}

/// A word as a shell takes it for one.
fn quoted(text: &str) -> String {
    let text = crate::output::one_line(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_code_that_the_readme_says() {
        let place = || "d/packs/000001.pack".to_owned();
        let full = || StoreError::Full { place: place() };
        for (error, exit) in [
            (ToolError::Store(StoreError::missing("d")), Exit::Failed),
            (ToolError::Disk(StoreError::missing(place())), Exit::Damage),
            (
                ToolError::Store(StoreError::mismatch(place(), "frame")),
                Exit::Damage,
            ),
            (ToolError::Store(StoreError::refused("no")), Exit::Refused),
            (
                ToolError::Store(StoreError::Locked { place: place() }),
                Exit::Refused,
            ),
            (
                ToolError::Images(ImagesError::Store(StoreError::Shared(full().into()))),
                Exit::Full,
            ),
            (
                ToolError::Images(ImagesError::Missing { place: place() }),
                Exit::Failed,
            ),
            (
                ToolError::Store(StoreError::malformed(place(), "cut short")),
                Exit::Damage,
            ),
            (
                ToolError::Store(StoreError::malformed("a record of the host index", "cut short")),
                Exit::Failed,
            ),
            (
                ToolError::Store(StoreError::malformed(
                    format!("/state/index/{}", "0a".repeat(16)),
                    "cut short",
                )),
                Exit::Failed,
            ),
            (ToolError::Store(StoreError::Interrupted), Exit::Interrupted),
            (ToolError::Usage("no".into()), Exit::Usage),
            (ToolError::NoRoom("no".into()), Exit::Full),
        ] {
            assert_eq!(error.exit(), exit, "{error}");
            let wrapped = ToolError::Source {
                source_text: "oci:x".into(),
                error: Box::new(error),
            };
            assert_eq!(wrapped.exit(), exit, "{wrapped}");
        }
    }

    #[test]
    fn a_document_of_the_disk_that_cannot_be_taken_apart_is_damage() {
        let place = || "d: sha256:00".to_owned();
        for error in [
            ImagesError::Malformed {
                place: place(),
                why: "not JSON".into(),
            },
            ImagesError::Unsupported {
                place: place(),
                what: "schema 1".into(),
            },
            ImagesError::Store(StoreError::mismatch(place(), "a chunk")),
        ] {
            assert!(ToolError::damage_of(error).unwrap().contains("sha256:00"));
        }
        let failed = ToolError::damage_of(ImagesError::Missing { place: place() });
        assert_eq!(failed.unwrap_err().exit(), Exit::Failed);
    }

    #[test]
    fn a_source_is_named_once() {
        let missing = |place: &str| ToolError::Source {
            source_text: "oci:x".into(),
            error: Box::new(ToolError::Images(ImagesError::Missing { place: place.into() })),
        };
        assert_eq!(
            missing("oci:x: index.json").to_string(),
            "oci:x: index.json: missing"
        );
        assert_eq!(missing("index.json").to_string(), "oci:x: index.json: missing");
    }
}
