//! A search cluster in memory: creates a document once for each row, refuses rows on request, and can be down.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;
use flowherd_coordinator::search::{ClusterError, SearchCluster};
use flowherd_shared::{
    error::Verdict,
    ledger::{Destination, DocumentCounts, IndexTarget},
    table::Table,
};
use flowherd_worker::index::{IndexError, Refuse, RefusedRow, RowIndexer, Rows};

/// The reason of refused rows.
pub const REASON: &str = "mapper_parsing_exception";

/// A search cluster. A row is a line, so tests have no line breaks inside of values.
#[derive(Debug, Default)]
pub struct MemoryCluster(Mutex<State>, AtomicU64);

#[derive(Debug, Default)]
struct State {
    /// By index, the object and the number of each row.
    documents: BTreeMap<String, BTreeSet<(String, u64)>>,
    tables: BTreeSet<String>,
    /// Rows with this text are refused.
    refused: Option<String>,
    is_down: bool,
    /// Rows after which the next attempt stops, with those before it in the cluster.
    fails_after: Option<u64>,
}

impl MemoryCluster {
    /// Makes the cluster unavailable, or available again.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Refuses rows with this text.
    pub fn refuse(&self, text: &str) {
        self.state().refused = Some(text.to_owned());
    }

    /// Ends the next attempt after this number of rows, as if the worker were killed.
    pub fn fail_after(&self, rows: u64) {
        self.state().fails_after = Some(rows);
    }

    /// Returns the number of documents of each index.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.state().documents.iter().map(|(index, rows)| (index.clone(), rows.len())).collect()
    }

    /// Returns the number of attempts at an object, those during an outage included.
    pub fn attempts(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// Returns the tables for which the cluster was prepared.
    pub fn tables(&self) -> BTreeSet<String> {
        self.state().tables.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SearchCluster for MemoryCluster {
    fn prepare(&self, tables: &[&Table], _: &IndexTarget) -> Result<Vec<String>, ClusterError> {
        let mut state = self.state();
        if state.is_down {
            return Err(ClusterError::Unavailable("injected: the cluster is down".into()));
        }
        state.tables.extend(tables.iter().map(|table| table.name.clone()));
        Ok(Vec::new())
    }
}

impl RowIndexer for MemoryCluster {
    fn index(
        &self,
        rows: &Rows<'_>,
        body: &mut (dyn Read + Send),
        refuse: &mut Refuse<'_>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<DocumentCounts, IndexError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let failed =
            |source: io::Error| IndexError::Failed { source: source.into(), verdict: Verdict::Retry };
        let mut text = String::new();
        MultiGzDecoder::new(body)
            .read_to_string(&mut text)
            .map_err(|source| IndexError::Failed { source: source.into(), verdict: Verdict::Permanent })?;
        if should_stop() {
            return Err(IndexError::Stopped);
        }
        let mut guard = self.state();
        let state = &mut *guard;
        if state.is_down {
            return Err(IndexError::Unavailable("injected: the cluster is down".into()));
        }
        let index = match &rows.target.destination {
            Destination::To(name) => name.clone(),
            Destination::Pattern(name) | Destination::DataStream(name) => {
                name.replace("{table}", &rows.table.name)
            }
        };
        let refused = state.refused.clone();
        let documents = state.documents.entry(index).or_default();
        let mut counts = DocumentCounts::default();
        for (record, line) in (0_u64..).zip(text.lines().skip(1)) {
            if state.fails_after == Some(record) {
                state.fails_after = None;
                return Err(failed(io::Error::other("injected: the worker was killed")));
            }
            counts.rows += 1;
            if refused.as_ref().is_some_and(|refused| line.contains(refused)) {
                counts.refused += 1;
                let (reason, detail) = (REASON.to_owned(), "failed to parse field [srcport]".to_owned());
                refuse(&RefusedRow { record, reason, detail, document: line.as_bytes().to_vec() })
                    .map_err(failed)?;
            } else if documents.insert((rows.key.to_owned(), record)) {
                counts.indexed += 1;
            } else {
                counts.existing += 1;
            }
        }
        Ok(counts)
    }
}
