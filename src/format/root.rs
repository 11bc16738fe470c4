//! ROOT (FORMAT.md 4): the short text that a generation commits to, and that is signed.

use super::{FORMAT, ROOT_MAX};
use crate::error::{Error, Result};
use crate::ids::{MediumId, PageHash, Sha256};
use crate::units::{Generation, len64};

/// Longest origin or series, in bytes.
pub const LABEL_MAX: usize = 255;

/// Whether a generation may still be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// More generations may follow.
    Open,
    /// Finished and signed.
    Sealed,
}

/// What a generation commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The medium.
    pub medium: MediumId,
    /// Who writes this medium, as the operator named it at `init`: printable, no line breaks.
    pub origin: String,
    /// The series of disks this one belongs to.
    pub series: String,
    /// Counts changes of the series' signers, from 1.
    pub epoch: u64,
    /// Counts disks and generations of the series, from 1.
    pub serial: u64,
    /// This generation.
    pub generation: Generation,
    /// Open or sealed.
    pub state: State,
    /// BLAKE3 of the previous generation's ROOT; `None` in a medium's first.
    pub previous: Option<PageHash>,
    /// When it was committed: seconds since 1970, UTC.
    pub time: i64,
    /// Number of leaves in the catalogue.
    pub catalogue_leaves: u64,
    /// Length of the catalogue file in bytes.
    pub catalogue_bytes: u64,
    /// RFC 6962 tree hash over the catalogue's leaves.
    pub catalogue_root: Sha256,
    /// Number of packs in the pack set.
    pub packs: u32,
    /// RFC 6962 tree hash over the pack set's records.
    pub packs_root: Sha256,
    /// Head of the custody chain; `None` until there is one.
    pub custody: Option<PageHash>,
    /// FastCDC minimum, average and maximum in bytes.
    pub chunking: [u32; 3],
    /// Most plaintext in a frame, in a page, in a pack, inline: bytes.
    pub limits: [u32; 4],
}

impl Root {
    /// The canonical text: fixed keys in fixed order, one line each, LF at every end.
    #[must_use]
    pub fn encode(&self) -> String {
        let hash = |h: &Option<PageHash>| h.map_or_else(|| "-".to_owned(), |h| h.to_hex());
        let [min, avg, max] = self.chunking;
        let [frame, page, pack, inline] = self.limits;
        let state = match self.state {
            State::Open => "open",
            State::Sealed => "sealed",
        };
        format!(
            "holdall {FORMAT}\nmedium {}\norigin {}\nseries {}\nepoch {}\nserial {}\ngeneration {}\nstate {state}\n\
             previous {}\ntime {}\ncatalogue {} {} {}\npacks {} {}\ncustody {}\n\
             chunking fastcdc-2020 {min} {avg} {max}\nlimits {frame} {page} {pack} {inline}\n",
            self.medium,
            self.origin,
            self.series,
            self.epoch,
            self.serial,
            self.generation,
            hash(&self.previous),
            self.time,
            self.catalogue_leaves,
            self.catalogue_bytes,
            self.catalogue_root,
            self.packs,
            self.packs_root,
            hash(&self.custody),
        )
    }

    /// BLAKE3 of the canonical text: what a slot and the next ROOT name.
    #[must_use]
    pub fn hash(&self) -> PageHash {
        PageHash::of(self.encode().as_bytes())
    }

    /// Parses a ROOT. Text that is not canonical is malformed; another format is unsupported, by name.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let malformed = |why: &str| Error::malformed(place, why);
        if len64(bytes.len()) > u64::from(ROOT_MAX) {
            return Err(malformed("longer than 4096 bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        let mut lines = Lines {
            lines: text.split('\n'),
            place,
        };
        let format = lines.value("holdall")?;
        if format != FORMAT {
            let what = format!(
                "format {} (this version reads {FORMAT})",
                format.chars().take(32).collect::<String>().escape_debug()
            );
            return Err(Error::Unsupported {
                place: place.to_owned(),
                what,
            });
        }
        let root = Self {
            medium: MediumId::from_hex(lines.value("medium")?).map_err(|e| malformed(&e.to_string()))?,
            origin: label(lines.value("origin")?, place)?,
            series: label(lines.value("series")?, place)?,
            epoch: lines.number("epoch")?,
            serial: lines.number("serial")?,
            generation: Generation::new(lines.number("generation")?),
            state: match lines.value("state")? {
                "open" => State::Open,
                "sealed" => State::Sealed,
                _ => return Err(malformed("state is neither open nor sealed")),
            },
            previous: lines.hash("previous")?,
            time: lines.number("time")?,
            catalogue_leaves: 0,
            catalogue_bytes: 0,
            catalogue_root: Sha256::default(),
            packs: 0,
            packs_root: Sha256::default(),
            custody: None,
            chunking: [0; 3],
            limits: [0; 4],
        };
        let [leaves, bytes_, croot] = lines.fields("catalogue")?;
        let [packs, proot] = lines.fields("packs")?;
        let custody = lines.hash("custody")?;
        let ["fastcdc-2020", min, avg, max] = lines.fields("chunking")? else {
            return Err(Error::Unsupported {
                place: place.to_owned(),
                what: "its chunking".to_owned(),
            });
        };
        let [frame, page, pack, inline] = lines.fields("limits")?;
        let sha = |t: &str| Sha256::from_hex(t).map_err(|e| malformed(&e.to_string()));
        let root = Self {
            catalogue_leaves: lines.parse(leaves)?,
            catalogue_bytes: lines.parse(bytes_)?,
            catalogue_root: sha(croot)?,
            packs: lines.parse(packs)?,
            packs_root: sha(proot)?,
            custody,
            chunking: [lines.parse(min)?, lines.parse(avg)?, lines.parse(max)?],
            limits: [
                lines.parse(frame)?,
                lines.parse(page)?,
                lines.parse(pack)?,
                lines.parse(inline)?,
            ],
            ..root
        };
        // Canonical: the same values have one text only, so what is signed is what was read.
        if root.encode().as_bytes() != bytes {
            return Err(malformed("not in canonical form"));
        }
        if root.limits
            != [
                super::FRAME_PLAIN_MAX,
                super::PAGE_MAX,
                super::PACK_MAX,
                super::INLINE_MAX,
            ]
        {
            return Err(Error::Unsupported {
                place: place.to_owned(),
                what: "limits other than this format's".to_owned(),
            });
        }
        Ok(root)
    }
}

/// Validates an origin or series: 1 to 255 bytes, no control characters.
pub fn label(text: &str, place: &str) -> Result<String> {
    if text.is_empty() || text.len() > LABEL_MAX || text.chars().any(char::is_control) || text.trim() != text
    {
        return Err(Error::malformed(
            place,
            "origin and series are 1 to 255 bytes of text, without line breaks or outer spaces",
        ));
    }
    Ok(text.to_owned())
}

struct Lines<'a> {
    lines: std::str::Split<'a, char>,
    place: &'a str,
}

impl<'a> Lines<'a> {
    fn value(&mut self, key: &str) -> Result<&'a str> {
        self.lines
            .next()
            .and_then(|line| line.strip_prefix(key))
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| {
                Error::malformed(self.place, format!("the line '{key}' is not where it should be"))
            })
    }

    fn fields<const N: usize>(&mut self, key: &str) -> Result<[&'a str; N]> {
        let fields: Vec<&str> = self.value(key)?.splitn(N + 1, ' ').collect();
        fields
            .try_into()
            .map_err(|_| Error::malformed(self.place, format!("the line '{key}' has not {N} fields")))
    }

    fn parse<T: std::str::FromStr>(&self, text: &str) -> Result<T> {
        text.parse()
            .map_err(|_| Error::malformed(self.place, "a number is out of range or no number"))
    }

    fn number<T: std::str::FromStr>(&mut self, key: &str) -> Result<T> {
        let text = self.value(key)?;
        self.parse(text)
    }

    fn hash(&mut self, key: &str) -> Result<Option<PageHash>> {
        match self.value(key)? {
            "-" => Ok(None),
            hex => PageHash::from_hex(hex)
                .map(Some)
                .map_err(|e| Error::malformed(self.place, e.to_string())),
        }
    }
}
