//! Flow logs of VPCs and transit gateways: their fields, header lines and rows.

use std::{collections::BTreeMap, net::IpAddr};

use super::keys::{kind, text_of};

const V2: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
const ALL: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2 interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id next-hop-interface-type";
/// All fields of Transit Gateway flow logs, in the order of the default format:
/// <https://docs.aws.amazon.com/vpc/latest/tgw/tgw-flow-logs.html>.
const TRANSIT: &str = "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-account-id tgw-dst-vpc-account-id tgw-src-vpc-id tgw-dst-vpc-id tgw-src-subnet-id tgw-dst-subnet-id tgw-src-eni tgw-dst-eni tgw-src-az-id tgw-dst-az-id tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end log-status type packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired tcp-flags region flow-direction pkt-src-aws-service pkt-dst-aws-service";
const NUMBERS: &str = "version srcport dstport protocol packets bytes start end tcp-flags traffic-path packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired";
const WIDE_NUMBERS: &str = "packets bytes start end packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired";
const ADDRESSES: &str = "srcaddr dstaddr pkt-srcaddr pkt-dstaddr";

fn is_one_of(names: &str, word: &str) -> bool {
    names.split(' ').any(|name| name == word)
}

/// Names of both kinds, so that a header line of the other kind is recognized.
fn names() -> impl Iterator<Item = &'static str> {
    ALL.split(' ').chain(TRANSIT.split(' ').filter(|name| !is_one_of(ALL, name)))
}

fn is_known(word: &str) -> bool {
    names().any(|name| name == word)
}

pub(super) fn is_flow(kind: &str) -> bool {
    ["vpc-flow", "tgw-flow"].contains(&kind)
}

/// The fields of a line without a header line.
pub(super) fn layout(rule: &toml::Table) -> Vec<String> {
    let default = if kind(rule) == "tgw-flow" { TRANSIT } else { V2 };
    match text_of(rule["format"].as_table().unwrap(), "fields") {
        None | Some("any") => words(default),
        Some(fields) => words(fields),
    }
}

/// The fields that are columns.
pub(super) fn columns(rule: &toml::Table) -> Vec<String> {
    let all = if kind(rule) == "tgw-flow" { TRANSIT } else { ALL };
    match text_of(rule["format"].as_table().unwrap(), "fields") {
        Some("any") => words(all),
        _ => layout(rule),
    }
}

fn words(fields: &str) -> Vec<String> {
    fields.split(' ').map(|field| field.trim_start_matches("${").trim_end_matches('}').to_owned()).collect()
}

pub(super) fn numeric_columns() -> Vec<String> {
    NUMBERS.split(' ').map(|name| name.replace('-', "_")).collect()
}

/// Where a column is in a table of several rules.
pub(super) fn position(column: &str) -> usize {
    ALL.split(' ').position(|name| name.replace('-', "_") == column).unwrap_or(999)
}

/// The fields of a header line.
pub(super) fn header(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
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
        && (words.len() > 1 && likely * 2 > words.len() || first && is_probably_header(&words));
    let mut runs = (0..words.len()).flat_map(|start| (start + 1..=words.len()).map(move |end| (start, end)));
    let is_joined = runs.any(|(start, end)| {
        let run = &words[start..end];
        let is_at_an_end = start == 0 || end == words.len();
        // The first word may end with a name.
        let ends = names().find(|name| run[0].ends_with(name));
        let run_names: Vec<&str> = ends.into_iter().chain(run[1..].iter().copied()).collect();
        is_at_an_end && run.iter().all(|word| is_likely(word)) && is_probably_header(run)
            || run_names.len() == run.len()
                && run_names.iter().all(|word| is_known(word))
                && is_probably_header(&run_names)
    });
    let bare = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let other: Vec<String> = line
        .split(|c: char| c.is_whitespace() || ",;|".contains(c))
        .map(|word| bare(word.trim_matches(|c| "\"'`${}#\u{feff}".contains(c))))
        .filter(|word| !word.is_empty())
        .take(129)
        .collect();
    let known: Vec<&str> = other.iter().filter_map(|word| names().find(|name| bare(name) == *word)).collect();
    let is_other_form = other.len() > 2 && known.len() * 2 > other.len() && is_probably_header(&known);
    is_partly_known || is_joined || is_other_form
}

/// A row whose fields may be any text, but whose words are names of fields.
pub(super) fn is_row_of_names(fields: &[String], line: &str) -> bool {
    let is_text = |field: &String| !is_one_of(NUMBERS, field) && !is_one_of(ADDRESSES, field);
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
fn is_probably_header(words: &[&str]) -> bool {
    let known = words.iter().filter(|word| is_known(word)).count();
    known >= 3 || (known >= 1 && words.len() >= 2 && words.iter().any(|word| is_distinctive(word)))
}

fn is_distinctive(word: &str) -> bool {
    word.ends_with("-id")
        || word.ends_with("-arn")
        || is_known(word) && (word.contains('-') || word.ends_with("addr") || word.ends_with("port"))
}

pub(super) fn parse(fields: &[String], line: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let tokens: Vec<&str> = line.split(' ').collect();
    if tokens.len() != fields.len() {
        return Err("field-count");
    }
    for (field, token) in fields.iter().zip(&tokens) {
        if token.is_empty() {
            return Err("field-count");
        }
        let limit = if is_one_of(WIDE_NUMBERS, field) { i64::MAX } else { i32::MAX.into() };
        let number = token.bytes().all(|byte| byte.is_ascii_digit())
            && token.len() <= 19
            && token.parse::<i64>().is_ok_and(|value| value <= limit);
        let wrong = (is_one_of(NUMBERS, field) && !number)
            || (is_one_of(ADDRESSES, field) && token.parse::<IpAddr>().is_err());
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
