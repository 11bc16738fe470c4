//! Where signatures lie, whatever holds them: a disk, or a source of images.

use super::claim::{self, Claim, SIGNATURE, SIMPLE_SIGNING};
use super::{Fault, MAX_ATTACHED, MAX_PAYLOAD, MAX_SIGNATURES, PublicKey, Verdict};
use crate::manifest::{Content, Descriptor, Document};
use crate::naming::{COSIGN_ENDINGS, schema_tag};
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::name::Repository;
use std::collections::BTreeSet;

/// What holds images and their signatures. What it gives has been compared with its digest.
pub trait Holder {
    /// What a tag of the repository stands for.
    fn tag(&self, repository: &Repository, tag: &str) -> Result<Option<Descriptor>>;
    /// The manifests that say that they are about `subject`.
    fn referrers(&self, repository: &Repository, subject: &Sha256) -> Result<Vec<Descriptor>>;
    /// A manifest or index; None where it is not there.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Document>>;
    /// A small blob; None where it is not there.
    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>>;
}

/// Whether one of the keys signed the image of that digest. What is wrong with a signature is no error: the image then is
/// not signed, for that reason.
///
/// # Errors
/// Where the holder itself fails, so that nothing can be said: unreachable, interrupted.
pub fn judge(
    holder: &dyn Holder,
    keys: &[PublicKey],
    repository: &Repository,
    image: &Sha256,
) -> Result<Verdict> {
    let mut search = Search {
        holder,
        keys,
        image,
        signed: BTreeSet::new(),
        seen: 0,
        faults: BTreeSet::new(),
    };
    let waiting = search.attached(repository)?;
    let mut looked_at = BTreeSet::new();
    for descriptor in waiting {
        if search.signed.len() == keys.len() {
            break;
        }
        if !looked_at.insert(descriptor.digest) {
            continue;
        }
        if looked_at.len() > MAX_ATTACHED || search.seen >= MAX_SIGNATURES {
            search.faults.insert(Fault::TooMany);
            break;
        }
        search.manifest(&descriptor)?;
    }
    Ok(Verdict {
        signed_by: keys
            .iter()
            .enumerate()
            .filter(|(at, _)| search.signed.contains(at))
            .map(|(_, key)| key.name().to_owned())
            .collect(),
        faults: search.faults,
    })
}

/// Whether containers could be started from what is there of a manifest or index: such a thing is an image, whatever its name
/// says. What cannot be read counts as one.
pub fn can_be_run(holder: &dyn Holder, target: &Descriptor) -> Result<bool> {
    let mut waiting = vec![target.clone()];
    let mut seen = BTreeSet::new();
    while let Some(descriptor) = waiting.pop() {
        if !seen.insert(descriptor.digest) {
            continue;
        }
        if seen.len() > MAX_ATTACHED {
            return Ok(true);
        }
        let document = match holder.manifest(&descriptor) {
            Ok(Some(document)) => document,
            Ok(None) => continue,
            Err(error) => {
                excused(error)?;
                return Ok(true);
            }
        };
        match document.content {
            Content::Index(children) => waiting.extend(children),
            Content::Manifest { config, layers } => {
                // Layers of other kinds beside them keep no node from it, as they would in a stack of trees.
                let image = config.is_some_and(|config| media_types::is_image_config(&config.media_type));
                if image
                    && layers
                        .iter()
                        .any(|layer| media_types::is_layer(&layer.media_type))
                {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// What is wrong with something that was read, where that says nothing of the holder as a whole; else the failure.
pub fn excused(error: Error) -> Result<String> {
    let excused = match &error {
        Error::Missing { .. }
        | Error::Mismatch { .. }
        | Error::Malformed { .. }
        | Error::Unsupported { .. }
        | Error::Link { .. }
        | Error::TooLarge { .. } => true,
        Error::Store(error) => error.is_damage(),
        _ => false,
    };
    if excused {
        Ok(error.to_string())
    } else {
        Err(error)
    }
}

struct Search<'a> {
    holder: &'a dyn Holder,
    keys: &'a [PublicKey],
    image: &'a Sha256,
    /// Positions of the keys that signed.
    signed: BTreeSet<usize>,
    /// Signatures that were looked at.
    seen: usize,
    faults: BTreeSet<Fault>,
}

impl Search<'_> {
    /// What may hold signatures: by cosign's tag, by its own word, by the list that registries without the referrers API have.
    fn attached(&mut self, repository: &Repository) -> Result<Vec<Descriptor>> {
        let schema = schema_tag(self.image);
        let [signatures, ..] = COSIGN_ENDINGS;
        let mut found = Vec::new();
        let tagged = self.holder.tag(repository, &format!("{schema}{signatures}"));
        found.extend(self.kept(tagged)?.flatten());
        let referrers = self.holder.referrers(repository, self.image);
        found.extend(self.kept(referrers)?.unwrap_or_default());
        let list = self.holder.tag(repository, &schema);
        if let Some(list) = self.kept(list)?.flatten() {
            let document = self.holder.manifest(&list);
            if let Some(Document {
                content: Content::Index(children),
                ..
            }) = self.kept(document)?.flatten()
            {
                found.extend(children);
            }
        }
        Ok(found)
    }

    /// What was read; none where it could not be for a reason that is kept.
    fn kept<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) => {
                self.faults.insert(Fault::unreadable(excused(error)?));
                Ok(None)
            }
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<()> {
        let document = self.holder.manifest(descriptor);
        // Lists of referrers can outlive what they list.
        let Some(Document {
            content: Content::Manifest { layers, .. },
            ..
        }) = self.kept(document)?.flatten()
        else {
            return Ok(());
        };
        for layer in &layers {
            let is_bundle = claim::is_bundle(&layer.media_type);
            if !is_bundle && layer.media_type != SIMPLE_SIGNING {
                continue;
            }
            if self.seen >= MAX_SIGNATURES {
                self.faults.insert(Fault::TooMany);
                return Ok(());
            }
            self.seen += 1;
            let bytes = self.holder.blob(layer, MAX_PAYLOAD);
            let Some(bytes) = self.kept(bytes)? else { continue };
            let claim = match (bytes, layer.annotations.get(SIGNATURE)) {
                (None, _) => Err(Fault::unreadable(format!(
                    "{}: missing",
                    layer.digest.to_digest()
                ))),
                (Some(bytes), _) if is_bundle => claim::bundle(&bytes),
                (Some(bytes), Some(signature)) => claim::simple_signing(&bytes, signature),
                (Some(_), None) => Err(Fault::malformed(format!("no annotation {SIGNATURE}"))),
            };
            if let Err(fault) = claim.and_then(|claim| self.weigh(&claim)) {
                self.faults.insert(fault);
            }
        }
        Ok(())
    }

    /// Takes a claim for what it is worth.
    fn weigh(&mut self, claim: &Claim) -> std::result::Result<(), Fault> {
        if !claim.digests.contains(self.image) {
            return Err(claim
                .digests
                .first()
                .map_or(Fault::NoDigest, |digest| Fault::OtherDigest(*digest)));
        }
        let mut fault = Err(Fault::OtherKey);
        for (at, key) in self.keys.iter().enumerate() {
            if key.signed(&claim.message, &claim.signature) {
                self.signed.insert(at);
                fault = Ok(());
            }
        }
        fault
    }
}
