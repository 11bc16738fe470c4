//! What tells two images of one name apart: the layers that the one has and the other has not.

use crate::manifest::{Content, Document, MAX_MANIFEST};
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::reader::Disk;
use holdall::units::len64;
use std::collections::{BTreeMap, BTreeSet};

/// Manifests of one image that are followed.
const MAX_MANIFESTS: usize = 20_000;

/// A layer that an image has now and had not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLayer {
    /// Its digest.
    pub digest: Sha256,
    /// Its length in bytes, as its manifest says.
    pub bytes: u64,
    /// Whether the disk had it before all the same, for another image.
    pub known: bool,
}

/// Layers of an image and their lengths, over all its platforms that are on the disk.
///
/// # Errors
/// Where one of its manifests cannot be read, or there are too many.
pub fn layers_of(disk: &Disk, image: &Sha256) -> Result<BTreeMap<Sha256, u64>> {
    let mut layers = BTreeMap::new();
    let mut seen = BTreeSet::from([*image]);
    let mut waiting = vec![*image];
    while let Some(digest) = waiting.pop() {
        if seen.len() > MAX_MANIFESTS {
            let place = format!("{}: {}", disk.name(), image.to_digest());
            return Err(Error::too_large(
                place,
                "its number of manifests",
                len64(MAX_MANIFESTS),
            ));
        }
        // What was left out on purpose has no layers here.
        let Some(blob) = disk.blob(&digest)? else { continue };
        let bytes = disk.read_small(&blob, MAX_MANIFEST)?;
        let place = format!("{}: {}", disk.name(), digest.to_digest());
        match Document::parse(&bytes, &blob.media_type, &place)?.content {
            Content::Index(children) => {
                let children = children.iter().map(|child| child.digest);
                waiting.extend(children.filter(|child| seen.insert(*child)));
            }
            Content::Manifest { layers: own, .. } => {
                layers.extend(own.iter().map(|layer| (layer.digest, layer.size)));
            }
        }
    }
    Ok(layers)
}

/// The layers that `after` has and `before` has not, in order of digest.
///
/// # Errors
/// Where a manifest of either cannot be read.
pub fn new_layers(before: (&Disk, &Sha256), after: (&Disk, &Sha256)) -> Result<Vec<NewLayer>> {
    let had = layers_of(before.0, before.1)?;
    let mut found = Vec::new();
    for (digest, bytes) in layers_of(after.0, after.1)? {
        if !had.contains_key(&digest) {
            let known = before.0.blob(&digest)?.is_some();
            found.push(NewLayer { digest, bytes, known });
        }
    }
    Ok(found)
}
