//! SQL on the results of `flowherd convert`, in DuckDB.

use std::{fs, process::Command};

use flowherd_cli::query::questions::{Parameter, QUESTIONS, Question};
use flowherd_tests::{
    command::{Ran, files_below, flowherd},
    objects::{FLOW, envelope, event, gzip},
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

/// Runs statements in DuckDB and returns the rows of the last one.
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

/// Returns the statements that create the views over the results.
pub(crate) fn definitions(place: &Place, more: &[&str]) -> String {
    let results = place.path("out");
    let args = ["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()];
    let ran = flowherd(PROGRAM, args.iter().chain(more));
    assert_eq!(ran.status, 0, "{ran:?}");
    ran.stdout
}

/// Converts one object with these events by the rules of the place. Returns the statements that create the views.
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
    let names = place.path("in/names.json");
    let report = place.report_done(&["--prefix", "firehose/", "--names", names.to_str().unwrap()]);
    let question = "SELECT count(*), count(bytes), typeof(any_value(bytes)), typeof(any_value(\"timestamp\")), \
                    count(*) FILTER (srcaddr IS NULL), count(*) FILTER (log_status <> 'OK') FROM vpc_flow";
    let rows = duckdb(&definitions(&place, &[]), question);
    let row = &rows[0];
    assert_eq!(row[0], report["records"]["rows"]);
    assert_eq!((&row[2], &row[3]), (&"BIGINT".into(), &"TIMESTAMP".into()));
    // Absent numbers and absent texts are null.
    assert_eq!(row[4], row[5]);
    assert_eq!(row[1].as_u64().unwrap() + row[4].as_u64().unwrap(), row[0].as_u64().unwrap());
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn every_view_and_question_is_in_the_dialect_of_athenas_engine() {
    let place = Place::new();
    let config = place.path("flowherd.toml");
    fs::write(&config, WORDS_OF_SQL).unwrap();
    let config = config.to_str().unwrap();
    let mut statements: Vec<(&str, String)> = Vec::new();
    let layouts = [
        &["--layout", "firehose/{yyyy/MM/dd/HH}/", "--layout", "waf/{yyyy/MM/dd/HH}/"][..],
        &["--layout", "AWSLogs/{account}/vpcflowlogs/{region:eu-west-1,us-east-1}/{yyyy/MM/dd}/"],
        &["--layout", "year={yyyy}/month={MM}/day={dd}/hour={HH}/"],
    ];
    for more in [&[][..], &["--config", config]].into_iter().chain(layouts) {
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
    let networks = [("rejected-by-source", "10.0.0.0/16"), ("rejected-by-source", "2001:db8::/48")];
    let of_one = QUESTIONS.iter().map(|question| (question, "10.0.0.5"));
    let of_network = networks.map(|(name, network)| (Question::find(name).unwrap(), network));
    for (question, network) in of_one.chain(of_network) {
        let mut args = vec!["query", "--named", question.name, "--print"];
        for parameter in question.needed.iter().chain(question.optional) {
            args.extend(match parameter {
                Parameter::Ip => ["--ip", network],
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
    // Of the page of a run, whose checks by time need a row.
    let message = envelope("vpc", &[event(1_771_408_800_000, FLOW)]);
    place.object("firehose/k.gz", &gzip(message.as_bytes()));
    place.convert(&["--run", "r"]);
    let page = fs::read_to_string(place.path("out/runs/r/report.html")).unwrap();
    let of_page = page.split("<code class=\"sql\">").skip(1).map(|sql| sql.split("</code>").next().unwrap());
    let before = statements.len();
    statements.extend(of_page.map(|sql| ("trino", sql.replace("&quot;", "\""))));
    assert_eq!(statements.len() - before, 9);
    assert!(statements.len() > 60, "{}", statements.len());
    let program = "import json, sys, sqlglot\n\
                   for dialect, sql in json.load(open(sys.argv[1])):\n\
                   \x20   tree = sqlglot.parse_one(sql, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)\n\
                   \x20   assert not isinstance(tree, sqlglot.exp.Command), sql\n\
                   print('read')";
    // In a file, because an argument of a program has at most 128 KiB.
    place.file("statements.json", &serde_json::to_vec(&statements).unwrap());
    assert_eq!(python(program, place.path("statements.json").to_str().unwrap()), "read\n");
}

/// Columns whose names are words of SQL, of all types.
const WORDS_OF_SQL: &str = r#"
[[rule]]
name = "words"
match = { log_group = "words" }
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
fn columns_may_have_names_that_are_words_of_sql() {
    let place = Place::new();
    place.file("flowherd.toml", WORDS_OF_SQL.as_bytes());
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
    let views = views_of(&place, "words", &events);
    let question = "SELECT \"timestamp\", \"end\", \"select\", timestamp_2, \"table\", rest FROM \"table\"";
    let rows = duckdb(&views, question);
    let at = "2026-02-18 00:00:00.123000";
    assert_eq!(rows[0], serde_json::json!([at, "2026-02-18 01:02:03", 1.5, true, 7, ""]));
    assert_eq!(rows[1], serde_json::json!([at, null, null, null, null, ""]));
    // A value that does not fit its type is null.
    assert_eq!(rows[2], rows[1]);
    assert_eq!(rows[3], rows[1]);
    assert_eq!(rows[4], serde_json::json!([at, "2026-02-17 23:02:03", 1000.0, false, -7, ""]));
    assert_eq!(rows[5], serde_json::json!([at, "2026-02-18 01:02:03", 0.5, false, 7, ""]));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn sql_on_the_ledger_returns_the_missing_objects_and_why() {
    let place = Place::synth(4, 50, &["--malformed", "10"]);
    let key = files_below(&place.path("in/firehose")).remove(1);
    let path = place.path("in/firehose").join(&key);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let ran = place.convert(&["--prefix", "firehose/", "--run", "monday"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    // The path of the results itself looks like the path of a ledger file.
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
fn duckdb_reads_every_value_unchanged() {
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
    let config = "[[rule]]\nname = \"values\"\ntable = \"quoted\"\n[rule.format]\nkind = \"json\"\ncolumns = [ { name = \
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
    let rows = duckdb(&views, "SELECT value FROM quoted ORDER BY number");
    let read: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    // The CSV has a line break as two characters, because Hive and Athena read line by line.
    let written: Vec<String> =
        values.iter().map(|value| value.replace('\n', "\\n").replace('\r', "\\r")).collect();
    assert_eq!(read, written);
}

/// The template of keys with a form, and a function that gives such a key.
type Form = (&'static str, fn(u32) -> String);

const FORMS: [Form; 5] = [
    ("firehose/{yyyy/MM/dd/HH}/", |hour| format!("firehose/2026/02/18/{hour:02}/a")),
    ("AWSLogs/{account}/vpcflowlogs/{region}/{yyyy/MM/dd}/", |hour| {
        let region = ["us-east-1", "eu-west-1"][hour as usize % 2];
        format!("AWSLogs/123456789012/vpcflowlogs/{region}/2026/02/18/{hour}.log.gz")
    }),
    ("year={yyyy}/month={MM}/day={dd}/hour={HH}/", |hour| {
        format!("year=2026/month=02/day=18/hour={hour:02}/a")
    }),
    (
        "AWSLogs/aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/year={yyyy}/month={MM}/day={dd}/",
        |hour| {
            format!(
                "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=02/\
                 day=18/{hour}.log.gz"
            )
        },
    ),
    ("team={team}/dt={yyyy-MM-dd}/", |hour| format!("team=t{}/dt=2026-02-18/{hour}", hour % 3)),
];

/// Converts a synthesised day with keys of one form.
fn day_with_keys(key: fn(u32) -> String) -> Place {
    let day = Place::synth(24, 50, &["--malformed", "4"]);
    let place = Place::new();
    for (hour, name) in (0..).zip(files_below(&day.path("in/firehose"))) {
        place.object(&key(hour), &fs::read(day.path("in/firehose").join(name)).unwrap());
    }
    place.report_done(&[]);
    place
}

/// Returns rows of numbers.
fn rows(answer: &Value) -> Vec<Vec<u64>> {
    let numbers = |row: &Value| row.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect();
    answer.as_array().unwrap().iter().map(numbers).collect()
}

/// Runs `flowherd sql` on the results of a place.
fn sql(place: &Place, more: &[&str]) -> Ran {
    let results = place.path("out");
    let args = ["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()];
    flowherd(PROGRAM, args.iter().chain(more))
}

#[test]
fn a_layout_that_does_not_fit_the_keys_is_refused_with_their_layout() {
    for (template, key) in FORMS {
        let place = Place::new();
        let mut keys: Vec<String> = (0..3).map(key).collect();
        keys.sort_unstable();
        for key in &keys {
            place.object(key, b"2 1 eni-1 10.0.0.1 10.0.0.2 1 2 6 1 40 1771372800 1771372801 ACCEPT OK\n");
        }
        place.report_done(&[]);
        let refused = sql(&place, &["--layout", "logs/{yyyy/MM/dd/HH}/"]);
        assert_eq!((refused.status, &*refused.stdout), (2, ""), "{refused:?}");
        for part in ["\"logs/{yyyy/MM/dd/HH}/\"", "0 of 3 keys", &keys[0], &format!("{template:?} (3)")] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
        let accepted = sql(&place, &["--layout", template]);
        assert_eq!((accepted.status, &*accepted.stderr), (0, ""), "{accepted:?}");

        // The same keys as a list.
        let list = place.path("keys.txt");
        fs::write(&list, keys.join("\r\n")).unwrap();
        let list = ["sql", "--keys", list.to_str().unwrap(), "--layout"];
        let refused_list = flowherd(PROGRAM, [&list[..], &["logs/{yyyy/MM/dd/HH}/"]].concat());
        assert_eq!((refused_list.status, refused_list.stderr), (2, refused.stderr));
        let accepted = flowherd(PROGRAM, [&list[..], &[template]].concat());
        assert_eq!(accepted.status, 0, "{accepted:?}");
        let columns = template.matches("{account}").count()
            + template.matches("{region}").count()
            + template.matches("{team}").count();
        // The rows and the rejects have a table each.
        assert_eq!(accepted.stdout.matches("type' = 'enum'").count(), 2 * columns, "{accepted:?}");
    }
}

#[test]
fn a_layout_without_a_sample_of_keys_is_reported_as_unchecked() {
    let layout = ["sql", "--layout", "AWSLogs/{account}/{yyyy/MM/dd}/"];
    let ran = flowherd(PROGRAM, layout);
    assert_eq!(ran.status, 0, "{ran:?}");
    for part in ["the layouts are not checked", "--keys", "{account:VALUE,VALUE}"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.stdout.contains("'projection.account.type' = 'injected'"), "{ran:?}");
    let place = Place::new();
    place.file("keys.txt", b"\n\n");
    for (keys, reason) in [("keys.txt", "has no key"), ("missing.txt", "cannot read")] {
        let path = place.path(keys);
        let refused = flowherd(PROGRAM, [&layout[..], &["--keys", path.to_str().unwrap()]].concat());
        assert!(refused.status == 2 && refused.stderr.contains(reason), "{refused:?}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn views_have_the_folders_of_the_keys_as_columns() {
    for (template, key) in FORMS {
        let place = day_with_keys(key);
        let views = sql(&place, &["--layout", template]);
        assert_eq!(views.status, 0, "{views:?}");
        let hourly = template.contains("HH");
        let time = if hourly { "datehour" } else { "day" };
        let last = key(23);
        let value = &last[last.find("2026").unwrap()..last.rfind('/').unwrap()];
        let counts = |view: &str| {
            format!(
                "SELECT (SELECT count(*) FROM {view}_everywhere), count(*), count(*) FILTER ({time} BETWEEN '2026' AND '{value}'), \
                 count(*) FILTER ({time} = '{value}') FROM {view}"
            )
        };
        let both = format!("{} UNION ALL {}", counts("vpc_flow"), counts("ledger_rejects"));
        for counts in rows(&duckdb(&views.stdout, &both)) {
            let [everywhere, all, to_last, of_last] = counts[..] else { panic!("{counts:?}") };
            assert!(everywhere >= 10 && all == everywhere && to_last == all, "{template}: {counts:?}");
            assert!(of_last > 0 && (of_last == all) != hourly, "{template}: {counts:?}");
        }
        if template.contains("{region}") {
            let by = "SELECT account, region, count(DISTINCT day) FROM vpc_flow GROUP BY ALL ORDER BY region DESC LIMIT 1";
            let expected = serde_json::json!([["123456789012", "us-east-1", 1]]);
            assert_eq!(duckdb(&views.stdout, by), expected, "{template}");
        }
        let question =
            flowherd(PROGRAM, ["query", "--named", "top-talkers", "--day", "2026-02-18", "--print"]);
        let answer = duckdb(&views.stdout, &question.stdout);
        assert_eq!(answer.as_array().unwrap().len(), 20, "{template}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn keys_that_fit_no_layout_are_reported_and_have_their_rows_in_the_view_of_all_files() {
    let (template, _) = FORMS[0];
    let place = day_with_keys(|hour| if hour == 5 { "other/a".to_owned() } else { FORMS[0].1(hour) });
    let views = sql(&place, &["--layout", template]);
    assert_eq!(views.status, 0, "{views:?}");
    for part in ["1 of 24 keys fits no --layout", "\"other/a\"", "…_everywhere"] {
        assert!(views.stderr.contains(part), "{part}: {views:?}");
    }
    let rows = duckdb(
        &views.stdout,
        "SELECT (SELECT count(*) FROM vpc_flow), (SELECT count(*) FROM vpc_flow_everywhere), \
         (SELECT sum(outputs[1].rows) FROM ledger_receipts WHERE key = 'other/a')",
    );
    let count = |at: usize| rows[0][at].to_string().trim_matches('"').parse::<u64>().unwrap();
    assert!(count(2) > 0 && count(0) + count(2) == count(1), "{rows}");
}
