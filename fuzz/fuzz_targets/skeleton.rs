//! A stretch of a tar's skeleton; and a tar's bytes, taken apart in pieces and put together again.
#![no_main]

use holdall_recipe::skeleton::{Piece, STRETCH, SkeletonWriter, decode};
use libfuzzer_sys::fuzz_target;

fn length(piece: &Piece) -> u64 {
    match piece {
        Piece::Literal(bytes) => bytes.len() as u64,
        Piece::Zeros(count) | Piece::Carried(count) | Piece::File(count) => *count,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([a, b, c, file], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let size = (usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16).min(STRETCH);
    if let Ok(pieces) = decode(rest, size) {
        assert_eq!(pieces.iter().map(length).sum::<u64>(), size as u64);
    }

    let mut writer = SkeletonWriter::default();
    let (mut files, mut literals) = (0, Vec::new());
    for (at, piece) in rest.chunks(512).enumerate() {
        if at % 8 == usize::from(*file) % 8 && *file > 8 {
            let size = u64::from(*file) * 9_000;
            writer.file(size);
            writer.payload(size);
            files += size;
        }
        writer.literal(piece);
        literals.extend_from_slice(piece);
    }
    let mut again = Vec::new();
    let mut of_files = 0;
    let total = rest.len() as u64 + files;
    let stretches = writer.finish();
    assert_eq!(stretches.len() as u64, total.div_ceil(STRETCH as u64));
    for (at, stretch) in stretches.iter().enumerate() {
        let size = (total - at as u64 * STRETCH as u64).min(STRETCH as u64);
        for piece in decode(&stretch.encoded, size as usize).expect("its own stretch") {
            match piece {
                Piece::Literal(bytes) => again.extend(bytes),
                Piece::Zeros(count) => again.resize(again.len() + count as usize, 0),
                Piece::Carried(count) | Piece::File(count) => of_files += count,
            }
        }
    }
    assert_eq!(of_files, files);
    assert!(again == literals);
});
