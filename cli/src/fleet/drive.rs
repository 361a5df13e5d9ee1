//! Drives a run in the process of a command.

use std::{ops::ControlFlow, thread, time::Duration};

use flowherd_coordinator::{
    drive::Host,
    error::CoordinatorError,
    state::{Operation, RunState},
};

use super::{Fleet, watch::Watch};
use crate::summary::print_message;

/// Maximum wait between checks, so that progress stays current.
const MAX_WAIT_SECONDS: u64 = 5;
/// Pauses after failures of an operation, in seconds; the next failure ends the command.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// A command that drives a run in this process.
pub(super) struct Command<'a> {
    pub(super) fleet: &'a Fleet<'a>,
    /// Shows progress.
    pub(super) watch: Option<&'a Watch>,
    /// Stops when everything is sent and the workers are processing it.
    pub(super) stops_at_check: bool,
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
        if let Operation::Report(_) = state.operation {
            state.message.iter().for_each(|message| print_message(message));
        }
        thread::sleep(Duration::from_secs(state.wait_seconds));
        ControlFlow::Continue(())
    }

    fn should_continue(&self) -> bool {
        self.fleet.patience.renew();
        // Progress is shown between operations.
        self.watch.is_none()
    }

    fn run<T>(&self, state: &RunState, operation: impl FnOnce() -> T) -> T {
        let what = match state.operation {
            Operation::Purge(_) => "the purge",
            Operation::Plan(_) => "the listing and the sending of the run's objects",
            Operation::Check(_) => "the counts of the queue and of the ledger",
            Operation::Report(_) | Operation::End(_) => "the receipts and failures of the ledger",
        };
        self.fleet.patience.during(what, operation)
    }

    fn failed(&mut self, error: &CoordinatorError, failures: u32) -> ControlFlow<()> {
        let Some(pause) = PAUSES.get(failures as usize - 1) else { return ControlFlow::Break(()) };
        print_message(&format!("{}; retrying in {pause} s", error.on_one_line()));
        thread::sleep(Duration::from_secs(*pause));
        ControlFlow::Continue(())
    }
}
