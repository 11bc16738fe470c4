//! A layer that is kept as a recipe and its tree's files: its bytes, made again a window at a time.

use super::{BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::content::RecipeRef;
use crate::ids::{BlobId, Sha256};
use crate::index::RebuiltWindows;
use crate::tree::{Directory, Found, Rooted};
use crate::units::{index64, len64};
use bytes::Bytes;
use holdall_recipe::outboard::GROUP;
use holdall_recipe::table::{Damage, Source, Table};
use parking_lot::Mutex;
use sha2::Digest as _;
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
    /// Bytes that the recipe takes of the packs.
    pub stored_bytes: u64,
    /// Bytes of the layer that the recipe has as they are, as no encoder's model predicts them.
    pub kept_bytes: u64,
    /// The encoders that the rest is made again with (FORMAT.md 11.3).
    pub encoders: Vec<String>,
}

/// Layers that are being read, with what was made of them last.
#[derive(Debug, Default)]
pub struct RemadeCache {
    layers: Mutex<VecDeque<(BlobId, Arc<Remade>)>>,
    /// Where windows are kept beyond that, if anywhere.
    windows: Option<Arc<RebuiltWindows>>,
}

impl RemadeCache {
    /// A cache that keeps what it made in `windows` too.
    #[must_use]
    pub fn on_disk(windows: RebuiltWindows) -> Self {
        Self {
            layers: Mutex::default(),
            windows: Some(Arc::new(windows)),
        }
    }

    /// The layer of these hashes and size; opened where it was not.
    pub(super) fn layer(
        &self,
        source: &Arc<dyn FrameSource>,
        (sha256, blob_id): &(Sha256, BlobId),
        size: u64,
        recipe: &RecipeRef,
    ) -> Result<Arc<Remade>> {
        let same = |layers: &VecDeque<(BlobId, Arc<Remade>)>| {
            layers.iter().position(|(id, layer)| {
                id == blob_id && layer.table.size == size && layer.digesting.digest == *sha256
            })
        };
        let mut layers = self.layers.lock();
        if let Some(found) = same(&layers).and_then(|at| layers.remove(at)) {
            let layer = Arc::clone(&found.1);
            layers.push_back(found);
            return Ok(layer);
        }
        drop(layers);
        // Opened without the lock: it waits for the medium. Two who do so at once both get one that serves.
        let windows = self.windows.clone();
        let layer = Arc::new(Remade::open(source, (sha256, blob_id), size, recipe, windows)?);
        let mut layers = self.layers.lock();
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
    digesting: Digesting,
    /// Where windows are kept beyond those, and what this layer is called there.
    kept: Option<(Arc<RebuiltWindows>, BlobId)>,
    /// Held while a window is made: who wants the same one waits for it, and does not make it too.
    making: Mutex<()>,
}

/// The layer's SHA-256, compared before the end of the layer leaves: each group is checked by the BlobId, but it is the digest that a
/// client asked for, and a disk that lies may give it to other bytes.
#[derive(Debug)]
struct Digesting {
    digest: Sha256,
    state: Mutex<DigestState>,
}

#[derive(Debug)]
enum DigestState {
    /// The next window, and the hash of those before it: they are the same for all readers.
    Open(u64, sha2::Sha256),
    Right,
    Wrong,
}

impl Default for DigestState {
    fn default() -> Self {
        Self::Open(0, sha2::Sha256::new())
    }
}

impl Digesting {
    /// Takes a window up; false where the digest has turned out to be another's. Whoever reads in order is never ahead of the
    /// hash, so that it is compared before the last window leaves.
    fn goes_on(&self, number: u64, bytes: &[u8], last: bool) -> bool {
        let mut state = self.state.lock();
        let (next, hash) = match &mut *state {
            DigestState::Right => return true,
            DigestState::Wrong => return false,
            DigestState::Open(next, hash) => (next, hash),
        };
        if *next != number {
            return true;
        }
        hash.update(bytes);
        *next += 1;
        if !last {
            return true;
        }
        let right = hash.finalize_reset().as_slice() == self.digest.as_bytes();
        *state = if right {
            DigestState::Right
        } else {
            DigestState::Wrong
        };
        right
    }
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
    fn open(
        source: &Arc<dyn FrameSource>,
        (sha256, blob_id): (&Sha256, &BlobId),
        size: u64,
        recipe: &RecipeRef,
        kept: Option<Arc<RebuiltWindows>>,
    ) -> Result<Self> {
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
            digesting: Digesting {
                digest: *sha256,
                state: Mutex::default(),
            },
            kept: kept.map(|windows| (windows, *blob_id)),
            making: Mutex::default(),
        })
    }

    /// What the recipe is made of.
    pub(super) fn figures(&self) -> Result<RecipeFigures> {
        let mut kept_bytes = 0;
        let (mut end, mut plain_end) = (0, 0);
        for part in &self.table.parts {
            // What has no plaintext is members' headers and trailers.
            if part.encoder == 0 && part.plain_end > plain_end {
                kept_bytes += part.end - end;
            }
            (end, plain_end) = (part.end, part.plain_end);
        }
        Ok(RecipeFigures {
            recipe_bytes: self.origin.recipe.size(),
            stored_bytes: self.origin.recipe.stored_bytes()?,
            kept_bytes,
            encoders: self.table.encoders.iter().map(ToString::to_string).collect(),
        })
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
            return self.passed(number, bytes);
        }
        let _one_at_a_time = self.making.lock();
        if let Some(bytes) = self.held(number) {
            return self.passed(number, bytes);
        }
        let start = number * WINDOW_GROUPS;
        let groups = start..(start + WINDOW_GROUPS).min(self.table.groups());
        let bytes = match self.kept_before(number, &groups) {
            Some(bytes) => bytes,
            None => {
                let bytes = self.make(groups).map_err(|err| self.origin.fault(err))?;
                if let Some((windows, layer)) = &self.kept {
                    // A node's disk that is full or broken costs time, and no bytes.
                    let _made_again_then = windows.put(layer, number, &bytes);
                }
                bytes
            }
        };
        let bytes = self.passed(number, bytes)?;
        let mut windows = self.windows.lock();
        if windows.len() >= WINDOWS {
            windows.pop_front();
        }
        windows.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    /// The window, once the digest has taken it up.
    fn passed(&self, number: u64, bytes: Bytes) -> Result<Bytes> {
        let last = (number + 1) * WINDOW_GROUPS >= self.table.groups();
        if self.digesting.goes_on(number, &bytes, last) {
            return Ok(bytes);
        }
        let why = format!(
            "its recipe gives other bytes than those of {}",
            self.digesting.digest.to_digest()
        );
        Err(Error::malformed(&self.origin.name, why))
    }

    /// The window as the node's disk has it, if that is what the outboard says.
    fn kept_before(&self, number: u64, groups: &Range<u64>) -> Option<Bytes> {
        let (windows, layer) = self.kept.as_ref()?;
        let bytes = windows.get(layer, number).ok()??;
        let start = groups.start * len64(GROUP);
        let checked = self.table.checked(start, &bytes, groups.clone()).ok()?;
        Some(Bytes::from(checked))
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
