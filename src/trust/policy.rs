//! What a node accepts.

use super::allowed::AllowedSigner;
use super::pattern::PatternList;
use crate::format::root::Root;
use crate::signature::Presence;
use ssh_key::public::KeyData;

/// A node's policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where it was read, for messages.
    pub place: String,
    /// Keys, and whose they are.
    pub signers: Vec<AllowedSigner>,
    /// Keys that never count, whatever else says so.
    pub revoked: Vec<KeyData>,
    /// What is accepted from whom. None: nothing is.
    pub accepted: Vec<Accepted>,
    /// What FIDO keys must vouch for; other keys are held to nothing where this is nothing, and do not count where it is not.
    pub presence: Presence,
    /// Roots from before this are refused: seconds since 1970.
    pub oldest: Option<i64>,
}

/// An origin that is accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The origin, as `init` had it.
    pub origin: String,
    /// One of its series; `None` for all of them.
    pub series: Option<String>,
    /// So many distinct keys must have signed; at least 1.
    pub threshold: u32,
    /// Whose signatures count. `None`: of all allowed signers.
    pub signers: Option<PatternList>,
}

impl Policy {
    /// What is accepted of a ROOT's origin and series: the entry that names the series before the one that takes all.
    #[must_use]
    pub fn accepts(&self, root: &Root) -> Option<&Accepted> {
        self.accepts_series(&root.origin, &root.series)
    }

    /// The same by name.
    #[must_use]
    pub fn accepts_series(&self, origin: &str, series: &str) -> Option<&Accepted> {
        let of_origin = || self.accepted.iter().filter(|a| a.origin == origin);
        of_origin()
            .find(|a| a.series.as_deref() == Some(series))
            .or_else(|| of_origin().find(|a| a.series.is_none()))
    }

    /// How many distinct keys can count there at that time or later: a higher threshold is never met.
    #[must_use]
    pub fn keys_for(&self, accepted: &Accepted, now: i64) -> usize {
        let counts = |signer: &&AllowedSigner| {
            signer.is_somebody_s()
                && signer.may_sign()
                && accepted.counts(signer)
                && signer.valid_before.is_none_or(|before| now <= before)
                && !self.revoked.contains(&signer.key)
        };
        let mut keys: Vec<&KeyData> = Vec::new();
        for signer in self.signers.iter().filter(counts) {
            if !keys.contains(&&signer.key) {
                keys.push(&signer.key);
            }
        }
        keys.len()
    }
}

impl Accepted {
    /// Whether this signer's signature counts here.
    #[must_use]
    pub fn counts(&self, signer: &AllowedSigner) -> bool {
        self.signers
            .as_ref()
            .is_none_or(|list| list.takes(&signer.principals))
    }
}
