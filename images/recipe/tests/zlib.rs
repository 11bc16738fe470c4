//! What zlib writes, predicted: zlib itself runs beside us, in Python, bsdtar and Java.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::inputs::{Random, mixed};
use harness::{member, rebuild_with_anything, round_trip, run, sample};
use holdall_recipe::deflate::encoder::Encoder;
use std::process::Command;

/// What an empty last block takes: zlib writes one where the last token fills a block.
const LAST: usize = 8;

struct Job {
    level: u8,
    piece: u32,
    plain: Vec<u8>,
}

/// Compresses each input, all in one process.
fn zlib(jobs: &[Job]) -> Vec<Vec<u8>> {
    let mut stdin = Vec::new();
    for Job { level, piece, plain } in jobs {
        stdin.extend([*level, 8]);
        stdin.extend(piece.to_le_bytes());
        stdin.extend((plain.len() as u32).to_le_bytes());
        stdin.extend_from_slice(plain);
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/zlib/compress.py");
    let out = run(Command::new("python3").arg(program), &stdin);
    let mut rest = out.as_slice();
    let gzips: Vec<_> = std::iter::from_fn(|| {
        let (length, behind) = rest.split_at_checked(4)?;
        let (gzip, behind) = behind.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
        rest = behind;
        Some(gzip.to_vec())
    })
    .collect();
    assert_eq!(gzips.len(), jobs.len());
    gzips
}

fn check(jobs: &[Job]) {
    for (at, (job, gzip)) in jobs.iter().zip(zlib(jobs)).enumerate() {
        let encoder = Encoder::Zlib { level: job.level };
        let cost = round_trip(member(&gzip), encoder, usize::MAX);
        let size = job.plain.len();
        assert!(
            cost.corrections <= LAST,
            "{encoder}, input {at}: {size} bytes, {cost:?}"
        );
    }
}

#[test]
fn every_level_is_predicted_whole_and_in_segments() {
    let plain = sample(2 << 20);
    for level in 1..=9 {
        let gzip = zlib(&[Job {
            level,
            piece: 0,
            plain: plain.clone(),
        }])
        .remove(0);
        let encoder = Encoder::Zlib { level };
        let whole = round_trip(member(&gzip), encoder, usize::MAX);
        assert!(whole.corrections <= LAST, "{encoder}: {whole:?}");
        let cut = round_trip(member(&gzip), encoder, 1 << 17);
        assert!(cut.segments > 10, "{encoder}: {cut:?}");
        // Levels 1 to 3 do not enter every position; which they did is known only nearly where a segment starts.
        let most = if level < 4 {
            gzip.len() / 500
        } else {
            gzip.len() / 10_000
        };
        assert!(cut.corrections <= most, "{encoder}: {cut:?} of {}", gzip.len());
    }
}

#[test]
fn small_files_and_those_around_a_window_s_length_are_predicted() {
    let plain = sample(300_000);
    let around = [
        258,
        262,
        4_096,
        16_383,
        32 << 10,
        65_274,
        65_536,
        98_042,
        98_304,
        128 << 10,
    ];
    let sizes = (0..12).chain(around.into_iter().flat_map(|size| size - 4..size + 5));
    let mut random = Random::new(1);
    let jobs: Vec<_> = sizes
        .enumerate()
        .map(|(at, size)| {
            let from = random.below(plain.len() - size);
            Job {
                level: (at % 9) as u8 + 1,
                piece: 0,
                plain: plain[from..from + size].to_vec(),
            }
        })
        .collect();
    check(&jobs);
}

#[test]
fn inputs_of_all_kinds_handed_over_in_any_pieces_are_predicted() {
    let text = sample(400_000);
    let mut random = Random::new(2);
    let jobs: Vec<_> = (0..180)
        .map(|at| {
            let size = random.below([2_000, 70_000, 140_000, 400_000][at % 4]);
            Job {
                level: (at % 9) as u8 + 1,
                piece: random.of([0, 512, 10_240, 65_536]) as u32,
                plain: mixed(&mut random, &text, size),
            }
        })
        .collect();
    check(&jobs);
}

#[test]
fn what_bsdtar_and_java_write_is_zlib_s() {
    let plain = sample(1 << 20);
    let bsdtar = |level: u8| {
        let mut command = Command::new("bsdtar");
        command
            .arg("--options")
            .arg(format!("gzip:compression-level={level}"))
            .args(["-czf", "-", "/etc"]);
        command
    };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/zlib/Compress.java");
    let java = |level: u8| {
        let mut command = Command::new("java");
        command.arg(source).arg(level.to_string());
        command
    };
    let commands: [(&str, &dyn Fn(u8) -> Command); 2] = [("bsdtar", &bsdtar), ("java", &java)];
    for (name, command) in commands {
        if Command::new(name).arg("--version").output().is_err() {
            eprintln!("skipped: there is no {name} on this machine");
            continue;
        }
        for level in [1, 6, 9] {
            let gzip = run(&mut command(level), &plain);
            let encoder = Encoder::Zlib { level };
            let cost = round_trip(member(&gzip), encoder, usize::MAX);
            assert!(cost.corrections <= LAST, "{name}, {encoder}: {cost:?}");
        }
    }
}

#[test]
fn any_bytes_as_corrections_end_in_an_error_or_in_other_bytes() {
    let plain = sample(200_000);
    for level in [1, 3, 4, 6] {
        let gzip = zlib(&[Job {
            level,
            piece: 0,
            plain: plain.clone(),
        }])
        .remove(0);
        rebuild_with_anything(&gzip, Encoder::Zlib { level }, 60);
    }
}
