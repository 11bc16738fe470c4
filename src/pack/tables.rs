//! A whole pack's tables, page by page, under its leaf.

use crate::error::{Error, Result};
use crate::format::codec::Decoder;
use crate::format::pack::{
    CHUNK_RECORD_LEN, CHUNKS_PER_PAGE, ChunkRecord, FOOTER_LEN, FRAME_RECORD_LEN, FRAMES_PER_PAGE, Footer,
    FrameRecord, HEADER_LEN, SetRecord, check_header,
};
use crate::ids::{MediumId, PageHash};
use crate::medium::{Medium, MediumFile};
use crate::units::{PackNumber, index, len32, len64};
use bytes::Bytes;

/// The tables of one pack; only the page list (32 bytes for each 64 KiB of tables) is held.
#[derive(Debug)]
pub struct PackTables<'a> {
    medium: &'a dyn Medium,
    footer: Footer,
    page_hashes: Vec<PageHash>,
}

impl<'a> PackTables<'a> {
    /// Opens the tables of a pack that a generation lists: length, header, footer against the leaf,
    /// page list.
    pub fn open(medium: &'a dyn Medium, medium_id: &MediumId, record: &SetRecord) -> Result<Self> {
        let file = MediumFile::Pack(record.number);
        let place = medium.place(file);
        let found = medium.len(file)?.ok_or_else(|| Error::missing(&place))?;
        if found != u64::from(record.pack_bytes) {
            return Err(Error::malformed(
                place,
                format!(
                    "{found} bytes long, where the pack set says {}",
                    record.pack_bytes
                ),
            ));
        }
        let tables = Self::open_unlisted(medium, medium_id, record.number, found)?;
        if tables.footer.leaf() != record.leaf {
            return Err(Error::mismatch(place, "the pack's footer against the pack set"));
        }
        Ok(tables)
    }

    /// Opens the tables of a pack by what it says itself.
    pub(super) fn open_unlisted(
        medium: &'a dyn Medium,
        medium_id: &MediumId,
        number: PackNumber,
        pack_bytes: u64,
    ) -> Result<Self> {
        let file = MediumFile::Pack(number);
        let place = medium.place(file);
        if pack_bytes < len64(HEADER_LEN + FOOTER_LEN) {
            return Err(Error::malformed(place, "cut short"));
        }
        check_header(&medium.read(file, 0, HEADER_LEN)?, medium_id, number, &place)?;
        let footer_at = pack_bytes - len64(FOOTER_LEN);
        let footer = Footer::decode(
            &medium.read(file, footer_at, FOOTER_LEN)?,
            medium_id,
            number,
            pack_bytes,
            &place,
        )?;
        let (frame_pages, chunk_pages) = footer.pages();
        let list_bytes = 32 * (frame_pages + chunk_pages);
        let list = medium.read(file, footer_at - len64(list_bytes), list_bytes)?;
        if PageHash::of(&list) != footer.pages_hash {
            return Err(Error::mismatch(place, "the pack's page list"));
        }
        let (hashes, _) = list.as_chunks::<32>();
        let page_hashes = hashes.iter().map(|h| PageHash::from_bytes(*h)).collect();
        Ok(Self {
            medium,
            footer,
            page_hashes,
        })
    }

    /// The footer.
    #[must_use]
    pub const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Calls `each` with every frame's record, in order; they must follow each other without gaps.
    pub fn frames(&self, mut each: impl FnMut(u32, FrameRecord) -> Result<()>) -> Result<()> {
        let place = self.medium.place(MediumFile::Pack(self.footer.number));
        let mut expected = len32(HEADER_LEN);
        let mut number = 0;
        for page in 0..self.footer.pages().0 {
            let bytes = self.page(
                page,
                u64::from(self.footer.tables.get()),
                FRAMES_PER_PAGE * FRAME_RECORD_LEN,
                self.footer.frames,
                FRAME_RECORD_LEN,
                page,
            )?;
            let mut from = Decoder::new(&bytes, &place);
            while from.remaining() > 0 {
                let record = FrameRecord::decode(&mut from)?;
                if record.offset.get() != expected {
                    return Err(Error::malformed(
                        &place,
                        format!("frame {number} is not where the one before it ends"),
                    ));
                }
                expected = expected.saturating_add(record.frame_bytes);
                each(number, record)?;
                number += 1;
            }
        }
        if expected != self.footer.tables.get() {
            return Err(Error::malformed(
                place,
                "the frames do not end where the tables begin",
            ));
        }
        Ok(())
    }

    /// Calls `each` with every chunk's record, in order.
    pub fn chunks(&self, mut each: impl FnMut(ChunkRecord) -> Result<()>) -> Result<()> {
        let place = self.medium.place(MediumFile::Pack(self.footer.number));
        let (frame_pages, chunk_pages) = self.footer.pages();
        let base = u64::from(self.footer.tables.get()) + len64(index(self.footer.frames) * FRAME_RECORD_LEN);
        for page in 0..chunk_pages {
            let bytes = self.page(
                page,
                base,
                CHUNKS_PER_PAGE * CHUNK_RECORD_LEN,
                self.footer.chunks,
                CHUNK_RECORD_LEN,
                frame_pages + page,
            )?;
            let mut from = Decoder::new(&bytes, &place);
            while from.remaining() > 0 {
                each(ChunkRecord::decode(&mut from)?)?;
            }
        }
        Ok(())
    }

    fn page(
        &self,
        page: usize,
        base: u64,
        full: usize,
        records: u32,
        record_len: usize,
        hash_at: usize,
    ) -> Result<Bytes> {
        let file = MediumFile::Pack(self.footer.number);
        let len = full.min(index(records) * record_len - page * full);
        let bytes = self.medium.read(file, base + len64(page * full), len)?;
        if self.page_hashes.get(hash_at) != Some(&PageHash::of(&bytes)) {
            return Err(Error::mismatch(
                self.medium.place(file),
                "a page of the pack's tables",
            ));
        }
        Ok(bytes)
    }
}
