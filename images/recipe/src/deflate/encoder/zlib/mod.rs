//! zlib's deflate at levels 1 to 9, and its kin.
//!
//! Every position's three bytes go into chains of the same hash. At each position the chain is followed for a number of
//! tries, and the first longest match is taken; at levels 4 to 9 only if the next position has no longer one. The window
//! slides by 32 KiB when its last 262 bytes are reached. A block ends after a number of tokens.

mod buckets;
mod chains;
mod run;
mod trees;
mod window;

use super::Model;
use crate::deflate::guide::Guide;
use crate::deflate::segment::Input;
use buckets::Buckets;
use chains::Chains;
use run::{Gzip, Pieces, Run, Zlib};
use window::Window;

/// What a level sets.
#[derive(Debug, Clone, Copy)]
struct Effort {
    level: u8,
    /// Where the match before is that long, a quarter of the tries is made.
    good: usize,
    /// Levels 4 to 9: a match of that length is not given up for a longer one at the next position. Below: within longer
    /// matches than that, positions are not entered.
    lazy: usize,
    /// A match of that length ends the search.
    nice: usize,
    /// Tries.
    chain: usize,
}

impl Effort {
    /// Whether a match waits for a longer one.
    const fn lazily(&self) -> bool {
        self.level > 3
    }
}

const fn effort(level: u8) -> Effort {
    let (good, lazy, nice, chain) = match level {
        1 => (4, 4, 8, 4),
        2 => (4, 5, 16, 8),
        3 => (4, 6, 32, 32),
        4 => (4, 4, 16, 16),
        5 => (8, 16, 32, 32),
        7 => (8, 32, 128, 256),
        8 => (32, 128, 258, 1024),
        9 => (32, 258, 258, 4096),
        _ => (8, 16, 128, 128),
    };
    Effort {
        level,
        good,
        lazy,
        nice,
        chain,
    }
}

/// The level that a name says.
pub(super) fn level(digit: &str) -> Option<u8> {
    digit
        .parse()
        .ok()
        .filter(|level| (1..=9).contains(level) && digit.len() == 1)
}

/// The models' memory.
#[derive(Debug, Default)]
pub struct Family {
    window: Window,
    /// Levels 1 to 3.
    chains: Chains,
    /// Levels 4 to 9.
    buckets: Buckets,
}

/// An encoder of the family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member {
    Zlib,
    Gzip,
    Pigz(Pigz),
}

/// How pigz cuts its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pigz {
    /// Bytes that are compressed at once, in KiB: 32 at least (`-b`).
    pub block: u32,
    /// Whether nothing of what is before a block is known to it (`-i`).
    pub independent: bool,
}

impl Pigz {
    /// As it cuts when it is told nothing.
    pub const DEFAULT: Self = Self {
        block: 128,
        independent: false,
    };
    /// With `-i`.
    pub const INDEPENDENT: Self = Self {
        independent: true,
        ..Self::DEFAULT
    };

    /// The level, and how input is cut, that a name says: `pigz:6`, `pigz-i:6`, `pigz:6:512`.
    pub(super) fn parse(name: &str) -> Option<(u8, Self)> {
        let (rest, independent) = match name.strip_prefix("pigz-i:") {
            Some(rest) => (rest, true),
            None => (name.strip_prefix("pigz:")?, false),
        };
        let (digit, block) = match rest.split_once(':') {
            Some((digit, block)) => (digit, block.parse().ok()?),
            None => (rest, Self::DEFAULT.block),
        };
        let (level, pigz) = (level(digit)?, Self { block, independent });
        // There is one name for each.
        ((32..=1 << 20).contains(&block) && pigz.name(level) == name).then_some((level, pigz))
    }

    pub(super) fn name(self, level: u8) -> String {
        let independent = if self.independent { "-i" } else { "" };
        let block = if self.block == Self::DEFAULT.block {
            String::new()
        } else {
            format!(":{}", self.block)
        };
        format!("pigz{independent}:{level}{block}")
    }
}

/// One of the family at one level (1 to 9).
pub(super) struct At<'m>(pub(super) &'m mut Family, pub(super) Member, pub(super) u8);

impl Model for At<'_> {
    fn segment<G: Guide>(&mut self, input: &Input<'_>, guide: &mut G) {
        let (family, effort) = (&mut *self.0, effort(self.2));
        match self.1 {
            Member::Zlib => Run::<Zlib>::new(family, effort, input, None).segment(guide),
            Member::Gzip => Run::<Gzip>::new(family, effort, input, None).segment(guide),
            Member::Pigz(Pigz { block, independent }) => {
                let pieces = Pieces {
                    length: u64::from(block.max(32)) << 10,
                    primed: !independent,
                };
                Run::<Zlib>::new(family, effort, input, Some(pieces)).segment(guide);
            }
        }
    }
}
