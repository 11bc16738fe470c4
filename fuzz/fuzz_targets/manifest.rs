//! A manifest or index, of each media type.
#![no_main]

use holdall_images::{manifest, media_types};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for media_type in [
        media_types::OCI_INDEX,
        media_types::OCI_MANIFEST,
        media_types::DOCKER_LIST,
        "",
    ] {
        let _refused = manifest::Document::parse(bytes, media_type, "fuzz");
    }
    let _refused = manifest::parse_descriptors(bytes, "fuzz");
});
