//! The report of a run, in stretches: some parts of the manifest a call, so that a run of millions of objects is many
//! calls. What has been added up so far stands in the ledger.

use std::io;

use flowherd_shared::{
    ledger::{Report, ReportState, Run, layout, put_json, read_report},
    queue::Queue,
    store::{Lister, Store},
};

use crate::{
    active::{self, Active},
    begin::iso,
    reconcile::Reconciliation,
    steps::{Coordinator, CoordinatorError, Operation, Step},
};

/// The pause before the next check when a report finds something still under way.
const WAIT_SECONDS: u64 = 5;

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Adds parts up while there is time. At the end, writes the report, or goes back to checking if something may
    /// still be done.
    pub(crate) fn report(
        &self,
        mut step: Step,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Step, CoordinatorError> {
        let run = self.run(&step.run)?;
        let ledger = CoordinatorError::Ledger;
        let Some(so_far) = self.reconcile(&run, step.reconciled, goes_on).map_err(ledger)? else {
            step.reconciled = self.unfinished(&run).map_err(ledger)?.map_or(0, |so_far| so_far.parts);
            return Ok(step.next(Operation::Report, 0));
        };
        step.reconciled = 0;
        let is_under_way = run.manifest.is_none() || so_far.report.objects.missing + so_far.retrying > 0;
        let purged = active::purged(self.results, &run.run).map_err(ledger)?;
        if is_under_way && !step.is_final && purged.is_none() {
            // Each report reads the whole ledger: the next one comes after twice as many checks.
            step.checks.no_report_before = step.checks.turns.saturating_mul(2);
            return Ok(step.next(Operation::Check, WAIT_SECONDS));
        }
        let has_settled = step.checks.idle_seconds >= self.settle.as_secs();
        let is_over = !is_under_way || purged.is_some() || has_settled;
        let mut report = so_far.finish(&run, iso((self.clock)())).map_err(ledger)?;
        report.purged = purged;
        self.write_report(&run, &report, is_over).map_err(ledger)?;
        step.progress.done = report.objects.done;
        step.progress.failed = report.objects.failed;
        step.progress.skipped = report.objects.skipped;
        step.state = Some(report.state);
        step.report = Some(layout::report(&run.run));
        step.message = Some(message(&run, &report));
        Ok(step.next(Operation::End, 0))
    }

    /// The report of a run, if it has been written.
    pub fn finished_report(&self, run: &str) -> io::Result<Option<Report>> {
        read_report(self.results, &layout::report(run))
    }

    /// Everything added up, or `None` if the time is over: then it goes on from what stands in the ledger.
    fn reconcile(
        &self,
        run: &Run,
        parts: u64,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<Reconciliation>> {
        let mut so_far = match parts {
            0 => None,
            // More parts than the step knows of are those of a stretch whose answer was lost.
            parts => self.unfinished(run)?.filter(|so_far| so_far.parts >= parts),
        }
        .unwrap_or_else(|| Reconciliation::new(run));
        while !so_far.is_complete(run) {
            so_far.add_part(self.results, run)?;
            if !goes_on() && !so_far.is_complete(run) {
                put_json(self.results, &layout::unfinished_report(&run.run), &so_far)?;
                return Ok(None);
            }
        }
        Ok(Some(so_far))
    }

    fn unfinished(&self, run: &Run) -> io::Result<Option<Reconciliation>> {
        read_report(self.results, &layout::unfinished_report(&run.run))
    }

    /// `is_over`: nothing of the run can be in the queue any more.
    fn write_report(&self, run: &Run, report: &Report, is_over: bool) -> io::Result<()> {
        self.results.remove(&layout::unfinished_report(&run.run))?;
        put_json(self.results, &layout::report(&run.run), report)?;
        if is_over { Active::remove(self.results, &run.run) } else { Ok(()) }
    }
}

fn message(run: &Run, report: &Report) -> String {
    let objects = &report.objects;
    let purged = report.purged.as_ref().map_or(String::new(), |purged| {
        format!("; the queue was purged under it at {} for run {}", purged.at, purged.by)
    });
    match (report.state, objects.listed) {
        (ReportState::Done, 0) => format!("run {}: no objects with prefix {:?}", run.run, run.prefix),
        (ReportState::Done, listed) => format!("run {}: all {listed} objects are done", run.run),
        (ReportState::Failed, listed) => format!(
            "run {}: {} of {listed} objects failed; repair them and redrive{purged}",
            run.run, objects.failed
        ),
        (ReportState::Incomplete, _) if run.manifest.is_none() => {
            format!("run {}: its prefix was not listed to the end; begin a new one{purged}", run.run)
        }
        (ReportState::Incomplete, listed) => format!(
            "run {}: {} of {listed} objects are missing and {} failed; resume it{purged}",
            run.run, objects.missing, objects.failed
        ),
    }
}
