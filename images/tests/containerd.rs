//! The snapshotter and the registration against a real containerd, with its own root, socket and mount namespace.
//! A chain of the disk is a plain folder here: what mounts it is another room's.

#[path = "containerd/node.rs"]
mod node;
#[path = "containerd/registration.rs"]
mod registration;
#[path = "containerd/snapshotter.rs"]
mod snapshotter;
