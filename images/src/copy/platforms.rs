//! `--platform`: which children of an index are carried, and whether a single image is one of those
//! asked for. The index itself stays as it is.

use super::walk::Reader;
use crate::manifest::{Content, Descriptor, DescriptorPlatform, Document};
use crate::platform::Platform;
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use std::collections::BTreeSet;

/// Longest config that is read to learn its platform, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// By these BuildKit says, in an index, that a child is an attestation, and about which other child.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";

/// The children of an index, divided.
#[derive(Debug, Default)]
pub struct Division {
    /// Those to carry.
    pub kept: Vec<Descriptor>,
    /// Those to leave out.
    pub left: Vec<Descriptor>,
    /// The platforms of all images among them.
    pub available: Vec<DescriptorPlatform>,
    /// How many images were kept.
    pub images: usize,
}

/// Divides the children of an index. Attestations go with the child they are about.
pub fn divide(reader: &Reader<'_>, children: Vec<Descriptor>, wanted: &[Platform]) -> Result<Division> {
    if wanted.is_empty() {
        let images = children.len();
        return Ok(Division {
            kept: children,
            images,
            ..Division::default()
        });
    }
    let mut division = Division::default();
    let mut kept = BTreeSet::new();
    let (attestations, children): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| {
        child
            .annotations
            .get(REFERENCE_TYPE)
            .is_some_and(|kind| kind == ATTESTATION)
    });
    for child in children {
        // An index among the children is divided when its turn comes.
        let platform = match &child.platform {
            Some(platform) => Some(platform.clone()),
            None if media_types::is_index(&child.media_type) => {
                division.kept.push(child);
                continue;
            }
            None => platform_of_child(reader, &child)?,
        };
        let matches = platform
            .as_ref()
            .is_none_or(|platform| wanted.iter().any(|wanted| wanted.matches(platform)));
        division.available.extend(platform);
        if matches {
            division.images += 1;
            kept.insert(child.digest);
            division.kept.push(child);
        } else {
            division.left.push(child);
        }
    }
    for attestation in attestations {
        let about = attestation
            .annotations
            .get(REFERENCE_DIGEST)
            .and_then(|text| Sha256::from_digest(text).ok());
        if about.is_some_and(|about| kept.contains(&about)) {
            division.kept.push(attestation);
        } else {
            division.left.push(attestation);
        }
    }
    Ok(division)
}

/// The platform of a child whose index does not say it; None for what is no container image.
fn platform_of_child(reader: &Reader<'_>, child: &Descriptor) -> Result<Option<DescriptorPlatform>> {
    let place = reader.place(&child.digest);
    let (bytes, _) = reader.manifest(child)?.ok_or_else(|| Error::missing(&place))?;
    platform_of(reader, &Document::parse(&bytes, &child.media_type, &place)?)
}

/// The platform that the config of a manifest says; None for an index and for what is no container image.
pub fn platform_of(reader: &Reader<'_>, document: &Document) -> Result<Option<DescriptorPlatform>> {
    let Content::Manifest {
        config: Some(config), ..
    } = &document.content
    else {
        return Ok(None);
    };
    if !media_types::is_image_config(&config.media_type) {
        return Ok(None);
    }
    let place = reader.place(&config.digest);
    let bytes = reader
        .small_blob(config, MAX_CONFIG)?
        .ok_or_else(|| Error::missing(&place))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|err| Error::json(&place, &err))
}

/// Checks a single image against the platforms asked for.
pub fn check_single(
    reader: &Reader<'_>,
    document: &Document,
    digest: &Sha256,
    wanted: &[Platform],
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    match platform_of(reader, document)? {
        Some(platform) if !wanted.iter().any(|wanted| wanted.matches(&platform)) => {
            Err(none(reader.place(digest), wanted, &[platform]))
        }
        _ => Ok(()),
    }
}

/// Nothing at `place` is for the platforms asked for.
pub fn none(place: String, wanted: &[Platform], available: &[DescriptorPlatform]) -> Error {
    let named: Vec<_> = available
        .iter()
        .filter(|platform| platform.os != "unknown")
        .cloned()
        .collect();
    Error::NoPlatform {
        place,
        wanted: crate::platform::list(wanted),
        available: crate::platform::list(&named),
    }
}
