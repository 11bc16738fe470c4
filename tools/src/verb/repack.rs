//! `holdall repack`: what containers read first is laid together, as a new generation.

use crate::exit::{Exit, ToolError};
use crate::level::Effort;
use crate::output::{self, Output, bytes};
use crate::profile::{self, Profiles};
use crate::progress::Progress;
use crate::{looking, signal, state};
use holdall::ingest::{Ingest, IngestOptions};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// What `serve --profile` recorded, of these images or of other versions of them; can be given again
    #[arg(long = "profile", value_name = "FILE", required = true)]
    profiles: Vec<PathBuf>,
    /// How much work is put into taking less room
    #[arg(long, value_enum, default_value_t)]
    level: Effort,
    /// Say what would be laid together, and write nothing
    #[arg(long)]
    dry_run: bool,
}

const ABOUT: &str = "What containers read first is stored once more, one piece behind the other, and loaded in few reads when the first of them starts. \
Nothing else of the disk changes, no digest and no name. The new generation has to be sealed again.";

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let profiles = Profiles::read(&args.profiles)?;
    let options = IngestOptions {
        witness: state::witness(),
        state: state::folder(asked_state)?,
        interrupted: signal::interrupted()?,
        level: args.level.into(),
    };
    let medium = looking::to_write(&args.medium, args.dry_run)?;
    let progress = Arc::new(Progress::new(*output, "laid together"));
    let monitor: Arc<dyn holdall::monitor::Monitor> = Arc::clone(&progress) as _;
    let ingest = Ingest::open(medium, &options, monitor)?;
    let listed = profiles.apply(&ingest, !args.dry_run);
    let done = match listed {
        Ok(listed) if args.dry_run => Ok((listed, None)),
        Ok(listed) => ingest
            .commit()
            .map(|committed| (listed, Some(committed)))
            .map_err(ToolError::from),
        Err(error) => Err(error),
    };
    progress.finish();
    let (listed, committed) = done?;
    if listed.is_empty() {
        output.warn("no image of the disk is in the profile, by its layers or by its name");
    }
    profile::tell(&listed, output)?;
    let written = progress.figures().stored;
    match &committed {
        None => output.say("dry run: nothing was written")?,
        Some(committed) if committed.changed => output.line(format!(
            "generation {}: {} written",
            committed.root.generation,
            bytes(written)
        ))?,
        Some(committed) => output.line(format!(
            "nothing to write: generation {} has it",
            committed.root.generation
        ))?,
    }
    output.result(&json!({
        "dry_run": args.dry_run,
        "hot": listed,
        "changed": committed.as_ref().is_some_and(|committed| committed.changed),
        "stored_bytes": written,
        "disk": committed.as_ref().map(|committed| output::generation(&committed.root, committed.root.hash())),
        "warnings": progress.warnings(),
    }))?;
    Ok(Exit::Done)
}
