//! What a verification checked, one thing a line, and how it came out; what it did not check is said as well.

use super::report::Mode;
use crate::believe::Judged;
use crate::output::{bytes, plural};
use holdall::units::len64;
use holdall::verify::{self, Part};
use holdall_images::audit::Audit;
use holdall_images::cosign::ImageSigned;
use holdall_images::derivation::Derivation;
use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it was checked, and nothing is damaged.
    Whole,
    /// A part of it was checked, and nothing is damaged there.
    InPart,
    Damaged,
    /// Nothing is damaged, and it is not to be believed.
    Refused,
    NotChecked,
}

impl Outcome {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::InPart => "sample whole",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::NotChecked => "not checked",
        }
    }

    const fn of(damages: bool) -> Self {
        if damages { Self::Damaged } else { Self::Whole }
    }
}

/// One thing that was checked, or was not.
#[derive(Debug, Serialize)]
pub struct Check {
    pub what: &'static str,
    pub outcome: Outcome,
    pub detail: String,
}

/// What was checked, in order, and how it came out.
pub fn all(report: &verify::Report, audit: &Audit, derivation: &Derivation, mode: Mode) -> Vec<Check> {
    let damaged = |part| report.damages.iter().any(|damage| damage.part == part);
    let full = mode == Mode::Full;
    let only_full = |damaged: bool| match mode {
        Mode::Full => Outcome::of(damaged),
        Mode::Stored | Mode::Sample => Outcome::NotChecked,
    };
    let not_full = "only verify --full does".to_owned();
    let packs = Outcome::of(damaged(Part::Packs));
    let frames = match &report.sampled {
        None => format!(
            "{} in {}, {}: BLAKE3 of what is stored",
            plural(report.frames, "frame"),
            plural(report.packs, "pack"),
            bytes(report.stored_bytes)
        ),
        Some(sampled) => format!(
            "{} of {}, {}, drawn by seed {}; the tables of all {}",
            sampled.drawn,
            plural(sampled.frames, "frame"),
            bytes(sampled.drawn_bytes),
            sampled.seed,
            plural(report.packs, "pack")
        ),
    };
    let sampled = match packs {
        Outcome::Whole => Outcome::InPart,
        other => other,
    };
    let decoded = match mode {
        Mode::Full => packs,
        Mode::Sample => sampled,
        Mode::Stored => Outcome::NotChecked,
    };
    let resolves = if mode == Mode::Sample {
        "; of frames that were not drawn, not whether they have what they should"
    } else {
        ", and the frames they lead to"
    };
    vec![
        Check {
            what: "Superblock, ROOT, custody and pack set",
            outcome: Outcome::of(damaged(Part::Roots)),
            detail: format!(
                "both slots, the ROOTs that they name, {} of custody back to the first, the packs that ROOT commits to",
                plural(len64(report.custody.len()), "record")
            ),
        },
        Check {
            what: "Packs as they are stored",
            outcome: if mode == Mode::Sample { sampled } else { packs },
            detail: frames,
        },
        Check {
            what: "Frames decoded",
            outcome: decoded,
            detail: match mode {
                Mode::Full => "BLAKE3 of every chunk".to_owned(),
                Mode::Sample => "BLAKE3 of every chunk of those that were drawn".to_owned(),
                Mode::Stored => not_full.clone(),
            },
        },
        Check {
            what: "Catalogue, lists and trees",
            outcome: Outcome::of(damaged(Part::Catalogue)),
            detail: format!(
                "{} and {}: every list and reference{resolves}",
                plural(report.leaves, "entry").replace("entrys", "entries"),
                plural(report.files, "loose file"),
            ),
        },
        Check {
            what: "Blobs' and files' own digests",
            outcome: only_full(damaged(Part::Catalogue)),
            detail: if full {
                "SHA-256 and BLAKE3 of all their bytes".to_owned()
            } else {
                not_full.clone()
            },
        },
        Check {
            what: "Trees derived from the layers again",
            outcome: only_full(!derivation.wrong.is_empty()),
            detail: if full {
                format!(
                    "{} and {}",
                    plural(derivation.layers, "layer"),
                    plural(derivation.chains, "chain")
                )
            } else {
                not_full
            },
        },
        Check {
            what: "Images complete",
            outcome: Outcome::of(!audit.is_whole() || !audit.touched.is_empty()),
            detail: "all that manifests refer to is on the disk, or was left out on purpose".to_owned(),
        },
    ]
}

/// Whether this node believes the disk.
pub fn trust(judged: Option<&Judged>) -> Check {
    let (outcome, detail) = match judged {
        None => (
            Outcome::NotChecked,
            "the catalogue, pack set or custody is not what ROOT says".to_owned(),
        ),
        Some(judged) => (
            match (&judged.policy, &judged.verdict.refusal) {
                (_, Some(_)) => Outcome::Refused,
                (Some(_), None) => Outcome::Whole,
                (None, None) => Outcome::NotChecked,
            },
            judged.summary(),
        ),
    };
    Check {
        what: "Signatures, by this node's policy",
        outcome,
        detail,
    }
}

/// Whether the images are signed, where that was asked.
pub fn images(judged: &[ImageSigned]) -> Check {
    let unsigned = crate::signatures::unsigned(judged).count();
    Check {
        what: "Images' signatures",
        outcome: if unsigned > 0 {
            Outcome::Refused
        } else {
            Outcome::Whole
        },
        detail: format!(
            "{} of {} signed by the keys given",
            judged.len() - unsigned,
            plural(len64(judged.len()), "image")
        ),
    }
}
