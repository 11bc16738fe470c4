//! What is found, wherever and by whichever thread, until it is entered into the report.

use super::{Damage, NAMED_MAX, Part, is_unreadable};
use crate::error::Error;
use crate::ids::Sha256;
use crate::units::len64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all threads count together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Loose files.
    pub(super) files: AtomicU64,
    /// Loose files that a leaf should be there for.
    pub(super) nameable_files: AtomicU64,
    /// Contents that an earlier run had compared.
    pub(super) contents_taken_over: AtomicU64,
    /// Damages that were named.
    damages: AtomicU64,
    /// Damaged files that were named.
    damaged_files: AtomicU64,
}

/// Adds one, and says whether that is within the most that may be named.
fn may_be_named(count: &AtomicU64) -> bool {
    count.fetch_add(1, Ordering::Relaxed) < len64(NAMED_MAX)
}

/// What was found of one thing.
#[derive(Debug)]
pub(super) struct Found {
    part: Part,
    counts: Arc<Counts>,
    pub(super) unreadable: bool,
    pub(super) damages: Vec<Damage>,
    pub(super) more_damages: u64,
    pub(super) damaged_blobs: Vec<Sha256>,
    pub(super) damaged_files: Vec<String>,
    pub(super) more_damaged_files: u64,
    pub(super) damaged_trees: Vec<String>,
}

impl Found {
    pub(super) const fn new(part: Part, counts: Arc<Counts>) -> Self {
        Self {
            part,
            counts,
            unreadable: false,
            damages: Vec::new(),
            more_damages: 0,
            damaged_blobs: Vec::new(),
            damaged_files: Vec::new(),
            more_damaged_files: 0,
            damaged_trees: Vec::new(),
        }
    }

    pub(super) fn damage(&mut self, error: &Error) {
        self.unreadable |= is_unreadable(error);
        self.damaged(error.to_string());
    }

    pub(super) fn damaged(&mut self, text: String) {
        if may_be_named(&self.counts.damages) {
            let part = self.part;
            self.damages.push(Damage { part, text });
        } else {
            self.more_damages += 1;
        }
    }

    pub(super) fn damaged_file(&mut self, path: String) {
        if may_be_named(&self.counts.damaged_files) {
            self.damaged_files.push(path);
        } else {
            self.more_damaged_files += 1;
        }
    }

    /// How many damages were found, named or not.
    pub(super) fn damage_count(&self) -> u64 {
        len64(self.damages.len()) + self.more_damages
    }

    /// Whether there is nothing to enter.
    pub(super) fn is_empty(&self) -> bool {
        self.damage_count() == 0
            && !self.unreadable
            && self.damaged_blobs.is_empty()
            && self.damaged_trees.is_empty()
    }
}
