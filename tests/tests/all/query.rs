//! What queries see of the results.

use std::{fs, process::Command};

use flowherd_cli::query::questions::{Parameter, QUESTIONS};
use flowherd_tests::command::{files_below, flowherd};
use serde_json::Value;

use super::place::{PROGRAM, Place};

/// Runs statements in DuckDB, and gives the rows of the last one.
pub(crate) fn duckdb(definitions: &str, question: &str) -> Value {
    let program = "import duckdb, json, sys\n\
                   db = duckdb.connect()\n\
                   definitions, question = json.loads(sys.argv[1])\n\
                   db.execute('SET enable_progress_bar = false')\n\
                   db.execute(definitions)\n\
                   print(json.dumps(db.execute(question).fetchall(), default=str))";
    let input = serde_json::to_string(&[definitions, question]).unwrap();
    serde_json::from_str(&python(program, &input)).unwrap()
}

/// The views over what was converted.
pub(crate) fn definitions(place: &Place, more: &[&str]) -> String {
    let results = place.path("out");
    let args = ["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()];
    let ran = flowherd(PROGRAM, args.iter().chain(more));
    assert_eq!(ran.status, 0, "{ran:?}");
    ran.stdout
}

/// The views over one object with these events, converted by the place's rules.
fn views_of(place: &Place, group: &str, events: &[String]) -> String {
    let envelope = format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"{group}","logStream":"s","logEvents":[{}]}}"#,
        events.join(",")
    );
    place.object("a", envelope.as_bytes());
    let config = place.path("flowherd.toml");
    let config = ["--config", config.to_str().unwrap()];
    place.report_done(&config);
    definitions(place, &config)
}

/// Runs a Python program with one argument and returns its output.
pub(crate) fn python(program: &str, input: &str) -> String {
    let output =
        Command::new(flowherd_tests::python_server::python()).args(["-c", program, input]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_view_for_duckdb_has_the_rows_of_the_report_with_their_types() {
    let place = Place::synth(6, 300, &["--malformed", "2"]);
    let lookups = place.path("in/lookups.json");
    let report = place.report_done(&["--prefix", "firehose/", "--lookups", lookups.to_str().unwrap()]);
    let question = "SELECT count(*), count(bytes), typeof(any_value(bytes)), typeof(any_value(\"timestamp\")), \
                    count(*) FILTER (srcaddr IS NULL), count(*) FILTER (log_status <> 'OK') FROM vpc_flow";
    let rows = duckdb(&definitions(&place, &[]), question);
    let row = &rows[0];
    assert_eq!(row[0], report["records"]["rows"]);
    assert_eq!((&row[2], &row[3]), (&"BIGINT".into(), &"TIMESTAMP".into()));
    // What is absent is null, in numbers and in texts alike.
    assert_eq!(row[4], row[5]);
    assert_eq!(row[1].as_u64().unwrap() + row[4].as_u64().unwrap(), row[0].as_u64().unwrap());
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn every_view_and_question_is_in_the_dialect_of_athenas_engine() {
    let place = Place::new();
    let config = place.path("flowherd.toml");
    fs::write(&config, ODD_NAMES).unwrap();
    let config = config.to_str().unwrap();
    let mut statements: Vec<(&str, String)> = Vec::new();
    for more in [&[][..], &["--config", config], &["--firehose", "firehose/", "--firehose", "waf/"]] {
        let ran = flowherd(PROGRAM, ["sql"].iter().chain(more));
        assert_eq!(ran.status, 0, "{ran:?}");
        let sql = ran.stdout.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned);
        statements
            .extend(sql.map(|sql| (if sql.contains("EXTERNAL TABLE") { "athena" } else { "trino" }, sql)));
        let glue = flowherd(PROGRAM, ["sql", "--dialect", "glue"].iter().chain(more));
        assert_eq!(glue.status, 0, "{glue:?}");
        let glue: Value = serde_json::from_str(&glue.stdout).unwrap();
        let queries = glue["queries"].as_array().unwrap();
        statements.extend(queries.iter().map(|query| ("trino", query["sql"].as_str().unwrap().to_owned())));
    }
    for question in QUESTIONS {
        let mut args = vec!["query", "--named", question.name, "--print"];
        for parameter in question.needed.iter().chain(question.optional) {
            args.extend(match parameter {
                Parameter::Ip => ["--ip", "10.0.0.5"],
                Parameter::Interface => ["--interface", "eni-1"],
                Parameter::Port => ["--port", "22"],
                Parameter::Run => ["--run", "monday"],
                Parameter::AtLeast(_) => ["--at-least", "7"],
                Parameter::Limit => ["--limit", "3"],
            });
        }
        let ran = flowherd(PROGRAM, args);
        assert_eq!(ran.status, 0, "{ran:?}");
        statements.push(("trino", ran.stdout));
    }
    assert!(statements.len() > 60, "{}", statements.len());
    let program = "import json, sys, sqlglot\n\
                   for dialect, sql in json.loads(sys.argv[1]):\n\
                   \x20   tree = sqlglot.parse_one(sql, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)\n\
                   \x20   assert not isinstance(tree, sqlglot.exp.Command), sql\n\
                   print('read')";
    assert_eq!(python(program, &serde_json::to_string(&statements).unwrap()), "read\n");
}

/// Names that SQL has other meanings for, and two spellings of null.
const ODD_NAMES: &str = r#"
[[rule]]
name = "odd"
match = { log_group = "odd" }
table = "table"
[rule.format]
kind = "regex"
pattern = '^(?P<end>\S*) (?P<select>\S*) (?P<Timestamp_2>\S*) (?P<table>\S*) ?(?P<rest>x?)$'
types = { end = "timestamp", select = "double", Timestamp_2 = "boolean", table = "int" }

[[rule]]
name = "flow"
table = "vpc_flow"
format = { kind = "vpc-flow" }
"#;

#[test]
#[ignore = "needs .venv; run `make test`"]
fn columns_may_have_names_that_sql_has_other_meanings_for() {
    let place = Place::new();
    place.file("flowherd.toml", ODD_NAMES.as_bytes());
    let event = |message: &str| format!(r#"{{"id":"1","timestamp":1771372800123,"message":"{message}"}}"#);
    let events = [
        "2026-02-18T01:02:03Z 1.5 true 7",
        "- - - -",
        "yesterday many perhaps 4000000000",
        "epoch many yes 1.5",
        "2026-02-18T01:02:03+02:00 1e3 F -7",
        "2026-02-18T01:02:03 0.5 0 07",
    ]
    .map(event);
    let views = views_of(&place, "odd", &events);
    let question = "SELECT \"timestamp\", \"end\", \"select\", timestamp_2, \"table\", rest FROM \"table\"";
    let rows = duckdb(&views, question);
    let at = "2026-02-18 00:00:00.123000";
    assert_eq!(rows[0], serde_json::json!([at, "2026-02-18 01:02:03", 1.5, true, 7, ""]));
    assert_eq!(rows[1], serde_json::json!([at, null, null, null, null, ""]));
    // What does not fit its type is null; the text table still has it.
    assert_eq!(rows[2], rows[1]);
    assert_eq!(rows[3], rows[1]);
    assert_eq!(rows[4], serde_json::json!([at, "2026-02-17 23:02:03", 1000.0, false, -7, ""]));
    assert_eq!(rows[5], serde_json::json!([at, "2026-02-18 01:02:03", 0.5, false, 7, ""]));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_ledger_says_in_sql_what_is_missing_and_why() {
    let place = Place::synth(4, 50, &["--malformed", "10"]);
    let key = files_below(&place.path("in/firehose")).remove(1);
    let path = place.path("in/firehose").join(&key);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let ran = place.convert(&["--prefix", "firehose/", "--run", "monday"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    // The path of the results has a run's form itself.
    let runs = place.path("runs/x/receipts");
    fs::create_dir_all(&runs).unwrap();
    fs::rename(place.path("out"), runs.join("out")).unwrap();
    std::os::unix::fs::symlink(runs.join("out"), place.path("out")).unwrap();
    let results = runs.join("out");
    let print = |args: &[&str]| {
        let ran = flowherd(PROGRAM, args);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout
    };
    let views = print(&["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()]);
    let question = print(&["query", "--named", "missing-objects", "--run", "monday", "--print"]);
    let rows = duckdb(&views, &question);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!((&rows[0][0], &rows[0][2]), (&format!("firehose/{key}").into(), &"failed".into()));
    assert!(rows[0][5].as_str().unwrap().contains("truncated"), "{rows}");

    let report: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/monday/report.json")).unwrap()).unwrap();
    let counts = duckdb(
        &views,
        "SELECT count(*), sum(records.rows), sum(records.rejected), sum(rejects['field-count']), sum(outputs[1].rows), \
         (SELECT count(*) FROM ledger_rejects WHERE reason = 'field-count'), (SELECT count(*) FROM ledger_manifest), \
         (SELECT min(\"timestamp\") >= TIMESTAMP '2026-02-18' FROM ledger_rejects WHERE reason = 'field-count') \
         FROM ledger_receipts WHERE run = 'monday'",
    );
    let expected = [
        &report["objects"]["done"],
        &report["records"]["rows"],
        &report["records"]["rejected"],
        &report["rejects"]["field-count"],
        &report["tables"]["vpc_flow"],
        &report["rejects"]["field-count"],
        &report["objects"]["listed"],
        &true.into(),
    ];
    let text = |count: &Value| count.as_str().map_or_else(|| count.to_string(), str::to_owned);
    let counted: Vec<String> = counts[0].as_array().unwrap().iter().map(text).collect();
    assert_eq!(counted, expected.map(Value::to_string));
    assert!(report["rejects"]["field-count"].as_u64().unwrap() > 0, "{report}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn duckdb_reads_every_value_as_it_was_written() {
    let values = [
        r"C:\temp\new",
        r"\",
        r#"say "hi""#,
        r#"""#,
        r#"\""#,
        "a,b,,c",
        "%2D 100%",
        "\u{e9}\u{4e2d}\u{1f500}",
        "",
        " ",
        "'",
        "tab\there",
        "two\nlines\r\n",
        "null",
        "NULL",
        "\\N",
        "e'\\x01'",
        "2026-02-18",
        "1e5",
        "{\"a\":[1]}",
        "#",
        "-x",
    ];
    let place = Place::new();
    let config = "[[rule]]\nname = \"odd\"\ntable = \"odd\"\n[rule.format]\nkind = \"json\"\ncolumns = [ { name = \
                  \"number\", path = \"/n\", type = \"int\" }, { name = \"value\", path = \"/v\" } ]\n";
    place.file("flowherd.toml", config.as_bytes());
    let events: Vec<String> = (0..)
        .zip(values)
        .map(|(number, value)| {
            let message = serde_json::json!({ "n": number, "v": value }).to_string();
            serde_json::json!({ "id": "1", "timestamp": 1_771_372_800_123_i64, "message": message })
                .to_string()
        })
        .collect();
    let views = views_of(&place, "g", &events);
    let rows = duckdb(&views, "SELECT value FROM odd ORDER BY number");
    let read: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    // A line break is written as two characters: Hive and Athena read line by line.
    let written: Vec<String> =
        values.iter().map(|value| value.replace('\n', "\\n").replace('\r', "\\r")).collect();
    assert_eq!(read, written);
}
