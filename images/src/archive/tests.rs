#![expect(clippy::disallowed_methods, reason = "the archive that is read is no medium")]

use super::tar_index::TarIndex;
use super::{open_docker, open_oci};
use crate::image_source::ImageSource;
use crate::manifest::{Content, Descriptor, Document};
use crate::naming::OfferedName;
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::name::ImageName;
use std::io::{Read as _, Write as _};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

/// An archive that is being written.
struct Fixture(Builder<Vec<u8>>);

impl Fixture {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, bytes).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(kind);
        header.set_link_name_literal(target).unwrap();
        let _ = header
            .as_gnu_mut()
            .unwrap()
            .name
            .as_mut_slice()
            .write(name.as_bytes())
            .unwrap();
        header.set_cksum();
        self.0.append(&header, &[][..]).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn save(self) -> NamedTempFile {
        save(&self.bytes())
    }
}

fn save(bytes: &[u8]) -> NamedTempFile {
    let mut file = tempfile::Builder::new()
        .prefix("box")
        .suffix(".tar")
        .tempfile()
        .unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn index(file: &NamedTempFile) -> Result<TarIndex> {
    TarIndex::open(file.path(), "archive")
}

fn content(index: &TarIndex, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(index.find(name)?.map(|range| {
        let mut bytes = Vec::new();
        range.into_reader().read_to_end(&mut bytes).unwrap();
        bytes
    }))
}

fn read(source: &dyn ImageSource, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    source
        .open_blob(descriptor)
        .unwrap()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn files_are_found_by_normalised_name_and_the_last_of_a_name_wins() {
    let long = format!("{}/layer.tar", "d".repeat(200));
    let file = Fixture::new()
        .file("./a", b"old")
        .file(&long, b"long")
        .file("b/c", b"")
        .file("a", b"new")
        .save();
    let index = index(&file).unwrap();
    assert_eq!(content(&index, "a").unwrap().unwrap(), b"new");
    assert_eq!(content(&index, &long).unwrap().unwrap(), b"long");
    assert_eq!(content(&index, "b/c").unwrap().unwrap(), b"");
    assert_eq!(content(&index, "b").unwrap(), None);
}

#[test]
fn links_are_followed_within_the_archive_only() {
    let file = Fixture::new()
        .file("x/layer.tar", b"layer")
        .link(EntryType::Symlink, "y/layer.tar", "../x/layer.tar")
        .link(EntryType::Link, "z", "y/layer.tar")
        .link(EntryType::Symlink, "out", "../../etc/passwd")
        .link(EntryType::Symlink, "absolute", "/etc/passwd")
        .link(EntryType::Symlink, "round", "round")
        .save();
    let index = index(&file).unwrap();
    assert_eq!(content(&index, "y/layer.tar").unwrap().unwrap(), b"layer");
    assert_eq!(content(&index, "z").unwrap().unwrap(), b"layer");
    assert!(matches!(index.find("out"), Err(Error::Malformed { .. })));
    assert!(index.find("absolute").unwrap().is_none());
    assert!(matches!(index.find("round"), Err(Error::Malformed { .. })));
}

#[test]
fn hostile_headers_are_refused_where_they_lie() {
    let good = Fixture::new().file("a", &[7; 1000]).bytes();
    let mut truncated = good.clone();
    truncated.truncate(1000);
    let mut flipped = good.clone();
    *flipped.first_mut().unwrap() ^= 1;
    let mut lying = Header::new_gnu();
    lying.set_size(u64::MAX / 2);
    lying.set_cksum();
    let mut long = Header::new_gnu();
    long.set_size(1 << 40);
    long.set_entry_type(EntryType::GNULongName);
    long.set_cksum();
    for bytes in [
        truncated,
        flipped,
        lying.as_bytes().to_vec(),
        long.as_bytes().to_vec(),
        vec![b'x'; 600],
        vec![1],
    ] {
        assert!(
            matches!(index(&save(&bytes)), Err(Error::Malformed { .. })),
            "{:?}",
            bytes.len()
        );
    }
    // An extended header that is really there, and too long.
    let mut huge = Header::new_gnu();
    huge.set_size(2 << 20);
    huge.set_entry_type(EntryType::XHeader);
    huge.set_cksum();
    let mut bytes = huge.as_bytes().to_vec();
    bytes.resize(3 << 20, 0);
    assert!(matches!(index(&save(&bytes)), Err(Error::TooLarge { .. })));
}

#[test]
fn a_compressed_archive_is_told_how_to_decompress_it() {
    for (magic, how) in [
        (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], "gunzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], "zstd -d"),
    ] {
        let message = index(&save(magic)).unwrap_err().to_string();
        assert!(message.contains(how), "{message}");
    }
}

#[test]
fn a_layout_in_a_tar_is_named_after_the_file() {
    let config = b"{}";
    let descriptor = |bytes: &[u8]| {
        format!(
            r#""digest":"{}","size":{}"#,
            Sha256::of(bytes).to_digest(),
            bytes.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{{}}},"layers":[]}}"#,
        descriptor(config)
    );
    let entry = format!(
        r#"{{{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}"#,
        descriptor(manifest.as_bytes())
    );
    let blob = |bytes: &[u8]| format!("./blobs/sha256/{}", Sha256::of(bytes).to_hex());
    let bytes = Fixture::new()
        .file("./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("./index.json", format!(r#"{{"manifests":[{entry}]}}"#).as_bytes())
        .file(&blob(manifest.as_bytes()), manifest.as_bytes())
        .file(&blob(config), config)
        .bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Box.tar");
    std::fs::write(&path, bytes).unwrap();
    let source = open_oci(&path, None).unwrap();
    let offer = source.offers().first().unwrap();
    assert_eq!(
        offer.name,
        OfferedName::Derived(ImageName::parse("localhost/box:v1").unwrap())
    );
    assert_eq!(
        source.manifest(&offer.target).unwrap().unwrap(),
        manifest.as_bytes()
    );
    assert_eq!(read(&source, &Descriptor::new("", Sha256::of(config), 2)), config);
}

fn docker_config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Sha256::of(layer).to_digest()))
        .collect();
    format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
    .into_bytes()
}

#[test]
fn an_old_docker_archive_gets_a_manifest_always_the_same() {
    let config = docker_config(&[b"base", b"base", b"top"]);
    let listing = r#"[{"Config":"c.json","RepoTags":["nginx:1","acme/api:2"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#;
    let archive = || {
        Fixture::new()
            .file("1/layer.tar", b"base")
            .link(EntryType::Symlink, "2/layer.tar", "../1/layer.tar")
            .file("3/layer.tar", b"top")
            .file("c.json", &config)
            .file("manifest.json", listing.as_bytes())
            .save()
    };
    let (one, two) = (archive(), archive());
    let source = open_docker(one.path(), None).unwrap();
    let names: Vec<_> = source.offers().iter().map(|offer| offer.name.clone()).collect();
    let full = |text| OfferedName::Full(ImageName::parse(text).unwrap());
    assert_eq!(
        names,
        [full("docker.io/library/nginx:1"), full("docker.io/acme/api:2")]
    );
    let target = &source.offers().first().unwrap().target;
    let bytes = source.manifest(target).unwrap().unwrap();
    assert_eq!(Sha256::of(&bytes), target.digest);
    let document = Document::parse(&bytes, media_types::OCI_MANIFEST, "made").unwrap();
    let Content::Manifest {
        config: Some(made),
        layers,
    } = document.content
    else {
        panic!("{document:?}")
    };
    assert_eq!(read(&*source, &made), config);
    assert_eq!(
        layers
            .iter()
            .map(|layer| read(&*source, layer))
            .collect::<Vec<_>>(),
        [&b"base"[..], b"base", b"top"]
    );
    assert!(
        layers
            .iter()
            .all(|layer| layer.media_type == media_types::OCI_LAYER_TAR)
    );
    let again = open_docker(two.path(), Some("nginx:1")).unwrap();
    assert_eq!(
        again
            .offers()
            .iter()
            .map(|offer| offer.target.digest)
            .collect::<Vec<_>>(),
        [target.digest]
    );
    assert_eq!(open_docker(two.path(), Some("@0")).unwrap().offers().len(), 2);
    assert!(matches!(
        open_docker(two.path(), Some("nginx:2")),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn a_docker_layer_that_is_not_what_its_config_says_is_refused() {
    let listing = |layers: &str| format!(r#"[{{"Config":"c.json","RepoTags":null,"Layers":[{layers}]}}]"#);
    let open = |config: &[u8], layers: &str, layer: &[u8]| {
        let file = Fixture::new()
            .file("l", layer)
            .file("c.json", config)
            .file("manifest.json", listing(layers).as_bytes())
            .save();
        open_docker(file.path(), None).map(|source| source.offers().len())
    };
    let config = docker_config(&[b"layer"]);
    assert_eq!(open(&config, r#""l""#, b"layer").unwrap(), 1);
    assert!(matches!(
        open(&config, r#""l""#, b"other"),
        Err(Error::Mismatch { .. })
    ));
    assert!(matches!(
        open(&config, r#""l","l""#, b"layer"),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        open(&config, r#""none""#, b"layer"),
        Err(Error::Missing { .. })
    ));
    assert!(matches!(
        open(b"{}", r#""l""#, b"layer"),
        Err(Error::Malformed { .. })
    ));
}
