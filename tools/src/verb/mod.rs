//! The verbs, one file each: parse, open, one library call, print.

pub mod add;
pub mod cat;
pub mod check_proof;
pub mod completions;
pub mod diff;
pub mod extract;
pub mod info;
pub mod init;
pub mod log;
pub mod ls;
pub mod man;
pub mod mount;
pub mod node_config;
pub mod prove;
pub mod reindex;
pub mod repack;
pub mod seal;
pub mod serve;
pub mod sign;
pub mod trust;
pub mod unload;
pub mod verify;
mod verify_images;
