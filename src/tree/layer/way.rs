//! The way to a folder of a layer, through the symbolic links that the layer itself has.

use super::{Child, Folder, LAYER_DEPTH_MAX, LayerTree, NotATree, not_a_tree};
use crate::name::EntryName;
use std::collections::VecDeque;

/// Symbolic links followed on the way to one entry.
const FOLLOWED_MAX: usize = 40;
/// Names in the targets of symbolic links that are followed for one layer. Layers as they are built have next to none.
const STEPS_MAX: usize = 1 << 22;

/// What becomes of folders on the way to one that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// None is found.
    Find,
    /// They are made, as implied.
    Make,
    /// The same, but not below a whiteout: nothing is seen there that could be marked.
    Mark,
}

/// The components of a link's target; None for `..`.
fn components(target: &[u8]) -> std::result::Result<VecDeque<Option<EntryName>>, NotATree> {
    let parts = target
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    parts
        .map(|part| match part {
            b".." => Ok(None),
            part => EntryName::new(part)
                .map(Some)
                .map_err(|e| NotATree(format!("a link's target: {e}"))),
        })
        .collect()
}

impl<F> LayerTree<F> {
    /// The folder that a path leads to, symbolic links of this layer followed beneath its root.
    pub(super) fn walk(
        &mut self,
        path: &[EntryName],
        way: Way,
    ) -> std::result::Result<Option<usize>, NotATree> {
        let mut above = Vec::new();
        let mut at = 0;
        let mut ahead: VecDeque<Option<EntryName>> = path.iter().cloned().map(Some).collect();
        let mut followed = 0;
        while let Some(name) = ahead.pop_front() {
            let Some(name) = name else {
                at = above.pop().unwrap_or(0);
                continue;
            };
            if above.len() >= LAYER_DEPTH_MAX {
                return not_a_tree(path, "nested too deep");
            }
            let next = match self.child(at, &name) {
                Some(Child::Folder(next)) => *next,
                Some(Child::Other(other)) => {
                    let Some(target) = self.target(*other) else {
                        return not_a_tree(path, "an entry below something that is no directory");
                    };
                    followed += 1;
                    if followed > FOLLOWED_MAX {
                        return not_a_tree(path, "its symbolic links go round in a circle");
                    }
                    if target.first() == Some(&b'/') {
                        (at, above) = (0, Vec::new());
                    }
                    let mut target = components(target)?;
                    self.steps += target.len() + 1;
                    if self.steps > STEPS_MAX {
                        return not_a_tree(
                            path,
                            "too many symbolic links on the ways to the layer's entries",
                        );
                    }
                    target.append(&mut ahead);
                    ahead = target;
                    continue;
                }
                None if way == Way::Find => return Ok(None),
                Some(Child::Whiteout) if way != Way::Make => return Ok(None),
                found @ (None | Some(Child::Whiteout)) => {
                    let next = Folder::instead_of(found.is_some());
                    let next = self.new_folder(next);
                    self.folder(at)?.children.insert(name, Child::Folder(next));
                    next
                }
                Some(_) => return not_a_tree(path, "an entry below something that is no directory"),
            };
            above.push(at);
            at = next;
        }
        Ok(Some(at))
    }
}
