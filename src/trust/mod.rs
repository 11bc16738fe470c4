//! Whether a node believes a disk: signatures against a policy, and a root against what the node has seen before.
//!
//! Everything here is the node's own: nothing on a medium says what is to be believed of it.

mod allowed;
mod pattern;
mod policy;
mod verdict;

pub use allowed::AllowedSigner;
pub use pattern::PatternList;
pub use policy::{Accepted, Policy};
pub use verdict::{Evidence, JudgedSignature, Refusal, Verdict, judge, judge_sight};
