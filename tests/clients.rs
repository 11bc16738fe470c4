//! Stock clients against a disk: skopeo, containerd, docker-registry, curl, sha256sum. Nothing mocked.
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

use serde_json::{Value, json};
use stage::docker_registry::Registry;
use stage::{Layout, Running, Said, Stage, corpus, noise, sh, sha256, tags};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A tag of a layout, and the digest it stands for.
type Tagged = (String, String);

/// A disk with some images of the corpus: as (tag, digest) of its layout.
fn with_corpus(count: usize) -> Option<(Stage, PathBuf, Vec<Tagged>)> {
    let layout = corpus()?.join("oci");
    let stage = Stage::new();
    stage.init();
    let images: Vec<_> = tags(&layout)
        .into_iter()
        .filter(|(tag, _)| tag != "debian-r2")
        .take(count)
        .collect();
    let sources: Vec<String> = images
        .iter()
        .map(|(tag, _)| format!("oci:{}:{tag}", layout.display()))
        .collect();
    stage.add(&sources).code(0);
    Some((stage, layout, images))
}

fn serve(stage: &Stage) -> Running {
    Running::start(stage.command(["serve", stage.disk().to_str().unwrap(), "--listen", "127.0.0.1:0"]))
}

fn mount(stage: &Stage) -> (Running, PathBuf) {
    let at = stage.path("mnt");
    std::fs::create_dir_all(&at).unwrap();
    let running =
        Running::start(stage.command(["mount", stage.disk().to_str().unwrap(), at.to_str().unwrap()]));
    (running, at)
}

fn digest_of_dir(path: &Path) -> String {
    format!(
        "sha256:{}",
        sha256(&std::fs::read(path.join("manifest.json")).unwrap())
    )
}

#[test]
fn skopeo_copies_images_out_of_the_mount_with_the_source_s_digests() {
    let Some((stage, layout, images)) = with_corpus(3) else {
        return;
    };
    let (mut mounted, at) = mount(&stage);
    for (tag, digest) in &images {
        let out = stage.path(&format!("out-{tag}"));
        sh(&format!(
            "skopeo copy -q oci:{}/oci:localhost/oci:{tag} dir:{}",
            at.display(),
            out.display()
        ));
        assert_eq!(digest_of_dir(&out), *digest);
    }
    // Every blob, under both of its names, is the source's byte for byte.
    for entry in std::fs::read_dir(at.join("blobs/sha256")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        sh(&format!(
            "cmp {0}/blobs/sha256/{name} {1}/blobs/sha256/{name}; cmp {0}/oci/blobs/sha256/{name} {1}/blobs/sha256/{name}",
            at.display(),
            layout.display()
        ));
    }
    // The layout as a whole is valid to another reader of layouts.
    sh(&format!("umoci list --layout {}/oci", at.display()));
    assert_eq!(mounted.stop(), 0);
}

#[test]
fn skopeo_copies_images_from_the_registry_with_the_source_s_digests() {
    let Some((stage, _, images)) = with_corpus(3) else {
        return;
    };
    let mut served = serve(&stage);
    let address = served.address();
    for (tag, digest) in &images {
        let out = stage.path(&format!("out-{tag}"));
        sh(&format!(
            "skopeo copy -q --src-tls-verify=false docker://{address}/localhost/oci:{tag} dir:{}",
            out.display()
        ));
        assert_eq!(digest_of_dir(&out), *digest);
    }
    let listed: Value = serde_json::from_str(&sh(&format!(
        "skopeo list-tags --tls-verify=false docker://{address}/localhost/oci"
    )))
    .unwrap();
    assert_eq!(listed["Tags"].as_array().unwrap().len(), images.len());
    assert_eq!(served.stop(), 0);
}

/// containerd of its own, with root, state and socket in the stage's folder.
struct Containerd {
    child: Child,
    socket: PathBuf,
}

impl Containerd {
    fn start(stage: &Stage) -> Self {
        let (socket, config, log) = (
            stage.path("containerd.sock"),
            stage.path("containerd.toml"),
            stage.path("containerd.log"),
        );
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\n",
            stage.path("containerd-root"),
            stage.path("containerd-state"),
        );
        std::fs::write(&config, text).unwrap();
        let log_file = std::fs::File::create(&log).unwrap();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !std::fs::read_to_string(&log)
            .unwrap()
            .contains("successfully booted")
        {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "containerd did not start: {}",
                std::fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, socket }
    }

    fn ctr(&self, args: &str) -> String {
        sh(&format!("ctr --address {} {args}", self.socket.display()))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _reaped = self.child.wait();
    }
}

#[test]
fn containerd_pulls_through_hosts_toml_and_runs_a_container() {
    let Some(corpus) = corpus() else { return };
    let layout = corpus.join("oci");
    let (tag, digest) = tags(&layout)
        .into_iter()
        .find(|(tag, _)| tag.starts_with("debian"))
        .unwrap();
    let stage = Stage::new();
    stage.init();
    stage
        .add(&[
            format!("oci:{}:{tag}", layout.display()),
            "--as".to_owned(),
            "registry.example.org/acme/debian:1".to_owned(),
        ])
        .code(0);
    let served = serve(&stage);
    let hosts = stage.path("hosts/registry.example.org");
    std::fs::create_dir_all(&hosts).unwrap();
    let address = served.address();
    let text = format!(
        "server = \"http://{address}\"\n[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    std::fs::write(hosts.join("hosts.toml"), text).unwrap();
    let containerd = Containerd::start(&stage);
    let name = "registry.example.org/acme/debian:1";
    containerd.ctr(&format!(
        "images pull --hosts-dir {} --snapshotter native {name} >/dev/null",
        stage.path("hosts").display()
    ));
    assert!(containerd.ctr("images ls").contains(&digest));
    // ctr copies the output beside the container; one that ends at once can be gone before it has begun.
    let printed = containerd.ctr(&format!(
        "run --rm --snapshotter native {name} first /bin/sh -c '. /etc/os-release; echo hello from $ID; sleep 1'"
    ));
    assert_eq!(printed.trim(), "hello from debian");
    containerd.ctr(&format!("images rm --sync {name} >/dev/null"));
}

#[test]
fn images_come_from_a_real_registry_with_their_digests_and_a_second_add_fetches_nothing() {
    let Some(corpus) = corpus() else { return };
    let layout = corpus.join("oci");
    let (tag, _) = tags(&layout)
        .into_iter()
        .find(|(tag, _)| tag.starts_with("nginx"))
        .unwrap();
    let stage = Stage::new();
    stage.init();
    let registry = Registry::start(&stage);
    let address = &registry.address;
    sh(&format!(
        "skopeo copy -q --dest-tls-verify=false oci:{}:{tag} docker://{address}/acme/nginx:1",
        layout.display()
    ));
    let digest = sh(&format!(
        "skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' docker://{address}/acme/nginx:1"
    ));
    let source = [
        format!("docker://{address}/acme/nginx:1"),
        "--plain-http".to_owned(),
        address.clone(),
    ];
    stage
        .add(&source)
        .code(0)
        .says(&format!("{address}/acme/nginx:1"));
    let generation = stage.generation();
    let ls = stage
        .run(["ls", "--json", stage.disk().to_str().unwrap()])
        .code(0);
    assert!(ls.out.contains(digest.trim()), "{digest} is not in {}", ls.out);
    stage.add(&source).code(0);
    assert_eq!(stage.generation(), generation);
    // What is not there is an error that names it, and commits nothing.
    let absent = [
        format!("docker://{address}/acme/nginx:none"),
        "--plain-http".to_owned(),
        address.clone(),
    ];
    let said = stage.add(&absent).says("none");
    assert_ne!(said.code, 0);
    assert_eq!(stage.generation(), generation);
    stage.assert_whole();
}

#[test]
fn a_registry_that_wants_a_password_gets_the_one_of_auth_json_and_none_is_printed() {
    let stage = Stage::new();
    stage.init();
    let hash = sh(r#"perl -e 'print crypt("secret-word", "\$2y\$05\$abcdefghijklmnopqrstuu")'"#);
    std::fs::write(stage.path("htpasswd"), format!("operator:{hash}\n")).unwrap();
    let more = format!(
        "auth: {{htpasswd: {{realm: test, path: {:?}}}}}\n",
        stage.path("htpasswd")
    );
    let registry = Registry::start_with(&stage, &more);
    let address = &registry.address;
    let mut layout = Layout::new(stage.path("x"));
    let manifest = layout.manifest(&noise(100_000, 1), json!({}));
    layout.list(manifest, Some("1"));
    let login = "operator:secret-word";
    sh(&format!(
        "skopeo copy -q --dest-creds {login} --dest-tls-verify=false oci:{}:1 docker://{address}/acme/x:1",
        layout.path.display()
    ));
    let add = |auth: &Path| {
        let (disk, source) = (stage.disk(), format!("docker://{address}/acme/x:1"));
        let args = [
            "-v",
            "add",
            disk.to_str().unwrap(),
            &source,
            "--plain-http",
            address,
        ];
        let said: Said = stage
            .command(args)
            .env("REGISTRY_AUTH_FILE", auth)
            .output()
            .unwrap()
            .into();
        assert!(!said.out.contains("secret-word") && !said.err.contains("secret-word"));
        said
    };
    let auths = |login: &str| {
        let path = stage.path("auth.json");
        let encoded = sh(&format!("printf %s {login} | base64 -w0"));
        std::fs::write(&path, json!({"auths": {address: {"auth": encoded}}}).to_string()).unwrap();
        path
    };
    let refused = add(&auths("operator:another-word"));
    assert!(
        refused.code != 0 && refused.err.contains(address.as_str()),
        "{refused:?}"
    );
    add(&auths(login)).code(0).says("acme/x:1");
    stage.assert_whole();
}

#[test]
fn archives_made_by_skopeo_come_in_with_their_digests() {
    let Some(corpus) = corpus() else { return };
    let layout = corpus.join("oci");
    let (tag, digest) = tags(&layout)
        .into_iter()
        .find(|(tag, _)| tag.starts_with("debian"))
        .unwrap();
    let stage = Stage::new();
    stage.init();
    let (oci, docker) = (stage.path("oci.tar"), stage.path("docker.tar"));
    sh(&format!(
        "skopeo copy -q oci:{}:{tag} oci-archive:{}:one",
        layout.display(),
        oci.display()
    ));
    sh(&format!(
        "skopeo copy -q oci:{}:{tag} docker-archive:{}:acme/debian:2",
        layout.display(),
        docker.display()
    ));
    stage
        .add(&[format!("oci-archive:{}", oci.display())])
        .code(0)
        .says("localhost/oci:one");
    stage
        .add(&[format!("docker-archive:{}", docker.display())])
        .code(0)
        .says("docker.io/acme/debian:2");
    let ls = stage
        .run(["ls", "--json", stage.disk().to_str().unwrap()])
        .code(0);
    assert!(ls.out.contains(&digest), "{digest} is not in {}", ls.out);
    // The docker archive's image can be read by a stock client and has the same layer contents.
    let (mut mounted, at) = mount(&stage);
    sh(&format!(
        "skopeo copy -q oci:{}/oci:docker.io/acme/debian:2 dir:{}",
        at.display(),
        stage.path("out").display()
    ));
    assert_eq!(mounted.stop(), 0);
    sh(&format!("gzip {}", oci.display()));
    let said = stage
        .add(&[format!("oci-archive:{}.gz", oci.display())])
        .says("gunzip");
    assert_ne!(said.code, 0);
    stage.assert_whole();
}

#[test]
fn a_platform_alone_leaves_the_index_byte_identical_and_the_rest_absent_not_damaged() {
    let stage = Stage::new();
    stage.init();
    let mut layout = Layout::new(stage.path("multi"));
    let with_platform = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let amd = with_platform(
        layout.manifest_for("amd64", &noise(300_000, 1), json!({})),
        "amd64",
    );
    let arm = with_platform(
        layout.manifest_for("arm64", &noise(300_000, 2), json!({})),
        "arm64",
    );
    let index = layout.index_of(&[amd.clone(), arm.clone()]);
    let digest = layout.list(index, Some("docker.io/acme/multi:1"));
    let said = stage
        .add(&[
            layout.source(),
            "--platform".to_owned(),
            "linux/riscv64".to_owned(),
        ])
        .says("linux/arm64");
    assert_ne!(said.code, 0);
    stage
        .add(&[layout.source(), "--platform".to_owned(), "linux/amd64".to_owned()])
        .code(0);
    stage.assert_whole();
    let served = serve(&stage);
    let url = format!("http://{}/v2/acme/multi/manifests", served.address());
    assert_eq!(
        format!("sha256:{}", sha256(sh(&format!("curl -sf {url}/1")).as_bytes())),
        digest
    );
    sh(&format!("curl -sf {url}/{}", amd["digest"].as_str().unwrap()));
    let absent = sh(&format!(
        "curl -s -w '%{{http_code}}' {url}/{}",
        arm["digest"].as_str().unwrap()
    ));
    assert!(absent.ends_with("404") && absent.contains("platform"), "{absent}");
    // Later the rest comes too.
    stage.add(&[layout.source()]).code(0);
    stage.assert_whole();
    let again = serve(&stage);
    sh(&format!(
        "curl -sf http://{}/v2/acme/multi/manifests/{}",
        again.address(),
        arm["digest"].as_str().unwrap()
    ));
}

#[test]
fn signatures_and_sboms_come_along_and_are_found_again() {
    let stage = Stage::new();
    stage.init();
    let mut layout = Layout::new(stage.path("signed"));
    let manifest = layout.manifest(&noise(100_000, 1), json!({}));
    let subject =
        json!({"mediaType": manifest["mediaType"], "digest": manifest["digest"], "size": manifest["size"]});
    let digest = layout.list(manifest, Some("docker.io/acme/signed:1"));
    let sbom = layout.manifest(
        b"the sbom",
        json!({"subject": subject, "artifactType": "application/spdx+json"}),
    );
    let sbom_digest = layout.list(sbom, None);
    let signature = layout.manifest(b"a signature", json!({}));
    layout.list(signature, Some(&format!("{}.sig", digest.replace(':', "-"))));
    stage
        .add(&[format!("{}:docker.io/acme/signed:1", layout.source())])
        .code(0);
    let served = serve(&stage);
    let url = format!("http://{}/v2/acme/signed", served.address());
    let found: Value = serde_json::from_str(&sh(&format!("curl -sf {url}/referrers/{digest}"))).unwrap();
    assert_eq!(found["manifests"][0]["digest"], sbom_digest.as_str());
    assert_eq!(found["manifests"][0]["artifactType"], "application/spdx+json");
    sh(&format!(
        "curl -sf {url}/manifests/{}.sig",
        digest.replace(':', "-")
    ));
    let other: Value = serde_json::from_str(&sh(&format!(
        "curl -sf '{url}/referrers/{digest}?artifactType=other/x'"
    )))
    .unwrap();
    assert_eq!(other["manifests"].as_array().unwrap().len(), 0);
}

#[test]
fn ranges_and_errors_are_those_of_the_specifications() {
    let stage = Stage::new();
    stage.init();
    let mut layout = Layout::new(stage.path("x"));
    let layer = noise(3_000_000, 1);
    let manifest = layout.manifest(&layer, json!({}));
    layout.list(manifest, Some("docker.io/acme/x:1"));
    stage.add(&[layout.source()]).code(0);
    let mut second = Layout::new(stage.path("y"));
    let manifest = second.manifest(b"of another registry", json!({}));
    let other = second.list(manifest, Some("quay.io/acme/x:1"));
    stage.add(&[second.source()]).code(0);
    let served = serve(&stage);
    let base = format!("http://{}/v2", served.address());
    let blob = format!("{base}/acme/x/blobs/sha256:{}", sha256(&layer));
    std::fs::write(stage.path("layer"), &layer).unwrap();
    let whole = stage.path("layer");
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("70000-2999998", 70_000, 2_999_999),
        ("2999999-", 2_999_999, 3_000_000),
        ("-5", 2_999_995, 3_000_000),
    ] {
        sh(&format!(
            "curl -sf -r {range} {blob} | cmp - <(tail -c +{} {} | head -c {})",
            from + 1,
            whole.display(),
            to - from
        ));
    }
    let code = |args: &str| sh(&format!("curl -s -o /dev/null -w '%{{http_code}}' {args}"));
    assert_eq!(code(&format!("-r 3000000- {blob}")), "416");
    assert_eq!(code(&format!("-r 0-1,5-6 {blob}")), "416");
    assert_eq!(code(&format!("-X POST {base}/acme/x/blobs/uploads/")), "405");
    assert_eq!(code(&format!("{base}/acme/none/manifests/1")), "404");
    assert_eq!(code(&format!("{base}/acme/x/manifests/2")), "404");
    assert_eq!(code(&format!("{base}/acme/x/blobs/sha256:zz")), "400");
    assert_eq!(code(&format!("'{base}/_catalog?n=x'")), "400");
    assert_eq!(code(&format!("--path-as-is {base}/acme/../x/manifests/1")), "400");
    // The same path of two registries is two images.
    let digest = |url: &str| {
        sh(&format!(
            "curl -sfI '{url}' | grep -i docker-content-digest | tr -d '\\r' | cut -d' ' -f2"
        ))
        .trim()
        .to_owned()
    };
    assert_eq!(digest(&format!("{base}/acme/x/manifests/1?ns=quay.io")), other);
    assert_ne!(digest(&format!("{base}/acme/x/manifests/1")), other);
    assert_eq!(digest(&format!("{base}/quay.io/acme/x/manifests/1")), other);
}

#[test]
fn a_remount_shows_the_same_inodes_and_the_same_index() {
    let stage = Stage::new();
    stage.init();
    let folder = stage.path("folder");
    std::fs::create_dir_all(folder.join("sub/empty")).unwrap();
    for n in 0..300 {
        std::fs::write(folder.join(format!("sub/{n}")), noise(n * 40, 3)).unwrap();
    }
    std::os::unix::fs::symlink("sub/1", folder.join("link")).unwrap();
    let mut layout = Layout::new(stage.path("x"));
    let manifest = layout.manifest(&noise(300_000, 1), json!({}));
    layout.list(manifest, Some("docker.io/acme/x:1"));
    stage
        .add(&[layout.source(), format!("dir:{}", folder.display())])
        .code(0);
    let look = || {
        let (mut mounted, at) = mount(&stage);
        let seen = sh(&format!(
            "cd {}; find . -printf '%i %y %m %s %T@ %p %l\\n' | sort; sha256sum oci/index.json",
            at.display()
        ));
        sh(&format!(
            "diff -r --no-dereference {} {}/files/folder",
            folder.display(),
            at.display()
        ));
        assert_eq!(mounted.stop(), 0);
        seen
    };
    let seen = look();
    assert_eq!(look(), seen);
    let inodes: Vec<&str> = seen
        .lines()
        .filter(|l| !l.contains("blobs/sha256/"))
        .filter_map(|l| l.split(' ').next())
        .collect();
    let unique: std::collections::BTreeSet<&&str> = inodes.iter().collect();
    assert_eq!(unique.len(), inodes.len());
}

#[test]
fn a_flipped_bit_is_an_error_where_it_is_and_nowhere_else() {
    let stage = Stage::new();
    stage.init();
    let folder = stage.path("folder");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("good"), noise(2_000_000, 1)).unwrap();
    std::fs::write(folder.join("bad"), noise(2_000_000, 2)).unwrap();
    stage.add(&[format!("dir:{}", folder.display())]).code(0);
    // A part of `bad` as it lies, uncompressed, in the pack.
    let pack = stage.disk().join("packs/000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let part = &noise(2_000_000, 2)[1_000_000..1_000_064];
    let at = bytes.windows(64).position(|w| w == part).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let said = stage
        .run(["verify", stage.disk().to_str().unwrap()])
        .code(3)
        .says("packs/000001.pack")
        .says("files/folder/bad");
    assert!(
        !said.out.contains("folder/good") && !said.err.contains("folder/good"),
        "{said:?}"
    );
    let (mut mounted, at) = mount(&stage);
    sh(&format!(
        "cmp {}/good {}/files/folder/good",
        folder.display(),
        at.display()
    ));
    let failed = Command::new("cat")
        .arg(at.join("files/folder/bad"))
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(
        !failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("Input/output error")
    );
    sh(&format!(
        "cmp {}/good {}/files/folder/good",
        folder.display(),
        at.display()
    ));
    assert_eq!(mounted.stop(), 0);
}
