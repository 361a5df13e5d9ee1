//! The time limit of fleet commands. A command prints what it waits for after some seconds, and ends if AWS does not respond.

use std::{
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{summary::print_message, terminal};

/// A longer wait is printed.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// Watches the calls of one command in a separate thread. At the limit it ends the process with status 1: a call of the
/// SDK that blocks cannot be interrupted.
pub(crate) struct Patience {
    limit: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wait: Option<Wait>,
    has_ended: bool,
}

#[derive(Clone)]
struct Wait {
    what: String,
    since: Instant,
    is_shown: bool,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        thread::spawn(move || watched.watch(limit));
        Self { limit, shared }
    }

    /// Returns the time limit of each call.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs `work`, which waits for AWS. `what` names it in messages. Each call has the whole time limit.
    pub(super) fn during<T>(&self, what: impl Into<String>, work: impl FnOnce() -> T) -> T {
        let before = self.replace(Some(Wait { what: what.into(), since: Instant::now(), is_shown: false }));
        let done = work();
        self.replace(before.map(|wait| Wait { since: Instant::now(), ..wait }));
        done
    }

    /// Runs `work`, which waits for something other than AWS, such as the reader of a full pipe: without a time limit.
    pub(crate) fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.replace(None);
        let done = work();
        self.replace(before.map(|wait| Wait { since: Instant::now(), ..wait }));
        done
    }

    /// Restarts the time limit, because AWS has responded and the work continues.
    pub(crate) fn renew(&self) {
        if let Some(wait) = &mut self.shared.lock().wait {
            wait.since = Instant::now();
        }
    }

    fn replace(&self, wait: Option<Wait>) -> Option<Wait> {
        let before = std::mem::replace(&mut self.shared.lock().wait, wait);
        self.shared.changed.notify_all();
        before
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, limit: Duration) {
        let mut state = self.lock();
        while !state.has_ended {
            let Some(wait) = &mut state.wait else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = wait.since.elapsed();
            if waited >= limit {
                terminal::clear();
                print_message(&format!(
                    "no response within {} s while waiting for {}. Check network, region and endpoint, or raise --timeout",
                    limit.as_secs(),
                    wait.what
                ));
                process::exit(1);
            }
            let is_due = waited >= SHOWN_AFTER;
            if is_due && !wait.is_shown {
                wait.is_shown = true;
                if !terminal::shows_progress() {
                    print_message(&format!("waiting for {}", wait.what));
                }
            }
            let next = if is_due { limit } else { limit.min(SHOWN_AFTER) };
            let sleep = next.saturating_sub(waited);
            state = self.changed.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_has_no_time_limit_and_restores_the_wait() {
        let patience = Patience::new(Duration::from_hours(1));
        let waits_for = || patience.shared.lock().wait.as_ref().map(|wait| wait.what.clone());
        patience.during("the outputs", || {
            assert_eq!(patience.pause(waits_for), None);
            assert_eq!(waits_for().as_deref(), Some("the outputs"));
        });
        assert_eq!(waits_for(), None);
    }
}
