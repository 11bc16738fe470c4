//! The `holdall` command: parses, opens, makes one library call per verb, and prints.
//!
//! Results go to standard output, everything else to standard error; the exit code is one of
//! [`exit::Exit`]. This is the only place where the mounted disk and the registry meet.

mod believe;
mod cache_size;
mod exit;
mod level;
mod locate;
mod looking;
mod measure;
mod output;
mod policy;
mod profile;
mod progress;
mod signal;
mod signatures;
mod signing;
mod state;
mod verb;

use clap::{Parser, Subcommand};
use exit::{Exit, ToolError};
use output::Output;
use std::path::PathBuf;
use std::process::ExitCode;

/// A transfer disk you can run from: container images and files across an air gap.
///
/// Results go to standard output, everything else to standard error. With --json both are JSON: one
/// object as the result, and one object a line ({"error":…}, {"warning":…}, {"progress":…}) for the rest.
///
/// Exit codes: 0 done; 1 failed; 2 the command line was not understood; 3 damage was found; 4 refused,
/// it needs a decision of yours; 5 the disk is full, its last generation is whole; 6 not trusted: a signature, a proof or
/// the policy does not hold; 7 rollback: the disk is older than one that this node has accepted; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "holdall", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, clap::Args)]
struct Global {
    /// Print for programs: one JSON object as the result, and JSON lines for the rest
    #[arg(long, global = true)]
    json: bool,
    /// Say less: no progress and no notes, only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more: each step
    #[arg(short, long, global = true)]
    verbose: bool,
    /// The host's state folder, for the index of each disk [$HOLDALL_STATE; else /var/lib/holdall for root,
    /// $XDG_STATE_HOME/holdall for others]. Always the same for a disk that is added to: with another one, new versions of
    /// what it has take their full size (see reindex --likeness)
    #[arg(long, global = true, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new, empty disk in a folder
    Init(verb::init::Args),
    /// Add images and files: one generation, all of it or nothing
    Add(verb::add::Args),
    /// Finish a generation, read it back from the device, and sign it
    Seal(verb::seal::Args),
    /// Add a signature to a sealed disk
    Sign(verb::sign::Args),
    /// List images and files
    Ls(verb::ls::Args),
    /// Show what a disk says of itself
    Info(verb::info::Args),
    /// Check everything that is on a disk, and name what is damaged
    Verify(verb::verify::Args),
    /// Prove that an image, a blob or a file is on a disk, in a text that can be checked without it
    Prove(verb::prove::Args),
    /// Check such a proof
    CheckProof(verb::check_proof::Args),
    /// Show and check the custody of a disk, or of this node
    Log(verb::log::Args),
    /// Show this node's policy and the disks that it has accepted, or begin or set that record
    Trust(verb::trust::Args),
    /// Show what tells two disks apart, or two generations of one
    Diff(verb::diff::Args),
    /// Write a blob, a manifest or a file to standard output
    Cat(verb::cat::Args),
    /// Copy an image into an OCI layout, or files into a folder
    Extract(verb::extract::Args),
    /// Mount a disk read-only, until it is unmounted or interrupted
    Mount(verb::mount::Args),
    /// Answer as a read-only registry, and let containerd run containers from the disk, until interrupted
    Serve(verb::serve::Args),
    /// Take a disk's images out of containerd again, and give back the names that they took
    Unload(verb::unload::Args),
    /// Set this node's containerd, K3s or RKE2 to run from a disk, or show how
    NodeConfig(verb::node_config::Args),
    /// Build the host's index of a disk anew, from its packs
    Reindex(verb::reindex::Args),
    /// Lay together what containers read first, so that they start sooner: a new generation
    Repack(verb::repack::Args),
    /// Print a shell's completions
    Completions(verb::completions::Args),
    /// Write the manual pages of all verbs into a folder
    Man(verb::man::Args),
}

fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    let output = Output::new(global.json, global.quiet, global.verbose);
    let is_add = matches!(verb, Verb::Add(_));
    let done = match verb {
        Verb::Init(args) => verb::init::run(&args, &output),
        Verb::Add(args) => verb::add::run(args, &output, global.state),
        Verb::Seal(args) => verb::seal::run(&args, &output, global.state),
        Verb::Sign(args) => verb::sign::run(&args, &output),
        Verb::Prove(args) => verb::prove::run(&args, &output, global.state),
        Verb::CheckProof(args) => verb::check_proof::run(&args, &output),
        Verb::Log(args) => verb::log::run(&args, &output, global.state),
        Verb::Trust(args) => verb::trust::run(&args, &output, global.state),
        Verb::Ls(args) => verb::ls::run(&args, &output, global.state),
        Verb::Info(args) => verb::info::run(&args, &output, global.state),
        Verb::Verify(args) => verb::verify::run(&args, &output, global.state),
        Verb::Diff(args) => verb::diff::run(&args, &output, global.state),
        Verb::Cat(args) => verb::cat::run(&args, &output, global.state),
        Verb::Extract(args) => verb::extract::run(&args, &output, global.state),
        Verb::Mount(args) => verb::mount::run(&args, &output, global.state),
        Verb::Serve(args) => verb::serve::run(&args, &output, global.state),
        Verb::Unload(args) => verb::unload::run(&args, &output, global.state),
        Verb::NodeConfig(args) => verb::node_config::run(args, &output, global.state),
        Verb::Reindex(args) => verb::reindex::run(&args, &output, global.state),
        Verb::Repack(args) => verb::repack::run(&args, &output, global.state),
        Verb::Completions(args) => verb::completions::run(&args),
        Verb::Man(args) => verb::man::run(&args, &output),
    };
    let exit = match done {
        Ok(exit) => exit,
        // Whoever read the output has gone away, as `head` does: there is nobody left to tell.
        Err(ToolError::Closed) => Exit::Done,
        Err(error) => {
            output.error(&error, is_add);
            error.exit()
        }
    };
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
