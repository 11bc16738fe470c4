//! A ROOT: what is accepted is canonical.
#![no_main]

use holdall::format::root::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(root) = Root::decode(bytes, "fuzz") {
        assert_eq!(root.encode().as_bytes(), bytes);
    }
});
