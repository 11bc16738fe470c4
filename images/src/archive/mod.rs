//! Images in tar files: `oci-archive:` (a layout) and `docker-archive:` (what `docker save` writes, old
//! and new). Archives are read in place, at random: nothing is unpacked.

mod docker;
mod oci;
mod tar_index;

pub use oci::open_oci;

use crate::image_source::ImageSource;
use crate::{Error, Result};
use std::path::Path;

/// Opens what `docker save` wrote, and of its images the one that `reference` (a name, a digest, or
/// `@n` for the n-th from 0) selects, or all.
pub fn open_docker(file: &Path, reference: Option<&str>) -> Result<Box<dyn ImageSource>> {
    let place = format!("docker-archive:{}", file.display());
    let index = tar_index::TarIndex::open(file, &place)?;
    let listing = docker::Listing::read(&index, &place)?;
    // Since Docker 25 there is a layout inside, which has the digests as they were pulled.
    if index.contains("index.json") && index.contains("oci-layout") {
        return Ok(Box::new(oci::open_inside_docker(
            index, place, file, reference, &listing,
        )?));
    }
    let listing = listing.ok_or_else(|| Error::missing(format!("{place}: manifest.json")))?;
    Ok(Box::new(docker::DockerArchive::open(
        index, place, file, reference, listing,
    )?))
}

#[cfg(test)]
mod tests;
