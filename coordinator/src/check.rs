//! How far a run is. The queue says when to look; that a run is complete is only ever proven by its report.

use flowherd_shared::{
    ledger::{ManifestTotals, layout},
    queue::Queue,
    store::{Lister, Store},
};

use crate::{
    active,
    steps::{Coordinator, CoordinatorError, Operation, Progress, Step},
};

/// Outcomes are counted by listing them, a thousand a call. Of a run of so many objects that is done at each check; of a
/// larger one only now and then, so that a check never costs more than some 40 calls on average.
const OBJECTS_COUNTED_EACH_TIME: u64 = 20_000;
/// Of a run of more objects it is never done: what the queue still has is near enough for a person, and the report, which
/// is made in stretches, when the queue is empty.
const OBJECTS_COUNTED_AT_MOST: u64 = 200_000;
/// Pauses between checks: a tenth of the run's age.
const SHORTEST_WAIT: u64 = 2;
const LONGEST_WAIT: u64 = 60;

/// Ledger files of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Looks at the queue, and at the ledger if that is due.
    pub(crate) fn check(&self, mut step: Step) -> Result<Step, CoordinatorError> {
        let run = self.run(&step.run)?;
        let (progress, checks) = (&mut step.progress, &mut step.checks);
        let age = self.age_seconds(&step.run)?;
        let is_idle = self.look_at_queue(progress)?;
        checks.idle_seconds = if is_idle { checks.idle_seconds.saturating_add(step.wait_seconds) } else { 0 };
        let totals = run.manifest.unwrap_or_default();
        (progress.listed, progress.skipped) = (totals.objects, totals.skipped);
        let every = 1 + progress.listed / OBJECTS_COUNTED_EACH_TIME;
        if is_idle || checks.turns.is_multiple_of(every) {
            self.count_outcomes(&step.run, totals, progress)?;
        }
        checks.turns = checks.turns.saturating_add(1);

        let wait = (age / 10).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let is_settled = is_idle && checks.idle_seconds >= self.settle.as_secs();
        let is_purged = active::purged(self.results, &step.run).map_err(CoordinatorError::Ledger)?.is_some();
        if is_settled || is_purged || age >= self.time_limit.as_secs() {
            return Ok(Step { is_final: true, ..step }.next(Operation::Report, 0));
        }
        let all_done = progress.done.saturating_add(progress.skipped) >= progress.listed;
        let all_have_outcomes = progress.left() == 0 && !checks.redriven;
        if (all_done || all_have_outcomes) && checks.turns >= checks.no_report_before {
            return Ok(step.next(Operation::Report, 0));
        }
        Ok(step.next(Operation::Check, wait))
    }

    /// Whether it is empty.
    pub(crate) fn look_at_queue(&self, progress: &mut Progress) -> Result<bool, CoordinatorError> {
        let depth = self.queue.depth().map_err(CoordinatorError::Queue)?;
        progress.queued = depth.visible + depth.delayed;
        progress.in_flight = depth.in_flight;
        if let Some(dead) = self.dead_letters {
            let depth = dead.depth().map_err(CoordinatorError::Queue)?;
            progress.dead_letters = depth.visible + depth.in_flight;
        }
        Ok(progress.queued + progress.in_flight == 0)
    }

    /// Counts receipts and failures, without reading them; `None` if they may be too many.
    pub(crate) fn outcomes(
        &self,
        run: &str,
        totals: ManifestTotals,
    ) -> Result<Option<Outcomes>, CoordinatorError> {
        if totals.objects > OBJECTS_COUNTED_AT_MOST {
            return Ok(None);
        }
        let (done, failed) = (self.count(&layout::receipts(run))?, self.count(&layout::failures(run))?);
        Ok(Some(Outcomes { done, failed }))
    }

    fn count(&self, prefix: &str) -> Result<u64, CoordinatorError> {
        let (mut count, mut token) = (0, None);
        loop {
            let page = self.results.page(prefix, token.as_deref()).map_err(CoordinatorError::Ledger)?;
            count += page.entries.len() as u64;
            token = page.next;
            if token.is_none() {
                return Ok(count);
            }
        }
    }

    /// What the queue says, now.
    pub fn queue_depth(&self) -> Result<Progress, CoordinatorError> {
        let mut progress = Progress::default();
        self.look_at_queue(&mut progress)?;
        Ok(progress)
    }

    /// How far a run is, now, by the queue and by its ledger. Changes nothing.
    pub fn progress(&self, run: &str) -> Result<Progress, CoordinatorError> {
        let totals = self.run(run)?.manifest.unwrap_or_default();
        let mut progress =
            Progress { listed: totals.objects, skipped: totals.skipped, ..Progress::default() };
        self.look_at_queue(&mut progress)?;
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
            let under_way = progress.queued + progress.in_flight;
            progress.done = totals.objects.saturating_sub(totals.skipped).saturating_sub(under_way);
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
