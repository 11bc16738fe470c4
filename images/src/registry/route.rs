//! A path and its query become one validated value before any handler runs.
//!
//! Paths are read from their end, as repositories have any number of parts. Knows nothing of the
//! disk: which of a name's candidates exists is the handlers' question.

use super::place::{Candidates, Mirrored};
use super::query::Query;
use super::respond::{Code, Refusal};
use holdall::ids::Sha256;
use holdall::name::{Reference, Repository, Tag};
use percent_encoding::percent_decode_str;

/// What a GET or HEAD asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Whether this is a registry.
    Base,
    /// A manifest or index.
    Manifest {
        /// Where to look.
        repository: Candidates,
        /// By tag or digest.
        reference: Reference,
    },
    /// A blob.
    Blob {
        /// Where to look.
        repository: Candidates,
        /// Its digest.
        digest: Sha256,
    },
    /// The tags of a repository.
    Tags {
        /// Where to look.
        repository: Candidates,
        /// The rest.
        tags: TagsPage,
    },
    /// The repositories.
    Catalogue(CataloguePage),
    /// The manifests that have this one as their subject.
    Referrers {
        /// Where to look.
        repository: Candidates,
        /// The rest.
        referrers: ReferrersPage,
    },
}

/// Which tags of a repository are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagsPage {
    /// The repository as the client wrote it: what its answer and links say.
    pub path: String,
    /// The registry it was asked for in `ns=`, for links.
    pub mirrored: Option<Mirrored>,
    /// At most so many.
    pub page: usize,
    /// Only what comes after; it need not exist.
    pub last: Option<Tag>,
}

/// Which repositories are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguePage {
    /// Only those of this registry, as paths within it.
    pub mirrored: Option<Mirrored>,
    /// At most so many.
    pub page: usize,
    /// Only what comes after; it need not exist.
    pub last: Option<Repository>,
}

/// Which referrers are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrersPage {
    /// The repository as the client wrote it, for links.
    pub path: String,
    /// The registry it was asked for in `ns=`, for links.
    pub mirrored: Option<Mirrored>,
    /// The digest that they refer to.
    pub subject: Sha256,
    /// Only those of this type.
    pub artifact_type: Option<String>,
    /// Only what comes after, in order of digest.
    pub last: Option<Sha256>,
}

impl Request {
    /// Reads a path (still encoded) and query; `own_host` is what the client calls this server.
    pub fn parse(path: &str, query: Option<&str>, own_host: Option<&str>) -> Result<Self, Refusal> {
        let nowhere = || Refusal::not_found(Code::NotFound, "there is nothing at this path");
        let parts = path
            .split('/')
            .skip(1)
            .map(decode_part)
            .collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let ["v2", parts @ ..] = parts.as_slice() else {
            return Err(nowhere());
        };
        let query = Query::parse(query)?;
        let mirrored = Mirrored::parse(query.get("ns"), own_host)?;
        match parts {
            [] | [""] => Ok(Self::Base),
            ["_catalog"] => catalogue(&query, mirrored),
            [name @ .., "tags", "list"] if !name.is_empty() => {
                let path = name.join("/");
                let last = query.last().map(Tag::parse).transpose();
                let last = last.map_err(|err| Refusal::bad_request(Code::TagInvalid, err.to_string()))?;
                let repository = Candidates::of(&path, mirrored.as_ref())?;
                Ok(Self::Tags {
                    repository,
                    tags: TagsPage {
                        path,
                        mirrored,
                        page: query.page()?,
                        last,
                    },
                })
            }
            [name @ .., "manifests", reference] if !name.is_empty() => {
                let repository = Candidates::of(&name.join("/"), mirrored.as_ref())?;
                Ok(Self::Manifest {
                    repository,
                    reference: parse_reference(reference)?,
                })
            }
            [name @ .., "blobs", digest] if !name.is_empty() => {
                let repository = Candidates::of(&name.join("/"), mirrored.as_ref())?;
                Ok(Self::Blob {
                    repository,
                    digest: parse_digest(digest)?,
                })
            }
            [name @ .., "referrers", digest] if !name.is_empty() => {
                let path = name.join("/");
                let repository = Candidates::of(&path, mirrored.as_ref())?;
                let referrers = ReferrersPage {
                    path,
                    mirrored,
                    subject: parse_digest(digest)?,
                    artifact_type: query
                        .get("artifactType")
                        .filter(|it| !it.is_empty())
                        .map(str::to_owned),
                    last: query.last().map(parse_digest).transpose()?,
                };
                Ok(Self::Referrers {
                    repository,
                    referrers,
                })
            }
            _ => Err(nowhere()),
        }
    }
}

fn catalogue(query: &Query, mirrored: Option<Mirrored>) -> Result<Request, Refusal> {
    let last = match (query.last(), &mirrored) {
        (None, _) => None,
        (Some(last), Some(host)) => Some(Repository::parse(&format!("{}/{last}", host.as_str()))?),
        (Some(last), None) => Some(Repository::parse(last)?),
    };
    Ok(Request::Catalogue(CataloguePage {
        mirrored,
        page: query.page()?,
        last,
    }))
}

/// One part of a path, decoded after the path was split: an encoded slash is no separator, and no
/// name has one.
fn decode_part(part: &str) -> Result<String, Refusal> {
    match percent_decode_str(part).decode_utf8() {
        Ok(part) if !part.contains('/') => Ok(part.into_owned()),
        _ => Err(Refusal::bad_request(
            Code::NameInvalid,
            "no name has an encoded slash, or is not UTF-8",
        )),
    }
}

fn parse_digest(text: &str) -> Result<Sha256, Refusal> {
    Sha256::from_digest(text).map_err(|err| Refusal::bad_request(Code::DigestInvalid, err.to_string()))
}

/// A reference with a colon can only be a digest. What can be no tag is one that the disk cannot
/// have: a 404, as clients and the specification's own tests expect.
fn parse_reference(text: &str) -> Result<Reference, Refusal> {
    if text.contains(':') {
        return Ok(Reference::Digest(parse_digest(text)?));
    }
    match Tag::parse(text) {
        Ok(tag) => Ok(Reference::Tag(tag)),
        Err(err) => Err(Refusal::not_found(Code::ManifestUnknown, err.to_string())),
    }
}

#[cfg(test)]
#[path = "route_test.rs"]
mod tests;
