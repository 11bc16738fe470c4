//! What the mount shows of images and chains, without a kernel: a disk in memory, and the view over it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod erofs;

use holdall::generation::{self, Labels};
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, IngestOptions, StoredBlob, StoredTree};
use holdall::medium::{Medium, MemoryMedium};
use holdall::monitor::Silent;
use holdall::name::{EntryName, ImageName};
use holdall::reader::{Disk, Metadata, OpenOptions, SpecialKind};
use holdall_fs::view::{Attributes, Inode, Kind, View};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A disk with what `fill` puts on it.
fn disk(fill: impl FnOnce(&Ingest)) -> Disk {
    let medium = MemoryMedium::new();
    let labels = Labels {
        origin: "test".to_owned(),
        series: "unit".to_owned(),
    };
    generation::init(&medium, &labels, &holdall::custody::Witness::unnamed(), 1_000).unwrap();
    let medium: Arc<dyn Medium> = Arc::new(medium);
    let state = tempfile::tempdir().unwrap();
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: holdall::pack::Level::default(),
        state: state.path().to_owned(),
        interrupted: Arc::default(),
    };
    let ingest = Ingest::open(Arc::clone(&medium), &options, Arc::new(Silent)).unwrap();
    fill(&ingest);
    ingest.commit().unwrap();
    Disk::open(medium, &OpenOptions::default()).unwrap()
}

fn view(disk: &Disk) -> View {
    View::new(disk.clone(), 0, 0)
}

fn manifest(ingest: &Ingest, text: &str) -> StoredBlob {
    let blob = ingest.store_small(text.as_bytes(), None, "test").unwrap();
    ingest.put_blob(&blob, Some(MANIFEST)).unwrap();
    blob
}

fn name_images(ingest: &Ingest, target: &StoredBlob, names: &[&str]) {
    for name in names {
        let name = name.replace("DIGEST", &target.sha256.to_digest());
        let name = ImageName::parse(&name).unwrap();
        ingest.put_image(&name, target, MANIFEST).unwrap();
    }
}

fn metadata(mode: u16, xattrs: &[(&str, &[u8])]) -> Metadata {
    let xattrs = xattrs
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
    Metadata {
        mode,
        uid: 7,
        gid: 8,
        mtime_sec: -5,
        mtime_nsec: 6,
        xattrs: xattrs.collect(),
    }
}

fn path(text: &str) -> Vec<EntryName> {
    let parts = text.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| EntryName::new(part.as_bytes()).unwrap())
        .collect()
}

/// A chain with one of everything.
fn chain(ingest: &Ingest) -> StoredTree {
    let mut layer = ingest.layer_writer();
    layer
        .directory(&path(""), metadata(0o755, &[("user.root", b"1")]))
        .unwrap();
    layer.directory(&path("bin"), metadata(0o1777, &[])).unwrap();
    for (name, bytes) in [("bin/su", &b"setuid"[..]), ("bin/ping", b"capable")] {
        layer
            .begin_file(
                &path(name),
                metadata(
                    0o4755,
                    &[
                        ("security.capability", b"\x01\x00"),
                        ("trusted.overlay.opaque", b"y"),
                    ],
                ),
                bytes.len() as u64,
            )
            .unwrap();
        layer.data(bytes).unwrap();
        layer.end_file().unwrap();
    }
    layer.hard_link(&path("a-link"), &path("bin/su")).unwrap();
    layer
        .symlink(&path("sh"), metadata(0o777, &[]), b"bin/su")
        .unwrap();
    layer.directory(&path("dev"), metadata(0o755, &[])).unwrap();
    layer
        .special(
            &path("dev/null"),
            metadata(0o666, &[]),
            SpecialKind::CharDevice,
            1,
            3,
        )
        .unwrap();
    layer
        .special(&path("dev/pipe"), metadata(0o600, &[]), SpecialKind::Fifo, 0, 0)
        .unwrap();
    layer.directory(&path("dev/pts"), metadata(0o755, &[])).unwrap();
    ingest.merge(None, &layer.finish().unwrap().0).unwrap()
}

/// A layer of these lines: `d PATH` a directory, `f PATH` a file of its own path, `h PATH TO` a hard link, `w PATH` a whiteout, `o PATH` an opaque
/// mark.
fn layer(ingest: &Ingest, lines: &[&str]) -> StoredTree {
    let mut layer = ingest.layer_writer();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let at = path(words[1]);
        match words[0] {
            "d" => layer
                .directory(&at, metadata(0o750, &[("user.a", b"1")]))
                .unwrap(),
            "f" => {
                let size = words[1].len() as u64;
                layer
                    .begin_file(&at, metadata(0o640, &[("trusted.overlay.metacopy", b"")]), size)
                    .unwrap();
                layer.data(words[1].as_bytes()).unwrap();
                layer.end_file().unwrap();
            }
            "h" => layer.hard_link(&at, &path(words[2])).unwrap(),
            "w" => layer.whiteout(&at).unwrap(),
            _ => layer.opaque(&at).unwrap(),
        }
    }
    layer.finish().unwrap().0
}

/// Where a layer's image is shown.
fn image_of(diff_id: &Sha256) -> String {
    let hex = diff_id.to_hex();
    format!("layers/sha256/{}/{hex}.erofs", &hex[..2])
}

/// All bytes of a file of the mount.
fn bytes_of(view: &View, path: &str) -> Vec<u8> {
    let found = at(view, path).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
    while (bytes.len() as u64) < found.size {
        let piece = view
            .read(found.number, bytes.len() as u64, 3000, &mut buffer)
            .unwrap();
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// What a path of the mount is; symlinks are not followed.
fn at(view: &View, path: &str) -> Option<Attributes> {
    let mut found = view.getattr(1).unwrap();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = view.lookup(found.number, name.as_bytes()).unwrap()?;
    }
    Some(found)
}

/// A directory's entries but for the dots, listed `step` at a time, each beginning where the last ended.
fn listed(view: &View, number: u64, step: usize) -> Vec<(String, u64, Kind)> {
    let (mut all, mut cookie) = (Vec::new(), 0);
    loop {
        let mut some = 0;
        view.readdir(number, cookie, &mut |entry| {
            if some == step {
                return Ok(ControlFlow::Break(()));
            }
            some += 1;
            assert!(cookie < entry.next, "cookies ascend");
            cookie = entry.next;
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            assert_eq!(view.attributes(entry)?.0.number, entry.number);
            all.push((name, entry.number, entry.kind));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        if some == 0 {
            all.retain(|(name, _, _)| name != "." && name != "..");
            return all;
        }
    }
}

/// Every path below a directory. What is listed must be what is looked up, whichever way it is listed,
/// and each number must lead back to what it is the number of.
fn walk(view: &View, number: u64, prefix: &str, into: &mut Vec<String>) {
    let all = listed(view, number, usize::MAX);
    assert_eq!(all, listed(view, number, 1), "{prefix}");
    assert_eq!(all, listed(view, number, 3), "{prefix}");
    let names: BTreeSet<_> = all.iter().map(|(name, _, _)| name).collect();
    assert_eq!(names.len(), all.len(), "{prefix}: a name twice");
    for (name, child, kind) in &all {
        let found = view.lookup(number, name.as_bytes()).unwrap().unwrap();
        assert_eq!((found.number, found.kind), (*child, *kind), "{prefix}{name}");
        assert_eq!(view.getattr(*child).unwrap(), found, "{prefix}{name}");
        assert_eq!(Inode::from_number(*child).unwrap().number(), Some(*child));
        into.push(format!("{prefix}{name}"));
        if *kind == Kind::Directory {
            walk(view, *child, &format!("{prefix}{name}/"), into);
        }
    }
}

fn tree_of(view: &View, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    walk(view, at(view, path).unwrap().number, "", &mut all);
    all
}

#[test]
fn folders_of_images_are_those_of_their_names_each_once() {
    let disk = disk(|ingest| {
        let tree = chain(ingest);
        let id = Sha256::of(b"chain");
        ingest.put_chain(&id, &tree);
        let one = manifest(ingest, "one");
        for platform in ["linux-amd64", "linux-arm-v7"] {
            ingest.put_root_filesystem(&one.sha256, platform, &id).unwrap();
        }
        let names = [
            "docker.io/a:1",
            "docker.io/a:b",
            "docker.io/a-b:1",
            "docker.io/a/b:2",
            "docker.io/a/b/c:3",
            "docker.io/a.b/z:4",
            "docker.io/a/c:1",
            "docker.io/a/c-d:1",
            "docker.io/a/c/d:1",
            "docker.io/a/x/y/z:1",
            "localhost:5000/z:1",
        ];
        name_images(ingest, &one, &names);
        name_images(ingest, &manifest(ingest, "chart"), &["docker.io/helm:1"]);
    });
    let view = view(&disk);
    let digest = Sha256::of(b"one").to_digest();
    let mut expected = BTreeSet::new();
    for image in [
        "docker.io/a-b/DIGEST",
        "docker.io/a.b/z/DIGEST",
        "docker.io/a/b/DIGEST",
        "docker.io/a/b/c/DIGEST",
        "docker.io/a/c-d/DIGEST",
        "docker.io/a/c/DIGEST",
        "docker.io/a/c/d/DIGEST",
        "docker.io/a/x/y/z/DIGEST",
        "localhost:5000/z/DIGEST",
        "docker.io/a/1",
        "docker.io/a/b",
        "docker.io/a-b/1",
        "docker.io/a/b/2",
        "docker.io/a/b/c/3",
        "docker.io/a.b/z/4",
        "docker.io/a/c/1",
        "docker.io/a/c-d/1",
        "docker.io/a/c/d/1",
        "docker.io/a/x/y/z/1",
        "docker.io/a/DIGEST",
        "localhost:5000/z/1",
    ] {
        let image = image.replace("DIGEST", &digest);
        for platform in ["linux-amd64", "linux-arm-v7"] {
            expected.insert(format!("{image}/{platform}/rootfs"));
        }
    }
    // No platform: the folder is there, and empty.
    expected.insert("docker.io/helm/1".to_owned());
    expected.insert(format!("docker.io/helm/{}", Sha256::of(b"chart").to_digest()));
    let folders: Vec<String> = expected.iter().cloned().collect();
    for path in folders {
        for (cut, _) in path.match_indices('/') {
            expected.insert(path[..cut].to_owned());
        }
    }
    let found = tree_of(&view, "images");
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    for nothing in [
        "images/docker.io/a/1/linux-riscv64",
        "images/docker.io/a-",
        "images/docker.io/rootfs",
        "images/docker.io/a/x/1",
        "images/docker.io/a/1/rootfs",
        "images/docker.io/helm/1/linux-amd64",
    ] {
        assert_eq!(at(&view, nothing), None, "{nothing}");
    }
    let link = at(&view, "images/docker.io/a/b/c/3/linux-arm-v7/rootfs").unwrap();
    let target = String::from_utf8(view.readlink(link.number).unwrap()).unwrap();
    let id = Sha256::of(b"chain").to_hex();
    assert_eq!(target, format!("../../../../../../../chains/sha256/{id}"));
    assert_eq!(link.size, target.len() as u64);
}

#[test]
fn names_that_fall_on_one_path_are_one_folder_or_the_platform_s() {
    let disk = disk(|ingest| {
        let tree = chain(ingest);
        let id = Sha256::of(b"chain");
        ingest.put_chain(&id, &tree);
        let one = manifest(ingest, "one");
        for platform in ["linux-amd64", "rootfs"] {
            ingest.put_root_filesystem(&one.sha256, platform, &id).unwrap();
        }
        // A platform is a tag, a repository and a prefix; so is its link.
        let names = [
            "docker.io/a:b",
            "docker.io/a/b:linux-amd64",
            "docker.io/a/b/linux-amd64:1",
            "docker.io/a/b/linux-amd64:rootfs",
            "docker.io/a/b/linux-amd64/rootfs:1",
            "docker.io/a/b/linux-amd64/rootfs/x:1",
            "docker.io/a/b/rootfs/rootfs:1",
        ];
        name_images(ingest, &one, &names);
    });
    let view = view(&disk);
    let found = tree_of(&view, "images");
    assert!(found.contains(&"docker.io/a/b/linux-amd64/1/rootfs/rootfs".to_owned()));
    let both = at(&view, "images/docker.io/a/b/linux-amd64").unwrap();
    let names: Vec<String> = listed(&view, both.number, 2)
        .into_iter()
        .map(|(n, _, _)| n)
        .collect();
    assert_eq!(
        names,
        ["rootfs", "linux-amd64", "1", &Sha256::of(b"one").to_digest()]
    );
    let link = at(&view, "images/docker.io/a/b/linux-amd64/rootfs").unwrap();
    assert_eq!(link.kind, Kind::Symlink);
}

#[test]
fn a_chain_is_shown_with_every_field_and_its_links_are_one_inode() {
    let id = Sha256::of(b"chain");
    let disk = disk(|ingest| {
        let tree = chain(ingest);
        ingest.put_chain(&Sha256::of(b"another"), &tree);
        ingest.put_chain(&id, &tree);
    });
    let view = view(&disk);
    let root = format!("chains/sha256/{}", id.to_hex());
    let below = |path: &str| at(&view, &format!("{root}/{path}")).unwrap();
    let mut all = tree_of(&view, &root);
    all.sort();
    assert_eq!(
        all,
        [
            "a-link", "bin", "bin/ping", "bin/su", "dev", "dev/null", "dev/pipe", "dev/pts", "sh"
        ]
    );
    let su = below("bin/su");
    assert_eq!(su, below("a-link"));
    assert_eq!((su.nlink, su.mode, su.uid, su.gid), (2, 0o4755, 7, 8));
    assert_eq!((su.mtime_sec, su.mtime_nsec, su.size), (-5, 6, 6));
    assert_eq!(
        (below("").nlink, below("bin").nlink, below("dev").nlink),
        (4, 2, 3)
    );
    assert_eq!(at(&view, "chains/sha256").unwrap().nlink, 4);
    assert_eq!(below("bin").mode, 0o1777);
    let null = below("dev/null");
    assert_eq!((null.kind, null.major, null.minor), (Kind::CharDevice, 1, 3));
    assert_eq!(below("dev/pipe").kind, Kind::Fifo);
    assert_eq!(view.readlink(below("sh").number).unwrap(), b"bin/su");
    let mut buffer = Vec::new();
    assert_eq!(&*view.read(su.number, 0, 100, &mut buffer).unwrap(), b"setuid");
    // Another chain's tree is the same, and yet another's inodes.
    let other = at(
        &view,
        &format!("chains/sha256/{}/bin/su", Sha256::of(b"another").to_hex()),
    )
    .unwrap();
    assert_ne!(other.number, su.number);
    assert_eq!(
        Attributes {
            number: su.number,
            ..other
        },
        su
    );
    // The same after another mount, asked in another order.
    let again = View::new(disk.clone(), 0, 0);
    assert_eq!(again.getattr(null.number).unwrap(), null);
    assert_eq!(again.getattr(su.number).unwrap(), su);
}

#[test]
fn xattrs_are_shown_but_for_what_would_steer_an_overlay() {
    let id = Sha256::of(b"chain");
    let disk = disk(|ingest| ingest.put_chain(&id, &chain(ingest)));
    let view = view(&disk);
    let root = at(&view, &format!("chains/sha256/{}", id.to_hex())).unwrap();
    let ping = at(&view, &format!("chains/sha256/{}/bin/ping", id.to_hex())).unwrap();
    assert_eq!(view.xattrs(ping.number).unwrap(), b"security.capability\0");
    assert_eq!(
        view.xattr(ping.number, b"security.capability").unwrap(),
        Some(b"\x01\x00".to_vec())
    );
    assert_eq!(view.xattr(ping.number, b"trusted.overlay.opaque").unwrap(), None);
    assert_eq!(
        view.xattr(root.number, b"user.root").unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(view.xattrs(1).unwrap(), b"");
    assert_eq!(view.xattr(1, b"user.root").unwrap(), None);
}

#[test]
fn a_number_that_leads_nowhere_is_stale_and_not_another_s_node() {
    let id = Sha256::of(b"chain");
    let disk = disk(|ingest| {
        ingest.put_chain(&id, &chain(ingest));
        name_images(ingest, &manifest(ingest, "one"), &["docker.io/a:1"]);
    });
    let view = view(&disk);
    let chains = 1_u64 << 62;
    let images = 1_u64 << 60;
    // Beside a chain's root directory; past its tree; past the chains; past an image's path and platforms.
    for number in [
        chains,
        chains + 4000,
        chains + (1 << 38),
        images + 4,
        images + 1024,
        images + 4096 + 1,
    ] {
        let errno = view.getattr(number).unwrap_err().errno();
        assert_eq!(errno, nix::errno::Errno::ESTALE, "{number}");
        assert!(
            view.readdir(number, 0, &mut |_| Ok(ControlFlow::Continue(())))
                .is_err()
        );
        assert!(view.lookup(number, b"x").is_err());
    }
}

#[test]
fn a_layer_s_image_has_its_marks_as_overlayfs_takes_them() {
    let id = Sha256::of(b"layer");
    let lines = [
        "d a",
        "d a/below",
        "f a/below/file",
        "h a/again a/below/file",
        "d full",
        "o full",
        "f full/new",
        "d gone",
        "w gone/one",
        "w gone/other",
        "d nowhere",
        "d nowhere/opaque",
        "o nowhere/opaque",
        "w nowhere/opaque/too",
    ];
    let disk = disk(|ingest| {
        let tree = layer(ingest, &lines);
        ingest.put_layer(&id, &Sha256::of(b"blob"), &tree);
        // What the layer has no entry for has the metadata that it has in the chain.
        ingest.put_chain(&id, &ingest.merge(None, &tree).unwrap());
    });
    let found = erofs::read(&bytes_of(&view(&disk), &image_of(&id)));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "",
            "a",
            "a/again",
            "a/below",
            "a/below/file",
            "full",
            "full/new",
            "gone",
            "gone/one",
            "gone/other",
            "nowhere",
            "nowhere/opaque",
            "nowhere/opaque/too"
        ]
    );
    for whiteout in ["gone/one", "gone/other", "nowhere/opaque/too"] {
        let found = &found[whiteout];
        assert_eq!(
            (found.mode, found.owner, found.mtime),
            (0o020_000, (0, 0), (0, 0))
        );
        assert_eq!(
            (found.data.as_slice(), found.nlink, found.xattrs.len()),
            (&[0; 4][..], 1, 0)
        );
    }
    let marks = |path: &str| {
        let xattrs = found[path].xattrs.iter();
        let xattrs = xattrs.map(|(name, value)| format!("{name}={}", std::str::from_utf8(value).unwrap()));
        xattrs.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(marks("full"), "trusted.overlay.opaque=y user.a=1");
    assert_eq!(marks("gone"), "trusted.overlay.origin= user.a=1");
    assert_eq!(
        marks("nowhere/opaque"),
        "trusted.overlay.opaque=y trusted.overlay.origin= user.a=1"
    );
    // The root alone has no entry, and yet is one.
    for (path, mode, owner) in [
        ("", 0o040_755, (0, 0)),
        ("nowhere", 0o040_750, (7, 8)),
        ("full", 0o040_750, (7, 8)),
    ] {
        assert_eq!((found[path].mode, found[path].owner), (mode, owner), "{path}");
    }
    // What came with the layer and would steer an overlay is not in it.
    let file = &found["a/below/file"];
    assert_eq!((file.xattrs.len(), file.nlink, file.mtime), (0, 2, (-5, 6)));
    assert_eq!(
        (file.nid, file.data.as_slice()),
        (found["a/again"].nid, &b"a/below/file"[..])
    );
}

#[test]
fn layers_are_listed_by_diff_id_each_once_and_nothing_is_made_for_it() {
    let [whole, outside, all_hidden, implied] =
        [b"whole  ", b"outside", b"hidden ", b"implied"].map(|name| Sha256::of(name));
    let disk = disk(|ingest| {
        let tree = layer(ingest, &["f file"]);
        // One folder of several; two blobs of one diffID, of which the second would say something else.
        for n in 0..600_u32 {
            ingest.put_layer(&Sha256::of(&n.to_le_bytes()), &Sha256::of(b"blob"), &tree);
        }
        let blobs = [Sha256::of(b"one"), Sha256::of(b"two")];
        let [first, second] = if blobs[0].to_hex() < blobs[1].to_hex() {
            [0, 1]
        } else {
            [1, 0]
        };
        ingest.put_layer(&whole, &blobs[first], &tree);
        ingest.put_layer(&whole, &blobs[second], &layer(ingest, &["f other"]));
        ingest.put_chain(&whole, &ingest.merge(None, &tree).unwrap());
        ingest.put_layer(
            &outside,
            &blobs[0],
            &layer(ingest, &["d /", "h here below/there"]),
        );
        ingest.put_layer(&all_hidden, &blobs[0], &layer(ingest, &["d /", "o /"]));
        ingest.put_layer(&implied, &blobs[0], &layer(ingest, &["d /", "f deep/file"]));
    });
    let view = view(&disk);
    let folder = at(&view, "layers/sha256").unwrap().number;
    let folders = listed(&view, folder, usize::MAX);
    assert_eq!(folders, listed(&view, folder, 1));
    let mut all = Vec::new();
    for (name, number, kind) in folders {
        assert_eq!((name.len(), kind), (2, Kind::Directory));
        assert_eq!(
            view.lookup(folder, name.as_bytes()).unwrap().unwrap().number,
            number
        );
        let below = listed(&view, number, 2);
        assert_eq!(below, listed(&view, number, usize::MAX));
        assert!(!below.is_empty());
        for (image, number, kind) in below {
            assert!(
                image.starts_with(&name) && image.ends_with(".erofs"),
                "{name}/{image}"
            );
            assert_eq!((image.len(), kind), (64 + 6, Kind::File));
            assert_eq!(Inode::from_number(number).unwrap().number(), Some(number));
            all.push((format!("layers/sha256/{name}/{image}"), number));
        }
    }
    assert_eq!(all.len(), 604);
    assert!(all.is_sorted_by(|a, b| a.0 < b.0));
    // A listing says nothing of what nobody asked for, and afterwards what was asked for.
    let shown = |id: &Sha256| {
        let hex = id.to_hex();
        let folder = at(&view, &format!("layers/sha256/{}", &hex[..2])).unwrap().number;
        let mut found = None;
        view.readdir(folder, 0, &mut |entry| {
            if entry.name.starts_with(hex.as_bytes()) {
                let (attributes, kept) = view.attributes(entry)?;
                found = Some((attributes.size, kept));
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found.unwrap()
    };
    assert_eq!(shown(&whole), (0, false));
    let size = at(&view, &image_of(&whole)).unwrap().size;
    assert_eq!((shown(&whole), size % 4096), ((size, true), 0));
    assert!(erofs::read(&bytes_of(&view, &image_of(&whole))).contains_key("file"));
    // What no image can be of is not found: at first with the reason, then without.
    for (id, why) in [
        (&outside, "below/there"),
        (&all_hidden, "hides all"),
        (&implied, "deep has the metadata"),
    ] {
        let hex = id.to_hex();
        let folder = at(&view, &format!("layers/sha256/{}", &hex[..2])).unwrap().number;
        let look = || view.lookup(folder, format!("{hex}.erofs").as_bytes());
        let error = look().unwrap_err();
        assert_eq!(error.errno(), nix::errno::Errno::ENOENT);
        let text = error.to_string();
        assert!(text.contains(why) && text.contains(&hex), "{text}");
        assert_eq!(look().unwrap(), None);
        assert_eq!(shown(id), (0, false));
    }
    // Nor is what is not on the disk, or written otherwise.
    let hex = whole.to_hex();
    let other = at(&view, &format!("layers/sha256/{}", &outside.to_hex()[..2])).unwrap();
    for wrong in [
        format!("{hex}.erofs"),
        hex.clone(),
        format!("{}.erofs", Sha256::of(b"none").to_hex()),
    ] {
        assert_eq!(
            view.lookup(other.number, wrong.as_bytes()).unwrap(),
            None,
            "{wrong}"
        );
    }
    for wrong in ["+1", "A0", "a", "0a0", ""] {
        assert_eq!(view.lookup(folder, wrong.as_bytes()).unwrap(), None, "{wrong:?}");
    }
}

#[test]
fn a_disk_without_layers_has_an_empty_folder_of_them() {
    let disk = disk(|_| {});
    assert_eq!(tree_of(&view(&disk), "layers"), ["sha256"]);
}

#[test]
fn a_layer_without_marks_has_the_image_of_the_chain_that_is_that_layer_alone() {
    let id = Sha256::of(b"layer");
    let disk = disk(|ingest| {
        let layer = layer(ingest, &["d /", "d a", "f a/b", "h c a/b"]);
        ingest.put_layer(&id, &Sha256::of(b"blob"), &layer);
        ingest.put_chain(&id, &ingest.merge(None, &layer).unwrap());
    });
    let view = view(&disk);
    let chain = bytes_of(&view, &format!("erofs/chains/sha256/{}.erofs", id.to_hex()));
    assert_eq!(bytes_of(&view, &image_of(&id)), chain);
}

#[test]
fn a_layer_s_image_has_an_implied_directory_as_its_chains_have_it_where_they_agree() {
    let [base, other, upper] = [b"base ", b"other", b"upper"].map(|name| Sha256::of(name));
    let above = |below: &Sha256| {
        let both = format!("{} {}", below.to_digest(), upper.to_digest());
        Sha256::of(both.as_bytes())
    };
    let with = |second: &[&str]| {
        disk(|ingest| {
            let tree = layer(ingest, &["f deep/down/file"]);
            ingest.put_layer(&upper, &Sha256::of(b"blob"), &tree);
            for (id, lines) in [(&base, &["d /", "d deep", "d deep/down"][..]), (&other, second)] {
                let below = ingest.merge(None, &layer(ingest, lines)).unwrap();
                ingest.put_chain(id, &below);
                ingest.put_chain(&above(id), &ingest.merge(Some(&below), &tree).unwrap());
            }
        })
    };
    let same = with(&["d /", "d deep", "d deep/down", "f more"]);
    let found = erofs::read(&bytes_of(&view(&same), &image_of(&upper)));
    for path in ["", "deep", "deep/down"] {
        assert_eq!(
            (found[path].mode, found[path].owner),
            (0o040_750, (7, 8)),
            "{path}"
        );
    }
    // One chain has a closed directory where the other has an implied one.
    let view = view(&with(&["d /", "d deep"]));
    let folder = at(&view, &format!("layers/sha256/{}", &upper.to_hex()[..2]))
        .unwrap()
        .number;
    let error = view
        .lookup(folder, format!("{}.erofs", upper.to_hex()).as_bytes())
        .unwrap_err();
    assert_eq!(error.errno(), nix::errno::Errno::ENOENT);
    assert!(
        error.to_string().contains("different metadata at down"),
        "{error}"
    );
}
