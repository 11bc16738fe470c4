//! Which repository of the disk a path means: the rules for names with and without a registry, and
//! for the `ns=` query that containerd adds when it asks a mirror.

use super::respond::{Code, Refusal};
use holdall::name::{Repository, is_registry_host};

/// The repositories that a path may mean, the likelier first. The first that the disk has is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Looked for first.
    pub first: Repository,
    /// Looked for where the disk has no such.
    pub second: Option<Repository>,
}

impl Candidates {
    /// What `path` means: `docker.io/library/nginx` itself, `nginx` on Docker Hub, and with a
    /// `mirrored` registry the path there. A path that has a registry of its own beside `mirrored`
    /// may mean either.
    pub fn of(path: &str, mirrored: Option<&Mirrored>) -> Result<Self, Refusal> {
        let Some(Mirrored(host)) = mirrored else {
            return Ok(Self {
                first: Repository::parse_familiar(path)?,
                second: None,
            });
        };
        let there = Repository::parse_familiar(&format!("{host}/{path}"));
        let qualified = path
            .split_once('/')
            .is_some_and(|(first, _)| is_registry_host(first));
        if !qualified {
            return Ok(Self {
                first: there?,
                second: None,
            });
        }
        let itself = Repository::parse_familiar(path)?;
        Ok(match there {
            Ok(there) => Self {
                first: there,
                second: Some(itself),
            },
            // A host with a port cannot be part of a path.
            Err(_) => Self {
                first: itself,
                second: None,
            },
        })
    }

    /// In the order to be looked for.
    pub fn iter(&self) -> impl Iterator<Item = &Repository> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

/// The registry that a client would have asked, had it not been told of this mirror. Always a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored(String);

impl Mirrored {
    /// From the value of `ns=`. None where it names this very server (`own_host` is the request's
    /// Host): a client that was given the mirror as the registry.
    pub fn parse(ns: Option<&str>, own_host: Option<&str>) -> Result<Option<Self>, Refusal> {
        match ns {
            None | Some("") => Ok(None),
            Some(ns) if own_host.is_some_and(|own| own.eq_ignore_ascii_case(ns)) => Ok(None),
            // Docker Hub has two names in use.
            Some("index.docker.io" | "registry-1.docker.io") => Ok(Some(Self("docker.io".to_owned()))),
            Some(ns) if is_registry_host(ns) => Ok(Some(Self(ns.to_owned()))),
            Some(ns) => Err(Refusal::bad_request(
                Code::NameInvalid,
                format!("ns={ns:?} is no registry host"),
            )),
        }
    }

    /// The host, with its port if it has one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(path: &str, ns: Option<&str>) -> Vec<String> {
        let mirrored = Mirrored::parse(ns, Some("127.0.0.1:5577")).unwrap();
        Candidates::of(path, mirrored.as_ref())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_path_without_ns_is_itself_or_docker_hubs() {
        assert_eq!(candidates("nginx", None), ["docker.io/library/nginx"]);
        assert_eq!(candidates("acme/api", None), ["docker.io/acme/api"]);
        assert_eq!(
            candidates("docker.io/library/nginx", None),
            ["docker.io/library/nginx"]
        );
        assert_eq!(candidates("quay.io/acme/api", None), ["quay.io/acme/api"]);
        assert_eq!(candidates("127.0.0.1:5000/a/b", None), ["127.0.0.1:5000/a/b"]);
        assert_eq!(candidates("localhost/oci", Some("")), ["localhost/oci"]);
    }

    #[test]
    fn ns_selects_the_registry() {
        assert_eq!(candidates("acme/api", Some("quay.io")), ["quay.io/acme/api"]);
        assert_eq!(candidates("acme/api", Some("docker.io")), ["docker.io/acme/api"]);
        assert_eq!(
            candidates("nginx", Some("docker.io")),
            ["docker.io/library/nginx"]
        );
        assert_eq!(
            candidates("nginx", Some("registry-1.docker.io")),
            ["docker.io/library/nginx"]
        );
        assert_eq!(candidates("api", Some("quay.io")), ["quay.io/api"]);
        assert_eq!(candidates("a/b", Some("localhost:5000")), ["localhost:5000/a/b"]);
    }

    #[test]
    fn a_qualified_path_with_ns_is_looked_for_there_first() {
        assert_eq!(
            candidates("quay.io/acme/api", Some("mirror.example")),
            ["mirror.example/quay.io/acme/api", "quay.io/acme/api"]
        );
        assert_eq!(
            candidates("localhost:5000/a", Some("mirror.example")),
            ["localhost:5000/a"]
        );
    }

    #[test]
    fn ns_that_names_this_server_is_ignored() {
        assert_eq!(
            candidates("acme/api", Some("127.0.0.1:5577")),
            ["docker.io/acme/api"]
        );
        assert_eq!(
            candidates("quay.io/acme/api", Some("127.0.0.1:5577")),
            ["quay.io/acme/api"]
        );
    }

    #[test]
    fn ns_that_is_no_host_is_refused() {
        for bad in ["quay", "quay.io/acme", "../x.y", "a b.c", "quay.io:x"] {
            let refusal = Mirrored::parse(Some(bad), None).unwrap_err();
            assert_eq!(refusal.code, Code::NameInvalid, "{bad}");
        }
    }
}
