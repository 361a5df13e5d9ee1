//! The operation `map` of a fleet with driver map. The coordinator only plans and reports. In between, a Distributed Map of the
//! step loop lists the prefix again and passes its objects to the workers.

use flowherd_shared::{
    queue::Queue,
    store::{Lister, Store},
};

use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    state::{Checking, Mapping, Operation, Reporting, RunState},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Continues with the report after the map has ended.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] before that: only the step loop can run the map.
    pub(crate) fn map(&self, state: RunState, mapping: &Mapping) -> Result<RunState, CoordinatorError> {
        let run = self.run(&state.run)?;
        if !mapping.ended {
            return Err(CoordinatorError::Refused(format!(
                "run {} is planned, and its objects wait for the step loop: {}",
                run.run,
                self.only_by_step_loop()
            )));
        }
        // Every child of the map has ended, and workers end before their child. So no worker has an object of the run, as
        // after a settled check.
        let checking = Checking { idle_seconds: self.settle.as_secs(), ..Checking::default() };
        let report = Reporting { is_final: true, checking, ..Reporting::default() };
        Ok(state.next(Operation::Report(report), 0))
    }

    /// Refuses to begin a run whose objects only the step loop can pass to the workers.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for a fleet with driver map.
    pub fn refuse_without_step_loop(&self) -> Result<(), CoordinatorError> {
        match self.queue {
            Some(_) => Ok(()),
            None => Err(CoordinatorError::Refused(self.only_by_step_loop())),
        }
    }

    fn only_by_step_loop(&self) -> String {
        format!(
            "fleet {} has driver map, and only the step loop of a deployed stack passes its objects to the workers; begin the \
             run in a stack (flowherd run --stack NAME), or start its state machine",
            self.fleet
        )
    }

    /// Returns the queue. `instead` is the remedy in the error text of a fleet without one.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for a fleet with driver map.
    pub(crate) fn queue_or(&self, instead: &str) -> Result<&Q, CoordinatorError> {
        self.queue.ok_or_else(|| {
            CoordinatorError::Refused(format!(
                "fleet {} has driver map, so it has no queue; {instead}",
                self.fleet
            ))
        })
    }
}
