//! Root file systems of the mount against what umoci unpacks of the same images, and as an overlay's lower
//! layer. Needs root: owners, devices and mounts.
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

use stage::{Layout, Running, Stage, corpus, sh, tags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

fn mount(stage: &Stage) -> (Running, PathBuf) {
    let at = stage.path("mnt");
    std::fs::create_dir_all(&at).unwrap();
    let running =
        Running::start(stage.command(["mount", stage.disk().to_str().unwrap(), at.to_str().unwrap()]));
    (running, at)
}

/// What an entry is, by lstat and all that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    mode: u32,
    owner: (u32, u32),
    nlink: u64,
    rdev: u64,
    mtime: (i64, i64),
    /// Of files and links; what a directory's is differs between file systems.
    size: Option<u64>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    link: Option<PathBuf>,
    sha256: Option<String>,
    /// The first of the names that share its inode, by path; none for one of a single name.
    group: Option<PathBuf>,
}

fn xattrs_of(path: &Path, overlay: bool) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    // Asked for the size alone, it is the same; overlayfs counts its own marks in that, which it does not list.
    let room = rustix::fs::llistxattr_query(path).unwrap();
    assert!(room == len || overlay && room > len, "{path:?}: {room}, {len}");
    let names = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            assert_eq!(rustix::fs::lgetxattr_query(path, name).unwrap(), len);
            if len > 1 {
                let short = rustix::fs::lgetxattr(path, name, &mut value[..len - 1]);
                assert_eq!(short, Err(rustix::io::Errno::RANGE), "{path:?}");
            }
            (OsString::from_vec(name.to_vec()), value[..len].to_vec())
        })
        .collect()
}

/// The type of overlay mounts, as statfs has it.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// Everything below `root`, and itself as the empty path.
fn shown(root: &Path) -> BTreeMap<PathBuf, Shown> {
    let mut all = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let overlay = rustix::fs::statfs(root).unwrap().f_type == OVERLAY;
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        // Not `join` alone: that of nothing ends in a slash, which would follow a link.
        let full = if path.as_os_str().is_empty() {
            root.to_owned()
        } else {
            root.join(&path)
        };
        let found = full.symlink_metadata().unwrap();
        let kind = found.file_type();
        let mut group = None;
        if kind.is_dir() {
            let mut names: Vec<_> = full.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
            // Popped in byte order, so that a group's first name is its first by path.
            names.sort_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
            waiting.extend(names.into_iter().map(|name| path.join(name)));
        } else if found.nlink() > 1 {
            // An overlay's files have the device of their layer.
            let inode = (found.dev(), found.ino());
            group = Some(inodes.entry(inode).or_insert_with(|| path.clone()).clone());
        }
        let one = Shown {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            nlink: found.nlink(),
            rdev: found.rdev(),
            mtime: (found.mtime(), found.mtime_nsec()),
            size: (kind.is_file() || kind.is_symlink()).then_some(found.size()),
            xattrs: xattrs_of(&full, overlay),
            link: kind.is_symlink().then(|| full.read_link().unwrap()),
            sha256: kind
                .is_file()
                .then(|| stage::sha256(&std::fs::read(&full).unwrap())),
            group,
        };
        all.insert(path, one);
    }
    all
}

/// Fails with the first differences, by path.
#[track_caller]
fn assert_same(ours: &BTreeMap<PathBuf, Shown>, theirs: &BTreeMap<PathBuf, Shown>, what: &str) {
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (our, their) = (ours.get(path), theirs.get(path));
        if our != their {
            differences.push(format!("{}:\n  mount {our:?}\n  umoci {their:?}", path.display()));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} of {} entries differ:\n{}",
        differences.len(),
        theirs.len(),
        differences[..differences.len().min(10)].join("\n")
    );
}

/// What umoci unpacks of that image, compared and removed again.
fn assert_as_unpacked(stage: &Stage, mount: &Path, layout: &Path, tag: &str) {
    let bundle = stage.path(&format!("bundle-{tag}"));
    sh(&format!(
        "umoci --log=error unpack --image {}:{tag} {}",
        layout.display(),
        bundle.display()
    ));
    let rootfs = mount.join(format!("images/localhost/oci/{tag}/linux-amd64/rootfs"));
    assert!(rootfs.read_link().unwrap().is_relative());
    let chain = rootfs.canonicalize().unwrap();
    assert!(chain.starts_with(mount.canonicalize().unwrap().join("chains/sha256")));
    let theirs = shown(&bundle.join("rootfs"));
    let assert_unpacked = |root: &Path, how: &str| {
        let mut ours = shown(root);
        // umoci takes an attribute without a value for one that is taken away, as PAX has it; GNU tar, which
        // writes them so, and overlayfs keep it.
        for one in ours.values_mut() {
            one.xattrs.retain(|_, value| !value.is_empty());
        }
        assert_same(&ours, &theirs, &format!("{tag} {how}"));
    };
    assert_unpacked(&chain, "by FUSE");
    // The same as a file system of the kernel's, on the image that the mount shows and by a loop device.
    let hex = chain.file_name().unwrap().to_str().unwrap().to_owned();
    let image = mount.join(format!("erofs/chains/sha256/{hex}.erofs"));
    let at = stage.path("erofs");
    std::fs::create_dir_all(&at).unwrap();
    for (how, options) in [("on a file", "ro"), ("by a loop device", "ro,loop")] {
        if how == "on a file" && !mounts_files() {
            continue;
        }
        sh(&format!(
            "mount -t erofs -o {options} {} {}",
            image.display(),
            at.display()
        ));
        let mounted = Unmounts(&at);
        assert_unpacked(&at, how);
        drop(mounted);
    }
    sh(&format!("fsck.erofs {}", image.display()));
    assert_stacked(stage, mount, layout, tag, &theirs);
    std::fs::remove_dir_all(bundle).unwrap();
}

/// The diffIDs of an image's layers, bottom first.
fn diff_ids(layout: &Path, tag: &str) -> Vec<String> {
    let config = sh(&format!("skopeo inspect --config oci:{}:{tag}", layout.display()));
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned())
        .collect()
}

/// Where the mount shows a layer's image, as containerd looks it up.
fn layer_image(mount: &Path, diff_id: &str) -> PathBuf {
    mount.join(format!("layers/sha256/{}/{diff_id}.erofs", &diff_id[..2]))
}

/// The images of the layers, each a file system of the kernel's, with an overlay over all of them, are what is unpacked.
fn assert_stacked(stage: &Stage, mount: &Path, layout: &Path, tag: &str, theirs: &BTreeMap<PathBuf, Shown>) {
    let layers = diff_ids(layout, tag)
        .into_iter()
        .map(|id| layer_image(mount, &id));
    let layers: Vec<PathBuf> = layers.collect();
    if tag == "everything" {
        // Its last layer has names of files that only those below have.
        let last = layers.last().unwrap();
        assert_eq!(last.metadata().unwrap_err().kind(), std::io::ErrorKind::NotFound);
        let listed = last.parent().unwrap().read_dir().unwrap();
        assert!(
            listed
                .map(|entry| entry.unwrap().path())
                .any(|path| path == *last)
        );
        return;
    }
    let (all, empty) = (stage.path("stacked"), stage.path("empty"));
    std::fs::create_dir_all(&all).unwrap();
    std::fs::create_dir_all(&empty).unwrap();
    // An overlay that is not written wants two directories at least.
    let mut lower = vec![empty];
    let folders: Vec<PathBuf> = (0..layers.len())
        .map(|n| stage.path(&format!("layer-{n}")))
        .collect();
    let options = if mounts_files() { "ro" } else { "ro,loop" };
    let mut mounted = Vec::new();
    for (image, folder) in layers.iter().zip(&folders) {
        sh(&format!("fsck.erofs {}", image.display()));
        std::fs::create_dir_all(folder).unwrap();
        sh(&format!(
            "mount -t erofs -o {options} {} {}",
            image.display(),
            folder.display()
        ));
        mounted.push(Unmounts(folder));
        lower.push(folder.clone());
    }
    let lower: Vec<String> = lower
        .iter()
        .rev()
        .map(|path| path.display().to_string())
        .collect();
    sh(&format!(
        "mount -t overlay overlay -o ro,lowerdir={} {}",
        lower.join(":"),
        all.display()
    ));
    let overlay = Unmounts(&all);
    let mut ours = shown(&all);
    drop(overlay);
    drop(mounted);
    // overlayfs does not count the directories in one that several layers have.
    let uncounted = |entries: &mut BTreeMap<PathBuf, Shown>| {
        for one in entries.values_mut() {
            one.xattrs.retain(|_, value| !value.is_empty());
            if one.size.is_none() && one.mode & 0o170_000 == 0o040_000 {
                one.nlink = 0;
            }
        }
    };
    let mut theirs: BTreeMap<PathBuf, Shown> = theirs
        .iter()
        .map(|(path, one)| (path.clone(), one.clone()))
        .collect();
    uncounted(&mut ours);
    uncounted(&mut theirs);
    assert_same(&ours, &theirs, &format!("{tag} of {} layers", layers.len()));
}

/// A mount that ends with the test, however that ends.
struct Unmounts<'a>(&'a Path);

impl Drop for Unmounts<'_> {
    fn drop(&mut self) {
        let _gone_already = std::process::Command::new("umount").arg(self.0).status();
    }
}

/// Whether this kernel mounts EROFS images without a loop device; says aloud where it does not.
fn mounts_files() -> bool {
    let release = sh("uname -r");
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 12) {
        eprintln!(
            "SKIPPED: Linux {} mounts EROFS images by loop devices alone",
            release.trim()
        );
    }
    version >= (6, 12)
}

/// Whether this is root; says aloud where it is not.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can unpack owners and devices, and mount overlays");
    }
    root
}

#[test]
fn every_chain_of_the_corpus_is_what_umoci_unpacks() {
    let Some(layout) = corpus().filter(|_| is_root()).map(|corpus| corpus.join("oci")) else {
        return;
    };
    let stage = Stage::new();
    stage.init();
    stage.add(&[format!("oci:{}", layout.display())]).code(0);
    let (mut mounted, at) = mount(&stage);
    for (tag, _) in tags(&layout) {
        assert_as_unpacked(&stage, &at, &layout, &tag);
    }
    // The same inode numbers once more, asked for in another order.
    let numbers = |order: &str| {
        sh(&format!(
            "find {}/chains {order} -printf '%i %p\\n' | sort",
            at.display()
        ))
    };
    let before = numbers("");
    assert_eq!(mounted.stop(), 0);
    let (mut mounted, _) = mount(&stage);
    assert_eq!(numbers("-depth"), before);
    assert_eq!(mounted.stop(), 0);
}

/// The tar of marks and of hard links whose first names are not in it: `kept`, and the link `dev/link`.
fn links_alone(folder: &Path) -> Vec<u8> {
    let whole = folder.with_extension("whole");
    sh(&format!(
        "cd {} && tar --format=ustar --owner=0 --group=0 --numeric-owner --transform 's,^link$,dev/link,' \
         -cf {} kept link nowhere/at/all/.wh..wh..opq nor/here/.wh.gone way/kept way/again way/link",
        folder.display(),
        whole.display()
    ));
    // Both first names come first: without them the others are links to what is below.
    let whole = std::fs::read(whole).unwrap();
    let (kept, link) = (512 + 512, 512);
    whole[kept + link..].to_vec()
}

/// Puts an image of these layers into a layout.
fn list_image(layout: &mut Layout, tag: &str, layers: &[&[u8]]) {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|tar| format!("sha256:{}", stage::sha256(tar)))
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let layers: Vec<_> = layers
        .iter()
        .map(|tar| layout.blob("application/vnd.oci.image.layer.v1.tar", tar))
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": layers,
    });
    let manifest = layout.blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    layout.list(manifest, Some(tag));
}

/// A layout with an image whose layers have one of everything, and one that has only marks in its last.
fn everything(stage: &Stage) -> (PathBuf, String) {
    let (lower, upper, last) = (stage.path("lower"), stage.path("upper"), stage.path("last"));
    sh(&format!(
        r#"
        mkdir -p {lower}/bin {lower}/dev {lower}/many {lower}/gone {lower}/opaque/below {lower}/var/mail
        cd {lower}
        cp /bin/true bin/su; chmod 4755 bin/su
        cp /bin/true bin/ping; setcap cap_net_raw+ep bin/ping
        cp /bin/true bin/wall; chown 0:5 bin/wall; chmod 2755 bin/wall
        ln bin/su bin/sudo; ln bin/su aaa; ln -s ../bin/su dev/link; ln dev/link second-link
        mknod dev/null c 1 3; mknod dev/zero c 1 5; mknod dev/loop b 7 200; mknod dev/wide c 511 70000
        mkfifo pipe; chmod 600 pipe; ln pipe bin/pipe; ln dev/loop many/loop
        mkdir real; ln -s real way; echo below > real/below
        chmod 1777 var/mail; chown 65534:4294967294 var/mail
        setfattr -n user.note -v hello bin/wall; setfattr -n user.empty bin/wall
        setfattr -n user.directory -v 1 var; setfattr -n trusted.mark -v 1 second-link -h
        for n in $(seq 1500); do echo $n > many/file-$n; done
        touch many/$(printf 'x%.0s' $(seq 255)) "$(printf 'not\377utf8\n')"
        echo old > gone/file; echo old > opaque/below/file; echo old > kept
        truncate -s 3M sparse; echo end >> sparse; head -c 2000000 /dev/urandom > noise
        touch -d '1969-12-31 23:59:58.25 UTC' kept; touch -d '2038-01-20 00:00:00.123456789 UTC' -h dev/link
        touch -d @1 many
        mkdir -p {upper}/opaque {upper}/bin
        cd {upper}
        touch .wh.gone opaque/.wh..wh..opq; echo new > opaque/new; echo more > bin/more; chmod 0700 bin
        # Without an entry for any folder: marks for what is not there, and further names of what is only below, one of
        # them in a folder that is reached through a link there.
        mkdir -p {last}/nowhere/at/all {last}/nor/here {last}/way; cd {last}
        touch nowhere/at/all/.wh..wh..opq nor/here/.wh.gone
        echo old > kept; ln kept way/kept; ln kept way/again; ln -s ../bin/su link; ln link way/link
        mkdir bin; touch bin/.wh.more
        "#,
        lower = lower.display(),
        upper = upper.display(),
        last = last.display(),
    ));
    let mut layout = Layout::new(stage.path("oci"));
    let tar = |folder: &Path, what: &str| {
        let tar = folder.with_extension("tar");
        sh(&format!(
            "tar -C {} --format=pax --xattrs --xattrs-include='*' --numeric-owner --sort=name -cf {} {what}",
            folder.display(),
            tar.display()
        ));
        std::fs::read(tar).unwrap()
    };
    let (below, above) = (tar(&lower, "."), tar(&upper, "."));
    // A mark in a folder that has no entry: it is as closed as below.
    let marks = tar(&last, "bin/.wh.more");
    list_image(&mut layout, "stacked", &[&below, &above, &marks]);
    list_image(&mut layout, "everything", &[&below, &above, &links_alone(&last)]);
    (layout.path.clone(), layout.source())
}

#[test]
fn an_image_with_one_of_everything_is_what_umoci_unpacks() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (layout, source) = everything(&stage);
    stage.init();
    stage.add(&[source]).code(0).says("runs in place on linux-amd64");
    let (mut mounted, at) = mount(&stage);
    assert_as_unpacked(&stage, &at, &layout, "everything");
    assert_as_unpacked(&stage, &at, &layout, "stacked");
    assert_eq!(mounted.stop(), 0);
}

#[test]
fn two_disks_of_one_corpus_show_the_same_images_of_chains_and_layers() {
    let Some(layout) = corpus().map(|corpus| corpus.join("oci")) else {
        return;
    };
    let sources: Vec<String> = tags(&layout)
        .iter()
        .map(|(tag, _)| format!("oci:{}:{tag}", layout.display()))
        .collect();
    let images = |stage: &Stage| {
        let (mut mounted, at) = mount(stage);
        let sums = format!(
            "cd {} && find layers erofs -name '*.erofs' | sort | xargs sha256sum",
            at.display()
        );
        // Twice: the second time from another mount.
        let first = sh(&sums);
        assert_eq!(mounted.stop(), 0);
        let (mut mounted, _) = mount(stage);
        assert_eq!(sh(&sums), first);
        sh(&format!(
            "find {0}/layers {0}/erofs -name '*.erofs' -print0 | xargs -0 -n 1 dump.erofs -s",
            at.display()
        ));
        assert_eq!(mounted.stop(), 0);
        first
    };
    let (one, other) = (Stage::new(), Stage::new());
    one.init();
    one.add(&sources).code(0);
    other.init();
    // The other way round, one by one, behind what the first disk has not.
    std::fs::write(other.path("file"), stage::noise(3 << 20, 5)).unwrap();
    other
        .add(&[format!("file:{}", other.path("file").display())])
        .code(0);
    for source in sources.iter().rev() {
        let mut add = other.command(["add", "--level", "fast", other.disk().to_str().unwrap(), source]);
        assert!(add.output().unwrap().status.success());
    }
    let (ours, theirs) = (images(&one), images(&other));
    assert!(
        ours.lines().count() > 10 && ours.contains("  layers/sha256/"),
        "{ours}"
    );
    assert_eq!(ours, theirs);
}

#[test]
fn an_overlay_over_a_chain_keeps_setuid_capabilities_devices_and_links() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (_, source) = everything(&stage);
    stage.init();
    stage.add(&[source]).code(0).says("runs in place on linux-amd64");
    let (mut mounted, at) = mount(&stage);
    let said = sh(&format!(
        r#"
        cd {at}/images/localhost/oci/everything/linux-amd64/rootfs
        lower=$(pwd -P)
        cd {top}
        mkdir rw; unshare -m --propagation private bash -euo pipefail -c '
            mount -t tmpfs none rw
            mkdir rw/upper rw/work rw/all
            mount -t overlay overlay -o lowerdir='"$lower"',upperdir=rw/upper,workdir=rw/work rw/all
            cd rw/all
            stat -c "%a %h %n" bin/su bin/wall
            getcap bin/ping
            getfattr -d -m - bin/wall | grep user
            head -c 4 dev/zero | od -An -tx1
            echo nothing > dev/null
            stat -c "%t:%T %n" dev/wide
            stat -c "%F" pipe
            bin/su && bin/ping
            ls many | wc -l
            ls -A gone opaque 2>&1 || true
            # Copied up: what was there stays with it.
            chmod 0711 bin/ping; getcap bin/ping
            echo more >> kept; cat kept
            stat -c "%a %n" bin
            rm -r many; ls -A | grep -c many || true
        ' || echo "failed: $?"
        "#,
        at = at.display(),
        top = stage.path("").display(),
    ));
    let expected = "4755 3 bin/su\n2755 1 bin/wall\nbin/ping cap_net_raw=ep\nuser.empty=\"\"\nuser.note=\"hello\"\n 00 00 00 00\n1ff:11170 dev/wide\nfifo\n1502\nls: cannot access 'gone': No such file or directory\nopaque:\nnew\n";
    let copied_up = "bin/ping cap_net_raw=ep\nold\nmore\n700 bin\n0\n";
    assert_eq!(said, format!("{expected}{copied_up}"));
    assert_eq!(mounted.stop(), 0);
}

#[test]
fn programs_of_the_corpus_run_from_an_overlay_and_without_one() {
    let Some(layout) = corpus().filter(|_| is_root()).map(|corpus| corpus.join("oci")) else {
        return;
    };
    let stage = Stage::new();
    stage.init();
    stage
        .add(&[format!("oci:{}:python-r1", layout.display())])
        .code(0);
    let (mut mounted, at) = mount(&stage);
    let rootfs = at
        .join("images/localhost/oci/python-r1/linux-amd64/rootfs")
        .canonicalize()
        .unwrap();
    // Straight from the mount: programs and libraries are mapped from it.
    let version = sh(&format!(
        "chroot {} /bin/sh -c 'python3 -c \"print(6*7)\"'",
        rootfs.display()
    ));
    assert_eq!(version, "42\n");
    let said = sh(&format!(
        r#"
        cd {top}
        mkdir rw; unshare -m --propagation private bash -euo pipefail -c '
            mount -t tmpfs none rw
            mkdir rw/upper rw/work rw/all
            mount -t overlay overlay -o lowerdir={rootfs},upperdir=rw/upper,workdir=rw/work rw/all
            # As another user than root, who is let in by permissions alone.
            chroot --userspec=33:33 rw/all /bin/sh -c "id -u; python3 -c \"import zlib; print([len(zlib.compress(bytes(9))) // 9])\"; cat /etc/shadow" 2>&1 || true
            chroot rw/all /bin/sh -c "echo new > /etc/hostname; mkdir /srv/x; mv /etc/passwd /etc/passwd-moved; cat /etc/hostname; find / -xdev | wc -l"
            find {rootfs} | wc -l
        '
        "#,
        top = stage.path("").display(),
        rootfs = rootfs.display(),
    ));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..3],
        ["33", "[1]", "cat: /etc/shadow: Permission denied"],
        "{said}"
    );
    assert_eq!(lines[3], "new");
    let (over, under): (u64, u64) = (lines[4].parse().unwrap(), lines[5].parse().unwrap());
    assert!(under > 9000 && over >= under, "{said}");
    assert_eq!(mounted.stop(), 0);
}

#[test]
fn a_medium_that_goes_away_is_eio_and_all_is_well_when_it_is_back() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (_, source) = everything(&stage);
    // The disk is on a device of its own, which ends when its file is emptied.
    let (image, at_first) = (stage.path("device"), stage.disk());
    let attach = |image: &Path| {
        sh(&format!(
            "mount -o loop {} {}",
            image.display(),
            at_first.display()
        ));
    };
    std::fs::create_dir(&at_first).unwrap();
    sh(&format!(
        "truncate -s 64M {0}; mkfs.ext4 -q -F {0}",
        image.display()
    ));
    attach(&image);
    let _detached = Detached(at_first.clone());
    stage.init();
    stage.add(&[source]).code(0);
    sh("sync");
    let kept = stage.path("kept");
    sh(&format!(
        "cp --sparse=always {} {}",
        image.display(),
        kept.display()
    ));
    let (mut mounted, at) = mount(&stage);
    let rootfs = at
        .join("images/localhost/oci/everything/linux-amd64/rootfs")
        .canonicalize()
        .unwrap();
    let noise = std::fs::read(stage.path("lower/noise")).unwrap();
    assert_eq!(std::fs::read(rootfs.join("kept")).unwrap(), b"old\n");
    // Gone: every read that has to go to it fails, soon, and as what it is.
    std::fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(0)
        .unwrap();
    sh("echo 3 > /proc/sys/vm/drop_caches");
    let start = std::time::Instant::now();
    let errno = |result: std::io::Result<Vec<u8>>| result.unwrap_err().raw_os_error();
    let eio = Some(nix::errno::Errno::EIO as i32);
    assert_eq!(errno(std::fs::read(rootfs.join("noise"))), eio);
    assert!(
        start.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    // What is in memory goes on being served, and what is not there is not said to be missing.
    assert_eq!(
        std::fs::read(at.join("oci/oci-layout")).unwrap(),
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    // Back, as another device at the same place.
    sh(&format!("umount -l {}", at_first.display()));
    assert_eq!(errno(std::fs::read(rootfs.join("noise"))), eio);
    attach(&kept);
    assert_eq!(std::fs::read(rootfs.join("noise")).unwrap(), noise);
    assert_eq!(std::fs::read(rootfs.join("sparse")).unwrap().len(), (3 << 20) + 4);
    assert_eq!(mounted.stop(), 0);
}

/// Unmounts what is mounted there, whatever becomes of the test.
struct Detached(PathBuf);

impl Drop for Detached {
    fn drop(&mut self) {
        let _gone_already = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .output();
    }
}

#[test]
fn a_mount_whose_process_was_killed_is_taken_away_by_the_next() {
    let stage = Stage::new();
    stage.init();
    let (mut killed, at) = mount(&stage);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let dead = at.join("nothing").symlink_metadata().unwrap_err().raw_os_error();
    assert_eq!(dead, Some(nix::errno::Errno::ENOTCONN as i32));
    let (mut mounted, at) = mount(&stage);
    assert!(at.join("HOLDALL.txt").metadata().unwrap().is_file());
    assert_eq!(mounted.stop(), 0);
    assert_eq!(
        sh(&format!(
            "grep -c ' {} ' /proc/self/mountinfo || true",
            at.display()
        )),
        "0\n"
    );
}
