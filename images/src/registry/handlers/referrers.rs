//! The referrers of a digest: an image index of what says that it belongs to it.

use crate::media_types::OCI_INDEX;
use crate::registry::place::{Candidates, Mirrored};
use crate::registry::query::next_link;
use crate::registry::respond::{self, Refusal};
use crate::registry::route::ReferrersPage;
use crate::registry::stream::Body;
use holdall::reader::{Blob, Disk};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The header that says by what the list was filtered.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Longest manifest that is read for its descriptor, and longest answer before the next page. The
/// specification asks registries to take manifests up to 4 MiB.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a descriptor needs of a manifest or index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Box<RawValue>>,
}

/// Always an index: for a digest or repository that the disk does not know, an empty one.
pub fn list(disk: &Disk, candidates: &Candidates, asked: &ReferrersPage) -> Result<Response<Body>, Refusal> {
    let mut manifests = Vec::new();
    let mut used = 0;
    let mut last = None;
    let mut more = false;
    for blob in referrers(disk, candidates, asked)? {
        if asked.last.is_some_and(|last| blob.sha256 <= last) {
            continue;
        }
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        let text = disk.read_small(&blob, limit)?;
        let descriptor = describe(&blob, &text)?;
        if asked.artifact_type.is_some() && descriptor.artifact_type != asked.artifact_type {
            continue;
        }
        let raw = serde_json::value::to_raw_value(&descriptor).map_err(|err| unreadable(&blob, &err))?;
        used += raw.get().len();
        // At least one a page, so that pages come to an end.
        if used > MAX_BYTES && last.is_some() {
            more = true;
            break;
        }
        manifests.push(raw);
        last = Some(descriptor.digest);
    }
    let index = Index {
        schema_version: 2,
        media_type: OCI_INDEX,
        manifests,
    };
    let text = serde_json::to_vec(&index).map_err(|err| {
        holdall::Error::malformed(asked.subject.to_digest(), format!("its referrers: {err}"))
    })?;
    let mut response = respond::json(StatusCode::OK, OCI_INDEX, text.into());
    if asked.artifact_type.is_some() {
        response
            .headers_mut()
            .insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = last.filter(|_| more)
        && let Ok(link) = HeaderValue::try_from(link(asked, &last))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Those of the first candidate that the disk has.
fn referrers(disk: &Disk, candidates: &Candidates, asked: &ReferrersPage) -> Result<Vec<Blob>, Refusal> {
    for candidate in candidates.iter() {
        if super::is_known(disk, candidate)? {
            return Ok(disk.referrers(candidate, &asked.subject)?);
        }
    }
    Ok(Vec::new())
}

fn link(asked: &ReferrersPage, last: &str) -> String {
    let path = format!("/v2/{}/referrers/{}", asked.path, asked.subject.to_digest());
    let mut pairs = vec![("last", last)];
    pairs.extend(asked.artifact_type.as_deref().map(|it| ("artifactType", it)));
    pairs.extend(asked.mirrored.as_ref().map(|host| ("ns", Mirrored::as_str(host))));
    next_link(&path, &pairs)
}

/// The descriptor of a manifest, by the specification's rules for its artifact type: what it says,
/// else the type of its config.
fn describe<'a>(blob: &'a Blob, text: &[u8]) -> Result<Descriptor<'a>, holdall::Error> {
    let manifest: Manifest = serde_json::from_slice(text).map_err(|err| unreadable(blob, &err))?;
    let artifact_type = manifest.artifact_type.filter(|it| !it.is_empty());
    Ok(Descriptor {
        media_type: &blob.media_type,
        digest: blob.sha256.to_digest(),
        size: blob.size,
        artifact_type: artifact_type.or(manifest.config.map(|config| config.media_type)),
        annotations: manifest.annotations.filter(|it| !it.is_empty()),
    })
}

fn unreadable(blob: &Blob, err: &serde_json::Error) -> holdall::Error {
    holdall::Error::malformed(blob.sha256.to_digest(), format!("not a manifest: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdall::ids::Sha256;

    #[test]
    fn the_artifact_type_is_the_manifests_else_its_configs() {
        for (text, artifact_type) in [
            (
                r#"{"artifactType":"a/b","config":{"mediaType":"c/d","size":2}}"#,
                Some("a/b"),
            ),
            (r#"{"artifactType":"","config":{"mediaType":"c/d"}}"#, Some("c/d")),
            (r#"{"config":{"mediaType":"c/d"},"layers":[]}"#, Some("c/d")),
            (r#"{"manifests":[]}"#, None),
        ] {
            let manifest: Manifest = serde_json::from_str(text).unwrap();
            let of = manifest
                .artifact_type
                .filter(|it| !it.is_empty())
                .or(manifest.config.map(|it| it.media_type));
            assert_eq!(of.as_deref(), artifact_type, "{text}");
        }
    }

    #[test]
    fn a_link_keeps_the_filter_and_the_registry() {
        let asked = ReferrersPage {
            path: "acme/api".into(),
            mirrored: Mirrored::parse(Some("quay.io"), None).unwrap(),
            subject: Sha256::of(b""),
            artifact_type: Some("application/spdx+json".into()),
            last: None,
        };
        let digest = Sha256::of(b"").to_digest();
        assert_eq!(
            link(&asked, &digest),
            format!(
                "</v2/acme/api/referrers/{digest}?last={digest}&artifactType=application/spdx%2Bjson&ns=quay.io>; rel=\"next\""
            )
        );
    }
}
