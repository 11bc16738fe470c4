//! Streams of the encoders that write layers, read and rebuilt bit for bit: the encoders themselves run beside us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::{member, round_trip, run, sample};
use holdall_recipe::deflate::encoder::Encoder;
use std::process::Command;

#[test]
fn a_stream_is_rebuilt_whatever_the_model_predicts() {
    for level in ["-1", "-6", "-9"] {
        let gzip = run(Command::new("gzip").arg(level), &sample(3 << 20));
        let cost = round_trip(member(&gzip), Encoder::Literal, 200_000);
        assert!(cost.segments > 10 && cost.corrections > 0, "{cost:?}");
    }
}

#[test]
fn every_model_follows_every_stream() {
    // Text of few letters has copies of three bytes all over, which most encoders pass by: the others are led back and forth.
    let mut state = 5u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for letters in [12, 90] {
        for size in [900, 6_000] {
            let plain: Vec<u8> = (0..size).map(|_| random(letters) as u8).collect();
            let gzip = run(Command::new("gzip").arg("-9"), &plain);
            for encoder in Encoder::candidates() {
                round_trip(member(&gzip), encoder, usize::MAX);
            }
        }
    }
}
