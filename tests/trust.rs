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
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\nthreshold = 1\n",
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
        let said = judged(&format!("{of_prod}threshold = 1\nsigners = {signers}\n")).code(code);
        if code == 6 {
            said.says("not among those who sign this series");
        }
    }
    judged(&format!("{of_prod}threshold = 2\n{of_prod}threshold = 1\n"))
        .code(4)
        .says("two [[accept]] tables are for series \"prod\" of origin \"build-7\"");
    let of_all = "[[accept]]\norigin = \"build-7\"\n";
    judged(&format!("{of_all}threshold = 2\n{of_all}threshold = 1\n"))
        .code(4)
        .says("all series of origin \"build-7\"");
    judged(&format!("{of_all}threshold = 2\n{of_prod}threshold = 1\n")).code(0);
    judged(of_prod)
        .code(4)
        .says("the [[accept]] table of origin \"build-7\": no threshold");
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
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\nthreshold = 1\n",
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

/// A policy that wants so many keys for `build-7`, with alice's in it.
fn policy(stage: &Stage, threshold: u32) -> String {
    let public = std::fs::read_to_string(stage.path("alice.pub")).unwrap();
    std::fs::write(stage.path("allowed"), format!("alice@example.org {public}")).unwrap();
    let text =
        format!("allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\nthreshold = {threshold}\n");
    std::fs::write(stage.path("policy.toml"), text).unwrap();
    stage.path("policy.toml").to_str().unwrap().to_owned()
}

#[test]
fn a_report_says_in_its_headline_whether_the_policy_takes_the_disk() {
    let (stage, disk) = sealed();
    stage.run(["trust", "begin"]).code(0);
    let names = ["html", "txt", "json"].map(|ending| stage.path(&format!("report.{ending}")));
    let reported = |more: &[&str], code: i32| {
        let mut args = vec!["verify", &disk];
        for name in &names {
            args.extend(["--report", name.to_str().unwrap()]);
        }
        args.extend(more);
        stage.run(args).code(code);
        names
            .each_ref()
            .map(|name| std::fs::read_to_string(name).unwrap())
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();

    let [html, text, of_json] = reported(&[], 0);
    assert!(
        html.contains(": whole; whose it is was not checked</title>"),
        "{html}"
    );
    assert!(html.contains("Whole; whose it is was not checked</p>"), "{html}");
    assert!(text.contains("\nWHOLE; WHOSE IT IS WAS NOT CHECKED\n"), "{text}");
    assert!(json(&of_json)["accepted"].is_null(), "{of_json}");
    // How each record's event was done is shown with it.
    for shown in [&html, &text, &of_json] {
        assert!(shown.contains("readback before signing"), "{shown}");
        assert!(shown.contains("SHA256:"), "{shown}");
    }
    let notes = json(&of_json)["custody"].as_array().unwrap().clone();
    assert!(notes.iter().all(|record| record["note"].is_string()), "{of_json}");

    let two = policy(&stage, 2);
    let [html, text, of_json] = reported(&["--policy", &two], 6);
    let refused = "REFUSED: signed by 1 of the 2 distinct keys that the policy demands (no damage was found)";
    assert!(html.contains(&format!("{refused}</title>")), "{html}");
    assert!(html.contains(&format!("{refused}</p>")), "{html}");
    assert!(text.contains(&format!("\n{refused}\n")), "{text}");
    assert_eq!(json(&of_json)["accepted"], false);
    assert_eq!(json(&of_json)["whole"], true);

    let one = policy(&stage, 1);
    let [html, text, of_json] = reported(&["--policy", &one], 0);
    assert!(html.contains(": whole</title>"), "{html}");
    assert!(text.contains("\nWHOLE\n"), "{text}");
    assert_eq!(json(&of_json)["accepted"], true);

    // Damage goes before whose it is, and such a disk is accepted by nobody.
    let pack = Path::new(&disk).join("packs/000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let [html, _, of_json] = reported(&["--policy", &one], 3);
    assert!(html.contains(": damaged, in "), "{html}");
    assert_eq!(json(&of_json)["accepted"], false);
}

#[test]
fn info_shows_whose_signatures_there_are_and_until_when_it_may_be_used() {
    let (stage, disk) = sealed();
    let shown = stage.run(["info", &disk]).code(0);
    let shown = shown.says("signed       alice (keys not checked here)");
    assert!(!shown.out.contains("expires"), "{}", shown.out);
    let bob = key(&stage, "bob");
    stage.run(["sign", &disk, "--key", &bob]).code(0);
    let json = stage.run(["info", &disk, "--json"]).code(0).json();
    assert_eq!(json["signatures"], serde_json::json!(["alice", "bob"]));
    assert!(json["expires"].is_null());
    std::fs::write(stage.path("file"), vec![8; 5_000]).unwrap();
    stage
        .add(&[
            format!("file:{}", stage.path("file").display()),
            "--replace".to_owned(),
        ])
        .code(0);
    stage.run(["info", &disk]).code(0).says("signed       by nobody");
    let soon = stage::sh("date -u -d '+3 sec' +%Y-%m-%dT%H:%M:%SZ");
    stage
        .run(["seal", &disk, "--key", &bob, "--expires", soon.trim()])
        .code(0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    stage
        .run(["info", &disk])
        .code(0)
        .says(&format!("expires      {}, past", soon.trim()));
}

#[test]
fn trust_says_what_can_never_be_met_and_what_a_set_changes() {
    let (stage, disk) = sealed();
    let two = policy(&stage, 2);
    stage
        .run(["trust", "show", "--policy", &two])
        .code(0)
        .says("can never be met: build-7, any series demands 2 distinct keys, and only 1 can count there");
    let one = policy(&stage, 1);
    let said = stage.run(["trust", "show", "--policy", &one]).code(0);
    assert!(!said.err.contains("can never be met"), "{said:?}");
    std::fs::write(stage.path("none.toml"), "allowed_signers = \"allowed\"\n").unwrap();
    stage
        .run([
            "trust",
            "show",
            "--policy",
            stage.path("none.toml").to_str().unwrap(),
        ])
        .code(0)
        .says("accepts nothing");

    let set = |origin: &str, serial: &str| {
        let args = [
            "trust", "set", "--origin", origin, "--series", "prod", "--serial", serial,
        ];
        Said::from(stage.command(args).env("HOLDALL_POLICY", &one).output().unwrap()).code(0)
    };
    let said = set("build-7", "20").says("nothing was known of it");
    assert!(said.err.is_empty(), "{said:?}");
    let refused = stage.run(["verify", &disk, "--policy", &one]).code(7);
    let step = "holdall trust set --origin build-7 --series prod --serial 3";
    refused.says(step);
    let refused = stage.run(["verify", &disk, "--policy", &one, "--json"]).code(7);
    let last = refused.err.lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    assert!(error["error"]["hint"].as_str().unwrap().contains(step), "{last}");
    set("build-7", "3")
        .says("was epoch 1, serial 20, and disks from epoch 1, serial 3 on are accepted again");
    stage.run(["verify", &disk, "--policy", &one]).code(0);
    set("build-9", "1").says("accepts no series \"prod\" of origin \"build-9\"");
}

#[test]
fn a_policy_that_is_not_there_is_said_to_be_one_and_who_names_it() {
    let (stage, disk) = sealed();
    let nowhere = stage.path("nowhere.toml");
    let nowhere = nowhere.to_str().unwrap();
    stage
        .run(["verify", &disk, "--policy", nowhere])
        .code(1)
        .says("the policy that --policy names");
    let said: Said = stage
        .command(["info", &disk])
        .env("HOLDALL_POLICY", nowhere)
        .output()
        .unwrap()
        .into();
    said.code(1).says("the policy that HOLDALL_POLICY names");
    let one = policy(&stage, 1);
    std::fs::remove_file(stage.path("allowed")).unwrap();
    stage
        .run(["verify", &disk, "--policy", &one])
        .code(1)
        .says("the allowed_signers that")
        .says("policy.toml names");
}

#[test]
fn the_policy_in_the_help_can_be_pasted() {
    let (stage, _) = sealed();
    let help = stage.run(["trust", "--help"]).code(0).out;
    let example: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("A policy is a file"))
        .skip(1)
        .take_while(|line| !line.starts_with("With it"))
        .collect();
    assert!(example.iter().all(|line| line.len() < 80), "{example:?}");
    let policy = stage.path("pasted.toml");
    std::fs::write(&policy, example.join("\n")).unwrap();
    std::fs::write(stage.path("allowed_signers"), "").unwrap();
    stage
        .run(["trust", "show", "--policy", policy.to_str().unwrap()])
        .code(0)
        .says("accepts  build-7, production: 2 of 0 allowed signers");
    let pages = stage.path("man");
    stage.run(["man", pages.to_str().unwrap()]).code(0);
    for (page, line) in [
        ("holdall-trust.1", "  threshold = 2"),
        ("holdall-seal.1", "  ssh\\-keygen"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        let at = text.find(line).unwrap();
        assert!(text[..at].rfind(".nf").unwrap() > text[..at].rfind(".fi").unwrap_or(0));
        assert!(text[at..].contains("\n.fi\n"), "{page}");
    }
}

#[test]
fn the_audit_names_every_signature_before_it_says_that_they_are_too_few_and_damage_goes_first() {
    let (stage, disk) = sealed();
    policy(&stage, 1);
    let allowed = stage.path("allowed");
    let args = [
        "disk",
        &disk,
        "--allowed-signers",
        allowed.to_str().unwrap(),
        "--need",
        "2",
    ];
    let said = audit(&args).code(6).says("signature   alice: holds");
    assert!(said.err.contains("signed by 1 of the 2"), "{said:?}");
    let slot = Path::new(&disk).join("superblock.0");
    let kept = std::fs::read(&slot).unwrap();
    std::fs::write(&slot, vec![1; kept.len()]).unwrap();
    audit(&args)
        .code(3)
        .says("signature   alice: holds")
        .says("DAMAGED");
    std::fs::write(&slot, kept).unwrap();
    let catalogue = root_and_signature(&disk).0.with_file_name("catalogue");
    let mut bytes = std::fs::read(&catalogue).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&catalogue, bytes).unwrap();
    audit(&args).code(3).says("signature   alice: holds");
}

#[test]
fn what_is_no_proof_and_bad_labels_are_not_called_damage_of_a_disk() {
    let stage = Stage::new();
    let no_proof = stage.path("no-proof");
    std::fs::write(&no_proof, "hello\n").unwrap();
    let said = stage.run(["check-proof", no_proof.to_str().unwrap()]).code(3);
    let said = said.says("no-proof is no proof of `holdall prove`");
    assert!(!said.err.contains("holdall verify"), "{said:?}");
    let disk = stage.disk().to_str().unwrap().to_owned();
    for args in [["--series", " x"], ["--origin", ""]] {
        let said = stage.run(["init", &disk, args[0], args[1]]).code(2).says(args[0]);
        assert!(!said.err.contains("holdall verify"), "{said:?}");
        assert!(!stage.disk().exists());
    }
}
