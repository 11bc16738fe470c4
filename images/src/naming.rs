//! What images are called on the medium: what a source says, what follows from where it lies, and
//! what the operator chose.

use crate::image_source::Offer;
use crate::manifest::Descriptor;
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag, is_path_component};
use std::path::Path;

/// The annotation of a layout's entry that holds its tag or its name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd and Docker say the full name.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What a source calls an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferedName {
    /// A full name that the source itself says.
    Full(ImageName),
    /// A name made from where the source lies, in `localhost/`.
    Derived(ImageName),
    /// It has no name that could be kept, for this reason.
    None(String),
}

/// The repository that names are derived in: `localhost/<stem>`, where `stem` is the name of a layout's
/// folder or that of an archive without its last ending.
#[derive(Debug, Clone)]
pub struct Home {
    stem: String,
    repository: Option<Repository>,
}

impl Home {
    /// That of a folder: its own name, in lower case.
    #[must_use]
    pub fn of_folder(path: &Path) -> Self {
        // `.` and `a/..` have no name of their own; where they lead has one.
        let named = if path.file_name().is_some() {
            Some(path.to_owned())
        } else {
            path.canonicalize().ok()
        };
        Self::of(named.as_deref().and_then(Path::file_name).unwrap_or_default())
    }

    /// That of an archive: its name without the last ending, in lower case.
    #[must_use]
    pub fn of_archive(path: &Path) -> Self {
        Self::of(path.file_stem().unwrap_or_default())
    }

    fn of(stem: &std::ffi::OsStr) -> Self {
        let stem = stem.to_string_lossy().to_lowercase();
        let repository = if is_path_component(&stem) {
            Repository::parse(&format!("localhost/{stem}")).ok()
        } else {
            None
        };
        Self { stem, repository }
    }

    fn derived(&self, reference: impl FnOnce() -> Reference) -> OfferedName {
        match &self.repository {
            Some(repository) => OfferedName::Derived(ImageName {
                repository: repository.clone(),
                reference: reference(),
            }),
            None => OfferedName::None(format!("{:?} cannot be part of an image name", self.stem)),
        }
    }

    /// The name of an image that its source does not name: by digest.
    #[must_use]
    pub fn by_digest(&self, digest: Sha256) -> OfferedName {
        self.derived(|| Reference::Digest(digest))
    }

    /// The name of a layout's entry, by its annotations: a full name is kept, a tag is one of this
    /// home, an entry without either is named by its digest.
    #[must_use]
    pub fn of_entry(&self, entry: &Descriptor) -> OfferedName {
        if let Some(name) = entry
            .annotations
            .get(CONTAINERD_NAME)
            .and_then(|text| ImageName::parse(text).ok())
        {
            return OfferedName::Full(name);
        }
        let Some(text) = entry.annotations.get(REF_NAME).filter(|text| !text.is_empty()) else {
            return self.by_digest(entry.digest);
        };
        if let Ok(name) = ImageName::parse(text) {
            return OfferedName::Full(name);
        }
        match Tag::parse(text) {
            Ok(tag) => self.derived(|| Reference::Tag(tag)),
            Err(_) => OfferedName::None(format!(
                "its {REF_NAME} is {text:?}, neither a full name nor a tag"
            )),
        }
    }
}

/// The tag by which a layout's entry is called, whether it stands alone or ends a full name.
#[must_use]
pub fn entry_tag(name: &OfferedName) -> Option<&str> {
    match name {
        OfferedName::Full(name) | OfferedName::Derived(name) => match &name.reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(_) => None,
        },
        OfferedName::None(_) => None,
    }
}

/// The endings of the tags by which cosign attaches to an image: signatures, attestations, SBOMs.
pub const COSIGN_ENDINGS: [&str; 3] = [".sig", ".att", ".sbom"];

/// The tag by which registries without a referrers API list what refers to `subject`; with one of the
/// [`COSIGN_ENDINGS`] behind it, a tag of cosign's.
#[must_use]
pub fn schema_tag(subject: &Sha256) -> String {
    format!("sha256-{}", subject.to_hex())
}

/// True for a tag that belongs to the image whose digest it spells.
#[must_use]
pub fn is_companion_tag(tag: &str) -> bool {
    let bare = COSIGN_ENDINGS
        .iter()
        .find_map(|ending| tag.strip_suffix(ending))
        .unwrap_or(tag);
    bare.strip_prefix("sha256-")
        .is_some_and(|hex| Sha256::from_hex(hex).is_ok())
}

/// An image that was chosen from a source, and the name it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its name on the medium.
    pub name: ImageName,
    /// Its manifest or index.
    pub target: Descriptor,
    /// True where the name was derived from where the source lies: such a name never moves unasked.
    pub derived: bool,
    /// True for what belongs to another image.
    pub companion: bool,
}

/// Names what a source offers. With `as_name` exactly one image must be offered (under however many
/// names); without it each keeps its own, companions last.
pub fn choose(offers: &[Offer], as_name: Option<&ImageName>, place: &str) -> Result<Vec<Chosen>> {
    let images = || offers.iter().filter(|offer| !offer.companion);
    let Some(as_name) = as_name else {
        let mut chosen = Vec::new();
        for offer in images().chain(offers.iter().filter(|offer| offer.companion)) {
            let (name, derived) = match &offer.name {
                OfferedName::Full(name) => (name, false),
                OfferedName::Derived(name) => (name, true),
                OfferedName::None(why) => {
                    return Err(Error::refused(format!(
                        "{place}: image {} has no name: {why}; say one with --as",
                        offer.target.digest.to_digest()
                    )));
                }
            };
            check_digest(name, &offer.target, place)?;
            chosen.push(Chosen {
                name: name.clone(),
                target: offer.target.clone(),
                derived,
                companion: offer.companion,
            });
        }
        return Ok(chosen);
    };
    // A source may hold nothing but a signature; then that is what the name is for.
    let named: Vec<&Offer> = if images().next().is_some() {
        images().collect()
    } else {
        offers.iter().collect()
    };
    let Some((first, rest)) = named.split_first() else {
        return Err(Error::missing(format!("{place}: an image")));
    };
    if rest
        .iter()
        .any(|other| other.target.digest != first.target.digest)
    {
        let list: Vec<String> = named.iter().take(10).map(|offer| describe(offer)).collect();
        return Err(Error::refused(format!(
            "{place} offers several images and --as names one; choose it with :TAG behind the path, of\n  {}{}",
            list.join("\n  "),
            if named.len() > 10 { "\n  …" } else { "" }
        )));
    }
    check_digest(as_name, &first.target, place)?;
    Ok(vec![Chosen {
        name: as_name.clone(),
        target: first.target.clone(),
        derived: false,
        companion: false,
    }])
}

fn check_digest(name: &ImageName, target: &Descriptor, place: &str) -> Result<()> {
    match &name.reference {
        Reference::Digest(digest) if *digest != target.digest => Err(Error::mismatch(
            format!("{place}: {name}"),
            digest.to_digest(),
            target.digest.to_digest(),
        )),
        _ => Ok(()),
    }
}

fn describe(offer: &Offer) -> String {
    match &offer.name {
        OfferedName::Full(name) => name.to_string(),
        OfferedName::Derived(name) => match &name.reference {
            Reference::Tag(tag) => tag.to_string(),
            Reference::Digest(digest) => digest.to_digest(),
        },
        OfferedName::None(_) => offer.target.digest.to_digest(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(annotations: &[(&str, &str)]) -> Descriptor {
        let mut entry = Descriptor::new("", Sha256::of(b"m"), 1);
        entry.annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        entry
    }

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    fn offer(offered: OfferedName, bytes: &[u8]) -> Offer {
        Offer {
            name: offered,
            target: Descriptor::new("", Sha256::of(bytes), 1),
            companion: false,
        }
    }

    #[test]
    fn a_full_name_is_kept_and_a_bare_tag_is_of_the_folder() {
        let home = Home::of_folder(Path::new("/srv/Images"));
        let digest = Sha256::of(b"m");
        for (annotations, expected) in [
            (
                &[(REF_NAME, "quay.io/a/b:1")][..],
                OfferedName::Full(name("quay.io/a/b:1")),
            ),
            (
                &[(REF_NAME, "1"), (CONTAINERD_NAME, "docker.io/library/x:1")],
                OfferedName::Full(name("docker.io/library/x:1")),
            ),
            (
                &[(REF_NAME, "1.25"), (CONTAINERD_NAME, "x")],
                OfferedName::Derived(name("localhost/images:1.25")),
            ),
            (
                &[],
                OfferedName::Derived(ImageName::by_digest(
                    &Repository::parse("localhost/images").unwrap(),
                    digest,
                )),
            ),
        ] {
            assert_eq!(home.of_entry(&entry(annotations)), expected);
        }
        for neither in ["acme/api:1.2", "a b", "../x"] {
            assert!(
                matches!(
                    home.of_entry(&entry(&[(REF_NAME, neither)])),
                    OfferedName::None(_)
                ),
                "{neither}"
            );
        }
        let archive = Home::of_archive(Path::new("a/Box-1.tar"));
        assert_eq!(
            archive.of_entry(&entry(&[(REF_NAME, "v")])),
            OfferedName::Derived(name("localhost/box-1:v"))
        );
    }

    #[test]
    fn a_folder_whose_name_cannot_be_a_repository_asks_for_as() {
        let offered = Home::of_folder(Path::new("/srv/my images")).of_entry(&entry(&[(REF_NAME, "v1")]));
        let error = choose(&[offer(offered.clone(), b"m")], None, "oci:x")
            .unwrap_err()
            .to_string();
        assert!(error.contains("--as"), "{error}");
        let chosen = choose(&[offer(offered, b"m")], Some(&name("docker.io/a/b:1")), "oci:x").unwrap();
        assert_eq!(chosen.first().unwrap().name, name("docker.io/a/b:1"));
    }

    #[test]
    fn as_names_exactly_one_image() {
        let as_name = name("docker.io/a/b:1");
        let one = offer(OfferedName::Full(name("h.x/a:1")), b"1");
        let same = offer(OfferedName::Full(name("h.x/a:latest")), b"1");
        let other = offer(OfferedName::Full(name("h.x/a:2")), b"2");
        let companion = Offer {
            companion: true,
            ..other.clone()
        };
        assert_eq!(
            choose(&[one.clone(), same, companion], Some(&as_name), "s")
                .unwrap()
                .len(),
            1
        );
        let error = choose(&[one, other], Some(&as_name), "s")
            .unwrap_err()
            .to_string();
        assert!(error.contains(":TAG") && error.contains("h.x/a:2"), "{error}");
        assert!(matches!(
            choose(&[], Some(&as_name), "s"),
            Err(Error::Missing { .. })
        ));
    }

    #[test]
    fn a_name_by_digest_is_only_given_to_that_digest() {
        let by_digest = ImageName::by_digest(&Repository::parse("h.x/a").unwrap(), Sha256::of(b"1"));
        let other = offer(OfferedName::Full(by_digest.clone()), b"2");
        assert!(matches!(
            choose(std::slice::from_ref(&other), None, "s"),
            Err(Error::Mismatch { .. })
        ));
        assert!(matches!(
            choose(&[other], Some(&by_digest), "s"),
            Err(Error::Mismatch { .. })
        ));
    }

    #[test]
    fn companion_tags_are_known_by_their_form() {
        let hex = Sha256::of(b"m").to_hex();
        for tag in [
            format!("sha256-{hex}"),
            format!("sha256-{hex}.sig"),
            format!("sha256-{hex}.sbom"),
        ] {
            assert!(is_companion_tag(&tag), "{tag}");
        }
        for tag in [
            "latest".to_owned(),
            "sha256-00.sig".to_owned(),
            format!("sha256-{hex}.exe"),
            hex,
        ] {
            assert!(!is_companion_tag(&tag), "{tag}");
        }
    }
}
