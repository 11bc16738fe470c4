//! `holdall diff`: what tells two disks or two generations apart, and nothing where nothing does.
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

use serde_json::{Value, json};
use stage::{Layout, Said, Stage, noise};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

fn init(stage: &Stage, name: &str) -> String {
    let disk = stage.path(name).to_str().unwrap().to_owned();
    stage.run(["init", &disk]).code(0);
    disk
}

fn add(stage: &Stage, disk: &str, args: &[&str]) {
    stage.run(["add", disk].iter().chain(args)).code(0);
}

fn diff(stage: &Stage, args: &[&str]) -> Said {
    stage.run(["diff"].iter().chain(args))
}

/// A layout with these images, each of one layer of noise by that seed.
fn layout(stage: &Stage, name: &str, images: &[(&str, u64)]) -> String {
    let mut layout = Layout::new(stage.path(name));
    for (name, seed) in images {
        let manifest = layout.manifest(&noise(100_000, *seed), json!({}));
        layout.list(manifest, Some(name));
    }
    layout.source()
}

#[test]
fn images_that_came_went_and_moved_are_told_with_their_new_layers() {
    let stage = Stage::new();
    let (a, b) = (init(&stage, "a"), init(&stage, "b"));
    let before = layout(
        &stage,
        "before",
        &[
            ("docker.io/x/gone:1", 1),
            ("docker.io/x/moves:1", 2),
            ("docker.io/x/stays:1", 3),
        ],
    );
    let after = layout(
        &stage,
        "after",
        &[
            ("docker.io/x/moves:1", 4),
            ("docker.io/x/new:1", 5),
            ("docker.io/x/stays:1", 3),
            ("docker.io/x/second:1", 1),
        ],
    );
    add(&stage, &a, &[&before]);
    add(&stage, &b, &[&after]);
    let text = diff(&stage, &[&a, &b]).code(0);
    let images: Vec<&str> = text
        .out
        .lines()
        .filter(|line| line.contains(" image  "))
        .map(|line| &line[..27])
        .collect();
    assert_eq!(
        images,
        [
            "- image  docker.io/x/gone:1",
            "~ image  docker.io/x/moves:",
            "+ image  docker.io/x/new:1 ",
            "+ image  docker.io/x/second"
        ]
    );
    let text = text
        .says("new layer sha256:")
        .says("100.00 kB")
        .says("blobs")
        .says("packs: ");
    assert!(!text.out.contains("stays"), "{}", text.out);
    let said = diff(&stage, &["--json", &a, &b]).code(0).json();
    assert_eq!(said["differ"], true);
    let moved = said["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["change"] == "changed")
        .unwrap();
    assert_eq!(moved["new_layers"][0]["bytes"], 100_000);
    assert_eq!(moved["new_layers"][0]["known"], false);
    // Manifest, config and layer of two images each; the third came from the other one.
    assert_eq!(said["blobs"]["added"]["count"], 6);
    assert_eq!(said["blobs"]["removed"]["count"], 3);
    diff(&stage, &["--exit-code", &a, &b]).code(1);
    diff(&stage, &["--exit-code", &a, &a])
        .code(0)
        .says("nothing differs");
    let back = diff(&stage, &["--json", &b, &a]).code(0).json();
    assert_eq!(back["blobs"]["removed"], said["blobs"]["added"]);
    assert_eq!(back["blobs"]["added"], said["blobs"]["removed"]);
}

#[test]
fn generations_of_one_disk_are_compared() {
    let stage = Stage::new();
    let disk = init(&stage, "disk");
    add(
        &stage,
        &disk,
        &[&layout(
            &stage,
            "one",
            &[("docker.io/x/a:1", 1), ("docker.io/x/b:1", 2)],
        )],
    );
    add(
        &stage,
        &disk,
        &["--replace", &layout(&stage, "two", &[("docker.io/x/a:1", 2)])],
    );
    let generations = diff(&stage, &["--json", &disk, "--from", "2"]).code(0).json();
    assert_eq!(
        (
            &generations["before"]["generation"],
            &generations["after"]["generation"]
        ),
        (&json!(2), &json!(3))
    );
    let images = generations["images"].as_array().unwrap();
    assert_eq!(images.len(), 1, "{images:?}");
    // Its layer is another image's, which the disk had.
    assert_eq!(
        (&images[0]["change"], &images[0]["new_layers"][0]["known"]),
        (&json!("changed"), &json!(true))
    );
    assert_eq!(generations["blobs"]["added"]["count"], 0);
    diff(&stage, &[&disk, "--from", "1", "--to", "2"])
        .code(0)
        .says("+ image  docker.io/x/b:1");
    diff(&stage, &["--exit-code", &disk, "--from", "3", "--to", "3"]).code(0);
    diff(&stage, &[&disk]).code(2);
    diff(&stage, &[&disk, "--from", "9"]).code(1);
    diff(&stage, &[&disk, "/nowhere"]).code(1);
}

#[test]
fn disks_with_the_same_on_them_do_not_differ_however_they_were_written() {
    let stage = Stage::new();
    let (a, b) = (init(&stage, "a"), init(&stage, "b"));
    let folder = stage.path("folder");
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    std::fs::write(folder.join("deep/er/file"), noise(300_000, 1)).unwrap();
    std::fs::write(folder.join("other"), noise(900_000, 2)).unwrap();
    std::fs::hard_link(folder.join("other"), folder.join("second-name")).unwrap();
    let dir = format!("dir:{}", folder.display());
    let images = layout(
        &stage,
        "images",
        &[("docker.io/x/a:1", 1), ("docker.io/x/b:1", 2)],
    );
    add(&stage, &a, &[&dir]);
    add(&stage, &a, &[&images]);
    add(&stage, &b, &["--level", "max", &images, &dir]);
    let said = diff(&stage, &["--exit-code", &a, &b]).code(0);
    assert!(said.out.starts_with("nothing differs"), "{}", said.out);
}

#[test]
fn damage_in_the_way_is_named_and_ends_with_3() {
    let stage = Stage::new();
    let (a, b) = (init(&stage, "a"), init(&stage, "b"));
    add(&stage, &a, &[&layout(&stage, "one", &[("docker.io/x/a:1", 1)])]);
    add(&stage, &b, &[&layout(&stage, "two", &[("docker.io/x/a:1", 2)])]);
    let catalogue = Path::new(&b).join("generations/000002/catalogue");
    let mut bytes = std::fs::read(&catalogue).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&catalogue, bytes).unwrap();
    diff(&stage, &[&a, &b])
        .code(3)
        .says("generations/000002/catalogue");
}

/// What a folder holds, by path: all that counts of it.
fn listing(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode();
            let what = if metadata.is_dir() {
                waiting.push(path.clone());
                format!("folder {mode:o}")
            } else if metadata.is_symlink() {
                format!("link {:?}", std::fs::read_link(&path).unwrap())
            } else {
                format!("file {mode:o} {}", stage::sha256(&std::fs::read(&path).unwrap()))
            };
            found.insert(
                path.strip_prefix(top.parent().unwrap())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                what,
            );
        }
    }
    found
}

/// Makes a tree of some dozens of entries by that seed; two seeds have most in common.
fn make_tree(top: &Path, seed: u64) {
    let draw = noise(4096, seed);
    let mut made: Vec<PathBuf> = vec![top.to_owned()];
    std::fs::create_dir_all(top).unwrap();
    for n in 0..90_usize {
        // Most entries are the same whatever the seed.
        let varies = draw[n] < 40;
        let variant = if varies { draw[n + 100] % 5 } else { 0 };
        let parent = made[n * 7 % made.len()].clone();
        let path = parent.join(format!("{}{n}", ["a", "Z", "-", "é"][n % 4]));
        match (n % 3, variant) {
            (_, 4) => {}
            (0, 3) => std::fs::write(&path, b"now a file").unwrap(),
            (0, _) => {
                std::fs::create_dir_all(&path).unwrap();
                std::fs::set_permissions(
                    &path,
                    Permissions::from_mode(if variant == 2 { 0o700 } else { 0o755 }),
                )
                .unwrap();
                if n % 2 == 0 {
                    made.push(path);
                }
            }
            (1, 3) => symlink("elsewhere", &path).unwrap(),
            (_, variant) => {
                std::fs::write(&path, noise(n * 300, u64::from(variant) + n as u64)).unwrap();
                std::fs::set_permissions(
                    &path,
                    Permissions::from_mode(if variant == 2 { 0o600 } else { 0o644 }),
                )
                .unwrap();
            }
        }
    }
    // Times are of the moment they were made, and no part of what is compared.
    stage::sh(&format!(
        "find '{}' -exec touch -h -d @1700000000 {{}} +",
        top.display()
    ));
}

#[test]
fn files_that_differ_are_those_that_two_listings_differ_in() {
    let stage = Stage::new();
    for round in 0..12_u64 {
        let mut sides = Vec::new();
        for (side, seed) in [("a", round * 2), ("b", round * 2 + 1)] {
            let top = stage.path(&format!("{round}-{side}/tree"));
            make_tree(&top, seed);
            let disk = init(&stage, &format!("{round}-disk-{side}"));
            add(&stage, &disk, &[&format!("dir:{}", top.display())]);
            sides.push((disk, listing(&top)));
        }
        let ((a, before), (b, after)) = (&sides[0], &sides[1]);
        let mut expected = BTreeMap::new();
        for (path, what) in before {
            match after.get(path) {
                None => expected.insert(path.clone(), "removed"),
                Some(other) if other != what => expected.insert(path.clone(), "changed"),
                Some(_) => None,
            };
        }
        for path in after.keys().filter(|path| !before.contains_key(*path)) {
            expected.insert(path.clone(), "added");
        }
        let said = diff(&stage, &["--json", a, b]).code(0).json();
        let found: BTreeMap<String, &str> = said["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one["path"]
                        .as_str()
                        .unwrap()
                        .strip_prefix("files/")
                        .unwrap()
                        .to_owned(),
                    one["change"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expected, "round {round}");
        assert!(expected.len() > 3, "round {round} has hardly a difference");
        assert_eq!(
            found.len(),
            said["files"].as_array().unwrap().len(),
            "each is told once"
        );
        let same = diff(&stage, &["--json", "--exit-code", a, a]).code(0).json();
        assert_eq!(same["files"], Value::Array(Vec::new()));
    }
}

#[test]
fn of_a_file_it_is_told_whether_its_bytes_changed_or_only_what_is_said_of_it() {
    let stage = Stage::new();
    let disk = init(&stage, "disk");
    let file = stage.path("file");
    std::fs::write(&file, b"one").unwrap();
    let source = format!("file:{}", file.display());
    add(&stage, &disk, &[&source]);
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    add(&stage, &disk, &["--replace", &source]);
    std::fs::write(&file, b"three").unwrap();
    add(&stage, &disk, &["--replace", &source]);
    let last = stage.run(["info", "--json", &disk]).json()["generation"]
        .as_u64()
        .unwrap();
    let (first, second) = ((last - 2).to_string(), (last - 1).to_string());
    let metadata = diff(&stage, &["--json", &disk, "--from", &first, "--to", &second])
        .code(0)
        .json();
    assert_eq!(
        (&metadata["files"][0]["change"], &metadata["files"][0]["content"]),
        (&json!("changed"), &json!(false))
    );
    diff(&stage, &[&disk, "--from", &first, "--to", &second])
        .says("~ file   files/file  mode, owner, time or attributes");
    diff(&stage, &[&disk, "--from", &second])
        .says("~ file   files/file  3 B -> 5 B")
        .says("1 loose file (5 B) changed");
}
