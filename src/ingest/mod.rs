//! The outer flow: bytes come in, become chunks, frames and packs, and are committed as one generation.
//!
//! Owns the order of a run: lock, adopt what an interrupted run left, take things in, commit. Never
//! uses the reader's flow: they meet on the medium.

mod blob;
mod chain;
mod commit;
mod files;
mod folder;
mod frames;
mod hashing;
mod hot;
mod layer;
mod likeness;
mod open;
mod pipeline;
mod recipe;
mod record;
mod reindex;
mod rooted;
mod route;
mod stored;
mod ticket;

pub use blob::BlobWriter;
pub use chain::{StoredTree, layer_name};
pub use commit::Committed;
pub use files::FilesAdded;
pub use hot::{HotList, Runnable};
pub use layer::{LayerFault, LayerWriter};
pub use open::IngestOptions;
pub use reindex::{Reindexed, reindex};
pub use stored::StoredBlob;

use crate::blob::{BlobReader, BlobStream, FrameSource};
use crate::catalogue::CatalogueReader;
use crate::custody::Witness;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf, sort_key};
use crate::format::codec::Decoder;
use crate::format::content::{Content, ListRef};
use crate::format::frame::FrameKind;
use crate::format::pack::SetRecord;
use crate::generation::Current;
use crate::ids::{BlobId, ChunkId, PageHash, Sha256};
use crate::medium::MediumLock;
use crate::monitor::Monitor;
use crate::name::{ImageName, Repository};
use crate::pack::Level;
use crate::units::{Generation, PackNumber};
use frames::FrameBuilder;
use parking_lot::{Mutex, RwLock};
use pipeline::{Belt, Pipeline};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stored::Made;
use ticket::Pending;

/// What `put_image` did to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChange {
    /// The name is new.
    New,
    /// The name pointed there already.
    Same,
    /// The name pointed at another digest before, which stays readable by digest.
    Moved {
        /// That digest.
        old: Sha256,
    },
}

/// A change to the catalogue, by sort key.
#[derive(Debug, Clone)]
enum Edit {
    Put {
        kind: Kind,
        name: String,
        media_type: String,
        blob: StoredBlob,
    },
    Leaf(Box<Leaf>),
}

/// The frames that many blobs share.
#[derive(Debug)]
struct Shared {
    plain: FrameBuilder,
    pages: FrameBuilder,
    records: FrameBuilder,
    tree_plain: FrameBuilder,
    tree_pages: FrameBuilder,
}

#[derive(Debug)]
struct Inner {
    belt: Arc<Belt>,
    monitor: Arc<dyn pipeline::MonitorDebug>,
    pipeline: RwLock<Option<Pipeline>>,
    shared: Mutex<Shared>,
    current: Current,
    catalogue: CatalogueReader,
    source: Arc<dyn FrameSource>,
    edits: Mutex<BTreeMap<Vec<u8>, Edit>>,
    /// What is stored once more for hot lists.
    again: hot::StoredAgain,
    /// Packs that the next generation lists besides those of this run.
    packs: Vec<SetRecord>,
    /// The first pack number that this run may use.
    first_pack: PackNumber,
    /// The generation number that this run would use.
    first_generation: Generation,
    interrupted: Arc<AtomicBool>,
    witness: Witness,
}

/// One writing run on a medium: everything added becomes durable at [`Ingest::commit`], together, or
/// not at all. All methods may be called from several threads, each with blob writers of its own.
#[derive(Debug)]
pub struct Ingest {
    inner: Arc<Inner>,
    _lock: Box<dyn MediumLock>,
}

impl Inner {
    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn with_pipeline<T>(&self, call: impl FnOnce(&Belt, &Pipeline) -> Result<T>) -> Result<T> {
        match self.pipeline.read().as_ref() {
            Some(pipeline) => call(&self.belt, pipeline),
            None => Err(Error::refused("the run has ended")),
        }
    }

    /// A chunk that is on the medium, or on its way to it.
    fn find_chunk(&self, id: &ChunkId, len: u32) -> Result<Option<Pending>> {
        if let Some((pending, found)) = self.belt.open.lock().get(id)
            && *found == len
        {
            return Ok(Some(pending.clone()));
        }
        if let Some(pending) = self.shared.lock().plain.find(id) {
            return Ok(Some(pending));
        }
        let known = self.belt.index.chunk(id)?;
        Ok(known.filter(|k| k.len == len).map(|k| Pending::Known(k.place)))
    }

    fn add_page(&self, bytes: &[u8]) -> Result<Pending> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| shared.pages.add_page(bytes, belt, pipeline))
    }

    fn add_tree_page(&self, bytes: &[u8]) -> Result<Pending> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| shared.tree_pages.add_page(bytes, belt, pipeline))
    }

    fn flush_tree_pages(&self) -> Result<()> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| shared.tree_pages.submit(belt, pipeline))
    }

    fn flush_plain(&self) -> Result<()> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| {
            shared.plain.submit(belt, pipeline)?;
            shared.tree_plain.submit(belt, pipeline)
        })
    }

    fn flush_pages(&self) -> Result<()> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| shared.pages.submit(belt, pipeline))
    }

    fn flush_records(&self) -> Result<()> {
        let mut shared = self.shared.lock();
        self.with_pipeline(|belt, pipeline| shared.records.submit(belt, pipeline))
    }

    /// Sees to it that every place in these blobs is known.
    fn place_all(&self, blobs: &[StoredBlob]) -> Result<()> {
        if blobs.iter().all(StoredBlob::is_placed) {
            return Ok(());
        }
        self.flush_plain()?;
        for blob in blobs {
            let made = blob.made.lock().clone();
            let better = match made {
                Made::Chunk(id, pending) => {
                    let list = ListRef {
                        depth: 0,
                        hash: PageHash::from_bytes(*id.as_bytes()),
                        place: self.belt.wait(&pending)?,
                    };
                    Made::Ready(Content::List(list))
                }
                Made::Page(entries) => {
                    let written = self.write_list_page(0, &entries)?;
                    Made::Written {
                        depth: 1,
                        hash: PageHash::from_bytes(written.hash),
                        pending: written.pending,
                    }
                }
                other => other,
            };
            blob.improve(better);
        }
        self.flush_pages()?;
        for blob in blobs {
            let made = blob.made.lock().clone();
            if let Made::Written { depth, hash, pending } = made {
                let list = ListRef {
                    depth,
                    hash,
                    place: self.belt.wait(&pending)?,
                };
                blob.improve(Made::Ready(Content::List(list)));
            }
        }
        Ok(())
    }

    fn put(&self, kind: Kind, name: String, media_type: &str, blob: &StoredBlob) {
        let key = sort_key(kind, &name);
        self.edits.lock().insert(
            key,
            Edit::Put {
                kind,
                name,
                media_type: media_type.to_owned(),
                blob: blob.clone(),
            },
        );
    }
}

fn leaf_of(kind: Kind, name: &str, media_type: &str, blob: &StoredBlob, content: Content) -> Leaf {
    Leaf {
        kind,
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        sha256: blob.sha256,
        blob_id: blob.blob_id,
        size: blob.size,
        content,
    }
}

fn blob_of(leaf: &Leaf) -> StoredBlob {
    StoredBlob::new(
        leaf.sha256,
        leaf.blob_id,
        leaf.size,
        Made::Ready(leaf.content.clone()),
    )
}

impl Ingest {
    /// Where progress goes.
    #[must_use]
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        Arc::new(pipeline::Shown(
            Arc::clone(&self.inner.monitor) as Arc<dyn Monitor>
        ))
    }

    /// The ROOT of the generation that the run began with.
    #[must_use]
    pub fn root(&self) -> &crate::format::root::Root {
        &self.inner.current.root
    }

    /// The medium's name, for messages.
    #[must_use]
    pub fn medium_name(&self) -> String {
        self.inner.belt.medium.name()
    }

    /// Bytes that the medium can still take; `None` where that is not known.
    pub fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.belt.medium.free_bytes()
    }

    /// How much work this run puts into taking less space.
    #[must_use]
    pub fn level(&self) -> Level {
        self.inner.belt.level()
    }

    /// True once the operator asked to stop: long loops check it and return [`Error::Interrupted`].
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.inner.is_interrupted()
    }

    /// The blob, if the medium has it already: committed, of this run, or of an interrupted one.
    pub fn known_blob(&self, digest: &Sha256) -> Result<Option<StoredBlob>> {
        let name = digest.to_digest();
        if let Some(Edit::Put { blob, .. }) = self.inner.edits.lock().get(&sort_key(Kind::Blob, &name)) {
            return Ok(Some(blob.clone()));
        }
        if let Some((_, leaf)) = self.inner.catalogue.get(Kind::Blob, &name)? {
            return Ok(Some(blob_of(&leaf)));
        }
        let Some(record) = self.inner.belt.index.record(digest)? else {
            return Ok(None);
        };
        let place = "a record of the host index";
        let leaf = Leaf::decode(&mut Decoder::new(&record, place))?;
        Ok((leaf.sha256 == *digest).then(|| blob_of(&leaf)))
    }

    /// The bytes of a known small blob, such as a manifest of an earlier run; refused past `limit`.
    pub fn read_known(&self, blob: &StoredBlob, limit: u64) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(Error::refused(format!(
                "{}: {} bytes, where at most {limit} are expected",
                blob.sha256.to_digest(),
                blob.size
            )));
        }
        self.inner.place_all(std::slice::from_ref(blob))?;
        let content = blob
            .content()
            .ok_or_else(|| Error::refused("a blob has no place"))?;
        blob::read_small(&BlobReader::of_blob(
            Arc::clone(&self.inner.source),
            (blob.sha256, blob.blob_id),
            blob.size,
            content,
        ))
    }

    /// The bytes of a known blob, from its first on.
    pub fn open_known(&self, blob: &StoredBlob) -> Result<BlobStream> {
        self.inner.place_all(std::slice::from_ref(blob))?;
        let content = blob
            .content()
            .ok_or_else(|| Error::refused("a blob has no place"))?;
        Ok(BlobStream::new(BlobReader::of_blob(
            Arc::clone(&self.inner.source),
            (blob.sha256, blob.blob_id),
            blob.size,
            content,
        )))
    }

    /// A writer for one blob.
    #[must_use]
    pub fn blob_writer(&self) -> BlobWriter {
        BlobWriter::of(&self.inner)
    }

    /// Stores a small blob in one call; checks it against `expected` where given, naming `place`.
    pub fn store_small(&self, bytes: &[u8], expected: Option<&Sha256>, place: &str) -> Result<StoredBlob> {
        blob::store_small(self, bytes, expected, place)
    }

    /// Lists the blob in the catalogue. `media_type` is for manifests and indexes only.
    pub fn put_blob(&self, blob: &StoredBlob, media_type: Option<&str>) -> Result<()> {
        let name = blob.sha256.to_digest();
        let mut media_type = media_type.unwrap_or_default().to_owned();
        check_media_type(&media_type)?;
        // What is known to be a manifest stays one, though it now comes along as something else too.
        if media_type.is_empty() {
            let key = sort_key(Kind::Blob, &name);
            if let Some(Edit::Put {
                media_type: known, ..
            }) = self.inner.edits.lock().get(&key)
            {
                media_type.clone_from(known);
            } else if let Some((_, leaf)) = self.inner.catalogue.get(Kind::Blob, &name)? {
                media_type = leaf.media_type;
            }
        }
        self.inner.edits.lock().remove(&sort_key(Kind::Absent, &name));
        self.inner.put(Kind::Blob, name, &media_type, blob);
        Ok(())
    }

    /// Says that a digest is referred to but left out on purpose; nothing where it is carried.
    pub fn put_absent(&self, digest: &Sha256, size: u64, media_type: &str) -> Result<()> {
        check_media_type(media_type)?;
        if self.known_listed(digest)? {
            return Ok(());
        }
        let leaf = Leaf {
            kind: Kind::Absent,
            name: digest.to_digest(),
            media_type: media_type.to_owned(),
            sha256: *digest,
            blob_id: BlobId::default(),
            size,
            content: Content::Nothing,
        };
        self.inner
            .edits
            .lock()
            .insert(leaf.sort_key(), Edit::Leaf(Box::new(leaf)));
        Ok(())
    }

    fn known_listed(&self, digest: &Sha256) -> Result<bool> {
        let name = digest.to_digest();
        let edited = self.inner.edits.lock().contains_key(&sort_key(Kind::Blob, &name));
        Ok(edited || self.inner.catalogue.get(Kind::Blob, &name)?.is_some())
    }

    /// Points a name at a manifest or index, and lists that one by digest in the same repository.
    pub fn put_image(&self, name: &ImageName, target: &StoredBlob, media_type: &str) -> Result<NameChange> {
        check_media_type(media_type)?;
        let text = name.to_string();
        let edited = match self.inner.edits.lock().get(&sort_key(Kind::Image, &text)) {
            Some(Edit::Put { blob, .. }) => Some(blob.sha256),
            _ => None,
        };
        let before = match edited {
            Some(digest) => Some(digest),
            None => self.committed_image(name)?,
        };
        let by_digest = ImageName::by_digest(&name.repository, target.sha256);
        self.inner
            .put(Kind::Image, by_digest.to_string(), media_type, target);
        self.inner.put(Kind::Image, text, media_type, target);
        Ok(match before {
            None => NameChange::New,
            Some(old) if old == target.sha256 => NameChange::Same,
            Some(old) => NameChange::Moved { old },
        })
    }

    /// What the name points at in the generation that the run began with.
    pub fn committed_image(&self, name: &ImageName) -> Result<Option<Sha256>> {
        Ok(self
            .inner
            .catalogue
            .get(Kind::Image, &name.to_string())?
            .map(|(_, leaf)| leaf.sha256))
    }

    /// Records that `referrer`, a manifest stored and put, has `subject` in `repository`.
    pub fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Sha256,
        referrer: &StoredBlob,
        media_type: &str,
    ) -> Result<()> {
        check_media_type(media_type)?;
        let name = referrer_name(repository, subject, &referrer.sha256);
        self.inner.put(Kind::Referrer, name, media_type, referrer);
        Ok(())
    }
}

/// A referrer's name in the catalogue (FORMAT.md 9.1).
#[must_use]
pub fn referrer_name(repository: &Repository, subject: &Sha256, referrer: &Sha256) -> String {
    format!("{repository}@{}/{}", subject.to_digest(), referrer.to_digest())
}

fn check_media_type(text: &str) -> Result<()> {
    let valid =
        text.len() <= crate::format::catalogue::MEDIA_TYPE_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if valid {
        Ok(())
    } else {
        Err(Error::refused(format!(
            "not a media type: {:?}",
            text.chars().take(300).collect::<String>()
        )))
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            plain: FrameBuilder::new(FrameKind::Plaintext),
            pages: FrameBuilder::new(FrameKind::Pages),
            records: FrameBuilder::new(FrameKind::Records),
            tree_plain: FrameBuilder::new(FrameKind::Plaintext).of_tree(),
            tree_pages: FrameBuilder::new(FrameKind::Pages).of_tree(),
        }
    }
}
