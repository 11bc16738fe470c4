//! A layer coming in entry by entry: its files' bytes go to the medium at once, its tree when it is whole.

use super::chain::StoredTree;
use super::frames::FrameBuilder;
use super::route::Routes;
use super::stored::{Made, OpenEntry, StoredBlob};
use super::ticket::Pending;
use super::{BlobWriter, Ingest, Inner};
use crate::chunk;
use crate::error::Error;
use crate::format::INLINE_MAX;
use crate::format::content::Content;
use crate::format::frame::FrameKind;
use crate::format::tree::{Metadata, SpecialKind};
use crate::ids::{BlobId, ChunkId, Sha256};
use crate::name::EntryName;
use crate::sketch::{self, Feature};
use crate::tree::layer::{FileContent, LayerTree, NotATree};
use crate::units::{index64, len32, len64};
use std::sync::Arc;

/// Longest file that is put together in memory before it is stored; longer ones are stored as they come.
const GATHERED_MAX: usize = 1 << 20;

/// What went wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerFault {
    /// It cannot be had as a tree.
    #[error(transparent)]
    NotATree(#[from] NotATree),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

type Result<T> = std::result::Result<T, LayerFault>;

/// A file whose bytes are coming in.
#[derive(Debug)]
struct OpenFile {
    path: Vec<EntryName>,
    metadata: Metadata,
    size: u64,
    long: Option<BlobWriter>,
}

/// Takes a layer's entries in the order of its tar. Dropped unfinished, it leaves nothing in the catalogue.
#[derive(Debug)]
pub struct LayerWriter {
    inner: Arc<Inner>,
    tree: LayerTree<StoredBlob>,
    frames: Routes,
    open: Option<OpenFile>,
    gathered: Vec<u8>,
}

impl Ingest {
    /// A writer for one layer's tree.
    #[must_use]
    pub fn layer_writer(&self) -> LayerWriter {
        LayerWriter {
            inner: Arc::clone(&self.inner),
            tree: LayerTree::default(),
            frames: Routes::new(FrameBuilder::new(FrameKind::Plaintext).of_tree()),
            open: None,
            gathered: Vec::new(),
        }
    }
}

impl LayerWriter {
    /// A directory; the empty path is the root.
    pub fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()> {
        Ok(self.tree.directory(path, metadata)?)
    }

    /// Begins a file of `size` bytes, holes included.
    pub fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()> {
        self.gathered.clear();
        let long = (size > len64(GATHERED_MAX)).then(|| BlobWriter::of_tree(&self.inner, path));
        self.open = Some(OpenFile {
            path: path.to_vec(),
            metadata,
            size,
            long,
        });
        Ok(())
    }

    /// The next bytes of the file.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match &mut open.long {
            Some(writer) => writer.write(bytes)?,
            None if self.gathered.len() + bytes.len() <= GATHERED_MAX => {
                self.gathered.extend_from_slice(bytes);
            }
            None => return Err(NotATree("a file is longer than it says".to_owned()).into()),
        }
        Ok(())
    }

    /// That many zero bytes of the file.
    pub fn hole(&mut self, len: u64) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match &mut open.long {
            Some(writer) => writer.write_zeros(len)?,
            None if len64(self.gathered.len()).saturating_add(len) <= len64(GATHERED_MAX) => {
                self.gathered.resize(self.gathered.len() + index64(len), 0);
            }
            None => return Err(NotATree("a file is longer than it says".to_owned()).into()),
        }
        Ok(())
    }

    /// Ends the file.
    pub fn end_file(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let blob = match open.long {
            Some(writer) => writer.finish(None, None, "a layer")?,
            None => {
                let gathered = std::mem::take(&mut self.gathered);
                let blob = self.store(&open.path, &gathered);
                self.gathered = gathered;
                blob?
            }
        };
        if blob.size != open.size {
            let why = format!("a file of {} bytes that says {}", blob.size, open.size);
            return Err(NotATree(why).into());
        }
        Ok(self.tree.file(&open.path, open.metadata, blob)?)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()> {
        Ok(self.tree.symlink(path, metadata, target)?)
    }

    /// A device, pipe or socket.
    pub fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        Ok(self.tree.special(path, metadata, kind, major, minor)?)
    }

    /// One more name of what `target` is.
    pub fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()> {
        Ok(self.tree.hard_link(path, target)?)
    }

    /// Hides what the layers below have of that path.
    pub fn whiteout(&mut self, path: &[EntryName]) -> Result<()> {
        Ok(self.tree.whiteout(path)?)
    }

    /// Hides all that the layers below have in that directory.
    pub fn opaque(&mut self, directory: &[EntryName]) -> Result<()> {
        Ok(self.tree.opaque(directory)?)
    }

    /// Writes the tree. When this returns everything of it has its place; it is listed by [`Ingest::put_layer`].
    /// With it come the files' [positions](LayerTree::positions), in the order in which they were begun.
    pub fn finish(mut self) -> Result<(StoredTree, Vec<Option<u64>>)> {
        let inner = Arc::clone(&self.inner);
        inner.with_pipeline(|belt, pipeline| self.frames.submit(belt, pipeline))?;
        let blobs: Vec<StoredBlob> = self.tree.contents().cloned().collect();
        inner.place_all(&blobs)?;
        drop(blobs);
        let tree = std::mem::take(&mut self.tree).finish(|blob| {
            let content = blob
                .content()
                .ok_or_else(|| Error::refused("a file's bytes have no place"))?;
            Ok(FileContent {
                size: blob.size,
                blob_id: blob.blob_id,
                content,
            })
        })?;
        let positions = tree.positions();
        Ok((inner.write_layer(&tree)?, positions))
    }

    /// Stores a file that is in memory whole, its chunks in the layer's own frames.
    fn store(&mut self, path: &[EntryName], bytes: &[u8]) -> Result<StoredBlob> {
        let size = len64(bytes.len());
        let blob_id = BlobId::of(bytes);
        let made = if size <= u64::from(INLINE_MAX) {
            Made::Ready(Content::Inline(bytes.to_vec()))
        } else {
            self.chunks(path, bytes, &blob_id)?
        };
        Ok(StoredBlob::new(Sha256::default(), blob_id, size, made))
    }

    fn chunks(&mut self, path: &[EntryName], bytes: &[u8], blob_id: &BlobId) -> Result<Made> {
        let mut entries: Vec<OpenEntry> = Vec::new();
        let mut at = 0;
        for len in chunk::cuts(bytes, true) {
            let chunk = bytes.get(at..at + len).unwrap_or_default();
            let begins = len64(at);
            at += len;
            let zeros = chunk::is_zeros(chunk);
            if let Some(run) = entries
                .last_mut()
                .filter(|e| zeros && e.hash == *ChunkId::ZEROS.as_bytes())
            {
                run.end = len64(at);
                continue;
            }
            let (id, pending) = if zeros {
                (ChunkId::ZEROS, Pending::Known(Default::default()))
            } else {
                // A file of one chunk has that chunk's id.
                let id = if len == bytes.len() {
                    ChunkId::from_bytes(*blob_id.as_bytes())
                } else {
                    ChunkId::of(chunk)
                };
                let name = sketch::called(path.iter().map(EntryName::as_bytes), begins);
                (id, self.chunk(id, chunk, name)?)
            };
            entries.push(OpenEntry {
                end: len64(at),
                hash: *id.as_bytes(),
                pending,
            });
        }
        Ok(match entries.as_slice() {
            [only] if only.hash != *ChunkId::ZEROS.as_bytes() => {
                Made::Chunk(ChunkId::from_bytes(only.hash), only.pending.clone())
            }
            _ => Made::Page(entries),
        })
    }

    fn chunk(&mut self, id: ChunkId, bytes: &[u8], name: Feature) -> Result<Pending> {
        let known = match self.frames.find(&id) {
            Some(found) => Some(found),
            None => self.inner.find_chunk(&id, len32(bytes.len()))?,
        };
        if let Some(found) = known {
            return Ok(found);
        }
        Ok(self.frames.add(&self.inner, id, bytes, Some(name))?)
    }
}

impl Drop for LayerWriter {
    fn drop(&mut self) {
        // Chunks that others may refer to are good, whatever became of the layer.
        let inner = Arc::clone(&self.inner);
        let _failed_runs_say_so_elsewhere =
            inner.with_pipeline(|belt, pipeline| self.frames.submit(belt, pipeline));
    }
}
