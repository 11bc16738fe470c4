//! Two catalogues, leaf by leaf.

use super::{Difference, Side, lower};
use crate::catalogue::CatalogueReader;
use crate::error::{Error, Result};
use crate::format::catalogue::Leaf;
use crate::format::content::Content;

/// Leaves that are not the same in both, in order of kind and name. Ends after the first error.
pub struct LeafDifferences<'a> {
    before: One<'a>,
    after: One<'a>,
    ended: bool,
}

/// One side.
struct One<'a> {
    leaves: Box<dyn Iterator<Item = Result<Leaf>> + 'a>,
    next: Option<(Vec<u8>, Leaf)>,
}

impl<'a> One<'a> {
    fn new(catalogue: &'a CatalogueReader) -> Self {
        Self {
            leaves: Box::new(catalogue.leaves_from(0)),
            next: None,
        }
    }

    /// Holds the next leaf. Leaves out of order would make the merge see what is not there.
    fn turn(&mut self, last: Option<&[u8]>) -> Result<()> {
        if self.next.is_some() {
            return Ok(());
        }
        let Some(leaf) = self.leaves.next().transpose()? else {
            return Ok(());
        };
        let key = leaf.sort_key();
        if last.is_some_and(|last| last >= key.as_slice()) {
            return Err(Error::malformed(
                format!("catalogue: {}", leaf.name),
                "its leaves are out of order",
            ));
        }
        self.next = Some((key, leaf));
        Ok(())
    }

    /// Takes the leaf that is held, and holds the one behind it.
    fn take(&mut self) -> Result<Option<Leaf>> {
        let Some((key, leaf)) = self.next.take() else {
            return Ok(None);
        };
        self.turn(Some(&key))?;
        Ok(Some(leaf))
    }
}

/// Goes through both catalogues from their beginning.
#[must_use]
pub fn leaf_differences<'a>(before: &'a CatalogueReader, after: &'a CatalogueReader) -> LeafDifferences<'a> {
    LeafDifferences {
        before: One::new(before),
        after: One::new(after),
        ended: false,
    }
}

impl LeafDifferences<'_> {
    fn advance(&mut self) -> Result<Option<Difference<Leaf>>> {
        // Only the first time: each side holds its next leaf from then on.
        self.before.turn(None)?;
        self.after.turn(None)?;
        loop {
            let keys = (self.before.next.as_ref(), self.after.next.as_ref());
            let Some(side) = lower(keys.0.map(|(key, _)| key), keys.1.map(|(key, _)| key)) else {
                return Ok(None);
            };
            match side {
                Side::Before => return Ok(self.before.take()?.map(Difference::Removed)),
                Side::After => return Ok(self.after.take()?.map(Difference::Added)),
                Side::Both => {
                    if let (Some(before), Some(after)) = (self.before.take()?, self.after.take()?)
                        && !same(&before, &after)
                    {
                        return Ok(Some(Difference::Changed(before, after)));
                    }
                }
            }
        }
    }
}

impl Iterator for LeafDifferences<'_> {
    type Item = Result<Difference<Leaf>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Whether two leaves of one name stand for the same. A blob is its digest, however it is kept; a tree is what it holds.
fn same(before: &Leaf, after: &Leaf) -> bool {
    let tree = |leaf: &Leaf| match &leaf.content {
        Content::Tree(tree) => Some((tree.hash, tree.entries, tree.inodes, tree.subdirectories)),
        _ => None,
    };
    (&before.media_type, before.sha256, before.size) == (&after.media_type, after.sha256, after.size)
        && tree(before) == tree(after)
}
