//! Extended attributes of an image: what many inodes have stands once, in an area of its own.

use super::{NoImage, Outcome};
use crate::units::len64;
use std::collections::HashMap;

/// An attribute's name and value.
pub(super) type Xattr = (Vec<u8>, Vec<u8>);

/// Bytes before an inode's attributes.
const HEADER: usize = 12;
/// Most references to shared attributes of one inode.
const SHARED_MAX: usize = u8::MAX as usize;

/// Prefixes that stand as a number; a name that is all prefix is one of the whole names.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const WHOLE: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// One attribute as it is stored, padded to four bytes. Names that a kernel would not show from an image, and what is too long, are refused.
fn encode((name, value): &Xattr) -> Outcome<Vec<u8>> {
    let not_with = |what: &str| {
        let name = String::from_utf8_lossy(name);
        NoImage(format!("the extended attribute {name}: {what}"))
    };
    let whole = WHOLE.iter().find(|(whole, _)| name == whole);
    let prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    let (kind, rest) = match (whole, prefix) {
        (Some((_, kind)), _) => (*kind, &[][..]),
        (None, Some((prefix, kind))) => (*kind, name.get(prefix.len()..).unwrap_or_default()),
        (None, None) => return Err(not_with("a name that EROFS has no number for").into()),
    };
    let name_len = u8::try_from(rest.len()).map_err(|_| not_with("a name of more than 255 bytes"))?;
    let value_len = u16::try_from(value.len()).map_err(|_| not_with("a value of more than 65535 bytes"))?;
    let mut out = vec![name_len, kind];
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(out)
}

/// The attributes that stand once for all inodes that have them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    bytes: Vec<u8>,
    /// What inodes refer to each by.
    ids: HashMap<Xattr, u32>,
}

impl Shared {
    /// Of all inodes' attributes, in order, those that more than one has.
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Xattr> + Clone) -> Outcome<Self> {
        let mut counts: HashMap<&Xattr, u32> = HashMap::new();
        for one in all.clone() {
            *counts.entry(one).or_default() += 1;
        }
        let mut shared = Self::default();
        for one in all {
            if counts.get(one).is_some_and(|count| *count > 1) && !shared.ids.contains_key(one) {
                let id = u32::try_from(shared.bytes.len() / 4).unwrap_or(u32::MAX);
                shared.bytes.extend(encode(one)?);
                shared.ids.insert(one.clone(), id);
            }
        }
        Ok(shared)
    }

    /// The area that they stand in.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands behind an inode that has these attributes, and what its `i_xattr_icount` is.
    pub(super) fn body(&self, xattrs: &[Xattr]) -> Outcome<(Vec<u8>, u16)> {
        if xattrs.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let (mut ids, mut own) = (Vec::new(), Vec::new());
        for one in xattrs {
            match self.ids.get(one).filter(|_| ids.len() < SHARED_MAX) {
                Some(id) => ids.push(*id),
                None => own.extend(encode(one)?),
            }
        }
        let mut out = vec![0; 4];
        out.push(u8::try_from(ids.len()).unwrap_or(u8::MAX));
        out.resize(HEADER, 0);
        out.extend(ids.into_iter().flat_map(u32::to_le_bytes));
        out.extend(own);
        let count = len64(out.len() - HEADER) / 4 + 1;
        let count = u16::try_from(count).or_else(|_| {
            NoImage::because("more extended attributes than an EROFS image can have of one inode")
        })?;
        Ok((out, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str, value: &[u8]) -> Xattr {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn what_two_have_stands_once_and_names_without_a_number_are_refused() {
        let both = xattr("user.a", b"12345");
        let one = xattr("security.capability", b"x");
        let shared = Shared::of([&both, &one, &both].into_iter()).unwrap();
        assert_eq!(shared.bytes(), b"\x01\x01\x05\x00a12345\x00\x00");
        let (body, count) = shared.body(&[one, both]).unwrap();
        assert_eq!(count, 1 + 1 + 4);
        assert_eq!(body.get(4), Some(&1));
        assert!(body.ends_with(b"\x0a\x06\x01\x00capabilityx\0"));
        assert!(shared.body(&[xattr("com.apple.x", b"")]).is_err());
        assert!(shared.body(&[xattr("user.b", &[0; 70_000])]).is_err());
    }
}
