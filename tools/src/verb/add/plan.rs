//! What an `add` will take in, and whether it can fit: found out before anything is written.

use super::{Args, Spelled, into_folders};
use crate::exit::ToolError;
use crate::locate;
use crate::measure::{self, Measure};
use crate::output::{Output, bytes};
use holdall::ingest::Ingest;
use holdall::name::EntryName;
use holdall_images::ImageSource;
use holdall_images::copy::{Estimate, Run};
use holdall_images::cosign::ImageSigned;
use holdall_images::naming::Chosen;
use holdall_images::source::Source;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What an image takes at most, beside its bytes: once as layers, once as the trees that containers start from.
const WITH_TREES: u64 = 2;
/// Bytes that an entry of a folder takes at most beside its content, as folders are rewritten.
const ENTRY: u64 = 512;
/// Bytes for a catalogue, a ROOT, a pack's tables.
const GENERATION: u64 = 1 << 20;
/// Nothing of use has been seen to shrink further than to this fraction.
const BEST_RATIO: u64 = 8;

/// Everything that will be taken in.
pub struct Plan<'a> {
    /// By source, in the order given.
    pub sources: Vec<Planned<'a>>,
    /// Of all images together.
    pub images: Estimate,
    /// Of all loose files together.
    pub loose: Measure,
    /// Which images are signed, where that was asked.
    pub signed: Option<Vec<ImageSigned>>,
    /// Bytes that the medium can take.
    pub free: Option<u64>,
    /// Bytes of the catalogue that the new one takes over, at most whole.
    catalogue: u64,
}

/// What one source gives.
pub struct Planned<'a> {
    /// The source.
    pub spelled: &'a Spelled,
    /// What it gives.
    pub what: What<'a>,
}

/// Images, or loose files.
pub enum What<'a> {
    /// Images, each with its name.
    Images {
        /// Where they come from.
        source: &'a dyn ImageSource,
        /// Those chosen.
        chosen: Vec<Chosen>,
    },
    /// A file or folder.
    Loose {
        /// Where it lies.
        path: PathBuf,
        /// The folders below `files/` that it goes into.
        into: Vec<EntryName>,
        /// Its name there.
        name: EntryName,
        /// How much it is.
        measure: Measure,
    },
}

/// The path that a loose file or folder gets.
pub fn below_files(into: &[EntryName], name: &EntryName) -> String {
    format!("{}/{name}", locate::shown(into))
}

/// Chooses images, finds loose files, and sums up.
pub fn make<'a>(
    args: &'a Args,
    opened: &'a [Option<Box<dyn ImageSource>>],
    copy: &Run<'_>,
    interrupted: &AtomicBool,
) -> Result<Plan<'a>, ToolError> {
    let mut plan = Plan {
        sources: Vec::new(),
        images: Estimate::default(),
        loose: Measure::default(),
        signed: None,
        free: None,
        catalogue: 0,
    };
    let into = into_folders(args)?;
    for (spelled, source) in args.sources.iter().zip(opened) {
        let what = match (source, &spelled.source) {
            (Some(source), _) => {
                let source = source.as_ref();
                let chosen = copy
                    .choose(source, args.as_name.as_ref())
                    .map_err(spelled.failed())?;
                for image in &chosen {
                    let estimate = copy.estimate(source, image).map_err(spelled.failed())?;
                    plan.images.new_bytes = plan.images.new_bytes.saturating_add(estimate.new_bytes);
                    plan.images.known_bytes = plan.images.known_bytes.saturating_add(estimate.known_bytes);
                    plan.images.manifests += estimate.manifests;
                    plan.images.new_blobs += estimate.new_blobs;
                }
                What::Images { source, chosen }
            }
            (None, Source::File(path) | Source::Dir(path)) => {
                let is_folder = matches!(spelled.source, Source::Dir(_));
                let (path, name) = loose(path, is_folder).map_err(spelled.failed())?;
                let measure = measure::measure(&path, interrupted).map_err(spelled.failed())?;
                plan.loose.files += measure.files;
                plan.loose.folders += measure.folders;
                plan.loose.bytes = plan.loose.bytes.saturating_add(measure.bytes);
                plan.loose.allocated = plan.loose.allocated.saturating_add(measure.allocated);
                What::Loose {
                    path,
                    into: into.clone(),
                    name,
                    measure,
                }
            }
            (None, _) => return Err(ToolError::Usage(format!("{}: not opened", spelled.text))),
        };
        plan.sources.push(Planned { spelled, what });
    }
    Ok(plan)
}

/// Where a loose source lies and what it is called. A link that the operator names is followed; links
/// within a folder are kept as links.
fn loose(path: &Path, is_folder: bool) -> Result<(PathBuf, EntryName), ToolError> {
    let failed = |e| ToolError::io(path.display(), e);
    let real = path.canonicalize().map_err(failed)?;
    let found = real.metadata().map_err(failed)?;
    if is_folder && !found.is_dir() {
        return Err(ToolError::Usage(format!(
            "{}: not a folder; file: adds a file",
            path.display()
        )));
    }
    if !is_folder && found.is_dir() {
        return Err(ToolError::Usage(format!(
            "{}: a folder; dir: adds a folder",
            path.display()
        )));
    }
    // `.` and `a/..` have no name of their own; where they lead has one.
    let name = path.file_name().or_else(|| real.file_name());
    let name = name
        .ok_or_else(|| ToolError::Usage(format!("{}: it has no name; add what is in it", path.display())))?;
    let name = locate::entry_name(&name.to_owned())?;
    Ok((real, name))
}

impl Plan<'_> {
    /// Bytes that may be needed at most: if nothing is known yet, and nothing shrinks. Of images about: the files in a layer,
    /// compressed again, take about what the layer does, and how they shrink shows only as they are read.
    pub fn at_most(&self) -> u64 {
        let images = self.images.new_bytes.saturating_mul(WITH_TREES);
        let content = images.saturating_add(self.loose.allocated);
        let entries = (self.loose.files + self.loose.folders + self.images.manifests).saturating_mul(ENTRY);
        content
            .saturating_add(content / 50)
            .saturating_add(entries)
            .saturating_add(self.catalogue)
            .saturating_add(GENERATION)
    }

    /// Bytes that will be needed at least, as far as can be said. What loose files hold may be on the disk
    /// already, which only reading them shows; on an empty disk it cannot be.
    fn at_least(&self, empty: bool) -> u64 {
        let loose = if empty { self.loose.allocated } else { 0 };
        self.images.new_bytes.saturating_add(loose) / BEST_RATIO
    }

    /// Says what may be needed; refuses what surely cannot fit.
    pub fn check_room(&mut self, ingest: &Ingest, output: &Output) -> Result<(), ToolError> {
        self.free = ingest.free_bytes()?;
        self.catalogue = ingest.root().catalogue_bytes;
        let (most, name) = (bytes(self.at_most()), ingest.medium_name());
        let Some(free) = self.free else {
            output.note(format!("needs about {most} at most on {name}"));
            return Ok(());
        };
        if self.at_least(ingest.root().packs == 0) > free {
            return Err(ToolError::NoRoom(format!(
                "{name}: {} are free, and this needs up to {most}: it cannot fit even if it shrinks to an eighth",
                bytes(free)
            )));
        }
        output.note(format!(
            "needs about {most} at most on {name}, where {} are free",
            bytes(free)
        ));
        if self.at_most() > free {
            output.warn("it may not fit: how far it shrinks shows only as it is written; if the disk fills, its last generation stays whole");
        }
        Ok(())
    }
}
