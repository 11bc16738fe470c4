//! Level 4: the last position by the hash of four bytes, and by that of seven.

use super::found::{MARGIN, Match};
use super::sink::{Course, Sink};
use super::table::{BITS, Tables, common, eight, four, hash4, hash7, near};

/// Searches `bytes` from `start` on; `low` is where its memory begins. `origin` is where the encoder's buffer begins, where
/// that counts: then the length of a match at the next position is taken from a wrong place in that buffer.
pub(super) fn search<S: Sink>(
    tables: &mut Tables,
    bytes: &[u8],
    start: usize,
    low: usize,
    origin: Option<isize>,
    sink: &mut S,
) {
    let base = tables.base();
    let (short, rest) = tables.single.split_at_mut(1 << BITS);
    let Some(short) = short.first_chunk_mut::<{ 1 << BITS }>() else {
        return;
    };
    let Some(long) = rest.first_chunk_mut::<{ 1 << BITS }>() else {
        return;
    };
    let limit = bytes.len() - MARGIN;
    let position = |at: usize| base.wrapping_add(at as u32);
    let mut emitted = start;
    // Where the literals begin that no match was found for.
    let mut run = start;
    let mut at = start;
    'tokens: while at < limit {
        let mut next_at = at;
        let mut now = eight(bytes, at);
        let mut found;
        loop {
            let (hash_short, hash_long) = (hash4(now), hash7(now));
            at = next_at;
            next_at = at + 1 + (at.wrapping_sub(run) >> 6);
            if next_at > limit {
                break 'tokens;
            }
            let here = position(at);
            let from_short = here.wrapping_sub(std::mem::replace(&mut short[hash_short], here));
            let from_long = here.wrapping_sub(std::mem::replace(&mut long[hash_long], here));
            let next = eight(bytes, next_at);
            let fits = |distance: u32| near(distance) && four(bytes, at - distance as usize) == now as u32;
            if fits(from_long) {
                found = (at, from_long as usize);
                break;
            }
            if fits(from_short) {
                found = (at, from_short as usize);
                let distance = position(next_at).wrapping_sub(long[hash7(next)]);
                if near(distance) && four(bytes, next_at - distance as usize) == next as u32 {
                    let earlier = match origin {
                        None => Some(next_at - distance as usize),
                        Some(origin) => usize::try_from(origin + distance as isize)
                            .ok()
                            .filter(|earlier| *earlier < next_at),
                    };
                    // What lies before the bytes is like nothing.
                    let length = |earlier: usize, at: usize| common(bytes, earlier + 4, at + 4, S::LONGEST);
                    if earlier.is_some_and(|earlier| {
                        length(earlier, next_at) > length(at - from_short as usize, at)
                    }) {
                        found = (next_at, distance as usize);
                    }
                }
                break;
            }
            now = next;
        }
        let (from, distance) = found;
        let mut found = Match {
            at: from,
            earlier: from - distance,
            length: 4 + common(bytes, from - distance + 4, from + 4, S::LONGEST),
        };
        found.back(bytes, emitted, low);
        let course = sink
            .literals(bytes, emitted, found.at)
            .or_else(|| sink.copy(found.length, distance));
        at = found.at + found.length;
        match course {
            None => {}
            Some(Course::Over) => return,
            Some(Course::Literal(end)) => {
                // As though it had been searched in vain.
                (emitted, at) = (end, next_at.max(end));
                continue;
            }
            Some(Course::Copy(end, length)) => {
                (at, next_at) = (end, end - length + 1);
            }
        }
        (emitted, run) = (at, at);
        if next_at >= at {
            at = next_at + 1;
        }
        if at >= limit {
            if at + 8 < bytes.len() {
                let word = eight(bytes, at);
                short[hash4(word)] = position(at);
                long[hash7(word)] = position(at);
            }
            break;
        }
        let mut enter = next_at;
        while enter + 1 < at {
            let word = eight(bytes, enter);
            long[hash7(word)] = position(enter);
            long[hash7(word >> 8)] = position(enter + 1);
            short[hash4(word >> 8)] = position(enter + 1);
            enter += 3;
        }
        let word = eight(bytes, at - 1);
        short[hash4(word)] = position(at - 1);
        long[hash7(word)] = position(at - 1);
    }
    sink.rest(bytes, emitted);
}
