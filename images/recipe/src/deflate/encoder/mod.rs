//! Models of the encoders that write layers. Each is the encoder's rule, not its code: what it decides from the
//! plaintext, and nothing of how it is called or what it allocates.

mod buckets;
mod go;
mod go_fast;
mod klauspost;
mod lengths;
mod literal;
mod zlib;

use super::guide::Guide;
use super::segment::Input;
use go::Go;
use go_fast::GoFast;
pub use klauspost::Version;
use klauspost::{Klauspost, Setting};
use literal::Literal;
use std::fmt;
use std::str::FromStr;
pub use zlib::Pigz;

/// An encoder and its parameters. Its name, as [`Display`](fmt::Display) gives it, is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// Literals with the fixed codes, in blocks of 65,535: what an encoder writes that looks for no matches.
    Literal,
    /// Go's `compress/flate` as of Go 1.26 and before, at levels -2 and 0 to 9; its default, -1, is 6. Named `go:6`.
    Go {
        /// The level.
        level: i8,
    },
    /// GNU gzip at levels 1 to 9; its default is 6. Named `gzip:6`.
    Gzip {
        /// The level.
        level: u8,
    },
    /// pigz at levels 1 to 9; its default is 6. Named `pigz:6`, `pigz-i:6`, `pigz:6:512`.
    Pigz {
        /// The level.
        level: u8,
        /// How it cuts its input.
        cut: Pigz,
    },
    /// zlib at levels 1 to 9; its default, -1, is 6. Named `zlib:6`.
    Zlib {
        /// The level.
        level: u8,
    },
    /// klauspost/compress, or what descends from it, at levels 1 to 9. Named `klauspost1.18:5`, `go1.27:6`.
    Klauspost {
        /// The version.
        version: Version,
        /// The level.
        level: u8,
    },
    /// pgzip with that version of klauspost/compress. Named `pgzip1.18:5:1048576`.
    Pgzip {
        /// The version.
        version: Version,
        /// The level.
        level: u8,
        /// Plaintext of the blocks that it compresses each by itself.
        block: u32,
    },
}

impl Encoder {
    /// What a stream is tried with when nothing is known of it, the likeliest first: what people write at the defaults, then
    /// every level of every family, pgzip with the blocks that are its own default and that of umoci.
    pub fn candidates() -> impl Iterator<Item = Self> {
        let go = |level| Self::Go { level };
        let usual = [go(6), go(9), go(5), go(4), go(1)];
        let others = [7, 8, 3, 2, -2, 0].map(go);
        let blocks = [1 << 20, 256 << 10];
        let pgzip = move |level| {
            let made = move |version| {
                blocks.map(|block| Self::Pgzip {
                    version,
                    level,
                    block,
                })
            };
            Version::at(level, true).flat_map(made)
        };
        let klauspost =
            |level| Version::at(level, false).map(move |version| Self::Klauspost { version, level });
        let zlib = |level| {
            let pigz = [Pigz::DEFAULT, Pigz::INDEPENDENT].map(|cut| Self::Pigz { level, cut });
            [Self::Gzip { level }, Self::Zlib { level }]
                .into_iter()
                .chain(pigz)
        };
        let defaults = pgzip(5).chain(klauspost(6)).chain(klauspost(5));
        let defaults = [6, 9, 1].into_iter().flat_map(zlib).chain(defaults);
        let rest = [2, 3, 4, 5, 7, 8].into_iter().flat_map(zlib);
        let rest = rest.chain([1, 2, 3, 4, 6, 7, 8, 9].into_iter().flat_map(pgzip));
        let rest = rest.chain([1, 2, 3, 4, 7, 8, 9].into_iter().flat_map(klauspost));
        usual.into_iter().chain(defaults).chain(others).chain(rest)
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("literal"),
            Self::Go { level } => write!(f, "go:{level}"),
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Pigz { level, cut } => f.write_str(&cut.name(*level)),
            Self::Zlib { level } => write!(f, "zlib:{level}"),
            Self::Klauspost { version, level } => write!(f, "{}:{level}", version.name()),
            Self::Pgzip {
                version,
                level,
                block,
            } => write!(f, "{}:{level}:{block}", version.pgzip()),
        }
    }
}

/// A name that is no encoder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no encoder that is known")]
pub struct UnknownEncoder;

impl FromStr for Encoder {
    type Err = UnknownEncoder;

    fn from_str(name: &str) -> Result<Self, UnknownEncoder> {
        if let Some(level) = name.strip_prefix("go:").and_then(|level| level.parse().ok()) {
            return if (0..=9).contains(&level) || level == -2 {
                Ok(Self::Go { level })
            } else {
                Err(UnknownEncoder)
            };
        }
        if let Some(level) = name.strip_prefix("gzip:") {
            return Ok(Self::Gzip {
                level: zlib::level(level).ok_or(UnknownEncoder)?,
            });
        }
        if let Some((level, cut)) = Pigz::parse(name) {
            return Ok(Self::Pigz { level, cut });
        }
        if let Some(level) = name.strip_prefix("zlib:") {
            return Ok(Self::Zlib {
                level: zlib::level(level).ok_or(UnknownEncoder)?,
            });
        }
        match name {
            "literal" => Ok(Self::Literal),
            _ => klauspost::named(name).ok_or(UnknownEncoder),
        }
    }
}

/// Predicts what one family of encoders does.
pub trait Model {
    /// Predicts all blocks of a segment that has plaintext. It depends on `input` alone, whatever was predicted before.
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G);
}

/// The models, with the memory that they take; made once a thread.
#[derive(Default)]
pub struct Models {
    literal: Literal,
    go: Go,
    zlib: zlib::Family,
    klauspost: Klauspost,
    go_fast: GoFast,
}

impl Models {
    /// Runs the model of `encoder` over a segment that has plaintext.
    pub fn run<G: Guide>(&mut self, encoder: Encoder, input: &Input<'_>, guide: &mut G) {
        match encoder {
            Encoder::Literal => self.literal.segment(input, guide),
            Encoder::Go { level: level @ ..2 } => go_fast::At(&mut self.go_fast, level).segment(input, guide),
            Encoder::Go { level } => go::At(&mut self.go, level).segment(input, guide),
            Encoder::Gzip { level } => {
                zlib::At(&mut self.zlib, zlib::Member::Gzip, level).segment(input, guide);
            }
            Encoder::Pigz { level, cut } => {
                zlib::At(&mut self.zlib, zlib::Member::Pigz(cut), level).segment(input, guide);
            }
            Encoder::Zlib { level } => {
                zlib::At(&mut self.zlib, zlib::Member::Zlib, level).segment(input, guide);
            }
            Encoder::Klauspost { version, level } => {
                klauspost::At(&mut self.klauspost, Setting::new(version, level, None)).segment(input, guide);
            }
            Encoder::Pgzip {
                version,
                level,
                block,
            } => {
                klauspost::At(&mut self.klauspost, Setting::new(version, level, Some(block)))
                    .segment(input, guide);
            }
        }
    }
}
