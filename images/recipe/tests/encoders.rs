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
