#![expect(clippy::disallowed_methods, reason = "the layout that is read is no medium")]

use super::*;
use holdall::name::ImageName;
use std::fs;

/// A layout on disk with images of one layer.
struct Fixture {
    dir: tempfile::TempDir,
    entries: Vec<String>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("layout").tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self {
            dir,
            entries: Vec::new(),
        }
    }

    fn path_of(&self, digest: &Sha256) -> std::path::PathBuf {
        self.dir.path().join("blobs/sha256").join(digest.to_hex())
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = Sha256::of(bytes);
        fs::write(self.path_of(&digest), bytes).unwrap();
        format!(r#""digest":"{}","size":{}"#, digest.to_digest(), bytes.len())
    }

    fn image(&mut self, layer: &[u8], subject: Option<&Sha256>, annotations: &str) -> Sha256 {
        let config = self.blob(b"{}");
        let layer = self.blob(layer);
        let subject = subject.map_or(String::new(), |subject| {
            format!(r#","subject":{{"digest":"{}","size":1}}"#, subject.to_digest())
        });
        let manifest =
            format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{layer}}}]{subject}}}"#);
        let entry = self.blob(manifest.as_bytes());
        self.entries.push(format!(
            r#"{{"mediaType":"{}",{entry},"annotations":{{{annotations}}}}}"#,
            media_types::OCI_MANIFEST
        ));
        Sha256::of(manifest.as_bytes())
    }

    fn open(&self, reference: Option<&str>) -> Result<Layout<folder::Folder>> {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            self.entries.join(",")
        );
        fs::write(self.dir.path().join("index.json"), index).unwrap();
        super::open(self.dir.path(), reference)
    }
}

fn tag(text: &str) -> String {
    format!(r#""org.opencontainers.image.ref.name":"{text}""#)
}

fn read(layout: &Layout<folder::Folder>, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    layout
        .open_blob(descriptor)
        .unwrap()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn images_are_offered_and_their_blobs_read() {
    let mut fixture = Fixture::new();
    let one = fixture.image(b"one", None, &tag("v1"));
    fixture.image(b"two", None, &tag("quay.io/a/b:2"));
    let layout = fixture.open(None).unwrap();
    let names: Vec<_> = layout.offers().iter().map(|offer| offer.name.clone()).collect();
    assert!(matches!(
        names.first().unwrap(),
        OfferedName::Derived(_) | OfferedName::None(_)
    ));
    assert_eq!(
        *names.get(1).unwrap(),
        OfferedName::Full(ImageName::parse("quay.io/a/b:2").unwrap())
    );
    assert_eq!(read(&layout, &Descriptor::new("", Sha256::of(b"one"), 3)), b"one");
    assert_eq!(
        layout
            .open_blob(&Descriptor::new("", Sha256::of(b"none"), 4))
            .unwrap()
            .map(|_| ()),
        None
    );
    for reference in ["v1", &one.to_digest(), &format!("@{}", one.to_digest())] {
        let selected = fixture.open(Some(reference)).unwrap();
        assert_eq!(
            selected
                .offers()
                .iter()
                .map(|offer| offer.target.digest)
                .collect::<Vec<_>>(),
            [one],
            "{reference}"
        );
    }
    assert!(matches!(fixture.open(Some("v9")), Err(Error::Missing { .. })));
}

#[test]
fn referrers_and_companion_tags_are_found() {
    let mut fixture = Fixture::new();
    let subject = fixture.image(b"one", None, &tag("v1"));
    let referrer = fixture.image(b"sbom", Some(&subject), "");
    let signature_tag = format!("sha256-{}.sig", subject.to_hex());
    let signature = fixture.image(b"sig", None, &tag(&signature_tag));
    let layout = fixture.open(Some("v1")).unwrap();
    let digests: Vec<_> = layout
        .referrers(&subject)
        .unwrap()
        .iter()
        .map(|found| found.digest)
        .collect();
    assert_eq!(digests, [referrer]);
    let repository = Repository::parse("docker.io/a/b").unwrap();
    assert_eq!(
        layout.tag(&repository, &signature_tag).unwrap().unwrap().digest,
        signature
    );
    assert_eq!(layout.tag(&repository, "none").unwrap(), None);
    let companions = fixture
        .open(None)
        .unwrap()
        .offers()
        .iter()
        .filter(|offer| offer.companion)
        .count();
    assert_eq!(companions, 2);
}

#[test]
fn a_symlink_is_named_and_not_followed() {
    let mut fixture = Fixture::new();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fixture.image(b"one", None, &tag("v1"));
    let layer = Descriptor::new("", Sha256::of(b"one"), 3);
    fs::remove_file(fixture.path_of(&layer.digest)).unwrap();
    std::os::unix::fs::symlink(secret.path(), fixture.path_of(&layer.digest)).unwrap();
    let error = fixture
        .open(None)
        .unwrap()
        .open_blob(&layer)
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Link { place } if place.contains(&layer.digest.to_hex())),
        "{error}"
    );

    // The folder of blobs itself may not be a link either.
    let blobs = fixture.dir.path().join("blobs");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(&blobs, elsewhere.path().join("blobs")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("blobs"), &blobs).unwrap();
    assert!(matches!(fixture.open(None), Err(Error::Link { .. })));
}

#[test]
fn a_manifest_of_another_digest_or_size_is_named() {
    let mut fixture = Fixture::new();
    let digest = fixture.image(b"one", None, &tag("v1"));
    let bytes = fs::read(fixture.path_of(&digest)).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for wrong in [flipped, bytes.get(1..).unwrap().to_vec()] {
        fs::write(fixture.path_of(&digest), wrong).unwrap();
        let error = fixture.open(None).unwrap_err();
        assert!(
            matches!(&error, Error::Mismatch { place, .. } if place.contains(&digest.to_hex())),
            "{error}"
        );
    }
}

#[test]
fn a_fifo_a_folder_and_another_version_are_refused() {
    let mut fixture = Fixture::new();
    fixture.image(b"one", None, &tag("v1"));
    let layer = Descriptor::new("", Sha256::of(b"one"), 3);
    fs::remove_file(fixture.path_of(&layer.digest)).unwrap();
    nix::unistd::mkfifo(&fixture.path_of(&layer.digest), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(
        fixture.open(None).unwrap().open_blob(&layer),
        Err(Error::Malformed { .. })
    ));
    fs::write(
        fixture.dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(matches!(fixture.open(None), Err(Error::Unsupported { .. })));
    fs::remove_file(fixture.dir.path().join("oci-layout")).unwrap();
    assert!(matches!(fixture.open(None), Err(Error::Missing { .. })));
}

#[test]
fn a_bad_entry_matters_only_to_those_who_choose_it() {
    let mut fixture = Fixture::new();
    let good = fixture.image(b"one", None, &tag("good"));
    let bad = fixture.image(b"two", None, &tag("bad"));
    fs::write(fixture.path_of(&bad), "{}").unwrap();
    assert_eq!(
        fixture
            .open(Some("good"))
            .unwrap()
            .offers()
            .iter()
            .map(|offer| offer.target.digest)
            .collect::<Vec<_>>(),
        [good]
    );
    for reference in [Some("bad"), None] {
        assert!(matches!(fixture.open(reference), Err(Error::Mismatch { .. })));
    }

    fixture.entries.pop();
    fixture.entries.push(format!(
        r#"{{"digest":"sha512:00","size":1,"annotations":{{{}}}}}"#,
        tag("other")
    ));
    fixture.open(Some("good")).unwrap();
    for reference in [Some("other"), Some("sha512:00"), None] {
        assert!(matches!(fixture.open(reference), Err(Error::Unsupported { .. })));
    }
}
