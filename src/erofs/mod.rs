//! A tree as an EROFS image: what a kernel mounts, so that it looks up names and keeps pages itself.
//!
//! The image is made from the tree each time: nothing of it is on a medium, and the same tree gives the same bytes. Its metadata are in memory, and its data
//! blocks are the files of the tree, each from a block's start, read and checked as files are. Plain EROFS as kernels since 5.4 have it: blocks of 4 KiB,
//! compact and extended inodes, files laid out flat, directories and links with their tails beside the inode (Documentation/filesystems/erofs.rst,
//! fs/erofs/erofs_fs.h of Linux).

mod image;
mod inodes;
mod layout;
mod xattrs;

pub use image::Image;

/// Most names in an image: what is known of each stays in memory while it is made.
pub const NAMES_MAX: u64 = 1_000_000;
/// Most bytes of names, links, attributes and small files' contents of an image, for the same reason: pages of a tree may stand in it many times.
pub const BYTES_MAX: u64 = 128 << 20;
