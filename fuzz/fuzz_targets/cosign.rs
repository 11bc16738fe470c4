//! A payload of simple signing, a sigstore bundle, and a key: whatever they are, they are taken apart or refused, and what
//! they say was signed by no key of ours.
#![no_main]

use holdall_images::cosign::{PublicKey, claim};
use libfuzzer_sys::fuzz_target;

const KEY: &[u8] = include_bytes!("../seeds/cosign/p384");

fuzz_target!(|bytes: &[u8]| {
    let key = PublicKey::parse(KEY, "fuzz").expect("a seed");
    // The signature stands in an annotation beside the payload: here, the last line.
    let at = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (payload, signature) = bytes.split_at(at);
    let signature = String::from_utf8_lossy(signature);
    for claim in [
        claim::simple_signing(payload, signature.trim_start()),
        claim::simple_signing(bytes, "MEUCIG6qcg0jQPTsnN7JEjLyRR8wuN3oSBKUQaOCR8xXxqLmAiEAzIg7zUYxo2T2ASIc5X0ummqi8qUZWa6Lr+uJx5sCbdw="),
        claim::bundle(bytes),
    ] {
        match claim {
            Ok(claim) => assert!(!key.signed(&claim.message, &claim.signature)),
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
    if let Ok(key) = PublicKey::parse(bytes, "fuzz") {
        assert!(!key.signed(bytes, bytes));
    }
});
