//! Code lengths out of a Huffman tree, as the newest versions make them.

use crate::deflate::token::LITERALS;

/// The lengths of the code that Huffman's tree gives, symbols taken before nodes of the same weight; the symbols that occur
/// more often have the shorter codes, and of those that occur equally often the later ones. False, and nothing of use, where
/// there are less than three symbols, or a code would be longer than `limit`.
pub(super) fn tree(counts: &[u32], limit: usize, lengths: &mut [u8]) -> bool {
    lengths.fill(0);
    let mut order = [(0u32, 0u16); LITERALS];
    let mut n = 0;
    for (symbol, count) in counts.iter().enumerate() {
        if *count > 0 {
            order[n] = (*count, symbol as u16);
            n += 1;
        }
    }
    if n < 3 {
        return false;
    }
    let order = &mut order[..n];
    order.sort_unstable();
    // Nodes in the order of their weight, which is that of their making; a symbol's parent, and behind them a node's.
    let mut weights = [0u32; LITERALS];
    let mut parents = [0u16; 2 * LITERALS];
    let (mut symbol, mut node) = (0, 0);
    for made in 0..n - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if symbol < n && (node >= made || order[symbol].0 <= weights[node]) {
                weight += order[symbol].0;
                parents[symbol] = made as u16;
                symbol += 1;
            } else {
                weight += weights[node];
                parents[LITERALS + node] = made as u16;
                node += 1;
            }
        }
        weights[made] = weight;
    }
    let mut depths = [0u16; LITERALS];
    for node in (0..n - 2).rev() {
        depths[node] = depths[usize::from(parents[LITERALS + node])] + 1;
    }
    // How many symbols have each depth; the order of the symbols says which.
    let mut of_depth = [0u16; LITERALS];
    for parent in &parents[..n] {
        let depth = usize::from(depths[usize::from(*parent)]) + 1;
        if depth > limit {
            return false;
        }
        of_depth[depth] += 1;
    }
    let mut rest = order.iter().rev();
    for (depth, count) in of_depth.iter().enumerate() {
        for (_, symbol) in rest.by_ref().take(usize::from(*count)) {
            lengths[usize::from(*symbol)] = depth as u8;
        }
    }
    true
}
