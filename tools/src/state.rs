//! Where the host keeps its own state: the index of each medium. Never on a medium.

use crate::exit::ToolError;
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
