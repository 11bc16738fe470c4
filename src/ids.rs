//! Identities: fixed-length hashes and random ids, parsed to bytes at the border.
//!
//! Owns their text forms (lower-case hex, nothing else accepted). Knows nothing of where the bytes
//! they name are kept.

use std::fmt;

/// What is wrong with a text that should have been an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}: {text:?}")]
pub struct ParseIdError {
    expected: &'static str,
    text: String,
}

impl ParseIdError {
    fn new(expected: &'static str, text: &str) -> Self {
        // A hostile text is quoted only as far as a message needs it.
        Self {
            expected,
            text: text.chars().take(100).collect(),
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id made of exactly these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes, in the order they are stored and printed.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Parses lower-case hex of exactly the right length; anything else is an error.
            pub fn from_hex(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                if text.bytes().any(|b| b.is_ascii_uppercase())
                    || hex::decode_to_slice(text, &mut bytes).is_err()
                {
                    return Err(ParseIdError::new($expected, text));
                }
                Ok(Self(bytes))
            }

            /// Lower-case hex.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }
    };
}

id!(
    /// BLAKE3-256 of a chunk's plaintext. All zeros stands for a run of zero bytes (FORMAT.md, chunk list).
    ChunkId, 32, "64 lower-case hex digits"
);
id!(
    /// BLAKE3-256 of a whole byte sequence, as `b3sum` prints it.
    BlobId, 32, "64 lower-case hex digits"
);
id!(
    /// BLAKE3-256 of a frame's stored (compressed) bytes.
    FrameHash, 32, "64 lower-case hex digits"
);
id!(
    /// BLAKE3-256 of the canonical part of a list or tree page, or of a pack's footer, or of a ROOT.
    PageHash, 32, "64 lower-case hex digits"
);
id!(
    /// SHA-256: the digest of the OCI world and of the catalogue's tree.
    Sha256, 32, "64 lower-case hex digits"
);
id!(
    /// What tells one medium from another: 128 random bits drawn at `init`.
    MediumId, 16, "32 lower-case hex digits"
);

impl ChunkId {
    /// The id that stands for a run of zero bytes.
    pub const ZEROS: Self = Self([0; 32]);

    /// The id of this plaintext.
    #[must_use]
    pub fn of(plain: &[u8]) -> Self {
        Self(*blake3::hash(plain).as_bytes())
    }
}

impl FrameHash {
    /// The hash of these stored bytes.
    #[must_use]
    pub fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }
}

impl PageHash {
    /// The hash of these canonical bytes.
    #[must_use]
    pub fn of(canonical: &[u8]) -> Self {
        Self(*blake3::hash(canonical).as_bytes())
    }
}

impl BlobId {
    /// The id of this byte sequence.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Sha256 {
    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Parses an OCI digest, `sha256:` and 64 lower-case hex digits; other algorithms are an error.
    pub fn from_digest(text: &str) -> Result<Self, ParseIdError> {
        text.strip_prefix("sha256:")
            .and_then(|hex| Self::from_hex(hex).ok())
            .ok_or_else(|| ParseIdError::new("a sha256 digest", text))
    }

    /// The OCI digest, `sha256:` and 64 hex digits.
    #[must_use]
    pub fn to_digest(&self) -> String {
        format!("sha256:{}", self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_an_id() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_hex(), hex);
        assert_eq!(
            Sha256::from_digest(&format!("sha256:{hex}")).unwrap(),
            Sha256::of(b"")
        );
        for bad in [
            "",
            "e3",
            &hex.to_uppercase(),
            &hex.replace('e', "/"),
            &format!("{hex}00"),
        ] {
            assert!(Sha256::from_hex(bad).is_err(), "{bad}");
        }
        for bad in [hex, "sha512:00", "sha256:../../etc/passwd"] {
            assert!(Sha256::from_digest(bad).is_err(), "{bad}");
        }
    }
}
