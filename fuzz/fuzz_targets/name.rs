//! Names of images and files: what is accepted says itself again.
#![no_main]

use holdall::name::{EntryName, ImageName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _refused = EntryName::new(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for parsed in [ImageName::parse(text), ImageName::parse_familiar(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(ImageName::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
    }
});
