//! A pack's header, footer and records, and the pack set's.
#![no_main]

use holdall::format::codec::{Decoder, Encoder};
use holdall::format::pack::{ChunkRecord, FOOTER_LEN, Footer, FrameRecord, SetRecord, check_header};
use holdall::ids::MediumId;
use holdall::units::PackNumber;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let medium = MediumId::default();
    let _refused = check_header(bytes, &medium, PackNumber::new(1), "fuzz");
    let mut footer = bytes.to_vec();
    footer.resize(FOOTER_LEN - 32, 0);
    let check = blake3::hash(&footer);
    footer.extend_from_slice(check.as_bytes());
    for bytes in [bytes, &footer] {
        if let Ok(read) = Footer::decode(bytes, &medium, PackNumber::new(1), 192, "fuzz") {
            assert_eq!(read.encode(), bytes);
        }
    }
    let mut from = Decoder::new(bytes, "fuzz");
    while let Ok(record) = FrameRecord::decode(&mut from) {
        let mut out = Encoder::new();
        record.encode(&mut out);
    }
    let _refused = ChunkRecord::decode(&mut Decoder::new(bytes, "fuzz"));
    let _refused = SetRecord::decode(&mut Decoder::new(bytes, "fuzz"));
});
