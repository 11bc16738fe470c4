//! Whether images are signed: cosign's signatures by a key, checked without a network.
//!
//! A signature is found where cosign puts it: behind the tag `sha256-HEX.sig`, or as a manifest that says that it is about
//! the image. It is one of two kinds ([`claim`]): a payload of "simple signing" beside its signature, or a sigstore bundle with a
//! signed statement. Either names the digest of the image; one that names another digest says nothing of this image. Certificates,
//! transparency logs and timestamps are not looked at: what is trusted are the operator's own keys.
//!
//! A signature is about a digest. That the bytes beneath have that digest is for whoever reads or verifies them.

pub mod claim;
pub mod disk;
pub mod key;
mod search;
mod verdict;

pub use key::PublicKey;
pub use verdict::{Fault, ImageSigned, Verdict};

pub(crate) use search::{Holder, can_be_run, judge};

/// Longest payload or bundle that is read, in bytes.
pub const MAX_PAYLOAD: u64 = 1 << 20;
/// Signatures of one image that are looked at.
pub const MAX_SIGNATURES: usize = 100;
/// Manifests of one image that are looked at for a signature in them.
const MAX_ATTACHED: usize = 1000;

#[cfg(test)]
mod tests;
