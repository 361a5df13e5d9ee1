//! What the rules make of a message, by the simplest means.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

const V2: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
pub(super) const ALL: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2 interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id next-hop-interface-type";
pub(super) const NUMBERS: &str =
    "version srcport dstport protocol packets bytes start end tcp-flags traffic-path";
const ADDRESSES: &str = "srcaddr dstaddr pkt-srcaddr pkt-dstaddr";

pub(super) fn is_header(line: &str, first: bool) -> bool {
    let known: Vec<&str> = ALL.split(' ').collect();
    let names: Vec<&str> = line.split(' ').collect();
    names.iter().all(|name| known.contains(name)) && (first || names.len() > 1)
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
    }
    Ok(fields
        .iter()
        .map(|field| field.replace('-', "_"))
        .zip(tokens.into_iter().map(str::to_owned))
        .collect())
}

pub(super) fn json(rule: &toml::Table, message: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let object: Value = serde_json::from_str(message).map_err(|_| "not-json")?;
    if !object.is_object() {
        return Err("not-json");
    }
    let mut values = BTreeMap::new();
    for column in rule["format"]["columns"].as_array().unwrap() {
        let value = match object.pointer(column["path"].as_str().unwrap()) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        values.insert(column["name"].as_str().unwrap().to_owned(), value);
    }
    Ok(values)
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
