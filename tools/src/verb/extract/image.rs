//! An image as an OCI image layout of its own: every child that is on the disk, its referrers, and what
//! cosign attached to it by tags.

use super::Written;
use super::beneath::Beneath;
use crate::exit::ToolError;
use holdall::name::Reference;
use holdall::reader::{Blob, Disk, Image};
use holdall_images::{audit, media_types, naming};
use serde_json::{Value, json};
use std::path::Path;

/// Writes the layout into a new or empty folder.
pub fn extract(disk: &Disk, image: &Image, dest: &Path) -> Result<Written, ToolError> {
    let reached = audit::reach(disk, image)?;
    let mut written = Written::default();
    let top = Beneath::empty(dest)?;
    let blobs = top.folder(b"blobs")?;
    let sha256 = blobs.folder(b"sha256")?;
    for blob in reached.present.values() {
        let name = blob.sha256.to_hex();
        let file = sha256.file(name.as_bytes(), &disk.open_blob(blob))?;
        sha256.finish_blob(name.as_bytes(), &file)?;
        written.files += 1;
        written.bytes = written.bytes.saturating_add(blob.size);
    }
    let companions = reached.companions.iter().map(named);
    let named_here = |digest| {
        reached
            .companions
            .iter()
            .any(|image| image.target.sha256 == digest)
    };
    let referrers = reached
        .referrers
        .iter()
        .filter(|digest| !named_here(**digest) && **digest != image.target.sha256);
    let referrers = referrers
        .filter_map(|digest| reached.present.get(digest))
        .map(bare);
    let entries: Vec<Value> = std::iter::once(named(image))
        .chain(companions)
        .chain(referrers)
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media_types::OCI_INDEX, "manifests": entries });
    top.small_file(b"index.json", format!("{index}\n").as_bytes())?;
    // Last: a folder without it is no layout, so one that was broken off is not taken for a whole one.
    top.small_file(b"oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for folder in [&sha256, &blobs, &top] {
        folder.open_to_all()?;
    }
    Ok(written)
}

fn bare(blob: &Blob) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.sha256.to_digest(), "size": blob.size })
}

/// An entry under its full name, as the mounted disk's own layout has it.
fn named(image: &Image) -> Value {
    let mut entry = bare(&image.target);
    let name = image.name.to_string();
    let annotations = match image.name.reference {
        Reference::Tag(_) => json!({ naming::CONTAINERD_NAME: name, naming::REF_NAME: name }),
        Reference::Digest(_) => json!({ naming::CONTAINERD_NAME: name }),
    };
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("annotations".to_owned(), annotations);
    }
    entry
}
