//! The bytes of the format, section by section of FORMAT.md: pure encoders and bounded decoders.
//!
//! No I/O here, no host-endian, no `usize` in anything encoded. A decoder never allocates more than
//! the limits below allow, whatever the bytes claim.

pub mod catalogue;
pub mod codec;
pub mod content;
pub mod custody;
pub mod features;
pub mod frame;
pub mod lines;
pub mod links;
pub mod list;
pub mod pack;
pub mod proof;
pub mod root;
pub mod superblock;
pub mod tree;

/// The name of the format this version writes and reads (FORMAT.md, Versions).
pub const FORMAT: &str = "v1";

/// Smallest chunk but for a blob's last, in bytes.
pub const CHUNK_MIN: u32 = 16 * 1024;
/// Average chunk, in bytes.
pub const CHUNK_AVG: u32 = 64 * 1024;
/// Largest chunk, in bytes.
pub const CHUNK_MAX: u32 = 256 * 1024;
/// Most bytes of plaintext in one frame.
pub const FRAME_PLAIN_MAX: u32 = 1024 * 1024;
/// Most stored bytes in one frame, header aside: raw is the worst a frame is ever stored.
pub const FRAME_STORED_MAX: u32 = FRAME_PLAIN_MAX;
/// Most chunks in one frame.
pub const FRAME_CHUNKS_MAX: u32 = 4096;
/// Largest pack, in bytes.
pub const PACK_MAX: u32 = 1024 * 1024 * 1024;
/// Most packs in a generation: a pebibyte, and a pack set that fits into memory.
pub const PACKS_MAX: u32 = 1 << 20;
/// Largest page of a list, a tree or a pack's tables, canonical bytes.
pub const PAGE_MAX: u32 = 64 * 1024;
/// Largest ROOT, in bytes.
pub const ROOT_MAX: u32 = 4096;
/// Largest signature of a ROOT, armored, in bytes.
pub const SIGNATURE_MAX: u32 = 16 * 1024;
/// Most signatures of a generation.
pub const SIGNATURES_MAX: usize = 64;
/// Largest custody record, in bytes.
pub const CUSTODY_MAX: u32 = 2048;
/// Largest proof, in bytes.
pub const PROOF_MAX: u32 = 2 * 1024 * 1024;
/// Largest blob kept within its catalogue leaf or tree entry, in bytes.
pub const INLINE_MAX: u32 = 2048;
/// Deepest directory in a tree, and most levels of pages anywhere.
pub const DEPTH_MAX: u32 = 256;
