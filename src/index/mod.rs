//! The host's own index: which chunks a medium holds, and where. RocksDB, on the host's disk only.
//!
//! A cache of what the packs' tables say. It records the ROOT it mirrors; whoever finds another ROOT
//! on the medium (a crash, a clone, another writer, a rollback) builds it anew before deduplicating
//! against it. Nothing in it is needed to read a disk. What chunks look like, by which bases of deltas are found, stands in no
//! pack's tables: it stays when the rest is built anew, and is only a guess, looked at before it is used.

mod rebuilt;
mod table;

pub use rebuilt::RebuiltWindows;
pub use table::{Changes, Row, Table};

use crate::error::{Error, Result};
use crate::format::codec::{Decoder, Encoder};
use crate::format::content::Place;
use crate::format::frame::FrameKind;
use crate::format::pack::{ChunkRecord, FrameRecord};
use crate::ids::{ChunkId, MediumId, PageHash, Sha256};
use crate::sketch::Feature;
use crate::units::{PackNumber, index};
use rocksdb::{BlockBasedOptions, Cache, DB, Options, WriteBatch, WriteOptions};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const CHUNK: u8 = b'c';
const RECORD: u8 = b'b';
const FEATURE: u8 = b'f';
/// Packs whose features are here, each with its leaf: after a rollback another pack may have the number.
const LEARNT: u8 = b'g';
/// Bits of a feature that are its key: with fewer than 2^25 rows of some 20 bytes the index stays bounded, whatever is written.
/// Two features with one key cost no more than a wrong guess.
const FEATURE_BITS: u32 = 25;
const MIRRORS: &[u8] = b"mirrors";
const VERSION: &[u8] = b"1:";
/// Rows written at once.
const BATCH: usize = 4096;

/// Where a chunk is, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChunk {
    /// Where.
    pub place: Place,
    /// Bytes of plaintext.
    pub len: u32,
}

/// The index of one medium.
pub struct Index {
    path: PathBuf,
    db: DB,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the index of that medium in the host's state folder, making it where it is not there.
    /// One that RocksDB cannot open is thrown away: it holds nothing that the packs do not.
    pub fn open(state: &Path, medium: &MediumId) -> Result<Self> {
        let path = state.join("index").join(medium.to_hex());
        std::fs::create_dir_all(&path).map_err(|e| Error::Index {
            place: path.display().to_string(),
            why: format!("its folder cannot be made: {e}; --state names another"),
        })?;
        let db = match DB::open(&options(), &path) {
            Ok(db) => db,
            Err(e) if e.kind() == rocksdb::ErrorKind::IOError && e.to_string().contains("lock") => {
                return Err(Error::Index {
                    place: path.display().to_string(),
                    why: format!("another process uses it: {e}"),
                });
            }
            Err(_) => {
                let failed = |e: rocksdb::Error| Error::Index {
                    place: path.display().to_string(),
                    why: e.to_string(),
                };
                DB::destroy(&options(), &path).map_err(failed)?;
                DB::open(&options(), &path).map_err(failed)?
            }
        };
        Ok(Self { path, db })
    }

    fn failed(&self) -> impl Fn(rocksdb::Error) -> Error + '_ {
        |e| Error::Index {
            place: self.path.display().to_string(),
            why: e.to_string(),
        }
    }

    /// True where the index was left whole, mirroring that ROOT.
    pub fn mirrors(&self, root: &PageHash) -> Result<bool> {
        let found = self.db.get(MIRRORS).map_err(self.failed())?;
        Ok(found.is_some_and(|f| f.strip_prefix(VERSION) == Some(root.as_bytes())))
    }

    /// Says, durably, that the index mirrors nothing: before anything is changed in it.
    pub fn unsettle(&self) -> Result<()> {
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        self.db.delete_opt(MIRRORS, &sync).map_err(self.failed())
    }

    /// Says that the index mirrors that ROOT, after making everything in it durable.
    pub fn settle(&self, root: &PageHash) -> Result<()> {
        self.db.flush().map_err(self.failed())?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        self.db
            .put_opt(MIRRORS, [VERSION, root.as_bytes()].concat(), &sync)
            .map_err(self.failed())
    }

    /// Forgets everything but the features, which no pack's tables can give back: they are guesses, and looked at before use.
    pub fn clear(&self) -> Result<()> {
        self.unsettle()?;
        // From the empty key to past every key that is written here.
        let mut batch = WriteBatch::default();
        batch.delete_range([0_u8].as_slice(), [FEATURE].as_slice());
        batch.delete_range([LEARNT + 1].as_slice(), [0xff_u8; 40].as_slice());
        self.db.write(batch).map_err(self.failed())
    }

    /// The chunk, if a pack that the index knows holds it.
    pub fn chunk(&self, id: &ChunkId) -> Result<Option<KnownChunk>> {
        let Some(found) = self
            .db
            .get_pinned(key(CHUNK, id.as_bytes()))
            .map_err(self.failed())?
        else {
            return Ok(None);
        };
        let place = self.path.display().to_string();
        let mut from = Decoder::new(&found, &place);
        let known = KnownChunk {
            place: Place::decode(&mut from)?,
            len: from.u32()?,
        };
        from.end()?;
        Ok(Some(known))
    }

    /// Enters the chunks of a pack that is whole and durable. Pages and records are left out: nothing
    /// is deduplicated against them.
    pub fn put_pack(&self, number: PackNumber, frames: &[FrameRecord], chunks: &[ChunkRecord]) -> Result<()> {
        for part in chunks.chunks(BATCH) {
            let mut batch = WriteBatch::default();
            for chunk in part {
                let Some(frame) = frames.get(index(chunk.frame)) else {
                    return Err(Error::malformed(
                        format!("pack {number}"),
                        format!(
                            "chunk {} is in frame {}, which is not there",
                            chunk.id, chunk.frame
                        ),
                    ));
                };
                if frame.kind != FrameKind::Plaintext {
                    continue;
                }
                if u64::from(chunk.start) + u64::from(chunk.len) > u64::from(frame.plain_bytes) {
                    let why = format!("chunk {} reaches past the end of frame {}", chunk.id, chunk.frame);
                    return Err(Error::malformed(format!("pack {number}"), why));
                }
                let place = Place {
                    pack: number,
                    frame: frame.offset,
                    frame_bytes: frame.frame_bytes,
                    start: chunk.start,
                };
                let mut value = Encoder::new();
                place.encode(&mut value);
                value.u32(chunk.len);
                batch.put(key(CHUNK, chunk.id.as_bytes()), value.finish());
            }
            self.db.write_opt(batch, &unlogged()).map_err(self.failed())?;
        }
        Ok(())
    }

    /// A frame that has that feature, the one entered last. Only a guess: whoever uses it looks.
    pub fn feature(&self, feature: Feature) -> Result<Option<Place>> {
        let Some(found) = self.db.get_pinned(feature_key(feature)).map_err(self.failed())? else {
            return Ok(None);
        };
        let place = self.path.display().to_string();
        let mut from = Decoder::new(&found, &place);
        let frame = Place::decode(&mut from)?;
        from.end()?;
        Ok(Some(frame))
    }

    /// Says that the features of the pack with that number and leaf are here, all that it has.
    pub fn learn(&self, pack: PackNumber, leaf: &PageHash) -> Result<()> {
        let key = key(LEARNT, &pack.get().to_be_bytes());
        self.db
            .put_opt(key, leaf.as_bytes(), &unlogged())
            .map_err(self.failed())
    }

    /// Whether the features of the pack with that number and leaf are here.
    pub fn has_learnt(&self, pack: PackNumber, leaf: &PageHash) -> Result<bool> {
        let key = key(LEARNT, &pack.get().to_be_bytes());
        let found = self.db.get_pinned(key).map_err(self.failed())?;
        Ok(found.is_some_and(|found| found.as_ref() == leaf.as_bytes()))
    }

    /// Enters features of a pack: some, or all.
    pub fn add_features(&self, features: &HashMap<Feature, Place>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (n, (feature, place)) in features.iter().enumerate() {
            let mut value = Encoder::new();
            place.encode(&mut value);
            batch.put(feature_key(*feature), value.finish());
            if n % BATCH == BATCH - 1 {
                let full = std::mem::take(&mut batch);
                self.db.write_opt(full, &unlogged()).map_err(self.failed())?;
            }
        }
        self.db.write_opt(batch, &unlogged()).map_err(self.failed())
    }

    /// The record of a blob that an interrupted run finished: an encoded catalogue leaf.
    pub fn record(&self, digest: &Sha256) -> Result<Option<Vec<u8>>> {
        self.db.get(key(RECORD, digest.as_bytes())).map_err(self.failed())
    }

    /// Enters such a record.
    pub fn put_record(&self, digest: &Sha256, record: &[u8]) -> Result<()> {
        self.db
            .put_opt(key(RECORD, digest.as_bytes()), record, &unlogged())
            .map_err(self.failed())
    }
}

fn key(space: u8, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(space);
    key.extend_from_slice(id);
    key
}

fn feature_key(feature: Feature) -> Vec<u8> {
    key(
        FEATURE,
        &(feature >> (Feature::BITS - FEATURE_BITS)).to_be_bytes(),
    )
}

/// Nothing is logged: after a crash the index mirrors nothing, and is built anew.
fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    // Keys are hashes: a filter spares the reads of chunks that are new, which is most of them.
    table.set_bloom_filter(10.0, false);
    table.set_block_cache(&Cache::new_lru_cache(16 * 1024 * 1024));
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(16 * 1024 * 1024);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(256);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(4 * 1024 * 1024);
    options
}
