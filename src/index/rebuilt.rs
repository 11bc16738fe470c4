//! Windows of layers that were made again, kept on the node's own disk so that they need not be made twice: the oldest make room
//! for new ones. RocksDB, on the host's disk only.
//!
//! It is a cache: it may be thrown away, and what it gives back is checked like anything else before a byte leaves.

use crate::error::{Error, Result};
use crate::ids::BlobId;
use rocksdb::{BlockBasedOptions, DB, DBCompactionStyle, FifoCompactOptions, Options, WriteOptions};
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they become a file; as much may be kept beyond the limit.
const FILE: u64 = 16 * 1024 * 1024;

/// The windows kept. One process at a time has them open.
pub struct RebuiltWindows {
    path: PathBuf,
    db: DB,
}

impl std::fmt::Debug for RebuiltWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RebuiltWindows")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl RebuiltWindows {
    /// Opens the cache in `folder`, making it where it is not there, for at most about `most_bytes` bytes on the disk.
    pub fn open(folder: &Path, most_bytes: u64) -> Result<Self> {
        let failed = |why: String| Error::State {
            place: folder.display().to_string(),
            why,
        };
        std::fs::create_dir_all(folder).map_err(|e| failed(format!("its folder cannot be made: {e}")))?;
        let open = || DB::open(&options(most_bytes), folder);
        let db = match open() {
            Ok(db) => db,
            Err(e) if e.kind() == rocksdb::ErrorKind::IOError && e.to_string().contains("lock") => {
                return Err(failed(format!("another process uses it: {e}")));
            }
            // Damaged, or of another version: it is only a cache.
            Err(_) => {
                DB::destroy(&Options::default(), folder).map_err(|e| failed(e.to_string()))?;
                open().map_err(|e| failed(e.to_string()))?
            }
        };
        Ok(Self {
            path: folder.to_owned(),
            db,
        })
    }

    fn failed(&self) -> impl Fn(rocksdb::Error) -> Error + '_ {
        |e| Error::State {
            place: self.path.display().to_string(),
            why: e.to_string(),
        }
    }

    /// The bytes kept of that window of that layer, if there are any. They are as the node's disk gave them: check them.
    pub fn get(&self, layer: &BlobId, window: u64) -> Result<Option<Vec<u8>>> {
        self.db.get(key(layer, window)).map_err(self.failed())
    }

    /// Whether there are any bytes kept of that window of that layer.
    pub fn has(&self, layer: &BlobId, window: u64) -> bool {
        matches!(self.db.get_pinned(key(layer, window)), Ok(Some(_)))
    }

    /// Keeps a window. Durable some time later, or not at all.
    pub fn put(&self, layer: &BlobId, window: u64, bytes: &[u8]) -> Result<()> {
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.db
            .put_opt(key(layer, window), bytes, &unlogged)
            .map_err(self.failed())
    }
}

impl Drop for RebuiltWindows {
    fn drop(&mut self) {
        let _what_is_lost_is_made_again = self.db.flush();
    }
}

fn key(layer: &BlobId, window: u64) -> Vec<u8> {
    [layer.as_bytes().as_slice(), &window.to_be_bytes()].concat()
}

fn options(most_bytes: u64) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    // A window is read once in a while, and whole: the memory is better spent on frames.
    table.disable_cache();
    let mut fifo = FifoCompactOptions::default();
    fifo.set_max_table_files_size(most_bytes);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compaction_style(DBCompactionStyle::Fifo);
    options.set_fifo_compaction_options(&fifo);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_write_buffer_size(crate::units::index64(FILE.min(most_bytes / 4).max(64 * 1024)));
    options.set_max_write_buffer_number(2);
    // By size alone: windows do not grow old, and then few files need be open at once.
    options.set_ttl(0);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(2);
    options.set_manifest_preallocation_size(16 * 1024);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(n: u8) -> BlobId {
        BlobId::of(&[n])
    }

    /// Bytes of the tables in the folder.
    fn on_disk(folder: &Path) -> u64 {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let tables = files.filter(|file| file.path().extension().is_some_and(|e| e == "sst"));
        tables.map(|file| file.metadata().unwrap().len()).sum()
    }

    #[test]
    fn windows_outlive_the_process_and_belong_to_their_layer() {
        let folder = tempfile::tempdir().unwrap();
        {
            let kept = RebuiltWindows::open(folder.path(), 1 << 20).unwrap();
            kept.put(&layer(1), 0, b"first").unwrap();
            kept.put(&layer(1), 1, b"second").unwrap();
        }
        let kept = RebuiltWindows::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(kept.get(&layer(1), 1).unwrap().unwrap(), b"second");
        assert_eq!(kept.get(&layer(2), 0).unwrap(), None);
    }

    #[test]
    fn the_oldest_make_room_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (most, window) = (4 << 20, vec![7; 256 << 10]);
        {
            let kept = RebuiltWindows::open(folder.path(), most).unwrap();
            for n in 0..100 {
                kept.put(&layer(1), n, &window).unwrap();
            }
        }
        let kept = RebuiltWindows::open(folder.path(), most).unwrap();
        kept.put(&layer(1), 100, &window).unwrap();
        assert_eq!(kept.get(&layer(1), 0).unwrap(), None);
        assert!(kept.get(&layer(1), 99).unwrap().is_some());
        assert!(
            on_disk(folder.path()) <= most + (2 << 20),
            "{}",
            on_disk(folder.path())
        );
    }
}
