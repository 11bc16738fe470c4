//! The highest serial of each series, as this node accepted it (or, on the writing side, sealed it).

use super::replace;
use crate::error::{Error, Result};
use crate::format::lines::{self, Lines};
use crate::ids::{PageHash, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A record is six short lines.
const RECORD_MAX: u64 = 4096;
const HEAD: &str = "holdall-seen 1";

/// What is known of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The origin.
    pub origin: String,
    /// The series.
    pub series: String,
    /// The highest epoch.
    pub epoch: u64,
    /// The highest serial.
    pub serial: u64,
    /// The root with that serial; `None` where an operator gave the serial alone.
    pub root: Option<PageHash>,
}

/// What a node knows of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The node has no record at all: it is new, or has lost it.
    NoRecord,
    /// The node keeps a record, and has not met this series.
    New,
    /// It has.
    Seen(Seen),
    /// What it noted cannot be read.
    Bad(String),
}

/// A folder with a record for each series, and a file that says that the record was begun.
#[derive(Debug, Clone)]
pub struct SeenFolder {
    folder: PathBuf,
}

impl SeenFolder {
    /// What this node accepted, in its state folder.
    #[must_use]
    pub fn accepted(state: &Path) -> Self {
        Self {
            folder: state.join("accepted"),
        }
    }

    /// What this host sealed.
    #[must_use]
    pub fn sealed(state: &Path) -> Self {
        Self {
            folder: state.join("sealed"),
        }
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Error {
        let place = self.folder.display().to_string();
        move |e| Error::State {
            place: place.clone(),
            why: e.to_string(),
        }
    }

    fn file(&self, origin: &str, series: &str) -> PathBuf {
        let name = Sha256::of(format!("{origin}\n{series}").as_bytes()).to_hex();
        self.folder.join(name)
    }

    /// Whether a record was begun here.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.folder.join("begun").is_file()
    }

    /// Begins a record. Whoever does it says that there is none to be lost.
    pub fn begin(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(self.failed())?;
        self.replace(&self.folder.join("begun"), "holdall-seen 1\n")
    }

    /// What is known of a series.
    #[must_use]
    pub fn look(&self, origin: &str, series: &str) -> Sight {
        if !self.is_begun() {
            return Sight::NoRecord;
        }
        let file = self.file(origin, series);
        let place = file.display().to_string();
        let text = match read_bounded(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Sight::New,
            Err(e) => return Sight::Bad(format!("{place}: {e}")),
        };
        match Self::decode(&text, &place) {
            Ok(seen) if seen.origin == origin && seen.series == series => Sight::Seen(seen),
            Ok(_) => Sight::Bad(format!("{place}: it is the record of another series")),
            Err(e) => Sight::Bad(e.to_string()),
        }
    }

    /// Every series, and what cannot be read.
    pub fn all(&self) -> Result<(Vec<Seen>, Vec<String>)> {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((all, bad)),
            Err(e) => return Err(self.failed()(e)),
        };
        for entry in entries {
            let path = entry.map_err(self.failed())?.path();
            let named = path.file_name().and_then(|name| name.to_str());
            if named.is_none_or(|name| Sha256::from_hex(name).is_err()) {
                continue;
            }
            let place = path.display().to_string();
            match read_bounded(&path)
                .map_err(|e| format!("{place}: {e}"))
                .and_then(|text| Self::decode(&text, &place).map_err(|e| e.to_string()))
            {
                Ok(seen) => all.push(seen),
                Err(why) => bad.push(why),
            }
        }
        all.sort_by(|a, b| (&a.origin, &a.series).cmp(&(&b.origin, &b.series)));
        Ok((all, bad))
    }

    /// Notes what was accepted; durable when it returns. The caller has judged that it may replace what was there; what another process noted
    /// meanwhile is not taken back: a higher serial stays.
    pub fn note(&self, seen: &Seen) -> Result<()> {
        let lock = File::open(&self.folder).map_err(self.failed())?;
        lock.lock().map_err(self.failed())?;
        if let Sight::Seen(there) = self.look(&seen.origin, &seen.series)
            && (there.epoch, there.serial) > (seen.epoch, seen.serial)
        {
            return Ok(());
        }
        self.write(seen)
    }

    /// Writes what an operator says, higher or lower.
    pub fn set(&self, seen: &Seen) -> Result<()> {
        if !self.is_begun() {
            self.begin()?;
        }
        self.write(seen)
    }

    fn write(&self, seen: &Seen) -> Result<()> {
        let root = seen.root.map_or_else(|| "-".to_owned(), |root| root.to_hex());
        let text = format!(
            "{HEAD}\norigin {}\nseries {}\nepoch {}\nserial {}\nroot {root}\n",
            seen.origin, seen.series, seen.epoch, seen.serial
        );
        // What cannot be read again must not be written.
        Self::decode(&text, "the record")?;
        self.replace(&self.file(&seen.origin, &seen.series), &text)
    }

    fn decode(text: &str, place: &str) -> Result<Seen> {
        let mut lines = Lines::new(text, place);
        if lines.next_line() != Some(HEAD) {
            return Err(Error::malformed(place, "not a record of a series"));
        }
        let seen = Seen {
            origin: lines::label(lines.value("origin")?, "an origin", place)?,
            series: lines::label(lines.value("series")?, "a series", place)?,
            epoch: lines.number("epoch")?,
            serial: lines.number("serial")?,
            root: lines.hash("root")?,
        };
        if lines.rest().is_empty() {
            Ok(seen)
        } else {
            Err(Error::malformed(place, "something follows the record"))
        }
    }

    fn replace(&self, file: &Path, text: &str) -> Result<()> {
        replace(&self.folder, file, text).map_err(self.failed())
    }
}

fn read_bounded(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let handle = OpenOptions::new().read(true).open(file)?;
    handle.take(RECORD_MAX).read_to_string(&mut text)?;
    Ok(text)
}
