//! Which chains of the disk something stands on that is mounted or can be.

use super::Snapshots;
use super::chain::Chains;
use holdall::ids::Sha256;
use parking_lot::Mutex;
use std::collections::HashMap;

/// How many active snapshots and views stand on each chain, with those that are being made.
#[derive(Debug, Default)]
pub(super) struct Stands {
    /// Held while a chain is released, so that nobody asks for its folder meanwhile.
    counts: Mutex<HashMap<Sha256, u64>>,
}

impl Stands {
    pub(super) fn begin(&self, chain_id: Sha256) {
        *self.counts.lock().entry(chain_id).or_default() += 1;
    }

    /// Who stood on it does so no more; with the last of them the chain is released.
    pub(super) fn end(&self, chain_id: &Sha256, chains: &dyn Chains) {
        let mut counts = self.counts.lock();
        let left = counts.get_mut(chain_id).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            counts.remove(chain_id);
            chains.release(chain_id);
        }
    }
}

/// Whoever is about to stand on a chain: while this is there, the chain's folder is.
pub(super) struct Standing<'a> {
    snapshots: &'a Snapshots,
    chain_id: Option<Sha256>,
}

impl<'a> Standing<'a> {
    /// To be taken before the folder is asked for.
    pub(super) fn on(snapshots: &'a Snapshots, chain_id: Sha256) -> Self {
        snapshots.stands.begin(chain_id);
        Self {
            snapshots,
            chain_id: Some(chain_id),
        }
    }

    /// A record stands there from now on, until it is removed.
    pub(super) fn recorded(mut self) {
        self.chain_id = None;
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if let Some(chain_id) = &self.chain_id {
            self.snapshots
                .stands
                .end(chain_id, self.snapshots.chains.as_ref());
        }
    }
}
