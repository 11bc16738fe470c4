//! What lies below a snapshot, and how it is mounted: ordinary snapshots down to the first chain of the disk.

use super::error::{Result, SnapshotError};
use super::record::{Kind, Record};
use super::standing::Standing;
use super::{Snapshots, mount, mount::Mount};
use holdall::ids::Sha256;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Deepest stack of snapshots. The kernel's overlay takes 500 lower directories.
const MAX_DEPTH: usize = 1000;

impl Snapshots {
    /// The directories below whatever stands on `parent`, uppermost first: those of the ordinary snapshots down to the first
    /// chain, and that chain's, which has everything below it in it. They are there for as long as what is returned.
    pub(super) fn lower(&self, parent: &str) -> Result<Below<'_>> {
        let (mut lower, mut standing) = (Vec::new(), None);
        let mut name = parent.to_owned();
        while !name.is_empty() {
            if lower.len() >= MAX_DEPTH {
                return Err(SnapshotError::invalid(format!(
                    "more than {MAX_DEPTH} snapshots below {parent:?}"
                )));
            }
            let record = self.records.get(&name)?;
            if let Some(chain_id) = self.records.chain_of(&name, &record)? {
                standing = Some(Standing::on(self, chain_id));
                lower.push(self.chain_directory(chain_id)?);
                break;
            }
            lower.push(Lower {
                path: self.folders.files(record.id),
                chain_id: None,
            });
            name = record.parent;
        }
        Ok(Below { lower, standing })
    }

    /// The first chain below whatever stands on `parent`. Needs no disk.
    pub(super) fn chain_below(&self, parent: &str) -> Result<Option<Sha256>> {
        let mut name = parent.to_owned();
        for _ in 0..MAX_DEPTH {
            if name.is_empty() {
                break;
            }
            let record = self.records.get(&name)?;
            if let Some(chain_id) = self.records.chain_of(&name, &record)? {
                return Ok(Some(chain_id));
            }
            name = record.parent;
        }
        Ok(None)
    }

    fn chain_directory(&self, chain_id: Sha256) -> Result<Lower> {
        let digest = chain_id.to_digest();
        match self.chains.has(&chain_id) {
            Ok(true) => Ok(Lower {
                path: self.chains.directory(&chain_id),
                chain_id: Some(chain_id),
            }),
            Ok(false) => Err(SnapshotError::Unavailable {
                why: format!("chain {digest} is not on the disk that is plugged in"),
            }),
            Err(absent) => Err(SnapshotError::Unavailable {
                why: format!("chain {digest} needs the disk: {absent}"),
            }),
        }
    }

    pub(super) fn mounts_of(&self, record: &Record, lower: &[Lower]) -> Result<Vec<Mount>> {
        let files = self.folders.files(record.id);
        let active = record.kind == Kind::Active;
        let mount = match lower {
            [] => mount::bind(&files, active)?,
            [one] if !active && one.chain_id.is_none() => mount::bind(&one.path, false)?,
            _ => {
                let work = self.folders.work(record.id);
                let upper = active.then_some((files.as_path(), work.as_path()));
                let mut paths: Vec<PathBuf> = lower.iter().map(|lower| lower.path.clone()).collect();
                if !active && paths.len() == 1 {
                    // An overlay without an upper directory needs two; and a bind mount of the disk's would lose setuid.
                    paths.push(self.folders.empty());
                }
                let mount = mount::overlay(&paths, upper, &self.options)?;
                if mount::options_len(&mount) > mount::LONG {
                    self.shorten(&mut paths, lower)?;
                    mount::overlay(&paths, upper, &self.options)?
                } else {
                    mount
                }
            }
        };
        Ok(vec![mount])
    }

    /// Puts a link below the state folder in the place of a chain's folder, so that all paths begin alike.
    fn shorten(&self, paths: &mut [PathBuf], lower: &[Lower]) -> Result<()> {
        for (path, lower) in paths.iter_mut().zip(lower) {
            if let Some(chain_id) = &lower.chain_id {
                *path = self.folders.link(&chain_id.to_hex(), &lower.path)?;
            }
        }
        Ok(())
    }
}

/// What lies below a snapshot.
pub(super) struct Below<'a> {
    /// Uppermost first.
    pub lower: Vec<Lower>,
    /// Keeps the chain's directory there, where there is one.
    pub standing: Option<Standing<'a>>,
}

/// A directory below a snapshot.
pub(super) struct Lower {
    path: PathBuf,
    /// The chain, where it is the disk's.
    chain_id: Option<Sha256>,
}

impl Lower {
    /// Who owns its root.
    pub(super) fn owner(&self) -> Result<(u32, u32)> {
        let metadata = std::fs::metadata(&self.path).map_err(|err| match &self.chain_id {
            Some(chain_id) => SnapshotError::Unavailable {
                why: format!(
                    "chain {} cannot be read at {}: {err}",
                    chain_id.to_digest(),
                    self.path.display()
                ),
            },
            None => SnapshotError::io(&self.path, err),
        })?;
        Ok((metadata.uid(), metadata.gid()))
    }
}
