//! What queries see of the results.

use std::{path::Path, process::Command};

use flowherd_tests::command::flowherd;
use serde_json::Value;

use super::command::{PROGRAM, Place};

/// Runs statements in DuckDB, and gives the rows of the last one.
fn duckdb(definitions: &str, question: &str) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/bin/python");
    let program = "import duckdb, json, sys\n\
                   db = duckdb.connect()\n\
                   db.execute(sys.argv[1])\n\
                   print(json.dumps(db.execute(sys.argv[2]).fetchall(), default=str))";
    let output = Command::new(python).args(["-c", program, definitions, question]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_view_for_duckdb_has_the_rows_of_the_report_with_their_types() {
    let place = Place::synth(6, 300, &["--odd", "2"]);
    let lookups = place.path("in/lookups.json");
    let report = place.report(&["--prefix", "firehose/", "--lookups", lookups.to_str().unwrap()]);
    let results = place.path("out");
    let ran = flowherd(PROGRAM, ["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let question = "SELECT count(*), count(bytes), typeof(any_value(bytes)), typeof(any_value(\"timestamp\")), \
                    count(*) FILTER (srcaddr IS NULL), count(*) FILTER (log_status <> 'OK') FROM vpc_flow";
    let rows = duckdb(&ran.stdout, question);
    let row = &rows[0];
    assert_eq!(row[0], report["records"]["rows"]);
    assert_eq!((&row[2], &row[3]), (&"BIGINT".into(), &"TIMESTAMP".into()));
    // What is absent is null, in numbers and in texts alike.
    assert_eq!(row[4], row[5]);
    assert_eq!(row[1].as_u64().unwrap() + row[4].as_u64().unwrap(), row[0].as_u64().unwrap());
}
