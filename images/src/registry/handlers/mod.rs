//! From a validated request to its answer. All of it blocks (the disk is read), so it runs on
//! blocking threads; knows nothing of sockets.

mod content;
mod listing;
mod referrers;

pub use content::Conditions;

use super::place::Candidates;
use super::respond::{self, Code, Refusal};
use super::route::Request;
use super::stream::{Body, Turns};
use holdall::name::{Reference, Repository};
use holdall::reader::Disk;
use hyper::{Response, StatusCode};

/// Answers `request` from `disk`; the body of a blob goes on reading by `turns`. Blocks.
pub fn answer(
    disk: &Disk,
    turns: &Turns,
    request: Request,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    match request {
        Request::Base => Ok(respond::json(StatusCode::OK, "application/json", "{}".into())),
        Request::Manifest {
            repository,
            reference,
        } => {
            let repository = existing(disk, &repository)?;
            match reference {
                Reference::Tag(tag) => content::manifest_by_tag(disk, turns, repository, tag, conditions),
                Reference::Digest(digest) => {
                    content::manifest_by_digest(disk, turns, repository, &digest, conditions)
                }
            }
        }
        Request::Blob { repository, digest } => {
            let repository = existing(disk, &repository)?;
            content::blob(disk, turns, repository, &digest, conditions)
        }
        Request::Tags { repository, tags } => listing::tags(disk, existing(disk, &repository)?, &tags),
        Request::Catalogue(page) => listing::catalogue(disk, &page),
        Request::Referrers {
            repository,
            referrers,
        } => referrers::list(disk, &repository, &referrers),
    }
}

/// The first candidate that the disk has.
fn existing<'a>(disk: &Disk, candidates: &'a Candidates) -> Result<&'a Repository, Refusal> {
    for candidate in candidates.iter() {
        if is_known(disk, candidate)? {
            return Ok(candidate);
        }
    }
    let name = &candidates.first;
    Err(Refusal::not_found(
        Code::NameUnknown,
        format!("{name}: this disk has no image of that repository"),
    ))
}

/// True where the disk has an image of that repository, by tag or by digest.
fn is_known(disk: &Disk, repository: &Repository) -> Result<bool, Refusal> {
    Ok(disk.images(Some(repository), None).next().transpose()?.is_some())
}
