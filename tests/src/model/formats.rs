//! What the rules make of a message, by the simplest means.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::value::RawValue;

use super::json_object::{Pairs, Said, is_same, said};

const V2: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
pub(super) const ALL: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2 interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id next-hop-interface-type";
pub(super) const NUMBERS: &str =
    "version srcport dstport protocol packets bytes start end tcp-flags traffic-path";
const ADDRESSES: &str = "srcaddr dstaddr pkt-srcaddr pkt-dstaddr";

fn is_known(word: &str) -> bool {
    ALL.split(' ').any(|name| name == word)
}

/// Most words of the line are names of fields. One word is a value, unless it is the first of the object.
pub(super) fn is_header(line: &str, first: bool) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().take(129).collect();
    let known = words.iter().filter(|word| is_known(word)).count();
    let begins = first || words.iter().take(2).any(|word| is_known(word));
    begins && known * 2 > words.len() && (first || words.len() > 1)
}

/// The line is not a row, but looks like a header line that was damaged, or like one in another form.
pub(super) fn is_lost_header(line: &str, first: bool) -> bool {
    if line.len() <= 4096 {
        return is_lost(line.as_bytes(), first, true);
    }
    let line = line.as_bytes();
    is_lost(&line[..2048], first, true) || is_lost(&line[line.len() - 2048..], false, false)
}

/// `begins` is whether the line begins here.
fn is_lost(line: &[u8], first: bool, begins: bool) -> bool {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_ascii_whitespace().take(129).collect();
    let likely = words.iter().filter(|word| is_likely(word)).count();
    let is_partly_known = begins
        && words.iter().any(|word| is_known(word))
        && words.iter().all(|word| is_like_a_name(word))
        && (words.len() > 1 && likely * 2 > words.len() || first && is_telling(&words));
    let mut runs = (0..words.len()).flat_map(|start| (start + 1..=words.len()).map(move |end| (start, end)));
    let is_joined = runs.any(|(start, end)| {
        let run = &words[start..end];
        let is_at_an_end = start == 0 || end == words.len();
        // The first word may end with a name.
        let ends = ALL.split(' ').find(|name| run[0].ends_with(name));
        let names: Vec<&str> = ends.into_iter().chain(run[1..].iter().copied()).collect();
        is_at_an_end && run.iter().all(|word| is_likely(word)) && is_telling(run)
            || names.len() == run.len() && names.iter().all(|word| is_known(word)) && is_telling(&names)
    });
    let bare = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let other: Vec<String> = line
        .split(|c: char| c.is_whitespace() || ",;|".contains(c))
        .map(|word| bare(word.trim_matches(|c| "\"'`${}#\u{feff}".contains(c))))
        .filter(|word| !word.is_empty())
        .take(129)
        .collect();
    let known: Vec<&str> =
        other.iter().filter_map(|word| ALL.split(' ').find(|name| bare(name) == *word)).collect();
    let is_other_form = other.len() > 2 && known.len() * 2 > other.len() && is_telling(&known);
    is_partly_known || is_joined || is_other_form
}

/// A row whose fields may be any text, but whose words are names of fields.
pub(super) fn is_row_of_names(fields: &[String], line: &str) -> bool {
    let is_text =
        |field: &String| ![NUMBERS, ADDRESSES].iter().any(|all| all.split(' ').any(|name| name == field));
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    fields.iter().all(is_text)
        && words.len() > 1
        && words.iter().all(|word| is_likely(word))
        && words.iter().any(|word| is_known(word) && is_distinctive(word))
}

fn is_like_a_name(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

fn is_likely(word: &str) -> bool {
    is_known(word) || (word.contains('-') && is_like_a_name(word))
}

/// Three names of fields, or one and another word if one of them is not an English word.
fn is_telling(words: &[&str]) -> bool {
    let known = words.iter().filter(|word| is_known(word)).count();
    known >= 3 || (known >= 1 && words.len() >= 2 && words.iter().any(|word| is_distinctive(word)))
}

fn is_distinctive(word: &str) -> bool {
    word.ends_with("-id")
        || word.ends_with("-arn")
        || is_known(word) && (word.contains('-') || word.ends_with("addr") || word.ends_with("port"))
}

pub(super) fn kind(rule: &toml::Table) -> &str {
    rule["format"]["kind"].as_str().unwrap()
}

pub(super) fn fields(rule: &toml::Table) -> Vec<String> {
    let text = rule["format"].get("fields").map_or(V2, |fields| fields.as_str().unwrap());
    text.split(' ').map(|field| field.trim_start_matches("${").trim_end_matches('}').to_owned()).collect()
}

pub(super) fn format_columns(rule: &toml::Table) -> Vec<String> {
    match kind(rule) {
        "vpc-flow" => fields(rule).iter().map(|field| field.replace('-', "_")).collect(),
        "json" => {
            let columns = rule["format"]["columns"].as_array().unwrap();
            columns.iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect()
        }
        _ => ["level", "src", "dst", "port"].map(str::to_owned).to_vec(),
    }
}

pub(super) fn matches(rule: &toml::Table, name: &str, value: &str) -> bool {
    let pattern = rule.get("match").and_then(|matches| matches.get(name));
    pattern.is_none_or(|pattern| glob(pattern.as_str().unwrap(), value))
}

/// Only `*`.
fn glob(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((front, rest)) => value.strip_prefix(front).is_some_and(|value| {
            (0..=value.len()).any(|at| value.is_char_boundary(at) && glob(rest, &value[at..]))
        }),
    }
}

pub(super) fn flow(fields: &[String], line: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let tokens: Vec<&str> = line.split(' ').collect();
    if tokens.len() != fields.len() {
        return Err("field-count");
    }
    for (field, token) in fields.iter().zip(&tokens) {
        if token.is_empty() {
            return Err("field-count");
        }
        let wide = ["packets", "bytes", "start", "end"].contains(&field.as_str());
        let most = if wide { i64::MAX } else { i32::MAX.into() };
        let number = token.bytes().all(|byte| byte.is_ascii_digit())
            && token.len() <= 19
            && token.parse::<i64>().is_ok_and(|value| value <= most);
        let wrong = (NUMBERS.split(' ').any(|name| name == field) && !number)
            || (ADDRESSES.split(' ').any(|name| name == field) && token.parse::<IpAddr>().is_err());
        if *token != "-" && wrong {
            return Err("field-type");
        }
        let is_time = ["start", "end"].contains(&field.as_str()) && *token != "-";
        if is_time && token.parse::<i64>().unwrap() > 253_402_300_799 {
            return Err("bad-timestamp");
        }
    }
    Ok(fields
        .iter()
        .map(|field| field.replace('-', "_"))
        .zip(tokens.into_iter().map(str::to_owned))
        .collect())
}

/// The values that the pointers of a rule lead to, and whether text was replaced in one.
pub(super) fn json(
    rule: &toml::Table,
    message: &str,
) -> Result<(BTreeMap<String, String>, bool), &'static str> {
    let message = message.trim_matches([' ', '\t', '\n', '\r']);
    if !message.starts_with('{') || serde_json::from_str::<&RawValue>(message).is_err() {
        return Err("not-json");
    }
    let columns = rule["format"]["columns"].as_array().unwrap();
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for column in columns {
        let name = column["name"].as_str().unwrap();
        let steps = column["path"].as_str().unwrap().split('/').skip(1);
        let steps: Vec<String> = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        if let Some(raw) = follow(message, &steps, &mut faults) {
            found.push((name.to_owned(), raw));
        }
    }
    for fault in ["not-json", "duplicate-key"] {
        if faults.contains(&fault) {
            return Err(fault);
        }
    }
    let mut is_repaired = false;
    let mut values = BTreeMap::new();
    for (name, raw) in found {
        let value = match raw.strip_prefix('"').map(|raw| said(raw.strip_suffix('"').unwrap())) {
            None if raw == "null" => continue,
            None => without_space(&raw),
            Some(Said::Text(text)) => text,
            Some(Said::Repaired(text)) => {
                is_repaired = true;
                text
            }
            Some(Said::Damaged) => unreachable!("it was read as JSON"),
        };
        values.insert(name, value);
    }
    if is_repaired && rejects_bad_text(rule) {
        return Err("bad-encoding");
    }
    Ok((values, is_repaired))
}

/// What is at the end of a path.
fn follow(raw: &str, steps: &[String], faults: &mut Vec<&'static str>) -> Option<String> {
    let Some((step, further)) = steps.split_first() else { return Some(raw.to_owned()) };
    if raw.starts_with('{') {
        let Ok(pairs) = serde_json::from_str::<Pairs>(raw) else {
            faults.push("not-json");
            return None;
        };
        let first = pairs.get(step)?;
        if pairs.all(step).any(|value| !is_same(&without_space(value), &without_space(first))) {
            faults.push("duplicate-key");
        }
        follow(first, further, faults)
    } else if raw.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw).unwrap();
        let (_, element) = elements.iter().enumerate().find(|(at, _)| at.to_string() == *step)?;
        follow(element.get(), further, faults)
    } else {
        None
    }
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

pub(super) fn rejects_bad_text(rule: &toml::Table) -> bool {
    kind(rule) == "vpc-flow"
        || rule.get("bad_text").is_some_and(|bad_text| bad_text.as_str() == Some("reject"))
}

/// The record has none of the columns, or not all that are required.
pub(super) fn lacks(rule: &toml::Table, values: &BTreeMap<String, String>) -> Option<&'static str> {
    if values.is_empty() {
        return Some("no-columns");
    }
    let required = rule.get("required").map(|names| names.as_array().unwrap());
    let is_missing = |name: &toml::Value| !values.contains_key(name.as_str().unwrap());
    required.into_iter().flatten().any(is_missing).then_some("missing-required")
}

/// What the pattern of the test's `ids` rule says, by hand: `^(?P<level>\w+) (?P<src>\S+) -> (?P<dst>[^ :]+)(?::(?P<port>\d+))?$`.
pub(super) fn ids(message: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let words: Vec<&str> = message.split(' ').collect();
    let [level, src, "->", target] = words[..] else { return Err("no-match") };
    let (dst, port) = match target.split_once(':') {
        Some((dst, port)) => (dst, Some(port)),
        None => (target, None),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_word(level) || !visible(src) || !visible(dst) || port.is_some_and(|port| !digits(port)) {
        return Err("no-match");
    }
    let mut values = BTreeMap::from([
        ("level".to_owned(), level.to_owned()),
        ("src".to_owned(), src.to_owned()),
        ("dst".to_owned(), dst.to_owned()),
    ]);
    values.extend(port.map(|port| ("port".to_owned(), port.to_owned())));
    Ok(values)
}
