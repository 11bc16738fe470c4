//! Content (FORMAT.md 8): what a blob, file or directory is made of, and the places beside it.

use super::INLINE_MAX;
use super::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::ids::{BlobId, PageHash};
use crate::units::{PackNumber, PackOffset};

/// Where a chunk or page lies: a frame, and the first byte within its plaintext. Outside every hash,
/// so that repacking changes no name; a wrong one is found by the hash of what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The pack.
    pub pack: PackNumber,
    /// The frame's header, from the pack's start.
    pub frame: PackOffset,
    /// Length of the frame, header and stored bytes together, so that one read fetches it.
    pub frame_bytes: u32,
    /// Offset of the chunk in the frame's plaintext.
    pub start: u32,
}

impl Place {
    /// Encoded length in bytes.
    pub const LEN: usize = 16;

    /// Appends the 16 bytes.
    pub fn encode(&self, out: &mut Encoder) {
        out.u32(self.pack.get())
            .u32(self.frame.get())
            .u32(self.frame_bytes)
            .u32(self.start);
    }

    /// Reads the 16 bytes; their sense is checked where they are followed.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            pack: PackNumber::new(from.u32()?),
            frame: PackOffset::new(from.u32()?),
            frame_bytes: from.u32()?,
            start: from.u32()?,
        })
    }
}

/// A chunk list under its root. At depth 0 it is a single chunk, and the hash its `ChunkId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListRef {
    /// Levels of pages.
    pub depth: u8,
    /// The top page's hash, or the chunk's id.
    pub hash: PageHash,
    /// Where that page or chunk is.
    pub place: Place,
}

impl ListRef {
    fn encode(&self, out: &mut Encoder) {
        out.u8(self.depth).put(self.hash.as_bytes());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let depth = from.u8()?;
        // 1024-way pages: eight levels cover more than any offset can name.
        if depth > 8 {
            return Err(from.error(format_args!("a list of {depth} levels")));
        }
        let hash = PageHash::from_bytes(from.array()?);
        if hash == PageHash::default() {
            return Err(from.error("a list of nothing: a run of zeros stands on a page"));
        }
        Ok(Self {
            depth,
            hash,
            place: Place::default(),
        })
    }
}

/// A directory: its entries' pages under their root, and what is counted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRef {
    /// Levels of interior pages above the leaf pages.
    pub depth: u8,
    /// The top page's hash; zeros where the directory is empty.
    pub hash: PageHash,
    /// Entries directly in it.
    pub entries: u64,
    /// Inodes below it and itself.
    pub inodes: u64,
    /// Directories directly in it.
    pub subdirectories: u64,
    /// Where the top page is.
    pub place: Place,
}

impl TreeRef {
    /// The empty directory.
    pub const EMPTY: Self = Self {
        depth: 0,
        hash: PageHash::from_bytes([0; 32]),
        entries: 0,
        inodes: 1,
        subdirectories: 0,
        place: Place {
            pack: PackNumber::new(0),
            frame: PackOffset::new(0),
            frame_bytes: 0,
            start: 0,
        },
    };

    /// Appends the canonical part.
    pub fn encode(&self, out: &mut Encoder) {
        out.u8(self.depth).put(self.hash.as_bytes());
        out.u64(self.entries).u64(self.inodes).u64(self.subdirectories);
    }

    /// Reads the canonical part; the place follows elsewhere.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let tree = Self {
            depth: from.u8()?,
            hash: PageHash::from_bytes(from.array()?),
            entries: from.u64()?,
            inodes: from.u64()?,
            subdirectories: from.u64()?,
            place: Place::default(),
        };
        // Inode numbers are sums of these; 2^48 of them is beyond any disk and far from overflow.
        let sane = tree.depth <= 8
            && tree.inodes < 1 << 48
            && tree.entries < tree.inodes
            && tree.subdirectories <= tree.entries
            && (tree.entries > 0) == (tree.hash != Self::EMPTY.hash)
            && (tree.entries > 0 || (tree.inodes == 1 && tree.depth == 0));
        if sane {
            Ok(tree)
        } else {
            Err(from.error("a directory's counts contradict each other"))
        }
    }
}

/// What a layer is made again from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeRef {
    /// Length of the recipe in bytes.
    pub size: u64,
    /// The recipe: inline or a list.
    pub recipe: Content,
    /// The layer's tree, whose files the recipe refers to.
    pub tree: TreeRef,
}

/// What a leaf's bytes are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing is carried (kind `absent` only).
    Nothing,
    /// The bytes themselves, at most [`INLINE_MAX`]. In a leaf of the catalogue they stand with the places.
    Inline(Vec<u8>),
    /// A chunk list.
    List(ListRef),
    /// A compressed layer that is made again from a recipe and the files of a tree.
    Recipe(Box<RecipeRef>),
    /// A directory.
    Tree(TreeRef),
}

impl Content {
    /// The tag's name, as messages and FORMAT.md spell it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Inline(_) => "inline",
            Self::List(_) => "list",
            Self::Recipe(_) => "recipe",
            Self::Tree(_) => "tree",
        }
    }

    /// Appends the canonical part, as it stands in a directory's entry.
    pub fn encode(&self, out: &mut Encoder) {
        self.encode_as(out, |bytes, out| {
            out.bytes16(bytes);
        });
    }

    /// Appends the canonical part, as it stands in a leaf of the catalogue: of inline bytes, their hash.
    pub fn encode_in_leaf(&self, out: &mut Encoder) {
        self.encode_as(out, |bytes, out| {
            out.put(blake3::hash(bytes).as_bytes());
        });
    }

    fn encode_as(&self, out: &mut Encoder, inline: fn(&[u8], &mut Encoder)) {
        match self {
            Self::Nothing => {
                out.u8(0);
            }
            Self::Inline(bytes) => {
                out.u8(1);
                inline(bytes, out);
            }
            Self::List(list) => {
                out.u8(2);
                list.encode(out);
            }
            Self::Recipe(recipe) => {
                out.u8(3).u64(recipe.size);
                recipe.recipe.encode_as(out, inline);
                recipe.tree.encode(out);
            }
            Self::Tree(tree) => {
                out.u8(5);
                tree.encode(out);
            }
        }
    }

    /// Appends the places of a directory's entry, in the order of the canonical part.
    pub fn encode_places(&self, out: &mut Encoder) {
        match self {
            Self::Nothing | Self::Inline(_) => {}
            Self::List(list) => list.place.encode(out),
            Self::Recipe(recipe) => {
                recipe.recipe.encode_places(out);
                recipe.tree.place.encode(out);
            }
            Self::Tree(tree) => tree.place.encode(out),
        }
    }

    /// Appends the places of a leaf: inline bytes are among them.
    pub fn encode_places_of_leaf(&self, out: &mut Encoder) {
        match self {
            Self::Inline(bytes) => {
                out.bytes16(bytes);
            }
            Self::Recipe(recipe) => {
                recipe.recipe.encode_places_of_leaf(out);
                recipe.tree.place.encode(out);
            }
            other => other.encode_places(out),
        }
    }

    /// Reads the canonical part of a directory's entry.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        Self::decode_as(from, &mut |from| Ok(from.bytes16(INLINE_MAX as usize)?.to_vec()))
    }

    /// Reads the canonical part of a leaf; also the hash of what is inline, whose bytes come with the places.
    pub fn decode_in_leaf(from: &mut Decoder<'_>) -> Result<(Self, Option<BlobId>)> {
        let mut hash = None;
        let content = Self::decode_as(from, &mut |from| {
            hash = Some(BlobId::from_bytes(from.array()?));
            Ok(Vec::new())
        })?;
        Ok((content, hash))
    }

    fn decode_as(
        from: &mut Decoder<'_>,
        inline: &mut dyn FnMut(&mut Decoder<'_>) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        Ok(match from.u8()? {
            0 => Self::Nothing,
            1 => Self::Inline(inline(from)?),
            2 => Self::List(ListRef::decode(from)?),
            3 => {
                let size = from.u64()?;
                // What a recipe consists of can only be inline or a list.
                let recipe = match from.u8()? {
                    1 => Self::Inline(inline(from)?),
                    2 => Self::List(ListRef::decode(from)?),
                    tag => return Err(from.error(format_args!("a recipe with content of tag {tag}"))),
                };
                Self::Recipe(Box::new(RecipeRef {
                    size,
                    recipe,
                    tree: TreeRef::decode(from)?,
                }))
            }
            5 => Self::Tree(TreeRef::decode(from)?),
            tag => return Err(from.error(format_args!("content of unknown tag {tag}"))),
        })
    }

    /// Reads the places that follow the canonical part of a directory's entry.
    pub fn decode_places(&mut self, from: &mut Decoder<'_>) -> Result<()> {
        match self {
            Self::Nothing | Self::Inline(_) => {}
            Self::List(list) => list.place = Place::decode(from)?,
            Self::Recipe(recipe) => {
                recipe.recipe.decode_places(from)?;
                recipe.tree.place = Place::decode(from)?;
            }
            Self::Tree(tree) => tree.place = Place::decode(from)?,
        }
        Ok(())
    }

    /// Reads the places of a leaf; inline bytes must have this hash.
    pub fn decode_places_of_leaf(&mut self, from: &mut Decoder<'_>, hash: Option<BlobId>) -> Result<()> {
        match self {
            Self::Inline(bytes) => {
                *bytes = from.bytes16(INLINE_MAX as usize)?.to_vec();
                if hash != Some(BlobId::of(bytes)) {
                    return Err(from.mismatch("the bytes inline"));
                }
            }
            Self::Recipe(recipe) => {
                recipe.recipe.decode_places_of_leaf(from, hash)?;
                if matches!(&recipe.recipe, Self::Inline(bytes) if crate::units::len64(bytes.len()) != recipe.size)
                {
                    return Err(from.error("a recipe that is not as long as its size says"));
                }
                recipe.tree.place = Place::decode(from)?;
            }
            other => other.decode_places(from)?,
        }
        Ok(())
    }
}
