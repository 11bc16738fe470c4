//! Models of the encoders that write layers. Each is the encoder's rule, not its code: what it decides from the
//! plaintext, and nothing of how it is called or what it allocates.

mod literal;

use super::guide::Guide;
use super::segment::Input;
use literal::Literal;

/// An encoder and its parameters. Its number and parameters are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// Literals with the fixed codes, in blocks of 65,535: what an encoder writes that looks for no matches.
    Literal,
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
}

impl Models {
    /// Runs the model of `encoder` over a segment that has plaintext.
    pub fn run<G: Guide>(&mut self, encoder: Encoder, input: &Input<'_>, guide: &mut G) {
        match encoder {
            Encoder::Literal => self.literal.segment(input, guide),
        }
    }
}
