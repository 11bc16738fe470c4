//! Writing a catalogue: leaves come in order, pages go out, one page a level is held.

use crate::error::{Error, Result};
use crate::format::catalogue::{CATALOGUE_PAGE_MAX, Child, FANOUT, Footer, InteriorPage, Leaf, LeafPage};
use crate::ids::Sha256;
use crate::medium::MediumWriter;
use crate::units::{len32, len64};

/// What ROOT says of a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenCatalogue {
    /// Number of leaves.
    pub leaves: u64,
    /// Length of the file.
    pub bytes: u64,
    /// RFC 6962 tree hash.
    pub root: Sha256,
}

/// Takes leaves in strictly ascending order of their sort keys.
#[derive(Debug)]
pub struct CatalogueWriter {
    writer: Box<dyn MediumWriter>,
    offset: u64,
    leaves: u64,
    last_key: Vec<u8>,
    page: Vec<Leaf>,
    /// Children waiting for their page, by level from 1.
    levels: Vec<Vec<Child>>,
}

impl CatalogueWriter {
    /// Writes to a file just created.
    #[must_use]
    pub fn new(writer: Box<dyn MediumWriter>) -> Self {
        Self {
            writer,
            offset: 0,
            leaves: 0,
            last_key: Vec::new(),
            page: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Leaf) -> Result<()> {
        let key = leaf.sort_key();
        if key <= self.last_key {
            return Err(Error::malformed(
                format!("catalogue leaf {}", leaf.name),
                "out of order",
            ));
        }
        self.last_key = key;
        self.leaves += 1;
        self.page.push(leaf);
        if self.page.len() == FANOUT {
            self.flush_leaves()
        } else {
            Ok(())
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(u64, u32)> {
        debug_assert!(
            len64(bytes.len()) <= u64::from(CATALOGUE_PAGE_MAX),
            "leaves are bounded so that pages are"
        );
        self.writer.append(&[bytes])?;
        let offset = self.offset;
        self.offset += len64(bytes.len());
        Ok((offset, len32(bytes.len())))
    }

    fn flush_leaves(&mut self) -> Result<()> {
        let leaves = std::mem::take(&mut self.page);
        let Some(first_key) = leaves.first().map(Leaf::sort_key) else {
            return Ok(());
        };
        let page = LeafPage { leaves };
        let hash = page.hash();
        let (offset, page_bytes) = self.write(&page.encode())?;
        self.add_child(
            0,
            Child {
                hash,
                offset,
                page_bytes,
                first_key,
            },
        )
    }

    /// Adds a child to the level at `at` (0 is the first above the leaf pages).
    fn add_child(&mut self, at: usize, child: Child) -> Result<()> {
        if self.levels.len() == at {
            self.levels.push(Vec::new());
        }
        let full = self.levels.get_mut(at).is_some_and(|level| {
            level.push(child);
            level.len() == FANOUT
        });
        if full { self.flush_level(at) } else { Ok(()) }
    }

    fn flush_level(&mut self, at: usize) -> Result<()> {
        let children = self.levels.get_mut(at).map(std::mem::take).unwrap_or_default();
        let Some(first_key) = children.first().map(|c| c.first_key.clone()) else {
            return Ok(());
        };
        let level = u8::try_from(at + 1).unwrap_or(u8::MAX);
        let page = InteriorPage { level, children };
        let hash = page.hash();
        let (offset, page_bytes) = self.write(&page.encode())?;
        self.add_child(
            at + 1,
            Child {
                hash,
                offset,
                page_bytes,
                first_key,
            },
        )
    }

    /// Writes what is left and the footer, and makes the file durable.
    pub fn finish(mut self) -> Result<WrittenCatalogue> {
        self.flush_leaves()?;
        let mut at = 0;
        // A level with a single child above which there is nothing: that child is the top page.
        while self.levels.len() > at + 1 || self.levels.get(at).is_some_and(|l| l.len() > 1) {
            self.flush_level(at)?;
            at += 1;
        }
        let top = self.levels.get(at).and_then(|level| level.first()).cloned();
        let footer = top.as_ref().map_or(
            Footer {
                level: 0,
                top: 0,
                top_bytes: 0,
            },
            |top| Footer {
                level: u8::try_from(at).unwrap_or(u8::MAX),
                top: top.offset,
                top_bytes: top.page_bytes,
            },
        );
        self.write(&footer.encode())?;
        self.writer.finish()?;
        let root = top.map_or_else(|| crate::merkle::root(&[]), |top| top.hash);
        Ok(WrittenCatalogue {
            leaves: self.leaves,
            bytes: self.offset,
            root,
        })
    }
}
