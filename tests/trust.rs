//! What must not be believed: disks with links on them, and lists of signers, policies and signatures that only look as if they said yes.
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

use base64::Engine as _;
use holdall::format::catalogue::Kind;
use holdall::format::root::Root;
use holdall::medium::DirectoryMedium;
use holdall::node::Sight;
use holdall::reader::{Disk, OpenOptions};
use holdall::signature::{Found, Presence};
use holdall::trust::{Accepted, AllowedSigner, Evidence, PatternList, Policy, judge};
use stage::{Said, Stage};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const AUDIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/holdall_audit.py");

/// The disk's generation that [`sealed`] seals.
const SEALED: u32 = 3;

/// A sealed disk of one file, signed by `alice`; its path.
fn sealed() -> (Stage, String) {
    let stage = Stage::new();
    let disk = stage.disk().to_str().unwrap().to_owned();
    stage
        .run(["init", &disk, "--origin", "build-7", "--series", "prod"])
        .code(0);
    std::fs::write(stage.path("file"), vec![7; 5_000]).unwrap();
    stage
        .add(&[format!("file:{}", stage.path("file").display())])
        .code(0);
    let alice = key(&stage, "alice");
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    (stage, disk)
}

fn key(stage: &Stage, name: &str) -> String {
    let path = stage.path(name);
    let made = Command::new("ssh-keygen")
        .args([
            "-q",
            "-N",
            "",
            "-t",
            "ed25519",
            "-C",
            &format!("{name}@example.org"),
            "-f",
        ])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success(), "{name}");
    path.to_str().unwrap().to_owned()
}

fn audit(args: &[&str]) -> Said {
    Command::new("python3")
        .arg(AUDIT)
        .args(args)
        .output()
        .unwrap()
        .into()
}

/// Every file below a folder, with its bytes.
fn all_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

#[test]
fn a_link_in_place_of_a_folder_of_the_disk_leads_neither_reader_nor_writer_off_it() {
    let root = format!("generations/{SEALED:06}/ROOT");
    for (folder, to, named) in [
        (format!("generations/{SEALED:06}"), "../../outside", root.as_str()),
        ("generations".to_owned(), "../outside", "generations"),
        ("packs".to_owned(), "../outside", "packs"),
    ] {
        let (stage, disk) = sealed();
        let bob = key(&stage, "bob");
        let folder = Path::new(&disk).join(&folder);
        let outside = stage.path("outside");
        std::fs::rename(&folder, &outside).unwrap();
        symlink(to, &folder).unwrap();
        let before = all_below(&outside);
        stage.run(["verify", &disk]).code(3).says(named);
        audit(&["disk", &disk]).code(3).says(named);
        for args in [
            &["sign", &disk, "--key", &bob][..],
            &["seal", &disk, "--key", &bob],
        ] {
            let said = stage.run(args);
            assert_ne!(said.code, 0, "{args:?}: {said:?}");
        }
        std::fs::write(stage.path("more"), vec![8; 5_000]).unwrap();
        let _whatever_comes_of_it = stage.add(&[format!("file:{}", stage.path("more").display())]);
        assert_eq!(all_below(&outside), before, "{named}");
    }
}

/// The ROOT that [`sealed`] seals, and its signature.
fn root_and_signature(disk: &str) -> (PathBuf, PathBuf) {
    let folder = Path::new(disk).join(format!("generations/{SEALED:06}"));
    (folder.join("ROOT"), folder.join("ROOT.alice.sig"))
}

/// What OpenSSH makes of a list of allowed signers, a ROOT and its signature.
fn openssh_takes(allowed: &Path, disk: &str, identity: &str, time: &str) -> bool {
    let (root, signature) = root_and_signature(disk);
    Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", "holdall-root@v1", "-I", identity, "-f"])
        .arg(allowed)
        .arg("-s")
        .arg(signature)
        .arg(format!("-Overify-time={time}"))
        .stdin(std::fs::File::open(root).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// What we make of it; an error where the list is refused.
fn we_take(allowed: &Path, disk: &str, identity: &str, time: &str) -> Result<bool, String> {
    let (root, signature) = root_and_signature(disk);
    let root = Root::decode(&std::fs::read(root).unwrap(), "ROOT").unwrap();
    let text = std::fs::read_to_string(allowed).unwrap();
    let policy = Policy {
        place: "a policy".to_owned(),
        signers: AllowedSigner::parse_all(&text, "allowed").map_err(|e| e.to_string())?,
        revoked: Vec::new(),
        accepted: vec![Accepted {
            origin: root.origin.clone(),
            series: None,
            threshold: 1,
            signers: Some(PatternList::parse(identity)),
        }],
        presence: Presence::Nothing,
        oldest: None,
    };
    let evidence = Evidence {
        root_hash: root.hash(),
        root,
        signatures: vec![Found {
            signer: holdall::name::SignerName::parse("alice").unwrap(),
            armored: Ok(std::fs::read_to_string(signature).unwrap()),
        }],
        unread: 0,
        sealed: Vec::new(),
    };
    let time: jiff::Timestamp = time.parse().unwrap();
    let verdict = judge(Some(&policy), &evidence, &Sight::New, true, time.as_second());
    Ok(verdict.refusal.is_none())
}

#[test]
fn a_line_of_allowed_signers_counts_where_it_counts_for_openssh() {
    let (stage, disk) = sealed();
    let public = std::fs::read_to_string(stage.path("alice.pub")).unwrap();
    let key = public.rsplit_once(' ').unwrap().0;
    let allowed = stage.path("allowed");
    let mut taken = 0;
    for line in [
        "alice@example.org KEY",
        "alice@example.org KEY a comment",
        "\t alice@example.org \t KEY\r",
        "alice@example.org,bob@example.org KEY",
        "alice@example.org, KEY",
        "*@example.org KEY",
        "?lice@example.org KEY",
        "\"alice@example.org\" KEY",
        "\"alice@example.org\"KEY",
        "\"*@example.org,!bob@example.org\" KEY",
        "!alice@example.org KEY",
        "!bob@example.org KEY",
        "!alice@example.org,*@example.org KEY",
        "*@example.org,!alice@example.org KEY",
        "ALICE@example.org KEY",
        "# alice@example.org KEY",
        "alice@example.org",
        "alice@example.org namespaces=\"holdall-root@v1\" KEY",
        "alice@example.org NameSpaces=\"git,holdall-*\"  KEY",
        "alice@example.org namespaces=\"git\" KEY",
        "alice@example.org namespaces=\"!holdall-root@v1,*\" KEY",
        "alice@example.org namespaces=\"*,!holdall-root@v1\" KEY",
        "alice@example.org namespaces=\"!git,*\" KEY",
        "alice@example.org namespaces=\"!git\" KEY",
        "alice@example.org namespaces=\"\" KEY",
        "alice@example.org namespaces=\",\" KEY",
        "alice@example.org namespaces= KEY",
        "alice@example.org namespaces KEY",
        "alice@example.org namespaces=holdall-root@v1 KEY",
        "alice@example.org namespaces=\"git\",namespaces=\"holdall-root@v1\" KEY",
        "alice@example.org namespaces=\"holdall-root@v1\", KEY",
        "alice@example.org ,namespaces=\"holdall-root@v1\" KEY",
        "alice@example.org ,,namespaces=\"holdall-root@v1\" KEY",
        "alice@example.org namespaces=\"a\\\"b,holdall-root@v1\" KEY",
        "alice@example.org namespaces=\"a b,holdall-root@v1\" KEY",
        "alice@example.org namespaces=\"holdall-root@v1 KEY",
        "alice@example.org no-such-option KEY",
        "alice@example.org no-such-option=\"a\" KEY",
        "alice@example.org cert-authority KEY",
        "alice@example.org valid-before=\"20260601Z\" KEY",
        "alice@example.org valid-before=\"20260601utc\" KEY",
        "alice@example.org valid-before=\"20260601UTC\" KEY",
        "alice@example.org valid-before=\"20260601z\" KEY",
        "alice@example.org valid-before=\"202606010000Z\" KEY",
        "alice@example.org valid-before=\"20260531235959Z\" KEY",
        "alice@example.org valid-before=\"20260601000000\" KEY",
        "alice@example.org valid-before=\"2026060100Z\" KEY",
        "alice@example.org valid-before=\"20260601ZZ\" KEY",
        "alice@example.org valid-before=\"20260601GMT\" KEY",
        "alice@example.org valid-before=\"\" KEY",
        "alice@example.org valid-before=\"Z\" KEY",
        "alice@example.org valid-before=20990101Z KEY",
        "alice@example.org valid-before=\"20990101Z\", KEY",
        "alice@example.org valid-before=\"20260601Z\",valid-before=\"20990101Z\" KEY",
        "alice@example.org valid-after=\"20260601Z\" KEY",
        "alice@example.org valid-after=\"19700101Z\" KEY",
        "alice@example.org valid-after=\"20200101Z\",valid-after=\"20210101Z\" KEY",
        "alice@example.org valid-after=\"20200101Z\",valid-before=\"20260601Z\" KEY",
        "alice@example.org valid-after=\"20270101Z\",valid-before=\"20260601Z\" KEY",
        "alice@example.org valid-after=\"20260601Z\",valid-before=\"20260601Z\" KEY",
    ] {
        std::fs::write(&allowed, line.replace("KEY", key) + "\n").unwrap();
        for identity in ["alice@example.org", "bob@example.org", "carol@example.com"] {
            for (theirs, ours) in [
                ("20260531235959Z", "2026-05-31T23:59:59Z"),
                ("20260601000000Z", "2026-06-01T00:00:00Z"),
                ("20260601000001Z", "2026-06-01T00:00:01Z"),
            ] {
                let expected = openssh_takes(&allowed, &disk, identity, theirs);
                let found = we_take(&allowed, &disk, identity, ours);
                assert_eq!(
                    found.clone().unwrap_or(false),
                    expected,
                    "{line} as {identity} at {ours}: {found:?}"
                );
                taken += usize::from(expected);
            }
        }
    }
    assert!(taken > 50, "{taken}");
}

#[test]
fn a_time_without_zone_is_the_one_that_openssh_takes_it_for() {
    let (stage, disk) = sealed();
    let (root, signature) = root_and_signature(&disk);
    let key = std::fs::read_to_string(stage.path("alice.pub")).unwrap();
    let allowed = stage.path("allowed");
    std::fs::write(
        stage.path("policy.toml"),
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\n",
    )
    .unwrap();
    let policy = stage.path("policy.toml");
    stage.run(["trust", "begin"]).code(0);
    // In this zone it is always summer.
    for (zone, hours) in [("UTC0", 0), ("XST-5", 5), ("XST-5XDT-6,0/0,J365/25", 5)] {
        for (seconds, expected) in [(-600, false), (600, true)] {
            let at = jiff::Timestamp::now().as_second() + hours * 3600 + seconds;
            let at = jiff::Timestamp::from_second(at).unwrap();
            let time = at.strftime("%Y%m%d%H%M%S").to_string();
            std::fs::write(
                &allowed,
                format!("alice@example.org valid-before=\"{time}\" {key}"),
            )
            .unwrap();
            let theirs = Command::new("ssh-keygen")
                .args([
                    "-Y",
                    "verify",
                    "-n",
                    "holdall-root@v1",
                    "-I",
                    "alice@example.org",
                    "-f",
                ])
                .arg(&allowed)
                .arg("-s")
                .arg(&signature)
                .env("TZ", zone)
                .stdin(std::fs::File::open(&root).unwrap())
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success();
            let ours = stage
                .command([
                    "verify",
                    &disk,
                    "--signatures",
                    "--policy",
                    policy.to_str().unwrap(),
                ])
                .env("TZ", zone)
                .status()
                .unwrap()
                .success();
            assert_eq!((theirs, ours), (expected, expected), "{zone} {seconds}");
        }
    }
}

#[test]
fn a_policy_leaves_out_whom_it_denies_and_has_one_table_for_a_series() {
    let (stage, disk) = sealed();
    let public = std::fs::read_to_string(stage.path("alice.pub")).unwrap();
    std::fs::write(stage.path("allowed"), format!("alice@example.org {public}")).unwrap();
    stage.run(["trust", "begin"]).code(0);
    let judged = |tables: &str| {
        let policy = stage.path("policy.toml");
        std::fs::write(&policy, format!("allowed_signers = \"allowed\"\n{tables}")).unwrap();
        stage.run([
            "verify",
            &disk,
            "--signatures",
            "--policy",
            policy.to_str().unwrap(),
        ])
    };
    let of_prod = "[[accept]]\norigin = \"build-7\"\nseries = \"prod\"\n";
    for (signers, code) in [
        ("[\"*@example.org\"]", 0),
        ("[\"!bob@example.org\", \"*@example.org\"]", 0),
        ("[\"!alice@example.org\", \"*@example.org\"]", 6),
        ("[\"*@example.org\", \"!alice@example.org\"]", 6),
        ("[\"!bob@example.org\"]", 6),
        ("[]", 6),
    ] {
        let said = judged(&format!("{of_prod}signers = {signers}\n")).code(code);
        if code == 6 {
            said.says("not among those who sign this series");
        }
    }
    judged(&format!("{of_prod}threshold = 2\n{of_prod}"))
        .code(4)
        .says("two [[accept]] tables are for series \"prod\" of origin \"build-7\"");
    let of_all = "[[accept]]\norigin = \"build-7\"\n";
    judged(&format!("{of_all}threshold = 2\n{of_all}"))
        .code(4)
        .says("all series of origin \"build-7\"");
    judged(&format!("{of_all}threshold = 2\n{of_prod}")).code(0);
    judged(&format!("{of_prod}treshold = 2\n"))
        .code(4)
        .says("treshold");
    judged(&format!("oldst = \"2026-01-01\"\n{of_prod}"))
        .code(4)
        .says("oldst");
}

#[test]
fn a_name_in_a_proof_does_not_make_lines_of_its_own() {
    let (stage, disk) = sealed();
    let name = "a\nsigned   bob (bob@example.org): counts\n\u{202e}b";
    std::fs::write(stage.path(name), b"x").unwrap();
    stage
        .add(&[format!("file:{}", stage.path(name).display())])
        .code(0);
    stage
        .run(["seal", &disk, "--key", stage.path("alice").to_str().unwrap()])
        .code(0);
    let proof = stage.path("proof");
    let proof = proof.to_str().unwrap();
    let made = stage
        .run(["prove", &disk, &format!("files/{name}"), "-o", proof])
        .code(0);
    let checked = stage.run(["check-proof", proof]).code(0);
    for said in [made.out, checked.out, audit(&["proof", proof]).code(0).out] {
        assert!(said.contains("bob@example.org"), "{said}");
        assert!(
            !said.lines().any(|line| line.starts_with("signed   bob")),
            "{said}"
        );
        assert!(!said.contains('\u{202e}'), "{said}");
    }
}

#[test]
fn nothing_is_the_file_of_a_proof_that_speaks_of_no_bytes() {
    let (stage, disk) = sealed();
    let medium = std::sync::Arc::new(DirectoryMedium::open(Path::new(&disk)).unwrap());
    let opened = Disk::open(medium, &OpenOptions::default()).unwrap();
    let proof = holdall::seal::prove(&opened, Kind::Files, "files")
        .unwrap()
        .unwrap();
    let text = proof.encode();
    // The leaf's SHA-256 and size are those of the tree's reference, which ends it.
    let leaf = text.lines().find_map(|line| line.strip_prefix("leaf ")).unwrap();
    let leaf = base64::engine::general_purpose::STANDARD.decode(leaf).unwrap();
    let (proof, blob) = (stage.path("proof"), stage.path("blob"));
    std::fs::write(&proof, &text).unwrap();
    std::fs::write(&blob, &leaf[leaf.len() - 57..]).unwrap();
    let (proof, blob) = (proof.to_str().unwrap(), blob.to_str().unwrap());
    stage
        .run(["check-proof", proof])
        .code(0)
        .says("proves   tree files");
    stage
        .run(["check-proof", proof, "--blob", blob])
        .code(6)
        .says("no bytes of its own");
    audit(&["proof", proof, "--blob", blob])
        .code(6)
        .says("does not speak of a file's bytes");
}

#[test]
fn signatures_that_are_none_are_named_and_hide_no_others_without_a_word() {
    let (stage, disk) = sealed();
    let public = std::fs::read_to_string(stage.path("alice.pub")).unwrap();
    let allowed = stage.path("allowed");
    std::fs::write(&allowed, format!("alice@example.org {public}")).unwrap();
    std::fs::write(
        stage.path("policy.toml"),
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\n",
    )
    .unwrap();
    let policy = stage.path("policy.toml");
    let (policy, allowed) = (policy.to_str().unwrap(), allowed.to_str().unwrap());
    stage.run(["trust", "begin"]).code(0);
    let judged = || stage.run(["verify", &disk, "--signatures", "--policy", policy]);
    let audited = || audit(&["disk", &disk, "--allowed-signers", allowed]);
    let beside = |name: &str| {
        root_and_signature(&disk)
            .1
            .with_file_name(format!("ROOT.{name}.sig"))
    };
    // A text that is no signature, one that is too long, a folder and a link: alice's counts all the same.
    std::fs::write(beside("junk"), "-----BEGIN SSH SIGNATURE-----\n").unwrap();
    std::fs::write(beside("long"), vec![b'x'; 20_000]).unwrap();
    std::fs::create_dir(beside("folder")).unwrap();
    symlink("ROOT", beside("link")).unwrap();
    for said in [judged().code(0), audited().code(0)] {
        for name in ["junk", "long", "folder", "link"] {
            let line = said
                .out
                .lines()
                .find(|line| line.contains(name))
                .unwrap_or_default();
            assert!(
                !line.contains("counts") && !line.contains("holds"),
                "{name}: {said:?}"
            );
            assert!(!line.is_empty(), "{name}: {said:?}");
        }
    }
    // So many that hers is not among the first by name.
    for n in 0..64 {
        std::fs::write(beside(&format!("a{n:02}")), "junk").unwrap();
    }
    judged()
        .code(6)
        .says("the first 64 by name were read, and 5 were not");
    audited().code(6);
    audit(&["disk", &disk])
        .code(0)
        .says("69 files, of which the first 64 by name were read");
    // Without those that come before hers by the order of names, though not by that of files.
    for n in 1..64 {
        std::fs::remove_file(beside(&format!("a{n:02}"))).unwrap();
    }
    for n in 1..64 {
        std::fs::write(beside(&format!("alice-{n}")), "junk").unwrap();
    }
    judged().code(0);
    audited().code(0);
}

#[test]
fn a_root_is_refused_for_the_same_reasons_by_both_readers() {
    let (stage, disk) = sealed();
    let text = std::fs::read_to_string(root_and_signature(&disk).0).unwrap();
    let proof = stage.path("proof");
    let made = stage
        .run(["prove", &disk, "files/file", "-o", proof.to_str().unwrap()])
        .code(0);
    assert!(made.err.is_empty(), "{made:?}");
    let proven = std::fs::read_to_string(&proof).unwrap();
    let packs = text.lines().find(|line| line.starts_with("packs ")).unwrap();
    let many = packs.replacen("packs 1", "packs 1048577", 1);
    let mut changes = vec![
        ("epoch 1".to_owned(), "epoch 0".to_owned()),
        (format!("serial {SEALED}"), "serial 0".to_owned()),
        (format!("generation {SEALED}"), "generation 0".to_owned()),
        (packs.to_owned(), many),
    ];
    for origin in [
        "build\u{a0}",
        "\u{3000}build",
        "\u{2007}build",
        "bu\u{202e}ild",
        "bu\u{2066}ild",
        "bu\u{200b}ild",
        "bu\u{feff}ild",
        "bu\u{2028}ild",
        "bu\u{2029}ild",
        "bu\u{ad}ild",
        "bu\u{e0061}ild",
        "bu\u{85}ild",
    ] {
        changes.push(("origin build-7".to_owned(), format!("origin {origin}")));
    }
    for (from, to) in changes {
        assert!(proven.contains(&from), "{from}");
        std::fs::write(&proof, proven.replacen(&from, &to, 1)).unwrap();
        let path = proof.to_str().unwrap();
        stage.run(["check-proof", path]).code(3);
        audit(&["proof", path]).code(3);
    }
    for origin in ["b\u{fc}ild 7", "bu\u{a0}ild", "\u{5de5}\u{5834}"] {
        std::fs::write(
            &proof,
            proven.replacen("origin build-7", &format!("origin {origin}"), 1),
        )
        .unwrap();
        let path = proof.to_str().unwrap();
        stage.run(["check-proof", path]).code(0);
        // A ROOT that its signer has not signed.
        audit(&["proof", path]).code(0).says("does not count");
    }
}
