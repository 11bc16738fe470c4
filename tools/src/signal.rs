//! Ctrl-C and SIGTERM: the first asks a run to stop in order, the second ends the process at once.

use crate::exit::{Exit, ToolError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn failed(source: std::io::Error) -> ToolError {
    ToolError::io("signals", source)
}

/// A flag that the first signal sets.
pub fn interrupted() -> Result<Arc<AtomicBool>, ToolError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the shutdown looks at the flag before this signal sets it.
        let code = i32::from(Exit::Interrupted.code());
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(failed)?;
    }
    Ok(flag)
}

/// The signals that end a mount or a server, to be waited for.
pub fn endings() -> Result<Signals, ToolError> {
    Signals::new([SIGINT, SIGTERM]).map_err(failed)
}
