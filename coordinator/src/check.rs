//! How far a run is. The queue says when to look; that a run is complete is only ever proven by its report.

use flowherd_shared::{
    ledger::layout,
    queue::Queue,
    store::{Lister, Store},
};
use jiff::Timestamp;

use crate::{
    active,
    steps::{Coordinator, CoordinatorError, Operation, Progress, Step},
};

/// Outcomes are counted by listing them, a thousand a call. Of a run of so many objects that is done at each check; of a
/// larger one only now and then, so that a check never costs more than some 40 calls on average.
const OBJECTS_COUNTED_EACH_TIME: u64 = 20_000;
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
        let age = age_seconds(&run.started, (self.clock)());
        let waited = step.wait_seconds;
        let (progress, checks) = (&mut step.progress, &mut step.checks);
        let idle = self.look_at_queue(progress)?;
        checks.idle_seconds = if idle { checks.idle_seconds + waited } else { 0 };
        if let Some(totals) = run.manifest {
            progress.listed = totals.objects;
        }
        let every = 1 + progress.listed / OBJECTS_COUNTED_EACH_TIME;
        if idle || checks.turns.is_multiple_of(every) {
            let outcomes = self.outcomes(&step.run)?;
            (progress.done, progress.failed) = (outcomes.done, outcomes.failed);
        }
        checks.turns += 1;

        // Of an old run whose dead letters were moved back, as often as of a new one.
        let wait = (age / 10).min(SHORTEST_WAIT * checks.turns).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let is_too_late = age >= self.time_limit.as_secs() && !checks.redriven;
        let is_settled = checks.idle_seconds >= self.settle.as_secs();
        let is_purged = active::purged(self.results, &step.run).map_err(CoordinatorError::Ledger)?.is_some();
        if is_settled || is_purged || is_too_late {
            return Ok(Step { is_final: true, ..step }.next(Operation::Report, 0));
        }
        let all_done = progress.done + progress.skipped >= progress.listed;
        let all_have_outcomes = progress.left() == 0 && !checks.redriven;
        if all_done || (all_have_outcomes && checks.turns >= checks.no_report_before) {
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

    /// Counts receipts and failures, without reading them.
    pub(crate) fn outcomes(&self, run: &str) -> Result<Outcomes, CoordinatorError> {
        Ok(Outcomes {
            done: self.count(&layout::receipts(run))?,
            failed: self.count(&layout::failures(run))?,
        })
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
    pub fn progress(&self, run: &str, skipped: u64) -> Result<Progress, CoordinatorError> {
        let totals = self.run(run)?.manifest.unwrap_or_default();
        let mut progress = Progress { listed: totals.objects, skipped, ..Progress::default() };
        self.look_at_queue(&mut progress)?;
        let outcomes = self.outcomes(run)?;
        (progress.done, progress.failed) = (outcomes.done, outcomes.failed);
        Ok(progress)
    }
}

fn age_seconds(started: &str, now: Timestamp) -> u64 {
    let started: Option<Timestamp> = started.parse().ok();
    started.map_or(0, |started| u64::try_from(now.duration_since(started).as_secs()).unwrap_or(0))
}
