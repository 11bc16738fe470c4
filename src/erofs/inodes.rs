//! From a tree to the inodes of an image: which there are, where each is, and what it says.

use super::image::Extent;
use super::layout::{self, BLOCK, Core, DataLayout, Dirent, SLOT, SUPERBLOCK_AT, Superblock};
use super::marks::{HAS_WHITEOUTS, OPAQUE, WHITEOUT, given, shown_xattrs};
use super::xattrs::{Shared, Xattr};
use super::{BYTES_MAX, NAMES_MAX, NoImage, Outcome};
use crate::format::content::Content;
use crate::format::tree::Node as StoredNode;
use crate::ids::BlobId;
use crate::tree::{Directory, Entry, Marks, Metadata, Node, Rooted, SpecialKind};
use crate::units::len64;
use std::collections::HashMap;

/// Numbers that directory entries have for types.
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const CHAR_DEVICE: u8 = 3;
const BLOCK_DEVICE: u8 = 4;
const FIFO: u8 = 5;
const SOCKET: u8 = 6;
const SYMLINK: u8 = 7;

/// The type's bits in a mode.
const fn type_bits(file_type: u8) -> u16 {
    match file_type {
        DIRECTORY => 0o040_000,
        CHAR_DEVICE => 0o020_000,
        BLOCK_DEVICE => 0o060_000,
        FIFO => 0o010_000,
        SOCKET => 0o140_000,
        SYMLINK => 0o120_000,
        _ => 0o100_000,
    }
}

/// What an inode has besides its core.
#[derive(Debug)]
enum Body {
    Directory(Names),
    Symlink(Vec<u8>),
    /// What it is made of, until its bytes have their place among the data.
    File(Option<(BlobId, Content)>),
    Device,
}

/// The names of a directory, `.` and `..` among them, in byte order.
#[derive(Debug, Default)]
struct Names {
    /// Each with the position of its inode, and its type.
    entries: Vec<(Vec<u8>, usize, u8)>,
    /// Names in each block, and bytes of all blocks.
    counts: Vec<usize>,
    bytes: u64,
}

/// An inode that was met.
#[derive(Debug)]
struct Inode {
    core: Core,
    xattrs: Vec<Xattr>,
    body: Body,
    /// Attributes as they stand behind the core.
    attributes: Vec<u8>,
    /// Where it is.
    at: u64,
}

/// What is known of a tree while its image is made.
#[derive(Debug, Default)]
struct Tree {
    inodes: Vec<Inode>,
    /// Hard links: position and type by inode number of the tree.
    linked: HashMap<u64, (usize, u8)>,
    /// Files of the same bytes are one extent.
    extents: Vec<Extent>,
    known: HashMap<(BlobId, u64), u32>,
    /// Data blocks so far.
    blocks: u64,
    names: u64,
    /// Bytes of names, links, attributes and small files.
    bytes: u64,
}

/// An image's metadata, and its files, in order of where they begin.
pub(super) struct Made {
    pub(super) metadata: Vec<u8>,
    pub(super) extents: Vec<Extent>,
    pub(super) blocks: u64,
}

/// Highest numbers of a device that an inode can have: as Linux has them, 12 and 20 bits.
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;

impl Tree {
    /// Takes room for a name, and for what its entry keeps in memory besides. Refused where there is no more.
    fn take_room(&mut self, entry: &Entry) -> Outcome<()> {
        let own = match &entry.stored().node {
            StoredNode::File {
                content: Content::Inline(bytes),
                ..
            } => bytes.len(),
            StoredNode::Symlink { target, .. } => target.len(),
            _ => 0,
        };
        let xattrs = entry.metadata.xattrs.iter();
        let xattrs: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        self.names += 1;
        self.bytes += len64(entry.name.as_bytes().len() + own + xattrs);
        if self.names > NAMES_MAX || self.bytes > BYTES_MAX {
            return NoImage::because(format!(
                "more than {NAMES_MAX} names, or {BYTES_MAX} bytes of names, links, attributes and small files"
            ));
        }
        Ok(())
    }

    fn add(
        &mut self,
        file_type: u8,
        metadata: &Metadata,
        (nlink, size, value): (u32, u64, u32),
        body: Body,
    ) -> usize {
        let serial = u32::try_from(self.inodes.len() + 1).unwrap_or(u32::MAX);
        self.inodes.push(Inode {
            core: Core {
                mode: type_bits(file_type) | metadata.mode & 0o7777,
                uid: metadata.uid,
                gid: metadata.gid,
                time: (metadata.mtime_sec, metadata.mtime_nsec),
                nlink,
                size,
                layout: DataLayout::Plain,
                value,
                serial,
                xattr_count: 0,
            },
            xattrs: shown_xattrs(metadata),
            body,
            attributes: Vec::new(),
            at: 0,
        });
        self.inodes.len() - 1
    }

    /// Gives a directory one of overlayfs' marks; none has it twice.
    fn mark(&mut self, at: usize, (name, value): (&[u8], &[u8])) {
        if let Some(inode) = self.inodes.get_mut(at) {
            let place = inode
                .xattrs
                .partition_point(|(before, _)| before.as_slice() < name);
            inode.xattrs.insert(place, (name.to_vec(), value.to_vec()));
        }
    }

    /// Where a file's bytes begin, counted in data blocks.
    fn extent(&mut self, blob: BlobId, size: u64, content: Content) -> Outcome<u32> {
        if size == 0 {
            return Ok(0);
        }
        if let Some(start) = self.known.get(&(blob, size)) {
            return Ok(*start);
        }
        let start = u32::try_from(self.blocks);
        let end = self.blocks.saturating_add(layout::blocks(size));
        let Some(start) = start.ok().filter(|_| u32::try_from(end).is_ok()) else {
            return NoImage::because("more than 16 TiB of files");
        };
        self.extents.push(Extent {
            start: u64::from(start) * BLOCK,
            size,
            blob,
            content,
        });
        self.known.insert((blob, size), start);
        self.blocks = end;
        Ok(start)
    }

    /// The inode of an entry, which is made unless it is a further name of one; and its type. An implied directory's metadata are given.
    fn entry(&mut self, entry: &Entry, given: Option<&Metadata>) -> Outcome<(usize, u8)> {
        if let Some(known) = self.linked.get(&entry.inode) {
            return Ok(*known);
        }
        let (file_type, counts, body) = match &entry.node {
            Node::Directory { subdirectories, .. } => {
                let nlink = u32::try_from(subdirectories + 2).unwrap_or(u32::MAX);
                (DIRECTORY, (nlink, 0, 0), Body::Directory(Names::default()))
            }
            Node::File {
                size, blob_id, nlink, ..
            } => {
                let StoredNode::File { content, .. } = &entry.stored().node else {
                    return NoImage::because("a file that is stored as none");
                };
                let bytes = Some((*blob_id, content.clone()));
                (FILE, (*nlink, *size, 0), Body::File(bytes))
            }
            Node::Symlink { target, nlink } => (
                SYMLINK,
                (*nlink, len64(target.len()), 0),
                Body::Symlink(target.clone()),
            ),
            Node::Special {
                kind,
                major,
                minor,
                nlink,
            } => {
                if *major > MAJOR_MAX || *minor > MINOR_MAX {
                    return NoImage::because(format!("{} is a device {major}:{minor}", entry.name));
                }
                let file_type = match kind {
                    SpecialKind::CharDevice => CHAR_DEVICE,
                    SpecialKind::BlockDevice => BLOCK_DEVICE,
                    SpecialKind::Fifo => FIFO,
                    SpecialKind::Socket => SOCKET,
                };
                (
                    file_type,
                    (*nlink, 0, layout::device(*major, *minor)),
                    Body::Device,
                )
            }
            Node::Whiteout => (CHAR_DEVICE, (1, 0, layout::device(0, 0)), Body::Device),
            Node::OutsideLink { target } => {
                return NoImage::because(format!(
                    "{} is one more name of {}, which only the layers below have",
                    entry.name,
                    String::from_utf8_lossy(target)
                ));
            }
        };
        let metadata = match (&entry.node, given) {
            (Node::Whiteout, _) => &WHITEOUT,
            (_, Some(given)) => given,
            (_, None) => &entry.metadata,
        };
        let at = self.add(file_type, metadata, counts, body);
        if matches!(&entry.node, Node::Directory { marks, .. } if marks.opaque) {
            self.mark(at, OPAQUE);
        }
        if counts.0 > 1 && file_type != DIRECTORY {
            self.linked.insert(entry.inode, (at, file_type));
        }
        Ok((at, file_type))
    }

    /// What the entry, if it is a directory, is in these directories of chains, and its metadata where it is an implied one.
    fn in_chains(
        &mut self,
        entry: &Entry,
        ending: &[Directory],
    ) -> Outcome<(Vec<Directory>, Option<Metadata>)> {
        let Node::Directory { marks, .. } = &entry.node else {
            return Ok((Vec::new(), None));
        };
        let mut there = Vec::new();
        for chain in ending {
            match chain.entry(&entry.name)? {
                Some(found) if matches!(found.node, Node::Directory { .. }) => {
                    there.push(chain.open_directory(&found)?);
                }
                _ if marks.implied => {
                    return NoImage::because(format!(
                        "{} is no directory in a chain that ends with it",
                        entry.name
                    ));
                }
                _ => {}
            }
        }
        if !marks.implied {
            return Ok((there, None));
        }
        let metadata = given(&there, &entry.name)?;
        let xattrs = metadata.xattrs.iter();
        self.bytes += len64(
            xattrs
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>(),
        );
        Ok((there, Some(metadata)))
    }

    /// Meets every inode below `root`: those of one directory one after the other, so that a look at all of them reads few blocks.
    /// `ending` are the root directories of the chains that end with the layer.
    fn walk(&mut self, rooted: &Rooted, ending: &[Directory]) -> Outcome<()> {
        let root = rooted.rootfs();
        let implied = rooted.rootfs_marks().implied;
        let metadata = if implied {
            given(ending, "/")?
        } else {
            root.metadata().clone()
        };
        let nlink = u32::try_from(root.subdirectories() + 2).unwrap_or(u32::MAX);
        let top = self.add(
            DIRECTORY,
            &metadata,
            (nlink, 0, 0),
            Body::Directory(Names::default()),
        );
        let mut waiting = vec![(top, top, root.clone(), ending.to_vec())];
        while let Some((at, parent, directory, ending)) = waiting.pop() {
            let mut entries = vec![
                (b".".to_vec(), at, DIRECTORY),
                (b"..".to_vec(), parent, DIRECTORY),
            ];
            let (mut below, mut whiteouts) = (Vec::new(), false);
            for entry in directory.entries(0) {
                let entry = entry?;
                self.take_room(&entry)?;
                let (there, metadata) = self.in_chains(&entry, &ending)?;
                let (child, file_type) = self.entry(&entry, metadata.as_ref())?;
                whiteouts |= entry.node == Node::Whiteout;
                entries.push((entry.name.as_bytes().to_vec(), child, file_type));
                if file_type == DIRECTORY {
                    below.push((child, at, directory.open_directory(&entry)?, there));
                }
            }
            if whiteouts {
                self.mark(at, HAS_WHITEOUTS);
            }
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let (counts, bytes) = layout::directory_blocks(entries.iter().map(|(name, ..)| name.as_slice()));
            if let Some(inode) = self.inodes.get_mut(at) {
                inode.core.size = bytes;
                inode.body = Body::Directory(Names {
                    entries,
                    counts,
                    bytes,
                });
            }
            waiting.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Gives every file its place among the data, as who reads the whole tree by name comes to them: all that is below a directory before what
    /// follows it. So are layers packed, too: the image is read in order of its bytes, and each frame's files together.
    fn place_files(&mut self) -> Outcome<()> {
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Some(inode) = self.inodes.get_mut(at) else {
                continue;
            };
            let size = inode.core.size;
            match &mut inode.body {
                Body::Directory(names) => {
                    let below = names.entries.iter().rev();
                    let below = below.filter(|(name, ..)| name != b"." && name != b"..");
                    waiting.extend(below.map(|(_, child, _)| *child));
                }
                Body::File(bytes) => {
                    let Some((blob, content)) = bytes.take() else {
                        continue;
                    };
                    let start = self.extent(blob, size, content)?;
                    if let Some(inode) = self.inodes.get_mut(at) {
                        inode.core.value = start;
                    }
                }
                Body::Symlink(_) | Body::Device => {}
            }
        }
        Ok(())
    }

    /// The time that most inodes have; of several the earliest.
    fn usual_time(&self) -> (i64, u32) {
        let mut counts: HashMap<(i64, u32), u64> = HashMap::new();
        for inode in &self.inodes {
            *counts.entry(inode.core.time).or_default() += 1;
        }
        let most = counts
            .into_iter()
            .max_by_key(|(time, count)| (*count, std::cmp::Reverse(*time)));
        most.map_or((0, 0), |(time, _)| time)
    }
}

impl Inode {
    /// Bytes that lie in blocks, and bytes that follow the inode where there is room for them.
    fn parts(&self, len: u64) -> (u64, u64) {
        let bytes = match &self.body {
            Body::Directory(names) => names.bytes,
            Body::Symlink(target) => len64(target.len()),
            Body::File(_) | Body::Device => 0,
        };
        let tail = bytes % BLOCK;
        if len + tail <= BLOCK {
            (bytes - tail, tail)
        } else {
            (bytes, 0)
        }
    }
}

/// The image of a tree; `uuid` is what it calls itself. Of a layer's tree, `ending` are the root directories of the chains that end with it.
pub(super) fn made_of(rooted: &Rooted, ending: &[Directory], uuid: [u8; 16]) -> Outcome<Made> {
    let Marks { opaque, .. } = rooted.rootfs_marks();
    if opaque {
        return NoImage::because(
            "it hides all that is below, which overlayfs does not take from a layer's root",
        );
    }
    let mut tree = Tree::default();
    tree.walk(rooted, ending)?;
    tree.place_files()?;
    let time = tree.usual_time();
    let shared = Shared::of(tree.inodes.iter().flat_map(|inode| &inode.xattrs))?;
    // Where each inode is; directories' and long links' blocks are counted from the first behind all inodes.
    let mut end = len64(SUPERBLOCK_AT) + 128;
    let mut behind = 0;
    for inode in &mut tree.inodes {
        (inode.attributes, inode.core.xattr_count) = shared.body(&inode.xattrs)?;
        let len = inode.core.len(time) + len64(inode.attributes.len());
        let (in_blocks, tail) = inode.parts(len);
        end = end.next_multiple_of(SLOT);
        if end % BLOCK + len + tail > BLOCK {
            end = end.next_multiple_of(BLOCK);
        }
        inode.at = end;
        end += len + tail;
        if tail > 0 {
            inode.core.layout = DataLayout::Inline;
        }
        if in_blocks > 0 {
            inode.core.value = u32::try_from(behind).unwrap_or(u32::MAX);
            behind += layout::blocks(in_blocks);
        }
    }
    let first_behind = layout::blocks(end);
    let xattr_block = first_behind + behind;
    let first_data = xattr_block + layout::blocks(len64(shared.bytes().len()));
    let blocks = first_data + tree.blocks;
    let block = |n: u64| u32::try_from(n).or_else(|_| NoImage::because("an image of more than 16 TiB"));
    let superblock = Superblock {
        root_nid: u16::try_from(tree.inodes.first().map_or(0, |root| root.at / SLOT)).unwrap_or(u16::MAX),
        inodes: len64(tree.inodes.len()),
        time,
        blocks: block(blocks)?,
        xattr_block: block(xattr_block)?,
        uuid,
    };
    let mut metadata = vec![0; crate::units::index64(first_data * BLOCK)];
    layout::place(&mut metadata, len64(SUPERBLOCK_AT), &superblock.encode());
    layout::place(&mut metadata, xattr_block * BLOCK, shared.bytes());
    for inode in &tree.inodes {
        let mut core = inode.core.clone();
        let content = match &inode.body {
            Body::Directory(names) => {
                let dirents: Vec<Dirent<'_>> = names
                    .entries
                    .iter()
                    .map(|(name, child, file_type)| Dirent {
                        name,
                        nid: tree.inodes.get(*child).map_or(0, |inode| inode.at / SLOT),
                        file_type: *file_type,
                    })
                    .collect();
                layout::directory(&dirents, &names.counts)
            }
            Body::Symlink(target) => target.clone(),
            Body::File(_) => {
                if core.size > 0 {
                    core.value = block(first_data + u64::from(core.value))?;
                }
                Vec::new()
            }
            Body::Device => Vec::new(),
        };
        let len = core.len(time) + len64(inode.attributes.len());
        let (in_blocks, _) = inode.parts(len);
        let (blocks, tail) = content
            .split_at_checked(crate::units::index64(in_blocks))
            .unwrap_or((&content, &[]));
        if in_blocks > 0 {
            let first = first_behind + u64::from(core.value);
            layout::place(&mut metadata, first * BLOCK, blocks);
            core.value = block(first)?;
        }
        let mut bytes = core.encode(time);
        bytes.extend_from_slice(&inode.attributes);
        bytes.extend_from_slice(tail);
        layout::place(&mut metadata, inode.at, &bytes);
    }
    Ok(Made {
        metadata,
        extents: tree.extents,
        blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_an_image_is_refused_and_what_is_the_same_stands_once() {
        let mut tree = Tree::default();
        let mut extent = |n: u8, size| tree.extent(BlobId::from_bytes([n; 32]), size, Content::Nothing);
        assert_eq!(extent(1, BLOCK + 1).unwrap(), 0);
        assert_eq!(extent(2, 1).unwrap(), 2);
        assert_eq!(extent(1, BLOCK + 1).unwrap(), 0);
        assert!(extent(3, u64::MAX).is_err());
        assert!(extent(4, BLOCK << 32).is_err());
        assert_eq!(extent(5, (BLOCK << 32) - 8 * BLOCK).unwrap(), 3);
        assert!(extent(6, 8 * BLOCK).is_err());
        assert_eq!(tree.extents.len(), 3);
    }
}
