//! The state of a run between two operations. The step loop passes it from one call to the next as JSON, so it holds counts
//! and keys, never lists: a state of Step Functions has at most 256 KiB
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).

use flowherd_shared::ledger::{ManifestTotals, ReportState, Run};
use serde::{Deserialize, Serialize};

/// The next operation of a run, with all that it needs. Each operation returns the next state.
///
/// The step loop reads `operation`, `run`, `fleet`, `prefix`, `wait_seconds`, `state`, `report` and `message`, and passes the other
/// members on unread. Unknown and absent members are errors: a state of another version must not continue at the wrong
/// position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The run.
    pub run: String,
    /// Its fleet.
    pub fleet: String,
    /// Its prefix.
    pub prefix: String,
    /// Seconds to wait before the operation.
    pub wait_seconds: u64,
    /// Counts of objects and messages.
    pub progress: Progress,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The operation and its data.
    #[serde(flatten)]
    pub operation: Operation,
}

/// An operation and its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// Purge the queue.
    Purge(Purging),
    /// List pages of the prefix, write them to the manifest, and send their messages.
    Plan(Planning),
    /// Count messages, receipts and failures.
    Check(Checking),
    /// Pass the objects to the workers, as items of a Distributed Map. The step loop does this.
    Map(Mapping),
    /// Compare the manifest with receipts and failures, and write the report.
    Report(Reporting),
    /// None: the report is written.
    End(Ended),
}

/// Data of a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purging {
    /// Purge although another run has unfinished objects.
    pub force: bool,
}

/// Data of planning: the position in the listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planning {
    /// The last key of the last page; `None` before the first page and after the end. Informative: planning reads the key
    /// from the manifest.
    pub after: Option<String>,
    /// Whether the listing is complete.
    pub complete: bool,
    /// Parts, objects and bytes so far.
    pub totals: ManifestTotals,
}

/// Data of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checking {
    /// Number of checks so far.
    pub checks: u64,
    /// For how long every check has found the queue empty.
    pub idle_seconds: u64,
    /// No report is tried before this check, because the last report found unfinished objects.
    pub next_report: u64,
    /// Whether a redrive started these checks: failed objects may be retried.
    pub redriven: bool,
}

/// Data of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Whether the map has ended. The step loop sets it.
    pub ended: bool,
}

/// Data of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reporting {
    /// Parts of the manifest that the unfinished report in the ledger covers.
    pub parts: u64,
    /// Write the report although objects are unfinished.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The checks before this report, which continue if objects are unfinished.
    pub checking: Checking,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The state that the report gives.
    pub state: ReportState,
    /// Path of the report in the results bucket.
    pub report: String,
}

/// Counts of a run. Those of the queue are approximate and include the messages of all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Objects of the manifest.
    pub listed: u64,
    /// Receipts.
    pub done: u64,
    /// Failures, including those to be retried.
    pub failed: u64,
    /// Objects that an earlier run has done.
    pub skipped: u64,
    /// Messages that wait for a worker.
    pub queued: u64,
    /// Messages that a worker has received and not deleted yet.
    pub in_flight: u64,
    /// Messages in the dead-letter queue.
    pub dead_letters: u64,
}

impl Progress {
    /// Returns the number of objects without an outcome.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.listed.saturating_sub(self.done).saturating_sub(self.failed).saturating_sub(self.skipped)
    }
}

impl RunState {
    /// Creates the first state of a run.
    #[must_use]
    pub fn new(run: &Run, operation: Operation) -> Self {
        Self {
            run: run.run.clone(),
            fleet: run.fleet.clone(),
            prefix: run.prefix.clone(),
            wait_seconds: 0,
            progress: Progress::default(),
            message: None,
            operation,
        }
    }

    /// Creates the state in which a report is written although objects are unfinished.
    #[must_use]
    pub fn report_now(run: &Run) -> Self {
        Self::new(run, Operation::Report(Reporting { is_final: true, ..Reporting::default() }))
    }

    /// Returns how the run ended; `None` before its end.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.operation {
            Operation::End(ended) => Some(ended),
            _ => None,
        }
    }

    /// Returns whether the run has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended().is_some()
    }

    pub(crate) fn next(self, operation: Operation, wait_seconds: u64) -> Self {
        Self { wait_seconds, operation, ..self }
    }
}

impl Operation {
    /// Returns the name of the operation, as in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Purge(_) => "purge",
            Self::Plan(_) => "plan",
            Self::Check(_) => "check",
            Self::Map(_) => "map",
            Self::Report(_) => "report",
            Self::End(_) => "end",
        }
    }
}
