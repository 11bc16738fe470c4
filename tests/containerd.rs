//! Three real containerds, runc and crun: what the stages for them promise. Nothing mocked.
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

use stage::containerd::{BUSYBOX, Containerd, Runtime, Version};
use stage::{Stage, sh};

/// What the image's second layer replaces and takes away shows.
const LOOK: &str = "cat /etc/motd; ls /gone | wc -l; cut -d: -f3 /proc/self/cgroup | sort -u";

fn imported_images_run(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(stage) = Stage::apart() else { return };
    let containerd = Containerd::start(&stage, version, "");
    for snapshotter in ["overlayfs", "native"] {
        containerd.import("default", snapshotter);
        for runtime in Runtime::ALL {
            let said = containerd.run(runtime, &format!("--snapshotter {snapshotter}"), BUSYBOX, LOOK);
            said.code(0).says("above\n0\n");
        }
        assert_eq!(
            containerd
                .run(
                    Runtime::Runc,
                    &format!("--snapshotter {snapshotter}"),
                    BUSYBOX,
                    "exit 7"
                )
                .code,
            7
        );
    }
    containerd.import("k8s.io", "overlayfs");
    for runtime in Runtime::ALL {
        let pod = containerd.pod(runtime);
        let container = pod.start(BUSYBOX, &format!("{LOOK}; sleep 1000"));
        pod.wait_for(&container, "above\n0\n");
        assert_eq!(
            containerd.crictl(&format!("exec {container} cat /etc/motd")),
            "above"
        );
        // What is not there is not pulled.
        pod.create("holdall.test/absent:1", "true")
            .code(1)
            .says("holdall.test/absent:1");
        pod.remove();
    }
    assert_eq!(containerd.crictl("pods -q"), "");
}

#[test]
fn containerd_1_6_runs_imported_images_with_runc_and_crun_by_ctr_and_by_the_cri() {
    imported_images_run(Version::V1_6);
}

#[test]
fn containerd_1_7_runs_imported_images_with_runc_and_crun_by_ctr_and_by_the_cri() {
    imported_images_run(Version::V1_7);
}

#[test]
fn containerd_2_runs_imported_images_with_runc_and_crun_by_ctr_and_by_the_cri() {
    imported_images_run(Version::V2);
}

#[test]
fn containers_live_through_a_restart_and_a_kill_of_containerd() {
    for version in Version::ready() {
        let Some(stage) = Stage::apart() else { return };
        let mut containerd = Containerd::start(&stage, version, "");
        containerd.import("k8s.io", "overlayfs");
        let pod = containerd.pod(Runtime::Runc);
        let container = pod.start(BUSYBOX, "echo begun; sleep 1000");
        pod.wait_for(&container, "begun");
        containerd.restart();
        assert_eq!(containerd.crictl("ps -q --no-trunc"), container);
        containerd.kill9();
        assert_ne!(containerd.try_crictl("ps -q").code, 0);
        containerd.start_again();
        assert_eq!(
            containerd.crictl(&format!("exec {container} echo still")),
            "still"
        );
    }
}

#[test]
fn a_mount_of_the_disk_is_seen_inside_whether_made_before_or_after() {
    for version in Version::ready() {
        let Some(stage) = Stage::apart() else { return };
        stage.init();
        std::fs::create_dir_all(stage.path("files")).unwrap();
        std::fs::write(stage.path("files/note"), "carried").unwrap();
        stage
            .add(&[format!("dir:{}", stage.path("files").display())])
            .code(0);
        let mount = |name: &str| {
            std::fs::create_dir_all(stage.path(name)).unwrap();
            let (disk, at) = (stage.disk(), stage.path(name));
            stage::Running::start(stage.command(["mount", disk.to_str().unwrap(), at.to_str().unwrap()]))
        };
        let _before = mount("before");
        let containerd = Containerd::start(&stage, version, "");
        let mut after = mount("after");
        for name in ["before", "after"] {
            let look = format!(
                "cat $(find {} -name note | head -n 1)",
                stage.path(name).display()
            );
            containerd.inside(&look).code(0).says("carried");
        }
        assert_eq!(after.stop(), 0);
        let look = format!("grep -c {} /proc/mounts", stage.path("after").display());
        assert_eq!(containerd.inside(&look).out.trim(), "0");
        // And none of it is to be seen by the machine's own first process.
        let folder = stage.path("").display().to_string();
        assert!(
            !std::fs::read_to_string("/proc/1/mounts")
                .unwrap()
                .contains(folder.trim_end_matches('/'))
        );
    }
}

#[test]
fn nothing_is_left_of_a_containerd_that_a_failing_test_drops() {
    for version in Version::ready() {
        let (send, receive) = std::sync::mpsc::channel();
        let failed = std::thread::spawn(move || {
            let Some(stage) = Stage::apart() else { return };
            let containerd = Containerd::start(&stage, version, "");
            containerd.import("k8s.io", "overlayfs");
            let pod = containerd.pod(Runtime::Crun);
            let folder = stage.path("").display().to_string();
            let mark = format!("{}{}", std::process::id(), version as u8);
            let container = pod.start(BUSYBOX, &format!("echo begun; sleep 7{mark}"));
            pod.wait_for(&container, "begun");
            send.send((folder, mark)).unwrap();
            panic!("on purpose");
        })
        .join();
        let Ok((folder, mark)) = receive.recv() else {
            return;
        };
        assert!(failed.is_err());
        let left = sh(&format!(
            "pgrep -af '[s]leep 7{mark}|{0}' || true; grep -F {0} /proc/mounts || true; ls -d {0} 2>/dev/null || true; find /sys/fs/cgroup -name \"$(basename {0})*\"",
            folder.trim_end_matches('/')
        ));
        assert_eq!(
            left.lines()
                .filter(|l| !l.contains("pgrep -af"))
                .collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
    }
}
