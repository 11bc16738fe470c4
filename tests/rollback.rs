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
    let expired = ground.disk("build-7", "prod", (6, 1), &BOTH, &["--expires", "2020-01-01"]);
    ground.expect(
        &expired,
        [UNTRUSTED, UNTRUSTED, ASKS],
        &["not to be used after 2020-01-01"],
    );
    ground
        .stage
        .run(["verify", &expired])
        .code(0)
        .says("not to be used after 2020-01-01");
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
