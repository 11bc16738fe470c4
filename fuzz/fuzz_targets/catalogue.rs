//! A catalogue's pages with their check made right, its footer, and a leaf alone.
#![no_main]

use holdall::format::catalogue::{Footer, InteriorPage, Leaf, LeafPage};
use holdall::format::codec::Decoder;
use holdall::ids::Sha256;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let check = blake3::hash(bytes);
    let page = [bytes, check.as_bytes().as_slice()].concat();
    let level = bytes.get(4).copied().unwrap_or(0);
    let _refused = LeafPage::decode(&page, &Sha256::default(), "fuzz");
    let _refused = InteriorPage::decode(&page, level, &Sha256::default(), "fuzz");
    let _refused = Footer::decode(bytes, "fuzz");
    let mut from = Decoder::new(bytes, "fuzz");
    if let Ok(leaf) = Leaf::decode(&mut from) {
        assert_eq!(leaf.encode(), bytes[..from.position()]);
    }
});
