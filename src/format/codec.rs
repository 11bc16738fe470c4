//! Little-endian, bounded reading and writing of bytes.

use crate::error::{Error, Result};
use crate::units::len64;

/// Reads fields from a byte string in order; running past its end is an error, never a panic.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    place: &'a str,
}

impl<'a> Decoder<'a> {
    /// A decoder over `bytes`; `place` names them in errors.
    #[must_use]
    pub const fn new(bytes: &'a [u8], place: &'a str) -> Self {
        Self { bytes, at: 0, place }
    }

    /// An error at the current offset.
    #[must_use]
    pub fn error(&self, why: impl std::fmt::Display) -> Error {
        Error::malformed(self.place, format!("at byte {}: {why}", self.at))
    }

    /// Bytes at this place that are not those that a hash names.
    #[must_use]
    pub fn mismatch(&self, what: &'static str) -> Error {
        Error::mismatch(self.place, what)
    }

    /// How many bytes were read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(n)
            .ok_or_else(|| self.error("length overflows"))?;
        let slice = self
            .bytes
            .get(self.at..end)
            .ok_or_else(|| self.error(format_args!("{n} bytes expected, {} left", self.remaining())))?;
        self.at = end;
        Ok(slice)
    }

    /// The next `N` bytes, as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, little-endian, two's complement.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Bytes with a two-byte length before them, at most `max` of them.
    pub fn bytes16(&mut self, max: usize) -> Result<&'a [u8]> {
        let n = usize::from(self.u16()?);
        if n > max {
            return Err(self.error(format_args!("length {n} where at most {max} is allowed")));
        }
        self.take(n)
    }

    /// The next bytes must be exactly these.
    pub fn magic(&mut self, magic: &[u8]) -> Result<()> {
        if self.take(magic.len())? == magic {
            Ok(())
        } else {
            Err(self.error(format_args!("{:?} expected", String::from_utf8_lossy(magic))))
        }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.error(format_args!("{n} bytes too many"))),
        }
    }
}

/// Appends fields to a growing byte string.
#[derive(Debug, Default, Clone)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        len64(self.bytes.len())
    }

    /// True where nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Raw bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, n: u8) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, n: u16) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, n: u32) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, n: u64) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Eight bytes, little-endian, two's complement.
    pub fn i64(&mut self, n: i64) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Bytes with a two-byte length before them; the caller has bounded them to 65,535.
    pub fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(
            bytes.len() <= usize::from(u16::MAX),
            "callers validate names at construction"
        );
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
            .put(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}
