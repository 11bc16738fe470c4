//! `Range` headers of the unit `bytes`, by RFC 9110 section 14.
//!
//! A header is parsed without knowing the blob's size, then resolved against it. One range per
//! request is served; knows nothing of HTTP answers or of blobs.

/// What a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The bytes from `first` to `last`, both included; `first <= last`.
    FromTo {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte; may lie past the end.
        last: u64,
    },
    /// The bytes from this offset to the end.
    From(u64),
    /// That many bytes at the end.
    Suffix(u64),
    /// More than one range: refused, as each would cost a part of a multipart body.
    Several,
}

/// What is left of a [`Range`] once the size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// All of it; the header has no meaning for this size.
    Whole,
    /// `start..end`, in bytes, never empty and within the size.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Offset after the last byte.
        end: u64,
    },
    /// Nothing of it can be had.
    Unsatisfiable,
}

impl Range {
    /// Parses the value of a `Range` header. `None` for another unit and for what breaks the
    /// grammar: both are to be ignored, as if there were no header.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // The grammar's lists may hold empty elements.
        let mut ranges = set.split(',').map(str::trim).filter(|range| !range.is_empty());
        let only = Self::parse_one(ranges.next()?)?;
        match ranges.next() {
            None => Some(only),
            Some(next) => Self::parse_one(next).map(|_| Self::Several),
        }
    }

    fn parse_one(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", length) => Some(Self::Suffix(digits(length)?)),
            (first, "") => Some(Self::From(digits(first)?)),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                (first <= last).then_some(Self::FromTo { first, last })
            }
        }
    }

    /// What this range is of something of `size` bytes.
    #[must_use]
    pub fn resolve(self, size: u64) -> Resolved {
        let part = |start: u64, end: u64| match start < end {
            true => Resolved::Part { start, end },
            false => Resolved::Unsatisfiable,
        };
        match self {
            Self::FromTo { first, last } => part(first, last.saturating_add(1).min(size)),
            Self::From(first) => part(first, size),
            Self::Suffix(0) | Self::Several => Resolved::Unsatisfiable,
            // Satisfiable by the RFC, but Content-Range cannot say "no bytes".
            Self::Suffix(_) if size == 0 => Resolved::Whole,
            Self::Suffix(length) => part(size.saturating_sub(length), size),
        }
    }
}

/// A number of digits only; past 64 bits it is as good as the largest.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(value: &str, size: u64) -> Resolved {
        Range::parse(value).map_or(Resolved::Whole, |range| range.resolve(size))
    }

    #[test]
    fn first_last_open_and_suffix_ranges_are_cut_to_the_size() {
        for (value, size, start, end) in [
            ("bytes=0-0", 10, 0, 1),
            ("bytes=2-4", 10, 2, 5),
            ("bytes=2-400", 10, 2, 10),
            ("bytes=9-", 10, 9, 10),
            ("bytes=-3", 10, 7, 10),
            ("bytes=-300", 10, 0, 10),
            ("Bytes=0-18446744073709551615", 10, 0, 10),
            ("bytes= 1-2 ,", 10, 1, 3),
        ] {
            assert_eq!(resolve(value, size), Resolved::Part { start, end }, "{value}");
        }
    }

    #[test]
    fn ranges_beyond_the_end_are_unsatisfiable() {
        for (value, size) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=99999999999999999999999-", 10),
        ] {
            assert_eq!(resolve(value, size), Resolved::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn several_ranges_are_unsatisfiable() {
        assert_eq!(resolve("bytes=0-1,3-4", 10), Resolved::Unsatisfiable);
        assert_eq!(resolve("bytes=0-1,-1", 10), Resolved::Unsatisfiable);
    }

    #[test]
    fn what_breaks_the_grammar_or_is_another_unit_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=4-2",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0x1-",
            "lines=0-1",
            "bytes=1--2",
            "bytes=0-1,x",
            "0-1",
        ] {
            assert_eq!(resolve(value, 10), Resolved::Whole, "{value}");
        }
        assert_eq!(resolve("bytes=-5", 0), Resolved::Whole);
    }
}
