//! The report of a run, in stretches: each call adds up some parts of the manifest, so a run of millions of objects takes
//! many calls. The ledger keeps the sum so far.

use std::ops::ControlFlow;

use flowherd_shared::{
    ledger::{
        ManifestEntry, Missing, Report, ReportFailure, ReportState, Run, layout, put_json, read_report,
    },
    queue::Queue,
    store::{Head, Lister, Store, StoreError},
};

use crate::{
    active::{self, Active},
    begin::iso,
    parallel,
    reconcile::{self, Reconciliation},
    steps::{Coordinator, CoordinatorError, Operation, Step},
};

/// The pause before the next check when a report finds something still under way, and before a stretch that follows a
/// failed read.
const WAIT_SECONDS: u64 = 5;
/// Ledger files read at once.
const READERS: usize = 32;

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Adds up parts while there is time. At the end, writes the report, or returns to checking if something may still be
    /// done. A read that fails ends the stretch, which keeps the sum so far; without any progress it is an error.
    pub(crate) fn report(
        &self,
        mut step: Step,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Step, CoordinatorError> {
        let run = self.run(&step.run)?;
        let ledger = CoordinatorError::Ledger;
        let so_far = match self.reconcile(&run, step.reconciled, goes_on).map_err(ledger)? {
            Stretch::Complete(so_far) => so_far,
            Stretch::Paused { parts } => {
                step.reconciled = parts;
                return Ok(step.next(Operation::Report, 0));
            }
            Stretch::Failed { parts, error } => {
                step.reconciled = parts;
                step.message = Some(format!(
                    "run {}: {parts} parts of the manifest are added up; {}",
                    run.run,
                    ledger(error).on_one_line()
                ));
                return Ok(step.next(Operation::Report, WAIT_SECONDS));
            }
        };
        (step.reconciled, step.message) = (0, None);
        let is_under_way = run.manifest.is_none() || so_far.report.objects.missing + so_far.retrying > 0;
        let purged = active::purged(self.results, &run.run).map_err(ledger)?;
        if !step.checks.redriven && !step.is_final && purged.is_none() {
            let own = Active::find(self.results, &run.run).map_err(ledger)?;
            if own.is_some_and(|own| own.redriven) {
                // Redriven since this driver began: what has failed may still be tried again.
                step.checks.redriven = true;
                return Ok(step.next(Operation::Check, WAIT_SECONDS));
            }
        }
        if is_under_way && !step.is_final && purged.is_none() {
            // Each report reads the whole ledger: the next one comes after twice as many checks.
            step.checks.no_report_before = step.checks.turns.saturating_mul(2);
            return Ok(step.next(Operation::Check, WAIT_SECONDS));
        }
        let has_settled = step.checks.idle_seconds >= self.settle.as_secs();
        let is_over = !is_under_way || purged.is_some() || has_settled;
        let replaced = so_far.replaced;
        let mut report = so_far.finish(&run, iso((self.clock)())).map_err(ledger)?;
        report.purged = purged;
        let untried = if step.checks.redriven { self.untried(&report).map_err(ledger)? } else { 0 };
        self.write_report(&run, &report, is_over).map_err(ledger)?;
        step.progress.done = report.objects.done;
        step.progress.failed = report.objects.failed;
        step.progress.skipped = report.objects.skipped;
        step.state = Some(report.state);
        step.report = Some(layout::report(&run.run));
        step.message = Some(message(&run, &report, self.bucket, replaced, untried));
        Ok(step.next(Operation::End, 0))
    }

    /// The report of a run, if it has been written.
    pub fn finished_report(&self, run: &str) -> Result<Option<Report>, StoreError> {
        read_report(self.results, &layout::report(run))
    }

    /// Calls `visit` for each missing object of a run, as the ledger is now, until it breaks.
    pub fn missing<B>(
        &self,
        run: &Run,
        visit: &mut dyn FnMut(&ManifestEntry, Missing) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, StoreError> {
        reconcile::missing(self.results, run, visit)
    }

    /// Adds up parts from where the ledger's sum ends.
    fn reconcile(&self, run: &Run, parts: u64, goes_on: &dyn Fn() -> bool) -> Result<Stretch, StoreError> {
        let mut so_far = match parts {
            0 => None,
            // More parts than the step knows of are those of a stretch whose answer was lost.
            parts => self.unfinished(run)?.filter(|so_far| so_far.parts >= parts),
        }
        .unwrap_or_else(|| Reconciliation::new(run));
        let before = so_far.parts;
        while !so_far.is_complete(run) {
            if let Err(error) = so_far.add_part(self.results, run) {
                if so_far.parts == before {
                    return Err(error);
                }
                put_json(self.results, &layout::unfinished_report(&run.run), &so_far)?;
                return Ok(Stretch::Failed { parts: so_far.parts, error });
            }
            if !goes_on() && !so_far.is_complete(run) {
                put_json(self.results, &layout::unfinished_report(&run.run), &so_far)?;
                return Ok(Stretch::Paused { parts: so_far.parts });
            }
        }
        Ok(Stretch::Complete(Box::new(so_far)))
    }

    /// Counts the named failures that no attempt has rewritten since the redrive, which wrote the run's marker. Both times
    /// are the store's. S3 keeps seconds, so a failure of the same second counts as new.
    fn untried(&self, report: &Report) -> Result<u64, StoreError> {
        let Some(marker) = self.results.head(&layout::active(&report.run))? else { return Ok(0) };
        let is_older = |failure: &ReportFailure| -> Result<bool, StoreError> {
            let path = layout::failure(&report.run, &failure.key);
            let head = self.head_if_possible(&path)?;
            let head = match head {
                Some(head) => Some(head),
                None => self.results.head(&layout::failure_by_hash(&report.run, &failure.key))?,
            };
            Ok(head.is_some_and(|head| head.modified < marker.modified))
        };
        let older = parallel::map(READERS, &report.failures, is_older);
        let older: Result<Vec<bool>, StoreError> = older.into_iter().collect();
        Ok(older?.into_iter().filter(|is_older| *is_older).count() as u64)
    }

    /// A path that the store refuses has no file.
    fn head_if_possible(&self, path: &str) -> Result<Option<Head>, StoreError> {
        match self.results.head(path) {
            Err(StoreError::InvalidKey(_)) => Ok(None),
            head => head,
        }
    }

    fn unfinished(&self, run: &Run) -> Result<Option<Reconciliation>, StoreError> {
        read_report(self.results, &layout::unfinished_report(&run.run))
    }

    /// `is_over`: nothing of the run can be in the queue any more.
    fn write_report(&self, run: &Run, report: &Report, is_over: bool) -> Result<(), StoreError> {
        self.results.remove(&layout::unfinished_report(&run.run))?;
        put_json(self.results, &layout::report(&run.run), report)?;
        if is_over { Active::remove(self.results, &run.run) } else { Ok(()) }
    }
}

/// How a stretch ended.
enum Stretch {
    /// Every part is added up.
    Complete(Box<Reconciliation>),
    /// The time is over; the ledger has the sum of these parts.
    Paused { parts: u64 },
    /// A read failed; the ledger has the sum of the parts before it.
    Failed { parts: u64, error: StoreError },
}

/// `replaced`: missing objects whose outputs another run has written since. `untried`: failures that a redrive left as they
/// were.
fn message(run: &Run, report: &Report, bucket: &str, replaced: u64, untried: u64) -> String {
    let objects = &report.objects;
    let name = &run.run;
    let purged = report.purged.as_ref().map_or(String::new(), |purged| {
        format!("; the queue was purged under it at {} for run {}", purged.at, purged.by)
    });
    let untried = match untried {
        0 => String::new(),
        untried if untried == report.failures.len() as u64 => {
            format!(
                "; the redrive retried none of them: their messages were not in the dead-letter queue; resume the run \
                 (flowherd run --resume {name})"
            )
        }
        untried => format!("; the redrive did not retry {untried} of them"),
    };
    if report.state == ReportState::Done
        && let Some(message) = report.no_objects(&format!("s3://{bucket}"))
    {
        return format!("run {name}: {message}");
    }
    match (report.state, objects.listed) {
        (ReportState::Done, listed) => {
            let warnings = match report.warnings.len() {
                0 => String::new(),
                count => format!("; the report has {count} warnings"),
            };
            format!("run {name}: all {listed} objects are done{warnings}")
        }
        (ReportState::Failed, listed) => {
            let todo = if untried.is_empty() { "; repair them and redrive" } else { "" };
            format!("run {name}: {} of {listed} objects failed{todo}{untried}{purged}", objects.failed)
        }
        (ReportState::Incomplete, _) if run.manifest.is_none() => {
            format!("run {name}: its prefix was not listed to the end; begin a new one{purged}")
        }
        (ReportState::Incomplete, listed) => {
            let todo = match replaced {
                0 => "resume it".to_owned(),
                all if all == objects.missing => {
                    "another run has written the outputs of the missing ones since, so do not resume it"
                        .to_owned()
                }
                some => format!(
                    "another run has written the outputs of {some} missing ones since; resume it only if those are to \
                     be replaced"
                ),
            };
            format!(
                "run {name}: {} of {listed} objects are missing (flowherd report {name} --missing) and {} failed; \
                 {todo}{untried}{purged}",
                objects.missing, objects.failed
            )
        }
    }
}
