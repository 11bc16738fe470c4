//! How progress and non-fatal findings leave the library. The library never prints.

/// Receives what a long-running call has to tell. Called from several threads; must not block long.
pub trait Monitor: Send + Sync {
    /// `bytes` more are expected to come in (known before they are read).
    fn expect(&self, bytes: u64) {
        let _ = bytes;
    }
    /// `bytes` of plaintext came in (add) or were checked (verify).
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
    /// `bytes` of plaintext needed no storing, as the medium has them.
    fn deduplicated(&self, bytes: u64) {
        let _ = bytes;
    }
    /// `bytes` were written to the medium.
    fn stored(&self, bytes: u64) {
        let _ = bytes;
    }
    /// What is being worked on, for a person.
    fn step(&self, text: &str) {
        let _ = text;
    }
    /// Something the operator should know, that does not stop the run.
    fn warn(&self, text: &str) {
        let _ = text;
    }
}

/// A monitor that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}
