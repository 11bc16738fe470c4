//! The end of a session, as something to wait for.
//!
//! Owns one flag that is raised once. Knows nothing of why the session ended.

use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Raised once, when the session's last thread has let go of the file system.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    reached: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    /// Raises the flag and wakes whoever waits.
    pub(crate) fn reach(&self) {
        *self.reached.lock() = true;
        self.changed.notify_all();
    }

    /// Whether the flag is up.
    pub(crate) fn is_reached(&self) -> bool {
        *self.reached.lock()
    }

    /// Waits for the flag, however long it takes.
    pub(crate) fn wait(&self) {
        let mut reached = self.reached.lock();
        while !*reached {
            self.changed.wait(&mut reached);
        }
    }

    /// Waits for the flag at most that long; whether it is up.
    pub(crate) fn wait_for(&self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        let mut reached = self.reached.lock();
        while !*reached {
            if self.changed.wait_until(&mut reached, until).timed_out() {
                break;
            }
        }
        *reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_waiter_sees_the_end() {
        let ending = Arc::new(Ending::default());
        assert!(!ending.wait_for(Duration::from_millis(1)));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let ending = Arc::clone(&ending);
                std::thread::spawn(move || ending.wait())
            })
            .collect();
        ending.reach();
        for waiter in waiters {
            assert!(waiter.join().is_ok());
        }
        assert!(ending.is_reached() && ending.wait_for(Duration::ZERO));
    }
}
