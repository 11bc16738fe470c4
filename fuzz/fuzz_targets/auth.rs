//! A file of credentials.
#![no_main]

use holdall::name::Repository;
use holdall_images::remote::auth::AuthPlaces;
use libfuzzer_sys::fuzz_target;
use std::io::Write as _;

fuzz_target!(|bytes: &[u8]| {
    // A program that a hostile file names must not be run here.
    if bytes.windows(4).any(|w| w.eq_ignore_ascii_case(b"cred")) || bytes.contains(&b'\\') {
        return;
    }
    let (Ok(mut file), Ok(repository)) = (tempfile::NamedTempFile::new(), Repository::parse("quay.io/a/b"))
    else {
        return;
    };
    if file.write_all(bytes).is_ok() {
        let places = AuthPlaces {
            registry_auth_file: Some(file.path().to_owned()),
            ..AuthPlaces::default()
        };
        let _refused = places.look_up(&repository);
    }
});
