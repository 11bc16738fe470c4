//! Layers written by real programs from a real folder, against what `lstat` says of that folder.
#![expect(clippy::disallowed_methods, reason = "the folder that is packed is no medium")]

use super::recording::{Part, Recording, Told, record};
use holdall::ids::Sha256;
use holdall::reader::{Metadata, SpecialKind};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// What a dialect can say.
#[derive(Clone, Copy, Default)]
struct Can {
    long_names: bool,
    devices: bool,
    large_ids: bool,
    before_1970: bool,
    nanoseconds: bool,
    xattrs: bool,
}

const V7: Can = Can {
    long_names: false,
    devices: false,
    large_ids: false,
    before_1970: false,
    nanoseconds: false,
    xattrs: false,
};
const USTAR: Can = Can { devices: true, ..V7 };
const GNU: Can = Can {
    long_names: true,
    large_ids: true,
    before_1970: true,
    ..USTAR
};
const PAX: Can = Can {
    nanoseconds: true,
    xattrs: true,
    ..GNU
};
const AFTER_1970: Can = Can {
    before_1970: false,
    ..PAX
};

fn run(program: &str, args: &[&OsStr], folder: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|err| {
            panic!("{program}: {err}; apt-get install tar libarchive-tools python3 attr zstd")
        });
    assert!(output.status.success(), "{program} {args:?}: {}", output.status);
    output.stdout
}

fn words(text: &str) -> Vec<&OsStr> {
    text.split_whitespace().map(OsStr::new).collect()
}

fn set_xattr(path: &Path, name: &str, value: &str) {
    let args = ["-h", "-n", name, "-v", value].map(OsStr::new);
    let args = [&args[..], &[path.as_os_str()]].concat();
    run("setfattr", &args, Path::new("/"));
}

/// A folder with whatever the dialect can say.
fn folder(can: Can) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("layer").tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("usr/share/doc")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    for (name, len) in [
        ("none", 0),
        ("one", 1),
        ("under", 511),
        ("block", 512),
        ("over", 513),
        ("large", 2_500_000),
    ] {
        let bytes: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        fs::write(at("usr").join(name), bytes).unwrap();
    }
    fs::set_permissions(at("usr/one"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(at("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(at("usr/share"), fs::Permissions::from_mode(0o2755)).unwrap();
    fs::hard_link(at("usr/large"), at("usr/share/same")).unwrap();
    fs::hard_link(at("usr/large"), at("zz-same")).unwrap();
    std::os::unix::fs::symlink("../usr//one", at("empty/link")).unwrap();
    fs::write(at("usr").join(OsStr::from_bytes(b"not-utf8-\xff\xfe")), b"x").unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    sparse.write_all_at(b"in the middle", 1_048_576).unwrap();
    let extents = File::create(at("extents")).unwrap();
    for n in 0..60 {
        extents.write_all_at(&[1; 4096], n * 65_536).unwrap();
    }
    File::create(at("hole")).unwrap().set_len(10_000_000).unwrap();
    if can.devices {
        for node in ["null c 1 3", "disk b 259 70000", "pipe p"] {
            run("mknod", &words(node), dir.path());
        }
    }
    if can.long_names {
        let long = at(&format!("usr/share/{}/{}", "d".repeat(200), "e".repeat(255)));
        fs::create_dir_all(&long).unwrap();
        fs::write(long.join("f".repeat(120)), b"deep").unwrap();
        fs::hard_link(long.join("f".repeat(120)), long.join("g".repeat(200))).unwrap();
        std::os::unix::fs::symlink("t/".repeat(700), at("far")).unwrap();
    }
    if can.xattrs {
        set_xattr(&at("usr/one"), "user.empty", "");
        set_xattr(&at("usr/one"), "user.lines", "0x0a0a3d000a31");
        set_xattr(
            &at("usr/block"),
            "security.capability",
            "0x0100000200200000000000000000000000000000",
        );
        set_xattr(&at("empty"), "user.of-a-folder", "x");
        set_xattr(&at("empty"), "trusted.overlay.opaque", "y");
    }
    let (uid, gid) = if can.large_ids {
        (Some(3_000_000_000), Some(4_000_000_000))
    } else {
        (Some(1234), Some(200_000))
    };
    std::os::unix::fs::chown(at("usr/under"), uid, gid).unwrap();
    if !can.nanoseconds {
        let touch = ". -exec touch --no-dereference --date=@1500000000 {} +";
        run("find", &words(touch), dir.path());
    }
    let set_time = |name: &str, time| {
        let file = File::open(at(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    let nanoseconds = Duration::from_nanos(if can.nanoseconds { 123_456_789 } else { 0 });
    set_time(
        "usr/none",
        UNIX_EPOCH + Duration::from_secs(1_000_000_000) + nanoseconds,
    );
    if can.before_1970 {
        set_time("usr/one", UNIX_EPOCH - Duration::from_secs(5) - nanoseconds);
    }
    set_time("usr", UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    dir
}

/// An entry as a path, what it is, and for files their bytes.
type Expected = BTreeMap<Vec<u8>, (Told, Vec<u8>)>;

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let args = [
        &words("-h -d -m - -e hex --absolute-names")[..],
        &[path.as_os_str()],
    ]
    .concat();
    let dump = run("getfattr", &args, Path::new("/"));
    let mut xattrs: Vec<_> = String::from_utf8(dump)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty() && !line.contains(".overlay."))
        .map(|line| match line.split_once("=0x") {
            Some((name, value)) => (name.into(), hex::decode(value).unwrap()),
            None => (line.trim_end_matches('=').into(), Vec::new()),
        })
        .collect();
    xattrs.sort();
    xattrs
}

/// What `lstat` says of all in `root`; of several names of one file, which come first is the tar's affair.
fn expected(root: &Path, can: Can) -> Expected {
    fn visit(path: &Path, root: &Path, can: Can, out: &mut Expected) {
        let stat = fs::symlink_metadata(path).unwrap();
        let metadata = Metadata {
            mode: (stat.mode() & 0o7777) as u16,
            uid: stat.uid(),
            gid: stat.gid(),
            mtime_sec: stat.mtime(),
            mtime_nsec: if can.nanoseconds {
                u32::try_from(stat.mtime_nsec()).unwrap()
            } else {
                0
            },
            xattrs: if can.xattrs { xattrs(path) } else { Vec::new() },
        };
        let kind = stat.file_type();
        let mut bytes = Vec::new();
        let (major, minor) = (
            nix::sys::stat::major(stat.rdev()),
            nix::sys::stat::minor(stat.rdev()),
        );
        let number = |number| u32::try_from(number).unwrap();
        let special = |kind| Told::Special(metadata.clone(), kind, number(major), number(minor));
        let told = if kind.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                visit(&entry.unwrap().path(), root, can, out);
            }
            Told::Directory(metadata)
        } else if kind.is_symlink() {
            Told::Symlink(
                metadata,
                fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
            )
        } else if kind.is_char_device() {
            special(SpecialKind::CharDevice)
        } else if kind.is_block_device() {
            special(SpecialKind::BlockDevice)
        } else if kind.is_fifo() {
            special(SpecialKind::Fifo)
        } else {
            bytes = fs::read(path).unwrap();
            Told::File(metadata, stat.len(), Vec::new())
        };
        let path = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        out.insert(path, (told, bytes));
    }
    let mut out = BTreeMap::new();
    visit(root, root, can, &mut out);
    out
}

fn bytes_of(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(more) => bytes.extend_from_slice(more),
            Part::Hole(len) => bytes.resize(bytes.len() + usize::try_from(*len).unwrap(), 0),
        }
    }
    bytes
}

/// Holes that were told of all files, in bytes.
fn holes(sink: &Recording) -> u64 {
    let parts = sink.told.iter().filter_map(|(_, told)| match told {
        Told::File(_, _, parts) => Some(parts),
        _ => None,
    });
    parts
        .flatten()
        .map(|part| match part {
            Part::Hole(len) => *len,
            Part::Bytes(_) => 0,
        })
        .sum()
}

fn compare(what: &str, tar: &[u8], expected: &Expected) -> Recording {
    let (sink, summary) = record(tar).unwrap_or_else(|err| panic!("{what}: {err}"));
    assert_eq!(summary.diff_id, Sha256::of(tar), "{what}");
    assert_eq!(summary.tar_bytes, tar.len() as u64, "{what}");
    let mut seen: Expected = BTreeMap::new();
    let mut links = 0;
    for (path, told) in &sink.told {
        let entry = match told {
            Told::File(metadata, size, parts) => {
                (Told::File(metadata.clone(), *size, Vec::new()), bytes_of(parts))
            }
            Told::HardLink(target) => {
                links += 1;
                seen.get(target)
                    .unwrap_or_else(|| panic!("{what}: a link to nothing"))
                    .clone()
            }
            other => (other.clone(), Vec::new()),
        };
        assert!(
            seen.insert(path.clone(), entry).is_none(),
            "{what}: {path:?} twice"
        );
    }
    for (path, (told, bytes)) in expected {
        let path_shown = String::from_utf8_lossy(path);
        let (seen, seen_bytes) = seen
            .remove(path)
            .unwrap_or_else(|| panic!("{what}: {path_shown} is not there"));
        assert_eq!(&seen, told, "{what}: {path_shown}");
        assert!(&seen_bytes == bytes, "{what}: {path_shown} has other bytes");
    }
    assert!(seen.is_empty(), "{what}: {:?} should not be there", seen.keys());
    let names = expected
        .keys()
        .filter(|path| path.ends_with(b"same") || path.ends_with(&[b'g'; 200]));
    assert_eq!(links, names.count(), "{what}: links");
    sink
}

#[test]
fn gnu_tar_in_each_format_gives_the_folder() {
    for (format, can) in [
        ("v7", V7),
        ("ustar", USTAR),
        ("oldgnu", GNU),
        ("gnu", GNU),
        ("posix", Can { xattrs: false, ..PAX }),
        ("posix --xattrs --xattrs-include=*", PAX),
        (
            "posix --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f",
            Can { xattrs: false, ..PAX },
        ),
    ] {
        let folder = folder(can);
        let expected = expected(folder.path(), can);
        let args = format!("--create --numeric-owner --format={format} --file=- .");
        let sink = compare(format, &run("tar", &words(&args), folder.path()), &expected);
        assert_eq!(holes(&sink), 0);
    }
}

#[test]
fn gnu_tar_with_sparse_files_in_each_dialect_gives_the_folder_and_its_holes() {
    for (format, can) in [
        ("oldgnu", GNU),
        ("gnu", GNU),
        ("posix --sparse-version=0.0", PAX),
        ("posix --sparse-version=0.1", PAX),
        ("posix --sparse-version=1.0", PAX),
    ] {
        let can = Can { xattrs: false, ..can };
        let folder = folder(can);
        let expected = expected(folder.path(), can);
        let args = format!("--create --numeric-owner --sparse --format={format} --file=- .");
        let tar = run("tar", &words(&args), folder.path());
        assert!(
            tar.len() < 6_000_000,
            "{format}: {} bytes, nothing is sparse",
            tar.len()
        );
        let sink = compare(format, &tar, &expected);
        assert!(holes(&sink) > 15_000_000, "{format}: {}", holes(&sink));
    }
}

// Of a time before 1970 that has a fraction, bsdtar writes another: whole seconds rounded down, and then the
// decimals as if it were after 1970.
#[test]
fn bsdtar_in_each_format_gives_the_folder() {
    for (format, can) in [
        ("v7", V7),
        ("ustar", USTAR),
        (
            "gnutar",
            Can {
                before_1970: false,
                ..GNU
            },
        ),
        ("pax --no-read-sparse", AFTER_1970),
        ("pax --read-sparse", AFTER_1970),
        // pax only where it is needed.
        (
            "paxr --no-read-sparse",
            Can {
                nanoseconds: false,
                ..PAX
            },
        ),
    ] {
        let folder = folder(can);
        let expected = expected(folder.path(), can);
        let args = format!("--create --numeric-owner --format={format} --file=- .");
        let sink = compare(format, &run("bsdtar", &words(&args), folder.path()), &expected);
        assert_eq!(
            holes(&sink) > 15_000_000,
            format.ends_with(" --read-sparse"),
            "{format}"
        );
    }
}

#[test]
fn pythons_tarfile_in_each_format_gives_the_folder() {
    for (format, can) in [
        ("USTAR", USTAR),
        ("GNU", GNU),
        ("PAX", Can { xattrs: false, ..PAX }),
    ] {
        // Python's times are floating point numbers, which are too coarse for nanoseconds.
        let can = Can {
            nanoseconds: false,
            ..can
        };
        let folder = folder(can);
        let expected = expected(folder.path(), can);
        let script = format!(
            "import sys, tarfile, os\n\
             t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.{format}_FORMAT)\n\
             def whole(i):\n    i.mtime = os.lstat(i.name if i.name != '.' else '.').st_mtime_ns // 10**9\n    return i\n\
             t.add('.', filter=whole)\n\
             t.close()\n"
        );
        let script_args = [OsStr::new("-c"), OsStr::new(&script)];
        let tar = run("python3", &script_args, folder.path());
        compare(format, &tar, &expected);
    }
}

#[test]
fn what_gzip_and_zstd_write_is_read() {
    let folder = folder(PAX);
    let tar = run("tar", &words("--create --format=posix --file=- ."), folder.path());
    let (plain, summary) = record(&tar).unwrap();
    let file = folder.path().join("tar");
    fs::write(&file, &tar).unwrap();
    for command in [
        "gzip -c tar",
        "head -c 100000 tar | gzip -1 -c; tail -c +100001 tar | gzip -9 -c; head -c 5000 /dev/zero",
        "gzip --rsyncable -c tar",
        "zstd -q -c tar",
        "zstd -q -19 --long=27 -c tar",
        "zstd -q -T2 -c < tar",
        "head -c 100000 tar | zstd -q -c; tail -c +100001 tar | zstd -q --no-check -c",
    ] {
        let args = [OsStr::new("-c"), OsStr::new(command)];
        let (sink, of_compressed) = record(&run("sh", &args, folder.path())).unwrap();
        assert_eq!(of_compressed, summary, "{command}");
        assert!(sink.told == plain.told, "{command}");
    }
    let args = [OsStr::new("-c"), OsStr::new("zstd -q --long=28 -c < tar")];
    let bytes = run("sh", &args, folder.path());
    let refusal = record(&bytes)
        .err()
        .map(|err| err.to_string())
        .unwrap_or_default();
    assert!(
        refusal.contains("memory"),
        "a window of 256 MiB is taken: {refusal:?}"
    );
}
