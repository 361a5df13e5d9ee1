//! Purges the queue for a run, unless another run would lose messages.

use flowherd_shared::{
    ledger::{Purged, ReportState, Run, layout, put_json, read_json},
    queue::{PurgeError, Queue},
    store::{Lister, Store},
};

use crate::{
    coordinator::{Coordinator, PURGE_RETRY_SECONDS, PURGE_SECONDS},
    error::CoordinatorError,
    live::day::is_reserved,
    marker::{self, RunMarker, Stage},
    report::finished_report,
    state::{Operation, Planning, Purging, Reporting, RunState},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Purges the queue, after recording the purge in every run that loses messages by it.
    pub(crate) fn purge(&self, state: RunState, purging: &Purging) -> Result<RunState, CoordinatorError> {
        let run = self.run(&state.run)?;
        let queue = self.queue_or("begin a run without a purge")?;
        if marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some() {
            let report = Reporting { is_final: true, ..Reporting::default() };
            return Ok(state.next(Operation::Report(report), 0));
        }
        let plan = Operation::Plan(Planning::default());
        // Another driver of this run may have sent messages, which must not be purged.
        if self.has_sent(&run.run)? {
            return Ok(state.next(plan, 0));
        }
        // Checks again: another run may have begun since.
        self.mark(&run, Stage::Purging)?;
        let losers = match self.losers(&run, purging.force) {
            Err(error @ CoordinatorError::Refused(_)) => {
                RunMarker::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
                return Err(error);
            }
            losers => losers?,
        };
        for loser in losers {
            let purged = Purged { by: run.run.clone(), at: self.now() };
            if is_reserved(&loser) {
                // Before the purge ends the run: its marker, by which a close finds the day, is removed.
                put_json(self.results, &layout::unclosed(&loser), &purged)
                    .map_err(CoordinatorError::Ledger)?;
            }
            put_json(self.results, &layout::purged(&loser), &purged).map_err(CoordinatorError::Ledger)?;
            RunMarker::remove(self.results, &loser).map_err(CoordinatorError::Ledger)?;
        }
        // Renews the marker's age, by which others wait: reading theirs may have taken long.
        self.mark(&run, Stage::Purging)?;
        if self.has_sent(&run.run)? {
            return Ok(state.next(plan, 0));
        }
        match queue.purge() {
            Ok(()) => Ok(state.next(plan, PURGE_SECONDS)),
            // That purge may have been requested before this run's marker was written, so it may miss messages.
            Err(PurgeError::InProgress) => {
                Ok(state.next(Operation::Purge(purging.clone()), PURGE_RETRY_SECONDS))
            }
            Err(PurgeError::Failed(error)) => Err(CoordinatorError::Queue(error)),
        }
    }

    /// Returns the runs that lose messages if the queue is purged for this one, or refuses. A run of the same prefix is
    /// superseded; any other blocks the purge, unless it has no unfinished objects or `force` is set. Of two runs that are
    /// about to purge, the earlier one of the same prefix loses; any other blocks.
    pub(crate) fn losers(&self, run: &Run, force: bool) -> Result<Vec<String>, CoordinatorError> {
        let ledger = CoordinatorError::Ledger;
        let mut losers = Vec::new();
        for other in RunMarker::others_of_fleet(self.results, run).map_err(ledger)? {
            // A marker that does not parse has no start, and an empty prefix that is not its own. That of a live run has the
            // common prefix of its fleet, but the run has the objects of a day.
            let is_same = other.started.is_some() && other.prefix == run.prefix && !is_reserved(&other.run);
            // Without a start, the other run has not read the markers yet, and will see this run's.
            let started = other.started.as_ref();
            let is_earlier = started.is_some_and(|started| (started, &other.run) < (&run.started, &run.run));
            if other.is_purging(self.results).map_err(ledger)? {
                if is_same && is_earlier {
                    losers.push(other.run);
                    continue;
                }
                return Err(CoordinatorError::Refused(format!(
                    "the queue is being purged for run {} (prefix {:?}); try again in a few minutes",
                    other.run, other.prefix
                )));
            }
            if !self.has_unfinished_objects(&other)? {
                continue;
            }
            if !is_same && !force {
                let started = started.map_or("at an unknown time", String::as_str);
                return Err(CoordinatorError::Refused(format!(
                    "run {name} (prefix {:?}, started {started}) has unfinished objects, whose messages a purge would \
                     delete; wait until it ends; if nothing drives it, write its report (flowherd report {name}); if it is \
                     abandoned, remove its run marker (flowherd runs --forget {name}); or use force: its report then \
                     records the purge",
                    other.prefix,
                    name = other.run
                )));
            }
            losers.push(other.run);
        }
        Ok(losers)
    }

    /// Returns whether any object that the run sent has no receipt. A run without `run.json` has none: workers refuse its
    /// messages.
    pub(crate) fn has_unfinished_objects(&self, marker: &RunMarker) -> Result<bool, CoordinatorError> {
        if !marker.has_sent {
            return Ok(false);
        }
        let run: Option<Run> =
            read_json(self.results, &layout::run(&marker.run)).map_err(CoordinatorError::Ledger)?;
        let Some(run) = run else { return Ok(false) };
        // A live run has receipts of objects that arrived and are not in its manifest, so their number proves nothing.
        if run.live.is_some() {
            let report = finished_report(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            return Ok(report.is_none_or(|report| report.state != ReportState::Done));
        }
        // Without totals the listing is incomplete: the run may be sending now.
        let Some(totals) = run.manifest.or(marker.sent) else { return Ok(true) };
        Ok(match self.outcomes(&marker.run, totals)? {
            Some(outcomes) => outcomes.done.saturating_add(totals.skipped) < totals.objects,
            // The run has too many objects to count.
            None => true,
        })
    }
}
