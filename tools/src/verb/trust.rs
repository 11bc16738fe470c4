//! `holdall trust`: the policy of this node, and what it has accepted.

use crate::exit::{Exit, ToolError};
use crate::output::{Output, one_line, plural};
use crate::{believe, policy, state};
use holdall::ids::PageHash;
use holdall::node::{Seen, SeenFolder, Sight};
use holdall::trust::Policy;
use holdall::units::len64;
use serde_json::json;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "A policy is a file of the node, /etc/holdall/policy.toml:

  # OpenSSH's file, beside this one: alice@example.org ssh-ed25519 AAAA…
  allowed_signers = \"allowed_signers\"
  # public keys that never count, one a line
  #revoked_keys = \"revoked\"
  # of FIDO keys: present (touched) or verified (PIN, fingerprint)
  #presence = \"present\"
  # nothing from before
  #oldest = \"2026-01-01\"

  [[accept]]
  # as `holdall init --origin` had it
  origin = \"build-7\"
  # all series of this origin, if it is left out
  series = \"production\"
  # so many distinct keys have to sign
  threshold = 2
  # whose signatures count here (\"!bob@*\" leaves him out); else all
  #signers = [\"*@release.example.org\"]

With it, mount, serve, verify, extract and cat refuse what it does not accept, and disks that are older than one they have accepted. A series is asked about until \
it was set, or the record was begun.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the policy, and the last disk of each series that was accepted
    Show {
        /// The policy [$HOLDALL_POLICY; else /etc/holdall/policy.toml]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Begin the record of accepted disks, on a node that is new
    Begin,
    /// Say which disk of a series was the last one here: on a node that lost its record, or to take one back
    Set {
        /// The series' origin
        #[arg(long, value_name = "TEXT")]
        origin: String,
        /// The series
        #[arg(long, value_name = "TEXT")]
        series: String,
        /// The serial of the last disk that was delivered: lower ones are refused
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        serial: u64,
        /// Its epoch
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        epoch: u64,
        /// Its root, where that is known: no other with this serial is accepted then
        #[arg(long, value_name = "HASH", value_parser = PageHash::from_hex)]
        root: Option<PageHash>,
    },
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let folder = SeenFolder::accepted(&state::folder(asked_state)?);
    match &args.what {
        What::Show { policy } => show(policy.as_ref(), &folder, output),
        What::Begin => {
            if folder.is_begun() {
                return Err(ToolError::Refused(
                    "this node has a record of accepted disks already; `holdall trust show` shows it"
                        .to_owned(),
                ));
            }
            folder.begin()?;
            output.say("the record of accepted disks is begun: the first disk of each series that the policy accepts is taken")?;
            output.result(&json!({ "begun": true }))?;
            Ok(Exit::Done)
        }
        What::Set {
            origin,
            series,
            serial,
            epoch,
            root,
        } => {
            let seen = Seen {
                origin: origin.clone(),
                series: series.clone(),
                epoch: *epoch,
                serial: *serial,
                root: *root,
            };
            let before = folder.look(origin, series);
            folder.set(&seen)?;
            output.say(format!(
                "series {} of {}: {}; disks below epoch {epoch}, serial {serial} are refused",
                one_line(series),
                one_line(origin),
                change(&before, &seen)
            ))?;
            match policy::in_force(None) {
                Ok(Some(policy)) if policy.accepts_series(origin, series).is_none() => output.warn(&format!(
                    "the policy {} accepts no series {series:?} of origin {origin:?}: as it is now, this changes nothing",
                    policy.place
                )),
                Ok(_) => {}
                Err(error) => output.warn(&error.to_string()),
            }
            let mut result = as_json(&seen);
            if let (Some(object), Sight::Seen(before)) = (result.as_object_mut(), &before) {
                object.insert("before".to_owned(), as_json(before));
            }
            output.result(&result)?;
            Ok(Exit::Done)
        }
    }
}

/// What was known of the series, and what becomes of it.
fn change(before: &Sight, now: &Seen) -> String {
    let before = match before {
        Sight::Seen(before) => before,
        Sight::Bad(_) => return "its record could not be read, and is replaced".to_owned(),
        Sight::New | Sight::NoRecord => return "nothing was known of it".to_owned(),
    };
    let again = if (now.epoch, now.serial) < (before.epoch, before.serial) {
        format!(
            ", and disks from epoch {}, serial {} on are accepted again",
            now.epoch, now.serial
        )
    } else {
        String::new()
    };
    format!("was epoch {}, serial {}{again}", before.epoch, before.serial)
}

/// Warns of what of a policy can accept nothing.
fn warn_of(policy: &Policy, output: &Output) {
    if policy.accepted.is_empty() {
        output.warn(&format!(
            "{}: accepts nothing: it has no [[accept]] table",
            policy.place
        ));
    }
    for accepted in &policy.accepted {
        let keys = len64(policy.keys_for(accepted, believe::now()));
        if keys < u64::from(accepted.threshold) {
            output.warn(&format!(
                "{}: can never be met: {}, {} demands {}, and {} can count there",
                policy.place,
                accepted.origin,
                accepted.series.as_deref().unwrap_or("any series"),
                plural(accepted.threshold.into(), "distinct key"),
                if keys == 0 {
                    "none".to_owned()
                } else {
                    format!("only {keys}")
                }
            ));
        }
    }
}

fn as_json(seen: &Seen) -> serde_json::Value {
    json!({
        "origin": seen.origin,
        "series": seen.series,
        "epoch": seen.epoch,
        "serial": seen.serial,
        "root": seen.root.map(|root| root.to_hex()),
    })
}

fn show(asked: Option<&PathBuf>, folder: &SeenFolder, output: &Output) -> Result<Exit, ToolError> {
    let policy = policy::in_force(asked.map(PathBuf::as_path))?;
    let (seen, bad) = folder.all()?;
    match &policy {
        None => output.line(format!("policy   none ({} is not there)", policy::PLACE))?,
        Some(policy) => {
            output.line(format!("policy   {}", policy.place))?;
            for accepted in &policy.accepted {
                output.line(format!(
                    "accepts  {}, {}: {} of {}",
                    one_line(&accepted.origin),
                    accepted
                        .series
                        .as_deref()
                        .map_or_else(|| "any series".to_owned(), one_line),
                    accepted.threshold,
                    accepted.signers.as_ref().map_or_else(
                        || format!("{} allowed signers", policy.signers.len()),
                        |signers| one_line(&signers.iter().collect::<Vec<_>>().join(", "))
                    )
                ))?;
            }
        }
    }
    if let Some(policy) = &policy {
        warn_of(policy, output);
    }
    if !folder.is_begun() {
        output.line(
            "record   not begun, so that each series without a line below is asked about: `holdall trust begin` on a new node, `holdall trust set` where it was lost",
        )?;
    }
    for seen in &seen {
        let root = seen
            .root
            .map_or_else(|| "any root".to_owned(), |root| root.to_hex());
        output.line(format!(
            "seen     {}, {}: epoch {}, serial {}, {root}",
            one_line(&seen.origin),
            one_line(&seen.series),
            seen.epoch,
            seen.serial
        ))?;
    }
    bad.iter().for_each(|why| output.warn(why));
    output.result(&json!({
        "policy": policy.as_ref().map(|policy| json!({
            "place": policy.place,
            "signers": policy.signers.iter().map(|s| json!({ "principals": s.principals.iter().collect::<Vec<_>>(), "valid_before": s.valid_before })).collect::<Vec<_>>(),
            "accepts": policy.accepted.iter().map(|a| json!({
                "origin": a.origin, "series": a.series, "threshold": a.threshold,
                "keys": policy.keys_for(a, believe::now()),
                "signers": a.signers.as_ref().map(|signers| signers.iter().collect::<Vec<_>>()),
            })).collect::<Vec<_>>(),
        })),
        "begun": folder.is_begun(),
        "seen": seen.iter().map(as_json).collect::<Vec<_>>(),
        "unreadable": bad,
    }))?;
    Ok(if bad.is_empty() { Exit::Done } else { Exit::Failed })
}
