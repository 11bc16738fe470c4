//! `holdall diff`: what tells two disks apart, or two generations of one.

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate;
use crate::output::{Output, bytes, one_line, plural};
use holdall::catalogue::CatalogueReader;
use holdall::compare::{Difference, leaf_differences, tree_differences};
use holdall::format::catalogue::{Kind, Leaf};
use holdall::generation;
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository};
use holdall::reader::{Disk, Entry, Node};
use holdall_images::difference::{self, NewLayer};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk as it was, or the only one
    medium: PathBuf,
    /// The disk as it is
    #[arg(required_unless_present = "from")]
    other: Option<PathBuf>,
    /// The generation as it was, of the first disk [the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    from: Option<u32>,
    /// The generation as it is, of the last disk [the newest]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    /// End with code 1 where there is a difference
    #[arg(long)]
    exit_code: bool,
}

/// A generation that is compared.
#[derive(Debug, Serialize)]
struct Side {
    place: String,
    medium: String,
    series: String,
    serial: u64,
    generation: u32,
    root: String,
    pack_bytes: u64,
}

/// Things of one kind, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Sum {
    count: u64,
    bytes: u64,
}

impl Sum {
    const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn text(self, one: &str) -> String {
        format!("{} ({})", plural(self.count, one), bytes(self.bytes))
    }
}

/// Things of one kind that are there on one side only, or not the same.
#[derive(Debug, Default, Serialize)]
struct Sums {
    added: Sum,
    removed: Sum,
    /// With the bytes that they have afterwards.
    changed: Sum,
}

impl Sums {
    const fn is_empty(&self) -> bool {
        self.added.count == 0 && self.removed.count == 0 && self.changed.count == 0
    }

    fn count(&mut self, leaf: &Difference<Leaf>) {
        match leaf {
            Difference::Added(leaf) => self.added.add(leaf.size),
            Difference::Removed(leaf) => self.removed.add(leaf.size),
            Difference::Changed(_, after) => self.changed.add(after.size),
        }
    }
}

#[derive(Debug, Serialize)]
struct DifferentImage {
    change: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Of one that moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_layers: Option<Vec<DifferentLayer>>,
    /// Why its layers could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct DifferentLayer {
    digest: String,
    bytes: u64,
    /// Whether the disk had it before, for another image.
    known: bool,
}

#[derive(Debug, Serialize)]
struct DifferentFile {
    change: &'static str,
    path: String,
    kind: &'static str,
    /// Of one that changed: whether its bytes did, or its target; else only mode, owner, time or attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_after: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Differences {
    before: Side,
    after: Side,
    differ: bool,
    images: Vec<DifferentImage>,
    blobs: Sums,
    /// Manifests that have another as their subject, by repository.
    referrers: Sums,
    left_out: Sums,
    /// Trees of layers, of chains, and which chain an image is.
    trees: Sums,
    files: Vec<DifferentFile>,
    /// Files and links, with the bytes of files; folders are not counted.
    file_sums: Sums,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let before = locate::disk(&args.medium, args.from, None)?;
    let after = locate::disk(args.other.as_ref().unwrap_or(&args.medium), args.to, None)?;
    for disk in [&before, &after] {
        locate::warn_of(disk, output);
        believe::warn_unaccepted(disk, asked_state.clone(), output)?;
    }
    let mut found = Differences {
        before: side(&before)?,
        after: side(&after)?,
        differ: false,
        images: Vec::new(),
        blobs: Sums::default(),
        referrers: Sums::default(),
        left_out: Sums::default(),
        trees: Sums::default(),
        files: Vec::new(),
        file_sums: Sums::default(),
    };
    let whole = catalogues(&before, &after, &mut found, output)?;
    files(&before, &after, &mut found, output)?;
    for (sums, one) in [
        (&found.blobs, "blob"),
        (&found.referrers, "referrer"),
        (&found.left_out, "left-out blob"),
        (&found.trees, "run-in-place tree"),
        (&found.file_sums, "loose file"),
    ] {
        found.differ |= !sums.is_empty();
        say(sums, one, output)?;
    }
    if found.differ {
        output.say(format!(
            "packs: {} before, {} after",
            bytes(found.before.pack_bytes),
            bytes(found.after.pack_bytes)
        ))?;
    } else {
        output.say(format!(
            "nothing differs between generation {} of {} and generation {} of {}",
            found.before.generation, found.before.place, found.after.generation, found.after.place
        ))?;
    }
    output.result(&found)?;
    Ok(match (whole, found.differ && args.exit_code) {
        (false, _) => Exit::Damage,
        (true, true) => Exit::Failed,
        (true, false) => Exit::Done,
    })
}

fn side(disk: &Disk) -> Result<Side, ToolError> {
    let root = disk.root();
    let packs = generation::pack_set(disk.medium().as_ref(), root).map_err(ToolError::Disk)?;
    Ok(Side {
        place: disk.name(),
        medium: root.medium.to_hex(),
        series: root.series.clone(),
        serial: root.serial,
        generation: root.generation.get(),
        root: disk.root_hash().to_hex(),
        pack_bytes: packs.iter().map(|pack| u64::from(pack.pack_bytes)).sum(),
    })
}

fn say(sums: &Sums, one: &str, output: &Output) -> Result<(), ToolError> {
    if sums.is_empty() {
        return Ok(());
    }
    let parts = [
        ("added", sums.added),
        ("removed", sums.removed),
        ("changed", sums.changed),
    ];
    let parts = parts.into_iter().filter(|(_, sum)| sum.count > 0);
    let parts: Vec<String> = parts
        .map(|(how, sum)| format!("{} {how}", sum.text(one)))
        .collect();
    output.say(parts.join(", "))
}

/// Tags of one repository on one side: names by digest that a tag says too are not told again.
#[derive(Default)]
struct Tagged {
    repository: Option<Repository>,
    digests: BTreeSet<Sha256>,
}

impl Tagged {
    /// The digests that the disk has tags for in that repository, which are all asked for at its first name.
    fn says(&mut self, disk: &Disk, repository: &Repository, digest: &Sha256) -> Result<bool, ToolError> {
        if self.repository.as_ref() != Some(repository) {
            self.repository = Some(repository.clone());
            self.digests.clear();
            for image in disk.images(Some(repository), None) {
                let image = image.map_err(ToolError::Disk)?;
                if matches!(image.name.reference, Reference::Tag(_)) {
                    self.digests.insert(image.target.sha256);
                }
            }
        }
        Ok(self.digests.contains(digest))
    }
}

/// Goes through both catalogues in step. False where a changed image's manifests could not be read.
fn catalogues(
    before: &Disk,
    after: &Disk,
    found: &mut Differences,
    output: &Output,
) -> Result<bool, ToolError> {
    let open = |disk: &Disk| CatalogueReader::open(Arc::clone(disk.medium()), disk.root());
    let (old, new) = (
        open(before).map_err(ToolError::Disk)?,
        open(after).map_err(ToolError::Disk)?,
    );
    let (mut tags_before, mut tags_after) = (Tagged::default(), Tagged::default());
    let mut whole = true;
    for leaf in leaf_differences(&old, &new) {
        let leaf = leaf.map_err(ToolError::Disk)?;
        let (Difference::Added(any) | Difference::Removed(any) | Difference::Changed(any, _)) = &leaf;
        let sums = match any.kind {
            Kind::Blob => &mut found.blobs,
            Kind::Referrer => &mut found.referrers,
            Kind::Absent => &mut found.left_out,
            Kind::Layer | Kind::Chain | Kind::Rootfs | Kind::Hot => &mut found.trees,
            // Gone through entry by entry; the leaves of single files, which sealed generations have, repeat that.
            Kind::Files | Kind::File => continue,
            Kind::Image => {
                found.differ = true;
                let name = ImageName::parse(&any.name)
                    .map_err(|e| ToolError::Disk(holdall::Error::malformed(&any.name, e.to_string())))?;
                if let Reference::Digest(digest) = &name.reference
                    && match &leaf {
                        Difference::Removed(_) => tags_before.says(before, &name.repository, digest)?,
                        _ => tags_after.says(after, &name.repository, digest)?,
                    }
                {
                    continue;
                }
                let image = image(before, after, &leaf)?;
                whole &= image.damage.is_none();
                print_image(&image, output)?;
                if output.is_json() {
                    found.images.push(image);
                }
                continue;
            }
        };
        sums.count(&leaf);
    }
    Ok(whole)
}

fn image(before: &Disk, after: &Disk, leaf: &Difference<Leaf>) -> Result<DifferentImage, ToolError> {
    let digest = |leaf: &Leaf| Some(leaf.sha256.to_digest());
    let mut image = DifferentImage {
        change: "added",
        name: String::new(),
        before: None,
        after: None,
        new_layers: None,
        damage: None,
    };
    match leaf {
        Difference::Added(leaf) => (image.name, image.after) = (leaf.name.clone(), digest(leaf)),
        Difference::Removed(leaf) => {
            (image.name, image.before) = (leaf.name.clone(), digest(leaf));
            image.change = "removed";
        }
        Difference::Changed(was, is) => {
            (image.name, image.before, image.after) = (is.name.clone(), digest(was), digest(is));
            image.change = "changed";
            match difference::new_layers((before, &was.sha256), (after, &is.sha256)) {
                Ok(layers) => image.new_layers = Some(layers.into_iter().map(different).collect()),
                Err(e) => image.damage = Some(ToolError::damage_of(e)?),
            }
        }
    }
    Ok(image)
}

fn different(layer: NewLayer) -> DifferentLayer {
    DifferentLayer {
        digest: layer.digest.to_digest(),
        bytes: layer.bytes,
        known: layer.known,
    }
}

fn print_image(image: &DifferentImage, output: &Output) -> Result<(), ToolError> {
    let digest = |digest: &Option<String>| digest.clone().unwrap_or_default();
    let name = one_line(&image.name);
    match image.change {
        "added" => return output.line(format!("+ image  {name}  {}", digest(&image.after))),
        "removed" => return output.line(format!("- image  {name}  {}", digest(&image.before))),
        _ => {}
    }
    output.line(format!(
        "~ image  {name}  {} -> {}",
        digest(&image.before),
        digest(&image.after)
    ))?;
    if let Some(why) = &image.damage {
        output.line(format!(
            "         its layers cannot be compared: {}",
            one_line(why)
        ))?;
    }
    for layer in image.new_layers.iter().flatten() {
        let known = if layer.known {
            ", which the disk had before"
        } else {
            ""
        };
        output.line(format!(
            "         new layer {}, {}{known}",
            layer.digest,
            bytes(layer.bytes)
        ))?;
    }
    Ok(())
}

/// Goes through both trees of loose files in step.
fn files(before: &Disk, after: &Disk, found: &mut Differences, output: &Output) -> Result<(), ToolError> {
    let tops = (
        before.files().map_err(ToolError::Disk)?,
        after.files().map_err(ToolError::Disk)?,
    );
    for one in tree_differences(tops.0, tops.1) {
        let one = one.map_err(ToolError::Disk)?;
        found.differ = true;
        let path = locate::shown(&one.path);
        let file = match &one.entry {
            Difference::Added(entry) => different_file("added", path, (None, Some(entry))),
            Difference::Removed(entry) => different_file("removed", path, (Some(entry), None)),
            Difference::Changed(was, is) => different_file("changed", path, (Some(was), Some(is))),
        };
        let folder = |entry: &Entry| matches!(entry.node, Node::Directory { .. });
        let sums = &mut found.file_sums;
        match &one.entry {
            Difference::Added(entry) if !folder(entry) => sums.added.add(size(entry).unwrap_or(0)),
            Difference::Removed(entry) if !folder(entry) => sums.removed.add(size(entry).unwrap_or(0)),
            Difference::Changed(was, is) if !folder(is) || !folder(was) => {
                sums.changed.add(size(is).unwrap_or(0));
            }
            _ => {}
        }
        print_file(&file, output)?;
        if output.is_json() {
            found.files.push(file);
        }
    }
    Ok(())
}

const fn size(entry: &Entry) -> Option<u64> {
    match &entry.node {
        Node::File { size, .. } => Some(*size),
        _ => None,
    }
}

const fn kind(entry: &Entry) -> &'static str {
    match &entry.node {
        Node::File { .. } => "file",
        Node::Directory { .. } => "folder",
        Node::Symlink { .. } => "link",
        Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => "special",
    }
}

fn different_file(
    change: &'static str,
    path: String,
    (was, is): (Option<&Entry>, Option<&Entry>),
) -> DifferentFile {
    let content = was.zip(is).map(|(was, is)| match (&was.node, &is.node) {
        (Node::File { blob_id, .. }, Node::File { blob_id: other, .. }) => blob_id != other,
        (Node::Symlink { target, .. }, Node::Symlink { target: other, .. }) => target != other,
        (Node::Directory { .. }, Node::Directory { .. }) => false,
        _ => true,
    });
    DifferentFile {
        change,
        path,
        kind: is.or(was).map_or("file", kind),
        content,
        size_before: was.and_then(size),
        size_after: is.and_then(size),
    }
}

fn print_file(file: &DifferentFile, output: &Output) -> Result<(), ToolError> {
    let sign = match file.change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    let slash = if file.kind == "folder" { "/" } else { "" };
    let what = match (file.content, file.size_before, file.size_after) {
        (Some(false), ..) => "  mode, owner, time or attributes".to_owned(),
        (Some(true), Some(before), Some(after)) => format!("  {} -> {}", bytes(before), bytes(after)),
        (Some(true), ..) => format!("  now a {}", file.kind),
        (None, Some(size), _) | (None, _, Some(size)) => format!("  {}", bytes(size)),
        (None, None, None) => String::new(),
    };
    output.line(format!("{sign} file   {}{slash}{what}", one_line(&file.path)))
}
