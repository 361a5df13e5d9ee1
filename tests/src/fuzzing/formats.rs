//! One message through one rule of each kind.

use std::sync::LazyLock;

use flowherd_shared::{config::Config, pipeline::Plan};
use regex::{Regex, RegexBuilder};
use serde_json::value::RawValue;

use super::{Pair, is_within_model, numbered_text};
use crate::{
    model::Pairs,
    objects::{LOOKUPS, envelope, event, outcome},
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
    Pair::new(&formats.iter().enumerate().map(rule).collect::<String>(), LOOKUPS)
});

/// A flow-log line in one of four formats: row, names and reject are the model's.
pub(super) fn flow(data: &[u8]) {
    let Some((number, line)) = numbered_text(data) else { return };
    if !is_within_model(line) {
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

static JSON: LazyLock<Plan> = LazyLock::new(|| {
    let column = |(at, path): (usize, &&str)| format!("{{ name = \"c{at}\", path = {path:?} }}");
    let rule = |(number, paths): (usize, &&[&str])| {
        let columns: Vec<String> = paths.iter().enumerate().map(column).collect();
        format!(
            "[[rule]]\nname = \"{number}\"\nmatch = {{ log_group = \"{number}\" }}\ntable = \"t{number}\"\n\
             format = {{ kind = \"json\", columns = [{}] }}\n",
            columns.join(", ")
        )
    };
    let config: String = PATHS.iter().enumerate().map(rule).collect();
    Plan { config: Config::parse(&config).expect("valid"), ..Plan::default() }
});

/// A message for a rule with JSON Pointers: what following each pointer by itself gives.
pub(super) fn json(data: &[u8]) {
    let Some((number, message)) = numbered_text(data) else { return };
    if message.contains('\0') {
        return;
    }
    let paths = PATHS[number % PATHS.len()];
    let mut found = Found { values: vec![None; paths.len()], ..Found::default() };
    let steps = |path: &&str| {
        path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
    };
    let pointers: Vec<(usize, Vec<String>)> = paths.iter().map(steps).enumerate().collect();
    let message_trimmed = message.trim_matches([' ', '\t', '\n', '\r']);
    let whole = serde_json::from_str::<&RawValue>(message_trimmed).ok();
    let read = whole
        .filter(|whole| whole.get().starts_with('{'))
        .and_then(|whole| follow(whole.get(), &pointers, &mut found));
    let expected = match (read, found.twice, found.no_text) {
        (None, ..) => Err("not-json"),
        (_, true, _) => Err("duplicate-key"),
        (_, _, true) => Err("bad-encoding"),
        _ => Ok(found.values),
    };
    compare(&JSON, &(number % PATHS.len()).to_string(), message, expected);
}

#[derive(Default)]
struct Found {
    values: Vec<Option<String>>,
    twice: bool,
    no_text: bool,
}

/// `None` if a key on the way is no text.
fn follow(raw: &str, pointers: &[(usize, Vec<String>)], found: &mut Found) -> Option<()> {
    for (column, steps) in pointers {
        if steps.is_empty() && raw != "null" {
            found.values[*column] = Some(if raw.starts_with('"') {
                let text = serde_json::from_str::<String>(raw).ok().filter(|text| !text.contains('\0'));
                found.no_text |= text.is_none();
                text.unwrap_or_default()
            } else {
                without_space(raw)
            });
        }
    }
    let further = |key: &str| -> Vec<(usize, Vec<String>)> {
        let of_key = pointers.iter().filter(|(_, steps)| steps.first().is_some_and(|step| step == key));
        of_key.map(|(column, steps)| (*column, steps[1..].to_vec())).collect()
    };
    if pointers.iter().all(|(_, steps)| steps.is_empty()) {
        return Some(());
    }
    if raw.starts_with('{') {
        let members = serde_json::from_str::<Pairs>(raw).ok()?.pairs;
        for (at, (key, value)) in members.iter().enumerate() {
            let further = further(key);
            if !further.is_empty() {
                found.twice |= members[..at].iter().any(|(other, _)| other == key);
                follow(value.get(), &further, found)?;
            }
        }
    } else if raw.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
        for (at, value) in elements.iter().enumerate() {
            let further = further(&at.to_string());
            if !further.is_empty() {
                follow(value.get(), &further, found)?;
            }
        }
    }
    Some(())
}

fn without_space(raw: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        let was_in_string = in_string;
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        was_in_string || !character.is_ascii_whitespace()
    };
    raw.chars().filter(keep).collect()
}

/// A pattern, NUL, a message: what the `regex` crate finds in text.
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
        Err(error) => return super::settings::is_told_well(&error),
    };
    // The pipeline asks the same of it; only its size may come out differently.
    let Ok(regex) = RegexBuilder::new(pattern).size_limit(20 << 20).build() else {
        panic!("a pattern that is none for text")
    };
    let expected = captured(&regex, message).ok_or("no-match");
    compare(&Plan { config, ..Plan::default() }, "g", message, expected);
}

fn captured(regex: &Regex, message: &str) -> Option<Vec<Option<String>>> {
    let found = regex.captures(message)?;
    let names = regex.capture_names().flatten();
    Some(names.map(|name| found.name(name).map(|value| value.as_str().to_owned())).collect())
}

/// The message as the only event of an envelope becomes these values, or this reject.
fn compare(plan: &Plan, log_group: &str, message: &str, expected: Result<Vec<Option<String>>, &str>) {
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
            assert_eq!((rows.len(), &rejected[..]), (0, &[(reason, message)][..]));
        }
    }
}

fn as_in_csv(value: &str) -> String {
    value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001")
}
