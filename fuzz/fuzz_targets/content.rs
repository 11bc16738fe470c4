//! Content and its places.
#![no_main]

use holdall::format::codec::{Decoder, Encoder};
use holdall::format::content::Content;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut from = Decoder::new(bytes, "fuzz");
    let Ok(mut content) = Content::decode(&mut from) else {
        return;
    };
    if content.decode_places(&mut from).is_ok() {
        let mut out = Encoder::new();
        content.encode(&mut out);
        content.encode_places(&mut out);
        assert_eq!(out.as_slice(), &bytes[..from.position()]);
    }
});
