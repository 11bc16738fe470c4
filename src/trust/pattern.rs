//! Lists of patterns as OpenSSH has them (ssh_config(5), PATTERNS).

use std::fmt;

/// Longest pattern; a list has no say from a longer one on.
const LONGEST: usize = 1022;

/// Patterns with `*` and `?`. One with `!` before it denies what it matches, whatever the others say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternList(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    denies: bool,
    text: String,
}

impl PatternList {
    /// Reads a list that commas separate. Any text is one; an empty one matches nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let parts = text.split(',').filter(|part| !part.is_empty());
        Self(
            parts
                .map(|part| match part.strip_prefix('!') {
                    Some(text) => Pattern::new(true, text),
                    None => Pattern::new(false, part),
                })
                .collect(),
        )
    }

    /// Whether a text matches: one pattern at least, and none that denies.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut found = false;
        for pattern in &self.0 {
            if pattern.text.len() > LONGEST {
                return false;
            }
            if matches(&pattern.text, text) {
                if pattern.denies {
                    return false;
                }
                found = true;
            }
        }
        found
    }

    /// Whether a text is denied, which is more than not to match.
    fn denies(&self, text: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| pattern.denies && matches(&pattern.text, text))
    }

    /// As whom a holder of this list may act: its own names and patterns that nothing in it denies.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|pattern| !pattern.denies && self.matches(&pattern.text))
            .map(|pattern| pattern.text.as_str())
    }

    /// Whether one who may act as any of `holder`'s names is meant here: as one at least, and as none who is denied. A name that is written out in
    /// this list counts where a pattern of the holder's covers it.
    #[must_use]
    pub fn takes(&self, holder: &Self) -> bool {
        let denied = holder.names().any(|name| self.denies(name))
            || self
                .0
                .iter()
                .any(|pattern| pattern.denies && holder.matches(&pattern.text));
        !denied
            && (holder.names().any(|name| self.matches(name))
                || self.names().any(|name| holder.matches(name)))
    }

    /// The patterns as they were written.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl Pattern {
    fn new(denies: bool, text: &str) -> Self {
        Self {
            denies,
            text: text.to_owned(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.denies { "!" } else { "" }, self.text)
    }
}

impl fmt::Display for PatternList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(","))
    }
}

/// Whether a pattern with `*` and `?` matches.
fn matches(pattern: &str, text: &str) -> bool {
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

    #[test]
    fn patterns_match_as_openssh_s_do() {
        for (pattern, text, expected) in [
            ("*@example.org", "alice@example.org", true),
            ("al?ce@*", "alice@example.org", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("alice", "alice2", false),
            ("*?", "", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_denies_wins_wherever_it_stands() {
        for (list, text, expected) in [
            ("!alice,*", "alice", false),
            ("*,!alice", "alice", false),
            ("*,!alice", "bob", true),
            ("!alice", "bob", false),
            ("", "alice", false),
            (",", "alice", false),
            ("a,,alice,", "alice", true),
            ("!!alice,*", "alice", true),
        ] {
            assert_eq!(PatternList::parse(list).matches(text), expected, "{list} {text}");
        }
        let long = format!("{},alice", "a".repeat(1_023));
        assert!(!PatternList::parse(&long).matches("alice"));
    }

    #[test]
    fn one_who_may_act_as_somebody_denied_is_not_meant() {
        for (list, holder, expected) in [
            ("*@example.org", "alice@example.org", true),
            ("!alice@example.org,*@example.org", "alice@example.org", false),
            ("!alice@example.org,*@example.org", "bob@example.org", true),
            (
                "!alice@example.org,*@example.org",
                "alice@example.org,bob@example.org",
                false,
            ),
            ("!alice@example.org,*@example.org", "*@example.org", false),
            (
                "!alice@example.org,*@example.org",
                "!alice@example.org,*@example.org",
                true,
            ),
            ("bob@example.org", "*@example.org", true),
            ("bob@example.org", "!bob@example.org,*@example.org", false),
            ("*", "!bob@example.org", false),
            ("*", "bob", true),
            ("", "bob", false),
        ] {
            let takes = PatternList::parse(list).takes(&PatternList::parse(holder));
            assert_eq!(takes, expected, "{list} of {holder}");
        }
    }
}
