//! What is printed, for people or for programs.

use crate::exit::ToolError;
use holdall::format::lines::is_unseen;
use holdall::format::root::Root;
use holdall::ids::PageHash;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::io::Write as _;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// By the global flags.
    pub const fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        Self { json, quiet, verbose }
    }

    /// Whether programs read the output.
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Whether less is to be said.
    pub const fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether more is to be said.
    pub const fn is_verbose(self) -> bool {
        self.verbose
    }

    /// A line of the result; nothing where the result is JSON.
    pub fn line(self, text: impl Display) -> Result<(), ToolError> {
        if self.json {
            return Ok(());
        }
        stdout(&format!("{text}\n"))
    }

    /// A line of the result that -q leaves out.
    pub fn say(self, text: impl Display) -> Result<(), ToolError> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// The result for programs; nothing where people read.
    pub fn result(self, value: &impl Serialize) -> Result<(), ToolError> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(value).map_err(|e| ToolError::io("the result", e.into()))?;
        stdout(&format!("{text}\n"))
    }

    /// A note beside the result, on standard error.
    pub fn note(self, text: impl Display) {
        if !self.json && !self.quiet {
            stderr(printable(&text.to_string()));
        }
    }

    /// A warning, on standard error.
    pub fn warn(self, text: &str) {
        stderr(self.warning(text));
    }

    /// A warning as it is printed.
    pub fn warning(self, text: &str) -> String {
        if self.json {
            json!({ "warning": text }).to_string()
        } else {
            format!("holdall: warning: {}", printable(text))
        }
    }

    /// Why the command failed, on standard error.
    pub fn error(self, error: &ToolError, is_add: bool) {
        let (message, hint) = (error.to_string(), error.hint(is_add));
        if self.json {
            let exit = error.exit().code();
            let object = json!({ "error": {
                "kind": error.kind(), "message": message, "place": error.place(), "hint": hint, "exit": exit,
            } });
            stderr(object);
            return;
        }
        let hint = hint.map(|hint| format!("\nholdall: {hint}")).unwrap_or_default();
        stderr(format_args!("holdall: {}{hint}", printable(&message)));
    }
}

/// Writes to standard output at once, so that a reader in a pipe need not wait.
pub fn stdout(text: &str) -> Result<(), ToolError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| ToolError::io("standard output", e))
}

/// Writes a line to standard error. Where nobody takes it there is nobody left to tell of that.
pub fn stderr(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Text that may come from a medium, with nothing in it that a terminal would act upon.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A file name on one line: control characters and backslashes escaped, and what changes how the rest is shown.
pub fn one_line(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_control() || c == '\\' || is_unseen(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// A length for people: three digits and a decimal unit.
pub fn bytes(n: u64) -> String {
    indicatif::DecimalBytes(n).to_string()
}

/// A number of things for people.
pub fn plural(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// A time for people: UTC.
pub fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| format!("{seconds} seconds after 1970"),
        |time| time.to_string(),
    )
}

/// A generation, as every verb's JSON names it.
pub fn generation(root: &Root, hash: PageHash) -> serde_json::Value {
    json!({
        "medium": root.medium.to_hex(),
        "generation": root.generation.get(),
        "root": hash.to_hex(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_medium_reaches_a_terminal_as_a_command() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\nc");
        assert_eq!(one_line("a\nb\\\x1b"), "a\\nb\\\\\\u{1b}");
        assert_eq!(one_line("\u{202e}gnp.exe é"), "\\u{202e}gnp.exe é");
    }
}
