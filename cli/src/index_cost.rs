//! The counts, bytes and time of `flowherd estimate --index`. docs/indexing.md has the same numbers.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::Serialize;

use crate::cost::{CONCURRENT_OBJECTS, ONE_VCPU_MB, OVERHEAD_SECONDS, PLANNED_PER_SECOND};

/// Compressed bytes of a row in its CSV: a day of `flowherd synth`, converted with names.
pub const CSV_BYTES_PER_ROW: f64 = 32.0;
/// Bytes of a document in a bulk request, with its action, before compression: flow logs with names.
/// `cargo bench -p flowherd-indexer` measures it.
pub const PLAIN_BYTES_PER_ROW: f64 = 753.0;
/// The same, as sent.
pub const SENT_BYTES_PER_ROW: f64 = 72.0;
/// Bytes of the same document in the primary shards after a merge: OpenSearch 2.19.6, default codec. `make bench-index` measures it.
pub const CLUSTER_BYTES_PER_ROW: f64 = 376.0;
/// Rows that one node with two cores accepts in a second.
pub const ROWS_PER_SECOND: u32 = 23_900;
/// Processor time of the indexer for a row. `cargo bench -p flowherd-indexer` measures it.
pub const CPU_SECONDS_PER_ROW: f64 = 1.97e-6;
/// The stack's defaults for a fleet with job index.
pub const MAX_CONCURRENCY: u32 = 4;
/// Memory of a worker in MB.
pub const MEMORY_MB: u32 = 512;

/// Objects of rows, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowObjects(pub BTreeMap<String, TableObjects>);

/// The objects of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableObjects {
    /// All objects.
    pub listed: ObjectTotals,
    /// Those whose receipt was read.
    pub with_receipt: ObjectTotals,
    /// The rows in these receipts.
    pub rows_of_receipts: u64,
}

/// Number and compressed bytes of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectTotals {
    /// Objects.
    pub count: u64,
    /// Their compressed bytes.
    pub bytes: u64,
}

impl AddAssign for ObjectTotals {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl TableObjects {
    /// Returns the rows: those of the receipts, and those of the other objects by their bytes, at the rate of the receipts or, without
    /// any, at [`CSV_BYTES_PER_ROW`].
    fn rows(&self) -> f64 {
        let (counted, rows) = (self.with_receipt.bytes as f64, self.rows_of_receipts as f64);
        let other_bytes = self.listed.bytes as f64 - counted;
        let rows_per_byte = if self.with_receipt.count > 0 && counted > 0.0 {
            rows / counted
        } else {
            1.0 / CSV_BYTES_PER_ROW
        };
        rows + other_bytes * rows_per_byte
    }
}

/// The workers of an index fleet, and its cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IndexFleet {
    /// Memory of a worker.
    pub memory_mb: u32,
    /// Processors of a task on Fargate; `None` for a function, which has them in proportion to its memory.
    pub vcpus: Option<f64>,
    /// Workers at the same time.
    pub concurrency: u32,
    /// Rows that the cluster accepts in a second.
    pub rows_per_second: u32,
}

/// The documents, bytes and time of an index run.
#[derive(Clone, Debug, Serialize)]
pub struct IndexEstimate {
    /// The prefix.
    pub prefix: String,
    /// Objects listed.
    pub objects: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Objects whose rows come from their receipts.
    pub objects_with_receipt: u64,
    /// The rows of these objects.
    pub rows_of_receipts: u64,
    /// Tables without a receipt. Their rows are estimated by size alone.
    pub tables_without_receipt: Vec<String>,
    /// Objects of these tables.
    pub objects_of_tables_without_receipt: u64,
    /// Documents: one for each row.
    pub documents: u64,
    /// Bytes of all requests before compression.
    pub plain_bytes: u64,
    /// Bytes of all requests as sent.
    pub sent_bytes: u64,
    /// Bytes of the primary shards. Each replica needs as much again.
    pub cluster_bytes: u64,
    /// Memory of a worker.
    pub memory_mb: u32,
    /// Workers at the same time.
    pub concurrency: u32,
    /// Rows that the cluster accepts in a second.
    pub rows_per_second: u32,
    /// Time from the first message to the last receipt.
    pub elapsed_seconds: f64,
}

impl IndexEstimate {
    /// Estimates a run of these objects.
    #[must_use]
    pub fn new(prefix: &str, objects: &RowObjects, fleet: IndexFleet) -> Self {
        let (mut listed, mut with_receipt) = (ObjectTotals::default(), ObjectTotals::default());
        let (mut rows, mut rows_of_receipts) = (0.0, 0);
        for table in objects.0.values() {
            listed += table.listed;
            with_receipt += table.with_receipt;
            rows += table.rows();
            rows_of_receipts = table.rows_of_receipts.saturating_add(rows_of_receipts);
        }
        let without_receipt = || objects.0.iter().filter(|(_, table)| table.with_receipt.count == 0);
        let count = listed.count as f64;
        let of_memory = || (f64::from(fleet.memory_mb) / ONE_VCPU_MB).min(1.0);
        let vcpus = fleet.vcpus.unwrap_or_else(of_memory);
        // A task processes two objects for each processor.
        let of_task = |vcpus: f64| (CONCURRENT_OBJECTS * vcpus).max(CONCURRENT_OBJECTS);
        let concurrent_objects = fleet.vcpus.map_or(CONCURRENT_OBJECTS, of_task);
        let worker_seconds =
            rows * CPU_SECONDS_PER_ROW / vcpus + count * OVERHEAD_SECONDS / concurrent_objects;
        // The slowest of three decides: the cluster, the workers, or planning.
        let elapsed_seconds = (rows / f64::from(fleet.rows_per_second))
            .max(worker_seconds / f64::from(fleet.concurrency))
            .max(count / PLANNED_PER_SECOND);
        Self {
            prefix: prefix.to_owned(),
            objects: listed.count,
            bytes: listed.bytes,
            objects_with_receipt: with_receipt.count,
            rows_of_receipts,
            tables_without_receipt: without_receipt().map(|(name, _)| name.clone()).collect(),
            objects_of_tables_without_receipt: without_receipt().map(|(_, table)| table.listed.count).sum(),
            documents: rows.round() as u64,
            plain_bytes: (rows * PLAIN_BYTES_PER_ROW) as u64,
            sent_bytes: (rows * SENT_BYTES_PER_ROW) as u64,
            cluster_bytes: (rows * CLUSTER_BYTES_PER_ROW) as u64,
            memory_mb: fleet.memory_mb,
            concurrency: fleet.concurrency,
            rows_per_second: fleet.rows_per_second,
            elapsed_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: IndexFleet = IndexFleet {
        memory_mb: MEMORY_MB,
        vcpus: None,
        concurrency: MAX_CONCURRENCY,
        rows_per_second: ROWS_PER_SECOND,
    };

    fn totals(count: u64, bytes: u64) -> ObjectTotals {
        ObjectTotals { count, bytes }
    }

    fn estimate(tables: &[TableObjects], fleet: IndexFleet) -> IndexEstimate {
        let named = tables.iter().enumerate().map(|(number, table)| (format!("t{number}"), *table));
        IndexEstimate::new("csv/", &RowObjects(named.collect()), fleet)
    }

    #[test]
    fn rows_are_those_of_the_receipts_and_of_other_objects_by_the_same_rate_of_their_table() {
        let known =
            TableObjects { listed: totals(2, 300), with_receipt: totals(2, 300), rows_of_receipts: 7 };
        let half =
            TableObjects { listed: totals(4, 400), with_receipt: totals(1, 100), rows_of_receipts: 20 };
        let unknown = TableObjects { listed: totals(1, 4500), ..TableObjects::default() };
        let of = |tables: &[TableObjects]| estimate(tables, FLEET).documents;
        assert_eq!((of(&[known]), of(&[half])), (7, 80));
        assert_eq!(of(&[unknown]), (4500.0 / CSV_BYTES_PER_ROW).round() as u64);
        let all = estimate(&[known, half, unknown], FLEET);
        assert_eq!(all.documents, of(&[known]) + of(&[half]) + of(&[unknown]));
        assert_eq!((all.objects, all.objects_with_receipt, all.rows_of_receipts), (7, 3, 27));
        assert_eq!(
            (all.tables_without_receipt, all.objects_of_tables_without_receipt),
            (vec!["t2".to_owned()], 1)
        );
    }

    #[test]
    fn the_time_is_that_of_the_cluster_of_the_workers_or_of_planning() {
        let rows = |count, rows| TableObjects {
            listed: totals(count, 1),
            with_receipt: totals(count, 1),
            rows_of_receipts: rows,
        };
        let seconds = |table, fleet| estimate(&[table], fleet).elapsed_seconds;
        assert!((seconds(rows(1, 239_000), FLEET) - 10.0).abs() < 1e-9);
        let fast = IndexFleet { rows_per_second: u32::MAX, memory_mb: 1769, vcpus: None, concurrency: 2 };
        assert!((seconds(rows(0, 2_000_000), fast) - 1.97).abs() < 1e-9);
        let tasks = IndexFleet { vcpus: Some(0.5), ..fast };
        assert!((seconds(rows(0, 2_000_000), tasks) - 2.0 * 1.97).abs() < 1e-9);
        let many = IndexFleet { concurrency: 1000, ..fast };
        assert!((seconds(rows(36_000, 0), many) - 10.0).abs() < 1e-9);
        // A function waits for two objects at once, a task for two for each processor.
        let tasks = IndexFleet { vcpus: Some(2.0), ..fast };
        assert!((seconds(rows(1000, 0), tasks) - 1000.0 * OVERHEAD_SECONDS / 4.0 / 2.0).abs() < 1e-9);
        assert!((seconds(rows(1000, 0), fast) - 1000.0 * OVERHEAD_SECONDS / 2.0 / 2.0).abs() < 1e-9);
    }
}
