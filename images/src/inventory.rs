//! What images a disk has: each by name, with its platforms, and what came along about it: signatures, attestations, SBOMs,
//! reports of scans.
//!
//! Reads an opened disk. What is about an image is told from the rest by what its manifest says that it is, and by cosign's
//! tags; none of it is checked here.

use crate::audit::{Reached, reach};
use crate::config::{ImageConfig, MAX_CONFIG};
use crate::manifest::{Content, Descriptor, Document, MAX_MANIFEST};
use crate::media_types;
use crate::naming::{COSIGN_ENDINGS, is_companion_tag, schema_tag};
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository};
use holdall::reader::{Disk, Image};
use std::collections::BTreeSet;

/// What something is that came along about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A signature: cosign's, or notation's.
    Signature,
    /// A statement of how it was made, or of something else about it.
    Attestation,
    /// A list of what it is made of.
    Sbom,
    /// What a scanner found in it.
    Scan,
    /// Something else.
    Other,
}

impl About {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Attestation => "attestation",
            Self::Sbom => "SBOM",
            Self::Scan => "scan report",
            Self::Other => "other",
        }
    }

    /// What artifacts, layers or statements of that type are, as far as their type says.
    #[must_use]
    pub fn of_type(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        // The narrower words first: an SBOM or a scan's report may be the subject of an attestation.
        if has(&["spdx", "cyclonedx", "syft", "sbom"]) {
            Self::Sbom
        } else if has(&["sarif", "vuln", "scan-report", "openvex", "trivy"]) {
            Self::Scan
        } else if has(&["cosign.artifact.sig", "simplesigning", "cncf.notary.signature"]) {
            Self::Signature
        } else if has(&["in-toto", "intoto", "dsse", "attestation", "slsa", "provenance"]) {
            Self::Attestation
        } else if has(&["signature", "sigstore.bundle"]) {
            Self::Signature
        } else {
            Self::Other
        }
    }
}

/// Something that came along about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub about: About,
    /// The digest of its manifest.
    pub digest: Sha256,
    /// The manifest that it is about.
    pub subject: Sha256,
    /// What it says that it is: artifact type, else media types of its parts, and what its statements are about.
    pub types: Vec<String>,
    /// The tag that it was found by, where it is attached as cosign does it.
    pub tag: Option<String>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The platform as its config, or else the index, says it; empty where neither does.
    pub platform: String,
    /// The digest of its manifest.
    pub digest: Sha256,
    /// Layers.
    pub layers: usize,
    /// Bytes of config and layers, as the manifest says; 0 where it was left out.
    pub bytes: u64,
    /// Whether it was left out on purpose.
    pub left_out: bool,
}

/// All there is to say of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: ImageName,
    /// Its digest.
    pub digest: Sha256,
    /// The media type of its manifest or index.
    pub media_type: String,
    /// Its platforms, in the order of the index.
    pub variants: Vec<Variant>,
    /// What came along about it or one of its platforms, in order.
    pub attachments: Vec<Attachment>,
    /// Bytes of all that it is made of and that is on the disk, with what came along.
    pub bytes: u64,
    /// Blobs and manifests that were left out.
    pub left_out: usize,
}

/// An image, or why nothing can be said of it.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: ImageName,
    /// Its digest.
    pub digest: Sha256,
    /// What there is to say.
    pub entry: Result<Entry>,
}

/// Calls `each` with every image of the disk in order of name: names by digest only where no tag says them, and tags of
/// cosign's only where what they are about is not there.
///
/// # Errors
/// Where the list of images cannot be read, and whatever `each` fails with.
pub fn each_image<E: From<Error>>(
    disk: &Disk,
    mut each: impl FnMut(Listed) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut repository: Option<Repository> = None;
    let mut tagged = BTreeSet::new();
    for image in disk.images(None, None) {
        let image = image.map_err(Error::from)?;
        if repository.as_ref() != Some(&image.name.repository) {
            repository = Some(image.name.repository.clone());
            tagged.clear();
        }
        match &image.name.reference {
            Reference::Tag(tag) => {
                tagged.insert(image.target.sha256);
                if subject_of(tag.as_str()).is_some_and(|subject| matches!(disk.blob(&subject), Ok(Some(_))))
                {
                    continue;
                }
            }
            Reference::Digest(digest) if tagged.contains(digest) => continue,
            Reference::Digest(_) => {}
        }
        each(Listed {
            entry: look_at(disk, &image),
            digest: image.target.sha256,
            name: image.name,
        })?;
    }
    Ok(())
}

/// The digest that a tag of cosign's spells.
fn subject_of(tag: &str) -> Option<Sha256> {
    let hex = tag.strip_prefix("sha256-").filter(|_| is_companion_tag(tag))?;
    Sha256::from_hex(hex.split('.').next()?).ok()
}

fn look_at(disk: &Disk, image: &Image) -> Result<Entry> {
    let reached = reach(disk, image)?;
    let mut entry = Entry {
        name: image.name.clone(),
        digest: image.target.sha256,
        media_type: image.target.media_type.clone(),
        variants: Vec::new(),
        attachments: Vec::new(),
        bytes: reached.total_bytes(),
        left_out: reached.absent.len(),
    };
    let mut about = BTreeSet::from([image.target.sha256]);
    let mut waiting = vec![(image.target.sha256, None::<Descriptor>)];
    while let Some((digest, from)) = waiting.pop() {
        let Some(document) = document(disk, &reached, &digest)? else {
            entry.variants.push(Variant {
                platform: from.as_ref().map(platform_of).unwrap_or_default(),
                digest,
                layers: 0,
                bytes: 0,
                left_out: true,
            });
            continue;
        };
        match document.content {
            Content::Index(children) => {
                for child in children.into_iter().rev() {
                    // What BuildKit puts beside a platform, about it.
                    if child.annotations.contains_key("vnd.docker.reference.digest") {
                        entry.attachments.extend(built_beside(disk, &reached, &child)?);
                    } else if about.insert(child.digest) {
                        waiting.push((child.digest, Some(child)));
                    }
                }
            }
            Content::Manifest { config, layers } => {
                let size = |all: &[Descriptor]| all.iter().map(|one| one.size).fold(0, u64::saturating_add);
                entry.variants.push(Variant {
                    platform: match &config {
                        Some(config) => platform_in(disk, config, from.as_ref()),
                        None => String::new(),
                    },
                    digest,
                    layers: layers.len(),
                    bytes: size(&layers).saturating_add(config.map_or(0, |config| config.size)),
                    left_out: false,
                });
            }
        }
    }
    for subject in about {
        for referrer in disk.referrers(&image.name.repository, &subject)? {
            let found = attachment(disk, &reached, (referrer.sha256, subject), None)?;
            entry.attachments.extend(found);
        }
        let tag = schema_tag(&subject);
        for companion in &reached.companions {
            let Reference::Tag(found) = &companion.name.reference else {
                continue;
            };
            let ending = found.as_str().strip_prefix(tag.as_str());
            if ending.is_some_and(|ending| COSIGN_ENDINGS.contains(&ending)) {
                let of = (companion.target.sha256, subject);
                entry
                    .attachments
                    .extend(attachment(disk, &reached, of, Some(found.as_str()))?);
            }
        }
    }
    entry.attachments.sort_by_key(|one| (one.about, one.digest));
    entry.attachments.dedup_by_key(|one| (one.digest, one.subject));
    Ok(entry)
}

/// What that manifest or index says; none where it was left out.
fn document(disk: &Disk, reached: &Reached, digest: &Sha256) -> Result<Option<Document>> {
    let Some(blob) = reached.present.get(digest) else {
        return Ok(None);
    };
    let bytes = disk.read_small(blob, MAX_MANIFEST)?;
    let place = format!("{}: {}", disk.name(), digest.to_digest());
    Document::parse(&bytes, &blob.media_type, &place).map(Some)
}

/// The platform as the index has it.
fn platform_of(child: &Descriptor) -> String {
    child.platform.as_ref().map_or_else(String::new, |platform| {
        let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty());
        let words = [platform.os.as_str(), platform.architecture.as_str()];
        words.into_iter().chain(variant).collect::<Vec<_>>().join("/")
    })
}

/// The platform as the config has it, which is what counts; else as the index has it.
fn platform_in(disk: &Disk, config: &Descriptor, from: Option<&Descriptor>) -> String {
    let read = || {
        let blob = disk.blob(&config.digest).ok()??;
        let bytes = disk.read_small(&blob, MAX_CONFIG).ok()?;
        ImageConfig::parse(&bytes, "").ok()
    };
    match read().filter(|_| media_types::is_image_config(&config.media_type)) {
        Some(config) => config.platform.to_string(),
        None => from.map(platform_of).unwrap_or_default(),
    }
}

/// What is attached by its manifest's subject, or by a tag of cosign's.
fn attachment(
    disk: &Disk,
    reached: &Reached,
    (digest, subject): (Sha256, Sha256),
    tag: Option<&str>,
) -> Result<Option<Attachment>> {
    let Some(document) = document(disk, reached, &digest)? else {
        return Ok(None);
    };
    let types = types_of(&document);
    let by_tag = match tag.and_then(|tag| tag.rsplit_once('.')) {
        Some((_, "sig")) => About::Signature,
        Some((_, "att")) => About::Attestation,
        Some((_, "sbom")) => About::Sbom,
        _ => About::Other,
    };
    let by_type = types.iter().map(|text| About::of_type(text));
    Ok(Some(Attachment {
        about: narrowest(by_type.chain([by_tag])),
        digest,
        subject,
        types,
        tag: tag.map(str::to_owned),
    }))
}

/// What BuildKit put beside a platform's manifest.
fn built_beside(disk: &Disk, reached: &Reached, child: &Descriptor) -> Result<Option<Attachment>> {
    let subject = child
        .annotations
        .get("vnd.docker.reference.digest")
        .and_then(|digest| Sha256::from_digest(digest).ok());
    let (Some(subject), Some(document)) = (subject, document(disk, reached, &child.digest)?) else {
        return Ok(None);
    };
    let types = types_of(&document);
    Ok(Some(Attachment {
        about: narrowest(types.iter().map(|text| About::of_type(text))),
        digest: child.digest,
        subject,
        types,
        tag: None,
    }))
}

/// The one that says most: an attestation of an SBOM is an SBOM to who looks for one.
fn narrowest(all: impl Iterator<Item = About>) -> About {
    let rank = |about: &About| match about {
        About::Scan => 4,
        About::Sbom => 3,
        About::Signature => 2,
        About::Attestation => 1,
        About::Other => 0,
    };
    all.max_by_key(rank).unwrap_or(About::Other)
}

/// What an artifact says that it is.
fn types_of(document: &Document) -> Vec<String> {
    let mut types = Vec::new();
    let mut add = |text: &str| {
        if !text.is_empty() && !types.iter().any(|known| known == text) {
            types.push(text.to_owned());
        }
    };
    add(document.artifact_type.as_deref().unwrap_or_default());
    if let Content::Manifest { config, layers } = &document.content {
        // A config that is an image's, or empty, says nothing of what the artifact is.
        let config = config.as_ref().map_or("", |config| config.media_type.as_str());
        if !media_types::is_image_config(config) && config != "application/vnd.oci.empty.v1+json" {
            add(config);
        }
        for layer in layers {
            add(&layer.media_type);
            for key in ["in-toto.io/predicate-type", "predicateType"] {
                add(layer.annotations.get(key).map_or("", String::as_str));
            }
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_say_what_is_about_an_image() {
        for (text, about) in [
            (
                "application/vnd.dev.cosign.artifact.sig.v1+json",
                About::Signature,
            ),
            (
                "application/vnd.dev.cosign.simplesigning.v1+json",
                About::Signature,
            ),
            ("application/vnd.cncf.notary.signature", About::Signature),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", About::Signature),
            ("application/vnd.in-toto+json", About::Attestation),
            ("application/vnd.dsse.envelope.v1+json", About::Attestation),
            ("https://slsa.dev/provenance/v1", About::Attestation),
            ("https://spdx.dev/Document", About::Sbom),
            ("application/spdx+json", About::Sbom),
            ("application/vnd.cyclonedx+json", About::Sbom),
            ("application/sarif+json", About::Scan),
            ("https://cosign.sigstore.dev/attestation/vuln/v1", About::Scan),
            ("application/vnd.acme.thing", About::Other),
            ("", About::Other),
        ] {
            assert_eq!(About::of_type(text), about, "{text}");
        }
    }

    #[test]
    fn tags_of_cosign_name_what_they_are_about() {
        let digest = Sha256::of(b"x");
        let tag = format!("sha256-{}", digest.to_hex());
        assert_eq!(subject_of(&format!("{tag}.sig")), Some(digest));
        assert_eq!(subject_of(&tag), Some(digest));
        assert_eq!(subject_of(&format!("{tag}.other")), None);
        assert_eq!(subject_of("1.2"), None);
    }
}
