//! Hot lists: what containers of a chain read first, loaded in one go before it is asked for.
//!
//! Only frames in the cache are ever taken from here: a chunk that is not is read where its own place says.

use super::Disk;
use crate::blob::{FrameSource as _, Piece};
use crate::error::Result;
use crate::format::catalogue::Kind;
use crate::format::content::Place;
use crate::format::frame::FRAME_MAX;
use crate::ids::{ChunkId, Sha256};
use crate::medium::{Medium, MediumFile};
use crate::pack::{self, Frame};
use crate::units::index;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Chunks whose second place is remembered; before there would be more, all are forgotten.
const CHUNKS: usize = 1 << 17;
/// Frames that follow each other are read together, up to so many bytes.
const READ_BYTES: u32 = 4 << 20;

/// Where chunks stand once more.
#[derive(Debug, Default)]
pub(super) struct HotPlaces {
    places: RwLock<HashMap<ChunkId, Place>>,
    any: AtomicBool,
    /// Chains whose list was loaded.
    loaded: Mutex<HashSet<Sha256>>,
}

impl HotPlaces {
    /// The chunk's second place.
    pub(super) fn of(&self, id: &ChunkId) -> Option<Place> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.places.read().get(id).copied()
    }

    fn add(&self, pieces: &[Piece]) {
        let mut places = self.places.write();
        if places.len() + pieces.len() > CHUNKS {
            places.clear();
        }
        places.extend(pieces.iter().take(CHUNKS).map(|piece| (piece.id, piece.place)));
        self.any.store(true, Ordering::Relaxed);
    }
}

/// Frames that lie one behind the other.
#[derive(Debug)]
struct Run {
    frames: Vec<Place>,
    bytes: u32,
}

fn runs(frames: &[Place]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in frames {
        let adjoins = |run: &&mut Run| {
            let last = run.frames.last();
            run.bytes.saturating_add(place.frame_bytes) <= READ_BYTES
                && last.is_some_and(|last| {
                    last.pack == place.pack
                        && last.frame.get().checked_add(last.frame_bytes) == Some(place.frame.get())
                })
        };
        match runs.last_mut().filter(adjoins) {
            Some(run) => {
                run.frames.push(*place);
                run.bytes += place.frame_bytes;
            }
            None => runs.push(Run {
                frames: vec![*place],
                bytes: place.frame_bytes,
            }),
        }
    }
    runs
}

/// Reads a run at once, and gives each of its frames that holds.
fn read(medium: &dyn Medium, run: &Run, mut each: impl FnMut(&Place, Frame)) -> Result<()> {
    let Some(first) = run.frames.first() else {
        return Ok(());
    };
    let file = MediumFile::Pack(first.pack);
    let bytes = medium.read(file, u64::from(first.frame.get()), index(run.bytes))?;
    let mut at = 0;
    for place in &run.frames {
        let end = at + index(place.frame_bytes);
        let name = || pack::place_of(medium, place.pack, place.frame);
        let load_base = |base: &crate::format::frame::Base| pack::load_base(medium, &base.place());
        // One that does not hold is told where somebody needs it.
        if let Ok(frame) = pack::decode_frame(bytes.get(at..end).unwrap_or_default(), load_base, name) {
            each(place, frame);
        }
        at = end;
    }
    Ok(())
}

impl Disk {
    /// Loads what containers of that chain read first, as far as the cache has room for it beside other things; returns when it is loaded, and at once where
    /// the disk has no such list, or it was loaded before. A hint: nothing is said of what is wrong with it.
    pub fn warm(&self, chain: &Sha256) {
        if self.inner.frames.hot.loaded.lock().insert(*chain) {
            let _said_where_it_is_needed = self.load_hot(chain);
        }
    }

    /// Bytes that containers of that chain read first, by its hot list; none where it has none.
    pub fn hot_bytes(&self, chain: &Sha256) -> Result<Option<u64>> {
        let found = self.inner.catalogue.get(Kind::Hot, &chain.to_digest())?;
        Ok(found.map(|(_, leaf)| leaf.size))
    }

    fn load_hot(&self, chain: &Sha256) -> Result<()> {
        let Some((_, leaf)) = self.inner.catalogue.get(Kind::Hot, &chain.to_digest())? else {
            return Ok(());
        };
        let frames = &self.inner.frames;
        let list = super::BlobReader::new(Arc::clone(frames) as Arc<_>, leaf.size, leaf.content);
        // What others have in the cache is not driven out, and no list, whatever it says, has more read than that.
        let room = frames.figures().capacity / 2;
        let (mut pieces, mut wanted, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut bytes, mut stored) = (0, 0);
        for piece in list.pieces(0).take(CHUNKS) {
            let piece = piece?;
            let place = piece.place;
            if piece.is_zeros() || place.frame_bytes > FRAME_MAX {
                continue;
            }
            bytes += piece.end - piece.start;
            if known.insert((place.pack, place.frame)) {
                stored += u64::from(place.frame_bytes);
                wanted.push(place);
            }
            if bytes > room || stored > room {
                break;
            }
            pieces.push(piece);
        }
        frames.hot.add(&pieces);
        let runs = Mutex::new(runs(&wanted).into_iter());
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let work = || {
            loop {
                let Some(run) = runs.lock().next() else { return };
                let _said_where_it_is_needed = read(frames.medium(), &run, |place, frame| {
                    frames.keep(place, Arc::new(frame))
                });
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..cores {
                scope.spawn(work);
            }
            work();
        });
        Ok(())
    }
}

impl super::frames::CachedFrames {
    /// The chunk, if the frame that it stands in once more is in the cache, and the frame of its own place is not.
    pub(super) fn hot_chunk(&self, piece: &Piece) -> Option<bytes::Bytes> {
        let place = self.hot.of(&piece.id)?;
        if self.has(&piece.place) {
            return None;
        }
        let frame = self.kept(&place)?;
        let name = || self.name_of(&place);
        frame
            .chunk(place.start, &piece.id, piece.end - piece.start, name)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{PackNumber, PackOffset};

    #[test]
    fn frames_that_adjoin_are_one_read_up_to_a_limit() {
        let at = |pack, frame, bytes| Place {
            pack: PackNumber::new(pack),
            frame: PackOffset::new(frame),
            frame_bytes: bytes,
            start: 7,
        };
        let frames = [
            at(1, 64, 100),
            at(1, 164, READ_BYTES - 100),
            at(1, 64 + READ_BYTES, 5),
            at(1, 70 + READ_BYTES, 5),
            at(2, 75 + READ_BYTES, 5),
        ];
        let lengths: Vec<_> = runs(&frames)
            .iter()
            .map(|run| (run.frames.len(), run.bytes))
            .collect();
        assert_eq!(lengths, [(2, READ_BYTES), (1, 5), (1, 5), (1, 5)]);
        assert!(runs(&[]).is_empty());
    }
}
