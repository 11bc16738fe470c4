//! Images that are signed with cosign, and such that are not though somebody would have it so.
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
use stage::cosign::{Cosign, Signer};
use stage::docker_registry::Registry;
use stage::{Layout, Running, Said, Stage, noise, sh};
use std::path::Path;

const IMAGE: &str = "docker.io/acme/api:1";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The payload by which cosign signs a digest.
fn payload(digest: &str) -> Vec<u8> {
    json!({"critical": {
        "identity": {"docker-reference": "registry/acme/api"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }, "optional": null})
    .to_string()
    .into_bytes()
}

/// A bundle around a statement about a digest.
fn bundle(signer: &Signer, digest: &str, predicate: &str) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.strip_prefix("sha256:").unwrap()}}],
        "predicateType": predicate,
        "predicate": {},
    })
    .to_string();
    let kind = "application/vnd.in-toto+json";
    let signed = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    let encoded = sh(&format!("printf %s '{statement}' | openssl base64 -A"));
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": {
            "payload": encoded, "payloadType": kind, "signatures": [{"sig": signer.sign(signed.as_bytes())}],
        },
    })
}

/// A layout with one image, of which signatures are made by hand.
struct Signed {
    layout: Layout,
    image: Value,
    digest: String,
}

impl Signed {
    fn new(stage: &Stage) -> Self {
        let mut layout = Layout::new(stage.path("layout"));
        let image = layout.manifest(&noise(20_000, 1), json!({}));
        let digest = layout.list(image.clone(), Some(IMAGE));
        Self {
            layout,
            image,
            digest,
        }
    }

    /// A layer of simple signing.
    fn simple(&self, payload: &[u8], signature: Option<&str>) -> Value {
        let mut layer = self.layout.blob(SIMPLE, payload);
        if let Some(signature) = signature {
            layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        }
        layer
    }

    fn manifest(&self, layers: &[Value], more: Value) -> Value {
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": self.layout.blob(CONFIG, b"{}"),
        });
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            manifest[key] = value;
        }
        self.layout.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn tag(&mut self, layers: &[Value]) {
        let manifest = self.manifest(layers, json!({}));
        self.tag_as(manifest);
    }

    fn tag_as(&mut self, manifest: Value) {
        let tag = format!("docker.io/acme/api:{}.sig", self.digest.replace(':', "-"));
        self.layout.list(manifest, Some(&tag));
    }

    fn referrer(&mut self, layers: &[Value]) {
        let manifest = self.manifest(layers, json!({"subject": self.image}));
        self.layout.list(manifest, None);
    }

    fn bundle(&mut self, bundle: &str) {
        let layer = self.layout.blob(BUNDLE, bundle.as_bytes());
        self.referrer(&[layer]);
    }
}

fn verify(stage: &Stage, keys: &[&Path]) -> Said {
    let mut args = vec![
        "verify".to_owned(),
        "--images".to_owned(),
        stage.disk().display().to_string(),
    ];
    for key in keys {
        args.extend(["--cosign-key".to_owned(), key.display().to_string()]);
    }
    stage.run(args)
}

/// What `--json` says of the images that were judged.
fn judged(stage: &Stage, key: &Path, code: i32) -> Vec<Value> {
    let (disk, key) = (stage.disk(), key.to_str().unwrap());
    let said = stage
        .run([
            "verify",
            "--images",
            "--json",
            "--cosign-key",
            key,
            disk.to_str().unwrap(),
        ])
        .code(code);
    said.json()["images_signed"].as_array().unwrap().clone()
}

/// A way to sign an image, or to pretend that it is.
type Way<'a> = Box<dyn Fn(&mut Signed) + 'a>;

/// Both places where images are judged say the same of each: on the way in, and on the disk.
#[test]
fn what_holds_is_signed_and_what_does_not_is_refused_and_named_with_its_reason() {
    let stage = Stage::new();
    let (ours, other) = (Signer::new(&stage, "ours"), Signer::new(&stage, "other"));
    let elsewhere = format!("sha256:{}", stage::sha256(b"another image"));
    let good = |signed: &Signed| {
        let payload = payload(&signed.digest);
        let signature = ours.sign(&payload);
        signed.simple(&payload, Some(&signature))
    };
    let (no, another) = ("no signature", "by another key");
    let ways: Vec<(&str, Option<&str>, Way<'_>)> = vec![
        (
            "by tag",
            None,
            Box::new(|signed| {
                let layer = good(signed);
                signed.tag(&[layer]);
            }),
        ),
        (
            "by referrer",
            None,
            Box::new(|signed| {
                let layer = good(signed);
                signed.referrer(&[layer]);
            }),
        ),
        (
            "by bundle",
            None,
            Box::new(|signed| {
                let bundle = bundle(&ours, &signed.digest, SIGN);
                signed.bundle(&bundle.to_string());
            }),
        ),
        (
            "beside one that does not hold",
            None,
            Box::new(|signed| {
                let layers = [signed.simple(b"{}", None), good(signed)];
                signed.tag(&layers);
            }),
        ),
        ("not at all", Some(no), Box::new(|_| ())),
        (
            "with an SBOM only",
            Some(no),
            Box::new(|signed| {
                let sbom = signed.layout.blob("application/spdx+json", b"{}");
                signed.referrer(&[sbom]);
            }),
        ),
        (
            "by another key, tag",
            Some(another),
            Box::new(|signed| {
                let payload = payload(&signed.digest);
                let layer = signed.simple(&payload, Some(&other.sign(&payload)));
                signed.tag(&[layer]);
            }),
        ),
        (
            "by another key, bundle",
            Some(another),
            Box::new(|signed| {
                let bundle = bundle(&other, &signed.digest, SIGN);
                signed.bundle(&bundle.to_string());
            }),
        ),
        (
            "a payload changed since",
            Some(another),
            Box::new(|signed| {
                let signature = ours.sign(&payload(&signed.digest));
                let changed = String::from_utf8(payload(&signed.digest))
                    .unwrap()
                    .replace("acme/api", "acme/apj");
                let layer = signed.simple(changed.as_bytes(), Some(&signature));
                signed.tag(&[layer]);
            }),
        ),
        (
            "a digest put into a payload",
            Some(another),
            Box::new(|signed| {
                let signature = ours.sign(&payload(&elsewhere));
                let layer = signed.simple(&payload(&signed.digest), Some(&signature));
                signed.tag(&[layer]);
            }),
        ),
        (
            "a bundle's statement changed since",
            Some(another),
            Box::new(|signed| {
                let mut bundle_now = bundle(&ours, &elsewhere, SIGN);
                bundle_now["dsseEnvelope"]["payload"] =
                    bundle(&ours, &signed.digest, SIGN)["dsseEnvelope"]["payload"].clone();
                signed.bundle(&bundle_now.to_string());
            }),
        ),
        (
            "of another image, tag",
            Some("another digest"),
            Box::new(|signed| {
                let payload = payload(&elsewhere);
                let layer = signed.simple(&payload, Some(&ours.sign(&payload)));
                signed.tag(&[layer]);
            }),
        ),
        (
            "of another image, bundle",
            Some("another digest"),
            Box::new(|signed| {
                let bundle = bundle(&ours, &elsewhere, SIGN);
                signed.bundle(&bundle.to_string());
            }),
        ),
        (
            "an attestation",
            Some("https://slsa.dev/provenance/v1"),
            Box::new(|signed| {
                let bundle = bundle(&ours, &signed.digest, "https://slsa.dev/provenance/v1");
                signed.bundle(&bundle.to_string());
            }),
        ),
        (
            "a signature that is none",
            Some("not base64"),
            Box::new(|signed| {
                let layer = signed.simple(&payload(&signed.digest), Some("\u{7}!"));
                signed.tag(&[layer]);
            }),
        ),
        (
            "a payload without its signature",
            Some("no annotation"),
            Box::new(|signed| {
                let layer = signed.simple(&payload(&signed.digest), None);
                signed.tag(&[layer]);
            }),
        ),
        (
            "a payload that is not JSON",
            Some("not JSON"),
            Box::new(|signed| {
                let layer = signed.simple(b"\x00\xff", Some(&ours.sign(b"\x00\xff")));
                signed.tag(&[layer]);
            }),
        ),
        (
            "a payload over the limit",
            Some("over the limit"),
            Box::new(|signed| {
                let mut long = payload(&signed.digest);
                long.resize((1 << 20) + 1, b' ');
                let layer = signed.simple(&long, Some(&ours.sign(&long)));
                signed.tag(&[layer]);
            }),
        ),
        (
            "a bundle that is not JSON",
            Some("malformed"),
            Box::new(|signed| signed.bundle("{")),
        ),
        (
            "behind more than are looked at",
            Some("more than 100"),
            Box::new(|signed| {
                let payload = payload(&signed.digest);
                let bad = signed.simple(&payload, Some(&other.sign(&payload)));
                let mut layers = vec![bad; 100];
                layers.push(good(signed));
                signed.tag(&layers);
            }),
        ),
    ];
    let wants_key = ours.public.display().to_string();
    for (way, reason, make) in ways {
        let stage = Stage::new();
        stage.init();
        let mut signed = Signed::new(&stage);
        make(&mut signed);
        let args = [
            signed.layout.source(),
            "--cosign-key".to_owned(),
            wants_key.clone(),
        ];
        for dry_run in [true, false] {
            let mut args = args.to_vec();
            args.extend(dry_run.then(|| "--dry-run".to_owned()));
            let said = stage.add(&args);
            match reason {
                None => {
                    said.code(0).says(&format!("signed   {IMAGE}: by {wants_key}"));
                }
                Some(reason) => {
                    said.code(4).says(IMAGE).says(reason);
                    assert_eq!(stage.generation(), 1, "{way}");
                }
            }
        }
        stage.add(&[signed.layout.source()]).code(0);
        let found = judged(&stage, &ours.public, if reason.is_some() { 6 } else { 0 });
        // What is the image's own, and none of what belongs to it.
        assert_eq!(found.len(), 1, "{way}: {found:?}");
        assert_eq!(found[0]["name"], IMAGE);
        assert_eq!(found[0]["digest"], signed.digest.as_str());
        match reason {
            None => {
                assert_eq!(found[0]["signed_by"], json!([wants_key]), "{way}");
                assert_eq!(found[0]["reason"], Value::Null);
            }
            Some(reason) => {
                assert_eq!(found[0]["signed_by"], json!([]), "{way}");
                let text = found[0]["reason"].as_str().unwrap();
                assert!(text.contains(reason), "{way}: {text}");
            }
        }
        stage.assert_whole();
    }
}

#[test]
fn an_image_that_can_be_run_behind_cosign_s_tag_has_to_be_signed_as_any_other() {
    let stage = Stage::new();
    stage.init();
    let ours = Signer::new(&stage, "ours");
    let mut signed = Signed::new(&stage);
    let bundle = bundle(&ours, &signed.digest, SIGN);
    signed.bundle(&bundle.to_string());
    let hidden = signed.layout.manifest(&noise(20_000, 2), json!({}));
    signed.tag_as(hidden);
    let key = ours.public.display().to_string();
    let args = [
        format!("{}:{IMAGE}", signed.layout.source()),
        "--cosign-key".to_owned(),
        key.clone(),
    ];
    stage
        .add(&args)
        .code(4)
        .says("1 of the images is not signed")
        .says(".sig");
    stage.add(&args[..1]).code(0);
    let found = judged(&stage, &ours.public, 6);
    assert_eq!(found.len(), 2);
    assert!(found[0]["name"] == IMAGE && found[0]["signed_by"] == json!([key]));
    assert!(found[1]["name"].as_str().unwrap().ends_with(".sig") && found[1]["signed_by"] == json!([]));
}

#[test]
fn one_of_several_keys_is_enough_and_all_that_signed_are_named() {
    let stage = Stage::new();
    stage.init();
    let (ours, other) = (Signer::new(&stage, "ours"), Signer::new(&stage, "other"));
    let third = Signer::new(&stage, "third");
    let mut signed = Signed::new(&stage);
    for signer in [&ours, &other] {
        let bundle = bundle(signer, &signed.digest, SIGN);
        signed.bundle(&bundle.to_string());
    }
    stage.add(&[signed.layout.source()]).code(0);
    let by = |keys: &[&Path]| {
        let names: Vec<_> = keys.iter().map(|key| key.display().to_string()).collect();
        names.join(", ")
    };
    verify(&stage, &[&third.public, &other.public])
        .code(0)
        .says(&format!("{IMAGE}: by {}\n", by(&[&other.public])));
    verify(&stage, &[&other.public, &third.public, &ours.public])
        .code(0)
        .says(&format!("{IMAGE}: by {}\n", by(&[&other.public, &ours.public])))
        .says("1 of 1 image signed");
    verify(&stage, &[&third.public]).code(6).says("root ");
}

#[test]
fn a_signature_of_an_index_is_of_the_index_and_a_former_meaning_of_its_tag_is_no_image() {
    let stage = Stage::new();
    stage.init();
    let ours = Signer::new(&stage, "ours");
    let mut signed = Signed::new(&stage);
    let children: Vec<Value> = ["amd64", "arm64"]
        .into_iter()
        .map(|architecture| {
            let mut child = signed
                .layout
                .manifest_for(architecture, &noise(20_000, 3), json!({}));
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            child
        })
        .collect();
    let index = signed.layout.index_of(&children);
    let digest = signed.layout.list(index, Some("docker.io/acme/multi:1"));
    let key = ours.public.display().to_string();
    // Signed twice: the tag moves, and what it stood for before stays by its digest.
    let mut layers = Vec::new();
    for reference in ["a", "b"] {
        let payload = String::from_utf8(payload(&digest))
            .unwrap()
            .replace("acme/api", reference);
        layers.push(signed.simple(payload.as_bytes(), Some(&ours.sign(payload.as_bytes()))));
        let mut both = Layout::new(stage.path(&format!("layout-{reference}")));
        sh(&format!(
            "cp {}/blobs/sha256/* {}/blobs/sha256/",
            signed.layout.path.display(),
            both.path.display()
        ));
        let index: Value =
            serde_json::from_slice(&std::fs::read(signed.layout.path.join("index.json")).unwrap()).unwrap();
        both.list(index["manifests"][1].clone(), Some("docker.io/acme/multi:1"));
        let manifest = signed.manifest(&layers, json!({}));
        sh(&format!(
            "cp {}/blobs/sha256/* {}/blobs/sha256/",
            signed.layout.path.display(),
            both.path.display()
        ));
        let tag = format!("docker.io/acme/multi:{}.sig", digest.replace(':', "-"));
        both.list(manifest, Some(&tag));
        stage
            .add(&[
                both.source(),
                "--platform".to_owned(),
                "linux/amd64".to_owned(),
                "--cosign-key".to_owned(),
                key.clone(),
            ])
            .code(0);
    }
    let disk = stage.disk();
    stage
        .run(["ls", "--json", disk.to_str().unwrap()])
        .code(0)
        .says("docker.io/acme/multi@sha256:");
    let found = judged(&stage, &ours.public, 0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0]["name"] == "docker.io/acme/multi:1" && found[0]["digest"] == digest.as_str());
}

#[test]
fn archives_are_judged_as_layouts_are_and_one_without_signatures_is_refused() {
    let stage = Stage::new();
    stage.init();
    let ours = Signer::new(&stage, "ours");
    let mut signed = Signed::new(&stage);
    let bundle = bundle(&ours, &signed.digest, SIGN);
    signed.bundle(&bundle.to_string());
    let (oci, docker) = (stage.path("oci.tar"), stage.path("docker.tar"));
    let layout = signed.layout.path.display();
    sh(&format!("tar -C {layout} -cf {} .", oci.display()));
    sh(&format!(
        "skopeo copy -q oci:{layout}:{IMAGE} docker-archive:{}:acme/plain:1",
        docker.display()
    ));
    let add = |source: String| {
        stage.add(&[
            source,
            "--cosign-key".to_owned(),
            ours.public.display().to_string(),
        ])
    };
    add(format!("docker-archive:{}", docker.display()))
        .code(4)
        .says("docker.io/acme/plain:1")
        .says("no signature");
    add(format!("oci-archive:{}", oci.display())).code(0);
    verify(&stage, &[&ours.public])
        .code(0)
        .says("1 of 1 image signed");
}

#[test]
fn damage_is_told_before_trust_and_a_key_that_is_none_before_anything() {
    let stage = Stage::new();
    stage.init();
    let ours = Signer::new(&stage, "ours");
    let signed = Signed::new(&stage);
    stage.add(&[signed.layout.source()]).code(0);
    let not_a_key = stage.path("not-a-key");
    std::fs::write(&not_a_key, "nothing").unwrap();
    for key in [not_a_key, stage.path("nowhere")] {
        verify(&stage, &[&key]).code(1).says(key.to_str().unwrap());
        let args = [
            signed.layout.source(),
            "--cosign-key".to_owned(),
            key.display().to_string(),
        ];
        stage.add(&args).code(1).says(key.to_str().unwrap());
    }
    let loose = [
        format!("file:{}", ours.public.display()),
        "--cosign-key".to_owned(),
        ours.public.display().to_string(),
    ];
    stage.add(&loose).code(2).says("--cosign-key");
    verify(&stage, &[&ours.public]).code(6);
    sh(&format!(
        "pack=$(ls {0}/packs/*.pack {0}/packs/* | head -n 1); printf '\\377\\377\\377\\377' | dd of=$pack bs=1 seek=3000 conv=notrunc status=none",
        stage.disk().display()
    ));
    verify(&stage, &[&ours.public]).code(3).says("unsigned");
}

/// A registry with an image in it, for each form that each stock cosign writes; and the same from a disk.
#[test]
fn stock_cosign_signs_in_every_form_and_agrees_with_us_on_what_comes_from_the_disk() {
    for cosign in Cosign::ready() {
        for (form, how) in cosign.forms() {
            let stage = Stage::new();
            stage.init();
            let registry = Registry::start(&stage);
            let (ours, other) = (
                cosign.key_pair(&stage, "cosign"),
                cosign.key_pair(&stage, "other"),
            );
            let mut layout = Layout::new(stage.path("layout"));
            let mut digests = Vec::new();
            for (seed, tag) in ["signed", "by-other", "unsigned"].into_iter().enumerate() {
                let manifest = layout.manifest(&noise(50_000, u64::try_from(seed).unwrap()), json!({}));
                digests.push(layout.list(manifest, Some(tag)));
                sh(&format!(
                    "skopeo copy -q --preserve-digests --dest-tls-verify=false oci:{}:{tag} docker://{}/acme/{tag}:1",
                    layout.path.display(),
                    registry.address
                ));
            }
            let at = |name: &str, digest: &str| format!("{}/acme/{name}@{digest}", registry.address);
            cosign.sign(&stage, "cosign", &how, &at("signed", &digests[0]));
            cosign.sign(&stage, "other", &how, &at("by-other", &digests[1]));
            let context = format!("{cosign:?}, {}", form.name());
            assert!(
                cosign.verifies(&stage, form, &ours, &at("signed", &digests[0])),
                "{context}: it does not believe itself"
            );

            let source = |name: &str| {
                [
                    format!("docker://{}/acme/{name}:1", registry.address),
                    "--as".to_owned(),
                    format!("docker.io/acme/{name}:1"),
                    "--plain-http".to_owned(),
                    registry.address.clone(),
                ]
            };
            let key = ["--cosign-key".to_owned(), ours.display().to_string()];
            let guarded = |name: &str| stage.add(&[&source(name)[..], &key[..]].concat());
            guarded("by-other").code(4).says("another key");
            guarded("unsigned").code(4).says("no signature");
            assert_eq!(stage.generation(), 1, "{context}");
            guarded("signed").code(0);
            verify(&stage, &[&ours]).code(0).says("1 of 1 image signed");
            for name in ["by-other", "unsigned"] {
                stage.add(&source(name)).code(0);
            }
            verify(&stage, &[&ours])
                .code(6)
                .says("1 of 3 images signed")
                .says(&format!(
                    "acme/by-other:1 ({}): a signature by another key",
                    digests[1]
                ))
                .says(&format!("acme/unsigned:1 ({}): no signature", digests[2]));
            verify(&stage, &[&other]).code(6).says("1 of 3 images signed");

            let mut served = Running::start(stage.command([
                "serve",
                stage.disk().to_str().unwrap(),
                "--listen",
                "127.0.0.1:0",
            ]));
            let from_disk = |name: &str| format!("{}/acme/{name}:1", served.address());
            for (key, name, expected) in [
                (&ours, "signed", true),
                (&other, "signed", false),
                (&ours, "by-other", false),
                (&other, "by-other", true),
                (&ours, "unsigned", false),
            ] {
                assert_eq!(
                    cosign.verifies(&stage, form, key, &from_disk(name)),
                    expected,
                    "{context}: {name} with {}",
                    key.display()
                );
            }
            assert_eq!(served.stop(), 0);
            stage.assert_whole();
        }
    }
}

/// Copied to where it would count for another image, as anyone could who can write to the registry.
#[test]
fn a_stock_signature_that_was_copied_to_another_image_is_refused() {
    for cosign in Cosign::ready() {
        for (form, how) in cosign.forms() {
            let stage = Stage::new();
            stage.init();
            let registry = Registry::start(&stage);
            let ours = cosign.key_pair(&stage, "cosign");
            let mut layout = Layout::new(stage.path("layout"));
            let mut digests = Vec::new();
            for (seed, tag) in ["1", "2"].into_iter().enumerate() {
                let manifest = layout.manifest(&noise(50_000, u64::try_from(seed).unwrap()), json!({}));
                digests.push(layout.list(manifest, Some(tag)));
                sh(&format!(
                    "skopeo copy -q --preserve-digests --dest-tls-verify=false oci:{}:{tag} docker://{}/acme/api:{tag}",
                    layout.path.display(),
                    registry.address
                ));
            }
            let repository = format!("{}/acme/api", registry.address);
            cosign.sign(&stage, "cosign", &how, &format!("{repository}@{}", digests[0]));
            let ending = if form == stage::cosign::Form::Tag {
                ".sig"
            } else {
                ""
            };
            let tag = |digest: &str| format!("{}{ending}", digest.replace(':', "-"));
            sh(&format!(
                "type=$(curl -sI -H 'Accept: application/vnd.oci.image.index.v1+json, {MANIFEST}' http://{0}/v2/acme/api/manifests/{1} | tr -d '\\r' | sed -n 's/^Content-Type: //Ip')
                 curl -sf -H \"Accept: $type\" http://{0}/v2/acme/api/manifests/{1} >{3}
                 curl -sf -X PUT -H \"Content-Type: $type\" --data-binary @{3} http://{0}/v2/acme/api/manifests/{2}",
                registry.address,
                tag(&digests[0]),
                tag(&digests[1]),
                stage.path("copied").display()
            ));
            let add = |tag: &str| {
                stage.add(&[
                    format!("docker://{repository}:{tag}"),
                    "--plain-http".to_owned(),
                    registry.address.clone(),
                    "--cosign-key".to_owned(),
                    ours.display().to_string(),
                ])
            };
            add("1").code(0);
            add("2").code(4).says("another digest").says(&digests[0]);
        }
    }
}
