//! Packs: frames encoded, appended, found again and checked. Knows no blobs and no names.

mod adopt;
mod decompress;
mod delta;
mod encode;
mod frame;
mod kept;
mod tables;
mod writer;

pub use adopt::{LeftOver, Scan, examine, scan};
pub use delta::{check_base, load_base};
pub use encode::{EncodedFrame, Encoder, Level, PlainFrame};
pub use frame::{
    Frame, check_stored, decode_frame, load, load_with, place_of, read_header, read_plain_bytes,
};
pub use kept::{FrameKey, FrameWeight, KeptFrames};
pub use tables::PackTables;
pub use writer::{PackWriter, WrittenPack};
