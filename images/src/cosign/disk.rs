//! The images of a disk, and which of them are signed.

use super::claim::is_about_another;
use super::search::excused;
use super::{Fault, Holder, ImageSigned, PublicKey, Verdict, can_be_run, judge};
use crate::manifest::{Content, Descriptor, Document, MAX_MANIFEST};
use crate::naming::is_companion_tag;
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag};
use holdall::reader::{Blob, Disk};
use std::collections::HashMap;

/// Judges every image of the disk, in order of name. A name by digest is left out where a tag of its repository stands for
/// the same, and so is what belongs to another image and cannot be run: signatures, attestations, SBOMs.
///
/// Goes on past images that are damaged, which are not signed for that reason; and ends early where the catalogue is, which
/// whoever verifies the disk names.
///
/// # Errors
/// Once `stop` says so.
pub fn images_signed(disk: &Disk, keys: &[PublicKey], stop: &dyn Fn() -> bool) -> Result<Vec<ImageSigned>> {
    let holder = DiskHolder(disk);
    let mut signed = Vec::new();
    let mut repository = None::<Repository>;
    // Of the repository at hand: tags come before digests.
    let mut known = HashMap::<Sha256, Verdict>::new();
    for image in disk.images(None, None) {
        if stop() {
            return Err(holdall::Error::Interrupted.into());
        }
        let Ok(image) = image else { break };
        if repository.as_ref() != Some(&image.name.repository) {
            repository = Some(image.name.repository.clone());
            known.clear();
        }
        let digest = image.target.sha256;
        let by_tag = matches!(image.name.reference, Reference::Tag(_));
        if !by_tag && known.contains_key(&digest) {
            continue;
        }
        let target = descriptor(&image.target);
        if is_attachment(&holder, &image.name, &target)? {
            continue;
        }
        let verdict = match known.get(&digest) {
            Some(verdict) => verdict.clone(),
            None => holder.verdict(keys, &image.name.repository, &target)?,
        };
        known.insert(digest, verdict.clone());
        signed.push(ImageSigned {
            name: image.name,
            digest,
            verdict,
        });
    }
    Ok(signed)
}

fn descriptor(blob: &Blob) -> Descriptor {
    Descriptor::new(&blob.media_type, blob.sha256, blob.size)
}

/// Whether a name stands for something that belongs to another image, and not for an image. A tag says so by its form; a
/// digest, under which a tag's former meaning stays, has to be looked at. Whatever can be run is an image all the same.
fn is_attachment(holder: &DiskHolder<'_>, name: &ImageName, target: &Descriptor) -> Result<bool> {
    let attached = match &name.reference {
        Reference::Tag(tag) => is_companion_tag(tag.as_str()),
        Reference::Digest(_) => match holder.manifest(target) {
            Ok(document) => document.is_some_and(|document| says_of_another(holder, &document)),
            Err(error) => {
                excused(error)?;
                false
            }
        },
    };
    Ok(attached && !can_be_run(holder, target)?)
}

/// Whether a manifest says something of another, or an index lists nothing but such manifests.
fn says_of_another(holder: &DiskHolder<'_>, document: &Document) -> bool {
    let layers_do = |document: &Document| match &document.content {
        Content::Index(_) => false,
        Content::Manifest { layers, .. } => {
            !layers.is_empty() && layers.iter().all(|layer| is_about_another(&layer.media_type))
        }
    };
    let one_does = |document: &Document| document.subject.is_some() || layers_do(document);
    match &document.content {
        Content::Index(children) if !one_does(document) => {
            !children.is_empty()
                && children.iter().all(|child| {
                    holder
                        .manifest(child)
                        .is_ok_and(|child| child.is_none_or(|child| one_does(&child)))
                })
        }
        _ => one_does(document),
    }
}

struct DiskHolder<'a>(&'a Disk);

impl DiskHolder<'_> {
    fn verdict(&self, keys: &[PublicKey], repository: &Repository, target: &Descriptor) -> Result<Verdict> {
        // A signature of a digest is worth nothing where the manifest beneath has another.
        match self.manifest(target) {
            Ok(Some(_)) => judge(self, keys, repository, &target.digest),
            Ok(None) => Ok(Verdict::of_fault(Fault::manifest("missing"))),
            Err(error) => Ok(Verdict::of_fault(Fault::manifest(excused(error)?))),
        }
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>> {
        let place = format!("{}: {}", self.0.name(), descriptor.digest.to_digest());
        let Some(blob) = self.0.blob(&descriptor.digest)? else {
            return Ok(None);
        };
        if blob.size > limit {
            return Err(Error::too_large(
                place,
                format!("its length of {} bytes", blob.size),
                limit,
            ));
        }
        let bytes = self.0.read_small(&blob, limit)?;
        let found = Sha256::of(&bytes);
        if found != descriptor.digest {
            return Err(Error::mismatch(
                place,
                descriptor.digest.to_digest(),
                found.to_digest(),
            ));
        }
        Ok(Some(bytes.to_vec()))
    }
}

impl Holder for DiskHolder<'_> {
    fn tag(&self, repository: &Repository, tag: &str) -> Result<Option<Descriptor>> {
        let name = ImageName {
            repository: repository.clone(),
            reference: Reference::Tag(Tag::parse(tag)?),
        };
        Ok(self.0.image(&name)?.map(|image| descriptor(&image.target)))
    }

    fn referrers(&self, repository: &Repository, subject: &Sha256) -> Result<Vec<Descriptor>> {
        let found = self.0.referrers(repository, subject)?;
        Ok(found.iter().map(descriptor).collect())
    }

    fn manifest(&self, target: &Descriptor) -> Result<Option<Document>> {
        let place = format!("{}: {}", self.0.name(), target.digest.to_digest());
        let bytes = self.read(target, MAX_MANIFEST)?;
        bytes
            .map(|bytes| Document::parse(&bytes, &target.media_type, &place))
            .transpose()
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>> {
        self.read(descriptor, limit)
    }
}
