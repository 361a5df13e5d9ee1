//! The report of a run, in stretches: some parts of the manifest a call, so that a run of millions of objects is many
//! calls. What has been added up so far stands in the ledger.

use std::io;

use flowherd_shared::{
    ledger::{Report, ReportState, Run, layout, put_json, read_json},
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
    pub(crate) fn report(&self, step: Step, goes_on: &dyn Fn() -> bool) -> Result<Step, CoordinatorError> {
        self.reconcile(step, goes_on).map_err(|error| match error.downcast::<CoordinatorError>() {
            Ok(error) => error,
            Err(error) => CoordinatorError::Ledger(error),
        })
    }

    /// The report of a run, if it has been written.
    pub fn finished_report(&self, run: &str) -> io::Result<Option<Report>> {
        read_json(self.results, &layout::report(run))
    }

    fn reconcile(&self, mut step: Step, goes_on: &dyn Fn() -> bool) -> io::Result<Step> {
        let run = self.run(&step.run).map_err(io::Error::other)?;
        let unfinished = layout::unfinished_report(&run.run);
        let mut so_far = match step.reconciled {
            0 => None,
            // A stretch that was done twice, or whose answer was lost, goes on from where the step says.
            parts => read_json::<Reconciliation>(self.results, &unfinished)?
                .filter(|reconciliation| reconciliation.parts == parts),
        }
        .unwrap_or_else(|| Reconciliation::new(&run));
        while !so_far.is_complete(&run) {
            so_far.add_part(self.results, &run)?;
            if !goes_on() && !so_far.is_complete(&run) {
                put_json(self.results, &unfinished, &so_far)?;
                step.reconciled = so_far.parts;
                return Ok(step.next(Operation::Report, 0));
            }
        }
        step.reconciled = 0;
        let under_way = so_far.report.objects.missing + so_far.retrying;
        let purged = active::purged(self.results, &run.run)?;
        if under_way > 0 && !step.is_final && purged.is_none() && run.manifest.is_some() {
            // Each report reads the whole ledger: the next one comes after twice as many checks.
            step.checks.no_report_before = step.checks.turns * 2;
            return Ok(step.next(Operation::Check, WAIT_SECONDS));
        }
        let mut report = so_far.finish(&run, iso((self.clock)()))?;
        report.purged = purged;
        self.results.remove(&unfinished)?;
        put_json(self.results, &layout::report(&run.run), &report)?;
        Active::remove(self.results, &run.run)?;
        step.progress.done = report.objects.done;
        step.progress.failed = report.objects.failed;
        step.progress.skipped = report.objects.skipped;
        step.state = Some(report.state);
        step.report = Some(layout::report(&run.run));
        step.message = Some(message(&run, &report));
        Ok(step.next(Operation::End, 0))
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
