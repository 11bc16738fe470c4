//! Corrections and a model: whatever they say of whatever plaintext, the end is an error or some bytes.
#![no_main]

use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::segment::{HISTORY, Input, LOOKAHEAD, rebuild};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static MODELS: RefCell<Models> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([which, at, start, end, corrections, often], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let mut encoders = Encoder::candidates().chain([Encoder::Literal]);
    let Some(encoder) = encoders.nth(usize::from(*which)) else {
        return;
    };
    let (corrections, some) = rest.split_at(rest.len() * usize::from(*corrections) / 256);
    // Short inputs make long plaintext too.
    let plain = some.repeat(1 + usize::from(*often) * 4);
    let plain = &plain[..plain.len().min(300_000)];
    let end = plain.len() - (plain.len() * usize::from(*end) / 256).min(LOOKAHEAD);
    let start = (end * usize::from(*start) / 256).min(HISTORY);
    let input = Input {
        bytes: plain,
        start,
        end,
        offset: if start < HISTORY {
            start as u64
        } else {
            start as u64 + u64::from(*at) * 9_999
        },
    };
    let written = MODELS.with_borrow_mut(|models| {
        rebuild(
            encoder,
            models,
            &input,
            corrections,
            BitWriter::carrying(*at, u32::from(*at >> 5)),
        )
    });
    match written {
        // A token has 48 bits at most, a header's bits come from the corrections or from a model that has tokens for it.
        Ok(out) => assert!(out.len() <= (end - start) as u64 * 2_400 + corrections.len() as u64 * 3_000 + 64),
        Err(damage) => assert!(damage.at <= corrections.len()),
    }
});
