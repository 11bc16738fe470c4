//! Deflate streams (RFC 1951): read into blocks and tokens ([`inflate`]), predicted by models of encoders
//! ([`encoder`]), and written again from a model and its [corrections](correction).
//!
//! The unit is a *segment*: whole blocks of one stream, some mebibytes of plaintext. A model starts each segment anew,
//! primed from the plaintext before it alone, when a recipe is made and when it is carried out; so every segment is a
//! place to start from, and segments are made and rebuilt on all cores.

pub mod bits;
pub mod correction;
pub mod encoder;
pub mod guide;
pub mod inflate;
pub mod segment;
pub mod token;
