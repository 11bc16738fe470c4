//! containerd: a snapshotter that it calls, and the registration of a disk's images with it.
//!
//! The two halves share the generated protocol only. Neither mounts anything, and neither knows where the disk is
//! mounted: that is told from outside.

pub mod api;
pub mod registration;
pub mod snapshotter;
