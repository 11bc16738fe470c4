//! What each dialect of tar, and each compression, comes to.

use super::recording::{Part, Recording, Tar, Told, pax, record, refused, sum};
use super::{Compression, LayerError, Limits, Reason, read};
use crate::Error;
use holdall::ids::Sha256;
use holdall::reader::SpecialKind;
use std::io::{self, Read, Write as _};

fn only(tar: Tar) -> (Vec<u8>, Told) {
    let (sink, _) = record(&tar.end()).unwrap();
    assert_eq!(sink.told.len(), 1, "{:?}", sink.told);
    sink.told.into_iter().next().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sample() -> Vec<u8> {
    Tar::default()
        .add(b'5', b"./", b"")
        .add(b'0', b"a", &[7; 3000])
        .end()
}

#[test]
fn every_compression_gives_the_same_entries_and_the_same_diff_id() {
    let tar = sample();
    let (one, two) = tar.split_at(1000);
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    let skipped = b"\x5e\x2a\x4d\x18\x04\0\0\0junk".to_vec();
    let (plain, expected) = record(&tar).unwrap();
    assert_eq!(expected.diff_id, Sha256::of(&tar));
    assert_eq!((expected.tar_bytes, expected.entries), (tar.len() as u64, 2));
    for compressed in [
        gzip(&tar),
        [gzip(one), gzip(two)].concat(),
        [gzip(one), gzip(b""), gzip(two), gzip(b""), vec![0; 700_000]].concat(),
        [gzip(&tar), vec![0; 1]].concat(),
        zstd(&tar),
        [zstd(one), zstd(b""), zstd(two)].concat(),
        [skipped.clone(), zstd(one), skipped.clone(), zstd(two), skipped].concat(),
    ] {
        let (sink, summary) = record(&compressed).unwrap();
        assert_eq!((sink.told, summary), (plain.told.clone(), expected.clone()));
    }
}

#[test]
fn damaged_and_foreign_compression_is_refused() {
    let tar = gzip(&sample());
    let zstd = zstd::bulk::compress(&sample(), 3).unwrap();
    for damaged in [
        [tar.clone(), b"trailing".to_vec()].concat(),
        [tar.clone(), vec![0; 10], b"trailing".to_vec()].concat(),
        [tar.clone(), b"\x1f\x8b\x07\0\0\0\0\0\0\0\0\0\0".to_vec()].concat(),
        [zstd.clone(), b"trailing".to_vec()].concat(),
        [&tar[..tar.len() - 6], &[1, 2, 3, 4, 5, 6]].concat(),
        // A window of 256 MiB.
        b"\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00".to_vec(),
    ] {
        let reason = refused(&damaged);
        assert!(matches!(reason, Reason::Compression(_)), "{reason}");
    }
    for cut in [
        &tar[..tar.len() - 1],
        &tar[..tar.len() - 9],
        &zstd[..zstd.len() - 1],
    ] {
        assert!(matches!(
            refused(cut),
            Reason::CutShort(_) | Reason::Compression(_)
        ));
    }
    for foreign in [&b"\xfd7zXZ\0\0"[..], b"BZh91AY&SY"] {
        assert!(matches!(refused(foreign), Reason::Unsupported(_)));
    }
    for no_tar in [&b"{}"[..], &[b'{'; 512], &gzip(b"hello")] {
        assert_eq!(refused(no_tar), Reason::NotATar);
    }
}

#[test]
fn an_empty_source_is_an_empty_layer() {
    for empty in [
        Vec::new(),
        gzip(b""),
        vec![0; 512],
        vec![0; 1024],
        gzip(&[0; 10240]),
    ] {
        let (sink, summary) = record(&empty).unwrap();
        assert!(sink.told.is_empty());
        assert_eq!(summary.entries, 0);
    }
    assert_eq!(record(b"").unwrap().1.diff_id, Sha256::of(b""));
}

#[test]
fn the_tars_end_needs_no_mark_and_what_follows_it_is_hashed() {
    let tar = Tar::default().add(b'0', b"a", b"one");
    let told = record(&tar.clone().end()).unwrap().0.told;
    let no_padding = tar.0[..512 + 3].to_vec();
    let trailing = [tar.clone().end(), vec![b'x'; 3_000_001]].concat();
    for bytes in [
        tar.0.clone(),
        no_padding,
        [tar.0, vec![0; 512]].concat(),
        trailing,
    ] {
        let (sink, summary) = record(&bytes).unwrap();
        assert_eq!(sink.told, told);
        assert_eq!(summary.diff_id, Sha256::of(&bytes));
        assert_eq!(summary.tar_bytes, bytes.len() as u64);
    }
}

#[test]
fn pax_records_win_over_the_header() {
    let tar = Tar::default()
        .pax(&[
            ("hdrcharset", b"BINARY"),
            ("path", b"dir/\xff\xfe"),
            ("size", b"5"),
            ("uid", b"4000000000"),
            ("gid", b"4000000001"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.b", b"\n\0\n"),
            ("SCHILY.xattr.user.a", b"first"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/"),
            ("SCHILY.xattr.com.apple.provenance", b"z"),
            ("SCHILY.xattr.user.a", b""),
            ("VENDOR.other", b"1"),
        ])
        .changed(b'0', b"short", b"bytes", |block| {
            block[124..135].copy_from_slice(b"00000000000");
        })
        .add(b'0', b"next", b"");
    let (sink, summary) = record(&tar.end()).unwrap();
    let [(path, Told::File(metadata, 5, parts)), (next, after)] = sink.told.as_slice() else {
        panic!("{:?}", sink.told)
    };
    assert_eq!(
        (path.as_slice(), next.as_slice()),
        (&b"dir/\xff\xfe"[..], &b"next"[..])
    );
    assert_eq!(parts, &[Part::Bytes(b"bytes".to_vec())]);
    assert_eq!((metadata.uid, metadata.gid), (4_000_000_000, 4_000_000_001));
    assert_eq!((metadata.mtime_sec, metadata.mtime_nsec), (-2, 500_000_000));
    assert_eq!(
        metadata.xattrs,
        [
            (b"user.a".to_vec(), Vec::new()),
            (b"user.b".to_vec(), b"\n\0\n".to_vec())
        ]
    );
    assert_eq!((after.metadata().uid, after.metadata().mtime_sec), (1, 3));
    assert!(after.metadata().xattrs.is_empty());
    assert_eq!(summary.skipped.len(), 2);
    assert!(summary.skipped[0].contains("overlayfs") && summary.skipped[1].contains("other systems"));
}

#[test]
fn long_names_win_over_pax_and_the_second_pax_header_over_the_first() {
    let long = [b"long/", [b'n'; 200].as_slice()].concat();
    let (path, told) = only(
        Tar::default()
            .pax(&[("path", b"first"), ("mtime", b"9")])
            .add(b'L', b"././@LongLink", &[&long, &b"\0tail"[..]].concat())
            .add(b'K', b"././@LongLink", b"target\0")
            .pax(&[("path", b"second"), ("linkpath", b"other"), ("uid", b"")])
            .add(b'2', b"name", b""),
    );
    assert_eq!(path, long);
    assert_eq!(told.metadata().mtime_sec, 3);
    assert!(matches!(told, Told::Symlink(_, target) if target == b"target"));
    let (path, _) = only(
        Tar::default()
            .add(b'X', b"sun", &pax(&[("path", b"by sun")]))
            .add(b'0', b"name", b""),
    );
    assert_eq!(path, b"by sun");
}

#[test]
fn attributes_in_records_that_runtimes_do_not_read_are_named_where_they_are_lost() {
    let libarchive = ("LIBARCHIVE.xattr.user.x", &b"eQ=="[..]);
    for (records, lost) in [
        (&[libarchive][..], 1),
        (&[libarchive, ("SCHILY.xattr.user.x", b"y")], 0),
        (
            &[
                ("SCHILY.acl.access", b"user::rwx"),
                ("SCHILY.acl.default", b"user::rwx"),
                ("RHT.security.selinux", b"label"),
            ],
            2,
        ),
    ] {
        let (_, summary) = record(&Tar::default().pax(records).add(b'0', b"a", b"").end()).unwrap();
        assert_eq!(summary.skipped.len(), lost, "{:?}", summary.skipped);
    }
}

#[test]
fn global_headers_change_nothing_and_are_named() {
    let tar = Tar::default()
        .add(b'g', b"pax_global_header", &pax(&[("comment", b"a commit")]))
        .pax(&[("path", b"kept")])
        .add(
            b'g',
            b"pax_global_header",
            &pax(&[("mtime", b"1"), ("uid", b"5")]),
        )
        .add(b'0', b"a", b"");
    let (sink, summary) = record(&tar.end()).unwrap();
    assert_eq!(sink.told[0].0, b"kept");
    let metadata = sink.told[0].1.metadata();
    assert_eq!((metadata.mtime_sec, metadata.uid), (3, 1));
    assert_eq!(summary.skipped.len(), 1);
    assert!(
        summary.skipped[0].ends_with("mtime, uid"),
        "{:?}",
        summary.skipped
    );
}

#[test]
fn headers_of_every_age_are_read() {
    let v7 = |block: &mut [u8; 512]| block[257..].fill(0);
    let gnu = |block: &mut [u8; 512]| block[257..265].copy_from_slice(b"ustar  \0");
    assert!(matches!(
        only(Tar::default().changed(0, b"dir/", b"", v7)),
        (path, Told::Directory(_)) if path == b"dir"
    ));
    for kind in [0, b'7', b'0'] {
        let (path, told) = only(Tar::default().changed(kind, b"file", b"x", v7));
        assert!(path == b"file" && matches!(told, Told::File(..)));
    }
    let (path, _) = only(Tar::default().changed(b'0', b"file", b"x", |block| {
        block[345..351].copy_from_slice(b"prefix");
    }));
    assert_eq!(path, b"prefix/file");
    // star's prefix is shorter, with times after it.
    let (path, _) = only(Tar::default().changed(b'0', b"file", b"x", |block| {
        block[345..476].fill(b'p');
        block[476..487].copy_from_slice(b"00000000007");
        block[508..512].copy_from_slice(b"tar\0");
    }));
    assert_eq!(path, [&[b'p'; 131][..], b"/file"].concat());
    let (path, told) = only(Tar::default().changed(b'0', b"file", b"x", |block| {
        gnu(block);
        block[345..356].copy_from_slice(b"00000000007");
        block[136..148].fill(0xff);
        block[108..116].copy_from_slice(b"\x80\0\0\0\xee\x6b\x28\x00");
        block[100..107].copy_from_slice(b"0104755");
    }));
    assert_eq!(path, b"file");
    let metadata = told.metadata();
    assert_eq!(
        (metadata.mtime_sec, metadata.uid, metadata.mode),
        (-1, 4_000_000_000, 0o4755)
    );
    // A prefix where GNU has times, as Go once wrote.
    let (path, _) = only(Tar::default().changed(b'0', b"file", b"x", |block| {
        gnu(block);
        block[345..363].copy_from_slice(b"usr/share/old-path");
    }));
    assert_eq!(path, b"usr/share/old-path/file");
    // The sum of signed bytes.
    let mut tar = Tar::default().add(b'0', b"f\xff\xfe", b"").0;
    let mut block: [u8; 512] = tar[..512].try_into().unwrap();
    sum(&mut block);
    let unsigned = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
    tar[148..154].copy_from_slice(format!("{:06o}", unsigned - 512).as_bytes());
    assert_eq!(record(&tar).unwrap().0.told[0].0, b"f\xff\xfe");
}

#[test]
fn kinds_without_bytes_have_no_payload_whatever_their_size_says() {
    let lying = |block: &mut [u8; 512]| {
        block[124..135].copy_from_slice(b"00000007777");
        block[157..158].copy_from_slice(b"t");
        block[329..336].copy_from_slice(b"0000010");
        block[337..344].copy_from_slice(b"0000003");
    };
    let mut tar = Tar::default();
    for kind in *b"123456" {
        tar = tar.changed(kind, &[b'n', kind], b"", lying);
    }
    let (sink, summary) = record(&tar.end()).unwrap();
    assert_eq!(summary.entries, 6);
    let told: Vec<_> = sink.told.iter().map(|(_, told)| told).collect();
    assert!(matches!(
        told.as_slice(),
        [
            Told::HardLink(target),
            Told::Symlink(_, to),
            Told::Special(_, SpecialKind::CharDevice, 8, 3),
            Told::Special(_, SpecialKind::BlockDevice, 8, 3),
            Told::Directory(_),
            Told::Special(_, SpecialKind::Fifo, 0, 0),
        ] if target == b"t" && to == b"t"
    ));
}

#[test]
fn kinds_that_are_no_files_are_skipped_and_named() {
    let mut tar = Tar::default();
    for kind in *b"VMND~" {
        tar = tar.add(kind, b"../label", &[1; 1000]);
    }
    let (sink, summary) = record(&tar.add(b'0', b"after", b"x").end()).unwrap();
    assert_eq!(sink.told.len(), 1);
    assert_eq!((summary.entries, summary.skipped.len()), (6, 5));
    assert!(summary.skipped[0].contains("'V'"), "{:?}", summary.skipped);
    let mut tar = Tar::default();
    for _ in 0..300 {
        tar = tar.add(b'V', b"label", b"");
    }
    let skipped = record(&tar.end()).unwrap().1.skipped;
    assert_eq!((skipped.len(), skipped[100].as_str()), (101, "and 200 more"));
}

#[test]
fn whiteouts_are_marks_and_not_files() {
    let tar = Tar::default()
        .add(b'0', b"a/.wh.gone", b"with bytes")
        .add(b'5', b"a/.wh.dir/", b"")
        .link(b'1', b"a/.wh.link", b"a/other")
        .add(b'0', b"a/.wh..wh..opq", b"")
        .add(b'0', b".wh..wh..opq", b"")
        .add(b'0', b".wh..wh.aufs", b"x")
        .add(b'5', b".wh..wh.plnk", b"")
        .add(b'0', b".wh..wh.plnk/1.2", b"x")
        .add(b'0', b".whale", b"");
    let (sink, summary) = record(&tar.end()).unwrap();
    let told: Vec<_> = sink
        .told
        .iter()
        .map(|(path, told)| (path.as_slice(), told))
        .collect();
    assert!(matches!(
        told.as_slice(),
        [
            (b"a/gone", Told::Whiteout),
            (b"a/dir", Told::Whiteout),
            (b"a/link", Told::Whiteout),
            (b"a", Told::Opaque),
            (b"", Told::Opaque),
            (b".whale", Told::File(..)),
        ]
    ));
    assert_eq!((summary.entries, summary.skipped.len()), (9, 3));
}

#[test]
fn paths_are_from_the_root_however_they_are_written() {
    let tar = Tar::default()
        .add(b'5', b"", b"")
        .add(b'5', b"/", b"")
        .add(b'0', b"/etc//./x", b"")
        .link(b'1', b"./y", b"/etc/x")
        .link(b'2', b"z", b"/../..//x/");
    let (sink, _) = record(&tar.end()).unwrap();
    let paths: Vec<&[u8]> = sink.told.iter().map(|(path, _)| path.as_slice()).collect();
    assert_eq!(paths, [&b""[..], b"", b"etc/x", b"y", b"z"]);
    assert!(matches!(&sink.told[3].1, Told::HardLink(target) if target == b"etc/x"));
    assert!(matches!(&sink.told[4].1, Told::Symlink(_, target) if target == b"/../..//x/"));
}

/// Gives its bytes, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                Error::mismatch("blob", "a", "b"),
            ));
        }
        self.0.read(buf)
    }
}

#[test]
fn failures_of_source_and_sink_are_told_from_refusals() {
    let tar = sample();
    let limits = Limits::default();
    for bytes in [&tar[..], &tar[..700], &gzip(&tar)[..20], &gzip(&tar), b""] {
        let mut sink = Recording::default();
        let result = read(
            &mut Failing(bytes),
            Compression::Auto,
            &limits,
            &mut sink,
            &|| false,
        );
        let err = result.unwrap_err();
        assert!(matches!(&err, LayerError::Source(_)), "{err}");
        assert!(matches!(err.into_refusal("x"), Err(Error::Mismatch { .. })));
    }
    for call in 1..=4 {
        let mut sink = Recording {
            fail_at: Some(call),
            ..Recording::default()
        };
        let result = read(&mut &tar[..], Compression::Auto, &limits, &mut sink, &|| false);
        assert!(matches!(
            result.unwrap_err().into_refusal("x"),
            Err(Error::Refused { .. })
        ));
    }
    let result = read(
        &mut &tar[..],
        Compression::Auto,
        &limits,
        &mut Recording::default(),
        &|| true,
    );
    assert!(matches!(result, Err(LayerError::Interrupted)));
}
