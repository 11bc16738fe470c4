//! A small table of the node's own: what must survive a crash and is found nowhere else. RocksDB, on the
//! host's disk only.
//!
//! Unlike the [`Index`](super::Index) it mirrors nothing: it is never thrown away. It does not know what its
//! keys and values mean.

use crate::error::{Error, Result};
use rocksdb::{BlockBasedOptions, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};

/// An ordered table of bytes, in a folder of its own. One process at a time has it open.
pub struct Table {
    path: PathBuf,
    db: DB,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// Changes that are made all together or not at all; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    list: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Changes {
    /// Sets the value of a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.list.push((key.into(), Some(value.into())));
    }

    /// Takes a key away; no matter if it is not there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.list.push((key.into(), None));
    }
}

impl Table {
    /// Opens the table in `folder`, making both where they are not there. Another process that has it open, or a
    /// table that is damaged, is an error that names the folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |why: String| Error::State {
            place: folder.display().to_string(),
            why,
        };
        std::fs::create_dir_all(folder).map_err(|e| failed(format!("its folder cannot be made: {e}")))?;
        let db = DB::open(&options(), folder).map_err(|e| {
            if e.kind() == rocksdb::ErrorKind::IOError && e.to_string().contains("lock") {
                failed(format!("another process uses it: {e}"))
            } else {
                failed(e.to_string())
            }
        })?;
        Ok(Self {
            path: folder.to_owned(),
            db,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> impl Fn(rocksdb::Error) -> Error + '_ {
        |e| Error::State {
            place: self.path.display().to_string(),
            why: e.to_string(),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(self.failed())
    }

    /// The keys that begin with `prefix` and are not before `from`, with their values, in byte order, as they
    /// were when this was called.
    pub fn scan<'a>(&'a self, prefix: &'a [u8], from: &[u8]) -> impl Iterator<Item = Result<Row>> + 'a {
        let start = prefix.max(from);
        let failed = self.failed();
        self.db
            .iterator(IteratorMode::From(start, Direction::Forward))
            .map(move |row| row.map_err(&failed))
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
    }

    /// Makes the changes, all or none. They are durable when this returns.
    pub fn write(&self, changes: Changes) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in changes.list {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        self.db.write_opt(batch, &sync).map_err(self.failed())
    }
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    // Damage is noticed by the checksums of blocks and of the log; what RocksDB cannot read is an error here.
    table.set_format_version(5);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    // What is reserved beforehand counts on the node's disk: by default four mebibytes for a list of files alone.
    options.set_manifest_preallocation_size(16 * 1024);
    options.set_write_buffer_size(256 * 1024);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(32);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(2 * 1024 * 1024);
    // A torn record at the end of the log was never promised; one before the end is damage.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(list: &[(&str, Option<&str>)]) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in list {
            match value {
                Some(value) => changes.put(*key, *value),
                None => changes.delete(*key),
            }
        }
        changes
    }

    fn keys(table: &Table, prefix: &str, from: &str) -> Vec<String> {
        table
            .scan(prefix.as_bytes(), from.as_bytes())
            .map(|row| String::from_utf8(row.unwrap().0.into()).unwrap())
            .collect()
    }

    #[test]
    fn a_table_gives_back_in_order_what_was_written_before_it_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        {
            let table = Table::open(folder.path()).unwrap();
            table
                .write(changes(&[
                    ("a/2", Some("x")),
                    ("a/1", Some("y")),
                    ("b", Some("z")),
                ]))
                .unwrap();
            table.write(changes(&[("a/2", Some("w")), ("b", None)])).unwrap();
        }
        let table = Table::open(folder.path()).unwrap();
        assert_eq!(table.get(b"a/2").unwrap().unwrap(), b"w");
        assert_eq!(table.get(b"b").unwrap(), None);
        assert_eq!(keys(&table, "a/", ""), ["a/1", "a/2"]);
        assert_eq!(keys(&table, "a/", "a/1\0"), ["a/2"]);
        assert!(keys(&table, "c", "").is_empty());
    }

    #[test]
    fn a_table_in_use_is_refused_by_the_name_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _held = Table::open(folder.path()).unwrap();
        let message = Table::open(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(folder.path().to_str().unwrap()) && message.contains("another process"),
            "{message}"
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the table is damaged on purpose")]
    fn a_damaged_table_is_an_error_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        drop(Table::open(folder.path()).unwrap());
        std::fs::write(folder.path().join("CURRENT"), "MANIFEST-999999\n").unwrap();
        assert!(matches!(Table::open(folder.path()), Err(Error::State { .. })));
        let current = std::fs::read_to_string(folder.path().join("CURRENT")).unwrap();
        assert_eq!(current, "MANIFEST-999999\n");
    }
}
