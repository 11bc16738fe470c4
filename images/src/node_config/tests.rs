use super::*;
use std::collections::BTreeMap;

/// A node's files, by path.
struct Files(BTreeMap<PathBuf, String>);

impl Present for Files {
    fn text(&self, path: &Path) -> Result<Option<String>> {
        Ok(self.0.get(path).cloned())
    }

    fn folders(&self, path: &Path) -> Result<Vec<String>> {
        let below = |file: &PathBuf| {
            let mut rest = file.strip_prefix(path).ok()?.components();
            let first = rest.next()?.as_os_str().to_str()?.to_owned();
            rest.next().map(|_| first)
        };
        let names: std::collections::BTreeSet<_> = self.0.keys().filter_map(below).collect();
        Ok(names.into_iter().collect())
    }
}

fn wish(node: Node) -> Wish {
    Wish {
        node,
        listen: "127.0.0.1:5577".parse().unwrap(),
        socket: DEFAULT_SOCKET.into(),
        state: "/var/lib/holdall".into(),
        runtime_class: None,
        registries: Vec::new(),
    }
}

const CONFIG: &str = "/etc/containerd/config.toml";
const DEFAULT_HOSTS: &str = "/etc/containerd/certs.d/_default/hosts.toml";

fn files<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Files {
    Files(
        all.into_iter()
            .map(|(path, text)| (path.into(), text.to_owned()))
            .collect(),
    )
}

/// The text that a plan gives a file.
fn after(plan: &Plan, path: &str) -> String {
    let file = plan.files.iter().find(|f| f.path == Path::new(path));
    file.unwrap_or_else(|| panic!("no {path} in {:?}", plan.files))
        .after
        .clone()
}

const CONTAINERDS: [Node; 3] = [Node::Containerd1_6, Node::Containerd1_7, Node::Containerd2];

#[test]
fn a_plan_carried_out_leaves_nothing_to_do() {
    let debian = "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n";
    let inline = "version = 2\nplugins.'io.containerd.grpc.v1.cri' = { containerd = { default_runtime_name = 'runc' } }\n";
    let rows = "version = 2\n[plugins.'io.containerd.transfer.v1.local']\nunpack_config = [{ platform = 'linux', snapshotter = 'zfs' }]\n";
    let dotted = "version = 2\nplugins.'io.containerd.grpc.v1.cri'.containerd.snapshotter = 'overlayfs'\n";
    for node in CONTAINERDS {
        for class in [None, Some("from-disk".to_owned())] {
            if class.is_some() && node == Node::Containerd1_6 {
                continue;
            }
            for text in ["", "# nothing\n", debian, inline, rows, dotted] {
                let mut wish = wish(node);
                wish.runtime_class = class.clone();
                wish.registries = vec!["localhost:5000".to_owned()];
                let mut present = files([(CONFIG, text)]);
                for round in 0..2 {
                    let plan = plan(&wish, &present).unwrap_or_else(|e| panic!("{node:?}: {e}: {text}"));
                    for file in &plan.files {
                        if round == 1 {
                            assert_eq!(file.before.as_ref(), Some(&file.after));
                        }
                        file.after.parse::<toml_edit::DocumentMut>().unwrap();
                        present.0.insert(file.path.clone(), file.after.clone());
                    }
                    assert!(round == 0 || plan.changes.is_empty(), "{:?}", plan.changes);
                }
            }
        }
    }
}

#[test]
fn what_others_wrote_stays_and_what_changes_of_it_is_told() {
    let text = "# ours, by hand\nversion = 2\nroot = '/data' # large\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'zfs' # fast\n\
                [plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/a:/etc/b'\n";
    let plan = plan(&wish(Node::Containerd1_7), &files([(CONFIG, text)])).unwrap();
    let new = after(&plan, CONFIG);
    for kept in [
        "# ours, by hand",
        "root = '/data' # large",
        "snapshotter = \"holdall\" # fast",
    ] {
        assert!(new.contains(kept), "{kept} is not in {new}");
    }
    let told: Vec<_> = plan
        .changes
        .iter()
        .map(|c| (c.key.as_str(), c.was.as_str(), c.becomes.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "plugins.'io.containerd.grpc.v1.cri'.containerd.snapshotter",
                "'zfs'",
                "\"holdall\""
            ),
            (
                "plugins.'io.containerd.grpc.v1.cri'.registry.config_path",
                "'/etc/a:/etc/b'",
                "\"/etc/a\""
            ),
        ]
    );
    assert!(!after(&plan, "/etc/a/_default/hosts.toml").is_empty());
}

#[test]
fn a_folder_of_hosts_files_that_is_named_already_is_kept() {
    let text = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/certs'\n";
    let present = files([
        (CONFIG, text),
        ("/etc/certs/docker.io/hosts.toml", "server = 'https://a'\n"),
    ]);
    let mut wish = wish(Node::Containerd2);
    let first = plan(&wish, &present).unwrap();
    assert!(first.changes.is_empty());
    assert_eq!(
        after(&first, "/etc/certs/_default/hosts.toml"),
        "# The transfer disk's registry is asked first: holdall node-config, and --undo.\n\
         [host.\"http://127.0.0.1:5577\"]\ncapabilities = [\"pull\", \"resolve\"]\ndial_timeout = \"200ms\"\n"
    );
    assert!(
        first.warnings.iter().any(|w| w.contains("--registry docker.io")),
        "{:?}",
        first.warnings
    );
    wish.registries = vec!["docker.io".to_owned()];
    let second = plan(&wish, &present).unwrap();
    assert!(second.warnings.is_empty());
    assert!(after(&second, "/etc/certs/docker.io/hosts.toml").starts_with("server = 'https://a'\n"));
}

#[test]
fn the_mirror_comes_before_the_hosts_that_are_there() {
    let text = "server = 'https://up'\n\n# the proxy\n[host.'https://proxy']\ncapabilities = ['pull']\n[host.'https://proxy'.header]\nx = 'y'\n";
    let plan = plan(&wish(Node::Containerd1_6), &files([(DEFAULT_HOSTS, text)])).unwrap();
    let new = after(&plan, DEFAULT_HOSTS);
    let (server, mirror, proxy) = (
        new.find("server"),
        new.find("127.0.0.1"),
        new.find("[host.'https://proxy']"),
    );
    assert!(server < mirror && mirror < proxy && server.is_some(), "{new}");
    assert!(new.contains("# the proxy") && new.contains("x = 'y'"));
    // Only containerd 2 knows this one.
    assert!(!new.contains("dial_timeout"));
}

#[test]
fn what_cannot_be_had_is_refused_and_says_why() {
    let refused = |wish: &Wish, text: &str| plan(wish, &files([(CONFIG, text)])).unwrap_err().to_string();
    for node in CONTAINERDS {
        let wish = wish(node);
        for (text, why) in [
            ("disabled_plugins = ['cri']\n", "version 1"),
            ("version = 1\n", "version 1"),
            ("version = 9\n", "version 9"),
            ("version = 'two'\n", "not a number"),
            ("version = 2\nversion = 2\n", "not TOML at line 2"),
            ("version = 2\nplugins = 7\n", "not a table"),
            ("version = 2\n[proxy_plugins.holdall.address]\n", "not a value"),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'a']\nendpoint = ['b']\n",
                "cannot stand beside",
            ),
        ] {
            let said = refused(&wish, text);
            assert!(said.contains(why), "{why:?} is not in {said}");
        }
    }
    assert!(refused(&wish(Node::Containerd1_7), "version = 3\n").contains("version 3"));
    let mut one = wish(Node::Containerd1_6);
    one.runtime_class = Some("disk".to_owned());
    assert!(refused(&one, "").contains("1.7"));
    for bad in ["", "Upper", "a'b", "a\nb"] {
        let mut one = wish(Node::Containerd2);
        one.runtime_class = Some(bad.to_owned());
        assert!(refused(&one, "").contains("no runtime class"));
    }
    for bad in ["", "..", "a/b", "../x"] {
        let mut one = wish(Node::K3s);
        one.registries = vec![bad.to_owned()];
        assert!(refused(&one, "").contains("no registry"));
    }
    let mut one = wish(Node::Containerd2);
    one.socket = "relative".into();
    assert!(refused(&one, "").contains("absolute"));
}

#[test]
fn what_stands_in_the_way_is_warned_of() {
    let text = "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\nimports = ['/etc/containerd/conf.d/*.toml']\n";
    let plan = plan(&wish(Node::Containerd1_7), &files([(CONFIG, text)])).unwrap();
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
}

#[test]
fn an_address_that_means_all_is_asked_by_the_loopback() {
    let mut one = wish(Node::Containerd2);
    for (listen, url) in [
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("[::1]:5", "http://[::1]:5"),
    ] {
        one.listen = listen.parse().unwrap();
        assert_eq!(one.mirror(), url);
    }
}

#[test]
fn registries_yaml_gets_the_mirror_and_keeps_the_rest() {
    let path = "/etc/rancher/k3s/registries.yaml";
    let ours = "  \"*\":\n    endpoint:\n      - \"http://127.0.0.1:5577\"\n";
    for (before, wanted) in [
        ("", format!("mirrors:\n{ours}")),
        (
            "configs:\n  a:\n    auth: {}\n",
            format!("configs:\n  a:\n    auth: {{}}\nmirrors:\n{ours}"),
        ),
        (
            "# top\nmirrors: # all\n  # one\n  docker.io:\n    endpoint:\n      - https://x\nconfigs: {}\n",
            format!(
                "# top\nmirrors: # all\n{ours}  # one\n  docker.io:\n    endpoint:\n      - https://x\nconfigs: {{}}\n"
            ),
        ),
    ] {
        let first = plan(&wish(Node::K3s), &files([(path, before)])).unwrap();
        assert_eq!(after(&first, path), wanted);
        let again = plan(&wish(Node::K3s), &files([(path, wanted.as_str())])).unwrap();
        assert_eq!(after(&again, path), wanted);
    }
    for before in [
        "mirrors: {docker.io: {}}\n",
        "mirrors:\n  '*':\n    endpoint: [https://x]\n",
        "{mirrors: {}}\n",
        "mirrors:\n\t'*': x\n",
    ] {
        let said = plan(&wish(Node::K3s), &files([(path, before)]))
            .unwrap_err()
            .to_string();
        assert!(said.contains("by hand"), "{said}");
    }
    let mut wish = wish(Node::Rke2);
    wish.registries = vec!["a:5000".to_owned(), "b".to_owned()];
    let text = after(
        &plan(&wish, &files([])).unwrap(),
        "/etc/rancher/rke2/registries.yaml",
    );
    let at = |key: &str| text.find(key).unwrap_or_else(|| panic!("{key} is not in {text}"));
    assert!(at("\"*\":") < at("\"a:5000\":") && at("\"a:5000\":") < at("\"b\":"));
}

#[test]
fn the_installed_version_is_read_as_each_release_prints_it() {
    for (line, node) in [
        (
            "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
            Some(Node::Containerd1_6),
        ),
        (
            "containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da",
            Some(Node::Containerd1_7),
        ),
        (
            "containerd github.com/containerd/containerd/v2 v2.1.9 abc",
            Some(Node::Containerd2),
        ),
        ("containerd x 1.5.0 y", None),
        ("", None),
    ] {
        assert_eq!(Node::of_version_line(line), node);
    }
}
