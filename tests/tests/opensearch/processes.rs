//! Three worker processes that send 300,000 rows, while workers and the node are killed.

use flowherd_shared::{
    ledger::{Receipt, layout, read_json},
    queue::{Queue, QueueDepth},
    store::Store,
};
use flowherd_tests::{ledger::keys_below, local_cloud::wait_until, search_node::SearchNode};
use serde_json::{Value, json};

use super::{
    fleet::{Documents, Fleet, documents, stop},
    rows::{flow_rows, object},
    session::{Session, flow_table},
};

const OBJECTS: u64 = 30;
const ROWS: u64 = 10_000;
const PATTERN: &str = "flowherd-vpc_flow-*";

pub(crate) fn worker_processes_that_are_killed_and_a_node_that_is_restarted_leave_every_row_once() {
    let mut node = SearchNode::start(&[]);
    let session = Session::new(&node);
    let fleet = Fleet::new(&session);
    let csv = object(&flow_table("vpc_flow"), flow_rows(ROWS));
    (0..OBJECTS).for_each(|number| fleet.results.put(&key(number), &csv).unwrap());
    let run = fleet.start(&["index", "--prefix", "csv/vpc_flow/", "--run", "first", "--watch", "--json"]);
    let mut workers: Vec<_> = (0..3).map(|_| fleet.indexer()).collect();

    // At least two of the three workers have sent a part of an object, so one of the two that are killed has.
    wait_until("a third of the documents are in the cluster", || {
        total(&documents(&session, PATTERN)) > OBJECTS * ROWS / 3
    });
    wait_until("two workers are in the middle of an object", || {
        workers.iter().for_each(|worker| worker.signal("STOP"));
        let parts = documents(&session, PATTERN);
        let has_parts = parts.iter().filter(|documents| documents.count < ROWS).count() >= 2;
        if !has_parts {
            workers.iter().for_each(|worker| worker.signal("CONT"));
        }
        has_parts
    });
    for mut worker in workers.drain(1..) {
        worker.signal("KILL");
        worker.wait();
    }
    workers[0].signal("CONT");
    workers.extend([fleet.indexer(), fleet.indexer()]);
    wait_until("two thirds of the documents are in the cluster", || {
        total(&documents(&session, PATTERN)) > OBJECTS * ROWS * 2 / 3
    });
    node.kill();
    node.start_again();

    let ran = run.output();
    assert_eq!(ran.status, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let counts = &report["documents"];
    let number = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((&report["state"], number("rows")), (&json!("done"), OBJECTS * ROWS), "{report}");
    assert_eq!((number("indexed") + number("existing"), number("refused")), (OBJECTS * ROWS, 0), "{report}");
    assert!(number("existing") > 0, "no attempt found documents of an earlier one: {report}");
    check_each_row_is_there_once(&session);
    check_receipts(&fleet, "first");
    assert_eq!(fleet.dead.depth().unwrap(), QueueDepth::default());
    let verified = fleet.json(&["index", "--prefix", "csv/vpc_flow/", "--verify"]);
    assert_eq!(verified["run"], "first");
    check_verified(&verified);

    let again = fleet.json(&["index", "--prefix", "csv/vpc_flow/", "--run", "again", "--watch"]);
    let expected = json!({ "rows": OBJECTS * ROWS, "indexed": 0, "existing": OBJECTS * ROWS, "refused": 0 });
    assert_eq!(again["documents"], expected);
    workers.into_iter().for_each(stop);
    check_each_row_is_there_once(&session);
    check_receipts(&fleet, "again");
    check_verified(&fleet.json(&["index", "--verify", "--run", "again"]));
}

fn key(number: u64) -> String {
    format!("csv/vpc_flow/{number:02}.csv.gz")
}

fn total(documents: &[Documents]) -> u64 {
    documents.iter().map(|documents| documents.count).sum()
}

fn check_each_row_is_there_once(session: &Session) {
    let expected = |number| Documents {
        object: key(number),
        count: ROWS,
        rows: [1.0, ROWS as f64, (ROWS * (ROWS + 1) / 2) as f64],
    };
    assert_eq!(documents(session, PATTERN), (0..OBJECTS).map(expected).collect::<Vec<_>>());
    assert_eq!(session.count(PATTERN, &json!({ "match_all": {} })), OBJECTS * ROWS);
}

fn check_receipts(fleet: &Fleet, run: &str) {
    let paths = keys_below(&fleet.results, &format!("runs/{run}/receipts/"));
    assert_eq!(paths.len() as u64, OBJECTS);
    for number in 0..OBJECTS {
        let path = layout::receipt(run, &key(number));
        let receipt: Receipt = read_json(&fleet.results, &path).unwrap().unwrap();
        let counts = receipt.documents.unwrap();
        assert_eq!(counts.indexed + counts.existing + counts.refused, counts.rows, "{path}");
        assert_eq!(counts.rows, ROWS, "{path}");
    }
}

fn check_verified(verified: &Value) {
    let expected =
        json!({ "objects": OBJECTS, "documents": OBJECTS * ROWS, "without_receipt": 0, "differences": [] });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&verified[name], value, "{name}: {verified}");
    }
}
