//! The spellings of sources, as skopeo has them. Knows nothing of what is behind one, except that a
//! path that exists as a whole is never cut at a colon.

use crate::{Error, Result};
use holdall::name::ImageName;
use std::path::{Path, PathBuf};

/// All spellings, for messages and help texts.
pub const SPELLINGS: &str =
    "  oci:DIR[:TAG]             an OCI image layout: all of it, or the image of that tag or digest
  oci-archive:FILE[:TAG]    a tar of such a layout
  docker-archive:FILE[:REF] what docker save wrote
  docker://REF              an image in a registry
  file:PATH                 a file
  dir:PATH                  a folder";

/// Where something comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An OCI image layout in a folder.
    Layout {
        /// The folder.
        dir: PathBuf,
        /// The tag, name or digest of one image in it; all of them where absent.
        reference: Option<String>,
    },
    /// A tar of an OCI image layout.
    OciArchive {
        /// The tar file.
        file: PathBuf,
        /// The tag, name or digest of one image in it; all of them where absent.
        reference: Option<String>,
    },
    /// A tar as `docker save` writes it.
    DockerArchive {
        /// The tar file.
        file: PathBuf,
        /// The name of one image in it, or `@n` for the n-th from 0; all of them where absent.
        reference: Option<String>,
    },
    /// An image in a registry.
    Registry(ImageName),
    /// A loose file.
    File(PathBuf),
    /// A loose folder.
    Dir(PathBuf),
}

impl Source {
    /// Parses one of the [`SPELLINGS`]. `DIR:TAG` is cut at the first colon, unless a path of the
    /// whole text exists.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_with(text, Path::exists)
    }

    fn parse_with(text: &str, exists: impl Fn(&Path) -> bool) -> Result<Self> {
        let not = |why| Error::NotASource {
            text: text.to_owned(),
            why,
        };
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| not("it does not begin with a kind"))?;
        let whole = || {
            if rest.is_empty() {
                Err(not("its path is empty"))
            } else {
                Ok(PathBuf::from(rest))
            }
        };
        let cut = || -> Result<(PathBuf, Option<String>)> {
            let path = whole()?;
            match rest.split_once(':') {
                Some(_) if exists(&path) => Ok((path, None)),
                Some(("", _)) => Err(not("its path is empty")),
                Some((_, "")) => Err(not("nothing follows the colon after its path")),
                Some((path, reference)) => Ok((PathBuf::from(path), Some(reference.to_owned()))),
                None => Ok((path, None)),
            }
        };
        match kind {
            "oci" => cut().map(|(dir, reference)| Self::Layout { dir, reference }),
            "oci-archive" => cut().map(|(file, reference)| Self::OciArchive { file, reference }),
            "docker-archive" => cut().map(|(file, reference)| Self::DockerArchive { file, reference }),
            "docker" => match rest.strip_prefix("//") {
                Some(reference) => Ok(Self::Registry(ImageName::parse_familiar(reference)?)),
                None => Err(not("docker: is followed by //")),
            },
            "file" => whole().map(Self::File),
            "dir" => whole().map(Self::Dir),
            _ => Err(not("its kind is none of those known")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &str, reference: Option<&str>) -> Source {
        Source::Layout {
            dir: dir.into(),
            reference: reference.map(Into::into),
        }
    }

    #[test]
    fn sources_are_spelled_as_skopeo_spells_them() {
        let none = |_: &Path| false;
        for (text, source) in [
            ("oci:d", layout("d", None)),
            ("oci:/a/b:v1", layout("/a/b", Some("v1"))),
            ("oci:d:docker.io/x:1", layout("d", Some("docker.io/x:1"))),
            (
                "oci-archive:a.tar:1",
                Source::OciArchive {
                    file: "a.tar".into(),
                    reference: Some("1".into()),
                },
            ),
            (
                "docker-archive:a.tar",
                Source::DockerArchive {
                    file: "a.tar".into(),
                    reference: None,
                },
            ),
            (
                "docker-archive:a:nginx:1",
                Source::DockerArchive {
                    file: "a".into(),
                    reference: Some("nginx:1".into()),
                },
            ),
            (
                "docker://nginx",
                Source::Registry(ImageName::parse("docker.io/library/nginx:latest").unwrap()),
            ),
            (
                "docker://h:5000/a:1",
                Source::Registry(ImageName::parse("h:5000/a:1").unwrap()),
            ),
            ("file:a:b", Source::File("a:b".into())),
            ("dir:/srv", Source::Dir("/srv".into())),
        ] {
            assert_eq!(Source::parse_with(text, none).unwrap(), source, "{text}");
        }
    }

    #[test]
    fn a_path_that_exists_as_a_whole_is_not_cut() {
        let source = Source::parse_with("oci:a:b", |path| path == Path::new("a:b")).unwrap();
        assert_eq!(source, layout("a:b", None));
    }

    #[test]
    fn what_is_no_source_is_told_the_spellings() {
        for text in [
            "",
            "nginx",
            "oci:",
            "oci::1",
            "oci:d:",
            "docker:nginx",
            "docker-daemon:x:1",
            "file:",
            "https://a/b",
        ] {
            let message = Source::parse_with(text, |_| false).unwrap_err().to_string();
            assert!(message.contains("oci-archive:FILE[:TAG]"), "{text}: {message}");
        }
        assert!(Source::parse("docker://UPPER/x:1").is_err());
    }
}
