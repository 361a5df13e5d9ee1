//! The commands of an index fleet, as users call them.

use flowherd_indexer::client::Method;
use flowherd_shared::store::Store;
use flowherd_tests::objects::{FLOW, envelope, event, gzip};
use serde_json::{Value, json};

use super::{
    fleet::{Fleet, documents, stop},
    session::Session,
};

const RULES: &str = r#"
[[rule]]
name = "app"
match = { log_group = "app" }
table = "then_app"
format = { kind = "regex", pattern = '^user (?P<user>\w+)$' }
[[rule]]
name = "flow"
table = "then_flow"
format = { kind = "vpc-flow" }
"#;

const FLOW_INDEX: &str = "flowherd-then_flow-2020.02.01";

pub(crate) fn commands_index_verify_and_drop_the_tables_of_a_resumed_run(session: &Session) {
    let fleet = Fleet::with_rules(session, RULES);
    let flows: Vec<String> = (0..5).map(|at| event(1_580_515_200_000 + at, FLOW)).collect();
    let users: Vec<String> = (0..3).map(|at| event(1_771_405_200_000 + at, &format!("user u{at}"))).collect();
    let (flows, users) =
        (gzip(envelope("flow", &flows).as_bytes()), gzip(envelope("app", &users).as_bytes()));
    fleet.source.put("firehose/flow.gz", &flows).unwrap();
    fleet.source.put("firehose/users.gz", &users[..users.len() - 5]).unwrap();
    let workers = [fleet.converter(), fleet.indexer()];

    let failed =
        fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first", "--watch", "--then", "index"]);
    assert_eq!(failed.status, 1, "{failed:?}");
    assert_eq!(index_runs(&fleet), [""; 0], "a run with failures is not indexed");
    fleet.source.put("firehose/users.gz", &users).unwrap();
    // The resumed run skips the flow logs, so its own report has only the other table.
    let args = ["run", "--resume", "first", "--run", "second", "--watch", "--then", "index"];
    let resumed = fleet.flowherd(&args);
    assert_eq!(resumed.status, 0, "{resumed:?}");
    let report = fleet.json(&["report", "second"]);
    assert_eq!((&report["tables"], &report["objects"]["skipped"]), (&json!({ "then_app": 3 }), &json!(1)));
    assert_eq!(index_runs(&fleet), ["csv/then_app/firehose/", "csv/then_flow/firehose/"]);
    let counts = |pattern| documents(session, pattern).iter().map(|object| object.count).collect::<Vec<_>>();
    assert_eq!((counts("flowherd-then_app-*"), counts("flowherd-then_flow-*")), (vec![3], vec![5]));
    to_one_index(session, &fleet);
    workers.into_iter().for_each(stop);

    for estimate in [&["--bucket", "results"][..], &[]] {
        let args = ["estimate", "--index", "--prefix", "csv/then_flow/"];
        let estimate = fleet.json(&[&args[..], estimate].concat());
        assert_eq!(
            (&estimate["documents"], &estimate["objects_with_receipt"]),
            (&json!(5), &json!(1)),
            "{estimate}"
        );
    }
    verify(session, &fleet);
    drop_index(session, &fleet);
}

/// Returns the prefixes of all index runs, sorted.
fn index_runs(fleet: &Fleet) -> Vec<String> {
    let runs = fleet.json(&["runs", "--fleet", "index"]);
    let prefix = |run: &Value| run["prefix"].as_str().unwrap().to_owned();
    let mut prefixes: Vec<String> = runs.as_array().unwrap().iter().map(prefix).collect();
    prefixes.sort();
    prefixes
}

/// Runs with `--to` are compared apart from the others.
fn to_one_index(session: &Session, fleet: &Fleet) {
    let users = ["--prefix", "csv/then_app/firehose/"];
    let to = ["--to", "then-app"];
    let index = |more: &[&str]| fleet.flowherd(&[&["index"][..], &users, more].concat());
    let ran = index(&[&to[..], &["--run", "one", "--watch"]].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    let verified = index(&[&to[..], &["--verify"]].concat());
    assert!(verified.status == 0 && verified.stdout.contains("run one of fleet index"), "{verified:?}");
    assert!(verified.stdout.contains("index then-app\n1 object with 3 documents"), "{verified:?}");
    let of_settings = index(&["--verify"]);
    assert!(
        of_settings.status == 0 && of_settings.stdout.contains("indices flowherd-{table}-"),
        "{of_settings:?}"
    );
    session.ok(Method::Delete, "/then-app", &Value::Null);
    let dropped = index(&[&to[..], &["--verify"]].concat());
    let repair = "  flowherd index --prefix csv/then_app/firehose/ --to then-app\n";
    assert!(dropped.status == 1 && dropped.stdout.contains(repair), "{dropped:?}");

    // A run without objects proves nothing.
    let empty = ["index", "--prefix", "csv/then_app/none/"];
    let ran = fleet.flowherd(&[&empty[..], &["--run", "none", "--watch"]].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    let verified = fleet.flowherd(&[&empty[..], &["--verify"]].concat());
    assert!(verified.status == 1 && verified.stdout.contains("no object was compared"), "{verified:?}");
}

fn verify(session: &Session, fleet: &Fleet) {
    let latest = ["index", "--prefix", "csv/then_flow/firehose/", "--verify"];
    let verified = fleet.flowherd(&latest);
    assert_eq!(verified.status, 0, "{verified:?}");
    assert!(verified.stdout.contains("1 object with 5 documents in the cluster"), "{verified:?}");

    // Nobody works, so another run of the prefix does not end.
    let open = fleet.flowherd(&["index", "--prefix", "csv/then_flow/firehose/", "--run", "open"]);
    assert_eq!(open.status, 0, "{open:?}");
    let verified = fleet.flowherd(&latest);
    assert!(
        verified.status == 0 && verified.stderr.contains("run open of the prefix has no report yet"),
        "{verified:?}"
    );
    // A report of a run that is in progress does not end it.
    let report = fleet.flowherd(&["report", "open", "--now"]);
    assert!(report.stdout.contains("incomplete"), "{report:?}");
    let verified = fleet.flowherd(&latest);
    assert!(
        verified.status == 0
            && verified
                .stdout
                .contains("prefix csv/then_flow/firehose/, indices flowherd-{table}-{yyyy.MM.dd}")
            && verified.stderr.contains("run open of the prefix is incomplete"),
        "{verified:?}"
    );
    fleet.results.put("runs/open/report.json", b"{").unwrap();
    let verified = fleet.flowherd(&latest);
    assert!(
        verified.status == 1
            && verified.stdout.contains("each object with a receipt has its documents")
            && verified.stderr.contains("runs/open/report.json: it is damaged"),
        "{verified:?}"
    );
    fleet.results.remove("runs/open/report.json").unwrap();
    let verified = fleet.flowherd(&["index", "--verify", "--run", "open"]);
    assert!(verified.status == 1 && verified.stdout.contains("1 object has no receipt"), "{verified:?}");

    let all = json!({ "query": { "match_all": {} } });
    let found = session.ok(Method::Post, &format!("/{FLOW_INDEX}/_search"), &all);
    let id = found["hits"]["hits"][0]["_id"].as_str().unwrap();
    session.ok(Method::Delete, &format!("/{FLOW_INDEX}/_doc/{id}"), &Value::Null);
    let verified = fleet.flowherd(&latest);
    assert_eq!(verified.status, 1, "{verified:?}");
    let line = "csv/then_flow/firehose/flow.gz.csv.gz: 4 in the cluster, 5 in the receipt";
    assert!(verified.stdout.contains(line), "{verified:?}");

    for (args, why) in [
        (&["--verify", "--prefix", "csv/then_flow/"][..], "no index run of prefix \"csv/then_flow/\""),
        (&["--verify", "--run", "second"], "run second converts objects and has no documents"),
        (&["--verify", "--run", "open", "--prefix", "csv/x/"], "run open has the prefix"),
        (&["--verify", "--run", "open", "--fleet", "main"], "run open is of fleet index, not of fleet main"),
        (&["--verify", "--run", "open", "--to", "then-one"], "not to index then-one"),
        (
            &["--verify", "--prefix", "csv/then_flow/firehose/", "--to", "then-one"],
            "no index run of prefix \"csv/then_flow/firehose/\" with --to then-one",
        ),
        (&["--verify", "--prefix", "csv/then_flow/", "--fleet", "main"], "fleet main converts objects"),
    ] {
        let refused = fleet.flowherd(&[&["index"], args].concat());
        assert!(refused.status == 2 && refused.stderr.contains(why), "{args:?}: {refused:?}");
    }
}

fn drop_index(session: &Session, fleet: &Fleet) {
    let exists = |index: &str| session.send(Method::Head, &format!("/{index}"), &Value::Null).0 == 200;
    let question = ["index", "--drop", "flowherd-then_flow-*"];
    let unasked = fleet.flowherd(&question);
    assert!(unasked.status == 2 && unasked.stderr.contains("add --yes"), "{unasked:?}");
    let declined = fleet.answer(&question, "no");
    assert!(declined.status == 2 && declined.text().contains("nothing was deleted"), "{}", declined.text());
    assert!(declined.text().contains("1 index with 4 documents"), "{}", declined.text());
    assert!(exists(FLOW_INDEX));
    let typed = fleet.answer(&question, "flowherd-then_flow-*");
    assert!(typed.status == 0 && typed.text().contains("deleted 1 index"), "{}", typed.text());
    assert!(!exists(FLOW_INDEX));
    let again = fleet.flowherd(&[&question[..], &["--yes"]].concat());
    assert!(again.status == 2 && again.stderr.contains("the cluster has no index"), "{again:?}");

    session.ok(Method::Put, "/foreign-then", &json!({}));
    let foreign = fleet.flowherd(&["index", "--drop", "foreign-then", "--yes"]);
    let kept = "nothing was deleted: Flowherd did not create \"foreign-then\"";
    assert!(foreign.status == 2 && foreign.stderr.contains(kept), "{foreign:?}");
    assert!(exists("foreign-then"));
}
