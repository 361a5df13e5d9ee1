//! Several fleets on the local cloud: of one environment with pollers, and of a deployed stack.

use std::{thread, time::Duration};

use flowherd_shared::{queue::Queue, store::Store};
use flowherd_tests::{
    command::{Ran, Running, flowherd_in},
    local_cloud::{LocalCloud, wait_until},
    objects::{FLOW, envelope, event, gunzip},
};
use serde_json::{Value, json};

use crate::{
    cloud::{WORKER, stop},
    deployed::{Deployed, json as parsed},
    place::{PROGRAM, Place},
};

const FLOOD: u64 = 40;

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_small_fleet_ends_while_the_flood_of_another_is_queued() {
    let cloud = LocalCloud::start();
    let (source, _results) = (cloud.bucket("source"), cloud.bucket("results"));
    let text = envelope("g", &[event(1, FLOW)]);
    let keys =
        (0..FLOOD).map(|number| format!("flow/{number}")).chain((0..3).map(|number| format!("waf/{number}")));
    keys.for_each(|key| source.put(&key, text.as_bytes()).unwrap());
    let (flow, flow_url, _dead) = cloud.queue("flow", Duration::from_secs(10), 5);
    let (_, waf_url, _dead) = cloud.queue("waf", Duration::from_secs(10), 5);
    let fleets = json!({
        "flow": { "queueUrl": flow_url, "prefixes": ["flow/"] },
        "waf": { "queueUrl": waf_url, "prefixes": ["waf/"] },
        // A fleet that cannot work does not stop the others.
        "broken": { "queueUrl": waf_url.replace("waf.fifo", "none.fifo"), "prefixes": ["none/"] },
    });
    let buckets = || {
        let buckets = [("FLOWHERD_SOURCE_BUCKET", "source"), ("FLOWHERD_RESULTS_BUCKET", "results")];
        cloud.environment().chain(buckets.map(|(name, value)| (name, value.to_owned())))
    };
    let flowherd = |args: &[&str]| -> Ran {
        flowherd_in(PROGRAM, buckets().chain([("FLOWHERD_FLEETS", fleets.to_string())]), args)
    };
    let worker = |url: &String| {
        let environment = buckets().chain([("FLOWHERD_QUEUE_URL", url.clone())]);
        Running::start_in(WORKER, environment, ["--poll", "--concurrency", "2"]).without_output()
    };

    let flood = flowherd(&["run", "--prefix", "flow/", "--run", "flood"]);
    assert_eq!(flood.status, 0, "{flood:?}");
    let of_waf = worker(&waf_url);
    let small = flowherd(&["run", "--prefix", "waf/", "--run", "small", "--watch", "--json"]);
    let report = parsed(&small);
    assert_eq!(
        (small.status, &report["objects"]["done"], &report["fleet"]),
        (0, &3.into(), &"waf".into()),
        "{small:?}"
    );
    assert_eq!(flow.depth().unwrap().visible, FLOOD);

    let status = flowherd(&["status", "--json"]);
    assert_eq!(status.status, 1, "{status:?}");
    assert!(
        status.stderr.contains("flowherd: fleet broken: FLOWHERD_FLEETS: the queueUrl of broken, "),
        "{status:?}"
    );
    let queues = &parsed(&status)["queues"];
    let counts = |queue: &Value| (queue["fleet"].clone(), queue["waiting"].clone());
    let counts: Vec<_> = queues.as_array().unwrap().iter().map(counts).collect();
    assert_eq!(counts, [("flow".into(), FLOOD.into()), ("waf".into(), 0.into())]);
    let one = flowherd(&["status", "--fleet", "flow"]);
    assert!(one.status == 0 && one.stdout.contains("flood  flow   flow/"), "{one:?}");
    let broken = flowherd(&["run", "--prefix", "none/"]);
    assert!(broken.status == 2 && broken.stderr.contains("the queueUrl of broken"), "{broken:?}");
    refusals(&flowherd);

    let of_flow = worker(&flow_url);
    let flood = flowherd(&["report", "flood"]);
    assert!(flood.status <= 1, "{flood:?}");
    wait_until("the flood is done", || flowherd(&["report", "flood"]).status == 0);
    stop(of_waf);
    stop(of_flow);
    let runs = flowherd(&["runs"]).stdout;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(runs.lines().next().unwrap())[..4], ["run", "fleet", "prefix", "state"], "{runs}");
    let lines: Vec<_> = runs.lines().skip(1).map(|line| words(line)[..4].join(" ")).collect();
    assert_eq!(lines, ["flood flow flow/ done", "small waf waf/ done"], "{runs}");
    let only = parsed(&flowherd(&["runs", "--fleet", "waf", "--json"]));
    assert_eq!((only.as_array().map(Vec::len), &only[0]["run"]), (Some(1), &"small".into()), "{only}");
}

/// Without a fleet that fits, nothing is begun.
fn refusals(flowherd: &dyn Fn(&[&str]) -> Ran) {
    for (args, why) in [
        (&["run", "--prefix", "other/"][..], "no fleet has a prefix with which \"other/\" begins"),
        (
            &["run", "--prefix", "waf/", "--fleet", "flow"],
            "prefix \"waf/\" is outside the prefixes of fleet flow",
        ),
        (&["rerun", "--prefix", "waf/", "--fleet", "nobody"], "no fleet named \"nobody\""),
        (&["status", "--fleet", "nobody"], "no fleet named \"nobody\""),
        (&["redrive", "small", "--fleet", "flow"], "run small is of fleet waf, not of fleet flow"),
    ] {
        let refused = flowherd(args);
        assert!(refused.status == 2 && refused.stderr.contains(why), "{args:?}: {refused:?}");
    }
}

const APP_RULES: &str = r#"
[[rule]]
name = "app"
table = "app"
format = { kind = "regex", pattern = '^user (?P<user>\w+)$' }
"#;

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_stack_runs_two_fleets_at_once_each_with_its_rules() {
    let place = Place::synth(6, 20, &[]);
    let rules = place.file("app.toml", APP_RULES.as_bytes()).path("app.toml");
    let fleets = json!({
        "main": { "prefixes": ["firehose/"] },
        "app-logs": { "prefixes": ["app/"], "configFile": rules, "maxConcurrency": 2, "workerMemoryMb": 256 },
    });
    let deployed = Deployed::with_settings(place, &[], &[format!("fleets={fleets}")]);
    let source = deployed.cloud.aws().bucket("archive", None);
    for user in ["one", "two", "three"] {
        source.put(&format!("app/{user}"), format!("user {user}\n").as_bytes()).unwrap();
    }
    let run = |prefix: &str, name: &str| {
        let ran = deployed.flowherd(&["run", "--prefix", prefix, "--run", name, "--watch", "--json"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        parsed(&ran)
    };
    let (flows, apps) = thread::scope(|scope| {
        let (flows, apps) = (scope.spawn(|| run("firehose/", "flows")), scope.spawn(|| run("app/", "apps")));
        (flows.join().unwrap(), apps.join().unwrap())
    });
    assert_eq!((&flows["fleet"], &flows["objects"]["done"]), (&"main".into(), &6.into()), "{flows}");
    assert_eq!(flows["tables"], json!({ "vpc_flow": 120 }));
    assert_eq!((&apps["fleet"], &apps["objects"]["done"]), (&"app-logs".into(), &3.into()), "{apps}");
    assert_eq!(apps["tables"], json!({ "app": 3 }));
    let rows = Store::get(&deployed.results("apps"), "csv/app/app/one.csv.gz").unwrap().unwrap();
    assert_eq!(String::from_utf8(gunzip(&rows)).unwrap(), "timestamp,user\n-,one\n");
    let status = deployed.flowherd(&["status"]);
    let queues: Vec<Vec<&str>> =
        status.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    for queue in [["app-logs", "0", "0", "0"], ["main", "0", "0", "0"]] {
        assert!(queues.iter().any(|line| *line == queue), "{status:?}");
    }
}
