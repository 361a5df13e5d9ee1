//! Drives a run: does its operations sequentially until the run ends or the host stops. The function, the commands and the
//! tests are hosts of the same loop.

use std::ops::ControlFlow;

use flowherd_shared::{
    queue::Queue,
    store::{Lister, Store},
};

use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    state::{Checking, Mapping, Operation, Planning, RunState},
};

/// Waits, shows progress, and decides when to stop.
pub trait Host {
    /// Called before each operation: waits for `wait_seconds`, or breaks to stop before the operation. A host that waits for
    /// a shorter time reduces `wait_seconds`, from which checks add up how long the queue has been empty.
    fn before(&mut self, state: &mut RunState) -> ControlFlow<()>;

    /// Returns whether an operation has time for another page of the listing or part of the manifest.
    fn should_continue(&self) -> bool {
        true
    }

    /// Runs one operation.
    fn run<T>(&self, _state: &RunState, operation: impl FnOnce() -> T) -> T {
        operation()
    }

    /// Called when an operation fails with a retryable error, with the number of consecutive failures. Continues to repeat
    /// the operation, or breaks to return the error.
    fn failed(&mut self, _error: &CoordinatorError, _failures: u32) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Returns the state from which to continue a run without a driver: planning until its listing is complete, otherwise
    /// checks or the map.
    ///
    /// # Errors
    /// As [`Coordinator::run`].
    pub fn resume_driving(&self, name: &str) -> Result<RunState, CoordinatorError> {
        let run = self.run(name)?;
        self.refuse_open(&run)?;
        let operation = match (run.manifest, self.queue) {
            (Some(_), Some(_)) => Operation::Check(Checking::default()),
            // The map has ended, or was stopped with its execution. Objects that are done need no work again.
            (Some(_), None) => Operation::Map(Mapping::default()),
            (None, _) => Operation::Plan(Planning::default()),
        };
        Ok(RunState::new(&run, operation))
    }

    /// Drives a run until it ends or the host stops. Also after an error, `state` is the next operation.
    ///
    /// # Errors
    /// A permanent error at once; any other error if the host does not repeat the operation.
    pub fn drive(&self, state: &mut RunState, host: &mut impl Host) -> Result<(), CoordinatorError> {
        let mut failures = 0;
        while !state.has_ended() && host.before(state).is_continue() {
            let operation = || self.step(state.clone(), &|| host.should_continue());
            match host.run(state, operation) {
                Ok(next) => (*state, failures) = (next, 0),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => {
                    failures += 1;
                    if host.failed(&error, failures).is_break() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does one operation and returns the next state. `should_continue` returns whether there is time for another page of the
    /// listing or part of the manifest.
    pub fn step(
        &self,
        state: RunState,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<RunState, CoordinatorError> {
        match state.operation.clone() {
            Operation::Purge(purging) => self.purge(state, &purging),
            Operation::Plan(planning) => self.plan(state, planning, should_continue),
            Operation::Check(checking) => self.check(state, checking),
            Operation::Map(mapping) => self.map(state, &mapping),
            Operation::Report(reporting) => self.report(state, reporting, should_continue),
            Operation::End(_) => Ok(state),
        }
    }

    /// Reports a run as it is, because a step failed permanently and nothing drives the run any more.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for a live run whose listing is complete: a final report would end the day, but the workers
    /// may still do its objects. The next close continues such a run.
    pub fn report_after_failure(
        &self,
        run: &str,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<RunState, CoordinatorError> {
        let run = self.run(run)?;
        if run.live.is_some() && run.manifest.is_some() {
            return Err(CoordinatorError::Refused(format!(
                "live run {} has not ended; the next close of its fleet continues it",
                run.run
            )));
        }
        self.step(RunState::report_now(&run), should_continue)
    }
}
