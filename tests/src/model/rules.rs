//! Which rules take a record, and what each does with it.

use std::collections::BTreeMap;

use regex::Regex;

use super::{
    flow_logs,
    formats::{self, Header, Parsed},
    items,
    json_path::{self, Found},
    keys::{kind, text_of},
    records::{Record, Shape},
    times,
};

pub(super) struct Row {
    pub(super) values: BTreeMap<String, String>,
    pub(super) timestamp: Option<i64>,
    pub(super) is_repaired: bool,
}

pub(super) enum Verdict {
    Row(Row),
    Control,
    Dropped,
    /// The line is no record. It names the fields of the lines after it.
    Header(Vec<String>),
    /// The header line of a W3C log, which counts as control. It names the fields of the lines after it.
    Fields(String),
    Elements(Vec<Record>),
    /// The decoded bytes of an object of its own.
    Payload(Vec<u8>),
    Mismatch(&'static str),
    ObjectFails,
}

pub(super) fn is_drop(rule: &toml::Table) -> bool {
    rule.get("drop").is_some_and(|drop| drop.as_bool().unwrap())
}

pub(super) fn tries_next(rule: &toml::Table) -> bool {
    text_of(rule, "on_mismatch") == Some("next")
}

/// The entries of `match`: one table, or a list of them. No `match` is one entry without conditions.
fn entries(rule: &toml::Table) -> Vec<toml::Table> {
    match rule.get("match") {
        None => vec![toml::Table::new()],
        Some(toml::Value::Array(entries)) => {
            entries.iter().map(|entry| entry.as_table().unwrap().clone()).collect()
        }
        Some(entry) => vec![entry.as_table().unwrap().clone()],
    }
}

fn fits(entry: &toml::Table, name: &str, value: &str) -> bool {
    text_of(entry, name).is_none_or(|pattern| glob(pattern, value))
}

/// Only `*` and `?` are special.
fn glob(pattern: &str, value: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => value.is_empty(),
        Some('*') => value
            .char_indices()
            .map(|(at, _)| at)
            .chain([value.len()])
            .any(|at| glob(rest.as_str(), &value[at..])),
        Some(wanted) => {
            let mut value = value.chars();
            value.next().is_some_and(|first| wanted == '?' || wanted == first)
                && glob(rest.as_str(), value.as_str())
        }
    }
}

pub(super) fn reads_message(rule: &toml::Table) -> bool {
    entries(rule).iter().any(|entry| entry.contains_key("message"))
}

/// Whether a plain record of this key could match, whatever its message is.
pub(super) fn could_take_plain(rule: &toml::Table, key: &str) -> bool {
    entries(rule)
        .iter()
        .any(|entry| fits(entry, "log_group", "") && fits(entry, "log_stream", "") && fits(entry, "key", key))
}

/// Whether an object of this key without records has a file in the rule's table.
pub(super) fn has_table_for_key(rule: &toml::Table, key: &str) -> bool {
    rule.contains_key("table") && entries(rule).iter().any(|entry| fits(entry, "key", key))
}

/// Whether a rule takes records of this origin, as far as their messages fit.
pub(super) fn is_candidate(rule: &toml::Table, record: &Record, key: &str) -> bool {
    entries(rule).iter().any(|entry| {
        fits(entry, "log_group", record.origin.log_group.as_deref().unwrap_or(""))
            && fits(entry, "log_stream", record.origin.log_stream.as_deref().unwrap_or(""))
            && fits(entry, "key", key)
    })
}

pub(super) fn takes(rule: &toml::Table, record: &Record, key: &str) -> bool {
    let text = record.repaired.clone().unwrap_or_else(|| String::from_utf8_lossy(&record.bytes).into_owned());
    entries(rule).iter().any(|entry| {
        text_of(entry, "message").is_none_or(|pattern| Regex::new(pattern).unwrap().is_match(&text))
            && fits(entry, "log_group", record.origin.log_group.as_deref().unwrap_or(""))
            && fits(entry, "log_stream", record.origin.log_stream.as_deref().unwrap_or(""))
            && fits(entry, "key", key)
    })
}

/// Whether the record is a line that a flow-log rule reads whole, so that it may be a header line.
pub(super) fn is_flow_line(rule: &toml::Table, record: &Record) -> bool {
    record.shape == Shape::Line
        && rule.contains_key("format")
        && flow_logs::is_flow(kind(rule))
        && !rule.contains_key("unwrap")
        && !rule.contains_key("lines")
}

/// Whether the fields of a header line apply to the record under this rule.
pub(super) fn uses_flow_header(rule: &toml::Table, record: &Record) -> bool {
    record.origin.is_plain
        && record.fault.is_none()
        && rule.contains_key("format")
        && flow_logs::is_flow(kind(rule))
        && !rule.contains_key("unwrap")
        && !(text_of(rule, "lines") == Some("export") && record.shape == Shape::Line)
}

/// Whether a line that is no row looks like a header line that was damaged.
pub(super) fn fails_on_lost_header(
    rule: &toml::Table,
    record: &Record,
    header: &Header,
    is_first: bool,
) -> bool {
    if !is_flow_line(rule, record) {
        return false;
    }
    let layout = header.flow.clone().unwrap_or_else(|| flow_logs::layout(rule));
    let text = record.text();
    let is_row =
        record.repaired.is_none() && record.fault.is_none() && flow_logs::parse(&layout, &text).is_ok();
    if is_row {
        flow_logs::is_row_of_names(&layout, &text)
    } else {
        flow_logs::is_lost_header(&String::from_utf8_lossy(&record.bytes), is_first)
    }
}

/// What a rule does with a record that it takes.
///
/// `lacks_columns` is whether the rule's table lacks a field of the header line that applies.
pub(super) fn apply(
    rule: &toml::Table,
    record: &Record,
    header: &Header,
    is_first: bool,
    lacks_columns: bool,
) -> Verdict {
    match steps(rule, record, header, is_first, lacks_columns) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Mismatch(reason),
    }
}

/// Steps of a rule in their order. An error is the reason of a mismatch.
fn steps(
    rule: &toml::Table,
    record: &Record,
    header: &Header,
    is_first: bool,
    lacks_columns: bool,
) -> Result<Verdict, &'static str> {
    if is_drop(rule) {
        return Ok(Verdict::Dropped);
    }
    let mut text = record.text();
    let mut timestamp = record.timestamp;
    let mut is_repaired = record.repaired.is_some();
    if text_of(rule, "comments").is_some_and(|comments| text.starts_with(comments)) {
        return Ok(Verdict::Control);
    }
    let is_line = record.shape == Shape::Line;
    let is_export_line = is_line && text_of(rule, "lines") == Some("export");
    let is_flow_line = is_flow_line(rule, record);
    if is_repaired && rule.contains_key("format") && formats::rejects_bad_text(rule) {
        let fails = is_flow_line && fails_on_lost_header(rule, record, header, is_first);
        return if fails { Ok(Verdict::ObjectFails) } else { Err("bad-encoding") };
    }
    if !is_line && record.origin.is_plain && rule.contains_key("lines") {
        return Err("bad-timestamp");
    }
    if is_export_line {
        if text == "Permission Check Successful" {
            return Ok(Verdict::Control);
        }
        let (time, message) = text.split_once(' ').ok_or("bad-timestamp")?;
        timestamp = Some(times::parse(time, "iso").ok_or("bad-timestamp")?);
        text = message.to_owned();
    }
    if let Some(pointer) = text_of(rule, "records") {
        let pointer = json_path::steps(pointer);
        match &record.shape {
            Shape::Element(own) if *own == pointer => {}
            Shape::Event => {
                let elements = items::elements_of_message(&text, &pointer)?;
                return Ok(Verdict::Elements(
                    elements.iter().map(|raw| record.element(&pointer, raw)).collect(),
                ));
            }
            _ => return Err("no-records"),
        }
    }
    let outer = text.clone();
    if let Some(pointer) = text_of(rule, "unwrap") {
        if !json_path::is_object(json_path::trimmed(&outer)) {
            return Err("not-json");
        }
        match json_path::value(&outer, pointer)? {
            None => return Err("no-message"),
            Some(Found { text: message, is_repaired: is_message_repaired }) => {
                text = message;
                is_repaired |= is_message_repaired;
            }
        }
    }
    if text_of(rule, "decode").is_some() {
        if text.chars().all(|character| character.is_ascii_whitespace()) {
            return Ok(Verdict::Control);
        }
        return base64(&text).map(Verdict::Payload).ok_or("bad-payload");
    }
    if is_flow_line {
        if !is_repaired && flow_logs::is_header(&text, is_first) {
            return Ok(Verdict::Header(flow_logs::header(&text)));
        }
        if fails_on_lost_header(rule, record, header, is_first) {
            return Ok(Verdict::ObjectFails);
        }
    }
    if is_repaired && formats::rejects_bad_text(rule) {
        return Err("bad-encoding");
    }
    if lacks_columns {
        return Ok(Verdict::ObjectFails);
    }
    // Header lines apply to plain records as they are, not to messages inside of them.
    let is_plain = record.origin.is_plain;
    let inside = || header.w3c_inside.get(text_of(rule, "name").unwrap()).cloned().map(Some);
    let w3c = if formats::reads_w3c_line(rule, record) { header.w3c.clone() } else { inside() };
    let header_of_flow = is_plain && !is_export_line && !rule.contains_key("unwrap");
    let header = Header {
        flow: header.flow.clone().filter(|_| header_of_flow),
        w3c: w3c.filter(|_| is_plain),
        ..Header::default()
    };
    let (values, is_value_repaired) = match formats::parse(rule, &text, &header, is_plain)? {
        Parsed::Values(values, is_value_repaired) => (values, is_value_repaired),
        Parsed::Control => return Ok(Verdict::Control),
        Parsed::Fields(fields) => return Ok(Verdict::Fields(fields)),
        Parsed::ObjectFails => return Ok(Verdict::ObjectFails),
    };
    if let Some(reason) = formats::lacks(rule, &values) {
        return Err(reason);
    }
    if timestamp.is_none() {
        if let Some(time) = rule.get("timestamp") {
            timestamp = Some(rule_time(time.as_table().unwrap(), &outer, &values)?);
        } else if flow_logs::is_flow(kind(rule)) {
            let start = values.get("start").filter(|start| *start != "-");
            timestamp = start.map(|start| start.parse::<i64>().unwrap() * 1000);
        }
    }
    Ok(Verdict::Row(Row { values, timestamp, is_repaired: is_repaired || is_value_repaired }))
}

/// The time that a rule reads from a plain record.
fn rule_time(
    time: &toml::Table,
    outer: &str,
    values: &BTreeMap<String, String>,
) -> Result<i64, &'static str> {
    let text = if let Some(pointer) = text_of(time, "path") {
        json_path::value(outer, pointer)?.ok_or("bad-timestamp")?.text
    } else {
        let columns = time["columns"].as_array().unwrap();
        let parts = columns.iter().map(|column| values.get(column.as_str().unwrap()).cloned());
        parts.collect::<Option<Vec<String>>>().ok_or("bad-timestamp")?.join(" ")
    };
    let form = text_of(time, "unit").or(text_of(time, "format")).unwrap();
    times::parse(&text, form).ok_or("bad-timestamp")
}

/// Decodes base64 of RFC 4648, with or without padding. White space is not part of it.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let digits = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(&text);
    if digits.len() % 4 == 1 || text != digits && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bits = Vec::new();
    for digit in digits.chars() {
        let value = ALPHABET.find(digit)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1 == 1));
    }
    // The bits after the last byte are zero.
    let whole = bits.len() / 8 * 8;
    if bits[whole..].contains(&true) {
        return None;
    }
    Some(
        bits[..whole]
            .chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect(),
    )
}
