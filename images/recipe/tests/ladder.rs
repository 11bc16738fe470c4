//! The encoder that wrote a stream is found, in whatever the stream begins with, and soon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::{Stream, go, member, read, run, sample, segments};
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::guide::Bounds;
use holdall_recipe::deflate::segment::attempt;
use holdall_recipe::gzip::GzipReader;
use holdall_recipe::ladder::{Choice, Hints, Segment, choose};
use holdall_recipe::table::{MadePart, Matter};
use std::io::Write as _;
use std::process::Command;

fn found(models: &mut Models, gzip: &[u8], stream: &Stream) -> Option<Choice> {
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
    choose(models, &segment, hints, gzip.len())
}

/// The parts that a file is taken apart into.
fn parts(gzip: &[u8]) -> Vec<MadePart> {
    let mut reader = GzipReader::open(gzip).unwrap();
    let mut buf = vec![0; 1 << 18];
    while reader.plain(&mut buf).unwrap() > 0 {}
    reader.finish()
}

/// Bytes of what the parts are made of, and their encoders in turn.
fn made_of(parts: &[MadePart]) -> (usize, Vec<String>) {
    let (mut bytes, mut names) = (0, Vec::new());
    for part in parts {
        match &part.matter {
            Matter::Kept(kept) => bytes += kept.len(),
            Matter::Made(encoder, corrections) => {
                bytes += corrections.len();
                names.push(encoder.to_string());
            }
        }
    }
    names.dedup();
    (bytes, names)
}

#[test]
fn each_level_is_found_in_files_of_any_size() {
    let plain = sample(4 << 20);
    let mut models = Models::default();
    for level in [-2, 0].into_iter().chain(1..=9) {
        for size in [0, 1, 300, 20_000, 150_000, plain.len()] {
            let gzip = go(level, 0, &plain[..size]);
            let stream = read(member(&gzip));
            let choice = found(&mut models, &gzip, &stream).unwrap();
            assert_eq!(choice.errors, 0, "{size} bytes at {level}: {choice:?}");
        }
        let gzip = go(level, 0, &plain);
        let choice = found(&mut models, &gzip, &read(member(&gzip))).unwrap();
        assert_eq!(choice.encoder, Encoder::Go { level });
    }
}

#[test]
fn each_level_of_gzip_pigz_and_zlib_is_found() {
    let plain = sample(1 << 20);
    let zlib = "import sys, zlib; out = zlib.compressobj(int(sys.argv[1]), wbits=31); \
                sys.stdout.buffer.write(out.compress(sys.stdin.buffer.read()) + out.flush())";
    let mut models = Models::default();
    for level in 1..=9 {
        let option = format!("-{level}");
        let written = [
            ("gzip", run(Command::new("gzip").arg(&option), &plain)),
            ("pigz", run(Command::new("pigz").arg("-p2").arg(&option), &plain)),
            (
                "zlib",
                run(
                    Command::new("python3").args(["-c", zlib, &level.to_string()]),
                    &plain,
                ),
            ),
        ];
        for (name, gzip) in written {
            let choice = found(&mut models, &gzip, &read(member(&gzip))).unwrap();
            assert_eq!(
                choice.encoder.to_string(),
                format!("{name}:{level}"),
                "{choice:?}"
            );
            assert_eq!(choice.errors, 0, "{choice:?}");
        }
    }
}

#[test]
fn a_stream_that_begins_with_what_tells_nothing_is_predicted_by_its_encoder() {
    let plain = sample(6 << 20);
    let mut state = 1u64;
    let noise: Vec<u8> = (0..3 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .collect();
    for (what, begin) in [("zeros", vec![0; 9 << 20]), ("noise", noise)] {
        let gzip = go(4, 0, &[&begin, plain.as_slice()].concat());
        let (bytes, names) = made_of(&parts(&gzip));
        assert!(bytes < gzip.len() / 100, "{what}: {bytes} of {}", gzip.len());
        assert_eq!(
            names.last().map(String::as_str),
            Some("go:4"),
            "{what}: {names:?}"
        );
    }
}

#[test]
fn members_of_several_encoders_are_each_predicted_by_theirs() {
    let plain = sample(3 << 20);
    let gzip = [go(9, 0, &plain), go(4, 0, &plain), go(6, 0, &plain)].concat();
    let (bytes, mut names) = made_of(&parts(&gzip));
    // What all write alike may be any one's.
    names.sort();
    names.dedup();
    assert_eq!(names, ["go:4", "go:6", "go:9"]);
    assert!(bytes < gzip.len() / 200, "{bytes} of {}", gzip.len());
}

#[test]
fn a_model_that_errs_too_often_is_stopped_at_once() {
    let gzip = run(Command::new("gzip").arg("-6"), &sample(2 << 20));
    let stream = read(member(&gzip));
    let all = segments(&stream, usize::MAX).next().unwrap();
    let mut models = Models::default();
    for errors in [0, 10, 1_000] {
        let bounds = Bounds {
            errors,
            ..Bounds::corrections(usize::MAX)
        };
        let tried = attempt(
            Encoder::Literal,
            &mut models,
            &all.input,
            all.tokens,
            all.blocks,
            bounds,
        );
        // One more correction than it may have: of a token at most, as a block is longer than that.
        assert!(tried.corrections.is_none());
        assert!(
            (errors + 1..errors + 8).contains(&tried.errors),
            "{}",
            tried.errors
        );
    }
}

#[test]
fn how_pigz_cuts_is_told_by_where_its_blocks_end() {
    let plain = sample(3 << 20);
    for (arguments, name) in [
        (&["-6"][..], "pigz:6"),
        (&["-3", "-b", "512"], "pigz:3:512"),
        (&["-9", "-b", "1024"], "pigz:9:1024"),
        (&["-i", "-1"], "pigz-i:1"),
    ] {
        let gzip = run(Command::new("pigz").args(arguments), &plain);
        let (bytes, names) = made_of(&parts(&gzip));
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        assert!(bytes < gzip.len() / 200, "{name}: {bytes} of {}", gzip.len());
    }
}

#[test]
fn what_no_model_is_of_is_predicted_by_the_one_most_like_it() {
    let plain = sample(2 << 20);
    let mut libdeflate = Command::new("libdeflate-gzip");
    let mut zopfli = Command::new("zopfli");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&plain[..1 << 20]).unwrap();
    for (name, gzip) in [
        ("libdeflate", output(libdeflate.arg("-6"), &plain)),
        (
            "zopfli",
            output(zopfli.args(["--i1", "-c"]).arg(file.path()), &[]),
        ),
    ] {
        let Some(gzip) = gzip else {
            println!("skipped: {name} is not installed");
            continue;
        };
        let (bytes, names) = made_of(&parts(&gzip));
        assert!(
            bytes < gzip.len() / 2,
            "{name}: {bytes} of {} with {names:?}",
            gzip.len()
        );
    }
}

/// What a program prints, if it is installed.
fn output(command: &mut Command, stdin: &[u8]) -> Option<Vec<u8>> {
    let known = Command::new(command.get_program()).arg("-h").output();
    known.is_ok().then(|| run(command, stdin))
}
