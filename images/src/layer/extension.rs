//! What headers before an entry's own say of it: PAX records, and GNU's long names.

use super::error::Reason;
use super::header::text;
use super::sparse::{Extent, Records};
use std::fmt::Write as _;

const XATTR: &[u8] = b"SCHILY.xattr.";
const IN_LIBARCHIVES: &str = "extended attributes in libarchive's own records";

/// Overrides of one entry's header. What is `None` or empty overrides nothing.
#[derive(Default)]
pub(super) struct Extension {
    /// GNU's, which wins over PAX's.
    pub(super) long_name: Option<Vec<u8>>,
    /// GNU's, which wins over PAX's.
    pub(super) long_link: Option<Vec<u8>>,
    pub(super) pax: Pax,
    /// Headers that this was read from.
    pub(super) headers: u32,
}

/// What the last PAX header before an entry says.
#[derive(Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    /// Seconds and nanoseconds, the latter below 10^9 and towards the future.
    pub(super) mtime: Option<(i64, u32)>,
    /// As they come; names are not looked at and may be there twice.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Records,
    /// Keys of attributes that no container runtime takes up.
    pub(super) ignored: Vec<&'static str>,
}

impl Extension {
    pub(super) fn path<'a>(&'a self, of_header: &'a [u8]) -> &'a [u8] {
        let pax = self.pax.sparse.name.as_deref().or(self.long_name.as_deref());
        pax.or(self.pax.path.as_deref()).unwrap_or(of_header)
    }

    pub(super) fn link<'a>(&'a self, of_header: &'a [u8]) -> &'a [u8] {
        let long = self.long_link.as_deref();
        long.or(self.pax.link.as_deref()).unwrap_or(of_header)
    }

    /// Takes up the payload of a GNU long name.
    pub(super) fn long(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(text(bytes))
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
    }
}

impl Pax {
    /// Reads the payload of a PAX header; `most` extents at most.
    pub(super) fn read(bytes: &[u8], most: usize) -> Result<Self, Reason> {
        let mut pax = Self::default();
        for record in records(bytes) {
            let (key, value) = record?;
            pax.take(key, value, most)?;
        }
        if !pax.xattrs.is_empty() {
            // bsdtar writes each attribute in both ways.
            pax.ignored.retain(|what| *what != IN_LIBARCHIVES);
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8], most: usize) -> Result<(), Reason> {
        let named = || Some(value).filter(|value| !value.is_empty()).map(<[u8]>::to_vec);
        match key {
            b"path" => self.path = named(),
            b"linkpath" => self.link = named(),
            b"size" => self.size = integer(value, "a PAX size that is no number")?,
            b"uid" => self.uid = integer(value, "a PAX owner that is no number")?,
            b"gid" => self.gid = integer(value, "a PAX group that is no number")?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.major" => self.sparse.major = integer(value, "a sparse version that is none")?,
            b"GNU.sparse.minor" => self.sparse.minor = integer(value, "a sparse version that is none")?,
            b"GNU.sparse.name" => self.sparse.name = named(),
            b"GNU.sparse.size" => self.sparse.size = integer(value, "a sparse size that is no number")?,
            b"GNU.sparse.realsize" => {
                let size = integer(value, "a sparse size that is no number")?;
                self.sparse.size = self.sparse.size.or(size);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let offset = key == b"GNU.sparse.offset";
                let number = decimal(value).ok_or(Reason::Malformed("a sparse map that is no number"))?;
                self.sparse.push(number, offset, most)?;
            }
            b"GNU.sparse.map" => {
                let mut offset = true;
                for number in value.split(|byte| *byte == b',') {
                    let number =
                        decimal(number).ok_or(Reason::Malformed("a sparse map that is no number"))?;
                    self.sparse.push(number, offset, most)?;
                    offset = !offset;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else {
                    self.ignore(key);
                }
            }
        }
        Ok(())
    }

    fn ignore(&mut self, key: &[u8]) {
        let what = match key {
            _ if key.starts_with(b"LIBARCHIVE.xattr.") => IN_LIBARCHIVES,
            _ if key.starts_with(b"SCHILY.acl.") => "access control lists in records of their own",
            b"RHT.security.selinux" => "an SELinux label in a record of its own",
            _ => return,
        };
        if !self.ignored.contains(&what) {
            self.ignored.push(what);
        }
    }
}

/// The keys of a global header that would change entries if they were heeded, for a message.
pub(super) fn global_keys(bytes: &[u8]) -> Result<String, Reason> {
    let mut keys = String::new();
    for record in records(bytes) {
        let (key, _) = record?;
        if key != b"comment" && keys.len() < 100 {
            let separator = if keys.is_empty() { "" } else { ", " };
            let key = key.get(..key.len().min(40)).unwrap_or_default();
            // Writing into a string does not fail.
            let _infallible = write!(keys, "{separator}{}", String::from_utf8_lossy(key));
        }
    }
    Ok(keys)
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// Records `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record. Values are any bytes.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Reason>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = split_record(bytes);
        bytes = record.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(record.map(|(record, _)| record))
    })
}

fn split_record(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), Reason> {
    let split = || {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let len = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
        let (record, rest) = bytes.split_at_checked(len)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
        (!key.is_empty() && !key.contains(&0)).then_some(((key, value), rest))
    };
    split().ok_or(Reason::Malformed("a PAX record that is none"))
}

/// Decimal digits, at least one and nothing else, up to 2^63 - 1.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    u64::try_from(value).ok()
}

fn integer(value: &[u8], why: &'static str) -> Result<Option<i64>, Reason> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(Reason::Malformed(why))
}

/// Seconds with any number of decimals, cut after nanoseconds.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>, Reason> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value)
        .map(Some)
        .ok_or(Reason::Malformed("a PAX time that is none"))
}

fn parse_time(value: &[u8]) -> Option<(i64, u32)> {
    let dot = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let whole = std::str::from_utf8(value.get(..dot)?).ok()?;
    let seconds: i64 = whole.parse().ok()?;
    let decimals = value.get(dot + 1..).unwrap_or_default();
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0_u32, |value, at| {
        value * 10 + decimals.get(at).map_or(0, |digit| u32::from(digit - b'0'))
    });
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

impl Records {
    fn push(&mut self, number: u64, offset: bool, most: usize) -> Result<(), Reason> {
        match (offset, self.open.take()) {
            (true, None) => self.open = Some(number),
            (false, Some(offset)) if self.map.len() < most => self.map.push(Extent { offset, len: number }),
            (false, Some(_)) => {
                return Err(Reason::too_large(
                    "the number of a sparse file's extents",
                    holdall::units::len64(most),
                ));
            }
            _ => return Err(Reason::Malformed("a sparse map whose numbers are not in pairs")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_by_their_length_and_not_by_newlines() {
        let bytes = b"20 SCHILY.xattr.a=\n\n13 path=b=\xff\n\n8 path=\n10 uid=-7\n";
        let split: Vec<_> = records(bytes).map(Result::unwrap).collect();
        assert_eq!(
            split,
            [
                (&b"SCHILY.xattr.a"[..], &b"\n"[..]),
                (b"path", b"b=\xff\n"),
                (b"path", b""),
                (b"uid", b"-7"),
            ]
        );
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            &b"path=a\n"[..],
            b"11 path=a\n",
            b"9 path=a\n9",
            b"9 path=ab\n",
            b"8 path:a\n",
            b"5 =a\n",
            b"-9 path=a\n",
            b"+9 path=a\n",
            b"0 ",
            b"3 \n",
            b"99999999999999999999 path=a\n",
            b"18446744073709551615 path=a\n",
            b"9 pa\0h=a\n",
            b"9 path=a\n\0\0\0",
        ] {
            assert!(records(bad).any(|record| record.is_err()), "{bad:?}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        for (text, time) in [
            ("1.5", Some((1, 500_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("-3.0", Some((-3, 0))),
            ("7.", Some((7, 0))),
            ("1700000000.1234567899", Some((1_700_000_000, 123_456_789))),
            (".5", None),
            ("1.5e3", None),
            ("1.-5", None),
            ("99999999999999999999", None),
            ("-9223372036854775808.1", None),
        ] {
            assert_eq!(parse_time(text.as_bytes()), time, "{text}");
        }
    }
}
