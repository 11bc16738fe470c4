//! Layers as links in containerd's content store: undocumented, so what it rests on is tried here.

use crate::node::{BUSYBOX, Node, TestImage, can_run};
use holdall::ids::Sha256;
use holdall_images::containerd::registration::{LayerLinks, Outcome, RegistrationOptions};
use std::path::{Path, PathBuf};

const NAME: &str = "docker.io/library/linked:1";

fn link_of(node: &Node, digest: &Sha256) -> PathBuf {
    let content = node.path("root/io.containerd.content.v1.content/blobs/sha256");
    Path::new(&content).join(digest.to_hex())
}

#[test]
fn a_linked_layer_is_content_until_it_is_collected_and_its_file_stays() {
    if !can_run() {
        return;
    }
    let mut node = Node::new(
        &[TestImage::new(NAME, &[BUSYBOX, "mkdir etc; echo one >etc/name"])],
        &[],
    );
    let image = TestImage::new(NAME, &[BUSYBOX, "mkdir etc; echo one >etc/name"]);
    node.register(&node.options());
    let check = |node: &Node| node.ctr(&["images", "check", "--snapshotter", "holdall"]);
    assert!(check(&node).contains("incomplete (1/3)"), "{}", check(&node));
    node.ctr_fails(&["images", "export", &node.path("x.tar"), NAME]);

    node.unload();

    let files = PathBuf::from(node.path("files"));
    std::fs::create_dir(&files).unwrap();
    for layer in &image.layers {
        std::fs::write(files.join(Sha256::of(layer).to_hex()), layer).unwrap();
    }
    let links = LayerLinks {
        store: node.path("root/io.containerd.content.v1.content").into(),
        blobs: files.clone(),
    };
    let options = RegistrationOptions {
        links: Some(links),
        ..node.options()
    };
    let report = node.register(&options);
    assert_eq!(
        (report.count(Outcome::Registered), &report.images[0].why),
        (1, &None)
    );
    node.collect();
    for restarted in [false, true] {
        if restarted {
            node.stop_containerd();
            node.start_containerd();
            node.collect();
        }
        assert!(check(&node).contains("complete (3/3)"), "{}", check(&node));
        for layer in &image.layers {
            assert!(
                std::fs::symlink_metadata(link_of(&node, &Sha256::of(layer)))
                    .unwrap()
                    .is_symlink()
            );
        }
        node.ctr(&["images", "export", &node.path("x.tar"), NAME]);
        assert_eq!(node.container(NAME, "cat /etc/name"), "one\n");
    }
    // Without the disk the links lead nowhere: nothing but the layers suffers.
    std::fs::rename(&files, node.path("away")).unwrap();
    node.ctr(&["images", "ls"]);
    node.collect();
    let listed = node.command("ctr").args(["content", "ls"]).output().unwrap();
    println!("without the disk, content ls: {listed:?}");
    assert_eq!(node.container(NAME, "cat /etc/name"), "one\n");
    std::fs::rename(node.path("away"), &files).unwrap();
    assert!(check(&node).contains("complete (3/3)"), "{}", check(&node));

    node.unload();
    for layer in &image.layers {
        let digest = Sha256::of(layer);
        assert!(
            std::fs::symlink_metadata(link_of(&node, &digest)).is_err(),
            "the link is collected"
        );
        assert_eq!(
            std::fs::read(files.join(digest.to_hex())).unwrap(),
            *layer,
            "and its file is not"
        );
    }
}
