//! How far the run of a day has come, from the files of its ledger.

use flowherd_shared::{
    layout,
    ledger::{ReportState, Run},
    queue::Queue,
    store::{Lister, Store},
};

use crate::{coordinator::Coordinator, error::CoordinatorError, marker, report::finished_report};

/// How far a live run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveStage {
    /// It accepts arrivals.
    Open,
    /// It is closed, and its listing is incomplete or has no report yet.
    Closing,
    /// It is closed and has a report of its whole listing, or a purge has ended it.
    Ended,
}

/// A run of a day.
#[derive(Debug)]
pub(super) struct RunOfDay {
    pub(super) run: Run,
    pub(super) stage: LiveStage,
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Returns the stage of a live run. A report without a complete manifest proves nothing: it was written after a failure of
    /// planning, so the run is still closing.
    pub(crate) fn live_stage(&self, run: &Run) -> Result<LiveStage, CoordinatorError> {
        let is_purged = marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some();
        // Somebody has given this name to a run of a prefix.
        if is_purged || run.live.is_none() {
            return Ok(LiveStage::Ended);
        }
        if !self.exists(&layout::closing(&run.run))? {
            return Ok(LiveStage::Open);
        }
        let has_ended = run.manifest.is_some() && self.exists(&layout::report(&run.run))?;
        Ok(if has_ended { LiveStage::Ended } else { LiveStage::Closing })
    }

    /// Returns whether a run that has ended has a report of every object of its day. After a purge, only a report without a lost
    /// task counts.
    pub(super) fn proves_its_day(&self, run: &Run) -> Result<bool, CoordinatorError> {
        if run.manifest.is_none() {
            return Ok(false);
        }
        if marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_none() {
            return self.exists(&layout::report(&run.run));
        }
        let report = finished_report(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        Ok(report.is_some_and(|report| report.state == ReportState::Done))
    }

    /// Refuses to check or report a run that accepts arrivals: its report would end the protection of its messages.
    pub(crate) fn refuse_open(&self, run: &Run) -> Result<(), CoordinatorError> {
        let Some(live) = &run.live else { return Ok(()) };
        if self.live_stage(run)? != LiveStage::Open {
            return Ok(());
        }
        Err(CoordinatorError::Refused(format!(
            "live run {} is open: objects still arrive; see flowherd live status, or close it with: flowherd live close --day {}",
            run.run, live.day
        )))
    }

    pub(super) fn exists(&self, path: &str) -> Result<bool, CoordinatorError> {
        Ok(self.results.head(path).map_err(CoordinatorError::Ledger)?.is_some())
    }
}
