//! Text of fixed lines, `key value`: what ROOT, custody records and proofs are written in.

use super::FORMAT;
use crate::error::{Error, Result};
use crate::ids::PageHash;
use std::str::FromStr;

/// Longest label, in bytes.
pub const LABEL_MAX: usize = 255;

/// Validates a label (an origin, a series, a name of a user or host, a note): 1 to 255 bytes, nothing that controls or is not seen, no
/// white space at either end.
pub fn label(text: &str, what: &str, place: &str) -> Result<String> {
    let bad = |c: char| c.is_control() || is_unseen(c);
    if text.is_empty() || text.len() > LABEL_MAX || text.chars().any(bad) || text.trim() != text {
        return Err(Error::malformed(
            place,
            format!(
                "{what} is 1 to 255 bytes of text, without line breaks, outer spaces, or characters that are not seen"
            ),
        ));
    }
    Ok(text.to_owned())
}

/// Characters that are not seen themselves, and by which a text can be made to look like another: those that turn the direction of
/// writing, breaks of lines, and what formats (FORMAT.md 4 lists them, so that they do not change with Unicode's version).
#[must_use]
pub const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text, which is UTF-8, has no byte order mark, and ends its lines with LF alone.
pub fn text<'a>(bytes: &'a [u8], place: &str) -> Result<&'a str> {
    let malformed = |why: &str| Error::malformed(place, why);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(malformed("it begins with a byte order mark"));
    }
    if text.contains('\r') {
        return Err(malformed("it has a carriage return: lines end with LF alone"));
    }
    Ok(text)
}

/// Lines that are read in order.
#[derive(Debug)]
pub struct Lines<'a> {
    rest: Option<&'a str>,
    place: &'a str,
}

impl<'a> Lines<'a> {
    /// The lines of a text.
    #[must_use]
    pub const fn new(text: &'a str, place: &'a str) -> Self {
        Self {
            rest: Some(text),
            place,
        }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.rest.unwrap_or_default()
    }

    /// Where the text is, for messages.
    #[must_use]
    pub const fn place(&self) -> &'a str {
        self.place
    }

    /// A malformation at this text.
    #[must_use]
    pub fn malformed(&self, why: impl Into<String>) -> Error {
        Error::malformed(self.place, why)
    }

    /// The next line, without its end.
    pub fn next_line(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let (line, rest) = match text.split_once('\n') {
            Some((line, rest)) => (line, Some(rest)),
            None => (text, None),
        };
        self.rest = rest;
        Some(line)
    }

    /// The value of the next line, whose key must be this one.
    pub fn value(&mut self, key: &str) -> Result<&'a str> {
        let place = self.place;
        self.next_line()
            .and_then(|line| line.strip_prefix(key))
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| Error::malformed(place, format!("the line '{key}' is not where it should be")))
    }

    /// The first line: what it is, and of which format.
    pub fn format(&mut self, what: &str) -> Result<()> {
        let format = self.value(what)?;
        if format == FORMAT {
            return Ok(());
        }
        Err(Error::Unsupported {
            place: self.place.to_owned(),
            what: format!(
                "format {} (this version reads {FORMAT})",
                format.chars().take(32).collect::<String>().escape_debug()
            ),
        })
    }

    /// The fields of the next line, exactly so many.
    pub fn fields<const N: usize>(&mut self, key: &str) -> Result<[&'a str; N]> {
        let fields: Vec<&str> = self.value(key)?.splitn(N + 1, ' ').collect();
        fields
            .try_into()
            .map_err(|_| self.malformed(format!("the line '{key}' has not {N} fields")))
    }

    /// A number. That it has one form only is seen when the whole is written again.
    pub fn parse<T: FromStr>(&self, text: &str) -> Result<T> {
        text.parse()
            .map_err(|_| self.malformed("a number is out of range or no number"))
    }

    /// The number on the next line.
    pub fn number<T: FromStr>(&mut self, key: &str) -> Result<T> {
        let text = self.value(key)?;
        self.parse(text)
    }

    /// The hash on the next line; `-` is none.
    pub fn hash(&mut self, key: &str) -> Result<Option<PageHash>> {
        match self.value(key)? {
            "-" => Ok(None),
            hex => PageHash::from_hex(hex)
                .map(Some)
                .map_err(|e| self.malformed(e.to_string())),
        }
    }
}
