//! A whole run of hostile objects on the local cloud: begin, purge, failures, redrive, report. Proxies record every request.
//! `security.rs` and `requests.rs` check the results and the requests.

use std::{fs, io, sync::LazyLock, thread, time::Duration};

use flowherd_aws::settings::CommonSettings;
use flowherd_coordinator::{
    connect::Connected,
    fleets::{Driver, FleetSettings, Fleets},
    options::RunOptions,
    settings::Settings,
    state::RunState,
};
use flowherd_shared::{
    queue::{NewMessage, Queue, QueueDepth},
    store::{Lister, Source, Store},
    task::Task,
};
use flowherd_tests::{
    command::{Running, flowherd_in},
    local_cloud::{LocalCloud, wait_until},
    objects::{APP_RULES, FLOW, envelope, event, gzip, large_object},
    recording_proxy::{RecordingProxy, Request},
};
use serde_json::Value;

use super::{cloud::WORKER, place::PROGRAM};

/// The local cloud's only account.
pub(super) const ACCOUNT: &str = "000000000000";
pub(super) const SECRETS: [&str; 2] = ["wJalrSecretKeyOfNobody", "SessionTokenOfNobody"];
/// Text that occurs only in messages.
pub(super) const CONTENT: &str = "what-somebody-logged";
const FORGED: &str =
    "\n{\"_aws\":{\"CloudWatchMetrics\":[]},\"level\":\"ERROR\",\"message\":\"forged\"}\n\u{1b}[2J";
/// The results and requests of a run.
pub(super) struct Day {
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Output of the commands, without the examples of rejects that reports in JSON have.
    pub(super) commands: String,
    /// Path and bytes of each result.
    pub(super) results: Vec<(String, Vec<u8>)>,
    pub(super) by_worker: Vec<Request>,
    pub(super) by_coordinator: Vec<Request>,
    pub(super) by_commands: Vec<Request>,
}

pub(super) static DAY: LazyLock<Day> = LazyLock::new(day);

fn day() -> Day {
    let cloud = LocalCloud::start();
    let server = cloud.endpoint["http://".len()..].parse().unwrap();
    let [worker_proxy, coordinator_proxy, command_proxy] = [(); 3].map(|()| RecordingProxy::start(server));
    let (source, results, names) = (cloud.bucket("source"), cloud.bucket("results"), cloud.bucket("names"));
    let (queue, queue_url, dead) = cloud.queue("tasks", Duration::from_secs(10), 3);
    names.put("names.json", b"{}").unwrap();
    let message = |text: &str| event(1, &format!("{text} {CONTENT}{FORGED}"));
    let events = [message("user"), message("no rule fits"), event(2, "")];
    let whole = gzip(envelope("app", &events).as_bytes());
    let flows = gzip(envelope("flow", &[event(1, FLOW), event(2, &format!("{FLOW} {CONTENT}"))]).as_bytes());
    source.put("firehose/whole", &whole).unwrap();
    source.put("firehose/flows", &flows).unwrap();
    source.put("firehose/large", &large_object()).unwrap();
    source.put(&format!("firehose/key{FORGED}"), &whole).unwrap();
    source.put("firehose/damaged", &whole[..whole.len() - 5]).unwrap();
    source.put("firehose/header", format!("version start odd-word\n{CONTENT}\n").as_bytes()).unwrap();

    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("flowherd.toml"), APP_RULES).unwrap();
    let common = CommonSettings {
        source_bucket: "source".to_owned(),
        source_bucket_owner: Some(ACCOUNT.to_owned()),
        source_bucket_region: None,
        results_bucket: "results".to_owned(),
        results_bucket_owner: Some(ACCOUNT.to_owned()),
    };
    // As in the stack, the coordinator finds the dead-letter queue by the queue's redrive policy.
    let driver = Driver::Queue { url: queue_url.clone(), dead_letters: None };
    let fleet = FleetSettings {
        names_bucket_owner: Some(ACCOUNT.to_owned()),
        config: Some(place.path().join("flowherd.toml").to_str().unwrap().to_owned()),
        names: Some("s3://names/names.json".to_owned()),
        ..FleetSettings::on(driver)
    };
    let settings = Settings::of(common, Fleets::only(fleet));
    let aws = cloud.through(&coordinator_proxy.endpoint);
    let connected = Connected::new(&aws, &settings).unwrap();
    // Skips the waits, which exist for the late counts and the purges of SQS. The local cloud has neither.
    let step = |step: RunState| {
        connected.with("main", |coordinator| coordinator.step(step, &|| true)).unwrap().unwrap()
    };
    let begin = |run: &str, purge: bool| {
        let (run, prefix) = (Some(run.to_owned()), Some("firehose/".to_owned()));
        let begin = RunOptions { run, prefix, purge, ..RunOptions::default() };
        connected.with("main", |coordinator| coordinator.begin(&begin)).unwrap().unwrap()
    };
    let end = |mut next: RunState| {
        wait_until("the run has ended", || {
            next = step(next.clone());
            next.has_ended()
        });
    };
    assert_eq!(step(begin("first", false)).operation.name(), "check");
    let second = step(step(begin("second", true)));

    let environment: Vec<(&str, String)> = cloud
        .environment()
        .filter(|(name, _)| !name.starts_with("AWS_SECRET"))
        .chain([
            ("AWS_SECRET_ACCESS_KEY", SECRETS[0].to_owned()),
            ("AWS_SESSION_TOKEN", SECRETS[1].to_owned()),
            ("RUST_LOG", "trace".to_owned()),
            ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
            ("FLOWHERD_SOURCE_BUCKET_OWNER", ACCOUNT.to_owned()),
            ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
            ("FLOWHERD_RESULTS_BUCKET_OWNER", ACCOUNT.to_owned()),
            ("FLOWHERD_QUEUE_URL", queue_url.clone()),
        ])
        .collect();
    let through = |proxy: &RecordingProxy| {
        let endpoint = ("AWS_ENDPOINT_URL", proxy.endpoint.clone());
        environment.iter().cloned().chain([endpoint]).collect::<Vec<_>>()
    };
    let mut worker = Running::start_in(WORKER, through(&worker_proxy), ["--poll", "--concurrency", "2"]);
    let (stdout, stderr) = (worker.0.stdout.take().unwrap(), worker.0.stderr.take().unwrap());
    // A full pipe would block the worker.
    let stdout = thread::spawn(|| io::read_to_string(stdout).unwrap());
    let stderr = thread::spawn(|| io::read_to_string(stderr).unwrap());
    end(second);
    wait_until("the messages of the damaged objects are in the dead-letter queue", || {
        dead.depth().unwrap().visible == 2
    });
    source.put("firehose/damaged", &whole).unwrap();
    source.put("firehose/header", FLOW.as_bytes()).unwrap();
    end(connected.with("main", |coordinator| coordinator.redrive("second")).unwrap().unwrap().1.unwrap());
    // A second message of an object that is done: the worker reads the versions of its outputs.
    let whole = Source::head(&source, "firehose/whole").unwrap().unwrap();
    let again = Task {
        run: "second".to_owned(),
        fleet: "main".to_owned(),
        bucket: "source".to_owned(),
        object: whole,
    };
    let again = NewMessage { body: again.body(), group: again.group(), deduplication: "again".to_owned() };
    assert_eq!(queue.send(&[again]).unwrap(), []);
    wait_until("the queue is empty", || queue.depth().unwrap() == QueueDepth::default());
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);

    let commands =
        [&["report", "second"][..], &["report", "first", "--json"], &["status"], &["runs", "--json"]];
    let commands = commands.map(|args| {
        let ran = flowherd_in(PROGRAM, through(&command_proxy), args);
        assert_ne!(ran.status, 2, "{ran:?}");
        let is_json = args.last() == Some(&"--json");
        let stdout = if is_json { without_examples(&ran.stdout) } else { ran.stdout };
        stdout + &ran.stderr
    });
    let entries = results.page("", None).unwrap().entries.into_iter();
    let read = |key: String| (key.clone(), Store::get(&results, &key).unwrap().unwrap());
    Day {
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        commands: commands.concat(),
        results: entries.map(|entry| read(entry.key)).collect(),
        by_worker: worker_proxy.requests(),
        by_coordinator: coordinator_proxy.requests(),
        by_commands: command_proxy.requests(),
    }
}

/// Removes the examples from a report, or from a list of runs with reports.
fn without_examples(json: &str) -> String {
    let mut value: Value = serde_json::from_str(json).unwrap();
    let remove = |report: &mut Value| report.as_object_mut().map(|report| report.remove("examples"));
    match &mut value {
        Value::Array(runs) => runs.iter_mut().for_each(|run| drop(remove(&mut run["report"]))),
        report => drop(remove(report)),
    }
    value.to_string()
}
