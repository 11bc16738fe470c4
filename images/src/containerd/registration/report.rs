//! What became of each image.

use serde::Serialize;
use std::fmt;

/// What a registration or an unloading came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Each image by its name, in order of name.
    pub images: Vec<ImageReport>,
}

/// What became of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// The image's name, as containerd writes it.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it is not as one would expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The node has it now.
    Registered,
    /// The node had it already, from here or elsewhere; nothing was changed.
    Present,
    /// The node had another image of that name, which is remembered.
    Replaced,
    /// The node has another image of that name, and keeps it.
    Conflict,
    /// It cannot run in place, or not on this node; pulling it through the registry may still work.
    Skipped,
    /// It was tried and did not work.
    Failed,
    /// The node has it no more.
    Removed,
    /// The node has the image again that it had before.
    Restored,
    /// The name was given to something else since, and is left alone.
    Kept,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registered => "registered",
            Self::Present => "present",
            Self::Replaced => "replaced",
            Self::Conflict => "conflict",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Removed => "removed",
            Self::Restored => "restored",
            Self::Kept => "kept",
        })
    }
}

/// A report that is told as it grows.
pub(super) struct Telling<'a> {
    told: super::Told<'a>,
    report: Report,
}

impl<'a> Telling<'a> {
    pub(super) fn new(told: super::Told<'a>) -> Self {
        Self {
            told,
            report: Report::default(),
        }
    }

    pub(super) fn add(&mut self, name: &str, outcome: Outcome, why: Option<String>) {
        self.report.add(name, outcome, why);
        self.report.images.last().into_iter().for_each(self.told);
    }

    pub(super) fn into_report(self) -> Report {
        self.report.sorted()
    }
}

impl Report {
    pub(super) fn add(&mut self, name: &str, outcome: Outcome, why: Option<String>) {
        self.images.push(ImageReport {
            name: name.to_owned(),
            outcome,
            why,
        });
    }

    pub(super) fn sorted(mut self) -> Self {
        self.images.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// How many images came to that.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.images
            .iter()
            .filter(|image| image.outcome == outcome)
            .count()
    }

    /// True where every image of the disk is there to be run, or was never meant to be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.count(Outcome::Failed) == 0 && self.count(Outcome::Conflict) == 0
    }
}
