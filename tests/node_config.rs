//! `holdall node-config` on the root folders of real nodes, obeyed by the real containerd of each. Nothing mocked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes and changes files of its own"
)]

mod stage;

use stage::containerd::{Containerd, Runtime, Version, images};
use stage::{Said, Stage, sh};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const CONFIG: &str = "etc/containerd/config.toml";

fn name(version: Version) -> &'static str {
    match version {
        Version::V1_6 => "containerd-1.6",
        Version::V1_7 => "containerd-1.7",
        Version::V2 => "containerd-2",
    }
}

/// `holdall node-config` for a node whose file system is in a folder.
fn node_config(stage: &Stage, root: &Path, args: &[&str]) -> Said {
    let all = [
        "node-config",
        "--state",
        "/var/lib/holdall",
        "--root",
        root.to_str().unwrap(),
    ];
    stage.run(all.iter().chain(args))
}

/// Every file below a folder with its mode, owner and bytes.
fn everything(folder: &Path) -> String {
    sh(&format!(
        "cd {}; find . -mindepth 1 -printf '%P %y %m %u %g %l\\n' | sort; find . -type f -exec sha256sum {{}} + | sort",
        folder.display()
    ))
}

/// A node's folder with a config as Debian ships it.
fn node(stage: &Stage, text: &str) -> PathBuf {
    let root = stage.path("node");
    std::fs::create_dir_all(root.join("etc/containerd")).unwrap();
    std::fs::write(root.join(CONFIG), text).unwrap();
    std::fs::set_permissions(root.join(CONFIG), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::create_dir_all(root.join("var/lib/holdall")).unwrap();
    root
}

const TEXT: &str = "# the node's own\nversion = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native' # slow\n";

fn obeyed(version: Version) {
    if !version.is_ready() {
        return;
    }
    let Some(stage) = Stage::apart() else { return };
    stage.init();
    let source = format!("oci:{}:busybox", images().display());
    stage
        .add(&[source.as_str(), "--as", "registry.example.org/acme/busybox:1"])
        .code(0);
    let disk = stage.disk();
    let served =
        stage::Running::start(stage.command(["serve", disk.to_str().unwrap(), "--listen", "127.0.0.1:0"]));
    let (address, socket) = (served.address(), stage.path("snapshotter.sock"));
    let settings = [
        "--for",
        name(version),
        "--listen",
        &address,
        "--snapshotter",
        socket.to_str().unwrap(),
    ];

    // The node: the package's own config in the package's own place.
    let mut containerd = Containerd::start(&stage, version, "");
    let root = containerd.root();
    containerd.inside("mkdir -p /var/lib/holdall").code(0);
    containerd.config = PathBuf::from("/").join(CONFIG);
    let etc = root.join("etc/containerd");
    let before = (everything(&etc), everything(&root.join("var/lib/holdall")));

    node_config(&stage, &root, &settings)
        .code(0)
        .says("+[proxy_plugins.holdall]");
    assert_eq!(everything(&etc), before.0, "a dry run changed something");

    node_config(&stage, &root, &[&settings[..], &["--write"]].concat()).code(0);
    containerd.restart();
    let dump = containerd
        .inside("containerd --config /etc/containerd/config.toml config dump")
        .code(0)
        .out;
    let dump: toml_edit::DocumentMut = dump.parse().unwrap_or_else(|e| panic!("{e}\n{dump}"));
    let cri = if version == Version::V2 {
        &dump["plugins"]["io.containerd.cri.v1.images"]
    } else {
        &dump["plugins"]["io.containerd.grpc.v1.cri"]
    };
    let snapshotter = if version == Version::V2 {
        &cri["snapshotter"]
    } else {
        &cri["containerd"]["snapshotter"]
    };
    assert_eq!(snapshotter.as_str(), Some("holdall"));
    assert_eq!(
        cri["registry"]["config_path"].as_str(),
        Some("/etc/containerd/certs.d")
    );
    let proxy = &dump["proxy_plugins"]["holdall"];
    assert_eq!(proxy["address"].as_str(), socket.to_str());
    // 1.6 knows no exports, and passes over them.
    if version != Version::V1_6 {
        assert_eq!(proxy["exports"]["root"].as_str(), Some("/var/lib/holdall"));
        let rows = dump["plugins"]["io.containerd.transfer.v1.local"]["unpack_config"].to_string()
            + &dump.to_string();
        for snapshotter in ["overlayfs", "holdall"] {
            assert!(
                rows.contains(&format!("snapshotter = \"{snapshotter}\""))
                    || rows.contains(&format!("snapshotter = '{snapshotter}'")),
                "{rows}"
            );
        }
    }
    let plugins = containerd.ctr("plugins ls");
    let ours: Vec<_> = plugins.lines().filter(|l| l.contains("holdall")).collect();
    assert!(
        ours.len() == 1 && ours[0].contains("snapshotter") && ours[0].contains("ok"),
        "{plugins}"
    );
    // A registry that is not there is answered by the disk.
    containerd.ctr(
        "images pull --hosts-dir /etc/containerd/certs.d --snapshotter overlayfs registry.example.org/acme/busybox:1",
    );
    containerd
        .run(
            Runtime::Runc,
            "--snapshotter overlayfs",
            "registry.example.org/acme/busybox:1",
            "cat /etc/motd",
        )
        .code(0)
        .says("above");

    // For a runtime class only, the CRI keeps its own snapshotter, and pulls through the mirror by itself.
    node_config(&stage, &root, &["--undo"]).code(0);
    if version != Version::V1_6 {
        node_config(
            &stage,
            &root,
            &[&settings[..], &["--runtime-class", "from-disk", "--write"]].concat(),
        )
        .code(0);
        containerd.restart();
        containerd.crictl("pull registry.example.org/acme/busybox:1");
        let info: serde_json::Value = serde_json::from_str(&containerd.crictl("info")).unwrap();
        assert!(
            info.to_string().contains("from-disk"),
            "the CRI knows no such runtime: {info}"
        );
        let dump = containerd
            .inside("containerd --config /etc/containerd/config.toml config dump")
            .code(0)
            .out;
        let dump: toml_edit::DocumentMut = dump.parse().unwrap();
        let class = if version == Version::V2 {
            assert_eq!(
                dump["plugins"]["io.containerd.cri.v1.images"]["runtime_platforms"]["from-disk"]["snapshotter"]
                    .as_str(),
                Some("holdall")
            );
            &dump["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["from-disk"]
        } else {
            &dump["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["from-disk"]
        };
        assert_eq!(class["snapshotter"].as_str(), Some("holdall"));
        assert_eq!(class["runtime_type"].as_str(), Some("io.containerd.runc.v2"));
        node_config(&stage, &root, &["--undo"]).code(0);
    }

    assert_eq!(
        (everything(&etc), everything(&root.join("var/lib/holdall"))),
        before
    );
    containerd.restart();
    assert!(!containerd.ctr("plugins ls").contains("holdall"));
}

#[test]
fn containerd_1_6_obeys_what_is_written_and_undo_restores_every_byte() {
    obeyed(Version::V1_6);
}

#[test]
fn containerd_1_7_obeys_what_is_written_and_undo_restores_every_byte() {
    obeyed(Version::V1_7);
}

#[test]
fn containerd_2_obeys_what_is_written_and_undo_restores_every_byte() {
    obeyed(Version::V2);
}

#[test]
fn containerd_2_obeys_a_file_of_version_3_and_a_new_one() {
    if !Version::V2.is_ready() {
        return;
    }
    let Some(stage) = Stage::apart() else { return };
    let mut containerd = Containerd::start(&stage, Version::V2, "");
    let root = containerd.root();
    containerd.config = PathBuf::from("/").join(CONFIG);
    for start in [
        "rm /etc/containerd/config.toml",
        "containerd config default >/etc/containerd/config.toml",
    ] {
        containerd.inside(start).code(0);
        node_config(&stage, &root, &["--for", "containerd-2", "--write"]).code(0);
        let dump = containerd
            .inside("containerd --config /etc/containerd/config.toml config dump")
            .code(0)
            .out;
        let dump: toml_edit::DocumentMut = dump.parse().unwrap();
        let images = &dump["plugins"]["io.containerd.cri.v1.images"];
        assert_eq!(images["snapshotter"].as_str(), Some("holdall"));
        assert_eq!(
            images["registry"]["config_path"].as_str(),
            Some("/etc/containerd/certs.d")
        );
        containerd.restart();
        assert!(containerd.ctr("plugins ls").contains("holdall"));
        containerd.crictl("info");
        node_config(&stage, &root, &["--undo"]).code(0);
        // The same for a runtime class, where the file may name no other runtime.
        node_config(
            &stage,
            &root,
            &["--for", "containerd-2", "--runtime-class", "from-disk", "--write"],
        )
        .code(0);
        containerd.restart();
        let info = containerd.crictl("info");
        assert!(info.contains("from-disk") && info.contains("\"runc\""), "{info}");
        node_config(&stage, &root, &["--undo"]).code(0);
    }
}

#[test]
fn a_file_changed_since_is_not_undone_unless_forced() {
    let stage = Stage::new();
    let root = node(&stage, TEXT);
    let before = everything(&root);
    let write = ["--for", "containerd-1.7", "--write"];
    node_config(&stage, &root, &write)
        .code(0)
        .says("snapshotter was 'native'");
    let written = std::fs::read_to_string(root.join(CONFIG)).unwrap();
    assert!(written.starts_with("# the node's own\n") && written.contains("# slow"));
    std::fs::write(root.join(CONFIG), format!("{written}oom_score = 1\n")).unwrap();
    let changed = everything(&root);
    node_config(&stage, &root, &["--undo"]).code(4).says("--force");
    node_config(
        &stage,
        &root,
        &[
            "--for",
            "containerd-1.7",
            "--listen",
            "127.0.0.1:1",
            "--runtime-class",
            "x",
            "--write",
        ],
    )
    .code(4)
    .says("--force");
    assert_eq!(everything(&root), changed);
    node_config(&stage, &root, &["--undo", "--force"]).code(0);
    assert_eq!(everything(&root), before);
    node_config(&stage, &root, &["--undo"])
        .code(1)
        .says("nothing to undo");
}

#[test]
fn several_writes_are_undone_to_what_was_before_the_first() {
    let stage = Stage::new();
    let root = node(&stage, TEXT);
    let before = everything(&root);
    for port in ["1", "1", "2"] {
        let listen = format!("127.0.0.1:{port}");
        node_config(
            &stage,
            &root,
            &[
                "--for",
                "containerd-1.7",
                "--listen",
                &listen,
                "--registry",
                "quay.io",
                "--write",
            ],
        )
        .code(0);
    }
    node_config(&stage, &root, &["--for", "k3s", "--write"]).code(0);
    assert!(root.join("etc/rancher/k3s/registries.yaml").exists());
    node_config(&stage, &root, &["--undo"]).code(0);
    assert_eq!(everything(&root), before);
}

#[test]
fn an_undo_whose_copy_is_damaged_touches_nothing() {
    let stage = Stage::new();
    let root = node(&stage, TEXT);
    node_config(&stage, &root, &["--for", "containerd-1.6", "--write"]).code(0);
    let copy = root.join("var/lib/holdall/node-config/0.before");
    std::fs::write(&copy, "damaged").unwrap();
    let written = everything(&root);
    node_config(&stage, &root, &["--undo", "--force"])
        .code(4)
        .says("0.before");
    assert_eq!(everything(&root), written);
}

#[test]
fn what_is_not_a_plain_config_is_left_alone() {
    let stage = Stage::new();
    let root = node(&stage, "disabled_plugins = ['cri']\n");
    let args = ["--for", "containerd-1.7", "--write"];
    let before = everything(&root);
    node_config(&stage, &root, &args).code(1).says("version 1");
    assert_eq!(everything(&root), before);
    std::fs::rename(root.join(CONFIG), root.join("etc/containerd/real.toml")).unwrap();
    std::os::unix::fs::symlink("real.toml", root.join(CONFIG)).unwrap();
    node_config(&stage, &root, &args).code(1).says("symbolic link");
    std::fs::remove_file(root.join(CONFIG)).unwrap();
    std::fs::create_dir(root.join(CONFIG)).unwrap();
    node_config(&stage, &root, &args).code(1).says("not a file");
    node_config(&stage, &root, &["--write"]).code(2).says("--for");
}

#[test]
fn programs_get_every_file_its_diff_and_every_change() {
    let stage = Stage::new();
    let root = node(&stage, TEXT);
    let json = node_config(&stage, &root, &["--for", "containerd-1.7", "--json"])
        .code(0)
        .json();
    assert_eq!(json["for"], "containerd-1.7");
    assert_eq!(json["written"], false);
    assert_eq!(json["files"][0]["path"], "/etc/containerd/config.toml");
    assert!(
        json["files"][0]["diff"]
            .as_str()
            .unwrap()
            .contains("-snapshotter = 'native' # slow")
    );
    assert_eq!(json["files"][1]["is_new"], true);
    assert_eq!(json["changed_values"][0]["was"], "'native'");
}
