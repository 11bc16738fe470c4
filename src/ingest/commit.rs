//! The end of a run: everything gets its place, and one generation is committed.

use super::{Edit, Ingest, Inner, StoredBlob, leaf_of};
use crate::catalogue::CatalogueWriter;
use crate::error::{Error, Result};
use crate::format::catalogue::{Kind, Leaf};
use crate::format::custody::Event;
use crate::format::pack::SetRecord;
use crate::format::root::Root;
use crate::generation::{self, Making};
use crate::medium::MediumFile;
use crate::units::Generation;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The ROOT that the medium is at now.
    pub root: Root,
    /// False where the medium had everything already: nothing was written, no generation made.
    pub changed: bool,
    /// Bytes of the medium that the trees of layers and chains took in this run, frame headers included.
    pub tree_bytes: u64,
}

impl Ingest {
    /// Commits everything that was put since the run began; when it returns, it is durable.
    pub fn commit(self) -> Result<Committed> {
        let inner = &self.inner;
        if inner.is_interrupted() {
            return Err(Error::Interrupted);
        }
        let result = inner.commit();
        if let Err(e) = &result
            && matches!(e.root_cause(), Error::Full { .. })
        {
            inner.give_space_back();
        }
        result
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let full = matches!(
            self.inner.belt.check().as_ref().map_err(Error::root_cause),
            Err(Error::Full { .. })
        );
        drop(self.inner.pipeline.write().take());
        if full {
            self.inner.give_space_back();
        }
    }
}

impl Inner {
    fn commit(&self) -> Result<Committed> {
        let edits = std::mem::take(&mut *self.edits.lock());
        let blobs: Vec<StoredBlob> = edits
            .values()
            .filter_map(|e| match e {
                Edit::Put { blob, .. } => Some(blob.clone()),
                Edit::Leaf(_) => None,
            })
            .collect();
        self.place_all(&blobs)?;
        let leaves = self.changed_leaves(edits)?;
        self.flush_plain()?;
        self.flush_pages()?;
        self.flush_records()?;
        let pipeline = self
            .pipeline
            .write()
            .take()
            .ok_or_else(|| Error::refused("the run has ended"))?;
        let written = pipeline.finish()?;
        if leaves.is_empty() {
            return Ok(Committed {
                root: self.current.root.clone(),
                changed: false,
                tree_bytes: self.belt.tree_bytes(),
            });
        }
        let mut packs = self.packs.clone();
        packs.extend(written);
        packs.sort_by_key(|p| p.number);
        self.publish(leaves, &packs)
    }

    /// The leaves that differ from the committed ones.
    fn changed_leaves(&self, edits: BTreeMap<Vec<u8>, Edit>) -> Result<BTreeMap<Vec<u8>, Leaf>> {
        let mut changed = BTreeMap::new();
        for (key, edit) in edits {
            let leaf = match edit {
                Edit::Leaf(leaf) => *leaf,
                Edit::Put {
                    kind,
                    name,
                    media_type,
                    blob,
                } => {
                    let content = blob
                        .content()
                        .ok_or_else(|| Error::refused(format!("{name}: a blob has no place")))?;
                    leaf_of(kind, &name, &media_type, &blob, content)
                }
            };
            let same = self
                .catalogue
                .get(leaf.kind, &leaf.name)?
                .is_some_and(|(_, old)| old.canonical() == leaf.canonical());
            if !same {
                changed.insert(key, leaf);
            }
        }
        Ok(changed)
    }

    /// Writes the catalogue of the next generation and commits it.
    fn publish(&self, leaves: BTreeMap<Vec<u8>, Leaf>, packs: &[SetRecord]) -> Result<Committed> {
        let medium = self.belt.medium.as_ref();
        let generation = generation::next_number(medium, &self.current.root)?;
        let mut writer = CatalogueWriter::new(medium.create(MediumFile::Catalogue(generation))?);
        // What is carried now is no longer left out.
        let arrived: std::collections::BTreeSet<String> = leaves
            .values()
            .filter(|l| l.kind == Kind::Blob)
            .map(|l| l.name.clone())
            .collect();
        let note = note_of(&leaves);
        let mut new = leaves.into_iter().peekable();
        for old in self.catalogue.leaves_from(0) {
            let old = old?;
            let key = old.sort_key();
            while let Some((_, leaf)) = new.next_if(|(k, _)| *k < key) {
                writer.push(leaf)?;
            }
            if let Some((_, leaf)) = new.next_if(|(k, _)| *k == key) {
                writer.push(leaf)?;
            } else if old.kind != Kind::File && !(old.kind == Kind::Absent && arrived.contains(&old.name)) {
                writer.push(old)?;
            }
        }
        for (_, leaf) in new {
            writer.push(leaf)?;
        }
        let catalogue = writer.finish()?;
        let making = Making {
            event: Event::Added,
            serial: self.current.root.serial + 1,
            epoch: self.current.root.epoch,
            expires: None,
            time: now(),
            witness: &self.witness,
            note,
        };
        let (root, hash) = generation::commit(medium, &self.current, generation, &catalogue, packs, making)?;
        // From here on the generation stands; an index that does not follow is only built anew.
        if let Err(e) = self.belt.index.settle(&hash) {
            self.monitor.warn(&format!("the disk is written; {e}"));
        }
        Ok(Committed {
            root,
            changed: true,
            tree_bytes: self.belt.tree_bytes(),
        })
    }

    /// After the medium ran full: takes away what this run wrote and no generation lists.
    fn give_space_back(&self) {
        let medium = self.belt.medium.as_ref();
        let begun: Vec<Generation> = medium
            .generations()
            .unwrap_or_default()
            .into_iter()
            .filter(|g| *g >= self.first_generation)
            .collect();
        // Where a ROOT was begun the slot may be written: nothing that it could need is touched.
        let has_root = |g: &Generation| {
            !medium
                .len(MediumFile::Root(*g))
                .is_ok_and(|len| len.is_none_or(|len| len == 0))
        };
        if begun.iter().any(has_root) {
            return;
        }
        let packs = medium
            .packs()
            .unwrap_or_default()
            .into_iter()
            .filter(|n| *n >= self.first_pack)
            .map(MediumFile::Pack);
        let lists = begun.iter().flat_map(|g| {
            [
                MediumFile::Catalogue(*g),
                MediumFile::PackSet(*g),
                MediumFile::Custody(*g),
                MediumFile::Root(*g),
            ]
        });
        for file in packs.chain(lists) {
            if medium.len(file).is_ok_and(|len| len.is_some())
                && let Err(e) = medium.remove(file)
            {
                self.monitor.warn(&e.to_string());
            }
        }
    }
}

/// What was added, for the custody record: names that are new or moved, and whether the loose files changed.
fn note_of(leaves: &BTreeMap<Vec<u8>, Leaf>) -> String {
    let names = |kind| leaves.values().filter(|leaf| leaf.kind == kind).count();
    let tags = leaves
        .values()
        .filter(|leaf| leaf.kind == Kind::Image && !leaf.name.contains('@'))
        .count();
    let files = if names(Kind::Files) > 0 {
        ", loose files"
    } else {
        ""
    };
    let hot = match names(Kind::Hot) {
        0 => String::new(),
        lists => format!(", hot lists: {lists}"),
    };
    format!("image names: {tags}, blobs: {}{files}{hot}", names(Kind::Blob))
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
