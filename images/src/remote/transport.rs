//! Requests to one repository of a registry: TLS, tokens, retries, bounds.
//!
//! Tokens are had by `oci-client`. The requests themselves are made here, as what it makes of an answer
//! loses what is needed: the status beside an error text, `Retry-After`, `Link`, and a bound on how much
//! is read.

use super::RegistryOptions;
use super::auth::Credentials;
use crate::{Error, Result};
use backon::{ExponentialBuilder, Retryable as _};
use holdall::name::Repository;
use holdall::units::len64;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LINK, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use std::error::Error as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that a registry can make us wait by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(180);
/// Tries of one request beyond the first, with the waits between them doubling.
const RETRIES: usize = 6;
#[cfg(not(test))]
const FIRST_WAIT: Duration = Duration::from_millis(500);
#[cfg(test)]
const FIRST_WAIT: Duration = Duration::from_millis(2);
/// Most of an error's text that is repeated, in characters.
const MAX_DETAIL: usize = 300;
const MAX_CA_FILE: u64 = 16 << 20;

/// A small answer.
#[derive(Debug)]
pub struct Body {
    /// All of it.
    pub bytes: Vec<u8>,
    /// `Content-Type`, without parameters.
    pub media_type: Option<String>,
    /// `Docker-Content-Digest`.
    pub digest: Option<String>,
    /// The next page, as a path like that asked for.
    pub next: Option<String>,
}

/// A large answer that begins to come.
#[derive(Debug)]
pub struct Stream {
    /// The answer.
    pub response: Response,
    /// Bytes at its start that were not asked for: the registry takes no `Range`.
    pub skip: u64,
}

/// A failed try.
struct Failure {
    error: Error,
    /// Whether it may go better next time.
    transient: bool,
    /// How long the registry asked to wait.
    after: Option<Duration>,
}

impl Failure {
    fn last(error: Error) -> Self {
        Self {
            error,
            transient: false,
            after: None,
        }
    }
}

/// One repository, ready to be asked.
pub struct Transport {
    client: reqwest::Client,
    base: Url,
    tokens: oci_client::Client,
    reference: Reference,
    auth: RegistryAuth,
    bearer: Mutex<Option<String>>,
    /// Set once the registry has taken the password itself, so that it need not ask each time.
    takes_password: AtomicBool,
}

impl Transport {
    /// A transport to a repository. Nothing is sent yet.
    pub fn new(repository: &Repository, credentials: Credentials, options: &RegistryOptions) -> Result<Self> {
        // An error means that somebody has chosen a provider already, which then serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reference = Reference::with_tag(
            repository.registry().to_owned(),
            repository.path().to_owned(),
            "latest".to_owned(),
        );
        let host = reference.resolve_registry().to_owned();
        let plain = options
            .plain_http
            .iter()
            .any(|plain| plain == repository.registry() || *plain == host);
        let place = format!("docker://{repository}");
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/v2/{}/", repository.path()))
            .map_err(|err| Error::malformed(&place, err.to_string()))?;
        let authorities = options
            .extra_ca
            .as_deref()
            .map(read_certificates)
            .transpose()?
            .unwrap_or_default();
        let broken = |err: reqwest::Error| Error::Transport {
            place: place.clone(),
            why: causes(&err),
        };
        let certificates = authorities
            .iter()
            .map(|pem| reqwest::Certificate::from_pem(pem))
            .collect::<std::result::Result<Vec<_>, _>>();
        let client = reqwest::Client::builder()
            .tls_certs_merge(certificates.map_err(broken)?)
            .https_only(!plain)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("holdall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(broken)?;
        let tokens = oci_client::Client::try_from(ClientConfig {
            protocol: if plain {
                ClientProtocol::HttpsExcept(vec![host])
            } else {
                ClientProtocol::Https
            },
            extra_root_certificates: authorities
                .into_iter()
                .map(|data| Certificate {
                    encoding: CertificateEncoding::Pem,
                    data,
                })
                .collect(),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("holdall/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(|err| Error::Transport {
            place,
            why: err.to_string(),
        })?;
        let auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Password { user, password } => RegistryAuth::Basic(user, password),
        };
        Ok(Self {
            client,
            base,
            tokens,
            reference,
            auth,
            bearer: Mutex::new(None),
            takes_password: AtomicBool::new(false),
        })
    }

    /// The whole of a small answer to a request for `path` below the repository; None for "not found".
    pub async fn get_small(&self, path: &str, accept: &[&str], limit: u64) -> Result<Option<Body>> {
        let accept = accept.join(", ");
        self.retry(|| async {
            let Some(mut response) = self.send(path, &accept, 0).await? else {
                return Ok(None);
            };
            let place = response.url().to_string();
            let headers = response.headers().clone();
            let mut bytes = Vec::new();
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|err| transport_failure(&place, &err))?
            {
                if len64(bytes.len() + chunk.len()) > limit {
                    return Err(Failure::last(Error::too_large(
                        &place,
                        "the length of the answer in bytes",
                        limit,
                    )));
                }
                bytes.extend_from_slice(&chunk);
            }
            let text = |name: &str| {
                headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned)
            };
            let media_type = text(CONTENT_TYPE.as_str())
                .map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
            let next = self.next_page(&headers, response.url()).map_err(Failure::last)?;
            Ok(Some(Body {
                bytes,
                media_type,
                digest: text("docker-content-digest"),
                next,
            }))
        })
        .await
    }

    /// Begins to read `path` from byte `from` on; None for "not found".
    pub async fn open(&self, path: &str, from: u64) -> Result<Option<Stream>> {
        self.retry(|| async {
            let Some(response) = self.send(path, "*/*", from).await? else {
                return Ok(None);
            };
            let skip = match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let range = response
                        .headers()
                        .get(CONTENT_RANGE)
                        .and_then(|value| value.to_str().ok())
                        .unwrap_or_default();
                    if range
                        .strip_prefix("bytes ")
                        .and_then(|rest| rest.split('-').next())
                        != Some(from.to_string().as_str())
                    {
                        let why = format!("asked for bytes from {from} on, got {range:?}");
                        return Err(Failure::last(Error::malformed(response.url().to_string(), why)));
                    }
                    0
                }
                _ => from,
            };
            Ok(Some(Stream { response, skip }))
        })
        .await
    }

    /// The waits between tries.
    pub fn waits() -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(FIRST_WAIT * 64)
            .with_max_times(RETRIES)
    }

    async fn retry<T, F>(&self, once: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        once.retry(Self::waits())
            .when(|failure| failure.transient)
            .adjust(|failure, wait| match failure.after {
                Some(after) if after > MAX_RETRY_AFTER => None,
                Some(after) => wait.map(|wait| wait.max(after)),
                None => wait,
            })
            .await
            .map_err(|failure| failure.error)
    }

    async fn send(
        &self,
        path: &str,
        accept: &str,
        from: u64,
    ) -> std::result::Result<Option<Response>, Failure> {
        let url = self
            .base
            .join(path)
            .map_err(|err| Failure::last(Error::malformed(self.base.as_str(), err.to_string())))?;
        let mut bearer = self.bearer.lock().await.clone();
        let mut challenged = false;
        let known = self.takes_password.load(Ordering::Relaxed);
        loop {
            let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            request = match (&bearer, &self.auth) {
                (Some(token), _) => request.header(AUTHORIZATION, format!("Bearer {token}")),
                (None, RegistryAuth::Basic(user, password)) if challenged || known => {
                    request.basic_auth(user, Some(password))
                }
                _ => request,
            };
            let response = request
                .send()
                .await
                .map_err(|err| transport_failure(url.as_str(), &err))?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                    if challenged && bearer.is_none() {
                        self.takes_password.store(true, Ordering::Relaxed);
                    }
                    return Ok(Some(response));
                }
                StatusCode::NOT_FOUND => return Ok(None),
                // Once only: a token may have expired, or none was asked for yet.
                StatusCode::UNAUTHORIZED if !challenged => {
                    challenged = true;
                    bearer = self.new_token(bearer.as_deref()).await?;
                }
                status => return Err(answer_failure(url.as_str(), status, response).await),
            }
        }
    }

    /// A token in place of `old`, which the registry did not take; one that another thread has got meanwhile
    /// serves as well. None where the registry wants none.
    async fn new_token(&self, old: Option<&str>) -> std::result::Result<Option<String>, Failure> {
        let mut bearer = self.bearer.lock().await;
        if bearer.is_some() && bearer.as_deref() != old {
            return Ok(bearer.clone());
        }
        let place = self.base.as_str();
        *bearer = self
            .tokens
            .auth(&self.reference, &self.auth, RegistryOperation::Pull)
            .await
            .map_err(|err| match err {
                OciDistributionError::RequestError(err) => transport_failure(place, &err),
                OciDistributionError::AuthenticationFailure(text) => Failure::last(Error::Denied {
                    place: place.to_owned(),
                    detail: detail(text.as_bytes()),
                }),
                other => Failure::last(Error::Denied {
                    place: place.to_owned(),
                    detail: detail(other.to_string().as_bytes()),
                }),
            })?;
        Ok(bearer.clone())
    }

    /// The next page by `Link`, which must be of this repository.
    fn next_page(&self, headers: &HeaderMap, url: &Url) -> Result<Option<String>> {
        let links = headers
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for link in links {
            let Some((target, parameters)) = link
                .trim()
                .strip_prefix('<')
                .and_then(|rest| rest.split_once('>'))
            else {
                continue;
            };
            if !parameters
                .split(';')
                .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"))
            {
                continue;
            }
            let next = url
                .join(target)
                .map_err(|err| Error::malformed(url.as_str(), err.to_string()))?;
            let rest = next.as_str().strip_prefix(self.base.as_str());
            return match rest {
                Some(rest) => Ok(Some(rest.to_owned())),
                None => Err(Error::malformed(
                    url.as_str(),
                    format!("its next page is elsewhere: {next}"),
                )),
            };
        }
        Ok(None)
    }
}

fn transport_failure(place: &str, err: &reqwest::Error) -> Failure {
    Failure {
        error: Error::Transport {
            place: place.to_owned(),
            why: causes(err),
        },
        // A request that cannot be made, or a certificate that is not trusted, is not made better by repeating.
        transient: !err.is_builder() && !err.is_redirect() && !is_tls(err),
        after: None,
    }
}

async fn answer_failure(url: &str, status: StatusCode, mut response: Response) -> Failure {
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > 4 * MAX_DETAIL {
            break;
        }
    }
    let (place, detail) = (url.to_owned(), detail(&text));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::last(Error::Denied { place, detail }),
        status => Failure {
            error: Error::Registry {
                place,
                status: status.as_u16(),
                detail,
            },
            transient: status.is_server_error()
                || matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                ),
            after: after.map(Duration::from_secs),
        },
    }
}

/// What a registry said about an error, cut to what a message can bear.
fn detail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_DETAIL)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

/// An error with all its causes, as reqwest's own text names only the request.
pub fn causes(err: &reqwest::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// True where TLS itself was refused, as against a connection that broke.
fn is_tls(err: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = err.source();
    while let Some(inner) = cause {
        if inner.is::<rustls::Error>() {
            return true;
        }
        // What an I/O error wraps is not its source, but stands in for it.
        let wrapped = inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = wrapped.map_or_else(|| inner.source(), |wrapped| Some(wrapped));
    }
    false
}

/// The certificates of a PEM file, each on its own.
fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>> {
    const END: &str = "-----END CERTIFICATE-----";
    let place = path.display().to_string();
    let len = std::fs::metadata(path)
        .map_err(|err| Error::io(&place, err))?
        .len();
    if len > MAX_CA_FILE {
        return Err(Error::too_large(place, "its length in bytes", MAX_CA_FILE));
    }
    let text = std::fs::read_to_string(path).map_err(|err| Error::io(&place, err))?;
    let pieces: Vec<&str> = text
        .split_inclusive(END)
        .filter(|piece| piece.contains("-----BEGIN CERTIFICATE-----"))
        .collect();
    if pieces.is_empty() {
        return Err(Error::malformed(place, "it has no certificate in PEM"));
    }
    Ok(pieces
        .into_iter()
        .map(|piece| piece.as_bytes().to_vec())
        .collect())
}
