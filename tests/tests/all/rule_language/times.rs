//! `timestamp` and `lines = "export"`: the time of plain records.

use super::{converted, text_rule};

fn times(keys: &str, values: &[&str]) -> Vec<String> {
    let config = format!(
        "[[rule]]\nname = \"r\"\ntable = \"r\"\ntimestamp = {{ path = \"/t\", {keys} }}\n\
         format = {{ kind = \"json\", columns = [ {{ name = \"n\", path = \"/n\" }} ] }}\n"
    );
    let objects: Vec<String> = values.iter().map(|value| format!("{{\"t\":{value},\"n\":1}}\n")).collect();
    let lines = converted(&config, "k", objects.concat());
    let rejects = lines.iter().filter(|line| line.contains(" bad-timestamp: ")).count();
    let rows =
        lines.iter().filter_map(|line| line.strip_prefix("r: ")?.strip_suffix(",1")).map(str::to_owned);
    let rows: Vec<String> = rows.collect();
    assert_eq!(rows.len() + rejects, values.len(), "{lines:?}");
    rows
}

#[test]
fn a_time_has_a_unit() {
    let first = "2026-02-18T00:00:00.000Z";
    let second = "2026-02-18T00:00:00.123Z";
    assert_eq!(
        times("unit = \"s\"", &["1771372800", "1771372800.1239", "\"1771372800.123\""]),
        [first, second, second]
    );
    assert_eq!(
        times(
            "unit = \"s\"",
            &[
                "1.7713728e9",
                "17713728001239E-4",
                "1771372800.1234567890123456789012345",
                "\"0.1771372800123e+10\""
            ]
        ),
        [first, second, second, second]
    );
    assert_eq!(times("unit = \"ms\"", &["1771372800000", "\"1771372800123\""]), [first, second]);
    assert_eq!(times("unit = \"us\"", &["1771372800000000", "1771372800123999"]), [first, second]);
    assert_eq!(times("unit = \"ns\"", &["1771372800000000000", "1771372800123999999"]), [first, second]);
    assert_eq!(
        times(
            "unit = \"iso\"",
            &[
                "\"2026-02-18T00:00:00Z\"",
                "\"2026-02-18T01:30:00.123999+01:30\"",
                "\"2026-02-17T23:00:00.123-01:00\"",
                "\"1970-01-01T00:00:00Z\"",
                "\"9999-12-30T00:00:00Z\"",
            ]
        ),
        [first, second, second, "1970-01-01T00:00:00.000Z", "9999-12-30T00:00:00.000Z"]
    );
    assert_eq!(
        times(
            "format = \"%d/%b/%Y:%H:%M:%S %z\"",
            &["\"18/Feb/2026:00:00:00 +0000\"", "\"18/Feb/2026:01:30:00 +0130\""]
        ),
        [first, first]
    );
    // Without %z the time is UTC.
    assert_eq!(times("format = \"%Y-%m-%d %H:%M:%S\"", &["\"2026-02-18 00:00:00\""]), [first]);
}

#[test]
fn an_invalid_time_is_a_reject() {
    let none = ["null", "\"\"", "\"x\"", "[]", "{}", "true", "-1", "\"-1\"", "253402300800000000000000"];
    for unit in ["s", "ms", "us", "ns"] {
        assert!(times(&format!("unit = \"{unit}\""), &none).is_empty(), "{unit}");
    }
    // Milliseconds that a rule reads as seconds are beyond the year 9999.
    assert!(
        times("unit = \"s\"", &["1771372800000", "1.7e12", "1e999", "\"1.7e\"", "\"e9\"", "-1e0"]).is_empty()
    );
    assert!(times("unit = \"ms\"", &["253402300800000"]).is_empty());
    assert!(
        times(
            "unit = \"iso\"",
            &["\"2026-02-30T00:00:00Z\"", "\"2026-02-18\"", "\"1969-12-31T23:59:59Z\"", "1771372800"]
        )
        .is_empty()
    );
    assert!(
        times(
            "format = \"%Y-%m-%d %H:%M:%S\"",
            &[
                "\"2026-02-18 00:00:00 x\"",
                "\"2026-02-18 00:00\"",
                "\"2026-13-01 00:00:00\"",
                "\"1969-12-31 23:59:59\"",
                "\"18/02/2026 00:00:00\"",
            ]
        )
        .is_empty()
    );
}

#[test]
fn the_columns_of_a_time_are_joined_by_a_space() {
    let config = r#"
[[rule]]
name = "r"
table = "r"
timestamp = { columns = ["date", "time"], format = "%Y-%m-%d %H:%M:%S" }
format = { kind = "regex", pattern = '^(?P<date>\S+)(?: (?P<time>\S+))?$' }
"#;
    assert_eq!(
        converted(config, "k", "2026-02-18 12:34:56\n2026-02-18\n"),
        [
            "1 rows, 1 rejected, 0 control, 0 dropped",
            "r: timestamp,date,time",
            "r: 2026-02-18T12:34:56.000Z,2026-02-18,12:34:56",
            "1 bad-timestamp: 2026-02-18",
        ]
    );
}

#[test]
fn the_time_of_an_unwrapped_message_is_in_the_outer_record() {
    let config = text_rule("r", "unwrap = \"/message\"\ntimestamp = { path = \"/time\", unit = \"s\" }");
    assert_eq!(
        converted(&config, "k", "{\"time\":5,\"message\":\"a b\"}{\"message\":\"c\"}"),
        [
            "1 rows, 1 rejected, 0 control, 0 dropped",
            "r: timestamp,word,rest",
            "r: 1970-01-01T00:00:05.000Z,a,b",
            r#"1 bad-timestamp: {\"message\":\"c\"}"#,
        ]
    );
}

#[test]
fn a_time_that_does_not_fit_sends_the_record_to_the_next_rule() {
    let config = text_rule("r", "on_mismatch = \"next\"\ntimestamp = { columns = [\"word\"], unit = \"s\" }")
        + &text_rule("other", "");
    assert_eq!(
        converted(&config, "k", "1771372800 a\nword b\n"),
        [
            "2 rows, 0 rejected, 0 control, 0 dropped",
            "other: timestamp,word,rest",
            "other: -,word,b",
            "r: timestamp,word,rest",
            "r: 2026-02-18T00:00:00.000Z,1771372800,a",
        ]
    );
}

#[test]
fn only_plain_lines_have_the_time_of_an_export() {
    use flowherd_tests::objects::{envelope, event};
    let config = text_rule("r", "lines = \"export\"");
    let object = format!(
        "2026-02-18T00:00:00.000Z one two\n2026-02-18T00:00:01.000Z \n{}2026-02-18 00:00:00 no time\nPermission Check Successful\nPermission Check Successful.\n",
        envelope("g", &[event(0, "three four")]) + "\n"
    );
    assert_eq!(
        converted(&config, "k", object),
        [
            "2 rows, 3 rejected, 1 control, 0 dropped",
            "r: timestamp,word,rest",
            "r: 2026-02-18T00:00:00.000Z,one,two",
            "r: 1970-01-01T00:00:00.000Z,three,four",
            "1 no-match: 2026-02-18T00:00:01.000Z ",
            "3 bad-timestamp: 2026-02-18 00:00:00 no time",
            "5 bad-timestamp: Permission Check Successful.",
        ]
    );
}

#[test]
fn a_json_object_without_the_time_of_an_export_is_a_reject() {
    use flowherd_tests::objects::{envelope, event};
    let config = "[[rule]]\nname = \"r\"\ntable = \"r\"\nlines = \"export\"\n\
                  format = { kind = \"json\", columns = [ { name = \"n\", path = \"/n\" } ] }\n";
    let object = format!(
        "2026-02-18T00:00:00.000Z {{\"n\":1}}\n{{\"n\":2}}\n{{\n\"n\":3}}\n{}",
        envelope("g", &[event(0, "{\"n\":4}")])
    );
    assert_eq!(
        converted(config, "k", object),
        [
            "2 rows, 2 rejected, 0 control, 0 dropped",
            "r: timestamp,n",
            "r: 2026-02-18T00:00:00.000Z,1",
            "r: 1970-01-01T00:00:00.000Z,4",
            r#"1 bad-timestamp: {\"n\":2}"#,
            r#"2 bad-timestamp: {\n\"n\":3}"#,
        ]
    );
}
