//! Maps of sparse files in each dialect: old GNU in headers, PAX 0.0 and 0.1 in records, 1.0 in front
//! of the payload.

use super::error::{LayerError, Reason};
use super::extension::decimal;
use super::header::read_number;
use super::stream::{BLOCK, Stream};
use holdall::units::len64;
use tar::GnuHeader;

/// A part of a sparse file that has bytes in the tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// What PAX records say of a sparse file.
#[derive(Default)]
pub(super) struct Records {
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) map: Vec<Extent>,
    /// An offset that no length has followed yet.
    pub(super) open: Option<u64>,
}

/// Where a PAX entry's map lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is not sparse.
    None,
    /// In the records.
    Records,
    /// In front of the payload.
    Payload,
}

impl Records {
    pub(super) fn place(&self) -> Result<Place, Reason> {
        if self.open.is_some() {
            return Err(Reason::Malformed("a sparse map whose numbers are not in pairs"));
        }
        match (self.major, self.minor) {
            (Some(0), Some(0 | 1)) => Ok(Place::Records),
            (Some(1), Some(0)) => Ok(Place::Payload),
            // 0.0 and 0.1 as they were written before there was a version.
            (None, None) if self.map.is_empty() => Ok(Place::None),
            (None, None) => Ok(Place::Records),
            _ => Err(Reason::Unsupported("this version of PAX sparse files")),
        }
    }
}

/// A file's extents are in order, do not overlap, end within its size, and are the payload's bytes.
pub(super) fn check(map: &[Extent], size: u64, payload: u64) -> Result<(), Reason> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(Reason::Malformed("a sparse map whose extents overlap"));
        }
        end = extent
            .offset
            .checked_add(extent.len)
            .ok_or(Reason::Malformed("a sparse map that goes past its file's end"))?;
        // No overflow: it is never more than the end.
        sum += extent.len;
    }
    if end > size {
        return Err(Reason::Malformed("a sparse map that goes past its file's end"));
    }
    if sum != payload {
        return Err(Reason::Malformed("a sparse map that is not of its payload"));
    }
    Ok(())
}

/// Reads the map that is in an old GNU header and in the blocks after it; the file's size.
pub(super) fn read_old(
    header: &GnuHeader,
    stream: &mut Stream<'_>,
    map: &mut Vec<Extent>,
    most: usize,
) -> Result<u64, Wrong> {
    let wrong = Reason::Malformed("a sparse map that is no number");
    let size = read_number(&header.realsize).and_then(|size| u64::try_from(size).ok());
    let size = size.ok_or(Reason::Malformed("a sparse size that is no number"))?;
    for pair in &header.sparse {
        push(map, &pair.offset, &pair.numbytes, most).map_err(|none| none.unwrap_or(wrong.clone()))?;
    }
    let mut more = header.isextended[0] != 0;
    while more {
        let mut block = [0; BLOCK];
        if stream.read(&mut block)? < BLOCK {
            return Err(Reason::CutShort("a sparse map").into());
        }
        let (pairs, rest) = block.split_at(21 * 24);
        for pair in pairs.chunks_exact(24) {
            let (offset, len) = pair.split_at(12);
            push(map, offset, len, most).map_err(|none| none.unwrap_or(wrong.clone()))?;
        }
        more = rest.first().is_some_and(|byte| *byte != 0);
    }
    Ok(size)
}

/// An unused place begins with a NUL. None is for what is no number.
fn push(map: &mut Vec<Extent>, offset: &[u8], len: &[u8], most: usize) -> Result<(), Option<Reason>> {
    if offset.first() == Some(&0) {
        return Ok(());
    }
    if map.len() >= most {
        return Err(Some(Reason::too_large(
            "the number of a sparse file's extents",
            len64(most),
        )));
    }
    let number = |field| read_number(field).and_then(|number| u64::try_from(number).ok());
    map.push(Extent {
        offset: number(offset).ok_or(None)?,
        len: number(len).ok_or(None)?,
    });
    Ok(())
}

/// Reads the map in front of a payload of `payload` bytes: lines of decimal digits, first how many pairs,
/// then the pairs, then NULs up to a whole block. The bytes it takes, at most the payload's.
pub(super) fn read_payload(
    stream: &mut Stream<'_>,
    payload: u64,
    map: &mut Vec<Extent>,
    most: usize,
) -> Result<u64, Wrong> {
    let mut lines = Lines {
        stream,
        block: [0; BLOCK],
        used: BLOCK,
        taken: 0,
        payload,
    };
    let count = lines.number()?;
    if count > len64(most) {
        return Err(Reason::too_large("the number of a sparse file's extents", len64(most)).into());
    }
    for _ in 0..count {
        let offset = lines.number()?;
        let len = lines.number()?;
        map.push(Extent { offset, len });
    }
    Ok(lines.taken)
}

struct Lines<'s, 'a> {
    stream: &'s mut Stream<'a>,
    block: [u8; BLOCK],
    used: usize,
    taken: u64,
    payload: u64,
}

impl Lines<'_, '_> {
    fn number(&mut self) -> Result<u64, Wrong> {
        let mut digits = [0; 20];
        let mut len = 0;
        loop {
            if self.used == BLOCK {
                if self.taken + len64(BLOCK) > self.payload {
                    return Err(Reason::Malformed("a sparse map longer than its entry").into());
                }
                if self.stream.read(&mut self.block)? < BLOCK {
                    return Err(Reason::CutShort("a sparse map").into());
                }
                self.taken += len64(BLOCK);
                self.used = 0;
            }
            let byte = self.block.get(self.used).copied().unwrap_or_default();
            self.used += 1;
            if byte == b'\n' {
                break;
            }
            let wrong = Reason::Malformed("a sparse map that is no number");
            *digits.get_mut(len).ok_or(wrong)? = byte;
            len += 1;
        }
        let wrong = Reason::Malformed("a sparse map that is no number");
        Ok(decimal(digits.get(..len).unwrap_or_default()).ok_or(wrong)?)
    }
}

/// What ends the reading of an entry: a reason, to be placed by the walk, or what is already an error.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Something about the entry.
    Reason(Reason),
    /// Something about the stream or the sink.
    Error(LayerError),
}

impl From<Reason> for Wrong {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl From<LayerError> for Wrong {
    fn from(err: LayerError) -> Self {
        Self::Error(err)
    }
}

impl From<crate::Error> for Wrong {
    fn from(err: crate::Error) -> Self {
        Self::Error(LayerError::Sink(err))
    }
}
