//! The table of hard links of a layer's or chain's tree (FORMAT.md 10.1): the file `links` beside its `rootfs`.

use super::codec::Encoder;
use crate::error::{Error, Result};
use crate::units::{index64, len64};

/// Name of the table's file in a tree's top directory.
pub const LINKS: &str = "links";
/// Name of the directory in a tree's top directory that a container sees as `/`.
pub const ROOTFS: &str = "rootfs";
/// Most groups, and most names in all of them, of one tree.
pub const LINKS_MAX: u64 = 1 << 24;

/// The table's bytes: the number of groups, the prefix sums of their names, and for each group the
/// positions of its names, ascending. `groups` stand for the numbers 1, 2, …; one may be empty.
#[must_use]
pub fn encode(groups: &[Vec<u64>]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u64(len64(groups.len()));
    let mut end = 0;
    for group in groups {
        end += len64(group.len());
        out.u64(end);
    }
    for position in groups.iter().flatten() {
        out.u64(*position);
    }
    out.finish()
}

/// Where the number of a group's first name begins in the array of positions, and where it ends; read
/// from the table's bytes at [`bounds_at`], 16 of them.
pub fn bounds(bytes: &[u8], group: u64, place: &str) -> Result<(u64, u64)> {
    let (begin, end) = match group {
        1 => (0, number(bytes, 8)?),
        _ => (number(bytes, 0)?, number(bytes, 8)?),
    };
    if begin >= end || end > LINKS_MAX {
        return Err(Error::malformed(
            place,
            format!("group {group} of the hard links has no names, or too many"),
        ));
    }
    Ok((begin, end))
}

/// Offset of the two numbers that bound group `group` (from 1): for the first, of the count and its end.
#[must_use]
pub const fn bounds_at(group: u64) -> u64 {
    (group - 1) * 8
}

/// Offset of the `nth` position in a table of so many groups.
#[must_use]
pub const fn position_at(groups: u64, nth: u64) -> u64 {
    8 + groups * 8 + nth * 8
}

/// The number at that offset of a few bytes read.
pub fn number(bytes: &[u8], at: usize) -> Result<u64> {
    let found = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    found
        .map(u64::from_le_bytes)
        .ok_or_else(|| Error::malformed("the table of hard links", "it is cut short"))
}

/// Reads a whole table.
pub fn decode(bytes: &[u8], place: &str) -> Result<Vec<Vec<u64>>> {
    let malformed = |why: &str| Error::malformed(place, why);
    let count = number(bytes, 0)?;
    if count > LINKS_MAX || len64(bytes.len()) < position_at(count, 0) {
        return Err(malformed("the table of hard links is cut short, or too long"));
    }
    let mut groups = Vec::with_capacity(index64(count));
    let mut begin = 0;
    for group in 1..=count {
        let end = number(bytes, index64(8 * group))?;
        if end < begin || end > LINKS_MAX || len64(bytes.len()) < position_at(count, end) {
            return Err(malformed("the groups of hard links are out of order"));
        }
        let mut names = Vec::with_capacity(index64(end - begin));
        for nth in begin..end {
            let position = number(bytes, index64(position_at(count, nth)))?;
            if names.last().is_some_and(|last| *last >= position) {
                return Err(malformed("the names of a hard link are out of order"));
            }
            names.push(position);
        }
        begin = end;
        groups.push(names);
    }
    if len64(bytes.len()) != position_at(count, begin) {
        return Err(malformed("the table of hard links has bytes left over"));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_whole_and_by_group() {
        let groups = vec![vec![3, 9, 12], vec![], vec![4, 5]];
        let bytes = encode(&groups);
        assert_eq!(decode(&bytes, "here").unwrap(), groups);
        let at = |group| bounds(&bytes[index64(bounds_at(group))..], group, "here");
        assert_eq!(at(1).unwrap(), (0, 3));
        assert!(at(2).is_err(), "an empty group has no names");
        assert_eq!(at(3).unwrap(), (3, 5));
        assert_eq!(number(&bytes, index64(position_at(3, 3))).unwrap(), 4);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], "here").is_err(), "{cut}");
        }
        assert!(decode(&[bytes.as_slice(), &[0; 8]].concat(), "here").is_err());
        assert!(decode(&u64::MAX.to_le_bytes(), "here").is_err());
    }
}
