//! The catalogue's leaves, pages and footer (FORMAT.md 9).

use super::codec::{Decoder, Encoder};
use super::content::Content;
use super::tree::{Node, TreeEntry};
use crate::error::{Error, Result};
use crate::ids::{BlobId, Sha256};
use crate::merkle;

/// Leaves in a full page, and children of a full interior page: a power of two, so that pages are
/// complete subtrees of the RFC 6962 tree.
pub const FANOUT: usize = 256;
/// Largest page, in bytes.
pub const CATALOGUE_PAGE_MAX: u32 = 1024 * 1024;
/// Length of the footer.
pub const FOOTER_LEN: usize = 64;
/// Longest name and longest media type.
pub const NAME_MAX: usize = 1024;
/// Longest media type.
pub const MEDIA_TYPE_MAX: usize = 255;
/// Most bytes that a chain's containers read first.
pub const HOT_MAX: u64 = 256 << 20;
const PAGE_MAGIC: &[u8; 4] = b"HCPG";
const FOOTER_MAGIC: &[u8; 8] = b"HLDCATAL";
const CHECK_LEN: usize = 32;

/// What a leaf lists. Leaves are sorted by kind first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A name and the manifest or index that it points at.
    Image,
    /// A blob by its SHA-256.
    Blob,
    /// A manifest that has another as its subject, within one repository.
    Referrer,
    /// A digest that is referred to and was left out on purpose.
    Absent,
    /// The tree of loose files.
    Files,
    /// The tree of one layer, by diffID and the digest of the blob that it was made from.
    Layer,
    /// The merged tree of a chain of layers, by chainID.
    Chain,
    /// Which chain an image is, for one platform: what a container of it starts with.
    Rootfs,
    /// A loose file of a sealed generation, so that it can be proven by itself.
    File,
    /// What containers of a chain read first, so that it can be loaded ahead in one go.
    Hot,
}

impl Kind {
    /// The kind's byte.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Self::Image => 1,
            Self::Blob => 2,
            Self::Referrer => 3,
            Self::Absent => 4,
            Self::Files => 5,
            Self::Layer => 6,
            Self::Chain => 7,
            Self::Rootfs => 8,
            Self::File => 9,
            Self::Hot => 10,
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(match from.u8()? {
            1 => Self::Image,
            2 => Self::Blob,
            3 => Self::Referrer,
            4 => Self::Absent,
            5 => Self::Files,
            6 => Self::Layer,
            7 => Self::Chain,
            8 => Self::Rootfs,
            9 => Self::File,
            10 => Self::Hot,
            tag => return Err(from.error(format_args!("a leaf of unknown kind {tag}"))),
        })
    }
}

/// One entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// What it lists.
    pub kind: Kind,
    /// Its name; unique within its kind.
    pub name: String,
    /// The media type of a manifest or index; empty otherwise.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// BLAKE3 of the bytes; zeros where nothing is carried.
    pub blob_id: BlobId,
    /// Length in bytes.
    pub size: u64,
    /// What the bytes are made of.
    pub content: Content,
}

/// What leaves are sorted by: kind, then name, where an image's repository ends in a NUL so that all
/// of a repository stands together, and a file's folders do, so that files are in the order of the tree (FORMAT.md 9.2).
#[must_use]
pub fn sort_key(kind: Kind, name: &str) -> Vec<u8> {
    let mut key = vec![kind.tag()];
    if kind == Kind::Image {
        let cut = name.find('@').or_else(|| name.rfind(':')).unwrap_or(name.len());
        let (repository, reference) = name.split_at(cut);
        key.extend_from_slice(repository.as_bytes());
        key.push(0);
        key.extend_from_slice(reference.as_bytes());
    } else if kind == Kind::File {
        key.extend(name.bytes().map(|b| if b == b'/' { 0 } else { b }));
    } else {
        key.extend_from_slice(name.as_bytes());
    }
    key
}

/// What all images of that repository are sorted after, and nothing else is: their sort keys' common
/// beginning.
#[must_use]
pub fn repository_key(repository: &str) -> Vec<u8> {
    let mut key = vec![Kind::Image.tag()];
    key.extend_from_slice(repository.as_bytes());
    key.push(0);
    key
}

impl Leaf {
    /// What this leaf is sorted by.
    #[must_use]
    pub fn sort_key(&self) -> Vec<u8> {
        sort_key(self.kind, &self.name)
    }

    /// The leaf that a sealed generation has for a loose file at this path below `files/`; `None` where the entry is no file, or the path
    /// is too long for a name. That the path is its names as they are is for the caller to know.
    #[must_use]
    pub fn of_file(path: &str, entry: &TreeEntry) -> Option<Self> {
        let Node::File {
            size,
            blob_id,
            sha256,
            ..
        } = &entry.node
        else {
            return None;
        };
        (path.len() <= NAME_MAX).then(|| Self {
            kind: Kind::File,
            name: path.to_owned(),
            media_type: String::new(),
            sha256: *sha256,
            blob_id: *blob_id,
            size: *size,
            content: Content::Nothing,
        })
    }

    /// The canonical bytes, which the tree's leaf hash covers: everything but the places.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(self.kind.tag())
            .bytes16(self.name.as_bytes())
            .bytes16(self.media_type.as_bytes());
        out.put(self.sha256.as_bytes())
            .put(self.blob_id.as_bytes())
            .u64(self.size);
        self.content.encode_in_leaf(&mut out);
        out.finish()
    }

    /// The canonical bytes and then the places: a leaf in a page, or a blob's record in a pack.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(&self.canonical());
        self.content.encode_places_of_leaf(&mut out);
        out.finish()
    }

    /// Reads a leaf and its places.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let (mut leaf, inline) = Self::decode_canonical(from)?;
        leaf.content.decode_places_of_leaf(from, inline)?;
        if let Content::Inline(bytes) = &leaf.content
            && leaf.size != crate::units::len64(bytes.len())
        {
            return Err(from.error("inline content is not as long as its size says"));
        }
        Ok(leaf)
    }

    /// Reads the canonical part alone, as a proof carries it: places are zero, inline bytes are none, and what is inline has this hash.
    pub fn decode_canonical(from: &mut Decoder<'_>) -> Result<(Self, Option<BlobId>)> {
        let text = |from: &Decoder<'_>, bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .ok()
                .filter(|t| !t.contains('\0'))
                .map(str::to_owned)
                .ok_or_else(|| from.error("a name is not UTF-8 or has a NUL"))
        };
        let kind = Kind::decode(from)?;
        let name = from.bytes16(NAME_MAX)?;
        let name = text(from, name)?;
        let media_type = from.bytes16(MEDIA_TYPE_MAX)?;
        let media_type = text(from, media_type)?;
        let (sha256, blob_id) = (
            Sha256::from_bytes(from.array()?),
            BlobId::from_bytes(from.array()?),
        );
        let size = from.u64()?;
        let (content, inline) = Content::decode_in_leaf(from)?;
        let leaf = Self {
            kind,
            name,
            media_type,
            sha256,
            blob_id,
            size,
            content,
        };
        let fits = match (&leaf.content, leaf.kind) {
            (Content::Nothing, Kind::Absent | Kind::Rootfs | Kind::File)
            | (Content::Tree(_), Kind::Files | Kind::Layer | Kind::Chain) => true,
            (Content::List(_), Kind::Hot) => {
                (u64::from(super::INLINE_MAX) + 1..=HOT_MAX).contains(&leaf.size)
            }
            (Content::Inline(_) | Content::List(_), kind) => {
                matches!(kind, Kind::Image | Kind::Blob | Kind::Referrer) && leaf.size < 1 << 60
            }
            (Content::Recipe(recipe), Kind::Blob) => leaf.size < 1 << 60 && recipe.size < 1 << 60,
            _ => false,
        };
        if !fits {
            return Err(from.error(format_args!(
                "a leaf of that kind with content '{}' of {} bytes",
                leaf.content.name(),
                leaf.size
            )));
        }
        Ok((leaf, inline))
    }
}

/// A page of leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPage {
    /// 1 to [`FANOUT`] leaves in order.
    pub leaves: Vec<Leaf>,
}

/// A child of an interior page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Hash of the subtree.
    pub hash: Sha256,
    /// Where the child's page begins in the file.
    pub offset: u64,
    /// Length of the child's page in bytes.
    pub page_bytes: u32,
    /// Sort key of the first leaf below it.
    pub first_key: Vec<u8>,
}

/// A page above leaves: 1 to [`FANOUT`] children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InteriorPage {
    /// Levels above the leaf pages, from 1.
    pub level: u8,
    /// Its children, in order.
    pub children: Vec<Child>,
}

fn seal(mut out: Encoder) -> Vec<u8> {
    let check = blake3::hash(out.as_slice());
    out.put(check.as_bytes());
    out.finish()
}

fn open<'a>(bytes: &'a [u8], level: u8, place: &'a str) -> Result<(Decoder<'a>, usize)> {
    let body = bytes
        .len()
        .checked_sub(CHECK_LEN)
        .and_then(|n| bytes.split_at_checked(n));
    let Some((body, check)) = body else {
        return Err(Error::malformed(place, "the page is cut short"));
    };
    // The check finds rot in parts that no tree hash covers; what is trusted is the tree's hash alone.
    if blake3::hash(body).as_bytes() != check {
        return Err(Error::mismatch(place, "a catalogue page"));
    }
    let mut from = Decoder::new(body, place);
    from.magic(PAGE_MAGIC)?;
    let found = from.u8()?;
    let count = usize::from(from.u16()?);
    if found != level || count == 0 || count > FANOUT {
        return Err(from.error(format_args!(
            "a page of level {found} with {count} entries, where level {level} belongs"
        )));
    }
    Ok((from, count))
}

impl LeafPage {
    /// Hash of the page's subtree.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        merkle::root(
            &self
                .leaves
                .iter()
                .map(|leaf| merkle::leaf_hash(&leaf.canonical()))
                .collect::<Vec<_>>(),
        )
    }

    /// The page's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(PAGE_MAGIC)
            .u8(0)
            .u16(u16::try_from(self.leaves.len()).unwrap_or(u16::MAX));
        for leaf in &self.leaves {
            out.put(&leaf.encode());
        }
        seal(out)
    }

    /// Reads a page whose subtree must have this hash; its leaves' order is checked.
    pub fn decode(bytes: &[u8], hash: &Sha256, place: &str) -> Result<Self> {
        let (mut from, count) = open(bytes, 0, place)?;
        let mut leaves: Vec<Leaf> = Vec::with_capacity(count);
        let mut hashes = Vec::with_capacity(count);
        let mut last_key = Vec::new();
        for _ in 0..count {
            let leaf = Leaf::decode(&mut from)?;
            let key = leaf.sort_key();
            if key <= last_key {
                return Err(from.error("leaves are out of order"));
            }
            last_key = key;
            hashes.push(merkle::leaf_hash(&leaf.canonical()));
            leaves.push(leaf);
        }
        from.end()?;
        if merkle::root(&hashes) != *hash {
            return Err(Error::mismatch(place, "a catalogue page's subtree"));
        }
        Ok(Self { leaves })
    }
}

impl InteriorPage {
    /// Hash of the page's subtree.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        merkle::root(&self.children.iter().map(|c| c.hash).collect::<Vec<_>>())
    }

    /// The page's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(PAGE_MAGIC)
            .u8(self.level)
            .u16(u16::try_from(self.children.len()).unwrap_or(u16::MAX));
        for child in &self.children {
            out.put(child.hash.as_bytes())
                .u64(child.offset)
                .u32(child.page_bytes)
                .bytes16(&child.first_key);
        }
        seal(out)
    }

    /// Reads a page of that level whose subtree must have this hash.
    pub fn decode(bytes: &[u8], level: u8, hash: &Sha256, place: &str) -> Result<Self> {
        let (mut from, count) = open(bytes, level, place)?;
        let mut children: Vec<Child> = Vec::with_capacity(count);
        for _ in 0..count {
            let child = Child {
                hash: Sha256::from_bytes(from.array()?),
                offset: from.u64()?,
                page_bytes: from.u32()?,
                first_key: from.bytes16(NAME_MAX + 2)?.to_vec(),
            };
            if child.page_bytes > CATALOGUE_PAGE_MAX
                || children.last().is_some_and(|c| c.first_key >= child.first_key)
            {
                return Err(from.error("a child is too long or out of order"));
            }
            children.push(child);
        }
        from.end()?;
        let page = Self { level, children };
        if page.hash() != *hash {
            return Err(Error::mismatch(place, "a catalogue page's subtree"));
        }
        Ok(page)
    }
}

/// The last 64 bytes of a catalogue: where its top page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Level of the top page; 0 where it is a leaf page.
    pub level: u8,
    /// Where the top page begins.
    pub top: u64,
    /// Its length; 0 in an empty catalogue.
    pub top_bytes: u32,
}

impl Footer {
    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.put(FOOTER_MAGIC)
            .u8(self.level)
            .u64(self.top)
            .u32(self.top_bytes);
        let mut bytes = out.finish();
        bytes.resize(FOOTER_LEN - CHECK_LEN, 0);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// Reads the footer.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let mut from = Decoder::new(bytes, place);
        from.magic(FOOTER_MAGIC)?;
        let footer = Self {
            level: from.u8()?,
            top: from.u64()?,
            top_bytes: from.u32()?,
        };
        if bytes != footer.encode() {
            return Err(Error::mismatch(place, "the catalogue's footer"));
        }
        if footer.level > 8 || footer.top_bytes > CATALOGUE_PAGE_MAX {
            return Err(from.error("the top page is too high or too long"));
        }
        Ok(footer)
    }
}
