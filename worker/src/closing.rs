//! How each task is told of when it ends: one line of the log, and one of metrics, from the same numbers.

use std::io::Write;

use flowherd_shared::{
    error::Verdict,
    ledger::{Failure, Receipt},
};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

/// The namespace of the metrics in CloudWatch.
pub const NAMESPACE: &str = "Flowherd";
/// Their only dimension: the name of the queue, so that two fleets of one account stay apart.
pub const DIMENSION: &str = "Queue";

/// A metric, defined here and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// Its unit there.
    pub unit: &'static str,
    /// What one value of it means.
    pub meaning: &'static str,
    value: fn(&Closing<'_>) -> Option<u64>,
}

/// Every metric that a worker gives.
pub const METRICS: [Metric; 8] = [
    Metric {
        name: "ObjectsDone",
        unit: "Count",
        meaning: "objects whose receipt was written",
        value: |closing| Some(u64::from(matches!(closing, Closing::Done(_)))),
    },
    Metric {
        name: "ObjectsFailed",
        unit: "Count",
        meaning: "objects that failed for good; their messages go to the dead letters",
        value: |closing| Some(u64::from(closing.verdict() == Some(Verdict::Permanent))),
    },
    Metric {
        name: "ObjectsToRetry",
        unit: "Count",
        meaning: "attempts that failed and will be made again",
        value: |closing| Some(u64::from(closing.verdict() == Some(Verdict::Retry))),
    },
    Metric {
        name: "RowsWritten",
        unit: "Count",
        meaning: "rows of the objects done",
        value: |closing| Some(closing.receipt()?.records.rows),
    },
    Metric {
        name: "RecordsRejected",
        unit: "Count",
        meaning: "rejects of the objects done",
        value: |closing| Some(closing.receipt()?.records.rejected),
    },
    Metric {
        name: "BytesIn",
        unit: "Bytes",
        meaning: "compressed bytes read of the objects done",
        value: |closing| Some(closing.receipt()?.bytes.compressed_in),
    },
    Metric {
        name: "BytesOut",
        unit: "Bytes",
        meaning: "compressed bytes written of the objects done",
        value: |closing| Some(closing.receipt()?.bytes.compressed_out),
    },
    Metric {
        name: "TaskDuration",
        unit: "Milliseconds",
        meaning: "from opening an object that is done to its last output",
        value: |closing| Some(closing.receipt()?.milliseconds),
    },
];

/// How a task ended.
#[derive(Clone, Copy, Debug)]
pub enum Closing<'a> {
    /// With a receipt.
    Done(&'a Receipt),
    /// With a failure.
    Failed(&'a Failure),
}

impl Closing<'_> {
    fn receipt(&self) -> Option<&Receipt> {
        if let Closing::Done(receipt) = self { Some(receipt) } else { None }
    }

    fn verdict(&self) -> Option<Verdict> {
        if let Closing::Failed(failure) = self { Some(failure.verdict) } else { None }
    }

    /// The line of the log. Run and key stand in the span around it.
    pub(crate) fn log(&self) {
        match self {
            Closing::Done(receipt) => info!(
                attempt = receipt.attempt,
                read = receipt.records.read,
                rows = receipt.records.rows,
                rejected = receipt.records.rejected,
                control = receipt.records.control,
                dropped = receipt.records.dropped,
                repaired = receipt.records.repaired,
                bytes_in = receipt.bytes.compressed_in,
                bytes_decoded = receipt.bytes.decoded_in,
                bytes_out = receipt.bytes.compressed_out,
                milliseconds = receipt.milliseconds,
                "done"
            ),
            Closing::Failed(failure) => {
                warn!(attempt = failure.attempts, verdict = ?failure.verdict, error = failure.error(), "failed");
            }
        }
    }

    /// The line of metrics, in the form that CloudWatch takes out of a log by itself
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

    /// Prints the line of metrics. A reader that has gone away is no failure of the task.
    pub(crate) fn print_metrics(&self, queue: &str) {
        let line = self.metrics(queue, jiff::Timestamp::now().as_millisecond());
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
