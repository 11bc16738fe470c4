//! Layers that are kept as recipes.

use super::stored::{Made, StoredBlob};
use super::{BlobWriter, Ingest, StoredTree};
use crate::error::{Error, Result};
use crate::format::content::{Content, RecipeRef};
use crate::ids::{BlobId, Sha256};

impl Ingest {
    /// A writer for a recipe, which is listed nowhere by itself.
    #[must_use]
    pub fn recipe_writer(&self) -> BlobWriter {
        BlobWriter::of_tree(&self.inner, &[])
    }

    /// The layer of these hashes and `size` bytes that the recipe makes again out of the files of `tree`. That it does so
    /// is for the caller to know.
    pub fn remade_blob(
        &self,
        sha256: &Sha256,
        blob_id: &BlobId,
        size: u64,
        recipe: &StoredBlob,
        tree: &StoredTree,
    ) -> Result<StoredBlob> {
        self.inner.place_all(std::slice::from_ref(recipe))?;
        let content = recipe
            .content()
            .ok_or_else(|| Error::refused("a recipe has no place"))?;
        let content = Content::Recipe(Box::new(RecipeRef {
            size: recipe.size,
            recipe: content,
            tree: *tree.tree(),
        }));
        Ok(StoredBlob::new(*sha256, *blob_id, size, Made::Ready(content)))
    }
}
