//! Whether this node believes a disk, before anything of it is shown: signatures and policy, what it has seen before, and the log of that.

use crate::exit::ToolError;
use crate::output::Output;
use crate::{policy, state};
use holdall::format::custody::Event;
use holdall::format::root::{Root, State};
use holdall::ids::PageHash;
use holdall::node::{NodeLog, Seen, SeenFolder, Sight};
use holdall::reader::Disk;
use holdall::trust::{Evidence, Policy, Refusal, Verdict, judge};
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

    /// Judges an opened disk. Its catalogue's top was checked by opening it; packs and custody are held against ROOT here where there is a policy.
    pub fn judge(&self, disk: &Disk, state: &Path) -> Result<Judged, ToolError> {
        let policy = self.policy()?;
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
        let verdict = judge(policy.as_ref(), &evidence, &sight, self.require_signature, now());
        Ok(Judged {
            policy: policy.map(|policy| policy.place),
            verdict,
        })
    }

    /// Judges an opened disk for what is to be done with it; `named` where the operator has named its root. Refused: an error, and a line in the node's log.
    /// Else the node notes what it has accepted, and what was done, and the disk may be used.
    pub fn believe(
        &self,
        disk: Disk,
        named: bool,
        event: Event,
        asked_state: Option<&PathBuf>,
        output: &Output,
    ) -> Result<(Disk, Judged), ToolError> {
        let state = state::folder(asked_state.cloned())?;
        let judged = self.judge(&disk, &state)?;
        judged.say(&disk, named, output);
        judged.conclude(&disk, event, &state, output)?;
        Ok((disk, judged))
    }
}

impl Judged {
    /// What follows from it. Refused: an error, and a line in the node's log. Else the node notes what it has accepted, where a policy did, and what
    /// was done.
    pub fn conclude(
        &self,
        disk: &Disk,
        event: Event,
        state: &Path,
        output: &Output,
    ) -> Result<(), ToolError> {
        if let Some(refusal) = &self.verdict.refusal {
            log(disk, Event::Refused, &refusal.to_string(), state, output);
            return Err(ToolError::Untrusted {
                place: disk.name(),
                refusal: refusal.clone(),
            });
        }
        if self.policy.is_some() {
            SeenFolder::accepted(state).note(&seen(disk.root(), disk.root_hash()))?;
        }
        log(disk, event, &self.summary(), state, output);
        Ok(())
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
    let note: String = note.chars().take(200).collect();
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
