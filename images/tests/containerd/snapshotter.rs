//! Images that are not on the disk: the snapshotter is an ordinary one.

use crate::node::{BUSYBOX, Node, TestImage, can_run};
use std::sync::atomic::Ordering;

const NAME: &str = "docker.io/library/foreign:1";

#[test]
fn an_image_that_is_not_on_the_disk_is_unpacked_run_committed_and_collected() {
    if !can_run() {
        return;
    }
    let mut node = Node::new(&[], &[]);
    node.chains.plugged.store(false, Ordering::SeqCst);
    let image = TestImage::new(NAME, &[BUSYBOX, "mkdir etc; echo top >etc/top"]);
    let archive = image.archive(node.folder.path());
    node.ctr(&[
        "image",
        "import",
        "--snapshotter",
        "holdall",
        archive.to_str().unwrap(),
    ]);
    let top = image.chains()[1].to_digest();
    assert_eq!((node.snapshots().len(), node.folders()), (2, 2));
    assert!(node.snapshots().contains(&top));
    let printed = node.container(
        NAME,
        "cat /etc/base /etc/top; echo new >/etc/new; rm /etc/top; ls /etc",
    );
    assert!(
        printed.starts_with("base\ntop\n") && printed.contains("new") && !printed.ends_with("top\n"),
        "{printed}"
    );
    node.collect();
    assert_eq!(
        (node.snapshots().len(), node.folders()),
        (2, 2),
        "the container's own is gone"
    );

    // A written snapshot becomes a parent.
    let on = |args: &[&str]| node.ctr(&[&["snapshots", "--snapshotter", "holdall"], args].concat());
    on(&["prepare", "writing", &top]);
    assert!(on(&["mounts", "/mnt", "writing"]).contains("mount -t overlay overlay /mnt -o"));
    on(&["commit", "written", "writing"]);
    assert!(on(&["info", "written"]).contains("\"Kind\": \"Committed\""));
    assert!(on(&["usage"]).contains("written"));
    on(&["label", "written", "containerd.io/gc.root=yes"]);
    let refused = node.ctr_fails(&["snapshots", "--snapshotter", "holdall", "rm", &top]);
    assert!(refused.contains("cannot remove"), "{refused}");
    on(&["rm", "written"]);

    // Both can be restarted, in any order.
    node.stop_containerd();
    node.stop_snapshotter();
    node.start_snapshotter();
    node.start_containerd();
    assert_eq!(node.container(NAME, "cat /etc/top"), "top\n");
    node.stop_snapshotter();
    node.start_snapshotter();
    node.reconnect();
    assert_eq!(node.container(NAME, "cat /etc/top"), "top\n");

    node.ctr(&["image", "rm", "--sync", NAME]);
    assert_eq!((node.snapshots().len(), node.folders()), (0, 0));
}
