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

#[cfg(test)]
mod tests {
    use super::*;

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
