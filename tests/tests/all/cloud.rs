//! The fleet on the local cloud: real S3, SQS and Lambda calls, real processes, driven by the command.

use std::{collections::BTreeMap, fs, io::Read, sync::OnceLock, time::Duration};

use flowherd_aws::{s3::Bucket, sqs::SqsQueue};
use flowherd_shared::{
    queue::{NewMessage, Queue, QueueDepth},
    store::{Lister, Source, Store},
    task::Task,
};
use flowherd_tests::{
    command::{Ran, Running, files_below, flowherd_in},
    cutting_proxy::CuttingProxy,
    ledger::{keys_below, outputs},
    local_cloud::{Function, LocalCloud, wait_until},
    objects::SPECIAL_KEYS,
    recording_proxy::RecordingProxy,
};
use serde_json::{Value, json};

use super::place::{PROGRAM, Place};

pub(super) const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");
pub(super) const COORDINATOR: &str = env!("CARGO_BIN_EXE_flowherd-coordinator-under-test");

pub(super) struct Fleet {
    pub(super) cloud: LocalCloud,
    place: Place,
    pub(super) source: Bucket,
    pub(super) results: Bucket,
    pub(super) queue: SqsQueue,
    queue_url: String,
    pub(super) dead: SqsQueue,
    /// Report and outputs of `flowherd convert`.
    converted: OnceLock<(Value, BTreeMap<String, Vec<u8>>)>,
}

impl Fleet {
    /// Creates a fleet with a synthesized day in the source bucket.
    pub(super) fn new(objects: u32, records: u32) -> Self {
        Self::with(objects, records, &["--malformed", "3"], (Duration::from_secs(10), 5))
    }

    /// Creates a fleet with more arguments for the day, and the queue's visibility timeout and maximum deliveries.
    pub(super) fn with(
        objects: u32,
        records: u32,
        more: &[&str],
        (visibility, deliveries): (Duration, u32),
    ) -> Self {
        let place = Place::synth(objects, records, more);
        let cloud = LocalCloud::start();
        let (source, results) = (cloud.bucket("source"), cloud.bucket("results"));
        for key in files_below(&place.path("in/firehose")) {
            let object = fs::read(place.path("in/firehose").join(&key)).unwrap();
            source.put(&format!("firehose/{key}"), &object).unwrap();
        }
        let (queue, queue_url, dead) = cloud.queue("tasks", visibility, deliveries);
        let converted = OnceLock::new();
        Self { cloud, place, source, results, queue, queue_url, dead, converted }
    }

    pub(super) fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// Damages the first object below a prefix permanently, in the bucket and in the directory.
    pub(super) fn damage_one(&self, prefix: &str) {
        let key = self.source.page(prefix, None).unwrap().entries.remove(0).key;
        let object = Store::get(&self.source, &key).unwrap().unwrap();
        let damaged = &object[..object.len() - 5];
        self.source.put(&key, damaged).unwrap();
        self.place.object(&key, damaged);
    }

    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let names = self.place.path("in/names.json").to_str().unwrap().to_owned();
        let settings = [
            ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
            ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
            ("FLOWHERD_QUEUE_URL", self.queue_url.clone()),
            ("FLOWHERD_NAMES", names),
            ("FLOWHERD_SETTLE_SECONDS", "10".to_owned()),
        ];
        self.cloud.environment().chain(settings).collect()
    }

    pub(super) fn worker(&self) -> Running {
        let args = ["--poll", "--concurrency", "2"];
        Running::start_in(WORKER, self.environment(), args).without_output()
    }

    /// Runs a command of the fleet.
    pub(super) fn flowherd(&self, args: &[&str]) -> Ran {
        flowherd_in(PROGRAM, self.environment(), args)
    }

    /// Starts a command of the fleet in the background.
    pub(super) fn start(&self, args: &[&str]) -> Running {
        Running::start_in(PROGRAM, self.environment(), args)
    }

    /// Returns the keys below a prefix of the results.
    pub(super) fn results_below(&self, prefix: &str) -> Vec<String> {
        keys_below(&self.results, prefix)
    }

    pub(super) fn done(&self, run: &str) -> usize {
        self.results_below(&format!("runs/{run}/receipts/")).len()
    }

    pub(super) fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        outputs(&self.results)
    }

    /// Returns report and outputs of `flowherd convert` for the same day.
    pub(super) fn converted(&self) -> &(Value, BTreeMap<String, Vec<u8>>) {
        self.converted.get_or_init(|| {
            let names = self.place.path("in/names.json");
            let names = names.to_str().unwrap();
            (self.place.report(&["--prefix", "firehose/", "--names", names]), self.place.results())
        })
    }

    /// Checks that report and outputs are those of `flowherd convert`.
    pub(super) fn check_same_as_convert(&self, report: &Value) {
        let (local, outputs) = self.converted();
        // The only object of a random schedule may be the damaged one.
        assert_eq!(outputs.is_empty(), local["objects"]["done"] == 0, "{local}");
        for part in ["objects", "records", "tables", "rejects", "rules", "warnings", "bytes"] {
            assert_eq!(report[part], local[part], "{part}");
        }
        assert!(self.outputs() == *outputs, "the outputs differ from those of convert");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn convert_reads_a_bucket_as_it_reads_a_directory() {
    let fleet = Fleet::with(12, 200, &["--malformed", "3"], (Duration::from_secs(10), 5));
    let place = Place::new();
    let (out, names) = (place.path("out"), fleet.place.path("in/names.json"));
    let convert = |source: &str, more: &[&str]| {
        let args = ["convert", source, out.to_str().unwrap(), "--names", names.to_str().unwrap(), "--json"];
        flowherd_in(PROGRAM, fleet.cloud.environment(), args.into_iter().chain(more.iter().copied()))
    };
    let ran = convert("s3://source/firehose/", &["--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let (local, outputs) = fleet.converted();
    for part in ["prefix", "objects", "records", "tables", "rejects", "rules", "warnings", "bytes"] {
        assert_eq!(report(&ran)[part], local[part], "{part}");
    }
    assert!(place.results() == *outputs, "the outputs differ from those of the directory");

    // Only the object with another version is converted again.
    let receipts = |run: &str| files_below(&place.path(&format!("out/runs/{run}/receipts"))).len();
    fleet.damage_one("firehose/");
    let ran = convert("s3://source/firehose/", &["--run", "s", "--resume"]);
    let objects = &report(&ran)["objects"];
    assert_eq!((ran.status, &objects["skipped"], &objects["failed"]), (1, &11.into(), &1.into()), "{ran:?}");
    assert_eq!((receipts("r"), receipts("s")), (12, 0));
    let other = convert("s3://source/", &["--run", "s", "--resume"]);
    assert!(other.status == 2 && other.stderr.contains("run s was begun with \"firehose/\""), "{other:?}");

    let missing = convert("s3://no-such-bucket/", &[]);
    assert!(
        missing.status == 2 && missing.stderr.contains("\"no-such-bucket\" does not exist"),
        "{missing:?}"
    );
    let empty = convert("s3://source/nothing/", &[]);
    let message = "no objects in s3://source with prefix \"nothing/\"";
    assert!(empty.status == 0 && empty.stderr.contains(message), "{empty:?}");
}

pub(super) fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

pub(super) fn stop(mut worker: Running) {
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn worker_processes_write_the_outputs_of_convert_even_if_one_is_killed() {
    let fleet = Fleet::new(300, 60);
    let run = fleet.start(&["run", "--prefix", "firehose/", "--run", "r", "--watch", "--json"]);
    let (mut first, others) = (fleet.worker(), [fleet.worker(), fleet.worker()]);
    wait_until("some objects are done", || fleet.done("r") >= 40);
    // Like a lost machine: its messages return when their visibility timeout ends.
    first.signal("KILL");
    first.wait();
    let ran = run.output();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    others.into_iter().for_each(stop);
    assert_eq!(report(&ran)["state"], "done");
    fleet.check_same_as_convert(&report(&ran));
    assert_eq!(fleet.queue.depth().unwrap(), QueueDepth::default());

    // Commands that an operator runs afterwards.
    let runs = fleet.flowherd(&["runs"]);
    assert!(runs.stdout.lines().any(|line| line.starts_with("r ") && line.contains(" done ")), "{runs:?}");
    let status = fleet.flowherd(&["status"]);
    assert!(status.stdout.starts_with("no run is active\n"), "{status:?}");
    let again = fleet.flowherd(&["report", "r", "--json"]);
    assert_eq!((again.status, report(&again)), (0, report(&ran)));
    let estimate = fleet.flowherd(&["estimate", "--prefix", "firehose/", "--json"]);
    assert_eq!(report(&estimate)["objects"], 300, "{estimate:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_worker_killed_during_an_upload_publishes_no_partial_output() {
    // One object whose output has two parts.
    let fleet = Fleet::new(1, 600_000);
    let run = fleet.start(&["run", "--prefix", "firehose/", "--run", "r", "--watch", "--json"]);
    let mut worker = fleet.worker();
    wait_until("an upload is in progress", || !fleet.cloud.uploads_in_parts("results").is_empty());
    worker.signal("KILL");
    worker.wait();
    assert_eq!((fleet.outputs().len(), fleet.done("r")), (0, 0));
    let worker = fleet.worker();
    let ran = run.output();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let status = fs::read_to_string(format!("/proc/{}/status", worker.0.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 96 << 10, "the worker's peak memory is {peak} KiB");
    stop(worker);
    fleet.check_same_as_convert(&report(&ran));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn damaged_and_vanished_objects_are_named_and_done_after_repair_and_redrive_on_the_local_cloud() {
    let fleet = Fleet::new(8, 50);
    let entries = fleet.source.page("firehose/", None).unwrap().entries;
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let whole: Vec<Vec<u8>> =
        keys.iter().map(|key| Store::get(&fleet.source, key).unwrap().unwrap()).collect();
    for (key, object) in keys.iter().zip(&whole).take(3) {
        fleet.source.put(key, &object[..object.len() - 5]).unwrap();
    }
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    fleet.source.remove(keys[3]).unwrap();
    let odd =
        NewMessage { body: "no task".to_owned(), group: "odd".to_owned(), deduplication: "odd".to_owned() };
    assert_eq!(fleet.queue.send(&[odd]).unwrap(), []);
    let worker = fleet.worker();
    wait_until("five dead-letter messages", || fleet.dead.depth().unwrap().visible == 5);
    wait_until("the others are done", || fleet.done("r") == 4);
    let ran = fleet.flowherd(&["report", "r", "--json"]);
    assert_eq!(ran.status, 1);
    let objects = &report(&ran)["objects"];
    assert_eq!((&objects["done"], &objects["failed"]), (&4.into(), &4.into()));
    let failures = report(&ran)["failures"].to_string();
    assert!(keys[..4].iter().all(|key| failures.contains(key)), "{failures}");
    assert!(failures.contains("truncated") && failures.contains("no longer exists"), "{failures}");

    for (key, object) in keys.iter().zip(&whole) {
        fleet.source.put(key, object).unwrap();
    }
    let ran = fleet.flowherd(&["redrive", "--watch", "--json"]);
    assert_eq!((ran.status, &report(&ran)["state"]), (0, &"done".into()), "{ran:?}");
    stop(worker);
    fleet.check_same_as_convert(&report(&ran));
    wait_until("the message that is not a task is a dead letter again", || {
        fleet.dead.depth().unwrap().visible == 1
    });
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_day_is_run_again_within_five_minutes_and_a_purge_over_another_run_is_refused() {
    let fleet = Fleet::new(3, 20);
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let refused = fleet.flowherd(&["rerun", "--prefix", "elsewhere/"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("run first (prefix \"firehose/\""), "{refused:?}");
    assert_eq!(fleet.queue.depth().unwrap().visible, 3);
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["rerun", "--prefix", "firehose/", "--watch", "--json"]);
    assert_eq!((ran.status, &report(&ran)["objects"]["done"]), (0, &3.into()), "{ran:?}");
    stop(worker);
    fleet.check_same_as_convert(&report(&ran));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn lambda_functions_write_the_outputs_of_convert() {
    let fleet = Fleet::new(30, 40);
    let (names, timeout) = (fleet.place.path("in/names.json"), Duration::from_mins(5));
    let names = [names.as_path()];
    let environment = [
        ("FLOWHERD_SOURCE_BUCKET", "source"),
        ("FLOWHERD_RESULTS_BUCKET", "results"),
        ("FLOWHERD_QUEUE_URL", &fleet.queue_url),
        ("FLOWHERD_NAMES", "names.json"),
    ];
    let function = |name, program, files| {
        fleet.cloud.function(&Function { name, program, files, environment: &environment, timeout });
    };
    function("coordinator", COORDINATOR, &names);
    function("worker", WORKER, &[]);
    fleet.cloud.trigger("worker", "tasks");

    let failures = fleet.cloud.invoke("coordinator", &json!({ "prefix": 7 })).unwrap_err();
    assert_eq!(failures["errorType"], "Refused", "{failures}");
    let mut step = fleet.cloud.invoke("coordinator", &json!({ "prefix": "firehose/" })).unwrap();
    assert_eq!((&step["operation"], &step["progress"]["listed"]), (&"check".into(), &30.into()), "{step}");
    wait_until("the run has ended", || {
        step = fleet.cloud.invoke("coordinator", &step).unwrap();
        step["operation"] == "end"
    });
    let path = step["report"].as_str().unwrap();
    let report = Store::get(&fleet.results, path).unwrap().unwrap();
    fleet.check_same_as_convert(&serde_json::from_slice(&report).unwrap());
    assert_eq!(step["state"], "done", "{step}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_key_of_the_maximum_length_of_s3_is_a_named_failure_and_affects_no_other_object() {
    let fleet = Fleet::new(2, 20);
    let long = format!("firehose/{}", "k".repeat(1024 - "firehose/".len()));
    fleet.source.put(&long, b"x").unwrap();
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--watch", "--json"]);
    stop(worker);
    assert_eq!(ran.status, 1);
    let report = report(&ran);
    let objects = ["done", "failed", "missing"].map(|what| report["objects"][what].clone());
    assert_eq!(objects, [2.into(), 1.into(), Value::from(0)]);
    assert_eq!(report["failures"][0]["key"], long.as_str());
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("1024"), "{report}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn keys_with_special_characters_are_converted_on_the_local_cloud() {
    let fleet = Fleet::new(1, 5);
    let object = Store::get(&fleet.source, &fleet.source.page("firehose/", None).unwrap().entries[0].key);
    let object = object.unwrap().unwrap();
    for key in SPECIAL_KEYS {
        fleet.source.put(&format!("special/{key}"), &object).unwrap();
    }
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "special/", "--watch", "--json"]);
    stop(worker);
    assert_eq!((ran.status, &report(&ran)["objects"]["done"]), (0, &SPECIAL_KEYS.len().into()), "{ran:?}");
    let outputs = fleet.outputs();
    for key in SPECIAL_KEYS {
        assert!(outputs.contains_key(&format!("csv/vpc_flow/special/{key}.csv.gz")), "{key}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_multipart_output_is_published_whole_or_not_at_all() {
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
            assert!(cloud.uploads_in_parts("results").is_empty(), "aborted");
        }
    }
    assert!(Store::get(&bucket, "a b/+%ü").unwrap() == Some(bytes));
    let now = Source::head(&bucket, "a b/+%ü").unwrap().unwrap();
    assert_eq!((now.size, Some(now.etag)), (20 << 20, bucket.etag("a b/+%ü").unwrap()));
    bucket.remove("a b/+%ü").unwrap();
    assert_eq!(Store::get(&bucket, "a b/+%ü").unwrap(), None);
    assert_eq!(Source::head(&bucket, "a b/+%ü").unwrap(), None);
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_multipart_upload_names_its_checksum_algorithm_at_its_start_and_in_each_part() {
    use std::io::Write;

    use flowherd_shared::store::Sink;

    let cloud = LocalCloud::start();
    drop(cloud.bucket("results"));
    let proxy = RecordingProxy::start(cloud.endpoint["http://".len()..].parse().unwrap());
    let aws = cloud.through(&proxy.endpoint);
    let bucket = aws.bucket("results", None);
    let whole = vec![b'x'; 16 << 20];
    bucket.put("one-request", &whole).unwrap();
    let mut sink = bucket.create("in-parts").unwrap();
    sink.write_all(&whole).unwrap();
    sink.write_all(b"and one byte more than one request holds").unwrap();
    sink.commit().unwrap();

    let requests = proxy.requests();
    let of = |path: &str, method: &str, query: &str| {
        let found = requests.iter().filter(|request| {
            request.target.starts_with(path) && request.method == method && request.target.contains(query)
        });
        found.collect::<Vec<_>>()
    };
    let puts = of("/results/one-request", "PUT", "");
    assert_eq!(puts.len(), 1);
    assert!(puts[0].header("x-amz-checksum-crc32").is_some());
    let begins = of("/results/in-parts", "POST", "uploads");
    assert_eq!(begins.len(), 1);
    assert_eq!(begins[0].header("x-amz-checksum-algorithm"), Some("CRC32"));
    let parts = of("/results/in-parts", "PUT", "partNumber=");
    assert_eq!(parts.len(), 2);
    let completes = of("/results/in-parts", "POST", "uploadId=");
    assert_eq!(completes.len(), 1);
    let body = String::from_utf8(completes[0].body.clone()).unwrap();
    for part in parts {
        let sum = part.header("x-amz-checksum-crc32").expect("a checksum of the part");
        assert!(body.contains(&format!("<ChecksumCRC32>{sum}</ChecksumCRC32>")), "{body}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_broken_body_is_resumed_at_its_position_and_only_in_the_same_version() {
    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("source");
    let bytes: Vec<u8> = (0..3_u32 << 20).map(|at| (at % 251) as u8).collect();
    bucket.put("k", &bytes).unwrap();
    let listed = Source::head(&bucket, "k").unwrap().unwrap();
    let server = cloud.endpoint["http://".len()..].parse().unwrap();
    let proxy = CuttingProxy::start(server, 4, 200_000);
    let aws = cloud.through(&proxy.endpoint);
    let mut read = Vec::new();
    aws.bucket("source", None).open(&listed).unwrap().read_to_end(&mut read).unwrap();
    assert!(proxy.has_cut_all() && read == bytes);

    // An object that is overwritten meanwhile must not be resumed: the bytes would be of both versions.
    let proxy = CuttingProxy::start(server, 1, 200_000);
    let aws = cloud.through(&proxy.endpoint);
    let mut body = aws.bucket("source", None).open(&listed).unwrap();
    body.read_exact(&mut [0; 1000]).unwrap();
    bucket.put("k", &bytes[1..]).unwrap();
    let error = body.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("has changed since it was listed"), "{error}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_messages_of_a_run_are_the_documented_json() {
    let fleet = Fleet::new(1, 5);
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let message = fleet.queue.receive(1, Duration::from_secs(1)).unwrap().remove(0);
    let task = Task::parse(&message.body).unwrap();
    assert_eq!((task.run.as_str(), task.bucket.as_str()), ("r", "source"));
    assert_eq!(Some(task.object.clone()), Source::head(&fleet.source, &task.object.key).unwrap());
}
