//! A small disk with one of everything, and what must come out of it again.
#![allow(dead_code, reason = "each test uses a part")]

use holdall::generation::{self, Labels};
use holdall::ids::Sha256;
use holdall::ingest::{Committed, Ingest, IngestOptions, LayerWriter, StoredTree};
use holdall::medium::Medium;
use holdall::monitor::Silent;
use holdall::name::{EntryName, ImageName};
use holdall::reader::{Directory, Disk, Metadata, Node, OpenOptions, SpecialKind};
use holdall::units::PackNumber;
use holdall::verify::{CheckedPack, Journal, PartId, Report, Verdict, VerifyOptions};
use holdall::{Error, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ZEROS: usize = 700_000;

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.finalize_xof().fill(&mut out);
    out
}

/// Bytes that zstd makes smaller.
pub fn words(len: usize, seed: u64) -> Vec<u8> {
    noise(len, seed).iter().map(|b| b'a' + b % 8).collect()
}

/// Inline, one chunk, several chunks, several frames, zeros only, zeros inside.
pub fn blobs(seed: u64) -> Vec<Vec<u8>> {
    let mut holes = words(300_000, seed + 4);
    holes.extend(vec![0; ZEROS]);
    holes.extend(noise(200_000, seed + 5));
    vec![
        Vec::new(),
        noise(100, seed),
        words(2_048, seed + 1),
        words(2_049, seed + 2),
        words(300_000, seed + 3),
        noise(3_000_000, seed + 6),
        vec![0; ZEROS],
        holes,
    ]
}

pub fn labels() -> Labels {
    Labels {
        origin: "a place".to_owned(),
        series: "tests".to_owned(),
    }
}

pub fn init(medium: &dyn Medium) {
    generation::init(medium, &labels(), &holdall::custody::Witness::unnamed(), 1_000).unwrap();
}

pub fn begin(medium: &Arc<dyn Medium>, state: &Path) -> Result<Ingest> {
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: holdall::pack::Level::default(),
        state: state.to_owned(),
        interrupted: Arc::default(),
    };
    Ingest::open(Arc::clone(medium), &options, Arc::new(Silent))
}

/// Adds the blobs and commits them.
pub fn add(medium: &Arc<dyn Medium>, state: &Path, blobs: &[Vec<u8>]) -> Result<Committed> {
    let ingest = begin(medium, state)?;
    put(&ingest, blobs)?;
    ingest.commit()
}

pub fn put(ingest: &Ingest, blobs: &[Vec<u8>]) -> Result<()> {
    for bytes in blobs {
        let digest = Sha256::of(bytes);
        let stored = match ingest.known_blob(&digest)? {
            Some(known) => known,
            None => ingest.store_small(bytes, Some(&digest), "a test")?,
        };
        ingest.put_blob(&stored, None)?;
    }
    Ok(())
}

/// Adds one of everything: blobs, an image, folders with files and links.
pub fn add_all(medium: &Arc<dyn Medium>, state: &Path, folder: &Path) -> Committed {
    let ingest = begin(medium, state).unwrap();
    put(&ingest, &blobs(0)).unwrap();
    let manifest = ingest.store_small(&manifest(), None, "a test").unwrap();
    ingest.put_blob(&manifest, Some(MANIFEST)).unwrap();
    ingest
        .put_image(&name("docker.io/library/thing:1.0"), &manifest, MANIFEST)
        .unwrap();
    ingest
        .put_image(&name("localhost:5000/a/b:latest"), &manifest, MANIFEST)
        .unwrap();
    make_files(folder);
    ingest
        .add_path(folder, &[], EntryName::new(b"stuff").unwrap())
        .unwrap();
    ingest.commit().unwrap()
}

pub fn manifest() -> Vec<u8> {
    br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec()
}

pub fn name(text: &str) -> ImageName {
    ImageName::parse(text).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "files of the test's own, not of a medium"
)]
fn make_files(folder: &Path) {
    std::fs::create_dir_all(folder.join("deep/empty")).unwrap();
    std::fs::write(folder.join("small.txt"), b"a few words\n").unwrap();
    std::fs::write(folder.join("deep/large"), words(400_000, 77)).unwrap();
    std::fs::write(folder.join("deep/none"), b"").unwrap();
    std::os::unix::fs::symlink("../small.txt", folder.join("deep/link")).unwrap();
    for n in 0..700 {
        std::fs::write(folder.join(format!("many-{n:04}")), n.to_string()).unwrap();
    }
}

fn plain(mode: u16) -> Metadata {
    Metadata {
        mode,
        uid: 1,
        gid: 2,
        mtime_sec: 3,
        mtime_nsec: 4,
        xattrs: Vec::new(),
    }
}

fn path(text: &str) -> Vec<EntryName> {
    let parts = text.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| EntryName::new(part.as_bytes()).unwrap())
        .collect()
}

fn file(layer: &mut LayerWriter, at: &str, bytes: &[u8]) {
    layer
        .begin_file(&path(at), plain(0o644), bytes.len() as u64)
        .unwrap();
    layer.data(bytes).unwrap();
    layer.end_file().unwrap();
}

/// A layer with a hard link, links, a device, and what another may take away.
pub fn lower_layer(ingest: &Ingest) -> StoredTree {
    let mut layer = ingest.layer_writer();
    layer.directory(&[], plain(0o755)).unwrap();
    layer.directory(&path("dir"), plain(0o755)).unwrap();
    file(&mut layer, "dir/file", &words(5_000, 1));
    layer.hard_link(&path("dir/second"), &path("dir/file")).unwrap();
    file(&mut layer, "gone", &words(100_000, 2));
    layer.symlink(&path("link"), plain(0o777), b"dir/file").unwrap();
    layer
        .special(&path("null"), plain(0o666), SpecialKind::CharDevice, 1, 3)
        .unwrap();
    layer.hard_link(&path("dir/link"), &path("link")).unwrap();
    layer.hard_link(&path("zero"), &path("null")).unwrap();
    layer.finish().unwrap().0
}

/// A layer over that one: takes away, hides, and names a file of the one below.
pub fn upper_layer(ingest: &Ingest) -> StoredTree {
    let mut layer = ingest.layer_writer();
    layer.whiteout(&path("gone")).unwrap();
    layer.hard_link(&path("third"), &path("dir/file")).unwrap();
    file(&mut layer, "new/file", b"small");
    layer.opaque(&path("new")).unwrap();
    layer.finish().unwrap().0
}

pub fn open(medium: &Arc<dyn Medium>) -> Result<Disk> {
    Disk::open(Arc::clone(medium), &OpenOptions::default())
}

/// What a read gives: the exact bytes, or an error. Wrong bytes fail the test.
pub fn read(disk: &Disk, bytes: &[u8]) -> Result<()> {
    let digest = Sha256::of(bytes);
    let blob = disk
        .blob(&digest)?
        .ok_or_else(|| Error::missing(digest.to_digest()))?;
    let mut out = vec![0; bytes.len() + 1];
    let n = disk.open_blob(&blob).read_at(0, &mut out)?;
    assert!(out[..n] == *bytes, "wrong bytes were served of {digest}");
    Ok(())
}

/// Paths and SHA-256s of files that were read, and what could not be.
pub type ReadFiles = (Vec<(String, Sha256)>, Vec<Error>);

/// Every file below the tree of files, as path and SHA-256 of the bytes that were read; errors counted.
pub fn read_files(disk: &Disk) -> Result<ReadFiles> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut waiting: Vec<(String, Directory)> =
        disk.files()?.map(|d| (String::new(), d)).into_iter().collect();
    while let Some((path, directory)) = waiting.pop() {
        for entry in directory.entries(0) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    errors.push(e);
                    break;
                }
            };
            let below = format!("{path}/{}", entry.name);
            match &entry.node {
                Node::Directory { .. } => waiting.push((below, directory.open_directory(&entry)?)),
                Node::File { size, sha256, .. } => {
                    let mut out = vec![0; usize::try_from(*size).unwrap()];
                    match directory.open_file(&entry)?.read_at(0, &mut out) {
                        Ok(n) => {
                            let sha256 = sha256.unwrap();
                            assert_eq!((Sha256::of(&out[..n]), n), (sha256, out.len()), "{below}");
                            found.push((below, sha256));
                        }
                        Err(e) => errors.push(e),
                    }
                }
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {}
            }
        }
    }
    Ok((found, errors))
}

/// Keeps all that a verification checks, and gives about half of it to the next one.
#[derive(Debug, Default)]
pub struct HalfKept {
    giving: AtomicBool,
    packs: Mutex<HashMap<PackNumber, CheckedPack>>,
    parts: Mutex<HashMap<PartId, Verdict>>,
}

impl Journal for HalfKept {
    fn pack(&self, number: PackNumber) -> Option<CheckedPack> {
        let given = self.giving.load(Ordering::Relaxed) && number.get() % 2 == 1;
        self.packs.lock().unwrap().get(&number).filter(|_| given).cloned()
    }

    fn pack_checked(&self, pack: &CheckedPack) {
        self.packs.lock().unwrap().insert(pack.number, pack.clone());
    }

    fn part(&self, part: &PartId) -> Option<Verdict> {
        let given = self.giving.load(Ordering::Relaxed) && part.to_hex().as_bytes()[0] % 2 == 1;
        self.parts.lock().unwrap().get(part).filter(|_| given).cloned()
    }

    fn part_checked(&self, part: PartId, verdict: &Verdict) {
        self.parts.lock().unwrap().insert(part, verdict.clone());
    }
}

/// Verifies it, and once more as a run does that takes over half of what the first one checked: it has to find the same.
#[track_caller]
pub fn verified_twice(medium: &Arc<dyn Medium>, full: bool) -> Result<Report> {
    let kept = Arc::new(HalfKept::default());
    let options = VerifyOptions {
        full,
        journal: Some(Arc::clone(&kept) as Arc<dyn Journal>),
        ..VerifyOptions::default()
    };
    let first = holdall::verify::verify(medium, &options, &Silent)?;
    kept.giving.store(true, Ordering::Relaxed);
    let second = holdall::verify::verify(medium, &options, &Silent)?;
    let of = |report: &Report| {
        let mut same = report.clone();
        same.taken_over = Default::default();
        format!("{same:#?}")
    };
    assert_eq!(of(&first), of(&second));
    Ok(second)
}
