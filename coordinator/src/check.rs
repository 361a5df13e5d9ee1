//! The operation that checks progress. Counts of the queue decide when to try a report; only the report proves that a run is
//! complete.

use flowherd_shared::{
    ledger::{ManifestTotals, layout},
    queue::Queue,
    store::{Lister, Store, StoreError, pages},
};

use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    marker,
    state::{Checking, Operation, Progress, Reporting, RunState},
};

/// Up to this number of objects, each check counts outcomes by listing them, 1,000 a request. For a larger run it does so
/// less often, so that a check averages at most 40 requests.
const OBJECTS_COUNTED_EACH_TIME: u64 = 20_000;
/// Above this number of objects, outcomes are not counted: the queue's counts are exact enough to show, and the report is
/// tried when the queue is empty.
const MAX_OBJECTS_COUNTED: u64 = 200_000;
/// Bounds of the wait between checks, which is a tenth of the run's age.
const MIN_WAIT_SECONDS: u64 = 2;
const MAX_WAIT_SECONDS: u64 = 60;

/// Ledger files of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Reads the counts of the queue, and counts outcomes if that is due.
    pub(crate) fn check(
        &self,
        mut state: RunState,
        mut checking: Checking,
    ) -> Result<RunState, CoordinatorError> {
        let run = self.run(&state.run)?;
        self.refuse_open(&run)?;
        let progress = &mut state.progress;
        let age = self.age_seconds(&run.run)?;
        let is_idle = self.count_messages(progress)?;
        checking.idle_seconds =
            if is_idle { checking.idle_seconds.saturating_add(state.wait_seconds) } else { 0 };
        let totals = run.manifest.unwrap_or_default();
        (progress.listed, progress.skipped) = (totals.objects, totals.skipped);
        let every = 1 + progress.listed / OBJECTS_COUNTED_EACH_TIME;
        if is_idle || checking.checks.is_multiple_of(every) {
            self.count_outcomes(&run.run, totals, progress)?;
        }
        checking.checks = checking.checks.saturating_add(1);

        let is_settled = is_idle && checking.idle_seconds >= self.settle.as_secs();
        let is_purged = marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some();
        let is_final = is_settled || is_purged || age >= self.time_limit.as_secs();
        let all_done = progress.done.saturating_add(progress.skipped) >= progress.listed;
        let all_have_outcomes = progress.pending() == 0 && !checking.redriven;
        let may_be_complete = (all_done || all_have_outcomes) && checking.checks >= checking.next_report;
        if is_final || may_be_complete {
            let report = Reporting { is_final, checking, ..Reporting::default() };
            return Ok(state.next(Operation::Report(report), 0));
        }
        let wait = (age / 10).clamp(MIN_WAIT_SECONDS, MAX_WAIT_SECONDS);
        Ok(state.next(Operation::Check(checking), wait))
    }

    /// Reads the counts of the queue and of the dead-letter queue. Returns whether the queue is empty. A fleet with driver map
    /// has none.
    fn count_messages(&self, progress: &mut Progress) -> Result<bool, CoordinatorError> {
        let Some(queue) = self.queue else { return Ok(true) };
        let depth = queue.depth().map_err(CoordinatorError::Queue)?;
        progress.queued = depth.visible + depth.delayed;
        progress.in_flight = depth.in_flight;
        if let Some(dead) = self.dead_letters {
            let depth = dead.depth().map_err(CoordinatorError::Queue)?;
            progress.dead_letters = depth.visible + depth.in_flight;
        }
        Ok(progress.queued + progress.in_flight == 0)
    }

    /// Counts receipts and failures without reading them; `None` for a run that may have too many. A fleet with driver map has
    /// no queue whose counts could replace them.
    pub(crate) fn outcomes(
        &self,
        run: &str,
        totals: ManifestTotals,
    ) -> Result<Option<Outcomes>, CoordinatorError> {
        if totals.objects > MAX_OBJECTS_COUNTED && self.queue.is_some() {
            return Ok(None);
        }
        let (done, failed) = (self.count(&layout::receipts(run))?, self.count(&layout::failures(run))?);
        Ok(Some(Outcomes { done, failed }))
    }

    fn count(&self, prefix: &str) -> Result<u64, CoordinatorError> {
        let counts = pages(self.results, prefix).map(|page| {
            (self.on_page)();
            Ok(page?.entries.len() as u64)
        });
        counts.sum::<Result<u64, StoreError>>().map_err(CoordinatorError::Ledger)
    }

    /// Returns the counts of the queue and of the dead-letter queue.
    pub fn queue_depth(&self) -> Result<Progress, CoordinatorError> {
        let mut progress = Progress::default();
        self.count_messages(&mut progress)?;
        Ok(progress)
    }

    /// Returns the progress of a run from the queue and the ledger. Changes nothing.
    pub fn progress(&self, run: &str) -> Result<Progress, CoordinatorError> {
        let totals = self.run(run)?.manifest.unwrap_or_default();
        let mut progress =
            Progress { listed: totals.objects, skipped: totals.skipped, ..Progress::default() };
        self.count_messages(&mut progress)?;
        self.count_outcomes(run, totals, &mut progress)?;
        Ok(progress)
    }

    fn count_outcomes(
        &self,
        run: &str,
        totals: ManifestTotals,
        progress: &mut Progress,
    ) -> Result<(), CoordinatorError> {
        if let Some(outcomes) = self.outcomes(run, totals)? {
            (progress.done, progress.failed) = (outcomes.done, outcomes.failed);
        } else {
            let pending = progress.queued + progress.in_flight;
            progress.done = totals.objects.saturating_sub(totals.skipped).saturating_sub(pending);
        }
        Ok(())
    }

    /// Returns how long ago the run was begun, planned or redriven last, by the store's clock: each of these writes the
    /// run's marker. Without one, since the first part of its manifest was written.
    fn age_seconds(&self, run: &str) -> Result<u64, CoordinatorError> {
        for path in [layout::active(run), layout::manifest_part(run, 0)] {
            if let Some(head) = self.results.head(&path).map_err(CoordinatorError::Ledger)? {
                return Ok(head.age().as_secs());
            }
        }
        Ok(0)
    }
}
