//! The slow, obvious implementation that the pipeline must agree with: whole object in memory, `serde_json`, split on
//! spaces, every subnet looked at. It shares no code with the pipeline, not even its configuration.

mod formats;
mod json_object;

use std::{collections::BTreeMap, io::Read, net::IpAddr};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, value::RawValue};

pub(crate) use self::json_object::{Pairs, mask_controls};
use self::{
    formats::{ALL, NUMBERS, fields, flow, format_columns, ids, is_header, json, kind, matches},
    json_object::unmask,
};

/// What becomes of one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By table, the header and then the rows.
    pub tables: BTreeMap<String, Vec<Vec<String>>>,
    /// Ordinal, timestamp, reason and message of each reject.
    pub rejects: Vec<(u64, Option<i64>, String, String)>,
    /// Records seen.
    pub read: u64,
    /// Events of control envelopes.
    pub control: u64,
    /// What the rejects take as JSON lines.
    pub reject_bytes: u64,
}

const ENRICHED: [&str; 5] =
    ["interface_description", "subnet_name", "vpc_name", "src_subnet_name", "dst_subnet_name"];

/// The rules and names of a model, straight from their files.
#[derive(Debug)]
pub struct Model {
    rules: Vec<toml::Table>,
    lookups: Value,
    guards: bool,
    max_rejects: u64,
    max_reject_bytes: u64,
}

struct Origin {
    message_type: Option<String>,
    owner: Option<String>,
    log_group: Option<String>,
    log_stream: Option<String>,
    is_line: bool,
}

impl Model {
    /// From the text of a `flowherd.toml` and a `lookups.json`.
    #[must_use]
    pub fn new(config: &str, lookups: &str) -> Self {
        let config: toml::Table = toml::from_str(config).unwrap();
        let rules =
            config["rule"].as_array().unwrap().iter().map(|rule| rule.as_table().unwrap().clone()).collect();
        let limit = |name: &str, default: u64| {
            let given = config.get("limits").and_then(|limits| limits.get(name));
            given.map_or(default, |limit| limit.as_integer().unwrap().try_into().unwrap())
        };
        Self {
            rules,
            lookups: serde_json::from_str(lookups).unwrap(),
            guards: config.get("csv").is_some_and(|csv| csv["guard_formulas"].as_bool().unwrap()),
            max_rejects: limit("max_rejects", 100_000),
            max_reject_bytes: limit("max_reject_bytes", 256 << 20),
        }
    }

    /// What becomes of an object; `None` if it fails.
    #[must_use]
    pub fn convert(&self, object: &[u8], key: &str) -> Option<Outcome> {
        let text = decode(object)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut outcome = Outcome::default();
        let masked = mask_controls(&text);
        if is_envelopes(&masked) {
            for envelope in serde_json::Deserializer::from_str(&masked).into_iter::<Pairs>() {
                self.envelope(&envelope.ok()?, key, &mut outcome)?;
            }
        } else {
            self.lines(&text, key, &mut outcome)?;
        }
        if outcome.tables.is_empty()
            && let Some(rule) = self.rules.iter().find(|rule| matches(rule, "key", key))
        {
            self.table(rule, &mut outcome);
        }
        let too_many =
            outcome.rejects.len() as u64 > self.max_rejects || outcome.reject_bytes > self.max_reject_bytes;
        (!too_many).then_some(outcome)
    }

    fn envelope(&self, envelope: &Pairs, key: &str, outcome: &mut Outcome) -> Option<()> {
        for name in ["messageType", "owner", "logGroup", "logStream", "logEvents"] {
            if envelope.count(name) > 1 {
                return None;
            }
        }
        // A value that is no string is none; a string that is no text is damage of the envelope.
        let text = |name: &str| {
            let Some(raw) = envelope.get(name).filter(|raw| raw.starts_with('"')) else { return Some(None) };
            let text = unmask(&serde_json::from_str::<String>(raw).ok()?);
            (!text.contains('\0') && text.len() <= 4096).then_some(Some(text))
        };
        let origin = Origin {
            message_type: text("messageType")?,
            owner: text("owner")?,
            log_group: text("logGroup")?,
            log_stream: text("logStream")?,
            is_line: false,
        };
        let events: Vec<&RawValue> = match envelope.get("logEvents").map(serde_json::from_str) {
            Some(Ok(events)) => events,
            // Without events it is no envelope; as a control message, it has none.
            _ if origin.message_type.as_deref().is_some_and(|kind| kind != "DATA_MESSAGE") => return Some(()),
            _ => {
                self.reject(&origin, key, None, "bad-envelope", &envelope.text, outcome);
                return Some(());
            }
        };
        for event in events {
            // So is a key that is no text.
            if event.get().starts_with('{') {
                serde_json::from_str::<Pairs>(event.get()).ok()?;
            }
            if origin.message_type.as_deref().is_some_and(|kind| kind != "DATA_MESSAGE") {
                outcome.read += 1;
                outcome.control += 1;
                continue;
            }
            self.event(&origin, key, event.get(), outcome);
        }
        Some(())
    }

    fn event(&self, origin: &Origin, key: &str, event: &str, outcome: &mut Outcome) {
        let Ok(pairs) = serde_json::from_str::<Pairs>(event) else {
            return self.reject(origin, key, None, "bad-event", event, outcome);
        };
        if pairs.count("message") > 1 || pairs.count("timestamp") > 1 {
            return self.reject(origin, key, None, "duplicate-key", event, outcome);
        }
        let Some(raw) = pairs.get("message").filter(|raw| raw.starts_with('"')) else {
            return self.reject(origin, key, None, "bad-event", event, outcome);
        };
        let digits = |raw: &&str| raw.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp = pairs.get("timestamp").filter(digits).and_then(|raw| raw.parse::<i64>().ok());
        let timestamp = timestamp.filter(|ms| (0..=253_402_300_799_999).contains(ms));
        let inner = &raw[1..raw.len() - 1];
        let message = serde_json::from_str::<String>(raw);
        // Bytes that are no UTF-8 have become U+FFFD; one that is written as an escape is one.
        let clean = !inner.contains('\u{fffd}')
            && message.as_ref().is_ok_and(|message| !message.contains('\0') && unmask(message) == *message);
        let message = if clean { message.unwrap() } else { inner.to_owned() };
        if origin.message_type.is_none() {
            self.reject(origin, key, timestamp, "bad-envelope", &message, outcome);
        } else if !clean {
            self.reject(origin, key, timestamp, "bad-encoding", &message, outcome);
        } else if timestamp.is_none() {
            self.reject(origin, key, timestamp, "bad-timestamp", &message, outcome);
        } else {
            self.message(origin, key, timestamp, &message, None, outcome);
        }
    }

    fn lines(&self, text: &str, key: &str, outcome: &mut Outcome) -> Option<()> {
        let origin =
            Origin { message_type: None, owner: None, log_group: None, log_stream: None, is_line: true };
        let mut header: Option<Vec<String>> = None;
        let mut first = true;
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if line.contains(['\0', '\u{fffd}']) {
                self.reject(&origin, key, None, "bad-encoding", line, outcome);
            } else if let Some(rule) = self.rule(&origin, key)
                && kind(rule) == "vpc-flow"
                && is_header(line, first)
            {
                let names: Vec<String> = line.split(' ').map(str::to_owned).collect();
                let mut sorted = names.clone();
                sorted.sort();
                sorted.dedup();
                let columns = self.columns(rule);
                if sorted.len() < names.len()
                    || names.iter().any(|name| !columns.contains(&name.replace('-', "_")))
                {
                    return None;
                }
                self.table(rule, outcome);
                header = Some(names);
            } else {
                self.message(&origin, key, None, line, header.as_ref(), outcome);
            }
            first = false;
        }
        Some(())
    }

    fn message(
        &self,
        origin: &Origin,
        key: &str,
        mut timestamp: Option<i64>,
        message: &str,
        header: Option<&Vec<String>>,
        outcome: &mut Outcome,
    ) {
        let Some(rule) = self.rule(origin, key) else {
            return self.reject(origin, key, timestamp, "no-rule", message, outcome);
        };
        let parsed = match kind(rule) {
            "vpc-flow" => flow(&header.cloned().unwrap_or_else(|| fields(rule)), message),
            "json" => json(rule, message),
            _ => ids(message),
        };
        let mut values = match parsed {
            Ok(values) => values,
            Err(reason) => return self.reject(origin, key, timestamp, reason, message, outcome),
        };
        if kind(rule) == "vpc-flow" {
            if origin.is_line {
                timestamp = values
                    .get("start")
                    .filter(|start| *start != "-")
                    .map(|start| start.parse::<i64>().unwrap().saturating_mul(1000));
                if timestamp.is_some_and(|ms| ms > 253_402_300_799_999) {
                    return self.reject(origin, key, None, "bad-timestamp", message, outcome);
                }
            }
            self.enrich(&mut values);
        }
        for name in rule.get("metadata").map(|names| names.as_array().unwrap()).into_iter().flatten() {
            let value = match name.as_str().unwrap() {
                "owner" => &origin.owner,
                "log_group" => &origin.log_group,
                _ => &origin.log_stream,
            };
            values.insert(name.as_str().unwrap().to_owned(), value.clone().unwrap_or("-".to_owned()));
        }
        values.insert("timestamp".to_owned(), timestamp.map_or("-".to_owned(), iso));
        let columns = self.columns(rule);
        let value = |column: &String| {
            let value = values.get(column).map_or("-", String::as_str);
            let value =
                if self.guards { guarded(value, self.is_text(rule, column)) } else { value.to_owned() };
            value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001")
        };
        let row = columns.iter().map(value).collect();
        outcome.read += 1;
        self.table(rule, outcome).push(row);
    }

    fn reject(
        &self,
        origin: &Origin,
        key: &str,
        timestamp: Option<i64>,
        reason: &str,
        message: &str,
        outcome: &mut Outcome,
    ) {
        if let Some(rule) = self.rule(origin, key) {
            self.table(rule, outcome);
        }
        let line = serde_json::json!({
            "object": key, "record": outcome.read, "timestamp": timestamp, "log_group": origin.log_group,
            "log_stream": origin.log_stream, "reason": reason, "message": unmask(message),
        });
        outcome.reject_bytes += line.to_string().len() as u64 + 1;
        outcome.rejects.push((outcome.read, timestamp, reason.to_owned(), unmask(message)));
        outcome.read += 1;
    }

    fn rule(&self, origin: &Origin, key: &str) -> Option<&toml::Table> {
        self.rules.iter().find(|rule| {
            matches(rule, "log_group", origin.log_group.as_deref().unwrap_or(""))
                && matches(rule, "log_stream", origin.log_stream.as_deref().unwrap_or(""))
                && matches(rule, "key", key)
        })
    }

    fn table<'o>(&self, rule: &toml::Table, outcome: &'o mut Outcome) -> &'o mut Vec<Vec<String>> {
        let name = rule["table"].as_str().unwrap().to_owned();
        outcome.tables.entry(name).or_insert_with(|| vec![self.columns(rule)])
    }

    /// The columns of a rule's table: the union over all rules that feed it.
    fn columns(&self, rule: &toml::Table) -> Vec<String> {
        let feeding: Vec<&toml::Table> =
            self.rules.iter().filter(|other| other["table"] == rule["table"]).collect();
        let mut columns = vec!["timestamp".to_owned()];
        for name in
            feeding.iter().filter_map(|rule| rule.get("metadata")).flat_map(|names| names.as_array().unwrap())
        {
            if !columns.contains(&name.as_str().unwrap().to_owned()) {
                columns.push(name.as_str().unwrap().to_owned());
            }
        }
        let mut format = Vec::new();
        for name in feeding.iter().flat_map(|rule| format_columns(rule)) {
            if !format.contains(&name) {
                format.push(name);
            }
        }
        if feeding.len() > 1 {
            let order: Vec<String> = ALL.split(' ').map(|name| name.replace('-', "_")).collect();
            format.sort_by_key(|name| order.iter().position(|other| other == name).unwrap_or(999));
        }
        columns.extend(format);
        if feeding.iter().any(|rule| kind(rule) == "vpc-flow") {
            columns.extend(ENRICHED.map(str::to_owned));
        }
        columns
    }

    /// Whether a column of the rule's table holds text: by the rule that names a type for it, if one does.
    fn is_text(&self, rule: &toml::Table, column: &str) -> bool {
        let feeding = self.rules.iter().filter(|other| other["table"] == rule["table"]);
        !feeding.into_iter().any(|rule| match kind(rule) {
            "vpc-flow" => NUMBERS.split(' ').any(|name| name.replace('-', "_") == column),
            "json" => rule["format"]["columns"].as_array().unwrap().iter().any(|given| {
                given["name"].as_str() == Some(column)
                    && given.get("type").is_some_and(|kind| kind.as_str() != Some("string"))
            }),
            _ => rule["format"].get("types").is_some_and(|types| types.get(column).is_some()),
        }) && column != "timestamp"
    }

    fn enrich(&self, values: &mut BTreeMap<String, String>) {
        let given = |name: &str| values.get(name).filter(|value| *value != "-").cloned();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let interface = given("interface_id").map_or(&Value::Null, |id| &self.lookups["interfaces"][id]);
        let subnet_id = given("subnet_id").or_else(|| text(&interface["subnet_id"]));
        let subnet = subnet_id.map_or(&Value::Null, |id| &self.lookups["subnets"][id]);
        let of_own_subnet = given("subnet_id").and_then(|_| text(&subnet["vpc_id"]));
        let of_interface = text(&interface["vpc_id"]).or_else(|| text(&subnet["vpc_id"]));
        let vpc_id = given("vpc_id").or(of_own_subnet).or(of_interface);
        let vpc = vpc_id.as_ref().map_or(&Value::Null, |id| &self.lookups["vpcs"][id]);
        let address = |name: &str| {
            given(name).and_then(|address| self.subnet_of(vpc_id.as_deref(), address.parse().unwrap()))
        };
        let names = [
            text(&interface["description"]),
            text(&subnet["name"]),
            text(&vpc["name"]),
            address("srcaddr"),
            address("dstaddr"),
        ];
        for (column, name) in ENRICHED.iter().zip(names) {
            values.insert((*column).to_owned(), name.unwrap_or("-".to_owned()));
        }
    }

    fn subnet_of(&self, vpc: Option<&str>, address: IpAddr) -> Option<String> {
        // By VPC, the subnet with the longest prefix that holds the address.
        let mut holders: BTreeMap<Option<&str>, (u32, &Value)> = BTreeMap::new();
        for subnet in self.lookups["subnets"].as_object().into_iter().flat_map(|subnets| subnets.values()) {
            for cidr in subnet["cidrs"].as_array().into_iter().flatten() {
                let (network, length) = cidr.as_str().unwrap().split_once('/').unwrap();
                let length: u32 = length.parse().unwrap();
                if holds(network.parse().unwrap(), length, address) {
                    // Subnets of no VPC count as one more VPC.
                    let holder = holders.entry(subnet["vpc_id"].as_str()).or_insert((length, subnet));
                    if length >= holder.0 {
                        *holder = (length, subnet);
                    }
                }
            }
        }
        let own = vpc.and_then(|vpc| holders.get(&Some(vpc)));
        let only = holders.values().next().filter(|_| holders.len() == 1);
        let name =
            |subnet: &Value| subnet["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        own.or(only).and_then(|(_, subnet)| name(subnet))
    }
}

/// What a spreadsheet must not take for a formula.
fn guarded(value: &str, is_text: bool) -> String {
    let signs = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let is_harmless = value == "-" || !value.starts_with(signs) || (!is_text && is_number(value));
    if is_harmless { value.to_owned() } else { format!("'{value}") }
}

/// Digits, with a sign, a fraction and an exponent or without.
fn is_number(text: &str) -> bool {
    fn unsigned(text: &str) -> &str {
        text.strip_prefix(['+', '-']).unwrap_or(text)
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = unsigned(text).split_once(['e', 'E']).unwrap_or((unsigned(text), "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = unsigned(exponent);
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && !exponent.is_empty()
        && digits(exponent)
}

/// The text of gzip layers; `None` if it is binary. The model knows no other codec or format.
fn decode(object: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = object.to_vec();
    for _ in 0..3 {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return (!is_binary(&bytes)).then_some(bytes);
        }
        let mut decoded = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut decoded).ok()?;
        bytes = decoded;
    }
    (!bytes.starts_with(&[0x1f, 0x8b]) && !is_binary(&bytes)).then_some(bytes)
}

/// The rule of docs/semantics.md, "What is not text fails by its name".
fn is_binary(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4096)];
    let is_control = |byte: &u8| (*byte < 32 && ![8, 9, 10, 12, 13, 27].contains(byte)) || *byte == 127;
    // Bytes that are no UTF-8; the end of a part may cut a character.
    let invalid = |part: &[u8], is_cut: bool| match std::str::from_utf8(part) {
        Err(error) if is_cut && error.error_len().is_none() => 0,
        Ok(_) => 0,
        Err(_) => part.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>(),
    };
    let is_clean = |part: &[u8], is_cut| !part.iter().any(is_control) && invalid(part, is_cut) == 0;
    let lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == b'\n').collect();
    let is_cut = |line: &[u8]| text.len() >= 4096 && !line.ends_with(b"\n");
    let clean = lines.iter().filter(|line| line.len() > 1 && is_clean(line, is_cut(line)));
    let clean: usize = clean.map(|line| line.len()).sum();
    let controls = head.iter().filter(|byte| is_control(byte)).count();
    let odd = controls + lines.iter().map(|line| invalid(line, is_cut(line))).sum::<usize>();
    let clean_starts =
        lines.iter().skip(1).filter(|line| line.len() >= 8 && is_clean(&line[..8], true)).count();
    controls > 0
        && controls * 64 >= head.len()
        && clean * 2 < head.len()
        && (!is_clean(&head[..head.len().min(8)], true)
            || clean == 0 && clean_starts == 0 && odd * 4 >= head.len())
}

/// The first JSON object of the text is an envelope.
fn is_envelopes(text: &str) -> bool {
    let first = serde_json::Deserializer::from_str(text).into_iter::<Pairs>().next();
    let Some(Ok(first)) = first else { return false };
    first.pairs.iter().any(|(key, value)| match &**key {
        "logEvents" => value.get().starts_with('['),
        "messageType" => ["\"DATA_MESSAGE\"", "\"CONTROL_MESSAGE\""].contains(&value.get()),
        _ => false,
    })
}

fn holds(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let bits = |bytes: &[u8]| -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    let (network, address) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (bits(&network.octets()), bits(&address.octets())),
        (IpAddr::V6(network), IpAddr::V6(address)) => (bits(&network.octets()), bits(&address.octets())),
        _ => return false,
    };
    network[..length as usize] == address[..length as usize]
}

/// Day by day from 1970: obvious, and slow.
fn iso(ms: i64) -> String {
    let (mut days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second, milli) =
        (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", month + 1, days + 1)
}
