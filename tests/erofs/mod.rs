//! A reader of EROFS images that knows nothing of how ours are made: only of Linux' `fs/erofs/erofs_fs.h`.

use std::collections::BTreeMap;

/// What an inode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number: names of one inode have the same.
    pub nid: u64,
    /// With the type's bits.
    pub mode: u16,
    pub owner: (u32, u32),
    pub mtime: (i64, u32),
    pub nlink: u32,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file or link its bytes; of a device its number; of a directory nothing.
    pub data: Vec<u8>,
}

struct Image<'a> {
    bytes: &'a [u8],
    time: (i64, u32),
    xattr_area: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn xattr(bytes: &[u8]) -> (usize, String, Vec<u8>) {
    let (name_len, value_len) = (usize::from(bytes[0]), usize::from(u16_at(bytes, 2)));
    let prefix = [
        "",
        "user.",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "trusted.",
        "",
        "security.",
    ];
    let (name, value) = bytes[4..4 + name_len + value_len].split_at(name_len);
    let name = format!(
        "{}{}",
        prefix[usize::from(bytes[1])],
        std::str::from_utf8(name).unwrap()
    );
    (
        (4 + name_len + value_len).next_multiple_of(4),
        name,
        value.to_vec(),
    )
}

impl Image<'_> {
    fn xattrs(&self, body: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut add = |(len, name, value): (usize, String, Vec<u8>)| {
            assert_eq!(found.insert(name, value), None);
            len
        };
        let shared = body.get(4).map_or(0, |count| usize::from(*count));
        for n in 0..shared {
            let id = u32_at(body, 12 + 4 * n) as usize;
            add(xattr(&self.bytes[self.xattr_area + 4 * id..]));
        }
        let mut at = 12 + 4 * shared;
        while at < body.len() {
            at += add(xattr(&body[at..]));
        }
        found
    }

    fn inode(&self, nid: u64) -> Found {
        let at = nid as usize * 32;
        let head = &self.bytes[at..];
        let (format, count) = (u16_at(head, 0), usize::from(u16_at(head, 2)));
        let mode = u16_at(head, 4);
        let (len, size, value, owner, mtime, nlink) = if format & 1 == 0 {
            let owner = (u16_at(head, 24).into(), u16_at(head, 26).into());
            let nlink = u16_at(head, 6).into();
            (
                32,
                u32_at(head, 8) as usize,
                u32_at(head, 16),
                owner,
                self.time,
                nlink,
            )
        } else {
            let owner = (u32_at(head, 24), u32_at(head, 28));
            let mtime = (u64_at(head, 32).cast_signed(), u32_at(head, 40));
            (
                64,
                u64_at(head, 8) as usize,
                u32_at(head, 16),
                owner,
                mtime,
                u32_at(head, 44),
            )
        };
        let xattrs = if count == 0 { 0 } else { 12 + 4 * (count - 1) };
        let body = &head[len..len + xattrs];
        let data = match (mode >> 12, (format >> 1) & 7) {
            (0o2 | 0o6, _) => value.to_le_bytes().to_vec(),
            (0o1 | 0o14, _) => Vec::new(),
            (_, 0) => self.bytes[value as usize * 4096..][..size].to_vec(),
            (_, 2) => {
                let blocks = size / 4096 * 4096;
                let start = if blocks == 0 { 0 } else { value as usize * 4096 };
                let tail = &head[len + xattrs..][..size - blocks];
                [&self.bytes[start..start + blocks], tail].concat()
            }
            (_, layout) => panic!("data layout {layout}"),
        };
        Found {
            nid,
            mode,
            owner,
            mtime,
            nlink,
            xattrs: self.xattrs(body),
            data,
        }
    }
}

/// Names and inodes of a directory's blocks.
fn names(directory: &[u8]) -> Vec<(String, u64, u8)> {
    let mut found = Vec::new();
    for block in directory.chunks(4096) {
        let count = usize::from(u16_at(block, 8)) / 12;
        for n in 0..count {
            let entry = &block[12 * n..];
            let end = if n + 1 < count {
                usize::from(u16_at(block, 12 * (n + 1) + 8))
            } else {
                block.len()
            };
            let name = &block[usize::from(u16_at(entry, 8))..end];
            let name = std::str::from_utf8(name).unwrap().trim_end_matches('\0');
            found.push((name.to_owned(), u64_at(entry, 0), entry[10]));
        }
    }
    assert!(found.is_sorted(), "{found:?}");
    found
}

/// All that an image has, by path; the root is the empty one.
pub fn read(bytes: &[u8]) -> BTreeMap<String, Found> {
    let superblock = &bytes[1024..];
    assert_eq!(u32_at(superblock, 0), 0xE0F5_E1E2);
    assert_eq!(superblock[12], 12);
    assert_eq!(bytes.len(), u32_at(superblock, 36) as usize * 4096);
    let image = Image {
        bytes,
        time: (u64_at(superblock, 24).cast_signed(), u32_at(superblock, 32)),
        xattr_area: u32_at(superblock, 44) as usize * 4096,
    };
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), u64::from(u16_at(superblock, 14)))];
    while let Some((path, nid)) = waiting.pop() {
        let mut inode = image.inode(nid);
        if inode.mode >> 12 == 0o4 {
            let prefix = if path.is_empty() {
                path.clone()
            } else {
                format!("{path}/")
            };
            for (name, nid, kind) in names(&std::mem::take(&mut inode.data)) {
                if name != "." && name != ".." {
                    let types = [0, 0o10, 0o4, 0o2, 0o6, 0o1, 0o14, 0o12];
                    assert_eq!(image.inode(nid).mode >> 12, types[usize::from(kind)], "{name}");
                    waiting.push((format!("{prefix}{name}"), nid));
                }
            }
        }
        found.insert(path, inode);
    }
    assert_eq!(
        u64_at(superblock, 16),
        found
            .values()
            .map(|inode| inode.nid)
            .collect::<std::collections::BTreeSet<_>>()
            .len() as u64
    );
    found
}
