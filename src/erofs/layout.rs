//! The bytes of an EROFS image: superblock, inodes, directory blocks.

use crate::format::codec::Encoder;
use crate::units::{index64, len64};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;
/// Where the superblock is.
pub(super) const SUPERBLOCK_AT: usize = 1024;
/// Inodes are at multiples of this: their numbers count it.
pub(super) const SLOT: u64 = 32;
/// Bytes of a directory entry without its name.
const DIRENT: usize = 12;

const MAGIC: u32 = 0xE0F5_E1E2;
const BLOCK_BITS: u8 = 12;

/// Blocks that so many bytes take.
pub(super) const fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK)
}

/// What the superblock says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    pub root_nid: u16,
    pub inodes: u64,
    /// The time of every compact inode.
    pub time: (i64, u32),
    pub blocks: u32,
    pub xattr_block: u32,
    pub uuid: [u8; 16],
}

impl Superblock {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        // No checksum of the superblock: the image is checked as a whole where it is read.
        out.u32(MAGIC)
            .u32(0)
            .u32(0)
            .u8(BLOCK_BITS)
            .u8(0)
            .u16(self.root_nid);
        out.u64(self.inodes).i64(self.time.0).u32(self.time.1);
        // Inode numbers count from the image's start.
        out.u32(self.blocks).u32(0).u32(self.xattr_block).put(&self.uuid);
        out.put(&[0; 16]).u32(0).u16(0).u16(0).u16(0);
        out.u8(0).u8(0).u32(0).u64(0).put(&[0; 24]);
        out.finish()
    }
}

/// How an inode's data lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks one after the other.
    Plain,
    /// The same, but for what is left over of the last one, which follows the inode.
    Inline,
}

/// An inode without its extended attributes and its tail.
#[derive(Debug, Clone)]
pub(super) struct Core {
    /// Type and permissions, as stat has them.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub time: (i64, u32),
    pub nlink: u32,
    pub size: u64,
    pub layout: DataLayout,
    /// Of data in blocks the first; of a device its number.
    pub value: u32,
    /// A number for 32-bit stat; nothing else uses it.
    pub serial: u32,
    /// What `i_xattr_icount` says.
    pub xattr_count: u16,
}

impl Core {
    /// Whether 32 bytes are enough for it, where compact inodes have that time.
    const fn is_compact(&self, time: (i64, u32)) -> bool {
        self.uid <= u16::MAX as u32
            && self.gid <= u16::MAX as u32
            && self.nlink <= u16::MAX as u32
            && self.size <= u32::MAX as u64
            && self.time.0 == time.0
            && self.time.1 == time.1
    }

    /// Bytes of it.
    pub(super) const fn len(&self, time: (i64, u32)) -> u64 {
        if self.is_compact(time) { 32 } else { 64 }
    }

    pub(super) fn encode(&self, time: (i64, u32)) -> Vec<u8> {
        let compact = self.is_compact(time);
        let layout: u16 = match self.layout {
            DataLayout::Plain => 0,
            DataLayout::Inline => 2,
        };
        let mut out = Encoder::new();
        out.u16(u16::from(!compact) | layout << 1)
            .u16(self.xattr_count)
            .u16(self.mode);
        if compact {
            let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
            out.u16(short(self.nlink))
                .u32(u32::try_from(self.size).unwrap_or(u32::MAX));
            out.u32(0).u32(self.value).u32(self.serial);
            out.u16(short(self.uid)).u16(short(self.gid)).u32(0);
        } else {
            out.u16(0).u64(self.size).u32(self.value).u32(self.serial);
            out.u32(self.uid).u32(self.gid);
            out.i64(self.time.0).u32(self.time.1).u32(self.nlink);
            out.put(&[0; 16]);
        }
        out.finish()
    }
}

/// A device's number as an inode has it.
pub(super) const fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// One name of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dirent<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    pub file_type: u8,
}

/// How many of the names, which ascend, each block of a directory has; and the bytes of all blocks, the last one no longer than it must be.
pub(super) fn directory_blocks<'a>(names: impl Iterator<Item = &'a [u8]>) -> (Vec<usize>, u64) {
    let (mut counts, mut count, mut used) = (Vec::new(), 0, 0);
    for name in names {
        let more = DIRENT + name.len();
        if used + more > BLOCK_LEN {
            counts.push(count);
            (count, used) = (0, 0);
        }
        count += 1;
        used += more;
    }
    let bytes = len64(counts.len()) * BLOCK + len64(used);
    counts.push(count);
    (counts, bytes)
}

/// The bytes of a directory, its names in blocks as [`directory_blocks`] says.
pub(super) fn directory(entries: &[Dirent<'_>], counts: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = entries;
    for count in counts {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN), 0);
        let (block, behind) = rest.split_at_checked(*count).unwrap_or((rest, &[]));
        rest = behind;
        let mut out = Encoder::new();
        let mut at = DIRENT * block.len();
        for entry in block {
            let offset = u16::try_from(at).unwrap_or(u16::MAX);
            out.u64(entry.nid).u16(offset).u8(entry.file_type).u8(0);
            at += entry.name.len();
        }
        for entry in block {
            out.put(entry.name);
        }
        bytes.extend_from_slice(out.as_slice());
    }
    bytes
}

/// Writes bytes at a place of the image's metadata, which grows where it must.
pub(super) fn place(metadata: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let start = index64(at);
    let end = start + bytes.len();
    if metadata.len() < end {
        metadata.resize(end, 0);
    }
    if let Some(room) = metadata.get_mut(start..end) {
        room.copy_from_slice(bytes);
    }
}
