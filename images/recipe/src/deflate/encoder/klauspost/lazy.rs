//! The levels 7 to 9: every position is entered into chains, and a match is given up for a longer one at the next position,
//! or for one that is found by where it ends.

use super::block::code;
use super::table::{common, four};
use super::{Setting, Version};
use crate::deflate::token::{DISTANCE_EXTRA, LENGTH_EXTRA, LENGTH_MAX, Token, distance_code, length_code};

const HASH_BITS: u32 = 17;
const WINDOW: usize = 32 << 10;
/// Shortest match.
const MATCH_MIN: usize = 4;
/// Bytes that a position must have behind it before more input is waited for.
const AHEAD: usize = MATCH_MIN + LENGTH_MAX;
/// Where a match is compared anew behind its start, to find one that ends later.
const SKIP: usize = 2;
/// Tokens of a chunk.
pub(super) const CHUNK: usize = 1 << 15;

/// What a level sets.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// A match of that length is not given up for a longer one at the next position.
    lazy: usize,
    /// A match of that length ends the search.
    nice: usize,
    /// Tries.
    chain: usize,
    /// Whether a match is judged by the bits that it saves.
    weighs: bool,
}

const fn effort(level: u8) -> Effort {
    let (lazy, nice, chain) = match level {
        7 => (12, 16, 24),
        8 => (30, 40, 64),
        _ => (258, 258, 1024),
    };
    Effort {
        lazy,
        nice,
        chain,
        weighs: chain > 100,
    }
}

/// Positions by the hash of their four bytes, each with the one before it. A number is added to them that grows, so that
/// nothing has to be cleared.
#[derive(Debug)]
pub(super) struct Chains {
    head: Box<[u32; 1 << HASH_BITS]>,
    before: Box<[u32; WINDOW]>,
    base: u32,
    above: u32,
    /// Where the next position to be entered lies.
    entered: usize,
    /// Places that may still be compared in the segment.
    tries: usize,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            head: super::table::boxed(),
            before: super::table::boxed(),
            base: 1,
            above: 1,
            entered: 0,
            tries: 0,
        }
    }
}

#[inline]
fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

impl Chains {
    /// Begins a segment.
    pub(super) fn allow(&mut self, tries: usize) {
        self.tries = tries;
    }

    /// Forgets all positions, and enters those from `from` up to `at`, but the last of the dictionary that ends at
    /// `dictionary`.
    pub(super) fn begin(&mut self, bytes: &[u8], from: usize, at: usize, dictionary: isize) {
        let ends = |at: usize| (1..MATCH_MIN as isize).contains(&(dictionary - at as isize));
        if u64::from(self.above) + bytes.len() as u64 >= u64::from(u32::MAX) {
            self.head.fill(0);
            self.before.fill(0);
            self.above = 1;
        }
        self.base = self.above;
        self.above += bytes.len() as u32;
        self.entered = from.max(at.saturating_sub(WINDOW));
        while self.entered < at && self.entered + MATCH_MIN <= bytes.len() {
            if ends(self.entered) {
                self.entered += 1;
            } else {
                self.enter(bytes, self.entered);
            }
        }
        self.entered = at;
    }

    /// Enters a position, if it was not; the last before it of the same hash.
    #[inline]
    fn enter(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        if at < self.entered {
            return self.entered(bytes, at);
        }
        let head = &mut self.head[hash(four(bytes, at))];
        let last = *head;
        self.before[at & (WINDOW - 1)] = last;
        *head = self.base + at as u32;
        self.entered = at + 1;
        last.checked_sub(self.base).map(|last| last as usize)
    }

    /// The last position of the same hash before one that was entered.
    #[cold]
    fn entered(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let mut last = self.head[hash(four(bytes, at))];
        while last >= self.base + at as u32 {
            last = self.before[(last - self.base) as usize & (WINDOW - 1)];
        }
        last.checked_sub(self.base).map(|last| last as usize)
    }

    /// The last position of the hash that `at` has.
    #[inline]
    fn last(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let last = self.head[hash(four(bytes, at))];
        last.checked_sub(self.base).map(|last| last as usize)
    }
}

/// What becomes of a token that the search finds.
pub(super) enum Fate {
    /// The stream has it.
    Taken,
    /// The stream has another, which ends there.
    Other(usize),
    /// Nothing more is wanted.
    Over,
}

/// Takes the tokens that the search finds.
pub(super) trait Taker {
    /// The next token; the encoder's window began at `window` when it was found, and was its `last` or not.
    fn take(&mut self, token: Token, window: isize, last: bool) -> Fate;

    /// Whether no more is wanted for now.
    fn full(&self) -> bool;
}

#[derive(Debug, Clone, Copy, Default)]
struct Found {
    length: usize,
    distance: usize,
}

const NONE: Found = Found {
    length: MATCH_MIN - 1,
    distance: 0,
};

/// What matches at one position save.
struct Weight {
    /// The bits of the bytes from there on, as literals, as far as they were wanted.
    bits: [u16; LENGTH_MAX + 1],
    counted: usize,
    /// The most that was saved, and what is taken off.
    gain: i32,
    off: i32,
}

impl Weight {
    fn new(search: &Search) -> Self {
        let (gain, off) = if search.setting.version == Version::V1_15 {
            (0, 6)
        } else {
            (4, 3)
        };
        Self {
            bits: [0; LENGTH_MAX + 1],
            counted: 0,
            gain,
            off,
        }
    }

    /// Whether this match saves more than those before it.
    fn gains(&mut self, search: &Search, bytes: &[u8], length: usize, distance: usize) -> bool {
        while self.counted < length {
            let cost = search.cost(bytes[search.at + self.counted]);
            self.bits[self.counted + 1] = self.bits[self.counted] + u16::from(cost);
            self.counted += 1;
        }
        // The encoder takes the distance for one more, and so the longest for a much shorter one.
        let code = if distance == WINDOW {
            14
        } else {
            distance_code(distance + 1)
        };
        let extra = DISTANCE_EXTRA[code] + LENGTH_EXTRA[length_code(length)];
        let gain = i32::from(self.bits[length]) - i32::from(extra) - self.off;
        let gains = gain > self.gain;
        if gains {
            self.gain = gain;
        }
        gains
    }
}

/// Where a search stands. Positions are in the input's bytes.
#[derive(Clone)]
pub(super) struct Search {
    setting: Setting,
    effort: Effort,
    pub(super) at: usize,
    /// Whether the position before is still without a token, and the match that it has.
    pending: bool,
    found: Found,
    /// Literals since the last match, modulo 65,536.
    literals: u16,
    /// Where the window starts; it may lie before the bytes. Where it ends, and where all does.
    window: isize,
    end: usize,
    all: usize,
    /// Bits of each byte as a literal.
    costs: [u8; 256],
}

impl Search {
    /// A search that stands at `at`, of an encoder that began at `origin` and whose input ends at `all`.
    pub(super) fn new(setting: Setting, bytes: &[u8], origin: isize, at: usize, all: usize) -> Self {
        let mut search = Self {
            setting,
            effort: effort(setting.level),
            at,
            pending: false,
            found: NONE,
            literals: 0,
            window: origin,
            end: 0,
            all,
            costs: [0; 256],
        };
        let beyond = (at + AHEAD) as isize - (origin + 2 * WINDOW as isize);
        if beyond > 0 {
            search.window += (beyond + WINDOW as isize - 1) / WINDOW as isize * WINDOW as isize;
            if search.window + WINDOW as isize >= all as isize {
                search.window -= WINDOW as isize;
            }
        }
        search.end = search.window_end();
        if search.effort.weighs {
            // About where the encoder stood when it was given this window.
            let from = if search.window == origin {
                at
            } else {
                (search.window + WINDOW as isize - AHEAD as isize + 1).clamp(0, at as isize) as usize
            };
            search.weigh(bytes, from);
        }
        search
    }

    /// Where the window starts.
    pub(super) fn window(&self) -> isize {
        self.window
    }

    fn window_end(&self) -> usize {
        usize::try_from(self.window + 2 * WINDOW as isize).map_or(0, |end| end.min(self.all))
    }

    fn is_last(&self) -> bool {
        self.end == self.all
    }

    /// Whether the encoder waits for more input here.
    #[inline]
    fn waits(&self) -> bool {
        self.at + AHEAD > self.end && self.end < self.all
    }

    /// What literals cost in the window, from `from` on.
    fn weigh(&mut self, bytes: &[u8], from: usize) {
        let to = match self.setting.version {
            Version::V1_15 | Version::V1_17 => self.end,
            _ => self.end.min(from + CHUNK),
        };
        // What lies too far ahead is taken to be like what is at hand.
        let known = to.min(bytes.len());
        let from = if known < to {
            from.min(known.saturating_sub(CHUNK))
        } else {
            from
        };
        let mut counts = [0u32; 256];
        for byte in &bytes[from.min(known)..known] {
            counts[usize::from(*byte)] += 1;
        }
        // The encoder counts in 16 bits.
        for count in &mut counts {
            *count &= 0xffff;
        }
        code(self.setting.version, &counts, 15, &mut self.costs);
    }

    /// Goes on from `at`, where the stream stands.
    pub(super) fn restart(&mut self, bytes: &[u8], at: usize) {
        (self.at, self.pending, self.found, self.literals) = (at, false, NONE, 0);
        self.wait(bytes);
    }

    /// Takes more input where the encoder waits for it.
    #[inline]
    fn wait(&mut self, bytes: &[u8]) {
        while self.waits() {
            self.window += WINDOW as isize;
            self.end = self.window_end();
            if self.effort.weighs {
                self.weigh(bytes, self.at);
            }
        }
    }

    /// The first longest match, or where matches are weighed, the last that saves more than those before it.
    #[inline]
    fn search<const WEIGHS: bool>(
        &self,
        chains: &mut Chains,
        bytes: &[u8],
        first: usize,
        lowest: usize,
    ) -> Found {
        let at = self.at;
        let most = LENGTH_MAX.min(bytes.len() - at);
        let nice = self.effort.nice.min(most);
        let mut best = NONE;
        let base = chains.base;
        let lowest = base + lowest as u32;
        let mut candidate = base + first as u32;
        let mut weight = Weight::new(self);
        let mut end = four(bytes, at);
        let mut tries = 0;
        while tries < self.effort.chain {
            tries += 1;
            let earlier = (candidate - base) as usize;
            if four(bytes, earlier + best.length - 3) == end {
                let length = common(bytes, earlier, at, most);
                if length > best.length && (!WEIGHS || weight.gains(self, bytes, length, at - earlier)) {
                    best = Found {
                        length,
                        distance: at - earlier,
                    };
                    if length >= nice {
                        break;
                    }
                    end = four(bytes, at + length - 3);
                }
            }
            let before = chains.before[earlier & (WINDOW - 1)];
            // Only what was entered earlier is behind.
            if candidate <= lowest || before < lowest || before >= candidate {
                break;
            }
            candidate = before;
        }
        chains.tries = chains.tries.saturating_sub(tries);
        best
    }

    fn cost(&self, byte: u8) -> u8 {
        let cost = self.costs[usize::from(byte)];
        if self.setting.version == Version::Go1_27 {
            cost.max(1)
        } else {
            cost
        }
    }

    /// The match at the position before that is found by where the one it has ends. It may begin one or two bytes later.
    fn by_end(&self, chains: &Chains, bytes: &[u8], lowest: usize) -> Option<(usize, Found)> {
        let Found { length, distance } = self.found;
        let start = self.at - 1;
        let end = self.end.min(bytes.len());
        let insert_end = end.saturating_sub(MATCH_MIN - 1);
        if self.setting.version == Version::V1_15 {
            if start + length + SKIP >= insert_end {
                return None;
            }
            let back = length - (4 - SKIP);
            let earlier = chains.last(bytes, start + back)?.checked_sub(back)?;
            // The last of that hash may lie ahead.
            if earlier <= lowest || earlier >= start {
                return None;
            }
            let most = LENGTH_MAX.min(end - self.at);
            let longer = common(bytes, earlier, start, most);
            return (longer > length).then_some((
                0,
                Found {
                    length: longer,
                    distance: start - earlier,
                },
            ));
        }
        if length >= LENGTH_MAX - SKIP || start + length >= insert_end {
            return None;
        }
        let earlier = chains.last(bytes, start + length)?.checked_sub(length)?;
        if earlier >= start || start - earlier == distance || earlier <= lowest + SKIP {
            return None;
        }
        let most = (LENGTH_MAX + SKIP).min(end - self.at).saturating_sub(SKIP);
        let mut longer = common(bytes, earlier + SKIP, start + SKIP, most);
        if longer <= length {
            return None;
        }
        let distance = start - earlier;
        let mut late = SKIP;
        while late > 0 && longer < LENGTH_MAX && bytes[start + late - 1] == bytes[earlier + late - 1] {
            late -= 1;
            longer += 1;
        }
        Some((
            late,
            Found {
                length: longer,
                distance,
            },
        ))
    }

    /// Searches until no more is wanted; false where there is no more to search.
    pub(super) fn run<T: Taker>(&mut self, chains: &mut Chains, bytes: &[u8], taker: &mut T) -> bool {
        'search: while !taker.full() {
            macro_rules! take {
                ($token:expr) => {
                    match taker.take($token, self.window, self.is_last()) {
                        Fate::Taken => {}
                        Fate::Other(at) => {
                            self.restart(bytes, at);
                            continue 'search;
                        }
                        Fate::Over => return false,
                    }
                };
            }
            self.wait(bytes);
            let end = self.end.min(bytes.len());
            let left = end.saturating_sub(self.at);
            let insert_end = end.saturating_sub(MATCH_MIN - 1);
            if left == 0 {
                if self.pending {
                    self.pending = false;
                    take!(Token::literal(bytes[self.at - 1]));
                }
                return false;
            }
            let last = if self.at < insert_end {
                chains.enter(bytes, self.at)
            } else {
                None
            };
            let before = std::mem::replace(&mut self.found, NONE);
            let window = usize::try_from(self.window).unwrap_or(0);
            let lowest = self.at.saturating_sub(WINDOW).max(window);
            if let Some(last) = last.filter(|last| *last >= lowest)
                && left > before.length
                && before.length < self.effort.lazy
                && chains.tries > 0
            {
                let bytes = &bytes[..end];
                self.found = if self.effort.weighs {
                    self.search::<true>(chains, bytes, last, lowest)
                } else {
                    self.search::<false>(chains, bytes, last, lowest)
                };
            }
            if before.length >= MATCH_MIN && self.found.length <= before.length {
                self.found = before;
                let (late, found) = self.by_end(chains, bytes, lowest).unwrap_or((0, before));
                let start = self.at - 1;
                self.found = NONE;
                for byte in start..start + late {
                    take!(Token::literal(bytes[byte]));
                }
                take!(Token::copy(found.length, found.distance));
                let behind = start + late + found.length;
                for at in self.at + 1..behind.min(insert_end) {
                    chains.enter(bytes, at);
                }
                (self.at, self.pending, self.literals) = (behind, false, 0);
                continue;
            }
            if self.found.length >= MATCH_MIN {
                self.literals = 0;
            }
            if !self.pending {
                self.at += 1;
                self.pending = true;
                continue;
            }
            self.literals = self.literals.wrapping_add(1);
            take!(Token::literal(bytes[self.at - 1]));
            self.at += 1;
            if let Some(more) = usize::from(self.literals)
                .checked_sub(self.effort.chain)
                .filter(|more| *more > 0)
            {
                for _ in 0..=more >> 6 {
                    if self.at + 1 >= end {
                        break;
                    }
                    take!(Token::literal(bytes[self.at - 1]));
                    if self.at < insert_end {
                        chains.enter(bytes, self.at);
                    }
                    self.at += 1;
                }
                take!(Token::literal(bytes[self.at - 1]));
                self.pending = false;
            }
        }
        true
    }
}
