//! `holdall ls`: images and files.

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate::{self, Loose};
use crate::output::{Output, bytes, one_line, time};
use holdall::ids::Sha256;
use holdall::name::Reference;
use holdall::reader::{Blob, Directory, Disk, Entry, Node};
use holdall_images::audit;
use holdall_images::kept::{self, Kept};
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
    /// Where the disk has its tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_id: Option<String>,
    size: u64,
    /// How many bytes of it are kept as they are; not known where it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_bytes: Option<u64>,
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
    /// Why it cannot be read how it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<ListedImage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<ListedEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<ListedLayer>>,
    /// Manifests that cannot be read, whose layers may not be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let disk = locate::disk(&args.medium, args.generation, None)?;
    locate::warn_of(&disk, output);
    believe::warn_unaccepted(&disk, asked_state, output)?;
    let mut listing = Listing::default();
    if args.layers {
        let (layers, damaged) = list_layers(&disk, output)?;
        let whole = damaged.is_empty() && layers.iter().all(|layer| layer.damage.is_none());
        listing.layers = Some(layers);
        listing.damaged = damaged;
        output.result(&listing)?;
        return Ok(if whole { Exit::Done } else { Exit::Damage });
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

/// All layers, those without a tree last; and what is wrong with manifests that cannot be read.
fn list_layers(disk: &Disk, output: &Output) -> Result<(Vec<ListedLayer>, Vec<String>), ToolError> {
    let (mut listed, mut with_tree) = (Vec::new(), BTreeSet::new());
    for layer in disk.layer_names() {
        let (diff_id, digest) = layer.map_err(ToolError::Disk)?;
        let blob = disk.blob(&digest).map_err(ToolError::Disk)?;
        with_tree.insert(digest);
        if let Some(blob) = blob {
            listed.push(list_layer(disk, &blob, Some(diff_id), output)?);
        }
    }
    let mut failed = Vec::new();
    let others = kept::without_tree(disk, &with_tree, &mut |err| failed.push(err))?;
    let mut damaged = Vec::new();
    for err in failed {
        let why = ToolError::damage_of(err)?;
        output.warn(&format!("a manifest's layers may be missing here: {why}"));
        damaged.push(why);
    }
    for blob in others {
        listed.push(list_layer(disk, &blob, None, output)?);
    }
    Ok((listed, damaged))
}

fn list_layer(
    disk: &Disk,
    blob: &Blob,
    diff_id: Option<Sha256>,
    output: &Output,
) -> Result<ListedLayer, ToolError> {
    let look = || {
        let kept = Kept::of(disk, blob)?;
        let why = match diff_id {
            None if kept.recipe.is_none() => Some(kept::why_no_tree(disk, blob)?),
            _ => kept.why().map(str::to_owned),
        };
        Ok((kept, why))
    };
    let mut entry = ListedLayer {
        digest: blob.sha256.to_digest(),
        diff_id: diff_id.map(|id| id.to_digest()),
        size: blob.size,
        kept_bytes: None,
        recipe_bytes: None,
        stored_bytes: None,
        encoders: Vec::new(),
        why: None,
        damage: None,
    };
    let how = match look() {
        Err(err) => {
            let why = ToolError::damage_of(err)?;
            let how = format!("damaged: {why}");
            entry.damage = Some(why);
            how
        }
        Ok((kept, why)) => {
            entry.kept_bytes = Some(kept.whole_bytes());
            entry.why = why;
            let why = entry.why.as_deref().unwrap_or_default();
            match kept.recipe {
                None => format!("as it is: {why}"),
                Some(recipe) => {
                    let mut how = format!(
                        "made again ({}) by a recipe of {}",
                        recipe.encoders.join(", "),
                        bytes(recipe.stored_bytes)
                    );
                    if !why.is_empty() {
                        how += &format!("; {} as they are: {why}", bytes(recipe.kept_bytes));
                    }
                    entry.recipe_bytes = Some(recipe.recipe_bytes);
                    entry.stored_bytes = Some(recipe.stored_bytes);
                    entry.encoders = recipe.encoders;
                    how
                }
            }
        }
    };
    output.line(format!(
        "{:>10}  {}  {}",
        bytes(entry.size),
        entry.digest,
        one_line(&how)
    ))?;
    Ok(entry)
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
