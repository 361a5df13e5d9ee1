//! `flowherd verify`, and `runs` and `status` of a directory of results.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use flowherd_shared::store::Store;
use flowherd_tests::{
    command::{Ran, Running, flowherd},
    objects::{FLOW, envelope, event, gunzip, gzip},
};
use serde_json::{Value, json};

use super::{
    cloud::{self, stop},
    place::{PROGRAM, Place},
};

/// Runs a command on the results of a place.
fn on_results(place: &Place, args: &[&str]) -> Ran {
    let out = place.path("out");
    flowherd(PROGRAM, args.iter().copied().chain(["--results", out.to_str().unwrap()]))
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

/// Converts two objects, one of them with a reject.
fn converted() -> Place {
    let place = Place::new();
    let of = |messages: &[&str]| {
        let events: Vec<String> = messages.iter().map(|text| event(1_580_515_200_000, text)).collect();
        gzip(envelope("vpc-flow-logs", &events).as_bytes())
    };
    place.object("a", &of(&[FLOW, FLOW, "no flow log"])).object("b", &of(&[FLOW]));
    assert_eq!(place.convert(&["--run", "r"]).status, 0);
    place
}

/// Returns the problems that `verify` prints, by path.
fn problems(place: &Place) -> Vec<(String, String)> {
    let ran = on_results(place, &["verify", "r", "--json"]);
    let found = parsed(&ran);
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(ran.status, i32::from(!problems.is_empty()), "{ran:?}");
    assert_eq!(found["totals"]["problems"], problems.len(), "{ran:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems.iter().map(|problem| (text(&problem["path"]), text(&problem["problem"]))).collect()
}

#[test]
fn verify_reads_every_output_of_a_run_and_finds_them_as_they_were() {
    let place = converted();
    let ran = on_results(&place, &["verify", "r"]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
    let bytes: usize = place.results().values().map(Vec::len).sum();
    let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "run r: 3 outputs are as written");
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(&lines[2]), ["objects", "outputs", "rows", "rejected", "bytes"]);
    assert_eq!(cells(&lines[3]), ["2", "3", "3", "1", &bytes.to_string(), "B"]);
    let found = parsed(&on_results(&place, &["verify", "r", "--json"]));
    assert_eq!((&found["run"], &found["problems"]), (&"r".into(), &json!([])));
    assert_eq!((&found["totals"]["done"], &found["totals"]["other_versions"]), (&2.into(), &0.into()));
}

#[test]
fn verify_names_each_output_that_is_not_as_it_was_and_why() {
    let csv = "csv/vpc_flow/a.csv.gz";
    let text = String::from_utf8(gunzip(&converted().results()[csv])).unwrap();
    let row = text.lines().nth(1).unwrap();
    let check = |change: &dyn Fn(&Path, &[u8]), expected: &[&str]| {
        let place = converted();
        let path = place.path("out").join(csv);
        change(&path, &fs::read(&path).unwrap());
        let found = problems(&place);
        assert_eq!((found.len(), &*found[0].0), (1, csv), "{found:?}");
        for part in expected {
            assert!(found[0].1.contains(part), "{part}: {found:?}");
        }
    };
    let replaced =
        |text: String| move |path: &Path, _: &[u8]| fs::write(path, gzip(text.as_bytes())).unwrap();
    check(&|path, _| fs::remove_file(path).unwrap(), &["it was removed"]);
    check(
        &|path, whole| fs::write(path, &whole[..whole.len() - 1]).unwrap(),
        &["bytes, and its receipt", "its CRC-64/NVME is", "its gzip is damaged or cut off"],
    );
    check(&|path, whole| fs::write(path, [whole, b"x"].concat()).unwrap(), &["its gzip is damaged"]);
    check(
        &|path, whole| {
            // The time stamp of the gzip member: the text and the size stay the same.
            let mut changed = whole.to_vec();
            changed[4] ^= 1;
            fs::write(path, changed).unwrap();
        },
        &["its CRC-64/NVME is"],
    );
    check(&replaced(format!("{text}{row}\n")), &["it has 3 rows, and its receipt 2"]);
    check(&replaced(text.clone() + "1,2\n"), &["row 3 has 2 columns, and the header has"]);
    check(&replaced(text.trim_end().to_owned()), &["it ends within row 2"]);
}

#[test]
fn verify_notices_other_headers_lost_receipts_and_copies() {
    // The checksum of a receipt that was changed with its output proves nothing, but the header does.
    let place = converted();
    let csv = place.path("out/csv/vpc_flow/b.csv.gz");
    let text = String::from_utf8(gunzip(&fs::read(&csv).unwrap())).unwrap();
    fs::write(&csv, gzip(text.replacen("srcaddr", "source", 1).as_bytes())).unwrap();
    assert!(problems(&place)[0].1.contains("its CRC-64/NVME is"));
    let path = place.path("out/runs/r/receipts/b.json");
    let mut receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut checksum = flowherd_shared::checksum::Crc64::default();
    checksum.add(&fs::read(&csv).unwrap());
    receipt["outputs"][0]["crc64nvme"] = checksum.text().into();
    receipt["outputs"][0]["bytes"] = fs::metadata(&csv).unwrap().len().into();
    fs::write(&path, receipt.to_string()).unwrap();
    let header = "its header is not that of table vpc_flow".to_owned();
    assert_eq!(problems(&place), [("csv/vpc_flow/b.csv.gz".to_owned(), header)]);

    let place = converted();
    fs::remove_file(place.path("out/runs/r/receipts/b.json")).unwrap();
    let found = problems(&place);
    assert_eq!((found.len(), &*found[0].0), (1, "runs/r/receipts/b.json"), "{found:?}");
    assert!(found[0].1.starts_with("it does not exist"), "{found:?}");
    let ran = on_results(&place, &["verify", "r"]);
    let verdict = "run r: 1 problem; 1 object has neither a valid receipt nor a failure: not verified\n";
    assert!(ran.status == 1 && ran.stdout.contains(verdict), "{ran:?}");

    // A copy with other times has the same bytes.
    let place = converted();
    let csv = place.path("out/csv/vpc_flow/a.csv.gz");
    fs::write(&csv, fs::read(&csv).unwrap()).unwrap();
    fs::File::open(&csv).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let ran = on_results(&place, &["verify", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let copied =
        "\n1 output has the bytes that were written, but another version: it was copied or written again\n";
    assert!(ran.stdout.ends_with(copied), "{ran:?}");
}

#[test]
fn verify_fails_if_nothing_was_verified_or_the_report_is_absent() {
    let place = converted();
    fs::remove_dir_all(place.path("out/runs/r/receipts")).unwrap();
    fs::remove_file(place.path("out/runs/r/report.json")).unwrap();
    let found = problems(&place);
    let paths: Vec<&str> = found.iter().map(|(path, _)| &**path).collect();
    assert_eq!(paths, ["runs/r/report.json", "runs/r/run.json"], "{found:?}");
    assert!(found[1].1.ends_with("nothing was verified"), "{found:?}");

    let place = converted();
    fs::remove_file(place.path("out/runs/r/report.json")).unwrap();
    assert!(problems(&place)[0].1.starts_with("it does not exist"));

    // More objects are missing than when the report was written.
    let place = converted();
    let path = place.path("out/runs/r/report.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    report["objects"]["missing"] = 1.into();
    fs::write(&path, report.to_string()).unwrap();
    fs::remove_file(place.path("out/runs/r/receipts/a.json")).unwrap();
    assert_eq!(problems(&place), [], "the report counts it as missing");
    let path = place.path("out/runs/r/receipts/b.json");
    fs::remove_file(path).unwrap();
    assert_eq!(problems(&place)[0].1, "1 object was missing when it was written, and now 2");
}

#[test]
fn an_output_that_cannot_be_read_is_a_problem_and_the_others_are_verified() {
    let place = converted();
    let csv = place.path("out/csv/vpc_flow/a.csv.gz");
    fs::remove_file(&csv).unwrap();
    fs::create_dir(&csv).unwrap();
    let found = problems(&place);
    assert_eq!((found.len(), &*found[0].0), (1, "csv/vpc_flow/a.csv.gz"), "{found:?}");
    assert!(found[0].1.starts_with("it cannot be read: "), "{found:?}");
}

#[test]
fn a_damaged_file_of_the_ledger_is_named_and_never_counts_as_absent() {
    let damaged = |file: &str| {
        let place = converted();
        let path = place.path("out/runs/r").join(file);
        assert!(path.is_file(), "{file}");
        fs::write(path, "{").unwrap();
        place
    };
    let fails = |place: &Place, args: &[&str], file: &str, status: i32| {
        let ran = on_results(place, args);
        assert_eq!(ran.status, status, "{ran:?}");
        let message = format!("runs/r/{file}: it is damaged or of another version of Flowherd: ");
        assert!((ran.stderr + &ran.stdout).contains(&message), "{args:?}: {}", ran.stdout);
    };
    let place = damaged("run.json");
    let sql = ["sql", "--dialect", "duckdb"];
    for args in [&["verify", "r"][..], &["status", "r"], &["status"], &["runs"], &["report", "r"], &sql] {
        fails(&place, args, "run.json", 1);
    }
    let query = flowherd(PROGRAM, ["query", "SELECT 1", "--local", place.path("out").to_str().unwrap()]);
    let message = "out/runs/r/run.json: it is damaged or of another version of Flowherd: ";
    assert!(query.status == 1 && query.stderr.contains(message) && query.stdout.is_empty(), "{query:?}");
    for args in [&["--run", "r", "--resume"][..], &["--run", "r"], &["--resume"]] {
        let ran = place.convert(args);
        assert!(ran.status == 2 && ran.stderr.contains("runs/r/run.json: it is damaged"), "{ran:?}");
    }
    let place = damaged("report.json");
    for args in [&["verify", "r"][..], &["runs"], &["report", "r"]] {
        fails(&place, args, "report.json", 1);
    }
    assert!(on_results(&place, &["runs"]).stdout.contains("damaged report"));
    let place = damaged("receipts/a.json");
    fails(&place, &["verify", "r"], "receipts/a.json", 1);
    let ran = place.convert(&["--run", "r", "--resume"]);
    let message = "runs/r/receipts/a.json: it is damaged or of another version of Flowherd";
    assert!(ran.status == 0 && ran.stderr.contains(message), "{ran:?}");
    assert!(ran.stderr.contains("objects with such a receipt are converted again"), "{ran:?}");
    assert_eq!(problems(&place), []);
}

#[test]
fn the_status_of_a_run_whose_listing_is_incomplete_has_no_count_of_remaining_objects() {
    let place = converted();
    let path = place.path("out/runs/r/run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    run["manifest"] = Value::Null;
    fs::write(&path, run.to_string()).unwrap();
    fs::remove_file(place.path("out/runs/r/report.json")).unwrap();
    let ran = on_results(&place, &["status", "r"]);
    let cells: Vec<&str> = ran.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["r", "no", "report", "-", "0", "0", "0", "-"], "{ran:?}");
}

#[test]
fn verify_reads_the_outputs_of_earlier_runs_that_a_run_skips() {
    let place = converted();
    assert_eq!(place.convert(&["--run", "s", "--resume"]).status, 0);
    let found = parsed(&on_results(&place, &["verify", "s", "--json"]));
    assert_eq!((&found["totals"]["skipped"], &found["totals"]["outputs"]), (&2.into(), &3.into()), "{found}");
    fs::remove_file(place.path("out/csv/vpc_flow/a.csv.gz")).unwrap();
    let ran = on_results(&place, &["verify", "s"]);
    assert_eq!((ran.status, ran.stdout.lines().next()), (1, Some("csv/vpc_flow/a.csv.gz: it was removed")));
}

#[test]
fn the_header_is_that_of_the_rules_which_convert_copies_into_the_ledger() {
    let place = Place::new();
    place.object("a", b"7 seven\n8 eight\n");
    let rules = "[[rule]]\nname = \"n\"\ntable = \"n\"\n[rule.format]\nkind = \"regex\"\npattern = '^(?P<n>\\d+) (?P<name>.*)$'\n";
    place.file("flowherd.toml", rules.as_bytes());
    let config = place.path("flowherd.toml");
    let args = ["--run", "r", "--config", config.to_str().unwrap()];
    assert_eq!(place.convert(&args).status, 0);
    assert_eq!(fs::read_to_string(place.path("out/runs/r/flowherd.toml")).unwrap(), rules);
    assert_eq!(problems(&place), []);
    // A resume without rules is one with the built-in rule.
    assert_eq!(place.convert(&["--run", "r", "--resume"]).status, 0);
    assert!(!place.path("out/runs/r/flowherd.toml").exists());
}

#[test]
fn runs_and_status_of_a_directory_are_those_of_its_ledger() {
    let place = converted();
    place.object("c", b"\x1f\x8bdamaged");
    assert_eq!(place.convert(&["--run", "second"]).status, 1);
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table = |ran: &Ran| ran.stdout.lines().map(cells).collect::<Vec<_>>();
    let runs = on_results(&place, &["runs"]);
    assert_eq!(
        table(&runs),
        [
            ["run", "prefix", "state", "listed", "done", "skipped", "failed", "missing", "rows"]
                .map(str::to_owned)
                .to_vec(),
            cells("r done 2 2 0 0 0 3"),
            cells("second failed 3 2 0 1 0 3"),
        ],
        "{runs:?}"
    );
    let styled = |args: &[&str]| on_results(&place, args).stdout;
    let (done, failed) = ("\u{1b}[32m\u{1b}[1mdone\u{1b}[0m ", "\u{1b}[31m\u{1b}[1mfailed\u{1b}[0m ");
    let colours = styled(&["runs", "--color", "always"]);
    assert!(colours.contains(done) && colours.contains(failed), "{colours:?}");
    assert!(styled(&["status", "second", "--color", "always"]).contains(failed));
    for args in [&["runs"][..], &["runs", "--color", "never"], &["status", "second"]] {
        assert!(!styled(args).contains('\u{1b}'), "{args:?}");
    }
    let latest = parsed(&on_results(&place, &["runs", "--last", "1", "--json"]));
    assert_eq!(latest.as_array().unwrap().len(), 1);
    assert_eq!((&latest[0]["run"], &latest[0]["state"]), (&"second".into(), &"failed".into()), "{latest}");

    // The second run replaced the outputs of the first.
    let status = on_results(&place, &["status", "r"]);
    assert_eq!(table(&status)[1], cells("r done 2 0 0 0 2"), "{status:?}");
    let status = parsed(&on_results(&place, &["status", "second", "--json"]));
    assert_eq!(
        (&status["runs"][0]["done"], &status["runs"][0]["failed"]),
        (&2.into(), &1.into()),
        "{status}"
    );
    let none = on_results(&place, &["status"]);
    assert!(none.status == 0 && none.stdout.starts_with("no run is active"), "{none:?}");

    // A process that works on the run holds its lock.
    let lock = fs::File::open(place.path("out/runs/second/lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(table(&on_results(&place, &["status"]))[1], cells("second in progress 3 2 0 1 0"));
    assert!(on_results(&place, &["runs"]).stdout.contains("second          in progress"));
    let refused = on_results(&place, &["verify", "second"]);
    assert!(refused.status == 2 && refused.stderr.contains("a process is working on run second"));
}

#[test]
fn the_missing_objects_of_a_directory_have_their_reasons() {
    let place = converted();
    let missing = |run: &str| on_results(&place, &["report", run, "--missing"]);
    let none = missing("r");
    assert_eq!((none.status, &*none.stdout), (0, "run r: 0 objects are missing\n"), "{none:?}");

    place.object("c", &gzip(b"x"));
    fs::remove_file(place.path("out/csv/vpc_flow/a.csv.gz")).unwrap();
    fs::write(place.path("out/runs/r/receipts/b.json"), "{").unwrap();
    let ran = missing("r");
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    // The order is that of the directory.
    lines.sort_unstable();
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(lines[0], "a: csv/vpc_flow/a.csv.gz was removed after the receipt was written");
    let damaged = "b: its receipt cannot be used: it is damaged or of another version of Flowherd: ";
    assert!(lines[1].starts_with(damaged), "{ran:?}");
    assert_eq!(
        lines[2..],
        ["run r: 2 objects are missing; to continue, repeat flowherd convert with --resume --run r"]
    );

    // The next run replaces the outputs.
    assert_eq!(place.convert(&["--run", "next", "--prefix", "a"]).status, 0);
    let ran = on_results(&place, &["report", "r", "--missing", "--json"]);
    let found = parsed(&ran);
    let replaced = found.as_array().unwrap().iter().find(|object| object["key"] == "a").unwrap();
    assert_eq!((ran.status, &replaced["replaced_by"]), (1, &"next".into()), "{ran:?}");

    let lock = fs::File::open(place.path("out/runs/next/lock")).unwrap();
    lock.lock().unwrap();
    let ran = missing("next");
    assert!(
        ran.status == 0 && ran.stderr.contains("run next is in progress; objects that it has not"),
        "{ran:?}"
    );
}

#[test]
fn verify_refuses_a_run_that_convert_is_writing_and_verifies_the_other_runs_of_the_directory() {
    let place = converted();
    let out = place.path("out").to_str().unwrap().to_owned();
    let mut command = Command::new(PROGRAM);
    command.args(["convert", "-", &out, "--run", "second", "--key", "second"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut writing = Running(command.spawn().unwrap());
    let mut input = writing.0.stdin.take().unwrap();
    // More than a pipe holds: the command has begun the object when all of it is written.
    input.write_all(format!("{FLOW}\n").repeat(20_000).as_bytes()).unwrap();
    let refused = on_results(&place, &["verify", "second"]);
    assert_eq!((refused.status, &*refused.stdout), (2, ""), "{refused:?}");
    let message = "flowherd: a process is working on run second; verify the run after its end\n";
    assert_eq!(refused.stderr, message);
    assert_eq!(problems(&place), []);
    drop(input);
    let ran = writing.output();
    assert_eq!(ran.status, 0, "{ran:?}");
    let verified = on_results(&place, &["verify", "second"]);
    assert_eq!(verified.status, 0, "{verified:?}");
}

#[test]
fn a_directory_without_results_and_an_unknown_run_are_refused() {
    let place = converted();
    for args in [&["verify", "x"][..], &["status", "x"]] {
        let ran = on_results(&place, args);
        assert!(ran.status == 2 && ran.stderr.contains("no run named \"x\" in "), "{ran:?}");
        let ran = on_results(&place, &[args[0], ".x"]);
        assert!(ran.status == 2 && ran.stderr.contains("it begins with a dot"), "{ran:?}");
    }
    let source = place.path("in");
    for args in [&["verify", "r"][..], &["status"], &["runs"]] {
        let ran = flowherd(PROGRAM, args.iter().copied().chain(["--results", source.to_str().unwrap()]));
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(ran.stderr.contains("no results there, because it has no directory runs/"), "{ran:?}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn verify_reads_the_outputs_of_a_run_of_the_fleet() {
    let fleet = cloud::Fleet::new(3, 20);
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "r", "--watch"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    stop(worker);
    let verified = fleet.flowherd(&["verify", "r", "--json"]);
    assert_eq!(verified.status, 0, "{verified:?}");
    let found = cloud::report(&verified);
    let outputs = fleet.outputs();
    assert_eq!(found["totals"]["outputs"], outputs.len(), "{found}");
    assert_eq!(found["totals"]["bytes"], outputs.values().map(Vec::len).sum::<usize>(), "{found}");
    let (path, bytes) = outputs.first_key_value().unwrap();
    fleet.results.put(path, &bytes[..bytes.len() - 1]).unwrap();
    let verified = fleet.flowherd(&["verify", "r"]);
    assert_eq!(verified.status, 1, "{verified:?}");
    assert!(verified.stdout.starts_with(&format!("{path}: it has ")), "{verified:?}");
}
