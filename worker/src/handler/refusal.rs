//! Why a worker does not process a message, as the error of a failure.

use crate::config_cache::{ConfigCacheError, RunWork};

/// Why a message was refused before or during an attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the message names bucket {found:?}, but this worker only reads {expected:?}; another fleet's coordinator sent it"
    )]
    Bucket { found: String, expected: String },
    #[error(transparent)]
    Config(ConfigCacheError),
    #[error(
        "the run {run}, but this worker {worker}; set FLOWHERD_JOB of the workers to the job of their fleet, and redrive"
    )]
    Job { run: &'static str, worker: &'static str },
    #[error(
        "the function's time ended before the object did; if this happens again, raise workerTimeoutSeconds or its memory"
    )]
    Deadline,
}

impl Refusal {
    pub(super) const INDEXES: Self =
        Self::Job { run: "sends rows to a search cluster", worker: "converts objects" };
    const CONVERTS: Self = Self::Job { run: "converts objects", worker: "sends rows to a search cluster" };

    /// Returns why a worker does not do the work of a run; `None` if it does.
    pub(super) fn of_job(work: &RunWork, worker_indexes: bool) -> Option<Self> {
        match (work, worker_indexes) {
            (RunWork::Convert(_), false) | (RunWork::Index(_), true) => None,
            (RunWork::Index(_), false) => Some(Self::INDEXES),
            (RunWork::Convert(_), true) => Some(Self::CONVERTS),
        }
    }
}

/// The error of the failure that exists during an attempt.
#[derive(Debug, thiserror::Error)]
#[error(
    "a worker began this attempt and did not report its end: it was stopped, ran out of memory, or its function's time \
     ended; if this happens again, raise the worker's memory or timeout"
)]
pub(super) struct Unfinished;
