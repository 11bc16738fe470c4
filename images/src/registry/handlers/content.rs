//! Manifests and blobs, whole or in part, and the headers that decide which.

use crate::registry::range::{Range, Resolved};
use crate::registry::respond::{self, Code, Refusal};
use crate::registry::stream::{Body, Stretch, Turns};
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag};
use holdall::reader::{Blob, Disk};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// The header that says which bytes the answer is of.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The media type of a blob: what it is, only its manifest says.
const OCTET_STREAM: &str = "application/octet-stream";

/// What a request's headers say about which part of the content is wanted, and whether any is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// True for HEAD: the headers of the answer, without its body.
    pub head: bool,
    /// Part of the content; None for all, or where the header is to be ignored.
    pub range: Option<Range>,
    /// The entity tag for which the range is meant.
    pub if_range: Option<String>,
    /// The entity tags that the client has.
    pub if_none_match: Option<String>,
}

impl Conditions {
    /// Reads the headers of a request; what cannot be read is as if it were not there.
    #[must_use]
    pub fn of(head: bool, headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let range = match headers.get_all(header::RANGE).iter().count() {
            0 | 1 => text(header::RANGE).and_then(|value| Range::parse(&value)),
            _ => Some(Range::Several),
        };
        Self {
            head,
            range: range.filter(|_| !head),
            if_range: text(header::IF_RANGE),
            if_none_match: text(header::IF_NONE_MATCH),
        }
    }

    /// True where the client has what `etag` names. Weak comparison, by RFC 9110 section 13.1.2.
    fn is_known(&self, etag: &str) -> bool {
        self.if_none_match.as_ref().is_some_and(|known| {
            known
                .split(',')
                .map(str::trim)
                .any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
        })
    }

    /// The part that is wanted of `size` bytes named by `etag`. A date in If-Range never matches:
    /// blobs have none.
    fn part(&self, etag: &str, size: u64) -> Resolved {
        match self.range {
            Some(range) if self.if_range.as_ref().is_none_or(|it| it == etag) => range.resolve(size),
            _ => Resolved::Whole,
        }
    }
}

pub fn manifest_by_tag(
    disk: &Disk,
    turns: &Turns,
    repository: &Repository,
    tag: Tag,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    let name = ImageName {
        repository: repository.clone(),
        reference: Reference::Tag(tag),
    };
    match disk.image(&name)? {
        // By way of the blob that the digest names, so that tag and digest never give different bytes.
        Some(image) => match disk.blob(&image.target.sha256)? {
            Some(mut blob) => {
                blob.media_type = image.target.media_type;
                manifest(disk, turns, &blob, conditions)
            }
            None => {
                let digest = image.target.sha256.to_digest();
                let place = format!("{}: {digest}, which {name} stands for", disk.name());
                Err(holdall::Error::missing(place).into())
            }
        },
        None => Err(Refusal::not_found(
            Code::ManifestUnknown,
            format!("{name}: not on this disk"),
        )),
    }
}

pub fn manifest_by_digest(
    disk: &Disk,
    turns: &Turns,
    repository: &Repository,
    digest: &Sha256,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    match disk.blob(digest)? {
        Some(blob) if !blob.media_type.is_empty() => manifest(disk, turns, &blob, conditions),
        _ => Err(unknown(disk, Code::ManifestUnknown, repository, digest)?),
    }
}

pub fn blob(
    disk: &Disk,
    turns: &Turns,
    repository: &Repository,
    digest: &Sha256,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    let Some(blob) = disk.blob(digest)? else {
        return Err(unknown(disk, Code::BlobUnknown, repository, digest)?);
    };
    let mut response = content(
        disk,
        turns,
        &blob,
        HeaderValue::from_static(OCTET_STREAM),
        conditions,
    )?;
    response
        .headers_mut()
        .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

/// A manifest comes whole: its bytes are its digest's, and no client asks for a part.
fn manifest(
    disk: &Disk,
    turns: &Turns,
    blob: &Blob,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    let media_type = HeaderValue::from_str(&blob.media_type).map_err(|_| {
        let why = format!("its media type {:?} cannot be sent", blob.media_type);
        holdall::Error::malformed(blob.sha256.to_digest(), why)
    })?;
    let whole = Conditions {
        range: None,
        ..conditions.clone()
    };
    content(disk, turns, blob, media_type, &whole)
}

fn unknown(disk: &Disk, code: Code, repository: &Repository, digest: &Sha256) -> Result<Refusal, Refusal> {
    let name = format!("{repository}@{}", digest.to_digest());
    Ok(match disk.is_absent(digest)? {
        true => Refusal::not_found(
            code,
            format!("{name}: left out of this disk when it was written (--platform)"),
        ),
        false => Refusal::not_found(code, format!("{name}: not on this disk")),
    })
}

fn content(
    disk: &Disk,
    turns: &Turns,
    blob: &Blob,
    media_type: HeaderValue,
    conditions: &Conditions,
) -> Result<Response<Body>, Refusal> {
    let digest = blob.sha256.to_digest();
    let etag = format!("\"{digest}\"");
    let (status, start, end) = match conditions.part(&etag, blob.size) {
        _ if conditions.is_known(&etag) => (StatusCode::NOT_MODIFIED, 0, 0),
        Resolved::Whole => (StatusCode::OK, 0, blob.size),
        Resolved::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end),
        Resolved::Unsatisfiable => return Err(Refusal::unsatisfiable(blob.size)),
    };
    let body = if conditions.head || status == StatusCode::NOT_MODIFIED {
        Body::empty()
    } else {
        let slices = Arc::new(disk.open_blob(blob));
        let stretch = Stretch {
            slices,
            place: digest.clone(),
            start,
            end,
        };
        // Read before the status is sent, so that damage here can still be said in the answer.
        let first = stretch.read_batch()?;
        Body::stream(turns.clone(), stretch, first)
    };
    let mut response = respond::with_body(status, body);
    let headers = response.headers_mut();
    insert_text(headers, CONTENT_DIGEST, &digest)?;
    insert_text(headers, header::ETAG, &etag)?;
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        // A resolved part is never empty.
        insert_text(
            headers,
            header::CONTENT_RANGE,
            &format!("bytes {start}-{}/{}", end - 1, blob.size),
        )?;
    }
    Ok(response)
}

/// Sets a header of our own making.
fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) -> Result<(), Refusal> {
    let value = HeaderValue::from_str(text).map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            format!("{name}: {text:?} cannot be sent"),
        )
    })?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(head: bool, pairs: &[(HeaderName, &'static str)]) -> Conditions {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        Conditions::of(head, &headers)
    }

    #[test]
    fn if_none_match_compares_weakly_with_each_of_a_list() {
        for (value, known) in [
            ("\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(
                conditions(false, &[(header::IF_NONE_MATCH, value)]).is_known("\"a\""),
                known,
                "{value}"
            );
        }
        assert!(!Conditions::default().is_known("\"a\""));
    }

    #[test]
    fn a_range_for_another_version_is_ignored() {
        let part = Resolved::Part { start: 0, end: 2 };
        for (if_range, resolved) in [
            ("\"a\"", part),
            ("\"b\"", Resolved::Whole),
            ("W/\"a\"", Resolved::Whole),
            ("Sat, 21 Nov 2026 00:00:00 GMT", Resolved::Whole),
        ] {
            let conditions = conditions(
                false,
                &[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, if_range)],
            );
            assert_eq!(conditions.part("\"a\"", 10), resolved, "{if_range}");
        }
    }

    #[test]
    fn a_range_is_only_read_from_a_get() {
        assert_eq!(conditions(true, &[(header::RANGE, "bytes=0-1")]).range, None);
    }

    #[test]
    fn two_range_headers_are_two_ranges() {
        let twice = [(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=3-4")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(Conditions::of(false, &headers).range, Some(Range::Several));
    }
}
