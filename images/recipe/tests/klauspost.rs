//! What klauspost/compress and pgzip write, predicted: both run beside us, in the versions that are modelled, and so do umoci
//! and skopeo, which write layers with them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod harness;

use harness::{Cost, build, member, read, round_trip, run, sample, segments};
use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models, Version};
use holdall_recipe::deflate::segment::rebuild;
use holdall_recipe::gzip::GzipReader;
use holdall_recipe::table::Matter;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const VERSIONS: [(Version, &str); 3] = [
    (Version::V1_15, "v1.15.mod"),
    (Version::V1_18, "v1.18.mod"),
    (Version::V1_20, "v1.20.mod"),
];
const DEFAULT: u8 = 5;
const MEBIBYTE: u32 = 1 << 20;

/// The program with that version of the library, built once.
fn program(module: &'static str) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<&str, PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap();
    built
        .entry(module)
        .or_insert_with(|| {
            let file = format!("-modfile={module}");
            build("klauspost", &format!("klauspost-{module}"), &[&file], &[]).unwrap()
        })
        .clone()
}

fn klauspost(module: &'static str, level: u8, block: u32, plain: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program(module));
    run(command.arg(level.to_string()).arg(block.to_string()), plain)
}

fn encoder(version: Version, level: u8, block: u32) -> Encoder {
    match block {
        0 => Encoder::Klauspost { version, level },
        _ => Encoder::Pgzip {
            version,
            level,
            block,
        },
    }
}

/// What the empty blocks take: one behind each of pgzip's blocks, and the last.
fn empties(plain: usize, block: u32) -> usize {
    8 + 6 * plain.checked_div(block as usize).map_or(0, |blocks| blocks + 1)
}

#[test]
fn every_level_is_predicted_whole_and_in_segments() {
    let plain = sample(2 << 20);
    for (version, module) in VERSIONS {
        for level in 1..=9 {
            let gzip = klauspost(module, level, 0, &plain);
            let encoder = encoder(version, level, 0);
            let whole = round_trip(member(&gzip), encoder, usize::MAX);
            assert!(whole.corrections <= empties(0, 0), "{encoder}: {whole:?}");
            let cut = round_trip(member(&gzip), encoder, 1 << 20);
            assert!(cut.segments > 2, "{encoder}: {cut:?}");
            // What was entered before a cut, and at level 9 what comes behind it, is not known to the last bit.
            let most = gzip.len() / if level == 9 { 250 } else { 800 };
            assert!(cut.corrections <= most, "{encoder}: {cut:?} of {}", gzip.len());
        }
    }
}

#[test]
fn every_level_of_pgzip_is_predicted_whole_and_in_segments() {
    let plain = sample(2 << 20);
    for (version, module) in VERSIONS {
        for level in 1..=9 {
            for block in [MEBIBYTE, 256 << 10, 100_000] {
                // The default by all blocks, the others by one within a segment.
                if level != DEFAULT && block != 100_000 && (level != 7 || block == MEBIBYTE) {
                    continue;
                }
                let gzip = klauspost(module, level, block, &plain);
                let encoder = encoder(version, level, block);
                let most = empties(plain.len(), block);
                let whole = round_trip(member(&gzip), encoder, usize::MAX);
                assert!(whole.corrections <= most, "{encoder}: {whole:?}");
                let cut = round_trip(member(&gzip), encoder, 1 << 20);
                // A cut between blocks is known to the last bit.
                let inexact = block == 100_000 || level == 9;
                let most = most + if inexact { gzip.len() / 250 } else { 0 };
                assert!(cut.corrections <= most, "{encoder}: {cut:?} of {}", gzip.len());
            }
        }
    }
}

#[test]
fn what_lies_between_two_versions_is_predicted_as_one_of_them() {
    let plain = sample(1 << 20);
    for level in 1..=9 {
        let version = if level < 7 { Version::V1_15 } else { Version::V1_17 };
        for block in [0, 100_000] {
            let gzip = klauspost("v1.17.mod", level, block, &plain);
            let encoder = encoder(version, level, block);
            let whole = round_trip(member(&gzip), encoder, usize::MAX);
            assert!(
                whole.corrections <= empties(plain.len(), block),
                "{encoder}: {whole:?}"
            );
        }
    }
}

#[test]
fn go_1_27_is_predicted_whole_and_in_segments() {
    let built = build("go", "go1.27", &[], &[("GOTOOLCHAIN", "go1.27.0")]);
    let program = match built {
        Ok(program) => program,
        Err(err) => return eprintln!("skipped: Go 1.27 cannot be had: {err}"),
    };
    let plain = sample(2 << 20);
    let go = |level: i8, plain: &[u8]| {
        let mut command = Command::new(&program);
        run(command.arg(level.to_string()).arg("0"), plain)
    };
    let encoder = |level| encoder(Version::Go1_27, level, 0);
    assert!(go(-1, &plain) == go(6, &plain), "the default level");
    for level in 1..=9 {
        let gzip = go(level as i8, &plain);
        let whole = round_trip(member(&gzip), encoder(level), usize::MAX);
        assert!(whole.corrections <= empties(0, 0), "{level}: {whole:?}");
        let cut = round_trip(member(&gzip), encoder(level), 1 << 20);
        let most = gzip.len() / if level == 9 { 250 } else { 800 };
        assert!(cut.corrections <= most, "{level}: {cut:?} of {}", gzip.len());
    }
    for seed in 100..109 {
        let plain = synthesised(seed, 20_000 << (seed % 4));
        for level in [1 + (seed % 9) as u8, 6] {
            let cost = round_trip(member(&go(level as i8, &plain)), encoder(level), usize::MAX);
            assert!(
                cost.corrections <= empties(0, 0),
                "{level}, seed {seed}: {cost:?}"
            );
        }
    }
}

#[test]
fn sizes_around_a_chunk_s_and_a_block_s_are_predicted() {
    let plain = sample(2 << 20);
    let around = |size: usize| (size - 1..=size + 1).chain([size + 13, size + 33, size + 130]);
    for (version, module) in VERSIONS {
        for block in [0, 256 << 10] {
            let sizes = (0..18)
                .chain([31, 32, 33, 100, 127, 128, 129, 4_000])
                .chain(around(32 << 10))
                .chain(around(65_535))
                .chain(around(2 * 65_535))
                .chain(around(256 << 10));
            for (n, size) in sizes.enumerate() {
                let level = if n % 2 == 0 { DEFAULT } else { 1 + (n % 9) as u8 };
                let gzip = klauspost(module, level, block, &plain[plain.len() - 600_000..][..size]);
                let encoder = encoder(version, level, block);
                let cost = round_trip(member(&gzip), encoder, usize::MAX);
                assert!(
                    cost.corrections <= empties(size, block),
                    "{encoder}, {size} bytes: {cost:?}"
                );
            }
        }
    }
}

/// Runs, noise, words, records and repeats, mixed.
fn synthesised(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below.max(1)
    };
    let mut plain: Vec<u8> = Vec::new();
    while plain.len() < size {
        let length = 1 << random(16);
        match random(6) {
            0 => {
                let byte = random(256) as u8;
                plain.resize(plain.len() + length, byte);
            }
            1 => plain.extend((0..length).map(|_| random(256) as u8)),
            2 => plain.extend((0..length).map(|_| b"etaoin shrdlu"[random(13)])),
            3 => {
                for n in 0..length / 8 {
                    plain.extend_from_slice(&[n as u8, 0, 0, random(4) as u8, 1, 0, 0xff, 0]);
                }
            }
            4 if !plain.is_empty() => {
                let from = plain.len() - 1 - random(plain.len().min(70_000));
                for at in from..from + length {
                    plain.push(plain[at]);
                }
            }
            _ if !plain.is_empty() => {
                // a copy that differs here and there
                let from = plain.len() - 1 - random(plain.len().min(40_000));
                for at in from..from + length {
                    let byte = if random(20) == 0 {
                        random(256) as u8
                    } else {
                        plain[at]
                    };
                    plain.push(byte);
                }
            }
            _ => {}
        }
    }
    plain.truncate(size);
    plain
}

#[test]
fn synthesised_inputs_are_predicted() {
    for seed in 0..27 {
        let plain = synthesised(seed, 150_000 + 40_000 * (seed as usize % 7));
        let (version, module) = VERSIONS[seed as usize / 9 % 3];
        let level = 1 + (seed % 9) as u8;
        for block in [0, 100_000] {
            let gzip = klauspost(module, level, block, &plain);
            let encoder = encoder(version, level, block);
            let cost = round_trip(member(&gzip), encoder, usize::MAX);
            assert!(
                cost.corrections <= empties(plain.len(), block),
                "{encoder}, seed {seed}: {cost:?}"
            );
        }
    }
}

#[test]
fn layers_are_taken_for_those_of_the_encoder_that_wrote_them() {
    let plain = sample(3 << 20);
    for (module, block) in [
        ("v1.15.mod", MEBIBYTE),
        ("v1.18.mod", 256 << 10),
        ("v1.20.mod", 0),
    ] {
        let gzip = klauspost(module, DEFAULT, block, &plain);
        let mut reader = GzipReader::open(gzip.as_slice()).unwrap();
        let mut buf = vec![0; 1 << 16];
        let mut parts = Vec::new();
        while reader.plain(&mut buf).unwrap() > 0 {
            parts.append(&mut reader.take_parts());
        }
        parts.append(&mut reader.finish());
        let (mut kept, mut corrections) = (0, 0);
        for part in &parts {
            match &part.matter {
                Matter::Kept(bytes) => kept += bytes.len(),
                Matter::Made(encoder, bytes) => {
                    assert!(
                        matches!(encoder, Encoder::Pgzip { .. } | Encoder::Klauspost { .. }),
                        "{module}, {block}: {encoder}"
                    );
                    corrections += bytes.len();
                }
            }
        }
        // The header and the trailer of the member are kept.
        assert!(kept < 100, "{module}, {block}: {kept} bytes are kept");
        assert!(
            corrections <= gzip.len() / 1_000,
            "{module}, {block}: {corrections} bytes of {}",
            gzip.len()
        );
    }
}

#[test]
fn streams_of_another_encoder_are_rebuilt_too() {
    let gzip = run(Command::new("gzip").arg("-6"), &sample(1 << 20));
    for level in 1..=9 {
        for block in [0, 100_000] {
            let cost = round_trip(member(&gzip), encoder(Version::V1_18, level, block), 1 << 18);
            assert!(cost.corrections > 0, "{cost:?}");
        }
    }
}

#[test]
fn any_bytes_as_corrections_end_in_an_error_or_in_other_bytes() {
    let mut plain = synthesised(7, 200_000);
    plain.resize(400_000, 0);
    let gzip = klauspost("v1.18.mod", DEFAULT, 0, &plain);
    let stream = read(member(&gzip));
    let segment = segments(&stream, usize::MAX).next().unwrap();
    let mut state = 9u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as u8
    };
    let mut models = Models::default();
    for (level, block) in (1..=9).flat_map(|level| [(level, 0), (level, 20_000)]) {
        for round in 0..30 {
            let corrections: Vec<u8> = match round {
                // Every token another, every token a copy, every token the last of its block.
                0 => vec![0; 400_000],
                1 => [0, 0x80, 0x80, 0x04].repeat(150_000),
                2 => std::iter::once(1)
                    .chain(std::iter::repeat_n(9, 400_000))
                    .collect(),
                _ => (0..random() % 40).map(|_| random() & 0x8f).collect(),
            };
            let began = Instant::now();
            let out = rebuild(
                encoder(Version::V1_18, level, block),
                &mut models,
                &segment.input,
                &corrections,
                BitWriter::default(),
            );
            if let Ok(out) = out {
                assert!(out.len() / 8 <= stream.plain.len() as u64 * 8 + 100_000);
            }
            let took = began.elapsed();
            assert!(
                took < Duration::from_secs(10),
                "level {level}, round {round}: {took:?}"
            );
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in [
        "klauspost1.15:5",
        "klauspost1.17:7",
        "klauspost1.18:6",
        "pgzip1.15:5:262144",
        "pgzip1.20:5:1048576",
        "go1.27:6",
    ] {
        assert_eq!(name.parse::<Encoder>().unwrap().to_string(), name);
    }
    for name in [
        "klauspost1.15",
        "klauspost1.16:5",
        "klauspost1.17:6",
        "klauspost1.15:0",
        "klauspost1.15:+5",
        "pgzip1.15:5:0262144",
        "klauspost1.15:10",
        "klauspost1.15:5:1048576",
        "pgzip1.18:5",
        "pgzip1.18:5:16384",
        "pgzip1.18:5:99999999",
        "pgzip:5:1048576",
        "go1.27:",
    ] {
        assert!(name.parse::<Encoder>().is_err(), "{name}");
    }
}

/// Whether the program can be had; if not, says so.
fn have(program: &str) -> bool {
    let have = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !have {
        eprintln!("skipped: {program} is not installed");
    }
    have
}

fn call(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The largest file below `folder`.
fn largest(folder: &Path) -> Vec<u8> {
    fn files(folder: &Path, all: &mut Vec<(u64, PathBuf)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                files(&entry.path(), all);
            } else {
                all.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    let mut all = Vec::new();
    files(folder, &mut all);
    std::fs::read(&all.iter().max().unwrap().1).unwrap()
}

/// The cost with the version that fits best.
fn best(gzip: &[u8], block: u32) -> Cost {
    VERSIONS
        .iter()
        .map(|(version, _)| round_trip(member(gzip), encoder(*version, DEFAULT, block), 1 << 20))
        .min_by_key(|cost| cost.corrections)
        .unwrap()
}

#[test]
fn layers_by_umoci_and_by_skopeo_are_predicted() {
    if !have("umoci") || !have("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("tree")).unwrap();
    std::fs::write(path("tree/file"), sample(4 << 20)).unwrap();
    let image = format!("{}:x", path("layout").display());
    call(
        Command::new("umoci")
            .arg("init")
            .arg("--layout")
            .arg(path("layout")),
    );
    call(Command::new("umoci").args(["new", "--image", &image]));
    call(
        Command::new("umoci")
            .args(["insert", "--image", &image])
            .arg(path("tree"))
            .arg("/data"),
    );
    let copy = |how: &str, from: &str, to: &str| {
        call(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--insecure-policy", how])
                .arg(from)
                .arg(to),
        );
    };
    let folders = ["plain", "compressed"].map(|name| format!("dir:{}", path(name).display()));
    copy("--dest-decompress", &format!("oci:{image}"), &folders[0]);
    copy("--dest-compress", &folders[0], &folders[1]);
    for (layer, block) in [("layout/blobs", 256 << 10), ("compressed", MEBIBYTE)] {
        let gzip = largest(&path(layer));
        let cost = best(&gzip, block);
        let most = empties(6 << 20, block);
        assert!(cost.corrections <= most, "{layer}: {cost:?} of {}", gzip.len());
    }
}
