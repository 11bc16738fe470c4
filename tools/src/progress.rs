//! Progress of a long run: a bar on a terminal, plain lines every few seconds elsewhere, nothing with -q.

use crate::output::{Output, bytes, printable, stderr};
use holdall::monitor::Monitor;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use serde_json::json;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Shown {
    /// On a terminal; drawn from the first expectation on.
    Bar(ProgressBar),
    /// Elsewhere; when the next line is due.
    Lines(Mutex<Instant>),
    Nothing,
}

/// What a run came to so far, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Expected to come in.
    pub expected: u64,
    /// Came in, or were checked.
    pub done: u64,
    /// Needed no storing.
    pub deduplicated: u64,
    /// Were written to the medium.
    pub stored: u64,
}

/// A monitor that shows progress on standard error, and remembers warnings.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    shown: Shown,
    /// What the bytes are: `added`, `checked`.
    what: &'static str,
    keeps_warnings: bool,
    started: Instant,
    expected: AtomicU64,
    done: AtomicU64,
    deduplicated: AtomicU64,
    stored: AtomicU64,
    warnings: Mutex<Vec<String>>,
}

impl Progress {
    /// Progress of a run whose bytes are `what`.
    pub fn new(output: Output, what: &'static str) -> Self {
        let shown = if output.is_quiet() {
            Shown::Nothing
        } else if !output.is_json() && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
            bar.set_style(style());
            Shown::Bar(bar)
        } else {
            Shown::Lines(Mutex::new(Instant::now() + EVERY))
        };
        Self {
            output,
            shown,
            what,
            keeps_warnings: false,
            started: Instant::now(),
            expected: AtomicU64::new(0),
            done: AtomicU64::new(0),
            deduplicated: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            warnings: Mutex::default(),
        }
    }

    /// The same, with warnings only remembered: for a run whose findings are its result.
    pub fn keeping_warnings(self) -> Self {
        Self {
            keeps_warnings: true,
            ..self
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// What was warned of so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    /// What the run came to so far.
    pub fn figures(&self) -> Figures {
        Figures {
            expected: self.expected.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            deduplicated: self.deduplicated.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
        }
    }

    /// How long the run has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn print(&self, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| stderr(text)),
            _ => stderr(text),
        }
    }

    fn line_if_due(&self) {
        let Shown::Lines(due) = &self.shown else { return };
        // Whoever finds it taken leaves the line to the one that has it.
        let Some(mut due) = due.try_lock() else { return };
        let now = Instant::now();
        if now < *due {
            return;
        }
        *due = now + EVERY;
        drop(due);
        let Figures {
            expected,
            done,
            deduplicated,
            stored,
        } = self.figures();
        let rate = rate(done, self.elapsed());
        let left = expected.saturating_sub(done).checked_div(rate);
        if self.output.is_json() {
            let object = json!({ "progress": {
                "bytes": done, "expected": expected, "bytes_per_second": rate, "seconds_left": left,
                "deduplicated": deduplicated, "stored": stored,
            } });
            stderr(object);
            return;
        }
        let left = left
            .map(|seconds| format!(", {seconds} s left"))
            .unwrap_or_default();
        let saved = if deduplicated > 0 {
            format!(", {} saved by dedup", bytes(deduplicated))
        } else {
            String::new()
        };
        stderr(format_args!(
            "{} of {} {}, {}/s{left}{saved}",
            bytes(done),
            bytes(expected),
            self.what,
            bytes(rate)
        ));
    }

    fn show_saved(&self) {
        if let Shown::Bar(bar) = &self.shown {
            let saved = self.deduplicated.load(Ordering::Relaxed);
            if saved > 0 {
                bar.set_message(format!(", {} saved by dedup", bytes(saved)));
            }
        }
    }
}

fn style() -> ProgressStyle {
    let template =
        "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left{msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Bytes in a second, at least 1 once there are any.
fn rate(done: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    done.saturating_mul(1000) / millis
}

impl Monitor for Progress {
    fn expect(&self, bytes: u64) {
        let expected = self
            .expected
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        if let Shown::Bar(bar) = &self.shown {
            bar.set_length(expected);
            if bar.is_hidden() && expected > 0 {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(200));
            }
        }
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        if let Shown::Bar(bar) = &self.shown {
            bar.inc(bytes);
        }
        self.line_if_due();
    }

    fn deduplicated(&self, bytes: u64) {
        self.deduplicated.fetch_add(bytes, Ordering::Relaxed);
        self.show_saved();
    }

    fn stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    fn step(&self, text: &str) {
        if self.output.is_verbose() {
            if self.output.is_json() {
                self.print(&json!({ "step": text }).to_string());
            } else {
                self.print(&printable(text));
            }
        }
    }

    fn warn(&self, text: &str) {
        self.warnings.lock().push(text.to_owned());
        if !self.keeps_warnings {
            self.print(&self.output.warning(text));
        }
    }
}

/// Prints what a server or a mount has to warn of, and nothing else.
#[derive(Debug)]
pub struct Warnings(pub Output);

impl Monitor for Warnings {
    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_and_warnings_are_kept() {
        let progress = Progress::new(Output::new(false, true, false), "added").keeping_warnings();
        progress.expect(10);
        progress.advance(4);
        progress.advance(6);
        progress.deduplicated(3);
        progress.stored(7);
        progress.warn("w");
        assert_eq!(
            progress.figures(),
            Figures {
                expected: 10,
                done: 10,
                deduplicated: 3,
                stored: 7
            }
        );
        assert_eq!(progress.warnings(), ["w"]);
    }
}
