//! Hard links of one tree: which inode a group of names shares, and how many names it has.

use crate::blob::BlobReader;
use crate::error::{Error, Result};
use crate::format::links::{LINKS_MAX, bounds, bounds_at, decode, number, position_at};
use crate::units::index64;

/// The table of a tree's hard links, read where it is asked; nothing of it is held.
#[derive(Debug)]
pub struct Links {
    bytes: BlobReader,
    groups: u64,
}

/// What the names of one inode share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkGroup {
    /// The position of the first of its names: the inode number of all.
    pub inode: u64,
    /// How many names there are.
    pub nlink: u32,
}

const PLACE: &str = "the table of hard links";

impl Links {
    /// Opens the table in these bytes; reads its first eight.
    pub fn open(bytes: BlobReader) -> Result<Self> {
        let mut head = [0; 8];
        bytes.read_at(0, &mut head)?;
        let groups = number(&head, 0)?;
        if bytes.size() < 8 || groups > LINKS_MAX || bytes.size() < position_at(groups, 0) {
            return Err(Error::malformed(PLACE, "it is cut short, or too long"));
        }
        Ok(Self { bytes, groups })
    }

    /// Number of groups; their numbers are from 1.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.groups
    }

    /// True where there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// The group of that number. Two short reads.
    pub fn group(&self, group: u64) -> Result<LinkGroup> {
        if group == 0 || group > self.groups {
            return Err(Error::malformed(PLACE, format!("it has no group {group}")));
        }
        let mut ends = [0; 16];
        self.bytes.read_at(bounds_at(group), &mut ends)?;
        let (begin, end) = bounds(&ends, group, PLACE)?;
        let mut first = [0; 8];
        let read = self.bytes.read_at(position_at(self.groups, begin), &mut first)?;
        if read < first.len() {
            return Err(Error::malformed(PLACE, "it is cut short"));
        }
        Ok(LinkGroup {
            inode: u64::from_le_bytes(first),
            nlink: u32::try_from(end - begin).unwrap_or(u32::MAX),
        })
    }

    /// The positions of the names of every group. The whole table is read.
    pub fn all(&self) -> Result<Vec<Vec<u64>>> {
        if self.bytes.size() > position_at(LINKS_MAX, LINKS_MAX) {
            return Err(Error::malformed(PLACE, "it is too long"));
        }
        let mut bytes = vec![0; index64(self.bytes.size())];
        let read = self.bytes.read_at(0, &mut bytes)?;
        decode(bytes.get(..read).unwrap_or_default(), PLACE)
    }
}
