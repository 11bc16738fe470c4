//! `holdall completions`: a shell's completions, on standard output.

use crate::exit::{Exit, ToolError};
use crate::output;
use clap::CommandFactory as _;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, ToolError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "holdall", &mut script);
    output::stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
