//! Images in registries: `docker://`. This room owns the only asynchronous code of the inward flow: a
//! small runtime per source, behind calls that block.

pub mod auth;
mod blob;
mod transport;

use crate::image_source::{ImageSource, Offer};
use crate::manifest::{Descriptor, Document, MAX_MANIFEST, parse_descriptors};
use crate::naming::OfferedName;
use crate::{Error, Result, media_types};
use auth::AuthPlaces;
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository};
use holdall::units::len64;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use transport::{Body, Transport};

/// Blobs that are pulled at once.
const PARALLEL: usize = 4;
/// Bytes of manifests that are kept, so that a plan and the copy after it ask for each only once.
const MAX_KEPT: u64 = 32 << 20;
/// Pages that a list of referrers may have.
const MAX_PAGES: usize = 100;

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Registries (`host` or `host:port`) that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// A PEM file of certificates that are trusted beside the system's.
    pub extra_ca: Option<PathBuf>,
    /// Where credentials are looked for.
    pub auth: AuthPlaces,
}

/// One image of a registry as a source.
pub struct Remote {
    place: String,
    repository: Repository,
    offers: Vec<Offer>,
    kept: Mutex<Kept>,
    transport: Arc<Transport>,
    runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Kept {
    manifests: BTreeMap<Sha256, Vec<u8>>,
    /// Bytes of `manifests`.
    bytes: u64,
    /// What tags stand for, so that none moves between two looks at it; None for those that there are not.
    tags: BTreeMap<String, Option<Descriptor>>,
    referrers: BTreeMap<Sha256, Vec<Descriptor>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Reaches a registry and resolves the name to a digest, once; all that follows is by digest.
pub fn open(name: &ImageName, options: &RegistryOptions) -> Result<Remote> {
    let place = format!("docker://{name}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("registry")
        .enable_all()
        .build()
        .map_err(|err| Error::io(&place, err))?;
    let credentials = options.auth.look_up(&name.repository)?;
    let transport = Arc::new(Transport::new(&name.repository, credentials, options)?);
    let mut remote = Remote {
        place,
        repository: name.repository.clone(),
        offers: Vec::new(),
        kept: Mutex::default(),
        transport,
        runtime,
    };
    let target = match &name.reference {
        Reference::Tag(tag) => remote.resolve(tag.as_str())?,
        Reference::Digest(digest) => remote.resolve(&digest.to_digest())?,
    };
    let target = target.ok_or_else(|| Error::missing(&remote.place))?;
    if let Reference::Digest(digest) = &name.reference
        && target.digest != *digest
    {
        return Err(Error::mismatch(
            &remote.place,
            digest.to_digest(),
            target.digest.to_digest(),
        ));
    }
    remote.offers.push(Offer {
        name: OfferedName::Full(name.clone()),
        target,
        companion: false,
    });
    Ok(remote)
}

impl Remote {
    /// What a tag or digest stands for; None where the registry does not know it.
    fn resolve(&self, reference: &str) -> Result<Option<Descriptor>> {
        let path = format!("manifests/{reference}");
        let Some(body) = self.get(&path, &media_types::MANIFESTS)? else {
            return Ok(None);
        };
        let digest = Sha256::of(&body.bytes);
        let place = self.place_of(&digest);
        if let Some(claimed) = body
            .digest
            .as_deref()
            .and_then(|text| Sha256::from_digest(text).ok())
            && claimed != digest
        {
            return Err(Error::mismatch(place, claimed.to_digest(), digest.to_digest()));
        }
        // The document's own type counts; the header is for documents that say none.
        let header = body.media_type.as_deref().unwrap_or_default();
        let outer = if media_types::is_schema1(header)
            || (media_types::is_manifest(header) && !says_type(&body.bytes))
        {
            header
        } else {
            ""
        };
        let media_type = Document::parse(&body.bytes, outer, &place)?.media_type;
        let target = Descriptor::new(&media_type, digest, len64(body.bytes.len()));
        self.keep(digest, body.bytes);
        Ok(Some(target))
    }

    fn get(&self, path: &str, accept: &[&str]) -> Result<Option<Body>> {
        self.runtime
            .block_on(self.transport.get_small(path, accept, MAX_MANIFEST))
    }

    fn keep(&self, digest: Sha256, bytes: Vec<u8>) {
        let mut kept = self.kept.lock();
        let len = len64(bytes.len());
        if kept.bytes + len <= MAX_KEPT && kept.manifests.insert(digest, bytes).is_none() {
            kept.bytes += len;
        }
    }

    fn place_of(&self, digest: &Sha256) -> String {
        format!("docker://{}@{}", self.repository, digest.to_digest())
    }
}

/// True where a document names its own media type.
fn says_type(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    serde_json::from_slice::<Typed>(bytes).is_ok_and(|typed| typed.media_type.is_some())
}

impl ImageSource for Remote {
    fn place(&self) -> &str {
        &self.place
    }

    fn offers(&self) -> &[Offer] {
        &self.offers
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.kept.lock().manifests.get(&descriptor.digest) {
            return Ok(Some(bytes.clone()));
        }
        let path = format!("manifests/{}", descriptor.digest.to_digest());
        let Some(body) = self.get(&path, &media_types::MANIFESTS)? else {
            return Ok(None);
        };
        let found = Sha256::of(&body.bytes);
        if found != descriptor.digest {
            return Err(Error::mismatch(
                self.place_of(&descriptor.digest),
                descriptor.digest.to_digest(),
                found.to_digest(),
            ));
        }
        self.keep(found, body.bytes.clone());
        Ok(Some(body.bytes))
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Read + Send>>> {
        if descriptor.size == 0 {
            // Some registries answer the empty blob with an error; there is nothing to ask for.
            return Ok(Some(Box::new(std::io::empty())));
        }
        let path = format!("blobs/{}", descriptor.digest.to_digest());
        let Some(response) = self.runtime.block_on(self.transport.open(&path, 0))? else {
            return Ok(None);
        };
        let transport = Arc::clone(&self.transport);
        Ok(Some(Box::new(blob::read(
            self.runtime.handle(),
            transport,
            path,
            descriptor.size,
            response,
        ))))
    }

    fn referrers(&self, subject: &Sha256) -> Result<Vec<Descriptor>> {
        if let Some(known) = self.kept.lock().referrers.get(subject) {
            return Ok(known.clone());
        }
        let found = self.list_referrers(subject)?;
        self.kept.lock().referrers.insert(*subject, found.clone());
        Ok(found)
    }

    fn tag(&self, _repository: &Repository, tag: &str) -> Result<Option<Descriptor>> {
        if let Some(known) = self.kept.lock().tags.get(tag) {
            return Ok(known.clone());
        }
        let found = self.resolve(tag)?;
        self.kept.lock().tags.insert(tag.to_owned(), found.clone());
        Ok(found)
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }
}

impl Remote {
    fn list_referrers(&self, subject: &Sha256) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        let mut path = format!("referrers/{}", subject.to_digest());
        for _ in 0..MAX_PAGES {
            let place = format!("docker://{}: {path}", self.repository);
            // "Not found" is what registries without this API answer.
            let Some(body) = self.get(&path, &[media_types::OCI_INDEX])? else {
                return Ok(found);
            };
            found.extend(
                parse_descriptors(&body.bytes, &place)?
                    .into_iter()
                    .map(|one| Descriptor::new(&one.media_type, one.digest, one.size)),
            );
            match body.next {
                Some(next) => path = next,
                None => return Ok(found),
            }
        }
        Err(Error::too_large(
            self.place_of(subject),
            "the number of pages of its referrers",
            len64(MAX_PAGES),
        ))
    }
}

#[cfg(test)]
mod tests;
