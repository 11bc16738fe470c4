//! Packs: frames encoded, appended, found again and checked. Knows no blobs and no names.

mod adopt;
mod encode;
mod frame;
mod tables;
mod writer;

pub use adopt::{LeftOver, Scan, examine, scan};
pub use encode::{EncodedFrame, Encoder, PlainFrame};
pub use frame::{Frame, check_stored, decode_frame, load};
pub use tables::PackTables;
pub use writer::{PackWriter, WrittenPack};
