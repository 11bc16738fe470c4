//! An encoder that looks for no matches.

use super::Model;
use crate::deflate::guide::Guide;
use crate::deflate::inflate::Shape;
use crate::deflate::segment::Input;
use crate::deflate::token::Token;

/// Tokens of a block.
const BLOCK: usize = 65_535;

/// See [`Encoder::Literal`](super::Encoder::Literal).
#[derive(Debug, Default)]
pub struct Literal;

impl Model for Literal {
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G) {
        let mut at = input.start;
        loop {
            let mut count = 0;
            loop {
                at += guide.token(Token::literal(input.bytes[at])).length();
                count += 1;
                if guide.ends(count == BLOCK) {
                    break;
                }
            }
            if !guide.block(Shape::Fixed, at == input.bytes.len()) {
                return;
            }
        }
    }
}
