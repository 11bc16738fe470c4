//! `holdall ls`: images and files.

use crate::exit::{Exit, ToolError};
use crate::locate::{self, Loose};
use crate::output::{Output, bytes, one_line, time};
use holdall::ids::Sha256;
use holdall::name::Reference;
use holdall::reader::{Directory, Disk, Entry, Node};
use holdall_images::audit;
use holdall_images::kept::Kept;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Only images whose name begins so, or files/PATH for what is in that folder
    prefix: Option<OsString>,
    /// Also show sizes, modes and times
    #[arg(short, long)]
    long: bool,
    /// Also show names by digest of images that have a tag
    #[arg(short, long)]
    all: bool,
    /// List the layers instead: how each is kept, and what that costs
    #[arg(long, conflicts_with_all = ["prefix", "long", "all"])]
    layers: bool,
    /// List this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
}

#[derive(Debug, Serialize)]
struct ListedImage {
    name: String,
    digest: String,
    media_type: String,
    /// Bytes of all that the image is made of and that is on the disk, each blob once.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// What it refers to and was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
}

#[derive(Debug, Serialize)]
struct ListedEntry {
    path: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: i64,
}

#[derive(Debug, Serialize)]
struct ListedLayer {
    digest: String,
    diff_id: String,
    size: u64,
    /// How many bytes of it are kept as they are.
    kept_bytes: u64,
    /// Bytes of its recipe before compression, those kept as they are among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe_bytes: Option<u64>,
    /// What the recipe takes of the packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    /// What the rest is made again with.
    encoders: Vec<String>,
    /// Why it is kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<ListedImage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<ListedEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<ListedLayer>>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let disk = locate::disk(&args.medium, args.generation, None)?;
    let mut listing = Listing::default();
    if args.layers {
        listing.layers = Some(list_layers(&disk, output)?);
        output.result(&listing)?;
        return Ok(Exit::Done);
    }
    match args
        .prefix
        .as_deref()
        .map(locate::files_path)
        .transpose()?
        .flatten()
    {
        Some(path) => listing.files = Some(list_files(&disk, &path, args, output)?),
        None => {
            listing.images = Some(list_images(&disk, args, output)?);
            if args.prefix.is_none() && disk.files().map_err(ToolError::Disk)?.is_some() {
                listing.files = Some(list_files(&disk, &[], args, output)?);
            }
        }
    }
    output.result(&listing)?;
    Ok(Exit::Done)
}

fn list_images(disk: &Disk, args: &Args, output: &Output) -> Result<Vec<ListedImage>, ToolError> {
    let prefix = args
        .prefix
        .as_ref()
        .map(|prefix| prefix.to_string_lossy().into_owned());
    let mut listed = Vec::new();
    let mut repository = None;
    let mut tagged: BTreeSet<Sha256> = BTreeSet::new();
    for image in disk.images(None, None) {
        let image = image.map_err(ToolError::Disk)?;
        if repository.as_ref() != Some(&image.name.repository) {
            repository = Some(image.name.repository.clone());
            tagged.clear();
        }
        let name = image.name.to_string();
        match &image.name.reference {
            Reference::Tag(_) => {
                tagged.insert(image.target.sha256);
            }
            Reference::Digest(digest) if tagged.contains(digest) && !args.all => continue,
            Reference::Digest(_) => {}
        }
        if prefix.as_ref().is_some_and(|prefix| !begins_with(&name, prefix)) {
            continue;
        }
        let reached = if args.long {
            Some(audit::reach(disk, &image)?)
        } else {
            None
        };
        let size = reached.as_ref().map(audit::Reached::total_bytes);
        let entry = ListedImage {
            digest: image.target.sha256.to_digest(),
            media_type: image.target.media_type,
            size,
            left_out: reached.map(|reached| reached.absent.len()),
            name,
        };
        match entry.size {
            Some(size) => output.line(format!("{:>10}  {}  {}", bytes(size), entry.digest, entry.name))?,
            None if args.all => output.line(format!("{}  {}", entry.digest, entry.name))?,
            None => output.line(&entry.name)?,
        }
        // Printed as they come; kept only for the one object that programs get.
        if output.is_json() {
            listed.push(entry);
        }
    }
    Ok(listed)
}

fn list_layers(disk: &Disk, output: &Output) -> Result<Vec<ListedLayer>, ToolError> {
    let mut listed = Vec::new();
    for layer in disk.layers() {
        let layer = layer.map_err(ToolError::Disk)?;
        let Some(kept) = Kept::of(disk, &layer.blob)? else {
            continue;
        };
        let entry = ListedLayer {
            digest: layer.blob.to_digest(),
            diff_id: layer.diff_id.to_digest(),
            size: kept.size,
            kept_bytes: kept.whole_bytes(),
            recipe_bytes: kept.recipe.as_ref().map(|recipe| recipe.recipe_bytes),
            stored_bytes: kept.recipe.as_ref().map(|recipe| recipe.stored_bytes),
            encoders: kept
                .recipe
                .as_ref()
                .map(|recipe| recipe.encoders.clone())
                .unwrap_or_default(),
            why: kept.why().map(str::to_owned),
        };
        let how = match (&entry.stored_bytes, &entry.why) {
            (Some(recipe), why) => format!(
                "made again ({}) by a recipe of {}{}",
                entry.encoders.join(", "),
                bytes(*recipe),
                why.as_ref()
                    .map(|why| format!("; {} as they are: {why}", bytes(entry.kept_bytes)))
                    .unwrap_or_default()
            ),
            (None, why) => format!("as it is: {}", why.as_deref().unwrap_or_default()),
        };
        output.line(format!("{:>10}  {}  {how}", bytes(entry.size), entry.digest))?;
        listed.push(entry);
    }
    Ok(listed)
}

/// Whether a name begins so, as people write it.
fn begins_with(name: &str, prefix: &str) -> bool {
    ["", "docker.io/", "docker.io/library/"].iter().any(|registry| {
        name.strip_prefix(registry)
            .is_some_and(|name| name.starts_with(prefix))
    })
}

fn list_files(
    disk: &Disk,
    path: &[holdall::name::EntryName],
    args: &Args,
    output: &Output,
) -> Result<Vec<ListedEntry>, ToolError> {
    let place = locate::shown(path);
    let mut listed = Vec::new();
    let mut show = |entry: &Entry, path: String| -> Result<(), ToolError> {
        let entry = describe(entry, path);
        print_entry(&entry, args.long, output)?;
        if output.is_json() {
            listed.push(entry);
        }
        Ok(())
    };
    match locate::loose(disk, path)? {
        Loose::Entry(_, entry) => show(&entry, place)?,
        Loose::Folder(folder) => each(&folder, |entry| show(entry, format!("{place}/{}", entry.name)))?,
    }
    Ok(listed)
}

fn each(folder: &Directory, mut show: impl FnMut(&Entry) -> Result<(), ToolError>) -> Result<(), ToolError> {
    for entry in folder.entries(0) {
        show(&entry.map_err(ToolError::Disk)?)?;
    }
    Ok(())
}

fn describe(entry: &Entry, path: String) -> ListedEntry {
    let metadata = &entry.metadata;
    let (kind, size, sha256, target) = match &entry.node {
        Node::File { size, sha256, .. } => ("file", Some(*size), sha256.map(|s| s.to_hex()), None),
        Node::Directory { .. } => ("folder", None, None, None),
        Node::Symlink { target, .. } => (
            "link",
            None,
            None,
            Some(String::from_utf8_lossy(target).into_owned()),
        ),
        Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => ("special", None, None, None),
    };
    let mode = format!("{:04o}", metadata.mode);
    let (uid, gid, mtime) = (metadata.uid, metadata.gid, metadata.mtime_sec);
    ListedEntry {
        path,
        kind,
        size,
        sha256,
        target,
        mode,
        uid,
        gid,
        mtime,
    }
}

fn print_entry(entry: &ListedEntry, long: bool, output: &Output) -> Result<(), ToolError> {
    let slash = if entry.kind == "folder" { "/" } else { "" };
    let name = format!("{}{slash}", one_line(&entry.path));
    if !long {
        return output.line(name);
    }
    let size = entry.size.map_or_else(|| entry.kind.to_owned(), bytes);
    let target = entry
        .target
        .as_ref()
        .map(|target| format!(" -> {}", one_line(target)))
        .unwrap_or_default();
    let owner = format!("{}:{}", entry.uid, entry.gid);
    output.line(format!(
        "{size:>10}  {}  {owner:>9}  {}  {name}{target}",
        entry.mode,
        time(entry.mtime)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_may_leave_out_docker_hub() {
        for prefix in ["docker.io/library/nginx", "library/ng", "nginx:1", ""] {
            assert!(begins_with("docker.io/library/nginx:1", prefix), "{prefix}");
        }
        assert!(!begins_with("quay.io/nginx:1", "nginx"));
    }
}
