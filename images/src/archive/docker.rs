//! What `docker save` wrote before Docker 25, and what podman and skopeo write still: a config and
//! layers, but no image manifest. One is made from them, always the same for the same archive.

use super::tar_index::{FileRange, TarIndex};
use crate::image_source::{ImageSource, Offer};
use crate::layout::OpenFile;
use crate::manifest::{Descriptor, MAX_MANIFEST};
use crate::naming::{Home, OfferedName};
use crate::pool::in_parallel;
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Repository};
use holdall::units::len64;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Longest `manifest.json` or config that is read, in bytes.
const MAX_JSON: u64 = 16 << 20;
/// Most layers of one image.
const MAX_LAYERS: usize = 1000;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What `manifest.json` lists.
#[derive(Debug)]
pub struct Listing {
    images: Vec<Listed>,
    place: String,
}

impl Listing {
    /// Reads `manifest.json`; None where there is none.
    pub fn read(index: &TarIndex, place: &str) -> Result<Option<Self>> {
        let place = format!("{place}: manifest.json");
        let Some(bytes) = read_small(index, "manifest.json", &place)? else {
            return Ok(None);
        };
        let images = serde_json::from_slice(&bytes).map_err(|err| Error::json(&place, &err))?;
        Ok(Some(Self { images, place }))
    }

    fn names(&self, image: &Listed) -> Result<Vec<ImageName>> {
        let tags = image.repo_tags.iter().flatten();
        tags.map(|tag| {
            ImageName::parse_familiar(tag).map_err(|err| Error::malformed(&self.place, err.to_string()))
        })
        .collect()
    }

    /// The names of the image that has this config.
    pub fn names_of_config(&self, config: &Sha256) -> Result<Vec<ImageName>> {
        let hex = config.to_hex();
        let is_it = |image: &&Listed| {
            image
                .config
                .rsplit('/')
                .next()
                .is_some_and(|name| name.strip_suffix(".json").unwrap_or(name) == hex)
        };
        self.images
            .iter()
            .find(is_it)
            .map_or(Ok(Vec::new()), |image| self.names(image))
    }
}

/// An archive without manifests, as a source of images.
#[derive(Debug)]
pub struct DockerArchive {
    place: String,
    offers: Vec<Offer>,
    manifests: BTreeMap<Sha256, Vec<u8>>,
    blobs: BTreeMap<Sha256, FileRange>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MadeDescriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MadeManifest {
    schema_version: u32,
    media_type: &'static str,
    config: MadeDescriptor,
    layers: Vec<MadeDescriptor>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl DockerArchive {
    /// Reads and hashes the images selected: all, that of a name (`nginx:1`), or `@n`, the n-th.
    pub fn open(
        index: TarIndex,
        place: String,
        file: &Path,
        reference: Option<&str>,
        listing: Listing,
    ) -> Result<Self> {
        let home = Home::of_archive(file);
        let mut archive = Self {
            place,
            offers: Vec::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        let wanted_name = reference.and_then(|text| ImageName::parse_familiar(text).ok());
        let wanted_position = reference
            .and_then(|text| text.strip_prefix('@'))
            .and_then(|text| text.parse::<usize>().ok());
        for (position, image) in listing.images.iter().enumerate() {
            let mut names = listing.names(image)?;
            if reference.is_some() && wanted_position != Some(position) {
                names.retain(|name| Some(name) == wanted_name.as_ref());
                if names.is_empty() {
                    continue;
                }
            }
            let target = archive.make(&index, image)?;
            let names = if names.is_empty() {
                vec![home.by_digest(target.digest)]
            } else {
                names.into_iter().map(OfferedName::Full).collect()
            };
            archive.offers.extend(names.into_iter().map(|name| Offer {
                name,
                target: target.clone(),
                companion: false,
            }));
        }
        match reference {
            Some(reference) if archive.offers.is_empty() => Err(Error::missing(format!(
                "{}: an image {reference:?} in manifest.json",
                archive.place
            ))),
            _ => Ok(archive),
        }
    }

    /// Makes the manifest of an image out of what the archive has of it.
    fn make(&mut self, index: &TarIndex, image: &Listed) -> Result<Descriptor> {
        let place = format!("{}: {}", self.place, image.config);
        let config_range = index
            .find(&plain(&image.config))?
            .ok_or_else(|| Error::missing(&place))?;
        let config =
            read_small(index, &plain(&image.config), &place)?.ok_or_else(|| Error::missing(&place))?;
        let parsed: Config = serde_json::from_slice(&config).map_err(|err| Error::json(&place, &err))?;
        let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
        let layers = image.layers.as_deref().unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(Error::too_large(place, "the number of layers", len64(MAX_LAYERS)));
        }
        if layers.len() != diff_ids.len() {
            let why = format!(
                "manifest.json lists {} layers, the config {}",
                layers.len(),
                diff_ids.len()
            );
            return Err(Error::malformed(place, why));
        }
        let pairs: Vec<(&String, &String)> = layers.iter().zip(&diff_ids).collect();
        let hashed = in_parallel(&pairs, self.parallel(), |(layer, diff_id)| {
            self.hash_layer(index, layer, diff_id)
        })?;
        let config_digest = Sha256::of(&config);
        let manifest = MadeManifest {
            schema_version: 2,
            media_type: media_types::OCI_MANIFEST,
            config: MadeDescriptor {
                media_type: media_types::OCI_CONFIG,
                digest: config_digest.to_digest(),
                size: len64(config.len()),
            },
            layers: hashed
                .iter()
                .map(|(media_type, digest, range)| MadeDescriptor {
                    media_type,
                    digest: digest.to_digest(),
                    size: range.len(),
                })
                .collect(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|err| Error::json(&place, &err))?;
        let target = Descriptor::new(media_types::OCI_MANIFEST, Sha256::of(&bytes), len64(bytes.len()));
        if target.size > MAX_MANIFEST {
            return Err(Error::too_large(
                place,
                "the length of its manifest",
                MAX_MANIFEST,
            ));
        }
        self.manifests.insert(target.digest, bytes);
        self.blobs.insert(config_digest, config_range);
        self.blobs
            .extend(hashed.into_iter().map(|(_, digest, range)| (digest, range)));
        Ok(target)
    }

    /// A layer's media type, digest and place. An uncompressed one must be what the config says.
    fn hash_layer(
        &self,
        index: &TarIndex,
        layer: &str,
        diff_id: &str,
    ) -> Result<(&'static str, Sha256, FileRange)> {
        let place = format!("{}: {layer}", self.place);
        let range = index.find(&plain(layer))?.ok_or_else(|| Error::missing(&place))?;
        let mut reader = range.clone().into_reader();
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut magic = [0; 4];
        let mut at = 0;
        loop {
            let count = reader.read(&mut buffer).map_err(|err| Error::read(&place, err))?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            hasher.update(bytes);
            if at < magic.len() {
                magic
                    .iter_mut()
                    .skip(at)
                    .zip(bytes)
                    .for_each(|(to, from)| *to = *from);
            }
            at += count;
        }
        let digest = Sha256::from_bytes(hasher.finalize().into());
        let media_type = match magic {
            [0x1f, 0x8b, ..] => media_types::OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_types::OCI_LAYER_ZSTD,
            _ if digest.to_digest() == diff_id => media_types::OCI_LAYER_TAR,
            _ => return Err(Error::mismatch(place, diff_id, digest.to_digest())),
        };
        Ok((media_type, digest, range))
    }
}

impl ImageSource for DockerArchive {
    fn place(&self) -> &str {
        &self.place
    }

    fn offers(&self) -> &[Offer] {
        &self.offers
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        Ok(self.manifests.get(&descriptor.digest).cloned())
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Read + Send>>> {
        Ok(self
            .blobs
            .get(&descriptor.digest)
            .map(|range| range.clone().into_reader()))
    }

    fn referrers(&self, _subject: &Sha256) -> Result<Vec<Descriptor>> {
        // The format has no place for what refers to an image.
        Ok(Vec::new())
    }

    fn tag(&self, _repository: &Repository, _tag: &str) -> Result<Option<Descriptor>> {
        Ok(None)
    }
}

/// A name of `manifest.json` as the index of the tar has it.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").to_owned()
}

fn read_small(index: &TarIndex, name: &str, place: &str) -> Result<Option<Vec<u8>>> {
    let Some(range) = index.find(name)? else {
        return Ok(None);
    };
    let file = OpenFile {
        len: range.len(),
        reader: range.into_reader(),
    };
    file.read_whole(MAX_JSON, place).map(Some)
}
