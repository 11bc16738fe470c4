//! `holdall prove`: what shows that an image, a blob or a file is on a signed disk, without the disk.

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate::{self, What};
use crate::output::{self, Output, one_line};
use holdall::format::catalogue::Kind;
use holdall::format::root::State;
use holdall::seal;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "`holdall check-proof` checks it, and so does tools/audit/holdall_audit.py, which needs Python and ssh-keygen alone."
)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// sha256:HEX, an image's name, or files/PATH
    what: OsString,
    /// Write the proof into this new file instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let what = locate::parse(&args.what)?;
    let disk = locate::disk(&args.medium, args.generation, None)?;
    locate::warn_of(&disk, output);
    believe::warn_unaccepted(&disk, asked_state, output)?;
    let (kind, name) = match &what {
        What::Digest(digest) => (Kind::Blob, digest.to_digest()),
        What::Image(name) => (Kind::Image, name.to_string()),
        What::Path(path) => {
            if disk.root().state == State::Open {
                return Err(ToolError::Refused(format!(
                    "{}: single files can be proven of sealed generations only, and generation {} is open",
                    disk.name(),
                    disk.root().generation
                )));
            }
            let names: Vec<String> = path.iter().map(ToString::to_string).collect();
            (Kind::File, names.join("/"))
        }
    };
    let proof = seal::prove(&disk, kind, &name).map_err(ToolError::Disk)?;
    let proof = proof.ok_or_else(|| ToolError::NotThere {
        place: disk.name(),
        what: format!(
            "there is no {} in generation {}",
            args.what.display(),
            disk.root().generation
        ),
    })?;
    if proof.signatures().is_empty() {
        output.warn(&format!(
            "{}: nobody has signed this root, so the proof shows only that it is under root {}",
            disk.name(),
            disk.root_hash()
        ));
    }
    let text = proof.encode();
    let Some(file) = &args.output else {
        if output.is_json() {
            output.result(
                &json!({ "proof": text, "disk": output::generation(disk.root(), disk.root_hash()) }),
            )?;
        } else {
            output::stdout(&text)?;
        }
        return Ok(Exit::Done);
    };
    let failed = |e| ToolError::io(file.display(), e);
    let mut made = std::fs::File::create_new(file).map_err(failed)?;
    std::io::Write::write_all(&mut made, text.as_bytes()).map_err(failed)?;
    output.say(format!(
        "{}: the proof of {}, under root {}",
        file.display(),
        one_line(&args.what.to_string_lossy()),
        disk.root_hash()
    ))?;
    output.result(&json!({ "file": file, "disk": output::generation(disk.root(), disk.root_hash()) }))?;
    Ok(Exit::Done)
}
