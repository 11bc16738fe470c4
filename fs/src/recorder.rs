//! What containers read first: which bytes of which files of a chain were asked for, in that order, from the first read of one of its files on.
//!
//! Only what reaches the mount is seen: what the kernel has in its cache is not read again. So who wants to know mounts a disk anew.

use holdall::error::Result;
use holdall::hot::Span;
use holdall::ids::{BlobId, Sha256};
use holdall::reader::{Chain, Directory, Disk, Node};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Most reads of one chain that are remembered.
const READS_MAX: usize = 1 << 16;

/// Records first reads, by chain.
#[derive(Debug)]
pub struct Recorder {
    within: Duration,
    chains: Mutex<BTreeMap<u64, Reads>>,
}

/// What was read of one chain's files.
#[derive(Debug)]
struct Reads {
    since: Instant,
    order: Vec<(BlobId, u64, u64)>,
    /// What was read of each already, as spans that do not touch, by their end.
    known: HashMap<BlobId, BTreeMap<u64, u64>>,
}

/// First reads of one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The chainID.
    pub chain: Sha256,
    /// What was read, in this order.
    pub spans: Vec<Span>,
}

impl Reads {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            order: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Takes a read; what of it is new is put at the end.
    fn take(&mut self, blob: BlobId, mut from: u64, to: u64) {
        let known = self.known.entry(blob).or_default();
        // What ends before `from` does not matter; from there on, span by span.
        let over: Vec<(u64, u64)> = known
            .range(from..)
            .take_while(|(_, start)| **start <= to)
            .map(|(end, start)| (*start, *end))
            .collect();
        let (mut start, mut end) = (from, to);
        for (known_start, known_end) in over {
            if from < known_start {
                self.order.push((blob, from, known_start));
            }
            from = from.max(known_end);
            start = start.min(known_start);
            end = end.max(known_end);
            known.remove(&known_end);
        }
        if from < to {
            self.order.push((blob, from, to));
        }
        known.insert(end, start);
    }
}

impl Recorder {
    /// Records what is read of each chain within that time from its first read on.
    #[must_use]
    pub const fn new(within: Duration) -> Self {
        Self {
            within,
            chains: Mutex::new(BTreeMap::new()),
        }
    }

    /// These bytes of a file of the chain at that position were asked for.
    pub(crate) fn read(&self, chain: u64, files: impl Iterator<Item = (BlobId, u64, u64)>) {
        let mut chains = self.chains.lock();
        for (blob, from, to) in files {
            let reads = chains.entry(chain).or_insert_with(Reads::new);
            if reads.order.len() < READS_MAX && reads.since.elapsed() <= self.within {
                reads.take(blob, from, to);
            }
        }
    }

    /// What was recorded so far, chain by chain. Walks through the trees of these chains, as files are named there.
    pub fn recorded(&self, disk: &Disk) -> Result<Vec<Recorded>> {
        let mut all = Vec::new();
        for (position, reads) in &*self.chains.lock() {
            let Some(chain) = disk.chain_at(*position)? else {
                continue;
            };
            let paths = paths_of(&chain, &reads.known)?;
            let spans = reads.order.iter().filter_map(|(blob, from, to)| {
                Some(Span {
                    path: paths.get(blob)?.clone(),
                    from: *from,
                    to: *to,
                })
            });
            all.push(Recorded {
                chain: chain.id,
                spans: spans.collect(),
            });
        }
        Ok(all)
    }
}

/// The first path of each of these files.
fn paths_of(chain: &Chain, wanted: &HashMap<BlobId, BTreeMap<u64, u64>>) -> Result<HashMap<BlobId, Vec<u8>>> {
    let mut paths = HashMap::new();
    let mut waiting: Vec<(Vec<u8>, Directory)> = vec![(Vec::new(), chain.rootfs().clone())];
    while let Some((above, directory)) = waiting.pop() {
        let mut below = Vec::new();
        for entry in directory.entries(0) {
            let entry = entry?;
            let mut path = above.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            match &entry.node {
                Node::File { blob_id, .. } if wanted.contains_key(blob_id) => {
                    paths.entry(*blob_id).or_insert(path);
                }
                Node::Directory { .. } => below.push((path, directory.open_directory(&entry)?)),
                _ => {}
            }
        }
        waiting.extend(below.into_iter().rev());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_is_not_read_first_again() {
        let blob = BlobId::of(b"a");
        let mut reads = Reads::new();
        for (from, to) in [(10, 20), (30, 40), (0, 5), (15, 35), (0, 50), (3, 4), (50, 60)] {
            reads.take(blob, from, to);
        }
        let found: Vec<_> = reads.order.iter().map(|(_, from, to)| (*from, *to)).collect();
        assert_eq!(
            found,
            [(10, 20), (30, 40), (0, 5), (20, 30), (5, 10), (40, 50), (50, 60)]
        );
        assert_eq!(reads.known.get(&blob), Some(&BTreeMap::from([(60, 0)])));
    }
}
