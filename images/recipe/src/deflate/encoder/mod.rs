//! Models of the encoders that write layers. Each is the encoder's rule, not its code: what it decides from the
//! plaintext, and nothing of how it is called or what it allocates.

mod go;
mod go_fast;
mod lengths;
mod literal;

use super::guide::Guide;
use super::segment::Input;
use go::Go;
use go_fast::GoFast;
use literal::Literal;
use std::fmt;
use std::str::FromStr;

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
}

impl Encoder {
    /// What a stream is tried with when nothing is known of it, the likeliest first.
    pub const CANDIDATES: &'static [Self] = &[
        Self::Go { level: 6 },
        Self::Go { level: 9 },
        Self::Go { level: 5 },
        Self::Go { level: 4 },
        Self::Go { level: 7 },
        Self::Go { level: 8 },
        Self::Go { level: 3 },
        Self::Go { level: 2 },
        Self::Go { level: 1 },
        Self::Go { level: -2 },
        Self::Go { level: 0 },
    ];
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("literal"),
            Self::Go { level } => write!(f, "go:{level}"),
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
        match name {
            "literal" => Ok(Self::Literal),
            _ => Err(UnknownEncoder),
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
    go_fast: GoFast,
}

impl Models {
    /// Runs the model of `encoder` over a segment that has plaintext.
    pub fn run<G: Guide>(&mut self, encoder: Encoder, input: &Input<'_>, guide: &mut G) {
        match encoder {
            Encoder::Literal => self.literal.segment(input, guide),
            Encoder::Go { level: level @ ..2 } => go_fast::At(&mut self.go_fast, level).segment(input, guide),
            Encoder::Go { level } => go::At(&mut self.go, level).segment(input, guide),
        }
    }
}
