//! Fleets with driver map on the local cloud: both functions as processes, and a deployed stack. ministack ignores the
//! `ItemBatcher` of a Distributed Map, so its children have single items. The test invokes the functions with batches too.

use std::time::Duration;

use flowherd_shared::{
    ledger::ManifestEntry,
    store::{Lister, Store},
};
use flowherd_tests::local_cloud::Function;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cloud::{COORDINATOR, Fleet, WORKER},
    deployed::{Deployed, json as printed},
    place::Place,
};

/// Creates the functions of a map fleet, as the stack does.
fn functions(fleet: &Fleet) {
    let environment = fleet.environment();
    let names = environment.iter().find(|(name, _)| *name == "FLOWHERD_NAMES").unwrap().1.clone();
    let buckets = [("FLOWHERD_SOURCE_BUCKET", "source"), ("FLOWHERD_RESULTS_BUCKET", "results")];
    let fleets = r#"{"bulk":{"driver":"map","prefixes":["firehose/"]}}"#;
    let function = |name, program, settings: &[(&str, &str)]| {
        let environment = [&buckets[..], settings].concat();
        let timeout = Duration::from_mins(1);
        fleet.cloud.function(&Function { name, program, files: &[], environment: &environment, timeout });
    };
    function("coordinator", COORDINATOR, &[("FLOWHERD_FLEETS", fleets), ("FLOWHERD_NAMES", &names)]);
    function("worker", WORKER, &[("FLOWHERD_MAP", "Flowherd-bulk")]);
}

fn item(object: &ManifestEntry) -> Value {
    let ManifestEntry { key, size, etag } = object;
    json!({"v": 1, "run": "r", "fleet": "bulk", "bucket": "source", "key": key, "size": size, "etag": etag})
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_functions_of_a_map_fleet_take_batches_and_single_items_and_write_the_outputs_of_convert() {
    let fleet = Fleet::new(13, 20);
    functions(&fleet);
    let coordinator = |event: &Value| fleet.cloud.invoke("coordinator", event);
    let refused = coordinator(&json!({"prefix": "firehose/"})).unwrap_err();
    assert_eq!(refused["errorType"], "Refused", "{refused}");
    assert!(refused["errorMessage"].as_str().unwrap().contains("only the step loop"), "{refused}");

    let mut state = coordinator(&json!({"operation": "begin", "prefix": "firehose/", "run": "r"})).unwrap();
    while state["operation"] == "plan" {
        state = coordinator(&state).unwrap();
    }
    assert_eq!((&state["operation"], &state["fleet"]), (&json!("map"), &json!("bulk")), "{state}");

    let objects = fleet.source.page("firehose/", None).unwrap().entries;
    let items: Vec<Value> = objects.iter().map(item).collect();
    let work = |attempt: u32, input: &Value| {
        fleet.cloud.invoke(
            "worker",
            &json!({"attempt": attempt, "started": Timestamp::now().to_string(), "input": input}),
        )
    };
    let batch = json!({"Items": items[..10]});
    assert_eq!(work(1, &batch).unwrap(), json!({"done": 10, "failed": 0}));
    assert_eq!(work(2, &batch).unwrap(), json!({"done": 10, "failed": 0}));
    for single in &items[10..] {
        assert_eq!(work(1, single).unwrap(), json!({"done": 1, "failed": 0}));
    }
    // An event of a queue, and a run that the ledger does not have.
    for (event, error_type) in [
        (json!({"Records": []}), "Refused"),
        (
            json!({"attempt": 1, "started": Timestamp::now().to_string(), "input": {"Items": [{"Key": "a"}]}}),
            "Refused",
        ),
        (
            json!({"attempt": 1, "started": Timestamp::now().to_string(), "input": {"Items": [with_run(&items[0], "nobody")]}}),
            "Retry",
        ),
        // Its child has ended.
        (json!({"attempt": 6, "started": "2026-01-01T00:00:00Z", "input": items[10]}), "Retry"),
    ] {
        let failed = fleet.cloud.invoke("worker", &event).unwrap_err();
        assert_eq!(failed["errorType"], error_type, "{event}: {failed}");
    }

    state["ended"] = json!(true);
    while state["operation"] != "end" {
        state = coordinator(&state).unwrap();
    }
    assert_eq!(state["state"], "done", "{state}");
    let report = Store::get(&fleet.results, state["report"].as_str().unwrap()).unwrap().unwrap();
    fleet.check_same_as_convert(&serde_json::from_slice(&report).unwrap());
}

fn with_run(item: &Value, run: &str) -> Value {
    let mut item = item.clone();
    item["run"] = json!(run);
    item
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_map_fleet_runs_a_prefix_without_a_queue_and_names_what_failed() {
    let deployed =
        Deployed::with_settings(Place::synth(12, 20, &["--malformed", "3"]), &[], &["driver=map".to_owned()]);
    let source = deployed.cloud.aws().bucket("archive", None);
    let run = |args: &[&str]| deployed.flowherd(&[&["run"], args, &["--watch", "--json"]].concat());
    let ran = run(&["--prefix", "firehose/", "--run", "monday"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let local = deployed.place.report_done(&["--prefix", "firehose/"]);
    for part in ["objects", "records", "tables", "rejects", "bytes"] {
        assert_eq!(printed(&ran)[part], local[part], "{part}");
    }
    assert!(deployed.outputs("monday") == deployed.place.results(), "other outputs than those of convert");

    let objects = source.page("firehose/", None).unwrap().entries;
    let key = &objects[3].key;
    let whole = Store::get(&source, key).unwrap().unwrap();
    source.put(key, &whole[..whole.len() - 3]).unwrap();
    let ran = run(&["--prefix", "firehose/", "--run", "tuesday"]);
    let report = printed(&ran);
    assert_eq!(
        (ran.status, &report["objects"]["done"], &report["objects"]["failed"]),
        (1, &11.into(), &1.into())
    );
    assert_eq!(report["failures"][0]["key"], key.as_str(), "{report}");

    // Both need a queue. `run --resume` replaces them.
    for command in [&["redrive", "tuesday"][..], &["rerun", "--prefix", "firehose/"]] {
        let refused = deployed.flowherd(command);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.contains("fleet main has driver map, so it has no queue; "), "{refused:?}");
    }
    source.put(key, &whole).unwrap();
    let ran = run(&["--resume", "tuesday", "--run", "wednesday"]);
    let report = printed(&ran);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        (&report["objects"]["done"], &report["objects"]["skipped"]),
        (&1.into(), &11.into()),
        "{report}"
    );
    // Its workers are those of the fleet, and a map is never live.
    let estimated = deployed.flowherd(&["estimate", "--prefix", "firehose/", "--json"]);
    let estimate = printed(&estimated);
    for (part, value) in [("fleet", json!("main")), ("driver", json!("map")), ("objects", json!(12))] {
        assert_eq!(estimate[part], value, "{estimated:?}");
    }
    assert_eq!(
        (&estimate["express_requests"], &estimate["sqs_requests"]),
        (&2.into(), &0.into()),
        "{estimate}"
    );
    let text = deployed.flowherd(&["estimate", "--prefix", "firehose/", "--fleet", "main"]);
    assert!(text.stdout.contains("Step Functions executions"), "{text:?}");
    let live = deployed.flowherd(&["estimate", "--prefix", "firehose/", "--live"]);
    assert!(live.status == 2 && live.stderr.contains("a fleet with driver map cannot be live"), "{live:?}");
    let status = deployed.flowherd(&["status"]);
    assert_eq!(status.status, 0, "{status:?}");
    assert!(status.stdout.starts_with("no run is active\n"), "{status:?}");
}
