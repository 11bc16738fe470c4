//! Tokens, and the symbols and extra bits that they are written as (RFC 1951, 3.2.5).

/// Shortest copy.
pub const LENGTH_MIN: usize = 3;
/// Longest copy.
pub const LENGTH_MAX: usize = 258;
/// How far back a copy may reach.
pub const DISTANCE_MAX: usize = 32 << 10;
/// Symbols of the alphabet of literals and lengths, the two that never occur among them.
pub const LITERALS: usize = 288;
/// Symbols of the alphabet of distances, the two that never occur among them.
pub const DISTANCES: usize = 32;
/// The symbol that ends a block.
pub const END: usize = 256;

/// One step of a deflate stream: a literal byte, or a copy of 3 to 258 bytes from 1 to 32,768 bytes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u32);

const COPY: u32 = 1 << 31;

impl Token {
    /// The byte itself.
    #[must_use]
    pub const fn literal(byte: u8) -> Self {
        Self(byte as u32)
    }

    /// `length` bytes (3 to 258) from `distance` bytes back (1 to 32,768); other numbers are cut to their bits.
    #[must_use]
    pub const fn copy(length: usize, distance: usize) -> Self {
        Self(
            COPY | ((length.wrapping_sub(3) as u32 & 0xff) << 16)
                | (distance.wrapping_sub(1) as u32 & 0x7fff),
        )
    }

    /// Whether it is a literal.
    #[must_use]
    pub const fn is_literal(self) -> bool {
        self.0 & COPY == 0
    }

    /// The byte of a literal; what a copy gives here means nothing.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0 as u8
    }

    /// Bytes of plaintext that it stands for: 1 for a literal.
    #[must_use]
    pub const fn length(self) -> usize {
        if self.is_literal() {
            1
        } else {
            ((self.0 >> 16) & 0xff) as usize + LENGTH_MIN
        }
    }

    /// A number below [`INDICES`](Self::INDICES): a literal's byte, or 256 and a copy's length less 3.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        if self.is_literal() {
            self.byte() as usize
        } else {
            256 | ((self.0 >> 16) & 0xff) as usize
        }
    }

    /// How many there are of what [`index`](Self::index) gives.
    pub const INDICES: usize = 512;

    /// How far back a copy reaches, from 1; what a literal gives here means nothing.
    #[must_use]
    pub const fn distance(self) -> usize {
        (self.0 & 0x7fff) as usize + 1
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_literal() {
            write!(f, "literal {:#04x}", self.byte())
        } else {
            write!(f, "copy {} from {} back", self.length(), self.distance())
        }
    }
}

/// The first length of each length symbol, from symbol 257.
pub const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
/// The extra bits of each length symbol, from symbol 257.
pub const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
/// The first distance of each distance symbol.
pub const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];
/// The extra bits of each distance symbol.
pub const DISTANCE_EXTRA: [u8; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
];

/// Length symbol less 257 of each length less 3.
pub const LENGTH_CODE: [u8; 256] = length_codes();
/// Distance symbol of each distance less 1, up to 256; beyond, see [`distance_code`].
const DISTANCE_CODE: [u8; 512] = distance_codes();

const fn length_codes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 28 {
        let mut length = LENGTH_BASE[code] as usize - LENGTH_MIN;
        let end = length + (1 << LENGTH_EXTRA[code]);
        while length < end && length < 256 {
            table[length] = code as u8;
            length += 1;
        }
        code += 1;
    }
    table[LENGTH_MAX - LENGTH_MIN] = 28;
    table
}

const fn distance_codes() -> [u8; 512] {
    let mut table = [0; 512];
    let mut code = 0;
    while code < 30 {
        let first = DISTANCE_BASE[code] as usize - 1;
        let mut distance = first;
        while distance < first + (1 << DISTANCE_EXTRA[code]) {
            if distance < 256 {
                table[distance] = code as u8;
            } else {
                table[256 + (distance >> 7)] = code as u8;
            }
            distance += 1;
        }
        code += 1;
    }
    table
}

/// The symbol of `length` (3 to 258), less 257.
#[must_use]
#[inline]
pub const fn length_code(length: usize) -> usize {
    LENGTH_CODE[length.wrapping_sub(LENGTH_MIN) & 0xff] as usize
}

/// The symbol of `distance` (1 to 32,768).
#[must_use]
#[inline]
pub const fn distance_code(distance: usize) -> usize {
    let distance = distance.wrapping_sub(1) & 0x7fff;
    let index = if distance < 256 {
        distance
    } else {
        256 + (distance >> 7)
    };
    DISTANCE_CODE[index] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_distance_has_the_symbol_whose_range_it_is_in() {
        for length in LENGTH_MIN..=LENGTH_MAX {
            let code = length_code(length);
            let first = usize::from(LENGTH_BASE[code]);
            assert!(
                first <= length && length < first + (1 << LENGTH_EXTRA[code]),
                "{length}"
            );
        }
        assert_eq!(length_code(LENGTH_MAX), 28);
        for distance in 1..=DISTANCE_MAX {
            let code = distance_code(distance);
            let first = usize::from(DISTANCE_BASE[code]);
            assert!(
                first <= distance && distance < first + (1 << DISTANCE_EXTRA[code]),
                "{distance}"
            );
        }
    }

    #[test]
    fn a_token_gives_back_what_it_was_made_of() {
        assert_eq!(Token::literal(7).byte(), 7);
        assert_eq!(Token::literal(7).length(), 1);
        assert_eq!(Token::literal(7).index(), 7);
        for (length, distance) in [(3, 1), (258, 32_768), (100, 257)] {
            let token = Token::copy(length, distance);
            assert!(!token.is_literal());
            assert_eq!((token.length(), token.distance()), (length, distance));
            assert_eq!(token.index(), 256 + length - LENGTH_MIN);
        }
    }
}
