//! How the exact bytes of a compressed layer are had again from its plaintext.
//!
//! A deflate stream is what an encoder decided: which matches, where blocks end, which codes. Most layers were written
//! by a few encoders, and each decides by rule; so a model of the encoder, run over the plaintext, makes the same
//! decisions, and only where it errs is a *correction* kept. This room knows nothing of disks: plaintext and
//! compressed bytes go in, a recipe comes out, and back.

pub mod deflate;
