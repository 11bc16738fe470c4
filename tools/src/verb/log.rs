//! `holdall log`: the custody of a disk, or of this node.

use crate::exit::{Exit, ToolError};
use crate::locate;
use crate::output::{Output, one_line, plural, printable, time};
use crate::state;
use holdall::Error;
use holdall::format::custody::Record;
use holdall::node::NodeLog;
use holdall::units::len64;
use holdall::{custody, generation};
use serde_json::json;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Each record names the hash of the one before it, and a disk's ROOT, which is signed, names the last that made it: so the chain is checked as it is shown. \
Exit code 3: it is broken."
)]
pub struct Args {
    /// The disk; without one, the log of this node
    medium: Option<PathBuf>,
    /// From this generation back, instead of the newest
    #[arg(long, value_name = "N", requires = "medium", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let (records, broken) = match &args.medium {
        Some(path) => {
            let medium = locate::medium(path)?;
            locate::has_generation(medium.as_ref(), args.generation)?;
            let asked = args.generation.map(holdall::units::Generation::new);
            let current = generation::current(medium.as_ref(), asked)
                .map_err(|e| locate::opening(medium.as_ref(), e))?;
            current.warnings.iter().for_each(|warning| output.warn(warning));
            let chain = custody::chain(medium.as_ref(), &current.root);
            (chain.records, chain.broken)
        }
        None => {
            let log = NodeLog::of(&state::folder(asked_state)?).read()?;
            (log.records, log.broken)
        }
    };
    for record in &records {
        output.line(shown(record))?;
    }
    let whole = broken.is_none();
    let records_json: Vec<_> = records.iter().map(as_json).collect();
    output.result(&json!({
        "records": records_json,
        "whole": whole,
        "broken": broken.as_ref().map(Error::to_string),
    }))?;
    let count = plural(len64(records.len()), "record");
    match broken {
        None => {
            output.say(format!("{count}: the chain is whole"))?;
            Ok(Exit::Done)
        }
        Some(e) => {
            output.line(format!("broken   {}", printable(&e.to_string())))?;
            output.say(format!("{count}: the chain is broken"))?;
            Ok(Exit::Damage)
        }
    }
}

fn shown(record: &Record) -> String {
    let note = if record.note == "-" {
        String::new()
    } else {
        format!(" ({})", record.note)
    };
    one_line(&format!(
        "{:>4}  {}  {:<8}  {} on {}: generation {}, serial {}{note}",
        record.number,
        time(record.time),
        record.event.name(),
        record.who,
        record.host,
        record.generation,
        record.serial
    ))
}

/// A record for programs.
pub fn as_json(record: &Record) -> serde_json::Value {
    json!({
        "number": record.number,
        "event": record.event.name(),
        "time": record.time,
        "who": record.who,
        "host": record.host,
        "medium": record.medium.to_hex(),
        "generation": record.generation.get(),
        "serial": record.serial,
        "root": record.root.map(|root| root.to_hex()),
        "note": record.note,
        "hash": record.hash().to_hex(),
    })
}
