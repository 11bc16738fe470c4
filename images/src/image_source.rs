//! What every source of images can be asked, whatever is behind it: a folder, an archive, a registry.
//! Knows nothing of the store.

use crate::manifest::Descriptor;
use crate::naming::OfferedName;
use crate::remote::RegistryOptions;
use crate::source::Source;
use crate::{Error, Result, archive, layout, remote};
use holdall::ids::Sha256;
use holdall::name::Repository;
use std::io::Read;

/// An image that a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it is called.
    pub name: OfferedName,
    /// Its manifest or index.
    pub target: Descriptor,
    /// True for what belongs to another image (a signature, an SBOM) and comes along with it.
    pub companion: bool,
}

/// A source of images: says what it has, and gives bytes by digest. What it gives is not trusted:
/// whoever asks checks digests and lengths. May be asked from several threads at once.
pub trait ImageSource: Send + Sync {
    /// What messages call it, as it was spelled.
    fn place(&self) -> &str;

    /// The images it offers (those selected when it was opened), in its own order.
    fn offers(&self) -> &[Offer];

    /// The bytes of a manifest or index; None where the source does not have it. At most
    /// [`crate::manifest::MAX_MANIFEST`] bytes, else an error.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>>;

    /// A reader of a blob's bytes from its first on; None where the source does not have it.
    fn open_blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Read + Send>>>;

    /// The manifests that say that they are about `subject`; empty where there are none.
    fn referrers(&self, subject: &Sha256) -> Result<Vec<Descriptor>>;

    /// What `tag` stands for in `repository`, or in the source as a whole where it knows no
    /// repositories; None where there is no such tag.
    fn tag(&self, repository: &Repository, tag: &str) -> Result<Option<Descriptor>>;

    /// How many blobs are read from it at once, at most.
    fn parallel(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Opens a source of images. [`Source::File`] and [`Source::Dir`] are none.
pub fn open(source: &Source, registry: &RegistryOptions) -> Result<Box<dyn ImageSource>> {
    match source {
        Source::Layout { dir, reference } => Ok(Box::new(layout::open(dir, reference.as_deref())?)),
        Source::OciArchive { file, reference } => {
            Ok(Box::new(archive::open_oci(file, reference.as_deref())?))
        }
        Source::DockerArchive { file, reference } => archive::open_docker(file, reference.as_deref()),
        Source::Registry(name) => Ok(Box::new(remote::open(name, registry)?)),
        Source::File(path) | Source::Dir(path) => Err(Error::refused(format!(
            "{}: loose files are not images",
            path.display()
        ))),
    }
}
