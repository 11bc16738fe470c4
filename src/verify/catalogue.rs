//! The catalogue from end to end: leaves are handed out to all cores, and what is found of them is told in their order.

use super::contents::check_leaf;
use super::found::Found;
use super::{Check, is_unreadable};
use crate::catalogue::CatalogueReader;
use crate::error::{Error, Result};
use crate::format::catalogue::{FANOUT, Kind, Leaf};
use crate::format::content::Place;
use crate::ids::PageHash;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most directories that are remembered as whole; what is beyond is checked again where it is met again.
const REMEMBERED: usize = 1 << 20;

const PAGE: u64 = FANOUT as u64;

/// What the checks of leaves share.
pub(super) struct Leaves<'a> {
    pub(super) check: &'a Check<'a>,
    pub(super) catalogue: &'a CatalogueReader,
    /// Directories of layers and chains that are whole with all that is below them: most are in several trees.
    whole: Mutex<HashSet<DirectoryKey>>,
    to_check: Receiver<(u64, Leaf)>,
    /// By position; only where something was found.
    found: Sender<(u64, Result<Found>)>,
    stopped: AtomicBool,
}

/// The same pages at the same place are the same directory, counts and hard-link numbers included.
pub(super) type DirectoryKey = (PageHash, Place);

impl Leaves<'_> {
    /// Whether that directory was found to be whole, with all that is below it.
    pub(super) fn is_whole(&self, directory: &DirectoryKey) -> bool {
        self.whole.lock().contains(directory)
    }

    /// Remembers the directories of a tree in which nothing is damaged.
    pub(super) fn are_whole(&self, directories: HashSet<DirectoryKey>) {
        let mut whole = self.whole.lock();
        if whole.len() + directories.len() <= REMEMBERED {
            whole.extend(directories);
        }
    }

    fn work(&self) {
        for (position, leaf) in &self.to_check {
            let mut found = self.check.found();
            let done = check_leaf(self, &mut found, &leaf).map(|()| found);
            if done.is_err() {
                self.stopped.store(true, Ordering::Relaxed);
            }
            if done.as_ref().is_ok_and(Found::is_empty) {
                continue;
            }
            let _all_end_together = self.found.send((position, done));
        }
    }
}

/// What was read of the catalogue itself.
#[derive(Default)]
struct Pages {
    leaves: u64,
    /// Leaves of loose files.
    files: u64,
    damaged: bool,
}

/// Reads every leaf and checks what it is made of. A page that cannot be read costs its leaves only.
pub(super) fn check_all(check: &mut Check<'_>, catalogue: &CatalogueReader) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (leaves, to_check) = bounded(cores * 2);
    let (found, all_found) = unbounded();
    let shared = Leaves {
        check,
        catalogue,
        whole: Mutex::default(),
        to_check,
        found,
        stopped: AtomicBool::new(false),
    };
    let pages = std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| shared.work());
        }
        feed(&shared, leaves)
    })?;
    drop(shared);
    let mut all: Vec<(u64, Result<Found>)> = all_found.iter().collect();
    all.sort_by_key(|(position, _)| *position);
    for (_, found) in all {
        check.take(found?);
    }
    check.report.leaves = pages.leaves;
    check.report.catalogue_damaged |= pages.damaged;
    check.report.files = check.counts.files.load(Ordering::Relaxed);
    check.report.taken_over.contents = check.counts.contents_taken_over.load(Ordering::Relaxed);
    // Each file was looked up by its path: as many leaves as files then are the same ones. Where folders could not be read, nobody knows.
    let nameable = check.counts.nameable_files.load(Ordering::Relaxed);
    if pages.files != nameable && check.report.damaged_files.is_empty() && !check.report.catalogue_damaged {
        let files = pages.files;
        check.damaged(format!(
            "the catalogue lists {files} loose files one by one, where {nameable} belong"
        ));
    }
    Ok(())
}

/// Hands out the leaves in order.
fn feed(shared: &Leaves<'_>, leaves: Sender<(u64, Leaf)>) -> Result<Pages> {
    let (check, catalogue) = (shared.check, shared.catalogue);
    let mut pages = Pages::default();
    let mut told = HashSet::new();
    let mut position = 0;
    while position < catalogue.len() {
        check.check_interrupted()?;
        if shared.stopped.load(Ordering::Relaxed) {
            break;
        }
        match catalogue.at(position) {
            Ok(Some(leaf)) => {
                pages.leaves += 1;
                pages.files += u64::from(leaf.kind == Kind::File);
                // A loose file's leaf is compared where the tree has the file.
                if !matches!(leaf.kind, Kind::Absent | Kind::File) {
                    let _threads_end_only_after_us = leaves.send((position, leaf));
                }
                position += 1;
            }
            Ok(None) => break,
            Err(e) => {
                pages.damaged = true;
                if is_unreadable(&e) {
                    check.still_there()?;
                }
                if told.insert(e.to_string()) {
                    let _all_end_together = shared.found.send((position, Ok(of_page(check, &e))));
                }
                // The next page: what is wrong with this one was said.
                position = (position / PAGE + 1) * PAGE;
            }
        }
    }
    Ok(pages)
}

fn of_page(check: &Check<'_>, error: &Error) -> Found {
    let mut found = check.found();
    found.damage(error);
    found
}
