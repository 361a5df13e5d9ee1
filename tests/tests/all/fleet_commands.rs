//! Output of the fleet's commands about missing objects, run markers and waits, and the requests of a run.

use std::{net::TcpListener, time::Duration};

use flowherd_cli::cost::LOG_BYTES;
use flowherd_shared::store::{Lister, Store};
use flowherd_tests::{
    command::{Running, flowherd_in},
    objects::{envelope, event, gzip},
    recording_proxy::{RecordingProxy, Request},
};
use serde_json::{Value, json};

use super::{
    cloud::{Fleet, WORKER, report, stop},
    place::PROGRAM,
};

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_commands_name_missing_objects_lost_ledgers_and_messages_of_ended_runs() {
    let fleet = Fleet::new(3, 20);
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first", "--watch", "--json"]);
    assert_eq!((ran.status, &report(&ran)["state"]), (0, &"done".into()), "{ran:?}");
    let none = fleet.flowherd(&["report", "first", "--missing", "--json"]);
    assert_eq!((none.status, report(&none)), (0, json!([])), "{none:?}");

    // Without lookups, the second run replaces the outputs of the first by other ones.
    let environment = fleet.environment().into_iter().chain([("FLOWHERD_LOOKUPS", String::new())]);
    let args = ["run", "--prefix", "firehose/", "--run", "second", "--watch"];
    let ran = flowherd_in(PROGRAM, environment, args);
    assert_eq!(ran.status, 0, "{ran:?}");
    stop(worker);
    let missing = fleet.flowherd(&["report", "first", "--missing", "--json"]);
    let objects = report(&missing);
    assert_eq!((missing.status, objects.as_array().map(Vec::len)), (1, Some(3)), "{missing:?}");
    for object in objects.as_array().unwrap() {
        assert_eq!(object["replaced_by"], "second", "{object}");
        assert!(object["reason"].as_str().unwrap().starts_with("run second has written csv/"), "{object}");
    }
    let text = fleet.flowherd(&["report", "first", "--missing"]).stdout;
    assert!(
        text.ends_with("another run has processed all of them since: do not resume this one\n"),
        "{text}"
    );

    // The ledger of this run is deleted while its messages wait.
    assert_eq!(fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "lost"]).status, 0);
    for key in fleet.results_below("runs/lost/") {
        fleet.results.remove(&key).unwrap();
    }
    let status = fleet.flowherd(&["status"]);
    assert!(status.stdout.contains("to remove the marker: flowherd runs --forget lost\n"), "{status:?}");
    let ran = fleet.flowherd(&["report", "lost"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.ends_with("flowherd runs --forget lost\n"), "{ran:?}");
    assert_eq!(fleet.flowherd(&["runs", "--forget", "lost"]).status, 0);
    assert!(fleet.results.page("active/", None).unwrap().entries.is_empty());

    // This run is abandoned while its messages wait.
    assert_eq!(fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "given-up"]).status, 0);
    let refused = fleet.flowherd(&["runs", "--forget", "given-up"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("use --force"), "{refused:?}");
    assert_eq!(fleet.flowherd(&["runs", "--forget", "given-up", "--force"]).status, 0);
    let status = report(&fleet.flowherd(&["status", "--json"]));
    assert_eq!((&status["runs"], &status["without_ledger"]), (&json!([]), &json!([])), "{status}");
    let queue = &status["queue"];
    assert_eq!((&queue["waiting"], &queue["of_ended_runs"]), (&6.into(), &6.into()), "{status}");
    assert_eq!(queue["ended_runs"][0], "given-up", "{status}");
    let text = fleet.flowherd(&["status"]).stdout;
    assert!(text.contains("about 6 of these messages are of no active run, perhaps of given-up"), "{text}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn fleet_commands_print_warnings_and_runs_without_objects_and_fail_with_strict() {
    let fleet = Fleet::new(1, 20);
    let no_flow_logs = gzip(envelope("g", &[event(1, "GET / 200")]).as_bytes());
    fleet.source.put("other/a", &no_flow_logs).unwrap();
    let worker = fleet.worker();
    let empty = "no objects in s3://source with prefix \"nothing/\". Check its name and the prefix";
    let warning = "warning: objects whose records were all rejected: 1. Run `flowherd explain` on one of them, such as other/a\n";
    for (run, prefix, message) in [("empty", "nothing/", empty), ("other", "other/", warning)] {
        for command in [&["run", "--prefix", prefix, "--run", run, "--watch"][..], &["report", run]] {
            let ran = fleet.flowherd(command);
            assert_eq!(ran.status, 0, "{ran:?}");
            assert_eq!(ran.stderr.matches(&format!("flowherd: {message}")).count(), 1, "{ran:?}");
        }
        let strict = fleet.flowherd(&["report", run, "--strict"]);
        assert_eq!(strict.status, 1, "{strict:?}");
        let name = format!("{run}-strict");
        let strict = fleet.flowherd(&["run", "--prefix", prefix, "--run", &name, "--watch", "--strict"]);
        assert_eq!(strict.status, 1, "{strict:?}");
    }
    stop(worker);
}

#[test]
fn a_command_ends_at_its_time_limit_and_reports_what_it_waited_for() {
    // Accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let queue = |name: &str| format!("{endpoint}/000000000000/{name}.fifo");
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.clone()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
        ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
        ("FLOWHERD_QUEUE_URL", queue("tasks")),
        ("FLOWHERD_DEAD_LETTER_QUEUE_URL", queue("dead")),
    ];
    let commands: [&[&str]; 8] = [
        &["status"],
        &["runs"],
        &["runs", "--forget", "r"],
        &["report", "r"],
        &["report", "r", "--missing"],
        &["redrive", "r"],
        &["estimate", "--prefix", "p"],
        &["run", "--prefix", "p"],
    ];
    let running = commands.map(|args| {
        let args = args.iter().chain(&["--timeout", "1"]);
        Running::start_in(PROGRAM, environment.clone(), args)
    });
    for (running, args) in running.into_iter().zip(commands) {
        let ran = running.output();
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("no response within 1 s while waiting for the "), "{args:?}: {ran:?}");
    }
    drop(silent);
}

/// The path of a request to S3; `None` for listings, and for requests of other services or of a bucket.
fn object_path(request: &Request) -> Option<&str> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let is_listing = query.contains("list-type");
    let of_bucket = path.strip_prefix("/source/").or_else(|| path.strip_prefix("/results/"));
    of_bucket.filter(|path| !path.is_empty() && !is_listing)
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn commands_read_the_ledgers_of_the_runs_that_they_show_and_no_others() {
    let fleet = Fleet::new(1, 1);
    // Runs that have ended, with their entries in the index.
    let put = |path: &str, text: &str| fleet.results.put(path, text.as_bytes()).unwrap();
    for number in 0..40_i64 {
        let (name, started) = (format!("run-{number:02}"), format!("2026-02-18T00:00:{number:02}.000Z"));
        put(
            &format!("runs/{name}/run.json"),
            &json!({ "run": name, "prefix": "p/", "config_hash": "c", "lookups_hash": "", "version": "1",
                "started": started, "manifest": { "parts": 0, "objects": 0, "bytes": 0 } })
            .to_string(),
        );
        let until_last = 9_999_999_999_999 - (1_771_372_800_000 + number * 1000);
        put(&format!("runs/.index/{until_last:013}/{name}/c/=p%2F"), "");
    }
    let requests = |args: &[&str]| {
        let server = fleet.cloud.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let proxy = RecordingProxy::start(server);
        let endpoint = [("AWS_ENDPOINT_URL", proxy.endpoint.clone())];
        let ran = flowherd_in(PROGRAM, fleet.environment().into_iter().chain(endpoint), args);
        let requests = proxy.requests();
        let read: Vec<String> = requests.iter().filter_map(object_path).map(str::to_owned).collect();
        (ran, read)
    };
    let (ran, read) = requests(&["runs", "--last", "2", "--json"]);
    let names: Vec<&str> =
        ran.stdout.lines().filter_map(|line| line.trim().strip_prefix("\"run\": ")).collect();
    assert_eq!(names, ["\"run-38\",", "\"run-39\","], "{ran:?}");
    assert_eq!(read.len(), 4, "run.json and report.json of two runs: {read:#?}");

    // A search reads reports in batches of 32, latest first.
    let (ran, read) = requests(&["redrive"]);
    assert!(ran.stderr.contains("none of the latest 1000 runs has failures"), "{ran:?}");
    assert_eq!(read.len(), 40, "each report once, and no run.json: {read:#?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_estimate_matches_the_requests_and_log_bytes_of_a_run() {
    let fleet = Fleet::with(20, 30, &[], (Duration::from_secs(10), 5));
    let proxy =
        || RecordingProxy::start(fleet.cloud.endpoint.strip_prefix("http://").unwrap().parse().unwrap());
    let (of_worker, of_command) = (proxy(), proxy());
    let through = |proxy: &RecordingProxy| {
        let endpoint = [("AWS_ENDPOINT_URL", proxy.endpoint.clone())];
        fleet.environment().into_iter().chain(endpoint)
    };
    let worker = Running::start_in(WORKER, through(&of_worker), ["--poll", "--concurrency", "2"]);
    let args = ["run", "--prefix", "firehose/", "--watch", "--json"];
    let ran = flowherd_in(PROGRAM, through(&of_command), args);
    assert_eq!(ran.status, 0, "{ran:?}");
    worker.signal("TERM");
    let log = worker.output();

    let entries = fleet.source.page("firehose/", None).unwrap().entries;
    let keys: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
    // Requests per run and worker, not per object.
    let is_of_run =
        |path: &str| ["/run.json", "/flowherd.toml", "/lookups.json"].iter().any(|file| path.ends_with(file));
    let is_of_object = |path: &str| keys.iter().any(|key| path.contains(key.rsplit('/').next().unwrap()));
    let (worker, command) = (of_worker.requests(), of_command.requests());
    let count = |methods: &[&str]| {
        let is_meant = |request: &&Request| methods.contains(&&*request.method);
        let of_worker =
            worker.iter().filter(is_meant).filter_map(object_path).filter(|path| !is_of_run(path));
        let of_command =
            command.iter().filter(is_meant).filter_map(object_path).filter(|path| is_of_object(path));
        of_worker.chain(of_command).map(str::to_owned).collect::<Vec<_>>()
    };
    let estimate: Value = report(&fleet.flowherd(&["estimate", "--prefix", "firehose/", "--json"]));
    let (reads, writes) = (count(&["GET", "HEAD"]), count(&["PUT", "POST"]));
    assert_eq!(reads.len() as u64, estimate["s3_reads"].as_u64().unwrap(), "{reads:#?}");
    // The estimate has 5 listings besides.
    assert_eq!(writes.len() as u64 + 5, estimate["s3_writes_and_lists"].as_u64().unwrap(), "{writes:#?}");
    let objects = keys.len() as f64;
    let bytes = (log.stdout.len() + log.stderr.len()) as f64 / objects;
    assert!((LOG_BYTES * 0.5..=LOG_BYTES).contains(&bytes), "{bytes} bytes of log per object");
}
