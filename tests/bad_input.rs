//! Bad input and bad luck: each is named, the last generation stays whole, nothing wrong is served.
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

use serde_json::json;
use stage::{Layout, Stage, noise, sh, sha256, wait};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

/// A disk with one good image, and what its layout is.
fn with_one_image() -> (Stage, Layout) {
    let stage = Stage::new();
    stage.init();
    let mut layout = Layout::new(stage.path("good"));
    let manifest = layout.manifest(&noise(400_000, 1), json!({}));
    layout.list(manifest, Some("docker.io/acme/good:1"));
    stage.add(&[layout.source()]).code(0);
    (stage, layout)
}

#[track_caller]
fn assert_untouched(stage: &Stage, generation: u64) {
    assert_eq!(stage.generation(), generation);
    stage
        .run(["ls", stage.disk().to_str().unwrap()])
        .code(0)
        .says("docker.io/acme/good:1");
    stage.assert_whole();
}

#[test]
fn a_layout_blob_that_does_not_match_its_digest_is_named_and_nothing_is_committed() {
    let (stage, _) = with_one_image();
    let before = stage.generation();
    let layer = noise(300_000, 2);
    for (name, damage) in [("flipped", 0), ("short", 1), ("missing", 2), ("link", 3)] {
        let mut layout = Layout::new(stage.path(name));
        let manifest = layout.manifest(&layer, json!({}));
        layout.list(manifest, Some("docker.io/acme/bad:1"));
        let hex = sha256(&layer);
        let path = layout.blob_path(&hex);
        let mut bytes = layer.clone();
        match damage {
            0 => {
                bytes[150_000] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
            }
            1 => std::fs::write(&path, &bytes[..200_000]).unwrap(),
            2 => std::fs::remove_file(&path).unwrap(),
            _ => {
                let outside = stage.path("outside");
                std::fs::write(&outside, &layer).unwrap();
                std::fs::remove_file(&path).unwrap();
                symlink(&outside, &path).unwrap();
            }
        }
        let said = stage.add(&[layout.source()]).says(&hex).says(name);
        assert!(said.code == 1 || said.code == 4, "{name}: {said:?}");
        assert_untouched(&stage, before);
    }
}

#[test]
fn a_disk_whose_last_root_is_lost_says_which_generation_it_shows() {
    let (stage, _) = with_one_image();
    let disk = stage.disk();
    let disk = disk.to_str().unwrap();
    let last = stage.generation();
    std::fs::remove_file(stage.disk().join(format!("generations/{last:06}/ROOT"))).unwrap();
    let shown = format!("generation {} is shown", last - 1);
    for args in [
        &["ls", disk][..],
        &["ls", "--layers", disk],
        &["--json", "ls", disk],
    ] {
        stage.run(args).code(0).says("ROOT: missing").says(&shown);
    }
    stage
        .run(["cat", disk, "docker.io/acme/good:1"])
        .code(1)
        .says(&shown);
    let out = stage.path("out");
    let out = out.to_str().unwrap();
    stage
        .run(["extract", disk, "docker.io/acme/good:1", out])
        .code(1)
        .says(&shown);
}

#[test]
fn one_failing_source_of_three_commits_nothing_and_is_named() {
    let (stage, good) = with_one_image();
    let before = stage.generation();
    let mut other = Layout::new(stage.path("other"));
    let manifest = other.manifest(&noise(200_000, 5), json!({}));
    other.list(manifest, Some("docker.io/acme/other:1"));
    let said = stage.add(&[
        good.source(),
        format!("oci:{}", stage.path("nowhere").display()),
        other.source(),
    ]);
    let said = said.says("nowhere");
    assert_ne!(said.code, 0);
    assert_untouched(&stage, before);
    stage.add(&[good.source(), other.source()]).code(0);
    assert_eq!(stage.generation(), before + 1);
}

#[test]
fn hostile_names_are_refused_by_name() {
    let (stage, _) = with_one_image();
    let before = stage.generation();
    let long = format!("docker.io/acme/{}:1", "x".repeat(600));
    for name in [
        "docker.io/../../etc/passwd:1",
        "docker.io/a:..",
        "../../x",
        "docker.io/acme/a\u{0}b:1",
        &long,
        "docker.io/acme/api:1/../2",
    ] {
        let mut layout = Layout::new(stage.path("hostile"));
        let manifest = layout.manifest(b"layer", json!({}));
        layout.list(manifest, Some(name));
        let said = stage.add(&[layout.source()]);
        assert!(said.code != 0 && said.code != 101, "{name:?}: {said:?}");
        std::fs::remove_dir_all(&layout.path).unwrap();
    }
    for digest in [
        "sha256:../../../../etc/passwd",
        "sha256:",
        "sha256:ABCD",
        "md5:00",
    ] {
        let mut layout = Layout::new(stage.path("hostile"));
        layout.list(
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 2}),
            Some("docker.io/acme/bad:1"),
        );
        let said = stage.add(&[layout.source()]);
        assert!(said.code != 0 && said.code != 101, "{digest}: {said:?}");
        std::fs::remove_dir_all(&layout.path).unwrap();
    }
    assert_untouched(&stage, before);
}

#[test]
fn two_digests_for_one_name_and_a_derived_name_that_would_move_need_a_decision() {
    let stage = Stage::new();
    stage.init();
    let (mut one, mut two) = (Layout::new(stage.path("a/app")), Layout::new(stage.path("b/app")));
    let manifest = one.manifest(b"one", json!({}));
    let first = one.list(manifest, Some("1"));
    let manifest = two.manifest(b"two", json!({}));
    let second = two.list(manifest, Some("1"));
    // Both are localhost/app:1.
    stage
        .add(&[one.source(), two.source()])
        .code(4)
        .says(&first)
        .says(&second);
    stage.add(&[one.source()]).code(0).says("localhost/app:1");
    stage.add(&[two.source()]).code(4).says(&first).says(&second);
    stage
        .add(&[two.source(), "--replace".to_owned()])
        .code(0)
        .says(&first[..19])
        .says(&second[..19]);
    // The old digest stays until it is removed.
    let ls = stage
        .run(["ls", "--json", stage.disk().to_str().unwrap()])
        .code(0);
    assert!(ls.out.contains(&first) && ls.out.contains(&second), "{}", ls.out);
    // A name that the operator gave may move without being asked twice.
    for layout in [&one, &two] {
        stage
            .add(&[
                layout.source(),
                "--as".to_owned(),
                "docker.io/acme/app:1".to_owned(),
            ])
            .code(0);
    }
    stage.assert_whole();
}

#[test]
fn the_second_writer_is_refused_at_once() {
    let (stage, layout) = with_one_image();
    let handle = std::fs::File::open(stage.disk()).unwrap();
    handle.lock().unwrap();
    stage.add(&[layout.source()]).code(4).says("another process");
    drop(handle);
    stage.add(&[layout.source()]).code(0);
}

#[test]
fn a_disk_that_fills_half_way_keeps_its_last_generation_and_gets_its_space_back() {
    let stage = Stage::new();
    let (image, mount) = (stage.path("ext4.img"), stage.path("small"));
    std::fs::create_dir(&mount).unwrap();
    sh(&format!(
        "truncate -s 64M {0}; mkfs.ext4 -q {0}; mount -o loop {0} {1}",
        image.display(),
        mount.display()
    ));
    let disk = mount.join("disk");
    let disk = disk.to_str().unwrap();
    let free = || {
        sh(&format!("df --output=avail -k {} | tail -1", mount.display()))
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let checked = std::panic::catch_unwind(|| {
        stage.run(["init", disk]).code(0);
        std::fs::write(stage.path("fits.bin"), noise(8_000_000, 1)).unwrap();
        stage
            .run(["add", disk, &format!("file:{}", stage.path("fits.bin").display())])
            .code(0);
        let before = free();
        // Under eight times the room, so that it is tried; over it, so that it cannot end well.
        std::fs::write(stage.path("large.bin"), noise(90_000_000, 2)).unwrap();
        stage
            .run([
                "add",
                disk,
                &format!("file:{}", stage.path("large.bin").display()),
            ])
            .code(5)
            .says("full");
        stage.run(["verify", "--full", disk]).code(0);
        assert!(
            before - free() < 2_000,
            "{before} KiB were free before, {} after",
            free()
        );
        // What surely cannot fit is refused beforehand.
        sh(&format!(
            "head -c 600M /dev/urandom > {}",
            stage.path("huge.bin").display()
        ));
        stage
            .run(["add", disk, &format!("file:{}", stage.path("huge.bin").display())])
            .code(5);
        std::fs::write(stage.path("more.bin"), noise(8_000_000, 3)).unwrap();
        stage
            .run(["add", disk, &format!("file:{}", stage.path("more.bin").display())])
            .code(0);
        stage.run(["verify", "--full", disk]).code(0);
    });
    sh(&format!("umount {}", mount.display()));
    checked.unwrap();
}

#[test]
fn killed_at_two_hundred_points_of_an_add_it_shows_the_old_or_the_new_generation() {
    let (stage, _) = with_one_image();
    let mut committed = stage.generation();
    let disk = stage.disk();
    let mut random = blake3::Hasher::new().update(b"kill").finalize_xof();
    let (mut killed, mut ended) = (0, 0);
    for round in 0..200_u64 {
        let file = stage.path("round.bin");
        std::fs::write(&file, noise(3_000_000, round / 4)).unwrap();
        let source = format!("file:{}", file.display());
        let mut child = stage
            .command(["-q", "add", disk.to_str().unwrap(), &source])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut point = [0; 2];
        random.fill(&mut point);
        std::thread::sleep(Duration::from_micros(
            u64::from(u16::from_le_bytes(point)) % 60_000,
        ));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        } else {
            ended += 1;
        }
        wait(&mut child, Duration::from_secs(10));
        let now = stage.generation();
        assert!(now >= committed, "generation {now} after {committed}");
        committed = now;
        if round % 20 == 19 {
            stage.assert_whole();
        }
    }
    eprintln!("killed {killed} times, {ended} runs ended before");
    assert!(
        killed > 50,
        "only {killed} of 200 runs were still running when they were to be killed"
    );
    stage
        .add(&[format!("file:{}", stage.path("round.bin").display())])
        .code(0);
    stage
        .run(["ls", disk.to_str().unwrap()])
        .code(0)
        .says("docker.io/acme/good:1");
    stage.assert_whole();
}

#[test]
fn an_empty_folder_an_empty_file_and_a_sparse_file_of_ten_gigabytes_come_back() {
    let stage = Stage::new();
    stage.init();
    let folder = stage.path("odd");
    std::fs::create_dir_all(folder.join("empty")).unwrap();
    std::fs::write(folder.join("nothing"), b"").unwrap();
    std::fs::write(
        folder.join(std::ffi::OsStr::new(&"n".repeat(255))),
        b"a name of 255 bytes",
    )
    .unwrap();
    let sparse = std::fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(10_000_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 5_000_000_000).unwrap();
    drop(sparse);
    stage.add(&[format!("dir:{}", folder.display())]).code(0);
    let used = sh(&format!("du -sm {} | cut -f1", stage.disk().display()));
    assert!(
        used.trim().parse::<u64>().unwrap() < 5,
        "{used} MiB for ten gigabytes of nothing"
    );
    let out = stage.path("out");
    stage
        .run([
            "extract",
            stage.disk().to_str().unwrap(),
            "files/odd/empty",
            out.to_str().unwrap(),
        ])
        .code(0);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    let mut cat = stage
        .command(["cat", stage.disk().to_str().unwrap(), "files/odd/sparse"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sum = std::process::Command::new("cmp")
        .arg("-")
        .arg(folder.join("sparse"))
        .stdin(cat.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(sum.success() && cat.wait().unwrap().success());
    stage.run(["verify", stage.disk().to_str().unwrap()]).code(0);
}

#[test]
fn a_million_small_files_in_one_folder_are_all_there() {
    let stage = Stage::new();
    stage.init();
    // In memory where there is room, as it is the folder that matters and not the device.
    let folder = tempfile::Builder::new()
        .prefix("holdall-million-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let many = folder.path().join("many");
    std::fs::create_dir(&many).unwrap();
    for n in 0..1_000_000_u32 {
        std::fs::write(many.join(format!("{n:07}")), n.to_string()).unwrap();
    }
    stage.add(&[format!("dir:{}", many.display())]).code(0);
    drop(folder);
    let said = stage
        .run(["verify", "--json", stage.disk().to_str().unwrap()])
        .code(0);
    assert_eq!(said.json()["files"].as_u64().unwrap(), 1_000_000);
    for n in [0, 1, 499_999, 999_999] {
        let said = stage
            .run([
                "cat",
                stage.disk().to_str().unwrap(),
                &format!("files/many/{n:07}"),
            ])
            .code(0);
        assert_eq!(said.out, n.to_string());
    }
}
