//! Sealing and signing, with stock `ssh-keygen` both ways, and what a policy makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

mod stage;

use stage::{Stage, sh};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A disk of some loose files, and keys of every kind.
fn with_files() -> (Stage, String) {
    let stage = Stage::new();
    let disk = stage.disk().to_str().unwrap().to_owned();
    stage
        .run(["init", &disk, "--origin", "build-7", "--series", "prod"])
        .code(0);
    let folder = stage.path("f");
    std::fs::create_dir_all(folder.join("b")).unwrap();
    for (name, bytes) in [
        ("a", vec![1; 10]),
        ("b-c", vec![2; 5_000]),
        ("b/z", vec![3; 70_000]),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    stage.add(&[format!("dir:{}", folder.display())]).code(0);
    (stage, disk)
}

fn key(stage: &Stage, name: &str, kind: &[&str]) -> String {
    let path = stage.path(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", &format!("{name}@example.org"), "-f"])
        .arg(&path)
        .arg("-t")
        .args(kind)
        .status()
        .unwrap();
    assert!(made.success(), "{name}");
    path.to_str().unwrap().to_owned()
}

/// A key whose scalar begins with a zero byte: ssh-key 0.6 does not read it.
fn short_scalar(stage: &Stage, name: &str) -> String {
    loop {
        let path = key(stage, name, &["ecdsa", "-b", "521"]);
        if ssh_key::PrivateKey::from_openssh(std::fs::read_to_string(&path).unwrap()).is_err() {
            return path;
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// The allowed signers, one line each, with these options.
fn allow(stage: &Stage, who: &[(&str, &str)]) -> PathBuf {
    let mut text = String::new();
    for (name, options) in who {
        let public = std::fs::read_to_string(stage.path(&format!("{name}.pub"))).unwrap();
        text += &format!("{name}@example.org {options} {public}");
    }
    std::fs::write(stage.path("allowed"), text).unwrap();
    stage.path("allowed")
}

/// A policy that wants so many of them for the series `prod` of `build-7`.
fn policy(stage: &Stage, threshold: u32, more: &str) -> String {
    let text = format!(
        "allowed_signers = \"allowed\"\n{more}\n[[accept]]\norigin = \"build-7\"\nseries = \"prod\"\nthreshold = {threshold}\n"
    );
    std::fs::write(stage.path("policy.toml"), text).unwrap();
    stage.path("policy.toml").to_str().unwrap().to_owned()
}

fn root_of(disk: &str, generation: u32) -> PathBuf {
    Path::new(disk).join(format!("generations/{generation:06}/ROOT"))
}

fn openssh_says(stage: &Stage, disk: &str, generation: u32, who: &str) -> bool {
    let root = root_of(disk, generation);
    let allowed = stage.path("allowed");
    Command::new("ssh-keygen")
        .args([
            "-Y",
            "verify",
            "-n",
            "holdall-root@v1",
            "-I",
            &format!("{who}@example.org"),
            "-f",
        ])
        .arg(allowed)
        .arg("-s")
        .arg(root.with_file_name(format!("ROOT.{who}.sig")))
        .stdin(std::fs::File::open(root).unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn stock_openssh_checks_what_is_signed_with_keys_of_every_kind_and_its_own_signatures_are_taken() {
    let (stage, disk) = with_files();
    let kinds: [(&str, &[&str]); 5] = [
        ("ed", &["ed25519"]),
        ("p256", &["ecdsa", "-b", "256"]),
        ("p384", &["ecdsa", "-b", "384"]),
        ("p521", &["ecdsa", "-b", "521"]),
        ("rsa", &["rsa", "-b", "2048"]),
    ];
    let mut keys: Vec<String> = kinds.iter().map(|(name, kind)| key(&stage, name, kind)).collect();
    keys.push(key(&stage, "pem", &["ecdsa", "-b", "256", "-m", "PEM"]));
    keys.push(short_scalar(&stage, "short"));
    stage
        .run(["seal", &disk, "--key", &keys[0], "--key", &keys[1]])
        .code(0)
        .says("serial 3")
        .says("read back");
    for (key, name) in keys[2..].iter().zip(["p384", "p521", "rsa", "pem", "short"]) {
        stage.run(["sign", &disk, "--key", key, "--signer", name]).code(0);
    }
    // Made elsewhere, where the key is.
    key(&stage, "far", &["ed25519"]);
    sh(&format!(
        "cd {} && ssh-keygen -Y sign -n holdall-root@v1 -f far < {} > far.sig 2>/dev/null",
        stage.path("").display(),
        root_of(&disk, 3).display()
    ));
    let far = stage.path("far.sig");
    let far = far.to_str().unwrap();
    stage
        .run(["sign", &disk, "--signature", far, "--signer", "far"])
        .code(0);
    let names = ["ed", "p256", "p384", "p521", "rsa", "pem", "short", "far"];
    allow(&stage, &names.map(|name| (name, "")));
    for name in names {
        assert!(openssh_says(&stage, &disk, 3, name), "{name}");
    }
    // The same key twice, and a signature for something else.
    stage
        .run(["sign", &disk, "--key", &keys[0], "--signer", "again"])
        .code(4)
        .says("signed by this key already");
    sh(&format!(
        "cd {} && ssh-keygen -Y sign -n git -f far < {} > git.sig 2>/dev/null",
        stage.path("").display(),
        root_of(&disk, 3).display()
    ));
    let git = stage.path("git.sig");
    stage
        .run([
            "sign",
            &disk,
            "--signature",
            git.to_str().unwrap(),
            "--signer",
            "git",
        ])
        .code(6)
        .says("made for namespace \"git\"");
    stage.run(["log", &disk]).code(0).says("the chain is whole");
    stage.assert_whole();
}

#[test]
fn what_cannot_be_sealed_is_refused_before_anything_is_used_up() {
    let (stage, disk) = with_files();
    let alice = key(&stage, "alice", &["ed25519"]);
    let weak = key(&stage, "weak", &["rsa", "-b", "1024"]);
    let seal = |disk: &str, more: &[&str]| {
        let args = ["seal", disk, "--key", &alice];
        stage.run(args.iter().chain(more))
    };
    stage
        .run(["seal", &disk, "--key", &weak])
        .code(4)
        .says("nothing was sealed");
    seal(&disk, &["--expires", "2020-01-01"])
        .code(4)
        .says("that is past");
    let empty = stage.path("empty").to_str().unwrap().to_owned();
    stage
        .run(["init", &empty, "--origin", "build-7", "--series", "prod"])
        .code(0);
    for more in [&[][..], &["--dry-run"]] {
        seal(&empty, more).code(4).says("nothing on this disk yet");
    }
    seal(&disk, &[]).code(0).says("serial 3");
    for more in [&[][..], &["--dry-run"], &[]] {
        seal(&disk, more).code(4).says("sealed already");
    }
    let file = stage.path("more");
    std::fs::write(&file, b"more").unwrap();
    stage.add(&[format!("file:{}", file.display())]).code(0);
    seal(&disk, &[]).code(0).says("serial 5");
}

#[test]
fn the_ssh_agent_signs_with_a_key_whose_file_is_gone() {
    let (stage, disk) = with_files();
    key(&stage, "agent", &["ed25519"]);
    let said = sh(&format!(
        "cd {} && eval $(ssh-agent) >/dev/null && ssh-add -q agent && rm agent && HOLDALL_STATE={} {} seal {disk} --key agent.pub; rc=$?; kill $SSH_AGENT_PID; exit $rc",
        stage.path("").display(),
        stage.path("state").display(),
        env!("CARGO_BIN_EXE_holdall")
    ));
    assert!(said.contains("signed by agent"), "{said}");
    allow(&stage, &[("agent", "")]);
    assert!(openssh_says(&stage, &disk, 3, "agent"));
}

/// Serves for a moment under a policy, which is where a node decides: the code it ends with, or 0 where it serves.
fn served(stage: &Stage, disk: &str, more: &[&str]) -> (i32, String) {
    let mut child = stage
        .command(
            ["serve", disk, "--listen", "127.0.0.1:0"]
                .into_iter()
                .chain(more.iter().copied()),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    use std::io::{BufRead as _, Read as _};
    std::io::BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    if line.starts_with("serving") {
        child.kill().unwrap();
        child.wait().unwrap();
        return (0, line);
    }
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

#[track_caller]
fn refused(stage: &Stage, disk: &str, more: &[&str], code: i32, says: &str) {
    let (found, text) = served(stage, disk, more);
    assert_eq!(found, code, "{text}");
    assert!(text.contains(says), "{says:?} is not in {text}");
}

#[test]
fn a_policy_says_who_counts_and_an_older_disk_is_a_rollback() {
    let (stage, disk) = with_files();
    let (alice, bob) = (
        key(&stage, "alice", &["ed25519"]),
        key(&stage, "bob", &["ed25519"]),
    );
    let names = [("alice", ""), ("bob", "")];
    allow(&stage, &names);
    let two = policy(&stage, 2, "");
    let with = ["--policy", two.as_str()];
    refused(&stage, &disk, &["--require-signature"], 4, "no policy");
    stage.run(["trust", "begin"]).code(0);
    refused(&stage, &disk, &with, 6, "this generation is open");
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    refused(&stage, &disk, &with, 6, "signed by 1 of the 2 distinct keys");
    // A copy of the one signature under another name is the same key.
    let signatures = Path::new(&disk).join("generations/000003");
    std::fs::copy(
        signatures.join("ROOT.alice.sig"),
        signatures.join("ROOT.ally.sig"),
    )
    .unwrap();
    refused(&stage, &disk, &with, 6, "has been counted already");
    // One of another ROOT, a text that is none, and one of 100 MB count for nothing, and say why.
    std::fs::write(
        signatures.join("ROOT.ally.sig"),
        "-----BEGIN SSH SIGNATURE-----\n",
    )
    .unwrap();
    refused(&stage, &disk, &with, 6, "not an SSH signature");
    let large = std::fs::File::create(signatures.join("ROOT.ally.sig")).unwrap();
    large.set_len(100_000_000).unwrap();
    refused(&stage, &disk, &with, 6, "100000000 bytes long");
    std::fs::remove_file(signatures.join("ROOT.ally.sig")).unwrap();
    stage.run(["sign", &disk, "--key", &bob]).code(0);
    assert_eq!(served(&stage, &disk, &with).0, 0);
    // verify judges as well: alone, and beside all else that it checks, also in its report.
    let html = stage.path("report.html");
    let html = html.to_str().unwrap();
    stage
        .run(["verify", &disk, "--policy", &two, "--report", html])
        .code(0)
        .says("whole");
    let page = std::fs::read_to_string(html).unwrap();
    for says in [
        "alice@example.org",
        "signed, generation 3",
        "Signatures, by this node",
    ] {
        assert!(page.contains(says), "{says}");
    }
    let said = stage
        .run(["verify", &disk, "--signatures", "--policy", &two, "--json"])
        .code(0);
    assert_eq!(said.json()["trust"]["counted"], 2);
    // Expired, not yet valid, for other namespaces, revoked, of another identity.
    for (line, says) in [
        ("valid-before=\"20200101Z\"", "expired"),
        ("valid-after=\"20990101Z\"", "counts from"),
        ("namespaces=\"git\"", "not for disks"),
    ] {
        allow(&stage, &[("alice", ""), ("bob", line)]);
        refused(&stage, &disk, &with, 6, says);
    }
    allow(&stage, &names);
    policy(&stage, 2, "revoked_keys = \"bob.pub\"");
    refused(&stage, &disk, &with, 6, "revoked");
    policy(&stage, 2, "presence = \"present\"");
    refused(&stage, &disk, &with, 6, "the policy wants a FIDO key");
    policy(&stage, 2, "oldest = \"2090-01-01\"");
    refused(&stage, &disk, &with, 6, "accepts none from before");
    std::fs::write(
        stage.path("policy.toml"),
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-8\"\nthreshold = 1\n",
    )
    .unwrap();
    refused(&stage, &disk, &with, 6, "does not accept origin \"build-7\"");
    std::fs::write(
        stage.path("policy.toml"),
        "allowed_signers = \"allowed\"\n[[accept]]\norigin = \"build-7\"\nthreshold = 1\nsigners = [\"carol@*\"]\n",
    )
    .unwrap();
    refused(&stage, &disk, &with, 6, "not among those who sign this series");
    policy(&stage, 2, "");
    // An addition is open: the sealed generation is named, and can be had.
    std::fs::write(stage.path("more"), b"more").unwrap();
    stage
        .add(&[format!("file:{}", stage.path("more").display())])
        .code(0);
    refused(&stage, &disk, &with, 6, "--generation 3");
    assert_eq!(
        served(&stage, &disk, &["--policy", &two, "--generation", "3"]).0,
        0
    );
    // A newer one is sealed, and accepted; the one before is a rollback from then on.
    stage
        .run(["seal", &disk, "--key", &alice, "--key", &bob])
        .code(0)
        .says("serial 5");
    assert_eq!(served(&stage, &disk, &with).0, 0);
    refused(
        &stage,
        &disk,
        &["--policy", &two, "--generation", "3"],
        7,
        "serial is 3, and this node has accepted serial 5",
    );
    // The same serial with another root.
    stage
        .run([
            "trust",
            "set",
            "--origin",
            "build-7",
            "--series",
            "prod",
            "--serial",
            "5",
            "--root",
            &"ab".repeat(32),
        ])
        .code(0);
    refused(&stage, &disk, &with, 7, "ALARM");
    stage
        .run(["verify", &disk, "--policy", &two])
        .code(7)
        .says("ALARM");
    stage
        .run(["verify", &disk, "--signatures", "--policy", &two])
        .code(7)
        .says("ALARM");
    stage
        .run([
            "trust", "set", "--origin", "build-7", "--series", "prod", "--serial", "5", "--epoch", "2",
        ])
        .code(0);
    refused(&stage, &disk, &with, 7, "its epoch is 1");
    // A node that lost its record asks first.
    std::fs::remove_dir_all(stage.path("state/accepted")).unwrap();
    refused(&stage, &disk, &with, 4, "no record");
    stage.run(["log"]).code(0).says("refused").says("served");
}

#[test]
fn the_independent_verifier_agrees_and_takes_none_of_ten_thousand_mutations() {
    let (stage, disk) = with_files();
    let (alice, bob) = (key(&stage, "alice", &["ed25519"]), key(&stage, "bob", &["ecdsa"]));
    stage.run(["seal", &disk, "--key", &alice, "--key", &bob]).code(0);
    let allowed = allow(&stage, &[("alice", ""), ("bob", "")]);
    let (allowed, file) = (allowed.to_str().unwrap(), stage.path("f/b/z"));
    let proof = stage.path("proof");
    let proof = proof.to_str().unwrap();
    stage.run(["prove", &disk, "files/f/b/z", "-o", proof]).code(0);
    stage
        .run(["check-proof", proof, "--blob", file.to_str().unwrap()])
        .code(0)
        .says("file files/f/b/z")
        .says("the same");
    stage
        .run([
            "check-proof",
            proof,
            "--blob",
            stage.path("f/a").to_str().unwrap(),
        ])
        .code(6)
        .says("is not what it proves");
    let audit = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/holdall_audit.py");
    let mutations = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/test_mutations.py");
    let said = sh(&format!(
        "python3 {audit} proof {proof} --allowed-signers {allowed} --need 2 --blob {} && python3 {audit} disk {disk} --allowed-signers {allowed} --need 2",
        file.display()
    ));
    assert!(
        said.contains("2 distinct keys count") && said.contains("custody"),
        "{said}"
    );
    let said = sh(&format!(
        "python3 {mutations} {proof} {disk} 10500 1 --allowed-signers {allowed}"
    ));
    let counted = said.lines().last().unwrap_or_default();
    println!("{counted}");
    let count: u64 = counted.split(' ').next().unwrap().parse().unwrap();
    assert!(count >= 10_000 && counted.ends_with(" 0 accepted"), "{counted}");
}

#[test]
fn a_disk_that_lacks_what_its_root_names_is_not_waited_for() {
    let (stage, disk) = with_files();
    let alice = key(&stage, "alice", &["ed25519"]);
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    allow(&stage, &[("alice", "")]);
    let policy = policy(&stage, 1, "");
    stage.run(["trust", "begin"]).code(0);
    std::fs::remove_file(root_of(&disk, 3).with_file_name("custody")).unwrap();
    let (socket, mountpoint) = (stage.path("snapshotter.sock"), stage.path("m"));
    std::fs::create_dir(&mountpoint).unwrap();
    let args = [
        "serve",
        &disk,
        "--listen",
        "127.0.0.1:0",
        "--policy",
        &policy,
        "--snapshotter",
        socket.to_str().unwrap(),
        "--mount",
        mountpoint.to_str().unwrap(),
    ];
    let mut child = stage.command(args).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(stage::wait(&mut child, std::time::Duration::from_secs(60)), 3);
}

#[test]
fn damage_to_custody_breaks_its_chain_by_name() {
    let (stage, disk) = with_files();
    let alice = key(&stage, "alice", &["ed25519"]);
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    let record = Path::new(&disk).join("generations/000002/custody");
    let text = std::fs::read_to_string(&record).unwrap();
    for (bytes, says) in [
        (text.replace("who ", "who x"), "does not match"),
        (text[..text.len() - 3].to_owned(), "generations/000002/custody"),
        (text.replace('\n', "\r\n"), "carriage return"),
    ] {
        std::fs::write(&record, bytes).unwrap();
        stage
            .run(["log", &disk])
            .code(3)
            .says(says)
            .says("the chain is broken");
    }
    std::fs::remove_file(&record).unwrap();
    stage.run(["log", &disk]).code(3).says("missing");
    std::fs::write(&record, &text).unwrap();
    stage.run(["log", &disk]).code(0).says("the chain is whole");
}

/// The bytes of an SSH string.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn raw_signature<K: ssh_key::SigningKey>(key: &K, bytes: &[u8]) -> Vec<u8> {
    key.try_sign(bytes).unwrap().as_bytes().to_vec()
}

/// What a FIDO authenticator does with an ed25519 key, in software (PROTOCOL.u2f and PROTOCOL.sshsig): its public key as OpenSSH writes it, and a signature
/// of a ROOT with these flags, which are said to be `said`.
fn by_authenticator(key: &str, root: &[u8], flags: u8, said: u8) -> (String, String) {
    let key = ssh_key::PrivateKey::from_openssh(std::fs::read_to_string(key).unwrap()).unwrap();
    let public = key.public_key().key_data().ed25519().unwrap().0;
    let kind = b"sk-ssh-ed25519@openssh.com";
    let blob = [string(kind), string(&public), string(b"ssh:")].concat();
    let hash = |bytes: &[u8]| holdall::ids::Sha256::of(bytes).as_bytes().to_vec();
    let of_root = sh_hash512(root);
    let to_sign = [
        b"SSHSIG".to_vec(),
        string(b"holdall-root@v1"),
        string(b""),
        string(b"sha512"),
        string(&of_root),
    ]
    .concat();
    let counter = 7_u32.to_be_bytes();
    let seen = [hash(b"ssh:"), vec![flags], counter.to_vec(), hash(&to_sign)].concat();
    let signature = [
        string(kind),
        string(&raw_signature(&key, &seen)),
        vec![said],
        counter.to_vec(),
    ]
    .concat();
    let sshsig = [
        b"SSHSIG".to_vec(),
        1_u32.to_be_bytes().to_vec(),
        string(&blob),
        string(b"holdall-root@v1"),
        string(b""),
        string(b"sha512"),
        string(&signature),
    ]
    .concat();
    let lines: Vec<String> = base64(&sshsig)
        .as_bytes()
        .chunks(70)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    (
        format!("sk-ssh-ed25519@openssh.com {} fido\n", base64(&blob)),
        format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            lines.join("\n")
        ),
    )
}

fn sh_hash512(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha512::digest(bytes).to_vec()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_fido_key_counts_as_far_as_its_authenticator_vouches_for_somebody() {
    let (stage, disk) = with_files();
    let alice = key(&stage, "alice", &["ed25519"]);
    stage.run(["seal", &disk, "--key", &alice]).code(0);
    let root = std::fs::read(root_of(&disk, 3)).unwrap();
    let soft = key(&stage, "soft", &["ed25519"]);
    stage.run(["trust", "begin"]).code(0);
    let policy_file = stage.path("policy.toml").to_str().unwrap().to_owned();
    let with = ["verify", &disk, "--signatures", "--policy", &policy_file];
    for (flags, wanted, code) in [
        (0_u8, "", 0),
        (0, "presence = \"present\"", 6),
        (1, "presence = \"present\"", 0),
        (1, "presence = \"verified\"", 6),
        (5, "presence = \"verified\"", 0),
        (4, "presence = \"verified\"", 6),
        (4, "presence = \"present\"", 6),
    ] {
        let (public, armored) = by_authenticator(&soft, &root, flags, flags);
        std::fs::write(stage.path("soft.pub"), &public).unwrap();
        let file = root_of(&disk, 3).with_file_name("ROOT.soft.sig");
        std::fs::write(&file, &armored).unwrap();
        allow(&stage, &[("soft", "")]);
        policy(&stage, 1, wanted);
        let said = stage.run(with).code(code);
        if code == 6 {
            said.says("the policy wants a FIDO key");
        }
        // Stock OpenSSH holds it to be one as well, and leaves the flags to who asks.
        assert!(openssh_says(&stage, &disk, 3, "soft"), "{flags}");
        // Flags are signed: said to be others, they make it no signature.
        let (_, forged) = by_authenticator(&soft, &root, flags, flags ^ 4);
        std::fs::write(&file, &forged).unwrap();
        stage.run(with).code(6).says("not a signature of this ROOT");
    }
}
