//! The snapshotter and the registration against a real containerd, with its own root, socket and mount namespace.
//! A chain of the disk is a plain folder here: what mounts it is another room's.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking, says what it measured, and makes files of its own"
)]

#[path = "containerd/linked.rs"]
mod linked;
#[path = "containerd/node.rs"]
mod node;
#[path = "containerd/registration.rs"]
mod registration;
#[path = "containerd/snapshotter.rs"]
mod snapshotter;
