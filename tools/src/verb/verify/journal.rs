//! The journal of a verification in the host's state folder: what was checked so far, so that `--resume` can go on.
//!
//! `verify/MEDIUM-MODE`, one JSON text a line, each behind a check over it and all lines before it. The first line says for
//! which generation, by its ROOT, in which mode and by which version it was kept. Lines are only ever appended: a killed run
//! leaves a last line that is cut short, and that is as if it had not been written.

use super::report::Mode;
use crate::exit::ToolError;
use holdall::format::frame::{Base, FrameKind};
use holdall::ids::{FrameHash, MediumId, PageHash};
use holdall::units::{Generation, PackNumber, PackOffset};
use holdall::verify::{CheckedPack, Delta, Journal, PackDamage, PartId, Verdict};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two writes of parts of the catalogue.
const EVERY: Duration = Duration::from_secs(1);
/// Parts that are written before it is time.
const WAITING_MAX: usize = 4096;

/// What a journal is kept for: with another of these it means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    medium: String,
    generation: u32,
    root: String,
    mode: String,
    version: String,
}

impl Subject {
    /// That generation, checked in that mode by this version.
    pub fn new(medium: MediumId, generation: Generation, root: PageHash, mode: Mode) -> Self {
        let mode = match mode {
            Mode::Full => "full",
            Mode::Stored | Mode::Sample => "stored",
        };
        Self {
            medium: medium.to_hex(),
            generation: generation.get(),
            root: root.to_hex(),
            mode: mode.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Why what was kept for another does not fit.
    fn differs(&self, kept: &Self) -> Option<String> {
        let pairs = [
            ("medium", &kept.medium, &self.medium),
            ("ROOT", &kept.root, &self.root),
            ("mode", &kept.mode, &self.mode),
            ("version", &kept.version, &self.version),
        ];
        let (what, kept, own) = pairs.into_iter().find(|(_, kept, own)| kept != own)?;
        Some(format!("it is of {what} {kept}, and this is {own}"))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// The first.
    Begun { of: Subject, at: i64 },
    /// A pack, all of which was read.
    Pack(KeptPack),
    /// Parts of the catalogue that are whole, and those that are not with the reason.
    Parts {
        at: i64,
        whole: Vec<String>,
        wrong: Vec<(String, String)>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptPack {
    at: i64,
    number: u32,
    frames: u64,
    damages: Vec<(Option<u32>, String)>,
    deltas: Vec<KeptDelta>,
}

/// Frame; kind; base's pack, frame, length and hash.
type KeptDelta = (u32, u8, u32, u32, u32, String);

const KINDS: [FrameKind; 3] = [FrameKind::Plaintext, FrameKind::Pages, FrameKind::Records];

impl KeptPack {
    fn of(pack: &CheckedPack) -> Self {
        let damages = pack.damages.iter();
        let deltas = pack.deltas.iter().map(|delta| {
            let kind = KINDS.iter().position(|kind| *kind == delta.kind);
            let kind = kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(u8::MAX);
            let base = &delta.base;
            let place = (base.pack.get(), base.frame.get(), base.frame_bytes);
            (delta.frame, kind, place.0, place.1, place.2, base.hash.to_hex())
        });
        Self {
            at: now(),
            number: pack.number.get(),
            frames: pack.frames,
            damages: damages.map(|one| (one.frame, one.text.clone())).collect(),
            deltas: deltas.collect(),
        }
    }

    fn checked(self) -> Option<CheckedPack> {
        let deltas = self.deltas.into_iter();
        let deltas = deltas.map(|(frame, kind, pack, at, frame_bytes, hash)| {
            Some(Delta {
                frame,
                kind: *KINDS.get(usize::from(kind))?,
                base: Base {
                    hash: FrameHash::from_hex(&hash).ok()?,
                    pack: PackNumber::new(pack),
                    frame: PackOffset::new(at),
                    frame_bytes,
                },
            })
        });
        let damages = self.damages.into_iter();
        Some(CheckedPack {
            number: PackNumber::new(self.number),
            frames: self.frames,
            damages: damages.map(|(frame, text)| PackDamage { frame, text }).collect(),
            deltas: deltas.collect::<Option<_>>()?,
        })
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What a run that was stopped had checked.
#[derive(Debug, Default)]
pub struct Earlier {
    /// When it began: seconds since 1970.
    pub begun: i64,
    /// When it last kept something.
    pub kept: i64,
    packs: HashMap<PackNumber, CheckedPack>,
    parts: HashMap<PartId, Verdict>,
}

/// The journal of one run.
#[derive(Debug)]
pub struct KeptJournal {
    path: PathBuf,
    root: String,
    earlier: Option<Earlier>,
    writing: Mutex<Writing>,
}

#[derive(Debug)]
struct Writing {
    file: File,
    /// The check of the last line; all zeros before the first.
    check: [u8; 32],
    /// What the first line says, until it is written: what an earlier run left is not lost before there is something better.
    first: Option<Subject>,
    whole: Vec<String>,
    wrong: Vec<(String, String)>,
    due: Instant,
    /// Why nothing more is kept.
    failed: Option<String>,
}

/// A journal that was opened, and what is to be told of it.
pub struct Opened {
    pub journal: KeptJournal,
    /// Why nothing is taken over, where that was asked for; or that something could be.
    pub told: Option<String>,
}

impl KeptJournal {
    /// Opens the journal for that subject, with what a stopped run left where that is wanted and fits. `None` where another
    /// run has it.
    pub fn open(state: &Path, of: &Subject, resume: bool) -> Result<Option<Opened>, ToolError> {
        let folder = state.join("verify");
        std::fs::create_dir_all(&folder).map_err(|e| ToolError::io(folder.display(), e))?;
        let path = folder.join(format!("{}-{}", of.medium, of.mode));
        let failed = |e| ToolError::io(path.display(), e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let found = load(&mut file, of).map_err(failed)?;
        let mut writing = Writing {
            file,
            check: [0; 32],
            first: Some(of.clone()),
            whole: Vec::new(),
            wrong: Vec::new(),
            due: Instant::now() + EVERY,
            failed: None,
        };
        let (mut earlier, mut told) = (None, None);
        let place = path.display();
        match found {
            Found::Nothing if resume => {
                told = Some(format!(
                    "{place}: no stopped run of this disk in this mode is kept; it is checked from the start"
                ));
            }
            Found::Nothing => {}
            Found::Unfit(why) if resume => {
                told = Some(format!(
                    "{place}: what a stopped run left is not used: {why}; it is checked from the start"
                ));
            }
            Found::Unfit(_) => {}
            Found::Fit {
                earlier: found,
                end,
                check,
            } if resume => {
                writing.file.set_len(end).map_err(failed)?;
                writing.file.seek(SeekFrom::Start(end)).map_err(failed)?;
                (writing.check, writing.first) = (check, None);
                earlier = Some(found);
            }
            Found::Fit { earlier, .. } => {
                told = Some(format!(
                    "a run of this check was stopped after {}; --resume would have taken over what it had checked",
                    crate::output::time(earlier.kept)
                ));
            }
        }
        let journal = Self {
            path: path.clone(),
            root: of.root.clone(),
            earlier,
            writing: Mutex::new(writing),
        };
        Ok(Some(Opened { journal, told }))
    }

    /// Whether it is kept of that root.
    pub fn is_of(&self, root: &PageHash) -> bool {
        self.root == root.to_hex()
    }

    /// What was taken over.
    pub const fn earlier(&self) -> Option<&Earlier> {
        self.earlier.as_ref()
    }

    /// Writes what waits, and makes it durable; why it could not be kept, where that is so.
    pub fn keep(&self) -> Option<String> {
        let mut writing = self.writing.lock();
        writing.put_parts();
        let begun = writing.first.is_none();
        if writing.failed.is_none()
            && begun
            && let Err(e) = writing.file.sync_all()
        {
            writing.failed = Some(e.to_string());
        }
        let failed = writing.failed.as_ref();
        failed.map(|why| format!("{}: {why}: what was checked is not kept", self.path.display()))
    }

    /// Whether something was kept by now.
    pub fn has_kept(&self) -> bool {
        self.writing.lock().first.is_none()
    }

    /// Takes it away: the check came to its end.
    #[expect(clippy::disallowed_methods, reason = "the host's own state, not a medium")]
    pub fn remove(&self) -> Result<(), ToolError> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ToolError::io(self.path.display(), e)),
            _ => Ok(()),
        }
    }
}

impl Journal for KeptJournal {
    fn pack(&self, number: PackNumber) -> Option<CheckedPack> {
        self.earlier.as_ref()?.packs.get(&number).cloned()
    }

    fn pack_checked(&self, pack: &CheckedPack) {
        self.writing.lock().put(&Line::Pack(KeptPack::of(pack)));
    }

    fn part(&self, part: &PartId) -> Option<Verdict> {
        self.earlier.as_ref()?.parts.get(part).cloned()
    }

    fn part_checked(&self, part: PartId, verdict: &Verdict) {
        let mut writing = self.writing.lock();
        match verdict {
            None => writing.whole.push(part.to_hex()),
            Some(why) => writing.wrong.push((part.to_hex(), why.clone())),
        }
        if writing.whole.len() + writing.wrong.len() >= WAITING_MAX || Instant::now() >= writing.due {
            writing.put_parts();
        }
    }
}

impl Writing {
    fn put_parts(&mut self) {
        self.due = Instant::now() + EVERY;
        if self.whole.is_empty() && self.wrong.is_empty() {
            return;
        }
        let line = Line::Parts {
            at: now(),
            whole: std::mem::take(&mut self.whole),
            wrong: std::mem::take(&mut self.wrong),
        };
        self.put(&line);
    }

    /// Appends a line, behind the first one where that is not written yet. A failure costs the journal, not the check.
    fn put(&mut self, line: &Line) {
        if self.failed.is_some() {
            return;
        }
        if let Err(e) = self.try_put(line) {
            self.failed = Some(e.to_string());
        }
    }

    fn try_put(&mut self, line: &Line) -> std::io::Result<()> {
        if let Some(of) = self.first.take() {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.append(&Line::Begun { of, at: now() })?;
        }
        self.append(line)
    }

    fn append(&mut self, line: &Line) -> std::io::Result<()> {
        let text = serde_json::to_string(line)?;
        let check = checked(&self.check, &text);
        // At once: a killed run leaves whole lines, but for the last.
        self.file
            .write_all(format!("{} {text}\n", shown(&check)).as_bytes())?;
        self.check = check;
        Ok(())
    }
}

/// The check of a line: over it, and through the one before it over all of them.
fn checked(before: &[u8; 32], text: &str) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(before)
        .update(text.as_bytes())
        .finalize()
        .as_bytes()
}

fn shown(check: &[u8; 32]) -> String {
    PageHash::from_bytes(*check).to_hex()
}

/// What was found of an earlier run.
enum Found {
    Nothing,
    /// It cannot be used, for that reason.
    Unfit(String),
    /// It fits; its last whole line ends there, and that is its check.
    Fit {
        earlier: Earlier,
        end: u64,
        check: [u8; 32],
    },
}

fn load(file: &mut File, of: &Subject) -> std::io::Result<Found> {
    let mut reader = BufReader::new(file);
    let mut earlier = Earlier::default();
    let (mut end, mut check, mut bytes) = (0, [0; 32], Vec::new());
    let mut number = 0;
    loop {
        bytes.clear();
        let len = reader.read_until(b'\n', &mut bytes)?;
        if len == 0 {
            break;
        }
        number += 1;
        let Some(bytes) = bytes.strip_suffix(b"\n") else {
            // Cut short by the end of the run that wrote it.
            break;
        };
        let text = std::str::from_utf8(bytes)
            .ok()
            .and_then(|line| line.split_once(' '));
        let Some((_, text)) = text.filter(|(said, text)| *said == shown(&checked(&check, text))) else {
            let last = reader.fill_buf()?.is_empty();
            if last && number > 1 {
                break;
            }
            return Ok(Found::Unfit(format!("line {number} of it is damaged")));
        };
        check = checked(&check, text);
        end += holdall::units::len64(len);
        let Ok(line) = serde_json::from_str::<Line>(text) else {
            return Ok(Found::Unfit(format!("line {number} of it is not understood")));
        };
        match (number, line) {
            (1, Line::Begun { of: kept, at }) => {
                if let Some(why) = of.differs(&kept) {
                    return Ok(Found::Unfit(why));
                }
                (earlier.begun, earlier.kept) = (at, at);
            }
            (1, _) => return Ok(Found::Unfit("it does not say what it is of".to_owned())),
            (_, line) => {
                if earlier.take(line).is_none() {
                    return Ok(Found::Unfit(format!("line {number} of it is not understood")));
                }
            }
        }
    }
    Ok(if earlier.packs.is_empty() && earlier.parts.is_empty() {
        Found::Nothing
    } else {
        Found::Fit { earlier, end, check }
    })
}

impl Earlier {
    fn take(&mut self, line: Line) -> Option<()> {
        match line {
            Line::Begun { .. } => return None,
            Line::Pack(pack) => {
                self.kept = pack.at;
                let pack = pack.checked()?;
                self.packs.insert(pack.number, pack);
            }
            Line::Parts { at, whole, wrong } => {
                self.kept = at;
                for id in whole {
                    self.parts.insert(PartId::from_hex(&id)?, None);
                }
                for (id, why) in wrong {
                    self.parts.insert(PartId::from_hex(&id)?, Some(why));
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(root: u8, mode: Mode) -> Subject {
        let root = PageHash::from_bytes([root; 32]);
        Subject::new(MediumId::from_bytes([7; 16]), Generation::new(2), root, mode)
    }

    fn pack(number: u32) -> CheckedPack {
        CheckedPack {
            number: PackNumber::new(number),
            frames: 5,
            damages: vec![PackDamage {
                frame: Some(64),
                text: "p at 64: \"damaged\"\n".to_owned(),
            }],
            deltas: vec![Delta {
                frame: 128,
                kind: FrameKind::Pages,
                base: Base {
                    hash: FrameHash::from_bytes([3; 32]),
                    pack: PackNumber::new(1),
                    frame: PackOffset::new(64),
                    frame_bytes: 99,
                },
            }],
        }
    }

    fn open(state: &Path, of: &Subject, resume: bool) -> Opened {
        KeptJournal::open(state, of, resume).unwrap().unwrap()
    }

    #[test]
    fn what_was_kept_is_taken_over_and_gone_on_with() {
        let state = tempfile::tempdir().unwrap();
        let of = subject(1, Mode::Full);
        let (whole, wrong) = (PartId::of("a", &[]), PartId::of("b", &[]));
        {
            let journal = open(state.path(), &of, false).journal;
            assert!(!journal.has_kept());
            journal.pack_checked(&pack(1));
            journal.part_checked(whole, &None);
            journal.part_checked(wrong, &Some("why".to_owned()));
            assert_eq!(journal.keep(), None);
            assert!(KeptJournal::open(state.path(), &of, true).unwrap().is_none());
        }
        {
            let Opened { journal, told } = open(state.path(), &of, true);
            assert_eq!(told, None);
            assert_eq!(journal.pack(PackNumber::new(1)), Some(pack(1)));
            assert_eq!(journal.pack(PackNumber::new(2)), None);
            assert_eq!(journal.part(&whole), Some(None));
            assert_eq!(journal.part(&wrong), Some(Some("why".to_owned())));
            journal.pack_checked(&pack(2));
        }
        let journal = open(state.path(), &of, true).journal;
        assert_eq!(journal.pack(PackNumber::new(2)), Some(pack(2)));
        assert_eq!(journal.part(&whole), Some(None));
        journal.remove().unwrap();
        drop(journal);
        let told = open(state.path(), &of, true).told;
        assert!(told.is_some_and(|told| told.contains("no stopped run")));
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_used() {
        let state = tempfile::tempdir().unwrap();
        let of = subject(1, Mode::Full);
        for (other, what) in [
            (subject(2, Mode::Full), "ROOT"),
            (
                subject(1, Mode::Stored),
                "no stopped run of this disk in this mode",
            ),
        ] {
            let state = tempfile::tempdir().unwrap();
            open(state.path(), &other, false).journal.pack_checked(&pack(1));
            let Opened { journal, told } = open(state.path(), &of, true);
            assert!(told.is_some_and(|told| told.contains(what)), "{what}");
            assert!(journal.earlier().is_none());
            journal.pack_checked(&pack(2));
            drop(journal);
            // What was kept of the other mode is there still; that of the other root has made room.
            let kept = open(state.path(), &other, true).journal;
            assert_eq!(kept.earlier().is_some(), what.starts_with("no stopped run"));
        }
        let other = Subject {
            version: "0.0.1".to_owned(),
            ..subject(1, Mode::Full)
        };
        open(state.path(), &other, false).journal.pack_checked(&pack(1));
        let told = open(state.path(), &of, true).told.unwrap();
        assert!(told.contains("version 0.0.1"), "{told}");
    }

    #[test]
    fn a_line_cut_short_is_as_if_it_were_not_there_and_a_damaged_one_costs_all() {
        let state = tempfile::tempdir().unwrap();
        let of = subject(1, Mode::Stored);
        let path = state
            .path()
            .join("verify")
            .join(format!("{}-{}", of.medium, of.mode));
        let fill = || {
            let journal = open(state.path(), &of, false).journal;
            (1..=3).for_each(|n| journal.pack_checked(&pack(n)));
        };
        let change = |change: &dyn Fn(&mut Vec<u8>)| {
            fill();
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap()
                .write_all(&bytes)
                .unwrap();
            open(state.path(), &of, true)
        };
        let cut = change(&|bytes| bytes.truncate(bytes.len() - 10));
        assert_eq!(cut.told, None);
        assert!(cut.journal.pack(PackNumber::new(2)).is_some());
        assert!(cut.journal.pack(PackNumber::new(3)).is_none());
        // Gone on with from where it was whole.
        cut.journal.pack_checked(&pack(4));
        drop(cut);
        let again = open(state.path(), &of, true);
        assert!(again.journal.pack(PackNumber::new(4)).is_some());
        drop(again);
        for at in [70, 300, 700] {
            let damaged = change(&|bytes| bytes[at] ^= 1);
            let told = damaged.told.unwrap_or_default();
            assert!(told.contains("is damaged"), "{at}: {told}");
            assert!(damaged.journal.earlier().is_none());
        }
        let empty = change(&|bytes| bytes.clear()).told;
        assert!(empty.unwrap_or_default().contains("no stopped run"));
        let noise = change(&|bytes| *bytes = vec![0xff; 5000]);
        assert!(noise.journal.earlier().is_none());
    }
}
