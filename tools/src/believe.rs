//! Whether this node believes a disk, before it is run from or copied from: signatures and policy, what it has seen before, and the log of that.

use crate::exit::ToolError;
use crate::output::Output;
use crate::{policy, state};
use holdall::format::custody::Event;
use holdall::format::root::{Root, State};
use holdall::ids::PageHash;
use holdall::node::{NodeLog, Seen, SeenFolder, Sight};
use holdall::reader::Disk;
use holdall::trust::{Evidence, Policy, Refusal, Verdict, judge, judge_sight};
use holdall::{custody, generation};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What verbs that open a disk understand.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Accept what this policy accepts [$HOLDALL_POLICY; else /etc/holdall/policy.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Refuse what no policy vouches for: without one, everything
    #[arg(long)]
    require_signature: bool,
}

/// Bytes of a note in the node's log.
const NOTE_MAX: usize = 240;

/// Why a disk that was accepted is not noted.
enum Late {
    Refused(Refusal),
    Failed(holdall::Error),
}

impl From<holdall::Error> for Late {
    fn from(error: holdall::Error) -> Self {
        Self::Failed(error)
    }
}

/// What this node thinks of a disk.
#[derive(Debug)]
pub struct Judged {
    /// Where the policy is; `None` where there is none.
    pub policy: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Args {
    /// The policy in force.
    pub fn policy(&self) -> Result<Option<Policy>, ToolError> {
        policy::in_force(self.policy.as_deref())
    }

    /// Whether a disk is refused that nothing vouches for.
    pub const fn requires_signature(&self) -> bool {
        self.require_signature
    }

    /// Judges an opened disk by that policy.
    pub fn judge(&self, policy: Option<&Policy>, disk: &Disk, state: &Path) -> Result<Judged, ToolError> {
        judge_disk(policy, self.require_signature, disk, state)
    }

    /// Judges an opened disk by that policy, says what should be known, and notes what is accepted; `named` where the operator has named its root.
    /// Refused: an error, and a line in the node's log.
    pub fn believe(
        &self,
        policy: Option<&Policy>,
        disk: &Disk,
        named: bool,
        state: &Path,
        output: &Output,
    ) -> Result<Judged, ToolError> {
        let judged = self.judge(policy, disk, state)?;
        judged.say(disk, named, output);
        judged.accept(disk, state, output)?;
        Ok(judged)
    }
}

/// Judges an opened disk. Its catalogue's top was checked by opening it; packs and custody are held against ROOT here where there is a policy.
fn judge_disk(
    policy: Option<&Policy>,
    required: bool,
    disk: &Disk,
    state: &Path,
) -> Result<Judged, ToolError> {
    let medium = disk.medium().as_ref();
    let root = disk.root();
    if policy.is_some() {
        generation::pack_set(medium, root).map_err(ToolError::Disk)?;
        custody::records_of(medium, root).map_err(ToolError::Disk)?;
    }
    let evidence = Evidence::on(medium, root, disk.root_hash()).map_err(ToolError::Disk)?;
    let sight = match policy {
        Some(_) => SeenFolder::accepted(state).look(&root.origin, &root.series),
        None => Sight::New,
    };
    let verdict = judge(policy, &evidence, &sight, required, now());
    Ok(Judged {
        policy: policy.map(|policy| policy.place.clone()),
        verdict,
    })
}

/// What verbs understand that copy from a disk without running from it.
#[derive(Debug, Clone, clap::Args)]
pub struct CopyArgs {
    #[command(flatten)]
    believe: Args,
    /// Copy from a disk that the policy does not accept
    #[arg(long)]
    allow_unsigned: bool,
}

impl CopyArgs {
    /// Refuses a disk that the policy in force does not accept. Without one nothing is said: that is for who runs from it.
    pub fn check(&self, disk: &Disk, state: Option<PathBuf>, output: &Output) -> Result<(), ToolError> {
        let policy = self.believe.policy()?;
        if policy.is_none() && !self.believe.require_signature {
            return Ok(());
        }
        let state = state::folder(state)?;
        let judged = self.believe.judge(policy.as_ref(), disk, &state)?;
        match &judged.verdict.refusal {
            Some(refusal) if self.allow_unsigned => {
                output.warn(&format!(
                    "{}: copied though the policy does not accept it: {refusal}",
                    disk.name()
                ));
                let note = format!("{}: copied all the same, by --allow-unsigned", refusal.kind());
                log(disk, Event::Refused, &note, &state, output);
                Ok(())
            }
            _ => judged.accept(disk, &state, output),
        }
    }
}

/// Warns where the policy in force does not accept a disk of which something is only shown.
pub fn warn_unaccepted(disk: &Disk, asked_state: Option<PathBuf>, output: &Output) -> Result<(), ToolError> {
    let Some(policy) = policy::in_force(None)? else {
        return Ok(());
    };
    let judged = judge_disk(Some(&policy), false, disk, &state::folder(asked_state)?)?;
    if let Some(refusal) = judged.verdict.refusal {
        output.warn(&format!(
            "{}: the policy does not accept it: {refusal}",
            disk.name()
        ));
    }
    Ok(())
}

impl Judged {
    /// What follows from it. Refused: an error, and a line in the node's log. Else the node notes what it has accepted, where a policy did. Another
    /// process may have noted a newer disk since this one was judged: then it is refused after all.
    pub fn accept(&self, disk: &Disk, state: &Path, output: &Output) -> Result<(), ToolError> {
        let mut refused = self.verdict.refusal.clone();
        if refused.is_none() && self.policy.is_some() {
            let (root, hash) = (disk.root(), disk.root_hash());
            let noted = SeenFolder::accepted(state).update(&root.origin, &root.series, |sight| {
                match judge_sight(root, hash, sight) {
                    Some(refusal) => Err(Late::Refused(refusal)),
                    None => Ok(seen(root, hash)),
                }
            });
            match noted {
                Ok(()) => {}
                Err(Late::Refused(refusal)) => refused = Some(refusal),
                Err(Late::Failed(error)) => return Err(ToolError::from(error)),
            }
        }
        let Some(refusal) = refused else { return Ok(()) };
        log(
            disk,
            Event::Refused,
            &format!("{}: {refusal}", refusal.kind()),
            state,
            output,
        );
        Err(ToolError::Untrusted {
            place: disk.name(),
            refusal,
        })
    }

    /// Writes into the node's log what was done with the disk, and in which way.
    pub fn log(&self, disk: &Disk, event: Event, how: &str, state: &Path, output: &Output) {
        let summary = self.summary();
        let note = if how.is_empty() {
            summary
        } else {
            format!("{how}; {summary}")
        };
        log(disk, event, &note, state, output);
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let signers: Vec<&str> = self
            .verdict
            .signatures
            .iter()
            .filter(|s| s.counts)
            .filter_map(|s| s.identity.as_deref())
            .collect();
        match (&self.policy, &self.verdict.refusal) {
            (_, Some(refusal)) => refusal.to_string(),
            (None, None) => "no policy: believed by nobody's word".to_owned(),
            (Some(_), None) => format!(
                "signed by {} (of {} needed)",
                signers.join(", "),
                self.verdict.needed
            ),
        }
    }

    /// Says what should be known: warnings, and where nobody vouches for the disk, its root.
    pub fn say(&self, disk: &Disk, named: bool, output: &Output) {
        for warning in &self.verdict.warnings {
            output.warn(&format!("{}: {warning}", disk.name()));
        }
        if self.policy.is_none() && self.verdict.refusal.is_none() && !named {
            let signed = self.verdict.signatures.iter().filter(|s| s.key.is_some()).count();
            let sealed = if disk.root().state == State::Sealed {
                "sealed"
            } else {
                "open"
            };
            output.warn(&format!(
                "{}: no policy on this node, so nobody vouches for this disk: root {}, {sealed}, {} by keys that nobody checked",
                disk.name(),
                disk.root_hash(),
                crate::output::plural(holdall::units::len64(signed), "signature")
            ));
        } else if self.policy.is_some() && self.verdict.refusal.is_none() {
            output.note(format!("{}: {}", disk.name(), self.summary()));
        }
    }

    /// For programs.
    pub fn as_json(&self) -> serde_json::Value {
        verdict_json(self.policy.as_deref(), &self.verdict)
    }
}

/// A verdict for programs.
pub fn verdict_json(policy: Option<&str>, verdict: &Verdict) -> serde_json::Value {
    let signatures = verdict.signatures.iter().map(|s| {
        json!({
            "signer": s.signer.as_str(),
            "key": s.key.as_ref().map(|(kind, fingerprint)| json!({ "type": kind, "fingerprint": fingerprint })),
            "identity": s.identity,
            "presence": s.presence.to_string(),
            "counts": s.counts,
            "note": s.note,
        })
    });
    json!({
        "policy": policy,
        "signatures": signatures.collect::<Vec<_>>(),
        "counted": verdict.counted,
        "needed": verdict.needed,
        "accepted": policy.is_some() && verdict.refusal.is_none(),
        "refusal": verdict.refusal.as_ref().map(|r| json!({ "kind": r.kind(), "message": r.to_string() })),
        "warnings": verdict.warnings,
    })
}

/// What is noted of a root.
pub fn seen(root: &Root, hash: PageHash) -> Seen {
    Seen {
        origin: root.origin.clone(),
        series: root.series.clone(),
        epoch: root.epoch,
        serial: root.serial,
        root: Some(hash),
    }
}

/// A line in the node's log. Where that fails, what was done is not undone: it is told.
fn log(disk: &Disk, event: Event, note: &str, state: &Path, output: &Output) {
    // Names may be a disk's own: nothing of them may keep the line from being written.
    let plain = |c: char| {
        if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() {
            c
        } else {
            '?'
        }
    };
    let short = note
        .char_indices()
        .take_while(|(at, c)| at + c.len_utf8() <= NOTE_MAX);
    let note: String = short.map(|(_, c)| plain(c)).collect();
    let written = NodeLog::of(state).append(
        event,
        disk.root(),
        disk.root_hash(),
        &state::witness(),
        note.trim(),
        now(),
    );
    if let Err(e) = written {
        output.warn(&format!("the node's custody log was not written: {e}"));
    }
}

/// The exit code's kind of a refusal.
pub const fn exit_of(refusal: &Refusal) -> crate::exit::Exit {
    use crate::exit::Exit;
    if refusal.is_rollback() {
        Exit::Rollback
    } else if refusal.needs_a_decision() {
        Exit::Refused
    } else {
        Exit::Untrusted
    }
}
