//! The levels 1 to 3: positions by the hash of five bytes.

use super::found::{MARGIN, Match};
use super::sink::{Course, Sink};
use super::table::{
    BITS, PAIR_BITS, Pair, REACH, Tables, WIDE_BITS, before, common, eight, four, hash5, last, near, push,
};

/// How far level 3 looks back at most.
const CLOSE: u32 = REACH - 4;

/// Level 1, and 2 where `WIDE`: searches `bytes` from `start` on; `low` is where its memory begins.
pub(super) fn single<S: Sink, const BITS: u32, const WIDE: bool>(
    tables: &mut Tables,
    bytes: &[u8],
    start: usize,
    low: usize,
    sink: &mut S,
) {
    let base = tables.base();
    let table = &mut tables.single;
    let limit = bytes.len() - MARGIN;
    let position = |at: usize| base.wrapping_add(at as u32);
    let mut emitted = start;
    // Where the literals begin that no match was found for.
    let mut run = start;
    let mut at = start;
    // Whether the next position is the second of a pair.
    let mut second = false;
    'tokens: while at < limit {
        let mut next_at = at;
        let mut now = eight(bytes, at);
        let mut distance;
        loop {
            let mut hash = hash5::<BITS>(now);
            let mut next = now;
            if !second {
                if WIDE {
                    at = next_at;
                }
                distance = position(at).wrapping_sub(table[hash]);
                next_at = at + 2 + (at.wrapping_sub(run) >> 5);
                if next_at > limit {
                    break 'tokens;
                }
                next = eight(bytes, next_at);
                table[hash] = position(at);
                hash = hash5::<BITS>(next);
                if near(distance) && four(bytes, at - distance as usize) == now as u32 {
                    table[hash] = position(next_at);
                    second = true;
                    break;
                }
                // The next one right away.
                now = next;
                at = next_at;
            }
            second = false;
            next_at = at + 1;
            distance = position(at).wrapping_sub(table[hash]);
            table[hash] = position(at);
            if near(distance) && four(bytes, at - distance as usize) == now as u32 {
                if !WIDE {
                    table[hash] = position(next_at);
                }
                break;
            }
            now = next >> 8;
            if !WIDE {
                at = next_at;
            }
        }
        loop {
            let earlier = at - distance as usize;
            let mut found = Match {
                at,
                earlier,
                length: 4 + common(bytes, earlier + 4, at + 4, S::LONGEST),
            };
            found.back(bytes, emitted, low);
            let course = sink
                .literals(bytes, emitted, found.at)
                .or_else(|| sink.copy(found.length, found.at - found.earlier));
            at = found.at + found.length;
            match course {
                None => {}
                Some(Course::Over) => return,
                Some(Course::Literal(end)) => {
                    // As though it had been searched in vain.
                    (emitted, at) = (end, next_at.max(end));
                    continue 'tokens;
                }
                Some(Course::Copy(end, length)) => {
                    (at, found.length, next_at) = (end, length, end - length + 1);
                }
            }
            second = false;
            (emitted, run) = (at, at);
            if next_at >= at {
                at = next_at + 1;
            }
            if at >= limit {
                if at + found.length + 8 < bytes.len() {
                    table[hash5::<BITS>(eight(bytes, at))] = position(at);
                }
                break 'tokens;
            }
            if WIDE {
                let mut enter = at - found.length + 2;
                while enter + 5 < at {
                    let word = eight(bytes, enter);
                    for more in [0, 2, 4] {
                        table[hash5::<BITS>(word >> (8 * more))] = position(enter + more);
                    }
                    enter += 7;
                }
            }
            let word = eight(bytes, at - 2);
            table[hash5::<BITS>(word)] = position(at - 2);
            if WIDE {
                table[hash5::<BITS>(word >> 8)] = position(at - 1);
            }
            let hash = hash5::<BITS>(word >> 16);
            distance = position(at).wrapping_sub(table[hash]);
            table[hash] = position(at);
            // As far back as a copy reaches, here. If there is a match, the next position is that behind it.
            if distance.wrapping_sub(1) >= REACH || four(bytes, at - distance as usize) != (word >> 16) as u32
            {
                at += 1;
                break;
            }
        }
    }
    sink.rest(bytes, emitted);
}

/// Level 1.
pub(super) fn first<S: Sink>(tables: &mut Tables, bytes: &[u8], start: usize, low: usize, sink: &mut S) {
    single::<S, BITS, false>(tables, bytes, start, low, sink);
}

/// Level 2.
pub(super) fn second<S: Sink>(tables: &mut Tables, bytes: &[u8], start: usize, low: usize, sink: &mut S) {
    single::<S, WIDE_BITS, true>(tables, bytes, start, low, sink);
}

/// Whether a position that lies `distance` back is within what level 3 looks at.
#[inline]
fn close(distance: u32, most: u32) -> bool {
    distance.wrapping_sub(1) < most
}

/// Level 3.
pub(super) fn third<S: Sink>(tables: &mut Tables, bytes: &[u8], start: usize, low: usize, sink: &mut S) {
    let base = tables.base();
    let table: &mut [Pair; 1 << PAIR_BITS] = &mut tables.pairs;
    let limit = bytes.len() - MARGIN;
    let position = |at: usize| base.wrapping_add(at as u32);
    let mut emitted = start;
    let mut run = start;
    let mut at = start;
    'tokens: while at < limit {
        let mut next_at = at;
        let mut now = eight(bytes, at);
        let mut distance;
        loop {
            let slot = &mut table[hash5::<PAIR_BITS>(now)];
            at = next_at;
            next_at = at + 1 + (at.wrapping_sub(run) >> 7);
            if next_at > limit {
                break 'tokens;
            }
            let candidates = *slot;
            push(slot, position(at));
            let wanted = now as u32;
            now = eight(bytes, next_at);
            distance = position(at).wrapping_sub(last(candidates));
            if !close(distance, CLOSE) {
                continue;
            }
            let other = position(at).wrapping_sub(before(candidates));
            if four(bytes, at - distance as usize) == wanted {
                if close(other, CLOSE) && four(bytes, at - other as usize) == wanted {
                    let length =
                        |distance: u32| common(bytes, at - distance as usize + 4, at + 4, S::LONGEST);
                    if length(other) > length(distance) {
                        distance = other;
                    }
                }
                break;
            }
            if close(other, CLOSE - 1) && four(bytes, at - other as usize) == wanted {
                distance = other;
                break;
            }
        }
        loop {
            let earlier = at - distance as usize;
            let mut found = Match {
                at,
                earlier,
                length: 4 + common(bytes, earlier + 4, at + 4, S::LONGEST),
            };
            found.back(bytes, emitted, low);
            let course = sink
                .literals(bytes, emitted, found.at)
                .or_else(|| sink.copy(found.length, found.at - found.earlier));
            at = found.at + found.length;
            match course {
                None => {}
                Some(Course::Over) => return,
                Some(Course::Literal(end)) => {
                    // As though it had been searched in vain.
                    (emitted, at) = (end, next_at.max(end));
                    continue 'tokens;
                }
                Some(Course::Copy(end, length)) => {
                    (at, found.length, next_at) = (end, length, end - length + 1);
                }
            }
            (emitted, run) = (at, at);
            if next_at >= at {
                at = next_at + 1;
            }
            if at >= limit {
                // Where the match was found ends, not where it stands.
                let enter = found.earlier + found.length;
                if enter + 8 < bytes.len() {
                    push(
                        &mut table[hash5::<PAIR_BITS>(eight(bytes, enter))],
                        position(enter),
                    );
                }
                break 'tokens;
            }
            let mut enter = at - found.length + 2;
            while enter + 5 < at {
                push(
                    &mut table[hash5::<PAIR_BITS>(eight(bytes, enter))],
                    position(enter),
                );
                enter += 6;
            }
            let word = eight(bytes, at - 2);
            push(&mut table[hash5::<PAIR_BITS>(word)], position(at - 2));
            push(&mut table[hash5::<PAIR_BITS>(word >> 8)], position(at - 1));
            let slot = &mut table[hash5::<PAIR_BITS>(word >> 16)];
            let candidates = *slot;
            push(slot, position(at));
            let wanted = (word >> 16) as u32;
            let fits =
                |distance: u32| close(distance, CLOSE - 1) && four(bytes, at - distance as usize) == wanted;
            distance = position(at).wrapping_sub(last(candidates));
            if fits(distance) {
                continue;
            }
            if close(distance, CLOSE - 1) {
                distance = position(at).wrapping_sub(before(candidates));
                if fits(distance) {
                    continue;
                }
            }
            at += 1;
            break;
        }
    }
    sink.rest(bytes, emitted);
}
