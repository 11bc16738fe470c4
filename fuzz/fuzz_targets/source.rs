//! A source as the operator spells it.
#![no_main]

use holdall_images::source::Source;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _refused = Source::parse(text);
});
