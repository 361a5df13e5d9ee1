//! Sends the tasks of objects that have arrived.

use flowherd_shared::{
    queue::Queue,
    store::{Lister, ManifestEntry, Store},
    task::Task,
};

use super::day::{Day, Territory};
use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    planner::{PlanError, send},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Sends a task for each object to the run of the day, and begins the run if it is the first one. Objects that arrive twice
    /// have the same deduplication id, and their receipt acknowledges a later message.
    ///
    /// # Errors
    /// After an error, some tasks may have been sent. The call can be repeated.
    pub fn arrive(
        &self,
        territory: &Territory,
        day: Day,
        objects: &[ManifestEntry],
    ) -> Result<(), CoordinatorError> {
        let queue = self.queue_or("set live to false, or its driver to queue")?;
        let run = self.open_run(territory, day)?;
        let task = |object: &ManifestEntry| Task {
            run: run.run.clone(),
            fleet: run.fleet.clone(),
            bucket: self.bucket.to_owned(),
            object: object.clone(),
        };
        let tasks: Vec<Task> = objects.iter().map(task).collect();
        // A run that is closed from here on lists these objects, because they exist.
        send::send(queue, &tasks, self.pause)
            .map_err(|source| PlanError::Send { part: format!("run {}", run.run), source }.into())
    }
}
