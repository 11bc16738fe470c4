//! What stat(2) tells of a node.
//!
//! Owns [`Attributes`] and how they follow from what the store says. Knows no fuser type.

use holdall::reader::{Directory, Entry, Metadata, Node, SpecialKind};
use holdall::units::len64;
use std::fmt;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::File => "regular file",
            Self::Symlink => "symbolic link",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        })
    }
}

/// What stat(2) tells of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The inode number.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content; of a symlink, of its target; of a directory, the number of its entries.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky (12 bits); no file type.
    pub mode: u16,
    /// Names that this inode has. Of a directory 2 and its sub-directories, as every file system for
    /// disks has it; below `images/` 1, which stands for "not counted".
    pub nlink: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Seconds since 1970, may be negative.
    pub mtime_sec: i64,
    /// Nanoseconds after `mtime_sec`, below 10^9.
    pub mtime_nsec: u32,
    /// Device number's first half; 0 for what is no device.
    pub major: u32,
    /// Device number's second half.
    pub minor: u32,
}

/// Owner and time of what has none of its own: the fixed nodes and the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_sec: i64,
}

impl Stamp {
    /// A directory that everyone may read.
    pub(super) fn directory(self, number: u64, entries: u64, nlink: u32) -> Attributes {
        self.attributes(number, Kind::Directory, entries, 0o555, nlink)
    }

    /// A symlink, whose target has that many bytes.
    pub(super) fn symlink(self, number: u64, size: u64) -> Attributes {
        self.attributes(number, Kind::Symlink, size, 0o777, 1)
    }

    /// A file that everyone may read.
    pub(super) fn file(self, number: u64, size: u64, nlink: u32) -> Attributes {
        self.attributes(number, Kind::File, size, 0o444, nlink)
    }

    fn attributes(self, number: u64, kind: Kind, size: u64, mode: u16, nlink: u32) -> Attributes {
        let Self { uid, gid, mtime_sec } = self;
        Attributes {
            number,
            kind,
            size,
            mode,
            nlink,
            uid,
            gid,
            mtime_sec,
            mtime_nsec: 0,
            major: 0,
            minor: 0,
        }
    }
}

impl Attributes {
    /// Of an opened directory.
    pub(super) fn of_directory(number: u64, directory: &Directory) -> Self {
        let nlink = names_of(directory.subdirectories());
        Self::of(
            number,
            Kind::Directory,
            directory.len(),
            nlink,
            directory.metadata(),
        )
    }

    /// Of an entry of a directory.
    pub(super) fn of_entry(number: u64, entry: &Entry) -> Self {
        let kind = kind_of(&entry.node);
        let (size, nlink) = match &entry.node {
            Node::File { size, nlink, .. } => (*size, (*nlink).max(1)),
            Node::Directory {
                entries,
                subdirectories,
                ..
            } => (*entries, names_of(*subdirectories)),
            Node::Symlink { target, nlink } => (len64(target.len()), (*nlink).max(1)),
            Node::Special { nlink, .. } => (0, (*nlink).max(1)),
            // Marks of layers' trees; none is shown.
            Node::Whiteout | Node::OutsideLink { .. } => (0, 1),
        };
        let mut attributes = Self::of(number, kind, size, nlink, &entry.metadata);
        if let Node::Special {
            kind: SpecialKind::CharDevice | SpecialKind::BlockDevice,
            major,
            minor,
            ..
        } = &entry.node
        {
            (attributes.major, attributes.minor) = (*major, *minor);
        }
        attributes
    }

    fn of(number: u64, kind: Kind, size: u64, nlink: u32, metadata: &Metadata) -> Self {
        Self {
            number,
            kind,
            size,
            // Masked to 12 bits, so it always fits.
            mode: metadata.mode & 0o7777,
            nlink,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime_sec: metadata.mtime_sec,
            mtime_nsec: metadata.mtime_nsec,
            major: 0,
            minor: 0,
        }
    }
}

/// Names of a directory with so many sub-directories: in its parent, `.`, and each one's `..`.
pub(super) fn names_of(subdirectories: u64) -> u32 {
    u32::try_from(subdirectories.saturating_add(2)).unwrap_or(u32::MAX)
}

/// What an entry's node is.
pub(super) fn kind_of(node: &Node) -> Kind {
    match node {
        Node::File { .. } => Kind::File,
        Node::Directory { .. } => Kind::Directory,
        Node::Symlink { .. } => Kind::Symlink,
        Node::Special {
            kind: SpecialKind::CharDevice,
            ..
        } => Kind::CharDevice,
        Node::Special {
            kind: SpecialKind::BlockDevice,
            ..
        } => Kind::BlockDevice,
        Node::Special {
            kind: SpecialKind::Fifo,
            ..
        } => Kind::Fifo,
        Node::Special {
            kind: SpecialKind::Socket,
            ..
        }
        | Node::Whiteout
        | Node::OutsideLink { .. } => Kind::Socket,
    }
}
