//! Buffers that are read into, used again: a fresh one costs more in page faults than in copying.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Smaller buffers are not worth keeping.
const WORTH_KEEPING: usize = 64 * 1024;
/// Lengths are rounded up to this, so that buffers fit one another's uses.
const STEP: usize = 128 * 1024;
/// Most buffers kept.
const KEPT: usize = 16;

/// Buffers that nobody reads from any more.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that comes back when the last slice of it is dropped.
struct Lent {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.free.lock();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Buffers {
    /// A buffer of at least `len` bytes; what is in it is left from its last use.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        if len < WORTH_KEEPING {
            return vec![0; len];
        }
        let mut free = self.free.lock();
        let fits = |b: &Vec<u8>| (len..len + 2 * STEP).contains(&b.len());
        match free.iter().position(fits) {
            Some(at) => free.swap_remove(at),
            None => {
                drop(free);
                vec![0; len.next_multiple_of(STEP)]
            }
        }
    }

    /// Lends a buffer's bytes from `start` to `end` out, until nobody holds a slice of them.
    pub(super) fn lend(self: &Arc<Self>, bytes: Vec<u8>, start: usize, end: usize) -> Bytes {
        if bytes.len() < WORTH_KEEPING {
            return Bytes::from(bytes).slice(start..end);
        }
        let home = Arc::clone(self);
        Bytes::from_owner(Lent { bytes, home }).slice(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_reads_from_it() {
        let buffers = Arc::new(Buffers::default());
        let first = buffers.take(500_000);
        assert!(first.len() >= 500_000);
        let lent = buffers.lend(first, 10, 20);
        let slice = lent.slice(2..4);
        drop(lent);
        assert_eq!(buffers.free.lock().len(), 0);
        drop(slice);
        assert_eq!(buffers.free.lock().len(), 1);
        buffers.take(490_000);
        assert_eq!(buffers.free.lock().len(), 0);
    }
}
