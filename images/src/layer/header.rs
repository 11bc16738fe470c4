//! One tar header: 512 bytes and the fields in them, in the layouts of V7, ustar, star and GNU.

use super::error::Reason;
use super::stream::BLOCK;
use tar::{GnuHeader, Header};

/// The fields of a header, as they stand there; no extension is applied.
pub(super) struct Fields<'a> {
    pub(super) kind: u8,
    /// What goes before the name, with a slash between; empty for none.
    pub(super) prefix: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) mtime: i64,
    pub(super) major: i64,
    pub(super) minor: i64,
    /// Where the header is of GNU's layout, whose sparse fields others do not have.
    pub(super) gnu: Option<&'a GnuHeader>,
}

impl<'a> Fields<'a> {
    pub(super) fn read(block: &'a [u8; BLOCK]) -> Result<Self, Reason> {
        let header = Header::from_byte_slice(block);
        let old = header.as_old();
        let claimed = octal(&old.cksum).ok_or(Reason::Checksum)?;
        if !sums(block).contains(&claimed) {
            return Err(Reason::Checksum);
        }
        let mut fields = Self {
            kind: old.linkflag[0],
            prefix: b"",
            name: text(&old.name),
            link: text(&old.linkname),
            mode: number(&old.mode, "a mode that is no number")?,
            uid: number(&old.uid, "an owner that is no number")?,
            gid: number(&old.gid, "a group that is no number")?,
            size: number(&old.size, "a size that is no number")?,
            mtime: number(&old.mtime, "a time that is no number")?,
            major: 0,
            minor: 0,
            gnu: header.as_gnu(),
        };
        let (major, minor) = match (header.as_ustar(), fields.gnu) {
            (Some(ustar), _) => {
                // star marks its headers at the very end, and has two times in the prefix's last bytes.
                let len = if ustar.pad.ends_with(b"tar\0") { 131 } else { 155 };
                fields.prefix = text(ustar.prefix.get(..len).unwrap_or_default());
                (&ustar.dev_major, &ustar.dev_minor)
            }
            (None, Some(gnu)) => {
                fields.prefix = mistaken_prefix(block, gnu);
                (&gnu.dev_major, &gnu.dev_minor)
            }
            (None, None) => return Ok(fields),
        };
        fields.major = number(major, "a device number that is none")?;
        fields.minor = number(minor, "a device number that is none")?;
        Ok(fields)
    }
}

/// Go's tar writer, and so Docker, once wrote ustar prefixes into headers that it marked as GNU's, over
/// the fields of times: where those hold no numbers but ASCII, they are a prefix.
fn mistaken_prefix<'a>(block: &'a [u8; BLOCK], gnu: &GnuHeader) -> &'a [u8] {
    if [&gnu.atime, &gnu.ctime]
        .iter()
        .all(|field| read_number(&field[..]).is_some())
    {
        return b"";
    }
    let prefix = text(block.get(345..500).unwrap_or_default());
    if prefix.is_ascii() { prefix } else { b"" }
}

/// The sum of a header's bytes with its own field as spaces: as the standard has it, and as some old
/// programs did, with signed bytes.
fn sums(block: &[u8; BLOCK]) -> [i64; 2] {
    let (mut unsigned, mut high) = (0_u32, 0_u32);
    for byte in block {
        unsigned += u32::from(*byte);
        high += u32::from(*byte >> 7);
    }
    for byte in block.get(148..156).unwrap_or_default() {
        unsigned -= u32::from(*byte);
        high -= u32::from(*byte >> 7);
    }
    let unsigned = i64::from(unsigned) + 8 * 32;
    [unsigned, unsigned - 256 * i64::from(high)]
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn number(field: &[u8], why: &'static str) -> Result<i64, Reason> {
    read_number(field).ok_or(Reason::Malformed(why))
}

/// A number in octal digits, or in GNU's and star's base 256, which has the first bit set.
pub(super) fn read_number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // The first bit is the mark, the second the sign; twelve bytes never overflow.
    let sign = if first & 0x40 == 0 { 0 } else { -64 };
    let start = sign + i128::from(first & 0x3f);
    let value = rest
        .iter()
        .take(14)
        .fold(start, |value, byte| value << 8 | i128::from(*byte));
    i64::try_from(value).ok()
}

/// Octal digits between spaces and NULs; none are 0.
fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte));
    let Some(digits) = start.and_then(|start| field.get(start..)) else {
        return Some(0);
    };
    let mut value = 0_i64;
    let mut digits = text(digits);
    while let [rest @ .., b' '] = digits {
        digits = rest;
    }
    for digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_octal_and_in_base_256_of_either_sign() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0000648\0", None),
            (b"-0000644", None),
            (b"12 34567", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x01", Some(1)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(read_number(field), value, "{field:?}");
        }
    }
}
