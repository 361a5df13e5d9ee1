//! How far the run of a day has come, from the files of its ledger.

use flowherd_shared::{
    layout,
    ledger::{Report, ReportState, Run, examine_report},
    queue::Queue,
    store::{Lister, Store},
};

use crate::{coordinator::Coordinator, error::CoordinatorError, marker};

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
    /// Returns the stage of a live run.
    pub(crate) fn live_stage(&self, run: &Run) -> Result<LiveStage, CoordinatorError> {
        let is_purged = marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some();
        // Somebody has given this name to a run of a prefix.
        if is_purged || run.live.is_none() {
            return Ok(LiveStage::Ended);
        }
        if !self.exists(&layout::closing(&run.run))? {
            return Ok(LiveStage::Open);
        }
        let has_ended = self.report_of_listing(run)?.is_some();
        Ok(if has_ended { LiveStage::Ended } else { LiveStage::Closing })
    }

    /// Returns the report of the whole listing of a run. The step loop also writes a report when planning has failed. That one has
    /// no objects and proves nothing, also after the next attempt has completed the manifest. A damaged report is written again.
    pub(super) fn report_of_listing(&self, run: &Run) -> Result<Option<Report>, CoordinatorError> {
        let Some(totals) = run.manifest else { return Ok(None) };
        let path = layout::report(&run.run);
        let report = examine_report(self.results, &path).map_err(CoordinatorError::Ledger)?;
        Ok(report.and_then(Result::ok).filter(|report: &Report| {
            let is_before_listing = report.state == ReportState::Incomplete
                && report.objects.listed == 0
                && report.unlisted.is_empty();
            report.objects.listed == totals.objects && !is_before_listing
        }))
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
