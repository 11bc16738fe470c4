//! The verbs, one file each: parse, open, one library call, print.

pub mod add;
pub mod cat;
pub mod completions;
pub mod diff;
pub mod extract;
pub mod info;
pub mod init;
pub mod ls;
pub mod man;
pub mod mount;
pub mod node_config;
pub mod reindex;
pub mod serve;
pub mod unload;
pub mod verify;
