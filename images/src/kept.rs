//! How a disk keeps a layer's bytes, and why so.

use crate::copy::Stack;
use crate::derivation::Gathering;
use crate::layer::{self, Compression, LayerError, Limits};
use crate::manifest::{Content, Document, MAX_MANIFEST};
use crate::{Error, Result, media_types};
use holdall::blob::{BlobStream, RecipeFigures};
use holdall::ids::Sha256;
use holdall::reader::{Blob, Disk};
use std::cell::Cell;
use std::collections::BTreeSet;

/// Pieces of a layer that are looked at for why it is no tree: of 256 KiB at most as it is kept, of 1 MiB at most decompressed.
/// That is 16 MiB read, and 64 MiB decompressed, at most.
const LOOKED_AT: u32 = 64;

/// How a layer's bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of the layer.
    pub size: u64,
    /// What it is made again from; none where it is kept as it is.
    pub recipe: Option<RecipeFigures>,
    magic: Vec<u8>,
}

impl Kept {
    /// How that blob is kept.
    ///
    /// # Errors
    /// Where its recipe, or its first bytes, cannot be read.
    pub fn of(disk: &Disk, blob: &Blob) -> Result<Self> {
        let reader = disk.open_blob(blob);
        let recipe = reader.recipe()?;
        let mut magic = Vec::new();
        if recipe.is_none() {
            magic.extend_from_slice(&reader.slice_at(0, 4)?);
        }
        Ok(Self {
            size: blob.size,
            recipe,
            magic,
        })
    }

    /// Bytes of the layer that are kept as they are.
    #[must_use]
    pub fn whole_bytes(&self) -> u64 {
        self.recipe.as_ref().map_or(self.size, |recipe| recipe.kept_bytes)
    }

    /// Why some of it, or all, is kept as it is; none where nothing is.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        if let Some(recipe) = &self.recipe {
            return (recipe.kept_bytes > 0).then_some("no encoder that is known writes them so");
        }
        Some(match self.magic.as_slice() {
            [0x1f, 0x8b, ..] if self.size < crate::copy::RETRACED_MIN => "a recipe would be larger",
            [0x1f, 0x8b, ..] => {
                "written at level fast, or its gzip or tar cannot be taken apart, or one of its entries replaces another"
            }
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                "compressed with zstd, which each version of its encoder does in another way"
            }
            _ => "not compressed with gzip",
        })
    }
}

/// Layers that images of the disk have, and that are on the disk without a tree: all but those `with_tree`, each once, in
/// order of digest. `damaged` is told of manifests that cannot be read.
///
/// # Errors
/// Where the catalogue cannot be read.
pub fn without_tree(
    disk: &Disk,
    with_tree: &BTreeSet<Sha256>,
    damaged: &mut dyn FnMut(Error),
) -> Result<Vec<Blob>> {
    let mut layers = BTreeSet::new();
    for position in 0..disk.blob_count()? {
        let Some(blob) = disk.blob_at(position)? else {
            break;
        };
        if !media_types::is_manifest(&blob.media_type) {
            continue;
        }
        match stack_of(disk, &blob) {
            Ok(stack) => layers.extend(stack.into_iter().flat_map(|stack| stack.layers).map(|l| l.digest)),
            Err(err) => damaged(err),
        }
    }
    let mut found = Vec::new();
    for digest in layers.difference(with_tree) {
        // What is not there was left out.
        found.extend(disk.blob(digest)?);
    }
    Ok(found)
}

fn stack_of(disk: &Disk, manifest: &Blob) -> Result<Option<Stack>> {
    let bytes = disk.read_small(manifest, MAX_MANIFEST)?;
    let place = format!("{}: {}", disk.name(), manifest.sha256.to_digest());
    Ok(
        match Document::parse(&bytes, &manifest.media_type, &place)?.content {
            Content::Manifest { config, layers } => Stack::of(config.as_ref(), &layers),
            Content::Index(_) => None,
        },
    )
}

/// Why there is no tree of that layer, as far as its beginning tells: at most 16 MiB are read, or come to 64 MiB decompressed.
///
/// # Errors
/// Where its bytes cannot be read.
pub fn why_no_tree(disk: &Disk, blob: &Blob) -> Result<String> {
    let mut bytes = BlobStream::new(disk.open_blob(blob));
    let mut sink = Gathering::default();
    let asked = Cell::new(0);
    let enough = || {
        asked.set(asked.get() + 1);
        asked.get() > LOOKED_AT
    };
    let read = layer::read(
        &mut bytes,
        Compression::Auto,
        &Limits::default(),
        &mut sink,
        &enough,
    );
    Ok(match (sink.fault, read) {
        (Some(fault), _) => format!("no tree: {fault}"),
        (None, Err(LayerError::Interrupted)) => {
            "no tree, for something further on in it; or a tree, but of no image that can be run in place"
                .to_owned()
        }
        (None, Err(err)) => format!("no tree: {}", err.into_refusal(&blob.sha256.to_digest())?),
        (None, Ok(_)) => "a tree, but of no image that can be run in place".to_owned(),
    })
}
