//! Indexes one object: each row becomes one document.

use std::{future::Future, io};

use tokio::io::AsyncBufRead;

use crate::{
    client::ClientError, index_name::IndexName, schema::DocumentSchema, settings::ClusterSettings,
    settings::SettingsError,
};

/// Sends the rows of objects to a cluster. One for a process: all its objects share connections and pace.
#[derive(Debug)]
pub struct Indexer {}

/// Where the rows of a table go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The columns of the table's CSV, in order.
    pub columns: Vec<String>,
    /// One field for each column.
    pub schema: DocumentSchema,
    /// The index of each row.
    pub index: IndexName,
}

/// One object to index.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// The key of the `csv.gz`, which the documents have as `flowherd.object`.
    pub key: &'a str,
    /// The run, which the documents have as `flowherd.run`.
    pub run: &'a str,
    /// Where the rows go.
    pub target: &'a Target,
}

/// Counts of one object. When the object is done, `rows = indexed + existing + refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows read.
    pub rows: u64,
    /// Documents that this attempt created.
    pub indexed: u64,
    /// Documents that an earlier attempt had created.
    pub existing: u64,
    /// Documents that the cluster refused, and rows that cannot be documents.
    pub refused: u64,
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Documents that were sent again.
    pub resent: u64,
}

/// A row that is not in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number of the row in the object, from 1.
    pub row: u64,
    /// The cluster's error type, such as `mapper_parsing_exception`, or Flowherd's own: `too-large`, `bad-timestamp`. At most
    /// 64 bytes.
    pub reason: String,
    /// The cluster's reason in words, at most 1,000 bytes.
    pub detail: String,
    /// The document as JSON. Empty if it is too large.
    pub document: Vec<u8>,
}

/// Receives the rows that are not in the cluster.
pub trait RefusedSink {
    /// Writes a row. An error ends the object with [`IndexError::Sink`].
    fn refuse(&mut self, refused: Refused) -> impl Future<Output = io::Result<()>>;
}

/// Why an object is not indexed. The documents counted in `counts` are in the cluster; the next attempt finds them.
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
        /// Time since the first failed attempt.
        seconds: u64,
        /// Failed attempts.
        attempts: u32,
        /// What the attempt did before.
        counts: Counts,
        /// The last failure.
        source: ClientError,
    },
    /// The cluster refuses the requests: another attempt with the same settings fails as well.
    #[error("the cluster refuses the request")]
    Refused(#[source] ClientError),
    /// `stop` returned true.
    #[error("the attempt was stopped")]
    Stopped(Counts),
    /// A refused row cannot be written.
    #[error("cannot write a refused row")]
    Sink(#[source] io::Error),
}

impl IndexError {
    /// Whether another attempt may succeed without a change of settings or object.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Read(_) | Self::Unavailable { .. } | Self::Stopped(_) | Self::Sink(_) => true,
            Self::Damaged(_) | Self::Columns(_) | Self::Refused(_) => false,
        }
    }
}

impl Indexer {
    /// Creates an indexer. Connects with the first request.
    pub fn new(_settings: ClusterSettings) -> Result<Self, SettingsError> {
        Ok(Self {})
    }

    /// Indexes one object. `stop` is asked several times a second, also during pauses; after it returned true, requests in
    /// flight are abandoned.
    pub async fn index(
        &self,
        _object: Object<'_>,
        _body: impl AsyncBufRead + Unpin,
        _refused: &mut impl RefusedSink,
        _stop: &dyn Fn() -> bool,
    ) -> Result<Counts, IndexError> {
        Ok(Counts::default())
    }
}
