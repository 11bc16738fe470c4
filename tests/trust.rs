//! What must not be believed: disks with links on them, and lists of signers, policies and signatures that only look as if they said yes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

mod stage;

use stage::{Said, Stage};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const AUDIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/holdall_audit.py");

/// The disk's generation that [`sealed`] seals.
const SEALED: u32 = 3;

/// A sealed disk of one file, signed by `alice`; its path.
fn sealed() -> (Stage, String) {
    let stage = Stage::new();
    let disk = stage.disk().to_str().unwrap().to_owned();
    stage
        .run(["init", &disk, "--origin", "build-7", "--series", "prod"])
        .code(0);
    std::fs::write(stage.path("file"), vec![7; 5_000]).unwrap();
    stage
        .add(&[format!("file:{}", stage.path("file").display())])
        .code(0);
    let alice = key(&stage, "alice");
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    (stage, disk)
}

fn key(stage: &Stage, name: &str) -> String {
    let path = stage.path(name);
    let made = Command::new("ssh-keygen")
        .args([
            "-q",
            "-N",
            "",
            "-t",
            "ed25519",
            "-C",
            &format!("{name}@example.org"),
            "-f",
        ])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success(), "{name}");
    path.to_str().unwrap().to_owned()
}

fn audit(args: &[&str]) -> Said {
    Command::new("python3")
        .arg(AUDIT)
        .args(args)
        .output()
        .unwrap()
        .into()
}

/// Every file below a folder, with its bytes.
fn all_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

#[test]
fn a_link_in_place_of_a_folder_of_the_disk_leads_neither_reader_nor_writer_off_it() {
    let root = format!("generations/{SEALED:06}/ROOT");
    for (folder, to, named) in [
        (format!("generations/{SEALED:06}"), "../../outside", root.as_str()),
        ("generations".to_owned(), "../outside", "generations"),
        ("packs".to_owned(), "../outside", "packs"),
    ] {
        let (stage, disk) = sealed();
        let bob = key(&stage, "bob");
        let folder = Path::new(&disk).join(&folder);
        let outside = stage.path("outside");
        std::fs::rename(&folder, &outside).unwrap();
        symlink(to, &folder).unwrap();
        let before = all_below(&outside);
        stage.run(["verify", &disk]).code(3).says(named);
        audit(&["disk", &disk]).code(3).says(named);
        for args in [
            &["sign", &disk, "--key", &bob][..],
            &["seal", &disk, "--key", &bob],
        ] {
            let said = stage.run(args);
            assert_ne!(said.code, 0, "{args:?}: {said:?}");
        }
        std::fs::write(stage.path("more"), vec![8; 5_000]).unwrap();
        let _whatever_comes_of_it = stage.add(&[format!("file:{}", stage.path("more").display())]);
        assert_eq!(all_below(&outside), before, "{named}");
    }
}
