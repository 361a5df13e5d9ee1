//! The counts and prices of `flowherd estimate`. docs/cost.md has the same numbers.

use serde::Serialize;

/// Memory at which a function has one vCPU
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
pub const ONE_VCPU_MB: f64 = 1769.0;
/// Compressed bytes per second and vCPU: half of the rate that `make bench` measures on an x86 server.
pub const BYTES_PER_SECOND: f64 = 19e6;
/// Seconds of waiting for S3 and SQS per object. A worker processes two objects concurrently.
pub const OVERHEAD_SECONDS: f64 = 0.15;
const CONCURRENT_OBJECTS: f64 = 2.0;
/// Messages per invocation.
const BATCH: f64 = 10.0;

/// Reads (GET and HEAD) per object of one table. A test counts the requests of a whole run.
pub const S3_READS: f64 = 7.0;
/// Small writes per object: its receipt.
pub const S3_SMALL_WRITES: f64 = 1.0;
/// Output bytes per byte of a compressed object, for flow logs with names.
const OUTPUT_RATIO: f64 = 1.18;
/// An output up to this size is one PUT; a larger one is an upload in parts of this size, with two more requests.
const PART_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// Keys per listing request. The source is listed once, receipts and failures a few times.
const KEYS_PER_LISTING: f64 = 1000.0;
const LISTINGS: f64 = 5.0;
/// Messages are sent, received and deleted in batches.
pub const SQS_REQUESTS: f64 = 3.0 / BATCH;
/// Log and metric lines of an object. A test measures them.
pub const LOG_BYTES: f64 = 1300.0;
/// Metrics of the workers, each of one queue.
pub const CUSTOM_METRICS: f64 = 8.0;
/// Keys that planning sends per second. docs/scale.md computes it.
pub const PLANNED_PER_SECOND: f64 = 3600.0;
/// The stack's default `maxConcurrency`.
pub const MAX_CONCURRENCY: u32 = 50;

/// Metrics that the stack's alarms watch: an alarm on an expression counts once per metric in it.
pub const ALARM_METRICS: f64 = 9.0;
/// An event source mapping with a maximum concurrency keeps five pollers, each with a long poll of 20 s
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>, documented for standard queues).
pub const IDLE_POLLS_PER_MINUTE: f64 = 5.0 * 3.0;
const HOURS_PER_MONTH: f64 = 730.0;

/// Dollars in us-east-1, November 2026, without free tiers.
/// <https://aws.amazon.com/lambda/pricing/>
const LAMBDA_GB_SECOND_ARM: f64 = 0.000_013_333_4;
const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
/// <https://aws.amazon.com/s3/pricing/>
const S3_READ: f64 = 0.000_4 / 1e3;
const S3_WRITE: f64 = 0.005 / 1e3;
/// <https://aws.amazon.com/sqs/pricing/>
const SQS_FIFO_REQUEST: f64 = 0.50 / 1e6;
/// <https://aws.amazon.com/cloudwatch/pricing/>
const LOG_BYTE: f64 = 0.50 / 1e9;
/// Per month, prorated by the hour, for hours with values.
const CUSTOM_METRIC: f64 = 0.30;
const ALARM_METRIC: f64 = 0.10;
const DASHBOARD: f64 = 3.0;

/// Totals of the objects in a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objects {
    /// Number of objects.
    pub count: u64,
    /// Compressed bytes.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest: u64,
    /// Requests that write their outputs.
    pub output_writes: u64,
}

impl Objects {
    /// Adds an object.
    pub fn add(&mut self, size: u64) {
        self.count += 1;
        self.bytes += size;
        self.largest = self.largest.max(size);
        let output = size as f64 * OUTPUT_RATIO;
        let parts = (output / PART_BYTES).ceil();
        // CreateMultipartUpload and CompleteMultipartUpload.
        self.output_writes += if output <= PART_BYTES { 1 } else { parts as u64 + 2 };
    }
}

/// The work and cost of a run of a prefix.
#[derive(Debug, Serialize)]
pub struct Estimate {
    /// The prefix.
    pub prefix: String,
    /// Objects listed.
    pub objects: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest_bytes: u64,
    /// Memory of a worker.
    pub memory_mb: u32,
    /// Workers at the same time.
    pub concurrency: u32,
    /// Time of all workers together.
    pub worker_seconds: f64,
    /// Time from the first message to the last receipt.
    pub elapsed_seconds: f64,
    /// That time by their memory.
    pub lambda_gb_seconds: f64,
    /// Invocations of workers.
    pub lambda_requests: u64,
    /// GET and HEAD.
    pub s3_reads: u64,
    /// PUT, POST and LIST.
    pub s3_writes_and_lists: u64,
    /// Requests to the queue.
    pub sqs_requests: u64,
    /// Lines of logs and metrics.
    pub log_bytes: u64,
    /// Cost of the run.
    pub dollars: Dollars,
    /// Cost of the stack in a month without a run.
    pub idle_month: IdleMonth,
}

/// Dollars of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Dollars {
    /// Time and invocations.
    pub lambda: f64,
    /// Requests.
    pub s3: f64,
    /// Requests.
    pub sqs: f64,
    /// Log ingestion and custom metrics.
    pub cloudwatch: f64,
    /// Sum.
    pub total: f64,
}

/// Dollars of a stack in a month without a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleMonth {
    /// Polls of the empty queue.
    pub sqs: f64,
    /// Alarms.
    pub alarms: f64,
    /// The dashboard.
    pub dashboard: f64,
    /// Sum.
    pub total: f64,
}

impl IdleMonth {
    /// Returns the cost of one stack.
    #[must_use]
    pub fn new() -> Self {
        let sqs = IDLE_POLLS_PER_MINUTE * 60.0 * HOURS_PER_MONTH * SQS_FIFO_REQUEST;
        let alarms = ALARM_METRICS * ALARM_METRIC;
        Self { sqs, alarms, dashboard: DASHBOARD, total: sqs + alarms + DASHBOARD }
    }
}

impl Default for IdleMonth {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimate {
    /// Estimates a run of these objects with workers of this memory, at most `concurrency` of them at the same time.
    #[must_use]
    pub fn new(prefix: &str, objects: Objects, memory_mb: u32, concurrency: u32) -> Self {
        let count = objects.count as f64;
        let vcpus = (f64::from(memory_mb) / ONE_VCPU_MB).min(1.0);
        let seconds = |bytes: u64| bytes as f64 / BYTES_PER_SECOND / vcpus;
        let worker_seconds = seconds(objects.bytes) + count * OVERHEAD_SECONDS / CONCURRENT_OBJECTS;
        // The slowest of three decides: the workers, the largest object, or planning.
        let elapsed_seconds = (worker_seconds / f64::from(concurrency))
            .max(seconds(objects.largest))
            .max(count / PLANNED_PER_SECOND);
        let lambda_gb_seconds = worker_seconds * f64::from(memory_mb) / 1024.0;
        let lambda_requests = (count / BATCH).ceil();
        let s3_reads = count * S3_READS;
        let s3_writes = objects.output_writes as f64
            + count * S3_SMALL_WRITES
            + (count / KEYS_PER_LISTING).ceil() * LISTINGS;
        let sqs_requests = (count * SQS_REQUESTS).ceil();
        let log_bytes = count * LOG_BYTES;
        let hours = (elapsed_seconds / 3600.0).ceil();
        let lambda = lambda_gb_seconds * LAMBDA_GB_SECOND_ARM + lambda_requests * LAMBDA_REQUEST;
        let s3 = s3_reads * S3_READ + s3_writes * S3_WRITE;
        let sqs = sqs_requests * SQS_FIFO_REQUEST;
        let cloudwatch = log_bytes * LOG_BYTE + CUSTOM_METRICS * CUSTOM_METRIC / HOURS_PER_MONTH * hours;
        let total = lambda + s3 + sqs + cloudwatch;
        Self {
            prefix: prefix.to_owned(),
            objects: objects.count,
            bytes: objects.bytes,
            largest_bytes: objects.largest,
            memory_mb,
            concurrency,
            worker_seconds,
            elapsed_seconds,
            lambda_gb_seconds,
            lambda_requests: lambda_requests as u64,
            s3_reads: s3_reads as u64,
            s3_writes_and_lists: s3_writes as u64,
            sqs_requests: sqs_requests as u64,
            log_bytes: log_bytes as u64,
            dollars: Dollars { lambda, s3, sqs, cloudwatch, total },
            idle_month: IdleMonth::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(count: u64, size: u64) -> Objects {
        let mut objects = Objects::default();
        (0..count).for_each(|_| objects.add(size));
        objects
    }

    #[test]
    fn a_run_of_twice_the_objects_costs_about_twice() {
        let dollars = |count| Estimate::new("", objects(count, 1 << 20), 1769, 50).dollars.total;
        assert!(dollars(0).abs() < f64::EPSILON);
        assert!((dollars(20_000) / dollars(10_000) - 2.0).abs() < 0.02);
    }

    #[test]
    fn a_quarter_of_a_vcpu_takes_four_times_as_long() {
        let seconds = |memory| Estimate::new("", objects(1, 1 << 30), memory, 50).worker_seconds;
        assert!((seconds(442) / seconds(1769) - 4.0).abs() < 0.02);
    }

    #[test]
    fn the_time_is_that_of_the_workers_of_the_largest_object_or_of_planning() {
        let seconds = |objects, concurrency| Estimate::new("", objects, 1769, concurrency).elapsed_seconds;
        let of_workers = seconds(objects(1000, 19_000_000), 10);
        assert!((of_workers - (1000.0 + 75.0) / 10.0).abs() < 0.01, "{of_workers}");
        assert!((seconds(objects(1, 190_000_000), 10) - 10.0).abs() < 0.01);
        assert!((seconds(objects(36_000, 1), 1000) - 10.0).abs() < 0.01);
    }

    #[test]
    fn an_output_of_up_to_16_mib_is_one_request_and_a_larger_one_an_upload_in_parts() {
        let writes = |size| objects(1, size).output_writes;
        assert_eq!(writes(0), 1);
        assert_eq!(writes(10_500_000), 1);
        // 17.7 MB of output are two parts.
        assert_eq!(writes(15_000_000), 4);
    }
}
