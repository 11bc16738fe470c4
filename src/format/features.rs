//! Feature sets (FORMAT.md 4): what a generation makes use of that version 1 has not.

use super::lines::Lines;
use crate::error::{Error, Result};

/// Most features of one set.
const COUNT_MAX: usize = 16;
/// Longest name of a feature, in bytes.
const NAME_MAX: usize = 32;

/// Names of features, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureSet(Vec<String>);

/// What a generation makes use of besides version 1. This version knows no feature, and writes none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// Who does not know all of these cannot read the generation.
    pub incompatible: FeatureSet,
    /// Who does not know all of these can read it, and must not write another after it.
    pub read_only_compatible: FeatureSet,
    /// Who does not know these can do without.
    pub compatible: FeatureSet,
}

impl FeatureSet {
    /// The set of these names: each 1 to 32 of `a` to `z`, `0` to `9` and `-`, a letter or digit at either end; ascending, at most 16. `None` where they are not.
    #[must_use]
    pub fn new(names: &[&str]) -> Option<Self> {
        let outer = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let valid = |name: &&str| {
            let bytes = name.as_bytes();
            bytes.len() <= NAME_MAX
                && bytes.first().is_some_and(outer)
                && bytes.last().is_some_and(outer)
                && bytes.iter().all(|b| outer(b) || *b == b'-')
        };
        let ascend = names.iter().zip(names.iter().skip(1)).all(|(a, b)| a < b);
        (names.len() <= COUNT_MAX && ascend && names.iter().all(valid))
            .then(|| Self(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    fn read(lines: &mut Lines<'_>, key: &str) -> Result<Self> {
        let names: Vec<&str> = match lines.value(key)? {
            "-" => return Ok(Self::default()),
            names => names.split(' ').collect(),
        };
        Self::new(&names).ok_or_else(|| lines.malformed(format!("the line '{key}' has no set of features")))
    }

    fn refuse(&self, place: &str, to: &str) -> Result<()> {
        match self.0.as_slice() {
            [] => Ok(()),
            names => Err(Error::Unsupported {
                place: place.to_owned(),
                what: format!("{} ({to} needs a newer version)", names.join(", ")),
            }),
        }
    }
}

impl std::fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            f.write_str("-")
        } else {
            f.write_str(&self.0.join(" "))
        }
    }
}

impl Features {
    /// The three lines, each ended by LF.
    #[must_use]
    pub fn encode(&self) -> String {
        format!(
            "incompatible {}\nread-only-compatible {}\ncompatible {}\n",
            self.incompatible, self.read_only_compatible, self.compatible
        )
    }

    /// Reads the three lines. Unsupported, by name, is an incompatible feature: nothing behind it can be understood.
    pub(super) fn read(lines: &mut Lines<'_>) -> Result<Self> {
        let incompatible = FeatureSet::read(lines, "incompatible")?;
        incompatible.refuse(lines.place(), "reading it")?;
        Ok(Self {
            incompatible,
            read_only_compatible: FeatureSet::read(lines, "read-only-compatible")?,
            compatible: FeatureSet::read(lines, "compatible")?,
        })
    }

    /// Fails where another generation must not be written after one that has these. `place` names the ROOT.
    pub fn check_writable(&self, place: &str) -> Result<()> {
        self.read_only_compatible
            .refuse(place, "adding to it or sealing it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_names_that_ascend() {
        assert_eq!(FeatureSet::new(&["a-b", "b2"]).unwrap().to_string(), "a-b b2");
        assert_eq!(FeatureSet::new(&[]).unwrap().to_string(), "-");
        let long = "a".repeat(33);
        for bad in [
            &["b", "a"][..],
            &["a", "a"],
            &[""],
            &["-"],
            &["a-"],
            &["A"],
            &["a b"],
            &["é"],
            &[&long],
        ] {
            assert_eq!(FeatureSet::new(bad), None, "{bad:?}");
        }
    }
}
