//! The auditors' script, a reader written from FORMAT.md alone in another language, reads disks of real images whole, and
//! makes the EROFS images that the mount shows.
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

use serde_json::json;
use stage::{Layout, Running, Stage, corpus, noise, sh, tags};
use std::path::{Path, PathBuf};
use std::process::Command;

const AUDIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/holdall_audit.py");

/// Whether the packages of `full` and `erofs` are here; says aloud where they are not.
fn can_read_all() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import blake3, zstandard"])
        .output()
        .is_ok_and(|out| out.status.success());
    if !found {
        eprintln!("SKIPPED: python3 with blake3 and zstandard is not installed");
    }
    found
}

/// What the script says, and the code that it ends with.
fn audit(verb: &str, disk: &Path, more: &[&str]) -> (i32, String) {
    let out = Command::new("python3")
        .arg(AUDIT)
        .arg(verb)
        .arg(disk)
        .args(more)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (
        out.status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn holds(verb: &str, disk: &Path, more: &[&str]) -> String {
    let (code, text) = audit(verb, disk, more);
    assert_eq!(code, 0, "{text}");
    text
}

fn mount(stage: &Stage) -> (Running, PathBuf) {
    let at = stage.path("mnt");
    std::fs::create_dir_all(&at).unwrap();
    let running =
        Running::start(stage.command(["mount", stage.disk().to_str().unwrap(), at.to_str().unwrap()]));
    (running, at)
}

/// The images that the script made, each compared with the mount's file; how many they are.
fn assert_images_as_mounted(said: &str, mount: &Path) -> usize {
    let images: Vec<_> = said
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once("  ").unwrap())
        // A mount without layers is of a version before them.
        .filter(|(_, path)| !path.starts_with("layers/") || mount.join("layers").exists())
        .collect();
    for (sha256, path) in &images {
        let shown = sh(&format!("sha256sum {}", mount.join(path).display()));
        assert!(shown.starts_with(sha256), "{path}: made {sha256}, shown {shown}");
    }
    images.len()
}

#[test]
fn the_kept_disk_of_version_1_is_read_whole() {
    if !can_read_all() {
        return;
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/media/v1");
    let signers = kept.join("allowed_signers");
    let more = ["--allowed-signers", signers.to_str().unwrap(), "--need", "2"];
    let said = holds("full", &kept.join("disk"), &more);
    for what in [
        "2 distinct keys count",
        "so do their 3 leaves",
        "hot lists   2 of 8 chunks",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

/// The script on the smallest image of the corpus and on its largest chain: all of it in Python takes too long for a test.
#[test]
fn images_of_the_corpus_are_what_the_auditors_script_makes() {
    let Some(layout) = corpus()
        .filter(|_| can_read_all())
        .map(|corpus| corpus.join("oci"))
    else {
        return;
    };
    let stage = Stage::new();
    stage.init();
    let chosen = |prefix: &str| {
        tags(&layout)
            .into_iter()
            .map(|(tag, _)| tag)
            .find(|tag| tag.starts_with(prefix))
    };
    let sources: Vec<String> = ["debian", "nginx"]
        .into_iter()
        .filter_map(chosen)
        .map(|tag| format!("oci:{}:{tag}", layout.display()))
        .collect();
    assert!(
        !sources.is_empty(),
        "the corpus has other images than this test expects"
    );
    stage.add(&sources).code(0);
    let said = holds("full", &stage.disk(), &[]);
    for what in [
        "recipes     ",
        "chains      ",
        "root file systems",
        "the gzipped bytes were not made again",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let (mut mounted, at) = mount(&stage);
    let count = assert_images_as_mounted(&holds("erofs", &stage.disk(), &[]), &at);
    assert!(count >= sources.len(), "{count}");
    assert_eq!(mounted.stop(), 0);
}

/// One of everything that an image can have: kinds, owners, times, attributes, links, names beyond a block.
const MADE_TREE: &str = r#"
import io, tarfile, sys
tar = tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT)
def add(name, kind=tarfile.REGTYPE, data=b"", **fields):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mtime = kind, len(data), 1700000000
    for field, value in fields.items(): setattr(entry, field, value)
    tar.addfile(entry, io.BytesIO(data))
if sys.argv[2] == "first":
    add("./", tarfile.DIRTYPE, mode=0o755)
    for n in range(700): add("many/" + "x" * (n % 200) + "-%d" % n, data=b"%d" % n if n % 3 else b"", mtime=1700000000 + n % 5)
    add("a-large-file", data=bytes(range(256)) * 5000)
    add("the-same-file", data=bytes(range(256)) * 5000, uid=70000, gid=3)
    add("hard", tarfile.LNKTYPE, linkname="a-large-file")
    add("soft", tarfile.SYMTYPE, linkname="../" * 1000)
    add("device", tarfile.CHRTYPE, devmajor=259, devminor=70000)
    add("disk", tarfile.BLKTYPE, devmajor=8, devminor=1, uid=1)
    add("pipe", tarfile.FIFOTYPE)
    add("old", mtime=-5, data=b"o")
    add("of-a-part", data=b"p", pax_headers={"mtime": "1700000000.25"})
    for n in range(3): add("labelled-%d" % n, data=b"l", pax_headers={"SCHILY.xattr.user.same": "v" * 100, "SCHILY.xattr.user.own": str(n), "SCHILY.xattr.security.capability": "c"})
    add("loaded", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.user.large": "v" * 4050})
    add("loaded/file", data=b"f" * 3000)
    add("empty", tarfile.DIRTYPE)
    add("gone/file", data=b"g")
    add("covered/below", data=b"b")
else:
    add(".wh.gone")
    add("covered/", tarfile.DIRTYPE, mode=0o700)
    add("covered/.wh..wh..opq")
    add("covered/above", data=b"a")
    add("many/one-more", data=b"m")
    add("new", data=b"n" * 5000)
    add("new-too", tarfile.LNKTYPE, linkname="new")
tar.close()
"#;

#[test]
fn images_of_all_that_a_tree_can_have_are_what_the_auditors_script_makes() {
    if !can_read_all() {
        return;
    }
    let stage = Stage::new();
    stage.init();
    let script = stage.path("tree.py");
    std::fs::write(&script, MADE_TREE).unwrap();
    let mut layout = Layout::new(stage.path("layout"));
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for which in ["first", "second"] {
        let tar = stage.path(which);
        sh(&format!(
            "python3 {} {} {which} && gzip -kn {1}",
            script.display(),
            tar.display()
        ));
        diff_ids.push(format!("sha256:{}", stage::sha256(&std::fs::read(&tar).unwrap())));
        let gzipped = std::fs::read(tar.with_extension("gz")).unwrap();
        layers.push(layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzipped));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = layout.blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    let manifest = layout.blob(media_type, manifest.to_string().as_bytes());
    layout.list(manifest, Some("all"));
    let files = stage.path("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("noise"), noise(400_000, 5)).unwrap();
    stage
        .add(&[layout.source(), format!("dir:{}", files.display())])
        .code(0);

    let said = holds("full", &stage.disk(), &[]);
    assert!(said.contains("files       1 hold"), "{said}");
    let (mut mounted, at) = mount(&stage);
    let said = holds("erofs", &stage.disk(), &[]);
    assert!(assert_images_as_mounted(&said, &at) >= 2, "{said}");
    let chain = said.lines().find(|line| line.contains("erofs/chains/")).unwrap();
    let (_, id) = chain.rsplit_once('/').unwrap();
    let one = holds("erofs", &stage.disk(), &[id.trim_end_matches(".erofs")]);
    assert!(one.contains(chain), "{one}");
    assert_eq!(mounted.stop(), 0);

    // Damage that `disk` does not look for is found: a byte of a frame.
    let pack = stage.disk().join("packs/000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    holds("disk", &stage.disk(), &[]);
    let (code, said) = audit("full", &stage.disk(), &[]);
    assert!(code == 3 && said.contains("REFUSED"), "{code}: {said}");
}
