//! Segments: whole blocks of a stream, predicted by themselves.

use super::bits::BitWriter;
use super::correction::Damage;
use super::encoder::{Encoder, Models};
use super::guide::{Bounds, Player, Recorder};
use super::inflate::Block;
use super::token::Token;

/// Plaintext before a segment that a model may be primed from: 64 KiB, or all there is.
pub const HISTORY: usize = 64 << 10;
/// Plaintext behind a segment that a model may look at: 1 KiB, or all there is.
pub const LOOKAHEAD: usize = 1 << 10;
/// Most plaintext of a segment: 32 MiB.
pub const SEGMENT_LIMIT: usize = 32 << 20;

/// Most blocks of a segment: real ones have some hundreds.
pub const BLOCKS_MAX: usize = 1 << 16;
/// Most earlier places that a model compares in a segment, about; behind that it predicts literals. Plaintext that is made
/// for it would have a model of a slow level look at thousands for each byte.
pub const TRIES: usize = 1 << 30;

/// The plaintext of a segment, and what lies around it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// [`HISTORY`] bytes before it (fewer only at the stream's start), the segment, [`LOOKAHEAD`] bytes behind it (fewer
    /// only at the stream's end).
    pub bytes: &'a [u8],
    /// Where the segment starts in `bytes`.
    pub start: usize,
    /// Where it ends in `bytes`.
    pub end: usize,
    /// Where the segment starts in the stream's plaintext.
    pub offset: u64,
}

impl Input<'_> {
    /// Whether `bytes` ends where the stream's plaintext does, as far as `at` (a position in `bytes`) can tell:
    /// fewer than [`LOOKAHEAD`] bytes are left.
    #[must_use]
    pub fn near_end(&self, at: usize) -> bool {
        self.bytes.len() - at < LOOKAHEAD
    }
}

/// What a model makes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Bytes of the corrections that a better prediction would have spared, up to where a bound was reached.
    pub errors: usize,
    /// The corrections that give the stream; none where a bound was reached.
    pub corrections: Option<Vec<u8>>,
}

/// Runs the model of `encoder` over the segment that the stream writes as `blocks` of `tokens`. That there are
/// corrections is the proof that [`rebuild`] gives the same bits.
#[must_use]
pub fn attempt(
    encoder: Encoder,
    models: &mut Models,
    input: &Input<'_>,
    tokens: &[Token],
    blocks: &[Block],
    bounds: Bounds,
) -> Attempt {
    let mut recorder = Recorder::new(input, tokens, blocks, bounds);
    if recorder.wants_more() {
        models.run(encoder, input, &mut recorder);
    }
    Attempt {
        errors: recorder.errors(),
        corrections: recorder.finish(),
    }
}

/// The corrections of an [`attempt`], if they take no more than `limit` bytes.
#[must_use]
pub fn record(
    encoder: Encoder,
    models: &mut Models,
    input: &Input<'_>,
    tokens: &[Token],
    blocks: &[Block],
    limit: usize,
) -> Option<Vec<u8>> {
    attempt(encoder, models, input, tokens, blocks, Bounds::corrections(limit)).corrections
}

/// Writes the segment behind `out`, which holds the bits of its first byte that belong to what comes before.
///
/// # Errors
/// [`Damage`] where a correction cannot be read or fits nowhere.
pub fn rebuild(
    encoder: Encoder,
    models: &mut Models,
    input: &Input<'_>,
    corrections: &[u8],
    out: BitWriter,
) -> Result<BitWriter, Damage> {
    let mut player = Player::new(input, corrections, out);
    if player.wants_more() {
        models.run(encoder, input, &mut player);
    }
    player.finish()
}
