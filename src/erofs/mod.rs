//! A tree as an EROFS image: what a kernel mounts, so that it looks up names and keeps pages itself.
//!
//! The image is made from the tree each time: nothing of it is on a medium, and the same tree gives the same bytes. Its metadata are in memory, and its data
//! blocks are the files of the tree, each from a block's start, read and checked as files are. Plain EROFS as kernels since 5.4 have it: blocks of 4 KiB,
//! compact and extended inodes, files laid out flat, directories and links with their tails beside the inode (Documentation/filesystems/erofs.rst,
//! fs/erofs/erofs_fs.h of Linux).
//!
//! A chain's tree is a container's whole root. A layer's has its marks for the layers below as overlayfs takes them, so that an overlay of the
//! layers' images is the chain: whiteouts are character devices 0/0, and opaque directories have `trusted.overlay.opaque`.

mod image;
mod inodes;
mod layout;
mod marks;
mod xattrs;

pub use image::Image;

/// Why a tree has no image; it is there as files all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no EROFS image: {0}")]
pub struct NoImage(pub String);

impl NoImage {
    fn because<T>(why: impl Into<String>) -> Outcome<T> {
        Err(Self(why.into()).into())
    }
}

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The tree has none, however often it is asked for.
    #[error(transparent)]
    None(#[from] NoImage),
    /// The tree could not be read.
    #[error(transparent)]
    Failed(#[from] crate::error::Error),
}

type Outcome<T> = std::result::Result<T, NotMade>;

/// Most names in an image: what is known of each stays in memory while it is made.
pub const NAMES_MAX: u64 = 1_000_000;
/// Most bytes of names, links, attributes and small files' contents of an image, for the same reason: pages of a tree may stand in it many times.
pub const BYTES_MAX: u64 = 128 << 20;
