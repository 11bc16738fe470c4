//! `holdall verify --signatures`: what a mount checks before it shows anything, and nothing else.

use super::Args;
use crate::exit::{Exit, ToolError};
use crate::locate;
use crate::output::{self, Output};
use holdall::custody;
use holdall::format::custody::Event;
use holdall::units::len64;
use serde_json::json;
use std::path::Path;

/// Judges the disk by its root alone.
pub fn run(args: &Args, state: &Path, output: &Output) -> Result<Exit, ToolError> {
    let disk = locate::disk(&args.medium, args.generation, None)?;
    locate::warn_of(&disk, output);
    let root = disk.root();
    let judged = args
        .believe
        .judge(args.believe.policy()?.as_ref(), &disk, state)?;
    let chain = custody::chain(disk.medium().as_ref(), root);
    if let Some(broken) = chain.broken {
        return Err(ToolError::Disk(broken));
    }
    judged.say(&disk, false, output);
    for one in &judged.verdict.signatures {
        let who = one.identity.as_deref().unwrap_or("?");
        output.line(format!("signed   {} ({who}): {}", one.signer, one.note))?;
    }
    output.say(format!(
        "generation {} of {}: custody of {}; packs and contents were not read",
        root.generation,
        disk.name(),
        output::plural(len64(chain.records.len()), "record")
    ))?;
    output.line(format!("root {}: {}", disk.root_hash(), judged.summary()))?;
    output.result(&json!({
        "disk": output::generation(root, disk.root_hash()),
        "trust": judged.as_json(),
        "custody": chain.records.len(),
    }))?;
    judged.accept(&disk, state, output)?;
    judged.log(&disk, Event::Verified, "signatures alone", state, output);
    Ok(Exit::Done)
}
