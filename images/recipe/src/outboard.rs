//! What shows that a part of the original is right: the BLAKE3 chaining values of its groups of 256 KiB, whose tree
//! hashes to the whole.

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes of a group, the last of which may be shorter: 256 KiB.
pub const GROUP: usize = 256 << 10;

/// Takes the original's bytes in order, and gives its hash and its groups' values.
#[derive(Debug)]
pub struct OutboardWriter {
    group: blake3::Hasher,
    /// Bytes of the open group.
    filled: usize,
    /// Bytes so far.
    size: u64,
    values: Vec<ChainingValue>,
}

impl Default for OutboardWriter {
    fn default() -> Self {
        Self {
            group: blake3::Hasher::new(),
            filled: 0,
            size: 0,
            values: Vec::new(),
        }
    }
}

impl OutboardWriter {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == GROUP {
                // Only now: the last group is hashed as the root where it is the only one.
                self.values.push(self.group.finalize_non_root());
                self.group = blake3::Hasher::new();
                self.group.set_input_offset(self.size);
                self.filled = 0;
            }
            let (now, later) = bytes.split_at(bytes.len().min(GROUP - self.filled));
            self.group.update(now);
            self.filled += now.len();
            self.size += now.len() as u64;
            bytes = later;
        }
    }

    /// The BLAKE3 hash of all bytes, and the values: none of what is one group.
    #[must_use]
    pub fn finish(mut self) -> ([u8; 32], Vec<u8>) {
        if self.values.is_empty() {
            return (*self.group.finalize().as_bytes(), Vec::new());
        }
        self.values.push(self.group.finalize_non_root());
        (root(&self.values, self.size), self.values.concat())
    }
}

/// Checks groups of an original.
#[derive(Debug, Clone)]
pub struct Outboard {
    size: u64,
    hash: [u8; 32],
    values: Vec<ChainingValue>,
}

impl Outboard {
    /// The outboard of an original of `size` bytes and that BLAKE3 hash; `None` where `bytes` is not it.
    #[must_use]
    pub fn open(bytes: &[u8], size: u64, hash: &[u8; 32]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks::<32>();
        let groups = size.div_ceil(GROUP as u64);
        let expected = if groups < 2 { 0 } else { groups };
        if !rest.is_empty() || values.len() as u64 != expected {
            return None;
        }
        if expected > 0 && root(values, size) != *hash {
            return None;
        }
        Some(Self {
            size,
            hash: *hash,
            values: values.to_vec(),
        })
    }

    /// Whether `bytes` are the original's group number `group`, counted from 0.
    #[must_use]
    pub fn check(&self, group: u64, bytes: &[u8]) -> bool {
        let start = group.saturating_mul(GROUP as u64);
        if self.size.saturating_sub(start).min(GROUP as u64) != bytes.len() as u64 {
            return false;
        }
        if self.values.is_empty() {
            return blake3::hash(bytes).as_bytes() == &self.hash;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(start);
        hasher.update(bytes);
        let index = usize::try_from(group).unwrap_or(usize::MAX);
        self.values.get(index) == Some(&hasher.finalize_non_root())
    }
}

/// The hash of at least two groups.
fn root(values: &[ChainingValue], size: u64) -> [u8; 32] {
    let left = left_subtree_len(size);
    let (before, behind) = split(values, left);
    let (before, behind) = (subtree(before, left), subtree(behind, size - left));
    *merge_subtrees_root(&before, &behind, Mode::Hash).as_bytes()
}

fn subtree(values: &[ChainingValue], size: u64) -> ChainingValue {
    match values {
        [] => ChainingValue::default(),
        [only] => *only,
        values => {
            let left = left_subtree_len(size);
            let (before, behind) = split(values, left);
            merge_subtrees_non_root(&subtree(before, left), &subtree(behind, size - left), Mode::Hash)
        }
    }
}

fn split(values: &[ChainingValue], left: u64) -> (&[ChainingValue], &[ChainingValue]) {
    let at = usize::try_from(left / GROUP as u64).unwrap_or(usize::MAX);
    values.split_at(at.min(values.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_checked_and_their_tree_is_the_blake3_of_the_whole() {
        for size in [
            0,
            1,
            1023,
            GROUP - 1,
            GROUP,
            GROUP + 1,
            2 * GROUP,
            5 * GROUP + 7,
            8 * GROUP,
        ] {
            let bytes: Vec<u8> = (0..size).map(|at| ((at * 31) >> 3) as u8).collect();
            let mut writer = OutboardWriter::default();
            for part in bytes.chunks(100_000) {
                writer.update(part);
            }
            let (hash, outboard) = writer.finish();
            assert_eq!(hash, *blake3::hash(&bytes).as_bytes(), "{size}");
            let opened = Outboard::open(&outboard, size as u64, &hash).expect("its own outboard");
            for (group, part) in bytes.chunks(GROUP).enumerate() {
                assert!(opened.check(group as u64, part));
                let mut wrong = part.to_vec();
                wrong[0] ^= 1;
                assert!(!opened.check(group as u64, &wrong));
                assert!(
                    !opened.check(group as u64 + 1, part) || bytes.chunks(GROUP).nth(group + 1) == Some(part)
                );
            }
            let mut other = hash;
            other[0] ^= 1;
            assert!(size <= GROUP || Outboard::open(&outboard, size as u64, &other).is_none());
        }
    }
}
