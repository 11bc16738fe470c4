//! What containers read first, as spans of their files: what is recorded on a node, and laid together on a medium.

/// Bytes of one file of a chain's tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file: its names from the root, joined by `/`, without a leading one.
    pub path: Vec<u8>,
    /// Where the span begins, in bytes.
    pub from: u64,
    /// Where it ends; what lies beyond the file's end is nothing.
    pub to: u64,
}
