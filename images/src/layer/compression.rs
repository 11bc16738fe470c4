//! A layer's bytes as they come, and the stream they decompress to. Tells failures of the source from
//! damage of what it gave.

use super::error::{LayerError, Reason};
use super::limits::Limits;
use flate2::bufread::GzDecoder;
use holdall::units::len64;
use holdall_recipe::gzip::{GzipReader, NotGzip};
use holdall_recipe::table::MadePart;
use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

/// Bytes that one read asks the source for.
const READ_BYTES: usize = 256 << 10;
/// Longest magic that is looked for.
const MAGIC_BYTES: u64 = 6;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As its first bytes say; a media type is no more than a hint.
    #[default]
    Auto,
    /// With gzip, in one member or several; zeros may follow.
    Gzip,
    /// With zstd, in one frame or several.
    Zstd,
    /// Not at all.
    Plain,
}

/// Why the source gave no more; travels through the decompressors inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the source failed: {0}")]
    Failed(io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// The caller's source, its bytes counted, its failures marked as its own.
struct Source<'a> {
    inner: &'a mut dyn Read,
    interrupted: &'a dyn Fn() -> bool,
    count: Rc<Cell<u64>>,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if (self.interrupted)() {
                return Err(io::Error::other(Stop::Interrupted));
            }
            match self.inner.read(buf) {
                Ok(count) => {
                    self.count.set(self.count.get().saturating_add(len64(count)));
                    return Ok(count);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(io::Error::other(Stop::Failed(err))),
            }
        }
    }
}

type Buffered<'a> = BufReader<Chain<Cursor<Vec<u8>>, Source<'a>>>;
type Unbuffered<'a> = Chain<Cursor<Vec<u8>>, Source<'a>>;

enum Kind<'a> {
    Plain(Buffered<'a>),
    Gzip(Members<'a>),
    /// With gzip, and the way back to its bytes is wanted.
    Retraced(Box<GzipReader<Unbuffered<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Buffered<'a>>>),
}

/// The uncompressed stream of a layer.
pub(super) struct Decoder<'a> {
    kind: Kind<'a>,
    count: Rc<Cell<u64>>,
}

impl<'a> Decoder<'a> {
    pub(super) fn open(
        source: &'a mut dyn Read,
        compression: Compression,
        limits: &Limits,
        interrupted: &'a dyn Fn() -> bool,
        retraced: bool,
    ) -> Result<Self, LayerError> {
        let count = Rc::new(Cell::new(0));
        let mut source = Source {
            inner: source,
            interrupted,
            count: Rc::clone(&count),
        };
        let mut magic = Vec::new();
        source
            .by_ref()
            .take(MAGIC_BYTES)
            .read_to_end(&mut magic)
            .map_err(failure)?;
        let compression = match compression {
            Compression::Auto => detect(&magic)?,
            told => told,
        };
        let all = Cursor::new(magic).chain(source);
        if retraced {
            if compression != Compression::Gzip {
                return Err(Reason::Unsupported("a way back to what is not gzip").at(0));
            }
            let reader = GzipReader::open(all).map_err(not_gzip)?;
            let kind = Kind::Retraced(Box::new(reader));
            return Ok(Self { kind, count });
        }
        let buffered = BufReader::with_capacity(READ_BYTES, all);
        let kind = match compression {
            Compression::Gzip => Kind::Gzip(Members(Some(Member::inside(buffered)))),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(buffered).map_err(LayerError::Source)?;
                decoder
                    .window_log_max(limits.zstd_window_log)
                    .map_err(LayerError::Source)?;
                Kind::Zstd(Box::new(decoder))
            }
            Compression::Plain | Compression::Auto => Kind::Plain(buffered),
        };
        Ok(Self { kind, count })
    }

    /// Bytes of the source that were read so far, up to 256 KiB ahead of what was decompressed.
    pub(super) fn source_bytes(&self) -> u64 {
        self.count.get()
    }

    /// Reads until `buf` is full or the stream ends; the number of bytes read.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = match &mut self.kind {
                Kind::Retraced(reader) => {
                    match reader.plain(rest).map_err(not_gzip)? {
                        0 => break,
                        count => filled += count,
                    }
                    continue;
                }
                Kind::Plain(reader) => reader.read(rest),
                Kind::Gzip(reader) => reader.read(rest),
                Kind::Zstd(reader) => reader.read(rest),
            };
            match count.map_err(failure)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// The parts of the way back to the source's bytes that are new; all of them once the stream has ended.
    pub(super) fn parts(&mut self) -> Vec<MadePart> {
        match &mut self.kind {
            Kind::Retraced(reader) => reader.take_parts(),
            _ => Vec::new(),
        }
    }
}

fn not_gzip(err: NotGzip) -> LayerError {
    match err {
        NotGzip::Source(err) => failure(err),
        err => Reason::Compression(err.to_string()).at(0),
    }
}

fn detect(magic: &[u8]) -> Result<Compression, LayerError> {
    match magic {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // A zstd frame, or one that is skipped over, which `zstd:chunked` and pzstd may begin with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(Reason::Unsupported("a layer compressed with xz").at(0)),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A'] => {
            Err(Reason::Unsupported("a layer compressed with bzip2").at(0))
        }
        _ => Ok(Compression::Plain),
    }
}

/// What an error of a decompressor is: of the source behind it, or of the bytes. Where in the stream is
/// not known here.
fn failure(err: io::Error) -> LayerError {
    let kind = err.kind();
    match err.downcast::<Stop>() {
        Ok(Stop::Failed(err)) => LayerError::Source(err),
        Ok(Stop::Interrupted) => LayerError::Interrupted,
        Err(_) if kind == io::ErrorKind::UnexpectedEof => Reason::CutShort("its compressed stream").at(0),
        Err(err) => Reason::Compression(err.to_string()).at(0),
    }
}

enum Member<'a> {
    Inside(Box<GzDecoder<Buffered<'a>>>),
    Between(Buffered<'a>),
}

impl<'a> Member<'a> {
    fn inside(bytes: Buffered<'a>) -> Self {
        Self::Inside(Box::new(GzDecoder::new(bytes)))
    }
}

/// The members of a gzip stream, one after the other. None after an error.
struct Members<'a>(Option<Member<'a>>);

impl Read for Members<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.0.take() {
                None => return Ok(0),
                Some(Member::Inside(mut member)) => {
                    let count = member.read(buf)?;
                    if count > 0 {
                        self.0 = Some(Member::Inside(member));
                        return Ok(count);
                    }
                    self.0 = Some(Member::Between(member.into_inner()));
                }
                Some(Member::Between(mut rest)) => match rest.fill_buf()?.first() {
                    None => return Ok(0),
                    // gzip writes no zeros of its own, but tapes and some tools pad with them.
                    Some(0) => {
                        only_zeros(&mut rest)?;
                        return Ok(0);
                    }
                    Some(0x1f) => self.0 = Some(Member::inside(rest)),
                    Some(_) => return Err(trailing()),
                },
            }
        }
    }
}

fn trailing() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "something that is not gzip follows it",
    )
}

fn only_zeros(rest: &mut Buffered<'_>) -> io::Result<()> {
    loop {
        let bytes = rest.fill_buf()?;
        let count = bytes.len();
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(trailing());
        }
        if count == 0 {
            return Ok(());
        }
        rest.consume(count);
    }
}
