//! A layer's recipe: its tables, and what is made of them.
#![no_main]

use holdall_recipe::table::{Damage, Source, Table};
use libfuzzer_sys::fuzz_target;

/// A recipe whose files are of every size.
struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    type Error = Damage;

    fn recipe(&self, offset: u64, buf: &mut [u8]) -> Result<(), Damage> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..));
        let from = from.and_then(|from| from.get(..buf.len()));
        buf.copy_from_slice(from.ok_or_else(|| Damage("past the end".to_owned()))?);
        Ok(())
    }

    fn file(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Result<(), Damage> {
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = ((inode ^ (offset + at as u64) >> 5).wrapping_mul(151) >> 4) as u8;
        }
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    // What the footer says, so that most inputs get past it.
    let Some(size) = bytes
        .len()
        .checked_sub(24)
        .and_then(|at| bytes[at..].first_chunk())
    else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let source = Bytes(bytes);
    let Ok(table) = Table::read(&source, bytes.len() as u64, size, &[7; 32]) else {
        return;
    };
    assert!(table.parts.len() * 32 <= bytes.len());
    // Nothing hashes to that: all else is damage before.
    for group in 0..table.groups().min(2) {
        assert!(table.read_groups(&source, group..group + 1).is_err());
    }
    let plain = table.plain(&source, 0..table.plain.min(1 << 21));
    assert!(plain.is_err() || plain.is_ok_and(|plain| plain.len() as u64 == table.plain.min(1 << 21)));
});
