//! Indexes one object: each row becomes one document.

mod error;
mod send;

use std::{
    cell::Cell,
    future::Future,
    hash::{BuildHasher, RandomState},
    io, mem,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::AsyncBufRead,
    sync::Semaphore,
    task::{JoinError, JoinSet},
    time::sleep,
};

pub use error::IndexError;
use send::{Sender, Sent, Unsent};

use crate::{
    bulk::Bulk,
    client::Client,
    document::{Encoder, MAX_INDICES, NoDocument, Origin},
    index_name::IndexName,
    pace::{Limits, Outage, SharedPace},
    rows::{Row, Rows},
    schema::DocumentSchema,
    settings::{ClusterSettings, SettingsError},
};

/// Reason of a row whose document is larger than a request may be.
pub const TOO_LARGE: &str = "too-large";
/// Reason of a row whose timestamp names no index.
pub const BAD_TIMESTAMP: &str = "bad-timestamp";
/// Reason of a row whose object has rows of too many indices.
pub const TOO_MANY_INDICES: &str = "too-many-indices";

/// Interval between calls of `should_stop`.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Sends the rows of objects to a cluster. A process has one: all its objects share connections and pace.
#[derive(Debug)]
pub struct Indexer {
    sender: Arc<Sender>,
    /// One for each bulk in memory that is being sent.
    slots: Arc<Semaphore>,
    max_document_bytes: usize,
    bulk_rows: usize,
}

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
    /// The `ETag` of the `csv.gz`, which the documents have as `flowherd.etag`.
    pub etag: &'a str,
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

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self { rows, indexed, existing, refused, requests, resent } = other;
        self.rows += rows;
        self.indexed += indexed;
        self.existing += existing;
        self.refused += refused;
        self.requests += requests;
        self.resent += resent;
    }
}

/// A row that is not in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number of the row in the object, from 1.
    pub row: u64,
    /// The cluster's error type, such as `mapper_parsing_exception`, or Flowherd's own: `too-large`, `bad-timestamp`,
    /// `too-many-indices`, `dropped`. At most 64 bytes.
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

impl Indexer {
    /// Creates an indexer. Connects with the first request.
    pub fn new(settings: &ClusterSettings) -> Result<Self, SettingsError> {
        let client = Client::new(settings)?;
        let pace = SharedPace::new(Limits {
            max_in_flight: settings.max_in_flight,
            first_pause: settings.first_pause,
            max_pause: settings.max_pause,
            max_retry_after: settings.unavailable_limit,
            // A new state of the standard hasher has random keys.
            seed: RandomState::new().hash_one(0),
        });
        Ok(Self {
            sender: Arc::new(Sender::new(settings, client, pace)),
            slots: Arc::new(Semaphore::new(settings.max_in_flight)),
            max_document_bytes: settings.bulk_bytes,
            bulk_rows: settings.bulk_rows,
        })
    }

    /// Returns how long the cluster has accepted nothing; `None` if the last request succeeded. A worker should receive no
    /// messages during an outage, because each would cost a delivery.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.sender.outage()
    }

    /// Indexes one object. Calls `should_stop` every 100 ms, also during pauses. When it returns true, abandons the requests in
    /// flight and returns [`IndexError::Stopped`].
    ///
    /// If the object is damaged, the rows before the damage may be in the cluster.
    pub async fn index(
        &self,
        object: Object<'_>,
        body: impl AsyncBufRead + Unpin,
        refused: &mut impl RefusedSink,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Counts, IndexError> {
        let counts = Cell::new(Counts::default());
        let stopped = async {
            while !should_stop() {
                sleep(STOP_INTERVAL).await;
            }
        };
        let run = Run { indexer: self, counts: &counts, tasks: JoinSet::new() };
        let outcome = tokio::select! {
            biased;
            () = stopped => Err(IndexError::Stopped(Counts::default())),
            outcome = run.index(object, body, refused) => outcome,
        };
        outcome.map(|()| counts.get()).map_err(|error| error.with_counts(counts.get()))
    }
}

/// One object in progress. Dropping it abandons its requests.
struct Run<'a> {
    indexer: &'a Indexer,
    counts: &'a Cell<Counts>,
    tasks: JoinSet<Result<Sent, Unsent>>,
}

impl Run<'_> {
    async fn index(
        mut self,
        object: Object<'_>,
        body: impl AsyncBufRead + Unpin,
        sink: &mut impl RefusedSink,
    ) -> Result<(), IndexError> {
        let Object { key, etag, run, target } = object;
        let mut encoder = Encoder::new(&target.schema, &target.index, Origin { key, etag, run });
        let mut row = Row::default();
        let mut rows = Rows::open(body, &target.columns, &mut row).await?;
        let mut bulk = Bulk::default();
        while let Some(number) = rows.next(&mut row).await? {
            self.count(|counts| counts.rows += 1);
            let limit = self.indexer.max_document_bytes;
            let reason = match bulk.append(&mut encoder, number, row.values(), limit) {
                Ok(()) => None,
                Err(NoDocument::TooLarge) => Some((TOO_LARGE, too_large(limit))),
                Err(NoDocument::BadTimestamp) => Some((BAD_TIMESTAMP, bad_timestamp(&row))),
                Err(NoDocument::TooManyIndices) => Some((TOO_MANY_INDICES, too_many_indices())),
            };
            if let Some((reason, detail)) = reason {
                let (reason, document) = (reason.to_owned(), Vec::new());
                self.count(|counts| counts.refused += 1);
                sink.refuse(Refused { row: number, reason, detail, document })
                    .await
                    .map_err(IndexError::Sink)?;
                continue;
            }
            if let Some(full) = self.take_full(&mut bulk) {
                self.send(full, sink).await?;
            }
        }
        if !bulk.is_empty() {
            self.send(bulk, sink).await?;
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.collect(ended, sink).await?;
        }
        Ok(())
    }

    /// Returns the documents of the next request when the bulk has reached a limit.
    fn take_full(&self, bulk: &mut Bulk) -> Option<Bulk> {
        let limit = self.indexer.sender.bulk_bytes();
        let capacity = || Bulk::with_capacity(limit + limit / 8);
        let bytes = bulk.lines().len();
        if bytes > limit && bulk.len() > 1 {
            // The last document exceeds the limit, so it begins the next bulk.
            let mut next = capacity();
            next.extend(bulk, [bulk.len() - 1]);
            bulk.pop();
            return Some(mem::replace(bulk, next));
        }
        (bytes >= limit || bulk.len() >= self.indexer.bulk_rows).then(|| mem::replace(bulk, capacity()))
    }

    /// Sends a bulk in its own task, as soon as fewer than the maximum number of bulks are in memory.
    async fn send(&mut self, bulk: Bulk, sink: &mut impl RefusedSink) -> Result<(), IndexError> {
        let slot = loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => self.collect(ended, sink).await?,
                slot = Arc::clone(&self.indexer.slots).acquire_owned() => break slot,
            }
        };
        let sender = Arc::clone(&self.indexer.sender);
        self.tasks.spawn(async move {
            let sent = sender.send(bulk).await;
            drop(slot);
            sent
        });
        // Without this, an object that never waits would never call `should_stop`.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Adds the outcome of a bulk to the counts, and writes its refused rows.
    async fn collect(
        &self,
        ended: Result<Result<Sent, Unsent>, JoinError>,
        sink: &mut impl RefusedSink,
    ) -> Result<(), IndexError> {
        let ended = ended.map_err(|error| IndexError::Panicked(error.to_string()))?;
        let (sent, error) = match ended {
            Ok(sent) => (sent, None),
            Err((sent, error)) => (sent, Some(error)),
        };
        self.count(|counts| counts.add(&sent.counts));
        for refused in sent.refused {
            sink.refuse(refused).await.map_err(IndexError::Sink)?;
        }
        error.map_or(Ok(()), Err)
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

fn too_large(limit: usize) -> String {
    format!("the document has more than {limit} bytes, the limit of a request; increase the bytes of a bulk")
}

fn too_many_indices() -> String {
    format!(
        "the earlier rows of the object are in {MAX_INDICES} indices, the limit; use indices of months or years, or `--to`"
    )
}

fn bad_timestamp(row: &Row) -> String {
    let value = row.first();
    format!("the timestamp {:?} names no index", String::from_utf8_lossy(&value[..value.len().min(100)]))
}
