//! Containers start straight from the disk, under three real containerds. Nothing mocked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes files of its own"
)]

mod stage;

use stage::containerd::{BUSYBOX, Containerd, PAUSE, Runtime, Version, stages};
use stage::{Running, Said, Stage, sh};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Waits until something is so; what is said if it never is.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a `holdall serve` that prints into a file: it says more than the one line that [`Running::start`] reads.
fn started(mut command: std::process::Command, out: &Path) -> Running {
    let child = command
        .stdout(std::fs::File::create(out).unwrap())
        .spawn()
        .unwrap();
    Running {
        child,
        line: String::new(),
    }
}

/// Bytes in files below a folder, by their sizes: RocksDB reserves some 5 MB of blocks beyond, which it does not write.
fn bytes(folder: &Path) -> u64 {
    let line = format!(
        "du -s --apparent-size --block-size=1 {} | cut -f1",
        folder.display()
    );
    sh(&line).trim().parse().unwrap()
}

/// A loopback address that nobody listens on.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A node: its stage, with a disk of these of the two test images, written by `holdall add`.
struct Node {
    stage: Stage,
}

impl Node {
    fn new(tars: &[&str]) -> Option<Self> {
        let stage = Stage::apart()?;
        stage.init();
        let tars: Vec<String> = tars
            .iter()
            .map(|tar| format!("docker-archive:{}/images/{tar}.tar", stages().display()))
            .collect();
        stage.add(&tars).code(0);
        std::fs::create_dir_all(stage.path("mnt")).unwrap();
        Some(Self { stage })
    }

    fn snapshotter(&self) -> PathBuf {
        self.stage.path("holdall.sock")
    }

    fn containerd(&self, version: Version) -> Containerd {
        let extra = version.snapshotter("holdall", &self.snapshotter());
        Containerd::start(&self.stage, version, &extra)
    }

    /// `holdall serve`, all of it; with standard error in the file `said`.
    fn command(&self, containerd: &Containerd, more: &[&str]) -> std::process::Command {
        let mut command = self.unregistered(more);
        command.arg("--containerd").arg(&containerd.socket);
        command
    }

    /// The same, but for registration.
    fn unregistered(&self, more: &[&str]) -> std::process::Command {
        let mut command = self.stage.command(["serve"]);
        command.arg(self.stage.disk());
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--mount").arg(self.stage.path("mnt"));
        command.arg("--snapshotter").arg(self.snapshotter());
        command.args(more);
        command.stderr(std::fs::File::create(self.stage.path("said")).unwrap());
        command
    }

    /// Starts it and waits until the images are registered.
    #[track_caller]
    fn serve(&self, containerd: &Containerd, more: &[&str]) -> Running {
        let running = started(self.command(containerd, more), &self.stage.path("out"));
        let start = Instant::now();
        until("all is registered and said", || {
            let out = std::fs::read_to_string(self.stage.path("out")).unwrap_or_default();
            out.contains(" images: ")
        });
        // A containerd that was there first tries our socket again only after a pause of its own.
        until("containerd has found the snapshotter", || {
            let said = containerd.try_ctr("-n k8s.io snapshots --snapshotter holdall ls");
            said.code == 0
        });
        eprintln!(
            "{:?}: registered and reachable after {:?}",
            containerd.version,
            start.elapsed()
        );
        running
    }

    /// Chains that are mounted as file systems of the kernel's.
    fn mounted(&self, serving: &Running) -> usize {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", serving.child.id())).unwrap();
        let below = format!("{}/", self.stage.path("mnt.erofs").display());
        let ours = |line: &&str| line.contains(" - erofs ") && line.contains(&below);
        mounts.lines().filter(ours).count()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.stage.path("said")).unwrap_or_default()
    }
}

fn names(containerd: &Containerd) -> String {
    containerd.try_ctr("-n k8s.io images ls -q").out
}

/// Runs a line in a container of the disk's image, to its end.
fn run(containerd: &Containerd, runtime: Runtime, id: &str, line: &str) -> Said {
    // ctr copies the output beside the container; one that ends at once can be gone before it has begun.
    containerd.try_ctr(&format!(
        "-n k8s.io run --rm --snapshotter holdall --runc-binary {} {BUSYBOX} {id} sh -c '{line}; code=$?; sleep 0.2; exit $code'",
        runtime.name()
    ))
}

fn plugged_in(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause", "busybox"]) else {
        return;
    };
    let containerd = node.containerd(version);
    let (root, state) = (containerd.folder.join("root"), node.stage.path("state"));
    let before = bytes(&root) + bytes(&state);
    let disk = sh(&format!(
        "cd {} && find . -type f | sort | xargs sha256sum",
        node.stage.disk().display()
    ));
    let mut serving = node.serve(&containerd, &["--allow-unsigned"]);
    for runtime in Runtime::ALL {
        let id = format!("first-{}", runtime.name());
        run(
            &containerd,
            runtime,
            &id,
            "cat /etc/motd; echo mine >/etc/motd; cat /etc/motd",
        )
        .code(0)
        .says("above\nmine\n");
        // What a container wrote is gone with it.
        let id = format!("second-{}", runtime.name());
        run(&containerd, runtime, &id, "cat /etc/motd; ls /gone | wc -l")
            .code(0)
            .says("above\n0\n");
    }
    // By the CRI, from the disk's pause image too: nothing can be pulled from a host that does not exist.
    let pod = containerd.pod(Runtime::Runc);
    let container = pod.start(BUSYBOX, "cat /etc/motd; sleep 1000");
    pod.wait_for(&container, "above\n");
    // Each chain is a file system of the kernel's, mounted once: the pause image's, and that of all the containers.
    let trees = node.stage.path("mnt.erofs");
    assert_eq!(node.mounted(&serving), 2);
    run(
        &containerd,
        Runtime::Runc,
        "below",
        "grep overlay /proc/self/mountinfo",
    )
    .code(0)
    .says("mnt.erofs/");
    pod.remove();
    let grown = (bytes(&root) + bytes(&state)).saturating_sub(before);
    eprintln!("{version:?}: {grown} bytes on the node");
    assert!(grown < 2 << 20, "{grown} bytes were written on the node");
    // Of content the node has configs and manifests, and no layer.
    let content = root.join("io.containerd.content.v1.content/blobs");
    let large = sh(&format!("find {} -type f -size +8k", content.display()));
    assert_eq!(large, "", "layers in the content store");
    assert_eq!(serving.stop(), 0, "{}", node.said());
    assert!(!trees.exists());
    // By FUSE alone, where that is wanted.
    let mut serving = node.serve(&containerd, &["--allow-unsigned", "--fuse-trees"]);
    run(
        &containerd,
        Runtime::Runc,
        "by-fuse",
        "grep overlay /proc/self/mountinfo",
    )
    .code(0)
    .says("mnt/chains/sha256/");
    assert!(!trees.exists());
    assert_eq!(serving.stop(), 0, "{}", node.said());
    assert_eq!(
        sh(&format!(
            "cd {} && find . -type f | sort | xargs sha256sum",
            node.stage.disk().display()
        )),
        disk
    );
    node.stage.assert_whole();
}

#[test]
fn containerd_1_6_runs_the_disk_s_images_without_a_pull_and_writes_only_metadata() {
    plugged_in(Version::V1_6);
}

#[test]
fn containerd_1_7_runs_the_disk_s_images_without_a_pull_and_writes_only_metadata() {
    plugged_in(Version::V1_7);
}

#[test]
fn containerd_2_runs_the_disk_s_images_without_a_pull_and_writes_only_metadata() {
    plugged_in(Version::V2);
}

/// Starts a container of the disk's image that stays.
#[track_caller]
fn start(containerd: &Containerd, id: &str) {
    containerd
        .try_ctr(&format!(
            "-n k8s.io run -d --snapshotter holdall {BUSYBOX} {id} sleep 1000"
        ))
        .code(0);
}

/// Ends such a container and takes it away, with its snapshot.
#[track_caller]
fn take_away(containerd: &Containerd, id: &str) {
    containerd.try_ctr(&format!("-n k8s.io tasks kill -s 9 {id}"));
    until("the container has ended", || {
        let tasks = containerd.try_ctr("-n k8s.io tasks ls").out;
        !tasks
            .lines()
            .any(|line| line.contains(id) && line.contains("RUNNING"))
    });
    containerd.try_ctr(&format!("-n k8s.io tasks rm {id}"));
    containerd
        .try_ctr(&format!("-n k8s.io containers rm {id}"))
        .code(0);
}

/// A chain is mounted once for all containers that start from it, and for as long as there is one.
fn mounted_while_used(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause", "busybox"]) else {
        return;
    };
    let containerd = node.containerd(version);
    let mut serving = node.serve(&containerd, &["--allow-unsigned"]);
    let trees = node.stage.path("mnt.erofs");
    let folders = || trees.read_dir().map_or(0, Iterator::count);
    // containerd removes a snapshot's record first, and the snapshot when it collects garbage.
    let goes = |serving: &Running| {
        until("the chain's mount is gone", || {
            (node.mounted(serving), folders()) == (0, 0)
        });
    };
    let snapshots = |count: usize| {
        until("the snapshot is collected", || {
            let said = containerd.try_ctr("-n k8s.io snapshots --snapshotter holdall ls");
            said.out.lines().filter(|line| line.contains("Active")).count() == count
        });
        std::thread::sleep(Duration::from_millis(500));
    };
    // Registered images are no reason.
    assert_eq!((node.mounted(&serving), folders()), (0, 0));
    for id in ["one", "two"] {
        start(&containerd, id);
        assert_eq!((node.mounted(&serving), folders()), (1, 1), "{id}");
    }
    take_away(&containerd, "one");
    snapshots(1);
    assert_eq!(node.mounted(&serving), 1);
    containerd
        .try_ctr("-n k8s.io tasks exec --exec-id look two cat /etc/motd")
        .code(0)
        .says("above");
    take_away(&containerd, "two");
    goes(&serving);
    run(&containerd, Runtime::Runc, "again", "cat /etc/motd")
        .code(0)
        .says("above");
    goes(&serving);

    // Somebody stands in it: then it goes with the next one.
    start(&containerd, "three");
    let chain = trees.read_dir().unwrap().next().unwrap().unwrap().path();
    let mut stander = std::process::Command::new("sleep")
        .arg("1000")
        .current_dir(chain)
        .spawn()
        .unwrap();
    take_away(&containerd, "three");
    snapshots(0);
    assert_eq!(node.mounted(&serving), 1);
    run(&containerd, Runtime::Runc, "busy", "cat /etc/motd")
        .code(0)
        .says("above");
    snapshots(0);
    assert_eq!(node.mounted(&serving), 1);
    stander.kill().unwrap();
    stander.wait().unwrap();
    run(&containerd, Runtime::Runc, "left", "cat /etc/motd")
        .code(0)
        .says("above");
    goes(&serving);

    // Killed under a container: what that has is dead, and others have it anew.
    start(&containerd, "four");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    serving = node.serve(&containerd, &["--allow-unsigned"]);
    assert_eq!(node.mounted(&serving), 0);
    start(&containerd, "five");
    assert_eq!(node.mounted(&serving), 1);
    take_away(&containerd, "four");
    snapshots(1);
    assert_eq!(node.mounted(&serving), 1);
    containerd
        .try_ctr("-n k8s.io tasks exec --exec-id look five cat /etc/motd")
        .code(0)
        .says("above");
    take_away(&containerd, "five");
    goes(&serving);

    // Many come and go at once.
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let containerd = &containerd;
            scope.spawn(move || {
                for round in 0..4 {
                    let id = format!("many-{thread}-{round}");
                    run(containerd, Runtime::Runc, &id, "cat /etc/motd")
                        .code(0)
                        .says("above");
                }
            });
        }
    });
    goes(&serving);
    assert_eq!(serving.stop(), 0, "{}", node.said());
    assert!(!trees.exists());
}

#[test]
fn under_containerd_1_6_a_chain_is_mounted_once_and_while_it_is_used() {
    mounted_while_used(Version::V1_6);
}

#[test]
fn under_containerd_1_7_a_chain_is_mounted_once_and_while_it_is_used() {
    mounted_while_used(Version::V1_7);
}

#[test]
fn under_containerd_2_a_chain_is_mounted_once_and_while_it_is_used() {
    mounted_while_used(Version::V2);
}

/// Writes in a container, and makes a snapshot of it that others can start from.
fn commits(containerd: &Containerd, id: &str) {
    let all = format!(
        "-n k8s.io run --snapshotter holdall {BUSYBOX} {id} sh -c 'echo mine >/written; rm /etc/motd; sleep 0.2'"
    );
    containerd.try_ctr(&all).code(0);
    let snapshots = "-n k8s.io snapshots --snapshotter holdall";
    containerd
        .try_ctr(&format!("{snapshots} commit {id}-kept {id}"))
        .code(0);
    let info = containerd.try_ctr(&format!("{snapshots} info {id}-kept")).code(0);
    info.says("Committed");
    containerd
        .try_ctr(&format!("{snapshots} prepare {id}-next {id}-kept"))
        .code(0);
    let mounts = containerd
        .try_ctr(&format!("{snapshots} mounts /mnt {id}-next"))
        .code(0);
    mounts.says("overlay");
    for name in ["next", "kept"] {
        containerd.try_ctr(&format!("{snapshots} rm {id}-{name}")).code(0);
    }
    containerd
        .try_ctr(&format!("-n k8s.io containers rm {id}"))
        .code(0);
}

/// An image that the disk does not have is unpacked, run, written in and committed by the same snapshotter.
fn foreign(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause"]) else { return };
    let containerd = node.containerd(version);
    let mut serving = node.serve(&containerd, &["--allow-unsigned"]);
    assert!(!names(&containerd).contains(BUSYBOX));
    containerd.import("k8s.io", "holdall");
    run(
        &containerd,
        Runtime::Runc,
        "foreign",
        "cat /etc/motd; ls /gone | wc -l",
    )
    .code(0)
    .says("above\n0\n");
    commits(&containerd, "foreign-written");
    assert_eq!(serving.stop(), 0, "{}", node.said());
}

#[test]
fn under_containerd_1_6_a_foreign_image_is_unpacked_run_and_committed() {
    foreign(Version::V1_6);
}

#[test]
fn under_containerd_1_7_a_foreign_image_is_unpacked_run_and_committed() {
    foreign(Version::V1_7);
}

#[test]
fn under_containerd_2_a_foreign_image_is_unpacked_run_and_committed() {
    foreign(Version::V2);
}

/// Killed, started again, containerd restarted, asked to stop while a container runs, unloaded.
fn comes_back(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause", "busybox"]) else {
        return;
    };
    let mut containerd = node.containerd(version);
    let mut serving = node.serve(&containerd, &["--allow-unsigned"]);
    let list = |containerd: &Containerd| {
        containerd
            .try_ctr("-n k8s.io snapshots --snapshotter holdall ls")
            .out
    };
    let before = list(&containerd);
    assert_eq!(before.lines().count(), 3, "{before}");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    serving = node.serve(&containerd, &["--allow-unsigned"]);
    assert_eq!(list(&containerd), before);
    run(&containerd, Runtime::Runc, "after-kill", "cat /etc/motd")
        .code(0)
        .says("above");
    commits(&containerd, "written");
    containerd.restart();
    until("containerd is back", || names(&containerd).contains(BUSYBOX));
    assert_eq!(list(&containerd), before);
    run(&containerd, Runtime::Runc, "after-restart", "cat /etc/motd")
        .code(0)
        .says("above");

    containerd
        .try_ctr(&format!(
            "-n k8s.io run -d --snapshotter holdall {BUSYBOX} stays sleep 1000"
        ))
        .code(0);
    let pid = serving.child.id();
    sh(&format!("kill -TERM {pid}"));
    until("it refuses to stop", || node.said().contains("not stopping"));
    assert!(serving.child.try_wait().unwrap().is_none(), "{}", node.said());
    containerd.try_ctr("-n k8s.io tasks kill -s 9 stays").code(0);
    until("the container has ended", || {
        containerd
            .try_ctr("-n k8s.io tasks ls")
            .out
            .lines()
            .any(|line| line.contains("stays") && line.contains("STOPPED"))
    });
    containerd.try_ctr("-n k8s.io tasks rm stays");
    containerd.try_ctr("-n k8s.io containers rm stays").code(0);

    let (disk, socket) = (node.stage.disk(), containerd.socket.clone());
    node.stage
        .run([
            "unload",
            disk.to_str().unwrap(),
            "--containerd",
            socket.to_str().unwrap(),
        ])
        .code(0)
        .says("removed");
    let left = names(&containerd);
    assert!(!left.contains(BUSYBOX) && !left.contains(PAUSE), "{left}");
    assert_eq!(serving.stop(), 0, "{}", node.said());
}

#[test]
fn under_containerd_1_6_a_killed_loader_and_a_restarted_containerd_come_back() {
    comes_back(Version::V1_6);
}

#[test]
fn under_containerd_1_7_a_killed_loader_and_a_restarted_containerd_come_back() {
    comes_back(Version::V1_7);
}

#[test]
fn under_containerd_2_a_killed_loader_and_a_restarted_containerd_come_back() {
    comes_back(Version::V2);
}

#[test]
fn a_disk_that_is_not_there_is_waited_for_and_one_that_goes_away_is_named() {
    if !Version::V1_6.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause", "busybox"]) else {
        return;
    };
    let (disk, away) = (node.stage.disk(), node.stage.path("away"));
    std::fs::rename(&disk, &away).unwrap();
    let containerd = node.containerd(Version::V1_6);
    let out = node.stage.path("out");
    let address = free_address();
    let options = ["--allow-unsigned", "--listen", &address];
    let mut serving = started(node.command(&containerd, &options), &out);
    until("it waits for the disk", || node.said().contains("no disk yet"));
    let asked = format!("curl -s -i http://{address}/v2/");
    let answer = sh(&asked);
    assert!(
        answer.contains(" 503 ") && answer.contains("not plugged in yet"),
        "{answer}"
    );
    // The snapshotter answers for what is not of the disk.
    until("containerd has found the snapshotter", || {
        containerd
            .try_ctr("-n k8s.io snapshots --snapshotter holdall ls")
            .code
            == 0
    });
    std::fs::rename(&away, &disk).unwrap();
    until("the disk's images are registered", || {
        std::fs::read_to_string(&out)
            .unwrap_or_default()
            .contains(" images: ")
    });
    assert!(sh(&asked).contains(" 200 "));
    run(&containerd, Runtime::Runc, "one", "cat /etc/motd")
        .code(0)
        .says("above");
    std::fs::rename(&disk, &away).unwrap();
    let said = run(&containerd, Runtime::Runc, "two", "cat /etc/motd");
    assert!(said.code != 0, "{said:?}");
    assert!(
        said.err.contains("unavailable") || said.err.contains("disk"),
        "{said:?}"
    );
    std::fs::rename(&away, &disk).unwrap();
    run(&containerd, Runtime::Runc, "three", "cat /etc/motd")
        .code(0)
        .says("above");
    assert_eq!(serving.stop(), 0, "{}", node.said());
}

#[test]
fn a_disk_that_nobody_vouches_for_is_not_served_to_containerd() {
    let Some(node) = Node::new(&["pause"]) else { return };
    let disk = node.stage.disk();
    let serve = |more: &[&str]| {
        let (socket, mnt) = (node.snapshotter(), node.stage.path("mnt"));
        let mut args = vec!["serve", disk.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        args.extend(["--mount", mnt.to_str().unwrap()]);
        args.extend(["--snapshotter", socket.to_str().unwrap()]);
        args.extend(more);
        node.stage.command(args)
    };
    let said: Said = serve(&[]).output().unwrap().into();
    said.code(4).says("--root").says("--allow-unsigned");
    let info = node
        .stage
        .run(["info", "--json", disk.to_str().unwrap()])
        .code(0)
        .json();
    let root = info["root"].as_str().unwrap();
    let wrong = "ab".repeat(32);
    let said: Said = serve(&["--root", &wrong]).output().unwrap().into();
    said.code(4).says(root).says(&wrong);
    let out = node.stage.path("out");
    let mut running = started(serve(&["--root", root]), &out);
    until("it serves", || {
        std::fs::read_to_string(&out).unwrap().contains("mounted on")
    });
    assert_eq!(running.stop(), 0);
}

/// What `crictl rmi` takes away stays away until the disk is registered again, and then is there as before.
fn removed_by_hand(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(node) = Node::new(&["pause", "busybox"]) else {
        return;
    };
    let containerd = node.containerd(version);
    let mut serving = node.serve(&containerd, &["--allow-unsigned"]);
    let snapshots = "-n k8s.io snapshots --snapshotter holdall ls";
    let before = containerd.ctr(snapshots);
    containerd.crictl(&format!("rmi {BUSYBOX}"));
    until("the image's snapshot is collected", || {
        containerd.ctr(snapshots).lines().count() < before.lines().count()
    });
    let left = names(&containerd);
    assert!(!left.contains("busybox") && left.contains(PAUSE), "{left}");
    run(&containerd, Runtime::Runc, "gone", "true").says("not found");
    assert_eq!(serving.stop(), 0, "{}", node.said());

    serving = node.serve(
        &containerd,
        &["--allow-unsigned", "--first", "holdall.test/other:1"],
    );
    let out = std::fs::read_to_string(node.stage.path("out")).unwrap();
    assert!(out.contains(&format!("{BUSYBOX}  registered")), "{out}");
    assert!(out.contains(&format!("{PAUSE}  present")), "{out}");
    assert!(node.said().contains("no image of that name"), "{}", node.said());
    assert_eq!(containerd.ctr(snapshots), before);
    let pod = containerd.pod(Runtime::Runc);
    let container = pod.start(BUSYBOX, "cat /etc/motd; sleep 1000");
    pod.wait_for(&container, "above\n");
    pod.remove();
    assert_eq!(serving.stop(), 0, "{}", node.said());
}

#[test]
fn under_containerd_1_6_an_image_that_was_removed_is_registered_again() {
    removed_by_hand(Version::V1_6);
}

#[test]
fn under_containerd_1_7_an_image_that_was_removed_is_registered_again() {
    removed_by_hand(Version::V1_7);
}

#[test]
fn under_containerd_2_an_image_that_was_removed_is_registered_again() {
    removed_by_hand(Version::V2);
}

/// Images are pulled from the disk's registry, once with its trees and once without, while garbage is collected as fast as it goes.
fn pulled_amid_collections(version: Version) {
    if !version.is_ready() {
        return;
    }
    let (Some(node), Some(other)) = (Node::new(&["pause"]), Node::new(&["busybox"])) else {
        return;
    };
    // The other disk's images are none of this one's: they are unpacked, layer by layer.
    let disk = other.stage.disk();
    let mut foreign =
        Running::start(
            other
                .stage
                .command(["serve", disk.to_str().unwrap(), "--listen", "127.0.0.1:0"]),
        );
    let containerd = node.containerd(version);
    let mut serving = started(node.unregistered(&["--allow-unsigned"]), &node.stage.path("out"));
    let address = || {
        let out = std::fs::read_to_string(node.stage.path("out")).unwrap_or_default();
        let at = out.find("http://")?;
        Some(out[at + 7..].split_whitespace().next()?.to_owned())
    };
    until("it serves", || address().is_some());
    until("containerd has found the snapshotter", || {
        containerd
            .try_ctr("-n k8s.io snapshots --snapshotter holdall ls")
            .code
            == 0
    });
    let sources = [
        format!("{}/{PAUSE}", address().unwrap()),
        format!("{}/{BUSYBOX}", foreign.address()),
    ];
    let stop = AtomicBool::new(false);
    let collections = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                containerd.ctr(&format!("-n k8s.io leases create --id collect-{count}"));
                containerd.ctr(&format!("-n k8s.io leases delete --sync collect-{count}"));
                count += 1;
            }
            count
        });
        let pulled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..3 {
                for source in &sources {
                    let pull = format!("-n k8s.io images pull --plain-http --snapshotter holdall {source}");
                    containerd.try_ctr(&pull).code(0);
                }
                let line = format!(
                    "-n k8s.io run --rm --snapshotter holdall {} round-{round} sh -c 'cat /etc/motd; sleep 0.2'",
                    sources[1]
                );
                containerd.try_ctr(&line).code(0).says("above");
                // With those that the CRI has made by id.
                for name in names(&containerd).lines() {
                    containerd.try_ctr(&format!("-n k8s.io images rm {name}"));
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let count = collecting.join().unwrap();
        pulled.unwrap();
        count
    });
    eprintln!("{version:?}: {collections} collections while images were pulled");
    assert!(collections > 3, "{collections}");
    until("all that was pulled is collected", || {
        for name in names(&containerd).lines() {
            containerd.try_ctr(&format!("-n k8s.io images rm {name}"));
        }
        containerd.try_ctr("-n k8s.io leases create --id last");
        containerd.try_ctr("-n k8s.io leases delete --sync last");
        let left = containerd.ctr("-n k8s.io snapshots --snapshotter holdall ls");
        left.lines().count() == 1
    });
    assert_eq!(serving.stop(), 0, "{}", node.said());
    assert_eq!(foreign.stop(), 0);
}

#[test]
fn under_containerd_1_6_images_are_pulled_while_garbage_is_collected() {
    pulled_amid_collections(Version::V1_6);
}

#[test]
fn under_containerd_2_images_are_pulled_while_garbage_is_collected() {
    pulled_amid_collections(Version::V2);
}
