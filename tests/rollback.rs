//! Twelve attacks on three nodes: one that has never seen the series, one that has, and one that lost its record.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

mod stage;

use stage::{Said, Stage, sh};
use std::path::{Path, PathBuf};

/// Keys, signers, and a policy that wants both of them.
struct Ground {
    stage: Stage,
    /// Numbers the nodes' and writers' folders.
    folders: std::cell::Cell<u32>,
}

/// The nodes of the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Fresh,
    Known,
    LostState,
}

const NODES: [Node; 3] = [Node::Fresh, Node::Known, Node::LostState];
const ACCEPTED: i32 = 0;
const ASKS: i32 = 4;
const UNTRUSTED: i32 = 6;
const ROLLBACK: i32 = 7;

impl Ground {
    fn new() -> Self {
        let stage = Stage::new();
        for name in ["alice", "bob"] {
            sh(&format!(
                "ssh-keygen -q -t ed25519 -N '' -C {name} -f {}",
                stage.path(name).display()
            ));
        }
        let ground = Self {
            stage,
            folders: std::cell::Cell::new(0),
        };
        ground.allow("", "");
        ground.policy("");
        ground
    }

    fn allow(&self, alice: &str, bob: &str) {
        let public = |name: &str| std::fs::read_to_string(self.stage.path(&format!("{name}.pub"))).unwrap();
        let lines = format!("alice {alice} {}bob {bob} {}", public("alice"), public("bob"));
        std::fs::write(self.stage.path("allowed"), lines).unwrap();
    }

    fn policy(&self, more: &str) {
        let text = format!(
            "allowed_signers = \"allowed\"\n{more}\n[[accept]]\norigin = \"build-7\"\nseries = \"prod\"\nthreshold = 2\n"
        );
        std::fs::write(self.stage.path("policy.toml"), text).unwrap();
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folders.set(self.folders.get() + 1);
        self.stage.path(&format!("{name}-{}", self.folders.get()))
    }

    /// A disk that is sealed with that serial and epoch, and signed by these.
    fn disk(
        &self,
        origin: &str,
        series: &str,
        numbers: (u64, u64),
        signers: &[&str],
        more: &[&str],
    ) -> String {
        let disk = self.folder("disk").to_str().unwrap().to_owned();
        let state = self.folder("writer").to_str().unwrap().to_owned();
        let run = |args: &[&str]| self.stage.run(["--state", &state].iter().chain(args)).code(0);
        run(&["init", &disk, "--origin", origin, "--series", series]);
        let file = self.folder("file");
        std::fs::write(&file, disk.as_bytes()).unwrap();
        run(&["add", &disk, &format!("file:{}", file.display())]);
        self.seal(&disk, &state, numbers, signers, more);
        disk
    }

    fn seal(&self, disk: &str, state: &str, (serial, epoch): (u64, u64), signers: &[&str], more: &[&str]) {
        let (serial, epoch) = (serial.to_string(), epoch.to_string());
        let keys: Vec<String> = signers
            .iter()
            .map(|name| self.stage.path(name).to_str().unwrap().to_owned())
            .collect();
        let mut args = vec![
            "--state", state, "seal", disk, "--serial", &serial, "--epoch", &epoch,
        ];
        args.extend(keys.iter().flat_map(|key| ["--key", key]));
        args.extend(more);
        self.stage.run(args).code(0);
    }

    /// A node's state folder. One that knows the series has accepted serial 5, of epoch `epoch` and this root.
    fn node(&self, node: Node, epoch: u64, root: Option<&str>) -> String {
        let state = self.folder("node").to_str().unwrap().to_owned();
        let (epoch, mut args) = (epoch.to_string(), vec!["--state", state.as_str(), "trust"]);
        match node {
            Node::Fresh => args.push("begin"),
            Node::Known => {
                self.stage.run(["--state", &state, "trust", "begin"]).code(0);
                args.extend([
                    "set", "--origin", "build-7", "--series", "prod", "--serial", "5", "--epoch", &epoch,
                ]);
                args.extend(root.iter().flat_map(|root| ["--root", root]));
            }
            Node::LostState => return state,
        }
        self.stage.run(args).code(0);
        state
    }

    fn judge(&self, disk: &str, state: &str, more: &[&str]) -> Said {
        let policy = self.stage.path("policy.toml");
        let mut args = vec![
            "--state",
            state,
            "verify",
            disk,
            "--policy",
            policy.to_str().unwrap(),
        ];
        args.extend(more);
        self.stage.run(args)
    }

    /// What comes of a disk on each node: fresh, known, lost; and what the refusal says where there is one.
    #[track_caller]
    fn expect(&self, disk: &str, codes: [i32; 3], says: &[&str]) {
        self.expect_of(disk, 1, None, codes, says);
    }

    #[track_caller]
    fn expect_of(&self, disk: &str, epoch: u64, root: Option<&str>, codes: [i32; 3], says: &[&str]) {
        for (node, code) in NODES.into_iter().zip(codes) {
            for more in [&[][..], &["--signatures"]] {
                let state = self.node(node, epoch, root);
                let said = self.judge(disk, &state, more);
                assert_eq!(said.code, code, "{node:?} {more:?}: {said:?}");
                let shown = format!("{}{}", said.out, said.err);
                match code {
                    ASKS => assert!(shown.contains("no record of the disks"), "{node:?}: {shown}"),
                    ACCEPTED => {}
                    _ => assert!(says.iter().all(|says| shown.contains(says)), "{node:?}: {shown}"),
                }
                // What was refused is not noted: the node goes on from what it had.
                if code != ACCEPTED && node == Node::Known {
                    let shown = self.stage.run(["--state", &state, "trust", "show"]).code(0);
                    shown.says(&format!("epoch {epoch}, serial 5"));
                }
            }
        }
    }
}

const BOTH: [&str; 2] = ["alice", "bob"];

#[test]
fn an_older_disk_another_of_the_same_serial_and_an_older_epoch_are_refused_where_they_are_known() {
    let ground = Ground::new();
    // 0: the next disk is no attack.
    let next = ground.disk("build-7", "prod", (6, 1), &BOTH, &[]);
    ground.expect(&next, [ACCEPTED, ACCEPTED, ASKS], &[]);
    // 1
    let older = ground.disk("build-7", "prod", (4, 1), &BOTH, &[]);
    ground.expect(&older, [ACCEPTED, ROLLBACK, ASKS], &["serial is 4", "serial 5"]);
    // 2
    let twin = ground.disk("build-7", "prod", (5, 1), &BOTH, &[]);
    let other = "ab".repeat(32);
    let root = ground.stage.run(["info", "--json", &twin]).code(0).json()["root"]
        .as_str()
        .unwrap()
        .to_owned();
    ground.expect_of(
        &twin,
        1,
        Some(&other),
        [ACCEPTED, ROLLBACK, ASKS],
        &["ALARM", &other, &root],
    );
    ground.expect_of(&twin, 1, Some(&root), [ACCEPTED, ACCEPTED, ASKS], &[]);
    // 3
    let epoch = ground.disk("build-7", "prod", (9, 1), &BOTH, &[]);
    ground.expect_of(
        &epoch,
        2,
        None,
        [ACCEPTED, ROLLBACK, ASKS],
        &["epoch is 1", "epoch 2"],
    );
}

#[test]
fn what_the_policy_refuses_is_not_copied_from_either_and_said_where_it_is_shown() {
    let ground = Ground::new();
    let disk = ground.disk("build-7", "prod", (6, 1), &["alice"], &[]);
    let state = ground.node(Node::Fresh, 1, None);
    let policy = ground.stage.path("policy.toml");
    let listed = ground.stage.run(["ls", &disk, "files"]).code(0);
    let file = listed.out.split_whitespace().find(|word| word.contains("file-"));
    let file = format!("files/{}", file.unwrap().trim_start_matches("files/"));
    let run = |args: &[&str]| {
        let mut command = ground.stage.command(["--state", &state].iter().chain(args));
        let done = command.env("HOLDALL_POLICY", &policy).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            done.status.code().unwrap(),
            text(&done.stdout),
            text(&done.stderr),
        )
    };
    let dest = ground.folder("out").to_str().unwrap().to_owned();
    for verb in [&["cat", &disk, &file][..], &["extract", &disk, &file, &dest]] {
        let (code, out, err) = run(verb);
        assert_eq!((code, out.as_str()), (UNTRUSTED, ""), "{verb:?}: {err}");
        assert!(err.contains("1 of the 2 distinct keys"), "{err}");
        assert!(!Path::new(&dest).exists());
        let anyway: Vec<&str> = verb.iter().copied().chain(["--allow-unsigned"]).collect();
        let (code, _, err) = run(&anyway);
        assert_eq!(code, ACCEPTED, "{verb:?}");
        assert!(err.contains("though the policy does not accept it"), "{err}");
    }
    let (_, log, _) = run(&["log"]);
    assert_eq!(log.matches("copied all the same").count(), 2, "{log}");
    for verb in [
        &["ls", &disk][..],
        &["info", &disk],
        &["diff", &disk, "--from", "1", "--to", "2"],
    ] {
        let (_, _, err) = run(verb);
        assert!(err.contains("the policy does not accept it"), "{verb:?}: {err}");
    }
}

#[test]
fn the_node_s_log_says_how_a_disk_was_verified_and_nothing_a_disk_says_keeps_it_from_being_written() {
    let ground = Ground::new();
    let disk = ground.disk("build-7", "prod", (6, 1), &BOTH, &[]);
    let hostile = ground.disk(&"\u{4e00}".repeat(80), "prod", (6, 1), &BOTH, &[]);
    let state = ground.node(Node::Fresh, 1, None);
    for more in [&["--signatures"][..], &["--sample", "1"], &[], &["--full"]] {
        assert_eq!(ground.judge(&disk, &state, more).code, ACCEPTED);
    }
    assert_eq!(ground.judge(&hostile, &state, &[]).code, UNTRUSTED);
    // A folder that is not empty: nothing is mounted, and nothing said to be.
    let (policy, full) = (ground.stage.path("policy.toml"), ground.stage.path(""));
    let (policy, full) = (policy.to_str().unwrap(), full.to_str().unwrap());
    ground
        .stage
        .run(["--state", &state, "mount", "--policy", policy, &disk, full])
        .code(4);
    let log = ground
        .stage
        .run(["--state", &state, "--json", "log"])
        .code(0)
        .json();
    let said: Vec<(&str, &str)> = log["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["event"].as_str().unwrap(),
                record["note"].as_str().unwrap(),
            )
        })
        .collect();
    let begins = [
        "signatures alone;",
        "a sample of 1 frames;",
        "all that is stored;",
        "in full;",
        "origin:",
    ];
    assert_eq!(said.len(), begins.len(), "{said:?}");
    for ((event, note), begins) in said.into_iter().zip(begins) {
        let refused = begins == "origin:";
        assert_eq!(event, if refused { "refused" } else { "verified" });
        assert!(note.starts_with(begins), "{note}");
    }
}

#[test]
fn two_disks_that_are_sealed_at_once_get_two_serials() {
    let ground = Ground::new();
    let state = ground.folder("writer").to_str().unwrap().to_owned();
    let key = ground.stage.path("alice");
    let disks: Vec<String> = (0..4)
        .map(|_| {
            let disk = ground.folder("disk").to_str().unwrap().to_owned();
            let args = [
                "--state", &state, "init", &disk, "--origin", "build-7", "--series", "prod",
            ];
            ground.stage.run(args).code(0);
            let file = ground.folder("file");
            std::fs::write(&file, disk.as_bytes()).unwrap();
            let add = [
                "--state",
                &state,
                "add",
                &disk,
                &format!("file:{}", file.display()),
            ];
            ground.stage.run(add).code(0);
            disk
        })
        .collect();
    let sealing: Vec<_> = disks
        .iter()
        .map(|disk| {
            let args = [
                "--state",
                &state,
                "--json",
                "seal",
                disk,
                "--key",
                key.to_str().unwrap(),
            ];
            let mut command = ground.stage.command(args);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut serials: Vec<u64> = sealing
        .into_iter()
        .map(|child| {
            let done = child.wait_with_output().unwrap();
            assert!(done.status.success());
            let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
            said["serial"].as_u64().unwrap()
        })
        .collect();
    serials.sort_unstable();
    assert_eq!(serials, [3, 4, 5, 6]);
}

#[test]
fn a_root_that_was_named_is_the_one_that_is_signed() {
    let ground = Ground::new();
    let disk = ground.disk("build-7", "prod", (6, 1), &["alice"], &[]);
    let key = ground.stage.path("bob");
    let sign = |root: &str| {
        let args = [
            "-v",
            "sign",
            &disk,
            "--key",
            key.to_str().unwrap(),
            "--root",
            root,
        ];
        ground.stage.run(args)
    };
    sign(&"ab".repeat(32))
        .code(4)
        .says("not the one that --root names");
    let root = ground.stage.run(["info", "--json", &disk]).code(0).json()["root"]
        .as_str()
        .unwrap()
        .to_owned();
    sign(&root).code(0).says("signing generation 3");
}

#[test]
fn signatures_that_do_not_count_count_nowhere() {
    let ground = Ground::new();
    let refused = [UNTRUSTED, UNTRUSTED, ASKS];
    // 4
    let few = ground.disk("build-7", "prod", (6, 2), &["alice"], &[]);
    ground.expect(&few, refused, &["1 of the 2 distinct keys"]);
    let both = ground.disk("build-7", "prod", (6, 1), &BOTH, &[]);
    // 5
    ground.allow("", "valid-before=\"20200101Z\"");
    ground.expect(&both, refused, &["1 of the 2", "the key of bob expired"]);
    // 6
    let alice = std::fs::read_to_string(ground.stage.path("alice.pub")).unwrap();
    std::fs::write(ground.stage.path("allowed"), format!("alice {alice}")).unwrap();
    ground.expect(&both, refused, &["1 of the 2", "none of the policy's"]);
    ground.allow("", "");
    // 7
    let signatures = Path::new(&few).join("generations/000003");
    std::fs::copy(signatures.join("ROOT.alice.sig"), signatures.join("ROOT.bob.sig")).unwrap();
    ground.expect(&few, refused, &["1 of the 2", "counted already"]);
    // 8
    sh(&format!(
        "ssh-keygen -q -Y sign -n git -f {} < {1}/ROOT > {1}/ROOT.bob.sig 2>/dev/null",
        ground.stage.path("bob").display(),
        signatures.display()
    ));
    ground.expect(&few, refused, &["1 of the 2", "namespace \"git\""]);
}

#[test]
fn other_origins_old_roots_and_parts_of_other_generations_are_refused() {
    let ground = Ground::new();
    // 9
    let other = ground.disk("build-8", "prod", (6, 1), &BOTH, &[]);
    ground.expect(
        &other,
        [UNTRUSTED, UNTRUSTED, ASKS],
        &["does not accept origin \"build-8\""],
    );
    let text = std::fs::read_to_string(ground.stage.path("policy.toml")).unwrap();
    let more = format!("{text}[[accept]]\norigin = \"build-8\"\nthreshold = 2\n");
    std::fs::write(ground.stage.path("policy.toml"), more).unwrap();
    // Its own series: that the node has seen serial 5 of another says nothing.
    let low = ground.disk("build-8", "prod", (3, 1), &BOTH, &[]);
    ground.expect(&low, [ACCEPTED, ACCEPTED, ASKS], &[]);
    ground.policy("");
    // 10
    let soon = sh("date -u -d '+3 sec' +%Y-%m-%dT%H:%M:%SZ");
    let expired = ground.disk("build-7", "prod", (6, 1), &BOTH, &["--expires", soon.trim()]);
    let says = format!("not to be used after {}", soon.trim().get(..10).unwrap());
    std::thread::sleep(std::time::Duration::from_secs(4));
    ground.expect(&expired, [UNTRUSTED, UNTRUSTED, ASKS], &[&says]);
    ground.stage.run(["verify", &expired]).code(0).says(&says);
    let disk = ground.disk("build-7", "prod", (6, 1), &BOTH, &[]);
    ground.policy("oldest = \"2099-01-01\"");
    ground.expect(
        &disk,
        [UNTRUSTED, UNTRUSTED, ASKS],
        &["accepts none from before 2099-01-01"],
    );
    ground.policy("");
    // 11: what ROOT commits to is compared before anything is believed of it.
    let generation = |n: u32, name: &str| Path::new(&disk).join(format!("generations/{n:06}/{name}"));
    for name in ["packs", "catalogue", "custody"] {
        let kept = std::fs::read(generation(3, name)).unwrap();
        std::fs::write(generation(3, name), std::fs::read(generation(1, name)).unwrap()).unwrap();
        ground.expect(&disk, [3, 3, 3], &[&format!("generations/000003/{name}")]);
        std::fs::write(generation(3, name), kept).unwrap();
    }
    ground.expect(&disk, [ACCEPTED, ACCEPTED, ASKS], &[]);
}

#[test]
fn slots_that_lead_back_to_an_older_sealed_generation_are_a_rollback() {
    let ground = Ground::new();
    // 12
    let disk = ground.disk("build-7", "prod", (4, 1), &BOTH, &[]);
    let slots = ["superblock.0", "superblock.1"].map(|slot| Path::new(&disk).join(slot));
    let kept = slots.each_ref().map(|slot| std::fs::read(slot).unwrap());
    let (file, state) = (ground.folder("file"), ground.folder("writer"));
    std::fs::write(&file, b"more").unwrap();
    let state = state.to_str().unwrap();
    ground
        .stage
        .run([
            "--state",
            state,
            "add",
            &disk,
            &format!("file:{}", file.display()),
        ])
        .code(0);
    ground.seal(&disk, state, (6, 1), &BOTH, &[]);
    ground.expect(&disk, [ACCEPTED, ACCEPTED, ASKS], &[]);
    for (slot, bytes) in slots.iter().zip(kept) {
        std::fs::write(slot, bytes).unwrap();
    }
    ground.expect(&disk, [ACCEPTED, ROLLBACK, ASKS], &["serial is 4", "serial 5"]);
}
