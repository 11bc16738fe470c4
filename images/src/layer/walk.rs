//! The walk over a tar: header after header, extensions applied, each entry told to the sink.

use super::LayerSink;
use super::error::{LayerError, Reason, Refusal};
use super::extension::{Extension, Pax, global_keys};
use super::header::Fields;
use super::limits::Limits;
use super::metadata;
use super::path::{LayerPath, Mark};
use super::sparse::{self, Extent, Place, Wrong};
use super::stream::{BLOCK, Stream};
use holdall::reader::{Metadata, SpecialKind};
use holdall::units::{index64, len64};

/// Most headers in front of an entry's own.
const MAX_HEADERS: u32 = 16;
/// Longest target of a symbolic link.
const MAX_TARGET: usize = 4095;
/// Most notes of what was left out, and most bytes that one quotes.
const MAX_NOTES: usize = 100;
const MAX_QUOTE: usize = 200;

/// What there is to say of a walk.
pub(super) struct Walked {
    pub(super) entries: u64,
    pub(super) skipped: Vec<String>,
    pub(super) whole: Vec<u64>,
}

pub(super) struct Walk<'w, 's> {
    stream: &'w mut Stream<'s>,
    sink: &'w mut dyn LayerSink,
    limits: &'w Limits,
    extension: Extension,
    /// Offset of the header that is being read, and its entry's path as it stands in the tar.
    at: u64,
    raw_path: Vec<u8>,
    path: LayerPath,
    target: LayerPath,
    map: Vec<Extent>,
    entries: u64,
    /// Files so far, and the numbers of those that lie in one piece.
    files: u64,
    whole: Vec<u64>,
    name_bytes: u64,
    notes: Vec<String>,
    more_notes: u64,
}

impl<'w, 's> Walk<'w, 's> {
    pub(super) fn new(stream: &'w mut Stream<'s>, sink: &'w mut dyn LayerSink, limits: &'w Limits) -> Self {
        Self {
            stream,
            sink,
            limits,
            extension: Extension::default(),
            at: 0,
            raw_path: Vec::new(),
            path: LayerPath::default(),
            target: LayerPath::default(),
            map: Vec::new(),
            entries: 0,
            files: 0,
            whole: Vec::new(),
            name_bytes: 0,
            notes: Vec::new(),
            more_notes: 0,
        }
    }

    pub(super) fn finish(mut self) -> Walked {
        if self.more_notes > 0 {
            self.notes.push(format!("and {} more", self.more_notes));
        }
        Walked {
            entries: self.entries,
            skipped: self.notes,
            whole: self.whole,
        }
    }

    /// Walks to the tar's end: two blocks of zeros, or the stream's end between two entries.
    pub(super) fn run(&mut self) -> Result<(), LayerError> {
        loop {
            let err = match self.step() {
                Ok(true) => continue,
                Ok(false) => return Ok(()),
                Err(Wrong::Error(err)) => err,
                Err(Wrong::Reason(reason)) => reason.at(self.at),
            };
            return Err(match err {
                LayerError::NotATree(refusal) if !self.raw_path.is_empty() => {
                    LayerError::NotATree(Box::new(Refusal {
                        entry: Some(quote(&self.raw_path)),
                        ..*refusal
                    }))
                }
                other => other,
            });
        }
    }

    /// Reads one header and what belongs to it; false at the end.
    fn step(&mut self) -> Result<bool, Wrong> {
        self.at = self.stream.position();
        self.raw_path.clear();
        let mut block = [0; BLOCK];
        match self.block(&mut block)? {
            Block::End | Block::Zeros if self.extension.headers > 0 => {
                return Err(Reason::CutShort("headers that no entry follows").into());
            }
            Block::End => return Ok(false),
            Block::Zeros => {
                return match self.block(&mut block)? {
                    Block::End | Block::Zeros => Ok(false),
                    Block::Header => Err(Reason::Malformed("a block of zeros between entries").into()),
                };
            }
            Block::Header => {}
        }
        let fields = Fields::read(&block).map_err(|reason| match reason {
            _ if self.at == 0 => Reason::NotATar,
            reason => reason,
        })?;
        let size = u64::try_from(fields.size).map_err(|_| Reason::Malformed("a size below zero"))?;
        match fields.kind {
            // Solaris's are PAX headers under a name of their own.
            b'x' | b'X' => {
                let bytes =
                    self.extension_bytes(size, "the length of a PAX header", self.limits.pax_bytes)?;
                self.extension.pax = Pax::read(&bytes, self.limits.sparse_extents)?;
            }
            b'L' | b'K' => {
                let most = self.limits.long_name_bytes;
                let bytes = self.extension_bytes(size, "the length of a GNU long name", most)?;
                let name = Extension::long(&bytes);
                if fields.kind == b'L' {
                    self.extension.long_name = name;
                } else {
                    self.extension.long_link = name;
                }
            }
            b'g' => {
                self.count_entry()?;
                let bytes = self.payload(size, "the length of a PAX header", self.limits.pax_bytes)?;
                let keys = global_keys(&bytes)?;
                if !keys.is_empty() {
                    self.note(&format!(
                        "a global header is not heeded, as no container runtime does: {keys}"
                    ));
                }
            }
            _ => {
                self.count_entry()?;
                self.entry(&fields, size)?;
                let pax = std::mem::take(&mut self.extension.pax);
                self.extension = Extension::default();
                for what in pax.ignored {
                    self.note_entry(&format!("{what} left out, as container runtimes do"));
                }
            }
        }
        Ok(true)
    }

    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<Block, Wrong> {
        match self.stream.read(block)? {
            0 => Ok(Block::End),
            BLOCK if block.iter().all(|byte| *byte == 0) => Ok(Block::Zeros),
            BLOCK => Ok(Block::Header),
            _ if self.at == 0 => Err(Reason::NotATar.into()),
            _ => Err(Reason::CutShort("a header").into()),
        }
    }

    fn count_entry(&mut self) -> Result<(), Reason> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Reason::too_large("the number of entries", self.limits.entries));
        }
        Ok(())
    }

    fn count_name_bytes(&mut self, bytes: usize) -> Result<(), Reason> {
        self.name_bytes = self.name_bytes.saturating_add(len64(bytes));
        if self.name_bytes > self.limits.name_bytes {
            return Err(Reason::too_large(
                "the length of all names, link targets and extended attributes",
                self.limits.name_bytes,
            ));
        }
        Ok(())
    }

    fn extension_bytes(&mut self, size: u64, what: &'static str, most: u64) -> Result<Vec<u8>, Wrong> {
        self.extension.headers += 1;
        if self.extension.headers > MAX_HEADERS {
            return Err(
                Reason::too_large("the number of headers before an entry's", u64::from(MAX_HEADERS)).into(),
            );
        }
        self.payload(size, what, most)
    }

    fn payload(&mut self, size: u64, what: &'static str, most: u64) -> Result<Vec<u8>, Wrong> {
        if size > most {
            return Err(Reason::too_large(what, most).into());
        }
        let mut bytes = vec![0; index64(size)];
        if self.stream.read(&mut bytes)? < bytes.len() {
            return Err(Reason::CutShort("an extended header").into());
        }
        self.stream.skip(padding(size))?;
        Ok(bytes)
    }

    fn entry(&mut self, fields: &Fields<'_>, size: u64) -> Result<(), Wrong> {
        self.raw_path.extend_from_slice(fields.prefix);
        if !fields.prefix.is_empty() {
            self.raw_path.push(b'/');
        }
        self.raw_path.extend_from_slice(fields.name);
        let of_header = std::mem::take(&mut self.raw_path);
        self.raw_path.extend_from_slice(self.extension.path(&of_header));
        self.count_name_bytes(self.raw_path.len())?;

        let size = match self.extension.pax.size {
            None => size,
            Some(size) => u64::try_from(size).map_err(|_| Reason::Malformed("a size below zero"))?,
        };
        let kind = match fields.kind {
            // V7 has no directories but by their names.
            0 if self.raw_path.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        // Of these the size says nothing, and there is no payload.
        let size = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        if !matches!(kind, b'0'..=b'6' | b'S') {
            self.note_entry(&format!("of type {:?}, which is no file's", char::from(kind)));
            return self.skip_payload(size, size);
        }
        self.path.set(&self.raw_path)?;
        self.map.clear();
        let (file_size, left) = self.sparse(fields, kind, size)?;
        match self.path.take_mark()? {
            Mark::None => {}
            mark => {
                match mark {
                    Mark::Whiteout => self.sink.whiteout(self.path.names())?,
                    Mark::Opaque => self.sink.opaque(self.path.names())?,
                    Mark::Meta | Mark::None => self.note_entry("a note of AUFS to itself"),
                }
                return self.skip_payload(left, size);
            }
        }
        if kind != b'5' && self.path.names().is_empty() {
            return Err(Reason::Malformed("an entry for the root that is no directory").into());
        }
        match kind {
            b'1' => return self.hard_link(fields),
            b'2' => return self.symlink(fields),
            _ => {}
        }
        let metadata = self.metadata(fields)?;
        let (kind, (major, minor)) = match kind {
            b'3' => (SpecialKind::CharDevice, metadata::device(fields)?),
            b'4' => (SpecialKind::BlockDevice, metadata::device(fields)?),
            b'6' => (SpecialKind::Fifo, (0, 0)),
            b'5' => return Ok(self.sink.directory(self.path.names(), metadata)?),
            _ => return self.file(metadata, file_size, left, size),
        };
        Ok(self
            .sink
            .special(self.path.names(), metadata, kind, major, minor)?)
    }

    /// Reads the map of a sparse file, if it is one: the file's size, and what is left of its payload.
    fn sparse(&mut self, fields: &Fields<'_>, kind: u8, size: u64) -> Result<(u64, u64), Wrong> {
        let most = self.limits.sparse_extents;
        let (file_size, left) = if kind == b'S' {
            let header = fields
                .gnu
                .ok_or(Reason::Malformed("a GNU sparse file without GNU's header"))?;
            (sparse::read_old(header, self.stream, &mut self.map, most)?, size)
        } else {
            let records = &mut self.extension.pax.sparse;
            let place = records.place()?;
            if place == Place::None {
                self.map.push(Extent { offset: 0, len: size });
                return self.check_file_size(size).map(|()| (size, size));
            }
            if kind != b'0' {
                return Err(Reason::Malformed("a sparse map of what is no file").into());
            }
            let file_size = records.size.and_then(|size| u64::try_from(size).ok());
            let file_size = file_size.ok_or(Reason::Malformed("a sparse file without its size"))?;
            let taken = if place == Place::Payload {
                sparse::read_payload(self.stream, size, &mut self.map, most)?
            } else {
                self.map.append(&mut records.map);
                0
            };
            (file_size, size.saturating_sub(taken))
        };
        self.check_file_size(file_size)?;
        sparse::check(&self.map, file_size, left)?;
        Ok((file_size, left))
    }

    fn check_file_size(&self, size: u64) -> Result<(), Wrong> {
        if size > self.limits.file_bytes {
            return Err(Reason::too_large("the length of a file", self.limits.file_bytes).into());
        }
        Ok(())
    }

    /// Tells the file's extents, which were checked to be in order, within `size`, and `left` bytes.
    fn file(&mut self, metadata: Metadata, size: u64, left: u64, payload: u64) -> Result<(), Wrong> {
        self.sink.begin_file(self.path.names(), metadata, size)?;
        // What lies in one piece in the tar can be had from the file itself.
        let whole = size > 0 && matches!(self.map.as_slice(), [only] if only.offset == 0 && only.len == size);
        if whole {
            self.stream.begin_file(size);
            self.whole.push(self.files);
        }
        self.files += 1;
        let mut end = 0;
        let mut missing = left;
        for extent in &self.map {
            if extent.len == 0 {
                continue;
            }
            if extent.offset > end {
                self.sink.hole(extent.offset - end)?;
            }
            let mut todo = extent.len;
            while todo > 0 {
                let ready = self.stream.peek()?;
                let count = ready.len().min(index64(todo));
                if count == 0 {
                    return Err(Reason::CutShort("a file").into());
                }
                self.sink.data(ready.get(..count).unwrap_or_default())?;
                if whole {
                    self.stream.advance_file(count);
                } else {
                    self.stream.advance(count);
                }
                todo -= len64(count);
            }
            missing = missing.saturating_sub(extent.len);
            end = extent.offset + extent.len;
        }
        if size > end {
            self.sink.hole(size - end)?;
        }
        self.sink.end_file()?;
        self.skip_payload(missing, payload)
    }

    /// Skips the `left` bytes of a payload of `size` bytes, and its padding, which the last may be without.
    fn skip_payload(&mut self, left: u64, size: u64) -> Result<(), Wrong> {
        if self.stream.skip(left)? > 0 {
            return Err(Reason::CutShort("a file").into());
        }
        self.stream.skip(padding(size))?;
        Ok(())
    }

    fn hard_link(&mut self, fields: &Fields<'_>) -> Result<(), Wrong> {
        let target = self.extension.link(fields.link).to_vec();
        self.count_name_bytes(target.len())?;
        self.target.set(&target)?;
        if self.target.names().is_empty() {
            return Err(Reason::Malformed("a hard link to the root").into());
        }
        Ok(self.sink.hard_link(self.path.names(), self.target.names())?)
    }

    fn symlink(&mut self, fields: &Fields<'_>) -> Result<(), Wrong> {
        let metadata = self.metadata(fields)?;
        let target = self.extension.link(fields.link).to_vec();
        self.count_name_bytes(target.len())?;
        if target.is_empty() || target.contains(&0) {
            return Err(Reason::Malformed("a symbolic link to what can be no path").into());
        }
        if target.len() > MAX_TARGET {
            return Err(Reason::too_large("the length of a link's target", len64(MAX_TARGET)).into());
        }
        Ok(self.sink.symlink(self.path.names(), metadata, &target)?)
    }

    fn metadata(&mut self, fields: &Fields<'_>) -> Result<Metadata, Wrong> {
        let (metadata, dropped) = metadata::read(fields, &mut self.extension.pax)?;
        for what in dropped {
            self.note_entry(what);
        }
        let bytes = metadata
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len());
        self.count_name_bytes(bytes.sum())?;
        Ok(metadata)
    }

    fn note_entry(&mut self, what: &str) {
        let entry = quote(&self.raw_path);
        self.note(&format!("{entry:?}: {what}"));
    }

    fn note(&mut self, text: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text.to_owned());
        } else {
            self.more_notes += 1;
        }
    }
}

enum Block {
    End,
    Zeros,
    Header,
}

/// Bytes from the end of a payload to the next header.
const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % (BLOCK as u64)
}

fn quote(path: &[u8]) -> String {
    let short = path.get(..path.len().min(MAX_QUOTE)).unwrap_or_default();
    let dots = if short.len() < path.len() { "…" } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(short))
}
