//! `flowherd estimate`: what a run would do and cost. Lists, and touches nothing.

use anyhow::Context;
use flowherd_shared::store::Lister;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Fleet, connected, json};
use crate::{Stop, args::EstimateArgs, summary};

/// Memory at which a function has one processor
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const ONE_PROCESSOR_MB: f64 = 1769.0;
/// Compressed bytes that one processor does a second: half of what `make bench` shows on an x86 server, to be careful.
const BYTES_A_SECOND: f64 = 19e6;
/// Waiting for S3 and SQS, for each object; a worker does two at once.
const OVERHEAD_SECONDS: f64 = 0.15;
const AT_ONCE: f64 = 2.0;
/// Messages of one invocation.
const BATCH: f64 = 10.0;
/// Requests for each object of one table: its body, four small reads of the ledger by the worker, and by the report its
/// receipt and whether its output is still there; the output and the receipt.
const S3_READS: f64 = 7.0;
const S3_WRITES: f64 = 2.0;
/// Keys of one listing call; the source is listed once, the receipts and failures some times.
const KEYS_A_LISTING: f64 = 1000.0;
const LISTINGS: f64 = 5.0;
/// Sent, received and deleted in batches.
const SQS_REQUESTS: f64 = 3.0 / BATCH;

/// Dollars in us-east-1, November 2026, without free tiers (<https://aws.amazon.com/lambda/pricing/>,
/// <https://aws.amazon.com/s3/pricing/>, <https://aws.amazon.com/sqs/pricing/>).
const LAMBDA_GB_SECOND_ARM: f64 = 0.000_013_333_4;
const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
const S3_READ: f64 = 0.000_4 / 1e3;
const S3_WRITE: f64 = 0.005 / 1e3;
const SQS_FIFO_REQUEST: f64 = 0.50 / 1e6;

#[derive(Debug, Serialize)]
struct Estimate {
    prefix: String,
    objects: u64,
    bytes: u64,
    largest_bytes: u64,
    memory_mb: u32,
    worker_seconds: f64,
    lambda_gb_seconds: f64,
    lambda_requests: u64,
    s3_reads: u64,
    s3_writes_and_lists: u64,
    sqs_requests: u64,
    dollars: Dollars,
}

#[derive(Debug, Serialize)]
struct Dollars {
    lambda: f64,
    s3: f64,
    sqs: f64,
    total: f64,
}

impl Estimate {
    fn new(prefix: &str, objects: u64, bytes: u64, largest_bytes: u64, memory_mb: u32) -> Self {
        let count = objects as f64;
        let processors = (f64::from(memory_mb) / ONE_PROCESSOR_MB).min(1.0);
        let worker_seconds = bytes as f64 / BYTES_A_SECOND / processors + count * OVERHEAD_SECONDS / AT_ONCE;
        let lambda_gb_seconds = worker_seconds * f64::from(memory_mb) / 1024.0;
        let lambda_requests = (count / BATCH).ceil();
        let s3_reads = count * S3_READS;
        let s3_writes = count * S3_WRITES + (count / KEYS_A_LISTING).ceil() * LISTINGS;
        let sqs_requests = (count * SQS_REQUESTS).ceil();
        let lambda = lambda_gb_seconds * LAMBDA_GB_SECOND_ARM + lambda_requests * LAMBDA_REQUEST;
        let s3 = s3_reads * S3_READ + s3_writes * S3_WRITE;
        let sqs = sqs_requests * SQS_FIFO_REQUEST;
        Self {
            prefix: prefix.to_owned(),
            objects,
            bytes,
            largest_bytes,
            memory_mb,
            worker_seconds,
            lambda_gb_seconds,
            lambda_requests: lambda_requests as u64,
            s3_reads: s3_reads as u64,
            s3_writes_and_lists: s3_writes as u64,
            sqs_requests: sqs_requests as u64,
            dollars: Dollars { lambda, s3, sqs, total: lambda + s3 + sqs },
        }
    }

    fn text(&self) -> String {
        let count = |number| HumanCount(number).to_string();
        let rows = [
            ("objects", count(self.objects)),
            ("bytes", HumanBytes(self.bytes).to_string()),
            ("largest object", HumanBytes(self.largest_bytes).to_string()),
            ("worker seconds", format!("{:.0}", self.worker_seconds)),
            ("Lambda GB-seconds", format!("{:.0}", self.lambda_gb_seconds)),
            ("Lambda requests", count(self.lambda_requests)),
            ("S3 reads", count(self.s3_reads)),
            ("S3 writes and lists", count(self.s3_writes_and_lists)),
            ("SQS requests", count(self.sqs_requests)),
            ("Lambda", format!("${:.4}", self.dollars.lambda)),
            ("S3 requests", format!("${:.4}", self.dollars.s3)),
            ("SQS", format!("${:.4}", self.dollars.sqs)),
            ("total", format!("${:.4}", self.dollars.total)),
        ];
        let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        let table = summary::columns(&["a run of this prefix", "about"], rows, 1);
        format!(
            "{table}\nassumed: {} MB of memory, arm64, prices of us-east-1 without free tiers, {:.0} MB of compressed logs \
             a second and processor;\nstorage, transfer and what Athena scans are not in it\n",
            self.memory_mb,
            BYTES_A_SECOND / 1e6
        )
    }
}

/// `flowherd estimate`.
pub(crate) fn estimate(args: &EstimateArgs) -> Result<(), Stop> {
    connected(&args.fleet, |Fleet { coordinator, .. }| {
        let (mut objects, mut bytes, mut largest, mut token) = (0, 0, 0, None);
        loop {
            let page =
                coordinator.source.page(&args.prefix, token.as_deref()).context("cannot list the prefix")?;
            objects += page.entries.len() as u64;
            bytes += page.entries.iter().map(|entry| entry.size).sum::<u64>();
            largest = page.entries.iter().map(|entry| entry.size).fold(largest, u64::max);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        if objects == 0 {
            summary::tell(&format!("no objects with prefix {:?} in {}", args.prefix, coordinator.bucket));
        }
        let estimate = Estimate::new(&args.prefix, objects, bytes, largest, args.memory);
        summary::print(&if args.json { json(&estimate)? } else { estimate.text() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_costs_nothing_and_twice_as_much_costs_about_twice() {
        let dollars = |objects, bytes, memory| Estimate::new("", objects, bytes, 0, memory).dollars.total;
        assert!(dollars(0, 0, 1769).abs() < f64::EPSILON);
        let (one, two) = (dollars(10_000, 10 << 30, 1769), dollars(20_000, 20 << 30, 1769));
        assert!((two / one - 2.0).abs() < 0.01);
        // A quarter of a processor takes four times as long, for the same price of the work itself.
        let seconds = |memory| Estimate::new("", 0, 1 << 30, 0, memory).worker_seconds;
        assert!((seconds(442) / seconds(1769) - 4.0).abs() < 0.02);
    }
}
