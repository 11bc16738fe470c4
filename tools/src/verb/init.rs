//! `holdall init`: a new, empty disk.

use crate::exit::{Exit, ToolError};
use crate::output::{self, Output};
use crate::state;
use holdall::format::lines::label;
use holdall::generation::{self, Labels};
use holdall::medium::DirectoryMedium;
use serde_json::json;
use std::path::PathBuf;
use std::time::SystemTime;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make the disk in; made if it is not there
    medium: PathBuf,
    /// Who writes this disk [this host's name]
    #[arg(long, value_name = "TEXT")]
    origin: Option<String>,
    /// The series of disks that this one belongs to
    #[arg(long, value_name = "TEXT", default_value = "default")]
    series: String,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let labels = Labels {
        origin: args.origin.clone().unwrap_or_else(state::host_name),
        series: args.series.clone(),
    };
    for (text, what) in [(&labels.origin, "--origin"), (&labels.series, "--series")] {
        if label(text, what, what).is_err() {
            return Err(ToolError::Usage(format!(
                "{what} {text:?}: it is 1 to 255 bytes of text, without line breaks, outer spaces, or characters that are not seen"
            )));
        }
    }
    let medium = DirectoryMedium::create(&args.medium)?;
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let root = generation::init(
        &medium,
        &labels,
        &state::witness(),
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
    )?;
    let place = args.medium.display();
    output.say(format!(
        "{place}: a new disk, medium {}, origin {}, series {}",
        root.medium, root.origin, root.series
    ))?;
    output.note(format!(
        "next: holdall add {place} oci:DIR dir:FOLDER docker://NAME …"
    ));
    let mut result = output::generation(&root, root.hash());
    if let Some(object) = result.as_object_mut() {
        object.insert("origin".to_owned(), json!(root.origin));
        object.insert("series".to_owned(), json!(root.series));
    }
    output.result(&result)?;
    Ok(Exit::Done)
}
