//! Frames being filled: small things of many blobs share one, a large blob has its own.

use super::pipeline::{Belt, Job, Pipeline};
use super::ticket::{Claim, Pending, Ticket};
use crate::error::Result;
use crate::format::frame::{FrameChunk, FrameKind};
use crate::format::{CHUNK_MAX, FRAME_CHUNKS_MAX, FRAME_PLAIN_MAX};
use crate::ids::ChunkId;
use crate::pack::{Level, PlainFrame};
use crate::sketch::{self, Feature};
use crate::units::{index, len32};
use std::sync::Arc;

/// Room for a frame's plaintext at that level: its last chunk may reach past the target.
pub(super) const fn room(level: Level) -> usize {
    level.frame_target() + CHUNK_MAX as usize
}

/// A frame being filled.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    kind: FrameKind,
    plain: Vec<u8>,
    chunks: Vec<FrameChunk>,
    ticket: Arc<Ticket>,
    of_tree: bool,
    /// The frame that it is to become a delta of.
    like: Option<Pending>,
    /// What its chunks look like.
    features: Vec<Feature>,
}

impl FrameBuilder {
    pub(super) fn new(kind: FrameKind) -> Self {
        Self {
            kind,
            plain: Vec::new(),
            chunks: Vec::new(),
            ticket: Ticket::new(),
            of_tree: false,
            like: None,
            features: Vec::new(),
        }
    }

    /// One for the trees of layers and chains, whose frames are counted.
    pub(super) fn of_tree(self) -> Self {
        Self {
            of_tree: true,
            ..self
        }
    }

    /// One for chunks that are like that frame.
    pub(super) fn like(self, base: Pending) -> Self {
        Self {
            like: Some(base),
            ..self
        }
    }

    /// An empty one for the same.
    pub(super) fn another(&self) -> Self {
        Self {
            of_tree: self.of_tree,
            like: self.like.clone(),
            ..Self::new(self.kind)
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.plain.len()
    }

    /// A chunk that this frame holds already.
    pub(super) fn find(&self, id: &ChunkId) -> Option<Pending> {
        let mut start = 0;
        for chunk in &self.chunks {
            if chunk.id == *id {
                return Some(Pending::Ticket(Arc::clone(&self.ticket), start));
            }
            start += chunk.len;
        }
        None
    }

    /// Adds a chunk with its features, handing the frame in first where it would grow too large.
    pub(super) fn add(
        &mut self,
        id: ChunkId,
        bytes: &[u8],
        features: &[Feature],
        belt: &Belt,
        pipeline: &Pipeline,
    ) -> Result<Pending> {
        let full = self.plain.len() + bytes.len() > index(FRAME_PLAIN_MAX)
            || self.plain.len() >= belt.level().frame_target()
            || len32(self.chunks.len()) >= FRAME_CHUNKS_MAX;
        if full {
            self.submit(belt, pipeline)?;
        }
        if self.plain.capacity() == 0 && self.kind == FrameKind::Plaintext {
            self.plain = belt.buffer();
        }
        let start = len32(self.plain.len());
        self.plain.extend_from_slice(bytes);
        self.features.extend_from_slice(features);
        self.chunks.push(FrameChunk {
            id,
            len: len32(bytes.len()),
        });
        Ok(Pending::Ticket(Arc::clone(&self.ticket), start))
    }

    /// Adds a page.
    pub(super) fn add_page(&mut self, page: &[u8], belt: &Belt, pipeline: &Pipeline) -> Result<Pending> {
        let features = match &belt.likeness {
            Some(_) => sketch::of_page(page),
            None => Vec::new(),
        };
        self.add(ChunkId::of(page), page, &features, belt, pipeline)
    }

    /// Hands the frame in and begins a new one. Its chunks can be found by others from now on.
    pub(super) fn submit(&mut self, belt: &Belt, pipeline: &Pipeline) -> Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let next = self.another();
        let mut full = std::mem::replace(self, next);
        if full.kind == FrameKind::Plaintext {
            full.publish(belt);
        }
        if let Some(likeness) = &belt.likeness {
            // Pages stay together, in their tree's order; as many as they are, most are like those of one frame.
            if full.kind == FrameKind::Pages {
                sketch::least(&mut full.features);
                full.like = likeness.find(&full.features, None, |_| false)?;
            }
        }
        let _in_order = pipeline.in_order();
        if let Some(likeness) = &belt.likeness
            && full.like.is_none()
        {
            likeness.expect(&full.features, &full.ticket);
        }
        let frame = PlainFrame {
            kind: full.kind,
            plain: full.plain,
            chunks: full.chunks,
        };
        pipeline.submit(Job {
            frame,
            of_tree: full.of_tree,
            like: full.like,
            features: full.features,
            claim: Claim::new(full.ticket),
        })
    }

    fn publish(&self, belt: &Belt) {
        let mut open = belt.open.lock();
        let mut start = 0;
        for chunk in &self.chunks {
            open.insert(
                chunk.id,
                (Pending::Ticket(Arc::clone(&self.ticket), start), chunk.len),
            );
            start += chunk.len;
        }
    }

    /// Moves all chunks into another frame; who holds places in this one is led there.
    pub(super) fn move_into(&mut self, other: &mut Self, belt: &Belt, pipeline: &Pipeline) -> Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let fits = other.plain.len() + self.plain.len() <= index(FRAME_PLAIN_MAX)
            && other.chunks.len() + self.chunks.len() <= index(FRAME_CHUNKS_MAX);
        if !fits || other.plain.len() >= belt.level().frame_target() {
            other.submit(belt, pipeline)?;
        }
        let next = self.another();
        let moved = std::mem::replace(self, next);
        moved.ticket.forward(&other.ticket, len32(other.plain.len()));
        other.plain.extend_from_slice(&moved.plain);
        other.chunks.extend_from_slice(&moved.chunks);
        other.features.extend_from_slice(&moved.features);
        Ok(())
    }
}
