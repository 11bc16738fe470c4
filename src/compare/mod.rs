//! What tells two generations apart, of one medium or of two: catalogues and trees, gone through in step.
//!
//! Constant memory, however large they are: both sides are in order. How bytes are stored is no difference; what they are is.

mod catalogue;
mod tree;

pub use catalogue::{LeafDifferences, leaf_differences};
pub use tree::{TreeDifference, TreeDifferences, tree_differences};

/// Something that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference<T> {
    /// Only there afterwards.
    Added(T),
    /// Only there before.
    Removed(T),
    /// There on both sides, and not the same: before, and after.
    Changed(T, T),
}

/// Which of two sorted sides has what comes next.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
    Both,
}

/// The side whose next key is the lower one; `None` where both have ended.
fn lower<K: Ord>(before: Option<K>, after: Option<K>) -> Option<Side> {
    Some(match (before, after) {
        (Some(before), Some(after)) => match before.cmp(&after) {
            std::cmp::Ordering::Less => Side::Before,
            std::cmp::Ordering::Greater => Side::After,
            std::cmp::Ordering::Equal => Side::Both,
        },
        (Some(_), None) => Side::Before,
        (None, Some(_)) => Side::After,
        (None, None) => return None,
    })
}
