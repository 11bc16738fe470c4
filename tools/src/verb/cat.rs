//! `holdall cat`: a blob, a manifest or a file, checked, on standard output.

use crate::believe;
use crate::exit::{Exit, ToolError};
use crate::locate::{self, Loose, What};
use crate::output::Output;
use holdall::reader::{BlobReader, Node};
use holdall::units::len64;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

/// Bytes asked for at once.
const PIECE: usize = 1 << 20;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// sha256:HEX, an image's name (for its manifest), or files/PATH
    what: OsString,
    /// Read this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    #[command(flatten)]
    believe: believe::CopyArgs,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let what = locate::parse(&args.what)?;
    let disk = locate::disk(&args.medium, args.generation, None)?;
    locate::warn_of(&disk, output);
    args.believe.check(&disk, asked_state, output)?;
    let reader = match &what {
        What::Digest(digest) => disk.open_blob(&locate::blob(&disk, digest)?),
        What::Image(name) => {
            let digest = locate::image(&disk, name)?.target.sha256;
            let blob = disk.blob(&digest).map_err(ToolError::Disk)?.ok_or_else(|| {
                let place = format!("{}: {}, which {name} stands for", disk.name(), digest.to_digest());
                ToolError::Disk(holdall::Error::missing(place))
            })?;
            disk.open_blob(&blob)
        }
        What::Path(path) => match locate::loose(&disk, path)? {
            Loose::Entry(folder, entry) if matches!(entry.node, Node::File { .. }) => {
                folder.open_file(&entry).map_err(ToolError::Disk)?
            }
            Loose::Entry(..) => {
                return Err(ToolError::Refused(format!("{}: not a file", locate::shown(path))));
            }
            Loose::Folder(_) => {
                return Err(ToolError::Refused(format!(
                    "{}: a folder; ls lists it",
                    locate::shown(path)
                )));
            }
        },
    };
    copy(&reader)?;
    Ok(Exit::Done)
}

fn copy(reader: &BlobReader) -> Result<(), ToolError> {
    let failed = |e| ToolError::io("standard output", e);
    let mut out = std::io::stdout().lock();
    let mut at = 0;
    while at < reader.size() {
        let slice = reader.slice_at(at, PIECE).map_err(ToolError::Disk)?;
        if slice.is_empty() {
            break;
        }
        reader.read_ahead(at);
        out.write_all(&slice).map_err(failed)?;
        at += len64(slice.len());
    }
    out.flush().map_err(failed)
}
