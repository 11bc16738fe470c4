//! The policy file of a node: TOML, with OpenSSH's list of allowed signers beside it.

use crate::exit::ToolError;
use holdall::signature::Presence;
use holdall::trust::{Accepted, AllowedSigner, PatternList, Policy};
use serde::Deserialize;
use ssh_key::PublicKey;
use std::path::{Path, PathBuf};

/// Where a node's policy is, unless another is named.
pub const PLACE: &str = "/etc/holdall/policy.toml";
/// Longest policy, list of signers or list of revoked keys.
const LONGEST: u64 = 4 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    allowed_signers: PathBuf,
    revoked_keys: Option<PathBuf>,
    #[serde(default)]
    presence: Wanted,
    oldest: Option<String>,
    #[serde(default)]
    accept: Vec<Accept>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    #[default]
    Nothing,
    Present,
    Verified,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    origin: String,
    series: Option<String>,
    threshold: Option<u32>,
    signers: Option<Vec<String>>,
}

/// The policy in force: the file that is named, else `HOLDALL_POLICY`, else the node's own where there is one.
pub fn in_force(asked: Option<&Path>) -> Result<Option<Policy>, ToolError> {
    if let Some(path) = asked {
        return read(path, "the policy that --policy names").map(Some);
    }
    let named = std::env::var_os("HOLDALL_POLICY").filter(|value| !value.is_empty());
    if let Some(path) = named {
        return read(Path::new(&path), "the policy that HOLDALL_POLICY names").map(Some);
    }
    match std::fs::symlink_metadata(PLACE) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // One that cannot be looked at is not one that is not there.
        _ => read(Path::new(PLACE), "the policy of this node").map(Some),
    }
}

/// The text of a file; `what` it is, and who names it, is told where it cannot be read.
fn text(path: &Path, what: &str) -> Result<String, ToolError> {
    use std::io::Read as _;
    let failed = |e| ToolError::io(format!("{} ({what})", path.display()), e);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if holdall::units::len64(read) > LONGEST {
        return Err(ToolError::Refused(format!(
            "{}: longer than 4 MiB",
            path.display()
        )));
    }
    Ok(text)
}

/// Reads a policy, which is `what` for messages.
fn read(path: &Path, what: &str) -> Result<Policy, ToolError> {
    let place = path.display().to_string();
    let refused = |why: String| ToolError::Refused(format!("{place}: {why}"));
    let file: File = toml_edit::de::from_str(&text(path, what)?).map_err(|e| refused(e.to_string()))?;
    let beside = |other: &Path| path.parent().unwrap_or(Path::new("")).join(other);
    let signers = beside(&file.allowed_signers);
    let signers = AllowedSigner::parse_all(
        &text(&signers, &format!("the allowed_signers that {place} names"))?,
        &signers.display().to_string(),
    )?;
    let revoked = match &file.revoked_keys {
        Some(keys) => revoked(&beside(keys), &format!("the revoked_keys that {place} names"))?,
        None => Vec::new(),
    };
    for (number, accept) in (1..).zip(&file.accept) {
        let why = match accept.threshold {
            None => "no threshold: say how many distinct keys have to sign, as in `threshold = 2`",
            Some(0) => "a threshold is at least 1",
            Some(_) => "",
        };
        if !why.is_empty() {
            return Err(refused(format!(
                "the [[accept]] table of origin {:?}: {why}",
                accept.origin
            )));
        }
        let same = |other: &&Accept| other.origin == accept.origin && other.series == accept.series;
        if file.accept.iter().skip(number).any(|other| same(&other)) {
            let of = accept
                .series
                .as_ref()
                .map_or("all series".to_owned(), |series| format!("series {series:?}"));
            return Err(refused(format!(
                "two [[accept]] tables are for {of} of origin {:?}: one of them would be without effect",
                accept.origin
            )));
        }
    }
    Ok(Policy {
        signers,
        revoked,
        accepted: file
            .accept
            .into_iter()
            .map(|accept| Accepted {
                origin: accept.origin,
                series: accept.series,
                threshold: accept.threshold.unwrap_or(u32::MAX),
                signers: accept.signers.map(|names| PatternList::parse(&names.join(","))),
            })
            .collect(),
        presence: match file.presence {
            Wanted::Nothing => Presence::Nothing,
            Wanted::Present => Presence::Touched,
            Wanted::Verified => Presence::Verified,
        },
        oldest: file
            .oldest
            .map(|text| time(&text).map_err(|why| refused(format!("oldest: {why}"))))
            .transpose()?,
        place,
    })
}

/// Public keys, one a line, as in authorized_keys.
fn revoked(path: &Path, what: &str) -> Result<Vec<ssh_key::public::KeyData>, ToolError> {
    let text = text(path, what)?;
    let lines = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            PublicKey::from_openssh(line)
                .map(|key| key.key_data().clone())
                .map_err(|e| {
                    ToolError::Refused(format!(
                        "{}, line {number}: not a public key: {e}",
                        path.display()
                    ))
                })
        })
        .collect()
}

/// A date (`2026-01-31`, its beginning in UTC) or a time (`2026-01-31T12:00:00Z`), in seconds since 1970.
pub fn time(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_second());
    }
    let date: jiff::civil::Date = text
        .parse()
        .map_err(|_| format!("neither a date as 2026-01-31 nor a time as 2026-01-31T12:00:00Z: {text:?}"))?;
    let zoned = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|e| e.to_string())?;
    Ok(zoned.timestamp().as_second())
}
