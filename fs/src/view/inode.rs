//! The inode number space: which number is which node, both ways, with no table.
//!
//! Owns the fixed nodes (names, places, kinds) and the ranges of numbers. Knows nothing of a disk.
//!
//! ```text
//! 1 … 9                     the fixed nodes
//! 2^32 + position           blobs, by position in the catalogue (order of SHA-256)
//! 2^48 + inode              loose files, by inode within their tree; its root is `files/`
//! ```
//!
//! So a number is the same each time a generation is mounted. A blob has one number under its two
//! names (`blobs/` and `oci/blobs/`): they are hard links, and share the kernel's cached pages.

use super::attributes::Kind;

const BLOBS: u64 = 1 << 32;
const FILES: u64 = 1 << 48;
const END: u64 = 1 << 63;

/// A node of the shown tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inode {
    /// One that is on every disk.
    Fixed(Fixed),
    /// A blob, by its position in the catalogue.
    Blob(u64),
    /// A loose file or folder, by its inode within the tree; 0 is `files/` itself.
    File(u64),
}

impl Inode {
    /// Its number; `None` past the end of its range.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        let within =
            |base: u64, position: u64, end: u64| base.checked_add(position).filter(|&number| number < end);
        match self {
            Self::Fixed(fixed) => Some(fixed.number()),
            Self::Blob(position) => within(BLOBS, position, FILES),
            Self::File(inode) => within(FILES, inode, END),
        }
    }

    /// The node of that number; `None` where the number stands for nothing on any disk.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            FILES..END => number.checked_sub(FILES).map(Self::File),
            BLOBS..FILES => number.checked_sub(BLOBS).map(Self::Blob),
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
}

impl Fixed {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Root,
        Self::ReadMe,
        Self::Blobs,
        Self::BlobsSha256,
        Self::Oci,
        Self::OciLayout,
        Self::OciIndex,
        Self::OciBlobs,
        Self::OciBlobsSha256,
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
            Self::Root | Self::ReadMe | Self::Blobs | Self::Oci => Self::Root,
            Self::BlobsSha256 => Self::Blobs,
            Self::OciLayout | Self::OciIndex | Self::OciBlobs => Self::Oci,
            Self::OciBlobsSha256 => Self::OciBlobs,
        }
    }

    /// What lies in it, in byte order of name. The two `sha256` hold all blobs besides.
    #[must_use]
    pub const fn children(self) -> &'static [(&'static str, Inode)] {
        match self {
            Self::Root => &[
                ("HOLDALL.txt", Inode::Fixed(Self::ReadMe)),
                ("blobs", Inode::Fixed(Self::Blobs)),
                ("files", Inode::File(0)),
                ("oci", Inode::Fixed(Self::Oci)),
            ],
            Self::Blobs => &[("sha256", Inode::Fixed(Self::BlobsSha256))],
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
            any::<u64>().prop_map(Inode::File),
            (0..1u64 << 20).prop_map(Inode::File),
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
        fn a_number_with_a_node_is_the_number_of_that_node(number in prop_oneof![any::<u64>(), 0..32u64]) {
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
        assert_eq!(Inode::Blob(FILES - BLOBS - 1).number(), Some(FILES - 1));
        assert_eq!(Inode::Blob(FILES - BLOBS).number(), None);
        assert_eq!(Inode::File(END - FILES).number(), None);
        for nothing in [0, 10, BLOBS - 1, END, u64::MAX] {
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
