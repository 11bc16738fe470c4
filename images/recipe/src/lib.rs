//! How the exact bytes of a compressed layer are had again from its plaintext.
//!
//! A deflate stream is what an encoder decided: which matches, where blocks end, which codes. Most layers were written
//! by a few encoders, and each decides by rule; so a model of the encoder, run over the plaintext, makes the same
//! decisions, and only where it errs is a *correction* kept. This room knows nothing of disks: plaintext and
//! compressed bytes go in, a recipe comes out, and back.
//!
//! [`gzip`] reads a layer's file once, [`skeleton`] what its tar is besides its files' bytes, [`table`] is how a recipe is
//! stored, [`rebuild`] carries it out, and [`outboard`] checks what comes out.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "positions are bounded by what they were computed from, and numbers by the limits of a segment; what comes \
              from outside is checked where it is read, and fuzzed"
)]

pub mod deflate;
pub mod gzip;
pub mod ladder;
pub mod outboard;
pub mod pool;
pub mod rebuild;
pub mod skeleton;
pub mod table;
