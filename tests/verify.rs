//! `holdall verify` beyond damage itself: samples, stopped runs that are gone on with, and the report to keep.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test fails by panicking, and makes and damages files of its own"
)]

mod stage;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use stage::{Layout, Said, Stage, noise, sh, wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A disk of so many packs, each with one file of so many bytes.
fn with_packs(packs: u64, bytes: usize) -> Stage {
    let stage = Stage::new();
    stage.init();
    for n in 0..packs {
        let path = stage.path(&format!("file-{n}"));
        std::fs::write(&path, noise(bytes, n)).unwrap();
        stage.add(&[format!("file:{}", path.display())]).code(0);
    }
    stage
}

fn verify(stage: &Stage, args: &[&str]) -> Said {
    let disk = stage.disk();
    let all = ["verify", disk.to_str().unwrap()]
        .into_iter()
        .chain(args.iter().copied());
    stage.run(all)
}

fn pack(stage: &Stage, number: u32) -> PathBuf {
    stage.disk().join(format!("packs/{number:06}.pack"))
}

/// Turns one bit of a file; the same again turns it back.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The journal of the only disk.
fn journal(stage: &Stage) -> Option<PathBuf> {
    let folder = std::fs::read_dir(stage.path("state/verify")).ok()?;
    folder.map(|entry| entry.unwrap().path()).next()
}

fn lines(stage: &Stage, what: &str) -> usize {
    let text = journal(stage).and_then(|path| std::fs::read(path).ok());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    text.matches(what).count()
}

/// Starts a check and waits until it has kept so many lines with that in them.
#[track_caller]
fn start_until(stage: &Stage, args: &[&str], what: &str, count: usize) -> Child {
    let disk = stage.disk();
    let all = ["verify", disk.to_str().unwrap()]
        .into_iter()
        .chain(args.iter().copied());
    let mut command = stage.command(all);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while lines(stage, what) < count {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it came to its end first: {ended:?}");
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[track_caller]
fn killed(stage: &Stage, args: &[&str], what: &str, count: usize) {
    let mut child = start_until(stage, args, what, count);
    send(&child, Signal::SIGKILL);
    child.wait().unwrap();
}

#[test]
fn a_sample_says_its_seed_and_is_drawn_again_by_it() {
    let stage = with_packs(3, 4_000_000);
    let said = verify(&stage, &["--sample", "5", "--json"]).code(0).json();
    let sample = &said["sample"];
    assert_eq!(sample["drawn"], 5);
    assert_eq!(said["frames"], 5);
    assert!(sample["frames"].as_u64().unwrap() > 10, "{said}");
    // Nothing found in a sample is not the same as whole.
    assert_eq!(said["whole"], Value::Null);
    let seed = sample["seed"].as_u64().unwrap();
    assert!(seed < 1 << 53);
    let again = verify(&stage, &["--sample", "5", "--seed", &seed.to_string(), "--json"])
        .code(0)
        .json();
    assert_eq!(again["sample"], *sample);
    let text = verify(&stage, &["--sample", "5", "--seed", "7"]).code(0);
    let text = text
        .says("--seed 7")
        .says("95 % confidence fewer than")
        .says("no damage in what was checked");
    assert!(!text.out.contains(": whole"), "{}", text.out);
    verify(&stage, &["--sample", "5", "--seed", "7", "-q"])
        .code(0)
        .says("--seed 7");
    let all = verify(&stage, &["--sample", "100000", "--json"]).code(0).json();
    assert_eq!(all["sample"]["drawn"], all["sample"]["frames"]);
    assert_eq!(all["sample"]["fewer_than"], 1);
    assert!(journal(&stage).is_none(), "a sample keeps no state");
}

#[test]
fn a_sample_finds_damage_where_it_is_drawn_and_always_in_what_holds_the_disk_together() {
    let stage = with_packs(2, 6_000_000);
    let frames = verify(&stage, &["--sample", "1", "--json"]).code(0).json()["sample"]["frames"]
        .as_u64()
        .unwrap();
    flip(&pack(&stage, 1), 3_000_000);
    let (mut found, mut missed) = (0, 0);
    for seed in 0..40_u32 {
        let said = verify(
            &stage,
            &[
                "--sample",
                &(frames / 4).to_string(),
                "--seed",
                &seed.to_string(),
                "--json",
            ],
        );
        let json = said.json();
        match said.code {
            3 => {
                assert_eq!(
                    (&json["whole"], &json["sample"]["damaged"]),
                    (&json!(false), &json!(1))
                );
                assert!(
                    json["damages"][0]
                        .as_str()
                        .unwrap()
                        .contains("packs/000001.pack at")
                );
                assert_eq!(json["damaged_files"], json!(["file-0"]));
                assert!(json["sample"]["proves"].as_str().unwrap().contains("1 of the"));
                found += 1;
            }
            0 => missed += 1,
            code => panic!("{code}: {}", said.err),
        }
    }
    // A quarter of the frames: 10 of 40 are expected to find it.
    assert!(
        (2..=24).contains(&found) && missed > 0,
        "found {found} times, missed {missed}"
    );
    verify(&stage, &["--sample", &frames.to_string()])
        .code(3)
        .says("file-0");
    flip(&pack(&stage, 1), 3_000_000);

    for (file, at) in [
        ("generations/000003/catalogue", 200),
        ("generations/000003/packs", 20),
        ("packs/000002.pack", 10),
        ("superblock.0", 20),
    ] {
        let path = stage.disk().join(file);
        flip(&path, at);
        verify(&stage, &["--sample", "1"]).code(3).says(file);
        flip(&path, at);
    }
    let path = pack(&stage, 2);
    let len = std::fs::metadata(&path).unwrap().len() as usize;
    flip(&path, len - 10);
    verify(&stage, &["--sample", "1"])
        .code(3)
        .says("packs/000002.pack");
    flip(&path, len - 10);
    std::fs::rename(&path, stage.path("away")).unwrap();
    verify(&stage, &["--sample", "1"])
        .code(3)
        .says("packs/000002.pack: missing");
}

#[test]
fn what_makes_no_sense_together_is_not_understood() {
    let stage = with_packs(1, 1000);
    for args in [
        &["--sample", "5", "--full"][..],
        &["--sample", "5", "--resume"],
        &["--sample", "0"],
        &["--seed", "5"],
        &["--report", "report.pdf"],
        &["--report", "report"],
    ] {
        verify(&stage, args).code(2);
    }
}

#[test]
fn a_killed_check_is_gone_on_with_and_says_what_it_did_not_read() {
    let stage = with_packs(6, 24_000_000);
    verify(&stage, &["--resume"])
        .code(0)
        .says("no stopped run of this disk in this mode is kept");
    killed(&stage, &["--full"], "{\"pack\":", 2);
    // What is kept says what was read, and not what the disk is now: damage that came later is not looked for there.
    let kept: Vec<u32> = (1..=6)
        .filter(|n| lines(&stage, &format!("\"number\":{n},")) > 0)
        .collect();
    let path = pack(&stage, kept[0]);
    flip(&path, 12_000_000);
    let said = verify(&stage, &["--full", "--resume", "--json"]);
    let json = said.json();
    let resumed = &json["resumed"];
    assert!(
        resumed["packs"].as_u64().unwrap() >= 2 && resumed["packs"].as_u64().unwrap() <= 6,
        "{json}"
    );
    assert!(resumed["pack_bytes"].as_u64().unwrap() > 40_000_000);
    assert_eq!(json["packs"], 6);
    flip(&path, 12_000_000);
    // The files in those packs were read in any case, so that --full met the damage there, unless they were kept too.
    if said.code == 3 {
        assert_eq!(json["damages"].as_array().unwrap().len(), 1, "{json}");
        assert!(json["damages"][0].as_str().unwrap().starts_with("files/"));
    } else {
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert!(journal(&stage).is_none(), "it is taken away at the end");
    killed(&stage, &[], "{\"pack\":", 1);
    verify(&stage, &["--resume"])
        .code(0)
        .says("taken over: ")
        .says("they were not read again")
        .says("whole");
    killed(&stage, &[], "{\"pack\":", 1);
    let anew = verify(&stage, &["--json"]).code(0).json();
    assert!(
        anew.get("resumed").is_none(),
        "without --resume it starts from the beginning"
    );
}

#[test]
fn damage_that_was_found_before_is_in_the_report_though_it_is_not_read_again() {
    let stage = with_packs(6, 24_000_000);
    flip(&pack(&stage, 1), 5_000_000);
    let whole = verify(&stage, &["--json"]).code(3).json();
    let mut child = start_until(&stage, &[], "\"number\":1,", 1);
    send(&child, Signal::SIGTERM);
    let code = wait(&mut child, Duration::from_secs(30));
    assert!(code == 130 || code == 3, "{code}");
    if code == 3 {
        eprintln!("SKIPPED: the check had come to its end before the signal reached it");
        return;
    }
    flip(&pack(&stage, 1), 5_000_000);
    let said = verify(&stage, &["--resume", "--json"]).code(3).json();
    assert_eq!(said["damages"], whole["damages"]);
    assert_eq!(said["damaged_files"], whole["damaged_files"]);
    verify(&stage, &[]).code(0).says("whole");
}

#[test]
fn an_interrupted_check_says_how_to_go_on() {
    let stage = with_packs(6, 24_000_000);
    let child = start_until(&stage, &["--full"], "{\"pack\":", 1);
    send(&child, Signal::SIGINT);
    let said = Said::from(child.wait_with_output().unwrap());
    let said = said.code(130).says("--resume goes on with it");
    assert!(said.err.contains("interrupted"), "{}", said.err);
    verify(&stage, &["--full", "--resume"])
        .code(0)
        .says("taken over: ");
}

#[test]
fn parts_of_the_catalogue_and_derived_trees_are_taken_over_too() {
    let Some(corpus) = stage::corpus() else { return };
    let stage = Stage::new();
    stage.init();
    stage
        .add(&[
            format!("oci:{}", corpus.join("oci").display()),
            "--level".to_owned(),
            "fast".to_owned(),
        ])
        .code(0);
    killed(&stage, &["--full"], "{\"parts\":", 2);
    let said = verify(&stage, &["--full", "--resume", "--json"]).code(0).json();
    let resumed = &said["resumed"];
    assert_eq!(resumed["packs"], said["packs"]);
    assert!(resumed["contents"].as_u64().unwrap() > 0, "{resumed}");
    assert_eq!(said["whole"], true);
    let whole = verify(&stage, &["--full", "--json"]).code(0).json();
    for key in ["derived", "files", "catalogue_entries", "frames", "stored_bytes"] {
        assert_eq!(said[key], whole[key], "{key}");
    }
}

#[test]
fn what_was_kept_of_another_check_is_told_and_not_used() {
    let stage = with_packs(5, 24_000_000);
    killed(&stage, &[], "{\"pack\":", 1);
    verify(&stage, &["--full", "--resume"])
        .code(0)
        .says("no stopped run of this disk in this mode is kept");
    killed(&stage, &[], "{\"pack\":", 1);
    let file = stage.path("more");
    std::fs::write(&file, b"more").unwrap();
    stage.add(&[format!("file:{}", file.display())]).code(0);
    let said = verify(&stage, &["--resume"])
        .code(0)
        .says("is not used: it is of ROOT");
    assert!(!said.out.contains("taken over"));
    killed(&stage, &[], "{\"pack\":", 1);
    let kept = journal(&stage).unwrap();
    flip(&kept, 100);
    let said = verify(&stage, &["--resume"])
        .code(0)
        .says("line 1 of it is damaged");
    assert!(!said.out.contains("taken over"));
    assert!(journal(&stage).is_none());
}

#[test]
fn a_disk_that_was_pulled_is_not_called_damaged_and_is_gone_on_with() {
    let stage = with_packs(6, 24_000_000);
    let child = start_until(&stage, &["--full"], "{\"pack\":", 1);
    std::fs::rename(stage.disk(), stage.path("away")).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    std::fs::rename(stage.path("away"), stage.disk()).unwrap();
    let said = said
        .code(1)
        .says("ROOT: missing")
        .says("--resume goes on with it");
    assert!(!said.out.contains("damaged"), "{}", said.out);
    verify(&stage, &["--full", "--resume"])
        .code(0)
        .says("taken over: ")
        .says("whole");
}

#[test]
fn what_could_not_be_read_is_tried_again() {
    let stage = with_packs(3, 2_000_000);
    std::fs::rename(pack(&stage, 2), stage.path("away")).unwrap();
    let said = verify(&stage, &["--json"]).code(3);
    assert_eq!(said.json()["unreadable"], true);
    assert!(journal(&stage).is_some());
    std::fs::rename(stage.path("away"), pack(&stage, 2)).unwrap();
    let said = verify(&stage, &["--resume", "--json"]).code(0).json();
    assert_eq!(
        (&said["resumed"]["packs"], &said["whole"]),
        (&json!(2), &json!(true))
    );
}

#[test]
fn two_checks_at_once_do_not_share_a_journal() {
    let stage = with_packs(6, 24_000_000);
    let child = start_until(&stage, &["--full"], "{\"pack\":", 1);
    send(&child, Signal::SIGSTOP);
    verify(&stage, &["--full"]).code(0).says("whole");
    verify(&stage, &["--full", "--resume"])
        .code(4)
        .says("another verify");
    // Of the other mode nothing is kept, and nothing lost.
    verify(&stage, &[]).code(0).says("whole");
    send(&child, Signal::SIGCONT);
    Said::from(child.wait_with_output().unwrap()).code(0);
}

#[test]
fn without_a_state_folder_it_is_checked_all_the_same() {
    let stage = with_packs(1, 1000);
    let disk = stage.disk();
    let run = |more: &[&str]| {
        let mut command = stage.command(["verify", disk.to_str().unwrap()].iter().chain(more));
        Said::from(command.env("HOLDALL_STATE", "/proc/nowhere").output().unwrap())
    };
    run(&[]).code(0).says("whole").says("--resume will not be able");
    run(&["--resume"]).code(1);
}

const BAD_NAMES: [&str; 5] = [
    "<script>alert(1)<_script>",
    "\"><img src=x onerror=alert(1)>&amp;",
    "line\nbreak\x1b[2Jand bell\x07",
    "a\u{202e}gpj.exe",
    "' onmouseover='x",
];

/// A disk of images for two platforms with a signature, an SBOM, an attestation and a scan's report, hostile names, and
/// more loose files than a report lists.
fn rich() -> Stage {
    let stage = Stage::new();
    let disk = stage.disk();
    let series = "</title><script src=\"http://evil.example/x.js\"></script>";
    let args = [
        "init",
        disk.to_str().unwrap(),
        "--series",
        series,
        "--origin",
        "Bad & Sons <b>Ltd</b>",
    ];
    stage.run(args).code(0);
    let mut layout = Layout::new(stage.path("oci"));
    let children = ["amd64", "arm64"].map(|cpu| {
        let mut child = layout.manifest_for(cpu, &noise(100_000, 1), json!({}));
        child["platform"] = json!({"os": "linux", "architecture": cpu});
        child
    });
    let index = layout.index_of(&children);
    let subject = json!({"mediaType": index["mediaType"], "digest": index["digest"], "size": index["size"]});
    let digest = layout.list(index, Some("docker.io/acme/api:1.2"));
    for (text, artifact) in [
        ("the sbom", "application/spdx+json"),
        ("a scan", "application/sarif+json"),
        ("a statement", "application/vnd.in-toto+json"),
        ("who knows", "<svg onload=alert(1)>"),
    ] {
        let manifest = layout.manifest(
            text.as_bytes(),
            json!({"subject": subject, "artifactType": artifact}),
        );
        layout.list(manifest, None);
    }
    let signature = layout.manifest(b"a signature", json!({}));
    layout.list(
        signature,
        Some(&format!("docker.io/acme/api:{}.sig", digest.replace(':', "-"))),
    );
    let other = layout.manifest(&noise(50_000, 2), json!({}));
    layout.list(other, Some("docker.io/acme/other:1"));
    let loose = stage.path("loose");
    std::fs::create_dir_all(loose.join("many")).unwrap();
    for name in BAD_NAMES {
        std::fs::write(loose.join(name), name).unwrap();
    }
    for n in 0..1_100 {
        std::fs::write(loose.join(format!("many/{n:04}")), n.to_string()).unwrap();
    }
    let dir = format!("dir:{}", loose.display());
    stage.add(&[layout.source(), dir]).code(0);
    stage
}

/// Parses a page strictly: every element is closed, and nothing in it is loaded from anywhere or run. Prints its text.
const PARSE: &str = r#"
import re, sys
from html.parser import HTMLParser
VOID = {"meta", "br", "hr", "wbr"}
ALLOWED = set("html head title meta style body header main section footer h1 h2 h3 p div span b code pre table thead tbody tr th td ul li".split())
class Page(HTMLParser):
    def __init__(self):
        super().__init__(); self.open = []; self.text = []; self.titles = 0
    def handle_starttag(self, tag, attrs):
        assert tag in ALLOWED | VOID, tag
        for name, value in attrs:
            assert name in ("class", "lang", "charset", "content", "name", "http-equiv", "scope", "colspan"), (tag, name, value)
        if tag not in VOID: self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())
    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            assert not re.search(r"url\(|@import|expression|</", data), data
        else: self.text.append(data)
page = Page()
source = open(sys.argv[1], encoding="utf-8", newline="").read()
page.feed(source); page.close()
assert source.startswith("<!DOCTYPE html>") and page.open == [], page.open
assert not [c for c in source if (ord(c) < 32 and c != "\n") or ord(c) in range(0x202a, 0x202f)], "control characters"
sys.stdout.write("".join(page.text))
"#;

fn parsed(stage: &Stage, page: &Path) -> String {
    let script = stage.path("parse.py");
    std::fs::write(&script, PARSE).unwrap();
    sh(&format!("python3 '{}' '{}'", script.display(), page.display()))
}

#[test]
fn the_report_is_one_page_that_loads_nothing_whatever_the_disk_calls_its_things() {
    let stage = rich();
    let page = stage.path("report.html");
    let (json_file, text_file) = (stage.path("report.json"), stage.path("report.txt"));
    let report = |path: &Path| ["--report".to_owned(), path.to_str().unwrap().to_owned()];
    let args: Vec<String> = [&page, &json_file, &text_file]
        .iter()
        .flat_map(|path| report(path))
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["--full"]).collect();
    verify(&stage, &args).code(0).says("report written to");
    let shown = parsed(&stage, &page);
    let source = std::fs::read_to_string(&page).unwrap();
    for evil in ["<script", "<img", "<svg", "<b>Ltd"] {
        assert!(!source.contains(evil), "{evil}");
    }
    let root = stage
        .run(["info", "--json", stage.disk().to_str().unwrap()])
        .json()["root"]
        .as_str()
        .unwrap()
        .to_owned();
    for text in [
        "Whole",
        &root,
        "</title><script src=\"http://evil.example/x.js\"></script>",
        "Bad & Sons <b>Ltd</b>",
        "docker.io/acme/api:1.2",
        "linux/amd64",
        "linux/arm64",
        "signature",
        "by cosign's tag",
        "SBOM",
        "scan report",
        "attestation",
        "<svg onload=alert(1)>",
        "<script>alert(1)<_script>",
        "line\\nbreak\\u{1b}[2Jand bell\\u{7}",
        "\\u{202e}gpj.exe",
        "The first 1000 are listed; 105 more are not.",
        "None checked.",
        "Checked by",
        "catalogue ",
    ] {
        assert!(shown.contains(text), "{text:?} is not in:\n{shown}");
    }
    // The signature's own tag is no image of its own.
    assert_eq!(shown.matches(".sig").count(), 0);

    let json: Value = serde_json::from_slice(&std::fs::read(&json_file).unwrap()).unwrap();
    let api = &json["contents"]["images"][0];
    assert_eq!(
        (&api["name"], &api["platforms"][1]["platform"]),
        (&json!("docker.io/acme/api:1.2"), &json!("linux/arm64"))
    );
    let kinds: Vec<&str> = api["about"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["signature", "attestation", "SBOM", "scan report", "other"]
    );
    assert_eq!(json["contents"]["file_count"], 1_105);
    assert_eq!(json["contents"]["files"].as_array().unwrap().len(), 1_000);
    assert_eq!(json["run"]["mode"], "full");
    assert!(
        json["disk"]["root_text"]
            .as_str()
            .unwrap()
            .starts_with("holdall v1\n")
    );

    let text = std::fs::read_to_string(&text_file).unwrap();
    for part in [
        "WHOLE",
        "WHAT WAS CHECKED",
        "docker.io/acme/api:1.2",
        "scan report about sha256:",
        "none checked",
        "signature ____",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
}

#[test]
fn a_report_of_damage_names_it() {
    let stage = rich();
    let packed = pack(&stage, 1);
    flip(&packed, 100_000);
    let page = stage.path("report.html");
    verify(&stage, &["--report", page.to_str().unwrap()]).code(3);
    let shown = parsed(&stage, &page);
    for text in [
        "Damaged",
        "packs/000001.pack at",
        "Images that it touches",
        "docker.io/acme/",
    ] {
        assert!(shown.contains(text), "{text:?} is not in:\n{shown}");
    }
    flip(&packed, 100_000);
    let page = stage.path("sample.html");
    verify(
        &stage,
        &["--sample", "2", "--seed", "9", "--report", page.to_str().unwrap()],
    )
    .code(0);
    let shown = parsed(&stage, &page);
    for text in ["No damage in the sample", "drawn by seed 9", "95 % confidence"] {
        assert!(shown.contains(text), "{text:?} is not in:\n{shown}");
    }
}

#[test]
fn a_report_is_never_written_to_the_disk_and_a_place_that_cannot_be_is_told_at_once() {
    let stage = with_packs(1, 1000);
    let notice = stage.disk().join("HOLDALL.txt");
    let before = std::fs::read(&notice).unwrap();
    verify(&stage, &["--report", notice.to_str().unwrap()])
        .code(4)
        .says("on the disk being checked");
    assert_eq!(std::fs::read(&notice).unwrap(), before);
    let nowhere = stage.path("nowhere/report.html");
    let said = verify(&stage, &["--report", nowhere.to_str().unwrap()])
        .code(1)
        .says("nowhere");
    assert!(!said.out.contains("whole"));
    let page = stage.path("report.html");
    std::fs::write(&page, "an older one").unwrap();
    verify(&stage, &["--report", page.to_str().unwrap(), "-q"]).code(0);
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .contains("Verification report")
    );
}

#[test]
fn a_browser_prints_the_report() {
    let found = ["chromium", "google-chrome", "chromium-browser"]
        .into_iter()
        .find(|name| {
            let which = Command::new("which")
                .arg(name)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            which.is_ok_and(|status| status.success())
        });
    let Some(browser) = found else {
        eprintln!(
            "SKIPPED: neither chromium nor google-chrome is installed: the report is not printed by a browser"
        );
        return;
    };
    let stage = rich();
    let page = stage.path("report.html");
    verify(&stage, &["--report", page.to_str().unwrap()]).code(0);
    let (pdf, picture) = (stage.path("report.pdf"), stage.path("report.png"));
    let run = |what: &str| {
        let script = format!(
            "timeout 120 {browser} --headless --no-sandbox --disable-gpu --user-data-dir='{}' --no-pdf-header-footer {what} 'file://{}' 2>&1",
            stage.path("browser").display(),
            page.display()
        );
        sh(&script)
    };
    run(&format!("--print-to-pdf='{}'", pdf.display()));
    run(&format!(
        "--window-size=900,1200 --screenshot='{}'",
        picture.display()
    ));
    assert!(std::fs::read(&pdf).unwrap().starts_with(b"%PDF-"));
    let picture = std::fs::read(&picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000);
    if let Some(folder) = std::env::var_os("HOLDALL_KEEP_REPORT") {
        std::fs::copy(&page, Path::new(&folder).join("rich.html")).unwrap();
    }
}

#[test]
fn a_part_that_is_missing_is_damage_and_info_lists_what_can_be_opened() {
    let stage = with_packs(2, 50_000);
    let disk = stage.disk();
    let disk = disk.to_str().unwrap();
    let out = stage.path("out");
    for part in ["catalogue", "packs", "custody"] {
        let path = stage.disk().join(format!("generations/000003/{part}"));
        std::fs::rename(&path, stage.path("away")).unwrap();
        verify(&stage, &[]).code(3).says(part);
        if part == "catalogue" {
            for args in [
                &["ls", disk][..],
                &["info", disk],
                &["cat", disk, "files/file-0"],
                &["extract", disk, "files/file-0", out.to_str().unwrap()],
                &["verify", "--signatures", disk],
            ] {
                stage
                    .run(args)
                    .code(3)
                    .says("catalogue: missing")
                    .says("holdall info -v");
            }
            stage
                .run(["info", "-v", disk])
                .code(3)
                .says("has          2, open, written ")
                .says(": opened by --generation 2")
                .says(": cannot be opened: ");
            stage.run(["ls", "--generation", "2", disk]).code(0);
        }
        if part == "custody" {
            verify(&stage, &["--signatures"]).code(3).says("custody: missing");
        }
        std::fs::rename(stage.path("away"), &path).unwrap();
    }
    // A generation that never was is not damage, and a folder without a disk stays what it is.
    stage
        .run(["ls", "--generation", "9", disk])
        .code(1)
        .says("there is no generation 9, only 1, 2, 3");
    let root = stage.disk().join("generations/000003/ROOT");
    let kept = std::fs::read_to_string(&root).unwrap();
    std::fs::write(&root, kept.replacen("epoch 1", "epoch 2", 1)).unwrap();
    stage
        .run(["info", "-v", disk])
        .says("cannot be opened: its ROOT is not the one that was committed");
    std::fs::write(&root, kept).unwrap();
    for slot in ["superblock.0", "superblock.1"] {
        std::fs::remove_file(stage.disk().join(slot)).unwrap();
    }
    for verb in ["ls", "info", "verify"] {
        stage
            .run([verb, disk])
            .code(3)
            .says("both slots of the superblock are missing, though generations/ is here")
            .says("--generation: 1, 2, 3");
    }
    stage
        .run(["ls", "--generation", "3", disk])
        .code(0)
        .says("file-1");
    let empty = stage.path("empty");
    std::fs::create_dir(&empty).unwrap();
    stage
        .run(["ls", empty.to_str().unwrap()])
        .code(4)
        .says("no Holdall disk is here");
}

#[test]
fn one_frame_whose_damage_is_named_many_times_is_counted_once() {
    let stage = with_packs(1, 50_000);
    flip(&pack(&stage, 1), 20_000);
    let said = verify(&stage, &["--full"]).code(3);
    assert!(
        said.out.starts_with("1 frame damaged; 0 images touched\n"),
        "{}",
        said.out
    );
    assert_eq!(
        verify(&stage, &["--full", "--json"]).code(3).json()["damaged_frames"],
        1
    );
}
