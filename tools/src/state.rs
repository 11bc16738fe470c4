//! Where the host keeps its own state: the index of each medium. Never on a medium.

use crate::exit::ToolError;
use holdall::custody::Witness;
use holdall::format::lines::is_unseen;
use std::path::PathBuf;

/// The state folder: the one that was asked for (`--state` or `HOLDALL_STATE`), else that of the system
/// for root, and the user's own for others.
pub fn folder(asked: Option<PathBuf>) -> Result<PathBuf, ToolError> {
    let from = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let named = std::env::var_os("HOLDALL_STATE").filter(|value| !value.is_empty());
    if let Some(folder) = asked.or(named.map(PathBuf::from)) {
        return Ok(folder);
    }
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/holdall"));
    }
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("holdall")).ok_or_else(|| {
        ToolError::Usage("neither XDG_STATE_HOME nor HOME is set; name a folder with --state".to_owned())
    })
}

/// Who runs this command, and on which host, for custody records. Behind sudo the user that called it is named too.
pub fn witness() -> Witness {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {uid}"), |user| user.name);
    let who = match std::env::var("SUDO_USER") {
        Ok(by) if by != user && uid.is_root() => format!("{user}, by sudo of {by}"),
        _ => user,
    };
    Witness {
        who: plain(&who),
        host: plain(&host_name()),
    }
}

/// This host's name, as the kernel has it.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// Text as a label can hold it.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() || is_unseen(c) { '?' } else { c })
        .take(60)
        .collect();
    match text.trim() {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}
