//! `holdall reindex`: the host's index of a disk, built anew from its packs.

use crate::exit::{Exit, ToolError};
use crate::output::Output;
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
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked: Option<PathBuf>) -> Result<Exit, ToolError> {
    let medium = locate::medium(&args.medium)?;
    let options = IngestOptions {
        level: holdall::pack::Level::default(),
        state: state::folder(asked)?,
        interrupted: signal::interrupted()?,
    };
    let progress = Progress::new(*output, "indexed");
    let (packs, chunks) = ingest::reindex(&medium, &options, &progress)?;
    progress.finish();
    output.say(format!(
        "{}: indexed {chunks} chunks in {packs} packs",
        medium.name()
    ))?;
    output.result(&json!({ "packs": packs, "chunks": chunks, "warnings": progress.warnings() }))?;
    Ok(Exit::Done)
}
