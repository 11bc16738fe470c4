//! Container images in and out of a Holdall medium.
//!
//! In: a [`source::Source`] is opened as an [`ImageSource`], [`naming::choose`] says which images of it get
//! which names, and a [`copy::Run`] carries them into the store. Out: [`registry`]. The crate knows no
//! command line and never prints; it owns no file format of the medium.

pub mod archive;
pub mod audit;
pub mod config;
pub mod containerd;
pub mod copy;
pub mod cosign;
pub mod derivation;
pub mod difference;
pub mod error;
pub mod image_source;
pub mod inventory;
pub mod kept;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod media_types;
pub mod naming;
pub mod node_config;
pub mod platform;
mod pool;
pub mod registry;
pub mod remote;
pub mod source;

pub use error::{Error, Result};
pub use image_source::{ImageSource, Offer, open};
pub use remote::RegistryOptions;
