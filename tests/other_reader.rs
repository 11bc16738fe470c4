//! A reader written from FORMAT.md alone reads the disk: `reader.py`, in another language, with no code of ours.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod sample;

use holdall::ids::Sha256;
use holdall::medium::{DirectoryMedium, Medium, MediumFile};
use holdall::units::PackNumber;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader.py");

/// What the reader prints; `None`, said aloud, where this machine has not what it needs.
fn run(disk: &Path) -> Option<(bool, String)> {
    let modules = "import blake3\ntry:\n import zstandard\nexcept ImportError:\n import shutil; assert shutil.which('zstd')";
    if !Command::new("python3")
        .args(["-c", modules])
        .output()
        .is_ok_and(|out| out.status.success())
    {
        eprintln!("skipped: python3 with blake3 and zstandard is not installed");
        return None;
    }
    let out = Command::new("python3").arg(READER).arg(disk).output().unwrap();
    Some((
        out.status.success(),
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
    ))
}

#[test]
fn a_reader_written_from_format_md_alone_reads_the_disk() {
    let (folder, state, disk) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::open(disk.path()).unwrap());
    sample::init(medium.as_ref());
    let Some((whole, text)) = run(disk.path()) else {
        return;
    };
    assert!(whole && text.ends_with("whole\n"), "empty: {text}");

    sample::add_all(&medium, state.path(), folder.path());
    // Two layers, with one of everything, and the chain of both.
    let ingest = sample::begin(&medium, state.path()).unwrap();
    let (one, two) = (Sha256::of(b"one"), Sha256::of(b"two"));
    let lower = sample::lower_layer(&ingest);
    let upper = sample::upper_layer(&ingest);
    let chain = ingest.merge(None, &lower).unwrap();
    let both = ingest.merge(Some(&chain), &upper).unwrap();
    ingest.put_layer(&one, &two, &lower);
    ingest.put_layer(&two, &one, &upper);
    ingest.put_chain(&one, &chain);
    ingest.put_chain(&two, &both);
    ingest.put_root_filesystem(&one, "linux-amd64", &two).unwrap();
    ingest.commit().unwrap();
    // Enough blobs for a catalogue of two levels, and enough chunks for a list of two.
    let mut many: Vec<Vec<u8>> = (0..600_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    many.push(sample::words(100_000_000, 9));
    sample::add(&medium, state.path(), &many).unwrap();
    // The next version of a blob, kept as its difference.
    let mut next = sample::noise(3_000_000, 6);
    next.iter_mut().step_by(2_000).for_each(|byte| *byte ^= 0x55);
    many.push(next);
    sample::add(&medium, state.path(), &many).unwrap();
    let (whole, text) = run(disk.path()).unwrap();
    assert!(whole, "{text}");
    let deltas = |line: &str| line.starts_with("pack ") && !line.ends_with("deltas 0");
    assert!(text.lines().any(deltas), "{text}");
    for bytes in sample::blobs(0).iter().chain(&many) {
        let line = format!("blob {} {}\n", Sha256::of(bytes).to_digest(), bytes.len());
        assert!(text.contains(&line), "{line}");
    }
    let digest = Sha256::of(&sample::manifest()).to_digest();
    for image in ["docker.io/library/thing:1.0", "localhost:5000/a/b:latest"] {
        assert!(text.contains(&format!("image {image} {digest}\n")), "{text}");
    }
    assert!(
        text.contains("entry /stuff/deep/link -> ../small.txt\n")
            && text.contains("entry /stuff/deep/empty/\n")
    );
    let rootfs = format!("rootfs {}/linux-amd64 {}\n", one.to_digest(), two.to_digest());
    let (layers, chains) = text.split_once("chain ").unwrap();
    assert!(chains.contains(&rootfs), "{text}");
    assert!(layers.contains("node /rootfs/gone whiteout\n"), "{text}");
    let last = chains.rsplit_once("chain ").map_or(chains, |(_, last)| last);
    let either = [chains, last].concat();
    assert!(either.contains("node /rootfs/dir/file 5000 "), "{text}");
    assert!(
        chains.matches("node /rootfs/dir/second 5000 ").count() >= 1,
        "{text}"
    );
    let ours = sample::read_files(&sample::open(&medium).unwrap()).unwrap().0;
    assert_eq!(ours.len(), 703);
    for (path, sha256) in ours {
        assert!(
            text.lines()
                .any(|l| l.starts_with(&format!("file {path} ")) && l.ends_with(&sha256.to_digest())),
            "{path}"
        );
    }

    // And it finds what is damaged.
    let pack = disk.path().join(MediumFile::Pack(PackNumber::new(1)).to_string());
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    #[expect(clippy::disallowed_methods, reason = "damage on purpose")]
    std::fs::write(&pack, bytes).unwrap();
    let (whole, text) = run(disk.path()).unwrap();
    assert!(
        !whole && text.contains("reader.py: stored bytes"),
        "{}",
        text.lines().last().unwrap_or_default()
    );
}
