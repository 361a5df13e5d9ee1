//! The columns of each format, and the values of a message.

use std::collections::BTreeMap;

use regex::Regex;

use super::{
    flow_logs,
    json_path::{first_node, follow, is_object, shown, steps, trimmed},
    keys::{kind, text_of},
    records::{Record, Shape},
};

/// The header lines of a text that apply to the lines after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    /// The fields of a flow log.
    pub(super) flow: Option<Vec<String>>,
    /// The fields of a W3C log; `Some(None)` if its header line is not valid.
    #[expect(clippy::option_option, reason = "no header line differs from one that is not valid")]
    pub(super) w3c: Option<Option<Vec<String>>>,
    /// By name of the rule: the fields that a header line inside its records names.
    pub(super) w3c_inside: BTreeMap<String, Vec<String>>,
}

pub(super) enum Parsed {
    /// Values by column, and whether text was replaced in one of them.
    Values(BTreeMap<String, String>, bool),
    Control,
    /// A line that names the fields of the lines after it.
    Fields(String),
    ObjectFails,
}

pub(super) fn columns(rule: &toml::Table) -> Vec<String> {
    let format = rule["format"].as_table().unwrap();
    match kind(rule) {
        "vpc-flow" | "tgw-flow" => {
            flow_logs::columns(rule).iter().map(|field| field.replace('-', "_")).collect()
        }
        "json" => {
            let columns = format["columns"].as_array().unwrap();
            columns.iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect()
        }
        "w3c" => text_of(format, "fields").unwrap().split(' ').map(w3c_column).collect(),
        _ => {
            let pattern = Regex::new(text_of(format, "pattern").unwrap()).unwrap();
            pattern.capture_names().flatten().map(str::to_owned).collect()
        }
    }
}

/// The columns that have a type.
pub(super) fn typed_columns(rule: &toml::Table) -> Vec<String> {
    let format = rule["format"].as_table().unwrap();
    match kind(rule) {
        "vpc-flow" | "tgw-flow" => flow_logs::numeric_columns(),
        "json" => {
            let columns = format["columns"].as_array().unwrap().iter();
            let columns = columns
                .filter(|column| column.get("type").is_some_and(|kind| kind.as_str() != Some("string")));
            columns.map(|column| column["name"].as_str().unwrap().to_owned()).collect()
        }
        _ => {
            let types = format.get("types").map(|types| types.as_table().unwrap().clone());
            types.into_iter().flatten().map(|(name, _)| name).collect()
        }
    }
}

/// Parses a message, with the header lines that apply to it.
pub(super) fn parse(
    rule: &toml::Table,
    text: &str,
    header: &Header,
    is_plain: bool,
) -> Result<Parsed, &'static str> {
    let values = |values| Parsed::Values(values, false);
    match kind(rule) {
        "vpc-flow" | "tgw-flow" => {
            let layout = header.flow.clone();
            flow_logs::parse(&layout.unwrap_or_else(|| flow_logs::layout(rule)), text).map(values)
        }
        "json" => json(rule, text),
        "w3c" => w3c(rule, text, header, is_plain),
        _ => regex(rule, text).map(values),
    }
}

/// The values that the paths of a rule lead to, and whether text was replaced in one.
fn json(rule: &toml::Table, message: &str) -> Result<Parsed, &'static str> {
    let message = trimmed(message);
    if !is_object(message) {
        return Err("not-json");
    }
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for column in rule["format"]["columns"].as_array().unwrap() {
        let column = column.as_table().unwrap();
        let raw = match text_of(column, "path") {
            Some(pointer) => follow(message, &steps(pointer), &mut faults),
            None => first_node(message, text_of(column, "jsonpath").unwrap()),
        };
        found.extend(raw.map(|raw| (text_of(column, "name").unwrap().to_owned(), raw)));
    }
    for fault in ["not-json", "duplicate-key"] {
        if faults.contains(&fault) {
            return Err(fault);
        }
    }
    let mut is_repaired = false;
    let mut values = BTreeMap::new();
    for (name, raw) in found {
        if let Some(value) = shown(&raw) {
            is_repaired |= value.is_repaired;
            values.insert(name, value.text);
        }
    }
    if is_repaired && rejects_bad_text(rule) {
        return Err("bad-encoding");
    }
    Ok(Parsed::Values(values, is_repaired))
}

/// The named groups of a pattern that took part.
fn regex(rule: &toml::Table, message: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let pattern = rule["format"]["pattern"].as_str().unwrap();
    if pattern == IDS {
        return ids(message);
    }
    let pattern = Regex::new(pattern).unwrap();
    let captures = pattern.captures(message).ok_or("no-match")?;
    let names = pattern.capture_names().flatten();
    Ok(names
        .filter_map(|name| captures.name(name).map(|value| (name.to_owned(), value.as_str().to_owned())))
        .collect())
}

const IDS: &str = r"(?-u)^(?P<level>\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$";

/// Parses by hand what [`IDS`] describes.
fn ids(message: &str) -> Result<BTreeMap<String, String>, &'static str> {
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

const FIELDS: &str = "#Fields:";

/// The fields that a header line of a W3C log names. `None` if one appears twice, or if there are more than 1,000.
pub(super) fn w3c_fields(line: &str) -> Option<Vec<String>> {
    let fields: Vec<String> =
        line.strip_prefix(FIELDS)?.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    let is_unique = (1..fields.len()).all(|at| !fields[..at].contains(&fields[at]));
    (is_unique && fields.len() <= 1000).then_some(fields)
}

/// Whether a rule reads a record as a line of a W3C log, and the line is a header line.
pub(super) fn is_w3c_header(rule: &toml::Table, record: &Record) -> bool {
    reads_w3c_line(rule, record) && record.lossy_text().starts_with(FIELDS)
}

/// Whether a rule reads a record, and not a part of it, as a line of a W3C log.
pub(super) fn reads_w3c_line(rule: &toml::Table, record: &Record) -> bool {
    let reads_element = match text_of(rule, "records") {
        Some(pointer) => record.shape == Shape::Element(steps(pointer)),
        None => true,
    };
    record.origin.is_plain
        && rule.contains_key("format")
        && kind(rule) == "w3c"
        && !rule.contains_key("lines")
        && !rule.contains_key("unwrap")
        && reads_element
}

/// A line of a W3C extended log: <https://www.w3.org/TR/WD-logfile.html>.
fn w3c(rule: &toml::Table, message: &str, header: &Header, is_plain: bool) -> Result<Parsed, &'static str> {
    let format = rule["format"].as_table().unwrap();
    if is_plain && message.starts_with(FIELDS) {
        return Ok(Parsed::Fields(message.to_owned()));
    }
    if message.starts_with('#') {
        return Ok(Parsed::Control);
    }
    let fields: Vec<String> = text_of(format, "fields").unwrap().split(' ').map(str::to_owned).collect();
    let names = match &header.w3c {
        Some(Some(names)) => names.clone(),
        Some(None) => return Ok(Parsed::ObjectFails),
        None if is_plain => return Err("no-header"),
        None => fields.clone(),
    };
    let delimiter = if text_of(format, "delimiter") == Some("space") { ' ' } else { '\t' };
    let parts: Vec<&str> = message.split(delimiter).collect();
    if parts.len() != names.len() {
        return Err("field-count");
    }
    let mut values = BTreeMap::new();
    for field in fields {
        let part = names.iter().position(|name| name.eq_ignore_ascii_case(&field)).map(|at| parts[at]);
        if let Some(part) = part.filter(|part| !["", "-"].contains(part)) {
            values.insert(w3c_column(&field), part.to_owned());
        }
    }
    Ok(Parsed::Values(values, false))
}

fn w3c_column(field: &str) -> String {
    let column = |character: char| {
        if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' }
    };
    field.chars().map(column).collect::<String>().trim_matches('_').to_owned()
}

pub(super) fn rejects_bad_text(rule: &toml::Table) -> bool {
    flow_logs::is_flow(kind(rule)) || text_of(rule, "bad_text") == Some("reject")
}

/// Why a record without some of the columns is a reject.
pub(super) fn lacks(rule: &toml::Table, values: &BTreeMap<String, String>) -> Option<&'static str> {
    if values.is_empty() {
        return Some("no-columns");
    }
    let required = rule.get("required").map(|names| names.as_array().unwrap());
    let is_missing = |name: &toml::Value| !values.contains_key(name.as_str().unwrap());
    required.into_iter().flatten().any(is_missing).then_some("missing-required")
}
