//! Damage of every kind at every place: it is named, costs only what it hit, and never gives wrong bytes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod sample;

use holdall::Error;
use holdall::blob::{FrameSource, RemadeCache};
use holdall::format::catalogue::{self, LeafPage};
use holdall::format::content::{Content, Place, TreeRef};
use holdall::format::frame::{FrameHeader, FrameKind};
use holdall::format::pack::{FOOTER_LEN, FrameRecord, HEADER_LEN, SetRecord};
use holdall::format::superblock::SLOT_LEN;
use holdall::format::tree::{Metadata, Node, TreeEntry, TreePage};
use holdall::generation;
use holdall::ids::PageHash;
use holdall::medium::{Medium, MediumFile, MemoryMedium, SlotNumber};
use holdall::merkle;
use holdall::monitor::Silent;
use holdall::name::EntryName;
use holdall::pack::PackTables;
use holdall::reader::{Disk, OpenOptions};
use holdall::tree::Directory;
use holdall::units::{Generation, PackNumber, index, len64};
use holdall::verify::{Report, VerifyOptions, verify};
use std::ops::Range;
use std::sync::Arc;

const PACK: MediumFile = MediumFile::Pack(PackNumber::new(1));
const LAST: Generation = Generation::new(3);

/// A disk of three generations: one of everything, then one more blob, which comes last in the pack set.
fn disk() -> MemoryMedium {
    let (state, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let medium = MemoryMedium::new();
    sample::init(&medium);
    sample::add_all(&share(&medium), state.path(), folder.path());
    sample::add(&share(&medium), state.path(), &[late()]).unwrap();
    medium
}

/// The blob of the last generation, in a pack of its own.
fn late() -> Vec<u8> {
    sample::words(500_000, 500)
}

fn share(medium: &MemoryMedium) -> Arc<dyn Medium> {
    Arc::new(medium.clone())
}

fn frames(medium: &MemoryMedium) -> Vec<FrameRecord> {
    let root = generation::current(medium, None).unwrap().root;
    let set = generation::pack_set(medium, &root).unwrap();
    let mut out = Vec::new();
    let tables = PackTables::open(medium, &root.medium, &set[0]).unwrap();
    let mut push = |_, frame| {
        out.push(frame);
        Ok(())
    };
    tables.frames(&mut push).unwrap();
    out
}

fn len(medium: &MemoryMedium, file: MediumFile) -> usize {
    usize::try_from(medium.len(file).unwrap().unwrap()).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    FlipBit,
    Truncate,
    Remove,
    Zero,
}

/// Damages a stretch of a file; truncating and removing hit the file from there on, or all of it.
fn damage(medium: &MemoryMedium, action: Action, file: MediumFile, part: Range<usize>) {
    if action == Action::Remove {
        return medium.take(file);
    }
    medium.tamper(file, |bytes| match action {
        Action::FlipBit => bytes[(part.start + part.end) / 2] ^= 0x10,
        Action::Truncate => bytes.truncate((part.start + part.end) / 2),
        Action::Zero | Action::Remove => bytes[part].fill(0),
    });
}

fn verified(medium: &MemoryMedium, full: bool) -> holdall::Result<Report> {
    sample::verified_twice(&share(medium), full)
}

/// What still reads of the blobs, every other read being an error that names a place on this medium.
/// Wrong bytes fail the test. With `None`, the disk does not open.
fn readable(medium: &MemoryMedium, blobs: &[Vec<u8>]) -> Option<Vec<bool>> {
    let disk = match sample::open(&share(medium)) {
        Ok(disk) => disk,
        Err(e) => {
            assert!(e.to_string().contains("memory"), "{e}");
            return None;
        }
    };
    if let Ok((_, errors)) = sample::read_files(&disk) {
        errors.iter().for_each(|e| assert!(e.is_damage(), "{e}"));
    }
    let read = |bytes: &Vec<u8>| match sample::read(&disk, bytes) {
        Ok(()) => true,
        Err(e) => {
            assert!(e.is_damage(), "{e}");
            false
        }
    };
    Some(blobs.iter().map(read).collect())
}

/// What must hold after damage at a place.
struct Expect {
    /// The file that `verify` names.
    names: &'static str,
    /// Blobs that still read, of [`all`], unless the file is removed or cut.
    reads: fn(&[bool]) -> bool,
}

fn all() -> Vec<Vec<u8>> {
    let mut blobs = sample::blobs(0);
    blobs.push(late());
    blobs
}

const fn all_read(read: &[bool]) -> bool {
    let mut at = 0;
    while at < read.len() {
        if !read[at] {
            return false;
        }
        at += 1;
    }
    true
}

fn places(medium: &MemoryMedium) -> Vec<(&'static str, MediumFile, Range<usize>, Expect)> {
    let frames = frames(medium);
    let data = frames
        .iter()
        .find(|f| f.kind == FrameKind::Plaintext && f.stored_bytes > 100_000)
        .unwrap();
    let pages = frames.iter().find(|f| f.kind == FrameKind::Pages).unwrap();
    let header = index(data.offset.get())..index(data.offset.get() + data.frame_bytes - data.stored_bytes);
    let stored = header.end..index(data.offset.get() + data.frame_bytes);
    let page = index(pages.offset.get() + pages.frame_bytes - pages.stored_bytes)
        ..index(pages.offset.get() + pages.frame_bytes);
    let last = frames.last().unwrap();
    let tables = index(last.offset.get() + last.frame_bytes)..len(medium, PACK) - FOOTER_LEN;
    let footer = len(medium, PACK) - FOOTER_LEN..len(medium, PACK);
    let catalogue = MediumFile::Catalogue(LAST);
    let leaves = 0..len(medium, catalogue) - catalogue::FOOTER_LEN;
    let foot = leaves.end..len(medium, catalogue);
    let some = |read: &[bool]| read[0] && read[1] && read[2] && read[6] && read[8];
    vec![
        (
            "the older slot",
            MediumFile::Slot(SlotNumber::Zero),
            0..SLOT_LEN,
            Expect {
                names: "superblock.0",
                reads: all_read,
            },
        ),
        (
            "the newest slot",
            MediumFile::Slot(SlotNumber::One),
            0..SLOT_LEN,
            Expect {
                names: "superblock.1",
                reads: all_read,
            },
        ),
        (
            "the pack set",
            MediumFile::PackSet(LAST),
            0..80,
            Expect {
                names: "generations/000003/packs",
                reads: all_read,
            },
        ),
        (
            "a catalogue page",
            catalogue,
            leaves,
            Expect {
                names: "generations/000003/catalogue",
                reads: |_| true,
            },
        ),
        (
            "the catalogue's footer",
            catalogue,
            foot,
            Expect {
                names: "generations/000003/catalogue",
                reads: |_| true,
            },
        ),
        (
            "a pack's header",
            PACK,
            0..HEADER_LEN,
            Expect {
                names: "packs/000001.pack",
                reads: all_read,
            },
        ),
        (
            "a frame's header",
            PACK,
            header,
            Expect {
                names: "packs/000001.pack",
                reads: some,
            },
        ),
        (
            "stored bytes",
            PACK,
            stored,
            Expect {
                names: "packs/000001.pack",
                reads: some,
            },
        ),
        (
            "a frame of pages",
            PACK,
            page,
            Expect {
                names: "packs/000001.pack",
                reads: |read| read[0] && read[1] && read[3] && read[8],
            },
        ),
        (
            "a pack's tables",
            PACK,
            tables,
            Expect {
                names: "packs/000001.pack",
                reads: all_read,
            },
        ),
        (
            "a pack's footer",
            PACK,
            footer,
            Expect {
                names: "packs/000001.pack",
                reads: all_read,
            },
        ),
    ]
}

#[test]
fn damage_of_every_kind_at_every_place_is_named_and_costs_only_what_it_hit() {
    let whole = disk();
    assert!(
        verified(&whole, true).unwrap().is_whole(),
        "{:?}",
        verified(&whole, true).unwrap().damages
    );
    assert_eq!(readable(&whole, &all()), Some(vec![true; all().len()]));
    for (what, file, part, expect) in places(&whole) {
        for action in [Action::FlipBit, Action::Truncate, Action::Remove, Action::Zero] {
            let medium = whole.copy();
            damage(&medium, action, file, part.clone());
            let what = format!("{action:?} of {what}");
            for full in [false, true] {
                match verified(&medium, full) {
                    Ok(report) => {
                        let named = report.damages.iter().any(|d| d.text.contains(expect.names));
                        assert!(
                            named,
                            "{what}: {} is not named in {:?}",
                            expect.names, report.damages
                        );
                    }
                    Err(e) => panic!("{what}: {e}"),
                }
            }
            let read = readable(&medium, &all());
            let local =
                matches!(action, Action::FlipBit | Action::Zero) || !matches!(file, MediumFile::Pack(_));
            let Some(read) = read else {
                assert!(
                    matches!(file, MediumFile::Catalogue(_)),
                    "{what}: it does not open"
                );
                continue;
            };
            assert!(!local || (expect.reads)(&read), "{what}: {read:?}");
            // Inline blobs, and what is in other packs, never need this pack.
            if matches!(file, MediumFile::Pack(_)) {
                assert!(read[0] && read[1] && read[2] && read[8], "{what}: {read:?}");
            }
            // What verify calls damaged is at least all that does not read.
            let report = verified(&medium, true).unwrap();
            for (bytes, reads) in all().iter().zip(&read) {
                let called = report.damaged_blobs.contains(&holdall::ids::Sha256::of(bytes));
                assert!(
                    *reads || called || report.catalogue_damaged,
                    "{what}: {} bytes",
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn a_lost_root_falls_back_with_a_warning_and_is_named() {
    let whole = disk();
    for action in [Action::FlipBit, Action::Truncate, Action::Remove, Action::Zero] {
        let medium = whole.copy();
        damage(&medium, action, MediumFile::Root(LAST), 0..400);
        let disk = sample::open(&share(&medium)).unwrap();
        assert_eq!(disk.root().generation.get(), 2, "{action:?}");
        assert!(
            disk.warnings()
                .iter()
                .any(|w| w.contains("generations/000003/ROOT")),
            "{:?}",
            disk.warnings()
        );
        let report = verified(&medium, false).unwrap();
        assert!(
            report
                .damages
                .iter()
                .any(|d| d.text.contains("generations/000003/ROOT")),
            "{:?}",
            report.damages
        );
    }
}

#[test]
fn the_newest_generation_is_found_though_its_slot_is_lost() {
    let whole = disk();
    for action in [Action::FlipBit, Action::Truncate, Action::Remove, Action::Zero] {
        let medium = whole.copy();
        damage(&medium, action, MediumFile::Slot(SlotNumber::One), 0..SLOT_LEN);
        let disk = sample::open(&share(&medium)).unwrap();
        assert_eq!(disk.root().generation, LAST, "{action:?}");
        assert!(
            disk.warnings().iter().any(|w| w.contains("superblock.1")),
            "{action:?}: {:?}",
            disk.warnings()
        );
        // The next run writes it again.
        let state = tempfile::tempdir().unwrap();
        sample::add(&share(&medium), state.path(), &[late()]).unwrap();
        assert!(verified(&medium, false).unwrap().is_whole(), "{action:?}");
    }
}

#[test]
fn both_slots_lost_is_refused_and_the_generations_are_offered() {
    let whole = disk();
    for action in [Action::FlipBit, Action::Truncate, Action::Remove, Action::Zero] {
        let medium = whole.copy();
        for slot in SlotNumber::BOTH {
            damage(&medium, action, MediumFile::Slot(slot), 0..SLOT_LEN);
        }
        let refused = sample::open(&share(&medium)).unwrap_err();
        if action != Action::Remove {
            assert!(
                refused.to_string().contains("--generation: 1, 2, 3"),
                "{action:?}: {refused}"
            );
        }
        let options = OpenOptions {
            generation: Some(LAST),
            ..OpenOptions::default()
        };
        let disk = Disk::open(share(&medium), &options).unwrap();
        all().iter().for_each(|bytes| sample::read(&disk, bytes).unwrap());
    }
}

#[test]
fn the_notice_is_for_people_and_nothing_depends_on_it() {
    let medium = disk();
    medium.take(MediumFile::Notice);
    assert!(verified(&medium, true).unwrap().is_whole());
    assert_eq!(readable(&medium, &all()), Some(vec![true; all().len()]));
}

#[test]
fn a_disk_of_another_format_is_refused_by_name() {
    let medium = disk();
    for slot in SlotNumber::BOTH {
        medium.tamper(MediumFile::Slot(slot), |bytes| {
            bytes[8..16].copy_from_slice(b"draft-9\0");
            let check = blake3::hash(&bytes[..SLOT_LEN - 32]);
            bytes[SLOT_LEN - 32..].copy_from_slice(check.as_bytes());
        });
        let refused = sample::open(&share(&medium)).unwrap_err();
        assert!(
            matches!(&refused, Error::Unsupported { what, .. } if what.contains("draft-9")),
            "{refused}"
        );
        assert!(matches!(verified(&medium, false), Err(Error::Unsupported { .. })));
    }
}

#[test]
fn a_root_of_another_medium_is_not_taken() {
    let (medium, other) = (disk(), disk());
    let foreign = other
        .read(MediumFile::Root(LAST), 0, len(&other, MediumFile::Root(LAST)))
        .unwrap();
    medium.tamper(MediumFile::Root(LAST), |bytes| *bytes = foreign.to_vec());
    let disk = sample::open(&share(&medium)).unwrap();
    assert_eq!(disk.root().generation.get(), 2);
    // Nor where its slot comes with it, as the older one says otherwise; asked for by number it opens.
    let report = verified(&medium, false).unwrap();
    assert!(
        report
            .damages
            .iter()
            .any(|d| d.text.contains("generations/000003/ROOT")),
        "{:?}",
        report.damages
    );
}

#[test]
fn a_pack_of_another_medium_is_named_and_gives_no_wrong_bytes() {
    let (medium, other) = (disk(), MemoryMedium::new());
    let state = tempfile::tempdir().unwrap();
    sample::init(&other);
    sample::add(&share(&other), state.path(), &sample::blobs(900)).unwrap();
    let foreign = other.read(PACK, 0, len(&other, PACK)).unwrap();
    medium.tamper(PACK, |bytes| *bytes = foreign.to_vec());
    let read = readable(&medium, &all()).unwrap();
    assert!(read[0] && read[1] && read[2] && read[8] && !read[5], "{read:?}");
    let report = verified(&medium, false).unwrap();
    assert!(
        report
            .damages
            .iter()
            .any(|d| d.text.contains("packs/000001.pack")),
        "{:?}",
        report.damages
    );
}

/// Rewrites the places in the (single) leaf page of the last catalogue, keeping every hash and check right.
fn with_places(medium: &MemoryMedium, change: impl Fn(&mut Place)) {
    let file = MediumFile::Catalogue(LAST);
    let root = generation::read_root(medium, LAST).unwrap().0;
    medium.tamper(file, |bytes| {
        let foot = bytes.len() - catalogue::FOOTER_LEN;
        let mut page = LeafPage::decode(&bytes[..foot], &root.catalogue_root, "a test").unwrap();
        for leaf in &mut page.leaves {
            if let Content::List(list) = &mut leaf.content {
                change(&mut list.place);
            }
        }
        let changed = page.encode();
        assert_eq!(changed.len(), foot);
        assert_eq!(page.hash(), root.catalogue_root, "places are under no hash");
        bytes[..foot].copy_from_slice(&changed);
    });
}

/// What is made of a place.
type Lie = Box<dyn Fn(&mut Place)>;

#[test]
fn places_that_lie_give_errors_and_never_other_bytes() {
    let whole = disk();
    let frames = frames(&whole);
    let other = frames
        .iter()
        .rfind(|f| f.kind == FrameKind::Plaintext)
        .unwrap()
        .clone();
    let lies: [(&str, Lie); 8] = [
        ("start", Box::new(|p| p.start += 1)),
        ("start at the end", Box::new(|p| p.start = u32::MAX)),
        (
            "frame",
            Box::new(|p| p.frame = holdall::units::PackOffset::new(p.frame.get() + 1)),
        ),
        (
            "frame past the end",
            Box::new(|p| p.frame = holdall::units::PackOffset::new(u32::MAX)),
        ),
        ("length", Box::new(|p| p.frame_bytes -= 1)),
        ("huge length", Box::new(|p| p.frame_bytes = u32::MAX)),
        ("pack", Box::new(|p| p.pack = PackNumber::new(7))),
        (
            "another frame",
            Box::new(move |p| {
                (p.frame, p.frame_bytes, p.start) = (other.offset, other.frame_bytes, 0);
            }),
        ),
    ];
    for (what, lie) in lies {
        let medium = whole.copy();
        with_places(&medium, lie);
        let read = readable(&medium, &all()).unwrap();
        assert!(read[0] && read[1] && read[2], "{what}: {read:?}");
        assert!(read.iter().filter(|r| !**r).count() >= 4, "{what}: {read:?}");
        let report = verified(&medium, false).unwrap();
        assert!(report.damages.len() >= 4, "{what}: {:?}", report.damages);
        for (bytes, reads) in all().iter().zip(&read) {
            assert!(
                *reads || report.damaged_blobs.contains(&holdall::ids::Sha256::of(bytes)),
                "{what}"
            );
        }
    }
}

#[test]
fn a_pack_set_that_omits_a_pack_makes_its_places_damage() {
    let medium = disk();
    let (mut root, _) = generation::read_root(&medium, LAST).unwrap();
    let set = generation::pack_set(&medium, &root).unwrap();
    let kept: Vec<SetRecord> = set.into_iter().skip(1).collect();
    root.packs = u32::try_from(kept.len()).unwrap();
    root.packs_root = merkle::root(
        &kept
            .iter()
            .map(|p| merkle::leaf_hash(&p.encode()))
            .collect::<Vec<_>>(),
    );
    medium.tamper(MediumFile::PackSet(LAST), |b| {
        *b = kept.iter().flat_map(SetRecord::encode).collect()
    });
    medium.tamper(MediumFile::Root(LAST), |b| *b = root.encode().into_bytes());
    let options = VerifyOptions {
        generation: Some(LAST),
        ..VerifyOptions::default()
    };
    let report = verify(&share(&medium), &options, &Silent).unwrap();
    assert!(
        report.damages.iter().any(|d| d.text.contains("does not list")),
        "{:?}",
        report.damages
    );
}

#[test]
fn one_damaged_table_costs_no_frame() {
    let medium = disk();
    let frames = frames(&medium);
    let last = frames.last().unwrap();
    let tables = index(last.offset.get() + last.frame_bytes);
    medium.tamper(PACK, |bytes| bytes[tables + 3] ^= 1);
    let report = verified(&medium, true).unwrap();
    assert_eq!(report.damaged_blobs.len(), 0, "{:?}", report.damages);
    assert!(report.frames >= len64(frames.len()));
    // And an index is built without it.
    let state = tempfile::tempdir().unwrap();
    let again = sample::add(&share(&medium), state.path(), &all()).unwrap();
    assert!(!again.changed);
    let header = medium
        .read(
            PACK,
            u64::from(frames[0].offset.get()),
            4_096.min(index(frames[0].frame_bytes)),
        )
        .unwrap();
    assert!(FrameHeader::decode(&header, "a test").is_ok());
}

/// A directory whose page says that each of its entries has very many inodes: numbers that are sums of
/// such counts would overflow some levels further down.
#[test]
fn a_directory_that_holds_more_than_it_counts_is_malformed() {
    let at = Place {
        pack: PackNumber::new(1),
        ..Place::default()
    };
    let inner = TreeRef {
        depth: 0,
        hash: PageHash::of(b"inner"),
        entries: 1,
        inodes: (1 << 48) - 1,
        subdirectories: 0,
        place: at,
    };
    let metadata = Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime_sec: 0,
        mtime_nsec: 0,
        xattrs: Vec::new(),
    };
    let entry = |name: &[u8]| TreeEntry {
        name: EntryName::new(name).unwrap(),
        metadata: metadata.clone(),
        node: Node::directory(inner),
    };
    let page = TreePage::Leaf(vec![entry(b"a"), entry(b"b")]);
    let hash = page.encode().0;
    let top = TreeRef {
        hash,
        entries: 2,
        ..inner
    };
    let directory = Directory::top(
        Arc::new(OnePage(page, RemadeCache::default())),
        top,
        metadata.clone(),
    );
    assert!(matches!(
        directory.entries(0).next(),
        Some(Err(Error::Malformed { .. }))
    ));
    assert!(matches!(directory.find(5), Err(Error::Malformed { .. })));
}

#[derive(Debug)]
struct OnePage(TreePage, RemadeCache);

impl FrameSource for OnePage {
    fn frame(&self, _: &Place) -> holdall::Result<Arc<holdall::pack::Frame>> {
        Err(Error::missing("a frame"))
    }
    fn name_of(&self, _: &Place) -> String {
        "a page".to_owned()
    }
    fn remade(&self) -> &RemadeCache {
        &self.1
    }
    fn tree_page(&self, _: &PageHash, _: u8, _: &Place) -> holdall::Result<Arc<TreePage>> {
        Ok(Arc::new(self.0.clone()))
    }
}
