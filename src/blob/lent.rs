//! A source that what it keeps itself may read from.

use super::{FrameSource, RemadeCache};
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::list::ListPage;
use crate::format::tree::TreePage;
use crate::ids::PageHash;
use crate::pack::Frame;
use std::sync::{Arc, Weak};

/// A source, not kept alive: layers that it keeps read through this, or neither would ever be freed. Whoever waits for a
/// read has the source itself.
#[derive(Debug)]
pub(super) struct Lent {
    source: Weak<dyn FrameSource>,
    /// Stays empty: nothing that a layer is made of is a layer that is made again.
    remade: RemadeCache,
}

impl Lent {
    /// Lends that source.
    pub(super) fn of(source: &Arc<dyn FrameSource>) -> Arc<dyn FrameSource> {
        Arc::new(Self {
            source: Arc::downgrade(source),
            remade: RemadeCache::default(),
        })
    }

    fn source(&self) -> Result<Arc<dyn FrameSource>> {
        let source = self.source.upgrade();
        source.ok_or_else(|| Error::refused("the disk was closed, and nobody reads it any more"))
    }
}

impl FrameSource for Lent {
    fn frame(&self, place: &Place) -> Result<Arc<Frame>> {
        self.source()?.frame(place)
    }

    fn plain_bytes(&self, place: &Place) -> Result<u32> {
        self.source()?.plain_bytes(place)
    }

    fn prefetch(&self, places: &[Place]) {
        if let Some(source) = self.source.upgrade() {
            source.prefetch(places);
        }
    }

    fn name_of(&self, place: &Place) -> String {
        let source = self.source.upgrade();
        source.map_or_else(|| "a closed disk".to_owned(), |source| source.name_of(place))
    }

    fn remade(&self) -> &RemadeCache {
        &self.remade
    }

    fn list_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<ListPage>> {
        self.source()?.list_page(hash, level, place)
    }

    fn tree_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<TreePage>> {
        self.source()?.tree_page(hash, level, place)
    }
}
