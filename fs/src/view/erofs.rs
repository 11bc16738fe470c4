//! `erofs/chains/`: each chain as the image of a file system, for a kernel to mount.
//!
//! An image is made when it is first looked at; what is kept of those is bounded.

use super::attributes::{Attributes, Kind};
use super::content::{OpenFile, Source};
use super::inode::Inode;
use super::listing::{DOTS, Emit, Listed};
use super::{View, digest_of};
use crate::FsError;
use holdall::erofs::Image;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of images that are kept: more than a node has in use at once. One that is not is made again each time it is read.
const KEPT: u64 = 512 << 20;
/// What follows a chainID in an image's name.
const SUFFIX: &str = ".erofs";

#[derive(Clone)]
struct Weight;

impl Weighter<u64, Arc<OpenFile>> for Weight {
    fn weight(&self, _: &u64, image: &Arc<OpenFile>) -> u64 {
        image.held_bytes() + 256
    }
}

/// Images by their chains' positions, and how large they are.
pub(super) struct Images {
    open: Cache<u64, Arc<OpenFile>, Weight>,
    /// Of many more than are kept.
    sizes: Cache<u64, u64>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").finish_non_exhaustive()
    }
}

impl Images {
    pub(super) fn new() -> Self {
        Self {
            open: Cache::with_weighter(64, KEPT, Weight),
            sizes: Cache::new(4096),
        }
    }
}

impl View {
    /// The image of the chain at that position.
    pub(super) fn erofs_image(&self, position: u64) -> Result<Arc<OpenFile>, FsError> {
        self.erofs.open.get_or_insert_with(&position, || {
            let number = self.number(Inode::Erofs(position))?;
            let image = Image::of(self.chain(position)?.tree())?;
            self.erofs.sizes.insert(position, image.size());
            Ok(Arc::new(OpenFile::new(number, Source::Erofs(image))))
        })
    }

    pub(super) fn erofs_attributes(&self, position: u64) -> Result<Attributes, FsError> {
        let size = match self.erofs.sizes.get(&position) {
            Some(size) => size,
            None => self.erofs_image(position)?.size(),
        };
        Ok(self.stamp.file(self.number(Inode::Erofs(position))?, size, 1))
    }

    /// What `name` is in `erofs/chains/sha256/`.
    pub(super) fn lookup_erofs(&self, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        let Some(id) = name.strip_suffix(SUFFIX.as_bytes()).and_then(digest_of) else {
            return Ok(None);
        };
        let chain = self.disk.chain(&id)?;
        chain
            .map(|chain| self.erofs_attributes(chain.position))
            .transpose()
    }

    pub(super) fn list_erofs(&self, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        for position in index..self.disk.chain_count()? {
            let name = format!("{}{SUFFIX}", self.chain(position)?.id.to_hex());
            let listed = Listed {
                name: name.as_bytes(),
                next: position + 1 + DOTS,
                number: self.number(Inode::Erofs(position))?,
                kind: Kind::File,
                known: None,
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
