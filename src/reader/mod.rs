//! The inner flow: an opened generation, its look-ups, and verified bytes out of it.
//!
//! Never uses the outer flow: they meet on the medium. Opening reads the superblock, ROOT and the
//! catalogue's top page, whatever the size of the disk.

mod chain;
mod frames;
mod hot;
mod patient;

pub use frames::CacheFigures;

pub use crate::blob::{BlobReader, Piece};
use crate::blob::{FrameSource, RemadeCache};
use crate::catalogue::CatalogueReader;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf, repository_key, sort_key};
use crate::format::content::Content;
use crate::format::root::Root;
use crate::generation::{self, Current};
use crate::ids::{BlobId, PageHash, Sha256};
use crate::index::RebuiltWindows;
use crate::medium::Medium;
use crate::name::{ImageName, Reference, Repository};
pub use crate::tree::{
    Directory, Entries, Entry, Found, LinkGroup, Links, Marks, Metadata, Node, Rooted, SpecialKind,
};
use crate::units::{Generation, index64};
use bytes::Bytes;
pub use chain::{Chain, Layer, RootFilesystem};
use frames::CachedFrames;
use patient::PatientMedium;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to open a disk.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Open this generation instead of the newest.
    pub generation: Option<Generation>,
    /// Bytes of verified plaintext kept in memory.
    pub cache_bytes: u64,
    /// Longest time one read of the medium may take.
    pub read_deadline: Duration,
    /// Keep layers that were made again on the node's own disk as well.
    pub rebuilt: Option<RebuiltOptions>,
}

/// Where layers that were made again are kept.
#[derive(Debug, Clone)]
pub struct RebuiltOptions {
    /// A folder of its own, which one process at a time may use.
    pub folder: PathBuf,
    /// About how many bytes it may take; the oldest make room.
    pub most_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            generation: None,
            cache_bytes: 64 * 1024 * 1024,
            read_deadline: Duration::from_secs(30),
            rebuilt: None,
        }
    }
}

/// An opened generation of a medium: all look-ups and reads. Cheap to clone; pins its generation.
#[derive(Clone, Debug)]
pub struct Disk {
    inner: Arc<DiskInner>,
}

#[derive(Debug)]
struct DiskInner {
    medium: Arc<dyn Medium>,
    root: Root,
    root_hash: PageHash,
    warnings: Vec<String>,
    catalogue: CatalogueReader,
    frames: Arc<CachedFrames>,
}

/// An image by name: its target is a manifest or index of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name.
    pub name: ImageName,
    /// The manifest or index: its SHA-256 is the image's digest, its media type is never empty.
    pub target: Blob,
}

/// A blob of the catalogue. Manifests and indexes are blobs with a media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// BLAKE3 of the bytes.
    pub blob_id: BlobId,
    /// Length in bytes.
    pub size: u64,
    /// The media type of a manifest or index; empty for configs, layers and whatever else.
    pub media_type: String,
    content: Content,
}

impl Blob {
    fn of(leaf: Leaf) -> Self {
        Self {
            sha256: leaf.sha256,
            blob_id: leaf.blob_id,
            size: leaf.size,
            media_type: leaf.media_type,
            content: leaf.content,
        }
    }
}

impl Disk {
    /// Opens the newest committed generation, or the one that is asked for.
    pub fn open(medium: Arc<dyn Medium>, options: &OpenOptions) -> Result<Self> {
        let patient: Arc<dyn Medium> =
            Arc::new(PatientMedium::start(Arc::clone(&medium), options.read_deadline)?);
        let current = generation::current(patient.as_ref(), options.generation)?;
        Self::with(medium, patient, current, options)
    }

    /// Opens the generation whose ROOT was read already, and whatever the medium has there now is held against it.
    pub fn at(medium: Arc<dyn Medium>, current: Current, options: &OpenOptions) -> Result<Self> {
        let patient: Arc<dyn Medium> =
            Arc::new(PatientMedium::start(Arc::clone(&medium), options.read_deadline)?);
        Self::with(medium, patient, current, options)
    }

    fn with(
        medium: Arc<dyn Medium>,
        patient: Arc<dyn Medium>,
        current: Current,
        options: &OpenOptions,
    ) -> Result<Self> {
        let catalogue = CatalogueReader::open(Arc::clone(&patient), &current.root)?;
        let remade = match &options.rebuilt {
            Some(kept) => RemadeCache::on_disk(RebuiltWindows::open(&kept.folder, kept.most_bytes)?),
            None => RemadeCache::default(),
        };
        let frames = CachedFrames::start(
            medium,
            Arc::clone(&patient),
            options.cache_bytes,
            options.read_deadline,
            remade,
        )?;
        let inner = DiskInner {
            medium: patient,
            root: current.root,
            root_hash: current.root_hash,
            warnings: current.warnings,
            catalogue,
            frames: Arc::new(frames),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What ROOT says.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.inner.root
    }

    /// BLAKE3 of ROOT: what an operator trusts a disk by.
    #[must_use]
    pub fn root_hash(&self) -> PageHash {
        self.inner.root_hash
    }

    /// What is wrong with the medium, though this generation can be read.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// The medium's name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.inner.medium.name()
    }

    /// The medium beneath, whose reads have the deadline of the disk's.
    #[must_use]
    pub fn medium(&self) -> &Arc<dyn Medium> {
        &self.inner.medium
    }

    /// What the cache holds and has done.
    #[must_use]
    pub fn cache_figures(&self) -> CacheFigures {
        self.inner.frames.figures()
    }

    fn image_of(&self, leaf: Leaf) -> Result<Image> {
        let name = ImageName::parse(&leaf.name).map_err(|e| self.malformed(&leaf.name, &e.to_string()))?;
        if leaf.media_type.is_empty() {
            return Err(self.malformed(&leaf.name, "an image without a media type"));
        }
        if matches!(&name.reference, Reference::Digest(digest) if *digest != leaf.sha256) {
            return Err(self.malformed(&leaf.name, "it stands for another digest than it names"));
        }
        Ok(Image {
            name,
            target: Blob::of(leaf),
        })
    }

    fn malformed(&self, name: &str, why: &str) -> Error {
        Error::malformed(format!("{}: catalogue: {name}", self.name()), why)
    }

    /// The image of that name.
    pub fn image(&self, name: &ImageName) -> Result<Option<Image>> {
        let found = self.inner.catalogue.get(Kind::Image, &name.to_string())?;
        found.map(|(_, leaf)| self.image_of(leaf)).transpose()
    }

    /// Images in order of name (repository, then tags, then digests), of one repository or of all,
    /// strictly after `after` (which need not exist). Pages are read as the iterator goes.
    #[must_use]
    pub fn images(&self, repository: Option<&Repository>, after: Option<&ImageName>) -> Images {
        let start = match (after, repository) {
            (Some(name), _) => {
                let mut key = sort_key(Kind::Image, &name.to_string());
                key.push(0);
                key
            }
            (None, Some(repository)) => repository_key(repository.as_str()),
            (None, None) => vec![Kind::Image.tag()],
        };
        Images {
            walk: Walk::new(self, start),
            repository: repository.cloned(),
        }
    }

    /// Repositories in byte order, strictly after `after`: one look-up each, however many tags it has.
    #[must_use]
    pub fn repositories(&self, after: Option<&Repository>) -> Repositories {
        Repositories {
            disk: self.clone(),
            next: Some(after.map_or_else(|| vec![Kind::Image.tag()], past_repository)),
        }
    }

    /// Manifests in `repository` whose subject is that digest, in order of digest.
    pub fn referrers(&self, repository: &Repository, subject: &Sha256) -> Result<Vec<Blob>> {
        let prefix = format!("{repository}@{}/", subject.to_digest());
        let mut walk = Walk::new(self, sort_key(Kind::Referrer, &prefix));
        let mut found = Vec::new();
        while let Some(leaf) = walk.next(self)? {
            if leaf.kind != Kind::Referrer || !leaf.name.starts_with(&prefix) {
                break;
            }
            found.push(Blob::of(leaf));
        }
        Ok(found)
    }

    /// The blob of that digest.
    pub fn blob(&self, digest: &Sha256) -> Result<Option<Blob>> {
        Ok(self.blob_leaf(digest)?.map(|(_, blob)| blob))
    }

    fn blob_leaf(&self, digest: &Sha256) -> Result<Option<(u64, Blob)>> {
        let found = self.inner.catalogue.get(Kind::Blob, &digest.to_digest())?;
        match found {
            Some((_, leaf)) if leaf.sha256 != *digest => {
                Err(self.malformed(&leaf.name, "listed under another digest's name"))
            }
            Some((position, leaf)) => Ok(Some((position, Blob::of(leaf)))),
            None => Ok(None),
        }
    }

    /// Whether that digest was left out on purpose: referred to, but not carried.
    pub fn is_absent(&self, digest: &Sha256) -> Result<bool> {
        Ok(self
            .inner
            .catalogue
            .get(Kind::Absent, &digest.to_digest())?
            .is_some())
    }

    /// Number of blobs; [`Disk::blob_at`] counts them from 0 in order of SHA-256.
    pub fn blob_count(&self) -> Result<u64> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Blob)?;
        Ok(end - start)
    }

    /// The blob at a position.
    pub fn blob_at(&self, position: u64) -> Result<Option<Blob>> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Blob)?;
        let Some(at) = start.checked_add(position).filter(|at| *at < end) else {
            return Ok(None);
        };
        Ok(self.inner.catalogue.at(at)?.map(Blob::of))
    }

    /// The blob of that digest and its position.
    pub fn blob_position(&self, digest: &Sha256) -> Result<Option<(u64, Blob)>> {
        let Some((at, blob)) = self.blob_leaf(digest)? else {
            return Ok(None);
        };
        let (start, _) = self.inner.catalogue.range_of(Kind::Blob)?;
        Ok(Some((at.saturating_sub(start), blob)))
    }

    /// The blob's bytes.
    #[must_use]
    pub fn open_blob(&self, blob: &Blob) -> BlobReader {
        let source: Arc<dyn FrameSource> = Arc::clone(&self.inner.frames) as Arc<dyn FrameSource>;
        BlobReader::of_blob(
            source,
            (blob.sha256, blob.blob_id),
            blob.size,
            blob.content.clone(),
        )
    }

    /// The whole of a small blob (a manifest, index or config); refused past `limit` bytes.
    pub fn read_small(&self, blob: &Blob, limit: u64) -> Result<Bytes> {
        if blob.size > limit {
            return Err(Error::refused(format!(
                "{}: {} bytes, where at most {limit} are expected",
                blob.sha256.to_digest(),
                blob.size
            )));
        }
        let reader = self.open_blob(blob);
        let mut bytes = vec![0; index64(blob.size)];
        let read = reader.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }

    /// The leaf of that kind and name, its position, and its audit path up to ROOT's tree hash.
    pub fn leaf_with_path(&self, kind: Kind, name: &str) -> Result<Option<(u64, Leaf, Vec<Sha256>)>> {
        let Some((position, leaf)) = self.inner.catalogue.get(kind, name)? else {
            return Ok(None);
        };
        let path = self.inner.catalogue.audit_path(position)?;
        Ok(Some((position, leaf, path)))
    }

    /// The tree of loose files; `None` where the disk has none.
    pub fn files(&self) -> Result<Option<Directory>> {
        let Some((_, leaf)) = self.inner.catalogue.get(Kind::Files, "files")? else {
            return Ok(None);
        };
        let Content::Tree(tree) = leaf.content else {
            return Err(self.malformed(&leaf.name, "its content is no tree"));
        };
        let metadata = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime_sec: self.root().time,
            mtime_nsec: 0,
            xattrs: Vec::new(),
        };
        Ok(Some(Directory::top(
            Arc::clone(&self.inner.frames) as Arc<dyn FrameSource>,
            tree,
            metadata,
        )))
    }
}

/// The key past all of a repository's images.
fn past_repository(repository: &Repository) -> Vec<u8> {
    let mut key = repository_key(repository.as_str());
    key.pop();
    key.push(1);
    key
}

/// Leaves from a key on, a page's worth at a time.
#[derive(Debug)]
struct Walk {
    disk: Disk,
    start: Option<Vec<u8>>,
    position: u64,
    held: VecDeque<Leaf>,
}

impl Walk {
    fn new(disk: &Disk, start: Vec<u8>) -> Self {
        Self {
            disk: disk.clone(),
            start: Some(start),
            position: 0,
            held: VecDeque::new(),
        }
    }

    fn next(&mut self, disk: &Disk) -> Result<Option<Leaf>> {
        let catalogue = &disk.inner.catalogue;
        if let Some(start) = self.start.take() {
            self.position = catalogue.lower_bound(&start)?;
        }
        if self.held.is_empty() {
            for leaf in catalogue.leaves_from(self.position).take(64) {
                self.held.push_back(leaf?);
                self.position += 1;
            }
        }
        Ok(self.held.pop_front())
    }
}

/// Images in order; ends after the first error.
#[derive(Debug)]
pub struct Images {
    walk: Walk,
    repository: Option<Repository>,
}

impl Iterator for Images {
    type Item = Result<Image>;

    fn next(&mut self) -> Option<Self::Item> {
        let disk = self.walk.disk.clone();
        let image = match self.walk.next(&disk) {
            Ok(leaf) => disk.image_of(leaf.filter(|leaf| leaf.kind == Kind::Image)?),
            Err(e) => Err(e),
        };
        match image {
            Ok(image)
                if self
                    .repository
                    .as_ref()
                    .is_some_and(|r| *r != image.name.repository) =>
            {
                None
            }
            Ok(image) => Some(Ok(image)),
            Err(e) => {
                self.walk.held.clear();
                self.walk.position = u64::MAX;
                Some(Err(e))
            }
        }
    }
}

/// Repositories in order; ends after the first error.
#[derive(Debug)]
pub struct Repositories {
    disk: Disk,
    next: Option<Vec<u8>>,
}

impl Iterator for Repositories {
    type Item = Result<Repository>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.next.take()?;
        let found = self
            .disk
            .inner
            .catalogue
            .lower_bound(&key)
            .and_then(|at| self.disk.inner.catalogue.at(at));
        let image = match found {
            Ok(leaf) => self.disk.image_of(leaf.filter(|l| l.kind == Kind::Image)?),
            Err(e) => Err(e),
        };
        Some(image.map(|image| {
            self.next = Some(past_repository(&image.name.repository));
            image.name.repository
        }))
    }
}
