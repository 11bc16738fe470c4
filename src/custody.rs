//! Custody of a medium: the chain of records that says who made each generation and who signed it (FORMAT.md 14).
//!
//! Owns the order of the records and what makes a chain whole. Knows nothing of nodes, which keep a log of their own.

use crate::error::{Error, Result};
use crate::format::custody::{Event, Record};
use crate::format::lines::label;
use crate::format::root::Root;
use crate::format::{CUSTODY_MAX, root};
use crate::generation::{self, Current, Making};
use crate::ids::PageHash;
use crate::medium::{Medium, MediumFile};
use crate::units::{Generation, RecordNumber, index64, len64};

/// Most records of a generation behind its first.
const AFTER_MAX: u16 = 999;

/// Who does something, and where: what a record says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The user: 1 to 255 bytes without control characters.
    pub who: String,
    /// The host: likewise.
    pub host: String,
}

impl Witness {
    /// Nobody in particular: for media that nobody is to be asked about.
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            who: "-".to_owned(),
            host: "-".to_owned(),
        }
    }

    /// Refused where a record could not say it.
    pub fn check(&self) -> Result<()> {
        label(&self.who, "the user's name", "custody")?;
        label(&self.host, "the host's name", "custody").map(drop)
    }
}

/// The record of a new medium.
#[must_use]
pub fn first(root: &Root, witness: &Witness) -> Record {
    Record {
        number: 1,
        previous: None,
        event: Event::Created,
        time: root.time,
        who: witness.who.clone(),
        host: witness.host.clone(),
        medium: root.medium,
        generation: root.generation,
        serial: root.serial,
        root: None,
        note: "-".to_owned(),
    }
}

/// The record of the generation that comes after `before`.
pub fn next(medium: &dyn Medium, before: &Current, root: &Root, making: Making<'_>) -> Result<Record> {
    making.witness.check()?;
    let last = last_of(medium, &before.root)?;
    Ok(Record {
        number: last.as_ref().map_or(1, |last| last.number + 1),
        previous: last.as_ref().map(Record::hash),
        event: making.event,
        time: root.time,
        who: making.witness.who.clone(),
        host: making.witness.host.clone(),
        medium: root.medium,
        generation: root.generation,
        serial: root.serial,
        root: Some(before.root_hash),
        note: label(&making.note, "a note", "custody")?,
    })
}

/// Writes a record, and makes its bytes durable.
pub fn write(medium: &dyn Medium, file: MediumFile, record: &Record) -> Result<()> {
    let mut writer = medium.create(file)?;
    writer.append(&[record.encode().as_bytes()])?;
    writer.finish()
}

/// Adds a record to a committed generation: what was done with it since. Durable when it returns.
pub fn append(
    medium: &dyn Medium,
    current: &Current,
    event: Event,
    witness: &Witness,
    note: &str,
    time: i64,
) -> Result<Record> {
    witness.check()?;
    let root = &current.root;
    let last = last_of(medium, root)?;
    let after = medium.custody_after(root.generation)?;
    let number = after.last().map_or(1, |n| n.get().saturating_add(1));
    if number > AFTER_MAX {
        return Err(Error::refused(format!(
            "{}: generation {} has as many custody records as it can have",
            medium.name(),
            root.generation
        )));
    }
    let record = Record {
        number: last.as_ref().map_or(1, |last| last.number + 1),
        previous: last.as_ref().map(Record::hash),
        event,
        time,
        who: witness.who.clone(),
        host: witness.host.clone(),
        medium: root.medium,
        generation: root.generation,
        serial: root.serial,
        root: Some(current.root_hash),
        note: label(note, "a note", "custody")?,
    };
    let file = MediumFile::CustodyAfter(root.generation, RecordNumber::new(number));
    write(medium, file, &record)?;
    medium.sync_folders()?;
    Ok(record)
}

fn read(medium: &dyn Medium, file: MediumFile) -> Result<Record> {
    let place = medium.place(file);
    let len = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
    if len > u64::from(CUSTODY_MAX) {
        return Err(Error::malformed(
            place,
            format!("{len} bytes long, more than a custody record can be"),
        ));
    }
    Record::decode(&medium.read(file, 0, index64(len))?, &place)
}

/// A generation's records in order: its own, which ROOT names, and those that were added since, chained to it. None where ROOT names none.
pub fn records_of(medium: &dyn Medium, root: &Root) -> Result<Vec<Record>> {
    let Some(head) = root.custody else {
        return Ok(Vec::new());
    };
    let file = MediumFile::Custody(root.generation);
    let own = read(medium, file)?;
    if own.hash() != head {
        return Err(Error::mismatch(
            medium.place(file),
            "the custody record that ROOT names",
        ));
    }
    check_place(&own, root, true, &medium.place(file))?;
    let mut records = vec![own];
    for (at, number) in medium.custody_after(root.generation)?.into_iter().enumerate() {
        let file = MediumFile::CustodyAfter(root.generation, number);
        let place = medium.place(file);
        if usize::from(number.get()) != at + 1 {
            let missing = MediumFile::CustodyAfter(
                root.generation,
                RecordNumber::new(u16::try_from(at + 1).unwrap_or(u16::MAX)),
            );
            return Err(Error::missing(medium.place(missing)));
        }
        let record = read(medium, file)?;
        check_place(&record, root, false, &place)?;
        let before = records.last();
        if record.previous != before.map(Record::hash) {
            return Err(Error::mismatch(place, "the custody record before it"));
        }
        if Some(record.number) != before.map(|before| before.number + 1) {
            return Err(Error::malformed(place, "its number does not follow"));
        }
        records.push(record);
    }
    Ok(records)
}

/// A record stands with the generation that it is about.
fn check_place(record: &Record, root: &Root, makes: bool, place: &str) -> Result<()> {
    let about = if makes { root.previous } else { Some(root.hash()) };
    let fits = record.medium == root.medium
        && record.generation == root.generation
        && record.serial == root.serial
        && record.event.makes_a_generation() == makes
        && (!makes || (record.event == Event::Sealed) == (root.state == root::State::Sealed))
        && record.root == about;
    if fits {
        Ok(())
    } else {
        Err(Error::malformed(
            place,
            "the custody record is of another medium, generation, serial or root than the one it stands with",
        ))
    }
}

fn last_of(medium: &dyn Medium, root: &Root) -> Result<Option<Record>> {
    Ok(records_of(medium, root)?.pop())
}

/// The custody of a medium, as far back as it holds.
#[derive(Debug)]
pub struct Chain {
    /// Records, oldest first.
    pub records: Vec<Record>,
    /// Where the chain is broken, if it does not reach back to its first record.
    pub broken: Option<Error>,
}

/// Follows the chain from a generation back to the medium's first record.
#[must_use]
pub fn chain(medium: &dyn Medium, root: &Root) -> Chain {
    let mut chain = Chain {
        records: Vec::new(),
        broken: None,
    };
    if let Err(e) = follow(medium, root, &mut chain.records) {
        chain.broken = Some(e);
    }
    chain.records.reverse();
    chain
}

fn follow(medium: &dyn Medium, root: &Root, backwards: &mut Vec<Record>) -> Result<()> {
    let mut root = root.clone();
    loop {
        let mut records = records_of(medium, &root)?;
        let place = medium.place(MediumFile::Custody(root.generation));
        if records.is_empty() && !backwards.is_empty() {
            return Err(Error::missing(place));
        }
        // What came after this generation must have been made after its last record.
        if let (Some(later), Some(last)) = (backwards.last(), records.last())
            && (later.previous != Some(last.hash()) || later.number != last.number + 1)
        {
            return Err(Error::mismatch(
                place,
                "the last custody record, which the next generation follows,",
            ));
        }
        records.reverse();
        backwards.append(&mut records);
        let first = backwards.last().is_none_or(|first| first.previous.is_none());
        match root.previous {
            Some(_) if first => return Ok(()),
            Some(previous) => root = root_before(medium, &root, previous)?,
            None if first => return Ok(()),
            None => {
                return Err(Error::malformed(
                    place,
                    "a medium's first generation, whose custody record names one before it",
                ));
            }
        }
    }
}

/// The ROOT that another names as previous: numbers may have gaps.
fn root_before(medium: &dyn Medium, root: &Root, previous: PageHash) -> Result<Root> {
    let below: Vec<Generation> = medium
        .generations()?
        .into_iter()
        .filter(|g| *g < root.generation)
        .collect();
    let found = below.iter().rev().find_map(|g| {
        generation::read_root(medium, *g)
            .ok()
            .filter(|(found, hash)| *hash == previous && found.medium == root.medium)
    });
    found.map(|(root, _)| root).ok_or_else(|| {
        Error::missing(format!(
            "{}: the generation before {} ({} older ones are there)",
            medium.name(),
            root.generation,
            len64(below.len())
        ))
    })
}
