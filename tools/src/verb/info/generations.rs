//! The generations that a disk has, and which of them can be opened: also where the newest cannot.

use super::{row_text, state};
use crate::exit::ToolError;
use crate::output::{Output, time};
use holdall::catalogue::CatalogueReader;
use holdall::format::superblock::SlotState;
use holdall::generation;
use holdall::ids::PageHash;
use holdall::medium::{Medium, SlotNumber};
use holdall::units::Generation;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A generation that is there.
#[derive(Debug, Serialize)]
pub struct Found {
    pub generation: u32,
    /// `open` or `sealed`; `None` where its ROOT cannot be read.
    pub state: Option<&'static str>,
    /// When it was written: seconds since 1970.
    pub time: Option<i64>,
    /// Why it cannot be opened; `None` where it can. Its packs are not looked at.
    pub damage: Option<String>,
}

/// All of them, ascending; none where their folder cannot be read.
pub fn all(medium: &Arc<dyn Medium>) -> Vec<Found> {
    let there = medium.generations().unwrap_or_default();
    let expected = named(medium.as_ref(), &there);
    there
        .into_iter()
        .map(|generation| look(medium, generation, expected.get(&generation)))
        .collect()
}

/// The roots that superblocks and later generations name.
fn named(medium: &dyn Medium, there: &[Generation]) -> BTreeMap<Generation, PageHash> {
    let mut named = BTreeMap::new();
    for pair in there.windows(2) {
        if let [before, after] = pair
            && let Ok((root, _)) = generation::read_root(medium, *after)
            && let Some(previous) = root.previous
        {
            named.insert(*before, previous);
        }
    }
    for slot in SlotNumber::BOTH {
        if let Ok(SlotState::Written(slot)) = generation::read_slot(medium, slot) {
            named.insert(slot.generation, slot.root);
        }
    }
    named
}

fn look(medium: &Arc<dyn Medium>, generation: Generation, expected: Option<&PageHash>) -> Found {
    let (state, time, damage) = match generation::read_root(medium.as_ref(), generation) {
        Err(e) => (None, None, Some(e.to_string())),
        Ok((root, hash)) => {
            let altered = expected
                .is_some_and(|expected| *expected != hash)
                .then(|| "its ROOT is not the one that was committed".to_owned());
            let damage = altered.or_else(|| {
                let opened = generation::pack_set(medium.as_ref(), &root)
                    .and_then(|_| CatalogueReader::open(Arc::clone(medium), &root));
                opened.err().map(|e| e.to_string())
            });
            (Some(state(&root)), Some(root.time), damage)
        }
    };
    Found {
        generation: generation.get(),
        state,
        time,
        damage,
    }
}

/// One a line, and how to open an older one.
pub fn print(all: &[Found], output: &Output) -> Result<(), ToolError> {
    for one in all {
        let written = one.time.map(|at| format!(", written {}", time(at)));
        let fate = match &one.damage {
            Some(why) => format!("cannot be opened: {why}"),
            None => format!("opened by --generation {}", one.generation),
        };
        let text = format!(
            "{}, {}{}: {fate}",
            one.generation,
            one.state.unwrap_or("unknown"),
            written.unwrap_or_default()
        );
        output.line(row_text("has", &text))?;
    }
    Ok(())
}
