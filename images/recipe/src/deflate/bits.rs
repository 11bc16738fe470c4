//! Bits in deflate's order: the lowest bit of a byte first.

/// Bits written one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl BitWriter {
    /// A writer whose first byte has `count` bits (at most 7) already, the lowest of `carry`.
    #[must_use]
    pub fn carrying(carry: u8, count: u32) -> Self {
        let count = count & 7;
        Self {
            bytes: Vec::new(),
            held: u64::from(carry) & ((1 << count) - 1),
            count,
        }
    }

    /// Appends the lowest `count` bits of `bits`; `count` is at most 32, and the bits above it are zero.
    #[inline]
    pub fn write(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    /// Appends strings of at most 48 bits, at most `most` of them: a count, and bits above which there are zeros.
    #[inline]
    pub fn write_all(&mut self, strings: impl Iterator<Item = (u64, u32)>, most: usize) {
        const LONGEST: usize = 6;
        self.settle();
        let mut at = self.bytes.len();
        self.bytes.resize(at + most * LONGEST + 8, 0);
        let (mut held, mut count) = (self.held, self.count);
        for (bits, more) in strings.take(most) {
            held |= bits << count;
            count += more;
            self.bytes[at..at + 8].copy_from_slice(&held.to_le_bytes());
            let whole = count >> 3;
            at += whole as usize;
            held >>= whole * 8;
            count &= 7;
        }
        self.bytes.truncate(at);
        (self.held, self.count) = (held, count);
    }

    /// Bits so far, with those carried in.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.count)
    }

    /// Whether nothing was written or carried in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes `bits` up to the next byte's start (none where it is there already), and whole bytes behind it.
    pub fn align(&mut self, padding: u8) {
        let missing = self.count.wrapping_neg() & 7;
        self.write(u64::from(padding) & ((1 << missing) - 1), missing);
        self.settle();
    }

    /// Appends whole bytes; the writer must stand at a byte's start ([`align`](Self::align)).
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.settle();
        debug_assert_eq!(self.count, 0, "bytes are written at a byte's start");
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends all of `bits`.
    pub fn append(&mut self, bits: &Bits) {
        let mut left = bits.count;
        for byte in &bits.bytes {
            let count = left.min(8);
            self.write(u64::from(*byte), count);
            left -= count;
        }
    }

    fn settle(&mut self) {
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// The whole bytes, and the bits behind them with their count (at most 7).
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, u8, u32) {
        self.settle();
        (self.bytes, self.held as u8, self.count)
    }

    /// All that was written, as bits.
    #[must_use]
    pub fn into_bits(self) -> Bits {
        let count = self.len() as u32;
        let (mut bytes, held, rest) = self.finish();
        if rest > 0 {
            bytes.push(held);
        }
        Bits { bytes, count }
    }
}

/// A short string of bits: at most some thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    /// The bits, eight a byte, zeros behind the last.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_written_at_once_are_those_written_one_by_one() {
        let mut state = 5u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 13
        };
        for carried in 0..8 {
            let strings: Vec<(u64, u32)> = (0..500)
                .map(|_| {
                    let count = (random() % 49) as u32;
                    (random() & ((1 << count) - 1), count)
                })
                .collect();
            let mut one = BitWriter::carrying(0x55, carried);
            for (bits, count) in &strings {
                one.write(bits & 0xffff_ffff, (*count).min(32));
                one.write(bits >> 32, count.saturating_sub(32));
            }
            let mut all = BitWriter::carrying(0x55, carried);
            all.write_all(strings.iter().copied(), strings.len());
            assert_eq!(all.len(), one.len());
            all.write(3, 2);
            one.write(3, 2);
            assert_eq!(all.finish(), one.finish());
        }
    }
}
