//! Layers' trees and the chains merged of them, against a slow and obvious file system that the same layers are
//! unpacked into one after the other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod sample;

use holdall::ids::Sha256;
use holdall::ingest::{Ingest, LayerFault, LayerWriter, StoredTree};
use holdall::medium::{Medium, MemoryMedium};
use holdall::monitor::Silent;
use holdall::name::EntryName;
use holdall::reader::{Directory, Disk, Metadata, Node, SpecialKind};
use holdall::verify::{VerifyOptions, verify};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One entry of a layer.
#[derive(Debug, Clone)]
enum Op {
    Folder(&'static str, u16),
    File(&'static str, u32, u16),
    Link(&'static str, &'static str),
    Hard(&'static str, &'static str),
    Device(&'static str),
    Whiteout(&'static str),
    Opaque(&'static str),
}
use Op::{Device, File, Folder, Hard, Link, Opaque, Whiteout};

fn path(text: &str) -> Vec<EntryName> {
    let parts = text.split('/').filter(|p| !p.is_empty());
    parts.map(|p| EntryName::new(p.as_bytes()).unwrap()).collect()
}

fn metadata(mode: u16) -> Metadata {
    let xattrs = if mode & 1 == 1 {
        vec![(b"user.mark".to_vec(), mode.to_le_bytes().to_vec())]
    } else {
        Vec::new()
    };
    Metadata {
        mode,
        uid: u32::from(mode),
        gid: 7,
        mtime_sec: i64::from(mode) - 500,
        mtime_nsec: 123_456_789,
        xattrs,
    }
}

fn content(size: u32) -> Vec<u8> {
    sample::words(size as usize, u64::from(size))
}

fn write(writer: &mut LayerWriter, op: &Op) -> Result<(), LayerFault> {
    match op {
        Folder(p, mode) => writer.directory(&path(p), metadata(*mode)),
        File(p, size, mode) => {
            let bytes = content(*size);
            writer.begin_file(&path(p), metadata(*mode), bytes.len() as u64)?;
            for part in bytes.chunks(1000) {
                writer.data(part)?;
            }
            writer.end_file()
        }
        Link(p, target) => writer.symlink(&path(p), metadata(0o777), target.as_bytes()),
        Hard(p, target) => writer.hard_link(&path(p), &path(target)),
        Device(p) => writer.special(&path(p), metadata(0o600), SpecialKind::CharDevice, 1, 3),
        Whiteout(p) => writer.whiteout(&path(p)),
        Opaque(p) => writer.opaque(&path(p)),
    }
}

fn layer(ingest: &Ingest, ops: &[Op]) -> Result<StoredTree, LayerFault> {
    let mut writer = ingest.layer_writer();
    for op in ops {
        write(&mut writer, op)?;
    }
    Ok(writer.finish()?.0)
}

fn id(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

/// Stores the layers and every chain of them; the chains' ids are those of `0`, `1`, ….
fn store(medium: &Arc<dyn Medium>, layers: &[Vec<Op>]) -> Result<(), String> {
    let state = tempfile::tempdir().unwrap();
    let ingest = sample::begin(medium, state.path()).unwrap();
    let mut chain = None;
    for (n, ops) in layers.iter().enumerate() {
        let tree = layer(&ingest, ops).map_err(|e| e.to_string())?;
        ingest.put_layer(&id(&format!("layer {n}")), &id("a blob"), &tree);
        let merged = ingest.merge(chain.as_ref(), &tree).map_err(|e| e.to_string())?;
        ingest.put_chain(&id(&n.to_string()), &merged);
        chain = Some(merged);
    }
    ingest.commit().unwrap();
    Ok(())
}

/// What a path is, in one line; the names of one inode have its first one at the end.
type Seen = BTreeMap<String, String>;

fn see(disk: &Disk, n: usize) -> Seen {
    let chain = disk.chain(&id(&n.to_string())).unwrap().unwrap();
    let mut seen = Seen::new();
    let mut first = BTreeMap::new();
    let mut waiting = vec![(String::new(), chain.rootfs().clone())];
    seen.insert("/".to_owned(), format!("{:?}", chain.rootfs().metadata()));
    let mut linked = Vec::new();
    while let Some((at, folder)) = waiting.pop() {
        let mut subfolders = 0;
        for entry in folder.entries(0) {
            let entry = entry.unwrap();
            let below = format!("{at}/{}", entry.name);
            let found = chain.tree().top().find(entry.inode).unwrap().unwrap();
            let m = &entry.metadata;
            let text = match &entry.node {
                Node::Directory { .. } => {
                    subfolders += 1;
                    waiting.push((below.clone(), folder.open_directory(&entry).unwrap()));
                    format!("folder {m:?}")
                }
                Node::File { size, nlink, .. } => {
                    let mut bytes = vec![0; *size as usize];
                    let read = folder.open_file(&entry).unwrap().read_at(0, &mut bytes).unwrap();
                    assert_eq!(read, bytes.len());
                    format!("file {} of {nlink} {m:?}", Sha256::of(&bytes))
                }
                other => format!("{other:?} {m:?}"),
            };
            if let holdall::reader::Found::Entry(_, found) = found {
                assert_eq!(found.inode, entry.inode, "{below}");
                linked.push((below.clone(), entry.inode));
                let name = first.entry(entry.inode).or_insert_with(|| below.clone());
                if below < *name {
                    name.clone_from(&below);
                }
            }
            seen.insert(below, text);
        }
        assert_eq!(folder.subdirectories(), subfolders, "{at}");
    }
    for (name, inode) in linked {
        seen.get_mut(&name)
            .unwrap()
            .push_str(&format!(" as {}", first[&inode]));
    }
    seen
}

/// The slow one: a file system in memory.
#[derive(Debug, Default, Clone)]
struct Model {
    /// By path; parents are always there.
    names: BTreeMap<String, Kind>,
    /// Size and mode of each file, and nothing of what is none.
    inodes: Vec<(u32, u16)>,
    root: Option<u16>,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder(Option<u16>),
    File(usize),
    Link(usize, &'static str),
    Device(usize),
}

impl Kind {
    fn inode(&self) -> Option<usize> {
        match self {
            Self::Folder(_) => None,
            Self::File(inode) | Self::Link(inode, _) | Self::Device(inode) => Some(*inode),
        }
    }
}

impl Model {
    fn inode(&mut self, size: u32, mode: u16) -> usize {
        self.inodes.push((size, mode));
        self.inodes.len() - 1
    }

    fn remove(&mut self, path: &str) {
        let inside = format!("{path}/");
        self.names
            .retain(|name, _| name != path && !name.starts_with(&inside));
    }

    /// The real path of a folder, its links followed, made where it is not there; the inner None where it is not, and is
    /// not made. The outer one where something else is in the way.
    fn folder(&mut self, text: &str, make: bool) -> Option<Option<String>> {
        let mut ahead: Vec<String> = text
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .map(str::to_owned)
            .collect();
        ahead.reverse();
        let mut at = String::new();
        let mut steps = 0;
        while let Some(part) = ahead.pop() {
            steps += 1;
            if steps > 300 {
                return None;
            }
            if part == ".." {
                at = at.rsplit_once('/').map_or("", |(up, _)| up).to_owned();
                continue;
            }
            let below = format!("{at}/{part}");
            match self.names.get(&below) {
                Some(Kind::Folder(_)) => at = below,
                Some(Kind::Link(_, target)) => {
                    if target.starts_with('/') {
                        at.clear();
                    }
                    ahead.extend(
                        target
                            .split('/')
                            .rev()
                            .filter(|p| !p.is_empty() && *p != ".")
                            .map(str::to_owned),
                    );
                }
                Some(_) => return None,
                None if make => {
                    self.names.insert(below.clone(), Kind::Folder(None));
                    at = below;
                }
                None => return Some(None),
            }
        }
        Some(Some(at))
    }

    fn place(&mut self, path: &str) -> Option<String> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some(format!("{}/{name}", self.folder(parent, true)??))
    }

    /// None where the layer cannot be laid over this.
    fn apply(&mut self, ops: &[Op]) -> Option<()> {
        for op in ops {
            match op {
                Whiteout(p) => {
                    let (parent, name) = p.rsplit_once('/').unwrap_or(("", p));
                    if let Some(parent) = self.folder(parent, false)? {
                        self.remove(&format!("{parent}/{name}"));
                    }
                }
                Opaque(p) => {
                    if let Some(at) = self.folder(p, false)? {
                        self.names.retain(|name, _| !name.starts_with(&format!("{at}/")));
                    }
                }
                _ => {}
            }
        }
        for op in ops {
            match op {
                Folder("", mode) => self.root = Some(*mode),
                Folder(p, mode) => {
                    let at = self.place(p)?;
                    if !matches!(self.names.get(&at), Some(Kind::Folder(_))) {
                        self.remove(&at);
                    }
                    self.names.insert(at, Kind::Folder(Some(*mode)));
                }
                File(p, size, mode) => {
                    let at = self.place(p)?;
                    self.remove(&at);
                    let inode = self.inode(*size, *mode);
                    self.names.insert(at, Kind::File(inode));
                }
                Link(p, target) => {
                    let at = self.place(p)?;
                    self.remove(&at);
                    let inode = self.inode(0, 0o777);
                    self.names.insert(at, Kind::Link(inode, target));
                }
                Device(p) => {
                    let at = self.place(p)?;
                    self.remove(&at);
                    let inode = self.inode(0, 0o600);
                    self.names.insert(at, Kind::Device(inode));
                }
                Hard(p, target) => {
                    let (parent, name) = target.rsplit_once('/').unwrap_or(("", target));
                    let from = format!("{}/{name}", self.folder(parent, false)??);
                    let found = self.names.get(&from)?.clone();
                    if matches!(found, Kind::Folder(_)) {
                        return None;
                    }
                    let at = self.place(p)?;
                    if at != from {
                        self.remove(&at);
                        self.names.insert(at, found);
                    }
                }
                Whiteout(_) | Opaque(_) => {}
            }
        }
        Some(())
    }

    fn see(&self) -> Seen {
        let unset = |mode: Option<u16>| {
            mode.map_or(
                Metadata {
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    mtime_sec: 0,
                    mtime_nsec: 0,
                    xattrs: Vec::new(),
                },
                metadata,
            )
        };
        let mut seen = Seen::from([("/".to_owned(), format!("{:?}", unset(self.root)))]);
        for (name, kind) in &self.names {
            let text = match kind.inode() {
                None => match kind {
                    Kind::Folder(mode) => format!("folder {:?}", unset(*mode)),
                    _ => panic!("not a folder, and of no inode: {kind:?}"),
                },
                Some(inode) => {
                    let same: Vec<&String> = self
                        .names
                        .iter()
                        .filter(|(_, kind)| kind.inode() == Some(inode))
                        .map(|(name, _)| name)
                        .collect();
                    let nlink = u32::try_from(same.len()).unwrap();
                    let (size, mode) = self.inodes[inode];
                    let what = match kind {
                        Kind::Link(_, target) => {
                            let target = target.as_bytes().to_vec();
                            format!("{:?}", Node::Symlink { target, nlink })
                        }
                        Kind::Device(_) => {
                            let node = Node::Special {
                                kind: SpecialKind::CharDevice,
                                major: 1,
                                minor: 3,
                                nlink,
                            };
                            format!("{node:?}")
                        }
                        _ => format!("file {} of {nlink}", Sha256::of(&content(size))),
                    };
                    format!("{what} {:?} as {}", metadata(mode), same[0])
                }
            };
            seen.insert(name.clone(), text);
        }
        seen
    }
}

/// `strict`: what the slow one refuses is refused. Otherwise it may be taken: which of a layer's whiteouts come before
/// its entries is up to its tar, and decides whether some of them have a place.
fn compare(layers: &[Vec<Op>], strict: bool) {
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::new());
    sample::init(medium.as_ref());
    let mut model = Model::default();
    let mut expected = Vec::new();
    let mut possible = true;
    for ops in layers {
        possible = possible && model.apply(ops).is_some();
        expected.push(model.see());
    }
    match store(&medium, layers) {
        Ok(()) if !possible => {
            assert!(!strict, "these layers cannot be laid over each other: {layers:?}");
            return;
        }
        Ok(()) => {}
        Err(why) => {
            assert!(!possible, "{why}: {layers:?}");
            return;
        }
    }
    let disk = sample::open(&medium).unwrap();
    for (n, expected) in expected.iter().enumerate() {
        let seen = see(&disk, n);
        assert_eq!(&seen, expected, "chain {n} of {layers:?}");
    }
    let options = VerifyOptions {
        full: true,
        ..VerifyOptions::default()
    };
    let report = verify(&medium, &options, &Silent).unwrap();
    assert!(report.is_whole(), "{:?}", report.damages);
}

#[test]
fn layers_are_laid_over_each_other_as_the_image_specification_says() {
    let base = || {
        vec![
            Folder("", 0o751),
            Folder("a", 0o755),
            File("a/x", 10, 0o644),
            File("a/y", 5000, 0o4755),
            Hard("a/z", "a/y"),
            Folder("a/b", 0o700),
            File("a/b/c", 300_000, 0o644),
            Folder("usr", 0o755),
            Folder("usr/bin", 0o755),
            File("usr/bin/tool", 70_000, 0o755),
            Link("bin", "usr/bin"),
            Device("null"),
        ]
    };
    let tables: Vec<Vec<Op>> = vec![
        vec![Whiteout("a/x")],
        vec![Whiteout("nothing"), Whiteout("a/nothing/at/all")],
        vec![Whiteout("a"), File("a/new", 1, 0o600)],
        vec![Folder("a", 0o711), Opaque("a"), File("a/new", 1, 0o600)],
        vec![Opaque("a")],
        vec![Opaque("")],
        vec![File("a", 3, 0o644)],
        vec![Folder("a/x", 0o755), File("a/x/in", 3, 0o644)],
        vec![Whiteout("a/y")],
        vec![File("a/y", 6, 0o644)],
        vec![Hard("a/x2", "a/x")],
        vec![Hard("a/y2", "a/y"), Hard("top", "a/x"), Hard("top2", "a/x")],
        vec![Hard("t", "nothing")],
        vec![Hard("t", "a/b")],
        vec![File("bin/more", 9, 0o755)],
        vec![Folder("bin", 0o755), File("bin/more", 9, 0o755)],
        vec![Opaque("bin")],
        vec![Whiteout("bin/tool"), File("bin/other", 9, 0o755)],
        vec![File("a/x/below", 1, 0o644)],
        vec![File("p/q", 4, 0o640), Hard("p/r", "p/q"), File("p/q", 5, 0o640)],
        vec![Link("l", "../../a/b"), File("l/in", 4, 0o640)],
        vec![
            Link("round", "round2"),
            Link("round2", "round"),
            File("round/x", 1, 0o640),
        ],
        vec![Hard("a/x", "a/x")],
        vec![Hard("q", "null"), Hard("bin2", "bin"), Hard("bin3", "bin")],
        vec![
            Device("one"),
            Hard("a/two", "one"),
            Link("way", "a"),
            Hard("a/way", "way"),
        ],
        vec![
            Opaque("nowhere/at/all"),
            Whiteout("not/there/either"),
            Opaque("a/b"),
        ],
        vec![
            Opaque("made/not"),
            Whiteout("made/gone"),
            File("made/it", 1, 0o600),
        ],
        vec![
            Hard("bin/of-below", "a/x"),
            Hard("bin/again", "a/x"),
            Hard("y2", "a/y"),
        ],
    ];
    for ops in tables {
        let ops_first: Vec<Op> = ops.clone();
        compare(&[base(), ops_first, vec![File("a/b/last", 2, 0o644)]], true);
    }
}

#[test]
fn a_directory_that_no_layer_touches_is_the_same_in_every_chain() {
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::new());
    sample::init(medium.as_ref());
    let base: Vec<Op> = vec![
        Folder("a", 0o755),
        File("a/x", 9_000, 0o644),
        Folder("b", 0o755),
        File("b/y", 10, 0o644),
    ];
    store(&medium, &[base, vec![File("b/z", 11, 0o644)]]).unwrap();
    let disk = sample::open(&medium).unwrap();
    let folder = |n: &str, name: &str| -> Directory {
        let chain = disk.chain(&id(n)).unwrap().unwrap();
        let entry = chain.rootfs().entry(&EntryName::new(name.as_bytes()).unwrap());
        chain.rootfs().open_directory(&entry.unwrap().unwrap()).unwrap()
    };
    assert_eq!(folder("0", "a").stored(), folder("1", "a").stored());
    assert_ne!(folder("0", "b").stored(), folder("1", "b").stored());
    // Nor is the first chain's tree written a second time beside its only layer's.
    let layer = disk
        .layers()
        .find(|l| l.as_ref().unwrap().diff_id == id("layer 0"));
    let chain = disk.chain(&id("0")).unwrap().unwrap();
    assert_eq!(
        layer.unwrap().unwrap().tree().rootfs().stored(),
        chain.rootfs().stored()
    );
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let paths = prop::sample::select(vec![
        "a", "b", "a/b", "a/c", "a/b/d", "b/e", "l", "a/l2", "b/e/h", "c", "c/d/e/f",
    ]);
    let targets = prop::sample::select(vec!["a", "/a", "b", "../b", "a/b", "nowhere", "."]);
    let one = (0..8_u8, paths.clone(), paths, targets, 0..6_u32, 0..0o1000_u16).prop_map(
        |(kind, p, q, target, size, mode)| match kind {
            0 | 1 => Folder(p, mode),
            2 | 3 => File(p, [0, 1, 2048, 2049, 70_000, 40][size as usize], mode),
            4 => Link(if p.len() > 2 { "a/l2" } else { "l" }, target),
            5 if !p.contains('l') && !q.contains('l') => Hard(p, q),
            // What goes through links is in the table above: where else a layer puts something decides there.
            6 if !p.contains('l') => Whiteout(p),
            7 if !p.contains('l') => Opaque(p),
            _ => Folder(p, mode),
        },
    );
    // Whiteouts first: they are for the layers below, wherever in a tar they stand; the slow one takes them so.
    // Then directories, parents before children, as every tar has them.
    prop::collection::vec(one, 0..8).prop_map(|mut ops| {
        ops.sort_by_key(|op| match op {
            Whiteout(p) | Opaque(p) => (0, *p),
            Folder(p, _) => (1, *p),
            _ => (2, ""),
        });
        ops
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_layers_are_merged_as_if_they_were_unpacked_one_after_the_other(
        layers in prop::collection::vec(ops(), 1..4)
    ) {
        compare(&layers, false);
    }
}
