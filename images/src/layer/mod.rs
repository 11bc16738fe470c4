//! A layer's tar, read once from its first byte to its last, as the entries of a tree.
//!
//! Owns: how a layer is compressed, the dialects of tar, whiteouts by the OCI image spec, and the
//! limits on all of them. Knows no store and no file system: paths are lexical, and what one means
//! among those before it (links, files in the way, duplicates) is the [`LayerSink`]'s affair.
//!
//! Where dialects or readers disagree, what containerd makes of the layer is right, as images are made
//! to run there: a GNU long name wins over a PAX path, a second PAX header replaces the first, records
//! of a global header change no entry, and links, devices and directories have no payload.
//!
//! Of the crate `tar` only the layout of headers is used: its walk knows no sparse PAX entries, no
//! negative or fractional times, and its PAX records end at the first newline, which binary extended
//! attributes contain.

mod compression;
mod error;
mod extension;
mod header;
mod limits;
mod metadata;
mod path;
mod sparse;
mod stream;
mod walk;

pub use compression::Compression;
pub use error::{LayerError, Reason, Refusal};
pub use limits::Limits;

use crate::Result;
use holdall::ids::Sha256;
use holdall::name::EntryName;
use holdall::reader::{Metadata, SpecialKind};
use holdall_recipe::skeleton::Stretch;
use holdall_recipe::table::MadePart;
use std::io::Read;

/// Where the entries of a layer go, in the order of its tar.
///
/// Paths are from the layer's root, at most 256 names deep, and hold no `..`; nothing else is known of
/// them: what is above may be missing, be a file or a link, or come later. After an error, of the sink or
/// not, nothing more is called, and a file that was begun is not ended.
pub trait LayerSink {
    /// A directory; an empty path is the root.
    fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()>;

    /// The beginning of a regular file of `size` bytes, holes included. [`Self::data`] and [`Self::hole`]
    /// follow, in order and `size` bytes together, then [`Self::end_file`].
    fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()>;

    /// The next bytes of the file begun: never empty, at most 1 MiB, in whatever pieces come.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;

    /// The next `len` bytes of the file begun, all zeros, that a sparse file has no blocks for; never 0.
    fn hole(&mut self, len: u64) -> Result<()>;

    /// The end of the file begun.
    fn end_file(&mut self) -> Result<()>;

    /// A symbolic link; its target has 1 to 4095 bytes and no NUL.
    fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()>;

    /// A device (its numbers are such as Linux has) or a pipe (both are 0).
    fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()>;

    /// One more name of what `target`, a path from the root, names; that it names anything is not checked.
    fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()>;

    /// What the layers below have at `path` is gone.
    fn whiteout(&mut self, path: &[EntryName]) -> Result<()>;

    /// All that the layers below have in `directory` is gone; an empty path is the root.
    fn opaque(&mut self, directory: &[EntryName]) -> Result<()>;
}

/// Where the way back to a gzipped layer's bytes goes, as it is found; what comes is in order, parts and stretches each.
pub trait Retrace {
    /// The next bytes of the layer.
    fn part(&mut self, part: MadePart) -> Result<()>;

    /// The next stretch of its tar.
    fn stretch(&mut self, stretch: Stretch) -> Result<()>;
}

/// What was read of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of the whole uncompressed stream, with all that follows the tar's end: the layer's diffID.
    pub diff_id: Sha256,
    /// Length of the uncompressed stream.
    pub tar_bytes: u64,
    /// Entries of the tar, whiteouts and those left out among them.
    pub entries: u64,
    /// What was left out, each with its entry and why; at most 101, the last telling how many more.
    pub skipped: Vec<String>,
    /// Of the files that were begun, counted from 0, those that the tar's stretches refer to, in order.
    pub whole_files: Vec<u64>,
}

/// Reads the layer `source` to its very end and tells `sink` its entries.
///
/// `compression` says what to expect; [`Compression::Auto`] looks, as containerd does. Memory is bounded
/// by `limits`. `interrupted` is asked about once a mebibyte; when it says yes, the result is
/// [`LayerError::Interrupted`].
///
/// # Errors
/// [`LayerError::NotATree`] is of the layer: it can be kept as bytes, and `source` may have bytes left.
/// All others are of the run.
pub fn read(
    source: &mut dyn Read,
    compression: Compression,
    limits: &Limits,
    sink: &mut dyn LayerSink,
    interrupted: &dyn Fn() -> bool,
) -> std::result::Result<Summary, LayerError> {
    read_through(source, compression, limits, sink, interrupted, None)
}

/// Reads a gzipped layer as [`read`] does, and tells `retrace` how its bytes are had again: they are whole only where this
/// succeeds.
///
/// # Errors
/// As of [`read`]; what is not gzip is refused.
pub fn read_retraced(
    source: &mut dyn Read,
    limits: &Limits,
    sink: &mut dyn LayerSink,
    retrace: &mut dyn Retrace,
    interrupted: &dyn Fn() -> bool,
) -> std::result::Result<Summary, LayerError> {
    read_through(
        source,
        Compression::Auto,
        limits,
        sink,
        interrupted,
        Some(retrace),
    )
}

fn read_through(
    source: &mut dyn Read,
    compression: Compression,
    limits: &Limits,
    sink: &mut dyn LayerSink,
    interrupted: &dyn Fn() -> bool,
    retrace: Option<&mut dyn Retrace>,
) -> std::result::Result<Summary, LayerError> {
    let walk = |stream: &mut stream::Stream<'_>| {
        let mut walk = walk::Walk::new(stream, sink, limits);
        walk.run()?;
        Ok(walk.finish())
    };
    let (walked, tar_bytes, diff_id) =
        stream::hashed(source, compression, limits, interrupted, retrace, walk)?;
    Ok(Summary {
        diff_id,
        tar_bytes,
        entries: walked.entries,
        skipped: walked.skipped,
        whole_files: walked.whole,
    })
}

#[cfg(test)]
mod dialect_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod program_test;
#[cfg(test)]
mod recording;
