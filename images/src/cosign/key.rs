//! The operator's keys: PEM as `cosign generate-key-pair` writes it.

use crate::{Error, Result};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use std::io::Read as _;
use std::path::Path;
use webpki::{RawPublicKeyEntity, ring};

/// Longest file that is read for a key, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What cosign signs with. It takes SHA-256 for every curve, and newer releases SHA-384 for P-384.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 6] = [
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
];

/// A public key, and what it is called.
#[derive(Debug, Clone)]
pub struct PublicKey {
    name: String,
    spki: SubjectPublicKeyInfoDer<'static>,
}

impl PublicKey {
    /// Reads a key from a PEM file, and calls it by the path as it was given.
    ///
    /// # Errors
    /// Where the file cannot be read, or is no public key of a kind that cosign's signatures are checked with here.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|err| Error::io(&place, err))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| Error::io(&place, err))?;
        if holdall::units::len64(bytes.len()) > MAX_FILE {
            return Err(Error::too_large(place, "the length of a key's file", MAX_FILE));
        }
        Self::parse(&bytes, &place)
    }

    /// The key in PEM text: its first `PUBLIC KEY`.
    ///
    /// # Errors
    /// Where there is none, or it is of another kind: ECDSA over P-256 or P-384, RSA of 2048 to 8192 bits, Ed25519.
    pub fn parse(pem: &[u8], name: &str) -> Result<Self> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| {
            Error::malformed(
                name,
                "no PUBLIC KEY in PEM; cosign generate-key-pair writes one as cosign.pub",
            )
        })?;
        let key = Self {
            name: name.to_owned(),
            spki,
        };
        // What is no signature at all tells a key of the algorithm's kind from any other.
        let entity = RawPublicKeyEntity::try_from(&key.spki)
            .map_err(|_| Error::malformed(name, "a PUBLIC KEY that cannot be taken apart"))?;
        let fits = ALGORITHMS.iter().any(|algorithm| {
            matches!(
                entity.verify_signature(*algorithm, b"", b""),
                Err(webpki::Error::InvalidSignatureForPublicKey)
            )
        });
        if !fits {
            return Err(Error::unsupported(
                name,
                "a key of that kind (only ECDSA over P-256 and P-384, RSA and Ed25519)",
            ));
        }
        Ok(key)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it signed that message.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(entity) = RawPublicKeyEntity::try_from(&self.spki) else {
            return false;
        };
        ALGORITHMS
            .iter()
            .any(|algorithm| entity.verify_signature(*algorithm, message, signature).is_ok())
    }
}
