//! Stored bytes under a header that fits them: decompression within bounds, then the chunks.
#![no_main]

use holdall::format::frame::{Codec, FrameChunk, FrameHeader, FrameKind};
use holdall::ids::{ChunkId, FrameHash};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((len, stored)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let len = u32::from_le_bytes(*len) % (256 * 1024) + 1;
    for codec in [Codec::Raw, Codec::Zstd, Codec::ZstdDelta] {
        let header = FrameHeader {
            codec,
            kind: FrameKind::Plaintext,
            plain_bytes: len,
            stored_bytes: u32::try_from(stored.len()).unwrap_or(u32::MAX),
            stored_hash: FrameHash::of(stored),
            base: (codec == Codec::ZstdDelta).then(|| FrameHash::of(b"")),
            chunks: vec![FrameChunk {
                id: ChunkId::of(stored),
                len,
            }],
        };
        let frame = [header.encode().as_slice(), stored].concat();
        let _refused = holdall::pack::decode_frame(&frame, || "fuzz".to_owned());
    }
});
