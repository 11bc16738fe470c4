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
/// The list of all series: 65 bytes each.
const NAMES_MAX: u64 = 4 * 1024 * 1024;
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

/// A folder with a record for each series, and a file that says that the record was begun and lists them.
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
        self.begun().is_file()
    }

    /// Begins a record. Whoever does it says that there is none to be lost: a series without a record is new from then on.
    pub fn begin(&self) -> Result<()> {
        let _lock = self.lock()?;
        if self.is_begun() {
            return Ok(());
        }
        let names: Vec<String> = self.records()?.iter().filter_map(|path| name_of(path)).collect();
        self.write_names(&names)
    }

    /// Locks the folder, which is made; until the handle is dropped no other process changes what is in it.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.folder).map_err(self.failed())?;
        let lock = File::open(&self.folder).map_err(self.failed())?;
        lock.lock().map_err(self.failed())?;
        Ok(lock)
    }

    /// The series that have a record, by the names of their files: one that is gone is noticed by this list.
    fn names(&self) -> std::io::Result<Vec<String>> {
        let text = read_bounded(&self.begun(), NAMES_MAX)?;
        Ok(text.lines().skip(1).map(str::to_owned).collect())
    }

    fn write_names(&self, names: &[String]) -> Result<()> {
        let mut text = format!("{HEAD}\n");
        for name in names {
            text += name;
            text.push('\n');
        }
        self.replace(&self.begun(), &text)
    }

    fn begun(&self) -> PathBuf {
        self.folder.join("begun")
    }

    /// The files of all series.
    fn records(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed()(e)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(self.failed())?.path();
            if name_of(&path).is_some() {
                records.push(path);
            }
        }
        Ok(records)
    }

    /// What is known of a series.
    #[must_use]
    pub fn look(&self, origin: &str, series: &str) -> Sight {
        let file = self.file(origin, series);
        let place = file.display().to_string();
        let text = match read_bounded(&file, RECORD_MAX) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return self.unseen(&file),
            Err(e) => return Sight::Bad(format!("{place}: {e}")),
        };
        match Self::decode(&text, &place) {
            Ok(seen) if seen.origin == origin && seen.series == series => Sight::Seen(seen),
            Ok(_) => Sight::Bad(format!("{place}: it is the record of another series")),
            Err(e) => Sight::Bad(e.to_string()),
        }
    }

    /// What it means that a series has no record.
    fn unseen(&self, file: &Path) -> Sight {
        let place = file.display();
        match self.names() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Sight::NoRecord,
            Err(e) => Sight::Bad(format!("{}: {e}", self.begun().display())),
            Ok(names) if names.iter().any(|name| name_of(file).as_ref() == Some(name)) => {
                Sight::Bad(format!("{place}: the record of this series is gone"))
            }
            Ok(_) => Sight::New,
        }
    }

    /// Every series, and what cannot be read.
    pub fn all(&self) -> Result<(Vec<Seen>, Vec<String>)> {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        let records = self.records()?;
        if let Ok(names) = self.names() {
            let there: Vec<String> = records.iter().filter_map(|path| name_of(path)).collect();
            let gone = names.iter().filter(|name| !there.contains(name));
            bad.extend(gone.map(|name| {
                format!(
                    "{}: the record of this series is gone",
                    self.folder.join(name).display()
                )
            }));
        }
        for path in records {
            let place = path.display().to_string();
            match read_bounded(&path, RECORD_MAX)
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

    /// Decides about a series and notes what was decided, with no other process in between; durable when it returns. What is noted is of this series.
    pub fn update<E: From<Error>>(
        &self,
        origin: &str,
        series: &str,
        decide: impl FnOnce(&Sight) -> std::result::Result<Seen, E>,
    ) -> std::result::Result<(), E> {
        let _lock = self.lock()?;
        let seen = decide(&self.look(origin, series))?;
        if (seen.origin.as_str(), seen.series.as_str()) != (origin, series) {
            return Err(Error::refused("a record of another series than was decided about").into());
        }
        Ok(self.write(&seen)?)
    }

    /// Writes what an operator says, higher or lower. Of other series nothing is said by it: without a record they are asked about as before.
    pub fn set(&self, seen: &Seen) -> Result<()> {
        let _lock = self.lock()?;
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
        let file = self.file(&seen.origin, &seen.series);
        self.replace(&file, &text)?;
        // The list comes after it: what is listed was there.
        if let Some(name) = name_of(&file)
            && self.is_begun()
        {
            let mut names = self.names().map_err(self.failed())?;
            if !names.contains(&name) {
                names.push(name);
                self.write_names(&names)?;
            }
        }
        Ok(())
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

/// The name of a series' record; `None` for any other file.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    Sha256::from_hex(name).is_ok().then(|| name.to_owned())
}

fn read_bounded(file: &Path, most: u64) -> std::io::Result<String> {
    let mut text = String::new();
    let handle = OpenOptions::new().read(true).open(file)?;
    handle.take(most).read_to_string(&mut text)?;
    Ok(text)
}
