//! Removes the run marker of an abandoned run.

use flowherd_shared::{
    ledger::layout,
    queue::Queue,
    store::{Lister, Store},
    text::counted,
};

use crate::{
    coordinator::{Coordinator, other_fleet},
    error::CoordinatorError,
    marker::RunMarker,
};

/// Removes the marker of a run whose fleet has no queue.
///
/// # Errors
/// [`CoordinatorError::Refused`] if the run has no marker.
pub fn forget_marker(results: &impl Store, name: &str) -> Result<(), CoordinatorError> {
    check_marker(results, name)?;
    remove_markers(results, name)
}

/// Removes the marker of a run, and the one by which a close finds the day of a purged live run.
fn remove_markers(results: &impl Store, name: &str) -> Result<(), CoordinatorError> {
    RunMarker::remove(results, name)
        .and_then(|()| results.remove(&layout::unclosed(name)))
        .map_err(CoordinatorError::Ledger)
}

fn check_marker(results: &impl Store, name: &str) -> Result<(), CoordinatorError> {
    if let Some(problem) = layout::run_name_problem(name) {
        return Err(CoordinatorError::Refused(problem));
    }
    let path = layout::active(name);
    let exists = |path: &str| results.head(path).map(|head| head.is_some()).map_err(CoordinatorError::Ledger);
    if !exists(&path)? && !exists(&layout::unclosed(name))? {
        return Err(CoordinatorError::Refused(format!(
            "run {name} has no run marker ({path}), so it blocks no purge; list active runs with: flowherd status"
        )));
    }
    Ok(())
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Removes the marker of an abandoned run, so that it no longer blocks purges.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] while objects of the run have no receipt and the queue has messages, unless `force` is
    /// set.
    pub fn forget(&self, name: &str, force: bool) -> Result<(), CoordinatorError> {
        check_marker(self.results, name)?;
        // A marker that does not parse names no messages to protect.
        let marker = RunMarker::find(self.results, name).map_err(CoordinatorError::Ledger)?;
        if let Some(fleet) = marker.as_ref().and_then(|marker| marker.fleet.as_ref())
            && fleet != self.fleet
        {
            return Err(other_fleet(name, fleet, self.fleet));
        }
        if let Some(marker) = marker.filter(|_| !force) {
            let depth = self.queue.map(Queue::depth).transpose().map_err(CoordinatorError::Queue)?;
            let messages = depth.unwrap_or_default().sum();
            if messages > 0 && self.has_unfinished_objects(&marker)? {
                return Err(CoordinatorError::Refused(format!(
                    "run {name} has objects without a receipt, and the queue has {} that may belong to it; wait \
                     until the queue is empty, or use --force: a purge may then delete them",
                    counted(messages, "message", "messages")
                )));
            }
        }
        remove_markers(self.results, name)
    }
}
