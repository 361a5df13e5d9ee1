//! Why an operation failed.

use flowherd_shared::{
    error::error_chain,
    queue::QueueError,
    store::{Cause, StoreError},
};

use crate::planner::PlanError;

/// Why an operation failed. The same call can be repeated unless [`CoordinatorError::is_permanent`].
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// No retry can help.
    #[error("{0}")]
    Refused(String),
    /// A file of the ledger is there and cannot be used. No retry can help.
    #[error("{0}")]
    Damaged(String),
    /// Another call is in the way. A later attempt can succeed.
    #[error("{0}")]
    Busy(String),
    /// Planning failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A request to the results bucket failed.
    #[error("cannot access the ledger; check the results bucket and the permissions on it")]
    Ledger(#[source] StoreError),
    /// A request to the queue or to the dead-letter queue failed.
    #[error("cannot access the queue; check its URL and the permissions on it")]
    Queue(#[source] QueueError),
    /// The search cluster of an index run does not respond.
    #[error("the search cluster does not respond; check its address, and that the coordinator can reach it")]
    Cluster(#[source] Cause),
    /// `flowherd.toml` or `names.json` could not be read.
    #[error("cannot read the configuration")]
    Inputs(#[source] StoreError),
}

impl CoordinatorError {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// Returns whether no retry can help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Damaged(_))
    }

    /// Returns the error and its causes on one line.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        error_chain(self)
    }
}
