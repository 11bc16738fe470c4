//! The uncompressed stream in blocks of a mebibyte: read by the walk where they lie, and hashed on
//! another thread meanwhile.

use super::Retrace;
use super::compression::{Compression, Decoder};
use super::error::{LayerError, Reason};
use super::limits::Limits;
use crossbeam_channel::{Receiver, Sender, bounded};
use holdall::ids::Sha256;
use holdall::units::{index64, len64};
use holdall_recipe::skeleton::SkeletonWriter;
use sha2::Digest as _;
use std::io::Read;
use std::sync::Arc;

/// Length of a tar's block: headers and payloads begin at multiples of it.
pub(super) const BLOCK: usize = 512;
/// Length of a piece of the stream.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces there are of a stream at most: one that is read, others that are hashed.
const PIECES: usize = 4;

type Piece = Arc<Vec<u8>>;

/// What the walk reads.
pub(super) struct Stream<'a> {
    decoder: Decoder<'a>,
    limits: &'a Limits,
    interrupted: &'a dyn Fn() -> bool,
    piece: Option<Piece>,
    /// Bytes of the piece that were read.
    used: usize,
    /// Offset of the piece in the stream.
    offset: u64,
    ended: bool,
    made: usize,
    to_hash: Sender<Piece>,
    hashed: Receiver<Piece>,
    retraced: Option<Retraced<'a>>,
}

/// The way back to the layer's bytes, as it is found.
struct Retraced<'a> {
    retrace: &'a mut dyn Retrace,
    skeleton: SkeletonWriter,
}

/// Runs `walk` over the stream of a layer, then reads the stream to its end: what `walk` returned, the
/// stream's length and its SHA-256.
pub(super) fn hashed<T>(
    source: &mut dyn Read,
    compression: Compression,
    limits: &Limits,
    interrupted: &dyn Fn() -> bool,
    retrace: Option<&mut dyn Retrace>,
    walk: impl FnOnce(&mut Stream<'_>) -> Result<T, LayerError>,
) -> Result<(T, u64, Sha256), LayerError> {
    let decoder = Decoder::open(source, compression, limits, interrupted, retrace.is_some())?;
    std::thread::scope(|scope| {
        // No piece is ever waited for by a sender: there are no more than the channels hold.
        let (to_hash, pieces) = bounded::<Piece>(PIECES);
        let (give_back, hashed) = bounded(PIECES);
        let hasher = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            for piece in pieces {
                hasher.update(piece.as_slice());
                // When the walk has ended early, nobody wants it back.
                let _gone = give_back.send(piece);
            }
            Sha256::from_bytes(hasher.finalize().into())
        });
        let mut stream = Stream {
            decoder,
            limits,
            interrupted,
            piece: None,
            used: 0,
            offset: 0,
            ended: false,
            made: 0,
            to_hash,
            hashed,
            retraced: retrace.map(|retrace| Retraced {
                retrace,
                skeleton: SkeletonWriter::default(),
            }),
        };
        let walked = walk(&mut stream).and_then(|walked| {
            while !stream.peek()?.is_empty() {
                stream.advance(PIECE_BYTES);
            }
            let position = stream.position();
            stream.end_retrace()?;
            Ok((walked, position))
        });
        drop(stream);
        let hash = match hasher.join() {
            Ok(hash) => hash,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        walked.map(|(walked, bytes)| (walked, bytes, hash))
    })
}

impl Stream<'_> {
    /// Offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.offset + len64(self.used)
    }

    /// What lies ready of the stream; empty only at its end.
    pub(super) fn peek(&mut self) -> Result<&[u8], LayerError> {
        let ready = self.piece.as_ref().is_some_and(|piece| self.used < piece.len());
        if !ready && !self.ended {
            self.refill()?;
        }
        Ok(self
            .piece
            .as_ref()
            .and_then(|piece| piece.get(self.used..))
            .unwrap_or_default())
    }

    /// Takes the next `count` bytes as read, or as many as lie ready.
    pub(super) fn advance(&mut self, count: usize) {
        let start = self.used;
        self.take(count);
        if let (Some(retraced), Some(piece)) = (&mut self.retraced, &self.piece) {
            retraced
                .skeleton
                .literal(piece.get(start..self.used).unwrap_or_default());
        }
    }

    /// Takes the next `count` bytes as read: they are those of the file that [`begin_file`](Self::begin_file) began.
    pub(super) fn advance_file(&mut self, count: usize) {
        self.take(count);
        if let Some(retraced) = &mut self.retraced {
            retraced.skeleton.payload(len64(count));
        }
    }

    /// The next `size` bytes, at least one, are a file's, and need not be kept as the tar's own.
    pub(super) fn begin_file(&mut self, size: u64) {
        if let Some(retraced) = &mut self.retraced {
            retraced.skeleton.file(size);
        }
    }

    fn take(&mut self, count: usize) {
        let len = self.piece.as_ref().map_or(0, |piece| piece.len());
        self.used = self.used.saturating_add(count).min(len);
    }

    /// Hands on what is known by now of the way back.
    fn hand_on(&mut self) -> Result<(), LayerError> {
        if let Some(Retraced { retrace, skeleton }) = &mut self.retraced {
            for part in self.decoder.parts() {
                retrace.part(part)?;
            }
            for stretch in skeleton.take() {
                retrace.stretch(stretch)?;
            }
        }
        Ok(())
    }

    fn end_retrace(&mut self) -> Result<(), LayerError> {
        self.hand_on()?;
        if let Some(Retraced { retrace, skeleton }) = self.retraced.take() {
            for stretch in skeleton.finish() {
                retrace.stretch(stretch)?;
            }
        }
        Ok(())
    }

    /// Reads until `buf` is full or the stream ends; the number of bytes read.
    pub(super) fn read(&mut self, mut buf: &mut [u8]) -> Result<usize, LayerError> {
        let wanted = buf.len();
        while !buf.is_empty() {
            let bytes = self.peek()?;
            let count = bytes.len().min(buf.len());
            if count == 0 {
                break;
            }
            let (now, later) = buf.split_at_mut(count);
            now.copy_from_slice(bytes.get(..count).unwrap_or_default());
            buf = later;
            self.advance(count);
        }
        Ok(wanted - buf.len())
    }

    /// Reads over `count` bytes, or to the end; how many are missing.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<u64, LayerError> {
        while count > 0 {
            let ready = len64(self.peek()?.len()).min(count);
            if ready == 0 {
                break;
            }
            self.advance(index64(ready));
            count -= ready;
        }
        Ok(count)
    }

    fn refill(&mut self) -> Result<(), LayerError> {
        if (self.interrupted)() {
            return Err(LayerError::Interrupted);
        }
        self.offset = self.position();
        self.used = 0;
        // Let go before one is waited for: what the hasher gives back is then held by nobody else.
        self.piece = None;
        let mut bytes = if self.made < PIECES {
            self.made += 1;
            Vec::new()
        } else {
            let back = self.hashed.recv().ok();
            back.and_then(|piece| Arc::try_unwrap(piece).ok())
                .unwrap_or_default()
        };
        bytes.resize(PIECE_BYTES, 0);
        let count = self
            .decoder
            .fill(&mut bytes)
            .map_err(|err| placed(err, self.offset))?;
        bytes.truncate(count);
        self.ended = count < PIECE_BYTES;
        let plain = self.offset.saturating_add(len64(count));
        let by_ratio = self
            .decoder
            .source_bytes()
            .saturating_mul(self.limits.plain_ratio);
        if plain > self.limits.plain_bytes.max(by_ratio) {
            let reason = Reason::too_large("its uncompressed length", self.limits.plain_bytes.max(by_ratio));
            return Err(reason.at(self.offset));
        }
        self.hand_on()?;
        let piece = Arc::new(bytes);
        // It fails only when the hasher has panicked, and then joining it tells.
        let _panicked = self.to_hash.send(Arc::clone(&piece));
        self.piece = Some(piece);
        Ok(())
    }
}

/// The decompressors do not know how far the stream came.
fn placed(err: LayerError, at: u64) -> LayerError {
    match err {
        LayerError::NotATree(refusal) => refusal.reason.at(at),
        other => other,
    }
}
