//! Samples with a few malformed records: the rules are those of the other records, and the counts show the malformed ones.

use base64::{Engine, engine::general_purpose::STANDARD};
use flowherd_tests::objects::{FLOW, envelope, event, gzip};

use super::{Place, convert_with, converts_all, preset_sample, suggest, suggested};

/// Text that has no format.
fn free_text(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("it happened {}time", "again and ".repeat(number)))
}

/// Removes the comment signs of the last rule that is a comment.
fn uncommented(rules: &str) -> String {
    let (certain, rule) = rules.rsplit_once("\n# [[rule]]\n").unwrap();
    let rule: Vec<&str> = rule.lines().map(|line| line.strip_prefix("# ").unwrap()).collect();
    format!("{certain}\n[[rule]]\n{}\n", rule.join("\n"))
}

#[test]
fn text_without_a_format_beside_json_is_a_rule_to_complete_and_the_json_has_its_own() {
    let place = Place::new();
    let json = (0..12).map(|number| format!("{{\"number\":{number}}}"));
    let events: Vec<String> = json.chain(free_text(4)).map(|message| event(1, &message)).collect();
    place.object("x", envelope("app", &events).as_bytes());
    let rules = suggested(&place);
    assert!(
        rules.contains(
            "# Takes 12 of 16 records, and rejects 4 (mostly not-json): JSON objects with 1 column: "
        ),
        "{rules}"
    );
    assert_eq!(rules.matches("\n[[rule]]\n").count(), 1, "{rules}");
    let report = convert_with(&place, &uncommented(&rules));
    assert_eq!(
        (&report["tables"]["app"], &report["tables"]["app_text"], &report["records"]["rejected"]),
        (&12.into(), &4.into(), &0.into()),
        "{rules}"
    );
}

#[test]
fn a_few_lines_of_text_beside_json_are_rejects_of_its_rule() {
    let place = Place::new();
    let json = (0..100).map(|number| format!("{{\"number\":{number}}}"));
    let events: Vec<String> = json.chain(free_text(7)).map(|message| event(1, &message)).collect();
    place.object("x", envelope("app", &events).as_bytes());
    let rules = suggested(&place);
    let counts = "# Takes 100 of 107 records, and rejects 7 (mostly not-json): JSON objects with 1 column: ";
    assert!(rules.contains(counts) && rules.contains("\n[[rule]]\n"), "{rules}");
}

/// Makes a line of text.
type Line<'a> = &'a dyn Fn(u64) -> String;

#[test]
fn a_malformed_line_does_not_hide_a_format_of_text_and_is_shown_as_a_reject() {
    let pairs = |number| format!("level=info msg=\"a b\" took={number}.5");
    let delimited = |number| format!("2026-02-18 00:00:{number:02};x y;{number}");
    let w3c = |number| format!("2026-02-18 00:00:{number:02} 192.0.2.1 {number}");
    let cases: [(&str, Line<'_>, &str, &str, &str); 3] = [
        ("pairs", &pairs, "", "level=info msg=\"a", "(?P<took>[^ ]*)$'\n"),
        ("delimited", &delimited, "time;user;bytes", "2026-02-18 0", "comments = \"time;user;bytes\"\n"),
        ("w3c", &w3c, "#Fields: date time c-ip bytes", "2026-02", "kind = \"w3c\"\n"),
    ];
    for (name, line, header, malformed, key) in cases {
        for at in [0, 8, 18] {
            let place = Place::new();
            let header = Some(header.to_owned()).filter(|header| !header.is_empty());
            let mut lines: Vec<String> = header.into_iter().chain((0..18).map(line)).collect();
            lines.insert(at, malformed.to_owned());
            place.object(&format!("{name}/1"), (lines.join("\n") + "\n").as_bytes());
            let rules = suggested(&place);
            assert!(rules.contains(key), "{name}, malformed line at {at}:\n{rules}");
            // A header line is a control record.
            let read = if name == "pairs" { 19 } else { 20 };
            let counts = format!("# Takes 18 of {read} records, and rejects 1 (mostly ");
            assert!(rules.contains(&counts), "{name}, malformed line at {at}:\n{rules}");
            let example = format!("# One of the rejected records: {malformed:?}\n");
            assert!(rules.contains(&example), "{name}, malformed line at {at}:\n{rules}");
            let report = convert_with(&place, &rules);
            assert_eq!(
                (&report["records"]["rows"], &report["records"]["rejected"]),
                (&18.into(), &1.into()),
                "{name}, malformed line at {at}:\n{rules}"
            );
        }
    }
}

#[test]
fn more_than_a_tenth_of_other_lines_hides_a_format_of_text() {
    let rules_with = |others: usize| {
        let place = Place::new();
        let lines = (0..18).map(|number| format!("level=info took={number}")).chain(free_text(others));
        place.object("kv/1", (lines.collect::<Vec<_>>().join("\n") + "\n").as_bytes());
        suggest(&place).stdout
    };
    assert!(rules_with(2).contains("\n[[rule]]\n"), "{}", rules_with(2));
    assert!(!rules_with(3).contains("\n[[rule]]\n"), "{}", rules_with(3));
}

#[test]
fn an_example_of_a_rejected_record_is_a_comment_on_lines_of_its_own() {
    let place = Place::new();
    let lines = (0..18).map(|number| format!("level=info took={number}"));
    let events: Vec<String> =
        lines.chain(["x\n[[rule]]\n\u{202e}\"".to_owned()]).map(|message| event(1, &message)).collect();
    place.object("x", envelope("app", &events).as_bytes());
    let rules = suggested(&place);
    assert!(
        rules.contains("\n# One of the rejected records: \"x\\u000A[[rule]]\\u000A\\u202E\\\"\"\n"),
        "{rules}"
    );
}

/// Rows and rejects of the last line of the table on stderr.
fn counts_of_last_rule(stderr: &str) -> (u64, u64) {
    let words: Vec<&str> = stderr.lines().last().unwrap().split_whitespace().collect();
    let count = |from_end: usize| words[words.len() - from_end].replace(',', "").parse().unwrap();
    (count(2), count(1))
}

#[test]
fn the_counts_are_those_of_convert_also_beyond_its_limits() {
    // One record is longer than a record may be, and one file has too many rejects.
    let place = Place::new();
    let json =
        |count: usize| (0..count).map(|number| format!("{{\"number\":{number}}}\n")).collect::<String>();
    place.object(
        "app/1",
        (json(20) + &format!("{{\"number\":1,\"pad\":\"{}\"}}\n", "x".repeat(1 << 20))).as_bytes(),
    );
    let ran = suggest(&place);
    let report = convert_with(&place, &ran.stdout);
    let counts = |report: &serde_json::Value| {
        (report["records"]["rows"].as_u64().unwrap(), report["records"]["rejected"].as_u64().unwrap())
    };
    assert_eq!(counts(&report), (20, 1), "{report}");
    assert_eq!(counts_of_last_rule(&ran.stderr), (20, 1), "{}", ran.stderr);

    let place = Place::new();
    place.object("app/1", json(200).as_bytes());
    let messages = (0..40).map(|number| format!("{{\"number\":{number}}}")).chain(free_text(70));
    let events: Vec<String> = messages.map(|message| event(1, &message)).collect();
    place.object("mixed/1", envelope("mixed", &events).as_bytes());
    let ran = suggest(&place);
    place.file("flowherd.toml", ran.stdout.as_bytes());
    let config = place.path("flowherd.toml");
    let report = place.report(&["--config", config.to_str().unwrap(), "--run", "r"]);
    assert_eq!(report["objects"]["failed"], 1, "{report}");
    assert_eq!(counts(&report), (200, 0), "{report}");
    assert!(
        ran.stdout.contains("# Suggested by `flowherd suggest` from 200 records of 2 files"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("flowherd: mixed/1: too many rejects"), "{}", ran.stderr);
}

#[test]
fn log_groups_with_a_few_malformed_records_still_share_a_rule() {
    let place = Place::new();
    let group = |name: &str, malformed: usize| {
        let json = (0..20).map(|number| format!("{{\"number\":{number},\"name\":\"x\"}}"));
        let events: Vec<String> =
            json.chain(free_text(malformed)).map(|message| event(1, &message)).collect();
        envelope(name, &events)
    };
    place.object("x", (group("/shop/orders-1", 1) + &group("/shop/orders-2", 0)).as_bytes());
    let rules = suggested(&place);
    assert!(rules.contains("match = { log_group = \"/shop/orders-*\" }\n"), "{rules}");
    assert_eq!(rules.matches("\n[[rule]]\n").count(), 1, "{rules}");
}

/// Makes a record that holds another one.
type Form<'a> = &'a dyn Fn(u64) -> String;

#[test]
fn one_other_record_does_not_hide_the_form_of_nested_records() {
    let in_member =
        |number| format!("{{\"message\":\"{FLOW}\",\"timestamp\":{}}}", 1_771_372_800_000_u64 + number);
    let in_array = |number| format!("{{\"items\":[{{\"id\":{number}}},{{\"id\":1}}]}}");
    let in_line = |number| format!("2026-02-18T00:00:{number:02}.000Z {{\"id\":{number}}}");
    let in_base64 = |number| {
        let text = envelope("app", &[event(1, &format!("{{\"number\":{number}}}"))]);
        format!("{{\"data\":\"{}\"}}", STANDARD.encode(gzip(text.as_bytes())))
    };
    let cases: [(&str, Form<'_>, &str, &str, u64); 4] = [
        (
            "member",
            &in_member,
            r#"{"status":"restarted"}"#,
            "unwrap = \"/message\"\ntimestamp = { path = ",
            19,
        ),
        ("array", &in_array, r#"{"status":"restarted"}"#, "records = \"/items\"\n", 38),
        ("line", &in_line, "\tat frame 1", "lines = \"export\"\n", 19),
        ("base64", &in_base64, r#"{"status":"restarted"}"#, "unwrap = \"/data\"\ndecode = \"base64\"\n", 19),
    ];
    for (name, form, other, keys, rows) in cases {
        for at in [0, 7, 19] {
            let place = Place::new();
            let mut lines: Vec<String> = (0..19).map(form).collect();
            lines.insert(at, other.to_owned());
            place.object(&format!("{name}/1"), (lines.join("\n") + "\n").as_bytes());
            let rules = suggested(&place);
            assert!(rules.contains(keys), "{name}, other record at {at}:\n{rules}");
            assert!(name == "base64" || rules.contains("and rejects 1 (mostly "), "{rules}");
            let report = convert_with(&place, &rules);
            assert_eq!(
                (&report["records"]["rows"], &report["records"]["rejected"]),
                (&rows.into(), &1.into()),
                "{name}, other record at {at}:\n{rules}"
            );
        }
    }
}

#[test]
fn one_other_object_does_not_hide_a_preset_that_reads_arrays() {
    let place = Place::new();
    let (_, text) =
        preset_sample("cloudtrail-s3").into_iter().find(|(key, _)| key.starts_with("AWSLogs/")).unwrap();
    let objects = [text.repeat(19), b"{\"status\":\"restarted\"}".to_vec()].concat();
    place.object("trail/1", &objects);
    let rules = suggested(&place);
    assert!(rules.contains("\npreset = \"cloudtrail-s3\"\n"), "{rules}");
    assert_eq!(convert_with(&place, &rules)["records"]["rejected"], 1, "{rules}");
}

#[test]
fn many_records_without_the_form_are_not_rejects_of_its_rule() {
    let place = Place::new();
    let wrapped = format!("{{\"message\":\"{FLOW}\"}}\n").repeat(8);
    place.object("direct/1", (wrapped + "{\"status\":\"restarted\"}\n").as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(!rules.contains("unwrap"), "{rules}");
}

#[test]
fn a_few_records_beside_a_known_log_get_no_table() {
    let flows_and = |others: usize| {
        let place = Place::new();
        let others = (0..others).map(|number| format!("{{\"number\":{number}}}"));
        let messages = std::iter::repeat_n(FLOW.to_owned(), 9).chain(others);
        let events: Vec<String> = messages.map(|message| event(1, &message)).collect();
        place.object("x", envelope("vpc-flow-logs", &events).as_bytes());
        suggested(&place)
    };
    assert!(!flows_and(4).contains("kind = \"json\""), "{}", flows_and(4));
    assert!(flows_and(5).contains("kind = \"json\""), "{}", flows_and(5));
}

#[test]
fn a_cut_line_does_not_hide_flow_logs_of_a_custom_format() {
    let place = Place::new();
    let lines = ["vpc-01 192.0.2.1 443 ACCEPT", "vpc-01 192.0.2.2 80 REJECT", "vpc-01 192.0"];
    place.object("x", envelope("flows", &lines.map(|line| event(1, line))).as_bytes());
    let ran = suggest(&place);
    assert!(ran.stdout.contains("# fields = \"${vpc-id} ${srcaddr|"), "{}", ran.stdout);
}
