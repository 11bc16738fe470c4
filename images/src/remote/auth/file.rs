//! One file of credentials: Docker's `config.json` and containers' `auth.json` have the same shape.

use super::canonical_registry;
use crate::{Error, Result};
use base64::Engine as _;
use holdall::name::Repository;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What a file has for one key.
pub enum Entry {
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that is to be exchanged for another.
    IdentityToken,
}

/// A file of credentials; its keys without scheme and version.
pub struct AuthFile {
    entries: BTreeMap<String, Entry>,
    programs: BTreeMap<String, String>,
    /// The program asked for registries that have no entry of their own.
    pub program_for_all: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, RawEntry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Reads a file; None where there is none.
pub fn read_file(path: &Path) -> Result<Option<AuthFile>> {
    let place = path.display().to_string();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err)
            if matches!(
                err.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(Error::io(place, err)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| Error::io(&place, err))?;
    if holdall::units::len64(bytes.len()) > MAX_FILE {
        return Err(Error::too_large(place, "its length in bytes", MAX_FILE));
    }
    let raw: RawFile = serde_json::from_slice(&bytes).map_err(|err| Error::json(&place, &err))?;
    let mut entries = BTreeMap::new();
    for (key, raw) in raw.auths.unwrap_or_default() {
        let parsed =
            parse_entry(raw).map_err(|why| Error::malformed(format!("{place}: auths, {key}"), why))?;
        if let Some(entry) = parsed {
            entries.insert(canonical_key(&key), entry);
        }
    }
    let programs = raw.cred_helpers.unwrap_or_default();
    Ok(Some(AuthFile {
        entries,
        programs: programs
            .into_iter()
            .map(|(key, program)| (canonical_key(&key), program))
            .collect(),
        program_for_all: raw.creds_store.filter(|program| !program.is_empty()),
    }))
}

/// None for an entry without credentials, which Docker leaves where a program has them.
fn parse_entry(raw: RawEntry) -> std::result::Result<Option<Entry>, &'static str> {
    if raw.identitytoken.is_some_and(|token| !token.is_empty()) {
        return Ok(Some(Entry::IdentityToken));
    }
    if let Some(auth) = raw.auth.filter(|auth| !auth.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(auth.trim())
            .map_err(|_| "its auth is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "its auth is not UTF-8")?;
        let (user, password) = text.split_once(':').ok_or("its auth has no colon")?;
        // Docker pads with NULs in some versions.
        let password = password.trim_end_matches('\0');
        return Ok(Some(Entry::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }));
    }
    match (raw.username, raw.password) {
        (Some(user), Some(password)) if !user.is_empty() => Ok(Some(Entry::Password { user, password })),
        _ => Ok(None),
    }
}

impl AuthFile {
    /// The program that is named for this registry.
    pub fn program_for(&self, registry: &str) -> Option<&str> {
        self.programs
            .get(canonical_registry(registry))
            .map(String::as_str)
    }

    /// The entry of the longest part of the repository's name, down to the registry alone.
    pub fn entry_for(&self, repository: &Repository) -> Option<&Entry> {
        let mut key = repository.as_str();
        loop {
            if let Some(entry) = self.entries.get(key) {
                return Some(entry);
            }
            key = key.rsplit_once('/')?.0;
        }
    }
}

/// `https://index.docker.io/v1/` and `docker.io` are one key; `quay.io/acme` is one of its own.
fn canonical_key(key: &str) -> String {
    let (rest, was_url) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    let host = canonical_registry(host);
    if was_url || path.is_empty() || matches!(path, "v1" | "v2") {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}
