//! Runs that are done but need attention: warnings, runs without objects, absent columns, `--strict`, and objects that are
//! mostly rejects.

use flowherd_coordinator::reconcile::reconcile;
use flowherd_shared::{
    config::Config,
    layout,
    ledger::{Run, Warning, read_json},
    pipeline::RunConfig,
};
use flowherd_tests::{
    command::{Ran, flowherd},
    objects::{FLOW, convert, envelope, event, gzip},
};
use serde_json::{Value, json};

use super::{
    fleet::Fleet,
    place::{PROGRAM, Place},
};

const WAF: &str = r#"
[[rule]]
name = "vpc"
match = { log_group = "vpc-*" }
table = "vpc_flow"
format = { kind = "vpc-flow" }
[[rule]]
name = "waf"
match = { log_group = "waf" }
table = "waf"
format = { kind = "json", columns = [
  { name = "action", path = "/action" }, { name = "user_agent", path = "/userAgent" }, { name = "rule", path = "/rule" } ] }
"#;

/// An object with one envelope.
fn object(group: &str, messages: &[&str]) -> Vec<u8> {
    let events: Vec<String> = messages.iter().map(|message| event(1, message)).collect();
    gzip(envelope(group, &events).as_bytes())
}

/// `good` flow-log lines and `bad` lines of another log.
fn mixed(group: &str, good: usize, bad: usize) -> Vec<u8> {
    object(group, &[vec![FLOW; good], vec!["GET / 200"; bad]].concat())
}

fn control() -> Vec<u8> {
    let envelope = envelope("vpc-flow", &[event(1, "CWL CONTROL MESSAGE: Checking health of destination")]);
    gzip(envelope.replace("DATA_MESSAGE", "CONTROL_MESSAGE").as_bytes())
}

fn plan(config: &str) -> RunConfig {
    RunConfig::from(Config::parse(config).unwrap())
}

fn with_rules(place: &Place, more: &str) -> String {
    place.file("flowherd.toml", (WAF.to_owned() + more).as_bytes());
    place.path("flowherd.toml").to_str().unwrap().to_owned()
}

fn warnings(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter_map(|line| line.strip_prefix("flowherd: warning: ")).collect()
}

#[test]
fn a_done_run_that_needs_attention_has_warnings_and_fails_only_with_strict() {
    let place = Place::new();
    place.object("a", &mixed("vpc-flow", 3, 1)).object("b", &mixed("vpc-flow", 0, 4));
    place.object("c", &mixed("vpc-flow", 0, 2)).object("_tmp/d", &mixed("vpc-flow", 1, 0));
    let config = with_rules(&place, "");
    let ran = place.convert(&["--config", &config, "--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let expected = [
        "rule \"vpc\" rejects more records (7) than it accepts (4), most often as field-count. Run `flowherd explain` on an \
         object such as a, then correct the rule",
        "objects whose records were all rejected: 2. Run `flowherd explain` on one of them, such as b",
        "objects hidden from Athena: 1. A part of the key begins with \"_\" or \".\", so queries do not see their rows. \
         Rename the objects and convert them again; the first is _tmp/d",
    ];
    assert_eq!(warnings(&ran), expected, "{ran:?}");
    for warning in expected {
        assert!(ran.stdout.contains(&format!("\n  {warning}\n")), "{}", ran.stdout);
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(place.path("out/runs/r/report.json")).unwrap()).unwrap();
    assert_eq!(
        report["warnings"],
        json!([
            { "kind": "rule-rejects-most", "rule": "vpc", "count": 7, "rows": 4, "reason": "field-count", "key": "a" },
            { "kind": "objects-without-rows", "count": 2, "key": "b" },
            { "kind": "hidden-from-athena", "count": 1, "key": "_tmp/d" },
        ])
    );
    assert_eq!(report["rules"], json!({ "vpc": { "rows": 4, "rejects": { "field-count": 7 } } }));
    assert_eq!(report["findings"], Value::Null, "only an unfinished report has them");

    let strict = place.convert(&["--config", &config, "--run", "s", "--strict"]);
    assert_eq!((strict.status, warnings(&strict)), (1, expected.to_vec()), "{strict:?}");
}

#[test]
fn a_run_without_faults_has_no_warnings_and_passes_with_strict() {
    let place = Place::new();
    // As many rejects as rows, a control message, an empty object, and names with special characters.
    place.object("a_b.c/d", &mixed("vpc-flow", 2, 2)).object("control", &control()).object("empty", b"");
    let config = with_rules(&place, "");
    let ran = place.convert(&["--config", &config, "--strict", "--json"]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["objects"]["done"], &report["warnings"]), (&json!(3), &json!([])));
}

#[test]
fn rules_that_are_hidden_by_another_rules_rows_still_have_a_warning() {
    let place = Place::new();
    place
        .object("a", &mixed("vpc-flow", 90, 0))
        .object("b", &object("waf", &["{}", "{}", r#"{"action":"BLOCK"}"#]));
    let config = with_rules(&place, "");
    let report = place.report(&["--config", &config]);
    assert_eq!(
        report["warnings"],
        json!([{ "kind": "rule-rejects-most", "rule": "waf", "count": 2, "rows": 1, "reason": "no-columns", "key": "b" }])
    );
}

#[test]
fn more_records_without_a_rule_than_rows_are_a_warning() {
    let place = Place::new();
    place
        .object("a", &mixed("vpc-flow", 2, 0))
        .object("b", &object("/aws/lambda/x", &["one", "two", "three"]));
    let config = with_rules(&place, "");
    let report = place.report(&["--config", &config]);
    assert_eq!(
        report["warnings"],
        json!([
            { "kind": "no-rule", "count": 3, "rows": 2, "reason": "no-rule", "key": "b" },
            { "kind": "objects-without-rows", "count": 1, "key": "b" },
        ])
    );
}

#[test]
fn a_run_without_objects_is_reported_and_fails_with_strict() {
    let place = Place::new();
    let ran = place.convert(&[]);
    let expected = format!(
        "flowherd: no objects in {}. Check its name and the prefix: case matters, and keys have no leading \"/\"\n",
        place.path("in").display()
    );
    assert_eq!((ran.status, &*ran.stderr), (0, &*expected));
    assert_eq!(place.convert(&["--strict"]).status, 1);
    place.object("a", &mixed("vpc-flow", 1, 0));
    let ran = place.convert(&["--prefix", "b", "--strict"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains(" with prefix \"b\". Check "), "{ran:?}");
    assert_eq!(place.convert(&["--prefix", "a", "--strict"]).status, 0);
}

#[test]
fn columns_absent_from_every_record_are_named_and_are_no_warning() {
    let place = Place::new();
    let without_agent = r#"{"action":"BLOCK","userAgent":null}"#;
    place.object("a", &object("waf", &[without_agent, r#"{"action":"ALLOW","rule":"x"}"#]));
    place.object("b", &object("waf", &[without_agent; 7])).object("c", &mixed("vpc-flow", 1, 0));
    let config = with_rules(&place, "");
    let ran = place.convert(&["--config", &config, "--run", "r", "--strict"]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
    let absent = "\nabsent columns\n  user_agent: absent in all 9 records of rule waf\n\n";
    assert!(ran.stdout.contains(absent), "{}", ran.stdout);
    let receipt = std::fs::read(place.path("out/runs/r/receipts/b.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["rules"], json!({ "waf": { "rows": 7, "absent_columns": ["rule", "user_agent"] } }));

    let explained = |key: &str| {
        let path = place.path(&format!("in/{key}"));
        flowherd(PROGRAM, ["explain", path.to_str().unwrap(), "--config", &config]).stdout
    };
    assert!(
        explained("a")
            .contains("\nabsent columns\n  user_agent: absent in all 2 records of rule waf\n\nwaf\n")
    );
    let of_b = explained("b");
    assert!(
        of_b.contains("\n  user_agent: absent in all 7 records of rule waf\n  rule: absent in all 7 "),
        "{of_b}"
    );
    assert!(!explained("c").contains("absent"));
}

#[test]
fn an_optional_group_of_a_pattern_is_absent_until_one_record_has_it() {
    let plan = plan(
        "[[rule]]\nname = 'r'\ntable = 't'\nformat = { kind = 'regex', pattern = '^(?P<a>\\w+)( (?P<b>\\w+))?( (?P<c>!))?$' }",
    );
    let absent = |messages: &[&str]| {
        let (counts, _) = convert(&object("g", messages)[..], "k", &plan).unwrap();
        counts.rules[0].absent_columns.clone()
    };
    assert_eq!(absent(&["x", "y"]), [1, 2]);
    assert_eq!(absent(&["x", "y z"]), [2]);
    assert!(absent(&["x !", "y z"]).is_empty());
    assert!(absent(&["?"]).is_empty(), "a rule without rows has absent columns");
}

#[test]
fn an_object_of_mostly_rejects_fails_and_names_rule_and_reason() {
    let place = Place::new();
    place.object("half", &mixed("vpc-flow", 50, 50)).object("few", &mixed("vpc-flow", 49, 50));
    place.object("short", &mixed("vpc-flow", 0, 99)).object("most", &mixed("vpc-flow", 50, 51));
    let config = with_rules(&place, "");
    let report = place.report(&["--config", &config]);
    assert_eq!((&report["objects"]["done"], &report["objects"]["failed"]), (&json!(3), &json!(1)));
    assert_eq!(
        report["failures"],
        json!([{ "key": "most", "error": "too many rejects: 51 of 101 records (limits.max_reject_percent is 50). Rule \"vpc\" \
            rejected 51 of them as field-count. Run `flowherd explain` on the object, then correct the rule or raise the limit" }])
    );
    let written: Vec<String> = place.results().into_keys().collect();
    assert!(written.iter().all(|path| !path.contains("most")), "{written:?}");

    let most = place.path("in/most");
    let explained = flowherd(PROGRAM, ["explain", most.to_str().unwrap(), "--config", &config]);
    assert_eq!(explained.status, 0, "{explained:?}");
    assert!(explained.stdout.contains("51       rejected: field-count"), "{explained:?}");
    assert_eq!(
        explained.stderr,
        "flowherd: `flowherd convert` fails this object: 51 rejects and 50 rows, and limits.max_reject_percent is 50\n"
    );
}

#[test]
fn the_percentage_is_of_records_without_control_events_and_has_bounds() {
    let percent = |percent: u64, object: &[u8]| {
        convert(object, "k", &plan(&format!("{WAF}[limits]\nmax_reject_percent = {percent}\n"))).is_ok()
    };
    assert!(percent(100, &mixed("vpc-flow", 0, 500)), "100 disables the limit");
    assert!(!percent(99, &mixed("vpc-flow", 0, 500)));
    assert!(!percent(0, &mixed("vpc-flow", 99, 1)) && percent(0, &mixed("vpc-flow", 98, 1)));
    let with_control = [control(), mixed("vpc-flow", 40, 59)].concat();
    assert!(percent(50, &with_control), "the control event is not the hundredth record");
    let with_control = [vec![control(); 50].concat(), mixed("vpc-flow", 49, 51)].concat();
    assert!(!percent(50, &with_control), "control events do not dilute the rejects");
    let problems = Config::parse("[limits]\nmax_reject_percent = 101\n").unwrap_err().to_string();
    assert_eq!(problems, "limits.max_reject_percent = 101: must be from 0 to 100");
}

#[test]
fn a_failure_of_an_object_without_a_matching_rule_names_no_rule() {
    let error = |object: Vec<u8>, limits: &str| {
        convert(&object[..], "k", &plan(&(WAF.to_owned() + limits))).unwrap_err().to_string()
    };
    let unwanted = [object("/aws/lambda/x", &["noise"; 150]), mixed("vpc-flow", 3, 2)].concat();
    let expected = |limit: &str| {
        format!(
            "too many rejects: 152 of 155 records (limits.{limit}). No rule takes 150 of them (first log group: \
             \"/aws/lambda/x\"). Add a rule that matches them, or raise the limit"
        )
    };
    assert_eq!(error(unwanted.clone(), ""), expected("max_reject_percent is 50"));
    assert_eq!(error(unwanted.clone(), "[limits]\nmax_rejects = 10\n"), expected("max_rejects is 10"));
    let bytes = "[limits]\nmax_reject_bytes = 1024\n";
    assert_eq!(error(unwanted, bytes), expected("max_reject_bytes is 1024"));
    let lines = "noise\n".repeat(100).into_bytes();
    assert_eq!(
        error(lines, ""),
        "too many rejects: 100 of 100 records (limits.max_reject_percent is 50). No rule takes 100 of them (the first has no \
         log group). Add a rule that matches their key, or raise the limit"
    );
    let long = object(&"g".repeat(4000), &["noise"; 100]);
    assert!(error(long, "").len() < 500, "the name of a log group is shortened");
}

#[test]
fn a_fleet_report_has_the_same_warnings_with_any_number_of_calls() {
    let mut fleet = Fleet::new(0);
    let objects = [("a", 1, 0), ("b", 0, 3), ("c/_d", 1, 0), ("d", 0, 1)];
    fleet.source =
        objects.map(|(key, good, bad)| (key.to_owned(), mixed("vpc-flow", good, bad))).into_iter().collect();
    // Each call adds one part of the manifest, which holds three keys.
    let in_calls = fleet.finish(fleet.begin("r", ""));
    let run: Run = read_json(&fleet.store, &layout::run("r")).unwrap().unwrap();
    assert_eq!(run.manifest.unwrap().parts, 2);
    let key = |key: &str| key.to_owned();
    let expected = [
        Warning::RuleRejectsMost {
            rule: "vpc-flow".to_owned(),
            count: 4,
            rows: 2,
            reason: "field-count".to_owned(),
            key: key("b"),
        },
        Warning::ObjectsWithoutRows { count: 2, key: key("b") },
        Warning::HiddenFromAthena { count: 1, key: key("c/_d") },
    ];
    assert_eq!(in_calls.warnings, expected);
    assert_eq!(reconcile(&fleet.store, &run, in_calls.finished.clone()).unwrap(), in_calls);
}
