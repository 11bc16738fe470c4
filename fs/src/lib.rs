//! The mounted disk: a read-only FUSE projection of a Holdall medium.
//!
//! [`mount()`] shows an opened [`holdall::reader::Disk`] as a tree:
//!
//! ```text
//! HOLDALL.txt               what this disk is and how to use it
//! blobs/sha256/<hex>        every blob of the catalogue
//! chains/sha256/<hex>/…     what a container sees that starts from that chain of layers
//! erofs/chains/sha256/<hex>.erofs
//!                           the same as the image of a file system, for the kernel to mount
//! files/…                   the loose files
//! images/<repository>/<tag or digest>/<platform>/rootfs
//!                           a link to the image's chain
//! layers/sha256/<xx>/<hex>.erofs
//!                           each layer as such an image, by diffID and its first two digits
//! oci/                      a valid OCI image layout of everything
//! ```
//!
//! [`view`] is that tree and knows no FUSE; one file (`filesystem`) translates it for the kernel, and
//! `mount` owns sessions and the mount table. Nothing here writes to a medium, and nothing is shown
//! that the reader has not verified: damage is EIO on the entry concerned, never an empty or missing file.

mod ending;
mod error;
mod filesystem;
mod mount;
mod mountpoint;
mod recorder;
pub mod view;

pub use error::FsError;
pub use mount::{Detach, MountOptions, Mounted, mount};
pub use recorder::{Recorded, Recorder};
