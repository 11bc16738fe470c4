//! What a node keeps for itself, in files of its own state folder: which roots it has accepted or sealed, and a log of what it did.
//!
//! Nothing here is ever written to a medium. Files are small, replaced whole or appended to, and synced before anything is said.

mod log;
mod seen;

pub use log::{Log, NodeLog};
pub use seen::{Seen, SeenFolder, Sight};

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Replaces a small file of a folder. Order: the new text under another name, fsync; rename over the old one; the folder, fsync. A cut
/// leaves the old text or the new one.
fn replace(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut handle = File::create(&new)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    #[expect(clippy::disallowed_methods, reason = "a file of the node's own, on no medium")]
    fs::rename(&new, file)?;
    File::open(folder)?.sync_all()
}
