//! A signature of a ROOT, and a line of a list of allowed signers.
#![no_main]

use holdall::signature;
use holdall::trust::AllowedSigner;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Nobody has signed this.
    assert!(signature::check(b"holdall v1\n", bytes).is_err());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AllowedSigner::parse_all(text, "fuzz");
    }
});
