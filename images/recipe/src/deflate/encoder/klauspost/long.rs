//! The levels 5 and 6: positions by the hash of four bytes and by that of seven, of which the two last are remembered.

use super::found::{MARGIN, Match};
use super::sink::{Course, Sink};
use super::table::{BITS, REACH, Tables, before, common, eight, four, hash4, hash7, last, near, push};

/// Where a match is compared anew, behind its start: the bytes before may differ, and are given up then.
const SKIP: usize = 2;
/// Longest part of a match beyond its first four bytes that is compared at once.
const COMPARED: usize = 254;

/// Level 5, and 6 where `FULL`: searches `bytes` from `start` on; `low` is where its memory begins.
pub(super) fn search<S: Sink, const FULL: bool>(
    tables: &mut Tables,
    bytes: &[u8],
    start: usize,
    low: usize,
    sink: &mut S,
) {
    let base = tables.base();
    let Some(short) = tables.single.first_chunk_mut::<{ 1 << BITS }>() else {
        return;
    };
    let Some(long) = tables.pairs.first_chunk_mut::<{ 1 << BITS }>() else {
        return;
    };
    let patience = if FULL { 7 } else { 6 };
    let limit = bytes.len() - MARGIN;
    let position = |at: usize| base.wrapping_add(at as u32);
    let mut emitted = start;
    // Where the literals begin that no match was found for.
    let mut run = start;
    let mut at = start;
    let mut repeat = 1;
    'tokens: while at < limit {
        let mut next_at = at;
        let mut found;
        let mut now = eight(bytes, at);
        let (mut hash_short, mut hash_long) = (hash4(now), hash7(now));
        // What the tables have for the next position is asked for as soon as can be: they are large.
        let (mut of_short, mut of_long) = (short[hash_short], long[hash_long]);
        loop {
            at = next_at;
            next_at = at + 1 + (at.wrapping_sub(run) >> patience);
            if next_at > limit {
                break 'tokens;
            }
            let here = position(at);
            let (from_short, candidates) = (here.wrapping_sub(of_short), of_long);
            short[hash_short] = here;
            push(&mut of_long, here);
            long[hash_long] = of_long;
            let next = eight(bytes, next_at);
            (hash_short, hash_long) = (hash4(next), hash7(next));
            (of_short, of_long) = (short[hash_short], long[hash_long]);
            let wanted = now as u32;
            let first = here.wrapping_sub(last(candidates));
            if near(first) {
                let second = here.wrapping_sub(before(candidates));
                let second_fits = near(second) && four(bytes, at - second as usize) == wanted;
                if four(bytes, at - first as usize) == wanted {
                    found = Match {
                        at,
                        earlier: at - first as usize,
                        length: 0,
                    };
                    if second_fits {
                        found.length = 4 + common(bytes, found.earlier + 4, at + 4, COMPARED);
                        let other = at - second as usize;
                        let length = 4 + common(bytes, other + 4, at + 4, COMPARED);
                        if length > found.length {
                            (found.earlier, found.length) = (other, length);
                        }
                    }
                    short[hash_short] = position(next_at);
                    push(&mut long[hash_long], position(next_at));
                    break;
                }
                if second_fits {
                    found = Match {
                        at,
                        earlier: at - second as usize,
                        length: 0,
                    };
                    short[hash_short] = position(next_at);
                    push(&mut long[hash_long], position(next_at));
                    break;
                }
            }
            if near(from_short) && four(bytes, at - from_short as usize) == wanted {
                let earlier = at - from_short as usize;
                found = Match {
                    at,
                    earlier,
                    length: 4 + common(bytes, earlier + 4, at + 4, COMPARED),
                };
                let candidates = of_long;
                short[hash_short] = position(next_at);
                push(&mut long[hash_long], position(next_at));
                // A stream that goes another way may have led back to before the match that is repeated.
                if FULL
                    && let Some(again) = (at + 1).checked_sub(repeat)
                    && four(bytes, again) == (now >> 8) as u32
                {
                    let length = 4 + common(bytes, again + 4, at + 5, COMPARED);
                    if length > found.length {
                        found = Match {
                            at: at + 1,
                            earlier: again,
                            length,
                        };
                        break;
                    }
                }
                let first = position(next_at).wrapping_sub(last(candidates));
                if near(first) {
                    let second = position(next_at).wrapping_sub(before(candidates));
                    for distance in [first, second] {
                        if !near(distance) {
                            continue;
                        }
                        let earlier = next_at - distance as usize;
                        if four(bytes, earlier) == next as u32 {
                            let length = 4 + common(bytes, earlier + 4, next_at + 4, COMPARED);
                            if length > found.length {
                                found = Match {
                                    at: next_at,
                                    earlier,
                                    length,
                                };
                                if !FULL {
                                    break;
                                }
                            }
                        }
                    }
                }
                break;
            }
            now = next;
        }
        if found.length == 0 {
            found.length = 4 + common(bytes, found.earlier + 4, found.at + 4, S::LONGEST);
        } else if found.length == 4 + COMPARED {
            found.length += common(
                bytes,
                found.earlier + found.length,
                found.at + found.length,
                S::LONGEST,
            );
        }
        // A match that ends later may be found by what follows.
        let end = found.at + found.length;
        if (FULL || found.length < 30) && end < limit {
            let candidates = long[hash7(eight(bytes, end))];
            let later = found.at + SKIP;
            let first = position(end).wrapping_sub(last(candidates));
            let length = found.length;
            found.replace(bytes, later, first, low, S::LONGEST);
            if FULL && first.wrapping_add(REACH) < 2 * REACH {
                // The place of the second is reckoned from the length that the first gave.
                let grown = (found.length - length) as u32;
                let second = position(end).wrapping_sub(before(candidates));
                found.replace(bytes, later, second.wrapping_add(grown), low, S::LONGEST);
            }
        }
        found.back(bytes, emitted, low);
        let distance = found.at - found.earlier;
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
                (at, found.length, next_at) = (end, length, end - length + 1);
            }
        }
        (emitted, run) = (at, at);
        repeat = distance;
        if next_at >= at {
            at = next_at + 1;
        }
        if FULL {
            if at >= limit {
                let mut enter = next_at + 1;
                while enter + 8 < bytes.len() {
                    let word = eight(bytes, enter);
                    short[hash4(word)] = position(enter);
                    push(&mut long[hash7(word)], position(enter));
                    enter += 2;
                }
                break;
            }
            let mut enter = next_at + 1;
            while enter + 1 < at {
                let word = eight(bytes, enter);
                short[hash4(word)] = position(enter);
                push(&mut long[hash7(word)], position(enter));
                push(&mut long[hash7(word >> 8)], position(enter + 1));
                enter += 2;
            }
        } else {
            if at >= limit {
                break;
            }
            let mut enter = at - found.length + 1;
            if enter + 1 < at {
                let word = eight(bytes, enter);
                short[hash4(word)] = position(enter);
                push(&mut long[hash7(word)], position(enter));
                push(&mut long[hash7(word >> 8)], position(enter + 1));
                short[hash4(word >> 16)] = position(enter + 2);
                enter += 4;
                while enter + 1 < at {
                    let word = eight(bytes, enter);
                    push(&mut long[hash7(word)], position(enter));
                    short[hash4(word >> 8)] = position(enter + 1);
                    enter += 3;
                }
            }
            let word = eight(bytes, at - 1);
            short[hash4(word)] = position(at - 1);
            push(&mut long[hash7(word)], position(at - 1));
        }
    }
    sink.rest(bytes, emitted);
}
