//! Carrying images from a source into the store: one routine for all sources.
//!
//! An image is walked from its manifest or index down (`walk`), with what refers to it; then its blobs
//! are stored in parallel, then everything is listed. Nothing of it counts before the store commits, so
//! a failure half-way leaves the medium as it was.

mod blobs;
mod platforms;
mod retrace;
mod signed;
mod trees;
mod walk;

pub use blobs::RETRACED_MIN;
pub use trees::{InPlace, NotInPlace, Stack};

use crate::error::{NameTaken, Sha256Digest};
use crate::image_source::ImageSource;
use crate::naming::{Chosen, choose};
use crate::platform::Platform;
use crate::{Error, Result};
use blobs::Fetched;
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, NameChange, StoredBlob};
use holdall::name::{ImageName, Reference, Repository, Tag};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use walk::{Graph, Reader, Walk};

/// What is carried, and what is allowed.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// The platforms that are carried of an index; all where empty.
    pub platforms: Vec<Platform>,
    /// Whether one name may stand for two images in one run (the later wins), and whether a name derived
    /// from where a source lies may move.
    pub replace: bool,
}

/// What may have to be read for an image, before anything is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the blobs that the medium does not have, as the image claims them.
    pub new_bytes: u64,
    /// Bytes of the blobs that it has.
    pub known_bytes: u64,
    /// Manifests and indexes, those of signatures and the like included.
    pub manifests: u64,
    /// Blobs that the medium does not have.
    pub new_blobs: u64,
}

/// An image that was carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Its name, and what that stood for before.
    pub name: ImageName,
    /// Its digest.
    pub digest: Sha256,
    /// What became of the name.
    pub change: NameChange,
    /// Tags of the same repository that came along: cosign's, and those of the referrers tag schema.
    pub tags: Vec<(ImageName, Sha256, NameChange)>,
    /// Manifests that came along because they say that they are about another.
    pub referrers: u64,
    /// What is referred to and was left out: other platforms, layers that their source does not have.
    pub absent: u64,
    /// What containers can start from without unpacking.
    pub in_place: InPlace,
}

/// One run: all images that are committed together. Shared by all sources of it.
pub struct Run<'i> {
    ingest: &'i Ingest,
    options: CopyOptions,
    /// What each name stands for in this run, and the source of that.
    names: Mutex<BTreeMap<ImageName, (Sha256, String)>>,
    /// Manifests and indexes that were carried.
    carried: Mutex<BTreeSet<Sha256>>,
    /// Blobs that an estimate has counted.
    counted: Mutex<BTreeSet<Sha256>>,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'i> Run<'i> {
    /// A run that has carried nothing yet.
    #[must_use]
    pub fn new(ingest: &'i Ingest, options: CopyOptions) -> Self {
        Self {
            ingest,
            options,
            names: Mutex::default(),
            carried: Mutex::default(),
            counted: Mutex::default(),
        }
    }

    /// The images of a source with the names they get, all of them or the one that `as_name` names. Refused where
    /// a name is taken: by another image of this run, or, for a derived name, on the medium.
    pub fn choose(&self, source: &dyn ImageSource, as_name: Option<&ImageName>) -> Result<Vec<Chosen>> {
        let chosen = choose(source.offers(), as_name, source.place())?;
        for image in &chosen {
            let fixed = image.derived && !image.companion;
            self.claim(&image.name, &image.target.digest, fixed, source.place())?;
        }
        Ok(chosen)
    }

    /// What carrying an image may take at most, beyond what was estimated for others of this run before.
    /// Reads manifests only, and stores nothing.
    pub fn estimate(&self, source: &dyn ImageSource, image: &Chosen) -> Result<Estimate> {
        if self.comes_along(image) {
            return Ok(Estimate::default());
        }
        let graph = self.walk(source, image, false)?;
        let mut estimate = Estimate {
            manifests: holdall::units::len64(graph.manifests.len()),
            ..Estimate::default()
        };
        for blob in graph.blobs.values() {
            if !self.counted.lock().insert(blob.digest) {
                continue;
            }
            if self.ingest.known_blob(&blob.digest)?.is_some() {
                estimate.known_bytes = estimate.known_bytes.saturating_add(blob.size);
            } else {
                estimate.new_bytes = estimate.new_bytes.saturating_add(blob.size);
                estimate.new_blobs += 1;
            }
        }
        Ok(estimate)
    }

    /// Carries an image with all that it refers to and all that refers to it. None for a companion that
    /// has come along with its image already, or may be about one that `--platform` leaves out.
    pub fn copy_image(&self, source: &dyn ImageSource, image: &Chosen) -> Result<Option<Carried>> {
        let monitor = self.ingest.monitor();
        if self.comes_along(image) {
            if !self.carried.lock().contains(&image.target.digest) {
                monitor.warn(&format!(
                    "{}: {}: left out: it belongs to no image that is carried, and --platform is given",
                    source.place(),
                    image.name
                ));
            }
            return Ok(None);
        }
        monitor.step(&format!("{} as {}", source.place(), image.name));
        self.claim(
            &image.name,
            &image.target.digest,
            image.derived && !image.companion,
            source.place(),
        )?;
        let mut graph = self.walk(source, image, true)?;
        let repository = &image.name.repository;
        let mut tags = Vec::new();
        for (tag, digest) in &graph.tags {
            let tag = Tag::parse(tag)?;
            let name = ImageName {
                repository: repository.clone(),
                reference: Reference::Tag(tag),
            };
            self.claim(&name, digest, false, source.place())?;
            tags.push((name, *digest));
        }
        let blobs: Vec<_> = std::mem::take(&mut graph.blobs).into_values().collect();
        let layers = graph.stacks.values().flat_map(|stack| &stack.layers);
        let layers: BTreeSet<Sha256> = layers.map(|layer| layer.digest).collect();
        let stored = blobs::store_all(self.ingest, source, &blobs, &layers)?;
        let mut derived = BTreeMap::new();
        for (descriptor, fetched) in blobs.into_iter().zip(stored) {
            match fetched {
                Fetched::Stored(blob, tree) => {
                    self.ingest.put_blob(&blob, None)?;
                    derived.extend(tree.map(|tree| (descriptor.digest, tree)));
                }
                Fetched::Absent => {
                    graph.absent.insert(descriptor.digest, descriptor);
                }
            }
        }
        self.list(&graph, repository)?;
        let in_place = trees::put_all(self.ingest, &graph, derived, &image.target.digest)?;
        let put = |name: &ImageName, digest: &Sha256| -> Result<NameChange> {
            let (blob, media_type) = graph.stored(digest, source.place())?;
            Ok(self.ingest.put_image(name, blob, media_type)?)
        };
        let change = put(&image.name, &image.target.digest)?;
        let tags = tags
            .into_iter()
            .map(|(name, digest)| put(&name, &digest).map(|change| (name, digest, change)));
        self.carried.lock().extend(graph.manifests.keys());
        Ok(Some(Carried {
            name: image.name.clone(),
            digest: image.target.digest,
            change,
            tags: tags.collect::<Result<_>>()?,
            referrers: holdall::units::len64(graph.referrers.len()),
            absent: holdall::units::len64(graph.absent.len()),
            in_place,
        }))
    }

    /// True for a companion that is not carried for its own sake. Only one that no image of its source
    /// brings along is; with `--platform` that cannot be told from one about an image that is left out.
    fn comes_along(&self, image: &Chosen) -> bool {
        image.companion
            && (!self.options.platforms.is_empty() || self.carried.lock().contains(&image.target.digest))
    }

    fn list(&self, graph: &Graph, repository: &Repository) -> Result<()> {
        for (digest, manifest) in &graph.manifests {
            let (blob, media_type) = graph.stored(digest, &manifest.place)?;
            self.ingest.put_blob(blob, Some(media_type))?;
        }
        for descriptor in graph.absent.values() {
            self.ingest
                .put_absent(&descriptor.digest, descriptor.size, &descriptor.media_type)?;
        }
        for (subject, referrer) in &graph.referrers {
            let (blob, media_type) = graph.stored(referrer, "referrer")?;
            self.ingest.put_referrer(repository, subject, blob, media_type)?;
        }
        Ok(())
    }

    fn walk(&self, source: &dyn ImageSource, image: &Chosen, store: bool) -> Result<Graph> {
        let reader = Reader {
            ingest: self.ingest,
            source,
            store,
        };
        Walk::new(&reader, &image.name.repository, &self.options.platforms).run(&image.target)
    }

    /// Takes a name for a digest. `fixed`: it may not move from what it stands for on the medium.
    fn claim(&self, name: &ImageName, digest: &Sha256, fixed: bool, place: &str) -> Result<()> {
        let taken = |old: &Sha256, before: String| {
            let (old, new) = (Sha256Digest(*old), Sha256Digest(*digest));
            Error::NameTaken(Box::new(NameTaken {
                name: name.clone(),
                old,
                before,
                new,
                place: place.to_owned(),
            }))
        };
        let mut names = self.names.lock();
        if !self.options.replace {
            if let Some((old, from)) = names.get(name)
                && old != digest
            {
                return Err(taken(old, format!("in this run, of {from},")));
            }
            if fixed
                && let Some(old) = self.ingest.committed_image(name)?
                && old != *digest
            {
                return Err(taken(&old, "on the medium".to_owned()));
            }
        }
        names.insert(name.clone(), (*digest, place.to_owned()));
        Ok(())
    }
}

/// Fails once the operator has asked to stop.
fn check_interrupted(ingest: &Ingest) -> Result<()> {
    if ingest.interrupted() {
        Err(holdall::Error::Interrupted.into())
    } else {
        Ok(())
    }
}

/// A known blob must have the length that is claimed for it: its digest alone says which one it is.
fn check_known(blob: &StoredBlob, size: u64, place: &str) -> Result<()> {
    if blob.size == size {
        return Ok(());
    }
    Err(Error::mismatch(
        place,
        format!("{size} bytes"),
        format!("{} bytes", blob.size),
    ))
}
