//! The operation that reports: adds up the outcomes of the manifest's parts, in as many calls as it takes, and writes
//! `report.json`. The ledger keeps the sum between calls.

use flowherd_shared::{
    error::error_chain,
    ledger::{
        LiveCursor, Report, ReportFailure, ReportState, Run, examine_report, layout, put_json, read_json,
        read_report,
    },
    queue::Queue,
    report_page,
    store::{Head, Lister, Store, StoreError},
    text::{counted, number},
};
use tracing::warn;

use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    marker::{self, RunMarker},
    parallel,
    reconcile::Reconciliation,
    state::{Ended, Operation, Reporting, RunState},
};

/// Wait before the next check when a report finds unfinished objects, and before the next call after a failed read.
const WAIT_SECONDS: u64 = 5;
/// Ledger files read at once.
const READERS: usize = 32;

/// Returns the report of a run; `None` if none is written.
///
/// # Errors
/// Also if the report is damaged.
pub fn finished_report(results: &impl Store, run: &str) -> Result<Option<Report>, StoreError> {
    let path = layout::report(run);
    let report = examine_report(results, &path)?.transpose();
    report.map_err(|why| StoreError::Invalid(format!("{path}: {why}").into()))
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Adds up parts while there is time. After the last one, writes the report, or returns to checks if objects are
    /// unfinished. A failed read ends the call, which keeps the sum so far; without progress it is an error.
    pub(crate) fn report(
        &self,
        mut state: RunState,
        reporting: Reporting,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<RunState, CoordinatorError> {
        let run = self.run(&state.run)?;
        self.refuse_open(&run)?;
        let ledger = CoordinatorError::Ledger;
        let Reporting { parts, is_final, mut checking } = reporting;
        let mut sum = match self.reconcile(&run, parts, should_continue).map_err(ledger)? {
            Sum::Complete(sum) => sum,
            Sum::Paused { parts } => {
                return Ok(state.next(Operation::Report(Reporting { parts, is_final, checking }), 0));
            }
            Sum::Failed { parts, error } => {
                state.message = Some(format!(
                    "run {}: the report pauses after {parts} parts of the manifest: {}",
                    run.run,
                    ledger(error).on_one_line()
                ));
                let operation = Operation::Report(Reporting { parts, is_final, checking });
                return Ok(state.next(operation, WAIT_SECONDS));
            }
        };
        state.message = None;
        sum.report.unlisted = self.unlisted(&run).map_err(ledger)?;
        // Objects below a prefix that is not listed may have tasks in the queue, so the queue must settle.
        let is_listed = run.manifest.is_some() && sum.report.unlisted.is_empty();
        let is_unfinished = !is_listed || sum.report.objects.missing + sum.retrying > 0;
        let purged = marker::purged(self.results, &run.run).map_err(ledger)?;
        if !is_final && purged.is_none() {
            if !checking.redriven && sum.report.objects.failed > 0 && self.is_redriven(&run)? {
                // Redriven since this driver began: failed objects may be retried.
                checking.redriven = true;
                return Ok(state.next(Operation::Check(checking), WAIT_SECONDS));
            }
            if is_unfinished {
                // Each report reads the whole ledger, so the next one waits for twice as many checks.
                checking.next_report = checking.checks.saturating_mul(2);
                return Ok(state.next(Operation::Check(checking), WAIT_SECONDS));
            }
        }
        let has_settled = checking.idle_seconds >= self.settle.as_secs();
        // Another driver's redrive may still retry the failed objects: its marker must protect their messages.
        let may_be_retried = !checking.redriven && sum.report.objects.failed > 0 && self.is_redriven(&run)?;
        let is_over = purged.is_some() || !may_be_retried && (!is_unfinished || has_settled);
        let replaced = sum.replaced;
        let mut report = sum.finish(&run, self.now()).map_err(ledger)?;
        report.purged = purged;
        let untried = if checking.redriven { self.untried(&report).map_err(ledger)? } else { 0 };
        self.write_report(&run, &report, is_over).map_err(ledger)?;
        state.progress.done = report.objects.done;
        state.progress.failed = report.objects.failed;
        state.progress.skipped = report.objects.skipped;
        state.message = Some(message(&run, &report, self.bucket, self.queue.is_some(), replaced, untried));
        let ended = Ended { state: report.state, report: layout::report(&run.run) };
        Ok(state.next(Operation::End(ended), 0))
    }

    /// Returns the prefixes of a live run that planning could not list.
    fn unlisted(&self, run: &Run) -> Result<Vec<String>, StoreError> {
        if run.live.is_none() {
            return Ok(Vec::new());
        }
        let cursor: Option<LiveCursor> = read_json(self.results, &layout::cursor(&run.run))?;
        Ok(cursor.map(|cursor| cursor.denied).unwrap_or_default())
    }

    /// Returns whether the run's marker says that dead-letter messages were moved back.
    fn is_redriven(&self, run: &Run) -> Result<bool, CoordinatorError> {
        let own = RunMarker::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        Ok(own.is_some_and(|own| own.redriven))
    }

    /// Adds up parts after the ledger's sum.
    fn reconcile(
        &self,
        run: &Run,
        parts: u64,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Sum, StoreError> {
        let mut sum = match parts {
            0 => None,
            // A call whose response was lost may have added more parts than the state says.
            parts => self.unfinished(run)?.filter(|sum| sum.parts >= parts),
        }
        .unwrap_or_else(|| Reconciliation::new(run));
        let before = sum.parts;
        while !sum.is_complete(run) {
            if let Err(error) = sum.add_part(self.results, run) {
                if sum.parts == before {
                    return Err(error);
                }
                put_json(self.results, &layout::unfinished_report(&run.run), &sum)?;
                return Ok(Sum::Failed { parts: sum.parts, error });
            }
            if !should_continue() && !sum.is_complete(run) {
                put_json(self.results, &layout::unfinished_report(&run.run), &sum)?;
                return Ok(Sum::Paused { parts: sum.parts });
            }
        }
        Ok(Sum::Complete(Box::new(sum)))
    }

    /// Counts the named failures that no attempt has written since the redrive, which wrote the run's marker. Both times are
    /// the store's. S3 keeps seconds, so a failure of the same second counts as new.
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
        let older = parallel::try_map(READERS, &report.failures, is_older)?;
        Ok(older.into_iter().filter(|is_older| *is_older).count() as u64)
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

    /// Writes the report. `is_over`: the queue can hold no more messages of the run, so its marker is removed.
    fn write_report(&self, run: &Run, report: &Report, is_over: bool) -> Result<(), StoreError> {
        self.results.remove(&layout::unfinished_report(&run.run))?;
        put_json(self.results, &layout::report(&run.run), report)?;
        // The page proves nothing, so its error does not stop the run. `flowherd report --html` writes it again.
        if let Err(error) = report_page::write(self.results, run, report) {
            warn!(run = %run.run, error = error_chain(&error), "cannot write the page of the report");
        }
        if is_over { RunMarker::remove(self.results, &run.run) } else { Ok(()) }
    }
}

/// How a call of the report adds up parts.
enum Sum {
    /// Every part is added.
    Complete(Box<Reconciliation>),
    /// There was no more time. The ledger has the sum of these parts.
    Paused { parts: u64 },
    /// A read failed. The ledger has the sum of the parts before it.
    Failed { parts: u64, error: StoreError },
}

/// Returns the report as one line for people. `can_redrive`: the fleet has a queue. `replaced`: missing objects whose outputs another run has written since.
/// `untried`: failures that a redrive did not retry.
fn message(
    run: &Run,
    report: &Report,
    bucket: &str,
    can_redrive: bool,
    replaced: u64,
    untried: u64,
) -> String {
    let objects = &report.objects;
    let name = &run.run;
    let purged = report.purged.as_ref().map_or(String::new(), |purged| {
        format!("; the queue was purged at {} for run {}", purged.at, purged.by)
    });
    let untried = match untried {
        0 => String::new(),
        untried if untried == report.failures.len() as u64 => {
            format!(
                "; the redrive retried none of them: their messages were not in the dead-letter queue; resume the run \
                 (flowherd run --resume {name})"
            )
        }
        untried => format!("; the redrive did not retry {} of them", number(untried)),
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
                count => format!("; the report has {}", counted(count as u64, "warning", "warnings")),
            };
            let done = match listed {
                1 => "1 object is done".to_owned(),
                _ => format!("all {} objects are done", number(listed)),
            };
            format!("run {name}: {done}{warnings}")
        }
        (ReportState::Failed, listed) => {
            let todo = match (untried.is_empty(), can_redrive) {
                (true, true) => "; repair them and redrive".to_owned(),
                (true, false) => format!("; repair them and resume the run (flowherd run --resume {name})"),
                (false, _) => String::new(),
            };
            let listed = counted(listed, "object", "objects");
            format!("run {name}: {} of {listed} failed{todo}{untried}{purged}", number(objects.failed))
        }
        (ReportState::Incomplete, _) if run.manifest.is_none() => {
            let todo = match &run.live {
                Some(live) => format!("close its day: flowherd live close --day {}", live.day),
                None => "begin a new run".to_owned(),
            };
            format!("run {name}: the listing of its prefix is incomplete; {todo}{purged}")
        }
        (ReportState::Incomplete, listed) if objects.missing == 0 && !report.unlisted.is_empty() => {
            let listed = counted(listed, "object", "objects");
            format!(
                "run {name}: {listed} listed, {} failed; not listed, because the fleet has lost the prefix and access is \
                 denied: {}; to prove their objects, give the prefix back to the fleet and close the day again{purged}",
                number(objects.failed),
                report.unlisted.join(", ")
            )
        }
        (ReportState::Incomplete, listed) => {
            let todo = match replaced {
                0 => match &run.live {
                    Some(live) => format!("close the day again (flowherd live close --day {})", live.day),
                    None => "resume the run".to_owned(),
                },
                all if all == objects.missing => {
                    "another run has since replaced the outputs of the missing objects: do not resume this run"
                        .to_owned()
                }
                some => format!(
                    "another run has since replaced the outputs of {}: resume this run only to overwrite them",
                    counted(some, "missing object", "missing objects")
                ),
            };
            let listed = counted(listed, "object", "objects");
            let are = if objects.missing == 1 { "is" } else { "are" };
            format!(
                "run {name}: {} of {listed} {are} missing (flowherd report {name} --missing) and {} failed; \
                 {todo}{untried}{purged}",
                number(objects.missing),
                number(objects.failed)
            )
        }
    }
}
