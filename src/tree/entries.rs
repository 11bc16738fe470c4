//! A directory's entries one after another, its pages read as it goes.

use super::{Aim, Directory, Entry, Leaf, numbered};
use crate::error::Result;
use crate::format::tree::TreePage;

/// A directory's entries in order; ends after the first error.
#[derive(Debug)]
pub struct Entries {
    pub(super) directory: Directory,
    pub(super) next: u64,
    /// The page that the next entry is on, with the number of entries gone through and the position of the next.
    pub(super) held: Option<(Leaf, usize, u64)>,
}

impl Entries {
    /// The entry that comes next on the page that is held.
    fn on_page(&mut self) -> Option<Result<Entry>> {
        let (leaf, at, preorder) = self.held.as_mut()?;
        let TreePage::Leaf(entries) = leaf.page.as_ref() else {
            return None;
        };
        let stored = entries.get(*at)?;
        let entry = self.directory.entry_of(stored, *preorder, self.next);
        *at += 1;
        *preorder += stored.inodes();
        self.next += 1;
        Some(entry)
    }

    /// Holds the page that the next entry is on.
    fn turn(&mut self) -> Result<()> {
        let leaf = self.directory.leaf(Aim::Index(self.next))?.ok_or_else(|| {
            self.directory
                .malformed("a directory has fewer entries than it counts")
        })?;
        let skip = crate::units::index64(self.next - leaf.entries_before);
        let preorder = numbered(&leaf, self.directory.inode)
            .nth(skip)
            .map(|(_, preorder, _)| preorder);
        self.held = Some((leaf, skip, preorder.unwrap_or_default()));
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.on_page().or_else(|| {
            if self.next >= self.directory.len() {
                return None;
            }
            let turned = self.turn().and_then(|()| {
                self.on_page().unwrap_or_else(|| {
                    Err(self
                        .directory
                        .malformed("a directory has fewer entries than it counts"))
                })
            });
            Some(turned)
        });
        if matches!(next, Some(Err(_))) {
            (self.held, self.next) = (None, u64::MAX);
        }
        next
    }
}
