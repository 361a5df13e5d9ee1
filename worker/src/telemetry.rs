//! The outcome of each task as one line of the log and one line of metrics, from the same numbers.

use std::io::Write;

use flowherd_shared::{
    error::Verdict,
    ledger::{Failure, Receipt},
};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

/// The namespace of the metrics in CloudWatch.
pub const NAMESPACE: &str = "Flowherd";
/// The only dimension of the metrics: the name of the queue, which separates the fleets of an account.
pub const DIMENSION: &str = "Queue";

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// Its unit there.
    pub unit: &'static str,
    /// Meaning of one value.
    pub meaning: &'static str,
    value: fn(&TaskOutcome<'_>) -> Option<u64>,
}

/// All metrics of a worker.
pub const METRICS: [Metric; 8] = [
    Metric {
        name: "ObjectsDone",
        unit: "Count",
        meaning: "objects whose receipt was written",
        value: |outcome| Some(u64::from(matches!(outcome, TaskOutcome::Done(_)))),
    },
    Metric {
        name: "ObjectsFailed",
        unit: "Count",
        meaning: "objects that failed permanently; their messages become dead-letter messages",
        value: |outcome| Some(u64::from(outcome.verdict() == Some(Verdict::Permanent))),
    },
    Metric {
        name: "ObjectsToRetry",
        unit: "Count",
        meaning: "failed attempts that are retried",
        value: |outcome| Some(u64::from(outcome.verdict() == Some(Verdict::Retry))),
    },
    Metric {
        name: "RowsWritten",
        unit: "Count",
        meaning: "rows of the objects done",
        value: |outcome| Some(outcome.receipt()?.records.rows),
    },
    Metric {
        name: "RecordsRejected",
        unit: "Count",
        meaning: "rejects of the objects done",
        value: |outcome| Some(outcome.receipt()?.records.rejected),
    },
    Metric {
        name: "BytesIn",
        unit: "Bytes",
        meaning: "compressed bytes read of the objects done",
        value: |outcome| Some(outcome.receipt()?.bytes.compressed_in),
    },
    Metric {
        name: "BytesOut",
        unit: "Bytes",
        meaning: "compressed bytes written of the objects done",
        value: |outcome| Some(outcome.receipt()?.bytes.compressed_out),
    },
    Metric {
        name: "TaskDuration",
        unit: "Milliseconds",
        meaning: "time from opening an object that is done to its last output",
        value: |outcome| Some(outcome.receipt()?.milliseconds),
    },
];

/// Outcome of a task.
#[derive(Clone, Copy, Debug)]
pub enum TaskOutcome<'a> {
    /// The object is done.
    Done(&'a Receipt),
    /// The attempt failed.
    Failed(&'a Failure),
}

impl TaskOutcome<'_> {
    fn receipt(&self) -> Option<&Receipt> {
        if let TaskOutcome::Done(receipt) = self { Some(receipt) } else { None }
    }

    fn verdict(&self) -> Option<Verdict> {
        if let TaskOutcome::Failed(failure) = self { Some(failure.verdict) } else { None }
    }

    /// Writes the line of the log. The span around it has run and key.
    pub(crate) fn log(&self) {
        match self {
            TaskOutcome::Done(receipt) => info!(
                attempt = receipt.attempt,
                read = receipt.records.read,
                rows = receipt.records.rows,
                rejected = receipt.records.rejected,
                control = receipt.records.control,
                dropped = receipt.records.dropped,
                repaired = receipt.records.repaired,
                named_by_guess = receipt.records.named_by_guess,
                bytes_in = receipt.bytes.compressed_in,
                bytes_decoded = receipt.bytes.decoded_in,
                bytes_out = receipt.bytes.compressed_out,
                milliseconds = receipt.milliseconds,
                "done"
            ),
            TaskOutcome::Failed(failure) => {
                warn!(attempt = failure.attempts, verdict = ?failure.verdict, error = failure.error(), "failed");
            }
        }
    }

    /// Returns the line of metrics, in the format that CloudWatch extracts from a log
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
    #[must_use]
    pub fn metrics(&self, queue: &str, now_ms: i64) -> Value {
        let mut values = Map::new();
        let mut named = Vec::new();
        for metric in METRICS {
            if let Some(value) = (metric.value)(self) {
                values.insert(metric.name.to_owned(), value.into());
                named.push(json!({ "Name": metric.name, "Unit": metric.unit }));
            }
        }
        values.insert(DIMENSION.to_owned(), queue.into());
        let of_metrics = json!([{ "Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": named }]);
        values.insert("_aws".to_owned(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": of_metrics }));
        values.into()
    }

    /// Prints the line of metrics. A closed standard output does not fail the task.
    pub(crate) fn print_metrics(&self, queue: &str) {
        let line = self.metrics(queue, jiff::Timestamp::now().as_millisecond());
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
