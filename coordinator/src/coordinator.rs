//! The ports and limits of the coordinator, and functions that several operations use.

use std::time::Duration;

use flowherd_shared::{
    enrichment::EnrichmentFile,
    error::error_chain,
    layout,
    ledger::{ManifestTotals, Run, examine_json},
    queue::Queue,
    store::{Lister, Store, StoreError},
};
use jiff::Timestamp;

use crate::{
    error::CoordinatorError,
    marker::{RunMarker, Stage},
    planner::PlanError,
    search::IndexFleet,
};

/// A purge takes up to 60 seconds, and deletes messages that are sent meanwhile
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>).
pub const PURGE_SECONDS: u64 = 60;
/// Minimum age of a run marker after which its purge has ended: one second more, because S3 rounds times to seconds.
pub(crate) const PURGE: Duration = Duration::from_secs(PURGE_SECONDS + 1);
/// Wait before the next attempt when another purge is in progress: SQS allows one in 60 seconds.
pub(crate) const PURGE_RETRY_SECONDS: u64 = 15;

/// The configuration files of new runs.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// `flowherd.toml`; `None` for the built-in rule.
    pub config: Option<Vec<u8>>,
    /// `names.json`.
    pub names: Option<Vec<u8>>,
    /// The enrichment files that exist.
    pub files: Vec<EnrichmentFile>,
    /// Whether names are wanted, but not read from AWS yet. `names` is then `None`.
    pub lacks_names: bool,
}

/// The coordinator's ports and limits. Its operations are in the modules of the same names.
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Coordinator<'a, L, S, Q> {
    /// The fleet. Its runs have their messages in its queue.
    pub fleet: &'a str,
    /// Lists the source bucket.
    pub source: &'a L,
    /// The name of the source bucket.
    pub bucket: &'a str,
    /// The results bucket, which holds the ledger too.
    pub results: &'a S,
    /// The name of the results bucket.
    pub results_bucket: &'a str,
    /// The queue to the workers; `None` for a fleet with driver map.
    pub queue: Option<&'a Q>,
    /// Its dead-letter queue.
    pub dead_letters: Option<&'a Q>,
    /// The search cluster of a fleet that indexes; `None` for one that converts. The source bucket is then the results bucket.
    pub index: Option<IndexFleet<'a>>,
    /// Reads the configuration files of a new run.
    pub inputs: &'a (dyn Fn() -> Result<Inputs, StoreError> + Sync),
    /// For how long the queue must be empty before objects without an outcome count as missing: its counts lag.
    pub settle: Duration,
    /// Age of a run at which it is reported whatever its state.
    pub time_limit: Duration,
    /// Maximum objects of a run.
    pub max_keys: u64,
    /// Returns the time of this machine.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// Waits between attempts to send.
    pub pause: &'a (dyn Fn(Duration) + Sync),
    /// Called after each page of a listing that may be long, so that a command can renew its time limit.
    pub on_page: &'a (dyn Fn() + Sync),
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Reads `run.json` of a run of this fleet.
    ///
    /// # Errors
    /// As [`read_run`], and [`CoordinatorError::Refused`] for a run of another fleet.
    pub fn run(&self, name: &str) -> Result<Run, CoordinatorError> {
        let run = read_run(self.results, name)?;
        if run.fleet == self.fleet {
            return Ok(run);
        }
        Err(other_fleet(name, &run.fleet, self.fleet))
    }

    /// Returns the time of this machine as ISO-8601 UTC.
    pub(crate) fn now(&self) -> String {
        iso((self.clock)())
    }

    /// Returns whether the run may have messages in the queue: planning writes the first part of the manifest before it
    /// sends.
    pub(crate) fn has_sent(&self, run: &str) -> Result<bool, CoordinatorError> {
        let first = self.results.etag(&layout::manifest_part(run, 0)).map_err(CoordinatorError::Ledger)?;
        Ok(first.is_some())
    }

    /// Returns another run of the fleet that may be purging the queue now.
    pub(crate) fn purging_run(&self, run: &Run) -> Result<Option<String>, CoordinatorError> {
        for other in RunMarker::others_that_may_purge(self.results, run).map_err(CoordinatorError::Ledger)? {
            if other.is_purging(self.results).map_err(CoordinatorError::Ledger)? {
                return Ok(Some(other.run));
            }
        }
        Ok(None)
    }

    /// Writes the run's marker.
    pub(crate) fn mark(&self, run: &Run, stage: Stage) -> Result<(), CoordinatorError> {
        RunMarker::new(run, stage).write(self.results).map_err(CoordinatorError::Ledger)
    }

    /// Maps an error of a listing: permanent errors are refusals, transient ones can be retried.
    pub(crate) fn list_error(&self, prefix: &str, error: StoreError) -> CoordinatorError {
        let bucket = self.bucket;
        match error {
            StoreError::AccessDenied(_) | StoreError::NotFound(_) | StoreError::WrongBucket(_) => {
                CoordinatorError::Refused(format!(
                    "cannot list prefix {prefix:?} of bucket {bucket}; check that the bucket exists, and that the \
                     coordinator may list this prefix: {}",
                    error_chain(&error)
                ))
            }
            StoreError::Invalid(_)
            | StoreError::InvalidKey(_)
            | StoreError::PreconditionFailed(_)
            | StoreError::Archived(_)
            | StoreError::Encrypted(_)
            | StoreError::TooLarge { .. } => CoordinatorError::Refused(format!(
                "cannot list prefix {prefix:?} of bucket {bucket}: {}",
                error_chain(&error)
            )),
            StoreError::Transient(_) => {
                PlanError::List { source: error, sent: ManifestTotals::default() }.into()
            }
        }
    }
}

/// The error of an operation on a run that is of another fleet.
pub(crate) fn other_fleet(run: &str, its: &str, fleet: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!("run {run} is of fleet {its}, not of fleet {fleet}"))
}

/// Reads `run.json` of a run of any fleet.
///
/// # Errors
/// [`CoordinatorError::Refused`] if there is no such run, [`CoordinatorError::Damaged`] if its `run.json` is damaged.
pub fn read_run(results: &impl Store, name: &str) -> Result<Run, CoordinatorError> {
    if let Some(problem) = layout::run_name_problem(name) {
        return Err(CoordinatorError::Refused(problem));
    }
    let path = layout::run(name);
    match examine_json(results, &path).map_err(CoordinatorError::Ledger)? {
        Some(Ok(run)) => return Ok(run),
        Some(Err(why)) => return Err(CoordinatorError::Damaged(format!("{path}: {why}"))),
        None => {}
    }
    let marker = results.head(&layout::active(name)).map_err(CoordinatorError::Ledger)?;
    Err(CoordinatorError::Refused(match marker {
        Some(_) => format!(
            "run {name} has a run marker but no {path}: its begin was interrupted, or its ledger was deleted; remove the \
             marker with: flowherd runs --forget {name}"
        ),
        None => format!("no run named {name:?}; list runs with: flowherd runs"),
    }))
}

/// Formats a time as ISO-8601 UTC with milliseconds.
pub(crate) fn iso(time: Timestamp) -> String {
    format!("{time:.3}")
}
