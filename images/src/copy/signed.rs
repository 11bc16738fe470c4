//! Whether images are signed, before anything of them is carried.

use super::Run;
use super::walk::Reader;
use crate::Result;
use crate::cosign::{Holder, ImageSigned, PublicKey, can_be_run, judge};
use crate::image_source::ImageSource;
use crate::manifest::{Descriptor, Document};
use crate::naming::{Chosen, is_companion_tag};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag};

impl Run<'_> {
    /// Judges an image of a source, and what would come along with it under a tag of cosign's form though it can be run. Empty
    /// for a signature and the like, which belongs to another image. Reads manifests and signatures only, and stores nothing.
    ///
    /// What is carried later has the digest that was judged, whatever the source says then.
    ///
    /// # Errors
    /// Where the source fails, so that nothing can be said.
    pub fn judge(
        &self,
        source: &dyn ImageSource,
        image: &Chosen,
        keys: &[PublicKey],
    ) -> Result<Vec<ImageSigned>> {
        let holder = SourceHolder(Reader {
            ingest: self.ingest,
            source,
            store: false,
        });
        let repository = &image.name.repository;
        let judged = |name: ImageName, digest: Sha256| -> Result<ImageSigned> {
            Ok(ImageSigned {
                verdict: judge(&holder, keys, repository, &digest)?,
                name,
                digest,
            })
        };
        let by_tag = matches!(&image.name.reference, Reference::Tag(tag) if is_companion_tag(tag.as_str()));
        if (image.companion || by_tag) && !can_be_run(&holder, &image.target)? {
            return Ok(Vec::new());
        }
        let mut found = vec![judged(image.name.clone(), image.target.digest)?];
        for (tag, digest) in self.walk(source, image, false)?.tags {
            let target = holder.tag(repository, &tag)?;
            let runs = match target.filter(|target| target.digest == digest) {
                Some(target) => can_be_run(&holder, &target)?,
                // It stood for another a moment ago.
                None => true,
            };
            if runs {
                let name = ImageName {
                    repository: repository.clone(),
                    reference: Reference::Tag(Tag::parse(&tag)?),
                };
                found.push(judged(name, digest)?);
            }
        }
        Ok(found)
    }
}

struct SourceHolder<'a>(Reader<'a>);

impl Holder for SourceHolder<'_> {
    fn tag(&self, repository: &Repository, tag: &str) -> Result<Option<Descriptor>> {
        self.0.source.tag(repository, tag)
    }

    fn referrers(&self, _repository: &Repository, subject: &Sha256) -> Result<Vec<Descriptor>> {
        self.0.source.referrers(subject)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Document>> {
        let Some((bytes, _)) = self.0.manifest(descriptor)? else {
            return Ok(None);
        };
        let place = self.0.place(&descriptor.digest);
        Document::parse(&bytes, &descriptor.media_type, &place).map(Some)
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>> {
        self.0.small_blob(descriptor, limit)
    }
}
