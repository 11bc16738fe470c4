//! Hot lists: what containers read first is recorded, stored once more in frames of its own, and loaded ahead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

mod sample;
mod stage;

use holdall::format::catalogue::Kind;
use holdall::hot::Span;
use holdall::ids::Sha256;
use holdall::medium::{Medium, MediumFile, MemoryMedium};
use holdall::monitor::Silent;
use holdall::name::EntryName;
use holdall::verify::{VerifyOptions, verify};
use stage::{Running, Stage, corpus, sh};
use std::path::Path;
use std::sync::Arc;

fn span(path: &str, from: u64, to: u64) -> Span {
    Span {
        path: path.as_bytes().to_vec(),
        from,
        to,
    }
}

/// A disk with the sample's lower layer as a chain of that id.
fn with_chain(medium: &Arc<dyn Medium>, state: &Path, id: &Sha256) {
    sample::init(medium.as_ref());
    let ingest = sample::begin(medium, state).unwrap();
    let layer = sample::lower_layer(&ingest);
    let chain = ingest.merge(None, &layer).unwrap();
    ingest.put_layer(id, id, &layer);
    ingest.put_chain(id, &chain);
    ingest.commit().unwrap();
}

/// Everything holds, down to each chunk.
#[track_caller]
fn assert_whole(medium: &Arc<dyn Medium>) {
    let options = VerifyOptions {
        full: true,
        ..VerifyOptions::default()
    };
    let report = verify(medium, &options, &Silent).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[test]
fn what_is_read_first_is_had_from_frames_of_its_own_once_they_are_loaded() {
    let state = tempfile::tempdir().unwrap();
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::new());
    let id = Sha256::of(b"chain");
    with_chain(&medium, state.path(), &id);
    let before = medium.packs().unwrap().len();

    let ingest = sample::begin(&medium, state.path()).unwrap();
    // Each chunk once, in the order in which it is first wanted; what is not there, no file, or too small is left out.
    let spans = [
        span("gone", 90_000, 90_001),
        span("dir/file", 0, 1),
        span("gone", 0, u64::MAX),
        span("dir/second", 0, 1),
        span("nothing/here", 0, 1),
        span("dir", 0, 1),
        span("gone", 500_000, 500_001),
    ];
    let list = ingest.put_hot(&id, &spans).unwrap().unwrap();
    assert_eq!((list.bytes, list.lost, list.same), (105_000, 2, false));
    assert!(ingest.put_hot(&Sha256::of(b"another"), &spans).is_err());
    assert_eq!(ingest.put_hot(&id, &spans[4..]).unwrap(), None);
    assert!(ingest.commit().unwrap().changed);
    assert_eq!(medium.packs().unwrap().len(), before + 1);
    assert_whole(&medium);

    let disk = sample::open(&medium).unwrap();
    assert_eq!(disk.hot_bytes(&id).unwrap(), Some(105_000));
    let (_, leaf, _) = disk.leaf_with_path(Kind::Hot, &id.to_digest()).unwrap().unwrap();
    assert_eq!(leaf.size, 105_000);
    let rootfs = disk.chain(&id).unwrap().unwrap().rootfs().clone();
    let gone = rootfs.entry(&EntryName::new(b"gone").unwrap()).unwrap().unwrap();
    let file = rootfs.open_file(&gone).unwrap();
    let read = || {
        let mut bytes = vec![0; 100_000];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 100_000);
        assert!(bytes == sample::words(100_000, 2));
    };
    // Where the file's chunks are stands in a page, which is read either way.
    assert!(file.pieces(0).count() > 1);
    disk.warm(&id);
    let loaded = disk.cache_figures().frames;
    read();
    assert_eq!(
        disk.cache_figures().frames,
        loaded,
        "its own frame was read all the same"
    );

    // The same again changes nothing; another order is another list.
    let ingest = sample::begin(&medium, state.path()).unwrap();
    assert!(ingest.put_hot(&id, &spans).unwrap().unwrap().same);
    assert!(!ingest.commit().unwrap().changed);
    let ingest = sample::begin(&medium, state.path()).unwrap();
    let turned = [span("dir/file", 0, 1), span("gone", 0, u64::MAX)];
    assert!(!ingest.measure_hot(&id, &turned).unwrap().unwrap().same);
    assert!(!ingest.put_hot(&id, &turned).unwrap().unwrap().same);
    assert!(ingest.commit().unwrap().changed);
    assert_whole(&medium);
}

#[test]
fn a_hot_list_that_is_damaged_costs_no_file() {
    let state = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryMedium::new());
    let medium: Arc<dyn Medium> = Arc::clone(&memory) as Arc<dyn Medium>;
    let id = Sha256::of(b"chain");
    with_chain(&medium, state.path(), &id);
    let ingest = sample::begin(&medium, state.path()).unwrap();
    ingest
        .put_hot(&id, &[span("gone", 0, u64::MAX)])
        .unwrap()
        .unwrap();
    ingest.commit().unwrap();
    let pack = *medium.packs().unwrap().last().unwrap();
    memory.tamper(MediumFile::Pack(pack), |bytes| bytes[64 + 300] ^= 1);
    let report = verify(&medium, &VerifyOptions::default(), &Silent).unwrap();
    assert!(!report.is_whole());
    let disk = sample::open(&medium).unwrap();
    disk.warm(&id);
    let rootfs = disk.chain(&id).unwrap().unwrap().rootfs().clone();
    let gone = rootfs.entry(&EntryName::new(b"gone").unwrap()).unwrap().unwrap();
    let mut bytes = vec![0; 100_000];
    rootfs.open_file(&gone).unwrap().read_at(0, &mut bytes).unwrap();
    assert!(bytes == sample::words(100_000, 2));
}

#[test]
fn a_profile_that_was_recorded_is_laid_together_and_serves_other_versions() {
    let Some(layout) = corpus().map(|corpus| corpus.join("oci")) else {
        return;
    };
    let stage = Stage::new();
    stage.init();
    let source = |tag: &str| format!("oci:{}:{tag}", layout.display());
    let name = |tag: &str| format!("registry.test/python:{tag}");
    stage
        .add(&[source("python-r1"), "--as".to_owned(), name("1")])
        .code(0);
    let (disk, profile, at) = (stage.disk(), stage.path("profile.json"), stage.path("mnt"));
    std::fs::create_dir_all(&at).unwrap();
    let (disk, profile_path) = (disk.to_str().unwrap(), profile.to_str().unwrap());
    let mut mounted =
        Running::start(stage.command(["mount", disk, at.to_str().unwrap(), "--profile", profile_path]));
    let rootfs = at.join("images/registry.test/python/1/linux-amd64/rootfs");
    let library = rootfs.join("usr/lib/x86_64-linux-gnu/libc.so.6");
    let libc = std::fs::read(&library).unwrap();
    std::fs::read(rootfs.join("etc/passwd")).unwrap();
    assert_eq!(mounted.stop(), 0);
    let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
    let image = &recorded["images"][0];
    assert!(
        image["names"].as_array().unwrap().contains(&name("1").into()),
        "{recorded}"
    );
    let reads = image["reads"].as_array().unwrap();
    let of_libc: u64 = reads
        .iter()
        .filter(|read| read["path"] == "usr/lib/x86_64-linux-gnu/libc.so.6")
        .map(|read| read["to"].as_u64().unwrap() - read["from"].as_u64().unwrap())
        .sum();
    assert_eq!(of_libc, libc.len() as u64, "{recorded}");

    let repack = |more: &[&str]| {
        let all = ["--json", "repack", disk, "--profile", profile_path];
        stage.run(all.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let generation = stage.generation();
    let dry = repack(&["--dry-run"]).code(0).json();
    assert_eq!(dry["hot"].as_array().unwrap().len(), 1, "{dry}");
    assert_eq!(stage.generation(), generation);
    let done = repack(&[]).code(0).json();
    let bytes = done["hot"][0]["bytes"].as_u64().unwrap();
    assert!(bytes >= libc.len() as u64 && done["changed"] == true, "{done}");
    assert_eq!(stage.generation(), generation + 1);
    assert_eq!(repack(&[]).code(0).json()["changed"], false);
    stage.assert_whole();

    // The next version of the image, by the profile of this one.
    let added = stage
        .add(&[
            source("python-r2"),
            "--as".to_owned(),
            name("2"),
            "--profile".to_owned(),
            profile_path.to_owned(),
        ])
        .code(0);
    assert!(
        added.out.contains("as another version did") || added.err.contains("as another version did"),
        "{added:?}"
    );
    stage.assert_whole();
    let mut mounted = Running::start(stage.command(["mount", disk, at.to_str().unwrap()]));
    assert!(std::fs::read(&library).unwrap() == libc);
    assert_eq!(mounted.stop(), 0);

    // Loose files are listed one by one where a disk is sealed, before the hot lists.
    let (folder, key) = (stage.path("notes"), stage.path("key"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a"), b"a").unwrap();
    stage.add(&[format!("dir:{}", folder.display())]).code(0);
    sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", key.display()));
    stage
        .run(["seal", disk, "--no-readback", "--key", key.to_str().unwrap()])
        .code(0);
    stage.assert_whole();
    assert_eq!(stage.run(["--json", "info", disk]).code(0).json()["hot_lists"], 2);

    // What is no profile is refused by name, before anything is written.
    std::fs::write(&profile, b"{\"holdall-profile\":2,\"images\":[]}").unwrap();
    repack(&[]).code(4).says("of version 2");
    std::fs::write(&profile, b"not one").unwrap();
    repack(&[]).code(4).says("not a profile");
}
