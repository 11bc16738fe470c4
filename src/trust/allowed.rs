//! Allowed signers: OpenSSH's own file (ssh-keygen(1), ALLOWED SIGNERS), so that one list serves it and us. A line counts here where it
//! counts for OpenSSH 9.2. One that OpenSSH passes over, since it cannot read it, is refused, so that somebody looks at it.

use super::pattern::PatternList;
use crate::error::{Error, Result};
use crate::signature::NAMESPACE;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Dst, TimeZone};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// A key, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigner {
    /// Who may sign with it: `alice@example.org`, or patterns.
    pub principals: PatternList,
    /// What it may sign; anything where it does not say.
    pub namespaces: Option<PatternList>,
    /// From when it counts: seconds since 1970.
    pub valid_after: Option<i64>,
    /// Up to when, likewise.
    pub valid_before: Option<i64>,
    /// The key.
    pub key: KeyData,
}

/// What stands between the names and the key.
#[derive(Debug, Default)]
struct Options {
    namespaces: Option<PatternList>,
    valid_after: Option<i64>,
    valid_before: Option<i64>,
}

/// What cannot be read, and why.
type Parsed<T> = std::result::Result<T, String>;

impl AllowedSigner {
    /// Reads a whole file; `place` names it in errors, with the line.
    pub fn parse_all(text: &str, place: &str) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start_matches(is_blank);
            if line.trim_end_matches('\r').is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{place}, line {number}");
            all.push(Self::parse(line).map_err(|why| Error::refused(format!("{place}: {why}")))?);
        }
        Ok(all)
    }

    /// Names, then perhaps options (one word, separated by commas), then the key and perhaps a comment.
    fn parse(line: &str) -> Parsed<Self> {
        if line.contains('\0') {
            return Err("it has a NUL".to_owned());
        }
        let (names, rest) = names(line)?;
        let principals = PatternList::parse(&names);
        if principals.iter().next().is_none() {
            return Err("nobody is named".to_owned());
        }
        let (options, key) = match key(rest) {
            Ok(key) => (Options::default(), key),
            Err(_) => {
                let (options, behind) = past_options(rest)?;
                let key = key(behind.trim_start_matches(is_blank))?;
                (Options::parse(options)?, key)
            }
        };
        Ok(Self {
            principals,
            namespaces: options.namespaces,
            valid_after: options.valid_after,
            valid_before: options.valid_before,
            key,
        })
    }

    /// The first name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        let own = self.principals.names().next().map(str::to_owned);
        own.unwrap_or_else(|| self.principals.to_string())
    }

    /// Whether it is anybody's: a line may say only whose it is not.
    #[must_use]
    pub fn is_somebody_s(&self) -> bool {
        self.principals.names().next().is_some()
    }

    /// Whether it may sign ROOTs at all.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|list| list.matches(NAMESPACE))
    }
}

impl Options {
    /// Reads options from left to right, with names in any case and values in quotes. An empty one says nothing, but the last is not empty.
    fn parse(text: &str) -> Parsed<Self> {
        let mut options = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            rest = options.take(rest)?;
            if rest.is_empty() {
                break;
            }
            rest = rest
                .strip_prefix(',')
                .ok_or_else(|| format!("neither a public key nor an option: {rest:?}"))?;
            if rest.is_empty() {
                return Err("the options end with a comma".to_owned());
            }
        }
        match (options.valid_after, options.valid_before) {
            (Some(after), Some(before)) if before <= after => {
                Err("valid-before is not later than valid-after".to_owned())
            }
            _ => Ok(options),
        }
    }

    /// Reads one option; what stands behind it, which is the whole where it is none that is known.
    fn take<'a>(&mut self, text: &'a str) -> Parsed<&'a str> {
        if after_name(text, "cert-authority").is_some() {
            return Err(
                "certificates of an authority are not supported: name the keys themselves".to_owned(),
            );
        }
        if let Some(value) = after_name(text, "namespaces=") {
            let (value, rest) = quoted(value)?;
            once("namespaces", &mut self.namespaces, PatternList::parse(&value))?;
            return Ok(rest);
        }
        for (name, time) in [
            ("valid-after=", &mut self.valid_after),
            ("valid-before=", &mut self.valid_before),
        ] {
            if let Some(value) = after_name(text, name) {
                let (value, rest) = quoted(value)?;
                once(name, time, seconds(&value, &TimeZone::system())?)?;
                return Ok(rest);
            }
        }
        Ok(text)
    }
}

fn once<T>(name: &str, into: &mut Option<T>, value: T) -> Parsed<()> {
    match into.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{} is given twice", name.trim_end_matches('='))),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The first word of a line, which may be in quotes, and what follows the blanks behind it.
fn names(line: &str) -> Parsed<(String, &str)> {
    let is_space = |c| matches!(c, ' ' | '\t' | '\r');
    let end = line.find(|c| is_space(c) || c == '"').ok_or("it has no key")?;
    let (word, rest) = line.split_at_checked(end).ok_or("it has no key")?;
    match rest.strip_prefix('"') {
        None => Ok((word.to_owned(), rest.trim_start_matches(is_space))),
        Some(rest) => {
            let (inside, rest) = rest.split_once('"').ok_or("a quote is not closed")?;
            Ok((format!("{word}{inside}"), rest.trim_start_matches(is_space)))
        }
    }
}

/// The key at the start of a text; behind it may stand a comment.
fn key(text: &str) -> Parsed<KeyData> {
    let (kind, rest) = text.split_once(is_blank).ok_or("a public key is missing")?;
    let rest = rest.trim_start_matches(is_blank);
    let bytes = rest.split(is_blank).next().unwrap_or(rest);
    PublicKey::from_openssh(&format!("{kind} {}", bytes.trim_end_matches('\r')))
        .map(|key| key.key_data().clone())
        .map_err(|e| format!("not a public key: {e}"))
}

/// The options at the start of a text, up to the first blank outside quotes, and what stands from there on.
fn past_options(text: &str) -> Parsed<(&str, &str)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if !was_escaped => is_escaped = text.get(at + 1..).is_some_and(|rest| rest.starts_with('"')),
            c if is_blank(c) && !is_quoted => {
                return text
                    .split_at_checked(at)
                    .ok_or_else(|| "it has no key".to_owned());
            }
            _ => {}
        }
    }
    Err(if is_quoted {
        "a quote is not closed"
    } else {
        "a public key is missing"
    }
    .to_owned())
}

/// What stands behind a name, which is in any case.
fn after_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

/// A value in quotes, in which `\"` is a quote, and what stands behind it.
fn quoted(text: &str) -> Parsed<(String, &str)> {
    let mut rest = text
        .strip_prefix('"')
        .ok_or("an option's value is not in quotes")?;
    let mut value = String::new();
    loop {
        let end = rest.find('"').ok_or("a quote is not closed")?;
        let (piece, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = behind.strip_prefix('"').unwrap_or_default();
        match piece.strip_suffix('\\') {
            Some(piece) => {
                value += piece;
                value.push('"');
            }
            None => {
                value += piece;
                return Ok((value, rest));
            }
        }
    }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in the node's time zone unless `Z` or `UTC` follows: seconds since 1970, and not before.
fn seconds(text: &str, zone: &TimeZone) -> Parsed<i64> {
    let bad = || format!("not a time as YYYYMMDD[HHMM[SS]][Z]: {text:?}");
    let utc = |suffix: &str| {
        let (digits, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
        end.eq_ignore_ascii_case(suffix).then_some(digits)
    };
    let (digits, zone) = match utc("Z").or_else(|| utc("UTC")) {
        Some(digits) => (digits, &TimeZone::UTC),
        None => (text, zone),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", format!("{digits:0<14}")).map_err(|_| bad())?;
    let local = time.to_zoned(zone.clone()).map_err(|_| bad())?.timestamp();
    let at = if zone.to_offset_info(local).dst() == Dst::Yes {
        standard(time, local, zone).unwrap_or(local)
    } else {
        local
    };
    Some(at.as_second()).filter(|at| *at > 0).ok_or_else(bad)
}

/// The same time by the clocks of the winter before: OpenSSH's mktime is told that it is winter all year.
fn standard(time: DateTime, local: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let winter = zone
        .preceding(local)
        .find(|transition| transition.dst() == Dst::No)?;
    winter.offset().to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDO0VQD9TIdICZLWFWwtf7s8/aENve8twGTEmNV0myh5";

    #[test]
    fn lines_are_read_as_openssh_reads_them() {
        let text = format!(
            "# who may\n\nalice@example.org,*@ops.example.org {KEY} comment of hers\n\
             \"bob smith\" namespaces=\"holdall-root@v1,git\" {KEY}\n\
             carol valid-after=\"20260101Z\",VALID-before=\"20270101utc\"  {KEY}\r\ndave namespaces=\"git\" {KEY}\n"
        );
        let all = AllowedSigner::parse_all(&text, "f").unwrap();
        assert_eq!(
            all[0].principals.iter().collect::<Vec<_>>(),
            ["alice@example.org", "*@ops.example.org"]
        );
        assert_eq!(all[1].name(), "bob smith");
        assert!(all[1].may_sign() && !all[3].may_sign());
        assert_eq!(
            (all[2].valid_after, all[2].valid_before),
            (Some(1_767_225_600), Some(1_798_761_600))
        );
        for bad in [
            "alice",
            &format!("alice cert-authority {KEY}"),
            "alice ssh-ed25519 AAAA",
            &format!("alice valid-after=\"2026\" {KEY}"),
            &format!("\"alice {KEY}"),
            &format!("alice {KEY}\0"),
        ] {
            let error = AllowedSigner::parse_all(bad, "f").unwrap_err().to_string();
            assert!(error.starts_with("f, line 1: "), "{error}");
        }
    }

    #[test]
    fn a_time_without_zone_is_of_the_node_s_winter_clocks() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (text, expected) in [
            ("20260101", 1_767_222_000),
            ("202607010000", 1_782_860_400),
            ("20260701000000Z", 1_782_864_000),
        ] {
            assert_eq!(seconds(text, &berlin), Ok(expected), "{text}");
        }
        for bad in [
            "19700101Z",
            "19691231Z",
            "20261301Z",
            "20260101ZZ",
            "20260101 Z",
            "Z",
            "UTC",
            "",
        ] {
            assert!(seconds(bad, &berlin).is_err(), "{bad}");
        }
    }
}
