//! Coordinator's planning, queue, and worker processes on the local cloud: real S3 and SQS calls, real processes.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use flowherd_coordinator::{
    plan::{Planned, Planner},
    reconcile::reconcile,
};
use flowherd_shared::{
    ledger::{Basis, Report, ReportState, Run, layout, put_json},
    lookups::Lookups,
    pipeline::Plan,
    queue::{Outgoing, Queue},
    store::{Lister, Store},
    task::Task,
};
use flowherd_tests::{
    command::{Running, files_below},
    local_cloud::{LocalCloud, wait_until},
};
use flowherd_worker::aws::{s3::Bucket, sqs::SqsQueue};

use super::command::Place;

const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");

struct Fleet {
    cloud: LocalCloud,
    place: Place,
    source: Bucket,
    results: Bucket,
    queue: SqsQueue,
    queue_url: String,
    dead: SqsQueue,
}

impl Fleet {
    /// A synthesised day in the source bucket.
    fn new(objects: u32, records: u32) -> Self {
        let place = Place::synth(objects, records, &["--odd", "3"]);
        let cloud = LocalCloud::start();
        let (source, results) = (cloud.bucket("source"), cloud.bucket("results"));
        for key in files_below(&place.path("in/firehose")) {
            let object = fs::read(place.path("in/firehose").join(&key)).unwrap();
            source.put(&format!("firehose/{key}"), &object).unwrap();
        }
        let (queue, queue_url, dead) = cloud.queue("tasks", Duration::from_secs(10), 5);
        Self { cloud, place, source, results, queue, queue_url, dead }
    }

    fn begin(&self, name: &str) -> Run {
        let lookups = Lookups::parse(&fs::read(self.place.path("in/lookups.json")).unwrap()).unwrap();
        let plan = Plan { lookups, ..Plan::default() };
        let mut run = Run {
            run: name.to_owned(),
            prefix: "firehose/".to_owned(),
            basis: Basis::from(&plan),
            version: "test".to_owned(),
            started: String::new(),
            resumed: None,
            resumes: Vec::new(),
            manifest: None,
        };
        put_json(&self.results, &layout::run(name), &run).unwrap();
        let planner = Planner {
            source: &self.source,
            bucket: "source",
            results: &self.results,
            queue: &self.queue,
            pause: &std::thread::sleep,
        };
        planner.plan(&mut run, Planned::default(), || true).unwrap();
        run
    }

    fn worker(&self) -> Running {
        let child: Child = Command::new(WORKER)
            .args(["--poll", "--concurrency", "2"])
            .envs(self.cloud.environment())
            .env("FLOWHERD_SOURCE_BUCKET", "source")
            .env("FLOWHERD_RESULTS_BUCKET", "results")
            .env("FLOWHERD_QUEUE_URL", &self.queue_url)
            .env("FLOWHERD_LOOKUPS", self.place.path("in/lookups.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Keys below a prefix of the results.
    fn results_below(&self, prefix: &str) -> Vec<String> {
        let (mut keys, mut token) = (Vec::new(), None);
        loop {
            let page = self.results.page(prefix, token.as_deref()).unwrap();
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            token = page.next;
            if token.is_none() {
                return keys;
            }
        }
    }

    fn ledger(&self, run: &str) -> usize {
        let below = |what: &str| self.results_below(&format!("runs/{run}/{what}/")).len();
        below("receipts") + below("failures")
    }

    fn report(&self, run: &Run) -> Report {
        reconcile(&self.results, run, String::new()).unwrap()
    }
}

#[test]
fn worker_processes_drain_a_day_one_killed_on_the_way_and_write_what_convert_writes() {
    let fleet = Fleet::new(60, 400);
    let run = fleet.begin("r");
    let mut workers = [fleet.worker(), fleet.worker()];
    wait_until("some objects are done", || fleet.ledger("r") >= 10);
    // As a machine that goes away: its messages come back when their visibility ends.
    workers[0].signal("KILL");
    workers[0].wait();
    wait_until("every object has an outcome", || fleet.ledger("r") >= 60);
    wait_until("the queue is empty", || {
        fleet.queue.depth().unwrap() == flowherd_shared::queue::Depth::default()
    });
    workers[1].signal("TERM");
    assert_eq!(workers[1].wait(), 0);

    let report = fleet.report(&run);
    assert_eq!((report.state, report.objects.done), (ReportState::Done, 60), "{report:?}");
    let lookups = fleet.place.path("in/lookups.json");
    let local = fleet.place.report(&["--prefix", "firehose/", "--lookups", lookups.to_str().unwrap()]);
    let counts = |report: &serde_json::Value| {
        ["records", "tables", "rejects", "bytes"].map(|part| report[part].clone())
    };
    assert_eq!(counts(&serde_json::to_value(&report).unwrap()), counts(&local));

    let mut written = BTreeMap::new();
    for prefix in ["csv/", "rejects/"] {
        for key in fleet.results_below(prefix) {
            let bytes = Store::get(&fleet.results, &key).unwrap().unwrap();
            written.insert(key, bytes);
        }
    }
    assert!(written == fleet.place.results(), "byte for byte what convert writes");
}

#[test]
fn damaged_objects_and_malformed_messages_reach_the_dead_letters_on_the_local_cloud() {
    let fleet = Fleet::new(6, 50);
    let keys: Vec<String> =
        fleet.source.page("firehose/", None).unwrap().entries.into_iter().map(|entry| entry.key).collect();
    let damaged = Store::get(&fleet.source, &keys[0]).unwrap().unwrap();
    fleet.source.put(&keys[0], &damaged[..damaged.len() - 5]).unwrap();
    let run = fleet.begin("r");
    fleet.source.remove(&keys[1]).unwrap();
    let odd =
        Outgoing { body: "no task".to_owned(), group: "odd".to_owned(), deduplication: "odd".to_owned() };
    assert_eq!(fleet.queue.send(&[odd]).unwrap(), []);
    let mut worker = fleet.worker();
    wait_until("three dead letters", || fleet.dead.depth().unwrap().visible == 3);
    wait_until("every object has an outcome", || fleet.ledger("r") >= 6);
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);

    let report = fleet.report(&run);
    assert_eq!((report.state, report.objects.done, report.objects.failed), (ReportState::Failed, 4, 2));
    let told: Vec<&str> = report.failures.iter().map(|failure| failure.error.as_str()).collect();
    assert!(told.iter().any(|error| error.starts_with("truncated")), "{told:?}");
    assert!(told.iter().any(|error| error.contains("gone since it was listed")), "{told:?}");
    let dead = fleet.dead.receive(10, Duration::ZERO).unwrap();
    assert_eq!(dead.iter().filter(|message| Task::parse(&message.body).is_ok()).count(), 2);
}

#[test]
fn a_key_as_long_as_s3_takes_is_a_failure_that_is_named_and_costs_no_other() {
    let fleet = Fleet::new(2, 20);
    let long = format!("firehose/{}", "k".repeat(1024 - "firehose/".len()));
    fleet.source.put(&long, b"x").unwrap();
    let run = fleet.begin("r");
    let mut worker = fleet.worker();
    wait_until("every object has an outcome", || fleet.ledger("r") >= 3);
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);
    let report = fleet.report(&run);
    assert_eq!((report.objects.done, report.objects.failed, report.objects.missing), (2, 1, 0));
    assert!(report.failures[0].key == long && report.failures[0].error.contains("1024"), "{report:?}");
}

#[test]
fn an_output_of_many_megabytes_goes_in_parts_and_is_there_whole_or_not_at_all() {
    use std::io::Write;

    use flowherd_shared::store::Sink;

    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("results");
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|at| (at >> 8) as u8).collect();
    for is_committed in [false, true] {
        let mut sink = bucket.create("a b/+%ü").unwrap();
        bytes.chunks(1 << 20).for_each(|chunk| sink.write_all(chunk).unwrap());
        assert_eq!(bucket.etag("a b/+%ü").unwrap(), None);
        if is_committed {
            let etag = sink.commit().unwrap();
            assert_eq!(bucket.etag("a b/+%ü").unwrap(), Some(etag));
        } else {
            drop(sink);
        }
    }
    assert!(Store::get(&bucket, "a b/+%ü").unwrap() == Some(bytes));
    bucket.remove("a b/+%ü").unwrap();
    assert_eq!(Store::get(&bucket, "a b/+%ü").unwrap(), None);
}
