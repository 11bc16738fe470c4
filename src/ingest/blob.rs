//! One blob coming in: blocks are hashed, cut into chunks, looked up, and put into frames.

use super::frames::FrameBuilder;
use super::hashing::Hashing;
use super::route::Routes;
use super::stored::{Made, OpenEntry, StoredBlob};
use super::ticket::Pending;
use super::{Ingest, Inner};
use crate::chunk;
use crate::error::{Error, Result};
use crate::format::content::Content;
use crate::format::frame::FrameKind;
use crate::format::list::{FANOUT, ListPage};
use crate::format::{CHUNK_MAX, INLINE_MAX};
use crate::ids::{ChunkId, PageHash, Sha256};
use crate::name::EntryName;
use crate::sketch;
use crate::units::{index, index64, len64};
use std::io::Read;
use std::sync::Arc;

/// New bytes in a block; before them may stand what the last one left uncut.
const BLOCK: usize = 1024 * 1024;
/// Longer blobs are hashed on a thread of their own.
const LONG: u64 = 4 * 1024 * 1024;
/// A blob's last frame is kept to itself from this size on; less goes into a shared one.
const OWN_FRAME: usize = 256 * 1024;

/// Takes one blob's bytes in order. Dropped unfinished, it leaves nothing in the catalogue.
#[derive(Debug)]
pub struct BlobWriter {
    inner: Arc<Inner>,
    hashing: Hashing,
    /// What was not cut yet, then room for what comes.
    block: Arc<Vec<u8>>,
    /// How much of the block was hashed (all that came before the last call, but for new bytes).
    hashed: usize,
    spare: Option<Arc<Vec<u8>>>,
    size: u64,
    frames: Routes,
    /// What the blob is called, where that is known: its chunks are looked for by it.
    path: Vec<EntryName>,
    /// Bytes cut into chunks so far.
    cut: u64,
    entries: Vec<OpenEntry>,
    /// Bytes that the entries of the current leaf page cover.
    page_bytes: u64,
    /// Full pages whose frames may still be on their way, by level; a level's last is held back so
    /// that waiting for its places costs nothing.
    levels: Vec<Vec<OpenEntry>>,
    held: Option<Vec<OpenEntry>>,
    /// Whether it is a file of a layer's tree: it has no SHA-256, and a run that is taken up reads its layer again.
    of_tree: bool,
    /// Whether its chunks are stored once more, in frames of their own, though the medium has them.
    again: bool,
}

impl BlobWriter {
    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        Self {
            inner: Arc::clone(inner),
            hashing: Hashing::new(),
            block: Arc::default(),
            hashed: 0,
            spare: None,
            size: 0,
            frames: Routes::new(FrameBuilder::new(FrameKind::Plaintext)),
            path: Vec::new(),
            cut: 0,
            entries: Vec::new(),
            page_bytes: 0,
            levels: Vec::new(),
            held: None,
            of_tree: false,
            again: false,
        }
    }

    /// A writer for chunks that the medium has, and that are stored once more: see [`BlobWriter::push_chunk`].
    pub(super) fn again(inner: &Arc<Inner>) -> Self {
        let mut writer = Self::of(inner);
        writer.again = true;
        writer
    }

    /// Takes a chunk as it is, between two calls of nothing else.
    pub(super) fn push_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        self.hashing.update(&Arc::new(bytes.to_vec()), 0, false)?;
        self.size += len64(bytes.len());
        self.chunk(bytes)
    }

    /// A writer for a file of a layer's tree, which has that path.
    pub(super) fn of_tree(inner: &Arc<Inner>, path: &[EntryName]) -> Self {
        let mut writer = Self::of(inner);
        writer.hashing = Hashing::blake3_alone();
        writer.frames = Routes::new(FrameBuilder::new(FrameKind::Plaintext).of_tree());
        writer.path = path.to_vec();
        writer.of_tree = true;
        writer
    }

    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.size
    }

    /// True where nothing has come yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Takes the next bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block_mut()?.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Takes everything that `source` gives, read straight into the writer's own blocks; how many
    /// bytes that was. `place` names the source.
    pub fn copy_from(&mut self, source: &mut (impl Read + ?Sized), place: &str) -> Result<u64> {
        let before = self.len_with_block();
        loop {
            let room = self.room()?;
            let block = self.block_mut()?;
            let read = Read::take(&mut *source, len64(room))
                .read_to_end(block)
                .map_err(|e| Error::io(place, e))?;
            if read < room {
                return Ok(self.len_with_block() - before);
            }
        }
    }

    /// Takes that many zero bytes.
    pub fn write_zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let now = self.room()?.min(index64(count));
            let block = self.block_mut()?;
            let len = block.len() + now;
            block.resize(len, 0);
            count -= len64(now);
        }
        Ok(())
    }

    fn len_with_block(&self) -> u64 {
        self.size + len64(self.block.len() - self.hashed)
    }

    /// How many more bytes the block takes; at least one, as a full one is worked off first.
    fn room(&mut self) -> Result<usize> {
        if self.block.len() - self.hashed >= BLOCK {
            self.work_off(false)?;
        }
        Ok(BLOCK - (self.block.len() - self.hashed))
    }

    fn block_mut(&mut self) -> Result<&mut Vec<u8>> {
        let block =
            Arc::get_mut(&mut self.block).ok_or_else(|| Error::refused("a block is still being hashed"))?;
        if block.capacity() == 0 {
            block.reserve_exact(BLOCK + index(CHUNK_MAX));
        }
        Ok(block)
    }

    /// Hashes what is new in the block, cuts what can be cut, and keeps the rest for the next block.
    fn work_off(&mut self, last: bool) -> Result<()> {
        if self.inner.is_interrupted() {
            return Err(Error::Interrupted);
        }
        let block = std::mem::take(&mut self.block);
        let new = len64(block.len() - self.hashed);
        self.size += new;
        self.hashing.update(&block, self.hashed, self.size > LONG)?;
        if !self.of_tree {
            self.inner.monitor.advance(new);
        }
        let mut at = 0;
        // A blob that fits into its catalogue leaf has no chunks.
        let is_inline = last && self.size <= u64::from(INLINE_MAX);
        if !is_inline {
            for len in chunk::cuts(&block, last) {
                self.chunk(block.get(at..at + len).unwrap_or_default())?;
                at += len;
            }
        }
        // The lane may still read the block: the carry goes into another one.
        let mut next = self
            .spare
            .take()
            .filter(|s| Arc::strong_count(s) == 1)
            .unwrap_or_default();
        if let Some(to) = Arc::get_mut(&mut next) {
            to.clear();
            to.reserve_exact(BLOCK + index(CHUNK_MAX));
            to.extend_from_slice(block.get(at..).unwrap_or_default());
        }
        self.hashed = next.len();
        self.block = next;
        self.spare = Some(block);
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let len = len64(bytes.len());
        if chunk::is_zeros(bytes) {
            self.inner.monitor.deduplicated(len);
            self.cut += len;
            self.page_bytes += len;
            if let Some(run) = self
                .entries
                .last_mut()
                .filter(|e| e.hash == *ChunkId::ZEROS.as_bytes())
            {
                run.end = self.page_bytes;
                return Ok(());
            }
            let end = self.page_bytes;
            return self.entry(OpenEntry {
                end,
                hash: *ChunkId::ZEROS.as_bytes(),
                pending: Pending::Known(Default::default()),
            });
        }
        let id = ChunkId::of(bytes);
        let known = match self.frames.find(&id) {
            Some(found) => Some(found),
            None if self.again => self.inner.again.lock().get(&id).cloned(),
            None => self.inner.find_chunk(&id, crate::units::len32(bytes.len()))?,
        };
        let pending = match known {
            None if self.again => {
                let add = |belt: &_, pipeline: &_| self.frames.add_alone(id, bytes, belt, pipeline);
                let pending = self.inner.with_pipeline(add)?;
                self.inner.again.lock().insert(id, pending.clone());
                pending
            }
            Some(found) => {
                self.inner.monitor.deduplicated(len);
                found
            }
            None => {
                let name = (!self.path.is_empty())
                    .then(|| sketch::called(self.path.iter().map(EntryName::as_bytes), self.cut));
                self.frames.add(&self.inner, id, bytes, name)?
            }
        };
        self.cut += len;
        self.page_bytes += len;
        self.entry(OpenEntry {
            end: self.page_bytes,
            hash: *id.as_bytes(),
            pending,
        })
    }

    fn entry(&mut self, entry: OpenEntry) -> Result<()> {
        // A full page leaves only now, so that a run of zeros at its end could still grow.
        if self.entries.len() == FANOUT {
            let covered = self.entries.last().map_or(0, |e| e.end);
            let full = std::mem::take(&mut self.entries);
            self.page_bytes -= covered;
            let before = self.held.replace(full);
            self.entries.push(OpenEntry {
                end: entry.end - covered,
                ..entry
            });
            return before.map_or(Ok(()), |page| self.leaf_page(page));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Writes a page whose entries were all handed in, and enters it one level up.
    fn leaf_page(&mut self, entries: Vec<OpenEntry>) -> Result<()> {
        // Before anything is waited for, every frame that may be waited for is on its way.
        self.inner
            .with_pipeline(|belt, pipeline| self.frames.submit(belt, pipeline))?;
        self.inner.flush_plain()?;
        let written = self.inner.write_list_page(0, &entries)?;
        self.add_to_level(0, written)
    }

    fn add_to_level(&mut self, at: usize, mut child: OpenEntry) -> Result<()> {
        if self.levels.len() == at {
            self.levels.push(Vec::new());
        }
        let Some(level) = self.levels.get_mut(at) else {
            return Ok(());
        };
        child.end += level.last().map_or(0, |e| e.end);
        level.push(child);
        if level.len() < FANOUT {
            return Ok(());
        }
        let full = std::mem::take(level);
        self.inner.flush_pages()?;
        let written = self
            .inner
            .write_list_page(u8::try_from(at + 1).unwrap_or(u8::MAX), &full)?;
        self.add_to_level(at + 1, written)
    }

    /// Ends the blob. Where `expected` or `expected_size` is given and differs, the error names `place`.
    pub fn finish(
        mut self,
        expected: Option<&Sha256>,
        expected_size: Option<u64>,
        place: &str,
    ) -> Result<StoredBlob> {
        self.work_off(true)?;
        let hashing = std::mem::replace(&mut self.hashing, Hashing::new());
        let (sha256, blob_id) = hashing.finish()?;
        let mismatch = |expected: String, found: String| {
            Err(Error::SourceMismatch {
                place: place.to_owned(),
                expected,
                found,
            })
        };
        if let Some(size) = expected_size.filter(|s| *s != self.size) {
            return mismatch(format!("{size} bytes"), format!("{} bytes", self.size));
        }
        if let Some(digest) = expected.filter(|d| **d != sha256) {
            return mismatch(digest.to_digest(), sha256.to_digest());
        }
        let made = self.made()?;
        let blob = StoredBlob::new(sha256, blob_id, self.size, made);
        if self.size > LONG && !self.of_tree && !self.again {
            self.inner.place_all(std::slice::from_ref(&blob))?;
            self.inner.record(&blob)?;
        }
        Ok(blob)
    }

    fn made(&mut self) -> Result<Made> {
        if self.size <= u64::from(INLINE_MAX) {
            return Ok(Made::Ready(Content::Inline(self.block.to_vec())));
        }
        self.hand_in()?;
        let entries = std::mem::take(&mut self.entries);
        match entries.as_slice() {
            _ if self.held.is_some() || !self.levels.is_empty() => self.pages(entries),
            [only] if only.hash != *ChunkId::ZEROS.as_bytes() => {
                Ok(Made::Chunk(ChunkId::from_bytes(only.hash), only.pending.clone()))
            }
            _ => Ok(Made::Page(entries)),
        }
    }

    /// Writes the pages of a blob that has more than one.
    fn pages(&mut self, last: Vec<OpenEntry>) -> Result<Made> {
        self.inner.flush_plain()?;
        for page in self.held.take().into_iter().chain(std::iter::once(last)) {
            self.leaf_page(page)?;
        }
        let mut at = 0;
        loop {
            let level = self.levels.get_mut(at).map(std::mem::take).unwrap_or_default();
            let is_top = self.levels.len() <= at + 1;
            match level.as_slice() {
                [only] if is_top => {
                    let depth = u8::try_from(at + 1).unwrap_or(u8::MAX);
                    return Ok(Made::Written {
                        depth,
                        hash: PageHash::from_bytes(only.hash),
                        pending: only.pending.clone(),
                    });
                }
                [] => {}
                children => {
                    self.inner.flush_pages()?;
                    let written = self
                        .inner
                        .write_list_page(u8::try_from(at + 1).unwrap_or(u8::MAX), children)?;
                    self.add_to_level(at + 1, written)?;
                }
            }
            at += 1;
        }
    }

    /// Hands in what is left of the blob's own frame: by itself, or into the shared one.
    fn hand_in(&mut self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let own = inner.with_pipeline(|belt, pipeline| self.frames.submit_deltas(belt, pipeline))?;
        if self.again || own.len() >= OWN_FRAME {
            return inner.with_pipeline(|belt, pipeline| own.submit(belt, pipeline));
        }
        let mut shared = inner.shared.lock();
        let shared = &mut *shared;
        let into = if self.of_tree {
            &mut shared.tree_plain
        } else {
            &mut shared.plain
        };
        inner.with_pipeline(|belt, pipeline| own.move_into(into, belt, pipeline))
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Chunks of this blob's frame that others may refer to are good, whatever became of the blob.
        let _failed_runs_say_so_elsewhere = self.hand_in();
    }
}

impl Inner {
    /// Encodes a list page, all of whose entries' frames were handed in, into the frame of pages.
    pub(super) fn write_list_page(&self, level: u8, entries: &[OpenEntry]) -> Result<OpenEntry> {
        let mut placed = Vec::with_capacity(entries.len());
        for entry in entries {
            placed.push(entry.placed(self.belt.wait(&entry.pending)?));
        }
        let page = ListPage {
            level,
            entries: placed,
        };
        let (hash, bytes) = page.encode();
        let pending = self.add_page(&bytes)?;
        Ok(OpenEntry {
            end: page.covers(),
            hash: *hash.as_bytes(),
            pending,
        })
    }
}

/// The bytes of a blob already in memory: a manifest, a config.
pub(super) fn store_small(
    ingest: &Ingest,
    bytes: &[u8],
    expected: Option<&Sha256>,
    place: &str,
) -> Result<StoredBlob> {
    let mut writer = BlobWriter::of(&ingest.inner);
    writer.write(bytes)?;
    writer.finish(expected, Some(len64(bytes.len())), place)
}

/// Reads back a small blob of the medium, for a run that meets it again.
pub(super) fn read_small(reader: &crate::blob::BlobReader) -> Result<Vec<u8>> {
    let mut bytes = vec![0; index64(reader.size())];
    let read = reader.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
