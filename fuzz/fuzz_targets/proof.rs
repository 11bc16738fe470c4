//! A proof: what is accepted is canonical, and leads to its ROOT.
#![no_main]

use holdall::format::proof::Proof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = Proof::decode(bytes, "fuzz") {
        assert_eq!(proof.encode().as_bytes(), bytes);
        assert!(proof.root().catalogue_leaves > 0);
    }
});
