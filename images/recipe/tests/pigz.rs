//! What pigz writes, predicted: pigz itself runs beside us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::inputs::{Random, mixed};
use harness::{member, rebuild_with_anything, round_trip, run, sample};
use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models, Pigz, UnknownEncoder};
use holdall_recipe::deflate::segment::{Input, rebuild};
use std::process::Command;

/// What the empty blocks behind each of pigz's own blocks take: three at most, of some bytes each.
const EMPTY: usize = 20;

fn pigz(threads: u8, level: u8, cut: Pigz, plain: &[u8]) -> Vec<u8> {
    let mut command = Command::new("pigz");
    command.arg(format!("-{level}")).arg(format!("-p{threads}"));
    command.arg("-b").arg(cut.block.to_string());
    if cut.independent {
        command.arg("-i");
    }
    run(&mut command, plain)
}

fn check(threads: u8, level: u8, cut: Pigz, plain: &[u8]) {
    let gzip = pigz(threads, level, cut, plain);
    let encoder = Encoder::Pigz { level, cut };
    let pieces = plain.len() / (cut.block as usize * 1024) + 1;
    let size = plain.len();
    let cost = round_trip(member(&gzip), encoder, usize::MAX);
    assert!(
        cost.corrections <= EMPTY * pieces,
        "{encoder}, {size} bytes: {cost:?}"
    );
    let cost = round_trip(member(&gzip), encoder, 40_000);
    // Levels 1 to 3 do not enter every position; which they did is known only nearly where a segment starts.
    let share = if level < 4 { 20 } else { 1_000 };
    let most = EMPTY * pieces + gzip.len() / share;
    assert!(cost.corrections <= most, "{encoder}, {size} bytes: {cost:?}");
}

fn cut(block: u32, independent: bool) -> Pigz {
    Pigz { block, independent }
}

#[test]
fn every_level_is_predicted_whole_and_in_segments() {
    let plain = sample(2 << 20);
    for level in 1..=9 {
        for independent in [false, true] {
            check(2, level, cut(128, independent), &plain);
        }
    }
    for block in [32, 33, 512, 4096] {
        check(2, 6, cut(block, false), &plain);
    }
}

#[test]
fn one_thread_writes_as_several_do_at_levels_that_enter_every_position() {
    let plain = sample(1 << 20);
    for level in 4..=9 {
        check(1, level, Pigz::DEFAULT, &plain);
    }
}

#[test]
fn small_files_and_those_around_a_block_s_length_are_predicted() {
    let plain = sample(600_000);
    let around = [258, 32 << 10, 65_536, 128 << 10, (128 << 10) + 32_506, 256 << 10];
    let sizes = (0..12).chain(around.into_iter().flat_map(|size| size - 3..size + 4));
    let mut random = Random::new(6);
    for (at, size) in sizes.enumerate() {
        let from = random.below(plain.len() - size);
        let cut = cut(128, at % 5 == 0);
        check(2, (at % 9) as u8 + 1, cut, &plain[from..from + size]);
    }
}

#[test]
fn inputs_of_all_kinds_are_predicted() {
    let text = sample(400_000);
    let mut random = Random::new(7);
    for at in 0..90 {
        let size = random.below([70_000, 140_000, 400_000, 600_000][at % 4]);
        let plain = mixed(&mut random, &text, size);
        let cut = cut([128, 128, 32, 100][at % 4], at % 5 == 0);
        check(2, (at % 9) as u8 + 1, cut, &plain);
    }
}

#[test]
fn any_bytes_as_corrections_end_in_an_error_or_in_other_bytes() {
    let plain = sample(200_000);
    for level in [1, 6] {
        for cut in [Pigz::DEFAULT, cut(32, true)] {
            let gzip = pigz(2, level, cut, &plain);
            rebuild_with_anything(&gzip, Encoder::Pigz { level, cut }, 60);
        }
    }
}

#[test]
fn a_segment_that_is_said_to_lie_anywhere_ends_in_an_error_or_in_bytes() {
    let plain = sample(100_000);
    let mut random = Random::new(8);
    let mut models = Models::default();
    for at in 0..600 {
        let size = 1 + random.below(random_size(at));
        let bytes = &plain[..size];
        let start = random.below(size);
        let end = start + 1 + random.below(size - start);
        let near = random.below(300_000) as u64;
        let offset = match at % 4 {
            0 => start as u64,
            1 => near,
            2 => random.next() << 12,
            _ => u64::MAX - near,
        };
        let input = Input {
            bytes,
            start,
            end,
            offset,
        };
        let level = (at % 9) as u8 + 1;
        let encoder = match at % 5 {
            0 => Encoder::Zlib { level },
            1 | 2 => Encoder::Gzip { level },
            _ => Encoder::Pigz {
                level,
                cut: cut(32 + (at % 100) as u32, at % 2 == 0),
            },
        };
        let out = rebuild(encoder, &mut models, &input, &[], BitWriter::default()).unwrap();
        let (mut deflate, last, _) = out.finish();
        deflate.push(last);
        assert!(deflate.len() <= size * 2 + 400);
    }
}

fn random_size(at: usize) -> usize {
    [3, 300, 70_000, 100_000][at % 4]
}

#[test]
fn the_family_s_encoders_have_one_name_each() {
    for name in [
        "zlib:1",
        "zlib:9",
        "gzip:6",
        "pigz:6",
        "pigz-i:9",
        "pigz:1:32",
        "pigz-i:6:1048576",
    ] {
        let encoder: Encoder = name.parse().unwrap();
        assert_eq!(encoder.to_string(), name);
    }
    let none = "zlib:0 zlib:10 zlib:06 zlib: gzip:+6 pigz:6:128 pigz:6:0128 pigz:6:31 pigz:6:1048577 pigz:0 pigz:6: \
                pigz-x:6 pigz:6:64:1";
    for name in none.split_whitespace() {
        assert_eq!(name.parse::<Encoder>(), Err(UnknownEncoder), "{name}");
    }
}
