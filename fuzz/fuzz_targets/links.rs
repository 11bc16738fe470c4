//! The table of hard links of a tree: what is read is written the same, and each group alone as among all.
#![no_main]

use holdall::format::links::{bounds, bounds_at, decode, encode, number, position_at};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    for group in 1..4 {
        let _any_answer_but_a_panic = bounds(&bytes[at(bounds_at(group))..], group, "fuzz");
    }
    let Ok(groups) = decode(bytes, "fuzz") else { return };
    assert_eq!(encode(&groups), bytes);
    for (group, names) in (1..).zip(&groups) {
        let found = bounds(&bytes[at(bounds_at(group))..], group, "fuzz");
        match names.first() {
            None => assert!(found.is_err()),
            Some(first) => {
                let (begin, end) = found.unwrap();
                assert_eq!(end - begin, names.len() as u64);
                let place = position_at(groups.len() as u64, begin);
                assert_eq!(number(bytes, at(place)).unwrap(), *first);
            }
        }
    }
});
