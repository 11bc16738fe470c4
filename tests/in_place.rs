//! Images that can be run in place, and those that cannot though they are carried: layers that lie, that are no tars,
//! that are too much; made of real tars by GNU tar, and by hand where no tool would write them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test fails by panicking, and makes files of its own"
)]

mod stage;

use holdall::medium::{DirectoryMedium, Medium as _};
use serde_json::{Value, json};
use stage::{Layout, Stage, noise, sh, sha256};
use std::io::Write as _;
use std::process::{Command, Stdio};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image of these layers, whose config says that their tars are `diff_ids`.
fn image(layout: &mut Layout, name: &str, layers: &[Vec<u8>], diff_ids: &[String]) {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = layout.blob(CONFIG, config.to_string().as_bytes());
    let layers: Vec<Value> = layers.iter().map(|layer| layout.blob(LAYER, layer)).collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    let manifest = layout.blob(media_type, manifest.to_string().as_bytes());
    layout.list(manifest, Some(name));
}

fn diff_id(tar: &[u8]) -> String {
    format!("sha256:{}", sha256(tar))
}

/// A header of the old kind, its checksum right; `kind` and `link` as tar has them.
fn header(name: &str, size: u64, kind: u8, link: &str) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000755\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    if size < 1 << 33 {
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        // As GNU tar writes what eleven octal digits cannot hold.
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
    }
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = header(name, bytes.len() as u64, b'0', "");
    out.extend_from_slice(bytes);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entries.concat();
    out.resize(out.len() + 1024, 0);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-1", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    out.stdout
}

/// What `add --json` says of one image.
fn added(stage: &Stage, layout: &Layout) -> Value {
    let said = stage.add(&["--json".to_owned(), layout.source()]).code(0);
    let json = said.json();
    stage.assert_whole();
    let disk = stage.disk();
    stage
        .run(["verify", "--full", disk.to_str().unwrap()])
        .code(0)
        .says("whole");
    json["images"][0].clone()
}

/// What `ls --layers` says of one layer.
fn kept(stage: &Stage, digest: &str) -> Value {
    let disk = stage.disk();
    let listed = stage
        .run(["ls", "--layers", "--json", disk.to_str().unwrap()])
        .code(0)
        .json();
    let mut of_it = listed["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["digest"] == digest);
    let found = of_it.next().unwrap().clone();
    assert_eq!(of_it.next(), None, "listed twice");
    found
}

#[test]
fn layers_that_are_kept_whole_are_listed_with_the_reason() {
    let stage = Stage::new();
    stage.init();
    let first = tar(&[file("a", &b"words ".repeat(20_000)), file("b", &noise(60_000, 3))]);
    let second = tar(&[file("c", &b"more ".repeat(20_000))]);
    let plain = stage.path("plain.tar");
    std::fs::write(&plain, &first).unwrap();
    sh(&format!("zstd -q {0} -o {0}.zst", plain.display()));
    let zstd = std::fs::read(stage.path("plain.tar.zst")).unwrap();
    let layers = [zstd, gzip(&first), second.clone(), noise(300_000, 4)];
    for (n, layer) in layers.iter().enumerate() {
        let mut layout = Layout::new(stage.path(&format!("layout-{n}")));
        let of = if n == 2 { &second } else { &first };
        image(
            &mut layout,
            &format!("docker.io/acme/kept:{n}"),
            std::slice::from_ref(layer),
            &[diff_id(of)],
        );
        stage.add(&[layout.source()]).code(0);
    }
    let [zstd, gzip, plain, noise] = layers.each_ref().map(|layer| kept(&stage, &diff_id(layer)));
    assert!(zstd["why"].as_str().unwrap().contains("zstd"), "{zstd}");
    assert_eq!(zstd["diff_id"], diff_id(&first).as_str());
    assert_eq!((&gzip["why"], &gzip["kept_bytes"]), (&Value::Null, &json!(0)));
    assert!(gzip["recipe_bytes"].as_u64().unwrap() > 0, "{gzip}");
    assert_eq!(plain["why"], "not compressed with gzip");
    assert_eq!(noise["diff_id"], Value::Null);
    assert!(
        noise["why"].as_str().unwrap().starts_with("no tree") && noise["kept_bytes"] == 300_000,
        "{noise}"
    );
    let disk = stage.disk();
    stage
        .run(["ls", "--layers", disk.to_str().unwrap()])
        .code(0)
        .says("compressed with zstd")
        .says("no tree: at byte 0 of the tar: not a tar");
}

/// Gzipped in a way that no encoder has: the recipe keeps much of it, and has several frames.
fn unlike_any_encoder(stage: &Stage, tar: &[u8]) -> Vec<u8> {
    const SCRIPT: &str = "
import sys, zlib, struct
plain = open(sys.argv[1], 'rb').read()
out = [b'\\x1f\\x8b\\x08' + bytes(5) + b'\\0\\x03']
for n, at in enumerate(range(0, len(plain), 1500)):
    c = zlib.compressobj(1 + n * n % 9, zlib.DEFLATED, -9 - n % 7, 1 + n % 9, (0, 4, 1, 2)[n // 3 % 4])
    out.append(c.compress(plain[at:at + 1500]))
    out.append(c.flush(zlib.Z_FINISH if at + 1500 >= len(plain) else zlib.Z_FULL_FLUSH))
out.append(struct.pack('<II', zlib.crc32(plain), len(plain)))
open(sys.argv[2], 'wb').write(b''.join(out))
";
    let (from, to) = (stage.path("odd.tar"), stage.path("odd.tar.gz"));
    std::fs::write(&from, tar).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).args([&from, &to]);
    assert!(python.status().unwrap().success());
    std::fs::read(to).unwrap()
}

#[test]
fn a_damaged_recipe_is_said_and_all_else_is_shown() {
    let stage = Stage::new();
    stage.init();
    let letters: Vec<u8> = noise(8 << 20, 5).iter().map(|byte| b'a' + byte % 8).collect();
    let odd = tar(&[file("odd", &letters)]);
    let odd_layer = unlike_any_encoder(&stage, &odd);
    let even = tar(&[
        file("even", &b"words ".repeat(20_000)),
        file("b", &noise(40_000, 6)),
    ]);
    let layers = [odd_layer, gzip(&even)];
    let mut layout = Layout::new(stage.path("layout"));
    let diff_ids = [diff_id(&odd), diff_id(&even)];
    image(&mut layout, "docker.io/acme/odd:1", &layers, &diff_ids);
    added(&stage, &layout);
    let disk = stage.disk();
    let info = || stage.run(["info", "--json", disk.to_str().unwrap()]);
    let whole = info().code(0).json();
    assert!(
        whole["recipe_stored_bytes"].as_u64().unwrap() > 2 << 20,
        "{whole}"
    );
    assert_eq!(whole["damaged_layers"], json!([]));

    let medium = DirectoryMedium::open(&disk).unwrap();
    let (mut unread, mut said) = (0, 0);
    for pack in medium.packs().unwrap() {
        let path = disk.join(format!("packs/{pack:06}.pack"));
        let bytes = std::fs::read(&path).unwrap();
        for frame in holdall::pack::scan(&medium, pack).unwrap().frames {
            let mut rotten = bytes.clone();
            rotten[(frame.offset.get() + frame.frame_bytes) as usize - 1] ^= 1;
            std::fs::write(&path, &rotten).unwrap();
            let found = info();
            let json = found.json();
            assert_eq!(json["images"], whole["images"]);
            assert_eq!(json["layers"], 2);
            let damaged = json["damaged_layers"].as_array().unwrap().clone();
            let listed = stage.run(["ls", "--layers", "--json", disk.to_str().unwrap()]);
            let layers = listed.json()["layers"].as_array().unwrap().clone();
            assert_eq!(layers.len(), 2, "{layers:?}");
            let in_list: Vec<&Value> = layers.iter().filter(|l| !l["damage"].is_null()).collect();
            assert_eq!(in_list.len(), damaged.len(), "{layers:?}");
            if damaged.is_empty() {
                found.code(0);
                // Frames of a recipe whose bytes no figure needs count all the same.
                assert_eq!(json["recipe_stored_bytes"], whole["recipe_stored_bytes"]);
                unread += 1;
                continue;
            }
            found.code(3);
            listed.code(3);
            assert_eq!(damaged[0]["digest"], in_list[0]["digest"]);
            assert!(
                damaged[0]["why"].as_str().unwrap().contains("damaged"),
                "{damaged:?}"
            );
            stage
                .run(["info", disk.to_str().unwrap()])
                .code(3)
                .says("damaged      layer sha256:")
                .says("packs");
            said += 1;
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(unread > 3 && said > 0, "{unread} {said}");
    info().code(0);
}

#[test]
fn a_damaged_layer_without_a_tree_is_said_and_all_else_is_shown() {
    let stage = Stage::new();
    stage.init();
    // No tree, for what comes last in it: to say so it is read to there.
    let treeless = tar(&[file("a", &noise(1 << 20, 7)), file("b", b"x"), file("b/c", b"x")]);
    let other = tar(&[file("other", &noise(300_000, 8))]);
    for (n, layer) in [&treeless, &other].into_iter().enumerate() {
        let mut layout = Layout::new(stage.path(&format!("layout-{n}")));
        let name = format!("docker.io/acme/treeless:{n}");
        image(&mut layout, &name, std::slice::from_ref(layer), &[diff_id(layer)]);
        stage.add(&[layout.source()]).code(0);
    }
    let found = kept(&stage, &diff_id(&treeless));
    assert!(found["why"].as_str().unwrap().contains("no directory"), "{found}");

    let disk = stage.disk();
    let medium = DirectoryMedium::open(&disk).unwrap();
    let mut of_treeless = 0;
    for pack in medium.packs().unwrap() {
        let path = disk.join(format!("packs/{pack:06}.pack"));
        let bytes = std::fs::read(&path).unwrap();
        for frame in holdall::pack::scan(&medium, pack).unwrap().frames {
            let mut rotten = bytes.clone();
            rotten[(frame.offset.get() + frame.frame_bytes) as usize - 1] ^= 1;
            std::fs::write(&path, &rotten).unwrap();
            let listed = stage.run(["ls", "--layers", "--json", disk.to_str().unwrap()]);
            let json = listed.json();
            let layers = json["layers"].as_array().unwrap();
            let damaged: Vec<&Value> = layers.iter().filter(|l| !l["damage"].is_null()).collect();
            if damaged.is_empty() && json["damaged"].is_null() {
                listed.code(0);
                continue;
            }
            listed.code(3);
            if damaged.iter().any(|l| l["digest"] == diff_id(&treeless).as_str()) {
                assert_eq!(layers.len(), 2, "{layers:?}");
                of_treeless += 1;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    // Its first bytes are of one frame; those behind it count as well.
    assert!(of_treeless > 2, "{of_treeless}");
}

#[test]
fn an_image_whose_config_lies_about_its_layers_is_carried_and_not_run() {
    let stage = Stage::new();
    stage.init();
    let layer = tar(&[file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")]);
    let other = tar(&[file("etc/passwd", b"evil\n")]);
    // The honest one first: a chain of that id is on the disk by then.
    let mut honest = Layout::new(stage.path("honest"));
    image(
        &mut honest,
        "docker.io/acme/honest:1",
        std::slice::from_ref(&layer),
        &[diff_id(&layer)],
    );
    let found = added(&stage, &honest);
    assert_eq!(found["runs_in_place"][0]["platform"], "linux-amd64", "{found}");
    assert_eq!(found["runs_in_place"][0]["chain"], diff_id(&layer).as_str());

    let mut liar = Layout::new(stage.path("liar"));
    image(
        &mut liar,
        "docker.io/acme/liar:1",
        std::slice::from_ref(&other),
        &[diff_id(&layer)],
    );
    let found = added(&stage, &liar);
    assert_eq!(found["runs_in_place"], json!([]), "{found}");
    let why = found["not_in_place"][0]["why"].as_str().unwrap();
    assert!(
        why.contains(&diff_id(&layer)) && why.contains(&diff_id(&other)),
        "{why}"
    );

    let mut few = Layout::new(stage.path("few"));
    image(&mut few, "docker.io/acme/few:1", &[layer, other], &[diff_id(b"")]);
    let found = added(&stage, &few);
    assert!(
        found["not_in_place"][0]["why"]
            .as_str()
            .unwrap()
            .contains("names 1 layers"),
        "{found}"
    );
}

#[test]
fn what_is_no_tree_is_carried_as_bytes_and_said() {
    let stage = Stage::new();
    stage.init();
    let deep: Vec<Vec<u8>> = vec![file(&format!("{}f", "d/".repeat(45)), b"x")];
    let mut deeper = deep.clone();
    // Links on the way: each path of 45 goes on where the last one ended.
    deeper.push(header("round", 0, b'2', "round"));
    deeper.push(file("round/x", b"x"));
    let plain = stage.path("plain.tar");
    std::fs::write(
        &plain,
        tar(&[file("a", &noise(90_000, 3)), file("b", &[b'b'; 50_000])]),
    )
    .unwrap();
    sh(&format!("gzip -6 {}", plain.display()));
    let gzip = std::fs::read(plain.with_extension("tar.gz")).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("noise", noise(100_000, 1), "not a tar"),
        ("absolute-up", tar(&[file("a/../../b", b"x")]), ".."),
        (
            "under-a-file",
            tar(&[file("a", b"x"), file("a/b", b"x")]),
            "no directory",
        ),
        (
            "link-to-nothing",
            tar(&[header("l", 0, b'1', "nowhere")]),
            "do not have",
        ),
        (
            "link-to-a-directory",
            tar(&[header("d/", 0, b'5', ""), header("l", 0, b'1', "d")]),
            "directory",
        ),
        (
            "cut",
            tar(&[file("a", &noise(5_000, 2))])[..3_000].to_vec(),
            "breaks off",
        ),
        ("round", tar(&deeper), "circle"),
        (
            "larger-than-sparse",
            tar(&[header("s", 17 << 30, b'0', "")]),
            "limit",
        ),
        // Of these a recipe is begun, too.
        (
            "gzip-cut",
            gzip[..gzip.len() - 30_000].to_vec(),
            "breaks off in its compressed stream",
        ),
        (
            "gzip-without-its-trailer",
            gzip[..gzip.len() - 8].to_vec(),
            "breaks off in its compressed stream",
        ),
        (
            "gzip-and-more",
            [gzip.as_slice(), b"garbage"].concat(),
            "something that is not gzip follows it",
        ),
    ];
    for (name, layer, why) in cases {
        let mut layout = Layout::new(stage.path(name));
        image(
            &mut layout,
            &format!("docker.io/acme/{name}:1"),
            std::slice::from_ref(&layer),
            &[diff_id(&layer)],
        );
        let found = added(&stage, &layout);
        assert_eq!(found["runs_in_place"], json!([]), "{name}: {found}");
        let text = found["not_in_place"][0]["why"].as_str().unwrap();
        assert!(text.contains(why), "{name}: {text}");
        // Its bytes come out as they came in.
        let digest = diff_id(&layer);
        let out = stage
            .command(["cat", stage.disk().to_str().unwrap(), &digest])
            .output()
            .unwrap();
        assert!(out.stdout == layer, "{name}");
        let listed = kept(&stage, &digest);
        assert_eq!(listed["kept_bytes"], layer.len(), "{name}: {listed}");
        // A tree that makes no chain is one; of all others the listing says what `add` has said.
        if listed["diff_id"].is_null() {
            assert!(listed["why"].as_str().unwrap().contains(why), "{name}: {listed}");
        }
    }
    let text = stage
        .run(["verify", "--full", stage.disk().to_str().unwrap()])
        .code(0);
    // The one with a link to nothing is a tree, but makes no chain.
    text.says("1 layer and 0 chains derived");
}

#[test]
fn a_hundred_layers_a_sparse_file_and_duplicates_run_in_place() {
    let stage = Stage::new();
    stage.init();
    let mut layers = Vec::new();
    for n in 0..100 {
        layers.push(tar(&[
            header("dir/", 0, b'5', ""),
            file(&format!("dir/{n:03}"), format!("{n}").as_bytes()),
            file("last", b"before"),
            file("last", format!("{n}").as_bytes()),
            if n > 0 {
                header(&format!("dir/.wh.{:03}", n - 1), 0, b'0', "")
            } else {
                header("x", 0, b'0', "")
            },
        ]));
    }
    let folder = stage.path("sparse");
    std::fs::create_dir(&folder).unwrap();
    sh(&format!(
        "cd {0} && truncate -s 1G hole && printf end >> hole && ln hole also && tar --sparse --format=posix -cf ../sparse.tar . ",
        folder.display()
    ));
    layers.push(std::fs::read(stage.path("sparse.tar")).unwrap());
    let diff_ids: Vec<String> = layers.iter().map(|layer| diff_id(layer)).collect();
    let packed: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
    let mut layout = Layout::new(stage.path("many"));
    image(&mut layout, "docker.io/acme/many:1", &packed, &diff_ids);
    let found = added(&stage, &layout);
    assert_eq!(found["runs_in_place"][0]["platform"], "linux-amd64", "{found}");
    // Again: nothing is derived or written anew.
    let said = stage.add(&["--json".to_owned(), layout.source()]).code(0).json();
    assert_eq!(
        (&said["changed"], &said["bytes_of_trees"]),
        (&json!(false), &json!(0)),
        "{said}"
    );
}

#[test]
fn two_hundred_folders_deep_runs_and_three_hundred_does_not() {
    let stage = Stage::new();
    stage.init();
    for (name, depth, runs) in [("deep", 200, true), ("deeper", 300, false)] {
        let folder = stage.path(name);
        std::fs::create_dir(&folder).unwrap();
        let path = "d/".repeat(depth);
        sh(&format!(
            "cd {} && mkdir -p {path} && echo x > {path}f && tar -cf ../{name}.tar .",
            folder.display()
        ));
        let layer = std::fs::read(stage.path(&format!("{name}.tar"))).unwrap();
        let mut layout = Layout::new(stage.path(&format!("{name}-layout")));
        image(
            &mut layout,
            &format!("docker.io/acme/{name}:1"),
            std::slice::from_ref(&layer),
            &[diff_id(&layer)],
        );
        let found = added(&stage, &layout);
        assert_eq!(found["runs_in_place"] != json!([]), runs, "{name}: {found}");
    }
}
