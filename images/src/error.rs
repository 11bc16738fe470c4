//! What can go wrong between a source of images and the store, and where. What is missing, does not
//! match, is malformed or not supported, and what the other side refused, are never merged: what to
//! do differs for each.

use holdall::ids::Sha256;
use holdall::name::ImageName;

/// The result of a call into this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no source that is known.
    #[error("{text:?} is no source: {why}; a source is one of\n{spellings}", spellings = crate::source::SPELLINGS)]
    NotASource {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that the source should have is not there.
    #[error("{place}: missing")]
    Missing {
        /// The source, and the file or digest in it.
        place: String,
    },
    /// The source's bytes are not those that their digest or length names.
    #[error("{place}: does not match: expected {expected}, found {found}")]
    Mismatch {
        /// The source, and the file or digest in it.
        place: String,
        /// The digest or length that was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// The source's bytes break their format.
    #[error("{place}: malformed: {why}")]
    Malformed {
        /// The source, and the file or digest in it.
        place: String,
        /// The rule that is broken.
        why: String,
    },
    /// The bytes follow a format that is not taken.
    #[error("{place}: not supported: {what}")]
    Unsupported {
        /// The source, and the file or digest in it.
        place: String,
        /// The format or feature by name, and what to do instead.
        what: String,
    },
    /// A file of a layout is a symbolic link, which could lead anywhere on this machine.
    #[error("{place}: a symbolic link; nothing outside of the layout is read, and no link in it is followed")]
    Link {
        /// The layout and the file in it.
        place: String,
    },
    /// More than this program takes in of something that comes from outside.
    #[error("{place}: {what} is over the limit of {limit}")]
    TooLarge {
        /// The source, and the file or digest in it.
        place: String,
        /// What there is too much of.
        what: String,
        /// The most that is taken.
        limit: u64,
    },
    /// The operating system refused.
    #[error("{place}: {source}")]
    Io {
        /// The path.
        place: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The registry was not reached, or broke off, as often as it was tried.
    #[error("{place}: {why}")]
    Transport {
        /// The URL.
        place: String,
        /// What went wrong, with its causes.
        why: String,
    },
    /// The registry answered with an error.
    #[error("{place}: the registry answered {status}{detail}")]
    Registry {
        /// The URL.
        place: String,
        /// The HTTP status code.
        status: u16,
        /// What it said about it; empty, or begins with `: `.
        detail: String,
    },
    /// The registry wants other credentials, or none were found.
    #[error("{place}: access denied{detail}")]
    Denied {
        /// The URL, or the file or program that credentials come from.
        place: String,
        /// What it said about it; empty, or begins with `: `. Never a secret.
        detail: String,
    },
    /// No child of the index, or not this image, is for a platform that was asked for.
    #[error("{place}: nothing in it is for {wanted}; there is {available}")]
    NoPlatform {
        /// The source and the image's digest.
        place: String,
        /// The platforms asked for.
        wanted: String,
        /// The platforms there are.
        available: String,
    },
    /// One name would stand for two images, or would move though nobody chose it.
    #[error(transparent)]
    NameTaken(Box<NameTaken>),
    /// The call makes no sense with these arguments.
    #[error("{why}")]
    Refused {
        /// Why, and what to do instead.
        why: String,
    },
    /// What the store said.
    #[error(transparent)]
    Store(#[from] holdall::Error),
}

/// One name would stand for two images, or would move though nobody chose it.
#[derive(Debug, thiserror::Error)]
#[error("{name} is {old} {before} and would become {new}, of {place}; --replace allows it")]
pub struct NameTaken {
    /// The name.
    pub name: ImageName,
    /// What it stands for.
    pub old: Sha256Digest,
    /// Where that comes from: `in this run, of …` or `on the medium`.
    pub before: String,
    /// What it would stand for.
    pub new: Sha256Digest,
    /// The source of the new one.
    pub place: String,
}

/// A digest as messages show it: `sha256:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256Digest(pub Sha256);

impl std::fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_digest())
    }
}

impl Error {
    pub(crate) fn missing(place: impl Into<String>) -> Self {
        Self::Missing { place: place.into() }
    }

    pub(crate) fn mismatch(place: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Mismatch {
            place: place.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn malformed(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            why: why.into(),
        }
    }

    pub(crate) fn unsupported(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Unsupported {
            place: place.into(),
            what: what.into(),
        }
    }

    pub(crate) fn too_large(place: impl Into<String>, what: impl Into<String>, limit: u64) -> Self {
        Self::TooLarge {
            place: place.into(),
            what: what.into(),
            limit,
        }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// What the operating system said about `place`; "not found" becomes [`Error::Missing`].
    pub(crate) fn io(place: impl Into<String>, source: std::io::Error) -> Self {
        let place = place.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { place },
            _ => Self::Io { place, source },
        }
    }

    /// A failure while reading: an error of this crate, or of the store, that went through [`std::io::Read`] comes
    /// out as it went in.
    pub(crate) fn read(place: impl Into<String>, source: std::io::Error) -> Self {
        let source = match source.downcast::<Self>() {
            Ok(inner) => return inner,
            Err(source) => source,
        };
        match source.downcast::<holdall::Error>() {
            Ok(inner) => Self::Store(inner),
            Err(source) => Self::Io {
                place: place.into(),
                source,
            },
        }
    }

    /// What JSON's parser found. Only the position and the kind are kept, as its own message can
    /// quote what it read, and that may be a secret.
    pub(crate) fn json(place: impl Into<String>, err: &serde_json::Error) -> Self {
        let kind = match err.classify() {
            serde_json::error::Category::Io => "not readable",
            serde_json::error::Category::Syntax => "not JSON",
            serde_json::error::Category::Data => "JSON of another shape",
            serde_json::error::Category::Eof => "JSON that breaks off",
        };
        Self::malformed(
            place,
            format!("{kind} (line {}, column {})", err.line(), err.column()),
        )
    }
}

impl From<holdall::name::NameError> for Error {
    fn from(err: holdall::name::NameError) -> Self {
        Self::Store(err.into())
    }
}
