//! A disk that version 1 wrote, kept as it was: whatever comes later reads it, and reads the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod stage;

use holdall::erofs::Image;
use holdall::ids::Sha256;
use holdall::medium::{DirectoryMedium, Medium};
use holdall::reader::{Disk, OpenOptions};
use stage::{Stage, sh};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/media/v1");

/// What was written down of the disk when it was made. `HOLDALL_BLESS=1` writes what is not there yet.
#[track_caller]
fn assert_as_kept(name: &str, found: &str) {
    let path = Path::new(MEDIA).join("expected").join(name);
    if std::env::var_os("HOLDALL_BLESS").is_some() && !path.exists() {
        std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(kept == found, "{name}: it was\n{kept}\nand is\n{found}");
}

fn disk() -> PathBuf {
    Path::new(MEDIA).join("disk")
}

#[test]
fn a_disk_of_version_1_is_whole_and_says_what_it_said() {
    let stage = Stage::new();
    let path = disk();
    let path = path.to_str().unwrap();
    stage.run(["verify", "--full", path]).code(0);
    let info = stage.run(["--json", "info", path]).code(0).json();
    assert_as_kept("root", &format!("{}\n", info["root"].as_str().unwrap()));
    assert_as_kept("ls", &stage.run(["ls", "--long", path]).code(0).out);
    assert_as_kept(
        "ls-files",
        &stage.run(["ls", "--long", path, "files/"]).code(0).out,
    );
    assert_as_kept("log", &stage.run(["log", path]).code(0).out);
    // Every file of it, as it was written.
    assert_as_kept(
        "files",
        &sh(&format!(
            "cd {MEDIA}/disk; find . -type f | LC_ALL=C sort | xargs sha256sum"
        )),
    );
}

#[test]
fn its_signature_is_taken_by_stock_openssh_and_by_a_policy() {
    sh(&format!(
        "ssh-keygen -Y verify -f {MEDIA}/allowed_signers -I keeper -n holdall-root@v1 \
         -s {MEDIA}/disk/generations/*/ROOT.keeper.sig < $(ls -d {MEDIA}/disk/generations/* | tail -n 1)/ROOT"
    ));
    let stage = Stage::new();
    let policy = stage.path("policy.toml");
    std::fs::write(
        &policy,
        format!(
            "allowed_signers = \"{MEDIA}/allowed_signers\"\n[[accept]]\norigin = \"the first of version 1\"\nseries = \"fixtures\"\nthreshold = 2\nsigners = [\"keeper\", \"second\"]\n"
        ),
    )
    .unwrap();
    let disk = disk();
    stage.run(["trust", "begin"]).code(0);
    stage
        .run([
            "verify",
            "--policy",
            policy.to_str().unwrap(),
            disk.to_str().unwrap(),
        ])
        .code(0);
}

#[test]
fn what_leaves_it_is_what_left_it_then() {
    let stage = Stage::new();
    let disk = disk();
    let disk = disk.to_str().unwrap();
    let mut blobs = String::new();
    for image in ["fixture.test/app:1", "fixture.test/app:2"] {
        let out = stage.path(&image.replace([':', '/'], "-"));
        let to = out.to_str().unwrap();
        stage
            .run(["extract", "--allow-unsigned", disk, image, to])
            .code(0);
        blobs += &sh(&format!(
            "cd {to}/blobs/sha256; ls | LC_ALL=C sort; sha256sum --quiet -c <(for f in *; do echo \"$f  $f\"; done)"
        ));
    }
    assert_as_kept("blobs", &blobs);
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::open(Path::new(disk)).unwrap());
    let disk = Disk::open(medium, &OpenOptions::default()).unwrap();
    let mut images = String::new();
    for position in 0..disk.chain_count().unwrap() {
        let chain = disk.chain_at(position).unwrap().unwrap();
        let image = Image::of(chain.tree()).unwrap();
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < image.size() {
            bytes.extend_from_slice(&image.slice_at(bytes.len() as u64, 1 << 20).unwrap());
        }
        let hot = disk.hot_bytes(&chain.id).unwrap();
        writeln!(
            images,
            "{} {} {} hot {hot:?}",
            chain.id,
            image.size(),
            Sha256::of(&bytes)
        )
        .unwrap();
    }
    assert_as_kept("erofs", &images);
}

#[test]
fn the_reader_in_python_reads_the_same() {
    let modules = "import blake3\ntry:\n import zstandard\nexcept ImportError:\n import shutil; assert shutil.which('zstd')";
    if !Command::new("python3")
        .args(["-c", modules])
        .output()
        .is_ok_and(|out| out.status.success())
    {
        eprintln!("SKIPPED: python3 with blake3 and zstandard is not installed");
        return;
    }
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reader.py");
    assert_as_kept("reader", &sh(&format!("python3 {reader} {}", disk().display())));
}
