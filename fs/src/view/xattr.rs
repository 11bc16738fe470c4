//! Extended attributes, by inode number.
//!
//! Owns which of an entry's attributes are shown. Those that steer an overlay never are: a medium must
//! not be able to redirect or hide what lies in the layers of the host that mounts it.

use super::View;
use crate::FsError;
use holdall::reader::Metadata;

/// True for what overlayfs takes its marks from, as root and in a user namespace.
fn steers_an_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The value of that name.
fn value(metadata: &Metadata, name: &[u8]) -> Option<Vec<u8>> {
    let found = metadata.xattrs.iter().find(|(has, _)| has == name);
    found.map(|(_, value)| value.clone())
}

/// All names, each ended by a NUL.
fn names(metadata: &Metadata) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, _) in metadata
        .xattrs
        .iter()
        .filter(|(name, _)| !steers_an_overlay(name))
    {
        names.extend_from_slice(name);
        names.push(0);
    }
    names
}

impl View {
    /// The value of an inode's extended attribute; `None` where it has none of that name.
    pub fn xattr(&self, number: u64, name: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        if steers_an_overlay(name) {
            return Ok(None);
        }
        match self.inode(number)?.in_tree() {
            Some((tree, inode)) => {
                let found = self.metadata_in_tree(tree, inode, |metadata| value(metadata, name))?;
                Ok(found.flatten())
            }
            None => Ok(None),
        }
    }

    /// The names of an inode's extended attributes in byte order, each ended by a NUL; empty for none.
    pub fn xattrs(&self, number: u64) -> Result<Vec<u8>, FsError> {
        match self.inode(number)?.in_tree() {
            Some((tree, inode)) => Ok(self.metadata_in_tree(tree, inode, names)?.unwrap_or_default()),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_an_overlay_is_not_shown() {
        let xattr = |name: &str| (name.as_bytes().to_vec(), b"y".to_vec());
        let metadata = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime_sec: 0,
            mtime_nsec: 0,
            xattrs: [
                "security.capability",
                "trusted.overlay.opaque",
                "trusted.overlayed",
                "user.a",
                "user.overlay.redirect",
            ]
            .map(xattr)
            .to_vec(),
        };
        assert_eq!(
            names(&metadata),
            b"security.capability\0trusted.overlayed\0user.a\0"
        );
        assert_eq!(value(&metadata, b"user.a"), Some(b"y".to_vec()));
        assert_eq!(value(&metadata, b"user.b"), None);
        assert!(steers_an_overlay(b"user.overlay.redirect") && !steers_an_overlay(b"trusted.overlayed"));
    }
}
