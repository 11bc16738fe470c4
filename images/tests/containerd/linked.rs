//! Layers as links in containerd's content store: undocumented, so what it rests on is tried here.

use crate::node::{BUSYBOX, NAMESPACE, Node, TestImage, can_run};
use holdall::ids::Sha256;
use holdall_images::containerd::api::services::content::v1::content_client::ContentClient;
use holdall_images::containerd::api::services::content::v1::{WriteAction, WriteContentRequest};
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

const NAME: &str = "docker.io/library/linked:1";

fn link_of(node: &Node, digest: &Sha256) -> PathBuf {
    let content = node.path("root/io.containerd.content.v1.content/blobs/sha256");
    Path::new(&content).join(digest.to_hex())
}

/// Declares content that lies in the store already: nothing is sent.
fn declare(node: &Node, digest: &Sha256, size: usize, lease: &str) -> Result<(), Status> {
    node.runtime.block_on(async {
        let socket = node.path("c.sock");
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let mut client = ContentClient::new(endpoint.connect_with_connector(connector).await.unwrap());
        let total = i64::try_from(size).unwrap();
        let stat = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: format!("linked-{digest}"),
            total,
            expected: digest.to_digest(),
            ..WriteContentRequest::default()
        };
        let commit = WriteContentRequest {
            action: WriteAction::Commit.into(),
            offset: total,
            ..stat.clone()
        };
        let mut request = Request::new(futures_util::stream::iter([stat, commit]));
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", NAMESPACE.parse().unwrap());
        headers.insert("containerd-lease", lease.parse().unwrap());
        let mut answers = client.write(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            println!("{answer:?}");
        }
        Ok(())
    })
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

    node.ctr(&["leases", "create", "--id", "linking"]);
    let files = PathBuf::from(node.path("files"));
    std::fs::create_dir(&files).unwrap();
    for layer in &image.layers {
        let digest = Sha256::of(layer);
        std::fs::write(files.join(digest.to_hex()), layer).unwrap();
        std::os::unix::fs::symlink(files.join(digest.to_hex()), link_of(&node, &digest)).unwrap();
        declare(&node, &digest, layer.len(), "linking").unwrap();
        declare(&node, &digest, layer.len(), "linking").unwrap_err();
    }
    node.ctr(&["leases", "delete", "--sync", "linking"]);
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
