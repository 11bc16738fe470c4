//! How fast, and how well, a gzip file's encoder is predicted: `measure FILE ENCODER`. Times are those that the processor
//! spent on it, where the system tells them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{member, read, segments};
use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::Models;
use holdall_recipe::deflate::segment::{rebuild, record};
use std::time::Instant;

/// When something began.
struct Clock(Instant, Option<f64>);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), Self::busy())
    }

    /// Seconds that this thread was on a processor.
    fn busy() -> Option<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
    }

    fn seconds(&self) -> f64 {
        match (self.1, Self::busy()) {
            (Some(start), Some(now)) => now - start,
            _ => self.0.elapsed().as_secs_f64(),
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let gzip = std::fs::read(arguments.next().unwrap()).unwrap();
    let encoder = arguments.next().unwrap().parse().unwrap();
    let start = Clock::now();
    let stream = read(member(&gzip));
    let megabytes = stream.plain.len() as f64 / 1e6;
    let tell = |what: &str, start: Clock| {
        println!(
            "{what}: {:.0} MB/s of {megabytes:.0} MB of plaintext",
            megabytes / start.seconds()
        );
    };
    tell("inflate", start);
    let mut models = Models::default();
    let start = Clock::now();
    let all: Vec<_> = segments(&stream, 1 << 20)
        .map(|segment| {
            record(
                encoder,
                &mut models,
                &segment.input,
                segment.tokens,
                segment.blocks,
                usize::MAX,
            )
            .unwrap()
        })
        .collect();
    tell("record", start);
    let bytes: usize = all.iter().map(Vec::len).sum();
    println!(
        "corrections: {bytes} bytes in {} segments, {:.3} % of {}",
        all.len(),
        bytes as f64 * 100.0 / gzip.len() as f64,
        gzip.len()
    );
    let start = Clock::now();
    let mut carry = (0, 0);
    for (segment, corrections) in segments(&stream, 1 << 20).zip(&all) {
        let out = BitWriter::carrying(carry.0, carry.1);
        let (_, held, count) = rebuild(encoder, &mut models, &segment.input, corrections, out)
            .unwrap()
            .finish();
        carry = (held, count);
    }
    tell("rebuild", start);
}
