//! The statements of docs/security.md, checked on a fleet on the local cloud with hostile objects.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use flowherd_aws::{Aws, s3::Bucket};
use flowherd_shared::{
    config::Config,
    ledger::{ReportState, layout},
    pipeline::RunConfig,
    queue::Queue,
    store::{Lister, Sink, Source, Store},
    task::Task,
};
use flowherd_tests::{
    local_cloud::LocalCloud,
    objects::{FLOW, convert, envelope, event, gunzip, gzip},
    recording_proxy::{RecordingProxy, Request},
};
use serde_json::Value;

use super::{
    day::{ACCOUNT, CONTENT, DAY, SECRETS},
    delivery::{counts, send},
    fleet::Fleet,
};

#[test]
#[ignore = "needs .venv; run `make test`"]
fn our_own_log_has_no_secrets_no_log_content_and_no_forged_lines() {
    let day = &*DAY;
    let report: Value = day
        .results
        .iter()
        .find(|(path, _)| *path == layout::report("second"))
        .map(|(_, report)| serde_json::from_slice(report).unwrap())
        .unwrap();
    assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &6.into()), "{report}");
    for (path, bytes) in &day.results {
        let text = if bytes.starts_with(b"\x1f\x8b") { gunzip(bytes) } else { bytes.clone() };
        let mut text = String::from_utf8(text).unwrap();
        // The examples of rejects have log content, and are the only ones in the ledger: receipts, report and its page.
        let receipt = path.split_once("/receipts/").is_some_and(|(run, _)| run.starts_with("runs/"));
        if receipt || path.ends_with("/report.json") {
            let mut ledger: Value = serde_json::from_str(&text).unwrap();
            ledger.as_object_mut().unwrap().remove("examples");
            text = ledger.to_string();
        }
        // Rows and rejects contain the log's content on purpose.
        let is_output = path.starts_with("csv/") || path.starts_with("rejects/");
        let may_hold = is_output && !path.contains("/flows") && !path.contains("/header")
            || path.starts_with("rejects/")
            || path.ends_with("/report.html");
        assert!(may_hold || !text.contains(CONTENT), "{path}: {text}");
        assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{path}: {text}");
    }
    assert!(day.results.iter().any(|(path, bytes)| {
        path.starts_with("csv/app/") && String::from_utf8(gunzip(bytes)).unwrap().contains(CONTENT)
    }));
    for text in [&day.stdout, &day.stderr, &day.commands] {
        assert!(!text.is_empty() && !text.contains('\u{1b}') && !text.contains(CONTENT), "{text}");
        assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
    }

    let mut messages = BTreeSet::new();
    for line in day.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
        let is_ours = text("target").starts_with("flowherd");
        assert!(is_ours || !matches!(&*text("level"), "DEBUG" | "TRACE"), "{line}");
        assert!(line.get("_aws").is_none() && text("message") != "forged", "{line}");
        messages.insert(text("message"));
    }
    assert!(["polling", "done", "failed"].iter().all(|message| messages.contains(*message)), "{messages:?}");
    assert!(day.stderr.contains("odd-word"), "the error quotes one word of the log");
    for line in day.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let named = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        assert!(named.len() >= 3 && line["Queue"] == "tasks.fifo", "{line}");
    }
}

/// Returns the permissions of a role in docs/security.md: actions and resources.
fn role(heading: &str) -> BTreeSet<(String, String)> {
    let document = read("docs/security.md");
    let (_, section) = document.split_once(&format!("\n### {heading}\n")).unwrap();
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let words =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut rights = BTreeSet::new();
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').collect();
        for resource in words(cells[3]) {
            rights.extend(words(cells[2]).into_iter().map(|action| (action, resource.clone())));
        }
    }
    assert!(rights.len() > 3, "{heading}");
    rights
}

/// Returns the permissions that a request needs: action and resource.
fn needed(request: &Request) -> Vec<(String, String)> {
    if let Some(target) = request.header("x-amz-target") {
        let body = String::from_utf8_lossy(&request.body);
        let action = target.rsplit('.').next().unwrap().trim_end_matches("Batch");
        let queue = if body.contains("tasks-dead.fifo") { "DEAD_LETTERS" } else { "QUEUE" };
        return vec![(format!("sqs:{action}"), queue.to_owned())];
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (bucket, key) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if (&*request.method, key) == ("POST", "") {
        assert!(bucket == "results" && query.split('&').any(|part| part == "delete"), "{request:?}");
        let body = String::from_utf8_lossy(&request.body);
        let keys = regex::Regex::new("<Key>([^<]+)</Key>").unwrap();
        let needed: Vec<_> = keys
            .captures_iter(&body)
            .map(|key| ("s3:DeleteObject".to_owned(), format!("RESULTS/{}", &key[1])))
            .collect();
        assert!(needed.len() > 1, "{body}");
        return needed;
    }
    let action = match (&*request.method, key) {
        ("GET", "") => {
            assert!(query.contains("list-type=2"), "{request:?}");
            assert!(bucket != "source" || query.contains("prefix=firehose%2F"), "{query}");
            "s3:ListBucket"
        }
        ("HEAD", "") => "s3:ListBucket",
        ("GET" | "HEAD", _) => "s3:GetObject",
        ("DELETE", _) if query.contains("uploadId=") => "s3:AbortMultipartUpload",
        ("DELETE", _) => "s3:DeleteObject",
        ("PUT" | "POST", _) => "s3:PutObject",
        _ => panic!("{request:?}"),
    };
    let place = match bucket {
        "source" => "SOURCE",
        "results" => "RESULTS",
        "names" => return vec![(action.to_owned(), "NAMES".to_owned())],
        _ => panic!("{request:?}"),
    };
    vec![(action.to_owned(), if key.is_empty() { place.to_owned() } else { format!("{place}/{key}") })]
}

/// Returns whether a policy's resource, in which `*` is any text, matches this one.
fn covers(pattern: &str, resource: &str) -> bool {
    let pattern = regex::escape(&pattern.replace("PREFIX", "firehose/")).replace("\\*", "(?s:.*)");
    regex::Regex::new(&format!("^{pattern}$")).unwrap().is_match(resource)
}

/// Checks that the role allows each request, and that each permission outside `not_seen` was used.
fn check_role(heading: &str, requests: &[Request], not_seen: &[(&str, &str)]) {
    let rights = role(heading);
    let mut used = BTreeSet::new();
    for (method, (action, resource)) in requests
        .iter()
        .flat_map(|request| needed(request).into_iter().map(|needed| (&request.method, needed)))
    {
        // The 403 of a denied `HeadBucket` says that the bucket exists, and names its region.
        if method == "HEAD" && resource == "SOURCE" {
            continue;
        }
        let by: Vec<_> = rights.iter().filter(|(may, on)| *may == action && covers(on, &resource)).collect();
        assert!(!by.is_empty(), "{heading}: {action} {resource}");
        used.extend(by);
    }
    let is_elsewhere = |action: &str| action.starts_with("logs:") || action.starts_with("kms:");
    let unused: Vec<(&str, &str)> = rights
        .iter()
        .filter(|right| !used.contains(right) && !is_elsewhere(&right.0))
        .map(|(action, resource)| (&**action, &**resource))
        .collect();
    assert_eq!(unused, not_seen, "{heading}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn neither_function_sends_a_request_that_its_role_denies() {
    let worker = [
        // Needed to abort uploads; this run aborts none.
        ("s3:AbortMultipartUpload", "RESULTS/csv/*"),
        ("s3:AbortMultipartUpload", "RESULTS/rejects/*"),
        // Needed for retries after transient failures; this run has none.
        ("s3:GetObject", "RESULTS/active/*"),
    ];
    check_role("Role of the worker", &DAY.by_worker, &worker);
    let coordinator = [
        // Needed with `namesRefresh`; this run refreshes nothing.
        ("ec2:DescribeInstances", "*"),
        ("ec2:DescribeNatGateways", "*"),
        ("ec2:DescribeNetworkInterfaces", "*"),
        ("ec2:DescribeSubnets", "*"),
        ("ec2:DescribeVpcEndpoints", "*"),
        ("ec2:DescribeVpcs", "*"),
        // Needed with `configFile` and `namesFile`; this run has `namesUrl`.
        ("s3:GetObject", "CONFIG_FILE"),
        ("s3:GetObject", "ENRICH_FILE"),
        ("s3:GetObject", "ENRICH_URL"),
        ("s3:GetObject", "NAMES_FILE"),
        // Needed with `namesRefresh`.
        ("s3:GetObject", "RESULTS/names/names.json"),
        ("s3:PutObject", "RESULTS/names/names.json"),
        // Needed with `[[enrich]]`.
        ("s3:PutObject", "RESULTS/runs/*/enrich/*"),
        // Needed if the reconciliation takes several calls.
        ("s3:PutObject", "RESULTS/runs/*/report.unfinished.json"),
        // Needed with `live`.
        ("s3:PutObject", "RESULTS/runs/live-*/begin.json"),
        ("s3:PutObject", "RESULTS/runs/live-*/closing.json"),
        ("s3:PutObject", "RESULTS/runs/live-*/cursor.json"),
        // Needed with `namesRoleArns`.
        ("sts:AssumeRole", "MEMBER_ROLE"),
    ];
    check_role("Role of the coordinator", &DAY.by_coordinator, &coordinator);
}

#[test]
fn each_action_that_reads_names_is_a_right_of_the_coordinator_and_there_is_no_other() {
    let code = read("shared/aws/src/ec2/inventory.rs");
    let action = regex::Regex::new("\"(Describe\\w+)\"").unwrap();
    let actions: BTreeSet<String> =
        action.captures_iter(&code).map(|found| format!("ec2:{}", &found[1])).collect();
    let rights = role("Role of the coordinator").into_iter().map(|(action, _)| action);
    assert_eq!(rights.filter(|action| action.starts_with("ec2:")).collect::<BTreeSet<_>>(), actions);
}

fn check_owner(request: &Request) {
    let (method, target) = (&request.method, &request.target);
    assert_eq!(request.header("x-amz-expected-bucket-owner"), Some(ACCOUNT), "{method} {target}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn every_request_to_a_bucket_names_its_expected_owner() {
    let cloud = LocalCloud::start();
    let proxy = RecordingProxy::start(cloud.endpoint["http://".len()..].parse().unwrap());
    let aws: Aws = cloud.through(&proxy.endpoint);
    let _ = cloud.bucket("bucket");
    let bucket: Bucket = aws.bucket("bucket", Some(ACCOUNT));
    bucket.put("d/k", b"text").unwrap();
    assert_eq!(Store::get(&bucket, "d/k").unwrap().unwrap(), b"text");
    assert!(bucket.etag("d/k").unwrap().is_some());
    assert_eq!(bucket.names_below("").unwrap(), ["d"]);
    let listed = bucket.page("", None).unwrap().entries.remove(0);
    assert_eq!(Source::head(&bucket, "d/k").unwrap().unwrap(), listed);
    bucket.open(&listed).unwrap().read_to_end(&mut Vec::new()).unwrap();
    for is_committed in [true, false] {
        let mut sink = bucket.create("large").unwrap();
        sink.write_all(&vec![0; 17 << 20]).unwrap();
        if is_committed {
            sink.commit().unwrap();
        }
    }
    bucket.remove("large").unwrap();

    let requests = proxy.requests();
    requests.iter().for_each(check_owner);
    let kinds: BTreeSet<(&str, &str)> = requests
        .iter()
        .map(|request| {
            let names = ["list-type", "uploads", "partNumber", "uploadId"];
            let query = request.target.split_once('?').map_or("", |(_, query)| query);
            (&*request.method, names.into_iter().find(|name| query.contains(name)).unwrap_or_default())
        })
        .collect();
    let all = [
        ("DELETE", ""),
        ("DELETE", "uploadId"),
        ("GET", ""),
        ("GET", "list-type"),
        ("HEAD", ""),
        ("POST", "uploadId"),
        ("POST", "uploads"),
        ("PUT", ""),
        ("PUT", "partNumber"),
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
    let code = read("shared/aws/src/s3.rs") + &sources(&["shared/aws/src/s3"]);
    assert_eq!(code.matches(".send()").count(), code.matches(".set_expected_bucket_owner(").count());

    // The programs pass the owner from their settings.
    let asked = DAY.by_worker.iter().chain(&DAY.by_coordinator);
    asked.filter(|request| request.header("x-amz-target").is_none()).for_each(check_owner);
}

#[test]
fn a_forged_task_never_makes_a_run_done() {
    let fleet = Fleet::new(3);
    let keys = fleet.source.keys();
    let step = fleet.plan("r", "");
    let forge = |key: &str, etag: Option<&str>| {
        let mut task = Task {
            run: "r".to_owned(),
            fleet: "main".to_owned(),
            bucket: "logs".to_owned(),
            object: fleet.source.entry(key),
        };
        task.object.etag = etag.map_or(task.object.etag, str::to_owned);
        send(&fleet.queue, task.group(), task.body(), &format!("{key} {etag:?}"));
    };
    // A message is lost, and forged ones name another version of its object, or any version.
    let lost = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    fleet.queue.delete(&lost.handle).unwrap();
    let lost = Task::parse(&lost.body).unwrap().object.key;
    forge(&lost, Some("\"another\""));
    forge(&lost, Some("*"));
    // Another object is done, and then processed again in a version that was not listed.
    fleet.drain(1);
    let done = keys.iter().rfind(|key| **key != lost).unwrap();
    fleet.source.put(done, gzip(envelope("g", &[event(1, FLOW)]).as_bytes()));
    forge(done, None);
    // A forged message names a key that was not listed.
    fleet.source.put("elsewhere", gzip(b""));
    forge("elsewhere", None);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Incomplete, 1, 0, 2));
    assert!(
        fleet.queue.dead().iter().any(|body| body.contains("\"*\"")),
        "a message for any version is not refused"
    );
}

#[test]
fn a_pattern_that_backtracks_catastrophically_in_other_engines_ends() {
    let rules =
        "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '^(?P<a>(x+x+)+)y$' }";
    let plan = RunConfig::from(Config::parse(rules).unwrap());
    let object = envelope("g", &[event(1, &"x".repeat(100_000))]);
    let (counts, _) = convert(object.as_bytes(), "k", &plan).unwrap();
    assert_eq!((counts.read, counts.rejected), (1, 1));
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All text of the source files below these directories.
fn sources(directories: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = directories.iter().flat_map(|directory| walkdir::WalkDir::new(root.join(directory)));
    let paths = files.map(|file| file.unwrap().into_path());
    let is_source =
        |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "rs" || end == "ts");
    paths.filter(is_source).map(|path| fs::read_to_string(path).unwrap()).collect()
}
