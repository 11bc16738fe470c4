//! Paths of a tar as lists of names, by their letters alone, and the marks that names can be.

use super::error::Reason;
use holdall::name::{EntryName, MAX_ENTRY_NAME};

/// Most names of a path.
const MAX_DEPTH: usize = 256;
const MARK: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A path from the layer's root. Set again and again, as neighbours of a tar share most of their names.
#[derive(Default)]
pub(super) struct LayerPath {
    names: Vec<EntryName>,
}

/// What a path's names make of its entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    None,
    /// It takes away what the layers below have at the path, which is now without the mark.
    Whiteout,
    /// It takes away all that the layers below have in the path, which is now the directory.
    Opaque,
    /// It is a note of AUFS to itself.
    Meta,
}

impl LayerPath {
    pub(super) fn names(&self) -> &[EntryName] {
        &self.names
    }

    /// Becomes `raw` without empty and `.` parts: from the root, whether it begins with a slash or not.
    pub(super) fn set(&mut self, raw: &[u8]) -> Result<(), Reason> {
        let mut depth = 0;
        for part in raw.split(|byte| *byte == b'/') {
            if matches!(part, b"" | b".") {
                continue;
            }
            if part == b".." {
                return Err(Reason::Unsupported("a path that leads up by `..`"));
            }
            if part.len() > MAX_ENTRY_NAME {
                return Err(Reason::too_large("the length of a name", 255));
            }
            if depth == MAX_DEPTH {
                return Err(Reason::too_large("the depth of a path", 256));
            }
            match self.names.get_mut(depth) {
                Some(name) if name.as_bytes() == part => {}
                Some(name) => *name = entry_name(part)?,
                None => self.names.push(entry_name(part)?),
            }
            depth += 1;
        }
        self.names.truncate(depth);
        Ok(())
    }

    /// Takes a mark off the path and says which it was. Below the last name no mark has a meaning.
    pub(super) fn take_mark(&mut self) -> Result<Mark, Reason> {
        let Some((last, folders)) = self.names.split_last_mut() else {
            return Ok(Mark::None);
        };
        for folder in folders {
            match folder.as_bytes() {
                name if name.starts_with(META) => return Ok(Mark::Meta),
                name if name.starts_with(MARK) => {
                    return Err(Reason::Malformed("a path that goes on after a whiteout"));
                }
                _ => {}
            }
        }
        let bytes = last.as_bytes();
        if bytes == OPAQUE {
            self.names.pop();
            return Ok(Mark::Opaque);
        }
        if bytes.starts_with(META) {
            return Ok(Mark::Meta);
        }
        let Some(name) = bytes.strip_prefix(MARK) else {
            return Ok(Mark::None);
        };
        *last = EntryName::new(name)
            .map_err(|_| Reason::Malformed("a whiteout of what can be no file's name"))?;
        Ok(Mark::Whiteout)
    }
}

fn entry_name(part: &[u8]) -> Result<EntryName, Reason> {
    // Length and dots were looked at, and a slash parts names: what is left to be wrong is a NUL.
    EntryName::new(part).map_err(|_| Reason::Malformed("a path with a NUL in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(path: &LayerPath) -> Vec<u8> {
        let names: Vec<&[u8]> = path.names().iter().map(EntryName::as_bytes).collect();
        names.join(&b"/"[..])
    }

    #[test]
    fn a_path_that_was_set_before_leaves_nothing_behind() {
        let mut path = LayerPath::default();
        for (raw, names) in [
            (&b"./usr/lib/a"[..], &b"usr/lib/a"[..]),
            (b"usr/lib/b/", b"usr/lib/b"),
            (b"/usr//share/./b", b"usr/share/b"),
            (b"etc", b"etc"),
            (b"./", b""),
            (b"", b""),
            (b"/", b""),
            (b"a/...", b"a/..."),
            (b"a/\xff\n", b"a/\xff\n"),
        ] {
            path.set(raw).unwrap();
            assert_eq!(joined(&path), names);
        }
    }

    #[test]
    fn marks_are_taken_off() {
        let mut path = LayerPath::default();
        for (raw, mark, left) in [
            (&b"a/.wh.b"[..], Mark::Whiteout, &b"a/b"[..]),
            (b"a/.wh..b", Mark::Whiteout, b"a/.b"),
            (b"a/.wh.b/", Mark::Whiteout, b"a/b"),
            (b"a/.wh..wh..opq", Mark::Opaque, b"a"),
            (b".wh..wh..opq", Mark::Opaque, b""),
            (b".wh..wh..opqs", Mark::Meta, b".wh..wh..opqs"),
            (b".wh..wh.plnk/1.2", Mark::Meta, b".wh..wh.plnk/1.2"),
            (b".wh..wh.", Mark::Meta, b".wh..wh."),
            (b"a/.whb", Mark::None, b"a/.whb"),
            (b"", Mark::None, b""),
        ] {
            path.set(raw).unwrap();
            assert_eq!(path.take_mark(), Ok(mark));
            assert_eq!(joined(&path), left);
        }
        for bad in [&b"a/.wh."[..], b".wh..", b".wh...", b".wh.a/b"] {
            path.set(bad).unwrap();
            assert!(path.take_mark().is_err(), "{bad:?}");
        }
    }
}
