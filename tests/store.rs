//! What goes in comes out: the store's two flows, meeting on a medium.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

use holdall::format::catalogue::{FOOTER_LEN, Footer, InteriorPage};
use holdall::generation::{self, Labels};
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, IngestOptions, NameChange, StoredBlob};
use holdall::medium::{DirectoryMedium, Fault, Medium, MediumFile, MemoryMedium, SlotNumber};
use holdall::monitor::Silent;
use holdall::name::{EntryName, ImageName, Repository};
use holdall::reader::{Disk, Found, Node, OpenOptions};
use holdall::units::PackNumber;
use holdall::verify::{VerifyOptions, verify};
use holdall::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn labels() -> Labels {
    Labels {
        origin: "test".to_owned(),
        series: "unit".to_owned(),
    }
}

fn memory() -> (Arc<dyn Medium>, MemoryMedium) {
    let medium = MemoryMedium::new();
    generation::init(&medium, &labels(), &holdall::custody::Witness::unnamed(), 1_000).unwrap();
    (Arc::new(medium.clone()), medium)
}

fn begin(medium: &Arc<dyn Medium>, state: &Path) -> Result<Ingest> {
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: holdall::pack::Level::default(),
        state: state.to_owned(),
        interrupted: Arc::default(),
    };
    Ingest::open(Arc::clone(medium), &options, Arc::new(Silent))
}

fn open(medium: &Arc<dyn Medium>) -> Disk {
    Disk::open(Arc::clone(medium), &OpenOptions::default()).unwrap()
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.finalize_xof().fill(&mut out);
    out
}

/// Text-like bytes, which zstd makes smaller.
fn words(len: usize, seed: u64) -> Vec<u8> {
    noise(len, seed).iter().map(|b| b'a' + b % 8).collect()
}

fn store(ingest: &Ingest, bytes: &[u8]) -> StoredBlob {
    let mut writer = ingest.blob_writer();
    for part in bytes.chunks(300_000) {
        writer.write(part).unwrap();
    }
    let blob = writer.finish(Some(&Sha256::of(bytes)), None, "test").unwrap();
    ingest.put_blob(&blob, None).unwrap();
    blob
}

fn read(disk: &Disk, digest: &Sha256) -> Result<Vec<u8>> {
    let blob = disk.blob(digest)?.ok_or_else(|| Error::missing("blob"))?;
    let reader = disk.open_blob(&blob);
    let mut out = Vec::new();
    loop {
        let slice = reader.slice_at(out.len() as u64, 1 << 20)?;
        if slice.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(&slice);
    }
}

fn assert_whole(medium: &Arc<dyn Medium>) {
    for full in [false, true] {
        let report = verify(
            medium,
            &VerifyOptions {
                full,
                ..VerifyOptions::default()
            },
            &Silent,
        )
        .unwrap();
        assert!(report.is_whole(), "{:?}", report.damages);
    }
}

fn stored_bytes(medium: &MemoryMedium) -> u64 {
    medium
        .packs()
        .unwrap()
        .iter()
        .map(|p| medium.len(MediumFile::Pack(*p)).unwrap().unwrap())
        .sum()
}

#[test]
fn blobs_of_every_size_come_back_byte_for_byte() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let mut blobs: Vec<Vec<u8>> = [0, 1, 2048, 2049, 16 * 1024, 70_000, 300_000, 1 << 20, 5_000_000]
        .iter()
        .enumerate()
        .map(|(n, len)| {
            if n % 2 == 0 {
                noise(*len, n as u64)
            } else {
                words(*len, n as u64)
            }
        })
        .collect();
    blobs.push(vec![0; 3_000_000]);
    let mut holes = noise(2_000_000, 77);
    holes[300_000..1_500_000].fill(0);
    blobs.push(holes);
    let ingest = begin(&medium, state.path()).unwrap();
    for bytes in &blobs {
        store(&ingest, bytes);
    }
    assert!(ingest.commit().unwrap().changed);
    let disk = open(&medium);
    assert_eq!(disk.blob_count().unwrap(), blobs.len() as u64);
    for bytes in &blobs {
        assert!(
            read(&disk, &Sha256::of(bytes)).unwrap() == *bytes,
            "{} bytes",
            bytes.len()
        );
    }
    assert_whole(&medium);
}

#[test]
fn a_list_of_several_pages_and_any_offset_read_alike() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    // More than 1,024 chunks, so that there is a page above the leaves; a repeated part deduplicates.
    let mut bytes = noise(100_000_000, 5);
    let again = bytes[10_000_000..40_000_000].to_vec();
    bytes.extend_from_slice(&again);
    bytes.extend_from_slice(&vec![0; 20_000_000]);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    let disk = open(&medium);
    let reader = disk.open_blob(&disk.blob(&Sha256::of(&bytes)).unwrap().unwrap());
    for offset in [
        0,
        1,
        65_535,
        9_999_999,
        70_000_001,
        99_999_990,
        120_000_000,
        149_999_999,
    ] {
        let mut buf = vec![0xee; 300_000];
        let n = reader.read_at(offset as u64, &mut buf).unwrap();
        assert!(
            buf[..n] == bytes[offset..(offset + 300_000).min(bytes.len())],
            "at {offset}"
        );
    }
    assert_eq!(reader.read_at(bytes.len() as u64, &mut [0; 10]).unwrap(), 0);
    assert_whole(&medium);
}

#[test]
fn what_is_there_is_not_stored_again() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let bytes = noise(4_000_000, 1);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    let before = stored_bytes(&memory);
    // The same bytes with something before them: cut at other offsets, but for the first chunks the same.
    let mut shifted = b"something new".to_vec();
    shifted.extend_from_slice(&bytes);
    let ingest = begin(&medium, state.path()).unwrap();
    assert!(ingest.known_blob(&Sha256::of(&bytes)).unwrap().is_some());
    store(&ingest, &shifted);
    ingest.commit().unwrap();
    let grown = stored_bytes(&memory) - before;
    assert!(grown < 400_000, "{grown} bytes more");
    // The same add once more makes no generation.
    let ingest = begin(&medium, state.path()).unwrap();
    let known = ingest.known_blob(&Sha256::of(&shifted)).unwrap().unwrap();
    ingest.put_blob(&known, None).unwrap();
    assert!(!ingest.commit().unwrap().changed);
    // Another host, with no index of this disk, deduplicates all the same.
    let elsewhere = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, elsewhere.path()).unwrap();
    store(&ingest, &[&b"x"[..], &bytes].concat());
    ingest.commit().unwrap();
    assert!(stored_bytes(&memory) - before < 2 * 400_000);
    assert_whole(&medium);
}

#[test]
fn a_name_moves_and_the_old_digest_stays() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let name = ImageName::parse("127.0.0.1:5000/acme/api:1").unwrap();
    let (one, two) = (br#"{"a":1}"#, br#"{"a":2}"#);
    for (bytes, expected) in [
        (one, NameChange::New),
        (one, NameChange::Same),
        (two, NameChange::Moved { old: Sha256::of(one) }),
    ] {
        let ingest = begin(&medium, state.path()).unwrap();
        let blob = ingest.store_small(bytes, None, "test").unwrap();
        ingest
            .put_blob(&blob, Some("application/vnd.oci.image.manifest.v1+json"))
            .unwrap();
        assert_eq!(
            ingest
                .put_image(&name, &blob, "application/vnd.oci.image.manifest.v1+json")
                .unwrap(),
            expected
        );
        ingest.commit().unwrap();
    }
    let disk = open(&medium);
    assert_eq!(disk.image(&name).unwrap().unwrap().target.sha256, Sha256::of(two));
    let old = ImageName::by_digest(&name.repository, Sha256::of(one));
    assert_eq!(disk.image(&old).unwrap().unwrap().target.sha256, Sha256::of(one));
    let all: Vec<String> = disk
        .images(Some(&name.repository), None)
        .map(|i| i.unwrap().name.to_string())
        .collect();
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(disk.images(None, Some(&name)).count(), 2);
}

#[test]
fn repositories_are_listed_once_each_whatever_their_hosts_and_tags() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let repositories = [
        "127.0.0.1:5000/a",
        "127.0.0.1:5000/a/b",
        "docker.io/a",
        "docker.io/a-b",
        "docker.io/a/b",
        "localhost/z",
    ];
    let ingest = begin(&medium, state.path()).unwrap();
    let blob = ingest.store_small(b"{}", None, "test").unwrap();
    for repository in repositories {
        for tag in ["1", "a", "Z"] {
            ingest
                .put_image(
                    &ImageName::parse(&format!("{repository}:{tag}")).unwrap(),
                    &blob,
                    "x/y",
                )
                .unwrap();
        }
        ingest
            .put_referrer(
                &Repository::parse(repository).unwrap(),
                &Sha256::of(b"s"),
                &blob,
                "x/y",
            )
            .unwrap();
    }
    ingest.commit().unwrap();
    let disk = open(&medium);
    let found: Vec<String> = disk
        .repositories(None)
        .take(50)
        .map(|r| r.unwrap().to_string())
        .collect();
    assert_eq!(found, repositories);
    let after = Repository::parse("docker.io/a").unwrap();
    assert_eq!(disk.repositories(Some(&after)).count(), 3);
    assert_eq!(disk.images(Some(&after), None).count(), 4);
    assert_eq!(disk.referrers(&after, &Sha256::of(b"s")).unwrap().len(), 1);
    assert_eq!(disk.referrers(&after, &Sha256::of(b"t")).unwrap().len(), 0);
}

#[test]
fn a_large_catalogue_is_read_by_paths_alone() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    for n in 0..70_000_u32 {
        let blob = ingest.store_small(&n.to_le_bytes(), None, "test").unwrap();
        ingest.put_blob(&blob, None).unwrap();
    }
    ingest.commit().unwrap();
    let disk = open(&medium);
    assert_eq!(disk.blob_count().unwrap(), 70_000);
    for n in [0_u32, 1, 255, 256, 65_535, 69_999] {
        let digest = Sha256::of(&n.to_le_bytes());
        let (at, blob) = disk.blob_position(&digest).unwrap().unwrap();
        assert_eq!(disk.read_small(&blob, 10).unwrap(), n.to_le_bytes().as_slice());
        assert_eq!(disk.blob_at(at).unwrap().unwrap().sha256, digest);
    }
    assert!(disk.blob(&Sha256::of(b"not there")).unwrap().is_none());
    assert!(disk.blob_at(70_000).unwrap().is_none());
    // A later generation changes one leaf and keeps the others.
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, b"one more");
    ingest.commit().unwrap();
    assert_eq!(open(&medium).blob_count().unwrap(), 70_001);
}

fn make_tree(at: &Path) {
    std::fs::create_dir_all(at.join("deep/er/est")).unwrap();
    std::fs::create_dir(at.join("empty")).unwrap();
    std::fs::write(at.join("empty-file"), b"").unwrap();
    std::fs::write(at.join("deep/er/est/leaf.txt"), b"leaf").unwrap();
    std::fs::write(at.join("deep/big.bin"), noise(700_000, 9)).unwrap();
    std::fs::write(at.join("deep/small.bin"), noise(5_000, 10)).unwrap();
    std::os::unix::fs::symlink("../nowhere", at.join("deep/link")).unwrap();
    for n in 0..1000 {
        std::fs::write(at.join(format!("deep/er/{n:04}")), format!("file {n}")).unwrap();
    }
}

#[test]
fn folders_come_back_with_inode_numbers_computed_both_ways() {
    let (medium, memory) = memory();
    let (state, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(source.path());
    let name = || EntryName::new(b"stuff").unwrap();
    let into = [EntryName::new(b"under").unwrap()];
    let ingest = begin(&medium, state.path()).unwrap();
    let added = ingest.add_path(source.path(), &into, name()).unwrap();
    assert_eq!((added.files, added.folders), (1005, 5));
    ingest.commit().unwrap();
    let disk = open(&medium);
    let top = disk.files().unwrap().unwrap();
    let mut waiting = vec![top.clone()];
    let mut seen = vec![0];
    while let Some(directory) = waiting.pop() {
        assert_eq!(directory.entries(0).count() as u64, directory.len());
        for entry in directory.entries(0) {
            let entry = entry.unwrap();
            seen.push(entry.inode);
            assert_eq!(directory.entry(&entry.name).unwrap().unwrap().inode, entry.inode);
            assert_eq!(
                directory.entries(entry.index).next().unwrap().unwrap().name,
                entry.name
            );
            match (top.find(entry.inode).unwrap().unwrap(), &entry.node) {
                (Found::Directory(found), Node::Directory { .. }) => {
                    assert_eq!(
                        (found.inode(), found.parent_inode()),
                        (entry.inode, directory.inode())
                    );
                    waiting.push(found);
                }
                (Found::Entry(_, found), _) => assert_eq!(found.name, entry.name),
                other => panic!("{other:?}"),
            }
            if let Node::File { size, .. } = entry.node {
                let mut bytes = vec![0; usize::try_from(size).unwrap()];
                assert_eq!(
                    directory
                        .open_file(&entry)
                        .unwrap()
                        .read_at(0, &mut bytes)
                        .unwrap(),
                    bytes.len()
                );
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..top.inodes()).collect::<Vec<_>>());
    assert!(top.find(top.inodes()).unwrap().is_none());
    assert_whole(&medium);
    // Again: nothing new. Then one file more: only what changed is written.
    let before = stored_bytes(&memory);
    let ingest = begin(&medium, state.path()).unwrap();
    ingest.add_path(source.path(), &into, name()).unwrap();
    assert!(!ingest.commit().unwrap().changed);
    assert_eq!(stored_bytes(&memory), before);
    std::fs::write(source.path().join("deep/er/est/more"), b"more").unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    ingest.add_path(source.path(), &into, name()).unwrap();
    assert!(ingest.commit().unwrap().changed);
    let grown = stored_bytes(&memory) - before;
    assert!(grown < 100_000, "{grown} bytes more");
    assert_whole(&medium);
}

#[test]
fn a_medium_that_runs_full_keeps_its_last_generation_and_gets_its_space_back() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let kept = noise(1_000_000, 3);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &kept);
    ingest.commit().unwrap();
    let before = stored_bytes(&memory);
    memory.set_faults(&[Fault::FullAfter(before + 3_000_000)]);
    let ingest = begin(&medium, state.path()).unwrap();
    let mut writer = ingest.blob_writer();
    let failed = writer
        .write(&noise(20_000_000, 4))
        .and_then(|()| writer.finish(None, None, "test").map(|_| ()));
    assert!(matches!(failed.unwrap_err().root_cause(), Error::Full { .. }));
    drop(ingest);
    assert_eq!(stored_bytes(&memory), before);
    memory.set_faults(&[]);
    assert_eq!(read(&open(&medium), &Sha256::of(&kept)).unwrap(), kept);
    assert_whole(&medium);
}

#[test]
fn an_interrupted_run_is_taken_up_where_it_stopped() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let bytes = noise(8_000_000, 6);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    drop(ingest);
    let before = stored_bytes(&memory);
    assert!(before > 8_000_000, "{before}");
    let ingest = begin(&medium, state.path()).unwrap();
    let known = ingest
        .known_blob(&Sha256::of(&bytes))
        .unwrap()
        .expect("the record of the finished blob");
    ingest.put_blob(&known, None).unwrap();
    ingest.commit().unwrap();
    assert!(stored_bytes(&memory) - before < 100_000);
    assert_eq!(read(&open(&medium), &Sha256::of(&bytes)).unwrap(), bytes);
    assert_whole(&medium);
}

#[test]
fn the_second_of_two_writers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let directory = DirectoryMedium::create(&folder.path().join("disk")).unwrap();
    generation::init(&directory, &labels(), &holdall::custody::Witness::unnamed(), 0).unwrap();
    let medium: Arc<dyn Medium> = Arc::new(directory);
    let first = begin(&medium, state.path()).unwrap();
    let second: Arc<dyn Medium> = Arc::new(DirectoryMedium::open(&folder.path().join("disk")).unwrap());
    assert!(matches!(begin(&second, state.path()), Err(Error::Locked { .. })));
    drop(first);
    begin(&second, state.path()).unwrap();
    assert!(matches!(
        generation::init(
            second.as_ref(),
            &labels(),
            &holdall::custody::Witness::unnamed(),
            0
        ),
        Err(Error::Refused { .. })
    ));
}

#[test]
fn an_index_of_another_state_of_the_disk_is_never_deduplicated_against() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &noise(500_000, 1));
    ingest.commit().unwrap();
    // A clone goes its own way: the index still mirrors the original.
    let clone = memory.copy();
    let bytes = noise(3_000_000, 2);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    let clone_medium: Arc<dyn Medium> = Arc::new(clone);
    let ingest = begin(&clone_medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    assert_eq!(read(&open(&clone_medium), &Sha256::of(&bytes)).unwrap(), bytes);
    assert_whole(&clone_medium);
    // And back, as after a rollback.
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &[&bytes[..], b"x"].concat());
    ingest.commit().unwrap();
    assert_whole(&medium);
}

#[test]
fn a_source_whose_bytes_are_others_than_promised_is_refused() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    let mut writer = ingest.blob_writer();
    writer.write(b"these").unwrap();
    let failed = writer.finish(Some(&Sha256::of(b"those")), None, "the layout");
    assert!(matches!(failed, Err(Error::SourceMismatch { place, .. }) if place == "the layout"));
}

#[test]
fn a_medium_that_hangs_costs_an_error_not_a_thread() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let bytes = noise(900_000, 8);
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    let options = OpenOptions {
        read_deadline: Duration::from_millis(200),
        ..OpenOptions::default()
    };
    let disk = Disk::open(Arc::clone(&medium), &options).unwrap();
    memory.set_faults(&[Fault::SlowReads(Duration::from_secs(3))]);
    let start = Instant::now();
    let blob = disk.blob(&Sha256::of(&bytes)).unwrap().unwrap();
    assert!(matches!(
        disk.open_blob(&blob).slice_at(0, 10),
        Err(Error::Deadline { .. })
    ));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    memory.set_faults(&[]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(read(&disk, &Sha256::of(&bytes)).unwrap(), bytes);
}

#[test]
fn nothing_is_added_to_a_disk_that_has_lost_a_pack() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        let ingest = begin(&medium, state.path()).unwrap();
        store(&ingest, &noise(2_000_000, seed));
        ingest.commit().unwrap();
    }
    memory.take(MediumFile::Pack(PackNumber::new(1)));
    assert!(
        matches!(begin(&medium, state.path()), Err(Error::Missing { place }) if place.contains("000001.pack"))
    );
}

#[test]
fn a_run_killed_between_root_and_slot_is_taken_up_and_nothing_is_stored_twice() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let bytes = noise(8_000_000, 1);
    let slot = MediumFile::Slot(SlotNumber::Zero);
    let before = memory.read(slot, 0, 4096).unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    store(&ingest, &bytes);
    ingest.commit().unwrap();
    memory.tamper(slot, |slot| *slot = before.to_vec());
    assert_eq!(open(&medium).blob_count().unwrap(), 0);
    let stored = stored_bytes(&memory);
    let ingest = begin(&medium, state.path()).unwrap();
    let known = ingest.known_blob(&Sha256::of(&bytes)).unwrap().unwrap();
    ingest.put_blob(&known, None).unwrap();
    assert!(ingest.commit().unwrap().changed);
    assert!(stored_bytes(&memory) - stored < 100_000);
    assert_eq!(read(&open(&medium), &Sha256::of(&bytes)).unwrap(), bytes);
    assert_whole(&medium);
}

#[test]
fn a_catalogue_page_that_leads_to_its_sibling_is_an_error_whatever_was_read_before() {
    let (medium, memory) = memory();
    let state = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    for n in 0..601_u32 {
        let blob = ingest.store_small(&n.to_le_bytes(), None, "test").unwrap();
        ingest.put_blob(&blob, None).unwrap();
    }
    let root = ingest.commit().unwrap().root;
    let file = MediumFile::Catalogue(root.generation);
    memory.tamper(file, |bytes| {
        let footer = Footer::decode(&bytes[bytes.len() - FOOTER_LEN..], "footer").unwrap();
        let (at, len) = (
            usize::try_from(footer.top).unwrap(),
            usize::try_from(footer.top_bytes).unwrap(),
        );
        let mut top =
            InteriorPage::decode(&bytes[at..at + len], footer.level, &root.catalogue_root, "top").unwrap();
        let first = top.children[0].clone();
        top.children[1].offset = first.offset;
        top.children[1].page_bytes = first.page_bytes;
        bytes.splice(at..at + len, top.encode());
    });
    let disk = open(&medium);
    assert!(disk.blob_at(0).unwrap().is_some());
    assert!(matches!(disk.blob_at(300), Err(Error::Mismatch { .. })));
    let report = verify(&medium, &VerifyOptions::default(), &Silent).unwrap();
    assert!(report.catalogue_damaged && !report.is_whole());
}

#[test]
fn an_image_whose_leaf_is_not_its_manifest_s_is_damage() {
    let (medium, _) = memory();
    let state = tempfile::tempdir().unwrap();
    let ingest = begin(&medium, state.path()).unwrap();
    let one = ingest.store_small(b"{\"one\":1}", None, "test").unwrap();
    ingest
        .put_image(&ImageName::parse("docker.io/a/b:1").unwrap(), &one, "x/y")
        .unwrap();
    ingest.commit().unwrap();
    let report = verify(&medium, &VerifyOptions::default(), &Silent).unwrap();
    assert!(!report.is_whole() && report.damaged_blobs.contains(&Sha256::of(b"{\"one\":1}")));
}
