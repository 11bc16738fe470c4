//! Which frame a chunk is like: the base that a delta with it is compressed against.
//!
//! Features of what this run has handed in last are in memory, those of before in the host's index. A frame that is still on its
//! way serves as a base too, so that the next version of something is kept as its difference however busy the encoders are.

use super::ticket::{Pending, Ticket};
use crate::error::Result;
use crate::format::content::Place;
use crate::ids::PageHash;
use crate::index::Index;
use crate::sketch::Feature;
use crate::units::PackNumber;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many of a chunk's features a frame must have: one alone is often a header that everything of a kind has.
const ENOUGH: usize = 2;
/// The share of them that it must have, one in this many, where there are many.
const SHARE: usize = 16;
/// Features that are in memory at once, of all threads together.
pub(super) const FEATURES_HELD: usize = 50_000;

/// Finds bases. Shared by all writers of a run.
#[derive(Debug)]
pub(super) struct Likeness {
    index: Arc<Index>,
    /// Of frames that were handed in, but not appended yet.
    flying: Mutex<HashMap<Feature, Arc<Ticket>>>,
    /// Of frames that were appended last.
    fresh: Mutex<HashMap<Feature, Place>>,
    /// Packs that the next generation lists, besides those from `first` on.
    listed: HashSet<PackNumber>,
    first: PackNumber,
}

impl Likeness {
    /// `listed` are the packs that the run found and keeps, `first` is the first that it may begin.
    pub(super) fn new(
        index: Arc<Index>,
        listed: impl IntoIterator<Item = PackNumber>,
        first: PackNumber,
    ) -> Self {
        Self {
            index,
            flying: Mutex::default(),
            fresh: Mutex::default(),
            listed: listed.into_iter().collect(),
            first,
        }
    }

    /// The frame that has most of these features, and enough of them; of several the one that `preferred` names.
    /// `name`, what the chunk is called, is enough by itself where nothing says otherwise.
    pub(super) fn find(
        &self,
        features: &[Feature],
        name: Option<Feature>,
        preferred: impl Fn(&Pending) -> bool,
    ) -> Result<Option<Pending>> {
        let mut votes: Vec<(Pending, usize)> = Vec::new();
        let named = name.into_iter().map(|f| (f, ENOUGH));
        for (feature, weight) in features.iter().map(|f| (*f, 1)).chain(named) {
            let Some(frame) = self.frame_of(feature)? else {
                continue;
            };
            match votes.iter_mut().find(|(known, _)| known.is_same(&frame)) {
                Some((_, count)) => *count += weight,
                None => votes.push((frame, weight)),
            }
        }
        let enough = ENOUGH.max(features.len() / SHARE).min(features.len().max(1));
        let best = votes
            .into_iter()
            .filter(|(_, count)| *count >= enough)
            .max_by_key(|(frame, count)| (*count, preferred(frame)));
        Ok(best.map(|(frame, _)| frame))
    }

    fn frame_of(&self, feature: Feature) -> Result<Option<Pending>> {
        // In this order: whoever appends a frame enters its place before it leaves those that fly.
        if let Some(ticket) = self.flying.lock().get(&feature) {
            return Ok(Some(Pending::Ticket(Arc::clone(ticket), 0)));
        }
        if let Some(place) = self.fresh.lock().get(&feature) {
            return Ok(Some(Pending::Known(*place)));
        }
        let found = self.index.feature(feature)?;
        let found = found.filter(|place| place.pack >= self.first || self.listed.contains(&place.pack));
        Ok(found.map(Pending::Known))
    }

    /// A frame that will be a base is about to be handed in.
    pub(super) fn expect(&self, features: &[Feature], ticket: &Arc<Ticket>) {
        let mut flying = self.flying.lock();
        for feature in features {
            flying.insert(*feature, Arc::clone(ticket));
        }
    }

    /// A frame that may be a base was appended.
    pub(super) fn enter(&self, features: &[Feature], place: Place, ticket: &Arc<Ticket>) -> Result<()> {
        let mut fresh = self.fresh.lock();
        for feature in features {
            fresh.insert(*feature, place);
        }
        if fresh.len() >= FEATURES_HELD {
            // Where the pack is never finished they lead nowhere, or to what the next run finds of it: they are guesses.
            self.index.add_features(&fresh)?;
            fresh.clear();
        }
        drop(fresh);
        let mut flying = self.flying.lock();
        for feature in features {
            if flying
                .get(feature)
                .is_some_and(|known| Arc::ptr_eq(known, ticket))
            {
                flying.remove(feature);
            }
        }
        Ok(())
    }

    /// Features of frames that an interrupted run left, in a pack that goes on.
    pub(super) fn resume(&self, features: HashMap<Feature, Place>) {
        self.fresh.lock().extend(features);
    }

    /// The pack with that number and leaf is whole: what is known of its frames goes into the index.
    pub(super) fn settle(&self, pack: PackNumber, leaf: &PageHash) -> Result<()> {
        let mut fresh = self.fresh.lock();
        self.index.add_features(&fresh)?;
        fresh.clear();
        drop(fresh);
        self.index.learn(pack, leaf)
    }
}
