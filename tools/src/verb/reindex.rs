//! `holdall reindex`: the host's index of a disk, built anew from its packs, and from its files if asked.

use crate::exit::{Exit, ToolError};
use crate::output::{Output, bytes};
use crate::progress::Progress;
use crate::{locate, signal, state};
use holdall::ingest::{self, IngestOptions};
use serde_json::json;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Also read all files that were added with another --state or at --level fast, so that new versions of them are kept as
    /// their difference: this takes as long as reading the disk
    #[arg(long)]
    likeness: bool,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked: Option<PathBuf>) -> Result<Exit, ToolError> {
    let medium = locate::medium(&args.medium)?;
    let options = IngestOptions {
        witness: state::witness(),
        level: holdall::pack::Level::default(),
        state: state::folder(asked)?,
        interrupted: signal::interrupted()?,
    };
    let progress = Progress::new(*output, "indexed");
    let made = ingest::reindex(&medium, &options, args.likeness, &progress);
    progress.finish();
    let made = made?;
    output.say(format!(
        "{}: indexed {} chunks in {} packs",
        medium.name(),
        made.chunks,
        made.packs
    ))?;
    if made.unlearnt_bytes > 0 {
        output.say(format!(
            "what {} of the packs look like is not known: files in them are no bases for new versions; --likeness reads them",
            bytes(made.unlearnt_bytes)
        ))?;
    }
    output.result(&json!({
        "packs": made.packs, "chunks": made.chunks, "unlearnt_bytes": made.unlearnt_bytes,
        "warnings": progress.warnings(),
    }))?;
    Ok(Exit::Done)
}
