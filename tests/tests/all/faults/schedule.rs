//! The faults of one schedule, generated from a seed.

use std::fmt;

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Faults between our programs and AWS, in microburst's format. Listings and messages have no checksums, and TLS protects
/// them: here they are truncated or lost, but not changed. microburst treats an uploaded part as a `PutObject`, and the
/// completion of a multipart upload as its creation.
pub(super) const FAULTS: &[(&str, &str)] = &[
    ("S3 says SlowDown", r#"{"service": "s3", "error": {"code": "SlowDown"}}"#),
    ("S3 fails inside", r#"{"service": "s3", "error": {"code": "InternalError"}}"#),
    ("S3 resets connections", r#"{"service": "s3", "reset": true}"#),
    ("S3 answers late", r#"{"service": "s3", "latency": {"min": 20, "max": 700}}"#),
    ("bodies are slow", r#"{"service": "s3", "operation": "GetObject", "response": {"bandwidth_kbps": 48}}"#),
    ("bodies break off", r#"{"service": "s3", "operation": "GetObject", "response": {"abort_frac": 0.6}}"#),
    (
        "bodies end early without an error",
        r#"{"service": "s3", "operation": "GetObject", "response": {"truncate_frac": 0.5}}"#,
    ),
    (
        "bodies are corrupt",
        r#"{"service": "s3", "operation": "GetObject", "response": {"corrupt_bytes": 3}}"#,
    ),
    (
        "GetObject is denied",
        r#"{"service": "s3", "operation": "GetObject", "resource": "source", "error": {"code": "AccessDenied"}}"#,
    ),
    (
        "HeadObject is refused",
        r#"{"service": "s3", "operation": "HeadObject", "error": {"code": "ServiceUnavailable"}}"#,
    ),
    ("listings fail", r#"{"service": "s3", "operation": "ListObjectsV2", "error": {"code": "SlowDown"}}"#),
    (
        "listings end early without an error",
        r#"{"service": "s3", "operation": "ListObjectsV2", "response": {"truncate_frac": 0.7}}"#,
    ),
    (
        "uploads break off",
        r#"{"service": "s3", "operation": "PutObject", "request": {"cut_upload": {"after_frac": 0.5}}}"#,
    ),
    (
        "uploads are slow",
        r#"{"service": "s3", "operation": "PutObject", "request": {"slow_upload": {"rate_kbps": 64}}}"#,
    ),
    (
        "responses to uploads are lost",
        r#"{"service": "s3", "operation": "PutObject", "response": {"abort_bytes": 0}}"#,
    ),
    (
        "responses to multipart uploads are lost",
        r#"{"service": "s3", "operation": "CreateMultipartUpload", "response": {"abort_bytes": 0}}"#,
    ),
    (
        "deletions fail",
        r#"{"service": "s3", "operation": "DeleteObject", "error": {"code": "InternalError"}}"#,
    ),
    ("credentials expire", r#"{"service": "*", "error": {"code": "ExpiredToken", "status": 400}}"#),
    ("SQS fails inside", r#"{"service": "sqs", "error": {"code": "InternalFailure"}}"#),
    ("SQS is unavailable", r#"{"service": "sqs", "error": {"code": "ServiceUnavailable"}}"#),
    ("SQS resets connections", r#"{"service": "sqs", "reset": true}"#),
    (
        "responses to sends are lost",
        r#"{"service": "sqs", "operation": "SendMessageBatch", "response": {"abort_bytes": 0}}"#,
    ),
    (
        "responses to receives are lost",
        r#"{"service": "sqs", "operation": "ReceiveMessage", "response": {"abort_bytes": 0}}"#,
    ),
    (
        "responses to message deletions are lost",
        r#"{"service": "sqs", "operation": "DeleteMessageBatch", "response": {"abort_bytes": 0}}"#,
    ),
    (
        "message deletions fail",
        r#"{"service": "sqs", "operation": "DeleteMessageBatch", "error": {"code": "InternalFailure"}}"#,
    ),
    (
        "visibility changes fail",
        r#"{"service": "sqs", "operation": "ChangeMessageVisibilityBatch", "error": {"code": "InternalFailure"}}"#,
    ),
    (
        "queue counts fail",
        r#"{"service": "sqs", "operation": "GetQueueAttributes", "error": {"code": "ServiceUnavailable"}}"#,
    ),
];
/// Faults of schedules that purge the queue.
pub(super) const PURGE_FAULTS: &[(&str, &str)] = &[
    (
        "a purge is in progress",
        r#"{"service": "sqs", "operation": "PurgeQueue", "times": 1, "error": {"code": "AWS.SimpleQueueService.PurgeQueueInProgress", "status": 403}}"#,
    ),
    (
        "responses to purges are lost",
        r#"{"service": "sqs", "operation": "PurgeQueue", "response": {"abort_bytes": 0}}"#,
    ),
];

/// An event that affects a program or messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    WorkerKilled,
    CoordinatorKilled,
    MessagesTwice,
}

/// The faults and events of a run, with their times.
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) objects: u32,
    pub(super) records: u32,
    /// Whether the first object is permanently damaged.
    pub(super) damages: bool,
    pub(super) purges: bool,
    pub(super) faults: Vec<(&'static str, Value)>,
    /// Events with their time in milliseconds, in order.
    pub(super) events: Vec<(u64, Event)>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        // Some schedules have an object whose output has two parts.
        let (objects, records) = match random.random_range(0..12) {
            0 => (1, 320_000),
            1..4 => (random.random_range(2..5), 20_000),
            _ => (random.random_range(3..25), random.random_range(0..400)),
        };
        let (damages, purges) = (random.random_ratio(1, 3), random.random_ratio(1, 10));
        let mut faults: Vec<(&str, Value)> = (0..random.random_range(1..=5))
            .map(|_| {
                let (name, rule) = FAULTS.choose(random).unwrap();
                (*name, limited(rule, random))
            })
            .collect();
        if purges && random.random() {
            let (name, rule) = PURGE_FAULTS.choose(random).unwrap();
            faults.push((name, limited(rule, random)));
        }
        let kinds = [Event::WorkerKilled, Event::CoordinatorKilled, Event::MessagesTwice];
        let mut events: Vec<(u64, Event)> = (0..random.random_range(0..=6))
            .map(|_| (random.random_range(0..6000), *kinds.choose(random).unwrap()))
            .collect();
        events.sort_unstable();
        Self { seed, objects, records, damages, purges, faults, events }
    }
}

/// Limits a fault to some requests, consecutive or with gaps.
fn limited(rule: &str, random: &mut ChaCha8Rng) -> Value {
    let mut rule: Value = serde_json::from_str(rule).unwrap();
    if rule["times"].is_null() {
        let limit = *[12, 12, 12, 80].choose(random).unwrap();
        rule["times"] = random.random_range(1..=limit).into();
    }
    for cut in ["/response/truncate_frac", "/response/abort_frac", "/request/cut_upload/after_frac"] {
        if let Some(fraction) = rule.pointer_mut(cut) {
            *fraction = (f64::from(random.random_range(1..100_u8)) / 100.0).into();
        }
    }
    if random.random() {
        rule["sequence"] = json!({ "fail": random.random_range(1..=5), "pass": random.random_range(1..=4) });
    }
    rule
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, objects, records, .. } = self;
        writeln!(
            f,
            "seed {seed}: {objects} objects of {records} records{}{}",
            if self.damages { ", one of them damaged" } else { "" },
            if self.purges { ", purging first" } else { "" }
        )?;
        for (name, rule) in &self.faults {
            writeln!(f, "  {name}: {rule}")?;
        }
        self.events.iter().try_for_each(|(after, event)| writeln!(f, "  after {after} ms {event:?}"))
    }
}
