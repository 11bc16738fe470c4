//! Answers: what a handler found, refusals in the distribution specification's JSON, and the one
//! table from the store's errors to HTTP.

use super::stream::Body;
use bytes::Bytes;
use holdall::name::NameError;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The header by which clients know a registry of the second version of the API.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The `code` of an error: those of the distribution specification, and of Docker's registry where
/// that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The blob is not in the repository.
    BlobUnknown,
    /// The text is no `sha256` digest.
    DigestInvalid,
    /// The manifest is not in the repository.
    ManifestUnknown,
    /// The text is no repository, or its registry is no host.
    NameInvalid,
    /// The disk has no image of that repository.
    NameUnknown,
    /// There is nothing at this path.
    NotFound,
    /// `n` is no number.
    PaginationNumberInvalid,
    /// The query is not made of `key=value` in UTF-8.
    QueryInvalid,
    /// Nothing of the range can be had.
    RangeInvalid,
    /// The text is no tag.
    TagInvalid,
    /// The disk failed.
    Unknown,
    /// This registry, or this version, cannot do that.
    Unsupported,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::NotFound => "NOT_FOUND",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::QueryInvalid => "QUERY_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unknown => "UNKNOWN",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// Why a request is not answered with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// The error's code.
    pub code: Code,
    /// For a person; names the place where the disk is at fault.
    pub message: String,
    /// A header that belongs to this status.
    pub header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal with this status and code.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            header: None,
        }
    }

    /// 404: there is no such thing.
    pub fn not_found(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503: the disk is not there yet.
    pub fn no_disk() -> Self {
        let why = "the disk is not plugged in yet; it is waited for";
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, why);
        refusal.header = Some((header::RETRY_AFTER, HeaderValue::from_static("1")));
        refusal
    }

    /// 405: only reads are answered.
    pub fn read_only() -> Self {
        let why = "this registry is read-only: it answers GET and HEAD";
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, why);
        refusal.header = Some((header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        refusal
    }

    /// 416: nothing of the asked range can be had of `size` bytes.
    pub fn unsatisfiable(size: u64) -> Self {
        let why = format!("one range within {size} bytes can be asked for");
        let mut refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::RangeInvalid, why);
        refusal.header = HeaderValue::try_from(format!("bytes */{size}"))
            .ok()
            .map(|it| (header::CONTENT_RANGE, it));
        refusal
    }

    /// The answer: the specification's JSON under this status.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let error = serde_json::json!({ "code": self.code.as_str(), "message": self.message });
        let body = serde_json::json!({ "errors": [error] }).to_string();
        let mut response = json(self.status, "application/json", body.into());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The one table from the store's errors to HTTP. Damage is never a 404: a client that is told so
/// would take the image elsewhere, or believe that it does not exist.
impl From<holdall::Error> for Refusal {
    fn from(err: holdall::Error) -> Self {
        use holdall::Error as E;
        let (status, code) = match err.root_cause() {
            E::Unsupported { .. } => (StatusCode::NOT_IMPLEMENTED, Code::Unsupported),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
        };
        Self::new(status, code, err.to_string())
    }
}

impl From<NameError> for Refusal {
    fn from(err: NameError) -> Self {
        Self::bad_request(Code::NameInvalid, err.to_string())
    }
}

/// An answer of that status with the API's header and `body`.
#[must_use]
pub fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// An answer with a JSON text of the given media type.
#[must_use]
pub fn json(status: StatusCode, media_type: &'static str, text: Bytes) -> Response<Body> {
    let length = text.len();
    let mut response = with_body(status, Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_a_500_and_never_a_404() {
        for err in [
            holdall::Error::missing("packs/000001.pack"),
            holdall::Error::mismatch("packs/000001.pack at 4096", "frame"),
            holdall::Error::malformed("catalogue", "out of order"),
            holdall::Error::Deadline {
                place: "packs/000001.pack".into(),
                seconds: 30,
            },
            holdall::Error::Shared(std::sync::Arc::new(holdall::Error::missing("packs/000001.pack"))),
        ] {
            let text = err.to_string();
            let refusal = Refusal::from(err);
            assert_eq!(
                (refusal.status, refusal.code),
                (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
                "{text}"
            );
            assert!(refusal.message.contains("packs/000001.pack") || refusal.message.contains("catalogue"));
        }
    }

    #[test]
    fn an_unknown_format_is_a_501() {
        let err = holdall::Error::Unsupported {
            place: "catalogue".into(),
            what: "content tag 9".into(),
        };
        assert_eq!(Refusal::from(err).status, StatusCode::NOT_IMPLEMENTED);
    }

    #[test]
    fn an_unsatisfiable_range_is_416_not_400() {
        let response = Refusal::unsatisfiable(10).into_response();
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(
            response.headers().get(header::CONTENT_RANGE),
            Some(&HeaderValue::from_static("bytes */10"))
        );
    }

    #[test]
    fn a_write_is_405_and_names_what_is_allowed() {
        let response = Refusal::read_only().into_response();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            response.headers().get(header::ALLOW),
            Some(&HeaderValue::from_static("GET, HEAD"))
        );
    }
}
