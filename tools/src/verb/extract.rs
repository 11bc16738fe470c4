//! `holdall extract`: an image into an OCI layout, or files into a folder, checked and written anew.

mod beneath;
mod files;
mod image;

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate::{self, Loose, What};
use crate::output::{Output, bytes, plural};
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// An image's name, or files/PATH
    what: OsString,
    /// Where to: for an image or a folder a new or empty folder, for a file a new file
    dest: PathBuf,
    /// Read this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    #[command(flatten)]
    believe: believe::CopyArgs,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    /// Files, links and blobs.
    files: u64,
    /// Bytes in them.
    bytes: u64,
    /// Files whose setuid and setgid bits were left out.
    without_setuid: u64,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let what = locate::parse(&args.what)?;
    let disk = locate::disk(&args.medium, args.generation, None)?;
    locate::warn_of(&disk, output);
    args.believe.check(&disk, asked_state, output)?;
    let written = match &what {
        What::Image(name) => image::extract(&disk, &locate::image(&disk, name)?, &args.dest)?,
        What::Path(path) => match locate::loose(&disk, path)? {
            Loose::Folder(folder) => files::extract_folder(&folder, &args.dest)?,
            Loose::Entry(folder, entry) => files::extract_entry(&folder, &entry, &args.dest)?,
        },
        What::Digest(_) => {
            return Err(ToolError::Usage(
                "extract takes an image's name or files/PATH; cat writes a blob".to_owned(),
            ));
        }
    };
    if written.without_setuid > 0 {
        output.warn(&format!(
            "{} written without setuid and setgid bits",
            plural(written.without_setuid, "file")
        ));
    }
    let place = args.dest.display();
    output.say(format!(
        "{place}: {}, {}",
        plural(written.files, "file"),
        bytes(written.bytes)
    ))?;
    output.result(&json!({
        "dest": args.dest, "files": written.files, "bytes": written.bytes, "without_setuid": written.without_setuid,
    }))?;
    Ok(Exit::Done)
}
