//! Chains of the disk as snapshots.

use super::*;

#[test]
fn a_chain_of_the_disk_is_one_lower_directory_whatever_lies_below_it() {
    let node = Node::new();
    let one = node.disk.put("one", &[("a", "old\n")]);
    let two = node.disk.put("two", &[("a", "new\n"), ("b", "b\n")]);
    assert!(node.ask(&one, "") && node.ask(&one, ""));
    assert!(node.ask(&two, &one.to_digest()) && node.ask(&two, &one.to_digest()));
    let info = node.all.stat(&two.to_digest()).unwrap();
    assert_eq!((info.kind, info.parent), (Kind::Committed, one.to_digest()));
    assert_eq!(info.labels, labels(&[(CHAIN_LABEL, &two.to_digest())]));
    assert_eq!((node.names().len(), node.folders()), (2, 0));

    let mounts = node.all.prepare("k", &two.to_digest(), &Labels::new()).unwrap();
    let lower = format!("lowerdir={}", node.disk.directory(&two).display());
    assert!(mounts[0].options.contains(&lower), "{mounts:?}");
    assert_eq!(mounted(&mounts, "cat a b; echo k >k; rm b; ls"), "new\nb\na\nk\n");
    assert!(node.disk.directory(&two).join("b").exists());

    node.layer("mine", &two.to_digest(), "echo mine >mine; rm a");
    let view = node.all.view("v", "mine", &Labels::new()).unwrap();
    assert_eq!(mounted(&view, "ls"), "b\nmine\n");
    assert!(
        view[0]
            .options
            .iter()
            .any(|option| option.matches(':').count() == 1),
        "{view:?}"
    );
}

#[test]
fn a_view_of_a_chain_is_an_overlay_and_is_not_written() {
    let node = Node::new();
    let chain = node.disk.put("one", &[("a", "a\n")]);
    assert!(node.ask(&chain, ""));
    let view = node.all.view("v", &chain.to_digest(), &Labels::new()).unwrap();
    assert_eq!(view[0].kind, "overlay");
    mounted(
        &view,
        "if echo x >new 2>/dev/null; then exit 1; fi; test \"$(ls)\" = a",
    );
}

#[test]
fn a_chain_that_the_disk_has_not_is_unpacked_like_any_other() {
    let node = Node::new();
    let below = node.disk.put("below", &[("a", "a\n")]);
    let other = Sha256::of(b"other");
    assert!(node.ask(&below, "") && !node.ask(&other, &below.to_digest()));
    node.layer("top", &below.to_digest(), "echo top >top");
    assert_eq!(node.names(), [below.to_digest(), "top".to_owned()]);
}

#[test]
fn a_chain_on_another_parent_has_another_name() {
    let node = Node::new();
    let (one, two) = (node.disk.put("one", &[]), node.disk.put("two", &[]));
    node.layer("k8s.io/3/one", "", "true");
    assert!(node.ask(&one, "") && node.ask(&two, &one.to_digest()));
    assert!(node.ask(&two, "k8s.io/3/one") && node.ask(&two, "k8s.io/3/one"));
    let second = format!("{}@2", two.to_digest());
    assert_eq!(node.all.stat(&second).unwrap().parent, "k8s.io/3/one");
    assert_eq!(node.names().len(), 4);
    // An ordinary snapshot that has a chainID for its name is not taken for the chain.
    let three = Sha256::of(b"three");
    node.layer(&three.to_digest(), "", "true");
    assert!(!node.ask(&three, ""));
    node.disk.put("three", &[]);
    assert!(node.ask(&three, ""));
    assert!(node.all.stat(&format!("{}@2", three.to_digest())).is_ok());
}

#[test]
fn a_chain_asked_for_on_a_wrong_parent_is_refused() {
    let node = Node::new();
    let chain = node.disk.put("one", &[]);
    let asked = labels(&[(CHAIN_LABEL, &chain.to_digest())]);
    refused!(node.all.prepare("k", "nothing", &asked), NotFound);
    node.all.prepare("active", "", &Labels::new()).unwrap();
    refused!(node.all.prepare("k", "active", &asked), Invalid);
    assert_eq!(node.names(), ["active"]);
}

#[test]
fn without_the_disk_all_is_told_and_nothing_is_mounted() {
    let node = Node::new();
    let chain = node.disk.put("one", &[("a", "a\n")]);
    assert!(node.ask(&chain, ""));
    let name = chain.to_digest();
    let mounts = node.all.prepare("k", &name, &Labels::new()).unwrap();
    node.layer("mine", &name, "echo mine >mine");
    node.layer("foreign", "", "echo foreign >foreign");
    let before = node.names();
    for gone in [true, false] {
        if gone {
            node.disk.plug(false);
        } else {
            node.disk.plug(true);
            node.disk.take_away(&chain);
        }
        let Err(SnapshotError::Unavailable { why }) = node.all.mounts("k") else {
            panic!("mounted without the disk")
        };
        assert!(why.contains(&name), "{why}");
        refused!(node.all.prepare("new", &name, &Labels::new()), Unavailable);
        refused!(node.all.view("new", "mine", &Labels::new()), Unavailable);
        // What is known stays known.
        assert!(node.ask(&chain, ""));
        assert_eq!(node.names(), before);
        assert_eq!(node.all.stat(&name).unwrap().kind, Kind::Committed);
        assert_eq!(node.all.usage(&name).unwrap(), Usage::default());
        node.all
            .update(&name, &labels(&[("l", "v")]), &["labels.l".to_owned()])
            .unwrap();
        // And what needs no disk works.
        let free = node.all.prepare("free", "foreign", &Labels::new()).unwrap();
        assert_eq!(mounted(&free, "cat foreign"), "foreign\n");
        node.all.remove("free").unwrap();
        assert!(!node.ask(&Sha256::of(b"unknown"), ""));
        assert_eq!(node.folders(), 3);
    }
    node.disk.put("one", &[("a", "a\n")]);
    assert_eq!(node.all.mounts("k").unwrap(), mounts);
    node.disk.plug(false);
    for name in ["k", "mine", &name] {
        node.all.remove(name).unwrap();
    }
    assert_eq!(node.names(), ["foreign"]);
}

#[test]
fn many_layers_above_a_chain_fit_the_kernels_page_as_containerd_shortens_them() {
    let node = Node::new();
    let chain = node.disk.put("bottom", &[("bottom", "bottom\n")]);
    assert!(node.ask(&chain, ""));
    let mut parent = chain.to_digest();
    for n in 0..120 {
        let name = format!("layer {n}");
        let key = format!("extract {n}");
        node.all.prepare(&key, &parent, &Labels::new()).unwrap();
        let files = node.folder.path().join(format!("state/snapshots/{}/fs", n + 1));
        std::fs::File::create(files.join(format!("file-{n}"))).unwrap();
        node.all.commit(&name, &key, &Labels::new(), "").unwrap();
        parent = name;
    }
    let mounts = node.all.prepare("k", &parent, &Labels::new()).unwrap();
    let state = format!("{}/state/", node.folder.path().display());
    let lower = mounts[0]
        .options
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="))
        .unwrap();
    assert!(lower.split(':').all(|path| path.starts_with(&state)), "{lower}");
    // As containerd does it: paths from their common beginning on, mounted from within that folder.
    let mut short = mounts.clone();
    for option in &mut short[0].options {
        if option.starts_with("lowerdir=") {
            *option = option.replace(&state, "");
        }
    }
    assert!(mount::options_len(&short[0]) < 4096 - 512);
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc"])
        .arg(format!(
            "mkdir m; cd state; mount -t overlay -o {} overlay ../m; cd ../m; ls | wc -l; cat bottom",
            short[0].options.join(",")
        ))
        .current_dir(node.folder.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "121\nbottom\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    // Another place of the mount moves the link.
    let moved = TestDisk {
        folder: node.folder.path().join("moved"),
        plugged: true.into(),
        released: Mutex::default(),
    };
    moved.put("bottom", &[]);
    let Node { folder, disk, all } = node;
    drop((disk, all));
    let all = Snapshots::open(&folder.path().join("state"), Arc::new(moved)).unwrap();
    all.mounts("k").unwrap();
    let link = folder.path().join("state/chains").join(chain.to_hex());
    assert!(
        std::fs::read_link(link)
            .unwrap()
            .starts_with(folder.path().join("moved"))
    );
}

#[test]
fn a_chain_is_released_with_the_last_that_stands_on_it() {
    let node = Node::new();
    let none = Labels::new();
    let (one, other) = (node.disk.put("one", &[]), node.disk.put("other", &[]));
    assert!(node.ask(&one, "") && node.ask(&other, ""));
    let chain = one.to_digest();
    let released = |node: &Node| node.disk.released.lock().clone();
    node.all.prepare("k1", &chain, &none).unwrap();
    node.all.prepare("k2", &chain, &none).unwrap();
    node.all.prepare("k3", "", &none).unwrap();
    node.all.prepare("k4", &other.to_digest(), &none).unwrap();
    node.layer("mine", &chain, "true");
    node.all.view("v", "mine", &none).unwrap();
    for name in ["k1", "k3", "v"] {
        node.all.mounts("k2").unwrap();
        node.all.remove(name).unwrap();
        assert_eq!(released(&node), [], "{name}");
    }
    // What is counted is in the records.
    let node = node.reopen();
    refused!(node.all.prepare("k2", &chain, &none), AlreadyExists);
    refused!(node.all.remove(&chain), Precondition);
    assert_eq!(released(&node), []);
    node.all.remove("k2").unwrap();
    assert_eq!(released(&node), [one]);
    // Committed snapshots are not mounted; what is made on them needs the chain again.
    node.all.view("v", "mine", &none).unwrap();
    assert_eq!(released(&node), []);
    node.all.remove("v").unwrap();
    node.all.remove("mine").unwrap();
    assert_eq!(released(&node), [one]);
    node.all.prepare("k5", &chain, &none).unwrap();
    node.all.commit("last", "k5", &none, "").unwrap();
    assert_eq!(released(&node), [one]);
    node.all.remove("k4").unwrap();
    assert_eq!(released(&node), [one, other]);
}

#[test]
fn a_chain_that_could_not_be_stood_on_is_released() {
    let node = Node::new();
    let one = node.disk.put("one", &[]);
    assert!(node.ask(&one, ""));
    node.all.prepare("k", &one.to_digest(), &Labels::new()).unwrap();
    node.disk.take_away(&one);
    refused!(
        node.all.prepare("k2", &one.to_digest(), &Labels::new()),
        Unavailable
    );
    refused!(node.all.mounts("k"), Unavailable);
    // The other one stands there still.
    assert_eq!(*node.disk.released.lock(), []);
    node.all.remove("k").unwrap();
    assert_eq!(*node.disk.released.lock(), [one]);
    node.disk.released.lock().clear();
    refused!(
        node.all.prepare("k2", &one.to_digest(), &Labels::new()),
        Unavailable
    );
    assert_eq!(*node.disk.released.lock(), [one]);
}

#[test]
fn no_chain_is_released_under_who_stands_on_it_however_many_come_and_go() {
    let node = Node::new();
    let one = node.disk.put("one", &[]);
    assert!(node.ask(&one, ""));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (node, one) = (&node, &one);
            scope.spawn(move || {
                for round in 0..50 {
                    let key = format!("{thread}/{round}");
                    node.all.prepare(&key, &one.to_digest(), &Labels::new()).unwrap();
                    assert!(!node.disk.released.lock().contains(one), "{key}");
                    node.all.mounts(&key).unwrap();
                    assert!(!node.disk.released.lock().contains(one), "{key}");
                    node.all.remove(&key).unwrap();
                }
            });
        }
    });
    assert_eq!(*node.disk.released.lock(), [one]);
}
