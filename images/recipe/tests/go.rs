//! What Go's standard library writes, predicted: the library itself runs beside us.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::{go, member, read, round_trip, sample, segments};
use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::inflate::Inflater;
use holdall_recipe::deflate::segment::{Input, rebuild};

/// What the last block, which Go leaves empty, takes.
const LAST: usize = 8;

#[test]
fn every_level_is_predicted_whole_and_in_segments() {
    let plain = sample(4 << 20);
    for level in [-2, 0].into_iter().chain(1..=9) {
        let gzip = go(level, 0, &plain);
        let encoder = Encoder::Go { level };
        let whole = round_trip(member(&gzip), encoder, usize::MAX);
        assert!(whole.corrections <= LAST, "go:{level}: {whole:?}");
        let cut = round_trip(member(&gzip), encoder, 1 << 18);
        assert!(cut.segments > 10, "go:{level}: {cut:?}");
        // Levels 1 to 3 do not enter every position, and what they did cannot be told from the plaintext alone.
        let most = if (1..4).contains(&level) {
            gzip.len() / 100
        } else {
            LAST
        };
        assert!(cut.corrections <= most, "go:{level}: {cut:?} of {}", gzip.len());
    }
}

#[test]
fn small_files_and_those_around_a_window_s_length_are_predicted() {
    let plain = sample(300_000);
    let window = 32 << 10;
    let sizes = (0..12).chain([
        16,
        17,
        127,
        128,
        129,
        261,
        262,
        263,
        4_000,
        window - 1,
        window,
        window + 1,
        65_535,
        65_536,
        65_537,
        98_304,
    ]);
    for size in sizes {
        for level in [-2, 0, 1, 6] {
            let gzip = go(level, 0, &plain[plain.len() - size..]);
            let cost = round_trip(member(&gzip), Encoder::Go { level }, usize::MAX);
            assert!(cost.corrections <= LAST, "{size} bytes at {level}: {cost:?}");
        }
    }
}

#[test]
fn how_the_input_is_handed_to_the_encoder_costs_little() {
    let plain = sample(4 << 20);
    for piece in [512, 1_000, 32 << 10, 70_000] {
        let gzip = go(6, piece, &plain);
        let cost = round_trip(member(&gzip), Encoder::Go { level: 6 }, 1 << 20);
        assert!(
            cost.corrections <= gzip.len() / 1_000,
            "pieces of {piece}: {cost:?} of {}",
            gzip.len()
        );
    }
}

#[test]
fn any_bytes_as_corrections_end_in_an_error_or_in_other_bytes() {
    let gzip = go(6, 0, &sample(200_000));
    let stream = read(member(&gzip));
    let segment = segments(&stream, usize::MAX).next().unwrap();
    let mut state = 9u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as u8
    };
    let mut models = Models::default();
    for level in [-2, 0, 1, 2, 4, 6] {
        for _ in 0..60 {
            let length = usize::from(random() % 40);
            let corrections: Vec<u8> = (0..length).map(|_| random() & 0x8f).collect();
            let out = rebuild(
                Encoder::Go { level },
                &mut models,
                &segment.input,
                &corrections,
                BitWriter::default(),
            );
            if let Ok(out) = out {
                assert!(out.len() / 8 <= stream.plain.len() as u64 * 4 + 100_000);
            }
        }
    }
}

#[test]
fn a_segment_of_more_blocks_than_any_encoder_writes_is_an_error() {
    let plain = vec![b'x'; 200_000];
    let input = Input {
        bytes: &plain,
        start: 0,
        end: plain.len(),
        offset: 0,
    };
    let mut models = Models::default();
    // Behind every token, a literal, the block ends; and blocks of nothing, one behind the other.
    let ends: Vec<u8> = [0, 0, 9, 0, 0]
        .into_iter()
        .chain([9, 0, 0].repeat(100_000))
        .collect();
    for corrections in [ends, [5, 0, 1].repeat(100_000)] {
        let written = rebuild(
            Encoder::Go { level: 6 },
            &mut models,
            &input,
            &corrections,
            BitWriter::default(),
        );
        let damage = written.map(|out| out.len()).unwrap_err();
        assert_eq!(damage.what, "more blocks than a segment has");
    }
}

#[test]
fn plaintext_that_is_made_to_be_searched_for_long_is_given_up() {
    let mut state = 1u64;
    let letters: Vec<u8> = (0..900_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + (state >> 63) as u8
        })
        .collect();
    let input = Input {
        bytes: &letters,
        start: 0,
        end: letters.len(),
        offset: 0,
    };
    // The first tokens are corrected to literals, so that each byte is searched, and takes 2,048 tries.
    let mut corrections = vec![0, 0];
    corrections.extend([8, 0].repeat(650_000));
    let mut models = Models::default();
    let mut copies = |corrections: &[u8]| {
        let encoder = Encoder::Go { level: 9 };
        let out = rebuild(encoder, &mut models, &input, corrections, BitWriter::default()).unwrap();
        let (bytes, held, _) = out.finish();
        let deflate = [bytes.as_slice(), &[held]].concat();
        let mut inflater = Inflater::new(deflate.as_slice());
        let (mut plain, mut tokens) = (Vec::new(), Vec::new());
        while plain.len() < letters.len() {
            inflater.block(&mut plain, &mut tokens).unwrap();
        }
        assert!(plain == letters);
        tokens.iter().filter(|token| !token.is_literal()).count()
    };
    assert_eq!(copies(&corrections), 0);
    assert!(copies(&[]) > 10_000);
}
