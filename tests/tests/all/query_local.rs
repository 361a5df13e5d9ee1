//! `flowherd query --local`: the results of `flowherd convert` in DuckDB.

use std::{env, fs, os::unix::fs::PermissionsExt, path::Path};

use flowherd_tests::{
    command::{Ran, flowherd, flowherd_in},
    python_server::python,
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

/// Runs a query on the results of a place, with the programs of one directory.
fn with_path(place: &Place, path: &Path, args: &[&str]) -> Ran {
    let out = place.path("out");
    let args = ["query", "--local", out.to_str().unwrap()].into_iter().chain(args.iter().copied());
    flowherd_in(PROGRAM, [("PATH", path.to_str().unwrap().to_owned())], args)
}

/// Runs a query with the Python of `.venv`, which has DuckDB.
pub(crate) fn query(place: &Place, args: &[&str]) -> Ran {
    with_path(place, python().parent().unwrap(), args)
}

fn day() -> Place {
    let place = Place::synth(4, 200, &["--malformed", "2", "--incident"]);
    let names = place.path("in/names.json");
    place.report_done(&["--prefix", "firehose/", "--run", "r", "--names", names.to_str().unwrap()]);
    place
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn any_query_runs_on_the_results_of_convert_and_prints_a_table_csv_or_json() {
    let place = day();
    let report: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/r/report.json")).unwrap()).unwrap();
    let sql = "SELECT count(*) AS \"rows\", NULL AS nothing, 'it''s' AS text FROM vpc_flow; -- all";
    let rows = &report["records"]["rows"];
    let ran = query(&place, &[sql]);
    assert_eq!((ran.status, &*ran.stderr), (0, "flowherd: 1 row\n"), "{ran:?}");
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["rows", "nothing", "text"], vec![&rows.to_string(), "it's"]], "{ran:?}");
    assert_eq!(query(&place, &[sql, "--csv"]).stdout, format!("rows,nothing,text\n{rows},,it's\n"));
    let json = format!("[\n  {{\"rows\":{rows},\"nothing\":null,\"text\":\"it's\"}}\n]\n");
    assert_eq!(query(&place, &[sql, "--json"]).stdout, json);
    let none = query(&place, &["SELECT 1 AS one WHERE false", "--json"]);
    assert_eq!((&*none.stdout, &*none.stderr), ("[]\n", "flowherd: 0 rows\n"));
    assert_eq!(query(&place, &["SELECT 1 AS one WHERE false", "--csv"]).stdout, "one\n");
    let names = query(&place, &["SHOW TABLES", "--csv"]).stdout;
    for view in ["vpc_flow", "ledger_rejects", "ledger_receipts", "ledger_manifest", "ledger_failures"] {
        assert!(names.lines().any(|name| name == view), "{names}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_questions_give_the_rows_of_the_printed_statements() {
    let place = day();
    let of_day = ["--day", "2026-02-18"];
    let ran = query(&place, &[&["--named", "port-scans", "--json"], &of_day[..]].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let printed = flowherd(PROGRAM, [&["query", "--named", "port-scans", "--print"], &of_day[..]].concat());
    let views = super::query::definitions(&place, &[]);
    let expected = super::query::duckdb(&views, &printed.stdout);
    let values = |row: &Value| row["srcaddr"].clone();
    assert!(!rows.as_array().unwrap().is_empty());
    assert_eq!(
        rows.as_array().unwrap().iter().map(values).collect::<Vec<_>>(),
        expected.as_array().unwrap().iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    );
    assert!(ran.stderr.ends_with(" of 2026-02-18T00:00Z to 2026-02-19T00:00Z\n"), "{ran:?}");

    let limited =
        query(&place, &[&["--named", "top-talkers", "--limit", "1", "--csv"], &of_day[..]].concat());
    assert_eq!(limited.stdout.lines().count(), 2, "{limited:?}");
    assert!(limited.stderr.contains("there are more than this 1 row; raise --limit"), "{limited:?}");
    let none = query(&place, &["--named", "top-talkers", "--day", "2026-02-19"]);
    assert!(none.stderr.contains("table vpc_flow has rows from 2026-02-18T"), "{none:?}");
    let new = query(&place, &[&["--named", "new-destinations"], &of_day[..]].concat());
    assert!(new.stderr.contains("the time before, so every destination counts as new"), "{new:?}");
    let rejects = query(&place, &[&["--named", "rejected-records", "--csv"], &of_day[..]].concat());
    assert!(rejects.status == 0 && rejects.stdout.lines().count() > 1, "{rejects:?}");
    let missing = query(&place, &["--named", "missing-objects", "--run", "r"]);
    assert_eq!((missing.status, &*missing.stderr), (0, "flowherd: 0 rows\n"), "{missing:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn only_one_query_runs_and_an_error_is_one_line() {
    let place = day();
    let files = place.results();
    let escape = place.path("escaped");
    let escape = format!("SELECT 1) TO '{}' (FORMAT CSV); --", escape.display());
    let dollars = format!("SELECT $$'$$) TO '{}' --'", place.path("escaped").display());
    for sql in [
        "DROP VIEW vpc_flow",
        "SELECT 1; SELECT 2",
        "COPY vpc_flow TO 'x'",
        "",
        &escape,
        &dollars,
        "EXPLAIN SELECT 1",
    ] {
        let ran = query(&place, &[sql]);
        assert_eq!((ran.status, ran.stdout.trim()), (1, ""), "{sql}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stderr.starts_with("flowherd: DuckDB refuses the statement: "), "{ran:?}");
    }
    assert!(!place.path("escaped").exists());
    assert_eq!(place.results(), files);
    let ran = query(&place, &["SELECT nothing FROM vpc_flow"]);
    assert!(ran.stderr.contains("Referenced column \"nothing\" not found"), "{ran:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_tables_are_those_of_the_latest_runs_rules() {
    let place = Place::new();
    place.object("a", b"7 seven\n8 eight\n");
    let rules = "[[rule]]\nname = \"n\"\ntable = \"n\"\n[rule.format]\nkind = \"regex\"\npattern = '^(?P<n>\\d+) (?P<name>.*)$'\ntypes = { n = \"int\" }\n";
    place.file("flowherd.toml", rules.as_bytes());
    let config = place.path("flowherd.toml");
    let config = config.to_str().unwrap();
    place.report_done(&["--run", "r", "--config", config]);
    let ran = query(&place, &["SELECT sum(n) AS total FROM n", "--csv"]);
    assert_eq!((ran.status, &*ran.stdout), (0, "total\n15\n"), "{ran:?}");
    let ran = query(&place, &["--named", "top-talkers"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("the rules write no table vpc_flow; name one with --table: n"), "{ran:?}");
    let ran = query(&place, &["--named", "top-talkers", "--table", "n"]);
    assert!(ran.status == 2 && ran.stderr.contains("needs the columns "), "{ran:?}");
    fs::remove_file(place.path("out/runs/r/flowherd.toml")).unwrap();
    let ran = query(&place, &["SELECT 1"]);
    assert!(ran.status == 2 && ran.stderr.contains("the rules of run r are not in its ledger"), "{ran:?}");
    let ran = query(&place, &["SELECT sum(n) AS total FROM n", "--csv", "--config", config]);
    assert_eq!((ran.status, &*ran.stdout), (0, "total\n15\n"), "{ran:?}");
}

#[test]
fn a_missing_or_old_duckdb_is_a_plain_message() {
    let place = Place::new();
    place.object("a", b"x");
    place.convert(&["--run", "r"]);
    let programs = place.path("programs");
    fs::create_dir(&programs).unwrap();
    let ran = with_path(&place, &programs, &["SELECT 1"]);
    let expected = "flowherd: --local needs DuckDB 2.0 or later: there is no program duckdb, and there is no package duckdb of \
                    python3. Install it from https://duckdb.org/docs/installation, or with `pip install duckdb`\n";
    assert_eq!((ran.status, &*ran.stderr), (2, expected));
    let program = programs.join("duckdb");
    fs::write(&program, "#!/bin/sh\necho 'v1.5.6 (Variegata) 069cc9f9b5'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = with_path(&place, &programs, &["SELECT 1"]);
    assert!(ran.status == 2 && ran.stderr.contains("program duckdb has version v1.5.6, and"), "{ran:?}");
    for (args, problem) in [
        (&["SELECT 1", "--last", "1h"][..], "--last needs --named"),
        (&["--named", "top-talkers", "--everywhere"], "--everywhere is for Athena"),
        (&["SELECT 1", "--allow-changes"], "cannot be used with"),
    ] {
        let ran = with_path(&place, &programs, args);
        assert!(ran.status == 2 && ran.stderr.contains(problem), "{ran:?}");
    }
}

#[test]
fn views_for_duckdb_have_absolute_paths_and_only_of_directories_with_results() {
    let place = Place::new();
    place.object("a", b"x");
    place.convert(&["--run", "r"]);
    let print = |results: &Path| {
        let args = ["sql", "--dialect", "duckdb", "--results", results.to_str().unwrap()];
        flowherd(PROGRAM, args)
    };
    let out = place.path("out");
    let relative =
        env::current_dir().unwrap().ancestors().skip(1).map(|_| "..").collect::<Vec<_>>().join("/");
    let relative = Path::new(&relative).join(out.strip_prefix("/").unwrap());
    let ran = print(&relative);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.stdout, print(&out).stdout);
    assert!(ran.stdout.contains(&format!("'{}/csv/vpc_flow/", fs::canonicalize(&out).unwrap().display())));
    assert!(ran.stdout.starts_with("SET VARIABLE flowherd_version_check = "), "{ran:?}");
    assert!(ran.stdout.contains("THEN error('these views need DuckDB 2.0 or later"), "{ran:?}");
    for other in [place.path("in"), place.path("nowhere")] {
        let ran = print(&other);
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains("no results there, because it has no directory runs/"), "{ran:?}");
    }
}
