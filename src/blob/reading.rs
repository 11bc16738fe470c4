//! One reader's way through a layer that is made again: the window that it is in, and the next one, begun before it is asked
//! for where the layer is read in order.

use super::keeping::Keeping;
use super::parts::Part;
use super::remade::{Digesting, Remade};
use crate::error::Result;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A reader's way. The reader's clones share it; with the last of them goes what was begun for it.
#[derive(Debug)]
pub(super) struct Reading {
    /// Its number, which no other reader has.
    reader: u64,
    keeping: &'static Keeping,
    /// The hash that is compared at the layer's end: the same from the first window to the last, however often the layer is
    /// opened anew on the way.
    digesting: OnceLock<Arc<Digesting>>,
    /// The window that was read last.
    last: Mutex<Option<u64>>,
}

/// What a reader has of a window that it comes to.
#[derive(Debug, Default)]
pub(super) struct Come {
    /// Whether the window is the one behind the last.
    pub(super) in_order: bool,
    /// What was begun of it.
    pub(super) begun: Option<Ahead>,
    /// The last part of the window before, which may be the first of this one.
    pub(super) edge: Option<Arc<Part>>,
}

/// A window that was begun before it was asked for.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) number: u64,
    pub(super) parts: Vec<Arc<Part>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self::within(Keeping::of_process())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end();
        self.keeping.windows.take(self.reader);
    }
}

impl Reading {
    /// A reader that keeps what it keeps there.
    pub(super) fn within(keeping: &'static Keeping) -> Self {
        static READERS: AtomicU64 = AtomicU64::new(0);
        Self {
            reader: READERS.fetch_add(1, Ordering::Relaxed),
            keeping,
            digesting: OnceLock::new(),
            last: Mutex::new(None),
        }
    }

    /// The layer; `open` has it where it is not kept.
    pub(super) fn layer(&self, open: impl FnOnce() -> Result<Arc<Remade>>) -> Result<Arc<Remade>> {
        if let Some(layer) = self.keeping.layers.get(self.reader) {
            return Ok(layer);
        }
        let layer = open()?;
        let layers = &self.keeping.layers;
        layers.put(self.reader, layer.table_bytes(), Arc::clone(&layer));
        Ok(layer)
    }

    /// What this reader compares the layer with: `first`, if there was none before.
    pub(super) fn digesting(&self, first: &Arc<Digesting>) -> &Digesting {
        self.digesting.get_or_init(|| Arc::clone(first))
    }

    /// The window of that number, if the reader is in it.
    pub(super) fn held(&self, number: u64) -> Option<Bytes> {
        let last = self.last.lock();
        if *last != Some(number) {
            return None;
        }
        self.keeping.windows.get(self.reader)
    }

    /// Comes to the window of that number, and takes up what there is of it.
    pub(super) fn come_to(&self, number: u64) -> Come {
        let mut last = self.last.lock();
        self.keeping.windows.take(self.reader);
        let in_order = number.checked_sub(1).is_some_and(|before| *last == Some(before));
        *last = Some(number);
        let begun = self.keeping.ahead.take(self.reader);
        Come {
            in_order,
            begun: begun.filter(|ahead| ahead.number == number),
            edge: self.keeping.edges.take(self.reader),
        }
    }

    /// Keeps the last part, of so many bytes, of the window of that number.
    pub(super) fn end_with(&self, number: u64, edge: Arc<Part>, bytes: usize) {
        let last = self.last.lock();
        if *last == Some(number) {
            self.keeping.edges.put(self.reader, bytes, edge);
        }
    }

    /// Keeps what is to be begun, and takes so many bytes, of the window behind that of `number`. False where it is not kept:
    /// there is no room, or the reader is somewhere else by now.
    pub(super) fn look_ahead(&self, number: u64, ahead: Ahead, bytes: usize) -> bool {
        let last = self.last.lock();
        *last == Some(number) && self.keeping.ahead.put(self.reader, bytes, ahead)
    }

    /// Keeps the window while it is read.
    pub(super) fn hold(&self, number: u64, bytes: &Bytes) {
        let last = self.last.lock();
        if *last == Some(number) {
            let windows = &self.keeping.windows;
            windows.put(self.reader, bytes.len(), bytes.clone());
        }
    }

    /// Has read the window of that number to its end.
    pub(super) fn leave(&self, number: u64) {
        let last = self.last.lock();
        if *last == Some(number) {
            self.keeping.windows.take(self.reader);
        }
    }

    /// Has read the layer to its end: nothing of it is kept for what comes behind.
    pub(super) fn end(&self) {
        self.keeping.layers.take(self.reader);
        self.keeping.edges.take(self.reader);
        self.keeping.ahead.take(self.reader);
    }
}

#[cfg(test)]
#[path = "reading_test.rs"]
mod tests;
