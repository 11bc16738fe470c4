//! Verified frames in one bounded cache: each is loaded once however many ask, under a deadline.
//!
//! Loading runs on threads of its own, so that a device that hangs costs its caller an error, not a
//! thread; and so that the next frame can be loaded while this one is being sent.

use super::hot::HotPlaces;
use crate::blob::{FrameSource, Piece, RemadeCache, name_of};
use crate::error::{Error, Result};
use crate::format::content::Place;
use crate::format::list::ListPage;
use crate::format::tree::TreePage;
use crate::ids::PageHash;
use crate::medium::{Medium, MediumFile};
use crate::pack::{self, Frame, FrameKey, FrameWeight, KeptFrames};
use crate::units::{len32, len64};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Prefetches that may wait for a thread; more are dropped. Loads that somebody waits for all wait.
const QUEUE: usize = 64;
/// Bytes of decoded pages kept, as far as counting entries tells.
const PAGE_CACHE: u64 = 16 * 1024 * 1024;

/// The share of the cache that frames which were come back to may fill. The other half is for those that were loaded once: what is
/// loaded ahead must stay until it is read. By the cache's own default these have 3 %, and were decoded again and again.
const COME_BACK_TO: f64 = 0.5;

/// Frames loaded ahead of a reader in order.
const LOAD_AHEAD: usize = 3;
/// Hints that are remembered, so that none is given twice.
const HINTS: usize = 128;

#[derive(Clone, Debug)]
enum Page {
    List(Arc<ListPage>),
    Tree(Arc<TreePage>),
}

/// A page's hash, and where it was read: one of the same hash elsewhere leads to other places.
type PageKey = (PageHash, Place);

#[derive(Clone)]
struct PageWeight;

impl Weighter<PageKey, Page> for PageWeight {
    fn weight(&self, _: &PageKey, page: &Page) -> u64 {
        match page {
            Page::List(page) => 64 * len64(page.entries.len()),
            // Most directories are one small page: by the size of a large one, few would be kept.
            Page::Tree(page) => match page.as_ref() {
                TreePage::Leaf(entries) => 512 * len64(entries.len()) + 256,
                TreePage::Interior { children, .. } => 256 * len64(children.len()) + 256,
            },
        }
    }
}

/// What a cache holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFigures {
    /// Frames held.
    pub frames: u64,
    /// Bytes of plaintext held.
    pub bytes: u64,
    /// Bytes of plaintext that it may hold.
    pub capacity: u64,
}

struct Load {
    place: Place,
    what: What,
}

/// What becomes of a load.
enum What {
    /// Somebody waits for the frame.
    Answer(Sender<Result<Arc<Frame>>>),
    /// It only fills the cache.
    Fill,
    /// Only the device is told, and none of our memory is spent.
    Hint,
}

/// The cache and its loading threads.
pub(super) struct CachedFrames {
    medium: Arc<dyn Medium>,
    /// The same, its reads under a deadline: for headers alone.
    patient: Arc<dyn Medium>,
    frames: Arc<Cache<FrameKey, Arc<Frame>, FrameWeight>>,
    pages: Cache<PageKey, Page, PageWeight>,
    deadline: Duration,
    loads: Sender<Load>,
    prefetches: Sender<Load>,
    hinted: Mutex<VecDeque<FrameKey>>,
    remade: RemadeCache,
    pub(super) hot: HotPlaces,
}

impl std::fmt::Debug for CachedFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedFrames")
            .field("medium", &self.medium)
            .finish_non_exhaustive()
    }
}

impl CachedFrames {
    pub(super) fn start(
        medium: Arc<dyn Medium>,
        patient: Arc<dyn Medium>,
        cache_bytes: u64,
        deadline: Duration,
        remade: RemadeCache,
    ) -> Result<Self> {
        let estimate = crate::units::index64(cache_bytes / (512 * 1024)).max(16);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(estimate)
            .weight_capacity(cache_bytes)
            .hot_allocation(COME_BACK_TO)
            .build()
            .map_err(|e| Error::refused(format!("a cache of frames: {e}")))?;
        let frames = Arc::new(Cache::with_options(
            options,
            FrameWeight,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ));
        let pages = Cache::with_weighter(8192, PAGE_CACHE, PageWeight);
        let (loads, to_load) = unbounded::<Load>();
        let (prefetches, to_prefetch) = bounded::<Load>(QUEUE);
        let threads = std::thread::available_parallelism()
            .map_or(4, |n| n.get() * 2)
            .clamp(4, 16);
        for n in 0..threads {
            let (medium, frames, loads, prefetches) = (
                Arc::clone(&medium),
                Arc::clone(&frames),
                to_load.clone(),
                to_prefetch.clone(),
            );
            let thread = std::thread::Builder::new().name(format!("load-{n}"));
            // They end when the senders are dropped; one that the device holds ends when that answers.
            thread
                .spawn(move || serve(medium.as_ref(), &frames, &loads, &prefetches))
                .map_err(|e| Error::io("a thread", e))?;
        }
        Ok(Self {
            medium,
            patient,
            frames,
            pages,
            deadline,
            loads,
            prefetches,
            hinted: Mutex::default(),
            remade,
            hot: HotPlaces::default(),
        })
    }

    pub(super) fn medium(&self) -> &dyn Medium {
        self.medium.as_ref()
    }

    /// Keeps a frame that was loaded.
    pub(super) fn keep(&self, place: &Place, frame: Arc<Frame>) {
        self.frames.insert(KeptFrames::key(place), frame);
    }

    /// Whether the frame is in the cache.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.frames.peek(&KeptFrames::key(place)).is_some()
    }

    /// The frame, if it is in the cache.
    pub(super) fn kept(&self, place: &Place) -> Option<Arc<Frame>> {
        self.frames.get(&KeptFrames::key(place))
    }

    pub(super) fn figures(&self) -> CacheFigures {
        CacheFigures {
            frames: len64(self.frames.len()),
            bytes: self.frames.weight(),
            capacity: self.frames.capacity(),
        }
    }

    fn late(&self, place: &Place) -> Error {
        Error::Deadline {
            place: self.name_of(place),
            seconds: self.deadline.as_secs(),
        }
    }
}

/// A loading thread: what somebody waits for goes before what somebody may want.
fn serve(
    medium: &dyn Medium,
    frames: &Cache<FrameKey, Arc<Frame>, FrameWeight>,
    loads: &Receiver<Load>,
    prefetches: &Receiver<Load>,
) {
    loop {
        let load = match loads.try_recv() {
            Ok(load) => load,
            Err(_) => {
                crossbeam_channel::select_biased! {
                    recv(loads) -> load => match load { Ok(load) => load, Err(_) => return },
                    recv(prefetches) -> load => match load { Ok(load) => load, Err(_) => return },
                }
            }
        };
        match load.what {
            What::Answer(reply) => {
                let loaded = load_one(medium, frames, &load.place);
                // Whoever asked may have given up waiting; then nobody wants it.
                let _gave_up = reply.send(loaded);
            }
            What::Fill => {
                // A frame that somebody else is loading is left to them.
                if let GuardResult::Guard(guard) =
                    frames.get_value_or_guard(&KeptFrames::key(&load.place), Some(Duration::ZERO))
                    && let Ok(frame) = load_one(medium, frames, &load.place)
                {
                    let _refused_where_too_large = guard.insert(frame);
                }
            }
            What::Hint => {
                let (from, len) = (load.place.frame.get(), load.place.frame_bytes);
                medium.will_need(MediumFile::Pack(load.place.pack), u64::from(from), u64::from(len));
            }
        }
    }
}

/// Loads a frame; the base of a delta comes from the cache, and stays in it. A base that somebody else is loading is not
/// waited for: that load may stand behind this one.
fn load_one(
    medium: &dyn Medium,
    frames: &Cache<FrameKey, Arc<Frame>, FrameWeight>,
    place: &Place,
) -> Result<Arc<Frame>> {
    let frame = pack::load_with(medium, place, |base| {
        let at = base.place();
        if let Some(frame) = frames.get(&KeptFrames::key(&at)) {
            return Ok(frame);
        }
        let frame = pack::load_base(medium, &at)?;
        frames.insert(KeptFrames::key(&at), Arc::clone(&frame));
        Ok(frame)
    })?;
    Ok(Arc::new(frame))
}

impl FrameSource for CachedFrames {
    fn frame(&self, place: &Place) -> Result<Arc<Frame>> {
        let start = Instant::now();
        let guard = match self
            .frames
            .get_value_or_guard(&KeptFrames::key(place), Some(self.deadline))
        {
            GuardResult::Value(frame) => return Ok(frame),
            GuardResult::Guard(guard) => guard,
            GuardResult::Timeout => return Err(self.late(place)),
        };
        let (reply, answer) = bounded(1);
        let left = self.deadline.saturating_sub(start.elapsed());
        self.loads
            .send(Load {
                place: *place,
                what: What::Answer(reply),
            })
            .map_err(|_| Error::refused("the loading threads are gone"))?;
        let frame = answer.recv_timeout(left).map_err(|_| self.late(place))??;
        let _refused_where_too_large = guard.insert(Arc::clone(&frame));
        Ok(frame)
    }

    fn at_hand(&self, piece: &Piece) -> Option<Bytes> {
        self.hot_chunk(piece)
    }

    fn plain_bytes(&self, place: &Place) -> Result<u32> {
        match self.frames.peek(&KeptFrames::key(place)) {
            Some(frame) => Ok(len32(frame.plain_bytes())),
            None => pack::read_plain_bytes(self.patient.as_ref(), place),
        }
    }

    fn prefetch(&self, places: &[Place]) {
        let (soon, later) = places.split_at(places.len().min(LOAD_AHEAD));
        let ask = |place: &Place, what| {
            let _dropped_where_busy = self.prefetches.try_send(Load { place: *place, what });
        };
        for place in soon
            .iter()
            .filter(|p| self.frames.peek(&KeptFrames::key(p)).is_none())
        {
            ask(place, What::Fill);
        }
        let mut hinted = self.hinted.lock();
        for place in later
            .iter()
            .filter(|p| self.frames.peek(&KeptFrames::key(p)).is_none())
        {
            if hinted.contains(&KeptFrames::key(place)) {
                continue;
            }
            if hinted.len() >= HINTS {
                hinted.pop_front();
            }
            hinted.push_back(KeptFrames::key(place));
            ask(place, What::Hint);
        }
    }

    fn name_of(&self, place: &Place) -> String {
        name_of(self.medium.as_ref(), place)
    }

    fn remade(&self) -> &RemadeCache {
        &self.remade
    }

    fn list_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<ListPage>> {
        if let Some(Page::List(page)) = self.pages.get(&(*hash, *place))
            && page.level == level
        {
            return Ok(page);
        }
        let name = || self.name_of(place);
        let bytes = self.frame(place)?.page(place.start, name)?;
        let page = Arc::new(ListPage::decode(&bytes, hash, level, &name())?);
        self.pages.insert((*hash, *place), Page::List(Arc::clone(&page)));
        Ok(page)
    }

    fn tree_page(&self, hash: &PageHash, level: u8, place: &Place) -> Result<Arc<TreePage>> {
        if let Some(Page::Tree(page)) = self.pages.get(&(*hash, *place))
            && (level == 0) == matches!(page.as_ref(), TreePage::Leaf(_))
        {
            return Ok(page);
        }
        let name = || self.name_of(place);
        let bytes = self.frame(place)?.page(place.start, name)?;
        let page = Arc::new(TreePage::decode(&bytes, hash, level, &name())?);
        self.pages.insert((*hash, *place), Page::Tree(Arc::clone(&page)));
        Ok(page)
    }
}
