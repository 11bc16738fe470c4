//! Streams of real encoders, taken apart and put together again.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod inputs;

use holdall_recipe::deflate::bits::BitWriter;
use holdall_recipe::deflate::encoder::{Encoder, Models};
use holdall_recipe::deflate::inflate::{Block, Inflater};
use holdall_recipe::deflate::segment::{HISTORY, Input, LOOKAHEAD, rebuild, record};
use holdall_recipe::deflate::token::Token;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A deflate stream, read.
pub struct Stream {
    pub plain: Vec<u8>,
    pub tokens: Vec<Token>,
    pub blocks: Vec<Block>,
    /// Whole bytes that the stream takes.
    pub bytes: usize,
}

pub fn read(deflate: &[u8]) -> Stream {
    let mut inflater = Inflater::new(deflate);
    let (mut plain, mut tokens, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let block = inflater.block(&mut plain, &mut tokens).expect("a deflate stream");
        let last = block.last;
        blocks.push(block);
        if last {
            break;
        }
    }
    let bytes = inflater.position().div_ceil(8) as usize;
    Stream {
        plain,
        tokens,
        blocks,
        bytes,
    }
}

/// What it took to say a stream over again.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cost {
    pub segments: usize,
    pub corrections: usize,
}

/// Whole blocks of a stream.
pub struct Segment<'a> {
    pub input: Input<'a>,
    pub tokens: &'a [Token],
    pub blocks: &'a [Block],
}

/// Cuts the stream at the first block's end behind every `target` bytes of plaintext.
pub fn segments(stream: &Stream, target: usize) -> impl Iterator<Item = Segment<'_>> {
    let (mut block, mut token, mut at) = (0, 0, 0);
    std::iter::from_fn(move || {
        let (block_from, token_from, from) = (block, token, at);
        while block < stream.blocks.len() && (at - from < target || stream.blocks[block].plain == 0) {
            at += stream.blocks[block].plain;
            token += stream.blocks[block].tokens;
            block += 1;
        }
        let low = from.saturating_sub(HISTORY);
        let input = Input {
            bytes: &stream.plain[low..stream.plain.len().min(at + LOOKAHEAD)],
            start: from - low,
            end: at - low,
            offset: from as u64,
        };
        (block > block_from).then(|| Segment {
            input,
            tokens: &stream.tokens[token_from..token],
            blocks: &stream.blocks[block_from..block],
        })
    })
}

/// Cuts the stream into segments, records each with `encoder`, rebuilds each by itself, and compares with the stream.
/// The models are used for all segments in turn and must not remember any.
pub fn round_trip(deflate: &[u8], encoder: Encoder, target: usize) -> Cost {
    let stream = read(deflate);
    let mut cost = Cost::default();
    let (mut models, mut others) = (Models::default(), Models::default());
    let (mut carry, mut count) = (0, 0);
    let mut rebuilt = Vec::new();
    for Segment {
        input,
        tokens,
        blocks,
    } in segments(&stream, target)
    {
        let corrections = record(encoder, &mut models, &input, tokens, blocks, usize::MAX)
            .expect("no limit to corrections");
        cost.corrections += corrections.len();
        cost.segments += 1;
        let out = rebuild(
            encoder,
            &mut others,
            &input,
            &corrections,
            BitWriter::carrying(carry, count),
        )
        .expect("corrections just made");
        let bytes;
        (bytes, carry, count) = out.finish();
        rebuilt.extend_from_slice(&bytes);
        let end = rebuilt.len();
        assert!(
            rebuilt[end - bytes.len()..] == deflate[end - bytes.len()..end],
            "the segment from plaintext {} on with {encoder:?}",
            input.offset
        );
    }
    if count > 0 {
        assert_eq!(
            deflate[rebuilt.len()] & ((1 << count) - 1),
            carry,
            "the last bits"
        );
        rebuilt.push(carry);
    }
    assert_eq!(rebuilt.len(), stream.bytes);
    cost
}

/// What `command` prints when it is given `stdin`.
pub fn run(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let mut pipe = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output()
    })
    .unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// The deflate stream of a gzip file's first member: its header is cut off, its trailer may stand behind.
pub fn member(gzip: &[u8]) -> &[u8] {
    assert_eq!(gzip[..3], [0x1f, 0x8b, 8], "a gzip file");
    let flags = gzip[3];
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes([gzip[at], gzip[at + 1]]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += gzip[at..]
                .iter()
                .position(|byte| *byte == 0)
                .expect("a name's end")
                + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    &gzip[at..]
}

/// A tar of real files, about `size` bytes: programs, libraries, texts.
pub fn sample(size: usize) -> Vec<u8> {
    let mut all = run(
        Command::new("sh").arg("-c").arg(format!(
            "tar --sort=name --mtime=@0 -cf - /etc /usr/bin /usr/share/perl* /usr/share/doc 2>/dev/null | head -c {size}"
        )),
        &[],
    );
    // what no encoder can shorten, and what all can
    let mut state = 1u64;
    all.extend((0..300_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    }));
    all.resize(all.len() + 300_000, 0);
    all
}

/// Builds the Go program in `tests/programs/NAME`, once, and gives where it is.
pub fn program(name: &str) -> PathBuf {
    build(name, name, &[], &[]).unwrap_or_else(|err| panic!("Go, which writes most layers, is needed: {err}"))
}

/// Builds the Go program in `tests/programs/NAME` as `out`, with these flags and variables, and gives where it is.
///
/// # Errors
/// What went wrong, where the module or the toolchain it asks for cannot be had.
pub fn build(name: &str, out: &str, flags: &[&str], variables: &[(&str, &str)]) -> Result<PathBuf, String> {
    let Some(folder) = option_env!("CARGO_TARGET_TMPDIR") else {
        panic!("cargo names a folder for tests' files");
    };
    let out = PathBuf::from(folder).join(out);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name);
    let built = Command::new("go")
        .arg("build")
        .args(flags)
        .arg("-o")
        .arg(&out)
        .arg(".")
        .current_dir(&source)
        .envs(variables.iter().copied())
        .output()
        .map_err(|err| err.to_string())?;
    if built.status.success() {
        Ok(out)
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }
}

/// Rebuilds a segment of `gzip` with bytes that are no corrections of it: it ends, in an error or in bytes whose number is
/// bounded.
pub fn rebuild_with_anything(gzip: &[u8], encoder: Encoder, tries: usize) {
    let stream = read(member(gzip));
    let segment = segments(&stream, usize::MAX).next().expect("a segment");
    let mut random = inputs::Random::new(tries as u64);
    let mut models = Models::default();
    for _ in 0..tries {
        let length = random.below(60);
        let mask = if random.below(2) == 0 { 0x8f } else { 0xff };
        let corrections: Vec<u8> = (0..length).map(|_| random.next() as u8 & mask).collect();
        let out = rebuild(
            encoder,
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

/// What Go's standard library makes of `plain` at that level, handed to it in pieces of `piece` bytes, or at once (0).
pub fn go(level: i8, piece: usize, plain: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program("go"));
    run(command.arg(level.to_string()).arg(piece.to_string()), plain)
}

/// The same in members of `member` bytes each.
pub fn go_members(level: i8, member: usize, plain: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program("go"));
    run(
        command.arg(level.to_string()).arg("0").arg(member.to_string()),
        plain,
    )
}
