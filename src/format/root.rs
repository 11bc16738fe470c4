//! ROOT (FORMAT.md 4): the short text that a generation commits to, and that is signed.

use super::features::Features;
use super::lines::{self, Lines};
use super::{FORMAT, ROOT_MAX};
use crate::error::{Error, Result};
use crate::ids::{MediumId, PageHash, Sha256};
use crate::units::{Generation, len64};

/// Whether a generation may still be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// More generations may follow.
    Open,
    /// Finished, so that it can be signed.
    Sealed,
}

/// What a generation commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What it makes use of besides version 1.
    pub features: Features,
    /// The medium.
    pub medium: MediumId,
    /// Who writes this medium, as the operator named it at `init`: a label.
    pub origin: String,
    /// The series of disks this one belongs to.
    pub series: String,
    /// Counts changes of the series' signers, from 1.
    pub epoch: u64,
    /// Orders the sealed generations of the series, over all its media, from 1.
    pub serial: u64,
    /// This generation.
    pub generation: Generation,
    /// Open or sealed.
    pub state: State,
    /// BLAKE3 of the previous generation's ROOT; `None` in a medium's first.
    pub previous: Option<PageHash>,
    /// When it was committed: seconds since 1970, UTC.
    pub time: i64,
    /// When it should no longer be used, likewise; `None` where it does not say.
    pub expires: Option<i64>,
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
            "holdall {FORMAT}\n{}medium {}\norigin {}\nseries {}\nepoch {}\nserial {}\ngeneration {}\nstate {state}\n\
             previous {}\ntime {}\nexpires {}\ncatalogue {} {} {}\npacks {} {}\ncustody {}\n\
             chunking fastcdc-2020 {min} {avg} {max}\nlimits {frame} {page} {pack} {inline}\n",
            self.features.encode(),
            self.medium,
            self.origin,
            self.series,
            self.epoch,
            self.serial,
            self.generation,
            hash(&self.previous),
            self.time,
            self.expires
                .map_or_else(|| "-".to_owned(), |time| time.to_string()),
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

    /// Parses a ROOT. Text that is not canonical is malformed; another format, or an incompatible feature, is unsupported, by name.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let malformed = |why: &str| Error::malformed(place, why);
        if len64(bytes.len()) > u64::from(ROOT_MAX) {
            return Err(malformed("longer than 4096 bytes"));
        }
        let text = lines::text(bytes, place)?;
        let mut lines = Lines::new(text, place);
        lines.format("holdall")?;
        let features = Features::read(&mut lines)?;
        let root = Self {
            features,
            medium: MediumId::from_hex(lines.value("medium")?).map_err(|e| malformed(&e.to_string()))?,
            origin: lines::label(lines.value("origin")?, "origin", place)?,
            series: lines::label(lines.value("series")?, "series", place)?,
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
            expires: match lines.value("expires")? {
                "-" => None,
                number => Some(lines.parse(number)?),
            },
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
        if root.epoch == 0 || root.serial == 0 || root.generation.get() == 0 {
            return Err(malformed("epoch, serial and generation count from 1"));
        }
        if root.packs > super::PACKS_MAX {
            return Err(malformed("more packs than a generation can have"));
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
