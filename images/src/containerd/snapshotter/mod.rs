//! Snapshots: complete as containerd's own overlay snapshotter, and a chain of the disk is one lower directory.
//!
//! [`Snapshots`] keeps the rules and the state; it knows no gRPC and mounts nothing. [`service`] translates. The state
//! lies on the node's own disk, never on the medium: what was told stays true when the disk is pulled.
//!
//! Order of changes, so that a crash between any two leaves a state that is right: a folder is made, durably, before the
//! record that names it; a record is removed before its folder. A folder without a record is an orphan, removed at the next
//! start and by Cleanup. Whatever changes several records does so in one durable batch.

mod chain;
mod error;
mod folder;
mod label;
mod mount;
mod record;
pub mod service;
mod socket;
mod stack;
mod standing;
#[cfg(test)]
mod tests;

pub use chain::{Absent, Chains};
pub use error::{Result, SnapshotError};
pub use mount::Mount;
pub use record::{Info, Kind, Labels, MAX_LABELS, MAX_NAME, Usage};
pub use socket::SnapshotSocket;

use folder::Folders;
use holdall::ids::Sha256;
use holdall::index::Table;
use label::{check, kept, mapped_root};
use parking_lot::{Mutex, MutexGuard};
use record::{Record, Records, now};
use standing::Stands;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// The label by which containerd asks for a chain: its value is the chainID.
pub const CHAIN_LABEL: &str = "containerd.io/snapshot.ref";

/// All snapshots of a node. One process has a state folder open at a time.
pub struct Snapshots {
    records: Records,
    folders: Folders,
    chains: Arc<dyn Chains>,
    options: Vec<String>,
    writer: Mutex<Writer>,
    stands: Stands,
}

/// Held by whoever changes records.
struct Writer {
    next: u64,
    /// Numbers whose folders are being made: no record names them yet, and they are no orphans.
    pending: HashSet<u64>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("records", &self.records)
            .field("folders", &self.folders)
            .finish_non_exhaustive()
    }
}

/// The place between two changes. Tests end the process in it.
fn between() {
    #[cfg(test)]
    tests::crash::between();
}

impl Snapshots {
    /// Opens the snapshots in that folder of the node's own disk, making it where it is not there, and removes what a crash
    /// left behind. The folder's path is absolute and has none of the letters that overlay's options cannot hold.
    pub fn open(state: &Path, chains: Arc<dyn Chains>) -> Result<Self> {
        mount::text(state)?;
        let folders = Folders::open(state)?;
        let records = Records::open(Table::open(&state.join("table"))?)?;
        let past_folders = folders
            .numbers()?
            .into_iter()
            .max()
            .map_or(1, |last| last.saturating_add(1));
        let next = records.next()?.max(past_folders);
        let snapshots = Self {
            records,
            folders,
            chains,
            options: mount::overlay_options(),
            writer: Mutex::new(Writer {
                next,
                pending: HashSet::new(),
            }),
            stands: Stands::default(),
        };
        snapshots.cleanup()?;
        for row in snapshots.records.all() {
            if let Some(chain_id) = snapshots.stands_on(&row?.1) {
                snapshots.stands.begin(chain_id);
            }
        }
        Ok(snapshots)
    }

    /// Makes a snapshot to be written, on a committed parent (empty: none). Where the labels ask for a chain that the disk
    /// has, its snapshot is made instead and the answer is [`SnapshotError::AlreadyExists`], each time again.
    pub fn prepare(&self, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        if let Some(target) = labels
            .get(CHAIN_LABEL)
            .and_then(|text| Sha256::from_digest(text).ok())
        {
            self.commit_chain(&target, parent, labels)?;
        }
        self.create(Kind::Active, key, parent, labels)
    }

    /// Makes a snapshot to be read, on a committed parent (empty: none).
    pub fn view(&self, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels)
    }

    /// How an active snapshot or a view is mounted. Needs the disk if a chain lies below it.
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let record = self.records.get(key)?;
        if record.kind == Kind::Committed {
            return Err(SnapshotError::precondition(format!(
                "snapshot {key:?} is committed: it is mounted through a view"
            )));
        }
        let below = self.lower(&record.parent)?;
        self.mounts_of(&record, &below.lower)
    }

    /// The chain that this record keeps in use: that below it, where it can be mounted.
    fn stands_on(&self, record: &Record) -> Option<Sha256> {
        match record.kind {
            Kind::Committed => None,
            // Where the records cannot tell, nothing can be mounted on it either.
            Kind::Active | Kind::View => self.chain_below(&record.parent).ok().flatten(),
        }
    }

    /// That record is one of something to be mounted no more.
    fn stands_no_more(&self, chain_id: Option<Sha256>) {
        if let Some(chain_id) = chain_id {
            self.stands.end(&chain_id, self.chains.as_ref());
        }
    }

    /// Makes an active snapshot a committed one of another name. Its labels become these. A `parent` that is told must be
    /// the one that it has.
    pub fn commit(&self, name: &str, key: &str, labels: &Labels, parent: &str) -> Result<()> {
        check(name, labels)?;
        // Counted before anybody is made to wait, as it can take long; a snapshot is not written any more when it is committed.
        let usage = match self.records.find(key)? {
            Some(record) if record.kind == Kind::Active => self.folders.usage(record.id)?,
            _ => Usage::default(),
        };
        let writer = self.writer.lock();
        if self.records.find(name)?.is_some() {
            return Err(SnapshotError::exists(name));
        }
        let active = self.records.get(key)?;
        let stood_on = self.stands_on(&active);
        if active.kind != Kind::Active {
            return Err(SnapshotError::precondition(format!(
                "snapshot {key:?} is not active"
            )));
        }
        if !parent.is_empty() && parent != active.parent {
            return Err(SnapshotError::invalid(format!(
                "snapshot {key:?} stands on {:?} and is not moved onto {parent:?}",
                active.parent
            )));
        }
        let now = now();
        let committed = Record {
            kind: Kind::Committed,
            created: now,
            updated: now,
            labels: kept(labels),
            usage,
            ..active.clone()
        };
        let mut changes = self.records.change();
        changes.delete(key, &active);
        changes.put(name, &committed)?;
        between();
        changes.write()?;
        between();
        drop(writer);
        self.stands_no_more(stood_on);
        Ok(())
    }

    /// What there is to tell of a snapshot. Needs no disk.
    pub fn stat(&self, name: &str) -> Result<Info> {
        Ok(self.records.get(name)?.info(name))
    }

    /// Changes a snapshot's labels: all of them (no path, or `labels`), or those named by `labels.NAME`. Nothing else can be
    /// changed. Needs no disk.
    pub fn update(&self, name: &str, labels: &Labels, paths: &[String]) -> Result<Info> {
        check(name, labels)?;
        let _writer = self.writer.lock();
        let mut record = self.records.get(name)?;
        if paths.is_empty() {
            record.labels = kept(labels);
        }
        for path in paths {
            if path == "labels" {
                record.labels = kept(labels);
            } else if let Some(label) = path.strip_prefix("labels.") {
                match labels.get(label).filter(|value| !value.is_empty()) {
                    Some(value) => record.labels.insert(label.to_owned(), value.clone()),
                    None => record.labels.remove(label),
                };
            } else {
                return Err(SnapshotError::invalid(format!(
                    "{path:?} of snapshot {name:?} cannot be changed"
                )));
            }
        }
        check(name, &record.labels)?;
        record.updated = now();
        let mut changes = self.records.change();
        changes.put(name, &record)?;
        changes.write()?;
        Ok(record.info(name))
    }

    /// Removes a snapshot that no other stands on. Needs no disk. A folder that cannot be removed now is left for
    /// [`cleanup`](Self::cleanup): the snapshot is gone all the same.
    pub fn remove(&self, name: &str) -> Result<()> {
        let (removed, stood_on) = {
            let _writer = self.writer.lock();
            let record = self.records.get(name)?;
            let stood_on = self.stands_on(&record);
            if self.records.has_children(name)? {
                return Err(SnapshotError::precondition(format!(
                    "cannot remove snapshot {name:?}: others stand on it"
                )));
            }
            let mut changes = self.records.change();
            changes.delete(name, &record);
            between();
            changes.write()?;
            (record, stood_on)
        };
        self.stands_no_more(stood_on);
        between();
        if removed.chain.is_none() {
            let _left_for_cleanup = self.folders.remove(removed.id);
        }
        between();
        Ok(())
    }

    /// All snapshots, in order of name, as they were when this was called. Needs no disk: chains of the disk that nobody
    /// asked for are not among them.
    pub fn list(&self) -> impl Iterator<Item = Result<Info>> + '_ {
        self.records
            .all()
            .map(|row| row.map(|(name, record)| record.info(&name)))
    }

    /// What a snapshot takes on the node's disk, its parents not counted: nothing for a chain; counted anew for an active
    /// snapshot. Needs no disk.
    pub fn usage(&self, name: &str) -> Result<Usage> {
        let record = self.records.get(name)?;
        match record.kind {
            Kind::Active => self.folders.usage(record.id),
            Kind::Committed | Kind::View => Ok(record.usage),
        }
    }

    /// Removes the folders that no record names. One that cannot be removed is tried again the next time.
    pub fn cleanup(&self) -> Result<()> {
        // First the folders, then the records: a folder that was made since is not looked at.
        let mut orphans = self.folders.numbers()?;
        {
            let writer = self.writer.lock();
            for row in self.records.all() {
                orphans.remove(&row?.1.id);
            }
            orphans.retain(|id| !writer.pending.contains(id));
        }
        for id in orphans {
            between();
            let _tried_again = self.folders.remove(id);
        }
        Ok(())
    }

    /// Makes the snapshot of a chain, if the disk has it, and says by [`SnapshotError::AlreadyExists`] that it is there. Without
    /// a disk, or where the disk has it not, nothing happens: the layer is then unpacked like any other.
    fn commit_chain(&self, chain_id: &Sha256, parent: &str, labels: &Labels) -> Result<()> {
        let taken = || SnapshotError::exists(&chain_id.to_digest());
        if self.chain_name(chain_id, parent)?.is_none() {
            return Err(taken());
        }
        // The disk is asked before anybody is made to wait.
        if !self.chains.has(chain_id).unwrap_or(false) {
            return Ok(());
        }
        let writer = self.writer.lock();
        let name = self.chain_name(chain_id, parent)?.ok_or_else(taken)?;
        check(&name, labels)?;
        self.committed_parent(parent)?;
        let now = now();
        let record = Record {
            id: 0,
            kind: Kind::Committed,
            parent: parent.to_owned(),
            created: now,
            updated: now,
            labels: kept(labels),
            usage: Usage::default(),
            chain: Some(chain_id.to_hex()),
        };
        let mut changes = self.records.change();
        changes.put(&name, &record)?;
        between();
        changes.write()?;
        between();
        drop(writer);
        Err(SnapshotError::exists(&name))
    }

    /// The name that the snapshot of that chain on that parent gets: the chainID, or one with a number where that is taken by
    /// something else. None if the snapshot is there.
    fn chain_name(&self, chain_id: &Sha256, parent: &str) -> Result<Option<String>> {
        let digest = chain_id.to_digest();
        let mut name = digest.clone();
        let mut number = 1_u32;
        while let Some(taken) = self.records.find(&name)? {
            if taken.parent == parent && self.records.chain_of(&name, &taken)? == Some(*chain_id) {
                return Ok(None);
            }
            number = number.saturating_add(1);
            name = format!("{digest}@{number}");
        }
        Ok(Some(name))
    }

    /// The record of a parent, which must be committed; none for no parent.
    fn committed_parent(&self, parent: &str) -> Result<Option<Record>> {
        if parent.is_empty() {
            return Ok(None);
        }
        let record = self.records.get(parent)?;
        if record.kind == Kind::Committed {
            Ok(Some(record))
        } else {
            Err(SnapshotError::invalid(format!(
                "parent {parent:?} is not committed"
            )))
        }
    }

    fn create(&self, kind: Kind, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        check(key, labels)?;
        let id = {
            let mut writer = self.writer.lock();
            self.may_create(key, parent)?;
            writer.take()?
        };
        let made = self.make(id, kind, key, parent, labels);
        self.writer.lock().pending.remove(&id);
        if made.is_err() {
            // No record names it: what stays is an orphan.
            let _left_for_cleanup = self.folders.remove(id);
        }
        made
    }

    fn may_create(&self, key: &str, parent: &str) -> Result<()> {
        self.committed_parent(parent)?;
        match self.records.find(key)? {
            Some(_) => Err(SnapshotError::exists(key)),
            None => Ok(()),
        }
    }

    fn make(&self, id: u64, kind: Kind, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        // All that can fail for want of the disk comes before the record.
        let below = self.lower(parent)?;
        let now = now();
        let record = Record {
            id,
            kind,
            parent: parent.to_owned(),
            created: now,
            updated: now,
            labels: kept(labels),
            usage: Usage::default(),
            chain: None,
        };
        let mounts = self.mounts_of(&record, &below.lower)?;
        let owner = match mapped_root(labels)? {
            Some(owner) => Some(owner),
            None => below.lower.first().map(|lower| lower.owner()).transpose()?,
        };
        between();
        self.folders.create(id, kind, owner)?;
        between();
        let writer = self.writer.lock();
        self.may_create(key, parent)?;
        let mut changes = self.records.change();
        changes.put(key, &record)?;
        changes.next(writer.next);
        changes.write()?;
        if let Some(standing) = below.standing {
            standing.recorded();
        }
        MutexGuard::unlock_fair(writer);
        between();
        Ok(mounts)
    }
}

impl Writer {
    /// A number that no folder has or had since the start.
    fn take(&mut self) -> Result<u64> {
        let id = self.next;
        self.next = id
            .checked_add(1)
            .ok_or_else(|| SnapshotError::precondition("no more numbers for snapshots"))?;
        self.pending.insert(id);
        Ok(id)
    }
}
