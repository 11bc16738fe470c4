//! A gzip file: its members, and the parts that it is taken apart into.
#![no_main]

use holdall_recipe::gzip::GzipReader;
use holdall_recipe::table::Matter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = GzipReader::open(bytes) else {
        return;
    };
    let mut buf = vec![0; 10_000];
    let mut plain = 0;
    loop {
        match reader.plain(&mut buf) {
            Ok(0) => break,
            Ok(count) => plain += count as u64,
            Err(refusal) => return assert!(!refusal.to_string().is_empty()),
        }
        if plain > 8 << 20 {
            return;
        }
    }
    let (mut end, mut plain_end) = (0, 0);
    for part in reader.finish() {
        assert!(part.end >= end && part.plain_end >= plain_end && part.phase < 8);
        if let Matter::Kept(kept) = &part.matter {
            assert!(*kept == bytes[end as usize..part.end as usize]);
        }
        (end, plain_end) = (part.end, part.plain_end);
    }
    assert_eq!((end, plain_end), (bytes.len() as u64, plain));
});
