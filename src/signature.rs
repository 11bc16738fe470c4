//! Signatures of a ROOT (FORMAT.md 4.1): SSH signatures as OpenSSH writes them, read within bounds and checked against ROOT's bytes.
//!
//! Whose keys count is not known here: see [`crate::trust`].

use crate::error::{Error, Result};
use crate::format::root::Root;
use crate::format::{SIGNATURE_MAX, SIGNATURES_MAX};
use crate::medium::{Medium, MediumFile};
use crate::name::SignerName;
use crate::units::{Generation, index64, len64};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PublicKey, SshSig};
use std::fmt;

/// What a signature is for: one that was made for anything else does not count.
pub const NAMESPACE: &str = "holdall-root@v1";

/// The authenticator's flags: somebody was present; and was verified.
const PRESENT: u8 = 0b001;
const VERIFIED: u8 = 0b100;

/// What a FIDO authenticator says of the person before it, least first. Other keys say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Presence {
    /// Nothing, or the key is no FIDO key.
    #[default]
    Nothing,
    /// Somebody touched it.
    Touched,
    /// Somebody was verified, by a PIN or a fingerprint.
    Verified,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Touched => "present",
            Self::Verified => "verified",
        })
    }
}

/// Why a signature says nothing for a ROOT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It cannot be read from the medium.
    #[error("{0}")]
    Unreadable(String),
    /// Longer than a signature can be.
    #[error("{0} bytes long, where a signature has at most 16384")]
    TooLong(u64),
    /// No SSH signature.
    #[error("not an SSH signature: {0}")]
    Malformed(String),
    /// It was made for something else.
    #[error("made for namespace {0:?}, not for {NAMESPACE:?}")]
    Namespace(String),
    /// It is of other bytes, or was altered.
    #[error("not a signature of this ROOT: the ROOT or the signature was altered, or it belongs to another")]
    NotOfThisRoot,
}

/// A signature that holds: by this key, of these bytes. Whether the key is one that counts is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    key: KeyData,
    presence: Presence,
}

impl Signed {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &KeyData {
        &self.key
    }

    /// The key's fingerprint as OpenSSH prints it: `SHA256:` and base64.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The kind of key, as OpenSSH spells it.
    #[must_use]
    pub fn algorithm(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// What a FIDO authenticator vouches for.
    #[must_use]
    pub const fn presence(&self) -> Presence {
        self.presence
    }
}

/// Checks an armored signature of a ROOT's bytes.
pub fn check(root: &[u8], armored: &[u8]) -> std::result::Result<Signed, SignatureFault> {
    if len64(armored.len()) > u64::from(SIGNATURE_MAX) {
        return Err(SignatureFault::TooLong(len64(armored.len())));
    }
    let signature = SshSig::from_pem(armored).map_err(|e| SignatureFault::Malformed(e.to_string()))?;
    if signature.namespace() != NAMESPACE {
        let namespace = signature.namespace().chars().take(100).collect();
        return Err(SignatureFault::Namespace(namespace));
    }
    let key = signature.public_key().clone();
    PublicKey::from(key.clone())
        .verify(NAMESPACE, root, &signature)
        .map_err(|_| SignatureFault::NotOfThisRoot)?;
    let presence = if key.is_sk_ed25519() || key.is_sk_ecdsa_p256() {
        // A FIDO signature ends with the authenticator's flags and its counter (PROTOCOL.u2f); they are signed too.
        let flags = signature.signature_bytes().iter().rev().nth(4).copied();
        match flags.unwrap_or_default() & (PRESENT | VERIFIED) {
            PRESENT => Presence::Touched,
            flags if flags == PRESENT | VERIFIED => Presence::Verified,
            // Verified without being present: no authenticator says so, and nothing can be made of it.
            _ => Presence::Nothing,
        }
    } else {
        Presence::Nothing
    };
    Ok(Signed { key, presence })
}

/// The bytes that a key has to sign for a ROOT, where that is not done here: by an agent, or by a FIDO authenticator.
pub fn to_sign(root: &[u8]) -> Result<Vec<u8>> {
    SshSig::signed_data(NAMESPACE, HashAlg::Sha512, root).map_err(|e| cannot_sign(&e))
}

/// The armored signature, made of what the key's holder returned for [`to_sign`]'s bytes.
pub fn armored(key: KeyData, signature: ssh_key::Signature) -> Result<String> {
    SshSig::new(key, NAMESPACE, HashAlg::Sha512, signature)
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .map_err(|e| cannot_sign(&e))
}

/// Signs a ROOT with a private key that is at hand.
pub fn sign(root: &[u8], key: &ssh_key::PrivateKey) -> Result<String> {
    key.sign(NAMESPACE, HashAlg::Sha512, root)
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .map_err(|e| cannot_sign(&e))
}

fn cannot_sign(error: &ssh_key::Error) -> Error {
    Error::refused(format!("the key cannot sign: {error}"))
}

/// A signature's file, as it was found: whose it says it is, and its text or what is wrong with it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The signer's name in the file's name. It proves nothing.
    pub signer: SignerName,
    /// The armored text.
    pub armored: std::result::Result<String, SignatureFault>,
}

impl Found {
    /// Checks it against a ROOT.
    pub fn check(&self, root: &Root) -> std::result::Result<Signed, SignatureFault> {
        let armored = self.armored.as_ref().map_err(Clone::clone)?;
        check(root.encode().as_bytes(), armored.as_bytes())
    }
}

/// The signatures that lie beside a ROOT.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Those that were read, by name.
    pub found: Vec<Found>,
    /// How many more there are, which were not.
    pub unread: u64,
}

/// The signatures that lie beside a generation's ROOT; of more than 64, the first ones by name. Only the folder itself may fail.
pub fn beside(medium: &dyn Medium, generation: Generation) -> Result<Beside> {
    let names = medium.signatures(generation)?;
    let unread = len64(names.len().saturating_sub(SIGNATURES_MAX));
    let found = names.into_iter().take(SIGNATURES_MAX).map(|signer| Found {
        signer,
        armored: read(medium, MediumFile::Signature(generation, signer)),
    });
    Ok(Beside {
        found: found.collect(),
        unread,
    })
}

/// The same, for who has nobody to tell that there are more.
pub fn read_all(medium: &dyn Medium, generation: Generation) -> Result<Vec<Found>> {
    Ok(beside(medium, generation)?.found)
}

fn read(medium: &dyn Medium, file: MediumFile) -> std::result::Result<String, SignatureFault> {
    let unreadable = |e: Error| SignatureFault::Unreadable(e.to_string());
    let len = medium
        .len(file)
        .and_then(|len| len.ok_or_else(|| Error::missing(medium.place(file))))
        .map_err(unreadable)?;
    if len > u64::from(SIGNATURE_MAX) {
        return Err(SignatureFault::TooLong(len));
    }
    let bytes = medium.read(file, 0, index64(len)).map_err(unreadable)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| SignatureFault::Malformed("not text".to_owned()))
}
