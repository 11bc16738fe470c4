//! Credential programs: `docker-credential-X get`, with the registry on its input.

use super::{Credentials, canonical_registry, identity_token};
use crate::{Error, Result};
use serde::Deserialize;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// What every such program says where it has no credentials.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the program `docker-credential-<program>`; None where it has no credentials for the registry.
pub fn ask(program: &str, registry: &str) -> Result<Option<Credentials>> {
    let name = format!("docker-credential-{program}");
    if program.is_empty()
        || !program
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        return Err(Error::malformed(
            format!("{name:?}"),
            "not the name of a credential program",
        ));
    }
    // Docker's own registry is kept under the name that it had first.
    let server = match canonical_registry(registry) {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    };
    let mut child = Command::new(&name)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|err| Error::io(&name, err))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input answers all the same.
        let _ = stdin.write_all(server.as_bytes());
    }
    let mut answer = Vec::new();
    let read = child
        .stdout
        .take()
        .map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut answer));
    // Waited for whether or not its answer could be read, so that no process is left behind.
    let status = child.wait().map_err(|err| Error::io(&name, err))?;
    read.transpose().map_err(|err| Error::io(&name, err))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer);
        if said.contains(NOT_FOUND) {
            return Ok(None);
        }
        // What it printed is not repeated, as it could hold a secret.
        return Err(Error::Denied {
            place: name,
            detail: format!(": it ended with {status}"),
        });
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|err| Error::json(&name, &err))?;
    match answer.username.as_str() {
        "<token>" => Err(identity_token(&name, registry)),
        _ => Ok(Some(Credentials::Password {
            user: answer.username,
            password: answer.secret,
        })),
    }
}
