//! The counts of `flowherd estimate`. docs/cost.md has the same numbers.

pub mod live;
mod prices;
mod workers;

use serde::Serialize;

use self::prices::{
    ALARM_METRIC, CUSTOM_METRIC, DASHBOARD, EXPRESS_GB_SECOND, EXPRESS_REQUEST, FARGATE_GB_HOUR,
    FARGATE_VCPU_HOUR, LAMBDA_GB_SECOND_ARM, LAMBDA_REQUEST, LOG_BYTE, S3_READ, S3_WRITE, SQS_FIFO_REQUEST,
    STATE_TRANSITION,
};
pub use self::workers::{
    ALARM_METRICS, BATCH, CONCURRENT_OBJECTS, MAX_CONCURRENCY, MEMORY_MB, ONE_VCPU_MB, Workers,
};

/// Compressed bytes per second and vCPU: half of the rate that `make bench` measures on an x86 server.
pub const BYTES_PER_SECOND: f64 = 19e6;
/// Seconds of waiting for S3 and SQS per object. A worker processes two objects concurrently.
pub const OVERHEAD_SECONDS: f64 = 0.15;
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
/// Maximum messages in one request to SQS
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
pub const SQS_BATCH: u32 = 10;
/// Log and metric lines of an object. A test measures them.
pub const LOG_BYTES: f64 = 1300.0;
/// Log lines of Step Functions for each child execution of a map.
const EXPRESS_LOG_BYTES: f64 = 4500.0;
/// An express execution is charged for memory in units of 64 MB
/// (<https://aws.amazon.com/step-functions/pricing/>). A child needs one.
const EXPRESS_GB: f64 = 64.0 / 1024.0;
/// Seconds for which tasks on Fargate run after the last message: docs/fargate.md, "Scaling".
pub const FARGATE_IDLE_SECONDS: f64 = 300.0;
/// Metrics of the workers, each of one queue.
pub const CUSTOM_METRICS: f64 = 8.0;
/// Keys that planning sends per second. docs/scale.md computes it.
pub const PLANNED_PER_SECOND: f64 = 3600.0;
/// An event source mapping with a maximum concurrency keeps five pollers, each with a long poll of 20 s
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>, documented for standard queues).
pub const IDLE_POLLS_PER_MINUTE: f64 = 5.0 * 3.0;
const HOURS_PER_MONTH: f64 = 730.0;

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

/// The work and cost of a run of a prefix. Counts of services that the workers do not use are 0.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// The prefix.
    pub prefix: String,
    /// Objects listed.
    pub objects: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest_bytes: u64,
    /// `lambda` or `fargate`.
    pub workers: &'static str,
    /// `queue` or `map`.
    pub driver: &'static str,
    /// Memory of a worker.
    pub memory_mb: u32,
    /// Workers at the same time.
    pub concurrency: u32,
    /// Time of all workers together.
    pub worker_seconds: f64,
    /// Time from the first message to the last receipt.
    pub elapsed_seconds: f64,
    /// Time of Lambda workers by their memory.
    pub lambda_gb_seconds: f64,
    /// Invocations of Lambda workers.
    pub lambda_requests: u64,
    /// Time of tasks by their processors.
    pub fargate_vcpu_hours: f64,
    /// Time of tasks by their memory.
    pub fargate_gb_hours: f64,
    /// State transitions of the map: one for each child execution.
    pub state_transitions: u64,
    /// Child executions of the map.
    pub express_requests: u64,
    /// Their time by their memory.
    pub express_gb_seconds: f64,
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
    /// Processors and memory.
    pub fargate: f64,
    /// Child executions of a map.
    pub step_functions: f64,
    /// Requests.
    pub s3: f64,
    /// Requests.
    pub sqs: f64,
    /// Log ingestion and custom metrics.
    pub cloudwatch: f64,
    /// Sum.
    pub total: f64,
}

/// Dollars of a stack with one fleet in a month without a run.
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
    /// Returns the cost of a stack with these workers.
    #[must_use]
    pub fn new(workers: &Workers) -> Self {
        let polls =
            if workers.are_triggered() { IDLE_POLLS_PER_MINUTE * 60.0 * HOURS_PER_MONTH } else { 0.0 };
        let (sqs, alarms) = (polls * SQS_FIFO_REQUEST, workers.alarm_metrics() * ALARM_METRIC);
        Self { sqs, alarms, dashboard: DASHBOARD, total: sqs + alarms + DASHBOARD }
    }
}

impl Estimate {
    /// Estimates a run of these objects with these workers.
    #[must_use]
    pub fn new(prefix: &str, objects: Objects, workers: &Workers) -> Self {
        let count = objects.count as f64;
        let seconds = |bytes: u64| bytes as f64 / BYTES_PER_SECOND;
        let worker_seconds = seconds(objects.bytes) / workers.vcpus()
            + count * OVERHEAD_SECONDS / workers.concurrent_objects();
        let concurrency = workers.count(objects.count);
        // The slowest of three decides: the workers, the largest object, or planning. One object uses one processor.
        let elapsed_seconds = (worker_seconds / f64::from(concurrency.max(1)))
            .max(seconds(objects.largest) / workers.vcpus().min(1.0))
            .max(count / PLANNED_PER_SECOND);
        let gigabytes = f64::from(workers.memory_mb()) / 1024.0;
        let received = batches(objects.count, workers.batch());
        let batches = if workers.are_functions() { received } else { 0.0 };
        let is_map = matches!(workers, Workers::Map { .. });
        let children = if is_map { batches } else { 0.0 };
        let lambda_gb_seconds = if workers.batch().is_some() { worker_seconds * gigabytes } else { 0.0 };
        let task_hours = match workers {
            Workers::Fargate { .. } if objects.count > 0 => {
                f64::from(concurrency) * (elapsed_seconds + FARGATE_IDLE_SECONDS) / 3600.0
            }
            _ => 0.0,
        };
        let (fargate_vcpu_hours, fargate_gb_hours) = (task_hours * workers.vcpus(), task_hours * gigabytes);
        let express_gb_seconds = if is_map { worker_seconds * EXPRESS_GB } else { 0.0 };
        let s3_reads = count * S3_READS;
        // A map lists the prefix again.
        let listings = if is_map { LISTINGS + 1.0 } else { LISTINGS };
        let s3_writes = objects.output_writes as f64
            + count * S3_SMALL_WRITES
            + (count / KEYS_PER_LISTING).ceil() * listings;
        // The planner sends full batches. Workers receive and delete batches of their own size.
        let sends = self::batches(objects.count, None);
        let sqs_requests = if is_map { 0.0 } else { sends + 2.0 * received };
        let log_bytes = count * LOG_BYTES + children * EXPRESS_LOG_BYTES;
        let hours = (elapsed_seconds / 3600.0).ceil();
        let lambda = lambda_gb_seconds * LAMBDA_GB_SECOND_ARM + batches * LAMBDA_REQUEST;
        let fargate = fargate_vcpu_hours * FARGATE_VCPU_HOUR + fargate_gb_hours * FARGATE_GB_HOUR;
        let step_functions =
            children * (STATE_TRANSITION + EXPRESS_REQUEST) + express_gb_seconds * EXPRESS_GB_SECOND;
        let s3 = s3_reads * S3_READ + s3_writes * S3_WRITE;
        let sqs = sqs_requests * SQS_FIFO_REQUEST;
        let cloudwatch = log_bytes * LOG_BYTE + CUSTOM_METRICS * CUSTOM_METRIC / HOURS_PER_MONTH * hours;
        let total = lambda + fargate + step_functions + s3 + sqs + cloudwatch;
        Self {
            prefix: prefix.to_owned(),
            objects: objects.count,
            bytes: objects.bytes,
            largest_bytes: objects.largest,
            workers: if workers.batch().is_some() { "lambda" } else { "fargate" },
            driver: if is_map { "map" } else { "queue" },
            memory_mb: workers.memory_mb(),
            concurrency: workers.limit(),
            worker_seconds,
            elapsed_seconds,
            lambda_gb_seconds,
            lambda_requests: batches as u64,
            fargate_vcpu_hours,
            fargate_gb_hours,
            state_transitions: children as u64,
            express_requests: children as u64,
            express_gb_seconds,
            s3_reads: s3_reads as u64,
            s3_writes_and_lists: s3_writes as u64,
            sqs_requests: sqs_requests as u64,
            log_bytes: log_bytes as u64,
            dollars: Dollars { lambda, fargate, step_functions, s3, sqs, cloudwatch, total },
            idle_month: IdleMonth::new(workers),
        }
    }
}

/// Returns the number of batches of messages; without a batch size of the workers, those of SQS.
fn batches(objects: u64, batch: Option<u32>) -> f64 {
    objects.div_ceil(u64::from(batch.unwrap_or(SQS_BATCH).max(1))) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(count: u64, size: u64) -> Objects {
        let mut objects = Objects::default();
        (0..count).for_each(|_| objects.add(size));
        objects
    }

    fn run(objects: Objects, memory_mb: u32, concurrency: u32) -> Estimate {
        Estimate::new("", objects, &Workers::Lambda { memory_mb, concurrency, batch: BATCH })
    }

    #[test]
    fn a_run_of_twice_the_objects_costs_about_twice() {
        let dollars = |count| run(objects(count, 1 << 20), 1769, 50).dollars.total;
        assert!(dollars(0).abs() < f64::EPSILON);
        assert!((dollars(20_000) / dollars(10_000) - 2.0).abs() < 0.02);
    }

    #[test]
    fn a_quarter_of_a_vcpu_takes_four_times_as_long() {
        let seconds = |memory| run(objects(1, 1 << 30), memory, 50).worker_seconds;
        assert!((seconds(442) / seconds(1769) - 4.0).abs() < 0.02);
    }

    #[test]
    fn the_time_is_that_of_the_workers_of_the_largest_object_or_of_planning() {
        let seconds = |objects, concurrency| run(objects, 1769, concurrency).elapsed_seconds;
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

    #[test]
    fn a_map_costs_what_the_table_of_both_drivers_says_and_no_request_to_a_queue() {
        let of_map = Workers::Map { memory_mb: MEMORY_MB, concurrency: 50, batch: BATCH };
        let million = objects(1_000_000, 1_000_000);
        let (map, queue) = (Estimate::new("", million, &of_map), run(million, MEMORY_MB, 50));
        assert_eq!((map.express_requests, map.sqs_requests, map.dollars.sqs), (100_000, 0, 0.0));
        // docs/architecture.md, "Cost of a million objects": 2.98 for the map, and 0.15 for the requests to the queue.
        let more = map.dollars.total - (queue.dollars.total - queue.dollars.sqs);
        assert_eq!(
            (format!("{more:.2}"), format!("{:.2}", queue.dollars.sqs)),
            ("2.96".to_owned(), "0.15".to_owned())
        );
        assert_eq!(map.lambda_requests, queue.lambda_requests);
    }

    #[test]
    fn workers_receive_and_delete_batches_of_their_own_size() {
        let requests = |workers| Estimate::new("", objects(1005, 1), &workers).sqs_requests;
        let of_batch = |batch| requests(Workers::Lambda { memory_mb: MEMORY_MB, concurrency: 50, batch });
        assert_eq!((of_batch(10), of_batch(4), of_batch(1)), (3 * 101, 101 + 2 * 252, 101 + 2 * 1005));
        let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 10, backlog_per_task: 4 };
        assert_eq!(requests(fargate), 3 * 101);
    }

    #[test]
    fn tasks_on_fargate_are_charged_until_five_minutes_after_the_last_message() {
        let workers =
            |max_tasks| Workers::Fargate { vcpu: 2.0, memory_mb: 4096, max_tasks, backlog_per_task: 4 };
        // A task of two processors converts four objects at once: 38 MB in a second, and 0.0375 s of waiting.
        let estimate = Estimate::new("", objects(1000, 38_000_000), &workers(10));
        assert!((estimate.worker_seconds - (1000.0 + 37.5)).abs() < 0.01);
        assert!((estimate.elapsed_seconds - 103.75).abs() < 0.01);
        let task_hours = 10.0 * (103.75 + 300.0) / 3600.0;
        assert!((estimate.fargate_vcpu_hours - 2.0 * task_hours).abs() < 1e-6);
        assert!((estimate.fargate_gb_hours - 4.0 * task_hours).abs() < 1e-6);
        let dollars = task_hours * (2.0 * 0.03238 + 4.0 * 0.00356);
        assert!((estimate.dollars.fargate - dollars).abs() < 1e-9);
        assert_eq!((estimate.dollars.lambda, estimate.lambda_requests), (0.0, 0));
        // Eight messages are the backlog of two tasks.
        let few = Estimate::new("", objects(8, 1), &workers(10));
        assert!((few.fargate_vcpu_hours - 2.0 * 2.0 * (few.elapsed_seconds + 300.0) / 3600.0).abs() < 1e-9);
        assert!(Estimate::new("", Objects::default(), &workers(10)).dollars.total.abs() < f64::EPSILON);
    }

    #[test]
    fn only_a_triggered_function_polls_an_empty_queue() {
        let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 10, backlog_per_task: 4 };
        let map = Workers::Map { memory_mb: MEMORY_MB, concurrency: 50, batch: BATCH };
        assert!(IdleMonth::new(&Workers::default()).sqs > 0.3);
        assert!(IdleMonth::new(&fargate).sqs + IdleMonth::new(&map).sqs < f64::EPSILON);
    }
}
