//! An OCI image layout: `oci-layout`, `index.json` and `blobs/sha256/`. What holds those files, a
//! folder or a tar, is behind [`Files`].

pub mod folder;

use crate::image_source::{ImageSource, Offer};
use crate::manifest::{BadEntry, Descriptor, Document, MAX_MANIFEST, parse_entries};
use crate::naming::{CONTAINERD_NAME, Home, OfferedName, REF_NAME, entry_tag, is_companion_tag};
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::name::Repository;
use holdall::units::{index64, len64};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Longest `index.json` that is read, in bytes. It is read and parsed whole, and its entries are kept: several
/// times its length in memory.
const MAX_INDEX: u64 = 64 << 20;
/// Longest `oci-layout` that is read, in bytes.
const MAX_MARKER: u64 = 64 << 10;

/// A file of a layout, opened.
pub struct OpenFile {
    /// Reads it from its first byte on.
    pub reader: Box<dyn Read + Send>,
    /// Its length in bytes.
    pub len: u64,
}

impl OpenFile {
    /// The whole file, which may have `limit` bytes at most.
    pub(crate) fn read_whole(self, limit: u64, place: &str) -> Result<Vec<u8>> {
        if self.len > limit {
            return Err(Error::too_large(
                place,
                format!("its length of {} bytes", self.len),
                limit,
            ));
        }
        let mut bytes = Vec::with_capacity(index64(self.len));
        // One byte more than it should have shows a file that grows meanwhile.
        self.reader
            .take(self.len + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| Error::read(place, err))?;
        if len64(bytes.len()) != self.len {
            return Err(Error::mismatch(
                place,
                format!("{} bytes", self.len),
                format!("{} bytes", bytes.len()),
            ));
        }
        Ok(bytes)
    }
}

/// The files of a layout by their path in it.
pub trait Files: Send + Sync {
    /// Opens a file; None where there is none. Only regular files, none outside.
    fn open(&self, path: &str) -> Result<Option<OpenFile>>;
}

/// A layout as a source of images.
pub struct Layout<F> {
    files: F,
    place: String,
    entries: Vec<Offer>,
    offers: Vec<Offer>,
    referrers: BTreeMap<Sha256, Vec<Descriptor>>,
}

impl<F> std::fmt::Debug for Layout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout")
            .field("place", &self.place)
            .field("offers", &self.offers)
            .finish_non_exhaustive()
    }
}

/// Opens the layout in `dir`, and of its images the one that `reference` (a tag, a name, a digest)
/// selects, or all.
pub fn open(dir: &Path, reference: Option<&str>) -> Result<Layout<folder::Folder>> {
    let place = format!("oci:{}", dir.display());
    let folder = folder::Folder::open(dir, &place)?;
    let home = Home::of_folder(dir);
    Layout::open(folder, place, reference, |entry, _| {
        Ok(vec![home.of_entry(entry)])
    })
}

impl<F: Files> Layout<F> {
    /// Opens a layout, naming each entry of its index by `names`, which is given the entry and, where the
    /// layout has it and it is one, its manifest. An entry may have several names.
    pub(crate) fn open(
        files: F,
        place: String,
        reference: Option<&str>,
        names: impl Fn(&Descriptor, Option<&Document>) -> Result<Vec<OfferedName>>,
    ) -> Result<Self> {
        check_marker(&files, &place)?;
        let index_place = format!("{place}: index.json");
        let index = files
            .open("index.json")?
            .ok_or_else(|| Error::missing(&index_place))?;
        let index = parse_entries(&index.read_whole(MAX_INDEX, &index_place)?, &index_place)?;
        let mut layout = Self {
            files,
            place,
            entries: Vec::new(),
            offers: Vec::new(),
            referrers: BTreeMap::new(),
        };
        // What is wrong with an entry matters only once that entry is chosen, or all are.
        let mut unreadable = BTreeMap::new();
        for entry in index {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(bad) if is_chosen(&bad, reference) => return Err(bad.error),
                Err(_) => continue,
            };
            let entry_place = layout.place_of(&entry.digest);
            // An entry that is absent matters only once somebody wants it.
            // So does one of a type that is not carried.
            let readable = entry.media_type.is_empty() || media_types::is_manifest(&entry.media_type);
            let bytes = if readable {
                layout.checked_manifest(&entry)
            } else {
                Ok(None)
            };
            let document = bytes.and_then(|bytes| {
                bytes
                    .map(|bytes| Document::parse(&bytes, &entry.media_type, &entry_place))
                    .transpose()
            });
            let document = match document {
                Ok(document) => document,
                Err(error) if reference.is_none() => return Err(error),
                Err(error) => {
                    unreadable.insert(entry.digest, error);
                    None
                }
            };
            if let Some(document) = &document {
                entry.media_type.clone_from(&document.media_type);
            }
            let subject = document.as_ref().and_then(|document| document.subject);
            if let Some(subject) = subject {
                let list = layout.referrers.entry(subject).or_default();
                if !list.iter().any(|known| known.digest == entry.digest) {
                    list.push(entry.clone());
                }
            }
            for name in names(&entry, document.as_ref())? {
                let tag = entry_tag(&name);
                let companion = tag.map_or(subject.is_some(), is_companion_tag);
                layout.entries.push(Offer {
                    name,
                    target: entry.clone(),
                    companion,
                });
            }
        }
        layout.offers = layout.select(reference)?;
        for offer in &layout.offers {
            if let Some(error) = unreadable.remove(&offer.target.digest) {
                return Err(error);
            }
        }
        Ok(layout)
    }

    fn select(&self, reference: Option<&str>) -> Result<Vec<Offer>> {
        let Some(reference) = reference else {
            return Ok(self.entries.clone());
        };
        let text = reference.strip_prefix('@').unwrap_or(reference);
        let selected: Vec<Offer> = self
            .entries
            .iter()
            .filter(|entry| {
                let annotated = entry.target.annotations.get(REF_NAME).is_some_and(|name| name == reference);
                let named = matches!(&entry.name, OfferedName::Full(name) | OfferedName::Derived(name) if name.to_string() == reference);
                annotated || named || entry_tag(&entry.name) == Some(reference) || entry.target.digest.to_digest() == text
            })
            .cloned()
            .map(|offer| Offer { companion: false, ..offer })
            .collect();
        if selected.is_empty() {
            return Err(Error::missing(format!(
                "{}: an image {reference:?} in index.json",
                self.place
            )));
        }
        Ok(selected)
    }

    fn place_of(&self, digest: &Sha256) -> String {
        format!("{}: blobs/sha256/{}", self.place, digest.to_hex())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Option<OpenFile>> {
        let Some(file) = self
            .files
            .open(&format!("blobs/sha256/{}", descriptor.digest.to_hex()))?
        else {
            return Ok(None);
        };
        if file.len != descriptor.size {
            let expected = format!("{} bytes", descriptor.size);
            return Err(Error::mismatch(
                self.place_of(&descriptor.digest),
                expected,
                format!("{} bytes", file.len),
            ));
        }
        Ok(Some(file))
    }

    fn checked_manifest(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        let place = self.place_of(&descriptor.digest);
        let Some(bytes) = self
            .blob(descriptor)?
            .map(|file| file.read_whole(MAX_MANIFEST, &place))
            .transpose()?
        else {
            return Ok(None);
        };
        let found = Sha256::of(&bytes);
        if found != descriptor.digest {
            return Err(Error::mismatch(
                place,
                descriptor.digest.to_digest(),
                found.to_digest(),
            ));
        }
        Ok(Some(bytes))
    }
}

impl<F: Files> ImageSource for Layout<F> {
    fn place(&self) -> &str {
        &self.place
    }

    fn offers(&self) -> &[Offer] {
        &self.offers
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        self.checked_manifest(descriptor)
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Read + Send>>> {
        Ok(self.blob(descriptor)?.map(|file| file.reader))
    }

    fn referrers(&self, subject: &Sha256) -> Result<Vec<Descriptor>> {
        Ok(self.referrers.get(subject).cloned().unwrap_or_default())
    }

    fn tag(&self, repository: &Repository, tag: &str) -> Result<Option<Descriptor>> {
        let tagged = || {
            self.entries
                .iter()
                .filter(|entry| entry_tag(&entry.name) == Some(tag))
        };
        let same =
            |entry: &&Offer| matches!(&entry.name, OfferedName::Full(name) if name.repository == *repository);
        Ok(tagged()
            .find(same)
            .or_else(|| tagged().next())
            .map(|entry| entry.target.clone()))
    }
}

/// Whether an entry that cannot be used is one of those asked for.
fn is_chosen(bad: &BadEntry, reference: Option<&str>) -> bool {
    let Some(reference) = reference else { return true };
    let named = [REF_NAME, CONTAINERD_NAME]
        .iter()
        .filter_map(|key| bad.annotations.get(*key))
        .any(|name| {
            let tag = name
                .strip_suffix(reference)
                .is_some_and(|rest| rest.ends_with(':'));
            name == reference || tag
        });
    named || bad.digest == reference.strip_prefix('@').unwrap_or(reference)
}

/// Checks that this is a layout, of a version that is known.
fn check_marker(files: &impl Files, place: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let place = format!("{place}: oci-layout");
    let file = files.open("oci-layout")?.ok_or_else(|| Error::missing(&place))?;
    let marker: Marker = serde_json::from_slice(&file.read_whole(MAX_MARKER, &place)?)
        .map_err(|err| Error::json(&place, &err))?;
    if !marker.image_layout_version.starts_with("1.0.") {
        let version: String = marker.image_layout_version.chars().take(40).collect();
        return Err(Error::unsupported(
            place,
            format!("image layouts of version {version:?} (only 1.0.x)"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
