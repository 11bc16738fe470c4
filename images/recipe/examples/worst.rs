//! How long a model takes at worst: `worst [MEBIBYTES]`. Plaintext that is full of places alike, which corrections make it
//! look at for every byte.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::segment::{Input, rebuild};
use std::time::Instant;

fn main() {
    let size = std::env::args().nth(1).map_or(32, |size| size.parse().unwrap()) << 20;
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let zeros = vec![0u8; size];
    let mut runs = zeros.clone();
    let mut at = 0;
    while at < size {
        runs[at] = 1 + random(255) as u8;
        at += 20 + random(230) as usize;
    }
    let letters: Vec<u8> = (0..size).map(|_| b'a' + random(2) as u8).collect();
    // Each token is corrected to a literal, so that the next byte is searched too.
    let literals: Vec<u8> = [0, 0].into_iter().chain([8, 0].repeat(size - 1)).collect();
    let mut models = Models::default();
    for encoder in Encoder::candidates() {
        let mut told = format!("{encoder:10}");
        for (what, plain) in [("zeros", &zeros), ("runs", &runs), ("letters", &letters)] {
            for (how, corrections) in [("", &[][..]), (" as literals", &literals)] {
                let input = Input {
                    bytes: plain,
                    start: 0,
                    end: size,
                    offset: 0,
                };
                let start = Instant::now();
                let out = rebuild(encoder, &mut models, &input, corrections, BitWriter::default());
                let bytes = out.map_or(0, |out| out.len() / 8) >> 10;
                told += &format!("  {what}{how} {:.1} s {bytes} KiB", start.elapsed().as_secs_f64());
            }
        }
        println!("{told}");
    }
}
