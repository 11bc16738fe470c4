//! `holdall info`: what a disk says of itself. Reads its catalogue through and, of layers that are made again, their recipes'
//! tables and frames' headers, but no content; the digests of its images are in memory at once.

mod generations;

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate;
use crate::output::{Output, bytes, plural, time};
use holdall::catalogue::CatalogueReader;
use holdall::format::catalogue::Kind;
use holdall::format::root::{Root, State};
use holdall::format::superblock::SlotState;
use holdall::generation;
use holdall::medium::MediumFile;
use holdall::medium::{Medium, SlotNumber};
use holdall::reader::Disk;
use holdall_images::kept::Kept;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Show this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Info {
    format: &'static str,
    medium: String,
    origin: String,
    series: String,
    epoch: u64,
    serial: u64,
    generation: u32,
    state: &'static str,
    root: String,
    previous: Option<String>,
    time: i64,
    /// When its ROOT says that it is no longer to be used: seconds since 1970.
    expires: Option<i64>,
    /// Whose signatures lie beside its ROOT, by their files' names: no key is checked.
    signatures: Vec<String>,
    generations: Vec<u32>,
    generation_states: Vec<generations::Found>,
    images: u64,
    names: u64,
    blobs: u64,
    blob_bytes: u64,
    /// Those that have a tree.
    layers: u64,
    layer_bytes: u64,
    /// Layers of which it cannot be read how they are kept; they are in no other figure but those two.
    damaged_layers: Vec<DamagedLayer>,
    /// Of the layers, what is kept as it is: no recipe makes it again.
    whole_layer_bytes: u64,
    /// Of the layers' recipes, before compression and without what is kept as it is.
    recipe_bytes: u64,
    /// What the recipes take of the packs, with what is kept as it is.
    recipe_stored_bytes: u64,
    referrers: u64,
    left_out: u64,
    /// Chains of which it is known what containers read first, and how much that is.
    hot_lists: u64,
    hot_bytes: u64,
    /// Features by set, where ROOT names any.
    features: Features,
    file_inodes: u64,
    packs: u32,
    pack_bytes: u64,
    /// Of packs that this generation does not list: an interrupted run's, or a later generation's.
    unlisted_pack_bytes: u64,
    catalogue_bytes: u64,
    free_bytes: Option<u64>,
    slots: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DamagedLayer {
    digest: String,
    why: String,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let found = locate::disk(&args.medium, args.generation, None).and_then(|disk| {
        believe::warn_unaccepted(&disk, asked_state, output)?;
        let info = look(&disk)?;
        Ok((disk, info))
    });
    let (disk, info) = match found {
        Ok(found) => found,
        Err(error) => {
            if error.exit() == Exit::Damage && output.is_verbose() {
                let medium = locate::medium(&args.medium)?;
                let slots: Vec<String> = slots(medium.as_ref());
                let there = generations::all(&medium);
                print_slots(&slots, output)?;
                generations::print(&there, output)?;
                output.result(&json!({ "slots": slots, "generation_states": there }))?;
            }
            return Err(error);
        }
    };
    output.result(&info)?;
    print(&info, output)?;
    if output.is_verbose() {
        print_slots(&info.slots, output)?;
        generations::print(&info.generation_states, output)?;
    }
    for warning in disk.warnings() {
        output.warn(warning);
    }
    Ok(if info.damaged_layers.is_empty() {
        Exit::Done
    } else {
        Exit::Damage
    })
}

fn look(disk: &Disk) -> Result<Info, ToolError> {
    let (root, medium) = (disk.root(), disk.medium());
    let catalogue = CatalogueReader::open(Arc::clone(medium), root).map_err(ToolError::Disk)?;
    let count = |kind| {
        catalogue
            .range_of(kind)
            .map(|(start, end)| end - start)
            .map_err(ToolError::Disk)
    };
    let blobs = count(Kind::Blob)?;
    let mut blob_bytes = 0_u64;
    let (first, end) = catalogue.range_of(Kind::Blob).map_err(ToolError::Disk)?;
    for (_, leaf) in (first..end).zip(catalogue.leaves_from(first)) {
        blob_bytes = blob_bytes.saturating_add(leaf.map_err(ToolError::Disk)?.size);
    }
    let (mut layers, mut layer_bytes, mut whole_layer_bytes) = (0, 0_u64, 0_u64);
    let (mut recipe_bytes, mut recipe_stored_bytes) = (0_u64, 0_u64);
    let mut damaged_layers = Vec::new();
    for layer in disk.layer_names() {
        let (_, digest) = layer.map_err(ToolError::Disk)?;
        let Some(blob) = disk.blob(&digest).map_err(ToolError::Disk)? else {
            continue;
        };
        layers += 1;
        layer_bytes = layer_bytes.saturating_add(blob.size);
        let kept = match Kept::of(disk, &blob) {
            Ok(kept) => kept,
            Err(err) => {
                damaged_layers.push(DamagedLayer {
                    digest: digest.to_digest(),
                    why: ToolError::damage_of(err)?,
                });
                continue;
            }
        };
        whole_layer_bytes = whole_layer_bytes.saturating_add(kept.whole_bytes());
        if let Some(recipe) = &kept.recipe {
            let own = recipe.recipe_bytes.saturating_sub(recipe.kept_bytes);
            recipe_bytes = recipe_bytes.saturating_add(own);
            recipe_stored_bytes = recipe_stored_bytes.saturating_add(recipe.stored_bytes);
        }
    }
    let mut hot_bytes = 0_u64;
    let (first, end) = catalogue.range_of(Kind::Hot).map_err(ToolError::Disk)?;
    for (_, leaf) in (first..end).zip(catalogue.leaves_from(first)) {
        hot_bytes = hot_bytes.saturating_add(leaf.map_err(ToolError::Disk)?.size);
    }
    let (mut names, mut images) = (0, std::collections::BTreeSet::new());
    for image in disk.images(None, None) {
        let image = image.map_err(ToolError::Disk)?;
        names += u64::from(matches!(image.name.reference, holdall::name::Reference::Tag(_)));
        images.insert(image.target.sha256);
    }
    let packs = generation::pack_set(medium.as_ref(), root).map_err(ToolError::Disk)?;
    let listed: std::collections::BTreeSet<_> = packs.iter().map(|pack| pack.number).collect();
    let mut unlisted_pack_bytes = 0;
    for pack in medium.packs().map_err(ToolError::Disk)? {
        if !listed.contains(&pack) {
            let len = medium.len(MediumFile::Pack(pack)).map_err(ToolError::Disk)?;
            unlisted_pack_bytes += len.unwrap_or(0);
        }
    }
    Ok(Info {
        format: holdall::format::FORMAT,
        medium: root.medium.to_hex(),
        origin: root.origin.clone(),
        series: root.series.clone(),
        epoch: root.epoch,
        serial: root.serial,
        generation: root.generation.get(),
        state: state(root),
        root: disk.root_hash().to_hex(),
        previous: root.previous.map(|hash| hash.to_hex()),
        time: root.time,
        expires: root.expires,
        signatures: medium
            .signatures(root.generation)
            .map_err(ToolError::Disk)?
            .iter()
            .map(ToString::to_string)
            .collect(),
        generation_states: generations::all(medium),
        generations: medium
            .generations()
            .unwrap_or_default()
            .into_iter()
            .map(|g| g.get())
            .collect(),
        images: holdall::units::len64(images.len()),
        names,
        blobs,
        blob_bytes,
        layers,
        layer_bytes,
        damaged_layers,
        whole_layer_bytes,
        recipe_bytes,
        recipe_stored_bytes,
        referrers: count(Kind::Referrer)?,
        left_out: count(Kind::Absent)?,
        hot_lists: count(Kind::Hot)?,
        hot_bytes,
        features: Features::of(root),
        file_inodes: disk
            .files()
            .map_err(ToolError::Disk)?
            .map_or(0, |top| top.inodes().saturating_sub(1)),
        packs: root.packs,
        unlisted_pack_bytes,
        pack_bytes: packs.iter().map(|pack| u64::from(pack.pack_bytes)).sum(),
        catalogue_bytes: root.catalogue_bytes,
        free_bytes: medium.free_bytes().unwrap_or_default(),
        slots: slots(medium.as_ref()),
        warnings: disk.warnings().to_vec(),
    })
}

/// Features that ROOT names; this version knows none.
#[derive(Debug, Serialize)]
struct Features {
    read_only_compatible: String,
    compatible: String,
}

impl Features {
    fn of(root: &Root) -> Self {
        Self {
            read_only_compatible: root.features.read_only_compatible.to_string(),
            compatible: root.features.compatible.to_string(),
        }
    }

    /// Those sets that are not empty.
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("read-only-compatible", self.read_only_compatible.as_str()),
            ("compatible", self.compatible.as_str()),
        ]
        .into_iter()
        .filter(|(_, names)| *names != "-")
    }
}

const fn state(root: &Root) -> &'static str {
    match root.state {
        State::Open => "open",
        State::Sealed => "sealed",
    }
}

fn slots(medium: &dyn Medium) -> Vec<String> {
    SlotNumber::BOTH
        .iter()
        .map(|slot| slot_text(medium, *slot))
        .collect()
}

fn slot_text(medium: &dyn Medium, slot: SlotNumber) -> String {
    match generation::read_slot(medium, slot) {
        Ok(SlotState::Blank) => "blank".to_owned(),
        Ok(SlotState::Written(slot)) => format!("generation {}", slot.generation),
        Err(e) => e.to_string(),
    }
}

fn row_text(name: &str, value: &str) -> String {
    format!("{name:<12} {}", crate::output::one_line(value))
}

/// Whose signatures there are, for people.
fn signed(names: &[String]) -> String {
    if names.is_empty() {
        "by nobody".to_owned()
    } else {
        format!("{} (keys not checked here)", names.join(", "))
    }
}

fn print(info: &Info, output: &Output) -> Result<(), ToolError> {
    let row = |name: &str, value: String| output.line(row_text(name, &value));
    row("medium", info.medium.clone())?;
    row("origin", info.origin.clone())?;
    row(
        "series",
        format!("{}, epoch {}, serial {}", info.series, info.epoch, info.serial),
    )?;
    row("format", info.format.to_owned())?;
    row(
        "generation",
        format!("{}, {}, written {}", info.generation, info.state, time(info.time)),
    )?;
    if let Some(expires) = info.expires {
        let past = if expires < believe::now() { ", past" } else { "" };
        row("expires", format!("{}{past}", time(expires)))?;
    }
    row("signed", signed(&info.signatures))?;
    row("root", info.root.clone())?;
    row(
        "previous",
        info.previous.clone().unwrap_or_else(|| "none".to_owned()),
    )?;
    row(
        "images",
        format!("{} under {}", info.images, plural(info.names, "name")),
    )?;
    row("blobs", format!("{}, {}", info.blobs, bytes(info.blob_bytes)))?;
    row(
        "layers",
        format!(
            "{}, {}: {} kept as they are, the rest made again; recipes take {} of the packs",
            info.layers,
            bytes(info.layer_bytes),
            bytes(info.whole_layer_bytes),
            bytes(info.recipe_stored_bytes)
        ),
    )?;
    for layer in &info.damaged_layers {
        row("damaged", format!("layer {}: {}", layer.digest, layer.why))?;
    }
    row("referrers", info.referrers.to_string())?;
    row("left out", info.left_out.to_string())?;
    if info.hot_lists > 0 {
        let (lists, bytes) = (plural(info.hot_lists, "chain"), bytes(info.hot_bytes));
        row("read first", format!("{bytes} of {lists}, laid together"))?;
    }
    for (set, names) in info.features.named() {
        row("features", format!("{set}: {names} (not known to this version)"))?;
    }
    row(
        "files",
        match info.file_inodes {
            1 => "1 file or folder".to_owned(),
            count => format!("{count} files and folders"),
        },
    )?;
    row("packs", format!("{}, {}", info.packs, bytes(info.pack_bytes)))?;
    if info.unlisted_pack_bytes > 0 {
        let left = bytes(info.unlisted_pack_bytes);
        row(
            "unlisted",
            format!("{left} of an interrupted add, which the next one takes over, or of a later generation"),
        )?;
    }
    row("catalogue", bytes(info.catalogue_bytes))?;
    if let Some(free) = info.free_bytes {
        row("free", bytes(free))?;
    }
    Ok(())
}

fn print_slots(slots: &[String], output: &Output) -> Result<(), ToolError> {
    slots
        .iter()
        .enumerate()
        .try_for_each(|(number, slot)| output.line(row_text(&format!("superblock.{number}"), slot)))
}
