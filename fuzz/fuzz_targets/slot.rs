//! A slot, as it is and with its check made right.
#![no_main]

use holdall::format::superblock::{SLOT_LEN, SlotState, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _refused = decode(bytes, "fuzz");
    let mut slot = bytes.to_vec();
    slot.resize(SLOT_LEN - 32, 0);
    let check = blake3::hash(&slot);
    slot.extend_from_slice(check.as_bytes());
    if let Ok(SlotState::Written(read)) = decode(&slot, "fuzz") {
        assert_eq!(read.encode(), slot);
    }
});
