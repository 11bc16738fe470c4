//! How snapshots are mounted: what containerd is told to call mount(2) with. Nothing is mounted here.

use super::error::{Result, SnapshotError};
use std::path::{Path, PathBuf};

/// One call of mount(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system's type: `bind` or `overlay`.
    pub kind: &'static str,
    /// What is mounted.
    pub source: String,
    /// Its options, in order.
    pub options: Vec<String>,
}

/// Option strings longer than this are shortened where they can be. The kernel takes one page; containerd shortens
/// lower directories that begin alike from 512 bytes below that.
pub(super) const LONG: usize = 3500;

/// Options that each overlay gets on this machine.
pub(super) fn overlay_options() -> Vec<String> {
    let mut options = Vec::new();
    if Path::new("/sys/module/overlay/parameters/index").exists() {
        // Otherwise two overlays with one lower directory may exclude each other.
        options.push("index=off".to_owned());
    }
    if in_user_namespace() {
        // trusted.* is out of reach there.
        options.push("userxattr".to_owned());
    }
    options
}

fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let words: Vec<&str> = map.split_whitespace().collect();
        words != ["0", "0", "4294967295"]
    })
}

/// A bind mount.
pub(super) fn bind(path: &Path, writable: bool) -> Result<Mount> {
    Ok(Mount {
        kind: "bind",
        source: text(path)?.to_owned(),
        options: vec![if writable { "rw" } else { "ro" }.to_owned(), "rbind".to_owned()],
    })
}

/// An overlay of `lower`, uppermost first, that is written to `upper` (with its working folder) or not at all.
pub(super) fn overlay(lower: &[PathBuf], upper: Option<(&Path, &Path)>, more: &[String]) -> Result<Mount> {
    let mut options = Vec::new();
    if let Some((upper, work)) = upper {
        options.push(format!("workdir={}", text(work)?));
        options.push(format!("upperdir={}", text(upper)?));
    }
    let lower: Vec<&str> = lower.iter().map(|path| text(path)).collect::<Result<_>>()?;
    options.push(format!("lowerdir={}", lower.join(":")));
    options.extend_from_slice(more);
    Ok(Mount {
        kind: "overlay",
        source: "overlay".to_owned(),
        options,
    })
}

/// Length of the options as the kernel gets them.
pub(super) fn options_len(mount: &Mount) -> usize {
    mount.options.iter().map(|option| option.len() + 1).sum()
}

/// A path as overlay's options can hold it: they have no escape that all of containerd, mount(8) and the kernel share.
pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .filter(|text| path.is_absolute() && !text.contains([':', ',', '\\', '\n', '"']))
        .ok_or_else(|| {
            SnapshotError::invalid(format!(
                "{}: overlay needs an absolute path of UTF-8 without : , \\ \" and line ends",
                path.display()
            ))
        })
}
