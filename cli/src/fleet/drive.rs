//! Drives a run in the process of a command.

use std::{
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    thread,
    time::Duration,
};

use flowherd_coordinator::{
    drive::Host,
    error::CoordinatorError,
    state::{Operation, RunState},
};
use flowherd_shared::backoff;

use super::{patience::Patience, watch::Watch};
use crate::summary::print_message;

/// Maximum wait between checks, so that progress stays current.
const MAX_WAIT_SECONDS: u64 = 5;
/// Maximum retries of an operation. One more failure ends the command.
const MAX_RETRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(32);

/// A command that drives a run in this process.
pub(super) struct Command<'a> {
    patience: &'a Patience,
    /// Shows progress.
    watch: Option<&'a Watch>,
    /// Stops when everything is sent and the workers are processing it.
    stops_at_check: bool,
    /// The message of the run that was printed last.
    printed: Option<String>,
}

impl<'a> Command<'a> {
    pub(super) fn new(patience: &'a Patience, watch: Option<&'a Watch>, stops_at_check: bool) -> Self {
        Self { patience, watch, stops_at_check, printed: None }
    }
}

impl Host for Command<'_> {
    fn before(&mut self, state: &mut RunState) -> ControlFlow<()> {
        self.watch.iter().for_each(|watch| watch.show(state));
        match state.operation {
            Operation::Check(_) if self.stops_at_check => return ControlFlow::Break(()),
            // The queue needs the whole wait around a purge.
            Operation::Purge(_) | Operation::Plan(_) => {}
            _ => state.wait_seconds = state.wait_seconds.min(MAX_WAIT_SECONDS),
        }
        if state.message != self.printed {
            state.message.iter().for_each(|message| print_message(message));
            self.printed.clone_from(&state.message);
        }
        thread::sleep(Duration::from_secs(state.wait_seconds));
        ControlFlow::Continue(())
    }

    fn should_continue(&self) -> bool {
        self.patience.renew();
        // Progress is shown between operations.
        self.watch.is_none()
    }

    fn run<T>(&self, state: &RunState, operation: impl FnOnce() -> T) -> T {
        let what = match state.operation {
            Operation::Purge(_) => "the purge",
            Operation::Plan(_) => "the listing and the sending of the run's objects",
            Operation::Check(_) | Operation::Map(_) => "the counts of the queue and of the ledger",
            Operation::Report(_) | Operation::End(_) => "the receipts and failures of the ledger",
        };
        self.patience.during(what, operation)
    }

    fn failed(&mut self, error: &CoordinatorError, failures: u32) -> ControlFlow<()> {
        // A random seed: several commands that meet the same outage then retry at different times.
        let Some(pause) = retry_pause(failures, RandomState::new().hash_one(failures)) else {
            return ControlFlow::Break(());
        };
        print_message(&format!("{}; retrying in {:.1} s", error.on_one_line(), pause.as_secs_f64()));
        thread::sleep(pause);
        ControlFlow::Continue(())
    }
}

/// Returns the pause before an operation that has failed `failures` times in succession is retried; `None` after
/// [`MAX_RETRIES`].
fn retry_pause(failures: u32, seed: u64) -> Option<Duration> {
    (failures <= MAX_RETRIES).then(|| backoff::pause(FIRST_PAUSE, MAX_PAUSE, failures, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_retried_six_times_after_pauses_that_double_and_vary() {
        for (failures, seconds) in (1..).zip([1, 2, 4, 8, 16, 32]) {
            let longest = Duration::from_secs(seconds);
            let pauses: Vec<Duration> = (0..100).filter_map(|seed| retry_pause(failures, seed)).collect();
            assert_eq!(pauses.len(), 100, "{failures}");
            assert!(
                pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)),
                "{failures}: {pauses:?}"
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}: {pauses:?}");
        }
        assert_eq!(retry_pause(7, 0), None);
    }
}
