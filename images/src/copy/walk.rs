//! From an image's manifest or index to all that is carried with it: children, configs, layers, and what
//! refers to any of them. Goes level by level, with no recursion; each digest is visited once.

use super::trees::Stack;
use super::{check_interrupted, check_known, platforms};
use crate::image_source::ImageSource;
use crate::manifest::{Content, Descriptor, DescriptorPlatform, Document, MAX_MANIFEST};
use crate::naming::{COSIGN_ENDINGS, schema_tag};
use crate::platform::Platform;
use crate::pool::in_parallel;
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, StoredBlob};
use holdall::name::Repository;
use holdall::units::{index64, len64};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

/// Levels of indexes within indexes.
const MAX_LEVELS: usize = 8;
/// Levels of what refers to what refers to an image.
const MAX_REFERRER_LEVELS: usize = 4;
/// Manifests and indexes of one image, all that comes along included.
const MAX_MANIFESTS: usize = 20_000;
/// Configs and layers of one image, all that comes along included.
const MAX_BLOBS: usize = 200_000;
/// Longest text of embedded bytes that is kept instead of asking the source.
const MAX_EMBEDDED: usize = 1024;

/// A manifest or index that is carried.
#[derive(Debug)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// What messages call it.
    pub place: String,
    stored: Option<StoredBlob>,
}

/// All that is carried with one image.
#[derive(Debug, Default)]
pub struct Graph {
    /// Manifests and indexes by digest.
    pub manifests: BTreeMap<Sha256, Manifest>,
    /// Configs and layers by digest.
    pub blobs: BTreeMap<Sha256, Descriptor>,
    /// What is referred to and left out, by digest.
    pub absent: BTreeMap<Sha256, Descriptor>,
    /// Pairs of a subject and the manifest that says it is about it.
    pub referrers: BTreeSet<(Sha256, Sha256)>,
    /// Tags of the same repository, and what they stand for.
    pub tags: BTreeMap<String, Sha256>,
    /// The manifests that are container images, with their configs and layers.
    pub stacks: BTreeMap<Sha256, Stack>,
    /// The children of each index, in its order.
    pub children: BTreeMap<Sha256, Vec<Sha256>>,
}

impl Graph {
    /// A manifest as the store has it, and its media type.
    pub fn stored(&self, digest: &Sha256, place: &str) -> Result<(&StoredBlob, &str)> {
        let manifest = self.manifests.get(digest);
        let found =
            manifest.and_then(|manifest| Some((manifest.stored.as_ref()?, manifest.media_type.as_str())));
        found.ok_or_else(|| Error::missing(format!("{place}: manifest {}", digest.to_digest())))
    }
}

/// Reads manifests: from the medium where it has them, else from the source, checked.
pub struct Reader<'a> {
    /// The store.
    pub ingest: &'a Ingest,
    /// The source.
    pub source: &'a dyn ImageSource,
    /// Whether manifests are stored as they are read.
    pub store: bool,
}

impl Reader<'_> {
    /// What messages call a manifest or blob of the source.
    pub fn place(&self, digest: &Sha256) -> String {
        format!("{}: {}", self.source.place(), digest.to_digest())
    }

    /// The bytes of a manifest, and where the store has them; None where the source does not have it.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Option<(Vec<u8>, Option<StoredBlob>)>> {
        check_interrupted(self.ingest)?;
        let place = self.place(&descriptor.digest);
        if descriptor.size > MAX_MANIFEST {
            return Err(Error::too_large(
                place,
                format!("a manifest's length of {} bytes", descriptor.size),
                MAX_MANIFEST,
            ));
        }
        if let Some(known) = self.ingest.known_blob(&descriptor.digest)? {
            check_known(&known, descriptor.size, &place)?;
            return Ok(Some((self.known(&known, MAX_MANIFEST)?, Some(known))));
        }
        let Some(bytes) = self.source.manifest(descriptor)? else {
            return Ok(None);
        };
        check_bytes(&bytes, descriptor, &place)?;
        let stored = if self.store {
            Some(
                self.ingest
                    .store_small(&bytes, Some(&descriptor.digest), &place)?,
            )
        } else {
            None
        };
        Ok(Some((bytes, stored)))
    }

    /// The bytes of a small blob, checked; None where the source does not have it.
    pub fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>> {
        let place = self.place(&descriptor.digest);
        if descriptor.size > limit {
            return Err(Error::too_large(
                place,
                format!("its length of {} bytes", descriptor.size),
                limit,
            ));
        }
        if let Some(bytes) = descriptor.embedded() {
            return Ok(Some(bytes));
        }
        if let Some(known) = self.ingest.known_blob(&descriptor.digest)? {
            check_known(&known, descriptor.size, &place)?;
            return Ok(Some(self.known(&known, limit)?));
        }
        let Some(reader) = self.source.open_blob(descriptor)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(index64(descriptor.size));
        reader
            .take(descriptor.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| Error::read(&place, err))?;
        check_bytes(&bytes, descriptor, &place)?;
        Ok(Some(bytes))
    }

    /// The bytes of a known blob, checked: the chunks were, but not that they are those of this digest.
    fn known(&self, known: &StoredBlob, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.ingest.read_known(known, limit)?;
        if Sha256::of(&bytes) != known.sha256 {
            let place = format!("{}: {}", self.ingest.medium_name(), known.sha256.to_digest());
            return Err(holdall::Error::mismatch(place, "a blob").into());
        }
        Ok(bytes)
    }
}

fn check_bytes(bytes: &[u8], descriptor: &Descriptor, place: &str) -> Result<()> {
    if len64(bytes.len()) != descriptor.size {
        return Err(Error::mismatch(
            place,
            format!("{} bytes", descriptor.size),
            format!("{} bytes", bytes.len()),
        ));
    }
    let found = Sha256::of(bytes);
    if found != descriptor.digest {
        return Err(Error::mismatch(
            place,
            descriptor.digest.to_digest(),
            found.to_digest(),
        ));
    }
    Ok(())
}

/// A manifest to visit, and how it was come upon.
#[derive(Clone)]
struct Visit {
    descriptor: Descriptor,
    /// Indexes above it.
    level: usize,
    /// Subjects above it.
    referrer_level: usize,
    /// Whether `--platform` applies: to the image itself, not to what refers to it.
    filtered: bool,
    /// The manifest that the source says it is about.
    listed_for: Option<Sha256>,
    /// Whether the source may have lost it: lists of referrers can outlive what they list.
    optional: bool,
    /// Whether what names it is carried, so that its absence has to be told.
    referred: bool,
}

impl Visit {
    fn child(&self, descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            level: self.level + 1,
            listed_for: None,
            referred: true,
            ..self.clone()
        }
    }

    fn companion(&self, descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            level: 0,
            referrer_level: self.referrer_level + 1,
            filtered: false,
            listed_for: None,
            optional: true,
            referred: false,
        }
    }
}

/// What a visit found. Boxed parts are small beside the manifests themselves.
struct Found {
    media_type: String,
    stored: Option<StoredBlob>,
    subject: Option<Sha256>,
    blobs: Vec<Descriptor>,
    next: Vec<Visit>,
    left: Vec<Descriptor>,
    available: Vec<DescriptorPlatform>,
    images: usize,
    tags: Vec<(String, Sha256)>,
    stack: Option<Stack>,
    children: Option<Vec<Sha256>>,
}

/// One walk.
pub struct Walk<'a> {
    reader: &'a Reader<'a>,
    repository: &'a Repository,
    platforms: &'a [Platform],
}

impl<'a> Walk<'a> {
    /// A walk over an image that will be of `repository`.
    pub fn new(reader: &'a Reader<'a>, repository: &'a Repository, platforms: &'a [Platform]) -> Self {
        Self {
            reader,
            repository,
            platforms,
        }
    }

    /// Walks from `target` on.
    pub fn run(&self, target: &Descriptor) -> Result<Graph> {
        let mut graph = Graph::default();
        let mut visited = BTreeSet::from([target.digest]);
        let mut available = Vec::new();
        let mut images = 0;
        let (mut lost, mut referred) = (BTreeMap::new(), BTreeSet::new());
        let mut level = vec![Visit {
            descriptor: target.clone(),
            level: 0,
            referrer_level: 0,
            filtered: true,
            listed_for: None,
            optional: false,
            referred: false,
        }];
        while !level.is_empty() {
            let found = in_parallel(&level, self.reader.source.parallel(), |visit| self.visit(visit))?;
            let mut next = Vec::new();
            for (visit, found) in level.into_iter().zip(found) {
                let digest = visit.descriptor.digest;
                let Some(found) = found else {
                    let text = format!(
                        "{}: listed, but the source does not have it; left out",
                        self.reader.place(&digest)
                    );
                    self.reader.ingest.monitor().warn(&text);
                    if visit.referred {
                        referred.insert(digest);
                    }
                    lost.insert(digest, visit.descriptor);
                    graph.tags.retain(|_, target| *target != digest);
                    continue;
                };
                graph
                    .referrers
                    .extend(found.subject.map(|subject| (subject, digest)));
                graph.tags.extend(found.tags);
                graph.stacks.extend(found.stack.map(|stack| (digest, stack)));
                graph
                    .children
                    .extend(found.children.map(|children| (digest, children)));
                graph
                    .blobs
                    .extend(found.blobs.into_iter().map(|blob| (blob.digest, blob)));
                graph
                    .absent
                    .extend(found.left.into_iter().map(|left| (left.digest, left)));
                available.extend(found.available);
                images += found.images;
                let place = self.reader.place(&digest);
                graph.manifests.insert(
                    digest,
                    Manifest {
                        media_type: found.media_type,
                        place,
                        stored: found.stored,
                    },
                );
                for visit in found.next {
                    let digest = visit.descriptor.digest;
                    if visited.insert(digest) {
                        next.push(visit);
                    } else if visit.referred {
                        referred.insert(digest);
                    }
                }
            }
            if visited.len() > MAX_MANIFESTS {
                return Err(Error::too_large(
                    self.reader.place(&target.digest),
                    "the number of its manifests",
                    len64(MAX_MANIFESTS),
                ));
            }
            if graph.blobs.len() > MAX_BLOBS {
                return Err(Error::too_large(
                    self.reader.place(&target.digest),
                    "the number of its layers",
                    len64(MAX_BLOBS),
                ));
            }
            level = next;
        }
        if images == 0 && !self.platforms.is_empty() {
            return Err(platforms::none(
                self.reader.place(&target.digest),
                self.platforms,
                &available,
            ));
        }
        // Lost, and named by an index that is carried, whichever of the two was found first.
        graph
            .absent
            .extend(lost.into_iter().filter(|(digest, _)| referred.contains(digest)));
        // What was left out in one place may be carried by way of another, and a manifest may stand as a layer.
        graph
            .absent
            .retain(|digest, _| !graph.manifests.contains_key(digest) && !graph.blobs.contains_key(digest));
        graph
            .blobs
            .retain(|digest, _| !graph.manifests.contains_key(digest));
        Ok(graph)
    }

    /// Reads one manifest and asks what refers to it; None where it may be missing and is.
    fn visit(&self, visit: &Visit) -> Result<Option<Found>> {
        let digest = &visit.descriptor.digest;
        let place = self.reader.place(digest);
        if visit.level > MAX_LEVELS {
            return Err(Error::too_large(
                place,
                "the depth of indexes within indexes",
                len64(MAX_LEVELS),
            ));
        }
        if visit.referrer_level > MAX_REFERRER_LEVELS {
            return Err(Error::too_large(
                place,
                "the depth of what refers to what refers to an image",
                len64(MAX_REFERRER_LEVELS),
            ));
        }
        let (bytes, stored) = match self.reader.manifest(&visit.descriptor)? {
            Some(read) => read,
            None if visit.optional => return Ok(None),
            None if visit.level > 0 => {
                return Err(Error::missing(format!(
                    "{place} (a child of its index; --platform carries fewer of them)"
                )));
            }
            None => return Err(Error::missing(place)),
        };
        let document = Document::parse(&bytes, &visit.descriptor.media_type, &place)?;
        if visit.listed_for.is_some() && visit.listed_for != document.subject {
            let says = document
                .subject
                .map_or_else(|| "nothing".to_owned(), |subject| subject.to_digest());
            let listed = visit
                .listed_for
                .map(|subject| subject.to_digest())
                .unwrap_or_default();
            return Err(Error::malformed(
                place,
                format!("listed as referring to {listed}, but it says {says}"),
            ));
        }
        let mut found = Found {
            media_type: document.media_type.clone(),
            stored,
            subject: document.subject,
            blobs: Vec::new(),
            next: Vec::new(),
            left: Vec::new(),
            available: Vec::new(),
            images: 0,
            tags: Vec::new(),
            stack: None,
            children: None,
        };
        let wanted = if visit.filtered { self.platforms } else { &[] };
        if visit.level == 0 && visit.filtered {
            platforms::check_single(self.reader, &document, digest, wanted)?;
            found.images += usize::from(!media_types::is_index(&document.media_type));
        }
        match document.content {
            Content::Index(children) => {
                let division = platforms::divide(self.reader, children, wanted)?;
                found.children = Some(division.kept.iter().map(|child| child.digest).collect());
                found
                    .next
                    .extend(division.kept.into_iter().map(|child| visit.child(bare(child))));
                found.left = division.left.into_iter().map(bare).collect();
                found.available = division.available;
                found.images += division.images;
            }
            Content::Manifest { config, layers } => {
                found.stack = Stack::of(config.as_ref(), &layers);
                found.blobs.extend(config.into_iter().chain(layers).map(lean));
            }
        }
        self.companions(visit, &mut found)?;
        Ok(Some(found))
    }

    /// What refers to a manifest: by its own word, by the referrers tag schema, by cosign's tags.
    fn companions(&self, visit: &Visit, found: &mut Found) -> Result<()> {
        let source = self.reader.source;
        let subject = visit.descriptor.digest;
        for referrer in source.referrers(&subject)? {
            found.next.push(Visit {
                listed_for: Some(subject),
                ..visit.companion(bare(referrer))
            });
        }
        let schema = schema_tag(&subject);
        if let Some(target) = source.tag(self.repository, &schema)? {
            // A list of what refers to it. It is carried as it is, for those who ask for its tag; what is
            // listed comes along as its children.
            found.tags.push((schema.clone(), target.digest));
            found.next.push(visit.companion(bare(target)));
        }
        for ending in COSIGN_ENDINGS {
            let tag = format!("{schema}{ending}");
            if let Some(target) = source.tag(self.repository, &tag)? {
                found.tags.push((tag, target.digest));
                found.next.push(Visit {
                    optional: false,
                    ..visit.companion(bare(target))
                });
            }
        }
        Ok(())
    }
}

/// A descriptor of a blob without what can be long: annotations, and embedded bytes that are worth a read.
fn lean(descriptor: Descriptor) -> Descriptor {
    let data = descriptor.data.filter(|data| data.len() <= MAX_EMBEDDED);
    Descriptor {
        annotations: BTreeMap::new(),
        data,
        ..descriptor
    }
}

/// A descriptor from a list, without the list's annotations: they may be long, and are in the bytes.
fn bare(descriptor: Descriptor) -> Descriptor {
    Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size)
}
