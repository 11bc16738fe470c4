//! What is meant by the words of a command line: a disk, a digest, an image, a path below `files/`.

use crate::exit::ToolError;
use crate::output::Output;
use holdall::ids::Sha256;
use holdall::medium::{DirectoryMedium, Medium};
use holdall::name::{EntryName, ImageName};
use holdall::reader::{Blob, Directory, Disk, Entry, Image, Node, OpenOptions, RebuiltOptions};
use holdall::units::Generation;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// The help text of every argument that [`parse`] reads.
pub const SPELLINGS: &str = "sha256:HEX, an image's name, or files/PATH";

/// Something on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A blob by digest.
    Digest(Sha256),
    /// An image by name.
    Image(ImageName),
    /// A loose file or folder, by the names on the way to it; none for the top.
    Path(Vec<EntryName>),
}

/// Tells what a word means.
pub fn parse(text: &OsStr) -> Result<What, ToolError> {
    if let Some(path) = files_path(text)? {
        return Ok(What::Path(path));
    }
    let text = text
        .to_str()
        .ok_or_else(|| ToolError::Usage(format!("{text:?}: neither {SPELLINGS}")))?;
    if text.starts_with("sha256:") {
        return Sha256::from_digest(text)
            .map(What::Digest)
            .map_err(|e| ToolError::Usage(e.to_string()));
    }
    ImageName::parse_familiar(text)
        .map(What::Image)
        .map_err(|e| ToolError::Usage(e.to_string()))
}

/// The names in `files/a/b`; none where the text is not below `files`.
pub fn files_path(text: &OsStr) -> Result<Option<Vec<EntryName>>, ToolError> {
    let bytes = text.as_bytes();
    match bytes.strip_prefix(b"files") {
        Some(b"") => Ok(Some(Vec::new())),
        Some([b'/', rest @ ..]) => names(rest).map(Some),
        _ => Ok(None),
    }
}

/// The names in `a/b`, slashes more than needed left out.
pub fn names(path: &[u8]) -> Result<Vec<EntryName>, ToolError> {
    let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty());
    parts
        .map(|part| EntryName::new(part).map_err(|e| ToolError::Usage(e.to_string())))
        .collect()
}

/// A path below `files/` for people.
pub fn shown(path: &[EntryName]) -> String {
    path.iter()
        .fold("files".to_owned(), |text, name| format!("{text}/{name}"))
}

/// The medium in a folder.
pub fn medium(path: &Path) -> Result<Arc<dyn Medium>, ToolError> {
    Ok(Arc::new(DirectoryMedium::open(path)?))
}

/// Says what is wrong with the disk though it can be read, and which generation is shown then: it may not be the newest.
pub fn warn_of(disk: &Disk, output: &Output) {
    let warnings = disk.warnings();
    warnings.iter().for_each(|warning| output.warn(warning));
    if !warnings.is_empty() {
        let shown = disk.root().generation;
        output.warn(&format!(
            "{}: generation {shown} is shown, which may not be the last one; holdall verify says more",
            disk.name()
        ));
    }
}

/// A failure to open a disk: of one that is there, what is missing is damage; one that was pulled out is not damaged.
pub fn opening(medium: &dyn Medium, error: holdall::Error) -> ToolError {
    let is_there = || medium.generations().is_ok_and(|all| !all.is_empty());
    match error.root_cause() {
        holdall::Error::Missing { .. } if is_there() => ToolError::Disk(error),
        _ => ToolError::Store(error),
    }
}

/// A generation that is asked for has to be there: else nothing is damaged, and those that are there are named.
pub fn has_generation(medium: &dyn Medium, asked: Option<u32>) -> Result<(), ToolError> {
    let Some(asked) = asked else { return Ok(()) };
    let there = medium.generations().unwrap_or_default();
    if there.is_empty() || there.contains(&Generation::new(asked)) {
        return Ok(());
    }
    let there: Vec<String> = there.iter().map(ToString::to_string).collect();
    Err(ToolError::NotThere {
        place: medium.name(),
        what: format!("there is no generation {asked}, only {}", there.join(", ")),
    })
}

/// Opens the disk in a folder.
pub fn disk(path: &Path, generation: Option<u32>, cache_bytes: Option<u64>) -> Result<Disk, ToolError> {
    disk_keeping(path, generation, cache_bytes, None, false)
}

/// The same, with layers that are made again kept on the node's own disk where that is asked for; and past the kernel's cache where what is
/// read is in it already, as files of a mount.
pub fn disk_keeping(
    path: &Path,
    generation: Option<u32>,
    cache_bytes: Option<u64>,
    rebuilt: Option<RebuiltOptions>,
    direct: bool,
) -> Result<Disk, ToolError> {
    let mut options = OpenOptions {
        generation: generation.map(Generation::new),
        rebuilt,
        ..OpenOptions::default()
    };
    if let Some(cache_bytes) = cache_bytes {
        options.cache_bytes = cache_bytes;
    }
    let medium: Arc<dyn Medium> = if direct {
        Arc::new(DirectoryMedium::open_direct(path)?)
    } else {
        medium(path)?
    };
    has_generation(medium.as_ref(), generation)?;
    Disk::open(Arc::clone(&medium), &options).map_err(|e| opening(medium.as_ref(), e))
}

/// Opens the disk in a folder for a mount: what the mount shows is in the kernel's cache already, so the
/// packs beneath are read past it, and few frames are kept.
pub fn disk_to_mount(
    path: &Path,
    generation: Option<u32>,
    cache_bytes: Option<u64>,
) -> Result<Disk, ToolError> {
    let options = OpenOptions {
        generation: generation.map(Generation::new),
        cache_bytes: cache_bytes.unwrap_or(MOUNT_CACHE),
        ..OpenOptions::default()
    };
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::open_direct(path)?);
    has_generation(medium.as_ref(), generation)?;
    Disk::open(Arc::clone(&medium), &options).map_err(|e| opening(medium.as_ref(), e))
}

/// Bytes of frames kept for a mount: enough for the readers of the moment.
const MOUNT_CACHE: u64 = 16 * 1024 * 1024;

fn not_there(disk: &Disk, what: impl std::fmt::Display) -> ToolError {
    ToolError::NotThere {
        place: disk.name(),
        what: format!("there is no {what} in generation {}", disk.root().generation),
    }
}

/// The image of that name.
pub fn image(disk: &Disk, name: &ImageName) -> Result<Image, ToolError> {
    disk.image(name)
        .map_err(ToolError::Disk)?
        .ok_or_else(|| not_there(disk, format!("image {name}")))
}

/// The blob of that digest; what was left out on purpose is told from what is not known.
pub fn blob(disk: &Disk, digest: &Sha256) -> Result<Blob, ToolError> {
    if let Some(blob) = disk.blob(digest).map_err(ToolError::Disk)? {
        return Ok(blob);
    }
    if disk.is_absent(digest).map_err(ToolError::Disk)? {
        let what = format!(
            "{} was left out when its image was added, as --platform has it",
            digest.to_digest()
        );
        return Err(ToolError::NotThere {
            place: disk.name(),
            what,
        });
    }
    Err(not_there(disk, format!("blob {}", digest.to_digest())))
}

/// What lies at a path below `files/`.
pub enum Loose {
    /// A folder, the top one included.
    Folder(Directory),
    /// Anything else, and the folder it is in.
    Entry(Directory, Box<Entry>),
}

/// Finds what lies at a path below `files/`.
pub fn loose(disk: &Disk, path: &[EntryName]) -> Result<Loose, ToolError> {
    let missing = || not_there(disk, shown(path));
    let mut folder = disk.files().map_err(ToolError::Disk)?.ok_or_else(missing)?;
    let mut names = path.iter().peekable();
    while let Some(name) = names.next() {
        let entry = folder.entry(name).map_err(ToolError::Disk)?.ok_or_else(missing)?;
        match entry.node {
            Node::Directory { .. } => folder = folder.open_directory(&entry).map_err(ToolError::Disk)?,
            _ if names.peek().is_none() => return Ok(Loose::Entry(folder, Box::new(entry))),
            _ => return Err(missing()),
        }
    }
    Ok(Loose::Folder(folder))
}

/// An operating system's name as an entry's.
pub fn entry_name(name: &OsString) -> Result<EntryName, ToolError> {
    EntryName::new(name.as_bytes()).map_err(|e| ToolError::Usage(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_digests_images_or_paths() {
        let digest = Sha256::of(b"");
        let path = |parts: &[&str]| {
            What::Path(
                parts
                    .iter()
                    .map(|p| EntryName::new(p.as_bytes()).unwrap())
                    .collect(),
            )
        };
        for (text, what) in [
            (digest.to_digest().as_str(), What::Digest(digest)),
            (
                "nginx",
                What::Image(ImageName::parse("docker.io/library/nginx:latest").unwrap()),
            ),
            ("files", path(&[])),
            ("files/", path(&[])),
            ("files/a//b", path(&["a", "b"])),
        ] {
            assert_eq!(parse(OsStr::new(text)).unwrap(), what, "{text}");
        }
        for bad in ["sha256:00", "files/../etc", "files/./a", "UPPER/x"] {
            assert!(parse(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
