//! The language of rules: what each key of a `[[rule]]` does, with the exact rows, rejects and counts.

mod arrays;
mod cases;
mod formats;
mod mistakes;
mod payloads;
mod times;

use flowherd_shared::{config::Config, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::{
    model::Model,
    objects::{NAMES, envelope, envelope_of, event, outcome},
};

fn plan(config: &str) -> RunConfig {
    let config = Config::parse(config).unwrap_or_else(|error| panic!("{error}"));
    RunConfig::new(config, NameIndex::parse(NAMES.as_bytes()).unwrap())
}

/// Converts an object in portions of several sizes, and compares the result with the model's.
///
/// Returns a line with the counts, then the tables with their rows, then the rejects.
fn converted(config: &str, key: &str, object: impl AsRef<[u8]>) -> Vec<String> {
    let object = object.as_ref();
    let plan = plan(config);
    let expected = outcome(object, usize::MAX, key, &plan).unwrap();
    for portion in [1, 7, 1000] {
        assert_eq!(outcome(object, portion, key, &plan).unwrap(), expected, "{portion} bytes per read");
    }
    assert_eq!(Some(&expected), Model::new(config, NAMES).convert(object, key).as_ref(), "the model");

    let rows: usize = expected.tables.values().map(|rows| rows.len() - 1).sum();
    let (rejected, control, dropped) = (expected.rejects.len(), expected.control, expected.dropped);
    let mut lines = vec![format!("{rows} rows, {rejected} rejected, {control} control, {dropped} dropped")];
    for (table, rows) in &expected.tables {
        lines.extend(rows.iter().map(|row| format!("{table}: {}", row.join(","))));
    }
    let rejects = expected.rejects.iter();
    lines.extend(rejects.map(|(record, _, reason, message)| format!("{record} {reason}: {message}")));
    lines
}

/// Returns the error of an object that fails, whatever the portions.
fn failed(config: &str, key: &str, object: impl AsRef<[u8]>) -> String {
    let object = object.as_ref();
    let plan = plan(config);
    let errors =
        [1, 7, usize::MAX].map(|portion| outcome(object, portion, key, &plan).unwrap_err().to_string());
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    assert_eq!(Model::new(config, NAMES).convert(object, key), None, "the model");
    errors[0].clone()
}

/// A rule for text of any kind, with more keys of the rule.
fn text_rule(name: &str, keys: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\ntable = \"{name}\"\n{keys}\n\
         format = {{ kind = \"regex\", pattern = '^(?P<word>\\w+)(?: (?P<rest>.*))?$' }}\n"
    )
}

#[test]
fn a_rule_matches_if_any_entry_of_its_list_matches() {
    let config =
        text_rule("a", "match = [ { log_group = \"/a/*\", log_stream = \"x*\" }, { key = \"*/a/*\" } ]");
    let object = [
        envelope("/a/1", &[event(0, "one")]).replace("eni-1-all", "x1"),
        envelope("/a/1", &[event(0, "two")]),
        envelope("/b/1", &[event(0, "three")]).replace("eni-1-all", "x1"),
    ]
    .concat();
    assert_eq!(
        converted(&config, "k", &object),
        [
            "1 rows, 2 rejected, 0 control, 0 dropped",
            "a: timestamp,word,rest",
            "a: 1970-01-01T00:00:00.000Z,one,-",
            "1 no-rule: two",
            "2 no-rule: three",
        ]
    );
    let lines = converted(&config, "logs/a/k", &object);
    assert_eq!(lines[0], "3 rows, 0 rejected, 0 control, 0 dropped");
}

#[test]
fn only_star_and_question_mark_are_special_in_globs() {
    for (glob, matching, other) in [
        ("a[bc]*", "a[bc]d", "abd"),
        ("{a,b}", "{a,b}", "a"),
        ("a?c", "a/c", "ac"),
        ("a\\\\*", "a\\\\b", "a*"),
        ("!a", "!a", "b"),
        ("**", "a/b", ""),
        ("\u{fc}?*", "\u{fc}\u{e4}", "\u{fc}"),
    ] {
        let config = text_rule("r", &format!("match = {{ log_group = \"{glob}\" }}"));
        let object = [envelope(matching, &[event(0, "a")]), envelope(other, &[event(0, "b")])].concat();
        let lines = converted(&config, "k", object);
        if other.is_empty() {
            assert_eq!(lines[0], "2 rows, 0 rejected, 0 control, 0 dropped", "{glob}");
        } else {
            assert_eq!(lines[0], "1 rows, 1 rejected, 0 control, 0 dropped", "{glob}");
            assert_eq!(lines[3], "1 no-rule: b", "{glob}");
        }
    }
}

#[test]
fn a_log_group_never_matches_a_plain_record() {
    let rules = text_rule("group", "match = { log_group = \"g*\" }")
        + &text_rule("any", "match = { log_group = \"*\" }");
    let object = format!("line\n{}", envelope("g", &[event(0, "event")]));
    assert_eq!(
        converted(&rules, "g", object),
        [
            "2 rows, 0 rejected, 0 control, 0 dropped",
            "any: timestamp,word,rest",
            "any: -,line,-",
            "group: timestamp,word,rest",
            "group: 1970-01-01T00:00:00.000Z,event,-",
        ]
    );
}

#[test]
fn a_message_pattern_selects_records_by_their_content() {
    let rules = text_rule("errors", "match = { log_group = \"g\", message = 'ERROR|FATAL' }")
        + &text_rule("five", "match = [ { message = '^5 ' }, { message = 'five$' } ]");
    let object = envelope(
        "g",
        &[
            event(0, "an ERROR here"),
            event(0, "5 apples"),
            event(0, "give me five"),
            event(0, "fine"),
            event(0, "FATAL 5"),
        ],
    );
    assert_eq!(
        converted(&rules, "k", object),
        [
            "4 rows, 1 rejected, 0 control, 0 dropped",
            "errors: timestamp,word,rest",
            "errors: 1970-01-01T00:00:00.000Z,an,ERROR here",
            "errors: 1970-01-01T00:00:00.000Z,FATAL,5",
            "five: timestamp,word,rest",
            "five: 1970-01-01T00:00:00.000Z,5,apples",
            "five: 1970-01-01T00:00:00.000Z,give,me five",
            "3 no-rule: fine",
        ]
    );
}

const JSON_THEN_TEXT: &str = r#"
[[rule]]
name = "json"
table = "json"
on_mismatch = "next"
required = ["action"]
format = { kind = "json", columns = [ { name = "action", path = "/action" }, { name = "uri", path = "/uri" } ] }
[[rule]]
name = "text"
match = { log_group = "g" }
table = "text"
format = { kind = "regex", pattern = '^(?P<word>\w+)$' }
"#;

#[test]
fn a_record_that_does_not_fit_is_tried_on_the_rules_below() {
    let object = envelope(
        "g",
        &[
            event(0, r#"{"action":"BLOCK"}"#),
            event(0, "word"),
            event(0, r#"{"uri":"/"}"#),
            event(0, "two words"),
        ],
    );
    // The reject has the reason of the last rule that was tried.
    assert_eq!(
        converted(JSON_THEN_TEXT, "k", object),
        [
            "2 rows, 2 rejected, 0 control, 0 dropped",
            "json: timestamp,action,uri",
            "json: 1970-01-01T00:00:00.000Z,BLOCK,-",
            "text: timestamp,word",
            "text: 1970-01-01T00:00:00.000Z,word",
            r#"2 no-match: {\"uri\":\"/\"}"#,
            "3 no-match: two words",
        ]
    );
    // No rule below takes the record.
    assert_eq!(
        converted(JSON_THEN_TEXT, "k", envelope("h", &[event(0, r#"{"uri":"/"}"#), event(0, "word")])),
        [
            "0 rows, 2 rejected, 0 control, 0 dropped",
            "json: timestamp,action,uri",
            r#"0 missing-required: {\"uri\":\"/\"}"#,
            "1 not-json: word",
        ]
    );
}

#[test]
fn a_rule_that_drops_counts_its_records_and_writes_nothing() {
    let rules = "[[rule]]\nname = \"noise\"\nmatch = { log_group = \"/aws/lambda/*\", message = '^(START|END)' }\ndrop = true\n"
        .to_owned()
        + &text_rule("functions", "match = { log_group = \"/aws/lambda/*\" }");
    let object = envelope("/aws/lambda/f", &[event(0, "START 1"), event(1, "hello"), event(2, "END 1")]);
    assert_eq!(
        converted(&rules, "k", object),
        [
            "1 rows, 0 rejected, 0 control, 2 dropped",
            "functions: timestamp,word,rest",
            "functions: 1970-01-01T00:00:00.001Z,hello,-",
        ]
    );
}

#[test]
fn a_damaged_record_is_dropped_only_by_a_rule_that_does_not_read_messages() {
    let bad = [r#"{"id":"1","timestamp":-1,"message":"debug"}"#, r#"{"id":"1","timestamp":0}"#, "5"];
    let object = envelope("g", &bad.map(str::to_owned));
    let drop = "[[rule]]\nname = \"noise\"\ndrop = true\n";
    assert_eq!(converted(drop, "k", &object), ["0 rows, 0 rejected, 0 control, 3 dropped"]);
    let reads = format!("{drop}match = {{ message = 'debug' }}\n");
    assert_eq!(
        converted(&reads, "k", &object),
        [
            "0 rows, 3 rejected, 0 control, 0 dropped".to_owned(),
            "0 bad-timestamp: debug".to_owned(),
            format!("1 bad-event: {}", bad[1].escape_default()),
            "2 bad-event: 5".to_owned(),
        ]
    );
    // Damage of the envelope is never dropped.
    let unknown = envelope_of("NEW_MESSAGE", "g", &[event(0, "a")]);
    assert_eq!(
        converted(drop, "k", unknown),
        ["0 rows, 1 rejected, 0 control, 0 dropped", "0 unknown-message-type: a"]
    );
    let glued = format!("text {}\n", envelope("g", &[event(0, "a")]));
    assert!(converted(drop, "k", glued)[1].starts_with("0 glued-envelope: text "));
}

#[test]
fn comments_are_counted_as_control() {
    let rule = text_rule("log", "comments = \"//\"");
    let object =
        format!("// written by x\na /b\n/ c\n{}", envelope("g", &[event(0, "//"), event(0, "d // e")]));
    assert_eq!(
        converted(&rule, "k", object),
        [
            "2 rows, 1 rejected, 2 control, 0 dropped",
            "log: timestamp,word,rest",
            "log: -,a,/b",
            "log: 1970-01-01T00:00:00.000Z,d,// e",
            "2 no-match: / c",
        ]
    );
}

#[test]
fn a_comment_with_invalid_text_is_control_too() {
    let rule =
        "[[rule]]\nname = \"vpc\"\ntable = \"vpc\"\ncomments = \"#\"\nformat = { kind = \"vpc-flow\" }\n";
    let lines = converted(rule, "k", b"# caf\xe9\n# start srcaddr dstaddr\nno flow log\n");
    assert_eq!(lines[0], "0 rows, 1 rejected, 2 control, 0 dropped");
}

#[test]
fn metadata_columns_have_the_event_id_the_key_and_extracted_fields() {
    let rule = text_rule(
        "log",
        "metadata = [\"log_group\", \"event_id\", \"key\", \"extracted:source ip\", \"extracted:n\"]",
    );
    let extracted = r#"{"id":"31","timestamp":0,"message":"a","extractedFields":{"source ip":"192.0.2.1","n":[1, 2],"other":"x"}}"#;
    let absent = r#"{"timestamp":0,"message":"b","extractedFields":{"source ip":null}}"#;
    let object = format!("line\n{}", envelope("g", &[extracted.to_owned(), absent.to_owned()]));
    assert_eq!(
        converted(&rule, "logs/k", object),
        [
            "3 rows, 0 rejected, 0 control, 0 dropped",
            "log: timestamp,log_group,event_id,key,extracted_source_ip,extracted_n,word,rest",
            "log: -,-,-,logs/k,-,-,line,-",
            "log: 1970-01-01T00:00:00.000Z,g,31,logs/k,192.0.2.1,[1,2],a,-",
            "log: 1970-01-01T00:00:00.000Z,g,-,logs/k,-,-,b,-",
        ]
    );
}
