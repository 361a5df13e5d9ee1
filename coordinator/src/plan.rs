//! The operation that plans: protects the run's messages by its marker, then plans as many pages as there is time for.

use std::sync::{Mutex, PoisonError};

use flowherd_shared::{
    ledger::{ManifestTotals, Run},
    queue::Queue,
    store::{Lister, Store},
};

use crate::{
    coordinator::{Coordinator, PURGE, PURGE_RETRY_SECONDS},
    error::CoordinatorError,
    marker::{self, RunMarker, Stage},
    planner::{PlanError, Planner},
    state::{Checking, Mapping, Operation, Planning, Reporting, RunState},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Plans pages of the listing while there is time.
    pub(crate) fn plan(
        &self,
        mut state: RunState,
        planning: Planning,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<RunState, CoordinatorError> {
        let mut run = self.run(&state.run)?;
        self.refuse_open(&run)?;
        if marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some() {
            let report = Reporting { is_final: true, ..Reporting::default() };
            return Ok(state.next(Operation::Report(report), 0));
        }
        if planning == Planning::default() && !self.protect(&run)? {
            return Ok(state.next(Operation::Plan(planning), PURGE_RETRY_SECONDS));
        }
        let tables = self.tables_of(&run)?;
        let damage = Mutex::new(None);
        let planner = Planner {
            source: self.source,
            bucket: self.bucket,
            results: self.results,
            queue: self.queue,
            rows_of: tables.as_ref(),
            max_keys: self.max_keys,
            pause: self.pause,
            note: &|message| {
                damage.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
            },
        };
        // A superseded run sends nothing more: its messages would delay those of the run that purged. If the ledger cannot be
        // read, the next call reports the error.
        let should_continue =
            || should_continue() && matches!(marker::purged(self.results, &state.run), Ok(None));
        let planning = match planner.plan(&mut run, planning, should_continue) {
            Ok(planning) => planning,
            Err(error) => return Err(self.planning_error(&run, error)?),
        };
        // One message is enough: all receipts of another version are damaged, and the first object that is passed over shows the
        // reason. If rules or names differ, no receipt counts.
        state.message = state.message.or(damage.into_inner().unwrap_or_else(PoisonError::into_inner));
        state.progress.listed = planning.totals.objects;
        state.progress.skipped = planning.totals.skipped;
        Ok(if !planning.complete {
            state.next(Operation::Plan(planning), 0)
        } else if state.progress.pending() == 0 {
            state.next(Operation::Report(Reporting::default()), 0)
        } else if self.queue.is_some() {
            state.next(Operation::Check(Checking::default()), 1)
        } else {
            state.next(Operation::Map(Mapping::default()), 0)
        })
    }

    /// Writes the run's marker before its first messages. Returns `false` if a purge is in progress, which would delete them.
    fn protect(&self, run: &Run) -> Result<bool, CoordinatorError> {
        let own = RunMarker::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        // Another driver of this run has purged within the last minute.
        if let Some(own) = &own
            && own.has_purged_within(PURGE, self.results).map_err(CoordinatorError::Ledger)?
        {
            return Ok(false);
        }
        // Writes its own marker before reading others'. A purging run does the reverse, so at least one of the two sees the
        // other.
        self.mark(run, Stage::Sending)?;
        if self.purging_run(run)?.is_none() {
            return Ok(true);
        }
        // The marker must keep what another driver of this run has sent, or is about to send.
        let has_sent = own.is_some_and(|own| own.has_sent) || self.has_sent(&run.run)?;
        self.mark(run, if has_sent { Stage::Sending } else { Stage::Waiting })?;
        Ok(false)
    }

    /// Returns the error to report. A listing that failed permanently ends the run's protection.
    fn planning_error(&self, run: &Run, error: PlanError) -> Result<CoordinatorError, CoordinatorError> {
        match error {
            PlanError::List { source, sent } => {
                let error = self.list_error(&run.prefix, source);
                if matches!(error, CoordinatorError::Refused(_)) {
                    self.stop_planning(run, sent)?;
                }
                Ok(error)
            }
            PlanError::TooMany { sent, max } => {
                self.stop_planning(run, sent)?;
                let (prefix, bucket, name, sent) = (&run.prefix, self.bucket, &run.run, sent.objects);
                let sent = match self.queue {
                    Some(_) => format!("{sent} of them are in the queue and will be processed"),
                    None => "none of them is processed".to_owned(),
                };
                Ok(CoordinatorError::Refused(format!(
                    "prefix {prefix:?} of bucket {bucket} has more than {max} objects (FLOWHERD_MAX_KEYS); {sent}; begin \
                     runs of longer prefixes, or raise the limit and continue run {name}"
                )))
            }
            error => Ok(error.into()),
        }
    }

    /// Ends the protection of a run whose listing failed permanently: at once if it has sent nothing, otherwise when the
    /// objects that it sent are done. A live run has sent its arrivals before, and the next close lists its day again.
    fn stop_planning(&self, run: &Run, sent: ManifestTotals) -> Result<(), CoordinatorError> {
        if run.live.is_some() {
            return Ok(());
        }
        if self.queue.is_some() && self.has_sent(&run.run)? {
            return self.mark(run, Stage::Stopped(sent));
        }
        RunMarker::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)
    }
}
