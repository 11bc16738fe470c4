//! Layers that lie, and layers that are damaged: each is refused with its reason, within its limits.

use super::recording::{Part, Recording, Tar, Told, record, record_within, refused, refused_within};
use super::{Compression, LayerError, Limits, Reason, read};
use proptest::prelude::*;
use std::io::{self, Read, Write as _};

fn at_least_told(result: Result<impl Sized, LayerError>) {
    match result {
        Ok(_) | Err(LayerError::NotATree(_)) => {}
        Err(other) => panic!("neither taken nor refused: {other}"),
    }
}

#[test]
fn paths_that_are_none_refuse_the_layer() {
    let deep = [b"d/".repeat(256), b"f".to_vec()].concat();
    let long = vec![b'n'; 256];
    let bad: [&[u8]; 9] = [
        b"..",
        b"a/../b",
        b"/../etc/passwd",
        b"a/..",
        &deep,
        &long,
        b"a/.wh.",
        b".wh...",
        b".wh.a/b",
    ];
    for path in bad {
        let named = |kind, target: &[u8]| {
            Tar::default()
                .pax(&[("path", path), ("linkpath", target)])
                .add(kind, b"innocent", b"")
        };
        for kind in *b"01235" {
            refused(&named(kind, b"target").end());
        }
        if !path.starts_with(b".wh") && !path.ends_with(b".wh.") {
            let link = Tar::default()
                .pax(&[("linkpath", path)])
                .add(b'1', b"innocent", b"");
            refused(&link.end());
        }
    }
    for (key, value) in [("path", &b"a\0b"[..]), ("linkpath", b"a\0b")] {
        let tar = Tar::default().pax(&[(key, value)]);
        refused(&tar.clone().add(b'1', b"innocent", b"").end());
        refused(&tar.link(b'2', b"innocent", b"t").end());
    }
    for no_root in [
        Tar::default().add(b'0', b"./", b""),
        Tar::default().link(b'1', b"a", b"/"),
        Tar::default().link(b'1', b"a", b""),
        Tar::default().link(b'2', b"a", b""),
        Tar::default()
            .pax(&[("linkpath", &[b'a'; 4096])])
            .add(b'2', b"a", b""),
    ] {
        refused(&no_root.end());
    }
    let fits = [b"d/".repeat(255), vec![b'n'; 255]].concat();
    record(&Tar::default().pax(&[("path", &fits)]).add(b'0', b"x", b"").end()).unwrap();
    let target = vec![b'a'; 4095];
    record(
        &Tar::default()
            .pax(&[("linkpath", &target)])
            .add(b'2', b"x", b"")
            .end(),
    )
    .unwrap();
}

#[test]
fn a_refusal_says_where_and_of_what() {
    let tar = Tar::default()
        .add(b'0', b"good", b"x")
        .add(b'0', b"up/../up", b"");
    let Err(LayerError::NotATree(refusal)) = record(&tar.end()) else {
        panic!("taken")
    };
    assert_eq!((refusal.at, refusal.entry.as_deref()), (1024, Some("up/../up")));
    assert_eq!(
        refusal.to_string(),
        "entry \"up/../up\", at byte 1024 of the tar: not supported: a path that leads up by `..`"
    );
}

#[test]
fn a_refusal_for_damage_of_the_compression_names_the_entry_it_met() {
    let tar = Tar::default().add(b'0', b"damaged", &[1; 3_000_000]).end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let Err(LayerError::NotATree(refusal)) = record(&gzip[..2_000_000]) else {
        panic!("taken")
    };
    assert_eq!((refusal.at, refusal.entry.as_deref()), (1 << 20, Some("damaged")));
    assert_eq!(refusal.reason, Reason::CutShort("its compressed stream"));
}

#[test]
fn metadata_that_no_file_can_have_refuses_the_layer() {
    let value = vec![b'v'; 8192 - 4];
    let long_name = format!("SCHILY.xattr.{}", "n".repeat(256));
    let records: [&[(&str, &[u8])]; 14] = [
        &[("uid", b"4294967295")],
        &[("uid", b"4294967296")],
        &[("gid", b"-1")],
        &[("gid", b"x")],
        &[("size", b"-1")],
        &[("size", b"99999999999999999999")],
        &[("mtime", b"now")],
        &[("mtime", b"99999999999999999999.5")],
        &[("SCHILY.xattr.", b"v")],
        &[("SCHILY.xattr.user.", &value)],
        &[(&long_name, b"v")],
        &[
            ("SCHILY.xattr.user.a", &[b'v'; 5000]),
            ("SCHILY.xattr.user.b", &[b'v'; 5000]),
        ],
        &[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")],
        &[("GNU.sparse.major", b"x")],
    ];
    for records in records {
        refused(&Tar::default().pax(records).add(b'0', b"a", b"").end());
    }
    let fits = [("SCHILY.xattr.user.a", &value[..8192 - 6])];
    record(&Tar::default().pax(&fits).add(b'0', b"a", b"").end()).unwrap();
    for field in [(100, 108), (108, 116), (116, 124), (124, 136), (136, 148)] {
        for bytes in [&b"9"[..], b"-1", b"\x80\xff\xff\xff\xff\xff\xff\xff"] {
            let tar = Tar::default().changed(b'0', b"a", b"", |block| {
                block[field.0..field.1].fill(0);
                block[field.0..field.0 + bytes.len()].copy_from_slice(bytes);
            });
            if bytes[0] != 0x80 || field.0 == 124 {
                refused(&tar.end());
            }
        }
    }
    let negative = |block: &mut [u8; 512]| block[124..136].fill(0xff);
    for kind in *b"0125xgLKV" {
        let tar = Tar::default().changed(kind, b"a", b"", negative);
        assert!(matches!(
            refused(&tar.add(b'0', b"b", b"").end()),
            Reason::Malformed(_) | Reason::NotATar
        ));
    }
    for (major, minor) in [(b"0010000", b"0000000"), (b"0000000", b"4000000")] {
        let tar = Tar::default().changed(b'3', b"a", b"", |block| {
            block[329..336].copy_from_slice(major);
            block[337..344].copy_from_slice(minor);
        });
        refused(&tar.end());
    }
}

#[test]
fn extended_headers_are_bounded_before_they_are_read() {
    let huge = |kind| {
        Tar::default().changed(kind, b"x", b"", |block| {
            block[124..135].copy_from_slice(b"77777777777");
        })
    };
    for kind in *b"xXgLK" {
        assert!(matches!(refused(&huge(kind).0), Reason::TooLarge { .. }));
    }
    let mut many = Tar::default();
    for _ in 0..17 {
        many = many.pax(&[("path", b"a")]);
    }
    assert!(matches!(
        refused(&many.add(b'0', b"a", b"").end()),
        Reason::TooLarge { .. }
    ));
    for alone in [
        Tar::default().pax(&[("path", b"a")]).end(),
        Tar::default().pax(&[("path", b"a")]).0,
        Tar::default().add(b'L', b"a", b"name").0,
    ] {
        assert!(matches!(refused(&alone), Reason::CutShort(_)));
    }
}

#[test]
fn checksums_and_zeros_between_entries_are_looked_at() {
    let first = Tar::default().add(b'0', b"a", b"x");
    let mut wrong = first.clone().add(b'0', b"b", b"x").0;
    wrong[1024] ^= 1;
    assert_eq!(refused(&wrong), Reason::Checksum);
    wrong[0] ^= 1;
    assert_eq!(refused(&wrong), Reason::NotATar);
    let mut gap = first.0;
    gap.extend([0; 512]);
    gap.extend(Tar::default().add(b'0', b"b", b"x").end());
    assert!(matches!(refused(&gap), Reason::Malformed(_)));
}

#[test]
fn limits_end_a_layer_at_their_number() {
    let tar = Tar::default()
        .add(b'0', b"a", &[1; 100])
        .add(b'5', b"b", b"")
        .link(b'2', b"c", b"target")
        .end();
    type Narrow = fn(&mut Limits, u64);
    let narrow: [(Narrow, u64); 3] = [
        (|limits, n| limits.entries = n, 3),
        (|limits, n| limits.name_bytes = n, 9),
        (|limits, n| limits.file_bytes = n, 100),
    ];
    for (set, most) in narrow {
        let mut limits = Limits::default();
        set(&mut limits, most);
        record_within(&tar, &limits).unwrap();
        set(&mut limits, most - 1);
        let reason = refused_within(&tar, &limits);
        assert!(
            matches!(reason, Reason::TooLarge { limit, .. } if limit == most - 1),
            "{reason}"
        );
    }
}

/// Zeros without end.
struct Endless<R>(R);

impl<R: Read> Read for Endless<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => {
                buf.fill(0);
                Ok(buf.len())
            }
            count => Ok(count),
        }
    }
}

#[test]
fn a_bomb_ends_after_the_bytes_that_any_layer_may_have() {
    let limits = Limits {
        plain_bytes: 10 << 20,
        plain_ratio: 20,
        ..Limits::default()
    };
    let tar = Tar::default().add(b'0', b"a", b"x").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    for _ in 0..200 {
        gzip.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.write_all(&tar).unwrap();
    for _ in 0..200 {
        zstd.write_all(&vec![0; 1 << 20]).unwrap();
    }
    for bomb in [gzip.finish().unwrap(), zstd.finish().unwrap()] {
        assert!(bomb.len() < 2 << 20);
        let mut source = &bomb[..];
        let mut sink = Recording::default();
        let result = read(&mut source, Compression::Auto, &limits, &mut sink, &|| false);
        let Err(LayerError::NotATree(refusal)) = result else {
            panic!("taken")
        };
        assert!(matches!(refusal.reason, Reason::TooLarge { .. }), "{refusal}");
        assert!(refusal.at < 100 << 20, "{refusal}");
    }
    // What is not compressed is no bomb, but a source without end is still left when it is told to stop.
    let asked = std::cell::Cell::new(0);
    let result = read(
        &mut Endless(&tar[..]),
        Compression::Plain,
        &limits,
        &mut Recording::default(),
        &|| {
            asked.set(asked.get() + 1);
            asked.get() > 1000
        },
    );
    assert!(matches!(result, Err(LayerError::Interrupted)));
}

fn old_sparse(size: &[u8; 11], extents: &[(u64, u64)], payload: &[u8]) -> Tar {
    Tar::default().changed(b'S', b"sparse", payload, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        for (at, (offset, len)) in extents.iter().enumerate() {
            let pair = format!("{offset:011o}\0{len:011o}\0");
            block[386 + 24 * at..][..24].copy_from_slice(pair.as_bytes());
        }
        block[483..494].copy_from_slice(size);
    })
}

fn sparse_in_records(size: &str, map: &str, payload: &[u8]) -> Tar {
    Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.as_bytes()),
        ])
        .add(b'0', b"sparse", payload)
}

fn sparse_in_payload(size: &str, map: &str, payload: &[u8]) -> Tar {
    let mut bytes = map.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(payload);
    Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
        .add(b'0', b"GNUSparseFile.0/x", &bytes)
}

#[test]
fn sparse_files_of_each_dialect_are_told_by_their_holes() {
    let parts = vec![
        Part::Hole(10),
        Part::Bytes(b"abc".to_vec()),
        Part::Hole(7),
        Part::Bytes(b"de".to_vec()),
        Part::Hole(2),
    ];
    for tar in [
        old_sparse(b"00000000030", &[(10, 3), (20, 2), (24, 0)], b"abcde"),
        sparse_in_records("24", "10,3,20,2,24,0", b"abcde"),
        sparse_in_payload("24", "3\n10\n3\n20\n2\n24\n0\n", b"abcde"),
        Tar::default()
            .pax(&[
                ("GNU.sparse.size", b"24"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"10"),
                ("GNU.sparse.numbytes", b"3"),
                ("GNU.sparse.offset", b"20"),
                ("GNU.sparse.numbytes", b"2"),
            ])
            .add(b'0', b"sparse", b"abcde"),
    ] {
        let (sink, _) = record(&tar.add(b'0', b"next", b"").end()).unwrap();
        let [(path, Told::File(_, 24, told)), _] = sink.told.as_slice() else {
            panic!("{:?}", sink.told)
        };
        assert_eq!((path.as_slice(), told), (&b"sparse"[..], &parts));
    }
    // A whiteout may be written as a sparse file too; what comes after it is found.
    let mut tar = old_sparse(b"00000000030", &[(10, 3)], b"abc").0;
    tar[..9].copy_from_slice(b".wh.gone\0");
    let mut block: [u8; 512] = tar[..512].try_into().unwrap();
    super::recording::sum(&mut block);
    tar[..512].copy_from_slice(&block);
    let (sink, _) = record(&Tar(tar).add(b'0', b"next", b"").end()).unwrap();
    let told: Vec<_> = sink
        .told
        .iter()
        .map(|(path, told)| (path.as_slice(), told))
        .collect();
    assert!(matches!(
        told.as_slice(),
        [(b"gone", Told::Whiteout), (b"next", Told::File(..))]
    ));
}

#[test]
fn sparse_maps_that_lie_refuse_the_layer() {
    for (size, extents) in [
        (b"00000000030", &[(10, 3), (12, 2)][..]),
        (b"00000000030", &[(20, 2), (10, 3)]),
        (b"00000000014", &[(10, 5)]),
        (b"00000000030", &[(10, 4)]),
        (b"00000000030", &[(10, 6)]),
        (b"77777777777", &[(8_589_934_591, 5)]),
        (b"0000000003x", &[(10, 5)]),
    ] {
        refused(&old_sparse(size, extents, b"abcde").end());
        let size = u64::from_str_radix(std::str::from_utf8(size).unwrap(), 8)
            .map_or("x".to_owned(), |size| size.to_string());
        let numbers: Vec<String> = extents
            .iter()
            .flat_map(|(offset, len)| [offset.to_string(), len.to_string()])
            .collect();
        refused(&sparse_in_records(&size, &numbers.join(","), b"abcde").end());
        let map = format!("{}\n{}\n", extents.len(), numbers.join("\n"));
        refused(&sparse_in_payload(&size, &map, b"abcde").end());
    }
    for map in [
        "",
        "1",
        "1,",
        "1,2,",
        "1,2,3",
        "a,b",
        "-1,5",
        "9223372036854775807,5",
        "18446744073709551615,5",
    ] {
        refused(&sparse_in_records("24", map, b"abcde").end());
    }
    for map in [
        "",
        "x\n",
        "-1\n",
        "9999999999999999\n",
        "2\n10\n5\n",
        "1\n9223372036854775807\n5\n",
        "1\n10\n5",
    ] {
        refused(&sparse_in_payload("24", map, b"abcde").end());
    }
    for size in ["", "-1", "x", "4"] {
        refused(&sparse_in_records(size, "0,5", b"abcde").end());
        refused(&sparse_in_payload(size, "1\n0\n5\n", b"abcde").end());
    }
    // A terabyte of hole is a few bytes of tar.
    let hole = sparse_in_records("1099511627776", "0,5", b"abcde").end();
    assert!(matches!(refused(&hole), Reason::TooLarge { .. }));
    let limits = Limits {
        sparse_extents: 2,
        ..Limits::default()
    };
    for tar in [
        old_sparse(b"00000000030", &[(1, 1), (3, 1), (5, 1)], b"abc"),
        sparse_in_records("24", "1,1,3,1,5,1", b"abc"),
        sparse_in_payload("24", "3\n1\n1\n3\n1\n5\n1\n", b"abc"),
    ] {
        record(&tar.clone().end()).unwrap();
        assert!(matches!(
            refused_within(&tar.end(), &limits),
            Reason::TooLarge { .. }
        ));
    }
    // Extension blocks without end.
    let mut endless = old_sparse(b"00000000030", &[(1, 1)], b"").0;
    endless[482] = 1;
    let mut block: [u8; 512] = endless[..512].try_into().unwrap();
    super::recording::sum(&mut block);
    endless[..512].copy_from_slice(&block);
    let mut more = [0; 512];
    more[504] = 1;
    for _ in 0..100 {
        endless.extend(more);
    }
    assert!(matches!(refused(&endless), Reason::CutShort(_)));
}

/// A layer with something of every kind.
fn rich() -> Vec<u8> {
    let mut tar = Tar::default()
        .add(b'g', b"global", &super::recording::pax(&[("comment", b"x")]))
        .add(b'5', b"./", b"")
        .pax(&[("path", b"a/b"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"y")])
        .add(b'0', b"b", &[5; 1200])
        .add(b'L', b"././@LongLink", &b"l/".repeat(200))
        .add(b'K', b"././@LongLink", &[b'k'; 600])
        .link(b'2', b"short", b"short")
        .link(b'1', b"hard", b"a/b")
        .add(b'0', b"a/.wh.c", b"")
        .add(b'3', b"null", b"");
    tar.0
        .extend(sparse_in_payload("24", "2\n10\n3\n20\n2\n", b"abcde").0);
    tar.0.extend(sparse_in_records("24", "10,3,20,2", b"abcde").0);
    tar.0
        .extend(old_sparse(b"00000000030", &[(10, 3), (20, 2)], b"abcde").0);
    tar.end()
}

#[test]
fn a_cut_is_either_refused_or_between_two_entries() {
    let tar = rich();
    let (whole, _) = record(&tar).unwrap();
    let mut refusals = 0;
    for cut in (0..tar.len()).step_by(512) {
        match record(&tar[..cut]) {
            Ok((sink, _)) => assert_eq!(sink.told, whole.told[..sink.told.len()]),
            Err(LayerError::NotATree(refusal)) => {
                assert!(matches!(refusal.reason, Reason::CutShort(_)), "{refusal}");
                refusals += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > 10, "{refusals}");
    for cut in 0..tar.len() {
        at_least_told(record(&tar[..cut]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_is_never_a_panic(flips in prop::collection::vec((0_usize..20_000, 0_u8..8), 1..20), mend in any::<bool>()) {
        let mut tar = rich();
        let len = tar.len();
        for (at, bit) in flips {
            tar[at % len] ^= 1 << bit;
        }
        if mend {
            for block in tar.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    super::recording::sum(block);
                }
            }
        }
        at_least_told(record(&tar));
    }

    #[test]
    fn any_records_and_maps_are_taken_or_refused(
        key in "(GNU\\.sparse\\.(major|minor|map|size|realsize|offset|numbytes|name)|path|linkpath|size|mtime|uid|SCHILY\\.xattr\\.[a-z.]{0,20})",
        value in "([-0-9,.]{0,30}|.{0,40})",
        payload in "[0-9\n]{0,40}",
        kind in 0_u8..128,
    ) {
        let tar = Tar::default()
            .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), (&key, value.as_bytes())])
            .add(kind, b"a", payload.as_bytes());
        at_least_told(record(&tar.end()));
        let tar = Tar::default().pax(&[(&key, value.as_bytes())]).add(kind, b"a", payload.as_bytes());
        at_least_told(record(&tar.end()));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), magic in 0..3) {
        let magic: &[u8] = [&b""[..], b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"][magic as usize];
        at_least_told(record(&[magic, &bytes].concat()));
    }
}
