//! An archive of Docker's or of an OCI layout: its tar index, and the JSON in it.
#![no_main]

use holdall_images::archive;
use libfuzzer_sys::fuzz_target;
use std::io::Write as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if file.write_all(bytes).is_ok() {
        let _refused = archive::open_docker(file.path(), None);
        let _refused = archive::open_oci(file.path(), None);
    }
});
