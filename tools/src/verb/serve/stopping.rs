//! The way out: asked by a signal, refused while containers run from the disk, forced by a second signal.

use super::running::Watched;
use crate::exit::Exit;
use crate::output::{Output, plural};
use holdall::units::len64;
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Whether the server was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Asks it to.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// True once it was asked.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Done once it is asked.
    pub fn asked(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut changes = self.0.subscribe();
        async move {
            // The sender lives as long as any clone; without one nothing is left to wait for.
            let _asked_or_gone = changes.wait_for(|asked| *asked).await;
        }
    }
}

/// How long after a refusal a second signal means it.
const INSISTS: Duration = Duration::from_secs(60);
/// Containers named in a refusal; of more, only their number.
const NAMED: usize = 5;

/// Listens for the signals, until the process ends.
pub fn listen(
    mut signals: Signals,
    stop: Stop,
    watched: Option<Watched>,
    output: Output,
) -> Result<(), std::io::Error> {
    let wait = move || {
        let mut refused: Option<Instant> = None;
        for _ in signals.forever() {
            if stop.is_asked() {
                // Open answers are being finished: this one does not wait for them.
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            let running = watched.as_ref().map(Watched::running).unwrap_or_default();
            if running.is_empty() || refused.is_some_and(|at| at.elapsed() < INSISTS) {
                stop.ask();
                continue;
            }
            refused = Some(Instant::now());
            let mut named: Vec<&str> = running.iter().take(NAMED).map(String::as_str).collect();
            if running.len() > NAMED {
                named.push("…");
            }
            output.warn(&format!(
                "{} from this disk ({}): not stopping. Stop them first; a second signal within a minute takes their files away",
                match running.len() {
                    1 => "a container runs".to_owned(),
                    n => format!("{} run", plural(len64(n), "container")),
                },
                named.join(", ")
            ));
            super::loader::notify_status("not stopping: containers run from the disk");
        }
    };
    // Ends with the process.
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
}
