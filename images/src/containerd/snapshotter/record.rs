//! Snapshots as the node's state holds them: names to records, and parents to children.

use super::error::{Result, SnapshotError};
use holdall::ids::Sha256;
use holdall::index::{Changes, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest name of a snapshot, and longest label with its value, in bytes.
pub const MAX_NAME: usize = 4096;
/// Most labels of one snapshot.
pub const MAX_LABELS: usize = 256;

/// Labels by name. One with an empty value is one that is not there.
pub type Labels = BTreeMap<String, String>;

/// What kind of snapshot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To be mounted read-only.
    View,
    /// To be mounted and written.
    Active,
    /// Finished: others may stand on it.
    Committed,
}

/// Room taken on the node's own disk, parents not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes, as blocks of the file system.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What is told of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name; of one that is not committed, its key.
    pub name: String,
    /// Its parent's name; empty for none.
    pub parent: String,
    /// Its kind.
    pub kind: Kind,
    /// When it was made or committed.
    pub created: SystemTime,
    /// When it was made, committed or labelled.
    pub updated: SystemTime,
    /// Its labels.
    pub labels: Labels,
}

/// A snapshot's record: what is kept under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Number of its folder. A chain has a number too, but no folder.
    pub id: u64,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parent: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    pub updated: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    #[serde(default)]
    pub usage: Usage,
    /// The disk's chain that it stands for: hex of the chainID. None for an ordinary snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

impl Record {
    pub fn info(&self, name: &str) -> Info {
        Info {
            name: name.to_owned(),
            parent: self.parent.clone(),
            kind: self.kind,
            created: UNIX_EPOCH + Duration::from_nanos(self.created),
            updated: UNIX_EPOCH + Duration::from_nanos(self.updated),
            labels: self.labels.clone(),
        }
    }

    /// The chain that it stands for.
    pub fn chain_id(&self, place: &str) -> Result<Option<Sha256>> {
        self.chain
            .as_deref()
            .map(Sha256::from_hex)
            .transpose()
            .map_err(|err| SnapshotError::Malformed {
                place: place.to_owned(),
                why: err.to_string(),
            })
    }
}

/// Nanoseconds since 1970, now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const VERSION_KEY: &[u8] = b"version";
const VERSION: &[u8] = b"1";
const NEXT_KEY: &[u8] = b"next";
const RECORDS: &[u8] = b"s/";

fn record_key(name: &str) -> Vec<u8> {
    [RECORDS, name.as_bytes()].concat()
}

/// What the keys of a parent's children begin with. The length keeps one name from being the beginning of another.
fn children_prefix(parent: &str) -> Vec<u8> {
    let length = u32::try_from(parent.len()).unwrap_or(u32::MAX).to_be_bytes();
    [b"c/".as_slice(), &length, parent.as_bytes()].concat()
}

fn child_key(parent: &str, name: &str) -> Vec<u8> {
    let mut key = children_prefix(parent);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The table of all records. Whoever changes it sees to it that no other does so at the same time.
#[derive(Debug)]
pub(super) struct Records {
    table: Table,
}

impl Records {
    /// Takes the table, which must be empty or of this version.
    pub fn open(table: Table) -> Result<Self> {
        match table.get(VERSION_KEY)? {
            Some(version) if version == VERSION => {}
            Some(version) => {
                return Err(SnapshotError::precondition(format!(
                    "{}: snapshots of version {:?}, which this program does not read",
                    table.path().display(),
                    String::from_utf8_lossy(&version)
                )));
            }
            None => {
                let mut changes = Changes::default();
                changes.put(VERSION_KEY, VERSION);
                table.write(changes)?;
            }
        }
        Ok(Self { table })
    }

    fn place(&self, name: &str) -> String {
        format!("{}: {name:?}", self.table.path().display())
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Record> {
        serde_json::from_slice(bytes).map_err(|err| SnapshotError::Malformed {
            place: self.place(name),
            why: err.to_string(),
        })
    }

    pub fn find(&self, name: &str) -> Result<Option<Record>> {
        self.table
            .get(&record_key(name))?
            .map(|bytes| self.decode(name, &bytes))
            .transpose()
    }

    pub fn get(&self, name: &str) -> Result<Record> {
        self.find(name)?.ok_or_else(|| SnapshotError::not_found(name))
    }

    pub fn chain_of(&self, name: &str, record: &Record) -> Result<Option<Sha256>> {
        record.chain_id(&self.place(name))
    }

    pub fn has_children(&self, name: &str) -> Result<bool> {
        Ok(self
            .table
            .scan(&children_prefix(name), b"")
            .next()
            .transpose()?
            .is_some())
    }

    /// All records in order of name, as they were when this was called.
    pub fn all(&self) -> impl Iterator<Item = Result<(String, Record)>> + '_ {
        self.table.scan(RECORDS, b"").map(|row| {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(key.get(RECORDS.len()..).unwrap_or_default()).into_owned();
            let record = self.decode(&name, &value)?;
            Ok((name, record))
        })
    }

    /// The number that the next folder gets; every number before it may have been used.
    pub fn next(&self) -> Result<u64> {
        let Some(bytes) = self.table.get(NEXT_KEY)? else {
            return Ok(1);
        };
        let bytes = bytes.try_into().map_err(|_| SnapshotError::Malformed {
            place: self.place("next"),
            why: "not 8 bytes".to_owned(),
        })?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub fn change(&self) -> RecordChanges<'_> {
        RecordChanges {
            records: self,
            changes: Changes::default(),
        }
    }
}

/// Changes of records that are made together, durably.
pub(super) struct RecordChanges<'a> {
    records: &'a Records,
    changes: Changes,
}

impl RecordChanges<'_> {
    pub fn put(&mut self, name: &str, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|err| SnapshotError::Malformed {
            place: self.records.place(name),
            why: err.to_string(),
        })?;
        self.changes.put(record_key(name), bytes);
        if !record.parent.is_empty() {
            self.changes.put(child_key(&record.parent, name), b"");
        }
        Ok(())
    }

    pub fn delete(&mut self, name: &str, record: &Record) {
        self.changes.delete(record_key(name));
        if !record.parent.is_empty() {
            self.changes.delete(child_key(&record.parent, name));
        }
    }

    pub fn next(&mut self, next: u64) {
        self.changes.put(NEXT_KEY, next.to_be_bytes());
    }

    pub fn write(self) -> Result<()> {
        Ok(self.records.table.write(self.changes)?)
    }
}
