//! The process ends between any two changes, as by `kill -9`; the next one finds a state that is right.

use super::*;
use std::cell::Cell;

const DIE_AT: &str = "HOLDALL_TEST_DIE_AT";
const STATE: &str = "HOLDALL_TEST_STATE";

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Ends the process without a word if this is the place that the test named.
pub(in super::super) fn between() {
    LEFT.with(|left| match left.get() {
        Some(0) => {
            let _killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        Some(n) => left.set(Some(n - 1)),
        None => {}
    });
}

/// All calls that change something, one after the other.
fn live(all: &Snapshots, chain: &Sha256) {
    let none = Labels::new();
    all.prepare("k1", "", &none).unwrap();
    all.commit("layer", "k1", &none, "").unwrap();
    refused!(
        all.prepare("k2", "layer", &labels(&[(CHAIN_LABEL, &chain.to_digest())])),
        AlreadyExists
    );
    all.prepare("k3", &chain.to_digest(), &none).unwrap();
    all.commit("top", "k3", &none, "").unwrap();
    all.view("v", "top", &none).unwrap();
    all.remove("v").unwrap();
    all.remove("top").unwrap();
    all.remove(&chain.to_digest()).unwrap();
    all.remove("layer").unwrap();
}

/// Not a test of itself: what the next one starts and kills.
#[test]
fn a_life_that_ends_where_it_is_told() {
    let (Ok(at), Ok(folder)) = (std::env::var(DIE_AT), std::env::var(STATE)) else {
        println!("run by kill_9_between_any_two_changes_leaves_a_state_that_is_right");
        return;
    };
    let (disk, all) = Node::open(Path::new(&folder));
    LEFT.with(|left| left.set(Some(at.parse().unwrap())));
    live(&all, &Sha256::of(b"one"));
    drop(disk);
}

#[test]
fn kill_9_between_any_two_changes_leaves_a_state_that_is_right() {
    use std::os::unix::process::ExitStatusExt as _;
    let mut killed = 0;
    for at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (disk, all) = Node::open(folder.path());
        let chain = disk.put("one", &[("a", "a\n")]);
        drop(all);
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "containerd::snapshotter::tests::crash::a_life_that_ends_where_it_is_told",
            ])
            .env(DIE_AT, at.to_string())
            .env(STATE, folder.path())
            .output()
            .unwrap();
        let (_disk, all) = Node::open(folder.path());
        let node = Node { folder, disk, all };
        let infos: Vec<Info> = node.all.list().map(Result::unwrap).collect();
        let ordinary = infos.iter().filter(|info| info.name != chain.to_digest()).count();
        assert_eq!(node.folders(), ordinary, "killed at {at}: {infos:?}");
        for info in &infos {
            assert!(
                info.parent.is_empty() || node.all.stat(&info.parent).is_ok(),
                "killed at {at}"
            );
            node.all.usage(&info.name).unwrap();
            if info.kind != Kind::Committed {
                mounted(&node.all.mounts(&info.name).unwrap(), "ls >/dev/null");
            }
        }
        // What is there can be taken away again from the top, and the whole life can be lived once more.
        let mut left = infos;
        while !left.is_empty() {
            let count = left.len();
            left.retain(|info| node.all.remove(&info.name).is_err());
            assert!(left.len() < count, "killed at {at}: {left:?}");
        }
        live(&node.all, &chain);
        assert_eq!((node.names().len(), node.folders()), (0, 0), "killed at {at}");
        if ended.status.success() {
            break;
        }
        assert_eq!(
            ended.status.signal(),
            Some(9),
            "{}",
            String::from_utf8_lossy(&ended.stdout)
        );
        killed += 1;
    }
    assert!(killed >= 20, "only {killed} places");
}
