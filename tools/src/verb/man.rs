//! `holdall man`: the manual pages of all verbs.

use crate::exit::{Exit, ToolError};
use crate::output::Output;
use clap::CommandFactory as _;
use serde_json::json;
use std::path::{Path, PathBuf};

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
    for page in std::fs::read_dir(&args.folder).map_err(failed)? {
        let page = page.map_err(failed)?.path();
        let is_ours = page.file_name().and_then(|name| name.to_str());
        if is_ours.is_some_and(|name| name.starts_with("holdall") && name.ends_with(".1")) {
            keep_examples(&page).map_err(failed)?;
        }
    }
    output.say(format!("{place}: manual pages of holdall and its verbs"))?;
    output.result(&json!({ "folder": args.folder }))?;
    Ok(Exit::Done)
}

#[expect(clippy::disallowed_methods, reason = "a page of the host, not a medium")]
fn keep_examples(page: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(page)?;
    std::fs::write(page, preformatted(&text))
}

/// The same page, its examples as they are: lines that are indented are neither filled nor justified.
fn preformatted(page: &str) -> String {
    let mut out = String::new();
    let mut is_example = false;
    let mut blank = 0;
    for line in page.lines() {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        let indented = line.starts_with("  ");
        if is_example && !indented {
            out += ".fi\n";
        }
        // A blank line within an example belongs to it.
        out += &"\n".repeat(std::mem::take(&mut blank));
        if indented && !is_example {
            out += ".nf\n";
        }
        is_example = indented;
        out += line;
        out.push('\n');
    }
    if is_example {
        out += ".fi\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::preformatted;

    #[test]
    fn examples_are_left_as_they_are() {
        assert_eq!(
            preformatted(".SH EXTRA\nSee:\n\n  a = 1\n\n  b = 2\n\nSo.\n.SH VERSION\n"),
            ".SH EXTRA\nSee:\n\n.nf\n  a = 1\n\n  b = 2\n.fi\n\nSo.\n.SH VERSION\n"
        );
        assert_eq!(preformatted("x\n  a\n"), "x\n.nf\n  a\n.fi\n");
    }
}
