//! The inode number space: which number is which node, both ways, with no table.
//!
//! Owns the fixed nodes (names, places, kinds) and the ranges of numbers. Knows nothing of a disk.
//!
//! ```text
//! 1 … 17                           the fixed nodes
//! 2^8 + byte                       the folders in `layers/sha256/`, by the first byte of the diffIDs in them
//! 2^32 + position                  blobs, by position in the catalogue (order of SHA-256)
//! 2^44 + position                  images below `erofs/chains/`, by position of the chain
//! 2^46 + position                  images below `layers/`, by position of the layer
//! 2^48 + inode                     loose files, by inode within their tree; its root is `files/`
//! 2^60 + position · 2^12 + slot    below `images/`, by position of an image name, and its slot
//! 2^62 + position · 2^38 + inode   below `chains/`, by position of the chain, and inode within its tree
//! ```
//!
//! So a number is the same each time a generation is mounted. A blob has one number under its two
//! names (`blobs/` and `oci/blobs/`): they are hard links, and share the kernel's cached pages.

use super::attributes::Kind;

const LAYER_FOLDERS: u64 = 1 << 8;
const BLOBS: u64 = 1 << 32;
const CHAIN_IMAGES: u64 = 1 << 44;
const LAYER_IMAGES: u64 = 1 << 46;
const FILES: u64 = 1 << 48;
const IMAGES: u64 = 1 << 60;
const CHAINS: u64 = 1 << 62;
const END: u64 = 1 << 63;
/// Numbers of one image name: folders of its path by depth, then two for each platform.
const SLOT_BITS: u32 = 12;
const SLOT_PLATFORMS: u16 = 1 << 10;
/// Numbers of one chain's tree.
const CHAIN_BITS: u32 = 38;

/// Platforms of one image that can be shown.
pub(super) const PLATFORMS_MAX: u16 = ((1 << SLOT_BITS) - SLOT_PLATFORMS) / 2;

/// A node of the shown tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inode {
    /// One that is on every disk.
    Fixed(Fixed),
    /// A blob, by its position in the catalogue.
    Blob(u64),
    /// The folder of the layers whose diffIDs begin with that byte.
    LayerFolder(u8),
    /// The EROFS image of a chain, by the chain's position.
    ChainImage(u64),
    /// The EROFS image of a layer, by the layer's position.
    LayerImage(u64),
    /// A loose file or folder, by its inode within the tree; 0 is `files/` itself.
    File(u64),
    /// What an image name leads to below `images/`.
    Image {
        /// The image name's position.
        position: u64,
        /// What of it.
        slot: Slot,
    },
    /// A file or folder of a chain.
    Chain {
        /// The chain's position.
        position: u64,
        /// Its inode within the chain's tree.
        inode: u64,
    },
}

/// What an image name leads to below `images/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The folder that the first so many components of repository and reference name, from 1.
    Folder(u16),
    /// The folder of its platform at that position.
    Platform(u16),
    /// The link in that platform's folder.
    Rootfs(u16),
}

impl Slot {
    fn number(self) -> Option<u64> {
        let platform =
            |n: u16, and: u16| (n < PLATFORMS_MAX).then(|| u64::from(SLOT_PLATFORMS + 2 * n + and));
        match self {
            Self::Folder(depth) => (0 < depth && depth < SLOT_PLATFORMS).then(|| u64::from(depth)),
            Self::Platform(n) => platform(n, 0),
            Self::Rootfs(n) => platform(n, 1),
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        let number = u16::try_from(number).ok()?;
        match number.checked_sub(SLOT_PLATFORMS) {
            None => (number > 0).then_some(Self::Folder(number)),
            Some(n) if n % 2 == 0 => Some(Self::Platform(n / 2)),
            Some(n) => Some(Self::Rootfs(n / 2)),
        }
    }
}

/// A tree of files that a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeName {
    /// The loose files.
    Files,
    /// The chain at that position.
    Chain(u64),
}

impl TreeName {
    /// The node that has that inode within the tree.
    pub(super) const fn inode(self, inode: u64) -> Inode {
        match self {
            Self::Files => Inode::File(inode),
            Self::Chain(position) => Inode::Chain { position, inode },
        }
    }
}

impl Inode {
    /// Its number; `None` past the end of its range.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        let within =
            |base: u64, position: u64, end: u64| base.checked_add(position).filter(|&number| number < end);
        match self {
            Self::Fixed(fixed) => Some(fixed.number()),
            Self::LayerFolder(byte) => Some(LAYER_FOLDERS + u64::from(byte)),
            Self::Blob(position) => within(BLOBS, position, CHAIN_IMAGES),
            Self::ChainImage(position) => within(CHAIN_IMAGES, position, LAYER_IMAGES),
            Self::LayerImage(position) => within(LAYER_IMAGES, position, FILES),
            Self::File(inode) => within(FILES, inode, IMAGES),
            Self::Image { position, slot } => {
                let slot = slot.number()?;
                position
                    .checked_mul(1 << SLOT_BITS)
                    .and_then(|first| within(IMAGES, first + slot, CHAINS))
            }
            Self::Chain { position, inode } => {
                let fits = position < (END - CHAINS) >> CHAIN_BITS && inode < 1 << CHAIN_BITS;
                fits.then(|| CHAINS + (position << CHAIN_BITS) + inode)
            }
        }
    }

    /// The tree that it is in, and its inode there; `None` where it is in none.
    pub(super) const fn in_tree(self) -> Option<(TreeName, u64)> {
        match self {
            Self::File(inode) => Some((TreeName::Files, inode)),
            Self::Chain { position, inode } => Some((TreeName::Chain(position), inode)),
            Self::Fixed(_)
            | Self::Blob(_)
            | Self::LayerFolder(_)
            | Self::ChainImage(_)
            | Self::LayerImage(_)
            | Self::Image { .. } => None,
        }
    }

    /// The node of that number; `None` where the number stands for nothing on any disk.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            CHAINS..END => Some(Self::Chain {
                position: (number - CHAINS) >> CHAIN_BITS,
                inode: number & ((1 << CHAIN_BITS) - 1),
            }),
            IMAGES..CHAINS => Some(Self::Image {
                position: (number - IMAGES) >> SLOT_BITS,
                slot: Slot::from_number(number & ((1 << SLOT_BITS) - 1))?,
            }),
            FILES..IMAGES => number.checked_sub(FILES).map(Self::File),
            LAYER_IMAGES..FILES => number.checked_sub(LAYER_IMAGES).map(Self::LayerImage),
            CHAIN_IMAGES..LAYER_IMAGES => number.checked_sub(CHAIN_IMAGES).map(Self::ChainImage),
            BLOBS..CHAIN_IMAGES => number.checked_sub(BLOBS).map(Self::Blob),
            LAYER_FOLDERS..BLOBS => {
                let byte = u8::try_from(number - LAYER_FOLDERS).ok();
                byte.map(Self::LayerFolder)
            }
            _ => Fixed::ALL
                .into_iter()
                .find(|fixed| fixed.number() == number)
                .map(Self::Fixed),
        }
    }
}

/// A node that is on every disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// The mount's root.
    Root,
    /// `HOLDALL.txt`.
    ReadMe,
    /// `blobs`.
    Blobs,
    /// `blobs/sha256`.
    BlobsSha256,
    /// `oci`.
    Oci,
    /// `oci/oci-layout`.
    OciLayout,
    /// `oci/index.json`.
    OciIndex,
    /// `oci/blobs`.
    OciBlobs,
    /// `oci/blobs/sha256`.
    OciBlobsSha256,
    /// `images`.
    Images,
    /// `chains`.
    Chains,
    /// `chains/sha256`.
    ChainsSha256,
    /// `erofs`.
    Erofs,
    /// `erofs/chains`.
    ErofsChains,
    /// `erofs/chains/sha256`.
    ErofsChainsSha256,
    /// `layers`.
    Layers,
    /// `layers/sha256`.
    LayersSha256,
}

impl Fixed {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Root,
        Self::ReadMe,
        Self::Blobs,
        Self::BlobsSha256,
        Self::Oci,
        Self::OciLayout,
        Self::OciIndex,
        Self::OciBlobs,
        Self::OciBlobsSha256,
        Self::Images,
        Self::Chains,
        Self::ChainsSha256,
        Self::Erofs,
        Self::ErofsChains,
        Self::ErofsChainsSha256,
        Self::Layers,
        Self::LayersSha256,
    ];

    /// Its number. The root is 1, as FUSE has it.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Root => 1,
            Self::ReadMe => 2,
            Self::Blobs => 3,
            Self::BlobsSha256 => 4,
            Self::Oci => 5,
            Self::OciLayout => 6,
            Self::OciIndex => 7,
            Self::OciBlobs => 8,
            Self::OciBlobsSha256 => 9,
            Self::Images => 10,
            Self::Chains => 11,
            Self::ChainsSha256 => 12,
            Self::Erofs => 13,
            Self::ErofsChains => 14,
            Self::ErofsChainsSha256 => 15,
            Self::Layers => 16,
            Self::LayersSha256 => 17,
        }
    }

    /// A directory or a file.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::ReadMe | Self::OciLayout | Self::OciIndex => Kind::File,
            _ => Kind::Directory,
        }
    }

    /// The directory it is in; the root's is itself.
    #[must_use]
    pub const fn parent(self) -> Self {
        match self {
            Self::Root
            | Self::ReadMe
            | Self::Blobs
            | Self::Oci
            | Self::Images
            | Self::Chains
            | Self::Erofs
            | Self::Layers => Self::Root,
            Self::LayersSha256 => Self::Layers,
            Self::ErofsChains => Self::Erofs,
            Self::ErofsChainsSha256 => Self::ErofsChains,
            Self::ChainsSha256 => Self::Chains,
            Self::BlobsSha256 => Self::Blobs,
            Self::OciLayout | Self::OciIndex | Self::OciBlobs => Self::Oci,
            Self::OciBlobsSha256 => Self::OciBlobs,
        }
    }

    /// What lies in it, in byte order of name, as far as every disk has it: the `sha256` hold blobs,
    /// chains and layers, `images` holds registries.
    #[must_use]
    pub const fn children(self) -> &'static [(&'static str, Inode)] {
        match self {
            Self::Root => &[
                ("HOLDALL.txt", Inode::Fixed(Self::ReadMe)),
                ("blobs", Inode::Fixed(Self::Blobs)),
                ("chains", Inode::Fixed(Self::Chains)),
                ("erofs", Inode::Fixed(Self::Erofs)),
                ("files", Inode::File(0)),
                ("images", Inode::Fixed(Self::Images)),
                ("layers", Inode::Fixed(Self::Layers)),
                ("oci", Inode::Fixed(Self::Oci)),
            ],
            Self::Blobs => &[("sha256", Inode::Fixed(Self::BlobsSha256))],
            Self::Chains => &[("sha256", Inode::Fixed(Self::ChainsSha256))],
            Self::Erofs => &[("chains", Inode::Fixed(Self::ErofsChains))],
            Self::ErofsChains => &[("sha256", Inode::Fixed(Self::ErofsChainsSha256))],
            Self::Layers => &[("sha256", Inode::Fixed(Self::LayersSha256))],
            Self::Oci => &[
                ("blobs", Inode::Fixed(Self::OciBlobs)),
                ("index.json", Inode::Fixed(Self::OciIndex)),
                ("oci-layout", Inode::Fixed(Self::OciLayout)),
            ],
            Self::OciBlobs => &[("sha256", Inode::Fixed(Self::OciBlobsSha256))],
            _ => &[],
        }
    }

    /// Whether its entries are the catalogue's blobs.
    #[must_use]
    pub const fn holds_blobs(self) -> bool {
        matches!(self, Self::BlobsSha256 | Self::OciBlobsSha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_inode() -> impl Strategy<Value = Inode> {
        prop_oneof![
            proptest::sample::select(&Fixed::ALL[..]).prop_map(Inode::Fixed),
            any::<u64>().prop_map(Inode::Blob),
            (0..1u64 << 20).prop_map(Inode::Blob),
            any::<u8>().prop_map(Inode::LayerFolder),
            any::<u64>().prop_map(Inode::ChainImage),
            (0..1u64 << 20).prop_map(Inode::ChainImage),
            any::<u64>().prop_map(Inode::LayerImage),
            (0..1u64 << 20).prop_map(Inode::LayerImage),
            any::<u64>().prop_map(Inode::File),
            (0..1u64 << 20).prop_map(Inode::File),
            (any_position(), any_slot()).prop_map(|(position, slot)| Inode::Image { position, slot }),
            (any_position(), any_position()).prop_map(|(position, inode)| Inode::Chain { position, inode }),
        ]
    }

    fn any_position() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0..64u64, (0..64u32).prop_map(|bit| 1 << bit)]
    }

    fn any_slot() -> impl Strategy<Value = Slot> {
        prop_oneof![
            any::<u16>().prop_map(Slot::Folder),
            any::<u16>().prop_map(Slot::Platform),
            any::<u16>().prop_map(Slot::Rootfs),
            (0..2 * PLATFORMS_MAX).prop_map(Slot::Folder),
            (0..2 * PLATFORMS_MAX).prop_map(Slot::Platform),
            (0..2 * PLATFORMS_MAX).prop_map(Slot::Rootfs),
        ]
    }

    proptest! {
        #[test]
        fn a_node_with_a_number_is_the_node_of_that_number(inode in any_inode()) {
            if let Some(number) = inode.number() {
                prop_assert_eq!(Inode::from_number(number), Some(inode));
            }
        }

        #[test]
        fn a_number_with_a_node_is_the_number_of_that_node(number in prop_oneof![any::<u64>(), 0..1024u64]) {
            if let Some(inode) = Inode::from_number(number) {
                prop_assert_eq!(inode.number(), Some(number));
            }
        }

        #[test]
        fn two_nodes_never_share_a_number(one in any_inode(), other in any_inode()) {
            if one != other && one.number().is_some() {
                prop_assert_ne!(one.number(), other.number());
            }
        }
    }

    #[test]
    fn ranges_end_where_the_next_begins() {
        assert_eq!(Inode::LayerFolder(255).number(), Some(LAYER_FOLDERS + 255));
        let next = [
            (Inode::Blob as fn(u64) -> Inode, BLOBS, CHAIN_IMAGES),
            (Inode::ChainImage, CHAIN_IMAGES, LAYER_IMAGES),
            (Inode::LayerImage, LAYER_IMAGES, FILES),
        ];
        for (inode, begin, end) in next {
            assert_eq!(inode(end - begin - 1).number(), Some(end - 1));
            assert_eq!(inode(end - begin).number(), None);
        }
        assert_eq!(Inode::File(IMAGES - FILES - 1).number(), Some(IMAGES - 1));
        assert_eq!(Inode::File(IMAGES - FILES).number(), None);
        let image = |position, slot| Inode::Image { position, slot }.number();
        let last = (CHAINS - IMAGES) / 4096 - 1;
        assert_eq!(image(last, Slot::Rootfs(PLATFORMS_MAX - 1)), Some(CHAINS - 1));
        assert_eq!(image(last, Slot::Rootfs(PLATFORMS_MAX)), None);
        assert_eq!(image(last + 1, Slot::Folder(1)), None);
        assert_eq!(image(0, Slot::Folder(0)), None);
        assert_eq!(image(0, Slot::Folder(SLOT_PLATFORMS)), None);
        let chain = |position, inode| Inode::Chain { position, inode }.number();
        assert_eq!(chain((1 << 24) - 1, (1 << 38) - 1), Some(END - 1));
        assert_eq!(chain(1 << 24, 0), None);
        assert_eq!(chain(0, 1 << 38), None);
        for nothing in [0, 18, LAYER_FOLDERS + 256, BLOBS - 1, IMAGES, END, u64::MAX] {
            assert_eq!(Inode::from_number(nothing), None);
        }
    }

    #[test]
    fn each_fixed_node_is_listed_once_in_its_parent_and_in_order() {
        for fixed in Fixed::ALL {
            let listed = |(_, inode): &&(&str, Inode)| *inode == Inode::Fixed(fixed);
            let times = Fixed::ALL
                .iter()
                .flat_map(|dir| dir.children())
                .filter(listed)
                .count();
            assert_eq!(times, usize::from(fixed != Fixed::Root));
            assert_eq!(fixed.parent().children().iter().filter(listed).count(), times);
            assert!(fixed.children().is_sorted_by_key(|(name, _)| *name));
            assert!(fixed.children().is_empty() || fixed.kind() == Kind::Directory);
        }
        assert_eq!(Inode::File(0).number(), Some(FILES));
    }
}
