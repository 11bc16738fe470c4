//! `holdall man`: the manual pages of all verbs.

use crate::exit::{Exit, ToolError};
use crate::output::Output;
use clap::CommandFactory as _;
use serde_json::json;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write them to; made if it is not there
    folder: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let place = args.folder.display();
    let failed = |e| ToolError::io(place.to_string(), e);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(crate::Cli::command(), &args.folder).map_err(failed)?;
    output.say(format!("{place}: manual pages of holdall and its verbs"))?;
    output.result(&json!({ "folder": args.folder }))?;
    Ok(Exit::Done)
}
