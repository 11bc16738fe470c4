//! Where a search's tokens go: the search proposes, and is told where the stream went another way.

use super::DEVIATIONS_MAX;
use crate::deflate::guide::Guide;
use crate::deflate::token::{LENGTH_MAX, LENGTH_MIN, Token};

/// What a stream has instead of the proposed token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Course {
    /// A literal, which ends there.
    Literal(usize),
    /// A copy, which ends there, of that length.
    Copy(usize, usize),
    /// Nothing: there is no more to search.
    Over,
}

impl Course {
    fn of(token: Token, at: usize) -> Self {
        if token.is_literal() {
            Self::Literal(at)
        } else {
            Self::Copy(at, token.length())
        }
    }
}

/// Takes the tokens that a search finds. Each method says what the stream has where it does not do as proposed; the search
/// goes on from there.
pub(super) trait Sink {
    /// Longest match that is looked for: it bounds the work where a stream does nothing as proposed.
    const LONGEST: usize;

    /// The bytes from `from` up to `to`.
    fn literals(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<Course>;

    /// A copy of any length behind those.
    fn copy(&mut self, length: usize, distance: usize) -> Option<Course>;

    /// The bytes from `from` on, in which nothing was found.
    fn rest(&mut self, bytes: &[u8], from: usize) {
        if from < bytes.len() {
            self.literals(bytes, from, bytes.len());
        }
    }
}

/// The lengths that a long match is written as: no rest is shorter than a copy may be.
#[inline]
fn pieces(length: usize, mut piece: impl FnMut(usize) -> bool) {
    let mut left = length;
    while left > 0 {
        let now = if left <= LENGTH_MAX {
            left
        } else if left > LENGTH_MAX + LENGTH_MIN {
            LENGTH_MAX
        } else {
            LENGTH_MAX - LENGTH_MIN
        };
        left -= now;
        if !piece(now) {
            return;
        }
    }
}

/// Drops the tokens: only what the search remembers is wanted.
pub(super) struct Quiet;

impl Sink for Quiet {
    const LONGEST: usize = usize::MAX;

    #[inline]
    fn literals(&mut self, _: &[u8], _: usize, _: usize) -> Option<Course> {
        None
    }

    #[inline]
    fn copy(&mut self, _: usize, _: usize) -> Option<Course> {
        None
    }
}

/// Collects the tokens; none where there are no copies among them.
impl Sink for Vec<Token> {
    const LONGEST: usize = usize::MAX;

    #[inline]
    fn literals(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<Course> {
        self.extend(bytes[from..to].iter().map(|byte| Token::literal(*byte)));
        None
    }

    #[inline]
    fn copy(&mut self, length: usize, distance: usize) -> Option<Course> {
        pieces(length, |piece| {
            self.push(Token::copy(piece, distance));
            true
        });
        None
    }

    fn rest(&mut self, bytes: &[u8], from: usize) {
        if !self.is_empty() {
            self.literals(bytes, from, bytes.len());
        }
    }
}

/// Leads the search along a stream that is known to its end.
pub(super) struct Replay<'a> {
    tokens: std::slice::Iter<'a, Token>,
    at: usize,
}

impl<'a> Replay<'a> {
    pub(super) fn new(tokens: &'a [Token], at: usize) -> Self {
        Self {
            tokens: tokens.iter(),
            at,
        }
    }

    fn next(&mut self, proposed: Token) -> Option<Course> {
        let Some(token) = self.tokens.next() else {
            return Some(Course::Over);
        };
        self.at += token.length();
        (*token != proposed).then(|| Course::of(*token, self.at))
    }
}

impl Sink for Replay<'_> {
    const LONGEST: usize = 4 * LENGTH_MAX;

    fn literals(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<Course> {
        bytes[from..to]
            .iter()
            .find_map(|byte| self.next(Token::literal(*byte)))
    }

    fn copy(&mut self, length: usize, distance: usize) -> Option<Course> {
        let mut course = None;
        pieces(length, |piece| {
            course = self.next(Token::copy(piece, distance));
            course.is_none()
        });
        course
    }
}

/// Leads the search along a stream: first the tokens that are known already, then those that the guide says.
pub(super) struct Follow<'a, G> {
    pub(super) guide: &'a mut G,
    /// The stream's tokens so far, those known first.
    pub(super) tokens: &'a mut Vec<Token>,
    /// How many of them the search has come by.
    pub(super) passed: usize,
    /// Where the stream stands behind those.
    pub(super) at: usize,
    /// Where it must not go beyond.
    pub(super) end: usize,
    /// Whether the block ended before that.
    pub(super) ended: bool,
    /// Tokens that were others than proposed.
    pub(super) deviations: u32,
}

impl<G: Guide> Follow<'_, G> {
    fn propose(&mut self, proposed: Token) -> Option<Course> {
        match self.next(proposed) {
            Some(token) if token == proposed => None,
            Some(token) if self.deviations < DEVIATIONS_MAX => {
                self.deviations += 1;
                Some(Course::of(token, self.at))
            }
            _ => Some(Course::Over),
        }
    }

    /// The stream's next token; none at the end.
    pub(super) fn next(&mut self, proposed: Token) -> Option<Token> {
        if self.ended || self.at >= self.end {
            return None;
        }
        let token = match self.tokens.get(self.passed) {
            Some(known) => *known,
            None => {
                let token = self.guide.token(proposed);
                self.tokens.push(token);
                token
            }
        };
        let known = self.passed + 1 < self.tokens.len();
        self.passed += 1;
        self.at += token.length();
        if !known && self.at < self.end {
            self.ended = self.guide.ends(false);
        }
        Some(token)
    }
}

impl<G: Guide> Sink for Follow<'_, G> {
    const LONGEST: usize = 4 * LENGTH_MAX;

    fn literals(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<Course> {
        bytes[from..to]
            .iter()
            .find_map(|byte| self.propose(Token::literal(*byte)))
    }

    fn copy(&mut self, length: usize, distance: usize) -> Option<Course> {
        let mut course = None;
        pieces(length, |piece| {
            course = self.propose(Token::copy(piece, distance));
            course.is_none()
        });
        course
    }
}
