//! What names and labels may be, and what the labels that are known say.

use super::error::{Result, SnapshotError};
use super::record::{Labels, MAX_LABELS, MAX_NAME};

pub(super) const UID_LABEL: &str = "containerd.io/snapshot/uidmapping";
pub(super) const GID_LABEL: &str = "containerd.io/snapshot/gidmapping";

/// Refuses names and labels that are empty or too long.
pub(super) fn check(name: &str, labels: &Labels) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(SnapshotError::invalid(format!(
            "a snapshot's name has 1 to {MAX_NAME} bytes, not {}",
            name.len()
        )));
    }
    if labels.len() > MAX_LABELS
        || labels
            .iter()
            .any(|(label, value)| label.len() + value.len() > MAX_NAME)
    {
        return Err(SnapshotError::invalid(format!(
            "a snapshot has at most {MAX_LABELS} labels of {MAX_NAME} bytes"
        )));
    }
    Ok(())
}

/// The labels that are kept.
pub(super) fn kept(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Who root is on the node, where the labels map ids: their values are lists of `inside:outside:count`.
pub(super) fn mapped_root(labels: &Labels) -> Result<Option<(u32, u32)>> {
    let (uids, gids) = (labels.get(UID_LABEL), labels.get(GID_LABEL));
    if uids.is_none() && gids.is_none() {
        return Ok(None);
    }
    let root = |map: Option<&String>| {
        map.map_or("", String::as_str)
            .split(',')
            .find_map(|range| {
                let numbers: Vec<u32> = range
                    .split(':')
                    .map(|number| number.parse().ok())
                    .collect::<Option<_>>()?;
                match numbers.as_slice() {
                    [0, outside, count] if *count > 0 => Some(*outside),
                    _ => None,
                }
            })
            .ok_or_else(|| {
                SnapshotError::invalid(format!("{UID_LABEL} and {GID_LABEL} do not both map id 0"))
            })
    };
    Ok(Some((root(uids)?, root(gids)?)))
}
