//! How a disk keeps a layer's bytes, and why so.

use crate::Result;
use holdall::blob::RecipeFigures;
use holdall::ids::Sha256;
use holdall::reader::Disk;

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
    /// How that blob is kept; none where it is not on the disk.
    ///
    /// # Errors
    /// Where its recipe, or its first bytes, cannot be read.
    pub fn of(disk: &Disk, blob: &Sha256) -> Result<Option<Self>> {
        let Some(blob) = disk.blob(blob)? else {
            return Ok(None);
        };
        let reader = disk.open_blob(&blob);
        let recipe = reader.recipe()?;
        let mut magic = Vec::new();
        if recipe.is_none() {
            magic.extend_from_slice(&reader.slice_at(0, 4)?);
        }
        Ok(Some(Self {
            size: blob.size,
            recipe,
            magic,
        }))
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
