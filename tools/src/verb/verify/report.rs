//! The report of a verification: one struct with a section for each thing that was looked at. Text, JSON and HTML are made
//! from it, and say the same.

use super::checks::Check;
use super::contents::Contents;
use crate::believe::Judged;
use crate::output::{bytes, one_line, plural, time};
use holdall::format::custody::Record;
use holdall::format::root::{Root, State};
use holdall::ids::PageHash;
use holdall::units::len64;
use holdall::verify::{self, Sampled};
use holdall_images::audit::Audit;
use holdall_images::cosign::ImageSigned;
use holdall_images::derivation::Derivation;
use serde::Serialize;

/// All that a verification has to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Whose it is.
    #[serde(flatten)]
    pub standing: Standing,
    /// How, when and where it was checked.
    pub run: Run,
    /// What was drawn, and what that proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// What was taken over from a run that was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// What was checked, one thing a line, and how it came out.
    pub checks: Vec<Check>,
    /// What the disk says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// What is on it; only looked up for a report that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Signatures that were checked; none where that was not asked for.
    pub signatures: Vec<SignatureVerdict>,
    /// What this node's policy says; none where that could not be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<serde_json::Value>,
    /// Whether each image is signed; none where that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_signed: Option<serde_json::Value>,
    /// The chain of custody, oldest first.
    pub custody: Vec<CustodyEvent>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub medium: String,
    pub generation: u32,
    pub root: String,
    pub full: bool,
    /// True where everything was checked and nothing is damaged, false where something is; `None` where nothing was found in
    /// a sample, as then the rest is not known.
    pub whole: Option<bool>,
    pub packs: u64,
    pub frames: u64,
    pub stored_bytes: u64,
    pub catalogue_entries: u64,
    pub files: u64,
    pub damages: Vec<String>,
    pub more_damages: u64,
    /// Of the damages that are named, those that are frames of packs: others may follow from them.
    pub damaged_frames: u64,
    pub missing: Vec<Missing>,
    /// Images that damage touches.
    pub images: Vec<Touched>,
    pub damaged_files: Vec<String>,
    pub more_damaged_files: u64,
    pub damaged_trees: Vec<String>,
    pub derived: Derived,
    pub damaged_blobs: Vec<String>,
    pub catalogue_damaged: bool,
    /// Whether something could not be read, as against read and found to be wrong.
    pub unreadable: bool,
    pub warnings: Vec<String>,
}

/// Whose a disk is, by what was asked to vouch for it.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// True where the policy takes it, false where it does not or the disk is damaged; `None` where nothing was asked.
    pub accepted: Option<bool>,
    /// Why it is refused, if it is.
    #[serde(skip)]
    pub refused: Option<String>,
}

/// What is neither on the disk nor left out on purpose.
#[derive(Debug, Serialize)]
pub struct Missing {
    pub digest: String,
    /// A manifest that refers to it.
    pub referrer: String,
}

/// An image that damage touches.
#[derive(Debug, Serialize)]
pub struct Touched {
    pub name: String,
    /// Digests of what of it is damaged or missing.
    pub damaged: Vec<String>,
}

/// Trees that were derived from the layers again.
#[derive(Debug, Serialize)]
pub struct Derived {
    pub layers: u64,
    pub chains: u64,
    pub wrong: Vec<String>,
}

/// How, when and where it was checked.
#[derive(Debug, Serialize)]
pub struct Run {
    pub mode: Mode,
    /// The program's version.
    pub version: &'static str,
    /// The disk's folder, as it was named.
    pub place: String,
    /// Seconds since 1970, UTC.
    pub started: i64,
    pub seconds: f64,
    pub host: String,
    pub user: String,
}

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The stored hash of every frame.
    Stored,
    /// Everything decoded.
    Full,
    /// Some frames, drawn at random.
    Sample,
}

impl Mode {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Stored => "standard: the stored hash of every frame",
            Self::Full => "full: every frame decoded, every blob's, file's and layer's own hash",
            Self::Sample => "sample: frames drawn at random; the rest of the packs was not read",
        }
    }
}

/// What was drawn, and what that proves.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub seed: u64,
    /// Frames drawn, read and decoded.
    pub drawn: u64,
    pub drawn_bytes: u64,
    /// Frames it was drawn from.
    pub frames: u64,
    /// All packs' bytes.
    pub pack_bytes: u64,
    /// Of the drawn frames.
    pub damaged: u64,
    /// With 95 % confidence the disk has fewer damaged frames than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewer_than: Option<u64>,
    /// The same for people.
    pub proves: String,
}

/// What was taken over from a run that was stopped: it was not read in this one.
#[derive(Debug, Serialize)]
pub struct Resumed {
    /// When that run began, and when it last kept what it had checked: seconds since 1970.
    pub begun: i64,
    pub kept: i64,
    pub packs: u64,
    pub pack_bytes: u64,
    /// Blobs and files whose own hashes were compared then.
    pub contents: u64,
    /// Layers' and chains' trees that were derived then.
    pub trees: u64,
}

/// What a disk says of itself.
#[derive(Debug, Serialize)]
pub struct Disk {
    pub medium: String,
    pub origin: String,
    pub series: String,
    pub epoch: u64,
    pub serial: u64,
    pub generation: u32,
    pub state: &'static str,
    /// When it was written: seconds since 1970, UTC.
    pub time: i64,
    pub root: String,
    pub previous: Option<String>,
    /// The ROOT itself: what the root hash is of.
    pub root_text: String,
}

/// What came out of checking a signature.
#[derive(Debug, Serialize)]
pub struct SignatureVerdict {
    pub signer: String,
    pub fingerprint: String,
    pub verdict: String,
}

/// An event of the chain of custody.
#[derive(Debug, Serialize)]
pub struct CustodyEvent {
    /// Seconds since 1970, UTC.
    pub when: i64,
    pub who: String,
    pub host: String,
    pub event: String,
    pub serial: u64,
    pub root: String,
    /// How it was done; `-` where the record says nothing of it.
    pub note: String,
}

impl Report {
    /// In a few words: whether it is damaged, and if not, whether it is believed.
    pub fn headline(&self) -> String {
        let sampled = match self.findings.whole {
            Some(false) => return self.findings.verdict(),
            Some(true) => "",
            None => " in the sample",
        };
        match (&self.standing.refused, self.standing.accepted) {
            (Some(why), _) => format!("REFUSED: {} (no damage was found{sampled})", one_line(why)),
            (None, None) => format!("{}; whose it is was not checked", self.findings.verdict()),
            (None, Some(_)) => self.findings.verdict(),
        }
    }
}

impl Standing {
    /// What the policy says, where there is one, and the images' own signatures, where they were asked for.
    pub fn of(
        judged: Option<&Judged>,
        images: Option<&[ImageSigned]>,
        (has_policy, is_damaged): (bool, bool),
    ) -> Self {
        let by_policy = judged.and_then(|judged| judged.verdict.refusal.as_ref());
        let unsigned = images.map_or(0, |images| len64(crate::signatures::unsigned(images).count()));
        let by_images =
            || (unsigned > 0).then(|| format!("{} not signed by the keys given", plural(unsigned, "image")));
        let refused = by_policy.map(ToString::to_string).or_else(by_images);
        let is_bad = refused.is_some() || is_damaged;
        Self {
            accepted: (has_policy || refused.is_some()).then_some(!is_bad),
            refused,
        }
    }
}

impl SignatureVerdict {
    /// What was judged of each signature.
    pub fn all(judged: &Judged) -> Vec<Self> {
        let signatures = judged.verdict.signatures.iter().map(|one| Self {
            signer: one.identity.as_ref().map_or_else(
                || one.signer.to_string(),
                |identity| format!("{identity} ({})", one.signer),
            ),
            fingerprint: one
                .key
                .as_ref()
                .map_or_else(|| "-".to_owned(), |(kind, key)| format!("{key} ({kind})")),
            verdict: one.note.clone(),
        });
        signatures.collect()
    }
}

impl CustodyEvent {
    /// A record.
    pub fn of(record: &Record) -> Self {
        Self {
            when: record.time,
            who: record.who.clone(),
            host: record.host.clone(),
            event: format!("{}, generation {}", record.event, record.generation),
            serial: record.serial,
            root: record.root.map_or_else(|| "-".to_owned(), |root| root.to_hex()),
            note: record.note.clone(),
        }
    }
}

impl Run {
    /// A run by this program, user and host; when it began and how long it took is not known yet.
    pub fn here(mode: Mode, place: String) -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let uid = nix::unistd::getuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        Self {
            mode,
            version: env!("CARGO_PKG_VERSION"),
            place,
            started: 0,
            seconds: 0.0,
            host: host.unwrap_or_else(|_| "a host without a name".to_owned()),
            user: user.map_or_else(|| format!("user {uid}"), |user| user.name),
        }
    }
}

impl Disk {
    /// What that ROOT says.
    pub fn of(root: &Root, hash: PageHash) -> Self {
        Self {
            medium: root.medium.to_hex(),
            origin: root.origin.clone(),
            series: root.series.clone(),
            epoch: root.epoch,
            serial: root.serial,
            generation: root.generation.get(),
            state: match root.state {
                State::Open => "open",
                State::Sealed => "sealed",
            },
            time: root.time,
            root: hash.to_hex(),
            previous: root.previous.map(|hash| hash.to_hex()),
            root_text: root.encode(),
        }
    }
}

impl Findings {
    /// What the store, the images and the trees came to.
    pub fn of(
        report: &verify::Report,
        audit: &Audit,
        derivation: &Derivation,
        (full, warnings): (bool, Vec<String>),
    ) -> Self {
        let whole = report.is_whole() && audit.is_whole() && derivation.wrong.is_empty();
        let texts = report.damages.iter().map(|damage| &damage.text);
        let missing = audit.missing.iter().map(|(digest, referrer)| Missing {
            digest: digest.to_digest(),
            referrer: referrer.to_digest(),
        });
        let images = audit.touched.iter().map(|touched| Touched {
            name: touched.name.to_string(),
            damaged: touched.damaged.iter().map(|digest| digest.to_digest()).collect(),
        });
        Self {
            medium: report.medium.to_hex(),
            generation: report.generation.get(),
            root: report.root.to_hex(),
            full,
            whole: (!whole || report.sampled.is_none()).then_some(whole),
            packs: report.packs,
            frames: report.frames,
            stored_bytes: report.stored_bytes,
            catalogue_entries: report.leaves,
            files: report.files,
            damages: texts.chain(&audit.unreadable).cloned().collect(),
            more_damages: report.more_damages,
            damaged_frames: len64(
                report
                    .damages
                    .iter()
                    .filter(|damage| damage.part == verify::Part::Packs && damage.text.contains(" frame"))
                    .count(),
            ),
            missing: missing.collect(),
            images: images.collect(),
            damaged_files: report.damaged_files.clone(),
            more_damaged_files: report.more_damaged_files,
            damaged_trees: report.damaged_trees.iter().cloned().collect(),
            derived: Derived {
                layers: derivation.layers,
                chains: derivation.chains,
                wrong: derivation.wrong.clone(),
            },
            damaged_blobs: report.damaged_blobs.iter().map(|d| d.to_digest()).collect(),
            catalogue_damaged: report.catalogue_damaged,
            unreadable: report.unreadable || derivation.unreadable,
            warnings,
        }
    }

    /// True where something is damaged.
    pub fn is_damaged(&self) -> bool {
        self.whole == Some(false)
    }

    /// In how many places.
    pub fn places(&self) -> u64 {
        len64(self.damages.len() + self.missing.len() + self.derived.wrong.len()) + self.more_damages
    }

    /// In one word, or a few.
    pub fn verdict(&self) -> String {
        match self.whole {
            Some(true) => "whole".to_owned(),
            Some(false) => format!("damaged, in {}", plural(self.places(), "place")),
            None => "no damage in what was checked, which is a sample of the packs".to_owned(),
        }
    }
}

impl Sample {
    /// What was drawn out of packs of so many bytes.
    pub fn of(sampled: &Sampled, pack_bytes: u64) -> Self {
        let Sampled {
            seed,
            drawn,
            drawn_bytes,
            frames,
            damaged,
        } = *sampled;
        let fewer_than = sampled.fewer_than();
        let proves = match fewer_than {
            Some(_) if drawn == frames => "all frames were drawn, and none is damaged".to_owned(),
            Some(fewer) => format!(
                "none of the {drawn} drawn is damaged: with 95 % confidence fewer than {fewer} of the {frames} frames are (below {} %). \
                 Were {fewer} or more damaged, such a sample would miss all of them in one case of twenty at most \
                 (C({frames}-{fewer}, {drawn}) / C({frames}, {drawn}) <= 0.05). Of damage that is rarer it says nothing",
                percent(fewer, frames)
            ),
            None if drawn == 0 => "there are no frames to draw from".to_owned(),
            None => format!(
                "{damaged} of the {drawn} drawn are damaged: expect more in the {} that were not read; verify without --sample \
                 names all",
                frames.saturating_sub(drawn)
            ),
        };
        Self {
            seed,
            drawn,
            drawn_bytes,
            frames,
            pack_bytes,
            damaged,
            fewer_than,
            proves,
        }
    }
}

/// Hundredths with three digits behind the point, rounded up.
fn percent(part: u64, whole: u64) -> String {
    let thousandths = u128::from(part) * 100_000;
    let thousandths = thousandths.div_ceil(u128::from(whole.max(1)));
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

impl Resumed {
    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{} ({}), {} blobs and files and {} were checked by a run begun {} and stopped after {}; they were not read \
             again in this one",
            plural(self.packs, "pack"),
            bytes(self.pack_bytes),
            self.contents,
            plural(self.trees, "derived tree"),
            time(self.begun),
            time(self.kept)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_up() {
        assert_eq!(percent(1, 3), "33.334");
        assert_eq!(percent(9_934, 1_000_000), "0.994");
        assert_eq!(percent(0, 0), "0.000");
    }
}
