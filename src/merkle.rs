//! The RFC 6962 Merkle tree over SHA-256 (section 2.1): what a catalogue and a pack set commit to.
//!
//! Chosen over a BLAKE3 tree so that a proof can be checked with a language's own library.

use crate::ids::Sha256;
use sha2::Digest as _;

/// The hash of a leaf: SHA-256 of a zero byte and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    hash.update([0]);
    hash.update(leaf);
    Sha256::from_bytes(hash.finalize().into())
}

/// The hash of an interior node: SHA-256 of a one byte and both children.
#[must_use]
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    hash.update([1]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    Sha256::from_bytes(hash.finalize().into())
}

/// The hash of the tree over nodes that are themselves complete subtrees of one power-of-two size
/// (the last may be smaller), or over leaf hashes: MTH of RFC 6962. Of nothing: SHA-256 of nothing.
#[must_use]
pub fn root(nodes: &[Sha256]) -> Sha256 {
    // Pairing level by level, an odd last node moving up unchanged, gives the same tree as splitting
    // at the largest power of two below n: both keep every left subtree complete.
    let mut level = nodes.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                [only] => *only,
                _ => Sha256::default(),
            })
            .collect();
    }
    level.first().copied().unwrap_or_else(|| Sha256::of(b""))
}

/// Number of hashes in the audit path of a leaf (RFC 6962 2.1.1) among so many.
#[must_use]
pub fn path_len(index: u64, leaves: u64) -> u64 {
    let (mut at, mut last, mut len) = (index, leaves.saturating_sub(1), 0);
    while last > 0 {
        // The last node of a level that has an odd number moves up by itself.
        if at < last || at % 2 == 1 {
            len += 1;
        }
        at /= 2;
        last /= 2;
    }
    len
}

/// The tree hash that a leaf and its audit path lead to; `None` where the path is not as long as it must be. On which side a hash
/// stands follows from the index and the number of leaves.
#[must_use]
pub fn root_by_path(leaf: Sha256, index: u64, leaves: u64, path: &[Sha256]) -> Option<Sha256> {
    if index >= leaves {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, leaves - 1, leaf);
    let mut path = path.iter();
    while last > 0 {
        if at % 2 == 1 {
            hash = node_hash(path.next()?, &hash);
        } else if at < last {
            hash = node_hash(&hash, path.next()?);
        }
        at /= 2;
        last /= 2;
    }
    path.next().is_none().then_some(hash)
}

/// The audit path of a node within one level of nodes, and the hash of them all: of a page, or of a tree in memory.
#[must_use]
pub fn path(nodes: &[Sha256], index: usize) -> Vec<Sha256> {
    let (mut level, mut at, mut path) = (nodes.to_vec(), index, Vec::new());
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = level.chunks(2).map(root).collect();
        at /= 2;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_s_path_leads_to_the_root_and_no_other_does() {
        for n in (1..40_u32).chain([255, 256, 257]) {
            let hashes: Vec<Sha256> = (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let (top, leaves) = (root(&hashes), u64::from(n));
            for (i, leaf) in hashes.iter().enumerate() {
                let (path, at) = (path(&hashes, i), i as u64);
                assert_eq!(path.len() as u64, path_len(at, leaves), "{i} of {n}");
                assert_eq!(root_by_path(*leaf, at, leaves, &path), Some(top), "{i} of {n}");
                for other in [at ^ 1, at + 1, leaves] {
                    assert_ne!(root_by_path(*leaf, other, leaves, &path), Some(top), "{i} of {n}");
                }
                let mut longer = path.clone();
                longer.push(top);
                assert_eq!(root_by_path(*leaf, at, leaves, &longer), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_eq!(root_by_path(*leaf, at, leaves, shorter), None);
                }
            }
        }
    }

    /// RFC 6962 2.1, word for word.
    fn mth(leaves: &[Vec<u8>]) -> Sha256 {
        match leaves {
            [] => Sha256::of(b""),
            [leaf] => leaf_hash(leaf),
            _ => {
                let k = (1..)
                    .map(|p| 1_usize << p)
                    .take_while(|k| *k < leaves.len())
                    .last()
                    .unwrap_or(1);
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_tree_is_the_one_of_rfc_6962_also_when_built_by_groups() {
        let leaves: Vec<Vec<u8>> = (0..1100_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        for n in (0..40).chain([255, 256, 257, 511, 512, 513, 1023, 1100]) {
            let hashes: Vec<Sha256> = leaves[..n].iter().map(|l| leaf_hash(l)).collect();
            assert_eq!(root(&hashes), mth(&leaves[..n]), "{n} leaves");
            if n > 0 {
                let groups: Vec<Sha256> = hashes.chunks(16).map(root).collect();
                assert_eq!(root(&groups), mth(&leaves[..n]), "{n} leaves in groups");
            }
        }
    }
}
