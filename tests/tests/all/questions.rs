//! The predefined questions on a day with an incident. `flowherd synth --incident` prints its details.

mod networks;

use std::path::Path;

use flowherd_shared::{config::Config, store::Store};
use flowherd_tests::command::flowherd;
use serde_json::Value;

use super::{
    deployed::{Deployed, json},
    place::{PROGRAM, Place},
    query::{definitions, duckdb},
};

const DAY: [&str; 2] = ["--day", "2026-02-18"];
const ENTRY: &str = "10.8.0.10";

/// Returns the rows of an answer as text, in the order of its columns.
fn rows(answer: &Value) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    answer.as_array().unwrap().iter().map(|row| row.as_array().unwrap().iter().map(text).collect()).collect()
}

/// The questions, each with its arguments besides the day, and the facts of the incident that its answer must have.
fn asked() -> Vec<(&'static str, Vec<&'static str>, Facts)> {
    let hour = vec!["--from", "2026-02-18T03:00", "--to", "2026-02-18T06:00"];
    vec![
        (
            "top-talkers",
            vec![],
            Facts::First(vec![
                ("srcaddr", "10.8.3.12"),
                ("dstaddr", "198.19.250.66"),
                ("bytes", "6000000000"),
            ]),
        ),
        (
            "who-talked-to",
            vec!["--ip", ENTRY],
            Facts::First(vec![("peer", "198.19.7.7"), ("direction", "from peer"), ("port", "22")]),
        ),
        (
            "rejected-by-port",
            vec!["--ip", ENTRY, "--limit", "500"],
            Facts::Some(vec![("port", "119"), ("flows", "1"), ("sources", "1")]),
        ),
        (
            "rejected-by-source",
            vec!["--ip", "198.19.7.0/24"],
            Facts::All(vec![vec![
                ("srcaddr", "198.19.7.7"),
                ("flows", "118"),
                ("targets", "1"),
                ("ports", "118"),
            ]]),
        ),
        (
            "connections-to-port",
            vec!["--port", "3389", "--ip", "10.8.0.0/16"],
            Facts::First(vec![
                ("srcaddr", "10.8.2.13"),
                ("dstaddr", "10.8.3.12"),
                ("action", "ACCEPT"),
                ("flows", "20"),
            ]),
        ),
        (
            "lateral-movement",
            vec!["--ip", ENTRY],
            Facts::All(vec![
                vec![
                    ("hop", "1"),
                    ("srcaddr", ENTRY),
                    ("dstaddr", "10.8.2.13"),
                    ("port", "22"),
                    ("first_seen", "2026-02-18 03:05:00"),
                ],
                vec![
                    ("hop", "2"),
                    ("srcaddr", "10.8.2.13"),
                    ("dstaddr", "10.8.3.12"),
                    ("port", "3389"),
                    ("first_seen", "2026-02-18 03:30:00"),
                ],
            ]),
        ),
        (
            "long-lived-flows",
            vec![],
            Facts::All(vec![vec![
                ("srcaddr", "198.19.7.7"),
                ("srcport", "51515"),
                ("dstaddr", ENTRY),
                ("dstport", "22"),
                ("minutes", "150"),
            ]]),
        ),
        (
            "bytes-out",
            vec![],
            Facts::First(vec![
                ("dstaddr", "198.19.250.66"),
                ("bytes", "6000000000"),
                ("largest_source", "10.8.3.12"),
            ]),
        ),
        (
            "new-destinations",
            hour,
            Facts::First(vec![("dstaddr", "198.19.250.66"), ("bytes", "6000000000"), ("sources", "1")]),
        ),
        (
            "port-scans",
            vec![],
            Facts::All(vec![vec![
                ("srcaddr", "198.19.7.7"),
                ("dstaddr", ENTRY),
                ("ports", "120"),
                ("accepted_ports", "2"),
            ]]),
        ),
        (
            "coverage-gaps",
            vec![],
            Facts::All(vec![vec![
                ("hour", "2026-02-18 03:00:00"),
                ("interface", "database shared-services private-a"),
                ("skipdata", "20"),
            ]]),
        ),
        (
            "duplicates",
            vec![],
            Facts::All(
                (0..3)
                    .map(|_| vec![("srcaddr", "10.8.1.11"), ("dstport", "5432"), ("copies", "2")])
                    .collect(),
            ),
        ),
        (
            "rejected-records",
            vec![],
            Facts::First(vec![("reason", "field-count"), ("log_group", "vpc-flow-logs")]),
        ),
    ]
}

type Fact = Vec<(&'static str, &'static str)>;

enum Facts {
    /// Exactly these rows.
    All(Vec<Fact>),
    /// The first row.
    First(Fact),
    /// Exactly one of the rows.
    Some(Fact),
}

fn names(columns: &[String], row: &[String], fact: &Fact) -> bool {
    fact.iter().all(|(name, value)| {
        let at = columns
            .iter()
            .position(|column| column == name)
            .unwrap_or_else(|| panic!("{name} of {columns:?}"));
        row[at] == *value
    })
}

impl Facts {
    fn check(&self, question: &str, columns: &[String], rows: &[Vec<String>]) {
        match self {
            Self::All(facts) => {
                assert_eq!(rows.len(), facts.len(), "{question}: {rows:?}");
                for (row, fact) in rows.iter().zip(facts) {
                    assert!(names(columns, row, fact), "{question}: {row:?} is not {fact:?}");
                }
            }
            Self::First(fact) => {
                assert!(names(columns, &rows[0], fact), "{question}: {:?} is not {fact:?}", rows[0]);
            }
            Self::Some(fact) => {
                assert_eq!(
                    rows.iter().filter(|row| names(columns, row, fact)).count(),
                    1,
                    "{question}: {rows:?}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn the_questions_find_the_incident_and_the_guide_has_their_answers() {
    // The sample day of `make demo`.
    let place = Place::synth(48, 5000, &["--incident", "--malformed", "1"]);
    let names = place.path("in/names.json");
    place.report_done(&["--prefix", "firehose/", "--names", names.to_str().unwrap()]);
    let deployed = Deployed::with(place, &[]);
    let ran = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", "monday", "--watch"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let views = definitions(&deployed.place, &[]);

    for (question, more, facts) in asked() {
        let time: &[&str] = if more.contains(&"--from") { &[] } else { &DAY };
        let asked = [&["query", "--named", question], time, &more].concat();
        let answer = deployed.flowherd(&[&asked[..], &["--csv"]].concat());
        assert_eq!(answer.status, 0, "{question}: {answer:?}");
        assert!(answer.stderr.contains("scanned"), "{answer:?}");
        let mut csv = csv::Reader::from_reader(answer.stdout.as_bytes());
        let columns: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
        let deployed_rows: Vec<Vec<String>> =
            csv.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        facts.check(question, &columns, &deployed_rows);

        let cut = deployed_rows.len() == 20;
        assert_eq!(answer.stderr.contains("there are more than these 20 rows"), cut, "{answer:?}");

        // The views over the files of `convert` give the same answer.
        let printed = flowherd(PROGRAM, [&asked[..], &["--print"]].concat());
        assert_eq!(printed.status, 0, "{question}: {printed:?}");
        let mut local = rows(&duckdb(&views, &printed.stdout));
        local.iter_mut().flatten().filter(|value| *value == "null").for_each(String::clear);
        assert_eq!(local, deployed_rows, "{question}");
    }
    check_guide(&deployed);
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_question_that_would_get_a_wrong_answer_is_refused() {
    let deployed =
        Deployed::with(Place::synth(24, 200, &["--incident"]), &["--layout", "firehose/{yyyy/MM/dd/HH}/"]);
    let ran = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", "monday", "--watch"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    invalid_questions_are_refused(&deployed);
    an_empty_answer_is_explained(&deployed);
    a_run_with_other_columns_is_noticed(&deployed);
    changes_need_a_flag(&deployed);
}

/// The time that was asked, and the time of the rows that the table has.
fn an_empty_answer_is_explained(deployed: &Deployed) {
    let ask = |args: &[&str]| {
        let ran = deployed.flowherd(&[&["query", "--everywhere", "--named"], args].concat());
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stderr
    };
    let none = ask(&["port-scans", "--from", "2026-02-01T01:00+01:00", "--to", "2026-02-02"]);
    assert!(none.contains("0 rows of 2026-02-01T00:00Z to 2026-02-02T00:00Z; "), "{none}");
    assert!(none.contains("table vpc_flow has rows from 2026-02-18T00:00Z to 2026-02-18T23:5"), "{none}");
    let rejects = ask(&["rejected-records", "--day", "2026-02-01"]);
    assert!(rejects.contains("table ledger_rejects has no rows"), "{rejects}");
    let found = ask(&["port-scans", "--day", "2026-02-18"]);
    assert!(found.contains("1 row of 2026-02-18T00:00Z to 2026-02-19T00:00Z; "), "{found}");
    assert!(!found.contains("has rows"), "{found}");

    let first = ask(&["new-destinations", "--day", "2026-02-18"]);
    assert!(
        first.contains(
            "no rows of 2026-02-17T00:00Z to 2026-02-18T00:00Z, the time before, so every destination"
        ),
        "{first}"
    );
    let later = ask(&["new-destinations", "--from", "2026-02-18T03:00", "--to", "2026-02-18T06:00"]);
    assert!(!later.contains("the time before"), "{later}");
}

fn changes_need_a_flag(deployed: &Deployed) {
    let drop = "/* SELECT */ DROP TABLE vpc_flow_text";
    let refused = deployed.flowherd(&["query", drop]);
    assert_eq!(refused.status, 2, "{refused:?}");
    let count = ["query", "--csv", "SELECT count(*) > 0 AS found FROM vpc_flow_text"];
    assert_eq!(deployed.flowherd(&count).stdout, "found\ntrue\n");
    let allowed = deployed.flowherd(&["query", "--allow-changes", drop]);
    assert_eq!(allowed.status, 0, "{allowed:?}");
    assert_eq!(deployed.flowherd(&count).status, 1);
}

/// Athena reads columns by position, so rows with other columns would give a wrong answer without an error.
fn a_run_with_other_columns_is_noticed(deployed: &Deployed) {
    let ask = |more: &[&str]| {
        deployed.flowherd(&[&["query", "--named", "port-scans", "--everywhere"], &DAY[..], more].concat())
    };
    let results = deployed.results("monday");
    let put = |path: &str, text: &str| results.put(path, text.as_bytes()).unwrap();
    let run = |name: &str, prefix: &str, hash: &str, started: &str| {
        put(
            &format!("runs/{name}/run.json"),
            &format!(
                r#"{{"run":"{name}","fleet":"main","prefix":"{prefix}","config_hash":"{hash}","names_hash":"","version":"1","started":"{started}","manifest":null}}"#
            ),
        );
    };
    let other = "[[rule]]\nname = \"a\"\ntable = \"vpc_flow\"\nmetadata = [\"owner\"]\nformat = { kind = \"vpc-flow\" }\n";
    put("runs/other/flowherd.toml", other);
    let report = |name: &str, finished: &str, listed: u64| {
        let report = Store::get(&results, "runs/monday/report.json").unwrap().unwrap();
        let mut report: Value = serde_json::from_slice(&report).unwrap();
        report["finished"] = finished.into();
        report["objects"]["listed"] = listed.into();
        report["objects"]["done"] = listed.into();
        put(&format!("runs/{name}/report.json"), &report.to_string());
    };
    let hash = |toml: &str| Config::parse(toml).unwrap().hash;

    // With --everywhere, lateness is not limited to hours.
    run("other", "firehose/2026/05/20/", &hash(other), "2098-01-01T00:00:00.000Z");
    assert_eq!(ask(&[]).status, 0, "its prefix is of another month");
    run("other", "firehose/2026/02/18/", &hash(other), "2098-01-01T00:00:00.000Z");
    let refused = ask(&[]);
    assert_eq!(refused.status, 2, "{refused:?}");
    for part in ["run other", "firehose/2026/02/18/", "vpc_flow", "flowherd rerun", "--anyway"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert_eq!(ask(&["--anyway"]).status, 0);
    for table in ["vpc_flow_text", "vpc_flow_everywhere_text", "\"vpc_flow_text\" AS x"] {
        let ran = deployed.flowherd(&["query", &format!("SELECT count(*) FROM {table}")]);
        assert!(ran.status == 0 && ran.stderr.contains("run other"), "{table}: {ran:?}");
    }
    let silent = deployed.flowherd(&["query", "SELECT 1"]);
    assert!(!silent.stderr.contains("run other"), "{silent:?}");
    // This question also reads the time before.
    run("other", "firehose/2026/01/25/", &hash(other), "2098-01-01T00:00:00.000Z");
    let before = [
        "query",
        "--named",
        "new-destinations",
        "--from",
        "2026-02-18T00:00",
        "--to",
        "2026-03-18T00:00",
        "--everywhere",
    ];
    assert_eq!(deployed.flowherd(&before).status, 2);

    // A later run of the prefix with the right columns replaces those rows.
    run("other", "firehose/2026/02/18/", &hash(other), "2098-01-01T00:00:00.000Z");
    report("other", "2098-01-02T00:00:00.000Z", 24);
    let built_in = Config::default().hash;
    run("again", "firehose/2026/02/18/", &built_in, "2099-01-01T00:00:00.000Z");
    assert_eq!(ask(&[]).status, 2, "it has no report yet");
    report("again", "2099-01-02T00:00:00.000Z", 23);
    assert_eq!(ask(&[]).status, 2, "it listed fewer objects, so some rows of the other run remain");
    report("again", "2099-01-02T00:00:00.000Z", 24);
    assert_eq!(ask(&[]).status, 0);
    report("other", "2099-01-01T12:00:00.000Z", 24);
    assert_eq!(ask(&[]).status, 2, "the two runs overlapped");
    report("other", "2098-01-02T00:00:00.000Z", 24);
    let elsewhere = other.replace("vpc_flow", "vpc_flow_v2");
    put("runs/again/flowherd.toml", &elsewhere);
    run("again", "firehose/2026/02/18/", &hash(&elsewhere), "2099-01-01T00:00:00.000Z");
    assert_eq!(ask(&[]).status, 2, "a run without the table does not replace its rows");
    // The columns of a run without rules are unknown.
    run("other", "firehose/2026/02/18/", "beef", "2098-01-01T00:00:00.000Z");
    assert_eq!(ask(&[]).status, 2);
}

fn invalid_questions_are_refused(deployed: &Deployed) {
    let refused = |args: &[&str], parts: &[&str]| {
        let ran = deployed.flowherd(&[&["query"], args].concat());
        assert_eq!(ran.status, 2, "{ran:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    };
    // The partitions begin in 2020. Without this error, the answer would be empty.
    refused(
        &["--named", "port-scans", "--day", "2019-12-31"],
        &["before 2020-01-01", "--since", "--everywhere"],
    );
    refused(&["--named", "port-scans", "--day", "2999-01-01"], &["the time is in the future"]);
    refused(&["--named", "port-scans", "--table", "waf"], &["no table waf_text", "flowherd sql"]);
    refused(&["--named", "port-scans", "--table", "x\" UNION"], &["not the name of a table"]);
    refused(&["--named", "who-talked-to"], &["needs --ip", "--ip 10.0.0.5"]);
    refused(&["--named", "missing-objects", "--run", "x' OR '1'='1"], &["not the name of a run"]);
    refused(&["--named", "talkers"], &["no question", "did you mean top-talkers", "--list"]);
    refused(&["--named", "port-scans", "--ip", "1' OR '1'='1"], &["invalid value"]);
    refused(
        &["--named", "coverage-gaps", "--interface", "eni-1' OR '1'='1"],
        &["not the id of an interface"],
    );
    refused(
        &["--named", "port-scans", "--from", "2026-02-18T05:00", "--to", "2026-02-18T04:00"],
        &["ends before"],
    );
    let ran = deployed.flowherd(&["query", "SELECT 1 FROM vpc_flow_text WHERE datehour = '2019/12/31/23'"]);
    assert!(ran.stderr.contains("before 2020/01/01/00"), "{ran:?}");
    refused(&["--named", "duplicates", "--ip", "10.0.0.5"], &["duplicates does not take --ip", "--list"]);
    refused(&["--named", "connections-to-port"], &["needs --port", "--port 22"]);
    refused(&["--named", "port-scans", "--ip", "10.0.0.5/8"], &["did you mean 10.0.0.0/8?"]);
    refused(
        &["--named", "missing-objects", "--run", "monday", "--day", "2026-02-18"],
        &["does not take --day"],
    );
    refused(&["SELECT 1", "--day", "2026-02-18"], &["--named"]);
    refused(&["SELECT 1", "--print"], &["--named"]);
    let empty = json(&deployed.flowherd(&[
        "query",
        "--named",
        "port-scans",
        "--day",
        "2026-02-01",
        "--everywhere",
        "--json",
    ]));
    assert_eq!(empty, Value::Array(Vec::new()));
}

/// Runs the commands of the guide and compares their output with it. `FLOWHERD_UPDATE_DOCS=1` updates the guide instead.
fn check_guide(deployed: &Deployed) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/querying.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let mut written = String::new();
    let mut is_block = false;
    let mut commands = 0;
    for line in guide.lines() {
        if line.starts_with("```") {
            is_block = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ flowherd ").filter(|_| is_block) {
            let args: Vec<&str> = command.split(' ').collect();
            let ran = deployed.flowherd(&args);
            assert_eq!(ran.status, 0, "{command}: {ran:?}");
            written += &format!("{line}\n{}", ran.stdout);
            commands += 1;
            continue;
        }
        if !is_block || line.starts_with("```") {
            written += &format!("{line}\n");
        }
    }
    assert!(commands >= 10, "{commands}");
    if std::env::var_os("FLOWHERD_UPDATE_DOCS").is_some() {
        std::fs::write(&path, written).unwrap();
    } else {
        assert!(
            written == guide,
            "docs/querying.md differs from the output of its commands; FLOWHERD_UPDATE_DOCS=1 updates it\n{written}"
        );
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_destination_is_new_if_it_had_no_traffic_the_day_before() {
    let place = Place::synth(12, 20_000, &["--incident"]);
    let source = place.path("in");
    let before =
        ["synth", source.to_str().unwrap(), "--objects", "12", "--records", "20000", "--day", "2026-02-17"];
    assert_eq!(flowherd(PROGRAM, before).status, 0);
    let names = place.path("in/names.json");
    place.report_done(&["--prefix", "firehose/", "--names", names.to_str().unwrap()]);
    let printed =
        flowherd(PROGRAM, ["query", "--named", "new-destinations", "--print", "--day", "2026-02-18"]);
    assert_eq!(printed.status, 0, "{printed:?}");
    let rows = rows(&duckdb(&definitions(&place, &[]), &printed.stdout));
    assert_eq!(rows[0][..4], ["198.19.250.66", "6000000000", "50", "1"]);
    // Any other row is an address with one flow in the two days of the sample.
    assert!(rows[1..].iter().all(|row| row[2] == "1"), "{rows:?}");
}
