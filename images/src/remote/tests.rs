#![expect(
    clippy::disallowed_methods,
    reason = "the file of credentials that is read is no medium"
)]

use super::*;
use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const LAYER_BYTES: usize = 3_000_000;

/// A registry with one repository, `acme/api`, that fails in the ways real ones do.
struct Registry {
    manifest: Vec<u8>,
    layer: Vec<u8>,
    /// Requests that are still answered "too many" before one is answered.
    refusals: AtomicUsize,
    /// Answers to a blob that break off half-way.
    cuts: AtomicUsize,
    takes_range: bool,
    served: AtomicUsize,
    /// Asks for the password itself instead of a token.
    basic: AtomicBool,
    /// Answers that asked for credentials.
    challenges: AtomicUsize,
}

impl Registry {
    fn new(takes_range: bool) -> Arc<Self> {
        let layer: Vec<u8> = (0..LAYER_BYTES)
            .map(|n| u8::try_from(n * 7 % 251).unwrap())
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{0}","size":1}},"layers":[{{"digest":"{0}","size":{LAYER_BYTES}}}]}}"#,
            Sha256::of(&layer).to_digest()
        );
        Arc::new(Self {
            manifest: manifest.into_bytes(),
            layer,
            refusals: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            takes_range,
            served: AtomicUsize::new(0),
            basic: AtomicBool::new(false),
            challenges: AtomicUsize::new(0),
        })
    }

    /// Serves on a free port, on a thread that lives as long as the test's process.
    fn serve(self: &Arc<Self>) -> String {
        let state = Arc::clone(self);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap().to_string()).unwrap();
                axum::serve(listener, Router::new().fallback(answer).with_state(state))
                    .await
                    .unwrap();
            });
        });
        receiver.recv().unwrap()
    }
}

fn take(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1))
        .is_ok()
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response<HttpBody> {
    let status = |status: StatusCode| {
        Response::builder()
            .status(status)
            .body(HttpBody::empty())
            .unwrap()
    };
    let host = request
        .headers()
        .get(header::HOST)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let uri = request.uri().to_string();
    if uri.starts_with("/token") {
        let text = if authorization.is_some_and(|value| value.starts_with("Basic ")) {
            r#"{"token":"good"}"#
        } else {
            r#"{"token":"none"}"#
        };
        return Response::new(HttpBody::from(text));
    }
    let basic = registry.basic.load(Ordering::SeqCst);
    if authorization.as_deref() != Some(if basic { "Basic dTpw" } else { "Bearer good" }) {
        registry.challenges.fetch_add(1, Ordering::SeqCst);
        let bearer = format!(r#"Bearer realm="http://{host}/token",service="test""#);
        let challenge = if basic {
            r#"Basic realm="test""#.to_owned()
        } else {
            bearer
        };
        return Response::builder()
            .status(401)
            .header(header::WWW_AUTHENTICATE, challenge)
            .body(HttpBody::empty())
            .unwrap();
    }
    if take(&registry.refusals) {
        return Response::builder()
            .status(429)
            .header(header::RETRY_AFTER, "0")
            .body(HttpBody::empty())
            .unwrap();
    }
    let subject = Sha256::of(&registry.manifest).to_digest();
    let Some(path) = uri.strip_prefix("/v2/acme/api/") else {
        return status(StatusCode::NOT_FOUND);
    };
    if path == "manifests/1" || path == format!("manifests/{subject}") {
        return Response::builder()
            .header(header::CONTENT_TYPE, media_types::OCI_MANIFEST)
            .body(HttpBody::from(registry.manifest.clone()))
            .unwrap();
    }
    if path == "manifests/broken" {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if path == "manifests/old" {
        let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        return Response::builder()
            .header(header::CONTENT_TYPE, old)
            .body(HttpBody::from("{}"))
            .unwrap();
    }
    if path == "manifests/lie" {
        let claimed = Sha256::of(b"another").to_digest();
        return Response::builder()
            .header("docker-content-digest", claimed)
            .body(HttpBody::from(registry.manifest.clone()))
            .unwrap();
    }
    if path == "manifests/huge" {
        return Response::new(HttpBody::from(vec![b' '; 5 << 20]));
    }
    if let Some(page) = path.strip_prefix(&format!("referrers/{subject}")) {
        let (digest, next) = if page.is_empty() {
            (Sha256::of(b"1"), Some("?last=1"))
        } else {
            (Sha256::of(b"2"), None)
        };
        let body = format!(
            r#"{{"manifests":[{{"digest":"{}","size":1}}]}}"#,
            digest.to_digest()
        );
        let mut response = Response::new(HttpBody::from(body));
        if let Some(next) = next {
            let link = format!("</v2/acme/api/referrers/{subject}{next}>; rel=\"next\"");
            response.headers_mut().insert(header::LINK, link.parse().unwrap());
        }
        return response;
    }
    if path == format!("blobs/{}", Sha256::of(&registry.layer).to_digest()) {
        return blob(&registry, &request);
    }
    status(StatusCode::NOT_FOUND)
}

fn blob(registry: &Registry, request: &Request) -> Response<HttpBody> {
    let range = request
        .headers()
        .get(header::RANGE)
        .filter(|_| registry.takes_range);
    let from: usize = range.map_or(0, |value| {
        value.to_str().unwrap()["bytes=".len()..]
            .trim_end_matches('-')
            .parse()
            .unwrap()
    });
    let rest = registry.layer.get(from..).unwrap().to_vec();
    let sent = if take(&registry.cuts) {
        rest.len() / 2 + 1
    } else {
        rest.len()
    };
    registry.served.fetch_add(sent, Ordering::SeqCst);
    let mut response = Response::builder().header(header::CONTENT_LENGTH, rest.len());
    if range.is_some() {
        response = response.status(206).header(
            header::CONTENT_RANGE,
            format!("bytes {from}-{}/{LAYER_BYTES}", LAYER_BYTES - 1),
        );
    }
    let pieces: Vec<std::io::Result<Bytes>> = rest
        .get(..sent)
        .unwrap()
        .chunks(50_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let cut = (sent < rest.len()).then(|| Err(std::io::Error::other("the cable was pulled")));
    response
        .body(HttpBody::from_stream(futures_util::stream::iter(
            pieces.into_iter().chain(cut),
        )))
        .unwrap()
}

fn open_tag(host: &str, tag: &str) -> Result<Remote> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{host}":{{"auth":"dTpw"}}}}}}"#)).unwrap();
    let auth = AuthPlaces {
        registry_auth_file: Some(file),
        ..AuthPlaces::default()
    };
    let options = RegistryOptions {
        plain_http: vec![host.to_owned()],
        extra_ca: None,
        auth,
    };
    open(
        &ImageName::parse(&format!("{host}/acme/api:{tag}")).unwrap(),
        &options,
    )
}

fn pull(remote: &Remote, registry: &Registry) -> Result<Vec<u8>> {
    let layer = Descriptor::new("", Sha256::of(&registry.layer), len64(LAYER_BYTES));
    let mut bytes = Vec::new();
    let mut reader = remote.open_blob(&layer)?.unwrap();
    reader
        .read_to_end(&mut bytes)
        .map_err(|err| Error::read("blob", err))?;
    Ok(bytes)
}

#[test]
fn a_tag_is_resolved_and_a_blob_streamed_with_a_token() {
    let registry = Registry::new(true);
    let host = registry.serve();
    let remote = open_tag(&host, "1").unwrap();
    let target = &remote.offers().first().unwrap().target;
    assert_eq!(
        (target.digest, target.media_type.as_str()),
        (Sha256::of(&registry.manifest), media_types::OCI_MANIFEST)
    );
    assert_eq!(remote.manifest(target).unwrap().unwrap(), registry.manifest);
    assert!(pull(&remote, &registry).unwrap() == registry.layer);
    let digests: Vec<_> = remote
        .referrers(&target.digest)
        .unwrap()
        .iter()
        .map(|found| found.digest)
        .collect();
    assert_eq!(digests, [Sha256::of(b"1"), Sha256::of(b"2")]);
    assert_eq!(remote.tag(&remote.repository, "none").unwrap(), None);
    assert_eq!(remote.referrers(&Sha256::of(b"x")).unwrap(), []);
    assert!(
        remote
            .open_blob(&Descriptor::new("", Sha256::of(b"x"), 1))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_registry_that_takes_the_password_itself_asks_for_it_once() {
    let registry = Registry::new(true);
    registry.basic.store(true, Ordering::SeqCst);
    let remote = open_tag(&registry.serve(), "1").unwrap();
    let asked = registry.challenges.load(Ordering::SeqCst);
    assert!(pull(&remote, &registry).unwrap() == registry.layer);
    assert_eq!(remote.tag(&remote.repository, "none").unwrap(), None);
    assert_eq!(registry.challenges.load(Ordering::SeqCst), asked);
}

#[test]
fn a_blob_cut_in_the_middle_goes_on_at_the_byte_reached() {
    for takes_range in [true, false] {
        let registry = Registry::new(takes_range);
        let host = registry.serve();
        let remote = open_tag(&host, "1").unwrap();
        registry.cuts.store(3, Ordering::SeqCst);
        assert!(pull(&remote, &registry).unwrap() == registry.layer);
        let served = registry.served.load(Ordering::SeqCst);
        assert_eq!(served < LAYER_BYTES * 5 / 4, takes_range, "{served}");
    }
}

#[test]
fn too_many_requests_are_waited_for_and_errors_are_final() {
    let registry = Registry::new(true);
    let host = registry.serve();
    registry.refusals.store(3, Ordering::SeqCst);
    open_tag(&host, "1").unwrap();
    assert!(matches!(
        open_tag(&host, "broken"),
        Err(Error::Registry { status: 500, .. })
    ));
    assert!(matches!(open_tag(&host, "none"), Err(Error::Missing { .. })));
    assert!(matches!(open_tag(&host, "lie"), Err(Error::Mismatch { .. })));
    assert!(matches!(open_tag(&host, "huge"), Err(Error::TooLarge { .. })));
    let message = open_tag(&host, "old").unwrap_err().to_string();
    assert!(message.contains("v1+prettyjws"), "{message}");
    registry.refusals.store(1000, Ordering::SeqCst);
    assert!(matches!(
        open_tag(&host, "1"),
        Err(Error::Registry { status: 429, .. })
    ));
}

#[test]
fn without_credentials_access_is_denied_and_nothing_secret_is_said() {
    let registry = Registry::new(true);
    let host = registry.serve();
    let options = RegistryOptions {
        plain_http: vec![host.clone()],
        ..RegistryOptions::default()
    };
    let error = open(
        &ImageName::parse(&format!("{host}/acme/api:1")).unwrap(),
        &options,
    )
    .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
}

#[test]
fn a_registry_that_is_not_there_is_a_transport_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert!(matches!(open_tag(&host, "1"), Err(Error::Transport { .. })));
}
