//! Pages of a directory (FORMAT.md 10): entries in order of name, and the pages above them.

use super::codec::{Decoder, Encoder};
use super::content::{Content, Place, TreeRef};
use crate::error::{Error, Result};
use crate::ids::{BlobId, PageHash, Sha256};
use crate::name::{EntryName, MAX_ENTRY_NAME};

/// Longest target of a symbolic link.
pub const TARGET_MAX: usize = 4095;
/// Most bytes of extended attributes on one entry, names and values.
pub const XATTRS_MAX: usize = 8192;
const MAGIC: &[u8; 4] = b"HTRE";

/// Owner, permissions and time of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky (12 bits); no file type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; may be negative.
    pub mtime_sec: i64,
    /// Nanoseconds, below 10^9.
    pub mtime_nsec: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A kind of file that has no bytes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialKind {
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the bytes.
        blob_id: BlobId,
        /// SHA-256 of the bytes; zeros where it was not taken: in the trees of layers and chains.
        sha256: Sha256,
        /// The number, from 1, of its group of hard links; 0 for none.
        link: u64,
        /// What the bytes are made of.
        content: Content,
    },
    /// A directory.
    Directory {
        /// Its entries.
        tree: TreeRef,
        /// What it says of the layers below; none outside a layer's tree.
        marks: Marks,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
        /// The number of its group of hard links; 0 for none.
        link: u64,
    },
    /// A device, pipe or socket.
    Special {
        /// Which.
        kind: SpecialKind,
        /// Major device number, or 0.
        major: u32,
        /// Minor device number, or 0.
        minor: u32,
        /// The number of its group of hard links; 0 for none.
        link: u64,
    },
    /// In a layer's tree: what the layers below have of this name is hidden.
    Whiteout,
    /// In a layer's tree: one more name of what the layers below have, no directory, at this path from the root.
    OutsideLink(Vec<u8>),
}

impl Node {
    /// A directory without marks.
    #[must_use]
    pub const fn directory(tree: TreeRef) -> Self {
        Self::Directory {
            tree,
            marks: Marks {
                opaque: false,
                implied: false,
            },
        }
    }

    /// The number of its group of hard links; 0 for none.
    #[must_use]
    pub const fn link(&self) -> u64 {
        match self {
            Self::File { link, .. } | Self::Symlink { link, .. } | Self::Special { link, .. } => *link,
            Self::Directory { .. } | Self::Whiteout | Self::OutsideLink(_) => 0,
        }
    }

    /// The same, to be changed; `None` of what cannot have several names.
    pub const fn link_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::File { link, .. } | Self::Symlink { link, .. } | Self::Special { link, .. } => Some(link),
            Self::Directory { .. } | Self::Whiteout | Self::OutsideLink(_) => None,
        }
    }
}

/// What a directory of a layer's tree says of the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Nothing that the layers below have in it is seen.
    pub opaque: bool,
    /// The layer has no entry for it, only for what lies in it: its metadata are those of the layers below.
    pub implied: bool,
}

impl Marks {
    const fn flags(self) -> u8 {
        self.opaque as u8 | (self.implied as u8) << 1
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its name.
    pub name: EntryName,
    /// Owner, permissions and time.
    pub metadata: Metadata,
    /// What it is.
    pub node: Node,
}

impl TreeEntry {
    /// Inodes that this entry stands for: one, and for a directory all below it too.
    #[must_use]
    pub const fn inodes(&self) -> u64 {
        match &self.node {
            Node::Directory { tree, .. } => tree.inodes,
            _ => 1,
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        let m = &self.metadata;
        out.bytes16(self.name.as_bytes())
            .u16(m.mode)
            .u32(m.uid)
            .u32(m.gid)
            .i64(m.mtime_sec)
            .u32(m.mtime_nsec);
        out.u16(u16::try_from(m.xattrs.len()).unwrap_or(u16::MAX));
        for (name, value) in &m.xattrs {
            out.bytes16(name).bytes16(value);
        }
        match &self.node {
            Node::File {
                size,
                blob_id,
                sha256,
                link,
                content,
            } => {
                out.u8(1)
                    .u64(*size)
                    .put(blob_id.as_bytes())
                    .put(sha256.as_bytes())
                    .u64(*link);
                content.encode(&mut out);
            }
            Node::Directory { tree, marks } => {
                match marks.flags() {
                    0 => out.u8(2),
                    flags => out.u8(6).u8(flags),
                };
                tree.encode(&mut out);
            }
            Node::Symlink { target, link } => {
                out.u8(3).bytes16(target).u64(*link);
            }
            Node::Special {
                kind,
                major,
                minor,
                link,
            } => {
                let tag = match kind {
                    SpecialKind::CharDevice => 1,
                    SpecialKind::BlockDevice => 2,
                    SpecialKind::Fifo => 3,
                    SpecialKind::Socket => 4,
                };
                out.u8(4).u8(tag).u32(*major).u32(*minor).u64(*link);
            }
            Node::Whiteout => {
                out.u8(5);
            }
            Node::OutsideLink(target) => {
                out.u8(7).bytes16(target);
            }
        }
        out.finish()
    }

    fn encode_places(&self, out: &mut Encoder) {
        match &self.node {
            Node::File { content, .. } => content.encode_places(out),
            Node::Directory { tree, .. } => tree.place.encode(out),
            Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink(_) => {}
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let name = EntryName::new(from.bytes16(MAX_ENTRY_NAME)?).map_err(|e| from.error(e))?;
        let mut metadata = Metadata {
            mode: from.u16()?,
            uid: from.u32()?,
            gid: from.u32()?,
            mtime_sec: from.i64()?,
            mtime_nsec: from.u32()?,
            xattrs: Vec::new(),
        };
        if metadata.mode > 0o7777 || metadata.mtime_nsec >= 1_000_000_000 {
            return Err(from.error("a mode or time is out of range"));
        }
        let mut total = 0;
        for _ in 0..from.u16()? {
            let (name, value) = (from.bytes16(255)?, from.bytes16(XATTRS_MAX)?);
            total += name.len() + value.len();
            let ascends = metadata
                .xattrs
                .last()
                .is_none_or(|(last, _)| last.as_slice() < name);
            if total > XATTRS_MAX || name.is_empty() || !ascends {
                return Err(from.error("extended attributes are too long or out of order"));
            }
            metadata.xattrs.push((name.to_vec(), value.to_vec()));
        }
        let node = match from.u8()? {
            1 => {
                let (size, blob_id, sha256) = (
                    from.u64()?,
                    BlobId::from_bytes(from.array()?),
                    Sha256::from_bytes(from.array()?),
                );
                let (link, content) = (from.u64()?, Content::decode(from)?);
                let fits = match &content {
                    Content::Inline(bytes) => crate::units::len64(bytes.len()) == size,
                    Content::List(_) => size < 1 << 60,
                    _ => false,
                };
                if !fits {
                    return Err(from.error(format_args!(
                        "a file of {size} bytes with content '{}'",
                        content.name()
                    )));
                }
                Node::File {
                    size,
                    blob_id,
                    sha256,
                    link,
                    content,
                }
            }
            2 => Node::directory(TreeRef::decode(from)?),
            3 => match from.bytes16(TARGET_MAX)? {
                target if target.is_empty() || target.contains(&0) => {
                    return Err(from.error("a link's target is empty or has a NUL"));
                }
                target => Node::Symlink {
                    target: target.to_vec(),
                    link: from.u64()?,
                },
            },
            4 => {
                let kind = match from.u8()? {
                    1 => SpecialKind::CharDevice,
                    2 => SpecialKind::BlockDevice,
                    3 => SpecialKind::Fifo,
                    4 => SpecialKind::Socket,
                    tag => return Err(from.error(format_args!("a special file of unknown kind {tag}"))),
                };
                Node::Special {
                    kind,
                    major: from.u32()?,
                    minor: from.u32()?,
                    link: from.u64()?,
                }
            }
            5 => Node::Whiteout,
            6 => {
                let flags = from.u8()?;
                let marks = Marks {
                    opaque: flags & 1 != 0,
                    implied: flags & 2 != 0,
                };
                if flags == 0 || marks.flags() != flags {
                    return Err(from.error(format_args!("a directory's marks are {flags}")));
                }
                Node::Directory {
                    tree: TreeRef::decode(from)?,
                    marks,
                }
            }
            7 => match from.bytes16(TARGET_MAX)? {
                target if target.is_empty() || target.contains(&0) => {
                    return Err(from.error("a link's target is empty or has a NUL"));
                }
                target => Node::OutsideLink(target.to_vec()),
            },
            tag => return Err(from.error(format_args!("an entry of unknown kind {tag}"))),
        };
        Ok(Self { name, metadata, node })
    }
}

/// A child of an interior page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChild {
    /// Name of the first entry below it.
    pub first: EntryName,
    /// Entries of this directory below it.
    pub entries: u64,
    /// Inodes that those entries stand for.
    pub inodes: u64,
    /// The child page's hash.
    pub hash: PageHash,
    /// Where it is.
    pub place: Place,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreePage {
    /// Entries, in order of name.
    Leaf(Vec<TreeEntry>),
    /// Pages of the level below (`level` is from 1).
    Interior {
        /// Levels above the leaf pages.
        level: u8,
        /// The pages, in order.
        children: Vec<TreeChild>,
    },
}

impl TreePage {
    /// The page as it is stored, and the hash of its canonical part.
    #[must_use]
    pub fn encode(&self) -> (PageHash, Vec<u8>) {
        let (mut out, mut places) = (Encoder::new(), Encoder::new());
        let head = |out: &mut Encoder, level: u8, count: usize| {
            out.put(MAGIC)
                .u8(level)
                .u16(u16::try_from(count).unwrap_or(u16::MAX));
        };
        match self {
            Self::Leaf(entries) => {
                head(&mut out, 0, entries.len());
                for entry in entries {
                    out.put(&entry.canonical());
                    entry.encode_places(&mut places);
                }
            }
            Self::Interior { level, children } => {
                head(&mut out, *level, children.len());
                for child in children {
                    out.bytes16(child.first.as_bytes())
                        .u64(child.entries)
                        .u64(child.inodes)
                        .put(child.hash.as_bytes());
                    child.place.encode(&mut places);
                }
            }
        }
        let hash = PageHash::of(out.as_slice());
        out.put(places.as_slice());
        (hash, out.finish())
    }

    /// Reads a stored page that must have this hash and level; names must ascend, none twice.
    pub fn decode(bytes: &[u8], hash: &PageHash, level: u8, place: &str) -> Result<Self> {
        let mut from = Decoder::new(bytes, place);
        from.magic(MAGIC)?;
        let (found, count) = (from.u8()?, from.u16()?);
        if found != level || count == 0 {
            return Err(from.error(format_args!(
                "a page of level {found} with {count} entries, where level {level} belongs"
            )));
        }
        let out_of_order = |from: &Decoder<'_>| from.error("names are out of order or twice");
        let page = if level == 0 {
            let mut entries: Vec<TreeEntry> = Vec::new();
            for _ in 0..count {
                let entry = TreeEntry::decode(&mut from)?;
                if entries.last().is_some_and(|last| last.name >= entry.name) {
                    return Err(out_of_order(&from));
                }
                entries.push(entry);
            }
            Self::Leaf(entries)
        } else {
            let mut children: Vec<TreeChild> = Vec::new();
            for _ in 0..count {
                let first = EntryName::new(from.bytes16(MAX_ENTRY_NAME)?).map_err(|e| from.error(e))?;
                let child = TreeChild {
                    first,
                    entries: from.u64()?,
                    inodes: from.u64()?,
                    hash: PageHash::from_bytes(from.array()?),
                    place: Place::default(),
                };
                if children.last().is_some_and(|last| last.first >= child.first) {
                    return Err(out_of_order(&from));
                }
                if child.entries == 0 || child.entries > child.inodes || child.inodes >= 1 << 48 {
                    return Err(from.error("a page's counts contradict each other"));
                }
                children.push(child);
            }
            Self::Interior { level, children }
        };
        if PageHash::of(bytes.get(..from.position()).unwrap_or_default()) != *hash {
            return Err(Error::mismatch(place, "a directory's page"));
        }
        page.with_places(&mut from)
    }

    fn with_places(mut self, from: &mut Decoder<'_>) -> Result<Self> {
        match &mut self {
            Self::Leaf(entries) => {
                for entry in entries {
                    match &mut entry.node {
                        Node::File { content, .. } => content.decode_places(from)?,
                        Node::Directory { tree, .. } => tree.place = Place::decode(from)?,
                        Node::Symlink { .. }
                        | Node::Special { .. }
                        | Node::Whiteout
                        | Node::OutsideLink(_) => {}
                    }
                }
            }
            Self::Interior { children, .. } => {
                for child in children {
                    child.place = Place::decode(from)?;
                }
            }
        }
        from.end()?;
        Ok(self)
    }
}
