//! A list's page under its own hash, and reads at every entry.
#![no_main]

use holdall::format::list::{ENTRY_LEN, ListPage};
use holdall::ids::PageHash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(head) = bytes.first_chunk::<8>() else {
        return;
    };
    let canonical = 8 + ENTRY_LEN * usize::from(u16::from_le_bytes([head[6], head[7]]));
    let Some(canonical) = bytes.get(..canonical) else {
        return;
    };
    if let Ok(page) = ListPage::decode(bytes, &PageHash::of(canonical), head[4], "fuzz") {
        assert_eq!(page.encode(), (PageHash::of(canonical), bytes.to_vec()));
        for entry in &page.entries {
            assert!(page.find(entry.end - 1).is_some_and(|(_, found)| found == *entry));
        }
        assert!(page.find(page.covers()).is_none());
    }
});
