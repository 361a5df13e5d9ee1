//! Output of the fleet's commands about missing objects, run markers and waits, and the requests of a run.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use flowherd_cli::cost::LOG_BYTES;
use flowherd_shared::store::{Lister, Store};
use flowherd_tests::{
    command::{Ran, Running, flowherd_in},
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

    // Without names, the second run replaces the outputs of the first by other ones.
    let environment = fleet.environment().into_iter().chain([("FLOWHERD_NAMES", String::new())]);
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
    let sent = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "lost"]);
    assert_eq!(sent.status, 0, "{sent:?}");
    assert!(
        sent.stdout.starts_with("run lost: 3 objects, 0 done, 3 queued\nnext: flowherd status lost"),
        "{sent:?}"
    );
    for args in [&["run", "--prefix", "p", "--run", ".x"][..], &["status", ".x"], &["report", ".x"]] {
        let invalid = fleet.flowherd(args);
        let why = "invalid run name \".x\": it begins with a dot; ";
        assert!(invalid.status == 2 && invalid.stderr.contains(why), "{invalid:?}");
    }
    let taken = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "lost"]);
    assert_eq!(taken.status, 2, "{taken:?}");
    assert!(taken.stderr.contains("run lost already exists"), "{taken:?}");
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
    let queue = &status["queues"][0];
    assert_eq!((&queue["waiting"], &queue["of_ended_runs"]), (&6.into(), &6.into()), "{status}");
    assert_eq!(queue["ended_runs"][0], "given-up", "{status}");
    let ended = report(&fleet.flowherd(&["status", "given-up", "--json"]));
    assert_eq!(ended["runs"][0]["state"], "no report", "{ended}");
    let runs = fleet.flowherd(&["runs"]).stdout;
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = ["run", "prefix", "state", "listed", "done", "skipped", "failed", "missing", "rows"];
    assert_eq!(cells(runs.lines().next().unwrap()), head, "{runs}");
    let given_up = runs.lines().find(|line| line.starts_with("given-up")).unwrap();
    assert_eq!(cells(given_up)[2..5], ["no", "report", "3"], "{runs}");
    let text = fleet.flowherd(&["status"]).stdout;
    assert!(text.contains("about 6 of these messages are of no active run, perhaps of given-up"), "{text}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_damaged_file_of_the_fleets_ledger_is_named() {
    let fleet = Fleet::new(3, 20);
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first", "--watch"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let receipt = fleet.results_below("runs/first/receipts/").remove(0);
    fleet.results.put(&receipt, b"{").unwrap();
    let why = "it is damaged or of another version of Flowherd: ";
    let missing = fleet.flowherd(&["report", "first", "--missing"]);
    let message = format!("its receipt cannot be used: {why}");
    assert!(missing.status == 1 && missing.stdout.contains(&message), "{missing:?}");
    let resumed = fleet.flowherd(&["run", "--resume", "first", "--run", "second", "--watch", "--json"]);
    assert_eq!((resumed.status, &report(&resumed)["objects"]["skipped"]), (0, &2.into()), "{resumed:?}");
    assert_eq!(resumed.stderr.matches(&format!("flowherd: {receipt}: {why}")).count(), 1, "{resumed:?}");
    assert!(resumed.stderr.contains("; objects with such a receipt are converted again\n"), "{resumed:?}");
    stop(worker);

    let run = "runs/first/run.json";
    fleet.results.put(run, b"{").unwrap();
    let message = format!("flowherd: {run}: {why}");
    let runs = fleet.flowherd(&["runs"]);
    assert!(runs.status == 1 && runs.stderr.starts_with(&message), "{runs:?}");
    assert!(runs.stdout.contains("\nsecond "), "{runs:?}");
    for args in
        [&["report", "first"][..], &["status", "first"], &["verify", "first"], &["run", "--resume", "first"]]
    {
        let ran = fleet.flowherd(args);
        assert_eq!((ran.status, &*ran.stdout), (1, ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.starts_with(&message), "{args:?}: {ran:?}");
    }
    let taken = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first"]);
    assert!(taken.status == 1 && taken.stderr.contains("; choose another name for the run"), "{taken:?}");
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

/// Runs the command with exactly these variables.
fn with_only(variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    // Without these, the SDK would look for credentials in this machine's profiles and at the metadata service.
    let none = [("HOME", "/nonexistent"), ("AWS_EC2_METADATA_DISABLED", "true")];
    command.args(args).env_clear().envs(none).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(command.spawn().unwrap()).output()
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

#[test]
fn missing_credentials_are_one_line_and_verbose_prints_their_causes() {
    let region = ("AWS_REGION", "eu-west-1");
    for args in [&["status"][..], &["query", "SELECT 1"], &["estimate", "--prefix", "p"]] {
        let ran = with_only(&[region], args);
        let message = "flowherd: no AWS credentials found; set AWS_PROFILE or run `aws sso login`\n";
        assert_eq!((ran.status, &*ran.stderr), (2, message), "{args:?}");
        let verbose = with_only(&[region], &[args, &["--verbose"]].concat());
        let start = message.trim_end();
        assert!(verbose.status == 2 && verbose.stderr.starts_with(&format!("{start}: ")), "{verbose:?}");
    }
    let profile = with_only(&[region, ("AWS_PROFILE", "nobody")], &["status"]);
    assert_eq!(profile.status, 2, "{profile:?}");
    let message = "flowherd: AWS_PROFILE=nobody has no credentials; correct it, or run `aws sso login --profile nobody`\n";
    assert_eq!(profile.stderr, message);
}

#[test]
fn a_wrong_environment_is_reported_by_its_variable() {
    let region = ("AWS_REGION", "eu-west-1");
    let bucket = ("FLOWHERD_SOURCE_BUCKET", "source");
    let others = [bucket, ("FLOWHERD_RESULTS_BUCKET", "results")];
    let queue = ("FLOWHERD_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/tasks.fifo");
    let local = ("FLOWHERD_QUEUE_URL", "http://127.0.0.1:9324/000000000000/tasks.fifo");
    let cases: [(Vec<(&str, &str)>, &str); 5] = [
        (KEYS.to_vec(), "no AWS region found; set AWS_REGION"),
        (
            [&KEYS[..], &[region, ("AWS_ENDPOINT_URL", "localhost:4566")]].concat(),
            "AWS_ENDPOINT_URL=\"localhost:4566\" is not the URL",
        ),
        ([&KEYS[..], &[region], &others].concat(), "FLOWHERD_QUEUE_URL is not set; an example: https://sqs."),
        ([&KEYS[..], &[region, queue], &others].concat(), "set AWS_REGION=us-east-1"),
        ([&KEYS[..], &[region, local], &others].concat(), "AWS_ENDPOINT_URL is not set"),
    ];
    for (variables, message) in cases {
        let ran = with_only(&variables, &["status"]);
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains(message), "{message}: {ran:?}");
    }
}

#[test]
fn a_statement_that_may_change_data_needs_a_flag() {
    for sql in [
        "DROP TABLE t",
        "/* x */ DROP TABLE t",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
    ] {
        let refused = with_only(&[], &["query", sql]);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.ends_with("run without --allow-changes\n"), "{sql}: {refused:?}");
        // The next check finds no AWS.
        let allowed = with_only(&[], &["query", "--allow-changes", sql]);
        assert!(allowed.stderr.contains("no AWS region found"), "{sql}: {allowed:?}");
    }
    let several = with_only(&[], &["query", "SELECT 1; DROP TABLE t"]);
    assert!(several.status == 2 && several.stderr.contains("several statements"), "{several:?}");
    for more in [&[][..], &["--allow-changes"]] {
        let empty = with_only(&[], &[&["query", " -- nothing"], more].concat());
        assert!(empty.status == 2 && empty.stderr.contains("the statement is empty"), "{empty:?}");
    }
}

#[test]
fn times_take_offsets_and_days_and_a_wrong_one_gets_an_example() {
    let print =
        |time: &[&str]| with_only(&[], &[&["query", "--named", "port-scans", "--print"], time].concat());
    let asked = print(&["--from", "2026-02-18T04:00+01:00", "--to", "2026-02-18T04:00Z"]);
    let condition = "\"timestamp\" >= TIMESTAMP '2026-02-18 03:00:00' AND \"timestamp\" < TIMESTAMP '2026-02-18 04:00:00'";
    assert!(asked.status == 0 && asked.stdout.contains(condition), "{asked:?}");
    for time in [
        &["--from", "2026-02-18"][..],
        &["--from", "yesterday"],
        &["--day", "today"],
        &["--day", "yesterday"],
    ] {
        assert_eq!(print(time).status, 0, "{time:?}");
    }
    for (time, example) in [
        (["--from", "noon"], "2026-02-18T04:00+01:00"),
        (["--day", "tuesday"], "2026-02-18, today or yesterday"),
        (["--last", "long"], "90m, 24h or 7d"),
    ] {
        let wrong = print(&time);
        let line = wrong.stderr.lines().next().unwrap_or_default();
        assert!(wrong.status == 2 && line.contains(example), "{time:?}: {wrong:?}");
    }
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
            &json!({ "run": name, "fleet": "main", "prefix": "p/", "config_hash": "c", "names_hash": "", "version": "1",
                "started": started, "manifest": { "parts": 0, "objects": 0, "bytes": 0 } })
            .to_string(),
        );
        let until_last = 9_999_999_999_999 - (1_771_372_800_000 + number * 1000);
        put(&format!("runs/.index/{until_last:013}/{name}/main/c/=p%2F"), "");
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
        |path: &str| ["/run.json", "/flowherd.toml", "/names.json"].iter().any(|file| path.ends_with(file));
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
    let of_bucket =
        report(&fleet.flowherd(&["estimate", "--bucket", "source", "--prefix", "firehose/", "--json"]));
    assert_eq!((&estimate["fleet"], &of_bucket["fleet"]), (&"main".into(), &Value::Null));
    let without_fleet = |mut estimate: Value| {
        estimate.as_object_mut().unwrap().remove("fleet");
        estimate
    };
    assert_eq!(without_fleet(of_bucket), without_fleet(estimate));
    assert!((LOG_BYTES * 0.5..=LOG_BYTES).contains(&bytes), "{bytes} bytes of log per object");
}

#[test]
fn the_estimate_of_a_directory_needs_neither_a_fleet_nor_aws() {
    let place = super::place::Place::new();
    place.object("a/1", &[0; 1000]).object("a/2", &[0; 500]).object("b/1", &[0; 1]);
    let source = place.path("in");
    let estimate = |more: &[&str]| {
        let ran = with_only(&[], &[&["estimate", source.to_str().unwrap()], more].concat());
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
        ran.stdout
    };
    let json: Value = serde_json::from_str(&estimate(&["--prefix", "a/", "--json"])).unwrap();
    let found = (&json["objects"], &json["bytes"], &json["largest_bytes"], &json["concurrency"]);
    assert_eq!(found, (&2.into(), &1500.into(), &1000.into(), &50.into()), "{json}");
    assert_eq!(json["unreserved_concurrency"], Value::Null);
    let text = estimate(&["--concurrency", "2"]);
    for part in [
        "objects",
        "elapsed time",
        "assumed: 2 workers at once with 1769 MB",
        "about $4.23 per month without a run",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let live: Value = serde_json::from_str(&estimate(&["--live", "--json"])).unwrap();
    assert!(live["live"]["live_total"].as_f64() > live["dollars"]["total"].as_f64(), "{live}");
    let text = estimate(&["--live"]);
    for part in ["these objects in a day", "as they arrive", "requests to the arrivals queue"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let of_fleet = with_only(&[], &["estimate", source.to_str().unwrap(), "--fleet", "main"]);
    assert!(of_fleet.status == 2 && of_fleet.stderr.contains("cannot be used with"), "{of_fleet:?}");
    let nowhere = with_only(&[], &["estimate", "nowhere"]);
    assert!(nowhere.status == 2 && nowhere.stderr.contains("no file or directory nowhere"), "{nowhere:?}");
    let none = with_only(&[], &["estimate"]);
    assert!(none.status == 2 && none.stderr.contains("--prefix"), "{none:?}");
}
