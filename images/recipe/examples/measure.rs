//! How fast, and how well, a gzip file's encoder is predicted: `measure FILE [ENCODER]`. Without one it is looked for.
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

use harness::{Stream, member, read, segments};
use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::segment::{rebuild, record};
use holdall_recipe::ladder::{Hints, Segment, choose};
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let gzip = std::fs::read(arguments.next().unwrap()).unwrap();
    let start = Instant::now();
    let stream = read(member(&gzip));
    let megabytes = stream.plain.len() as f64 / 1e6;
    let tell = |what: &str, start: Instant| {
        println!(
            "{what}: {:.0} MB/s of {megabytes:.0} MB of plaintext",
            megabytes / start.elapsed().as_secs_f64()
        );
    };
    tell("inflate", start);
    let mut models = Models::default();
    let encoder = match arguments.next() {
        Some(encoder) => encoder.parse().unwrap(),
        None => {
            let Some(encoder) = search(&gzip, &stream, &mut models) else {
                return;
            };
            encoder
        }
    };
    let start = Instant::now();
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
    let start = Instant::now();
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

/// Looks for the encoder in the first segment, as ingest does.
fn search(gzip: &[u8], stream: &Stream, models: &mut Models) -> Option<Encoder> {
    let first = segments(stream, 1 << 20).next().unwrap();
    let segment = Segment {
        input: first.input,
        tokens: first.tokens,
        blocks: first.blocks,
    };
    let hints = Hints {
        effort: gzip[8],
        system: gzip[9],
    };
    // An eighth of what it takes in the file, about.
    let limit = first.input.end * gzip.len() / stream.plain.len().max(1) / 8;
    let start = Instant::now();
    let choice = choose(models, &segment, hints, limit);
    let took = start.elapsed().as_secs_f64() * 1e3;
    match choice {
        Some(choice) => {
            println!(
                "{}: {} bytes of errors in the first segment, found in {took:.1} ms",
                choice.encoder, choice.errors
            );
            Some(choice.encoder)
        }
        None => {
            println!("no encoder, found in {took:.1} ms");
            None
        }
    }
}
