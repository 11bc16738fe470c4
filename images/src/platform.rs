//! Platforms: which of an index's children are wanted.

use crate::manifest::DescriptorPlatform;
use crate::{Error, Result};
use std::fmt;

/// A platform that is asked for: `os/architecture[/variant]`, as `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// The operating system, as Go names it.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Parses `os/architecture[/variant]`. Architectures are Go's; `x86_64` and `aarch64` are understood too.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => {
                return Err(Error::refused(format!(
                    "not a platform: {text:?}; it is os/architecture[/variant], as linux/amd64"
                )));
            }
        };
        if !parts.iter().all(is_word) {
            return Err(Error::refused(format!(
                "not a platform: {text:?}; it is os/architecture[/variant], as linux/amd64"
            )));
        }
        Ok(Self {
            os: os.to_lowercase(),
            architecture: canonical_architecture(&architecture.to_lowercase()).to_owned(),
            variant: variant.map(|variant| variant.to_lowercase()),
        })
    }

    /// The platform of the machine that this runs on, any variant.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => canonical_architecture(other),
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// The same, as an index or a config says it of an image.
    #[must_use]
    pub fn described(&self) -> DescriptorPlatform {
        DescriptorPlatform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    /// True where an image for `platform` is one of those asked for. Without a variant every variant is; where an
    /// image says none, it is the usual one of its architecture (arm: v7, arm64: v8).
    #[must_use]
    pub fn matches(&self, platform: &DescriptorPlatform) -> bool {
        let architecture = canonical_architecture(&platform.architecture);
        let usual = match architecture {
            "arm" => "v7",
            "arm64" => "v8",
            _ => "",
        };
        let theirs = platform
            .variant
            .as_deref()
            .filter(|variant| !variant.is_empty())
            .unwrap_or(usual);
        self.os == platform.os
            && self.architecture == architecture
            && self.variant.as_deref().is_none_or(|variant| variant == theirs)
    }
}

fn canonical_architecture(text: &str) -> &str {
    match text {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" | "x86" => "386",
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl fmt::Display for DescriptorPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .filter(|variant| !variant.is_empty())
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A list of platforms, for messages.
pub(crate) fn list<T: fmt::Display>(platforms: &[T]) -> String {
    if platforms.is_empty() {
        return "nothing that says its platform".to_owned();
    }
    let mut texts: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    texts.dedup();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(os: &str, architecture: &str, variant: Option<&str>) -> DescriptorPlatform {
        DescriptorPlatform {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
        }
    }

    #[test]
    fn a_variant_counts_only_where_it_is_asked_for() {
        for (wanted, there, matches) in [
            ("linux/amd64", platform("linux", "amd64", None), true),
            ("linux/x86_64", platform("linux", "amd64", Some("v3")), true),
            ("linux/arm64", platform("linux", "arm64", Some("v8")), true),
            ("linux/arm64/v8", platform("linux", "arm64", None), true),
            ("linux/arm/v7", platform("linux", "arm", Some("v6")), false),
            ("linux/arm/v7", platform("linux", "arm", Some("")), true),
            ("linux/amd64", platform("windows", "amd64", None), false),
            ("linux/amd64", platform("unknown", "unknown", None), false),
        ] {
            assert_eq!(
                Platform::parse(wanted).unwrap().matches(&there),
                matches,
                "{wanted} {there}"
            );
        }
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
