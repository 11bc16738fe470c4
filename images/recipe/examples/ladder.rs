//! What a gzip file is taken apart into, and how long the encoder is looked for: `ladder FILE…`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{Stream, member, read, segments};
use holdall_recipe::deflate::encoder::Models;
use holdall_recipe::deflate::guide::Bounds;
use holdall_recipe::deflate::segment::attempt;
use holdall_recipe::gzip::GzipReader;
use holdall_recipe::ladder::{Hints, Segment, choose};
use holdall_recipe::table::{Matter, TableWriter};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() {
    let mut models = Models::default();
    for path in std::env::args().skip(1) {
        let gzip = std::fs::read(&path).unwrap();
        println!("{path}: {} bytes", gzip.len());
        search(&gzip, &read(member(&gzip)), &mut models);
        apart(&gzip);
    }
}

/// Looks for the encoder in the first segment, as ingest does; once more, as the models' memory is had then.
fn search(gzip: &[u8], stream: &Stream, models: &mut Models) {
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
    // Half of what it takes in the file, about.
    let limit = first.input.end * gzip.len() / stream.plain.len().max(1) / 2;
    let _first = choose(models, &segment, hints, limit);
    let start = busy();
    let choice = choose(models, &segment, hints, limit);
    let took = busy() - start;
    let Some(choice) = choice else {
        println!("  no encoder, after {took:.1} ms");
        return;
    };
    let start = busy();
    let bounds = Bounds::corrections(limit);
    let _again = attempt(
        choice.encoder,
        models,
        &first.input,
        first.tokens,
        first.blocks,
        bounds,
    );
    println!(
        "  {}, {} bytes of errors in the first segment: found in {took:.1} ms, {:.1} of them the segment itself",
        choice.encoder,
        choice.errors,
        busy() - start
    );
}

/// Milliseconds that this thread was on a processor, where the system tells them.
fn busy() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ')
        .next()
        .and_then(|field| field.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1e6
}

fn apart(gzip: &[u8]) {
    let start = Instant::now();
    let mut reader = GzipReader::open(gzip).unwrap();
    let mut buf = vec![0; 1 << 18];
    let mut table = TableWriter::default();
    let (mut parts, mut kept, mut corrections) = (0, 0, 0);
    let mut encoders: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let ended = match reader.plain(&mut buf) {
            Ok(count) => count == 0,
            Err(err) => return println!("  {err}"),
        };
        for part in reader.take_parts() {
            parts += 1;
            match &part.matter {
                Matter::Kept(bytes) => kept += bytes.len(),
                Matter::Made(encoder, bytes) => {
                    corrections += bytes.len();
                    *encoders.entry(encoder.to_string()).or_default() += 1;
                }
            }
            table.part(part);
        }
        if ended {
            break;
        }
    }
    let tables = table.finish(&[], &[]).len();
    println!(
        "  {parts} parts, {kept} bytes kept, {corrections} of corrections ({:.3} %), {tables} of tables, {encoders:?}; {:.2} s",
        corrections as f64 * 100.0 / gzip.len() as f64,
        start.elapsed().as_secs_f64()
    );
}
