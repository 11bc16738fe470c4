//! What a tar is besides its files' bytes: headers, padding, trailer, odd bytes.
//!
//! The tar's bytes are taken in *stretches* of [`STRETCH`] bytes, each encoded by itself. A stretch is a list of steps:
//! bytes of its own, a file's bytes (which are elsewhere), a header, zeros. Headers are taken apart into columns, and
//! their size and checksum are left out where the file's size and the header itself give them.
//!
//! Encoded: the lengths of the five columns (LEB128), then the columns: steps, names, fields, rests, bytes. A step is a
//! number, `n · 8 + kind`:
//!
//! | kind | meaning of n |
//! |---|---|
//! | 0 | that many bytes of the last column |
//! | 1 | a file of that many bytes begins; what does not fit goes on in the next stretch |
//! | 2 | that many bytes, the stretch's first, of the file that one before began |
//! | 3 | a header; bit 0: its size is left out, bit 1: its checksum is left out |
//! | 4 | that many zeros |

use std::ops::Range;

/// Bytes of the tar in a stretch, the last of which may be shorter: 1 MiB.
pub const STRETCH: usize = 1 << 20;
/// Most bytes of an encoded stretch, or of its files' inode numbers.
pub const ENCODED_MAX: usize = 2 * STRETCH;
/// Length of a tar's header.
const HEADER: usize = 512;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const SIZE_LEFT_OUT: u64 = 1;
const CHECKSUM_LEFT_OUT: u64 = 2;
/// Columns of a stretch.
const COLUMNS: usize = 5;

/// A stretch that was taken whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The encoded stretch.
    pub encoded: Vec<u8>,
    /// Files that begin in it.
    pub files: u64,
    /// Bytes at its start that belong to a file that began before.
    pub carried: u64,
    /// How many of that file's bytes lie before the stretch; 0 where `carried` is.
    pub before: u64,
}

#[derive(Debug, Default)]
struct Columns([Vec<u8>; COLUMNS]);

/// Takes a tar's bytes in order and encodes its stretches.
#[derive(Debug, Default)]
pub struct SkeletonWriter {
    columns: Columns,
    /// Bytes that are no file's, not encoded yet, and where they start in the stretch.
    pending: Vec<u8>,
    /// Bytes of the stretch so far.
    filled: usize,
    /// Of the file whose bytes are coming: its size, and what is still to come.
    size: u64,
    left: u64,
    files: u64,
    carried: u64,
    before: u64,
    done: Vec<Stretch>,
}

impl SkeletonWriter {
    /// The next bytes of the tar, which are no file's.
    pub fn literal(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(STRETCH - self.filled));
            self.pending.extend_from_slice(now);
            self.advance(now.len(), None);
            bytes = later;
        }
    }

    /// A file of that many bytes begins here; the next bytes are [`payload`](Self::payload).
    pub fn file(&mut self, size: u64) {
        self.flush(Some(size));
        self.columns.step(1, size);
        self.files += 1;
        (self.size, self.left) = (size, size);
    }

    /// That many bytes of the file that began: no more than it has in all.
    pub fn payload(&mut self, mut count: u64) {
        while count > 0 {
            let now = count.min((STRETCH - self.filled) as u64);
            self.left = self.left.saturating_sub(now);
            self.advance(now as usize, Some(()));
            count -= now;
        }
    }

    /// Bytes of the file that began and has not come whole.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.left
    }

    /// The stretches that are whole since the last call.
    pub fn take(&mut self) -> Vec<Stretch> {
        std::mem::take(&mut self.done)
    }

    /// The last stretch, if anything is left.
    #[must_use]
    pub fn finish(mut self) -> Vec<Stretch> {
        if self.filled > 0 {
            self.close();
        }
        self.done
    }

    fn advance(&mut self, count: usize, of_file: Option<()>) {
        self.filled += count;
        if self.filled == STRETCH {
            self.close();
            if of_file.is_some() && self.left > 0 {
                self.carried = self.left.min(STRETCH as u64);
                self.before = self.size - self.left;
                self.columns.step(2, self.carried);
            }
        }
    }

    fn close(&mut self) {
        self.flush(None);
        let columns = std::mem::take(&mut self.columns);
        self.done.push(Stretch {
            encoded: columns.encode(),
            files: self.files,
            carried: self.carried,
            before: self.before,
        });
        (self.files, self.carried, self.before, self.filled) = (0, 0, 0, 0);
    }

    /// Encodes what is pending; `file` is the size of the file that begins behind it.
    fn flush(&mut self, file: Option<u64>) {
        let pending = std::mem::take(&mut self.pending);
        // Stretches are whole headers, and so are tars: headers stand at multiples of their length.
        let start = self.filled - pending.len();
        let odd = (start.wrapping_neg() % HEADER).min(pending.len());
        let (odd, blocks) = pending.split_at(odd);
        self.columns.plain(odd);
        let (headers, tail) = blocks.as_chunks::<HEADER>();
        for (at, header) in headers.iter().enumerate() {
            let file = file.filter(|_| at + 1 == headers.len() && tail.is_empty());
            if !self.columns.header(header, file) {
                self.columns.plain(header);
            }
        }
        self.columns.plain(tail);
        self.pending = pending;
        self.pending.clear();
    }
}

impl Columns {
    fn step(&mut self, kind: u64, n: u64) {
        put(&mut self.0[0], n << 3 | kind);
    }

    /// Bytes as they are, or zeros.
    fn plain(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if bytes.iter().all(|byte| *byte == 0) {
            self.step(4, bytes.len() as u64);
        } else {
            self.step(0, bytes.len() as u64);
            self.0[4].extend_from_slice(bytes);
        }
    }

    /// False where it is no header.
    fn header(&mut self, header: &[u8; HEADER], file: Option<u64>) -> bool {
        if header[CHECKSUM] != checksum(header) {
            return false;
        }
        let mut flags = CHECKSUM_LEFT_OUT;
        if file.is_some_and(|file| octal(file).is_some_and(|size| header[SIZE] == size)) {
            flags |= SIZE_LEFT_OUT;
        }
        self.step(3, flags);
        self.0[1].extend_from_slice(&header[..100]);
        self.0[2].extend_from_slice(&header[100..SIZE.start]);
        if flags & SIZE_LEFT_OUT == 0 {
            self.0[2].extend_from_slice(&header[SIZE]);
        }
        self.0[2].extend_from_slice(&header[SIZE.end..CHECKSUM.start]);
        self.0[3].extend_from_slice(&header[CHECKSUM.end..]);
        true
    }

    fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(self.0.iter().map(Vec::len).sum::<usize>() + 16);
        for column in &self.0 {
            put(&mut encoded, column.len() as u64);
        }
        for column in &self.0 {
            encoded.extend_from_slice(column);
        }
        encoded
    }
}

/// A tar's size field as most programs write it; `None` where it does not fit.
fn octal(size: u64) -> Option<[u8; 12]> {
    let text = format!("{size:011o}\0");
    text.as_bytes().try_into().ok()
}

/// A tar's checksum field as most programs write it.
fn checksum(header: &[u8; HEADER]) -> [u8; 8] {
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = header[CHECKSUM].iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{:06o}\0 ", sum - field + 8 * u32::from(b' '));
    text.as_bytes().try_into().unwrap_or_default()
}

/// A piece of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the stretch's own.
    Literal(Vec<u8>),
    /// That many zeros.
    Zeros(u64),
    /// Bytes of the file that the stretch before began, from where that left off.
    Carried(u64),
    /// The first bytes of the next file.
    File(u64),
}

/// A skeleton cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stretch of a tar's skeleton: {0}")]
pub struct Damage(pub &'static str);

/// The pieces of an encoded stretch of `length` bytes.
///
/// # Errors
/// [`Damage`] where the bytes are no stretch of that length.
pub fn decode(encoded: &[u8], length: usize) -> Result<Vec<Piece>, Damage> {
    let mut from = encoded;
    let mut lengths = [0; COLUMNS];
    for length in &mut lengths {
        *length = take(&mut from)?;
    }
    let mut columns: [&[u8]; COLUMNS] = [&[]; COLUMNS];
    for (column, length) in columns.iter_mut().zip(lengths) {
        *column = split_off(&mut from, length)?;
    }
    if !from.is_empty() {
        return Err(Damage("bytes behind its columns"));
    }
    let [mut steps, mut names, mut fields, mut rests, mut bytes] = columns;
    let mut pieces = Vec::new();
    let mut left = length as u64;
    // The header whose size is that of the file behind it.
    let mut waiting: Option<[u8; HEADER]> = None;
    while !steps.is_empty() {
        let step = take(&mut steps)?;
        let n = step >> 3;
        if let Some(mut header) = waiting.take() {
            if step & 7 != 1 {
                return Err(Damage("a header without its file"));
            }
            header[SIZE].copy_from_slice(&octal(n).ok_or(Damage("a file larger than a header can say"))?);
            push(&mut pieces, &sealed(header));
        }
        let taken = match step & 7 {
            0 => {
                push(&mut pieces, split_off(&mut bytes, n)?);
                n
            }
            1 => {
                let here = n.min(left);
                pieces.push(Piece::File(here));
                here
            }
            2 => {
                if left != length as u64 || n == 0 {
                    return Err(Damage("a file goes on that is not the stretch's first"));
                }
                pieces.push(Piece::Carried(n));
                n
            }
            3 => {
                let mut header = [0; HEADER];
                header[..100].copy_from_slice(split_off(&mut names, 100)?);
                header[100..SIZE.start].copy_from_slice(split_off(&mut fields, SIZE.start as u64 - 100)?);
                if n & SIZE_LEFT_OUT == 0 {
                    header[SIZE].copy_from_slice(split_off(&mut fields, SIZE.len() as u64)?);
                }
                let between = SIZE.end..CHECKSUM.start;
                header[between.clone()].copy_from_slice(split_off(&mut fields, between.len() as u64)?);
                header[CHECKSUM.end..]
                    .copy_from_slice(split_off(&mut rests, (HEADER - CHECKSUM.end) as u64)?);
                if n & CHECKSUM_LEFT_OUT == 0 {
                    return Err(Damage("a header with a checksum of its own"));
                }
                if n & SIZE_LEFT_OUT == 0 {
                    push(&mut pieces, &sealed(header));
                } else {
                    waiting = Some(header);
                }
                HEADER as u64
            }
            4 => {
                pieces.push(Piece::Zeros(n));
                n
            }
            _ => return Err(Damage("a step of no kind that is known")),
        };
        left = left.checked_sub(taken).ok_or(Damage("more than its length"))?;
    }
    if left > 0 || waiting.is_some() || columns_left(&[names, fields, rests, bytes]) {
        return Err(Damage("less than its length, or columns that nothing uses"));
    }
    Ok(pieces)
}

fn columns_left(columns: &[&[u8]]) -> bool {
    columns.iter().any(|column| !column.is_empty())
}

fn sealed(mut header: [u8; HEADER]) -> [u8; HEADER] {
    let sum = checksum(&header);
    header[CHECKSUM].copy_from_slice(&sum);
    header
}

fn push(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Literal(last)) = pieces.last_mut() {
        last.extend_from_slice(bytes);
    } else {
        pieces.push(Piece::Literal(bytes.to_vec()));
    }
}

fn split_off<'a>(from: &mut &'a [u8], count: u64) -> Result<&'a [u8], Damage> {
    let count = usize::try_from(count).map_err(|_| Damage("cut off"))?;
    let (now, later) = from.split_at_checked(count).ok_or(Damage("cut off"))?;
    *from = later;
    Ok(now)
}

/// Appends a number, seven bits a byte, the lowest first.
pub(crate) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number of at most 63 bits off the front.
pub(crate) fn take(from: &mut &[u8]) -> Result<u64, Damage> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = split_off(from, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Damage("a number of more than 63 bits"))
}
