//! Packs: tables against their leaf, then every frame's header and stored bytes, on all cores.

use super::Check;
use super::contents::usable;
use crate::error::{Error, Result};
use crate::format::frame::{Base, Codec, FrameChunk, FrameHeader, FrameKind};
use crate::format::pack::{FrameRecord, SetRecord};
use crate::ids::MediumId;
use crate::medium::{Medium, MediumFile};
use crate::pack::{self, Bases, PackTables};
use crate::units::{PackNumber, index, len64};
use crossbeam_channel::bounded;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes read at once: neighbouring frames together.
const BATCH: u32 = 1024 * 1024;

/// Neighbouring frames of one pack.
struct Batch {
    pack: PackNumber,
    frames: Vec<Listed>,
}

/// A frame as the pack's tables list it. Its chunks are not known where the tables are damaged.
struct Listed {
    record: FrameRecord,
    chunks: Option<Vec<FrameChunk>>,
}

/// A frame that does not hold.
struct Bad {
    pack: PackNumber,
    offset: u32,
    error: Error,
}

/// What the threads find.
enum Found {
    Bad(Bad),
    /// A delta that holds by itself, and what it stands on.
    Delta {
        pack: PackNumber,
        offset: u32,
        kind: FrameKind,
        base: Base,
    },
}

/// Checks all packs of the set; each thread reads and hashes batches of its own.
pub(super) fn check_all(check: &mut Check<'_>, medium_id: &MediumId, set: &[SetRecord]) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (batches, to_check) = bounded::<Batch>(cores * 2);
    let (to_us, found) = crossbeam_channel::unbounded::<Found>();
    let medium = Arc::clone(&check.medium);
    let bases = &Bases::new(Arc::clone(&medium));
    let (full, monitor) = (check.options.full, check.monitor);
    std::thread::scope(|scope| {
        // Twice the cores: while some hash, others wait for the device.
        for _ in 0..cores * 2 {
            let (from, to_us, medium) = (to_check.clone(), to_us.clone(), Arc::clone(&medium));
            scope.spawn(move || {
                for batch in from {
                    check_batch(medium.as_ref(), &batch, full.then_some(bases), |found| {
                        let _all_end_together = to_us.send(found);
                    });
                    monitor.advance(batch.frames.iter().map(|f| u64::from(f.record.frame_bytes)).sum());
                }
            });
        }
        drop((to_check, to_us));
        let fed = feed(check, medium_id, set, &batches);
        drop(batches);
        fed
    })?;
    let (mut all, mut deltas) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Found::Bad(bad) => all.push(bad),
            Found::Delta {
                pack,
                offset,
                kind,
                base,
            } => deltas.push((pack, offset, (base, kind))),
        }
    }
    all.sort_by_key(|b| (b.pack, b.offset));
    for b in all {
        check.bad.frames.insert((b.pack, b.offset));
        check.damage(&b.error);
    }
    deltas.sort_by_key(|(pack, offset, _)| (*pack, *offset));
    check_bases(check, &deltas);
    Ok(())
}

/// Every base is a frame of the set, the one that its deltas name, of their kind, and no delta. What stands on one that does not hold cannot
/// be had either.
fn check_bases(check: &mut Check<'_>, deltas: &[(PackNumber, u32, (Base, FrameKind))]) {
    let mut known: HashMap<(Base, FrameKind), bool> = HashMap::new();
    for (pack, offset, base) in deltas {
        let holds = match known.get(base) {
            Some(holds) => *holds,
            None => {
                let found = base_holds(check, &base.0, base.1);
                if let Err(e) = &found {
                    let medium = check.medium.place(MediumFile::Pack(*pack));
                    check.damaged(format!("{medium} at {offset}: its base: {e}"));
                }
                known.insert(*base, found.is_ok());
                found.is_ok()
            }
        };
        if !holds {
            check.bad.frames.insert((*pack, *offset));
        }
    }
}

fn base_holds(check: &Check<'_>, base: &Base, kind: FrameKind) -> Result<()> {
    usable(check, &base.place())?;
    let place = pack::place_of(check.medium.as_ref(), base.pack, base.frame);
    let header = pack::read_header(check.medium.as_ref(), &base.place(), &place)?;
    if header.stored_hash != base.hash {
        return Err(Error::mismatch(place, "the frame that a delta names as its base"));
    }
    if header.codec == Codec::ZstdDelta {
        return Err(Error::malformed(place, "a delta's base is itself a delta"));
    }
    if header.kind != kind || header.frame_bytes() != base.frame_bytes {
        return Err(Error::malformed(
            place,
            "a delta's base is of another kind, or has another length",
        ));
    }
    Ok(())
}

/// Reads the tables and hands out batches. A pack whose tables are damaged is scanned by its frames'
/// own headers.
fn feed(
    check: &mut Check<'_>,
    medium_id: &MediumId,
    set: &[SetRecord],
    batches: &crossbeam_channel::Sender<Batch>,
) -> Result<()> {
    for record in set {
        check.check_interrupted()?;
        check.report.packs += 1;
        check.report.stored_bytes += u64::from(record.pack_bytes);
        let medium = Arc::clone(&check.medium);
        let mut frames = Vec::new();
        let tables = PackTables::open(medium.as_ref(), medium_id, record)
            .and_then(|tables| read_tables(&tables, &mut frames));
        if let Err(e) = tables {
            check.damage(&e);
            if !medium
                .len(MediumFile::Pack(record.number))
                .is_ok_and(|len| len.is_some())
            {
                check.bad.packs.insert(record.number);
                continue;
            }
            let found = scan(check, record)?;
            frames = found
                .into_iter()
                .map(|record| Listed { record, chunks: None })
                .collect();
        }
        check.report.frames += len64(frames.len());
        let mut batch = Batch {
            pack: record.number,
            frames: Vec::new(),
        };
        let mut bytes = 0;
        for frame in frames {
            if bytes + frame.record.frame_bytes > BATCH && !batch.frames.is_empty() {
                let full = std::mem::replace(
                    &mut batch,
                    Batch {
                        pack: record.number,
                        frames: Vec::new(),
                    },
                );
                let _threads_end_only_after_us = batches.send(full);
                bytes = 0;
            }
            bytes += frame.record.frame_bytes;
            batch.frames.push(frame);
        }
        let _threads_end_only_after_us = batches.send(batch);
    }
    Ok(())
}

/// Every frame with its chunks, which must follow each other within it.
fn read_tables(tables: &PackTables<'_>, frames: &mut Vec<Listed>) -> Result<()> {
    tables.frames(|_, record| {
        frames.push(Listed {
            record,
            chunks: Some(Vec::new()),
        });
        Ok(())
    })?;
    tables.chunks(|chunk| {
        let chunks = frames.get_mut(index(chunk.frame)).and_then(|f| f.chunks.as_mut());
        chunks
            .ok_or_else(|| Error::malformed("a pack's tables", "a chunk in a frame that is not there"))?
            .push(FrameChunk {
                id: chunk.id,
                len: chunk.len,
            });
        Ok(())
    })
}

/// Frames found by their headers alone, where the tables cannot say.
fn scan(check: &mut Check<'_>, record: &SetRecord) -> Result<Vec<FrameRecord>> {
    let found = pack::scan(check.medium.as_ref(), record.number)?;
    if let Some(end) = found.stopped_at {
        check.damaged(format!(
            "{} at {end}: no frame can be found from here on",
            check.medium.place(MediumFile::Pack(record.number))
        ));
    }
    Ok(found.frames)
}

fn check_batch(medium: &dyn Medium, batch: &Batch, full: Option<&Bases>, mut found: impl FnMut(Found)) {
    let (Some(first), Some(last)) = (batch.frames.first(), batch.frames.last()) else {
        return;
    };
    let start = first.record.offset.get();
    let len = last.record.offset.get() + last.record.frame_bytes - start;
    let file = MediumFile::Pack(batch.pack);
    let together = medium.read(file, u64::from(start), index(len));
    for listed in &batch.frames {
        let frame = &listed.record;
        let place = || format!("{} at {}", medium.place(file), frame.offset);
        let checked = match &together {
            Ok(bytes) => {
                let from = index(frame.offset.get() - start);
                check_frame(
                    bytes
                        .get(from..from + index(frame.frame_bytes))
                        .unwrap_or_default(),
                    listed,
                    full,
                    &place,
                )
            }
            // One bad sector must not cost its neighbours: each is tried alone.
            Err(_) => medium
                .read(file, u64::from(frame.offset.get()), index(frame.frame_bytes))
                .and_then(|bytes| check_frame(&bytes, listed, full, &place)),
        };
        let (pack, offset) = (batch.pack, frame.offset.get());
        match checked {
            Ok(Some((kind, base))) => found(Found::Delta {
                pack,
                offset,
                kind,
                base,
            }),
            Ok(None) => {}
            Err(error) => found(Found::Bad(Bad { pack, offset, error })),
        }
    }
}

/// The frame's kind, and the base that it names, if it is a delta.
fn check_frame(
    bytes: &[u8],
    listed: &Listed,
    full: Option<&Bases>,
    place: &impl Fn() -> String,
) -> Result<Option<(FrameKind, Base)>> {
    let header = FrameHeader::decode(bytes, &place())?;
    let record = &listed.record;
    let agrees = header.stored_hash == record.stored_hash
        && header.frame_bytes() == record.frame_bytes
        && header.plain_bytes == record.plain_bytes
        && header.kind == record.kind
        && header.codec == record.codec
        && header.base.map(|b| b.hash) == record.base
        && header.chunks.len() == usize::from(record.chunks)
        && listed
            .chunks
            .as_ref()
            .is_none_or(|chunks| *chunks == header.chunks);
    if !agrees {
        return Err(Error::malformed(
            place(),
            "the frame's header and the pack's tables contradict each other",
        ));
    }
    pack::check_stored(&header, bytes.get(header.len()..).unwrap_or_default(), place)?;
    if let Some(bases) = full {
        pack::decode_frame(bytes, |base| bases.get(&base.place()), place)?;
    }
    Ok(header.base.map(|base| (header.kind, base)))
}
