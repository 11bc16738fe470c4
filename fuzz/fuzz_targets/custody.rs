//! A custody record, or a log of them: what is accepted is canonical.
#![no_main]

use holdall::format::custody::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes, "fuzz") {
        assert_eq!(record.encode().as_bytes(), bytes);
    }
    let Ok(mut log) = std::str::from_utf8(bytes) else { return };
    while let Ok((record, rest)) = Record::decode_first(log, "fuzz") {
        assert!(log.starts_with(&record.encode()));
        log = rest;
    }
});
