//! Images of the disk made present without a pull.

use crate::node::{BUSYBOX, Node, TestImage, can_run};
use holdall_images::containerd::registration::{Outcome, RegistrationOptions};
use holdall_images::containerd::snapshotter::Chains as _;
use std::cell::RefCell;
use std::sync::atomic::Ordering;

const ONE: &str = "docker.io/library/one:1";
const TWO: &str = "docker.io/library/two:2";

fn node() -> (Node, [TestImage; 2]) {
    let one = || TestImage::new(ONE, &[BUSYBOX, "mkdir etc; echo one >etc/name"]);
    let two = || {
        TestImage::new(
            TWO,
            &[BUSYBOX, "mkdir etc; echo two >etc/name", "echo more >more"],
        )
    };
    (Node::new(&[one()], &[two()]), [one(), two()])
}

#[test]
fn registered_images_run_stay_and_are_unloaded() {
    if !can_run() {
        return;
    }
    let (mut node, [one, two]) = node();
    let start = std::time::Instant::now();
    let report = node.register(&node.options());
    println!("registered in {:?}", start.elapsed());
    assert_eq!(report.count(Outcome::Registered), 2, "{report:?}");
    assert_eq!(
        (node.images().len(), node.snapshots().len(), node.folders()),
        (4, 2, 0)
    );
    let by_digest = format!("docker.io/library/one@{}", one.target());
    assert!(node.images().contains(&by_digest));

    let again = node.register(&node.options());
    assert_eq!(again.count(Outcome::Present), 2, "{again:?}");
    assert_eq!(node.ctr(&["leases", "ls", "-q"]), "");

    // Nothing but records was written on the node, and it is enough to run, before and after a collection.
    for name in [ONE, TWO, &by_digest] {
        assert!(
            node.container(name, "cat /etc/base /etc/name")
                .starts_with("base\n"),
            "{name}"
        );
    }
    assert_eq!(
        node.container(TWO, "cat /more; rm /more; ls /more 2>&1 || echo gone")
            .lines()
            .last(),
        Some("gone")
    );
    node.collect();
    assert_eq!(
        (node.images().len(), node.snapshots().len(), node.folders()),
        (4, 2, 0)
    );
    assert_eq!(node.container(TWO, "cat /etc/name"), "two\n");

    // Restarts of each, and a disk that is pulled and comes back.
    node.stop_containerd();
    node.start_containerd();
    node.collect();
    assert_eq!(node.container(ONE, "cat /etc/name"), "one\n");
    node.stop_snapshotter();
    node.start_snapshotter();
    node.reconnect();
    node.chains.plugged.store(false, Ordering::SeqCst);
    node.collect();
    assert_eq!(node.snapshots().len(), 2);
    let refused = node.ctr_fails(&["run", "--rm", "--snapshotter", "holdall", ONE, "c2", "sh"]);
    assert!(refused.contains("needs the disk"), "{refused}");
    node.chains.plugged.store(true, Ordering::SeqCst);
    assert_eq!(node.container(ONE, "cat /etc/name"), "one\n");

    let report = node.unload();
    assert_eq!(report.count(Outcome::Removed), 4, "{report:?}");
    assert_eq!((node.images().len(), node.snapshots().len()), (0, 0));
    assert_eq!(node.ctr(&["content", "ls", "-q"]), "");
    assert!(node.chains.directory(&two.chains()[0]).is_dir());
    assert_eq!(node.register(&node.options()).count(Outcome::Registered), 2);
    assert_eq!(node.container(ONE, "cat /etc/name"), "one\n");
}

#[test]
fn a_name_that_is_taken_is_left_or_replaced_and_given_back() {
    if !can_run() {
        return;
    }
    let (node, [one, two]) = node();
    let former = TestImage::new(ONE, &[BUSYBOX, "mkdir etc; echo former >etc/name"]);
    let archive = former.archive(node.folder.path());
    node.ctr(&[
        "image",
        "import",
        "--snapshotter",
        "holdall",
        archive.to_str().unwrap(),
    ]);
    let archive = two.archive(node.folder.path());
    node.ctr(&[
        "image",
        "import",
        "--snapshotter",
        "holdall",
        archive.to_str().unwrap(),
    ]);
    let before = node.images();

    let report = node.register(&node.options());
    assert_eq!(
        report.count(Outcome::Conflict),
        2,
        "an index is not its child: {report:?}"
    );
    assert_eq!((node.images(), report.is_whole()), (before.clone(), false));
    assert_eq!(node.container(ONE, "cat /etc/name"), "former\n");

    let options = RegistrationOptions {
        replace: true,
        pinned: true,
        ..node.options()
    };
    let report = node.register(&options);
    assert_eq!(report.count(Outcome::Replaced), 2, "{report:?}");
    node.collect();
    assert_eq!(node.container(ONE, "cat /etc/name"), "one\n");
    assert!(
        node.ctr(&["images", "ls"])
            .contains("io.cri-containerd.pinned=pinned")
    );
    assert_eq!(node.register(&options).count(Outcome::Present), 2);

    // One is given to something else meanwhile: that is left alone.
    node.ctr(&["image", "rm", TWO]);
    let archive = two.archive(node.folder.path());
    node.ctr(&[
        "image",
        "import",
        "--snapshotter",
        "holdall",
        archive.to_str().unwrap(),
    ]);
    let report = node.unload();
    assert_eq!(
        (report.count(Outcome::Restored), report.count(Outcome::Removed)),
        (1, 2),
        "{report:?}"
    );
    assert_eq!(node.images(), before);
    assert_eq!(node.ctr(&["leases", "ls", "-q"]), "");
    node.collect();
    assert_eq!(node.container(ONE, "cat /etc/name"), "former\n");
    assert_eq!(node.container(TWO, "cat /etc/name"), "two\n");
    assert_ne!(one.target(), former.target());
}

/// Two disks take the name one after the other; unloaded in this order, the node has its own image again, or none if it had none.
fn taken_twice(own: bool, first_out_first: bool) {
    if !can_run() {
        return;
    }
    let image = |word: &str| TestImage::new(ONE, &[BUSYBOX, &format!("mkdir etc; echo {word} >etc/name")]);
    let mut node = Node::new(&[image("first")], &[]);
    let disks = [node.disk.clone(), node.other_disk(&[image("second")])];
    if own {
        let archive = image("own").archive(node.folder.path());
        let archive = archive.to_str().unwrap();
        node.ctr(&["image", "import", "--snapshotter", "holdall", archive]);
    }
    let options = RegistrationOptions {
        replace: true,
        ..node.options()
    };
    for disk in &disks {
        node.disk = disk.clone();
        node.register(&options);
    }
    assert_eq!(node.container(ONE, "cat /etc/name"), "second\n");
    let mut order = [&disks[0], &disks[1]];
    if !first_out_first {
        order.reverse();
    }
    node.disk = order[0].clone();
    node.unload();
    node.collect();
    let left = if first_out_first { "second\n" } else { "first\n" };
    assert_eq!(node.container(ONE, "cat /etc/name"), left);
    node.disk = order[1].clone();
    node.unload();
    node.collect();
    assert_eq!(node.ctr(&["leases", "ls", "-q"]), "");
    if own {
        assert_eq!(node.container(ONE, "cat /etc/name"), "own\n");
    } else {
        assert_eq!(node.images(), Vec::<String>::new());
    }
}

#[test]
fn a_name_that_two_disks_took_goes_back_to_the_node_s_own_image_in_either_order() {
    taken_twice(true, true);
    taken_twice(true, false);
}

#[test]
fn a_name_that_only_two_disks_had_is_gone_with_them_in_either_order() {
    taken_twice(false, true);
    taken_twice(false, false);
}

#[test]
fn an_image_whose_chain_is_missing_is_skipped_and_said() {
    if !can_run() {
        return;
    }
    let (node, [one, _]) = node();
    let missing = node.chains.directory(&one.chains()[1]);
    std::process::Command::new("rm")
        .arg("-r")
        .arg(missing)
        .status()
        .unwrap();
    let report = node.register(&node.options());
    assert_eq!(
        (report.count(Outcome::Skipped), report.count(Outcome::Registered)),
        (1, 1),
        "{report:?}"
    );
    let why = report.images[0].why.as_deref().unwrap();
    assert!(why.contains(&one.chains()[1].to_digest()), "{why}");
    assert_eq!(node.images().len(), 2);
}

#[test]
fn images_that_come_first_can_be_run_while_the_others_are_registered() {
    if !can_run() {
        return;
    }
    let images: Vec<TestImage> = (0..12)
        .map(|n| {
            TestImage::new(
                &format!("docker.io/library/all:{n:02}"),
                &[BUSYBOX, &format!("echo {n} >own")],
            )
        })
        .collect();
    let node = Node::new(&images, &[]);
    let by_digest = format!("docker.io/library/all@{}", images[4].target());
    let options = RegistrationOptions {
        first: vec!["docker.io/library/all:07".to_owned(), by_digest],
        ..node.options()
    };
    let (order, ran) = (RefCell::new(Vec::new()), RefCell::new(String::new()));
    let report = node.register_and(&options, &|image| {
        order.borrow_mut().push(image.name.clone());
        if image.name.ends_with(":07") {
            // The lease and one image's own: no other has been begun.
            assert_eq!((node.images().len(), node.snapshots().len()), (2, 1));
            *ran.borrow_mut() = node.container(&image.name, "cat /own");
        }
    });
    assert_eq!(report.count(Outcome::Registered), 12, "{report:?}");
    assert_eq!(ran.into_inner(), "7\n");
    let order = order.into_inner();
    assert_eq!(
        order[..2],
        [7, 4].map(|n| format!("docker.io/library/all:{n:02}"))
    );
    assert_eq!(order.len(), 12);
}

#[test]
fn many_images_are_registered_together_and_then_found_present() {
    if !can_run() {
        return;
    }
    let images: Vec<TestImage> = (0..23)
        .map(|n| {
            let layers = [format!("echo {} >base", n / 4), format!("echo {n} >own")];
            let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
            TestImage::new(&format!("docker.io/library/many:{n}"), &layers)
        })
        .collect();
    let node = Node::new(&images, &[]);
    let start = std::time::Instant::now();
    let report = node.register(&node.options());
    let first = start.elapsed();
    let start = std::time::Instant::now();
    let again = node.register(&node.options());
    println!(
        "23 images: registered in {first:?}, found present in {:?}",
        start.elapsed()
    );
    assert_eq!(
        (report.count(Outcome::Registered), again.count(Outcome::Present)),
        (23, 23)
    );
    assert_eq!((node.images().len(), node.folders()), (46, 0));
    assert!(first.as_secs() < 5, "{first:?}");
}
