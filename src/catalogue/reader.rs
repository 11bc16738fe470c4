//! Reading a catalogue: opening checks the top page, each look-up its own path.

use crate::error::{Error, Result};
use crate::format::catalogue::{
    CATALOGUE_PAGE_MAX, FANOUT, FOOTER_LEN, Footer, InteriorPage, Kind, Leaf, LeafPage, sort_key,
};
use crate::format::root::Root;
use crate::ids::Sha256;
use crate::medium::{Medium, MediumFile};
use crate::merkle;
use crate::units::{index, len64};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Pages kept decoded; a page of leaves is some 100 KiB.
const CACHED_PAGES: usize = 48;

#[derive(Debug, Clone)]
enum Page {
    Leaves(Arc<LeafPage>),
    Interior(Arc<InteriorPage>),
}

/// A generation's catalogue. Every page is checked against its parent's hash when it is read.
#[derive(Debug)]
pub struct CatalogueReader {
    medium: Arc<dyn Medium>,
    file: MediumFile,
    leaves: u64,
    level: u8,
    top: Option<Page>,
    /// Checked pages by their subtree's hash and level: nothing else says which page it is.
    pages: Cache<(Sha256, u8), Page>,
}

impl CatalogueReader {
    /// Opens the catalogue that ROOT commits to: its length, its footer, its top page.
    pub fn open(medium: Arc<dyn Medium>, root: &Root) -> Result<Self> {
        let file = MediumFile::Catalogue(root.generation);
        let place = medium.place(file);
        let found = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
        if found != root.catalogue_bytes || found < len64(FOOTER_LEN) {
            return Err(Error::malformed(
                place,
                format!("{found} bytes long, where ROOT says {}", root.catalogue_bytes),
            ));
        }
        let footer = Footer::decode(&medium.read(file, found - len64(FOOTER_LEN), FOOTER_LEN)?, &place)?;
        let mut reader = Self {
            medium,
            file,
            leaves: root.catalogue_leaves,
            level: footer.level,
            top: None,
            pages: Cache::new(CACHED_PAGES),
        };
        if root.catalogue_leaves == 0 {
            if root.catalogue_root != crate::merkle::root(&[]) {
                return Err(Error::mismatch(place, "the empty catalogue's root"));
            }
            return Ok(reader);
        }
        // The number of levels follows from the number of leaves: what the footer says must agree.
        let mut pages = root.catalogue_leaves.div_ceil(len64(FANOUT));
        let mut level = 0;
        while pages > 1 {
            pages = pages.div_ceil(len64(FANOUT));
            level += 1;
        }
        if footer.level != level {
            return Err(Error::malformed(
                place,
                format!(
                    "{} levels, where {} leaves need {level}",
                    footer.level, root.catalogue_leaves
                ),
            ));
        }
        reader.top = Some(reader.load(footer.top, footer.top_bytes, footer.level, &root.catalogue_root)?);
        Ok(reader)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.leaves
    }

    /// True where nothing is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    fn load(&self, offset: u64, bytes: u32, level: u8, hash: &Sha256) -> Result<Page> {
        let place = format!("{} at {offset}", self.medium.place(self.file));
        if bytes > CATALOGUE_PAGE_MAX {
            return Err(Error::malformed(place, "a page is too long"));
        }
        let bytes = self.medium.read(self.file, offset, index(bytes))?;
        Ok(if level == 0 {
            Page::Leaves(Arc::new(LeafPage::decode(&bytes, hash, &place)?))
        } else {
            Page::Interior(Arc::new(InteriorPage::decode(&bytes, level, hash, &place)?))
        })
    }

    fn child(&self, page: &InteriorPage, at: usize) -> Result<Page> {
        let child = page.children.get(at).ok_or_else(|| self.contradiction())?;
        let level = page.level.checked_sub(1).ok_or_else(|| self.contradiction())?;
        if let Some(found) = self.pages.get(&(child.hash, level)) {
            return Ok(found);
        }
        let found = self.load(child.offset, child.page_bytes, level, &child.hash)?;
        self.pages.insert((child.hash, level), found.clone());
        Ok(found)
    }

    fn contradiction(&self) -> Error {
        Error::malformed(
            self.medium.place(self.file),
            "the pages contradict the number of leaves in ROOT",
        )
    }

    /// The page of leaves that holds the leaf at `position`, and the page's first position.
    fn page_of(&self, position: u64) -> Result<(u64, Arc<LeafPage>)> {
        let mut page = self.top.clone().ok_or_else(|| self.contradiction())?;
        let mut first = 0_u64;
        let mut level = self.level;
        loop {
            match page {
                Page::Leaves(leaves) => return Ok((first, leaves)),
                Page::Interior(interior) => {
                    let span = len64(FANOUT).saturating_pow(u32::from(level));
                    let at = (position - first) / span;
                    first += at * span;
                    level = level.checked_sub(1).ok_or_else(|| self.contradiction())?;
                    page = self.child(&interior, crate::units::index64(at))?;
                }
            }
        }
    }

    /// The leaf at a position, in the order of sort keys.
    pub fn at(&self, position: u64) -> Result<Option<Leaf>> {
        if position >= self.leaves {
            return Ok(None);
        }
        let (first, page) = self.page_of(position)?;
        page.leaves
            .get(crate::units::index64(position - first))
            .cloned()
            .map(Some)
            .ok_or_else(|| self.contradiction())
    }

    /// The audit path (RFC 6962 2.1.1) of the leaf at a position, from its sibling upwards: it costs the pages on the way to it.
    pub fn audit_path(&self, position: u64) -> Result<Vec<Sha256>> {
        if position >= self.leaves {
            return Err(self.contradiction());
        }
        let mut page = self.top.clone().ok_or_else(|| self.contradiction())?;
        let (mut level, mut offset, mut paths) = (self.level, position, Vec::new());
        loop {
            match page {
                Page::Leaves(leaves) => {
                    let hashes: Vec<Sha256> = leaves
                        .leaves
                        .iter()
                        .map(|leaf| merkle::leaf_hash(&leaf.canonical()))
                        .collect();
                    paths.push(merkle::path(&hashes, crate::units::index64(offset)));
                    break;
                }
                Page::Interior(interior) => {
                    let span = len64(FANOUT).saturating_pow(u32::from(level));
                    let at = crate::units::index64(offset / span);
                    offset %= span;
                    let hashes: Vec<Sha256> = interior.children.iter().map(|child| child.hash).collect();
                    paths.push(merkle::path(&hashes, at));
                    level = level.checked_sub(1).ok_or_else(|| self.contradiction())?;
                    page = self.child(&interior, at)?;
                }
            }
        }
        // Pages are complete subtrees, so that the way up is the way up each of them, one after the other.
        Ok(paths.into_iter().rev().flatten().collect())
    }

    /// The position of the first leaf whose sort key is not below `key`.
    pub fn lower_bound(&self, key: &[u8]) -> Result<u64> {
        let Some(mut page) = self.top.clone() else {
            return Ok(0);
        };
        let mut first = 0_u64;
        let mut level = self.level;
        loop {
            match page {
                Page::Interior(interior) => {
                    let span = len64(FANOUT).saturating_pow(u32::from(level));
                    let at = interior
                        .children
                        .partition_point(|c| c.first_key.as_slice() <= key)
                        .saturating_sub(1);
                    first += len64(at) * span;
                    level = level.checked_sub(1).ok_or_else(|| self.contradiction())?;
                    page = self.child(&interior, at)?;
                }
                Page::Leaves(leaves) => {
                    let at = leaves.leaves.partition_point(|l| l.sort_key().as_slice() < key);
                    let position = first + len64(at);
                    self.check_neighbours(key, first, position, leaves.leaves.len() == at)?;
                    return Ok(position);
                }
            }
        }
    }

    /// The first keys in interior pages are under no hash. So that a false one cannot hide a leaf,
    /// where the answer lies at a page's edge the neighbouring page's own leaf is asked.
    fn check_neighbours(&self, key: &[u8], first: u64, position: u64, at_end: bool) -> Result<()> {
        let before_holds = position != first
            || position == 0
            || self
                .at(position - 1)?
                .is_some_and(|l| l.sort_key().as_slice() < key);
        let after_holds = !at_end
            || position >= self.leaves
            || self.at(position)?.is_some_and(|l| l.sort_key().as_slice() >= key);
        if before_holds && after_holds {
            return Ok(());
        }
        Err(Error::malformed(
            self.medium.place(self.file),
            "an interior page's first keys lead astray",
        ))
    }

    /// The leaf of that kind and name, and its position.
    pub fn get(&self, kind: Kind, name: &str) -> Result<Option<(u64, Leaf)>> {
        let key = sort_key(kind, name);
        let position = self.lower_bound(&key)?;
        Ok(self
            .at(position)?
            .filter(|leaf| leaf.kind == kind && leaf.name == name)
            .map(|leaf| (position, leaf)))
    }

    /// The positions at which leaves of that kind begin and end.
    pub fn range_of(&self, kind: Kind) -> Result<(u64, u64)> {
        Ok((
            self.lower_bound(&[kind.tag()])?,
            self.lower_bound(&[kind.tag() + 1])?,
        ))
    }

    /// The leaves from a position on, read as the iterator goes.
    #[must_use]
    pub const fn leaves_from(&self, position: u64) -> Leaves<'_> {
        Leaves {
            reader: self,
            position,
            page: None,
        }
    }
}

/// Leaves in order; ends after the first error.
#[derive(Debug)]
pub struct Leaves<'a> {
    reader: &'a CatalogueReader,
    position: u64,
    page: Option<(u64, Arc<LeafPage>)>,
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.reader.leaves {
            return None;
        }
        let held = self
            .page
            .take()
            .filter(|(first, page)| self.position - first < len64(page.leaves.len()));
        let (first, page) = match held.map_or_else(|| self.reader.page_of(self.position), Ok) {
            Ok(found) => found,
            Err(e) => {
                self.position = u64::MAX;
                return Some(Err(e));
            }
        };
        let leaf = page
            .leaves
            .get(crate::units::index64(self.position - first))
            .cloned();
        self.position += 1;
        self.page = Some((first, page));
        Some(leaf.ok_or_else(|| self.reader.contradiction()))
    }
}
