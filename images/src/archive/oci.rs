//! A layout inside a tar: `oci-archive:`, and what `docker save` writes since Docker 25.

use super::docker::Listing;
use super::tar_index::TarIndex;
use crate::Result;
use crate::layout::Layout;
use crate::manifest::{Content, Descriptor, Document};
use crate::naming::{CONTAINERD_NAME, Home, OfferedName, REF_NAME};
use holdall::name::ImageName;
use std::path::Path;

/// Opens a tar of a layout, and of its images the one that `reference` (a tag, a name, a digest)
/// selects, or all.
pub fn open_oci(file: &Path, reference: Option<&str>) -> Result<Layout<TarIndex>> {
    let place = format!("oci-archive:{}", file.display());
    let index = TarIndex::open(file, &place)?;
    let home = Home::of_archive(file);
    Layout::open(index, place, reference, |entry, _| Ok(vec![home.of_entry(entry)]))
}

/// Opens the layout inside what `docker save` wrote. An entry that its annotations do not name has the
/// names that `manifest.json` gives the image of the same config.
pub fn open_inside_docker(
    index: TarIndex,
    place: String,
    file: &Path,
    reference: Option<&str>,
    listing: &Option<Listing>,
) -> Result<Layout<TarIndex>> {
    let home = Home::of_archive(file);
    let names = |entry: &Descriptor, document: Option<&Document>| {
        let annotated = [CONTAINERD_NAME, REF_NAME]
            .iter()
            .any(|key| entry.annotations.contains_key(*key));
        let config = match document.map(|document| &document.content) {
            Some(Content::Manifest {
                config: Some(config), ..
            }) => Some(config.digest),
            _ => None,
        };
        let names = match (listing, config) {
            (Some(listing), Some(config)) if !annotated => listing.names_of_config(&config)?,
            _ => Vec::new(),
        };
        Ok(if names.is_empty() {
            vec![home.of_entry(entry)]
        } else {
            names.into_iter().map(OfferedName::Full).collect()
        })
    };
    // `nginx:1` is as good a way to name one here as the full name is.
    let full = reference
        .and_then(|text| ImageName::parse_familiar(text).ok())
        .map(|name| name.to_string());
    match (Layout::open(index.clone(), place.clone(), reference, names), full) {
        (Err(crate::Error::Missing { .. }), Some(full)) if Some(full.as_str()) != reference => {
            Layout::open(index, place, Some(&full), names)
        }
        (result, _) => result,
    }
}
