//! Allowed signers: OpenSSH's own file (ssh-keygen(1), ALLOWED SIGNERS), so that one list serves it and us.

use crate::error::{Error, Result};
use crate::signature::NAMESPACE;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};

/// A key, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigner {
    /// Who may sign with it: `alice@example.org`, or patterns with `*` and `?`.
    pub principals: Vec<String>,
    /// What it may sign; anything where none is named.
    pub namespaces: Vec<String>,
    /// From when it counts: seconds since 1970.
    pub valid_after: Option<i64>,
    /// Until when, likewise.
    pub valid_before: Option<i64>,
    /// The key.
    pub key: KeyData,
}

impl AllowedSigner {
    /// Reads a whole file; `place` names it in errors, with the line.
    pub fn parse_all(text: &str, place: &str) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{place}, line {number}");
            all.push(Self::parse(line).map_err(|why| Error::refused(format!("{place}: {why}")))?);
        }
        Ok(all)
    }

    /// Names, then perhaps options (one word, separated by commas), then the key and perhaps a comment.
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let (names, rest) = first(line, char::is_whitespace)?;
        let principals = list(&unquoted(names));
        if principals.is_empty() {
            return Err("nobody is named".to_owned());
        }
        let mut signer = Self {
            principals,
            namespaces: Vec::new(),
            valid_after: None,
            valid_before: None,
            key: KeyData::Ed25519(Ed25519PublicKey([0; 32])),
        };
        let rest = rest.trim_start();
        let key = match PublicKey::from_openssh(rest) {
            Ok(key) => key,
            Err(_) => {
                let (options, key) = first(rest, char::is_whitespace)?;
                signer.take_options(options)?;
                PublicKey::from_openssh(key.trim_start()).map_err(|e| format!("not a public key: {e}"))?
            }
        };
        signer.key = key.key_data().clone();
        Ok(signer)
    }

    fn take_options(&mut self, options: &str) -> std::result::Result<(), String> {
        let mut rest = options;
        while !rest.is_empty() {
            let (option, behind) = first(rest, |c| c == ',')?;
            rest = behind.get(1..).unwrap_or_default();
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = unquoted(value);
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => self.namespaces = list(&value),
                "valid-after" => self.valid_after = Some(time(&value)?),
                "valid-before" => self.valid_before = Some(time(&value)?),
                "cert-authority" => {
                    return Err(
                        "certificates of an authority are not supported: name the keys themselves".to_owned(),
                    );
                }
                _ => return Err(format!("neither a public key nor an option: {option:?}")),
            }
        }
        match (self.valid_after, self.valid_before) {
            (Some(after), Some(before)) if before <= after => {
                Err("valid-before is not later than valid-after".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The first name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.principals.first().map_or("", String::as_str)
    }

    /// Whether it may sign ROOTs at all.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|pattern| matches(pattern, NAMESPACE))
    }
}

/// What stands before the first such character outside quotes, and what stands from it on.
fn first(text: &str, ends: impl Fn(char) -> bool) -> std::result::Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if !quoted && ends(c) => return Ok(text.split_at_checked(at).unwrap_or((text, ""))),
            _ => {}
        }
    }
    if quoted {
        Err("a quote is not closed".to_owned())
    } else {
        Ok((text, ""))
    }
}

fn unquoted(text: &str) -> String {
    text.replace('"', "")
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in the node's time zone unless a `Z` follows.
fn time(text: &str) -> std::result::Result<i64, String> {
    let bad = || format!("not a time as YYYYMMDD[HHMM[SS]][Z]: {text:?}");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(bad()),
    };
    if !full.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", &full).map_err(|_| bad())?;
    let time = time.to_zoned(zone).map_err(|_| bad())?;
    Ok(time.timestamp().as_second())
}

/// Whether a pattern of OpenSSH's, with `*` and `?`, matches.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(c) if Some(c) == text.get(t) => (p, t) = (p + 1, t + 1),
            _ => match star {
                // The last star takes one more.
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == b'*')
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
             carol valid-after=20260101Z,valid-before=\"20270101Z\" {KEY}\ndave namespaces=git {KEY}\n"
        );
        let all = AllowedSigner::parse_all(&text, "f").unwrap();
        assert_eq!(all[0].principals, ["alice@example.org", "*@ops.example.org"]);
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
            &format!("alice valid-after=2026 {KEY}"),
            &format!("\"alice {KEY}"),
        ] {
            let error = AllowedSigner::parse_all(bad, "f").unwrap_err().to_string();
            assert!(error.starts_with("f, line 1: "), "{error}");
        }
    }

    #[test]
    fn patterns_match_as_openssh_s_do() {
        for (pattern, text, expected) in [
            ("*@example.org", "alice@example.org", true),
            ("al?ce@*", "alice@example.org", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("alice", "alice2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
