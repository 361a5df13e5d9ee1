//! How far the run of a day has come, from the files of its ledger.

use flowherd_shared::{
    layout,
    ledger::Run,
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
