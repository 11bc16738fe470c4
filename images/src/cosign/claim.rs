//! What a signature says, in either of cosign's forms. Nothing here is believed yet: whether a key signed it is asked later.

use super::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdall::ids::Sha256;
use serde::Deserialize;
use sigstore_types::{Bundle, SignatureContent, Statement};

/// The media type of a payload of simple signing.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of such a layer that holds its signature, in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What every media type of sigstore's bundles begins with.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The media type of an attestation's envelope, in cosign's older form.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The kind of payload by which cosign signs an image.
const IMAGE_SIGNATURE: &str = "cosign container image signature";
/// The type of an envelope's payload that is a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What the type of every version of a statement begins with.
const STATEMENT: &str = "https://in-toto.io/Statement/";
/// The predicate by which cosign signs an image. Others (provenance, SBOMs, reports of vulnerabilities) say something of an
/// image, which need not be good.
const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// True for a sigstore bundle's media type, of any version.
#[must_use]
pub fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with(BUNDLE)
}

/// True for a layer that is cosign's and says something of another image.
pub(super) fn is_about_another(media_type: &str) -> bool {
    matches!(media_type, SIMPLE_SIGNING | ENVELOPE) || is_bundle(media_type)
}

/// That somebody signed images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The bytes that were signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The manifests or indexes that the message names; empty where it names none by SHA-256.
    pub digests: Vec<Sha256>,
}

/// Reads a payload of simple signing. `signature` is the annotation beside it.
///
/// # Errors
/// Where either is malformed, or the payload signs something else than an image.
pub fn simple_signing(payload: &[u8], signature: &str) -> Result<Claim, Fault> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "docker-manifest-digest")]
        digest: String,
    }
    let parsed: Payload = serde_json::from_slice(payload).map_err(|err| Fault::json("its payload", &err))?;
    if parsed.critical.kind != IMAGE_SIGNATURE {
        return Err(Fault::other_statement(&parsed.critical.kind));
    }
    let digest = Sha256::from_digest(&parsed.critical.image.digest)
        .map_err(|err| Fault::malformed(format!("its payload: {err}")))?;
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| Fault::malformed(format!("its annotation {SIGNATURE} is not base64")))?;
    Ok(Claim {
        message: payload.to_vec(),
        signature,
        digests: vec![digest],
    })
}

/// Reads a sigstore bundle: one envelope around a statement, with one signature.
///
/// # Errors
/// Where it is malformed, of a version that is not known, or states something else than that an image is signed.
pub fn bundle(bytes: &[u8]) -> Result<Claim, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::malformed("its bundle is not UTF-8"))?;
    let parsed = Bundle::from_json(text)
        .map_err(|err| Fault::malformed(format!("its bundle cannot be read: {err}")))?;
    let SignatureContent::DsseEnvelope(envelope) = parsed.content else {
        return Err(Fault::malformed("its bundle has no DSSE envelope"));
    };
    if envelope.payload_type != IN_TOTO {
        return Err(Fault::other_statement(&envelope.payload_type));
    }
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
        .map_err(|err| Fault::json("its statement", &err))?;
    if !statement.type_.starts_with(STATEMENT) {
        return Err(Fault::other_statement(&statement.type_));
    }
    if statement.predicate_type != COSIGN_SIGN {
        return Err(Fault::other_statement(&statement.predicate_type));
    }
    let digests = statement
        .subject
        .iter()
        .filter_map(|subject| subject.digest.sha256.as_ref())
        .map(|digest| Sha256::from_bytes(*digest.as_bytes()))
        .collect();
    Ok(Claim {
        message: envelope.pae(),
        signature: envelope.signature.sig.as_bytes().to_vec(),
        digests,
    })
}
