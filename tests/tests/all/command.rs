//! The command `flowherd`: its output, its exit status and its files.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use flowherd_tests::{
    command::{Ran, files_below, flowherd, flowherd_in},
    objects::{FLOW, envelope, event, gzip},
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

fn good() -> Vec<u8> {
    gzip(envelope("vpc-flow-logs", &[event(1_580_515_200_000, FLOW)]).as_bytes())
}

/// Returns the lines of standard error without their prefix. Each line must have it.
fn messages(ran: &Ran) -> Vec<&str> {
    assert!(ran.stderr.lines().all(|line| line.starts_with("flowherd: ")), "{}", ran.stderr);
    ran.stderr.lines().map(|line| &line["flowherd: ".len()..]).collect()
}

#[test]
fn convert_prints_a_summary_and_writes_the_documented_files() {
    let place = Place::synth(3, 100, &["--malformed", "10"]);
    let names = place.path("in/names.json");
    let ran = place.convert(&["--names", names.to_str().unwrap(), "--run", "r1"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("run r1: done\n"), "{}", ran.stdout);
    let files = files_below(&place.path("out"));
    let kind = |file: &str| {
        [
            "csv/vpc_flow/firehose/",
            "rejects/firehose/",
            "runs/r1/receipts/firehose/",
            "runs/r1/manifest/",
            "runs/r1/run.json",
            "runs/r1/report.json",
            "runs/r1/report.html",
            "runs/r1/lock",
        ]
        .iter()
        .position(|front| file.starts_with(front))
    };
    let mut kinds = [0; 8];
    files.iter().for_each(|file| kinds[kind(file).unwrap_or_else(|| panic!("{file}"))] += 1);
    assert_eq!(kinds, [3, 3, 3, 1, 1, 1, 1, 1], "{files:?}");
}

#[test]
fn convert_with_json_prints_the_report_that_it_also_writes() {
    let place = Place::synth(2, 50, &[]);
    let report = place.report(&["--prefix", "firehose/", "--run", "r"]);
    let written: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/r/report.json")).unwrap()).unwrap();
    assert_eq!(report, written);
    assert_eq!(
        (&report["state"], &report["prefix"], &report["run"]),
        (&"done".into(), &"firehose/".into(), &"r".into())
    );
    assert_eq!(report["records"]["rows"], 100);
    assert_eq!(report["tables"]["vpc_flow"], 100);
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 19, "{keys:?}");
}

#[test]
fn the_summary_has_colour_on_demand() {
    let place = Place::new();
    place.object("x", &good());
    let has_colour = |variables: &[(&'static str, &str)], args: &[&str]| {
        fs::remove_dir_all(place.path("out")).unwrap_or_default();
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let ran = flowherd_in(PROGRAM, variables, place.convert_args(args));
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
        ran.stdout.contains("\u{1b}[32m\u{1b}[1mdone\u{1b}[0m\n")
    };
    let forced = ("CLICOLOR_FORCE", "1");
    assert!(!has_colour(&[], &[]), "not a terminal");
    assert!(has_colour(&[forced], &[]));
    assert!(has_colour(&[], &["--color", "always"]));
    assert!(has_colour(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!has_colour(&[forced], &["--color", "never"]));
    assert!(!has_colour(&[("NO_COLOR", "1")], &["--color", "auto"]));
}

#[test]
fn a_single_file_is_an_object_with_its_name_as_key() {
    let place = Place::new();
    place.file("one.gz", &good());
    let (one, out) = (place.path("one.gz"), place.path("out"));
    let ran = flowherd(PROGRAM, [Path::new("convert"), &one, &out]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(place.results().keys().collect::<Vec<_>>(), ["csv/vpc_flow/one.gz.csv.gz"]);
}

/// Converts standard input, with more arguments.
fn convert_stdin(place: &Place, input: &str, more: &[&str]) -> Ran {
    let out = place.path("out");
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["convert", "-", out.to_str().unwrap()]).args(more);
    let output = command.stdin(fs::File::open(place.path(input)).unwrap()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn standard_input_is_one_object_with_the_key_that_was_given() {
    let place = Place::new();
    place.file("one.gz", &good()).file("cut.gz", &good()[..20]);
    let ran = convert_stdin(&place, "one.gz", &[]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
    let expected = place.results().remove("csv/vpc_flow/stdin.csv.gz").unwrap();
    let ran = convert_stdin(&place, "one.gz", &["--key", "a/b", "--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(place.results()["csv/vpc_flow/a/b.csv.gz"], expected);
    let verified = flowherd(PROGRAM, ["verify", "r", "--results", place.path("out").to_str().unwrap()]);
    assert_eq!(verified.status, 0, "{verified:?}");

    let cut = convert_stdin(&place, "cut.gz", &[]);
    assert!(cut.status == 1 && cut.stderr.starts_with("flowherd: stdin: truncated: "), "{cut:?}");
    for (more, problem) in [
        (&["--resume"][..], "--resume: standard input cannot be read again"),
        (&["--prefix", "p"], "--prefix: it does not apply to standard input"),
    ] {
        let ran = convert_stdin(&place, "one.gz", more);
        assert!(ran.status == 2 && ran.stderr.contains(problem), "{ran:?}");
    }
    place.object("x", &good());
    let ran = place.convert(&["--key", "k"]);
    assert!(ran.status == 2 && ran.stderr.contains("--key: it is for standard input"), "{ran:?}");
    for (source, problem) in [("s3://", "no bucket"), ("s3://b/p", "--prefix: give the prefix in SOURCE")] {
        let ran = flowherd(PROGRAM, ["convert", source, place.path("o").to_str().unwrap(), "--prefix", "p"]);
        assert!(ran.status == 2 && ran.stderr.contains(problem), "{ran:?}");
    }
}

#[test]
fn one_bad_object_is_reported_and_the_others_are_done() {
    let place = Place::new();
    let cut = good();
    place.object("a/bad", &cut[..cut.len() - 1]).object("a/good", &good());
    let ran = place.convert(&["--run", "r"]);
    assert_eq!(ran.status, 1);
    assert!(messages(&ran)[0].starts_with("a/bad: truncated: "), "{}", ran.stderr);
    assert!(ran.stdout.contains("run r: failed"));
    // The object is named once, and the summary says where all failures are.
    assert_eq!((ran.stdout + &ran.stderr).matches("a/bad").count(), 1);
    assert_eq!(place.results().keys().collect::<Vec<_>>(), ["csv/vpc_flow/a/good.csv.gz"]);
    let failure: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/r/failures/a/bad.json")).unwrap()).unwrap();
    assert_eq!((&failure["verdict"], &failure["attempts"]), (&"permanent".into(), &1.into()));
    let again = place.convert(&["--resume"]);
    assert_eq!(again.status, 1);
    let failure: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/r/failures/a/bad.json")).unwrap()).unwrap();
    assert_eq!(failure["attempts"], 2);
}

#[test]
fn a_repaired_object_is_done_on_resume() {
    let place = Place::new();
    place.object("x", &good()[..20]);
    assert_eq!(place.convert(&["--run", "r"]).status, 1);
    place.object("x", &good());
    assert_eq!(place.convert(&["--resume"]).status, 0);
    assert!(!place.path("out/runs/r/failures/x.json").exists());
    let receipt: Value =
        serde_json::from_slice(&fs::read(place.path("out/runs/r/receipts/x.json")).unwrap()).unwrap();
    assert_eq!(receipt["attempt"], 2);
}

#[test]
fn a_source_without_objects_is_done_and_reported() {
    let place = Place::new();
    let ran = place.convert(&["--prefix", "nothing/"]);
    assert_eq!(ran.status, 0);
    assert!(messages(&ran)[0].starts_with("no objects in "));
    assert!(ran.stdout.contains(": done"));
}

#[test]
fn usage_errors_are_one_line_with_status_2_and_leave_nothing() {
    let place = Place::new();
    place.object("x", &good());
    let source = place.path("in").to_str().unwrap().to_owned();
    let missing = place.path("nowhere").to_str().unwrap().to_owned();
    let out = place.path("out").to_str().unwrap().to_owned();
    place.file("bad.toml", b"[[rule]]\nnam = 1\n").file("bad.json", b"{");
    let (toml, json) = (place.path("bad.toml"), place.path("bad.json"));
    let cases: &[(&[&str], &str)] = &[
        (&["convert", &missing, &out], "SOURCE"),
        (&["convert", &source, &source], "SOURCE is inside DEST"),
        (&["convert", &source, &out, "--resume"], "no run in"),
        (&["convert", &source, &out, "--run", "../x"], "--run"),
        (&["convert", &source, &out, "--config", &missing], "cannot read"),
        (&["convert", &source, &out, "--config", toml.to_str().unwrap()], "unknown field `nam`"),
        (&["convert", &source, &out, "--names", json.to_str().unwrap()], "bad.json"),
        (&["explain", &missing], "No such file"),
        (&["synth", &out, "--objects", "1", "--records", "1", "--malformed", "101"], "--malformed"),
    ];
    for (args, what) in cases {
        let ran = flowherd(PROGRAM, *args);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}");
        let messages = messages(&ran);
        assert!(messages.len() == 1 && messages[0].contains(what), "{args:?}: {messages:?}");
        assert!(!place.path("out/csv").exists());
    }
    for args in [
        &["convert"][..],
        &["convert", "a", "b", "--jobs", "0"],
        &["nonsense"],
        &["synth", "x", "--objects", "0", "--records", "1"],
    ] {
        assert_eq!(flowherd(PROGRAM, args).status, 2, "{args:?}");
    }
}

#[test]
fn all_mistakes_in_rules_and_names_are_reported_together() {
    let place = Place::new();
    place.file(
        "f.toml",
        b"[[rule]]\nname=\"r\"\ntable=\"T\"\n[rule.format]\nkind=\"vpc-flow\"\nfields=\"${scraddr}\"\n",
    );
    place.file("l.json", br#"{"interfaces":{"eni-1":{"subnet_id":"subnet-9"}}}"#);
    let (toml, json) = (place.path("f.toml"), place.path("l.json"));
    let ran = place.convert(&["--config", toml.to_str().unwrap(), "--names", json.to_str().unwrap()]);
    assert_eq!((ran.status, messages(&ran).len()), (2, 3), "{}", ran.stderr);
    assert!(ran.stderr.contains("did you mean \"srcaddr\"?") && ran.stderr.contains("subnet-9"));
}

#[test]
fn a_run_of_the_same_name_is_not_overwritten() {
    let place = Place::new();
    place.object("x", &good());
    assert_eq!(place.convert(&["--run", "r"]).status, 0);
    let ran = place.convert(&["--run", "r"]);
    assert_eq!(ran.status, 2);
    assert!(messages(&ran)[0].contains("--resume"), "{}", ran.stderr);
}

#[test]
fn results_rules_and_names_below_the_source_are_not_objects() {
    let place = Place::synth(2, 10, &[]);
    place.object("flowherd.toml", b"");
    let (source, out) = (place.path("in"), place.path("in/out"));
    let (toml, json) = (place.path("in/flowherd.toml"), place.path("in/names.json"));
    let args = [
        "convert",
        source.to_str().unwrap(),
        out.to_str().unwrap(),
        "--config",
        toml.to_str().unwrap(),
        "--names",
        json.to_str().unwrap(),
        "--json",
    ];
    for _ in 0..2 {
        let report: Value = serde_json::from_str(&flowherd(PROGRAM, args).stdout).unwrap();
        assert_eq!((&report["objects"]["listed"], &report["records"]["rejected"]), (&2.into(), &0.into()));
    }
}

#[test]
fn unusual_file_names_are_keys_like_any_other() {
    let place = Place::new();
    let keys = [
        "a b",
        "a+b",
        "a%20b",
        "ü/日本語",
        "-rf",
        "..x",
        "a\\b",
        "new\nline",
        "x.csv.gz",
        "*?[a]",
        "'\"$(id)",
    ];
    for key in keys {
        place.object(key, &good());
    }
    let report = place.report(&[]);
    assert_eq!(report["objects"]["done"], keys.len());
    let mut expected: Vec<String> = keys.iter().map(|key| format!("csv/vpc_flow/{key}.csv.gz")).collect();
    expected.sort();
    assert_eq!(place.results().keys().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_name_that_is_not_utf8_is_a_reported_failure() {
    let place = Place::new();
    place.object("good", &good());
    fs::write(place.path("in").join(std::ffi::OsStr::from_bytes(b"bad\xff")), good()).unwrap();
    let report = place.report(&[]);
    assert_eq!((&report["objects"]["done"], &report["objects"]["failed"]), (&1.into(), &1.into()));
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("UTF-8"));
}

#[test]
fn a_name_that_the_file_system_refuses_for_an_output_fails_that_object_alone() {
    let place = Place::new();
    // A name too long with `.csv.gz`, one too long with `.json`, and a directory at the path of another object's output.
    for key in
        ["x".repeat(249), "x".repeat(254), "a".to_owned(), "a.csv.gz/b".to_owned(), "a.json/b".to_owned()]
    {
        place.object(&key, &good());
    }
    let report = place.report(&["--run", "r", "--jobs", "1"]);
    let objects = &report["objects"];
    assert_eq!(
        (&objects["listed"], &objects["missing"], &report["state"]),
        (&5.into(), &0.into(), &"failed".into())
    );
    assert!(objects["failed"].as_u64().unwrap() >= 3 && objects["done"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!(place.results().len() as u64, objects["done"].as_u64().unwrap());
    assert_eq!(place.report(&["--resume"])["objects"], report["objects"]);
}

#[test]
fn a_path_that_cannot_be_listed_is_a_failure_and_affects_no_other_object() {
    let place = Place::new();
    place.object("a/x", &good());
    let link = |target: PathBuf, name: &str| std::os::unix::fs::symlink(target, place.path(name)).unwrap();
    link(place.path("in/a/x"), "in/link");
    assert_eq!(place.report(&[])["objects"]["done"], 2);
    link(place.path("in"), "in/a/loop");
    link(place.path("nowhere"), "in/dangling");
    let ran = place.convert(&["--run", "r"]);
    assert_eq!(ran.status, 1);
    let mut messages = messages(&ran);
    messages.sort_unstable();
    assert!(
        messages[0].starts_with("a/loop: cannot be listed: the symbolic link points to a directory above it"),
        "{messages:?}"
    );
    assert!(messages[1].starts_with("dangling: cannot be listed: No such file"), "{messages:?}");
    fs::remove_file(place.path("in/a/loop")).unwrap();
    fs::remove_file(place.path("in/dangling")).unwrap();
    place.object("dangling", &good());
    assert_eq!(place.report(&["--resume"])["objects"]["done"], 3);
}

#[test]
fn a_listing_error_above_the_prefix_is_reported() {
    let place = Place::new();
    std::os::unix::fs::symlink(place.path("not-mounted"), place.path("in/2026")).unwrap();
    let report = place.report(&["--prefix", "2026/02/"]);
    assert_eq!((&report["state"], &report["failures"][0]["key"]), (&"failed".into(), &"2026".into()));
    assert_eq!(
        place.report(&["--prefix", "20267/"])["state"],
        "done",
        "the error does not concern this prefix"
    );
    place.object("ü/x", &good());
    fs::write(place.path("in/ü").join(std::ffi::OsStr::from_bytes(b"bad\xff")), good()).unwrap();
    let report = place.report(&["--prefix", "ü/"]);
    assert_eq!((&report["objects"]["listed"], &report["objects"]["failed"]), (&2.into(), &1.into()));
}

#[test]
fn a_source_that_is_neither_a_file_nor_a_directory_is_a_usage_error() {
    let place = Place::new();
    let ran = flowherd(PROGRAM, [Path::new("convert"), Path::new("/dev/null"), &place.path("out")]);
    assert_eq!(ran.status, 2);
    assert!(messages(&ran)[0].contains("neither a file nor a directory"), "{}", ran.stderr);
}

#[test]
fn convert_continues_when_its_output_is_closed() {
    let place = Place::new();
    (0..60).for_each(|number| _ = place.object(&format!("bad{number}"), &good()[..20]));
    place.object("good", &good());
    let command = "\"$@\" 2>&1 >/dev/null | head -n 1; exit \"${PIPESTATUS[0]}\"";
    let mut bash = std::process::Command::new("bash");
    let output = bash
        .args(["-c", command, "bash", PROGRAM])
        .args(place.convert_args(&["--jobs", "2"]))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(place.results().len(), 1);
}

#[test]
fn messages_are_one_line_without_control_characters() {
    let place = Place::new();
    place.object("a\x1b[31m\nb", &good()[..20]);
    let ran = place.convert(&[]);
    assert_eq!((messages(&ran).len(), ran.stderr.contains('\x1b')), (1, false), "{:?}", ran.stderr);
    assert!(!ran.stdout.contains('\x1b'));
    place.file("f.toml", b"[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = \"\"\"(?x)\n(?P<a>\"\"\" }\n");
    let ran = place.convert(&["--config", place.path("f.toml").to_str().unwrap()]);
    assert_eq!((ran.status, messages(&ran).len()), (2, 1), "{:?}", ran.stderr);
}

#[test]
fn two_names_that_only_differ_in_invalid_utf8_stay_two() {
    let place = Place::new();
    fs::write(place.path("in").join(std::ffi::OsStr::from_bytes(b"bad\xff")), good()).unwrap();
    place.object("bad\u{fffd}", &good());
    for more in [&["--run", "r"][..], &["--resume"]] {
        let report = place.report(more);
        assert_eq!((&report["objects"]["done"], &report["objects"]["failed"]), (&1.into(), &1.into()));
    }
}

#[test]
fn a_resumed_run_keeps_its_prefix_and_reports_when_its_receipts_do_not_count() {
    let place = Place::new();
    place.object("a/x", &good()).object("b/x", &good());
    assert_eq!(place.convert(&["--run", "r", "--prefix", "a/"]).status, 0);
    let other = place.convert(&["--resume", "--prefix", "b/"]);
    assert_eq!(other.status, 2);
    assert!(
        messages(&other)[0].starts_with("--prefix \"b/\": run r was begun with \"a/\""),
        "{}",
        other.stderr
    );
    assert_eq!(place.report(&["--resume"])["objects"]["listed"], 1);
    place.file("f.toml", b"[limits]\nmax_layers = 1\n");
    let changed = place.convert(&["--resume", "--config", place.path("f.toml").to_str().unwrap()]);
    assert_eq!(changed.status, 0);
    assert!(messages(&changed)[0].contains("receipts of that run do not count"), "{}", changed.stderr);
}

#[test]
fn explain_shows_layers_rule_and_rows() {
    let place = Place::new();
    let text = envelope("vpc-flow-logs", &[event(1_580_515_200_000, FLOW), event(1, "odd")]);
    place.file("object", &gzip(&[gzip(&text.as_bytes()[..80]), gzip(&text.as_bytes()[80..])].concat()));
    let object = place.path("object");
    let ran = flowherd(PROGRAM, ["explain", object.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let shown = ran.stdout.replace(object.to_str().unwrap(), "FILE");
    insta::assert_snapshot!(shown);
}

#[test]
fn every_command_has_a_help_text_with_its_usage() {
    let commands = [
        "convert",
        "synth",
        "explain",
        "suggest",
        "check",
        "run",
        "rerun",
        "status",
        "runs",
        "report",
        "verify",
        "redrive",
        "estimate",
        "sql",
        "query",
        "completions",
        "man",
    ];
    for command in commands {
        let ran = flowherd(PROGRAM, [command, "--help"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{command}: {ran:?}");
        let usage = ran.stdout.lines().find_map(|line| line.strip_prefix("Usage: "));
        assert_eq!(usage.and_then(|usage| usage.split(' ').nth(1)), Some(command), "{ran:?}");
    }
}

#[test]
fn the_definitions_of_the_tables_are_those_of_the_rules() {
    let place = Place::new();
    place.file("rules.toml", b"[[rule]]\nname = \"ids\"\ntable = \"ids\"\nmetadata = [\"owner\"]\n[rule.format]\nkind = \"regex\"\npattern = '^(?P<level>\\w+) (?P<bytes>\\d+)$'\ntypes = { bytes = \"bigint\" }\n");
    let config = place.path("rules.toml");
    let print = |dialect: &str| {
        let ran = flowherd(
            PROGRAM,
            ["sql", "--config", config.to_str().unwrap(), "--dialect", dialect, "--results", "s3://results"],
        );
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout
    };
    insta::assert_snapshot!(print("athena") + &print("duckdb"));
    let glue: Value = serde_json::from_str(&print("glue")).unwrap();
    let columns = glue["views"][0]["columns"].as_array().unwrap();
    let columns: Vec<[&str; 2]> = columns
        .iter()
        .map(|column| [&column["name"], &column["trino_type"]].map(|value| value.as_str().unwrap()))
        .collect();
    assert_eq!(
        columns,
        [["timestamp", "timestamp(3)"], ["owner", "varchar"], ["level", "varchar"], ["bytes", "bigint"]]
    );
}
