//! Manifests and indexes as far as carrying them needs: what they refer to. They are only read here,
//! never written again: what is stored are the bytes that came.

use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest manifest or index that is taken, in bytes (the least that the distribution specification
/// lets a registry refuse).
pub const MAX_MANIFEST: u64 = 4 << 20;

/// The platform that a child of an index is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct DescriptorPlatform {
    /// Operating system, as Go names it.
    #[serde(default)]
    pub os: String,
    /// CPU, as Go names it.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the CPU.
    pub variant: Option<String>,
}

/// A descriptor as it stands in JSON; its digest not yet checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    platform: Option<DescriptorPlatform>,
}

/// What refers to a blob or manifest: its type, digest and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type; empty where the descriptor has none.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Sha256,
    /// Length in bytes, as claimed.
    pub size: u64,
    /// True where the bytes may be had elsewhere only.
    pub has_urls: bool,
    /// Annotations; empty where there are none.
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, in base64, not checked.
    pub data: Option<String>,
    /// The platform, in an index.
    pub platform: Option<DescriptorPlatform>,
}

impl Descriptor {
    /// A descriptor that says no more than type, digest and length.
    #[must_use]
    pub fn new(media_type: &str, digest: Sha256, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            has_urls: false,
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
        }
    }

    fn from_raw(raw: RawDescriptor, place: &str) -> Result<Self> {
        let digest = Sha256::from_digest(&raw.digest).map_err(|err| match raw.digest.split_once(':') {
            Some((algorithm, _))
                if algorithm != "sha256" && algorithm.bytes().all(|b| b.is_ascii_alphanumeric()) =>
            {
                Error::unsupported(place, format!("digests by {algorithm} (only sha256)"))
            }
            _ => Error::malformed(place, err.to_string()),
        })?;
        Ok(Self {
            media_type: raw.media_type,
            digest,
            size: raw.size,
            has_urls: raw.urls.is_some_and(|urls| !urls.is_empty()),
            annotations: raw.annotations.unwrap_or_default(),
            data: raw.data,
            platform: raw.platform,
        })
    }

    /// The bytes embedded in the descriptor, where they are there and are what the digest names.
    #[must_use]
    pub fn embedded(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(self.data.as_deref()?)
            .ok()?;
        (holdall::units::len64(bytes.len()) == self.size && Sha256::of(&bytes) == self.digest)
            .then_some(bytes)
    }

    /// True for a layer that a source need not have.
    #[must_use]
    pub fn is_nondistributable(&self) -> bool {
        self.has_urls || media_types::is_nondistributable(&self.media_type)
    }
}

/// What a manifest or index refers to.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its media type: its own, or that of whoever refers to it.
    pub media_type: String,
    /// The manifest that it is about, if it says one.
    pub subject: Option<Sha256>,
    /// What kind of artifact it says that it is.
    pub artifact_type: Option<String>,
    /// What it is made of.
    pub content: Content,
}

/// What a manifest or index is made of.
#[derive(Debug, Clone)]
pub enum Content {
    /// An index: its children.
    Index(Vec<Descriptor>),
    /// A manifest: its config (an artifact manifest of old has none) and its layers.
    Manifest {
        /// The config.
        config: Option<Descriptor>,
        /// The layers, lowest first; or an artifact's blobs.
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    blobs: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    artifact_type: Option<String>,
}

/// A string, and nothing where it is something else: nothing that is carried depends on it.
fn text_or_nothing<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_str().map(str::to_owned))
}

impl Document {
    /// Parses a manifest or index. `media_type` is what the one who refers to it says (empty: nothing);
    /// where the document says another, or could be read as both kinds, it is refused, as two
    /// readers could take it for two things.
    pub fn parse(bytes: &[u8], media_type: &str, place: &str) -> Result<Self> {
        if media_types::is_schema1(media_type) {
            return Err(Error::unsupported(
                place,
                format!("{media_type} (Docker's schema 1; convert the image)"),
            ));
        }
        let raw: RawDocument = serde_json::from_slice(bytes).map_err(|err| Error::json(place, &err))?;
        if raw.schema_version == Some(1) {
            return Err(Error::unsupported(
                place,
                "application/vnd.docker.distribution.manifest.v1 (Docker's schema 1; convert the image)",
            ));
        }
        let own = raw.media_type.unwrap_or_default();
        let media_type = match (media_type, own.as_str()) {
            ("", "") if raw.manifests.is_some() => media_types::OCI_INDEX,
            ("", "") => media_types::OCI_MANIFEST,
            (outer, "") => outer,
            ("", own) => own,
            (outer, own) if outer == own => own,
            (outer, own) => {
                return Err(Error::malformed(
                    place,
                    format!("referred to as {outer:?}, but it says that it is {own:?}"),
                ));
            }
        };
        if !media_types::is_manifest(media_type) {
            return Err(Error::unsupported(
                place,
                format!("manifests of type {media_type:?}"),
            ));
        }
        let all = |list: Vec<RawDescriptor>| {
            list.into_iter()
                .map(|raw| Descriptor::from_raw(raw, place))
                .collect::<Result<Vec<_>>>()
        };
        let content = if media_types::is_index(media_type) {
            if raw.config.is_some() || raw.layers.is_some() {
                return Err(Error::malformed(
                    place,
                    "an index that has a config or layers too",
                ));
            }
            Content::Index(all(raw
                .manifests
                .ok_or_else(|| Error::malformed(place, "an index without manifests"))?)?)
        } else {
            if raw.manifests.is_some() {
                return Err(Error::malformed(place, "a manifest that has manifests too"));
            }
            let config = raw
                .config
                .map(|raw| Descriptor::from_raw(raw, place))
                .transpose()?;
            let layers = if media_type == media_types::OCI_ARTIFACT {
                raw.blobs
            } else {
                raw.layers
            };
            if config.is_none() && media_type != media_types::OCI_ARTIFACT {
                return Err(Error::malformed(place, "a manifest without a config"));
            }
            Content::Manifest {
                config,
                layers: all(layers.unwrap_or_default())?,
            }
        };
        let subject = raw
            .subject
            .map(|raw| Descriptor::from_raw(raw, place))
            .transpose()?
            .map(|subject| subject.digest);
        Ok(Self {
            media_type: media_type.to_owned(),
            subject,
            artifact_type: raw.artifact_type,
            content,
        })
    }
}

/// The descriptors of a list of referrers, in order. Their media types are kept as they are.
pub fn parse_descriptors(bytes: &[u8], place: &str) -> Result<Vec<Descriptor>> {
    let entries = parse_entries(bytes, place)?;
    entries
        .into_iter()
        .map(|entry| entry.map_err(|bad| bad.error))
        .collect()
}

/// A descriptor that cannot be used.
#[derive(Debug)]
pub struct BadEntry {
    /// The digest as it stands there.
    pub digest: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with it.
    pub error: Error,
}

/// The descriptors of a layout's `index.json`, in order, those that cannot be used among them. Their media
/// types are kept as they are. All of them are in memory at once.
pub fn parse_entries(
    bytes: &[u8],
    place: &str,
) -> Result<Vec<std::result::Result<Descriptor, Box<BadEntry>>>> {
    #[derive(Deserialize)]
    struct Listing {
        #[serde(default)]
        manifests: Option<Vec<RawDescriptor>>,
    }
    let listing: Listing = serde_json::from_slice(bytes).map_err(|err| Error::json(place, &err))?;
    let entries = listing.manifests.unwrap_or_default().into_iter().map(|mut raw| {
        let digest = raw.digest.clone();
        let annotations = raw.annotations.take().unwrap_or_default();
        match Descriptor::from_raw(raw, place) {
            Ok(descriptor) => Ok(Descriptor {
                annotations,
                ..descriptor
            }),
            Err(error) => Err(Box::new(BadEntry {
                digest,
                annotations,
                error,
            })),
        }
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, bytes: &[u8]) -> String {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
            Sha256::of(bytes).to_digest(),
            bytes.len()
        )
    }

    fn parse(text: &str, media_type: &str) -> Result<Document> {
        Document::parse(text.as_bytes(), media_type, "here")
    }

    #[test]
    fn a_manifest_says_what_it_refers_to() {
        let config = descriptor(media_types::OCI_CONFIG, b"c");
        let layer = descriptor(media_types::OCI_LAYER_TAR, b"l");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"subject":{layer},"other":[1]}}"#
        );
        let document = parse(&text, media_types::OCI_MANIFEST).unwrap();
        assert_eq!(document.subject, Some(Sha256::of(b"l")));
        let Content::Manifest { config, layers } = document.content else {
            panic!("a manifest")
        };
        assert_eq!((config.unwrap().digest, layers.len()), (Sha256::of(b"c"), 1));
    }

    #[test]
    fn what_could_be_read_as_two_things_is_refused() {
        let child = descriptor(media_types::OCI_MANIFEST, b"m");
        for (text, media_type) in [
            (
                format!(r#"{{"manifests":[],"config":{child}}}"#),
                media_types::OCI_INDEX,
            ),
            (
                format!(r#"{{"manifests":[],"config":{child},"layers":[]}}"#),
                media_types::OCI_MANIFEST,
            ),
            (
                format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_types::OCI_INDEX),
                media_types::OCI_MANIFEST,
            ),
            (r#"{"layers":[]}"#.to_owned(), media_types::OCI_MANIFEST),
            ("[]".to_owned(), media_types::OCI_INDEX),
        ] {
            assert!(
                matches!(parse(&text, media_type), Err(Error::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn schema_1_and_other_digests_are_refused_by_name() {
        let message = parse("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws")
            .unwrap_err()
            .to_string();
        assert!(message.contains("v1+prettyjws"), "{message}");
        assert!(
            parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, "")
                .unwrap_err()
                .to_string()
                .contains("schema 1")
        );
        let text = r#"{"manifests":[{"digest":"sha512:00","size":1}]}"#;
        assert!(parse(text, "").unwrap_err().to_string().contains("sha512"));
        for bad in [
            r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
            r#"{"manifests":[{"digest":"sha256:00","size":-1}]}"#,
        ] {
            assert!(matches!(parse(bad, ""), Err(Error::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn embedded_bytes_count_only_if_they_match() {
        let mut descriptor = Descriptor::new("", Sha256::of(b"{}"), 2);
        descriptor.data = Some("e30=".to_owned());
        assert_eq!(descriptor.embedded().unwrap(), b"{}");
        descriptor.data = Some("e31=".to_owned());
        assert_eq!(descriptor.embedded(), None);
    }
}
