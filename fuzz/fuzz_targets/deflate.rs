//! A deflate stream: read, predicted by a model, and written again to the same bits.
#![no_main]

use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::inflate::Inflater;
use holdall_recipe::deflate::segment::{Input, rebuild, record};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static MODELS: RefCell<Models> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, deflate)) = bytes.split_first() else {
        return;
    };
    let mut encoders = Encoder::candidates().chain([Encoder::Literal]);
    let Some(encoder) = encoders.nth(usize::from(*which)) else {
        return;
    };
    let mut inflater = Inflater::new(deflate);
    let (mut plain, mut tokens, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    while plain.len() < 1 << 20
        && blocks
            .last()
            .is_none_or(|block: &holdall_recipe::deflate::inflate::Block| !block.last)
    {
        let (plain_before, tokens_before) = (plain.len(), tokens.len());
        match inflater.block(&mut plain, &mut tokens) {
            Ok(block) => {
                assert_eq!(block.plain, plain.len() - plain_before);
                assert_eq!(block.tokens, tokens.len() - tokens_before);
                blocks.push(block);
            }
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty());
                plain.truncate(plain_before);
                tokens.truncate(tokens_before);
                break;
            }
        }
    }
    let input = Input {
        bytes: &plain,
        start: 0,
        end: plain.len(),
        offset: 0,
    };
    MODELS.with_borrow_mut(|models| {
        let corrections = record(encoder, models, &input, &tokens, &blocks, usize::MAX).expect("no limit");
        let out = rebuild(encoder, models, &input, &corrections, BitWriter::default())
            .expect("its own corrections");
        let (again, carry, count) = out.finish();
        assert!(again == deflate[..again.len()], "{encoder}");
        if count > 0 {
            assert_eq!(deflate[again.len()] & ((1 << count) - 1), carry, "{encoder}");
        }
    });
});
