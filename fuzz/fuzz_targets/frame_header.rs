//! A frame's header with its check and number of chunks made right.
#![no_main]

use holdall::format::frame::{BASE_PLACE_LEN, CHECK_LEN, ENTRY_LEN, FIXED_LEN, FrameHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _refused = FrameHeader::decode(bytes, "fuzz");
    // The header of a delta (codec 2) ends in its base's place.
    let place = if bytes.get(4) == Some(&2) { BASE_PLACE_LEN } else { 0 };
    let Some(entries) = bytes.len().checked_sub(FIXED_LEN + place) else {
        return;
    };
    let chunks = entries / ENTRY_LEN;
    let mut header = bytes[..FIXED_LEN + chunks * ENTRY_LEN + place].to_vec();
    header[..4].copy_from_slice(b"HFRM");
    header[6..8].copy_from_slice(&u16::try_from(chunks).unwrap_or(u16::MAX).to_le_bytes());
    let check = blake3::hash(&header);
    header.extend_from_slice(&check.as_bytes()[..CHECK_LEN]);
    if let Ok(read) = FrameHeader::decode(&header, "fuzz") {
        assert_eq!(read.encode(), header);
    }
});
