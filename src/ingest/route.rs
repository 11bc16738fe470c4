//! Where a writer's new chunks go: those that are like a frame on the medium together, so that they become one delta of it,
//! the others into a frame of their own.

use super::Inner;
use super::frames::FrameBuilder;
use super::pipeline::{Belt, Pipeline};
use super::ticket::Pending;
use crate::error::{Error, Result};
use crate::ids::ChunkId;
use crate::sketch::{self, Feature};

/// Frames of chunks that are like others, open at once; the one not used for longest is handed in for a new one.
const OPEN: usize = 12;

/// The frames that one writer fills.
#[derive(Debug)]
pub(super) struct Routes {
    own: FrameBuilder,
    /// By base; the one used last stands at the end.
    deltas: Vec<(Pending, FrameBuilder)>,
}

impl Routes {
    pub(super) const fn new(own: FrameBuilder) -> Self {
        Self {
            own,
            deltas: Vec::new(),
        }
    }

    /// A chunk that one of the frames holds already.
    pub(super) fn find(&self, id: &ChunkId) -> Option<Pending> {
        let deltas = self.deltas.iter().map(|(_, frame)| frame);
        std::iter::once(&self.own)
            .chain(deltas)
            .find_map(|frame| frame.find(id))
    }

    /// Adds a chunk that the medium does not have. `name` is a feature of what it is called.
    pub(super) fn add(
        &mut self,
        inner: &Inner,
        id: ChunkId,
        bytes: &[u8],
        name: Option<Feature>,
    ) -> Result<Pending> {
        inner.with_pipeline(|belt, pipeline| {
            let Some(likeness) = &belt.likeness else {
                return self.own.add(id, bytes, &[], belt, pipeline);
            };
            let mut features = sketch::features(bytes);
            let open = |base: &Pending| self.deltas.iter().any(|(known, _)| known.is_same(base));
            let base = likeness.find(&features, name, open)?;
            features.extend(name);
            match base {
                Some(base) => self
                    .delta(base, belt, pipeline)?
                    .add(id, bytes, &features, belt, pipeline),
                None => self.own.add(id, bytes, &features, belt, pipeline),
            }
        })
    }

    /// Adds a chunk that becomes no part of a delta, and that none is made of.
    pub(super) fn add_alone(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
        belt: &Belt,
        pipeline: &Pipeline,
    ) -> Result<Pending> {
        self.own.add(id, bytes, &[], belt, pipeline)
    }

    /// The frame for what is like that base.
    fn delta(&mut self, base: Pending, belt: &Belt, pipeline: &Pipeline) -> Result<&mut FrameBuilder> {
        let entry = match self.deltas.iter().position(|(known, _)| known.is_same(&base)) {
            Some(at) => self.deltas.remove(at),
            None => {
                if self.deltas.len() >= OPEN {
                    let (_, mut oldest) = self.deltas.remove(0);
                    oldest.submit(belt, pipeline)?;
                }
                (base.clone(), self.own.another().like(base))
            }
        };
        self.deltas.push(entry);
        let last = self.deltas.last_mut().map(|(_, frame)| frame);
        last.ok_or_else(|| Error::refused("a frame that was just put there"))
    }

    /// Hands all frames in.
    pub(super) fn submit(&mut self, belt: &Belt, pipeline: &Pipeline) -> Result<()> {
        self.submit_deltas(belt, pipeline)?;
        self.own.submit(belt, pipeline)
    }

    /// Hands in the frames of what is like others, and gives the one of the rest.
    pub(super) fn submit_deltas(&mut self, belt: &Belt, pipeline: &Pipeline) -> Result<&mut FrameBuilder> {
        for (_, mut frame) in self.deltas.drain(..) {
            frame.submit(belt, pipeline)?;
        }
        Ok(&mut self.own)
    }
}
