//! Hot lists (FORMAT.md 9.1): what containers of a chain read first, stored once more in frames of its own, in that order.
//!
//! What was there stays where it is, and no place that leads to it changes.

use super::blob::BlobWriter;
use super::stored::StoredBlob;
use super::ticket::Pending;
use super::{Edit, Ingest};
use crate::blob::BlobReader;
use crate::error::{Error, Result};
use crate::format::INLINE_MAX;
use crate::format::catalogue::{HOT_MAX, Kind};
use crate::hot::Span;
use crate::ids::{ChunkId, Sha256};
use crate::name::{EntryName, ImageName};
use crate::tree::{Directory, Node, Rooted};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Chunks that this run stored again, and where: those of several chains stand once.
pub(super) type StoredAgain = Mutex<HashMap<ChunkId, Pending>>;

/// What became of a hot list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotList {
    /// Bytes of plaintext in it.
    pub bytes: u64,
    /// Spans whose file the chain does not have.
    pub lost: usize,
    /// Whether the medium had the same list before.
    pub same: bool,
}

/// An image of the medium that can be run in place: its name, a platform, and the chain that containers start from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable {
    /// The name; those by digest too.
    pub name: ImageName,
    /// The platform in one word, as `linux-amd64`.
    pub platform: String,
    /// The chainID.
    pub chain: Sha256,
}

impl Ingest {
    /// Lists what containers of that chain read first, in this order, in place of the list that it had. None where that is too little to be worth a list; chunks
    /// beyond 256 MiB are left out. Refused where the medium has no such chain.
    pub fn put_hot(&self, chain: &Sha256, spans: &[Span]) -> Result<Option<HotList>> {
        self.hot(chain, spans, true)
    }

    /// What [`Ingest::put_hot`] would list; nothing is written.
    pub fn measure_hot(&self, chain: &Sha256, spans: &[Span]) -> Result<Option<HotList>> {
        self.hot(chain, spans, false)
    }

    fn hot(&self, chain: &Sha256, spans: &[Span], write: bool) -> Result<Option<HotList>> {
        let name = chain.to_digest();
        let missing = || Error::refused(format!("{}: it has no chain {name}", self.medium_name()));
        let tree = self.known_chain(chain)?.ok_or_else(missing)?;
        let tree = Rooted::open(Arc::clone(&self.inner.source), *tree.tree(), false)?;
        let (mut chunks, mut lost) = (Chunks::default(), 0);
        for span in spans {
            if self.interrupted() {
                return Err(Error::Interrupted);
            }
            match file_at(tree.rootfs(), &span.path)? {
                Some(file) => chunks.take(&file, span)?,
                None => lost += 1,
            }
        }
        if chunks.bytes <= u64::from(INLINE_MAX) {
            return Ok(None);
        }
        let bytes = chunks.bytes;
        let same = self.has_hot(&name, &chunks)?;
        if !same && write {
            let list = self.store_again(&chunks)?;
            self.inner.put(Kind::Hot, name, "", &list);
        }
        Ok(Some(HotList { bytes, lost, same }))
    }

    /// Whether the medium has a list of exactly these chunks.
    fn has_hot(&self, name: &str, chunks: &Chunks) -> Result<bool> {
        let Some((_, leaf)) = self.inner.catalogue.get(Kind::Hot, name)? else {
            return Ok(false);
        };
        let list = BlobReader::new(Arc::clone(&self.inner.source), leaf.size, leaf.content);
        let mut wanted = chunks.order.iter();
        for piece in list.pieces(0) {
            let piece = piece?;
            if wanted.next().is_none_or(|chunk| chunk.0 != piece.id) {
                return Ok(false);
            }
        }
        Ok(wanted.next().is_none())
    }

    fn store_again(&self, chunks: &Chunks) -> Result<StoredBlob> {
        let mut writer = BlobWriter::again(&self.inner);
        for (id, len, place) in &chunks.order {
            if self.interrupted() {
                return Err(Error::Interrupted);
            }
            let name = || self.inner.source.name_of(place);
            let frame = self.inner.source.frame(place)?;
            writer.push_chunk(&frame.chunk(place.start, id, *len, name)?)?;
        }
        writer.finish(None, Some(chunks.bytes), "what containers read first")
    }

    /// Every image of the medium, with what this run added, that can be run in place; in order of name and platform.
    pub fn runnable(&self) -> Result<Vec<Runnable>> {
        let mut names = Vec::new();
        let mut chains: HashMap<String, Vec<(String, Sha256)>> = HashMap::new();
        let mut chain = |name: &str, id: Sha256| {
            if let Some((target, platform)) = name.split_once('/') {
                let of_target = chains.entry(target.to_owned()).or_default();
                of_target.retain(|(known, _)| known != platform);
                of_target.push((platform.to_owned(), id));
            }
        };
        let edits = self.inner.edits.lock();
        for kind in [Kind::Image, Kind::Rootfs] {
            let (start, end) = self.inner.catalogue.range_of(kind)?;
            for leaf in self
                .inner
                .catalogue
                .leaves_from(start)
                .take(crate::units::index64(end - start))
            {
                let leaf = leaf?;
                match kind {
                    Kind::Image if !edits.contains_key(&leaf.sort_key()) => {
                        names.push((leaf.name, leaf.sha256))
                    }
                    Kind::Rootfs => chain(&leaf.name, leaf.sha256),
                    _ => {}
                }
            }
        }
        for edit in edits.values() {
            match edit {
                Edit::Put {
                    kind: Kind::Image,
                    name,
                    blob,
                    ..
                } => names.push((name.clone(), blob.sha256)),
                Edit::Leaf(leaf) if leaf.kind == Kind::Rootfs => chain(&leaf.name, leaf.sha256),
                _ => {}
            }
        }
        drop(edits);
        names.sort();
        let mut found = Vec::new();
        for (name, target) in names {
            let name = ImageName::parse(&name).map_err(|e| Error::malformed(&name, e.to_string()))?;
            for (platform, chain) in chains.get(&target.to_digest()).into_iter().flatten() {
                found.push(Runnable {
                    name: name.clone(),
                    platform: platform.clone(),
                    chain: *chain,
                });
            }
        }
        Ok(found)
    }
}

/// Chunks in the order in which they are read first.
#[derive(Default)]
struct Chunks {
    order: Vec<(ChunkId, u64, crate::format::content::Place)>,
    known: HashSet<ChunkId>,
    bytes: u64,
}

impl Chunks {
    /// Takes the file's chunks that lie in the span, as far as there is room. What is inline or zeros is no chunk.
    fn take(&mut self, file: &BlobReader, span: &Span) -> Result<()> {
        if span.from >= file.size() {
            return Ok(());
        }
        for piece in file.pieces(span.from) {
            let piece = piece?;
            if piece.start >= span.to {
                break;
            }
            let len = piece.end - piece.start;
            if piece.is_zeros() || self.bytes + len > HOT_MAX || !self.known.insert(piece.id) {
                continue;
            }
            self.bytes += len;
            self.order.push((piece.id, len, piece.place));
        }
        Ok(())
    }
}

/// The file at that path, symbolic links not followed; None where there is no file.
fn file_at(root: &Directory, path: &[u8]) -> Result<Option<BlobReader>> {
    let mut directory = root.clone();
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let Ok(name) = EntryName::new(name) else {
            return Ok(None);
        };
        let Some(entry) = directory.entry(&name)? else {
            return Ok(None);
        };
        match (&entry.node, names.peek()) {
            (Node::Directory { .. }, Some(_)) => directory = directory.open_directory(&entry)?,
            (Node::File { .. }, None) => return directory.open_file(&entry).map(Some),
            _ => return Ok(None),
        }
    }
    Ok(None)
}
