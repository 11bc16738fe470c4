//! How zlib, and gzip before it, codes a block: Huffman's lengths off a heap, and the choice among the three shapes.

use crate::deflate::encoder::lengths::{Counts, Header, Runs, bits_of};
use crate::deflate::inflate::{Shape, fixed};
use crate::deflate::token::{DISTANCES, LITERALS, Token};

/// Longest code of literals and distances, and of code lengths.
const BITS: usize = 15;
const HEADER_BITS: usize = 7;
/// Leaves and inner nodes of the largest tree.
const NODES: usize = 2 * LITERALS;
/// Most plaintext of a stored block.
const STORED_MAX: usize = 65_535;

/// Nodes that have no father yet, the least on top. Equal ones keep an order that only the heap's own moves explain, so
/// these must be the encoder's.
struct Heap {
    /// From 1 on.
    nodes: [u16; NODES + 1],
    len: usize,
    /// By node: how often · 256 + its height, which decides among those that occur equally often.
    keys: [u64; NODES],
}

impl Heap {
    fn key(&self, at: usize) -> u64 {
        self.keys[usize::from(self.nodes[at])]
    }

    /// Moves the node at `at` down to where none below is less.
    fn sink(&mut self, mut at: usize) {
        let node = self.nodes[at];
        let key = self.keys[usize::from(node)];
        loop {
            let mut below = 2 * at;
            if below > self.len {
                break;
            }
            if below < self.len && self.key(below + 1) <= self.key(below) {
                below += 1;
            }
            if key <= self.key(below) {
                break;
            }
            self.nodes[at] = self.nodes[below];
            at = below;
        }
        self.nodes[at] = node;
    }

    fn pop(&mut self) -> usize {
        let least = self.nodes[1];
        self.nodes[1] = self.nodes[self.len];
        self.len -= 1;
        self.sink(1);
        usize::from(least)
    }
}

/// Finds the lengths of codes, at most `limit` bits, of the symbols that occur. There are always two codes: where fewer
/// symbols occur, the first ones that do not are taken in. Gives one more than the last symbol that has a code.
pub fn code_lengths(counts: &[u32], limit: usize, lengths: &mut [u8]) -> usize {
    lengths.fill(0);
    let mut heap = Heap {
        nodes: [0; NODES + 1],
        len: 0,
        keys: [0; NODES],
    };
    let mut used = 0;
    let leaf = |heap: &mut Heap, symbol: usize, count: u32| {
        heap.len += 1;
        heap.nodes[heap.len] = symbol as u16;
        heap.keys[symbol] = u64::from(count) << 8;
    };
    for (symbol, count) in counts.iter().enumerate() {
        if *count > 0 {
            leaf(&mut heap, symbol, *count);
            used = symbol + 1;
        }
    }
    while heap.len < 2 {
        let symbol = if used < 3 { used } else { 0 };
        leaf(&mut heap, symbol, 1);
        used = used.max(symbol + 1);
    }
    for at in (1..=heap.len / 2).rev() {
        heap.sink(at);
    }
    // In the order in which they found a father; the root last.
    let mut order = [0u16; NODES];
    let mut fathers = [0u16; NODES];
    let mut ordered = 0;
    let mut node = counts.len();
    while heap.len >= 2 {
        let (first, second) = (heap.pop(), usize::from(heap.nodes[1]));
        order[ordered] = first as u16;
        order[ordered + 1] = second as u16;
        ordered += 2;
        fathers[first] = node as u16;
        fathers[second] = node as u16;
        let (a, b) = (heap.keys[first], heap.keys[second]);
        let height = (a & 0xff).max(b & 0xff) + 1;
        heap.keys[node] = ((a >> 8) + (b >> 8)) << 8 | height;
        heap.nodes[1] = node as u16;
        heap.sink(1);
        node += 1;
    }
    let root = node - 1;
    let mut depths = [0u8; NODES];
    let mut of_length = [0u16; BITS + 1];
    let mut over = 0i32;
    depths[root] = 0;
    for node in order[..ordered].iter().rev().map(|node| usize::from(*node)) {
        let mut depth = depths[usize::from(fathers[node])] + 1;
        if usize::from(depth) > limit {
            depth = limit as u8;
            over += 1;
        }
        depths[node] = depth;
        if node < counts.len() {
            of_length[usize::from(depth)] += 1;
            lengths[node] = depth;
        }
    }
    if over > 0 {
        shorten(&mut of_length, over, limit);
        let mut leaves = order[..ordered]
            .iter()
            .map(|node| usize::from(*node))
            .filter(|node| *node < counts.len());
        for bits in (1..=limit).rev() {
            for leaf in leaves.by_ref().take(usize::from(of_length[bits])) {
                lengths[leaf] = bits as u8;
            }
        }
    }
    used
}

/// Makes room for `over` nodes that were below the limit: each pair of them beside a leaf that moves down by one.
fn shorten(of_length: &mut [u16; BITS + 1], mut over: i32, limit: usize) {
    while over > 0 {
        let Some(bits) = (1..limit).rev().find(|bits| of_length[*bits] > 0) else {
            return;
        };
        of_length[bits] -= 1;
        of_length[bits + 1] += 2;
        of_length[limit] -= 1;
        over -= 2;
    }
}

/// How a block of these tokens is written, which stand for `plain` bytes. It can be stored only if those are still in the
/// window.
pub fn shape(tokens: &[Token], plain: usize, storable: bool) -> Shape {
    let counts = Counts::of(tokens);
    let extra = counts.extra_bits();
    let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
    let literals_used = code_lengths(&counts.literals[..286], BITS, &mut literals);
    let distances_used = code_lengths(&counts.distances[..30], BITS, &mut distances);
    let header = Header::new(
        &literals[..literals_used],
        &distances[..distances_used],
        Runs::Zlib,
        |counts, lengths| {
            code_lengths(counts, HEADER_BITS, lengths);
        },
    );
    let dynamic =
        header.bits() + bits_of(&counts.literals, &literals) + bits_of(&counts.distances, &distances) + extra;
    let (fixed_literals, fixed_distances) = fixed();
    let fixed =
        bits_of(&counts.literals, &fixed_literals) + bits_of(&counts.distances, &fixed_distances) + extra;
    // The encoder compares whole bytes, the block's type rounded in.
    let bytes = |bits: u64| (bits + 3 + 7) >> 3;
    let (dynamic, fixed) = (bytes(dynamic), bytes(fixed));
    if storable && plain <= STORED_MAX && plain as u64 + 4 <= dynamic.min(fixed) {
        Shape::Stored
    } else if fixed <= dynamic {
        Shape::Fixed
    } else {
        Shape::Dynamic(Box::new(header.codes(literals, distances)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kraft(lengths: &[u8]) -> f64 {
        lengths
            .iter()
            .filter(|length| **length > 0)
            .map(|length| 0.5f64.powi(i32::from(*length)))
            .sum()
    }

    #[test]
    fn codes_are_complete_and_within_their_limit_however_uneven_the_counts() {
        let mut counts = [0u32; 19];
        let (mut a, mut b) = (1, 1);
        for count in &mut counts {
            *count = a;
            (a, b) = (b, a + b);
        }
        for limit in [7, 8, 15] {
            let mut lengths = [0; 19];
            assert_eq!(code_lengths(&counts, limit, &mut lengths), 19);
            assert!(lengths.iter().all(|length| (1..=limit as u8).contains(length)));
            assert!((kraft(&lengths) - 1.0).abs() < 1e-9, "{limit}: {lengths:?}");
            assert!(lengths.is_sorted_by(|more, less| more >= less), "{lengths:?}");
        }
    }

    #[test]
    fn there_are_two_codes_where_fewer_symbols_occur() {
        for (symbol, other) in [(0, 1), (1, 2), (2, 0), (9, 0)] {
            let mut counts = [0; 30];
            counts[symbol] = 5;
            let mut lengths = [0; 30];
            assert_eq!(code_lengths(&counts, 15, &mut lengths), symbol.max(other) + 1);
            assert_eq!((lengths[symbol], lengths[other]), (1, 1), "{symbol}");
            assert_eq!(
                lengths.iter().map(|length| usize::from(*length)).sum::<usize>(),
                2
            );
        }
        let mut lengths = [0; 30];
        assert_eq!(code_lengths(&[0; 30], 15, &mut lengths), 2);
        assert_eq!(lengths[..3], [1, 1, 0]);
    }
}
