//! The Holdall store: a content-addressed, Merkle-verified transfer disk.
//!
//! This crate owns the format, the medium, and the two flows: [`ingest`] (outer side: bytes become
//! chunks, frames, packs and a committed generation) and [`reader`] (inner side: verified bytes
//! leave again). It knows no FUSE, HTTP, gRPC or command line, and never prints: progress and
//! non-fatal findings leave through [`monitor::Monitor`].
//!
//! The format is specified in `src/format/FORMAT.md`, which is normative.

pub mod blob;
pub mod catalogue;
pub mod chunk;
pub mod compare;
pub mod custody;
pub mod erofs;
pub mod error;
pub mod format;
pub mod generation;
pub mod hot;
pub mod ids;
pub mod index;
pub mod ingest;
pub mod medium;
pub mod merkle;
pub mod monitor;
pub mod name;
pub mod node;
pub mod pack;
pub mod reader;
pub mod seal;
pub mod signature;
pub mod sketch;
pub mod tree;
pub mod trust;
pub mod units;
pub mod verify;

pub use error::{Error, Result};
