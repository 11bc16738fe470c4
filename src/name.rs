//! Names, validated at construction: repositories, tags, image names, file names.
//!
//! Follows the OCI distribution specification 1.1 ("Pulling manifests") for the path of a repository
//! and for tags, with the registry host always written out, as containerd writes image names.

use crate::ids::Sha256;
use std::fmt;

/// Longest image name in bytes, registry and reference included.
pub const MAX_IMAGE_NAME: usize = 512;
/// Longest name of a file or folder in bytes.
pub const MAX_ENTRY_NAME: usize = 255;

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {text:?}: {why}")]
pub struct NameError {
    what: &'static str,
    text: String,
    why: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &[u8], why: &'static str) -> Self {
        Self {
            what,
            text: String::from_utf8_lossy(text).chars().take(300).collect(),
            why,
        }
    }
}

impl From<NameError> for crate::Error {
    fn from(err: NameError) -> Self {
        Self::Refused { why: err.to_string() }
    }
}

/// A repository with its registry: `docker.io/library/nginx`, `localhost/oci`, `127.0.0.1:5000/a/b`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// Parses a repository whose first component is a registry host: one with a dot or a port, or
    /// `localhost`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bad = |why| NameError::new("repository", text.as_bytes(), why);
        let (host, path) = text
            .split_once('/')
            .ok_or_else(|| bad("it has no registry host"))?;
        if !is_registry_host(host) {
            return Err(bad(
                "its first part is no registry host (host.domain, host:port or localhost)",
            ));
        }
        if text.len() > MAX_IMAGE_NAME - 72 {
            return Err(bad("it is too long"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(bad(
                "its path must be lower-case letters and digits, joined by . _ __ - and /",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Parses a repository as people and Docker write it: without a registry host it is Docker Hub's,
    /// and a single word there is in `library/`.
    pub fn parse_familiar(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((host, _)) if is_registry_host(host) => {
                match text
                    .strip_prefix("docker.io/")
                    .or_else(|| text.strip_prefix("index.docker.io/"))
                {
                    Some(path) if !path.contains('/') => Self::parse(&format!("docker.io/library/{path}")),
                    Some(path) => Self::parse(&format!("docker.io/{path}")),
                    None => Self::parse(text),
                }
            }
            Some(_) => Self::parse(&format!("docker.io/{text}")),
            None => Self::parse(&format!("docker.io/library/{text}")),
        }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry host, with its port if it has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.split_once('/').map_or("", |(host, _)| host)
    }

    /// The path within the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, path)| path)
    }
}

/// True for what can stand before the first `/` as a registry: `host.domain`, `host:port`, `localhost`.
#[must_use]
pub fn is_registry_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host_ok = !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()));
    host_ok && port_ok && (text == "localhost" || text.contains('.') || port.is_some())
}

/// True for one component of a repository's path, by the distribution specification.
#[must_use]
pub fn is_path_component(text: &str) -> bool {
    let mut separators = 0;
    let mut last = b'.';
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => separators = 0,
            b'.' | b'_' | b'-' => {
                separators += 1;
                let joined =
                    separators == 1 || (byte == last && (byte == b'-' || (byte == b'_' && separators == 2)));
                if at == 0 || !joined {
                    return false;
                }
            }
            _ => return false,
        }
        last = byte;
    }
    !text.is_empty() && separators == 0
}

/// A tag: up to 128 letters, digits, `_`, `.`, `-`, not beginning with `.` or `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Parses a tag, by the distribution specification.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let valid = !text.is_empty()
            && text.len() <= 128
            && !text.starts_with(['.', '-'])
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !valid {
            return Err(NameError::new(
                "tag",
                text.as_bytes(),
                "up to 128 letters, digits, and _ . - inside",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What follows the repository in an image name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reference {
    /// `:tag`, which can move.
    Tag(Tag),
    /// `@sha256:…`, which cannot.
    Digest(Sha256),
}

/// A full image name: `docker.io/library/nginx:1.25` or `docker.io/library/nginx@sha256:…`.
/// Ordered by repository, then tags before digests.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// Registry and path.
    pub repository: Repository,
    /// Tag or digest.
    pub reference: Reference,
}

impl ImageName {
    /// Parses a full image name; registry and reference must be there.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_with(text, Repository::parse)
    }

    /// Parses an image name as people write it: `nginx:1.25` is `docker.io/library/nginx:1.25`, and
    /// without a reference the tag is `latest`.
    pub fn parse_familiar(text: &str) -> Result<Self, NameError> {
        let has_reference =
            text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if has_reference {
            Self::parse_with(text, Repository::parse_familiar)
        } else {
            Self::parse_with(&format!("{text}:latest"), Repository::parse_familiar)
        }
    }

    fn parse_with(
        text: &str,
        repository: impl Fn(&str) -> Result<Repository, NameError>,
    ) -> Result<Self, NameError> {
        let bad = |why| NameError::new("image name", text.as_bytes(), why);
        if let Some((name, digest)) = text.split_once('@') {
            let digest =
                Sha256::from_digest(digest).map_err(|_| bad("what follows @ is no sha256 digest"))?;
            // A tag beside a digest says nothing more than the digest does.
            let name = match name.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => name,
                _ => name,
            };
            return Ok(Self {
                repository: repository(name)?,
                reference: Reference::Digest(digest),
            });
        }
        match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Ok(Self {
                repository: repository(name)?,
                reference: Reference::Tag(Tag::parse(tag)?),
            }),
            _ => Err(bad("it has neither a tag nor a digest")),
        }
    }

    /// The name of this repository's image with that digest.
    #[must_use]
    pub fn by_digest(repository: &Repository, digest: Sha256) -> Self {
        Self {
            repository: repository.clone(),
            reference: Reference::Digest(digest),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Reference::Tag(tag) => write!(f, "{}:{}", self.repository, tag),
            Reference::Digest(digest) => write!(f, "{}@{}", self.repository, digest.to_digest()),
        }
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! display_str {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}
display_str!(Repository, Tag);

/// The name of a file or folder within its directory: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
/// Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Validates a name.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        let bad = |why| Err(NameError::new("file name", bytes, why));
        match bytes {
            [] => bad("it is empty"),
            b"." | b".." => bad("it means another directory"),
            _ if bytes.len() > MAX_ENTRY_NAME => bad("it is longer than 255 bytes"),
            _ if bytes.contains(&b'/') => bad("it has a slash"),
            _ if bytes.contains(&0) => bad("it has a NUL byte"),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes; not necessarily UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Longest name of a signer in bytes.
pub const MAX_SIGNER_NAME: usize = 48;

/// What tells one signature's file from another (FORMAT.md 4.1): `alice` in `ROOT.alice.sig`. Lower case alone, so that file
/// systems which fold case keep them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName {
    /// Padded with NUL, which no name contains, so that the order is that of the text.
    bytes: [u8; MAX_SIGNER_NAME],
    len: u8,
}

impl SignerName {
    /// Validates a signer's name: 1 to 48 of `a` to `z`, `0` to `9`, `.`, `-` and `_`, with a letter or digit at both ends.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bad = |why| NameError::new("signer", text.as_bytes(), why);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if text.is_empty() || text.len() > MAX_SIGNER_NAME {
            return Err(bad("it is 1 to 48 characters"));
        }
        if !text.bytes().all(|b| plain(b) || matches!(b, b'.' | b'-' | b'_')) {
            return Err(bad("it is lower-case letters, digits, . - and _"));
        }
        if ![text.bytes().next(), text.bytes().last()]
            .into_iter()
            .flatten()
            .all(plain)
        {
            return Err(bad("it begins and ends with a letter or digit"));
        }
        let mut bytes = [0; MAX_SIGNER_NAME];
        bytes
            .iter_mut()
            .zip(text.bytes())
            .for_each(|(to, from)| *to = from);
        Ok(Self {
            bytes,
            len: u8::try_from(text.len()).unwrap_or(u8::MAX),
        })
    }

    /// The name nearest to a free text, as a key's comment: the part before an `@`, in lower case, with all else as `-`.
    #[must_use]
    pub fn nearest(text: &str) -> Option<Self> {
        let text = text.split('@').next().unwrap_or_default().to_ascii_lowercase();
        let plain: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
                    c
                } else {
                    '-'
                }
            })
            .take(MAX_SIGNER_NAME)
            .collect();
        Self::parse(plain.trim_matches(|c: char| !c.is_ascii_alphanumeric())).ok()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_names_become_full_ones() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("acme/api:1", "docker.io/acme/api:1"),
            ("docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("localhost/oci:api-v1", "localhost/oci:api-v1"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("quay.io/a__b/c-d---e", "quay.io/a__b/c-d---e:latest"),
        ] {
            assert_eq!(ImageName::parse_familiar(text).unwrap().to_string(), full);
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for bad in [
            "docker.io/../etc:1",
            "docker.io/a//b:1",
            "docker.io/A:1",
            "docker.io/a:..",
            "docker.io/a:",
            "docker.io/:1",
            "docker.io/a",
            "acme/api:1",
            "docker.io/a@sha256:zz",
            "docker.io/a_-b:1",
            "docker.io/a___b:1",
            "a b.c/d:1",
            "docker.io/a/:1",
            "docker.io/a:b:c\0",
            "..//a:1",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(EntryName::new(bad).is_err(), "{bad:?}");
        }
        assert!(EntryName::new(&[0xff; 255]).is_ok());
    }

    #[test]
    fn a_signer_s_name_is_safe_in_a_file_name_and_comes_from_a_key_s_comment() {
        for good in ["alice", "a", "build.7_x-1"] {
            assert_eq!(SignerName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(49);
        for bad in ["", "Alice", "a/b", "..", ".a", "a.", "a b", "ä", "a\n", &long] {
            assert!(SignerName::parse(bad).is_err(), "{bad}");
        }
        let nearest = |text| SignerName::nearest(text).map(|n| n.to_string());
        assert_eq!(nearest("Alice Doe@example.org").as_deref(), Some("alice-doe"));
        assert_eq!(nearest("@x"), None);
        assert!(SignerName::parse("a").unwrap() < SignerName::parse("a-b").unwrap());
    }
}
