//! What images of a disk are made of, and which of them damage touches.
//!
//! Reads manifests of an opened disk, and follows what they refer to: children, configs, layers, and
//! what the disk lists as referring to them. Knows nothing of packs; which blobs are damaged is told.

use crate::manifest::{Content, Document, MAX_MANIFEST};
use crate::naming::{COSIGN_ENDINGS, schema_tag};
use crate::{Error, Result};
use holdall::catalogue::CatalogueReader;
use holdall::format::catalogue::{FANOUT, Kind};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag};
use holdall::reader::{Blob, Disk, Image};
use holdall::units::len64;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Manifests and indexes of one image that are followed, referrers included.
const MAX_MANIFESTS: usize = 20_000;

/// All that one image is made of.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// What is on the disk, by digest: manifests, configs, layers, those of referrers included.
    pub present: BTreeMap<Sha256, Blob>,
    /// What is referred to and was left out on purpose.
    pub absent: BTreeSet<Sha256>,
    /// Manifests that are there because they are about another of these.
    pub referrers: BTreeSet<Sha256>,
    /// Images that are attached to one of these by their tags, as cosign does it.
    pub companions: Vec<Image>,
}

impl Reached {
    /// Bytes of all that is on the disk, each blob once.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.present
            .values()
            .map(|blob| blob.size)
            .fold(0, u64::saturating_add)
    }
}

/// Finds all that an image is made of, with what refers to it. Fails where a manifest is damaged, or
/// something is neither on the disk nor left out.
pub fn reach(disk: &Disk, image: &Image) -> Result<Reached> {
    let mut reached = Reached::default();
    let mut waiting = vec![image.target.sha256];
    let mut manifests = 0;
    while let Some(digest) = waiting.pop() {
        if reached.present.contains_key(&digest) || reached.absent.contains(&digest) {
            continue;
        }
        let Some(blob) = disk.blob(&digest)? else {
            if !disk.is_absent(&digest)? {
                return Err(Error::missing(place(disk, &digest)));
            }
            reached.absent.insert(digest);
            continue;
        };
        if !blob.media_type.is_empty() {
            manifests += 1;
            if manifests > MAX_MANIFESTS {
                return Err(too_many(disk, &image.name));
            }
            let (children, blobs) = references(disk, &blob)?;
            waiting.extend(children.into_iter().chain(blobs));
            for referrer in disk.referrers(&image.name.repository, &digest)? {
                reached.referrers.insert(referrer.sha256);
                waiting.push(referrer.sha256);
            }
            for companion in companions(disk, &image.name.repository, &digest)? {
                waiting.push(companion.target.sha256);
                reached.companions.push(companion);
            }
        }
        reached.present.insert(digest, blob);
    }
    Ok(reached)
}

/// Images of the repository whose tags say that they are about that manifest.
fn companions(disk: &Disk, repository: &Repository, subject: &Sha256) -> Result<Vec<Image>> {
    let mut found = Vec::new();
    for ending in COSIGN_ENDINGS.into_iter().chain([""]) {
        let tag = Tag::parse(&format!("{}{ending}", schema_tag(subject)))?;
        let name = ImageName {
            repository: repository.clone(),
            reference: Reference::Tag(tag),
        };
        found.extend(disk.image(&name)?);
    }
    Ok(found)
}

fn place(disk: &Disk, digest: &Sha256) -> String {
    format!("{}: {}", disk.name(), digest.to_digest())
}

fn too_many(disk: &Disk, name: &ImageName) -> Error {
    Error::too_large(
        format!("{}: {name}", disk.name()),
        "its number of manifests",
        len64(MAX_MANIFESTS),
    )
}

/// What a manifest of the disk refers to: other manifests, and blobs.
fn references(disk: &Disk, manifest: &Blob) -> Result<(Vec<Sha256>, Vec<Sha256>)> {
    let bytes = disk.read_small(manifest, MAX_MANIFEST)?;
    let document = Document::parse(&bytes, &manifest.media_type, &place(disk, &manifest.sha256))?;
    Ok(match document.content {
        Content::Index(children) => (children.iter().map(|child| child.digest).collect(), Vec::new()),
        Content::Manifest { config, layers } => (
            Vec::new(),
            config.iter().chain(&layers).map(|blob| blob.digest).collect(),
        ),
    })
}

/// An image that damage touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Its name.
    pub name: ImageName,
    /// What of it, or of what refers to it, is damaged or missing; in order.
    pub damaged: Vec<Sha256>,
}

/// What following all images came to.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Images that damage touches, in order of name.
    pub touched: Vec<Touched>,
    /// What is neither on the disk nor left out on purpose, and a manifest that refers to it.
    pub missing: BTreeMap<Sha256, Sha256>,
    /// Manifests and look-ups that failed though nobody told that they are damaged.
    pub unreadable: BTreeSet<String>,
}

impl Audit {
    /// True where nothing was found that was not told.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.unreadable.is_empty()
    }
}

/// Follows every image of the disk, each manifest once, and finds those that `damaged` blobs touch. Goes
/// on to the end whatever it meets.
#[must_use]
pub fn touched(disk: &Disk, damaged: &BTreeSet<Sha256>) -> Audit {
    let mut walk = Walk {
        disk,
        damaged,
        audit: Audit::default(),
        known: HashMap::new(),
        referrers: HashMap::new(),
    };
    match CatalogueReader::open(Arc::clone(disk.medium()), disk.root()) {
        Ok(catalogue) => walk.images(&catalogue),
        Err(e) => walk.unreadable(&e.into()),
    }
    walk.audit
}

/// What there is to know of a manifest.
#[derive(Debug, Default)]
struct Known {
    /// Manifests that it refers to.
    children: Vec<Sha256>,
    /// What it refers to that cannot be had, and itself if that is it.
    bad: Vec<Sha256>,
}

struct Walk<'a> {
    disk: &'a Disk,
    damaged: &'a BTreeSet<Sha256>,
    audit: Audit,
    /// Manifests that were read; none for those of which there is nothing to know.
    known: HashMap<Sha256, Option<Arc<Known>>>,
    /// Referrers within the repository at hand.
    referrers: HashMap<Sha256, Vec<Sha256>>,
}

impl Walk<'_> {
    fn unreadable(&mut self, error: &Error) {
        self.audit.unreadable.insert(error.to_string());
    }

    /// Every image leaf. A page of the catalogue that cannot be read costs its own leaves only.
    fn images(&mut self, catalogue: &CatalogueReader) {
        let page = len64(FANOUT);
        let (mut position, mut repository, mut tagged) = (0, None::<Repository>, BTreeSet::new());
        while position < catalogue.len() {
            let leaf = match catalogue.at(position) {
                Ok(Some(leaf)) => leaf,
                Ok(None) => break,
                // Whoever verified the catalogue has named the page.
                Err(_) => {
                    position = (position / page + 1) * page;
                    continue;
                }
            };
            position += 1;
            // Images are the first of all kinds.
            if leaf.kind != Kind::Image {
                break;
            }
            let name = match ImageName::parse(&leaf.name) {
                Ok(name) => name,
                Err(e) => {
                    self.unreadable(&e.into());
                    continue;
                }
            };
            if repository.as_ref() != Some(&name.repository) {
                repository = Some(name.repository.clone());
                self.referrers.clear();
                tagged.clear();
            }
            match &name.reference {
                Reference::Tag(_) => {
                    tagged.insert(leaf.sha256);
                }
                // Its tags have said it.
                Reference::Digest(digest) if tagged.contains(digest) => continue,
                Reference::Digest(_) => {}
            }
            let damaged = self.image(&name, leaf.sha256);
            if !damaged.is_empty() {
                self.audit.touched.push(Touched {
                    name,
                    damaged: damaged.into_iter().collect(),
                });
            }
        }
    }

    /// What of an image cannot be had.
    fn image(&mut self, name: &ImageName, target: Sha256) -> BTreeSet<Sha256> {
        let mut bad = BTreeSet::new();
        let mut seen = BTreeSet::from([target]);
        let mut waiting = vec![(target, target)];
        while let Some((digest, from)) = waiting.pop() {
            if seen.len() > MAX_MANIFESTS {
                self.unreadable(&too_many(self.disk, name));
                break;
            }
            let mut next = self.referrers_of(&name.repository, &digest);
            if let Some(known) = self.manifest(digest, from) {
                bad.extend(known.bad.iter().copied());
                next.extend(known.children.iter().copied());
            }
            waiting.extend(
                next.into_iter()
                    .filter(|next| seen.insert(*next))
                    .map(|next| (next, digest)),
            );
        }
        bad
    }

    fn referrers_of(&mut self, repository: &Repository, subject: &Sha256) -> Vec<Sha256> {
        if let Some(known) = self.referrers.get(subject) {
            return known.clone();
        }
        let found = match self.disk.referrers(repository, subject) {
            Ok(found) => found.into_iter().map(|blob| blob.sha256).collect(),
            Err(e) => {
                self.unreadable(&e.into());
                Vec::new()
            }
        };
        self.referrers.insert(*subject, found.clone());
        found
    }

    fn manifest(&mut self, digest: Sha256, from: Sha256) -> Option<Arc<Known>> {
        if let Some(known) = self.known.get(&digest) {
            return known.clone();
        }
        let known = self.read(digest, from);
        let known = (!known.children.is_empty() || !known.bad.is_empty()).then(|| Arc::new(known));
        self.known.insert(digest, known.clone());
        known
    }

    fn read(&mut self, digest: Sha256, from: Sha256) -> Known {
        let itself = || Known {
            children: Vec::new(),
            bad: vec![digest],
        };
        let blob = match self.disk.blob(&digest) {
            Ok(Some(blob)) => blob,
            Ok(None) => {
                return if self.is_missing(digest, from) {
                    itself()
                } else {
                    Known::default()
                };
            }
            Err(e) => {
                self.unreadable(&e.into());
                return itself();
            }
        };
        let found = if blob.media_type.is_empty() {
            Ok((Vec::new(), Vec::new()))
        } else {
            references(self.disk, &blob)
        };
        let (children, blobs) = match found {
            Ok(found) => found,
            Err(e) => {
                if !self.damaged.contains(&digest) {
                    self.unreadable(&e);
                }
                return itself();
            }
        };
        let mut bad: Vec<Sha256> = blobs
            .into_iter()
            .filter(|blob| self.is_bad(*blob, digest))
            .collect();
        if self.damaged.contains(&digest) {
            bad.push(digest);
        }
        Known { children, bad }
    }

    /// Whether a blob cannot be had though it should be there.
    fn is_bad(&mut self, digest: Sha256, from: Sha256) -> bool {
        if self.damaged.contains(&digest) {
            return true;
        }
        match self.disk.blob(&digest) {
            Ok(Some(_)) => false,
            Ok(None) => self.is_missing(digest, from),
            Err(e) => {
                self.unreadable(&e.into());
                true
            }
        }
    }

    /// Whether what is not on the disk was not left out either.
    fn is_missing(&mut self, digest: Sha256, from: Sha256) -> bool {
        match self.disk.is_absent(&digest) {
            Ok(true) => return false,
            Ok(false) => {
                self.audit.missing.entry(digest).or_insert(from);
            }
            Err(e) => self.unreadable(&e.into()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_types::OCI_MANIFEST;
    use holdall::generation::{self, Labels};
    use holdall::ingest::{Ingest, IngestOptions};
    use holdall::medium::{DirectoryMedium, Medium};
    use holdall::monitor::Silent;
    use holdall::reader::OpenOptions;

    /// A disk of one image: two layers, of which one is carried, and one is `left` out or simply not there.
    fn disk(left_out: bool) -> (tempfile::TempDir, Disk, [Sha256; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::create(&folder.path().join("disk")).unwrap());
        let labels = Labels {
            origin: "o".into(),
            series: "s".into(),
        };
        generation::init(medium.as_ref(), &labels, &holdall::custody::Witness::unnamed(), 0).unwrap();
        let options = IngestOptions {
            witness: holdall::custody::Witness::unnamed(),
            level: holdall::pack::Level::default(),
            state: folder.path().join("state"),
            interrupted: Arc::default(),
        };
        let ingest = Ingest::open(Arc::clone(&medium), &options, Arc::new(Silent)).unwrap();
        let (carried, other) = (Sha256::of(b"carried"), Sha256::of(b"other"));
        let layer = |digest: Sha256, size| serde_json::json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.to_digest(), "size": size });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer(carried, 7),
            "layers": [layer(carried, 7), layer(other, 5)],
        });
        let bytes = manifest.to_string().into_bytes();
        let blob = ingest.store_small(b"carried", None, "a layer").unwrap();
        ingest.put_blob(&blob, None).unwrap();
        let blob = ingest.store_small(&bytes, None, "a manifest").unwrap();
        ingest.put_blob(&blob, Some(OCI_MANIFEST)).unwrap();
        ingest
            .put_image(&ImageName::parse("h.x/a:1").unwrap(), &blob, OCI_MANIFEST)
            .unwrap();
        if left_out {
            ingest.put_absent(&other, 5, "").unwrap();
        }
        ingest.commit().unwrap();
        let disk = Disk::open(medium, &OpenOptions::default()).unwrap();
        (folder, disk, [Sha256::of(&bytes), carried, other])
    }

    #[test]
    fn what_was_left_out_is_no_damage() {
        let (_folder, disk, [manifest, carried, other]) = disk(true);
        let audit = touched(&disk, &BTreeSet::new());
        assert!(audit.is_whole() && audit.touched.is_empty(), "{audit:?}");
        let image = disk.images(None, None).next().unwrap().unwrap();
        let reached = reach(&disk, &image).unwrap();
        assert_eq!(
            reached.present.keys().copied().collect::<BTreeSet<_>>(),
            BTreeSet::from([manifest, carried])
        );
        assert_eq!(reached.absent, BTreeSet::from([other]));
    }

    #[test]
    fn an_image_is_named_with_what_is_damaged_and_what_is_missing() {
        let (_folder, disk, [manifest, carried, other]) = disk(false);
        let audit = touched(&disk, &BTreeSet::from([carried]));
        assert_eq!(audit.missing, BTreeMap::from([(other, manifest)]));
        let names: Vec<String> = audit
            .touched
            .iter()
            .map(|touched| touched.name.to_string())
            .collect();
        assert_eq!(names, ["h.x/a:1"]);
        let damaged: BTreeSet<Sha256> = audit
            .touched
            .iter()
            .flat_map(|touched| touched.damaged.clone())
            .collect();
        assert_eq!(damaged, BTreeSet::from([carried, other]));
        let image = disk.images(None, None).next().unwrap().unwrap();
        assert!(matches!(reach(&disk, &image), Err(Error::Missing { .. })));
    }
}
