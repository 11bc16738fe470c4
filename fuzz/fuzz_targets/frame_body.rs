//! Stored bytes under a header that fits them: decompression within bounds, of a delta too, then the chunks.
#![no_main]

use holdall::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use holdall::ids::{ChunkId, FrameHash};
use holdall::units::{PackNumber, PackOffset};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// A header for these stored bytes, as if they were `len` bytes of plaintext.
fn header(codec: Codec, stored: &[u8], len: u32, base: Option<Base>) -> FrameHeader {
    FrameHeader {
        codec,
        kind: FrameKind::Plaintext,
        plain_bytes: len,
        stored_bytes: u32::try_from(stored.len()).unwrap_or(u32::MAX),
        stored_hash: FrameHash::of(stored),
        base,
        chunks: vec![FrameChunk {
            id: ChunkId::of(stored),
            len,
        }],
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((len, stored)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let len = u32::from_le_bytes(*len) % (256 * 1024) + 1;
    let under = b"what a delta may refer to, as often as it likes";
    let base = Base {
        hash: FrameHash::of(under),
        pack: PackNumber::new(1),
        frame: PackOffset::new(64),
        frame_bytes: 0,
    };
    let below = header(Codec::Raw, under, u32::try_from(under.len()).unwrap_or(0), None);
    let below = [below.encode().as_slice(), under].concat();
    let place = || "fuzz".to_owned();
    for codec in [Codec::Raw, Codec::Zstd, Codec::ZstdDelta] {
        let base = (codec == Codec::ZstdDelta).then_some(base);
        let frame = [header(codec, stored, len, base).encode().as_slice(), stored].concat();
        let bases = |_: &Base| {
            holdall::pack::decode_frame(&below, |_| panic!("a raw frame has no base"), place).map(Arc::new)
        };
        let _refused = holdall::pack::decode_frame(&frame, bases, place);
    }
});
