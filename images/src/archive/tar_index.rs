//! Where each file of a tar lies, found in one pass over its headers. Names are keys to look up and
//! never become paths on this machine.

use crate::layout::{Files, OpenFile};
use crate::{Error, Result};
use holdall::units::{index64, len64};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: u64 = 512;
/// Most entries of an archive.
const MAX_ENTRIES: usize = 1_000_000;
/// Most bytes that the names of an archive take together.
const MAX_NAME_BYTES: usize = 96 << 20;
/// Longest name, and longest extended header, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
const MAX_NAME: usize = 4096;
/// Most links from name to name.
const MAX_HOPS: usize = 8;
/// Bytes that one read asks the operating system for.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File {
        offset: u64,
        len: u64,
    },
    /// To another name of this archive, resolved when it is opened.
    Link(String),
    Folder,
}

/// The files of a tar, by name.
#[derive(Debug, Clone)]
pub struct TarIndex {
    file: Arc<File>,
    place: String,
    nodes: Arc<BTreeMap<String, Node>>,
}

/// Names and sizes that extended headers give the entry after them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl TarIndex {
    /// Reads all headers of a tar, seeking over what lies between them.
    pub fn open(path: &Path, place: &str) -> Result<Self> {
        let file = File::open(path).map_err(|err| Error::io(place, err))?;
        let metadata = file.metadata().map_err(|err| Error::io(place, err))?;
        if !metadata.is_file() {
            return Err(Error::unsupported(
                place,
                "archives that are not regular files (they are read at random)",
            ));
        }
        let mut index = Self {
            file: Arc::new(file),
            place: place.to_owned(),
            nodes: Arc::default(),
        };
        index.check_magic()?;
        index.nodes = Arc::new(index.scan(metadata.len())?);
        Ok(index)
    }

    fn check_magic(&self) -> Result<()> {
        let mut magic = [0; 6];
        if self.file.read_exact_at(&mut magic, 0).is_err() {
            return Err(Error::malformed(&self.place, "not a tar archive"));
        }
        let (name, how) = match magic {
            [0x1f, 0x8b, ..] => ("gzip", "gunzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", "zstd -d"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => ("xz", "unxz"),
            [b'B', b'Z', b'h', ..] => ("bzip2", "bunzip2"),
            _ => return Ok(()),
        };
        Err(Error::unsupported(
            &self.place,
            format!(
                "an archive compressed with {name}, as it is read at random; decompress it first with `{how}`"
            ),
        ))
    }

    fn scan(&self, end: u64) -> Result<BTreeMap<String, Node>> {
        let mut nodes = BTreeMap::new();
        let (mut at, mut entries, mut name_bytes) = (0_u64, 0_usize, 0_usize);
        let mut extension = Extension::default();
        while at < end {
            let place = format!("{}: at byte {at}", self.place);
            let mut block = [0; 512];
            self.file
                .read_exact_at(&mut block, at)
                .map_err(|_| Error::malformed(&place, "the archive breaks off"))?;
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let header = Header::from_byte_slice(&block);
            check_sum(header, &block, &place)?;
            let size = header
                .entry_size()
                .map_err(|err| Error::malformed(&place, err.to_string()))?;
            let kind = header.entry_type();
            let size = if is_extension(kind) {
                size
            } else {
                extension.size.unwrap_or(size)
            };
            let data = at + BLOCK;
            let next = size
                .checked_next_multiple_of(BLOCK)
                .and_then(|padded| data.checked_add(padded));
            let next = match next {
                // The last entry's padding may be missing, its bytes may not.
                Some(next) if data + size <= end => next,
                _ => {
                    return Err(Error::malformed(
                        place,
                        "the archive breaks off, or an entry's length lies",
                    ));
                }
            };
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(Error::too_large(
                    place,
                    "the number of entries",
                    len64(MAX_ENTRIES),
                ));
            }
            at = next;
            if is_extension(kind) {
                self.extend(&mut extension, kind, data, size, &place)?;
                continue;
            }
            let extension = std::mem::take(&mut extension);
            let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
            let Some(name) = normalise(&path, "") else {
                continue;
            };
            name_bytes += name.len();
            if name.len() > MAX_NAME || name_bytes > MAX_NAME_BYTES {
                return Err(Error::too_large(
                    place,
                    "the length of its names",
                    len64(MAX_NAME),
                ));
            }
            let link = || {
                extension
                    .link
                    .clone()
                    .or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()))
                    .unwrap_or_default()
            };
            let node = match kind {
                EntryType::Regular | EntryType::Continuous => Node::File {
                    offset: data,
                    len: size,
                },
                EntryType::Directory => Node::Folder,
                EntryType::Link => Node::Link(normalise(&link(), "").unwrap_or_default()),
                EntryType::Symlink => Node::Link(normalise(&link(), parent(&name)).unwrap_or_default()),
                EntryType::GNUSparse => return Err(Error::unsupported(place, "sparse entries in archives")),
                _ => continue,
            };
            // The last of several entries of one name is what unpacking would leave.
            nodes.insert(name, node);
        }
        Ok(nodes)
    }

    fn extend(
        &self,
        extension: &mut Extension,
        kind: EntryType,
        data: u64,
        size: u64,
        place: &str,
    ) -> Result<()> {
        if size > MAX_EXTENSION {
            return Err(Error::too_large(
                place,
                "the length of an extended header",
                MAX_EXTENSION,
            ));
        }
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let mut bytes = vec![0; index64(size)];
        self.file
            .read_exact_at(&mut bytes, data)
            .map_err(|err| Error::io(place, err))?;
        let text = || bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            EntryType::GNULongName => extension.path = Some(text()),
            EntryType::GNULongLink => extension.link = Some(text()),
            _ => {
                for record in PaxExtensions::new(&bytes) {
                    let record = record.map_err(|err| Error::malformed(place, err.to_string()))?;
                    match record.key_bytes() {
                        b"path" => extension.path = Some(record.value_bytes().to_vec()),
                        b"linkpath" => extension.link = Some(record.value_bytes().to_vec()),
                        b"size" => {
                            let size = record.value().ok().and_then(|text| text.parse().ok());
                            extension.size = Some(
                                size.ok_or_else(|| Error::malformed(place, "a size that is no number"))?,
                            );
                        }
                        key if key.starts_with(b"GNU.sparse.") => {
                            return Err(Error::unsupported(place, "sparse entries in archives"));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// True where there is an entry of that name, of any kind.
    pub fn contains(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// Where the file of that name lies, links within the archive followed.
    pub fn find(&self, name: &str) -> Result<Option<FileRange>> {
        let mut target = name.to_owned();
        for _ in 0..MAX_HOPS {
            match self.nodes.get(&target) {
                None => return Ok(None),
                Some(Node::File { offset, len }) => {
                    return Ok(Some(FileRange {
                        file: Arc::clone(&self.file),
                        offset: *offset,
                        end: offset + len,
                    }));
                }
                Some(Node::Folder) => {
                    return Err(Error::malformed(
                        format!("{}: {name}", self.place),
                        "a folder, not a file",
                    ));
                }
                Some(Node::Link(to)) if to.is_empty() => {
                    return Err(Error::malformed(
                        format!("{}: {name}", self.place),
                        "a link that leads out of the archive",
                    ));
                }
                Some(Node::Link(to)) => target.clone_from(to),
            }
        }
        Err(Error::malformed(
            format!("{}: {name}", self.place),
            "links that go round, or too far",
        ))
    }
}

impl Files for TarIndex {
    fn open(&self, path: &str) -> Result<Option<OpenFile>> {
        Ok(self.find(path)?.map(|range| OpenFile {
            len: range.len(),
            reader: range.into_reader(),
        }))
    }
}

/// A part of the archive: one file's bytes. Reading it moves nothing that others share.
#[derive(Debug, Clone)]
pub struct FileRange {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl FileRange {
    /// Bytes left to read.
    pub fn len(&self) -> u64 {
        self.end - self.offset
    }

    /// A reader that asks for large pieces.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        let buffer = index64(self.len()).clamp(4096, READ_BYTES);
        Box::new(BufReader::with_capacity(buffer, self))
    }
}

impl Read for FileRange {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buf.len().min(index64(self.len()));
        let Some(buf) = buf.get_mut(..wanted) else {
            return Ok(0);
        };
        let count = self.file.read_at(buf, self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the archive was cut short while it was read",
            ));
        }
        self.offset += len64(count);
        Ok(count)
    }
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

/// A header's checksum is over its bytes with its own field as spaces.
fn check_sum(header: &Header, block: &[u8; 512], place: &str) -> Result<()> {
    let claimed = header
        .cksum()
        .map_err(|_| Error::malformed(place, "not a tar header"))?;
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    if claimed != sum {
        return Err(Error::malformed(place, "a tar header whose checksum is wrong"));
    }
    Ok(())
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `path` from `folder` on, without `.` and `..`; None for what is not UTF-8, has a NUL, leads out, or is the root.
fn normalise(path: &[u8], folder: &str) -> Option<String> {
    let path = std::str::from_utf8(path)
        .ok()
        .filter(|path| !path.contains('\0'))?;
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        folder.split('/').filter(|part| !part.is_empty()).collect()
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
