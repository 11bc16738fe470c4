//! A layer that is kept as a recipe and its tree's files: its bytes, made again a window at a time.

use super::lent::Lent;
use super::parts::{Make, Part, Threads, Urgency};
use super::reading::{Ahead, Come, Reading};
use super::{BlobReader, FrameSource};
use crate::error::{Error, Result};
use crate::format::content::RecipeRef;
use crate::ids::{BlobId, Sha256};
use crate::index::RebuiltWindows;
use crate::tree::{Directory, Found, Rooted};
use crate::units::{index64, len64};
use bytes::Bytes;
use holdall_recipe::outboard::GROUP;
use holdall_recipe::table::{self, Damage, Source, StretchEntry, Table};
use parking_lot::Mutex;
use sha2::Digest as _;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// Groups of a window: together 1 MiB of the layer.
const WINDOW_GROUPS: u64 = 4;
/// Windows that are kept, of all layers, besides those that readers are in.
const WINDOWS: usize = 8;
/// Layers whose tables are kept.
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
    windows: Arc<Windows>,
}

/// Windows that were made, each by its layer and number.
#[derive(Debug, Default)]
struct Windows {
    /// The last ones read stand at the end.
    last: Mutex<VecDeque<(BlobId, u64, Bytes)>>,
    /// Where they are kept beyond that, if anywhere.
    on_disk: Option<RebuiltWindows>,
}

impl Windows {
    fn get(&self, layer: &BlobId, number: u64) -> Option<Bytes> {
        let mut last = self.last.lock();
        let at = last
            .iter()
            .position(|(id, known, _)| id == layer && *known == number)?;
        let found = last.remove(at)?;
        let bytes = found.2.clone();
        last.push_back(found);
        Some(bytes)
    }

    fn put(&self, layer: &BlobId, number: u64, bytes: &Bytes) {
        let mut last = self.last.lock();
        if last.iter().any(|(id, known, _)| id == layer && *known == number) {
            return;
        }
        if last.len() >= WINDOWS {
            last.pop_front();
        }
        last.push_back((*layer, number, bytes.clone()));
    }

    fn is_on_disk(&self, layer: &BlobId, number: u64) -> bool {
        self.on_disk.as_ref().is_some_and(|kept| kept.has(layer, number))
    }
}

impl RemadeCache {
    /// A cache that keeps what it made in `windows` too.
    #[must_use]
    pub fn on_disk(windows: RebuiltWindows) -> Self {
        Self {
            layers: Mutex::default(),
            windows: Arc::new(Windows {
                last: Mutex::default(),
                on_disk: Some(windows),
            }),
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
                id == blob_id && layer.recipe.table.size == size && layer.digesting.digest == *sha256
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
        let windows = Arc::clone(&self.windows);
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
    id: BlobId,
    recipe: Arc<Recipe>,
    /// Parts that somebody has or waits for.
    parts: Mutex<Vec<(usize, Weak<Part>)>>,
    digesting: Arc<Digesting>,
    windows: Arc<Windows>,
}

/// What a layer is made of.
#[derive(Debug)]
struct Recipe {
    table: Table,
    origin: Origin,
}

impl Make for Recipe {
    fn make(&self, part: usize) -> Result<Bytes> {
        let made = self.table.part(&self.origin, part);
        made.map(Bytes::from).map_err(|err| self.origin.fault(err))
    }

    fn name(&self) -> String {
        self.origin.name.clone()
    }
}

/// The layer's SHA-256, compared before the end of the layer leaves: each group is checked by the BlobId, but it is the digest that a
/// client asked for, and a disk that lies may give it to other bytes.
#[derive(Debug)]
pub(super) struct Digesting {
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

/// A part that reaches beyond a window, and its length.
type Edge = Option<(Arc<Part>, usize)>;

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
        windows: Arc<Windows>,
    ) -> Result<Self> {
        let source = Lent::of(source);
        let rooted = Rooted::open(Arc::clone(&source), recipe.tree, true)?;
        let origin = Origin {
            recipe: BlobReader::new(source, recipe.size, recipe.recipe.clone()),
            rootfs: rooted.rootfs().clone(),
            name: format!("layer b3:{blob_id}"),
        };
        let table =
            Table::read(&origin, recipe.size, size, blob_id.as_bytes()).map_err(|err| origin.fault(err))?;
        Ok(Self {
            id: *blob_id,
            recipe: Arc::new(Recipe { table, origin }),
            parts: Mutex::default(),
            digesting: Arc::new(Digesting {
                digest: *sha256,
                state: Mutex::default(),
            }),
            windows,
        })
    }

    /// Bytes that its tables take.
    pub(super) fn table_bytes(&self) -> usize {
        let table = &self.recipe.table;
        let parts = table.parts.len().saturating_mul(size_of::<table::Part>());
        let stretches = table.stretches.len().saturating_mul(size_of::<StretchEntry>());
        let outboard = index64(table.groups()).saturating_mul(32);
        parts.saturating_add(stretches).saturating_add(outboard)
    }

    /// What the recipe is made of.
    pub(super) fn figures(&self) -> Result<RecipeFigures> {
        let Recipe { table, origin } = self.recipe.as_ref();
        let mut kept_bytes = 0;
        let (mut end, mut plain_end) = (0, 0);
        for part in &table.parts {
            // What has no plaintext is members' headers and trailers.
            if part.encoder == 0 && part.plain_end > plain_end {
                kept_bytes += part.end - end;
            }
            (end, plain_end) = (part.end, part.plain_end);
        }
        Ok(RecipeFigures {
            recipe_bytes: origin.recipe.size(),
            stored_bytes: origin.recipe.stored_bytes()?,
            kept_bytes,
            encoders: table.encoders.iter().map(ToString::to_string).collect(),
        })
    }

    /// Checked bytes from `offset` on, at least one and at most `max`; none at the end.
    pub(super) fn slice_at(&self, reading: &Reading, offset: u64, max: usize) -> Result<Bytes> {
        if offset >= self.recipe.table.size {
            return Ok(Bytes::new());
        }
        let number = offset / (WINDOW_GROUPS * len64(GROUP));
        let window = self.window(reading, number)?;
        let from = index64(offset - number * WINDOW_GROUPS * len64(GROUP));
        let to = window.len().min(from.saturating_add(max));
        if to == window.len() {
            reading.leave(number);
            if self.is_last(number) {
                reading.end();
            }
        }
        Ok(if from < to {
            window.slice(from..to)
        } else {
            Bytes::new()
        })
    }

    /// The groups of the window of that number.
    fn groups(&self, number: u64) -> Range<u64> {
        let start = number.saturating_mul(WINDOW_GROUPS);
        let end = start.saturating_add(WINDOW_GROUPS);
        start..end.min(self.recipe.table.groups())
    }

    fn is_last(&self, number: u64) -> bool {
        self.groups(number).end == self.recipe.table.groups()
    }

    fn window(&self, reading: &Reading, number: u64) -> Result<Bytes> {
        if let Some(bytes) = reading.held(number) {
            return self.passed(reading, number, bytes);
        }
        let come = reading.come_to(number);
        let known = self.windows.get(&self.id, number);
        let known = known.or_else(|| {
            let found = come.begun.is_none().then(|| self.kept_before(number)).flatten()?;
            self.windows.put(&self.id, number, &found);
            Some(found)
        });
        let bytes = match known {
            Some(bytes) => bytes,
            None => self.made(reading, number, come)?,
        };
        let bytes = self.passed(reading, number, bytes)?;
        reading.hold(number, &bytes);
        Ok(bytes)
    }

    /// The window as its parts give it, checked. Where the layer is read in order, and the threads have nothing better to do,
    /// they begin the next one.
    fn made(&self, reading: &Reading, number: u64, come: Come) -> Result<Bytes> {
        let threads = Threads::of_process();
        let busy = threads.are_busy();
        let groups = self.groups(number);
        let begun = come.begun.map(|ahead| ahead.parts);
        let parts = begun.unwrap_or_else(|| self.parts_of(&groups));
        drop(come.edge);
        threads.order(&parts, Urgency::Now);
        if come.in_order && !busy {
            self.begin_behind(reading, number);
        }
        let (bytes, edge) = self.put_together(parts, &groups)?;
        if let Some((edge, length)) = edge {
            reading.end_with(number, edge, length);
        }
        self.windows.put(&self.id, number, &bytes);
        if let Some(kept) = &self.windows.on_disk {
            // A node's disk that is full or broken costs time, and no bytes.
            let _made_again_then = kept.put(&self.id, number, &bytes);
        }
        Ok(bytes)
    }

    /// Begins the window behind that of `number`, which nobody has asked for, if there is room.
    fn begin_behind(&self, reading: &Reading, number: u64) {
        let behind = number.saturating_add(1);
        let groups = self.groups(behind);
        let known =
            || self.windows.get(&self.id, behind).is_some() || self.windows.is_on_disk(&self.id, behind);
        if groups.is_empty() || known() {
            return;
        }
        let table = &self.recipe.table;
        let numbers = table.parts_of(&groups);
        let length = table.start_of(numbers.end) - table.start_of(numbers.start);
        let parts = self.parts_of(&groups);
        let ahead = Ahead {
            number: behind,
            parts: parts.clone(),
        };
        if reading.look_ahead(number, ahead, index64(length)) {
            Threads::of_process().order(&parts, Urgency::Ahead);
        }
    }

    /// The parts of these groups; those that somebody has already are the same.
    fn parts_of(&self, groups: &Range<u64>) -> Vec<Arc<Part>> {
        let mut known = self.parts.lock();
        known.retain(|(_, part)| part.strong_count() > 0);
        let numbers = self.recipe.table.parts_of(groups);
        let mut parts = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut found = known.iter().filter(|(known, _)| *known == number);
            let found = found.find_map(|(_, part)| part.upgrade().filter(|part| part.is_sound()));
            parts.push(found.unwrap_or_else(|| {
                let maker: Arc<dyn Make> = Arc::clone(&self.recipe) as Arc<dyn Make>;
                let part = Part::new(maker, number);
                known.push((number, Arc::downgrade(&part)));
                part
            }));
        }
        parts
    }

    /// The bytes of these groups out of their parts, each group checked, and the part, with its length, that goes on beyond
    /// them. Each other is let go of once it is copied.
    fn put_together(&self, parts: Vec<Arc<Part>>, groups: &Range<u64>) -> Result<(Bytes, Edge)> {
        let table = &self.recipe.table;
        let wanted = table.bytes_of(groups);
        let mut bytes = Vec::with_capacity(index64(wanted.end - wanted.start));
        let mut edge = None;
        for part in parts {
            let made = part.bytes()?;
            let start = table.start_of(part.number());
            let from = index64(wanted.start.saturating_sub(start)).min(made.len());
            let to = index64(wanted.end.saturating_sub(start)).min(made.len());
            bytes.extend_from_slice(made.get(from..to).unwrap_or_default());
            edge = (table.start_of(part.number() + 1) > wanted.end).then(|| (part, made.len()));
        }
        let checked = table.check_groups(groups, &bytes);
        checked.map_err(|err| self.recipe.origin.fault(err.into()))?;
        Ok((Bytes::from(bytes), edge))
    }

    /// The window, once the digest has taken it up.
    fn passed(&self, reading: &Reading, number: u64, bytes: Bytes) -> Result<Bytes> {
        let digesting = reading.digesting(&self.digesting);
        if digesting.goes_on(number, &bytes, self.is_last(number)) {
            return Ok(bytes);
        }
        let why = format!(
            "its recipe gives other bytes than those of {}",
            self.digesting.digest.to_digest()
        );
        Err(Error::malformed(&self.recipe.origin.name, why))
    }

    /// The window as the node's disk has it, if that is what the outboard says.
    fn kept_before(&self, number: u64) -> Option<Bytes> {
        let kept = self.windows.on_disk.as_ref()?;
        let bytes = kept.get(&self.id, number).ok()??;
        let checked = self.recipe.table.check_groups(&self.groups(number), &bytes);
        checked.ok().map(|()| Bytes::from(bytes))
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
