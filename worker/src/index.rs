//! Indexes one object: reads its rows, sends them to the cluster, and writes a receipt or a failure. Rows that the cluster
//! refuses go to a file in `rejects/`.

#[cfg(feature = "aws")]
pub mod cluster;
#[cfg(feature = "aws")]
mod connection;
mod outage;
mod refused;

use std::{
    cell::Cell,
    io::{self, Read},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use flowherd_shared::{
    config::Config,
    error::{ObjectError, Verdict},
    ledger::{
        Attempt, ByteCounts, DocumentCounts, Failure, Fingerprint, IndexTarget, IndexedObject, ManifestEntry,
        Receipt, layout, put_json,
    },
    limits::MAX_KEY_BYTES,
    store::{Cause, Source, Store, StoreError},
    table::Table,
};

use self::refused::RefusedFile;
pub use self::{outage::OutagePause, refused::RefusedRow};
use crate::processor::{Control, Job, Outcome, StopReason, now};

/// Writes a row that is not in the cluster. May wait for requests to a store.
pub type Refuse<'a> = dyn FnMut(&RefusedRow) -> io::Result<()> + Send + 'a;

/// Sends the rows of objects to a search cluster.
pub trait RowIndexer: Sync {
    /// Sends the rows of one object, and blocks until each of them is a document or is passed to `refuse`. Asks `should_stop`
    /// several times a second.
    ///
    /// # Errors
    /// [`IndexError`] by what happens to the object. Documents that were sent before stay in the cluster.
    fn index(
        &self,
        rows: &Rows<'_>,
        body: &mut (dyn Read + Send),
        refuse: &mut Refuse<'_>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<DocumentCounts, IndexError>;
}

/// The rows of one object, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The run.
    pub run: &'a str,
    /// The key of the `csv.gz`.
    pub key: &'a str,
    /// The `ETag` of the `csv.gz`.
    pub etag: &'a str,
    /// The table of the rows.
    pub table: &'a Table,
    /// The index of each row, and the names of the fields.
    pub target: &'a IndexTarget,
}

/// Why the rows of an object are not all in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// `should_stop` returned true.
    #[error("the attempt was stopped")]
    Stopped,
    /// The cluster accepts nothing now. This is no failure of the object.
    #[error("the cluster is unavailable")]
    Unavailable(#[source] Cause),
    /// The attempt failed.
    #[error("cannot index the object")]
    Failed {
        /// The cause.
        source: Cause,
        /// Whether another attempt can succeed.
        verdict: Verdict,
    },
}

/// The configuration of an index run.
#[derive(Debug)]
pub struct IndexRun {
    /// The rules, whose tables have the types of the columns.
    pub config: Config,
    /// Where documents go.
    pub target: IndexTarget,
}

impl From<&IndexRun> for Fingerprint {
    fn from(run: &IndexRun) -> Self {
        Self::of_index(&run.config, &run.target)
    }
}

/// What all objects of an index worker share: the indexer and the pause of an outage.
#[allow(missing_debug_implementations)] // the indexer need not implement it
pub struct IndexJob<'a> {
    /// Sends rows.
    pub rows: &'a dyn RowIndexer,
    /// Whether the cluster is unavailable.
    pub outage: OutagePause,
}

impl<'a> IndexJob<'a> {
    /// Creates a job for a cluster that is available.
    #[must_use]
    pub fn new(rows: &'a dyn RowIndexer) -> Self {
        Self { rows, outage: OutagePause::default() }
    }
}

/// Indexes the objects of one run.
#[allow(missing_debug_implementations)] // sources and stores need not implement it
pub struct IndexProcessor<'a, I, O> {
    /// The name of the run.
    pub run: &'a str,
    /// Its configuration.
    pub index_run: &'a IndexRun,
    /// Sends the rows.
    pub rows: &'a dyn RowIndexer,
    /// Source of the objects.
    pub source: &'a I,
    /// Store of the ledger and of refused rows.
    pub store: &'a O,
}

/// Why an attempt has no receipt.
enum Unfinished {
    Stopped(StopReason),
    Failed(Cause, Verdict),
}

impl Unfinished {
    fn write(output: &str, source: StoreError) -> Self {
        let error = ObjectError::Write { output: output.to_owned(), source: source.into() };
        let verdict = error.verdict();
        Self::Failed(error.into(), verdict)
    }
}

/// A key that is not that of rows, or rows of a table that the run's rules do not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{key} is not csv/TABLE/….csv.gz of a table of the run's rules; begin a run with the rules that wrote it"
)]
struct UnknownTable {
    key: String,
}

/// The counts of an attempt do not fit each other.
#[derive(Debug, thiserror::Error)]
#[error(
    "a bug in Flowherd: of {rows} rows, {indexed} are indexed, {existing} existed and {refused} are refused; please report it"
)]
struct Unbalanced {
    rows: u64,
    indexed: u64,
    existing: u64,
    refused: u64,
}

impl<I: Source, O: Store> IndexProcessor<'_, I, O> {
    /// Makes one attempt at an object. Fails only if the ledger cannot be written: the outcome is then unknown.
    pub fn process(&self, job: Job<'_>, control: &Control<'_>) -> Result<Outcome, StoreError> {
        let began = Instant::now();
        let Job { object, previous, delivery } = job;
        let number = previous.as_ref().map_or(0, |failure| failure.attempts).saturating_add(1);
        // A process that ended during the first delivery has left no failure.
        let is_first = number == 1 && delivery.is_none_or(|delivery| delivery.number == 1);
        let sent = self.send(object, is_first, control);
        let fingerprint = Fingerprint::from(self.index_run);
        let attempt = Attempt {
            run: self.run,
            object,
            fingerprint: &fingerprint,
            number,
            finished: now()?,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            message_id: delivery.map(|delivery| delivery.message_id),
        };
        let written = sent.and_then(|indexed| {
            let receipt = Receipt::of_index(&attempt, indexed);
            let path = layout::receipt(self.run, &object.key);
            put_json(self.store, &path, &receipt).map_err(|source| Unfinished::write(&path, source))?;
            Ok(receipt)
        });
        match written {
            Ok(receipt) => {
                // If this is lost, the receipt still counts and the failure does not.
                if let Some(failure) = previous {
                    failure.remove(self.store)?;
                }
                Ok(Outcome::Done(Box::new(receipt)))
            }
            Err(Unfinished::Stopped(reason)) => Ok(Outcome::Stopped(reason)),
            Err(Unfinished::Failed(error, verdict)) => {
                let failure = Failure::new(&attempt, &*error, verdict);
                failure.write(self.store)?;
                Ok(Outcome::Failed(failure))
            }
        }
    }

    /// Sends all rows, and publishes those that the cluster refused.
    fn send(
        &self,
        object: &ManifestEntry,
        is_first: bool,
        control: &Control<'_>,
    ) -> Result<IndexedObject, Unfinished> {
        let mut refused = RefusedFile::new(self.store, layout::refused(self.run, &object.key), &object.key);
        self.check_receipt_key(&object.key)?;
        let documents = self.send_rows(object, control, &mut refused)?;
        if !documents.adds_up() || documents.refused != refused.rows() {
            let DocumentCounts { rows, indexed, existing, refused } = documents;
            let error = Unbalanced { rows, indexed, existing, refused };
            return Err(Unfinished::Failed(error.into(), Verdict::Permanent));
        }
        match (control.can_publish)() {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(reason)) => return Err(Unfinished::Stopped(reason)),
            Err(source) => return Err(Unfinished::write(&layout::purged(self.run), source)),
        }
        let path = refused.path().to_owned();
        let has_refused = refused.rows() > 0;
        let (refused, reasons, examples) =
            refused.publish().map_err(|source| Unfinished::write(&path, source))?;
        // An earlier attempt may have published refused rows, and then ended without a receipt.
        if !has_refused && !is_first {
            self.store.remove(&path).map_err(|source| Unfinished::write(&path, source))?;
        }
        let bytes = ByteCounts {
            compressed_in: object.size,
            compressed_out: refused.as_ref().map_or(0, |file| file.bytes),
            ..ByteCounts::default()
        };
        Ok(IndexedObject { documents, refused, reasons, examples, bytes })
    }

    /// Fails before the first document if the key of the receipt is too long for S3: nothing would prove the documents.
    fn check_receipt_key(&self, key: &str) -> Result<(), Unfinished> {
        let path = layout::receipt(self.run, key);
        if path.len() <= MAX_KEY_BYTES {
            return Ok(());
        }
        let bytes = path.len();
        let why = format!(
            "the key has {bytes} bytes, and the maximum in S3 is {MAX_KEY_BYTES}; shorten the source key"
        );
        Err(Unfinished::write(&path, StoreError::InvalidKey(why.into())))
    }

    fn send_rows(
        &self,
        object: &ManifestEntry,
        control: &Control<'_>,
        refused: &mut RefusedFile<'_, O>,
    ) -> Result<DocumentCounts, Unfinished> {
        let table = layout::table_of_csv(&object.key);
        let table = self.index_run.config.tables.iter().find(|known| Some(&*known.name) == table);
        let table = table.ok_or_else(|| {
            Unfinished::Failed(UnknownTable { key: object.key.clone() }.into(), Verdict::Permanent)
        })?;
        let mut body = self.source.open(object).map_err(|source| {
            let error = ObjectError::Read { at: 0, source: source.into() };
            let verdict = error.verdict();
            Unfinished::Failed(error.into(), verdict)
        })?;
        let stopped = Cell::new(None);
        let should_stop = || match (control.should_continue)(0) {
            ControlFlow::Continue(()) => false,
            ControlFlow::Break(reason) => {
                stopped.set(Some(reason));
                true
            }
        };
        let target = &self.index_run.target;
        let rows = Rows { run: self.run, key: &object.key, etag: &object.etag, table, target };
        // A panic that one object causes must not end the work on the others.
        let sent = catch_unwind(AssertUnwindSafe(|| {
            self.rows.index(&rows, &mut body, &mut |row| refused.add(row), &should_stop)
        }));
        match sent {
            Ok(Ok(documents)) => Ok(documents),
            Ok(Err(IndexError::Stopped)) => {
                Err(Unfinished::Stopped(stopped.get().unwrap_or(StopReason::Shutdown)))
            }
            Ok(Err(IndexError::Unavailable(source))) => {
                if let Some(reason @ (StopReason::Shutdown | StopReason::Purged)) = stopped.get() {
                    return Err(Unfinished::Stopped(reason));
                }
                let error = flowherd_shared::error::error_chain(&*source);
                tracing::warn!(error, "the cluster is unavailable; messages wait in the queue");
                Err(Unfinished::Stopped(StopReason::Unavailable))
            }
            Ok(Err(IndexError::Failed { source, verdict })) => Err(Unfinished::Failed(source, verdict)),
            Err(_) => Err(Unfinished::Failed(
                "a bug in Flowherd: the indexer panicked; please report it".into(),
                Verdict::Permanent,
            )),
        }
    }
}
