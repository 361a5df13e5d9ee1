//! `records`: the elements of an array are the records.

use flowherd_tests::{
    command::Running,
    objects::{Portions, convert, envelope, event, gzip, outcome},
};
use serde_json::Value;

use super::{converted, failed, plan, text_rule};
use crate::place::{PROGRAM, Place};

fn json_rule(records: &str) -> String {
    format!(
        "[[rule]]\nname = \"r\"\ntable = \"r\"\nrecords = \"{records}\"\n\
         format = {{ kind = \"json\", columns = [ {{ name = \"n\", path = \"/n\" }} ] }}\n"
    )
}

#[test]
fn all_arrays_at_the_path_are_read_and_the_text_around_them_is_not() {
    let object = r#"{"before":[{"n":8}],"a":{"Records":[{"n":1},{"n":"two"}],"n":9},"a":{"Records":[],"Records":[{"n":3}]},"Records":[{"n":7}],"n":9}"#;
    assert_eq!(
        converted(&json_rule("/a/Records"), "k", object),
        ["3 rows, 0 rejected, 0 control, 0 dropped", "r: timestamp,n", "r: -,1", "r: -,two", "r: -,3"]
    );
}

#[test]
fn a_path_of_no_steps_is_an_object_that_is_an_array() {
    assert_eq!(
        converted(&json_rule(""), "k", "[{\"n\":1},\n{\"n\":2}, 5]\n[{\"n\":3}]{\"n\":4}"),
        [
            "3 rows, 2 rejected, 0 control, 0 dropped",
            "r: timestamp,n",
            "r: -,1",
            "r: -,2",
            "r: -,3",
            "2 not-json: 5",
            r#"4 no-records: {\"n\":4}"#,
        ]
    );
}

#[test]
fn elements_are_text_or_json_and_a_damaged_one_is_a_reject() {
    let config = text_rule("r", "records = \"/r\"");
    let object = r#"{"r": [ "one", "two\u0020words", 5 , null,true, [1, 2], {"a": 1}, "half \ud800", "" ]}"#;
    assert_eq!(
        converted(&config, "k", object),
        [
            "6 rows, 3 rejected, 0 control, 0 dropped",
            "r: timestamp,word,rest",
            "r: -,one,-",
            "r: -,two,words",
            "r: -,5,-",
            "r: -,null,-",
            "r: -,true,-",
            "r: -,half,\u{fffd}",
            "5 no-match: [1, 2]",
            r#"6 no-match: {\"a\": 1}"#,
            "8 no-match: ",
        ]
    );
}

#[test]
fn a_record_outside_the_array_is_a_reject_or_goes_to_the_next_rule() {
    let object =
        format!("line\n{{\"n\":1}}{{\"Records\":[{{\"n\":2}}]}}{}", envelope("g", &[event(0, "{\"n\":3}")]));
    assert_eq!(
        converted(&json_rule("/Records"), "k", &object),
        [
            "1 rows, 3 rejected, 0 control, 0 dropped",
            "r: timestamp,n",
            "r: -,2",
            "0 no-records: line",
            r#"1 no-records: {\"n\":1}"#,
            r#"3 no-records: {\"n\":3}"#,
        ]
    );
    let rules = json_rule("/Records").replace("records =", "on_mismatch = \"next\"\nrecords =")
        + "[[rule]]\nname = \"plain\"\ntable = \"plain\"\nformat = { kind = \"json\", columns = [ { name = \"n\", path = \"/n\" } ] }";
    assert_eq!(
        converted(&rules, "k", &object),
        [
            "3 rows, 1 rejected, 0 control, 0 dropped",
            "plain: timestamp,n",
            "plain: -,1",
            "plain: 1970-01-01T00:00:00.000Z,3",
            "r: timestamp,n",
            "r: -,2",
            "0 not-json: line",
        ]
    );
}

#[test]
fn an_event_is_split_too_and_its_records_have_its_time_and_origin() {
    let config =
        json_rule("/Records").replace("records", "metadata = [\"log_group\", \"event_id\"]\nrecords");
    // Damage and other text make rejects of the whole message.
    let events = [
        event(5, r#"{"Records":[{"n":1},{"x":2}]}"#),
        event(6, r#"{"Records":[]}"#),
        event(7, r#"{"Records":[{"#),
        event(8, r#"{"Records":[{"n":3}]} more"#),
        event(9, "{\"x\":"),
    ];
    assert_eq!(
        converted(&config, "k", envelope("g", &events)),
        [
            "1 rows, 4 rejected, 1 control, 0 dropped",
            "r: timestamp,log_group,event_id,n",
            "r: 1970-01-01T00:00:00.005Z,g,36611082,1",
            r#"1 no-columns: {\"x\":2}"#,
            r#"3 not-json: {\"Records\":[{"#,
            r#"4 not-json: {\"Records\":[{\"n\":3}]} more"#,
            r#"5 no-records: {\"x\":"#,
        ]
    );
}

#[test]
fn elements_of_a_repaired_message_are_repaired_rows() {
    let event = r#"{"id":"1","timestamp":5,"message":"{\"Records\":[{\"n\":1},{\"n\":\"\ud800\"}]}"}"#;
    let object = envelope("g", &[event.to_owned()]);
    let config = json_rule("/Records");
    assert_eq!(
        converted(&config, "k", &object)[2..],
        ["r: 1970-01-01T00:00:00.005Z,1", "r: 1970-01-01T00:00:00.005Z,\u{fffd}"]
    );
    assert_eq!(outcome(object.as_bytes(), 1, "k", &plan(&config)).unwrap().repaired, 2);
    let strict = config.replace("records", "bad_text = \"reject\"\nrecords");
    assert!(converted(&strict, "k", &object)[2].starts_with("0 bad-encoding: "));
}

#[test]
fn rules_with_different_arrays_read_their_own() {
    let rule = |name: &str| json_rule(&format!("/{name}")).replace("\"r\"", &format!("\"{name}\""));
    let rules = rule("a").replace("records", "on_mismatch = \"next\"\nrecords") + &rule("b");
    assert_eq!(
        converted(&rules, "k", r#"{"b":[{"n":1}],"a":[{"n":2}]}{"c":[]}"#),
        [
            "2 rows, 1 rejected, 0 control, 0 dropped",
            "a: timestamp,n",
            "a: -,2",
            "b: timestamp,n",
            "b: -,1",
            r#"2 no-records: {\"c\":[]}"#,
        ]
    );
}

#[test]
fn a_damaged_object_with_an_array_of_records_fails() {
    for object in [
        r#"{"Records":[{"n":1},{"n":2}"#,
        r#"{"Records":[{"n":1}"#,
        r#"{"Records":[{"n":1} {"n":2}]}"#,
        r#"{"Records":[{"n":1}],"x":}"#,
        r#"{"Records":[{"n":1}]]"#,
        r#"{"Records":[{"n":1},]}"#,
        r#"{"Records":[{"n":1}],"logEvents":[]}"#,
    ] {
        failed(&json_rule("/Records"), "k", object);
    }
    // Damage inside of an element costs no other.
    let lines = converted(
        &json_rule("/Records"),
        "k",
        "{\"Records\":[{\"n\":01},{\"n\":1},\"line\nfeed\",{\"n\":\"\u{1}\"}]}",
    );
    assert_eq!(lines[0], "1 rows, 3 rejected, 0 control, 0 dropped");
    assert!(lines[4].starts_with("2 bad-encoding: "), "{lines:?}");
    // Before the array, the text is a line like any other.
    let lines =
        converted(&json_rule("/Records"), "k", "{\"x\":,\"Records\":[{\"n\":1}]}\n{\"Records\":[{\"n\":2}]}");
    assert_eq!(lines[0], "1 rows, 1 rejected, 0 control, 0 dropped");
}

#[test]
fn an_element_that_is_too_long_is_one_reject() {
    let config = json_rule("/Records") + "[limits]\nmax_record_bytes = 1024\n";
    let long = format!("{{\"n\":\"{}\"}}", "x".repeat(5000));
    let object = format!("{{\"Records\":[{{\"n\":1}},{long},\"{}\",{{\"n\":2}}]}}", "y".repeat(5000));
    let plan = plan(&config);
    for portion in [1, 100, usize::MAX] {
        let (counts, outputs) = convert(Portions::new(object.as_bytes(), portion), "k", &plan).unwrap();
        assert_eq!((counts.rows, counts.rejected), (2, 2));
        assert_eq!(outputs[0].1, "timestamp,n\n-,1\n-,2\n");
        for (reject, start) in outputs[1].1.lines().zip(["{\"n\":\"xxx", "yyy"]) {
            let reject: Value = serde_json::from_str(reject).unwrap();
            assert_eq!(reject["reason"], "too-long");
            assert!(reject["message"].as_str().unwrap().starts_with(start), "{reject}");
        }
    }
}

/// Limits with a window of a few KiB.
const SMALL: &str = "[limits]\nmax_record_bytes = 1024\nmax_envelope_bytes = 4096\n";

#[test]
fn an_element_too_long_for_memory_is_one_reject_whatever_it_is() {
    let plan = plan(&(json_rule("/Records") + SMALL));
    let long = "x".repeat(20_000);
    for (element, start) in [
        (format!("\"{long}\""), "xxx"),
        (format!("\"\\\"{long}\\\\\""), "\\\"xxx"),
        (format!("{{\"n\":\"]{long}\"}}"), "{\"n\":\"]xxx"),
        (format!("[[\"{long}\"]]"), "[[\"xxx"),
        ("7".repeat(20_000), "777"),
    ] {
        let object =
            format!("{{\"Records\":[{{\"n\":1}}, {element} ,{{\"n\":2}}]}}{{\"Records\":[{element}]}}");
        for portion in [1, 1000, usize::MAX] {
            let result = outcome(object.as_bytes(), portion, "k", &plan).unwrap();
            assert_eq!(result.tables["r"], [["timestamp", "n"], ["-", "1"], ["-", "2"]], "{start}");
            let rejects: Vec<_> = result.rejects.iter().map(|(at, _, reason, _)| (*at, &**reason)).collect();
            assert_eq!(rejects, [(1, "too-long"), (3, "too-long")], "{start}");
            for (.., message) in &result.rejects {
                assert!(message.starts_with(&start.escape_default().to_string()), "{message}");
                assert!(message.len() >= 1024, "{start}: {}", message.len());
            }
        }
    }
    // Its end is missing.
    for element in [format!("\"{long}"), "7".repeat(20_000)] {
        assert!(outcome(format!("{{\"Records\":[{element}").as_bytes(), 1000, "k", &plan).is_err());
    }
}

#[test]
fn an_object_is_not_a_record_wherever_its_array_begins() {
    let config = json_rule("/Records") + SMALL;
    let plan = plan(&config);
    let before = format!("\"before\":\"{}\"", "x".repeat(20_000));
    let object = format!(
        "{{{before},\"Records\":[{{\"n\":1}},{{\"n\":2}}]}}\n{{{before},\"n\":3}}\n{{\"Records\":[{{\"n\":4}}]}}"
    );
    for portion in [1, 1000, usize::MAX] {
        let result = outcome(object.as_bytes(), portion, "k", &plan).unwrap();
        assert_eq!(result.tables["r"], [["timestamp", "n"], ["-", "1"], ["-", "2"], ["-", "4"]]);
        // The second object has no array: it is a record that is too long.
        let rejects: Vec<_> = result.rejects.iter().map(|(at, _, reason, _)| (*at, &**reason)).collect();
        assert_eq!((result.read, rejects), (4, vec![(2, "too-long")]));
        assert!(result.rejects[0].3.starts_with(r#"{\"before\":\"xxx"#));
    }
}

#[test]
fn an_array_cut_at_any_byte_into_reads_gives_the_same_records() {
    let config = json_rule("/a/Records");
    let object = "\u{feff} {\"x\" : [ 1, {\"Records\":[2]} ],\n\"\\u0061\":{\"Records\" :[ {\"n\":\"\u{fc}\\u00fc\\\"]}\"},\r\n{\"n\" : [ ]} ,\"\"] } } {\"a\":{\"Records\":[{\"n\":null}]}}";
    let expected = converted(&config, "k", object);
    assert_eq!(
        expected,
        [
            "2 rows, 2 rejected, 0 control, 0 dropped",
            "r: timestamp,n",
            "r: -,\u{fc}\u{fc}\"]}",
            "r: -,[]",
            "2 not-json: ",
            r#"3 no-columns: {\"n\":null}"#,
        ]
    );
    let plan = plan(&config);
    let whole = convert(object.as_bytes(), "k", &plan).unwrap().1;
    for portion in 1..object.len() {
        let outputs = convert(Portions::new(object.as_bytes(), portion), "k", &plan).unwrap().1;
        assert_eq!(outputs, whole, "{portion} bytes per read");
    }
}

#[test]
fn an_array_of_many_megabytes_is_read_in_bounded_memory() {
    // 60 MB in one JSON object, as CloudTrail delivers it.
    let record = r#"{"eventVersion":"1.08","eventTime":"2026-02-18T00:00:00Z","eventName":"AssumeRole","n":"x","requestParameters":{"roleArn":"arn:aws:iam::123456789012:role/r"}},"#;
    let mut object = gzip(br#"{"Records":["#);
    let member = gzip(record.repeat(1000).as_bytes());
    (0..400).for_each(|_| object.extend_from_slice(&member));
    object.extend(gzip(br#"{"n":"last"}]}"#));
    let place = Place::new();
    place.object("AWSLogs/123456789012/CloudTrail/a.json.gz", &object);
    place.file("f.toml", json_rule("/Records").as_bytes());
    let config = place.path("f.toml");
    let args = place.convert_args(&["--jobs", "1", "--json", "--config", config.to_str().unwrap()]);
    // The kernel limits heap and stacks of the process, in KiB.
    let script = format!("unset RUST_MIN_STACK && ulimit -d {} && exec \"$@\"", 24 << 10);
    let bash = ["-c", &script, "bash", PROGRAM].map(str::to_owned);
    let ran = Running::start("bash", bash.into_iter().chain(args)).output();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!((&report["state"], &report["records"]["rows"]), (&"done".into(), &400_001.into()), "{report}");
    assert!(report["bytes"]["decoded_in"].as_u64().unwrap() > 60_000_000, "{report}");
}
