//! Sends the tasks of objects that have arrived.

use flowherd_shared::{
    ledger::{Missing, Receipt},
    queue::Queue,
    store::{Lister, ManifestEntry, Store, StoreError},
    task::Task,
};

use super::{
    day::{Day, FleetPrefixes},
    stage::{LiveStage, RunOfDay},
};
use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    parallel,
    planner::{PlanError, send},
};

/// Maximum concurrent reads of receipts.
const READERS: usize = 32;

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Sends a task for each object to the run of the day, and begins the run if it is the first one. Tasks for the same
    /// version of an object have the same deduplication id; after five minutes, the worker finds the receipt and deletes the message.
    /// Objects that a closed run of the day has done need no task. Returns the number of tasks.
    ///
    /// # Errors
    /// After an error, some tasks may have been sent. The call can be repeated.
    pub fn arrive(
        &self,
        keys: &FleetPrefixes,
        day: Day,
        objects: &[ManifestEntry],
    ) -> Result<u64, CoordinatorError> {
        let queue = self.queue_or("set live to false, or its driver to queue")?;
        let (mut open, closed): (Vec<RunOfDay>, Vec<RunOfDay>) =
            self.runs_of_day(day)?.into_iter().partition(|found| found.stage == LiveStage::Open);
        let pending = self.without_receipt(objects, &closed).map_err(CoordinatorError::Ledger)?;
        if pending.is_empty() {
            return Ok(0);
        }
        let run = match open.pop() {
            Some(found) => found.run,
            None => self.open_run(keys, day)?,
        };
        let task = |object: &&ManifestEntry| Task {
            run: run.run.clone(),
            fleet: run.fleet.clone(),
            bucket: self.bucket.to_owned(),
            object: (*object).clone(),
        };
        let tasks: Vec<Task> = pending.iter().map(task).collect();
        // A run that is closed from here on lists these objects, because they exist.
        send::send(queue, &tasks, self.pause)
            .map_err(|source| PlanError::Send { part: format!("run {}", run.run), source })?;
        Ok(tasks.len() as u64)
    }

    /// Returns the objects that none of these runs has done. The latest receipt of a key decides, because its run has replaced the
    /// outputs of former versions. Does not look at outputs: arrivals may only read the ledger.
    fn without_receipt<'o>(
        &self,
        objects: &'o [ManifestEntry],
        closed: &[RunOfDay],
    ) -> Result<Vec<&'o ManifestEntry>, StoreError> {
        if closed.is_empty() {
            return Ok(objects.iter().collect());
        }
        let is_done = |object: &ManifestEntry| -> Result<bool, StoreError> {
            for RunOfDay { run, .. } in closed.iter().rev() {
                match Receipt::read(self.results, &run.run, object, &run.fingerprint)? {
                    Ok(_) => return Ok(true),
                    Err(Missing::NoOutcome) => {}
                    Err(_) => return Ok(false),
                }
            }
            Ok(false)
        };
        let done = parallel::try_map(READERS, objects, is_done)?;
        Ok(objects.iter().zip(done).filter(|(_, is_done)| !is_done).map(|(object, _)| object).collect())
    }
}
