//! Custody records (FORMAT.md 14): what was done, by whom, where and when, each naming the one before it.

use super::lines::{self, Lines};
use super::{CUSTODY_MAX, FORMAT};
use crate::error::{Error, Result};
use crate::ids::{MediumId, PageHash};
use crate::units::{Generation, len64};
use std::fmt;

/// What happened. The first four are a medium's, the others a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The medium was made.
    Created,
    /// A generation was added.
    Added,
    /// A generation was sealed.
    Sealed,
    /// A sealed generation was signed.
    Signed,
    /// It was mounted.
    Mounted,
    /// It was served.
    Served,
    /// It was verified.
    Verified,
    /// It was refused.
    Refused,
}

impl Event {
    const ALL: [Self; 8] = [
        Self::Created,
        Self::Added,
        Self::Sealed,
        Self::Signed,
        Self::Mounted,
        Self::Served,
        Self::Verified,
        Self::Refused,
    ];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Added => "added",
            Self::Sealed => "sealed",
            Self::Signed => "signed",
            Self::Mounted => "mounted",
            Self::Served => "served",
            Self::Verified => "verified",
            Self::Refused => "refused",
        }
    }

    /// Whether a generation is made by it.
    #[must_use]
    pub const fn makes_a_generation(self) -> bool {
        matches!(self, Self::Created | Self::Added | Self::Sealed)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// One more than that of the record before, from 1.
    pub number: u64,
    /// BLAKE3 of the record before; `None` in the first.
    pub previous: Option<PageHash>,
    /// What happened.
    pub event: Event,
    /// When: seconds since 1970, UTC.
    pub time: i64,
    /// The user.
    pub who: String,
    /// The host.
    pub host: String,
    /// The medium.
    pub medium: MediumId,
    /// The generation that the event makes, or is about.
    pub generation: Generation,
    /// That generation's serial.
    pub serial: u64,
    /// BLAKE3 of the ROOT before, where the event makes a generation; else of the generation's own.
    pub root: Option<PageHash>,
    /// More, as FORMAT.md 14 has it; `-` where there is nothing.
    pub note: String,
}

impl Record {
    /// The canonical text.
    #[must_use]
    pub fn encode(&self) -> String {
        let hash = |h: &Option<PageHash>| h.map_or_else(|| "-".to_owned(), |h| h.to_hex());
        format!(
            "holdall-custody {FORMAT}\nnumber {}\nprevious {}\nevent {}\ntime {}\nwho {}\nhost {}\nmedium {}\n\
             generation {}\nserial {}\nroot {}\nnote {}\n",
            self.number,
            hash(&self.previous),
            self.event,
            self.time,
            self.who,
            self.host,
            self.medium,
            self.generation,
            self.serial,
            hash(&self.root),
            self.note,
        )
    }

    /// BLAKE3 of the canonical text: what the next record and ROOT name.
    #[must_use]
    pub fn hash(&self) -> PageHash {
        PageHash::of(self.encode().as_bytes())
    }

    /// Reads a record, which must be all of these bytes.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        if len64(bytes.len()) > u64::from(CUSTODY_MAX) {
            return Err(Error::malformed(place, "longer than 2048 bytes"));
        }
        let mut lines = Lines::new(lines::text(bytes, place)?, place);
        let record = Self::read(&mut lines, place)?;
        if record.encode().as_bytes() != bytes {
            return Err(Error::malformed(place, "not in canonical form"));
        }
        if record.number == 0 || record.generation.get() == 0 || record.serial == 0 {
            return Err(Error::malformed(
                place,
                "number, generation and serial count from 1",
            ));
        }
        Ok(record)
    }

    /// Reads the next record of a log. Whether it was canonical is for the caller to see.
    fn read(lines: &mut Lines<'_>, place: &str) -> Result<Self> {
        lines.format("holdall-custody")?;
        Ok(Self {
            number: lines.number("number")?,
            previous: lines.hash("previous")?,
            event: {
                let word = lines.value("event")?;
                Event::ALL
                    .into_iter()
                    .find(|event| event.name() == word)
                    .ok_or_else(|| Error::malformed(place, "an event that is none"))?
            },
            time: lines.number("time")?,
            who: lines::label(lines.value("who")?, "who", place)?,
            host: lines::label(lines.value("host")?, "host", place)?,
            medium: MediumId::from_hex(lines.value("medium")?)
                .map_err(|e| Error::malformed(place, e.to_string()))?,
            generation: Generation::new(lines.number("generation")?),
            serial: lines.number("serial")?,
            root: lines.hash("root")?,
            note: lines::label(lines.value("note")?, "note", place)?,
        })
    }

    /// Reads the first record of a log, and what follows it.
    pub fn decode_first<'a>(log: &'a str, place: &str) -> Result<(Self, &'a str)> {
        let end = log
            .match_indices('\n')
            .nth(Self::LINES - 1)
            .map(|(at, _)| at + 1)
            .ok_or_else(|| Error::malformed(place, "the last record is cut short"))?;
        let (first, rest) = log
            .split_at_checked(end)
            .ok_or_else(|| Error::malformed(place, "the last record is cut short"))?;
        Ok((Self::decode(first.as_bytes(), place)?, rest))
    }

    /// Lines of a record.
    pub const LINES: usize = 12;
}
