//! A live fleet on the local cloud: the time limit of the arrivals function, and the close of a day by its name.

use std::time::Duration;

use flowherd_shared::{
    queue::Queue,
    store::{Lister, Store},
};
use flowherd_tests::{
    command::{Running, flowherd_in},
    local_cloud::{Function, LocalCloud},
    objects::{FLOW, envelope, event, gzip},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cloud::{COORDINATOR, WORKER, report, stop},
    place::PROGRAM,
};

const DAY: &str = "2026-02-18";

/// Returns the environment of a live fleet with the queue of this URL.
fn environment(queue: &str) -> [(&'static str, String); 3] {
    let fleets = json!({ "main": { "queueUrl": queue, "prefixes": ["p/"], "live": true } });
    [
        ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
        ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
        ("FLOWHERD_FLEETS", fleets.to_string()),
    ]
}

fn object() -> Vec<u8> {
    gzip(envelope("g", &[event(1, FLOW)]).as_bytes())
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_arrivals_function_returns_the_messages_for_which_it_has_no_time() {
    let cloud = LocalCloud::start();
    let source = cloud.bucket("source");
    let _results = cloud.bucket("results");
    let (queue, url, _) = cloud.queue("tasks", Duration::from_secs(30), 5);
    let environment = environment(&url);
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    // It begins no day with less than 20 seconds.
    for (name, timeout) in [("short", Duration::from_secs(15)), ("long", Duration::from_mins(2))] {
        cloud.function(&Function {
            name,
            program: COORDINATOR,
            files: &[],
            environment: &environment,
            timeout,
        });
    }
    source.put("p/2026/02/18/a", &object()).unwrap();
    let entry = source.page("p/", None).unwrap().entries.remove(0);
    let body = json!({
        "version": "0", "detail-type": "Object Created", "source": "aws.s3", "time": format!("{DAY}T10:00:00Z"),
        "detail": {"version": "0", "bucket": {"name": "source"},
            "object": {"key": entry.key, "size": entry.size, "etag": entry.etag.trim_matches('"')}},
    });
    let arn = "arn:aws:sqs:us-east-1:000000000000:arrivals";
    let event = json!({"Records": [{"messageId": "m", "body": body.to_string(), "eventSourceARN": arn}]});
    let answer = cloud.invoke("short", &event).unwrap();
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "m"}]}));
    assert_eq!(queue.depth().unwrap().sum(), 0);
    let answer = cloud.invoke("long", &event).unwrap();
    assert_eq!((answer, queue.depth().unwrap().sum()), (json!({"batchItemFailures": []}), 1));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn today_can_be_closed_by_that_word() {
    let cloud = LocalCloud::start();
    let source = cloud.bucket("source");
    let _results = cloud.bucket("results");
    let (_, url, _) = cloud.queue("tasks", Duration::from_secs(30), 5);
    // Without a date in its path, it is an object of the day on which it is written.
    source.put("p/a", &object()).unwrap();
    let common: Vec<(&str, String)> =
        cloud.environment().chain([("FLOWHERD_SETTLE_SECONDS", "10".to_owned())]).collect();
    let of_worker = [&environment(&url)[..2], &[("FLOWHERD_QUEUE_URL", url.clone())]].concat();
    let of_worker = common.iter().cloned().chain(of_worker);
    let worker = Running::start_in(WORKER, of_worker, ["--poll", "--concurrency", "2"]).without_output();
    let today = || Timestamp::now().strftime("live-main-%Y-%m-%d").to_string();
    let before = today();
    let args = ["live", "close", "--day", "today", "--watch", "--json"];
    let ran = flowherd_in(PROGRAM, common.into_iter().chain(environment(&url)), args);
    let after = today();
    stop(worker);
    let report: Value = report(&ran);
    // The test may run at midnight.
    let run = report["run"].as_str().unwrap();
    assert!([&*before, &*after].contains(&run), "{ran:?}");
    if before == after {
        assert_eq!((ran.status, &report["objects"]["done"]), (0, &1.into()), "{ran:?}");
    }
}
