//! What Go's standard library writes, predicted: the library itself runs beside us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::{member, program, round_trip, run, sample};
use holdall_recipe::deflate::encoder::Encoder;
use std::process::Command;

#[test]
fn every_level_is_predicted() {
    let go = program("go");
    let plain = sample(4 << 20);
    for level in 2..=9u8 {
        let gzip = run(Command::new(&go).arg(level.to_string()).arg("0"), &plain);
        let encoder = Encoder::Go { level };
        let whole = round_trip(member(&gzip), encoder, usize::MAX);
        let cut = round_trip(member(&gzip), encoder, 1 << 18);
        eprintln!("go:{level} {whole:?} {cut:?} of {}", gzip.len());
    }
}
