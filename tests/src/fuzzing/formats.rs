//! One message through one rule of each kind.

use std::sync::LazyLock;

use flowherd_shared::{config::Config, pipeline::RunConfig};
use regex::{Regex, RegexBuilder};

use super::{Pair, is_within_model, numbered_text};
use crate::{
    model::shown,
    objects::{NAMES, envelope, event, outcome},
};

static FLOW: LazyLock<Pair> = LazyLock::new(|| {
    let all: Vec<String> = flowherd_shared::flow_fields::FLOW_FIELDS
        .iter()
        .map(|field| format!("${{{}}}", field.name))
        .collect();
    let formats = [
        "",
        ", fields = \"${vpc-id} ${subnet-id} ${interface-id} ${pkt-srcaddr} ${dstaddr} ${start} ${bytes}\"",
        ", fields = \"${dstaddr}\"",
        &format!(", fields = {:?}", all.join(" ")),
    ];
    let rule = |(number, fields): (usize, &&str)| {
        format!(
            "[[rule]]\nname = \"{number}\"\nmatch = {{ log_group = \"{number}\" }}\ntable = \"t{number}\"\n\
             format = {{ kind = \"vpc-flow\"{fields} }}\n"
        )
    };
    Pair::new(&formats.iter().enumerate().map(rule).collect::<String>(), NAMES)
});

/// Converts a flow-log line with one of four formats. Row, names and reject must be the model's.
pub(super) fn flow(data: &[u8]) {
    let Some((number, line)) = numbered_text(data) else { return };
    if !is_within_model(line.as_bytes()) {
        return;
    }
    let group = (number % 4).to_string();
    let object = envelope(&group, &[event(1_580_515_200_000, line)]);
    let expected = FLOW.model.convert(object.as_bytes(), "k");
    assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &FLOW.plan).ok(), expected);
}

const PATHS: [&[&str]; 4] = [
    &["/a/b", "/a", "/c/0", "/c/1/d"],
    &["", "/a"],
    &["/~0/~1", "/ü/", "/"],
    &["/a/b/c/d/e", "/a/0/0/0", "/0"],
];

static JSON: LazyLock<Pair> = LazyLock::new(|| {
    let column = |(at, path): (usize, &&str)| format!("{{ name = \"c{at}\", path = {path:?} }}");
    let rule = |(number, paths): (usize, &&[&str])| {
        let columns: Vec<String> = paths.iter().enumerate().map(column).collect();
        let keys = ["", "required = [\"c1\"]\n", "bad_text = \"reject\"\n", ""][number];
        format!(
            "[[rule]]\nname = \"{number}\"\nmatch = {{ log_group = \"{number}\" }}\ntable = \"t{number}\"\n{keys}\
             format = {{ kind = \"json\", columns = [{}] }}\n",
            columns.join(", ")
        )
    };
    Pair::new(&PATHS.iter().enumerate().map(rule).collect::<String>(), NAMES)
});

/// A message for a rule with JSON Pointers: the model follows each pointer by itself.
pub(super) fn json(data: &[u8]) {
    let Some((number, message)) = numbered_text(data) else { return };
    if !is_within_model(message.as_bytes()) {
        return;
    }
    let group = (number % PATHS.len()).to_string();
    let object = envelope(&group, &[event(1_580_515_200_000, message)]);
    let expected = JSON.model.convert(object.as_bytes(), "k");
    assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &JSON.plan).ok(), expected);
}

/// Input: a JSONPath query, NUL, a message. A query must find the same in a message and in a member that holds the message.
pub(super) fn jsonpath(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((query, message)) = text.split_once('\0') else { return };
    if message.contains('\0') {
        return;
    }
    let plan = |query: &str| {
        let quoted = serde_json::Value::from(query).to_string().replace('\u{7f}', "\\u007f");
        let config = format!(
            "[[rule]]\nname = \"r\"\ntable = \"t0\"\n\
             format = {{ kind = \"json\", columns = [ {{ name = \"a\", jsonpath = {quoted} }} ] }}\n"
        );
        Config::parse(&config).map(RunConfig::from)
    };
    let outer = match plan(query) {
        Ok(plan) => plan,
        Err(error) => return super::settings::is_well_formed(&error),
    };
    let run = |plan: &RunConfig, message: &str| {
        let object = envelope("g", &[event(0, message)]);
        outcome(object.as_bytes(), usize::MAX, "k", plan).expect("an envelope")
    };
    let ours = run(&outer, message);
    let reasons: Vec<&str> = ours.rejects.iter().map(|(_, _, reason, _)| &**reason).collect();
    let rows = ours.tables.values().map(|rows| rows.len().saturating_sub(1)).sum::<usize>();
    assert_eq!(rows + reasons.len(), 1);
    let expected = ["not-json", "no-columns", "duplicate-key", "too-long"];
    assert!(reasons.iter().all(|reason| expected.contains(reason)), "{reasons:?}");
    // Another `$` may begin at the whole record. A longer query or a deeper message may exceed a limit.
    let Ok(inner) = plan(&query.replacen('$', "$.w", 1)) else { return };
    if query.matches('$').count() > 1
        || reasons.iter().any(|reason| ["not-json", "too-long"].contains(reason))
    {
        return;
    }
    let theirs = run(&inner, &format!("{{\"w\":{message}}}"));
    assert_eq!(ours.tables, theirs.tables);
}

/// Input: a pattern, NUL, a message. The values must be those that the `regex` crate finds in text.
pub(super) fn regex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((pattern, message)) = text.split_once('\0') else { return };
    if message.contains('\0') {
        return;
    }
    let quoted = serde_json::Value::from(pattern).to_string().replace('\u{7f}', "\\u007f");
    let config = format!(
        "[[rule]]\nname = \"r\"\ntable = \"t0\"\nformat = {{ kind = \"regex\", pattern = {quoted} }}\n"
    );
    let config = match Config::parse(&config) {
        Ok(config) => config,
        Err(error) => return super::settings::is_well_formed(&error),
    };
    // The pipeline accepts the same patterns. Only the size of the compiled pattern may differ.
    let Ok(regex) = RegexBuilder::new(pattern).size_limit(20 << 20).build() else {
        panic!("the regex crate refuses the pattern")
    };
    let expected = captured(&regex, message).ok_or("no-match");
    let is_none = |values: &Vec<Option<String>>| values.iter().all(Option::is_none);
    let expected = if expected.as_ref().is_ok_and(is_none) { Err("no-columns") } else { expected };
    compare(&RunConfig::from(config), "g", message, expected);
}

fn captured(regex: &Regex, message: &str) -> Option<Vec<Option<String>>> {
    let found = regex.captures(message)?;
    let names = regex.capture_names().flatten();
    Some(names.map(|name| found.name(name).map(|value| value.as_str().to_owned())).collect())
}

/// Converts the message as the only event of an envelope, and compares the values or the reject.
fn compare(plan: &RunConfig, log_group: &str, message: &str, expected: Result<Vec<Option<String>>, &str>) {
    let object = envelope(log_group, &[event(0, message)]);
    let ours = outcome(object.as_bytes(), usize::MAX, "k", plan).expect("an envelope");
    let rows = &ours.tables.values().next().expect("a table")[1..];
    match expected {
        Ok(values) => {
            let shown = |value: Option<String>| value.map_or("-".to_owned(), |value| as_in_csv(&value));
            let mut row = vec!["1970-01-01T00:00:00.000Z".to_owned()];
            row.extend(values.into_iter().map(shown));
            assert_eq!((rows, &ours.rejects[..]), (&[row][..], &[][..]));
        }
        Err(reason) => {
            let rejected: Vec<(&str, &str)> =
                ours.rejects.iter().map(|(_, _, reason, message)| (&**reason, &**message)).collect();
            assert_eq!((rows.len(), &rejected[..]), (0, &[(reason, &*shown(message.as_bytes()))][..]));
        }
    }
}

fn as_in_csv(value: &str) -> String {
    value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001")
}
