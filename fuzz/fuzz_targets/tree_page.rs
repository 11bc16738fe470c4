//! A directory's page: the first two bytes say where its canonical part ends.
#![no_main]

use holdall::format::tree::TreePage;
use holdall::ids::PageHash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((end, page)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let canonical = page.get(..usize::from(u16::from_le_bytes(*end))).unwrap_or(page);
    let level = page.get(4).copied().unwrap_or(0);
    if let Ok(read) = TreePage::decode(page, &PageHash::of(canonical), level, "fuzz") {
        assert_eq!(read.encode(), (PageHash::of(canonical), page.to_vec()));
    }
});
