//! Offsets, lengths and numbers, each its own type, so that plaintext and stored bytes never mix.

use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name($repr);

        impl $name {
            /// Wraps a raw count.
            #[must_use]
            pub const fn new(raw: $repr) -> Self {
                Self(raw)
            }

            /// The raw count.
            #[must_use]
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// Bytes of plaintext: of a blob, or an offset into one.
    PlainLen, u64
);
unit!(
    /// A custody record behind a generation's first, from 1 to 999.
    RecordNumber, u16
);
unit!(
    /// Bytes from a pack's start.
    PackOffset, u32
);
unit!(
    /// A pack's number, from 1; never used twice on one medium.
    PackNumber, u32
);
unit!(
    /// A generation's number, from 1; gaps are left by interrupted commits.
    Generation, u32
);

/// A `u32` as an index; no supported target has a smaller `usize`.
#[must_use]
pub const fn index(n: u32) -> usize {
    n as usize
}

/// A length in memory as a `u64`; no supported target has a larger `usize`.
#[must_use]
pub const fn len64(n: usize) -> u64 {
    n as u64
}

/// A `u64` as a length in memory, saturating where memory is smaller.
#[must_use]
pub fn index64(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length as a `u32`, saturating: for lengths that the caller has bounded below 4 GiB.
#[must_use]
pub fn len32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
