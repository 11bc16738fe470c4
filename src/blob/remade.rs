//! A layer that is kept as a recipe and its tree's files: its bytes, made again a window at a time.

use super::{BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::content::RecipeRef;
use crate::ids::BlobId;
use crate::tree::{Directory, Found, Rooted};
use crate::units::{index64, len64};
use bytes::Bytes;
use holdall_recipe::outboard::GROUP;
use holdall_recipe::table::{Damage, Source, Table};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Groups of a window: together 2 MiB of the layer.
const WINDOW_GROUPS: u64 = 8;
/// Windows that are kept of a layer: the one that is read, and one that somebody else reads.
const WINDOWS: usize = 2;
/// Layers whose tables and windows are kept.
const LAYERS: usize = 16;

/// What a layer's recipe is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeFigures {
    /// Bytes of the recipe, before they are compressed.
    pub recipe_bytes: u64,
    /// Bytes of the layer that the recipe has as they are, as no encoder's model predicts them.
    pub kept_bytes: u64,
    /// The encoders that the rest is made again with (FORMAT.md 11.3).
    pub encoders: Vec<String>,
}

/// Layers that are being read, with what was made of them last.
#[derive(Debug, Default)]
pub struct RemadeCache(Mutex<VecDeque<(BlobId, Arc<Remade>)>>);

impl RemadeCache {
    /// The layer of that hash and size; opened where it was not.
    pub(super) fn layer(
        &self,
        source: &Arc<dyn FrameSource>,
        blob_id: &BlobId,
        size: u64,
        recipe: &RecipeRef,
    ) -> Result<Arc<Remade>> {
        let same = |layers: &VecDeque<(BlobId, Arc<Remade>)>| {
            layers
                .iter()
                .position(|(id, layer)| id == blob_id && layer.table.size == size)
        };
        let mut layers = self.0.lock();
        if let Some(found) = same(&layers).and_then(|at| layers.remove(at)) {
            let layer = Arc::clone(&found.1);
            layers.push_back(found);
            return Ok(layer);
        }
        drop(layers);
        // Opened without the lock: it waits for the medium. Two who do so at once both get one that serves.
        let layer = Arc::new(Remade::open(source, blob_id, size, recipe)?);
        let mut layers = self.0.lock();
        if same(&layers).is_none() {
            if layers.len() >= LAYERS {
                layers.pop_front();
            }
            layers.push_back((*blob_id, Arc::clone(&layer)));
        }
        Ok(layer)
    }
}

/// A layer being read.
#[derive(Debug)]
pub(super) struct Remade {
    table: Table,
    origin: Origin,
    /// The last ones read stand at the end.
    windows: Mutex<VecDeque<(u64, Bytes)>>,
    /// The part that reached beyond the last window: the next one begins with it.
    edge: Mutex<Option<(usize, Bytes)>>,
    /// Held while a window is made: who wants the same one waits for it, and does not make it too.
    making: Mutex<()>,
}

/// Where a recipe's bytes come from.
#[derive(Debug)]
struct Origin {
    recipe: BlobReader,
    rootfs: Directory,
    name: String,
}

/// Both errors that reading a recipe has.
struct Fault(Error);

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self(Error::malformed("a recipe", damage.to_string()))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl Source for Origin {
    type Error = Fault;

    fn recipe(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), Fault> {
        exactly(&self.recipe, offset, buf)
    }

    fn file(&self, inode: u64, offset: u64, buf: &mut [u8]) -> std::result::Result<(), Fault> {
        let at = self.rootfs.inode().checked_add(inode);
        let found = at.map_or(Ok(None), |at| self.rootfs.find(at))?;
        let Some(Found::Entry(directory, entry)) = found else {
            return Err(Damage(format!("it refers to inode {inode}, which is no file")).into());
        };
        exactly(&directory.open_file(&entry)?, offset, buf)
    }
}

fn exactly(reader: &BlobReader, offset: u64, buf: &mut [u8]) -> std::result::Result<(), Fault> {
    if reader.read_at(offset, buf)? < buf.len() {
        return Err(Damage("it refers to bytes beyond an end".to_owned()).into());
    }
    Ok(())
}

impl Remade {
    fn open(source: &Arc<dyn FrameSource>, blob_id: &BlobId, size: u64, recipe: &RecipeRef) -> Result<Self> {
        let rooted = Rooted::open(Arc::clone(source), recipe.tree, true)?;
        let origin = Origin {
            recipe: BlobReader::new(Arc::clone(source), recipe.size, recipe.recipe.clone()),
            rootfs: rooted.rootfs().clone(),
            name: format!("layer b3:{blob_id}"),
        };
        let table =
            Table::read(&origin, recipe.size, size, blob_id.as_bytes()).map_err(|err| origin.fault(err))?;
        Ok(Self {
            table,
            origin,
            windows: Mutex::default(),
            edge: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// What the recipe is made of.
    pub(super) fn figures(&self) -> RecipeFigures {
        let mut kept_bytes = 0;
        let (mut end, mut plain_end) = (0, 0);
        for part in &self.table.parts {
            // What has no plaintext is members' headers and trailers.
            if part.encoder == 0 && part.plain_end > plain_end {
                kept_bytes += part.end - end;
            }
            (end, plain_end) = (part.end, part.plain_end);
        }
        RecipeFigures {
            recipe_bytes: self.origin.recipe.size(),
            kept_bytes,
            encoders: self.table.encoders.iter().map(ToString::to_string).collect(),
        }
    }

    /// Checked bytes from `offset` on, at least one and at most `max`; none at the end.
    pub(super) fn slice_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        if offset >= self.table.size {
            return Ok(Bytes::new());
        }
        let number = offset / (WINDOW_GROUPS * len64(GROUP));
        let window = self.window(number)?;
        let from = index64(offset - number * WINDOW_GROUPS * len64(GROUP));
        let to = window.len().min(from.saturating_add(max));
        Ok(if from < to {
            window.slice(from..to)
        } else {
            Bytes::new()
        })
    }

    fn held(&self, number: u64) -> Option<Bytes> {
        let mut windows = self.windows.lock();
        let at = windows.iter().position(|(known, _)| *known == number)?;
        let found = windows.remove(at)?;
        let bytes = found.1.clone();
        windows.push_back(found);
        Some(bytes)
    }

    fn window(&self, number: u64) -> Result<Bytes> {
        if let Some(bytes) = self.held(number) {
            return Ok(bytes);
        }
        let _one_at_a_time = self.making.lock();
        if let Some(bytes) = self.held(number) {
            return Ok(bytes);
        }
        let start = number * WINDOW_GROUPS;
        let groups = start..(start + WINDOW_GROUPS).min(self.table.groups());
        let bytes = self.make(groups).map_err(|err| self.origin.fault(err))?;
        let mut windows = self.windows.lock();
        if windows.len() >= WINDOWS {
            windows.pop_front();
        }
        windows.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    /// Makes these groups, their parts on all cores.
    fn make(&self, groups: Range<u64>) -> std::result::Result<Bytes, Fault> {
        let parts = self.table.parts_of(&groups);
        let edge = self.edge.lock().clone().filter(|(part, _)| *part == parts.start);
        let first = parts.start;
        let next = AtomicUsize::new(first + usize::from(edge.is_some()));
        let made: Mutex<Vec<(usize, std::result::Result<Bytes, Fault>)>> = Mutex::default();
        made.lock().extend(edge.map(|(part, bytes)| (part, Ok(bytes))));
        let work = || loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts.end {
                return;
            }
            let bytes = self.table.part(&self.origin, part).map(Bytes::from);
            let failed = bytes.is_err();
            made.lock().push((part, bytes));
            if failed {
                next.store(parts.end, Ordering::Relaxed);
            }
        };
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..cores.min(parts.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut made = made.into_inner();
        made.sort_by_key(|(part, _)| *part);
        let mut bytes = Vec::new();
        let mut last = None;
        for (part, piece) in made {
            let piece = piece?;
            bytes.extend_from_slice(&piece);
            last = Some((part, piece));
        }
        let checked = self.table.checked(self.table.start_of(first), &bytes, groups)?;
        *self.edge.lock() = last;
        Ok(Bytes::from(checked))
    }
}

impl Origin {
    fn fault(&self, fault: Fault) -> Error {
        match fault.0 {
            Error::Malformed { why, .. } => Error::malformed(&self.name, why),
            other => other,
        }
    }
}
