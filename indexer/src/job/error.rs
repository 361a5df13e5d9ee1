//! Why an object is not indexed.

use std::io;

use super::Counts;
use crate::{client::ClientError, rows::RowsError};

/// Why an object is not indexed. Documents that the attempt created stay in the cluster; the next attempt counts them as existing.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The object cannot be read.
    #[error("cannot read the object")]
    Read(#[source] io::Error),
    /// The object is not gzip, or is damaged or truncated.
    #[error("the object is damaged: {0}")]
    Damaged(String),
    /// The object is not the CSV of its table.
    #[error("the object is not the CSV of its table: {0}")]
    Columns(String),
    /// The cluster did not accept documents for longer than the limit. Try again later.
    #[error("the cluster has accepted nothing for {seconds} s; {attempts} attempts failed")]
    Unavailable {
        /// Seconds since the first failed attempt.
        seconds: u64,
        /// Failed attempts.
        attempts: u32,
        /// Counts of the attempt.
        counts: Counts,
        /// The last failure.
        source: ClientError,
    },
    /// The cluster accepts other documents, but none of one request. Another attempt may succeed.
    #[error(
        "the cluster accepted no document of one request for {seconds} s, and accepts others; {attempts} attempts failed"
    )]
    Stalled {
        /// Seconds since the first failed attempt.
        seconds: u64,
        /// Failed attempts.
        attempts: u32,
        /// The last failure.
        source: ClientError,
    },
    /// The cluster refuses the request. It succeeds only after a change of settings, permissions or mappings.
    #[error("the cluster refuses the request")]
    Refused(#[source] ClientError),
    /// `should_stop` returned true.
    #[error("the attempt was stopped")]
    Stopped(Counts),
    /// A task of the indexer panicked.
    #[error("a bug in Flowherd: a task of the indexer panicked; please report it: {0}")]
    Panicked(String),
    /// A refused row cannot be written.
    #[error("cannot write a refused row")]
    Sink(#[source] io::Error),
}

impl IndexError {
    /// Returns whether another attempt may succeed without a change of settings or object.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::Unavailable { .. }
            | Self::Stalled { .. }
            | Self::Stopped(_)
            | Self::Sink(_) => true,
            Self::Damaged(_) | Self::Columns(_) | Self::Refused(_) | Self::Panicked(_) => false,
        }
    }

    pub(super) fn with_counts(mut self, done: Counts) -> Self {
        if let Self::Stopped(counts) | Self::Unavailable { counts, .. } = &mut self {
            *counts = done;
        }
        self
    }
}

impl From<RowsError> for IndexError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Read(error) => Self::Read(error),
            RowsError::Damaged(error) => Self::Damaged(error.to_string()),
            RowsError::Columns(difference) => Self::Columns(difference),
        }
    }
}
