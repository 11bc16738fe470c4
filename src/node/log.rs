//! The node's custody log (FORMAT.md 14): records one after the other in one file. Beside it stands the head, by which a log that
//! was cut short is noticed.

use super::replace;
use crate::custody::Witness;
use crate::error::{Error, Result};
use crate::format::CUSTODY_MAX;
use crate::format::custody::{Event, Record};
use crate::format::lines::{Lines, label};
use crate::format::root::Root;
use crate::ids::PageHash;
use crate::units::len64;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Longest log that is read: some half a million events.
const LOG_MAX: u64 = 256 * 1024 * 1024;
const HEAD_MAX: u64 = 512;
const HEAD: &str = "holdall-log 1";

/// Where the log ends, as of the last record that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    number: u64,
    hash: Option<PageHash>,
    bytes: u64,
}

/// The custody log in a node's state folder.
#[derive(Debug, Clone)]
pub struct NodeLog {
    folder: PathBuf,
}

/// What a log says.
#[derive(Debug)]
pub struct Log {
    /// Records, oldest first, as far as they hold.
    pub records: Vec<Record>,
    /// What is wrong behind them.
    pub broken: Option<Error>,
}

/// What lies behind the head.
enum Behind {
    /// Nothing, or part of a record.
    Part,
    /// One record, and how long it is: it was written, and the head was not.
    Record(Box<Record>, u64),
}

impl Behind {
    /// More is an error.
    fn read(log: &File, head: &Head, place: &Path) -> std::io::Result<Result<Self>> {
        let most = usize::try_from(2 * u64::from(CUSTODY_MAX)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most];
        let mut len = 0;
        while let Some(room) = bytes.get_mut(len..).filter(|room| !room.is_empty()) {
            match log.read_at(room, head.bytes + len64(len))? {
                0 => break,
                n => len += n,
            }
        }
        bytes.truncate(len);
        Ok(Self::of(&bytes, head, &place.display().to_string()))
    }

    fn of(bytes: &[u8], head: &Head, place: &str) -> Result<Self> {
        // Part of a record may end within a character.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                std::str::from_utf8(bytes.get(..e.valid_up_to()).unwrap_or_default()).unwrap_or_default()
            }
        };
        if text.matches('\n').count() < Record::LINES {
            return Ok(Self::Part);
        }
        let (record, rest) = Record::decode_first(text, place)?;
        if record.previous != head.hash || record.number != head.number + 1 || !rest.is_empty() {
            let why = format!(
                "more than its head knows of, which ends with record {}: the head was lost, or is an older one",
                head.number
            );
            return Err(Error::malformed(place, why));
        }
        Ok(Self::Record(Box::new(record), len64(bytes.len())))
    }
}

impl NodeLog {
    /// The log in this state folder; made with its first record.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.to_owned(),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("custody.log")
    }

    fn head_file(&self) -> PathBuf {
        self.folder.join("custody.head")
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Error {
        let place = self.log().display().to_string();
        move |e| Error::State {
            place: place.clone(),
            why: e.to_string(),
        }
    }

    fn head(&self) -> Result<Head> {
        let file = self.head_file();
        let place = file.display().to_string();
        let mut text = String::new();
        match File::open(&file) {
            Ok(handle) => {
                handle
                    .take(HEAD_MAX)
                    .read_to_string(&mut text)
                    .map_err(self.failed())?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(Head {
                    number: 0,
                    hash: None,
                    bytes: 0,
                });
            }
            Err(e) => return Err(self.failed()(e)),
        }
        let mut lines = Lines::new(&text, &place);
        if lines.next_line() != Some(HEAD) {
            return Err(Error::malformed(place, "not the head of a custody log"));
        }
        Ok(Head {
            number: lines.number("number")?,
            hash: lines.hash("hash")?,
            bytes: lines.number("bytes")?,
        })
    }

    /// Adds what was done with a root. Order: the record, fsync; then the head, by a new file that is renamed over the old one. Of what a cut
    /// left behind the head, a whole record is kept and part of one is cut off. More than one record is no cut's work: the head is an older one.
    pub fn append(
        &self,
        event: Event,
        root: &Root,
        hash: PageHash,
        witness: &Witness,
        note: &str,
        time: i64,
    ) -> Result<()> {
        witness.check()?;
        fs::create_dir_all(&self.folder).map_err(self.failed())?;
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(self.log())
            .map_err(self.failed())?;
        log.lock().map_err(self.failed())?;
        let mut head = self.head()?;
        let len = log.metadata().map_err(self.failed())?.len();
        if len < head.bytes {
            return Err(self.cut_short(len, &head));
        }
        if len > head.bytes {
            let behind = Behind::read(&log, &head, &self.log()).map_err(self.failed())??;
            if let Behind::Record(record, bytes) = &behind {
                head = self.write_head(record, head.bytes + bytes)?;
            }
            log.set_len(head.bytes).map_err(self.failed())?;
        }
        let record = Record {
            number: head.number + 1,
            previous: head.hash,
            event,
            time,
            who: witness.who.clone(),
            host: witness.host.clone(),
            medium: root.medium,
            generation: root.generation,
            serial: root.serial,
            root: Some(hash),
            note: label(note, "a note", "custody")?,
        };
        let text = record.encode();
        log.write_all(text.as_bytes())
            .and_then(|()| log.sync_all())
            .map_err(self.failed())?;
        self.write_head(&record, head.bytes + len64(text.len()))?;
        Ok(())
    }

    fn write_head(&self, last: &Record, bytes: u64) -> Result<Head> {
        let (number, hash) = (last.number, last.hash());
        let text = format!("{HEAD}\nnumber {number}\nhash {hash}\nbytes {bytes}\n");
        replace(&self.folder, &self.head_file(), &text).map_err(self.failed())?;
        Ok(Head {
            number,
            hash: Some(hash),
            bytes,
        })
    }

    fn cut_short(&self, len: u64, head: &Head) -> Error {
        Error::malformed(
            self.log().display().to_string(),
            format!(
                "the custody log was cut short: it has {len} bytes, and its head says {} of {} records",
                head.bytes, head.number
            ),
        )
    }

    /// Reads and checks the whole log.
    pub fn read(&self) -> Result<Log> {
        let place = self.log().display().to_string();
        let mut bytes = Vec::new();
        let mut behind = Ok(());
        let head = match File::open(self.log()) {
            Ok(handle) => {
                // No record is being added meanwhile.
                handle.lock_shared().map_err(self.failed())?;
                let head = self.head()?;
                if head.bytes > LOG_MAX {
                    return Err(Error::refused(format!(
                        "{place}: longer than {} MiB. Move it away together with {}, and keep both; a new one is begun",
                        LOG_MAX / 1024 / 1024,
                        self.head_file().display()
                    )));
                }
                (&handle)
                    .take(head.bytes)
                    .read_to_end(&mut bytes)
                    .map_err(self.failed())?;
                if len64(bytes.len()) == head.bytes {
                    behind = Behind::read(&handle, &head, &self.log())
                        .map_err(self.failed())?
                        .map(|_| ());
                }
                head
            }
            Err(e) if e.kind() == ErrorKind::NotFound => self.head()?,
            Err(e) => return Err(self.failed()(e)),
        };
        let mut log = Log {
            records: Vec::new(),
            broken: None,
        };
        let checked = self.check(&bytes, &head, &place, &mut log.records);
        log.broken = checked.and(behind).err();
        Ok(log)
    }

    fn check(&self, bytes: &[u8], head: &Head, place: &str, records: &mut Vec<Record>) -> Result<()> {
        let mut rest = std::str::from_utf8(bytes).map_err(|_| Error::malformed(place, "not UTF-8"))?;
        while !rest.is_empty() {
            let place = format!("{place}: record {}", records.len() + 1);
            let (record, behind) = match Record::decode_first(rest, &place) {
                Err(Error::Malformed { .. }) if len64(bytes.len()) < head.bytes => {
                    return Err(self.cut_short(len64(bytes.len()), head));
                }
                read => read?,
            };
            let last = records.last();
            if record.previous != last.map(Record::hash) || record.number != last.map_or(0, |l| l.number) + 1
            {
                return Err(Error::mismatch(place, "the record before it"));
            }
            records.push(record);
            rest = behind;
        }
        let last = records.last();
        if len64(bytes.len()) < head.bytes {
            return Err(self.cut_short(len64(bytes.len()), head));
        }
        if last.map_or(0, |l| l.number) != head.number || last.map(Record::hash) != head.hash {
            return Err(Error::mismatch(place, "its last record, by the head,"));
        }
        Ok(())
    }
}
