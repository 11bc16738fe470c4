//! `erofs/chains/` and `layers/`: each chain and each layer as the image of a file system, for a kernel to mount.
//!
//! An image is made when it is first looked at, never for a listing; what is kept of those is bounded. `layers/sha256/<xx>/<diffID>.erofs`, with the
//! diffID's first two digits for `<xx>`, is where containerd's erofs snapshotter looks for layers that it need not make (`layer_content_caches`).
//! A tree that no image can be made of is listed all the same, since only the whole of it would tell, and is not found when it is asked for.

use super::attributes::{Attributes, Kind};
use super::content::{OpenFile, Source};
use super::inode::Inode;
use super::listing::{DOTS, Emit, Listed};
use super::{View, digest_of};
use crate::FsError;
use holdall::erofs::{Image, NotMade};
use holdall::ids::Sha256;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of images that are kept: more than a node has in use at once. One that is not is made again each time it is read.
const KEPT: u64 = 512 << 20;
/// What follows a chainID or diffID in an image's name.
const SUFFIX: &str = ".erofs";

#[derive(Clone)]
struct Weight;

impl Weighter<u64, Arc<OpenFile>> for Weight {
    fn weight(&self, _: &u64, image: &Arc<OpenFile>) -> u64 {
        image.held_bytes() + 256
    }
}

/// Images by their inode numbers, and how large they are.
pub(super) struct Images {
    open: Cache<u64, Arc<OpenFile>, Weight>,
    /// Of each that was ever made, so that no listing says otherwise than the kernel was told before: it would cut off an image that is mounted.
    /// `None` of those that cannot be made.
    sizes: Mutex<HashMap<u64, Option<u64>>>,
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
            sizes: Mutex::default(),
        }
    }

    fn size(&self, number: u64) -> Option<Option<u64>> {
        self.sizes.lock().get(&number).copied()
    }
}

/// The digest that an image's name has in it.
fn image_digest(name: &[u8]) -> Option<Sha256> {
    name.strip_suffix(SUFFIX.as_bytes()).and_then(digest_of)
}

fn first_byte(digest: &Sha256) -> u8 {
    digest.as_bytes().first().copied().unwrap_or_default()
}

impl View {
    /// The image that has that inode.
    pub(super) fn kernel_image(&self, inode: Inode) -> Result<Arc<OpenFile>, FsError> {
        let number = self.number(inode)?;
        self.erofs.open.get_or_insert_with(&number, || {
            let (name, made) = match inode {
                Inode::LayerImage(position) => {
                    let layer = self.disk.layer_at(position)?;
                    let layer = layer.ok_or(FsError::NoSuchInode { number })?;
                    let ending = self.disk.chains_ending_with(&layer.diff_id)?;
                    let ending: Vec<_> = ending.iter().map(|chain| chain.rootfs().clone()).collect();
                    (layer.diff_id, Image::of_layer(layer.tree(), &ending))
                }
                Inode::ChainImage(position) => {
                    let chain = self.chain(position)?;
                    (chain.id, Image::of(chain.tree()))
                }
                other => return Err(self.wrong_kind(other, number, Kind::File)),
            };
            let image = match made {
                Ok(image) => image,
                Err(NotMade::Failed(error)) => return Err(error.into()),
                Err(NotMade::None(why)) => {
                    self.erofs.sizes.lock().insert(number, None);
                    let name = name.to_digest();
                    return Err(FsError::NoImage { name, why });
                }
            };
            self.erofs.sizes.lock().insert(number, Some(image.size()));
            Ok(Arc::new(OpenFile::new(number, Source::Erofs(image))))
        })
    }

    /// The attributes of the image that has that inode; `None`, after an error that says why, where there is none.
    pub(super) fn image_attributes(&self, inode: Inode) -> Result<Option<Attributes>, FsError> {
        let number = self.number(inode)?;
        let size = match self.erofs.size(number) {
            Some(size) => size,
            None => Some(self.kernel_image(inode)?.size()),
        };
        Ok(size.map(|size| self.stamp.file(number, size, 1)))
    }

    /// What a listing gives for an image's attributes, and whether that is what they are.
    pub(super) fn listed_image(&self, number: u64) -> (Attributes, bool) {
        let size = self.erofs.size(number).flatten();
        (self.stamp.file(number, size.unwrap_or(0), 1), size.is_some())
    }

    /// What `name` is in `erofs/chains/sha256/`.
    pub(super) fn lookup_chain_image(&self, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        let Some(id) = image_digest(name) else {
            return Ok(None);
        };
        match self.disk.chain_position(&id)? {
            Some(position) => self.image_attributes(Inode::ChainImage(position)),
            None => Ok(None),
        }
    }

    /// What `name` is in `layers/sha256/`.
    pub(super) fn lookup_layer_folder(&self, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        let text = std::str::from_utf8(name).unwrap_or_default();
        // What the other way round gives another text (`+1`, `AB`) is no name.
        let byte = u8::from_str_radix(text, 16).ok();
        let Some(byte) = byte.filter(|byte| format!("{byte:02x}") == text) else {
            return Ok(None);
        };
        let first = self.disk.diff_id_at(self.disk.layer_position(text)?)?;
        match first.filter(|id| first_byte(id) == byte) {
            Some(_) => self.attributes_of(Inode::LayerFolder(byte)).map(Some),
            None => Ok(None),
        }
    }

    /// What `name` is in the folder of the layers whose diffIDs begin with that byte.
    pub(super) fn lookup_layer_image(&self, byte: u8, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        let Some(id) = image_digest(name).filter(|id| first_byte(id) == byte) else {
            return Ok(None);
        };
        let position = self.disk.layer_position(&id.to_hex())?;
        if self.disk.diff_id_at(position)? != Some(id) {
            return Ok(None);
        }
        self.image_attributes(Inode::LayerImage(position))
    }

    fn emit_image(
        &self,
        id: &Sha256,
        position: u64,
        inode: Inode,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let name = format!("{}{SUFFIX}", id.to_hex());
        let listed = Listed {
            name: name.as_bytes(),
            next: position + 1 + DOTS,
            number: self.number(inode)?,
            kind: Kind::File,
            known: None,
        };
        emit(&listed)
    }

    pub(super) fn list_chain_images(&self, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        for position in index..self.disk.chain_count()? {
            let Some(id) = self.disk.chain_id_at(position)? else {
                break;
            };
            if self
                .emit_image(&id, position, Inode::ChainImage(position), emit)?
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn list_layer_folders(&self, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        let mut next = index;
        while let Ok(from) = u8::try_from(next) {
            let position = self.disk.layer_position(&format!("{from:02x}"))?;
            let Some(id) = self.disk.diff_id_at(position)? else {
                break;
            };
            let byte = first_byte(&id);
            next = u64::from(byte) + 1;
            let number = self.number(Inode::LayerFolder(byte))?;
            let name = format!("{byte:02x}");
            let listed = Listed {
                name: name.as_bytes(),
                next: next + DOTS,
                number,
                kind: Kind::Directory,
                known: Some(self.stamp.directory(number, 0, 2)),
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn list_layer_images(
        &self,
        byte: u8,
        index: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let begin = index.max(self.disk.layer_position(&format!("{byte:02x}"))?);
        // Of several layers of one diffID, made from different blobs, the first is shown.
        let mut last = match begin.checked_sub(1) {
            Some(before) => self.disk.diff_id_at(before)?,
            None => None,
        };
        for position in begin..self.disk.layer_count()? {
            let id = self.disk.diff_id_at(position)?;
            let Some(id) = id.filter(|id| first_byte(id) == byte) else {
                break;
            };
            if last != Some(id)
                && self
                    .emit_image(&id, position, Inode::LayerImage(position), emit)?
                    .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            last = Some(id);
        }
        Ok(ControlFlow::Continue(()))
    }
}
