//! Golden vectors: each object of FORMAT.md as known values and known bytes, and what must be refused.
//!
//! `tests/vectors/NAME.hex` is an object's bytes; `NAME.refused.hex` breaks the rule that it is named
//! after. Version 1 is frozen: those that `tests/vectors/FROZEN` lists are never edited, and `HOLDALL_BLESS=1` writes what is
//! not there yet.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use holdall::format::catalogue::{self, Child, InteriorPage, Kind, Leaf, LeafPage};
use holdall::format::codec::{Decoder, Encoder};
use holdall::format::content::{Content, ListRef, Place, RecipeRef, TreeRef};
use holdall::format::custody::{Event, Record};
use holdall::format::features::{FeatureSet, Features};
use holdall::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use holdall::format::links;
use holdall::format::list::{ListEntry, ListPage};
use holdall::format::pack::{self, ChunkRecord, FrameRecord, SetRecord};
use holdall::format::proof::Proof;
use holdall::format::root::{Root, State};
use holdall::format::superblock::{self, SLOT_LEN, Slot, SlotState};
use holdall::format::tree::{Marks, Metadata, Node, SpecialKind, TreeChild, TreeEntry, TreePage};
use holdall::ids::{BlobId, ChunkId, FrameHash, MediumId, PageHash, Sha256};
use holdall::merkle;
use holdall::name::{EntryName, SignerName};
use holdall::pack::decode_frame;
use holdall::units::{Generation, PackNumber, PackOffset};
use holdall::{Error, Result};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

const HERE: &str = "a vector";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(format!("{name}.hex"))
}

/// The vector's bytes, which must be `made`; written anew where that is asked for.
fn golden(name: &str, made: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("HOLDALL_BLESS").is_some() && !path.exists() {
        let mut text = String::new();
        for (n, byte) in made.iter().enumerate() {
            let end = if n % 32 == 31 || n + 1 == made.len() {
                "\n"
            } else {
                ""
            };
            write!(text, "{byte:02x}{end}").unwrap();
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a fixture of this repository, not a medium's file"
        )]
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let bytes = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
    assert!(bytes == made, "{name}: what is encoded is not the vector");
    bytes
}

/// How a defect is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Mismatch,
    Malformed,
    Unsupported,
}

/// The defect's vector must be refused like that.
fn refused<T: std::fmt::Debug>(
    name: &str,
    bytes: &[u8],
    how: Refusal,
    read: impl FnOnce(&[u8]) -> Result<T>,
) {
    let bytes = golden(&format!("{name}.refused"), bytes);
    let found = match read(&bytes) {
        Err(Error::Mismatch { .. }) => Refusal::Mismatch,
        Err(Error::Malformed { .. }) => Refusal::Malformed,
        Err(Error::Unsupported { .. }) => Refusal::Unsupported,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(found, how, "{name}");
}

fn with(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    bytes
}

/// Changes an object that ends in a check of that length, and makes the check right again.
fn checked(bytes: &[u8], check: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = with(&bytes[..bytes.len() - check], change);
    let hash = blake3::hash(&body);
    body.extend_from_slice(&hash.as_bytes()[..check]);
    body
}

fn medium() -> MediumId {
    MediumId::from_bytes(*b"\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
}

const fn place(n: u32) -> Place {
    Place {
        pack: PackNumber::new(1),
        frame: PackOffset::new(64 + n),
        frame_bytes: 1_000 + n,
        start: 16 * n,
    }
}

fn page_hash(text: &str) -> PageHash {
    PageHash::of(text.as_bytes())
}

#[test]
fn slots() {
    let slot = Slot {
        medium: medium(),
        generation: Generation::new(7),
        root: page_hash("ROOT"),
    };
    let bytes = golden("slot", &slot.encode());
    assert_eq!(
        superblock::decode(&bytes, HERE).unwrap(),
        SlotState::Written(slot)
    );
    assert_eq!(
        superblock::decode(&[0; SLOT_LEN], HERE).unwrap(),
        SlotState::Blank
    );
    let read = |bytes: &[u8]| superblock::decode(bytes, HERE);
    refused(
        "slot-check-wrong",
        &with(&bytes, |b| b[40] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused("slot-cut-short", &bytes[..4_000], Refusal::Malformed, read);
    refused(
        "slot-magic-wrong",
        &checked(&bytes, 32, |b| b[0] = b'h'),
        Refusal::Malformed,
        read,
    );
    refused(
        "slot-of-newer-format",
        &checked(&bytes, 32, |b| b[14] = b'9'),
        Refusal::Unsupported,
        read,
    );
    refused(
        "slot-padding-not-zero",
        &checked(&bytes, 32, |b| b[2_000] = 1),
        Refusal::Malformed,
        read,
    );
}

fn root() -> Root {
    Root {
        features: Features::default(),
        medium: medium(),
        origin: "The place it comes from".to_owned(),
        series: "küche".to_owned(),
        epoch: 1,
        serial: 42,
        generation: Generation::new(7),
        state: State::Open,
        previous: Some(page_hash("before")),
        time: 1_760_000_000,
        expires: None,
        catalogue_leaves: 300,
        catalogue_bytes: 123_456,
        catalogue_root: Sha256::of(b"catalogue"),
        packs: 2,
        packs_root: Sha256::of(b"packs"),
        custody: None,
        chunking: [16_384, 65_536, 262_144],
        limits: [1_048_576, 65_536, 1_073_741_824, 2_048],
    }
}

#[test]
fn roots() {
    let bytes = golden("root", root().encode().as_bytes());
    assert_eq!(Root::decode(&bytes, HERE).unwrap(), root());
    assert_eq!(root().hash(), PageHash::of(&bytes));
    let sealed = Root {
        state: State::Sealed,
        previous: None,
        custody: Some(page_hash("custody")),
        time: -1,
        expires: Some(1_790_000_000),
        ..root()
    };
    let text = golden("root-sealed", sealed.encode().as_bytes());
    assert_eq!(Root::decode(&text, HERE).unwrap(), sealed);
    let set = |names: &[&str]| FeatureSet::new(names).unwrap();
    let later = Root {
        features: Features {
            incompatible: FeatureSet::default(),
            read_only_compatible: set(&["parity"]),
            compatible: set(&["a", "b-2"]),
        },
        ..root()
    };
    let text = golden("root-with-features", later.encode().as_bytes());
    assert_eq!(Root::decode(&text, HERE).unwrap(), later);
    let named = |result: Result<()>| matches!(result, Err(Error::Unsupported { what, .. }) if what.contains("parity"));
    assert!(named(later.features.check_writable(HERE)));
    assert!(root().features.check_writable(HERE).is_ok());
    let text = String::from_utf8(bytes).unwrap();
    let read = |bytes: &[u8]| Root::decode(bytes, HERE);
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    refused(
        "root-of-newer-format",
        &changed("v1", "v2"),
        Refusal::Unsupported,
        read,
    );
    // What follows an incompatible feature is not looked at: it may be anything.
    refused(
        "root-incompatible-feature",
        b"holdall v1\nincompatible encrypted\nkey 00\n",
        Refusal::Unsupported,
        read,
    );
    for (name, from, to) in [
        ("root-features-out-of-order", "\ncompatible -", "\ncompatible b a"),
        ("root-feature-twice", "\ncompatible -", "\ncompatible a a"),
        (
            "root-feature-in-capitals",
            "read-only-compatible -",
            "read-only-compatible A",
        ),
        (
            "root-feature-without-name",
            "read-only-compatible -",
            "read-only-compatible ",
        ),
        (
            "root-features-too-many",
            "incompatible -",
            "incompatible a b c d e f g h i j k l m n o p q",
        ),
        ("root-without-features", "\ncompatible -", ""),
    ] {
        refused(name, &changed(from, to), Refusal::Malformed, read);
    }
    refused(
        "root-not-canonical",
        &changed("serial 42", "serial 042"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-with-plus-sign",
        &changed("epoch 1", "epoch +1"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-line-missing",
        &changed("epoch 1\n", ""),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-line-too-many",
        &[text.as_bytes(), b"more 1\n"].concat(),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-last-line-not-ended",
        &text.as_bytes()[..text.len() - 1],
        Refusal::Malformed,
        read,
    );
    refused(
        "root-crlf",
        text.replace('\n', "\r\n").as_bytes(),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-byte-order-mark",
        &["\u{feff}".as_bytes(), text.as_bytes()].concat(),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-line-twice",
        &changed("series", "origin x\nseries"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-expires-with-plus-sign",
        &changed("expires -", "expires +5"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-hex-in-capitals",
        &changed("ddeeff", "DDEEFF"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-state-unknown",
        &changed("state open", "state ajar"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-number-too-large",
        &changed("generation 7", "generation 4294967296"),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-origin-with-outer-space",
        &changed("origin The", "origin  The"),
        Refusal::Malformed,
        read,
    );
    for (name, from, to) in [
        ("root-epoch-zero", "epoch 1", "epoch 0"),
        ("root-serial-zero", "serial 42", "serial 0"),
        ("root-generation-zero", "generation 7", "generation 0"),
        ("root-packs-too-many", "packs 2", "packs 1048577"),
        (
            "root-origin-begins-with-no-break-space",
            "origin The",
            "origin \u{a0}The",
        ),
        (
            "root-origin-with-turned-direction",
            "origin The",
            "origin \u{202e}The",
        ),
        ("root-origin-with-no-width", "origin The", "origin T\u{200b}he"),
        (
            "root-origin-with-line-separator",
            "origin The",
            "origin T\u{2028}he",
        ),
        ("root-origin-with-tag", "origin The", "origin T\u{e0041}he"),
    ] {
        refused(name, &changed(from, to), Refusal::Malformed, read);
    }
    refused(
        "root-chunking-unknown",
        &changed("fastcdc-2020", "rabin"),
        Refusal::Unsupported,
        read,
    );
    refused(
        "root-limits-of-another-format",
        &changed("limits 1048576", "limits 2097152"),
        Refusal::Unsupported,
        read,
    );
    refused(
        "root-not-utf8",
        &with(text.as_bytes(), |b| b[70] = 0xff),
        Refusal::Malformed,
        read,
    );
    refused(
        "root-too-long",
        &with(text.as_bytes(), |b| b.resize(4_097, b'x')),
        Refusal::Malformed,
        read,
    );
}

fn record() -> Record {
    Record {
        number: 4,
        previous: Some(page_hash("the record before")),
        event: Event::Signed,
        time: 1_760_000_100,
        who: "alice, by sudo of bob".to_owned(),
        host: "werk 7".to_owned(),
        medium: medium(),
        generation: Generation::new(7),
        serial: 42,
        root: Some(root().hash()),
        note: "SHA256:QAtqtvvCePelMMUNPP7madH2zNa1ATxX1nt9L/0C5+M readback".to_owned(),
    }
}

#[test]
fn custody_records() {
    let bytes = golden("custody", record().encode().as_bytes());
    assert_eq!(Record::decode(&bytes, HERE).unwrap(), record());
    assert_eq!(record().hash(), PageHash::of(&bytes));
    let first = Record {
        number: 1,
        previous: None,
        event: Event::Created,
        root: None,
        note: "-".to_owned(),
        ..record()
    };
    let text = golden("custody-first", first.encode().as_bytes());
    assert_eq!(Record::decode(&text, HERE).unwrap(), first);
    let text = String::from_utf8(bytes).unwrap();
    let read = |bytes: &[u8]| Record::decode(bytes, HERE);
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    refused(
        "custody-of-newer-format",
        changed("v1", "v2").as_bytes(),
        Refusal::Unsupported,
        read,
    );
    for (name, text) in [
        ("custody-cut-short", text[..text.len() - 1].to_owned()),
        ("custody-line-missing", changed("host werk 7\n", "")),
        ("custody-line-too-many", format!("{text}more 1\n")),
        ("custody-event-unknown", changed("event signed", "event lost")),
        ("custody-number-padded", changed("number 4", "number 04")),
        ("custody-number-zero", changed("number 4", "number 0")),
        ("custody-generation-zero", changed("generation 7", "generation 0")),
        ("custody-serial-zero", changed("serial 42", "serial 0")),
        (
            "custody-who-with-turned-direction",
            changed("who alice", "who \u{202e}alice"),
        ),
        ("custody-crlf", text.replace('\n', "\r\n")),
        ("custody-too-long", text.clone() + &"x".repeat(2_048)),
    ] {
        refused(name, text.as_bytes(), Refusal::Malformed, read);
    }
}

#[test]
fn proofs() {
    let page = leaves();
    let hashes: Vec<Sha256> = page
        .leaves
        .iter()
        .map(|l| merkle::leaf_hash(&l.canonical()))
        .collect();
    let of = Root {
        catalogue_leaves: hashes.len() as u64,
        catalogue_root: merkle::root(&hashes),
        state: State::Sealed,
        ..root()
    };
    let armored = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_owned();
    let signers = [("alice", &armored), ("bob", &armored)];
    let signatures: Vec<_> = signers
        .iter()
        .map(|(name, text)| (SignerName::parse(name).unwrap(), (*text).clone()))
        .collect();
    let canonical = page.leaves[1].canonical();
    let path = merkle::path(&hashes, 1);
    let made = |index, path: &[Sha256]| {
        Proof::new(
            index,
            canonical.clone(),
            path.to_vec(),
            of.clone(),
            signatures.clone(),
            HERE,
        )
    };
    let proof = made(1, &path).unwrap();
    let bytes = golden("proof", proof.encode().as_bytes());
    assert_eq!(Proof::decode(&bytes, HERE).unwrap(), proof);
    assert_eq!(proof.leaf().name, page.leaves[1].name);
    // What no proof can be made of is not read either: these are texts that somebody else wrote.
    assert!(matches!(made(1, &path[1..]), Err(Error::Malformed { .. })));
    assert!(matches!(made(0, &path), Err(Error::Mismatch { .. })));
    assert!(matches!(
        made(hashes.len() as u64, &path),
        Err(Error::Malformed { .. })
    ));
    let text = String::from_utf8(bytes).unwrap();
    let read = |bytes: &[u8]| Proof::decode(bytes, HERE);
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let lines: Vec<&str> = text.lines().collect();
    refused(
        "proof-of-newer-format",
        changed("v1", "v2").as_bytes(),
        Refusal::Unsupported,
        read,
    );
    for (name, text) in [
        ("proof-of-another-index", changed("index 1\n", "index 0\n")),
        ("proof-siblings-swapped", {
            let mut lines = lines.clone();
            lines.swap(4, 5);
            lines.join("\n") + "\n"
        }),
        (
            "proof-of-another-root",
            changed(&of.catalogue_root.to_hex(), &"0".repeat(64)),
        ),
    ] {
        refused(name, text.as_bytes(), Refusal::Mismatch, read);
    }
    for (name, text) in [
        ("proof-index-too-high", changed("index 1\n", "index 99\n")),
        ("proof-index-padded", changed("index 1\n", "index 01\n")),
        ("proof-path-too-short", {
            let mut lines = lines.clone();
            lines.remove(4);
            lines.join("\n").replacen("path 4", "path 3", 1) + "\n"
        }),
        ("proof-path-count-wrong", changed("path 4", "path 5")),
        ("proof-path-without-end", changed("path 4", "path 4000000000")),
        ("proof-leaf-not-base64", changed("leaf ", "leaf *")),
        ("proof-signers-out-of-order", {
            text.replacen("signature bob", "signature aaa", 1)
        }),
        ("proof-signature-cut-short", text[..text.len() - 10].to_owned()),
        ("proof-bytes-behind", format!("{text}\n")),
        ("proof-crlf", text.replace('\n', "\r\n")),
        ("proof-root-not-canonical", changed("serial 42", "serial 042")),
    ] {
        refused(name, text.as_bytes(), Refusal::Malformed, read);
    }
}

const TEXT: &[u8] = b"plain bytes of the first chunk|and of the second one";
const FIRST: usize = 31;
/// A raw frame that a delta stands on.
const BASE: &[u8] = b"plain bytes of the first chunk|and of";

fn frame(codec: Codec, stored: &[u8]) -> FrameHeader {
    let chunk = |bytes: &[u8]| FrameChunk {
        id: ChunkId::of(bytes),
        len: u32::try_from(bytes.len()).unwrap(),
    };
    FrameHeader {
        codec,
        kind: FrameKind::Plaintext,
        plain_bytes: u32::try_from(TEXT.len()).unwrap(),
        stored_bytes: u32::try_from(stored.len()).unwrap(),
        stored_hash: FrameHash::of(stored),
        base: (codec == Codec::ZstdDelta).then(|| Base {
            hash: FrameHash::of(BASE),
            pack: PackNumber::new(7),
            frame: PackOffset::new(64),
            frame_bytes: 150,
        }),
        chunks: vec![chunk(&TEXT[..FIRST]), chunk(&TEXT[FIRST..])],
    }
}

/// `TEXT` as one zstd frame with a single raw block: the same whatever the compressor's version.
fn zstd_of(text: &[u8], says: u8) -> Vec<u8> {
    let block = (u32::try_from(text.len()).unwrap() << 3) | 1;
    [
        &[0x28, 0xb5, 0x2f, 0xfd, 0x20, says][..],
        &block.to_le_bytes()[..3],
        text,
    ]
    .concat()
}

/// A zstd frame that takes all of [`BASE`] out of its prefix and has the rest of [`TEXT`] as it is, as libzstd 1.5.7 wrote it once:
/// what another version writes is not asked.
const DELTA: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x34, 0x9d, 0x00, 0x00, 0x50, 0x73, 0x65, 0x63, 0x6f, 0x6e, 0x64, 0x20,
    0x6f, 0x6e, 0x65, 0x02, 0x00, 0x5f, 0x09, 0x00, 0x3d, 0x0a, 0x08,
];

/// The delta with its header changed, and the header's check made right again.
fn checked_delta(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let head = checked(&frame(Codec::ZstdDelta, DELTA).encode(), 16, change);
    [&head, DELTA].concat()
}

fn whole(header: &FrameHeader, stored: &[u8]) -> Vec<u8> {
    [&header.encode(), stored].concat()
}

/// The frame of [`BASE`].
fn base() -> FrameHeader {
    FrameHeader {
        plain_bytes: u32::try_from(BASE.len()).unwrap(),
        chunks: vec![FrameChunk {
            id: ChunkId::of(BASE),
            len: u32::try_from(BASE.len()).unwrap(),
        }],
        ..frame(Codec::Raw, BASE)
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
    decode_on(bytes, &base(), BASE)
}

/// Decodes a frame; where it is a delta the frame of that header and stored bytes stands where its base should be.
fn decode_on(bytes: &[u8], header: &FrameHeader, stored: &[u8]) -> Result<Vec<u8>> {
    let none = |_: &Base| panic!("a base of a base is asked for");
    let found = whole(header, stored);
    let base = |_: &Base| decode_frame(&found, none, || HERE.to_owned()).map(Arc::new);
    let frame = decode_frame(bytes, base, || HERE.to_owned())?;
    Ok(frame.chunks().flat_map(|(_, _, chunk)| chunk.to_vec()).collect())
}

#[test]
fn frames() {
    let packed = zstd_of(TEXT, u8::try_from(TEXT.len()).unwrap());
    for (name, codec, stored) in [
        ("frame-raw", Codec::Raw, TEXT),
        ("frame-zstd", Codec::Zstd, &packed),
    ] {
        let header = frame(codec, stored);
        let bytes = golden(name, &whole(&header, stored));
        assert_eq!(FrameHeader::decode(&bytes, HERE).unwrap(), header);
        assert_eq!(decode(&bytes).unwrap(), TEXT);
    }
    let delta = frame(Codec::ZstdDelta, DELTA);
    let bytes = golden("frame-delta", &whole(&delta, DELTA));
    assert_eq!(FrameHeader::decode(&bytes, HERE).unwrap(), delta);
    assert_eq!(decode(&bytes).unwrap(), TEXT);
    let of_pages = |header| FrameHeader {
        kind: FrameKind::Pages,
        ..header
    };
    let bytes = golden("frame-delta-of-pages", &whole(&of_pages(delta), DELTA));
    assert_eq!(decode_on(&bytes, &of_pages(base()), BASE).unwrap(), TEXT);
}

#[test]
fn frames_with_defects() {
    let header = frame(Codec::Raw, TEXT);
    let head = header.encode();
    let bytes = whole(&header, TEXT);
    let field = |at: usize, new: &[u8]| {
        let head = checked(&head, 16, |b| b[at..at + new.len()].copy_from_slice(new));
        [&head, TEXT].concat()
    };
    refused(
        "frame-header-check-wrong",
        &with(&bytes, |b| b[100] ^= 1),
        Refusal::Mismatch,
        decode,
    );
    refused(
        "frame-header-cut-short",
        &bytes[..120],
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-stored-bytes-changed",
        &with(&bytes, |b| *b.last_mut().unwrap() ^= 1),
        Refusal::Mismatch,
        decode,
    );
    refused(
        "frame-stored-bytes-cut-short",
        &bytes[..bytes.len() - 1],
        Refusal::Mismatch,
        decode,
    );
    refused(
        "frame-magic-wrong",
        &field(0, b"HFRX"),
        Refusal::Malformed,
        decode,
    );
    refused("frame-codec-unknown", &field(4, &[3]), Refusal::Malformed, decode);
    refused("frame-kind-unknown", &field(5, &[3]), Refusal::Malformed, decode);
    refused(
        "frame-without-chunks",
        &field(6, &[0, 0]),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-too-many-chunks",
        &field(6, &4_097_u16.to_le_bytes()),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-plain-sum-wrong",
        &field(8, &53_u32.to_le_bytes()),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-raw-length-differs",
        &field(12, &51_u32.to_le_bytes()),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-stored-too-long",
        &field(12, &1_048_577_u32.to_le_bytes()),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-base-without-delta",
        &field(48, &[1]),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-delta-without-base",
        &checked_delta(|b| b[48..80].fill(0)),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-chunk-of-nothing",
        &field(80 + 32, &[0, 0, 0, 0]),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-chunk-too-long",
        &field(80 + 32, &262_145_u32.to_le_bytes()),
        Refusal::Malformed,
        decode,
    );
    refused(
        "frame-chunk-id-wrong",
        &field(80, &[0xee]),
        Refusal::Mismatch,
        decode,
    );
    refused(
        "frame-delta-of-records",
        &checked_delta(|b| b[5] = 2),
        Refusal::Malformed,
        decode,
    );
    let other = b"bytes of another frame, thirty-seven.";
    let changed = FrameHeader {
        stored_hash: FrameHash::of(other),
        chunks: vec![FrameChunk {
            id: ChunkId::of(other),
            len: 37,
        }],
        ..base()
    };
    refused(
        "frame-delta-base-is-another",
        &checked_delta(|_| {}),
        Refusal::Mismatch,
        |bytes| decode_on(bytes, &changed, other),
    );
    let pages = FrameHeader {
        kind: FrameKind::Pages,
        ..base()
    };
    refused(
        "frame-delta-base-is-of-another-kind",
        &checked_delta(|_| {}),
        Refusal::Malformed,
        |bytes| decode_on(bytes, &pages, BASE),
    );
    let says = u8::try_from(TEXT.len()).unwrap();
    for (name, stored) in [
        ("frame-zstd-gives-more", zstd_of(&[TEXT, b"!"].concat(), says + 1)),
        ("frame-zstd-gives-less", zstd_of(&TEXT[1..], says - 1)),
        (
            "frame-zstd-is-noise",
            b"these bytes are not of any zstd frame".to_vec(),
        ),
    ] {
        refused(
            name,
            &whole(&frame(Codec::Zstd, &stored), &stored),
            Refusal::Malformed,
            decode,
        );
    }
}

fn footer() -> pack::Footer {
    pack::Footer {
        medium: medium(),
        number: PackNumber::new(3),
        frames: 781,
        chunks: 1_490,
        tables: PackOffset::new(1_000_000),
        pages_hash: page_hash("pages"),
    }
}

#[test]
fn packs() {
    let number = PackNumber::new(3);
    let header = golden("pack-header", &pack::encode_header(&medium(), number));
    pack::check_header(&header, &medium(), number, HERE).unwrap();
    let read = |bytes: &[u8]| pack::check_header(bytes, &medium(), number, HERE);
    refused(
        "pack-header-check-wrong",
        &with(&header, |b| b[63] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "pack-header-of-newer-format",
        &checked(&header, 16, |b| b[14] = b'9'),
        Refusal::Unsupported,
        read,
    );
    refused(
        "pack-of-another-medium",
        &checked(&header, 16, |b| b[24] = 1),
        Refusal::Malformed,
        read,
    );
    refused(
        "pack-of-another-number",
        &checked(&header, 16, |b| b[40] = 4),
        Refusal::Mismatch,
        read,
    );

    let bytes = golden("pack-footer", &footer().encode());
    let len = footer().pack_bytes();
    assert_eq!(len, 1_000_000 + 781 * 84 + 1_490 * 44 + 4 * 32 + 128);
    assert_eq!(
        pack::Footer::decode(&bytes, &medium(), number, len, HERE).unwrap(),
        footer()
    );
    assert_eq!(footer().leaf(), PageHash::of(&bytes[..96]));
    let read = |bytes: &[u8]| pack::Footer::decode(bytes, &medium(), number, len, HERE);
    refused(
        "pack-footer-check-wrong",
        &with(&bytes, |b| b[127] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "pack-footer-padding-not-zero",
        &checked(&bytes, 32, |b| b[90] = 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "pack-footer-of-newer-format",
        &checked(&bytes, 32, |b| b[14] = b'9'),
        Refusal::Unsupported,
        read,
    );
    refused(
        "pack-footer-of-another-pack",
        &checked(&bytes, 32, |b| b[40] = 4),
        Refusal::Malformed,
        read,
    );
    refused(
        "pack-footer-counts-too-much",
        &checked(&bytes, 32, |b| b[46] = 1),
        Refusal::Malformed,
        read,
    );
}

#[test]
fn records() {
    let frame = FrameRecord {
        offset: PackOffset::new(64),
        frame_bytes: 96 + 72 + 500,
        plain_bytes: 2_000,
        stored_bytes: 500,
        codec: Codec::Zstd,
        kind: FrameKind::Pages,
        chunks: 2,
        stored_hash: FrameHash::of(b"stored"),
        base: None,
    };
    let mut out = Encoder::new();
    frame.encode(&mut out);
    let bytes = golden("frame-record", out.as_slice());
    let read = |bytes: &[u8]| FrameRecord::decode(&mut Decoder::new(bytes, HERE));
    assert_eq!(read(&bytes).unwrap(), frame);
    refused(
        "frame-record-lengths-contradict",
        &with(&bytes, |b| b[4] ^= 1),
        Refusal::Malformed,
        read,
    );
    refused(
        "frame-record-codec-unknown",
        &with(&bytes, |b| b[16] = 9),
        Refusal::Malformed,
        read,
    );

    let chunk = ChunkRecord {
        id: ChunkId::of(b"chunk"),
        frame: 5,
        start: 1_024,
        len: 65_536,
    };
    let mut out = Encoder::new();
    chunk.encode(&mut out);
    let bytes = golden("chunk-record", out.as_slice());
    assert_eq!(
        ChunkRecord::decode(&mut Decoder::new(&bytes, HERE)).unwrap(),
        chunk
    );

    let set = SetRecord {
        number: PackNumber::new(3),
        pack_bytes: 1_234_567,
        leaf: footer().leaf(),
    };
    let bytes = golden("set-record", &set.encode());
    assert_eq!(SetRecord::decode(&mut Decoder::new(&bytes, HERE)).unwrap(), set);
    refused("set-record-cut-short", &bytes[..39], Refusal::Malformed, |b| {
        SetRecord::decode(&mut Decoder::new(b, HERE))
    });
}

fn list_leaf() -> ListPage {
    let entry = |end, n: u32| ListEntry {
        end,
        hash: *ChunkId::of(&n.to_le_bytes()).as_bytes(),
        place: place(n),
    };
    let zeros = ListEntry {
        end: 10_000_000_000,
        hash: [0; 32],
        place: Place::default(),
    };
    ListPage {
        level: 0,
        entries: vec![entry(65_536, 1), zeros, entry(10_000_262_144, 2)],
    }
}

/// Decodes a list's page under the hash that its own canonical part has.
fn list(bytes: &[u8], level: u8) -> Result<ListPage> {
    let count = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    let canonical = bytes.get(..8 + 40 * count).unwrap_or(bytes);
    ListPage::decode(bytes, &PageHash::of(canonical), level, HERE)
}

#[test]
fn chunk_lists() {
    let (hash, bytes) = list_leaf().encode();
    let bytes = golden("list-leaf", &bytes);
    assert_eq!(ListPage::decode(&bytes, &hash, 0, HERE).unwrap(), list_leaf());
    let entry = |end, n: u32| ListEntry {
        end,
        hash: *page_hash(&n.to_string()).as_bytes(),
        place: place(n),
    };
    let above = ListPage {
        level: 1,
        entries: vec![entry(64 << 20, 1), entry(65 << 20, 2)],
    };
    let (hash, interior) = above.encode();
    assert_eq!(
        ListPage::decode(&golden("list-interior", &interior), &hash, 1, HERE).unwrap(),
        above
    );

    let read = |bytes: &[u8]| list(bytes, 0);
    let other = |bytes: &[u8]| ListPage::decode(bytes, &page_hash("other"), 0, HERE);
    refused("list-hash-wrong", &bytes, Refusal::Mismatch, other);
    refused("list-level-wrong", &interior, Refusal::Malformed, read);
    refused(
        "list-magic-wrong",
        &with(&bytes, |b| b[0] = b'h'),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-reserved-not-zero",
        &with(&bytes, |b| b[5] = 1),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-empty",
        &with(&bytes, |b| {
            b[6] = 0;
            b.truncate(8);
        }),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-too-many-entries",
        &with(&bytes, |b| {
            b[6..8].copy_from_slice(&1_025_u16.to_le_bytes());
            b.resize(8 + 1_025 * 56, 1);
        }),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-ends-not-ascending",
        &with(&bytes, |b| b.copy_within(8..16, 48)),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-ends-at-zero",
        &with(&bytes, |b| b[8..16].fill(0)),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-chunk-too-long",
        &with(&bytes, |b| b[8..16].copy_from_slice(&262_145_u64.to_le_bytes())),
        Refusal::Malformed,
        read,
    );
    refused(
        "list-places-cut-short",
        &bytes[..bytes.len() - 1],
        Refusal::Malformed,
        read,
    );
    refused(
        "list-bytes-left-over",
        &[&bytes[..], &[0]].concat(),
        Refusal::Malformed,
        read,
    );
}

fn list_ref(depth: u8, n: u32) -> ListRef {
    ListRef {
        depth,
        hash: page_hash(&n.to_string()),
        place: place(n),
    }
}

fn contents() -> Vec<(&'static str, Content)> {
    let tree = TreeRef {
        depth: 1,
        hash: page_hash("tree"),
        entries: 700,
        inodes: 900,
        subdirectories: 3,
        place: place(9),
    };
    vec![
        ("content-nothing", Content::Nothing),
        ("content-inline", Content::Inline(b"a few bytes".to_vec())),
        ("content-list-one-chunk", Content::List(list_ref(0, 1))),
        ("content-list", Content::List(list_ref(2, 2))),
        (
            "content-recipe",
            Content::Recipe(Box::new(RecipeRef {
                size: 5_000,
                recipe: Content::List(list_ref(1, 3)),
                tree,
            })),
        ),
        ("content-tree", Content::Tree(tree)),
        ("content-tree-empty", Content::Tree(TreeRef::EMPTY)),
        (
            "content-recipe-inline",
            Content::Recipe(Box::new(RecipeRef {
                size: 3,
                recipe: Content::Inline(b"abc".to_vec()),
                tree,
            })),
        ),
    ]
}

fn content(bytes: &[u8]) -> Result<Content> {
    let mut from = Decoder::new(bytes, HERE);
    let mut content = Content::decode(&mut from)?;
    content.decode_places(&mut from)?;
    from.end()?;
    Ok(content)
}

fn content_bytes(of: &Content) -> Vec<u8> {
    let mut out = Encoder::new();
    of.encode(&mut out);
    of.encode_places(&mut out);
    out.finish()
}

#[test]
fn content_of_every_tag() {
    for (name, value) in contents() {
        assert_eq!(
            content(&golden(name, &content_bytes(&value))).unwrap(),
            value,
            "{name}"
        );
    }
    let tree = content_bytes(&contents()[5].1);
    let empty = content_bytes(&contents()[6].1);
    let chunk = content_bytes(&contents()[2].1);
    refused("content-tag-unknown", &[6], Refusal::Malformed, content);
    refused(
        "content-tag-not-used",
        &[&[4][..], &chunk[1..]].concat(),
        Refusal::Malformed,
        content,
    );
    refused(
        "content-inline-too-long",
        &[&[1][..], &2_049_u16.to_le_bytes(), &[7; 2_049]].concat(),
        Refusal::Malformed,
        content,
    );
    refused(
        "content-list-too-deep",
        &with(&chunk, |b| b[1] = 9),
        Refusal::Malformed,
        content,
    );
    refused(
        "content-list-of-nothing",
        &with(&chunk, |b| b[2..34].fill(0)),
        Refusal::Malformed,
        content,
    );
    refused(
        "content-place-cut-short",
        &chunk[..chunk.len() - 1],
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-too-deep",
        &with(&tree, |b| b[1] = 9),
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-more-entries-than-inodes",
        &with(&tree, |b| b[35] = 9),
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-more-directories-than-entries",
        &with(&tree, |b| b[51] = 9),
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-too-many-inodes",
        &with(&tree, |b| b[48] = 1),
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-entries-without-page",
        &with(&tree, |b| b[2..34].fill(0)),
        Refusal::Malformed,
        content,
    );
    refused(
        "tree-ref-empty-with-inodes",
        &with(&empty, |b| b[42] = 9),
        Refusal::Malformed,
        content,
    );
}

fn leaf(kind: Kind, name: &str, media_type: &str, of: Content) -> Leaf {
    let size = match &of {
        Content::Inline(bytes) => bytes.len() as u64,
        _ => 4_711,
    };
    let blob_id = if kind == Kind::Absent {
        BlobId::default()
    } else {
        BlobId::of(name.as_bytes())
    };
    Leaf {
        kind,
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        sha256: Sha256::of(b"bytes"),
        blob_id,
        size,
        content: of,
    }
}

fn leaves() -> LeafPage {
    let of = |n: usize| contents()[n].1.clone();
    let digest = Sha256::of(b"bytes").to_digest();
    let other = Sha256::of(b"other").to_digest();
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let leaves = vec![
        leaf(Kind::Image, "docker.io/library/nginx:1.25", manifest, of(1)),
        leaf(
            Kind::Image,
            &format!("docker.io/library/nginx@{digest}"),
            manifest,
            of(1),
        ),
        leaf(Kind::Image, "docker.io/library/nginx-plus:1", manifest, of(2)),
        leaf(Kind::Blob, &digest, manifest, of(3)),
        leaf(Kind::Blob, &other, "", of(4)),
        leaf(
            Kind::Referrer,
            &format!("docker.io/library/nginx@{digest}/{other}"),
            manifest,
            of(1),
        ),
        leaf(Kind::Absent, &digest, "", of(0)),
        leaf(Kind::Files, "files", "", of(5)),
        leaf(Kind::Layer, &format!("{digest}/{other}"), "", of(5)),
        leaf(Kind::Chain, &digest, "", of(5)),
        leaf(Kind::Rootfs, &format!("{digest}/linux-amd64"), "", of(0)),
        leaf(Kind::File, "a/b", "", of(0)),
        leaf(Kind::File, "a-b", "", of(0)),
        leaf(Kind::Hot, &digest, "", of(3)),
    ];
    let mut page = LeafPage { leaves };
    page.leaves.sort_by_key(Leaf::sort_key);
    page
}

fn interior() -> InteriorPage {
    let child = |n: u64, key: &str| Child {
        hash: Sha256::of(key.as_bytes()),
        offset: 1_000 * n,
        page_bytes: 1_000,
        first_key: catalogue::sort_key(Kind::Blob, key),
    };
    InteriorPage {
        level: 1,
        children: vec![child(0, "sha256:00"), child(1, "sha256:7f")],
    }
}

#[test]
fn catalogues() {
    let page = leaves();
    let bytes = golden("catalogue-leaves", &page.encode());
    assert_eq!(LeafPage::decode(&bytes, &page.hash(), HERE).unwrap(), page);
    assert_eq!(
        page.hash(),
        merkle::root(
            &page
                .leaves
                .iter()
                .map(|l| merkle::leaf_hash(&l.canonical()))
                .collect::<Vec<_>>()
        )
    );
    let above = golden("catalogue-interior", &interior().encode());
    assert_eq!(
        InteriorPage::decode(&above, 1, &interior().hash(), HERE).unwrap(),
        interior()
    );
    let footer = catalogue::Footer {
        level: 1,
        top: 2_000,
        top_bytes: 300,
    };
    let foot = golden("catalogue-footer", &footer.encode());
    assert_eq!(catalogue::Footer::decode(&foot, HERE).unwrap(), footer);

    let made = |change: fn(&mut LeafPage)| {
        let mut page = leaves();
        change(&mut page);
        (page.encode(), page.hash())
    };
    for (name, change) in [
        (
            "catalogue-leaf-twice",
            (|p| p.leaves.insert(1, p.leaves[0].clone())) as fn(&mut LeafPage),
        ),
        ("catalogue-leaves-out-of-order", |p| p.leaves.swap(0, 1)),
        ("catalogue-page-empty", |p| p.leaves.clear()),
        ("catalogue-name-with-nul", |p| p.leaves[0].name.insert(0, '\0')),
        ("catalogue-name-too-long", |p| {
            p.leaves[0].name = "a".repeat(1_025)
        }),
        ("catalogue-inline-length-wrong", |p| p.leaves[0].size += 1),
        ("catalogue-file-with-bytes", |p| {
            p.leaves
                .iter_mut()
                .rfind(|l| l.kind == Kind::File)
                .unwrap()
                .content = Content::Inline(vec![0; 9])
        }),
        ("catalogue-hot-list-inline", |p| {
            p.leaves.last_mut().unwrap().content = Content::Inline(vec![0; 4_711 % 2_048])
        }),
        ("catalogue-hot-list-too-short", |p| {
            p.leaves.last_mut().unwrap().size = 2_048
        }),
        ("catalogue-hot-list-too-large", |p| {
            p.leaves.last_mut().unwrap().size = (256 << 20) + 1
        }),
        ("catalogue-blob-with-a-tree", |p| {
            p.leaves[4].content = contents()[5].1.clone()
        }),
        ("catalogue-blob-of-nothing", |p| {
            p.leaves[4].content = Content::Nothing
        }),
        ("catalogue-absent-with-bytes", |p| {
            p.leaves[6].content = Content::Inline(vec![0; 4_711 % 2_048])
        }),
        ("catalogue-blob-too-large", |p| p.leaves[3].size = 1 << 60),
    ] {
        let (bytes, hash) = made(change);
        refused(name, &bytes, Refusal::Malformed, |b| {
            LeafPage::decode(b, &hash, HERE)
        });
    }
    let hash = page.hash();
    let read = |b: &[u8]| LeafPage::decode(b, &hash, HERE);
    let inline = bytes.windows(11).position(|b| b == b"a few bytes").unwrap();
    refused(
        "catalogue-inline-bytes-changed",
        &checked(&bytes, 32, |b| b[inline] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "catalogue-page-check-wrong",
        &with(&bytes, |b| b[20] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "catalogue-page-of-another-subtree",
        &checked(&bytes, 32, |b| {
            let at = b.len() - 100;
            b[at] ^= 1;
            b[30] ^= 1;
        }),
        Refusal::Mismatch,
        read,
    );
    refused(
        "catalogue-kind-unknown",
        &checked(&bytes, 32, |b| b[7] = 11),
        Refusal::Malformed,
        read,
    );
    refused(
        "catalogue-page-bytes-left-over",
        &checked(&bytes, 32, |b| b.push(0)),
        Refusal::Malformed,
        read,
    );
    refused("catalogue-level-wrong", &above, Refusal::Malformed, read);
    let hash = interior().hash();
    let read = |b: &[u8]| InteriorPage::decode(b, 1, &hash, HERE);
    let mut swapped = interior();
    swapped.children.swap(0, 1);
    refused(
        "catalogue-children-out-of-order",
        &swapped.encode(),
        Refusal::Malformed,
        read,
    );
    let mut long = interior();
    long.children[0].page_bytes = 1_048_577;
    refused(
        "catalogue-child-too-long",
        &long.encode(),
        Refusal::Malformed,
        read,
    );
    let read = |b: &[u8]| catalogue::Footer::decode(b, HERE);
    refused(
        "catalogue-footer-check-wrong",
        &with(&foot, |b| b[63] ^= 1),
        Refusal::Mismatch,
        read,
    );
    refused(
        "catalogue-footer-too-high",
        &checked(&foot, 32, |b| b[8] = 9),
        Refusal::Malformed,
        read,
    );
    refused(
        "catalogue-footer-magic-wrong",
        &checked(&foot, 32, |b| b[0] = 0),
        Refusal::Malformed,
        read,
    );
}

fn tree_leaf() -> TreePage {
    let metadata = |mode| Metadata {
        mode,
        uid: 1_000,
        gid: 100,
        mtime_sec: -1,
        mtime_nsec: 999_999_999,
        xattrs: Vec::new(),
    };
    let entry = |name: &[u8], mode, node| TreeEntry {
        name: EntryName::new(name).unwrap(),
        metadata: metadata(mode),
        node,
    };
    let file = |size, link, content| Node::File {
        size,
        blob_id: BlobId::of(b"x"),
        sha256: Sha256::of(b"x"),
        link,
        content,
    };
    let special = |kind, major, minor, link| Node::Special {
        kind,
        major,
        minor,
        link,
    };
    let tree = match contents()[6].1 {
        Content::Tree(tree) => tree,
        _ => TreeRef::EMPTY,
    };
    let mut entries = vec![
        entry(b"a-directory", 0o1777, Node::directory(tree)),
        entry(b"a-file", 0o644, file(11, 0, contents()[1].1.clone())),
        entry(b"a-large-file", 0o4755, file(1 << 40, 1, contents()[3].1.clone())),
        entry(b"a-link", 0o777, symlink(b"../elsewhere", 2)),
        entry(b"an-empty-directory", 0o755, Node::directory(TreeRef::EMPTY)),
        entry(b"block", 0o600, special(SpecialKind::BlockDevice, 8, 1, 3)),
        entry(b"char", 0o600, special(SpecialKind::CharDevice, 1, 3, 0)),
        entry(b"fifo", 0o600, special(SpecialKind::Fifo, 0, 0, 0)),
        entry(b"gone", 0o755, Node::Whiteout),
        entry(
            b"opaque",
            0o700,
            Node::Directory {
                tree,
                marks: Marks {
                    opaque: true,
                    implied: false,
                },
            },
        ),
        entry(b"outside", 0o755, Node::OutsideLink(b"usr/bin/perl".to_vec())),
        entry(b"socket", 0o600, special(SpecialKind::Socket, 0, 0, 0)),
        entry(
            b"\xff\xfe not UTF-8",
            0o600,
            file(0, 0, Content::Inline(Vec::new())),
        ),
    ];
    entries[1].metadata.xattrs = vec![
        (b"user.a".to_vec(), b"1".to_vec()),
        (b"user.b".to_vec(), Vec::new()),
    ];
    TreePage::Leaf(entries)
}

fn symlink(target: &[u8], link: u64) -> Node {
    Node::Symlink {
        target: target.to_vec(),
        link,
    }
}

fn tree_interior() -> TreePage {
    let child = |name: &[u8], n: u32| TreeChild {
        first: EntryName::new(name).unwrap(),
        entries: 500,
        inodes: 600,
        hash: page_hash(&n.to_string()),
        place: place(n),
    };
    TreePage::Interior {
        level: 1,
        children: vec![child(b"aaa", 1), child(b"mmm", 2)],
    }
}

#[test]
fn directories() {
    for (name, page, level) in [
        ("tree-leaf", tree_leaf(), 0),
        ("tree-interior", tree_interior(), 1),
    ] {
        let (hash, bytes) = page.encode();
        assert_eq!(
            TreePage::decode(&golden(name, &bytes), &hash, level, HERE).unwrap(),
            page
        );
        refused(&format!("{name}-hash-wrong"), &bytes, Refusal::Mismatch, |b| {
            TreePage::decode(b, &page_hash("other"), level, HERE)
        });
        refused(&format!("{name}-level-wrong"), &bytes, Refusal::Malformed, |b| {
            TreePage::decode(b, &hash, level + 1, HERE)
        });
        refused(
            &format!("{name}-places-cut-short"),
            &bytes[..bytes.len() - 1],
            Refusal::Malformed,
            |b| TreePage::decode(b, &hash, level, HERE),
        );
        refused(
            &format!("{name}-bytes-left-over"),
            &[&bytes[..], &[0]].concat(),
            Refusal::Malformed,
            |b| TreePage::decode(b, &hash, level, HERE),
        );
    }
}

#[test]
fn tables_of_hard_links() {
    let groups = vec![vec![3, 9, 12], Vec::new(), vec![4, 5]];
    let bytes = golden("links", &links::encode(&groups));
    assert_eq!(links::decode(&bytes, HERE).unwrap(), groups);
    let read = |b: &[u8]| links::decode(b, HERE);
    refused(
        "links-cut-short",
        &bytes[..bytes.len() - 1],
        Refusal::Malformed,
        read,
    );
    refused(
        "links-bytes-left-over",
        &[&bytes[..], &[0]].concat(),
        Refusal::Malformed,
        read,
    );
    for (name, groups) in [
        ("links-names-out-of-order", vec![vec![9, 3]]),
        ("links-name-twice", vec![vec![3, 3]]),
    ] {
        refused(name, &links::encode(&groups), Refusal::Malformed, read);
    }
    let mut falling = bytes;
    falling[16] = 2;
    refused("links-ends-out-of-order", &falling, Refusal::Malformed, read);
}

type Change = fn(&mut Vec<TreeEntry>);

#[test]
fn directories_with_defects() {
    for (name, change) in [
        ("tree-names-out-of-order", (|e| e.swap(0, 1)) as Change),
        ("tree-name-twice", |e| e.insert(0, e[0].clone())),
        ("tree-mode-with-file-type", |e| e[0].metadata.mode |= 0o100_000),
        ("tree-nanoseconds-too-many", |e| {
            e[0].metadata.mtime_nsec = 1_000_000_000
        }),
        ("tree-attributes-out-of-order", |e| {
            e[1].metadata.xattrs.swap(0, 1)
        }),
        ("tree-attribute-without-name", |e| {
            e[1].metadata.xattrs[0].0.clear()
        }),
        ("tree-attributes-too-long", |e| {
            e[1].metadata.xattrs[1].1 = vec![0; 8_190]
        }),
        ("tree-link-without-target", |e| e[3].node = symlink(b"", 0)),
        ("tree-link-with-nul", |e| e[3].node = symlink(b"a\0b", 0)),
        ("tree-link-too-long", |e| e[3].node = symlink(&[b'a'; 4_096], 0)),
        ("tree-file-of-another-size", |e| {
            if let Node::File { size, .. } = &mut e[1].node {
                *size = 12
            }
        }),
        ("tree-file-too-large", |e| {
            if let Node::File { size, .. } = &mut e[2].node {
                *size = 1 << 60
            }
        }),
        ("tree-file-of-a-tree", |e| {
            if let Node::File { content, .. } = &mut e[1].node {
                *content = Content::Tree(TreeRef::EMPTY)
            }
        }),
        ("tree-outside-link-to-nothing", |e| {
            e[3].node = Node::OutsideLink(Vec::new())
        }),
        ("tree-file-of-nothing", |e| {
            if let Node::File { content, .. } = &mut e[1].node {
                *content = Content::Nothing
            }
        }),
    ] {
        let TreePage::Leaf(mut entries) = tree_leaf() else {
            panic!()
        };
        change(&mut entries);
        let (hash, bytes) = TreePage::Leaf(entries).encode();
        refused(name, &bytes, Refusal::Malformed, |b| {
            TreePage::decode(b, &hash, 0, HERE)
        });
    }
    // Names that cannot be made: another of the same length is put in their place.
    for (name, was, becomes) in [
        ("tree-name-dotdot", &b"ab"[..], &b".."[..]),
        ("tree-name-dot", b"a", b"."),
        ("tree-name-with-slash", b"a-b", b"a/b"),
        ("tree-name-with-nul", b"a-b", b"a\0b"),
    ] {
        let TreePage::Leaf(mut entries) = tree_leaf() else {
            panic!()
        };
        entries.truncate(1);
        entries[0].name = EntryName::new(was).unwrap();
        let (hash, bytes) = TreePage::Leaf(entries).encode();
        let bytes = with(&bytes, |b| b[9..9 + becomes.len()].copy_from_slice(becomes));
        refused(name, &bytes, Refusal::Malformed, |b| {
            TreePage::decode(b, &hash, 0, HERE)
        });
    }
    let (hash, bytes) = tree_leaf().encode();
    let read = |b: &[u8]| TreePage::decode(b, &hash, 0, HERE);
    refused(
        "tree-magic-wrong",
        &with(&bytes, |b| b[0] = b'h'),
        Refusal::Malformed,
        read,
    );
    refused(
        "tree-page-empty",
        &with(&bytes, |b| b[5..7].fill(0)),
        Refusal::Malformed,
        read,
    );
    let TreePage::Interior { mut children, .. } = tree_interior() else {
        panic!()
    };
    children[0].inodes = 499;
    let (hash, bytes) = TreePage::Interior {
        level: 1,
        children: children.clone(),
    }
    .encode();
    refused("tree-child-with-fewer-inodes", &bytes, Refusal::Malformed, |b| {
        TreePage::decode(b, &hash, 1, HERE)
    });
    children[0].inodes = 600;
    children.swap(0, 1);
    let (hash, bytes) = TreePage::Interior { level: 1, children }.encode();
    refused("tree-children-out-of-order", &bytes, Refusal::Malformed, |b| {
        TreePage::decode(b, &hash, 1, HERE)
    });
}

#[test]
fn every_vector_belongs_to_a_test() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.rs")).unwrap();
    for entry in std::fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".hex").trim_end_matches(".refused");
        let made = name
            .replace("tree-leaf-", "{name}-")
            .replace("tree-interior-", "{name}-");
        assert!(
            source.contains(&format!("\"{name}\"")) || source.contains(&format!("\"{made}\"")),
            "{name}"
        );
    }
}

/// Every decoder over these bytes: what is refused is an error, and nothing else happens.
fn decode_all(bytes: &[u8]) {
    let hash = PageHash::of(bytes);
    let _ = superblock::decode(bytes, HERE);
    let _ = Root::decode(bytes, HERE);
    let _ = FrameHeader::decode(bytes, HERE);
    let _ = decode(bytes);
    let _ = pack::check_header(bytes, &medium(), PackNumber::new(3), HERE);
    let _ = pack::Footer::decode(bytes, &medium(), PackNumber::new(3), bytes.len() as u64, HERE);
    let _ = FrameRecord::decode(&mut Decoder::new(bytes, HERE));
    let _ = ChunkRecord::decode(&mut Decoder::new(bytes, HERE));
    let _ = SetRecord::decode(&mut Decoder::new(bytes, HERE));
    let _ = content(bytes);
    let _ = Leaf::decode(&mut Decoder::new(bytes, HERE));
    let _ = catalogue::Footer::decode(bytes, HERE);
    for level in 0..2 {
        let _ = ListPage::decode(bytes, &hash, level, HERE);
        let _ = TreePage::decode(bytes, &hash, level, HERE);
        let _ = InteriorPage::decode(bytes, level, &Sha256::default(), HERE);
        if bytes.len() > 8 {
            let _ = list(bytes, level);
        }
    }
    let _ = LeafPage::decode(bytes, &Sha256::default(), HERE);
}

fn valid() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = contents().iter().map(|(_, c)| content_bytes(c)).collect();
    let packed = zstd_of(TEXT, u8::try_from(TEXT.len()).unwrap());
    all.extend([
        Slot {
            medium: medium(),
            generation: Generation::new(7),
            root: page_hash("ROOT"),
        }
        .encode(),
        root().encode().into_bytes(),
        whole(&frame(Codec::Raw, TEXT), TEXT),
        whole(&frame(Codec::Zstd, &packed), &packed),
        checked_delta(|_| {}),
        footer().encode(),
        list_leaf().encode().1,
        leaves().encode(),
        leaves().leaves[3].encode(),
        interior().encode(),
        tree_leaf().encode().1,
        tree_interior().encode().1,
    ]);
    all
}

fn places() -> impl Strategy<Value = Place> {
    any::<(u32, u32, u32, u32)>().prop_map(|(pack, frame, frame_bytes, start)| Place {
        pack: PackNumber::new(pack),
        frame: PackOffset::new(frame),
        frame_bytes,
        start,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_decoder_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_decoder_panics_on_valid_bytes_that_were_changed(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
        check in any::<bool>(),
    ) {
        let all = valid();
        let mut bytes = which.get(&all).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // With the check made right, what lies behind it is reached.
        if check && bytes.len() > 32 {
            bytes = checked(&bytes, 32, |_| ());
        }
        decode_all(&bytes);
        if bytes.len() > 112 {
            decode_all(&checked(&bytes, 16, |_| ()));
        }
    }

    #[test]
    fn list_pages_come_back(lens in prop::collection::vec((1..=262_144_u64, any::<[u8; 32]>(), places()), 1..50)) {
        let mut end = 0;
        let entries = lens.into_iter().map(|(len, hash, place)| { end += len; ListEntry { end, hash, place } }).collect();
        let page = ListPage { level: 0, entries };
        let (hash, bytes) = page.encode();
        prop_assert_eq!(ListPage::decode(&bytes, &hash, 0, HERE).unwrap(), page.clone());
        for offset in [0, end / 2, end - 1] {
            let (start, entry) = page.find(offset).unwrap();
            prop_assert!(start <= offset && offset < entry.end);
        }
        prop_assert!(page.find(end).is_none());
    }

    #[test]
    fn tree_pages_come_back(names in prop::collection::btree_set(prop::collection::vec(1_u8..=255, 1..20), 1..30), mode in 0..=0o7777_u16, time: i64, inline in prop::collection::vec(any::<u8>(), 0..100), at in places()) {
        let mut entries: Vec<TreeEntry> = Vec::new();
        for (n, name) in names.iter().filter_map(|name| EntryName::new(name).ok()).enumerate() {
            let metadata = Metadata { mode, uid: 1, gid: 2, mtime_sec: time, mtime_nsec: 3, xattrs: Vec::new() };
            let (size, content) = match n % 2 {
                0 => (inline.len() as u64, Content::Inline(inline.clone())),
                _ => (5_000, Content::List(ListRef { place: at, ..list_ref(1, 7) })),
            };
            let node = Node::File { size, blob_id: BlobId::of(&inline), sha256: Sha256::of(&inline), link: 0, content };
            entries.push(TreeEntry { name, metadata, node });
        }
        prop_assume!(!entries.is_empty());
        let page = TreePage::Leaf(entries);
        let (hash, bytes) = page.encode();
        prop_assert_eq!(TreePage::decode(&bytes, &hash, 0, HERE).unwrap(), page);
    }

    #[test]
    fn leaves_come_back(name in "[a-z0-9./:@-]{1,200}", media_type in "[a-z+./]{0,255}", inline in prop::collection::vec(any::<u8>(), 0..2048)) {
        let leaf = leaf(Kind::Blob, &name, &media_type, Content::Inline(inline));
        let bytes = leaf.encode();
        let mut from = Decoder::new(&bytes, HERE);
        prop_assert_eq!(Leaf::decode(&mut from).unwrap(), leaf);
        from.end().unwrap();
    }
}

#[test]
fn no_vector_of_version_1_has_changed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let frozen = std::fs::read_to_string(folder.join("FROZEN")).unwrap();
    assert!(frozen.lines().count() > 150);
    for line in frozen.lines() {
        let (sha256, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(Sha256::of(&bytes).to_hex(), sha256, "{name}");
    }
}
