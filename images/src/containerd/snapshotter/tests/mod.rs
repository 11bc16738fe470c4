//! The rules that containerd's snapshotters keep, and ours. Mounts are real, each in a mount namespace of its own.

mod chains;
pub(super) mod crash;

use super::label::{GID_LABEL, UID_LABEL};
use super::*;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

/// A disk that a test plugs in and pulls: chains are plain folders.
#[derive(Debug)]
pub(super) struct TestDisk {
    folder: PathBuf,
    plugged: std::sync::atomic::AtomicBool,
    /// Chains that were released, in order; who asks for a folder takes it out.
    released: Mutex<Vec<Sha256>>,
}

impl TestDisk {
    fn plug(&self, plugged: bool) {
        self.plugged.store(plugged, std::sync::atomic::Ordering::SeqCst);
    }

    /// Puts a chain on the disk, with these files of one line each.
    #[expect(
        clippy::disallowed_methods,
        reason = "a tree that stands in for a mounted chain"
    )]
    fn put(&self, name: &str, files: &[(&str, &str)]) -> Sha256 {
        let chain_id = Sha256::of(name.as_bytes());
        let folder = self.directory(&chain_id);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, line) in files {
            std::fs::write(folder.join(file), line).unwrap();
        }
        chain_id
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a tree that stands in for a mounted chain"
    )]
    fn take_away(&self, chain_id: &Sha256) {
        std::fs::remove_dir_all(self.directory(chain_id)).unwrap();
    }
}

impl Chains for TestDisk {
    fn has(&self, chain_id: &Sha256) -> std::result::Result<bool, Absent> {
        if self.plugged.load(std::sync::atomic::Ordering::SeqCst) {
            Ok(self.folder.join(chain_id.to_hex()).is_dir())
        } else {
            Err(Absent {
                why: "no disk is plugged in".to_owned(),
            })
        }
    }

    fn directory(&self, chain_id: &Sha256) -> PathBuf {
        self.released.lock().retain(|released| released != chain_id);
        self.folder.join(chain_id.to_hex())
    }

    fn release(&self, chain_id: &Sha256) {
        self.released.lock().push(*chain_id);
    }
}

/// A node of its own, and its disk.
pub(super) struct Node {
    pub folder: tempfile::TempDir,
    pub disk: Arc<TestDisk>,
    pub all: Snapshots,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (disk, all) = Self::open(folder.path());
        Self { folder, disk, all }
    }

    fn open(folder: &Path) -> (Arc<TestDisk>, Snapshots) {
        let disk = Arc::new(TestDisk {
            folder: folder.join("disk"),
            plugged: true.into(),
            released: Mutex::default(),
        });
        let all = Snapshots::open(&folder.join("state"), Arc::clone(&disk) as Arc<dyn Chains>).unwrap();
        (disk, all)
    }

    fn reopen(self) -> Self {
        let Self { folder, disk, all } = self;
        drop((disk, all));
        let (disk, all) = Self::open(folder.path());
        Self { folder, disk, all }
    }

    /// An ordinary committed snapshot in which the script has run.
    fn layer(&self, name: &str, parent: &str, script: &str) {
        let key = format!("extract {name}");
        let mounts = self.all.prepare(&key, parent, &Labels::new()).unwrap();
        mounted(&mounts, script);
        self.all.commit(name, &key, &Labels::new(), "").unwrap();
    }

    /// Asks for a chain as an unpacker does; true if it is there.
    fn ask(&self, chain_id: &Sha256, parent: &str) -> bool {
        let key = format!("k8s.io/7/extract-123 {}", chain_id.to_digest());
        match self
            .all
            .prepare(&key, parent, &labels(&[(CHAIN_LABEL, &chain_id.to_digest())]))
        {
            Ok(_) => {
                self.all.remove(&key).unwrap();
                false
            }
            Err(SnapshotError::AlreadyExists { .. }) => true,
            Err(err) => panic!("{err}"),
        }
    }

    fn names(&self) -> Vec<String> {
        self.all.list().map(|info| info.unwrap().name).collect()
    }

    fn folders(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("state/snapshots"))
            .unwrap()
            .count()
    }
}

pub(super) fn labels(list: &[(&str, &str)]) -> Labels {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Mounts, runs a shell script in the mount, and unmounts; what it printed.
#[track_caller]
fn mounted(mounts: &[Mount], script: &str) -> String {
    let target = tempfile::tempdir().unwrap();
    let mut all = "set -eu\n".to_owned();
    for mount in mounts {
        let how = match mount.kind {
            "bind" => format!("mount --{} {}", mount.options[1], mount.source),
            kind => format!("mount -t {kind} -o {} {}", mount.options.join(","), mount.source),
        };
        all += &format!("{how} {}\n", target.path().display());
        if mount.kind == "bind" && mount.options[0] == "ro" {
            all += &format!("mount -o remount,bind,ro {}\n", target.path().display());
        }
    }
    all += &format!("cd {}\n{script}", target.path().display());
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &all])
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{all}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

macro_rules! refused {
    ($call:expr, $variant:ident) => {
        match $call {
            Err(SnapshotError::$variant { .. }) => {}
            other => panic!("expected {}, got {other:?}", stringify!($variant)),
        }
    };
}
use refused;

#[test]
fn what_is_written_in_one_snapshot_is_seen_in_those_that_stand_on_it() {
    let node = Node::new();
    node.layer("a", "", "mkdir -p a/b/c; echo foo >foo; echo foo >gone");
    node.layer(
        "b",
        "a",
        "test \"$(cat foo)\" = foo; rm -r a/b gone; echo bar >foo; echo bar >bar",
    );
    let view = node.all.view("v", "b", &Labels::new()).unwrap();
    assert_eq!(
        mounted(&view, "cat foo bar; ls -d *; ls a"),
        "bar\nbar\na\nbar\nfoo\n"
    );
    let lower = node.all.view("w", "a", &Labels::new()).unwrap();
    assert_eq!(mounted(&lower, "cat foo; ls a"), "foo\nb\n");
    let active = node.all.prepare("c", "b", &Labels::new()).unwrap();
    assert_eq!(mounted(&active, "mv bar baz; cat baz; ls"), "bar\na\nbaz\nfoo\n");
    assert_eq!(node.all.mounts("c").unwrap(), active);
    assert_eq!(node.all.mounts("v").unwrap(), view);
}

#[test]
fn views_are_never_written() {
    let node = Node::new();
    node.layer("a", "", "echo a >a");
    node.layer("b", "a", "echo b >b");
    for (key, parent) in [("none", ""), ("one", "a"), ("two", "b")] {
        let view = node.all.view(key, parent, &Labels::new()).unwrap();
        mounted(
            &view,
            "if echo x >new 2>/dev/null; then exit 1; fi; if rm -f a b 2>/dev/null; then test ! -e a; fi",
        );
    }
}

#[test]
fn commit_takes_the_keys_place_with_labels_of_its_own() {
    let node = Node::new();
    let start = SystemTime::now();
    node.all.prepare("k", "", &labels(&[("old", "1")])).unwrap();
    let made = node.all.stat("k").unwrap();
    assert_eq!(
        (made.kind, made.parent.as_str(), made.created),
        (Kind::Active, "", made.updated)
    );
    assert_eq!(made.labels, labels(&[("old", "1")]));
    node.all
        .commit("n", "k", &labels(&[("new", "2"), ("empty", "")]), "")
        .unwrap();
    refused!(node.all.stat("k"), NotFound);
    let committed = node.all.stat("n").unwrap();
    assert_eq!(
        (committed.kind, &committed.labels),
        (Kind::Committed, &labels(&[("new", "2")]))
    );
    assert!(
        start <= made.created && made.created < committed.created && committed.created <= SystemTime::now()
    );
    assert_eq!(
        node.all.list().map(Result::unwrap).collect::<Vec<_>>(),
        [committed]
    );
}

#[test]
fn each_misuse_has_its_own_answer() {
    let node = Node::new();
    let none = Labels::new();
    node.layer("a", "", "true");
    node.all.prepare("active", "a", &none).unwrap();
    node.all.view("view", "a", &none).unwrap();
    for taken in ["active", "view", "a"] {
        refused!(node.all.prepare(taken, "", &none), AlreadyExists);
        refused!(node.all.view(taken, "a", &none), AlreadyExists);
    }
    refused!(node.all.prepare("x", "nothing", &none), NotFound);
    refused!(node.all.prepare("x", "active", &none), Invalid);
    refused!(node.all.view("x", "view", &none), Invalid);
    refused!(node.all.prepare("", "", &none), Invalid);
    refused!(node.all.prepare(&"x".repeat(MAX_NAME + 1), "", &none), Invalid);
    refused!(
        node.all
            .prepare("x", "", &labels(&[("l", &"x".repeat(MAX_NAME))])),
        Invalid
    );
    refused!(node.all.mounts("nothing"), NotFound);
    refused!(node.all.mounts("a"), Precondition);
    refused!(node.all.commit("a", "active", &none, ""), AlreadyExists);
    refused!(node.all.commit("x", "nothing", &none, ""), NotFound);
    refused!(node.all.commit("x", "view", &none, ""), Precondition);
    refused!(node.all.commit("x", "a", &none, ""), Precondition);
    refused!(node.all.commit("x", "active", &none, "other"), Invalid);
    refused!(node.all.remove("nothing"), NotFound);
    refused!(node.all.remove("a"), Precondition);
    refused!(node.all.stat("nothing"), NotFound);
    refused!(node.all.usage("nothing"), NotFound);
    refused!(node.all.update("nothing", &none, &[]), NotFound);
    refused!(node.all.update("a", &none, &["parent".to_owned()]), Invalid);
    assert_eq!(node.names(), ["a", "active", "view"]);
    assert_eq!(node.folders(), 3);
    node.all.commit("x", "active", &none, "a").unwrap();
}

#[test]
fn labels_alone_are_updated() {
    let node = Node::new();
    node.all.prepare("k", "", &labels(&[("l1", "v1")])).unwrap();
    let before = node.all.stat("k").unwrap();
    let all = labels(&[("l1", "v1"), ("l2", "v2"), ("l3", "v3")]);
    assert_eq!(node.all.update("k", &all, &[]).unwrap().labels, all);
    let some = labels(&[("l1", "new"), ("l4", "v4")]);
    let paths = ["labels.l1".to_owned(), "labels.l2".to_owned()];
    let after = node.all.update("k", &some, &paths).unwrap();
    assert_eq!(after.labels, labels(&[("l1", "new"), ("l3", "v3")]));
    assert_eq!((after.created, after.kind), (before.created, before.kind));
    assert!(after.updated > before.updated);
    let only = labels(&[("l4", "v4")]);
    node.all.update("k", &only, &["labels".to_owned()]).unwrap();
    assert_eq!(node.all.stat("k").unwrap().labels, only);
}

#[test]
fn a_name_can_be_used_again_once_it_is_removed() {
    let node = Node::new();
    node.layer("1", "", "true");
    node.all.prepare("again", "1", &Labels::new()).unwrap();
    node.all.remove("again").unwrap();
    node.all.view("again", "1", &Labels::new()).unwrap();
    node.all.remove("again").unwrap();
    node.all.prepare("again", "", &Labels::new()).unwrap();
    node.all.remove("1").unwrap();
    node.all.commit("1", "again", &Labels::new(), "").unwrap();
    assert_eq!((node.names(), node.folders()), (vec!["1".to_owned()], 1));
}

#[test]
fn a_parent_whose_name_begins_anothers_has_children_of_its_own() {
    let node = Node::new();
    node.layer("a", "", "true");
    node.layer("ab", "", "true");
    node.layer("bc", "a", "true");
    node.layer("c", "ab", "true");
    refused!(node.all.remove("a"), Precondition);
    node.all.remove("bc").unwrap();
    node.all.remove("a").unwrap();
    refused!(node.all.remove("ab"), Precondition);
}

#[test]
fn usage_counts_a_snapshots_own_blocks_and_inodes_once() {
    let node = Node::new();
    node.layer(
        "a",
        "",
        "dd if=/dev/zero of=a bs=1024 count=100 2>/dev/null; ln a b; mkdir d; truncate -s 1G sparse; sync .",
    );
    let usage = node.all.usage("a").unwrap();
    assert_eq!(usage.inodes, 4);
    assert!((100 * 1024..300 * 1024).contains(&usage.bytes), "{usage:?}");
    let mounts = node.all.prepare("k", "a", &Labels::new()).unwrap();
    let before = node.all.usage("k").unwrap();
    mounted(
        &mounts,
        "dd if=/dev/zero of=new bs=1024 count=100 2>/dev/null; sync .",
    );
    let after = node.all.usage("k").unwrap();
    assert_eq!((before.inodes, after.inodes), (1, 2));
    assert!(after.bytes >= before.bytes + 100 * 1024);
    node.all.view("v", "a", &Labels::new()).unwrap();
    assert_eq!(node.all.usage("v").unwrap(), Usage::default());
}

#[test]
fn the_root_keeps_its_parents_owner_and_follows_a_mapping() {
    let node = Node::new();
    node.layer("a", "", "chown 12:34 .");
    let show = "stat -c '%u:%g %a' .";
    let mounts = node.all.prepare("k", "a", &Labels::new()).unwrap();
    assert_eq!(mounted(&mounts, show), "12:34 755\n");
    let mapped = labels(&[(UID_LABEL, "0:1000:65536"), (GID_LABEL, "5:1:2,0:2000:10")]);
    let mounts = node.all.prepare("m", "", &mapped).unwrap();
    assert_eq!(mounted(&mounts, show), "1000:2000 755\n");
    refused!(node.all.prepare("bad", "", &labels(&[(UID_LABEL, "x")])), Invalid);
    assert_eq!(node.names(), ["a", "k", "m"]);
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let node = Node::new();
    node.layer("a", "", "echo a >a");
    let mounts = node.all.prepare("k", "a", &labels(&[("l", "v")])).unwrap();
    mounted(&mounts, "echo k >k");
    let before: Vec<Info> = node.all.list().map(Result::unwrap).collect();
    let node = node.reopen();
    assert_eq!(node.all.list().map(Result::unwrap).collect::<Vec<_>>(), before);
    assert_eq!(node.all.mounts("k").unwrap(), mounts);
    assert_eq!(mounted(&mounts, "cat a k"), "a\nk\n");
    node.all.prepare("new", "", &Labels::new()).unwrap();
    assert_eq!(node.folders(), 3);
}

#[test]
fn a_state_folder_in_use_or_with_letters_that_overlay_cannot_hold_is_refused() {
    let node = Node::new();
    let state = node.folder.path().join("state");
    let chains = Arc::clone(&node.disk) as Arc<dyn Chains>;
    let message = Snapshots::open(&state, Arc::clone(&chains))
        .unwrap_err()
        .to_string();
    assert!(message.contains("another process"), "{message}");
    for bad in ["/tmp/a:b", "/tmp/a,b", "relative"] {
        refused!(Snapshots::open(Path::new(bad), Arc::clone(&chains)), Invalid);
        assert!(!Path::new(bad).exists());
    }
}

#[test]
fn cleanup_spares_what_is_named_and_what_is_being_made() {
    let node = Node::new();
    node.layer("a", "", "true");
    let orphan = node.folder.path().join("state/snapshots/7777777/fs");
    std::fs::create_dir_all(&orphan).unwrap();
    std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            for n in 0..100 {
                node.all.prepare(&format!("k{n}"), "a", &Labels::new()).unwrap();
            }
        });
        while !making.is_finished() {
            node.all.cleanup().unwrap();
        }
    });
    assert!(!orphan.exists());
    assert_eq!((node.names().len(), node.folders()), (101, 101));
    for n in 0..100 {
        assert_eq!(node.all.usage(&format!("k{n}")).unwrap().inodes, 1);
    }
}

#[test]
fn two_who_want_one_name_at_once_get_one_snapshot() {
    let node = Node::new();
    let won: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| node.all.prepare("same", "", &Labels::new()).is_ok()))
            .collect();
        tries
            .into_iter()
            .map(|one| usize::from(one.join().unwrap()))
            .sum()
    });
    assert_eq!((won, node.folders()), (1, 1));
}

/// The socket answers only one process at a time, and a dead one's is taken over.
#[test]
fn a_live_socket_is_refused_and_a_dead_one_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snap.sock");
    let live = SnapshotSocket::bind(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    refused!(SnapshotSocket::bind(&path), Precondition);
    drop(live);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let next = SnapshotSocket::bind(&path).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(next.path()).is_ok());
    let file = folder.path().join("file");
    std::fs::File::create(&file).unwrap();
    refused!(SnapshotSocket::bind(&file), Precondition);
}
