//! Latency from the upload of an object to its receipt on the local AWS, with the functions of a live fleet, and how many objects a
//! second the arrivals function handles over ports whose every call takes 5 ms.
//!
//! `cargo bench --package flowherd-tests --bench live -- SECONDS` uploads for another time than 60 seconds. It needs `.venv`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod slow;

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    live::{
        batch::{ArrivalMessage, Arrivals, FleetKeys},
        day::{Day, FleetPrefixes},
    },
};
use flowherd_shared::store::{Store, pages};
use flowherd_tests::{
    fake::{MemorySource, SlowQueue},
    local_cloud::{Function, LocalCloud, wait_at_most, wait_until},
    objects::{FLOW, envelope, event, gzip},
    python_server::python,
};
use jiff::Timestamp;
use serde_json::json;

use self::slow::SlowStore;

const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");
const COORDINATOR: &str = env!("CARGO_BIN_EXE_flowherd-coordinator-under-test");
const BUCKET: &str = "archive";
const PREFIX: &str = "firehose/";
/// Objects uploaded in a second.
const RATE: u32 = 5;
/// Messages of an invocation, and invocations at the same time: those of the stack.
const BATCH: usize = 100;
const CONCURRENCY: usize = 5;
/// Time of a call in memory.
const CALL: Duration = Duration::from_millis(5);

fn main() {
    println!("arrivals of 10,000 objects, on ports in memory with {} ms a call", CALL.as_millis());
    for (batch, invocations) in [(BATCH, 1), (BATCH, CONCURRENCY), (5, CONCURRENCY)] {
        let rate = arrive(10_000, batch, invocations);
        println!("  {batch:>3} events a call, {invocations} calls at a time {rate:>8.0} objects/s");
    }

    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let seconds: u32 = given.unwrap_or(60);
    println!("\nlatency on the local AWS from the response of PutObject to the receipt");
    println!("  {RATE} objects a second for {seconds} s, arrivals function and workers");
    let mut latencies = latencies(seconds);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize].as_secs_f64();
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("max", 1.0)] {
        println!("  {name} {:>6.2} s", at(share));
    }
}

/// Handles events of an object each, in calls as Lambda makes them. Returns the objects per second.
fn arrive(objects: usize, batch: usize, invocations: usize) -> f64 {
    let (source, results, queue) = (MemorySource::default(), SlowStore::new(CALL), SlowQueue::new(CALL));
    let prefixes = FleetPrefixes::new(&[PREFIX.to_owned()], &[]);
    let fleets = [FleetKeys { fleet: "main".to_owned(), prefixes, live: true }];
    let now = Timestamp::now();
    let day = Day::of(now).text();
    let messages: Vec<ArrivalMessage> = (0..objects).map(|number| message(&day, number, now)).collect();
    let inputs = || Ok(Inputs::default());
    let coordinator = || Coordinator {
        fleet: "main",
        source: &source,
        bucket: BUCKET,
        results: &results,
        results_bucket: "results",
        queue: Some(&queue),
        dead_letters: Some(&queue),
        index: None,
        inputs: &inputs,
        settle: Duration::from_mins(2),
        time_limit: Duration::from_hours(24),
        max_keys: u64::MAX,
        clock: &Timestamp::now,
        pause: &|_| {},
        on_page: &|| {},
    };
    let handle = |messages: &[ArrivalMessage]| {
        let arrivals = Arrivals { bucket: BUCKET, fleets: &fleets, now };
        let handled = arrivals.handle(messages, &|| true, |keys, day, objects| {
            coordinator().arrive(&keys.prefixes, day, objects)
        });
        assert_eq!((handled.sent, handled.problems), (messages.len() as u64, vec![]));
    };
    // The first call begins the run of the day.
    handle(&[message(&day, objects, now)]);
    let calls: Vec<&[ArrivalMessage]> = messages.chunks(batch).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for share in calls.chunks(calls.len().div_ceil(invocations)) {
            let handle = &handle;
            scope.spawn(move || share.iter().for_each(|messages| handle(messages)));
        }
    });
    let took = began.elapsed();
    assert_eq!(queue.sent(), objects as u64 + 1);
    objects as f64 / took.as_secs_f64()
}

fn key(day: &str, number: usize) -> String {
    format!("{PREFIX}{}/10/flowherd-1-{day}-{number:012}", day.replace('-', "/"))
}

fn message(day: &str, number: usize, now: Timestamp) -> ArrivalMessage {
    let etag = format!("{number:032x}");
    let body = json!({
        "version": "0", "id": etag, "detail-type": "Object Created", "source": "aws.s3", "account": "111122223333",
        "time": now.to_string(), "region": "eu-west-1", "resources": [format!("arn:aws:s3:::{BUCKET}")],
        "detail": {
            "version": "0", "bucket": {"name": BUCKET}, "reason": "PutObject",
            "object": {"key": key(day, number), "size": 10_000_000, "etag": etag, "sequencer": "00"},
        }
    });
    let queue_arn = "arn:aws:sqs:eu-west-1:111122223333:arrivals".to_owned();
    ArrivalMessage { message_id: etag, body: body.to_string(), queue_arn }
}

/// Uploads objects at a steady rate to a live fleet. Returns the time of each from the response of its upload until the ledger has its
/// receipt, which is looked at all the time.
fn latencies(seconds: u32) -> Vec<Duration> {
    let cloud = LocalCloud::start();
    let (source, results) = (cloud.bucket(BUCKET), cloud.bucket("results"));
    start_functions(&cloud);
    let day = Day::of(Timestamp::now()).text();
    let object = gzip(envelope("g", &[event(1, FLOW)]).as_bytes());
    // The first object begins the run, and the functions.
    let put = &|number: usize| {
        source.put(&key(&day, number), &object).unwrap();
        Instant::now()
    };
    let receipts = format!("runs/live-main-{day}/receipts/");
    let done = || pages(&results, &receipts).map(|page| page.unwrap().entries.len()).sum::<usize>();
    put(0);
    wait_until("the first object is done", || done() == 1);

    let count = (seconds * RATE) as usize;
    thread::scope(|scope| {
        let uploads = scope.spawn(move || {
            let began = Instant::now();
            let upload = |number: usize| {
                let at = began + Duration::from_secs(1) * u32::try_from(number - 1).unwrap() / RATE;
                thread::sleep(at.saturating_duration_since(Instant::now()));
                (number, put(number))
            };
            (1..=count).map(upload).collect::<BTreeMap<_, _>>()
        });
        let mut seen = BTreeMap::new();
        let limit = Duration::from_secs(seconds.into()) + Duration::from_mins(5);
        wait_at_most(limit, "all objects are done", || {
            let now = Instant::now();
            for entry in pages(&results, &receipts).flat_map(|page| page.unwrap().entries) {
                let number =
                    entry.key.trim_end_matches(".json").rsplit('-').next().unwrap().parse::<usize>().unwrap();
                seen.entry(number).or_insert(now);
            }
            seen.len() == count + 1
        });
        let uploaded = uploads.join().unwrap();
        uploaded.iter().map(|(number, at)| seen[number].saturating_duration_since(*at)).collect()
    })
}

/// Creates both functions with their queues, and lets the events of the bucket reach the arrivals function.
fn start_functions(cloud: &LocalCloud) {
    let (_, queue, _) = cloud.queue("tasks", Duration::from_mins(5), 10);
    let fleets = json!({ "main": { "queueUrl": queue, "prefixes": [PREFIX], "live": true } }).to_string();
    let buckets = [("FLOWHERD_SOURCE_BUCKET", BUCKET), ("FLOWHERD_RESULTS_BUCKET", "results")];
    let function = |name, program, more: (&str, &str)| {
        let environment = [&buckets[..], &[more]].concat();
        let timeout = Duration::from_mins(2);
        cloud.function(&Function { name, program, files: &[], environment: &environment, timeout });
    };
    function("arrive", COORDINATOR, ("FLOWHERD_FLEETS", &fleets));
    function("worker", WORKER, ("FLOWHERD_QUEUE_URL", &queue));
    cloud.trigger("worker", "tasks");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("live/arrivals.py");
    let mut command = Command::new(python());
    let command = command.arg("-B").arg(script).args([BUCKET, PREFIX, "arrive"]).envs(cloud.environment());
    assert!(command.status().expect("python starts").success(), "cannot create the arrivals queue");
}
