//! The verdict on a root: which signatures count, what the policy says, and what the node has seen before.

use super::allowed::AllowedSigner;
use super::policy::{Accepted, Policy};
use crate::error::Result;
use crate::format::root::{Root, State};
use crate::ids::PageHash;
use crate::medium::Medium;
use crate::name::SignerName;
use crate::node::Sight;
use crate::signature::{self, Found, Presence, Signed};
use crate::units::Generation;
use std::fmt;

/// A root and what speaks for it.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The root.
    pub root: Root,
    /// Its hash.
    pub root_hash: PageHash,
    /// Signatures, as they were found.
    pub signatures: Vec<Found>,
    /// How many more there are, which were not read.
    pub unread: u64,
    /// Sealed generations of the same medium, for who is refused an open one; newest first.
    pub sealed: Vec<Generation>,
}

impl Evidence {
    /// What lies on a medium for this root.
    pub fn on(medium: &dyn Medium, root: &Root, root_hash: PageHash) -> Result<Self> {
        let mut sealed = Vec::new();
        if root.state == State::Open {
            sealed = medium.generations()?;
            sealed.retain(|g| {
                *g < root.generation
                    && crate::generation::read_root(medium, *g)
                        .is_ok_and(|(found, _)| found.state == State::Sealed && found.medium == root.medium)
            });
            sealed.reverse();
        }
        let beside = signature::beside(medium, root.generation)?;
        Ok(Self {
            root: root.clone(),
            root_hash,
            signatures: beside.found,
            unread: beside.unread,
            sealed,
        })
    }
}

/// One signature, judged.
#[derive(Debug, Clone)]
pub struct JudgedSignature {
    /// The name of its file.
    pub signer: SignerName,
    /// The key's kind and fingerprint, where the signature holds.
    pub key: Option<(String, String)>,
    /// Whose key that is, by the policy.
    pub identity: Option<String>,
    /// Whether it counts.
    pub counts: bool,
    /// What a FIDO key vouches for.
    pub presence: Presence,
    /// Why it does not count, or that it does.
    pub note: String,
}

/// Why a root is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A signature is demanded, and there is no policy to say whose.
    NoPolicy,
    /// The generation is open: nobody has finished it.
    Open {
        /// Sealed ones of the same medium, newest first.
        sealed: Vec<Generation>,
    },
    /// The policy has not this origin or series.
    Origin {
        /// The ROOT's origin.
        origin: String,
        /// The ROOT's series.
        series: String,
    },
    /// Too few distinct keys that count.
    TooFew {
        /// So many count.
        counted: u32,
        /// So many must.
        needed: u32,
        /// Why others do not.
        why: Vec<String>,
    },
    /// Past its own expiry.
    Expired {
        /// Seconds since 1970.
        at: i64,
    },
    /// Older than the policy allows.
    TooOld {
        /// The ROOT's time.
        time: i64,
        /// The oldest accepted one.
        oldest: i64,
    },
    /// This node has no record of what it has seen: it is new, or has lost it.
    NoRecord,
    /// The node's record cannot be read.
    BadRecord(String),
    /// The node has seen a higher epoch.
    LowerEpoch {
        /// The ROOT's origin.
        origin: String,
        /// The ROOT's series.
        series: String,
        /// The ROOT's serial.
        serial: u64,
        /// The ROOT's.
        epoch: u64,
        /// The one seen.
        seen: u64,
    },
    /// The node has seen a higher serial: the disk is an older one.
    LowerSerial {
        /// The ROOT's origin.
        origin: String,
        /// The ROOT's series.
        series: String,
        /// The ROOT's epoch.
        epoch: u64,
        /// The ROOT's.
        serial: u64,
        /// The one seen.
        seen: u64,
    },
    /// The node has seen another root with the same serial: one of the two was made by somebody who should not have.
    AnotherRoot {
        /// The serial of both.
        serial: u64,
        /// The ROOT's.
        root: PageHash,
        /// The one seen.
        seen: PageHash,
    },
}

impl Refusal {
    /// Whether it is a matter of what the node has seen before.
    #[must_use]
    pub const fn is_rollback(&self) -> bool {
        matches!(
            self,
            Self::LowerEpoch { .. } | Self::LowerSerial { .. } | Self::AnotherRoot { .. }
        )
    }

    /// Whether the operator has to say something before anything else.
    #[must_use]
    pub const fn needs_a_decision(&self) -> bool {
        matches!(self, Self::NoPolicy | Self::NoRecord | Self::BadRecord(_))
    }

    /// One word for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::Open { .. } => "open",
            Self::Origin { .. } => "origin",
            Self::TooFew { .. } => "too-few-signers",
            Self::Expired { .. } => "expired",
            Self::TooOld { .. } => "too-old",
            Self::NoRecord => "no-record",
            Self::BadRecord(_) => "bad-record",
            Self::LowerEpoch { .. } => "lower-epoch",
            Self::LowerSerial { .. } => "lower-serial",
            Self::AnotherRoot { .. } => "another-root",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str(
                "a signature is required, and this node has no policy that says whose count (--policy FILE, or /etc/holdall/policy.toml)",
            ),
            Self::Open { sealed } => {
                f.write_str("this generation is open: nobody sealed it")?;
                match sealed.as_slice() {
                    [] => Ok(()),
                    [newest, ..] => write!(f, "; the last sealed one before it can be had by --generation {newest}"),
                }
            }
            Self::Origin { origin, series } => write!(
                f,
                "the policy does not accept origin {origin:?} with series {series:?}"
            ),
            Self::TooFew {
                counted,
                needed,
                why,
            } => {
                write!(f, "signed by {counted} of the {needed} distinct keys that the policy demands")?;
                why.iter().try_for_each(|why| write!(f, "; {why}"))
            }
            Self::Expired { at } => write!(f, "its ROOT says that it is not to be used after {}", Time(*at)),
            Self::TooOld { time, oldest } => write!(
                f,
                "its ROOT is of {}, and the policy accepts none from before {}",
                Time(*time),
                Time(*oldest)
            ),
            Self::NoRecord => f.write_str(
                "this node has no record of the disks that it has accepted: it is new, or has lost it. Ask the sender for the serial of the last disk that \
                 was delivered here, and give it with `holdall trust set`; on a node that is new, begin one with `holdall trust begin`",
            ),
            Self::BadRecord(why) => write!(
                f,
                "{why}. Ask the sender for the serial of the last disk that was delivered here, and give it with `holdall trust set`"
            ),
            Self::LowerEpoch { epoch, seen, .. } => write!(
                f,
                "rollback: its epoch is {epoch}, and this node has accepted epoch {seen} of the same series"
            ),
            Self::LowerSerial { serial, seen, .. } => write!(
                f,
                "rollback: its serial is {serial}, and this node has accepted serial {seen} of the same series: it is an older disk"
            ),
            Self::AnotherRoot { serial, root, seen } => write!(
                f,
                "ALARM: its root is {root}, and this node has accepted root {seen} with the same serial {serial} of the same series: one of the two is not what \
                 its signers meant. Tell them"
            ),
        }
    }
}

struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

/// What comes of it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Every signature there is.
    pub signatures: Vec<JudgedSignature>,
    /// Distinct keys that count.
    pub counted: u32,
    /// How many must; 0 without a policy.
    pub needed: u32,
    /// Why it is not believed; `None` where it is, or where nothing was demanded.
    pub refusal: Option<Refusal>,
    /// What should be known all the same.
    pub warnings: Vec<String>,
}

/// Judges a root. Without a policy nothing is refused but where a signature is `required`, and nothing is believed either. `sight` is what the
/// node has seen of the root's series.
#[must_use]
pub fn judge(
    policy: Option<&Policy>,
    evidence: &Evidence,
    sight: &Sight,
    required: bool,
    now: i64,
) -> Verdict {
    let root = &evidence.root;
    let accepted = policy.and_then(|policy| policy.accepts(root));
    let mut keys = Vec::new();
    let signatures: Vec<JudgedSignature> = evidence
        .signatures
        .iter()
        .map(|found| judge_signature(found, root, policy, accepted, &mut keys, now))
        .collect();
    let counted = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    let mut verdict = Verdict {
        signatures,
        counted,
        needed: accepted.map_or(0, |a| a.threshold.max(1)),
        refusal: None,
        warnings: Vec::new(),
    };
    if evidence.unread > 0 {
        verdict.warnings.push(format!(
            "more signatures lie beside its ROOT than a generation can have: the first {} by name were read, and {} were not. Somebody put them there",
            evidence.signatures.len(),
            evidence.unread
        ));
    }
    verdict.refusal = match policy {
        // A node without a record asks before anything else.
        Some(policy) => refuse_without_record(sight)
            .or_else(|| refuse(policy, accepted, evidence, &verdict, now))
            .or_else(|| refuse_sight(root, evidence.root_hash, sight)),
        None => {
            if root.expires.is_some_and(|at| at < now) {
                let expired = Refusal::Expired {
                    at: root.expires.unwrap_or_default(),
                };
                verdict.warnings.push(expired.to_string());
            }
            required.then_some(Refusal::NoPolicy)
        }
    };
    verdict
}

fn refuse(
    policy: &Policy,
    accepted: Option<&Accepted>,
    evidence: &Evidence,
    verdict: &Verdict,
    now: i64,
) -> Option<Refusal> {
    let root = &evidence.root;
    if accepted.is_none() {
        return Some(Refusal::Origin {
            origin: root.origin.clone(),
            series: root.series.clone(),
        });
    }
    if root.state == State::Open {
        return Some(Refusal::Open {
            sealed: evidence.sealed.clone(),
        });
    }
    if verdict.counted < verdict.needed {
        let why = verdict.signatures.iter().filter(|s| !s.counts);
        return Some(Refusal::TooFew {
            counted: verdict.counted,
            needed: verdict.needed,
            why: why.map(|s| format!("{}: {}", s.signer, s.note)).collect(),
        });
    }
    if let Some(at) = root.expires.filter(|at| *at < now) {
        return Some(Refusal::Expired { at });
    }
    let oldest = policy.oldest.filter(|oldest| root.time < *oldest)?;
    Some(Refusal::TooOld {
        time: root.time,
        oldest,
    })
}

fn refuse_without_record(sight: &Sight) -> Option<Refusal> {
    match sight {
        Sight::NoRecord => Some(Refusal::NoRecord),
        Sight::Bad(why) => Some(Refusal::BadRecord(why.clone())),
        Sight::New | Sight::Seen(_) => None,
    }
}

/// Judges a root again by what the node has seen before: where that is noted, another process may have noted something since.
#[must_use]
pub fn judge_sight(root: &Root, hash: PageHash, sight: &Sight) -> Option<Refusal> {
    refuse_without_record(sight).or_else(|| refuse_sight(root, hash, sight))
}

fn refuse_sight(root: &Root, hash: PageHash, sight: &Sight) -> Option<Refusal> {
    let Sight::Seen(seen) = sight else { return None };
    if root.epoch < seen.epoch {
        return Some(Refusal::LowerEpoch {
            origin: root.origin.clone(),
            series: root.series.clone(),
            serial: root.serial,
            epoch: root.epoch,
            seen: seen.epoch,
        });
    }
    if root.serial < seen.serial {
        return Some(Refusal::LowerSerial {
            origin: root.origin.clone(),
            series: root.series.clone(),
            epoch: root.epoch,
            serial: root.serial,
            seen: seen.serial,
        });
    }
    let other = seen
        .root
        .filter(|other| root.serial == seen.serial && *other != hash)?;
    Some(Refusal::AnotherRoot {
        serial: root.serial,
        root: hash,
        seen: other,
    })
}

/// Judges one signature; a key that counts for the first time is added to `keys`.
fn judge_signature(
    found: &Found,
    root: &Root,
    policy: Option<&Policy>,
    accepted: Option<&Accepted>,
    keys: &mut Vec<ssh_key::public::KeyData>,
    now: i64,
) -> JudgedSignature {
    let mut judged = JudgedSignature {
        signer: found.signer,
        key: None,
        identity: None,
        counts: false,
        presence: Presence::Nothing,
        note: String::new(),
    };
    let signed = match found.check(root) {
        Ok(signed) => signed,
        Err(fault) => {
            judged.note = fault.to_string();
            return judged;
        }
    };
    judged.key = Some((signed.algorithm(), signed.fingerprint()));
    judged.presence = signed.presence();
    let Some(policy) = policy else {
        judged.note = "it is of this ROOT; whether its key is to be trusted nobody has said".to_owned();
        return judged;
    };
    let signers = policy.signers.iter().filter(|s| s.key == *signed.key());
    let standing = signers.map(|signer| (signer, standing(signer, &signed, policy, accepted, now)));
    // Of several lines for one key, one that counts is enough.
    let best = standing.reduce(|best, next| if best.1.is_ok() { best } else { next });
    match best {
        None => judged.note = format!("its key {} is none of the policy's", signed.fingerprint()),
        Some((signer, standing)) => {
            judged.identity = Some(signer.name());
            match standing {
                Err(why) => judged.note = why,
                Ok(()) if keys.contains(signed.key()) => {
                    judged.note = format!("its key {} has been counted already", signed.fingerprint());
                }
                Ok(()) => {
                    keys.push(signed.key().clone());
                    judged.counts = true;
                    judged.note = "counts".to_owned();
                }
            }
        }
    }
    judged
}

/// Whether a signature by an allowed signer's key counts, and if not why.
fn standing(
    signer: &AllowedSigner,
    signed: &Signed,
    policy: &Policy,
    accepted: Option<&Accepted>,
    now: i64,
) -> std::result::Result<(), String> {
    let name = signer.name();
    if policy.revoked.contains(signed.key()) {
        return Err(format!("the key of {name} is revoked"));
    }
    if !signer.is_somebody_s() {
        return Err(format!(
            "its key is nobody's: the policy says only whose it is not ({name})"
        ));
    }
    if !signer.may_sign() {
        return Err(format!(
            "the key of {name} is not for disks: its namespaces are others"
        ));
    }
    if let Some(before) = signer.valid_before.filter(|before| now > *before) {
        return Err(format!("the key of {name} expired at {}", Time(before)));
    }
    if let Some(after) = signer.valid_after.filter(|after| now < *after) {
        return Err(format!("the key of {name} counts from {} only", Time(after)));
    }
    if accepted.is_some_and(|accepted| !accepted.counts(signer)) {
        return Err(format!("{name} is not among those who sign this series"));
    }
    if signed.presence() < policy.presence {
        return Err(format!(
            "the policy wants a FIDO key and its holder {}, and the signature of {name} vouches for {}",
            policy.presence,
            signed.presence()
        ));
    }
    Ok(())
}
