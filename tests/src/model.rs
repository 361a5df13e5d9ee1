//! The slow, obvious implementation that the pipeline must agree with: whole object in memory, `serde_json`, split on
//! spaces, every subnet looked at. It shares no code with the pipeline, not even its configuration.

mod formats;
mod items;
mod json_object;
mod layers;
mod values;

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Value, value::RawValue};

use self::{
    formats::{
        ALL, NUMBERS, fields, flow, format_columns, ids, is_header, is_lost_header, is_row_of_names, json,
        kind, lacks, matches, rejects_bad_text,
    },
    items::{Item, holds_envelope},
    json_object::{Pairs, Said, is_text, mask_bytes, repaired, said, unmask},
    layers::decode,
    values::{guarded, iso},
};

/// What becomes of one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By table, the header and then the rows.
    pub tables: BTreeMap<String, Vec<Vec<String>>>,
    /// Ordinal, timestamp, reason and message of each reject; the bytes of the message as [`shown`].
    pub rejects: Vec<(u64, Option<i64>, String, String)>,
    /// Records seen.
    pub read: u64,
    /// Events of control envelopes.
    pub control: u64,
    /// Rows in which text was replaced.
    pub repaired: u64,
    /// What the rejects take as JSON lines.
    pub reject_bytes: u64,
}

/// Bytes as a test shows them.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
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
    max_reject_percent: u64,
    max_reject_bytes: u64,
}

#[derive(Default)]
struct Origin {
    message_type: Option<String>,
    owner: Option<String>,
    log_group: Option<String>,
    log_stream: Option<String>,
    is_plain: bool,
}

/// A message: its bytes, and its text with invalid parts replaced, if it has any.
struct Message {
    bytes: Vec<u8>,
    repaired: Option<String>,
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
            max_reject_percent: limit("max_reject_percent", 50),
            max_reject_bytes: limit("max_reject_bytes", 256 << 20),
        }
    }

    /// What becomes of an object; `None` if it fails.
    #[must_use]
    pub fn convert(&self, object: &[u8], key: &str) -> Option<Outcome> {
        let text = decode(object)?;
        let text = mask_bytes(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text));
        let mut outcome = Outcome::default();
        let mut header = None;
        let mut rest = &*text;
        while let Some((item, behind)) = items::next(rest).ok()? {
            rest = behind;
            match item {
                Item::Envelope(envelope) => self.envelope(&envelope, key, &mut outcome)?,
                Item::Json(text) => self.plain(text, false, key, &mut header, &mut outcome)?,
                Item::Line(text) => self.plain(text, true, key, &mut header, &mut outcome)?,
            }
        }
        if outcome.tables.is_empty()
            && let Some(rule) = self.rules.iter().find(|rule| matches(rule, "key", key))
        {
            self.table(rule, &mut outcome);
        }
        let (rejects, judged) = (outcome.rejects.len() as u64, outcome.read - outcome.control);
        let too_many = rejects > self.max_rejects
            || outcome.reject_bytes > self.max_reject_bytes
            || (judged >= 100 && 100 * rejects > self.max_reject_percent * judged);
        (!too_many).then_some(outcome)
    }

    fn envelope(&self, envelope: &Pairs, key: &str, outcome: &mut Outcome) -> Option<()> {
        if !envelope.has_text_keys() || envelope.all("logEvents").count() > 1 {
            return None;
        }
        // A value that is not a string is none; a string that is not text is damage of the envelope.
        let text = |name: &str| {
            let mut values = envelope.all(name).map(|raw| {
                let Some(raw) = raw.strip_prefix('"') else { return Some(None) };
                let Said::Text(text) = said(raw.strip_suffix('"').unwrap()) else { return None };
                (text.len() <= 4096).then_some(Some(text))
            });
            let Some(first) = values.next() else { return Some(None) };
            let first = first?;
            values.all(|value| value == Some(first.clone())).then_some(first)
        };
        let origin = Origin {
            message_type: text("messageType")?,
            owner: text("owner")?,
            log_group: text("logGroup")?,
            log_stream: text("logStream")?,
            is_plain: false,
        };
        let Some(Ok(events)) = envelope.get("logEvents").map(serde_json::from_str::<Vec<&RawValue>>) else {
            self.reject(&origin, key, None, "bad-envelope", &unmask(&envelope.text), outcome);
            return Some(());
        };
        for event in events {
            // A key that is not text is damage too.
            if event.get().starts_with('{')
                && !serde_json::from_str::<Pairs>(event.get()).ok()?.has_text_keys()
            {
                return None;
            }
            if origin.message_type.as_deref() == Some("CONTROL_MESSAGE") {
                outcome.read += 1;
                outcome.control += 1;
                continue;
            }
            self.event(&origin, key, event.get(), outcome);
        }
        Some(())
    }

    fn event(&self, origin: &Origin, key: &str, event: &str, outcome: &mut Outcome) {
        let unknown = match origin.message_type.as_deref() {
            Some("DATA_MESSAGE") => None,
            Some(_) => Some("unknown-message-type"),
            None => Some("bad-envelope"),
        };
        let is_unknown = unknown == Some("unknown-message-type");
        let mut bad = |reason: &'static str| {
            let reason = if is_unknown { "unknown-message-type" } else { reason };
            self.reject(origin, key, None, reason, &unmask(event), outcome);
        };
        let Ok(pairs) = serde_json::from_str::<Pairs>(event) else { return bad("bad-event") };
        if pairs.differs("message") || pairs.differs("timestamp") {
            return bad("duplicate-key");
        }
        let Some(raw) = pairs.get("message").filter(|raw| raw.starts_with('"')) else {
            return bad("bad-event");
        };
        let digits = |raw: &&str| raw.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp = pairs.get("timestamp").filter(digits).and_then(|raw| raw.parse::<i64>().ok());
        let timestamp = timestamp.filter(|ms| (0..=253_402_300_799_999).contains(ms));
        let inner = &raw[1..raw.len() - 1];
        let (bytes, repaired, is_damaged) = match said(inner) {
            Said::Text(text) => (text.into_bytes(), None, false),
            Said::Repaired(text) => (unmask(inner), Some(text), false),
            Said::Damaged => (unmask(inner), None, true),
        };
        if let Some(reason) = unknown {
            self.reject(origin, key, timestamp, reason, &bytes, outcome);
        } else if is_damaged {
            self.reject(origin, key, timestamp, "bad-encoding", &bytes, outcome);
        } else if timestamp.is_none() {
            self.reject(origin, key, timestamp, "bad-timestamp", &bytes, outcome);
        } else {
            self.message(origin, key, timestamp, &Message { bytes, repaired }, None, outcome);
        }
    }

    /// A line or a JSON text.
    fn plain(
        &self,
        text: &str,
        is_line: bool,
        key: &str,
        header: &mut Option<Vec<String>>,
        outcome: &mut Outcome,
    ) -> Option<()> {
        let origin = Origin { is_plain: true, ..Origin::default() };
        let first = outcome.read == 0 && header.is_none();
        let bytes = unmask(text);
        let message = Message { repaired: (!is_text(&bytes)).then(|| repaired(&bytes)), bytes };
        let line = message.repaired.clone().unwrap_or_else(|| text.to_owned());
        let is_glued = is_line && holds_envelope(text);
        if let Some(rule) = self.rule(&origin, key)
            && is_line
            && kind(rule) == "vpc-flow"
        {
            if message.repaired.is_none() && !is_glued && is_header(&line, first) {
                let names: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
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
                *header = Some(names);
                return Some(());
            }
            let layout = header.clone().unwrap_or_else(|| fields(rule));
            let is_row = message.repaired.is_none() && !is_glued && flow(&layout, &line).is_ok();
            if !is_row && is_lost_header(&String::from_utf8_lossy(&message.bytes), first) {
                return None;
            }
            if is_row && is_row_of_names(&layout, &line) {
                return None;
            }
        }
        if is_glued {
            self.reject(&origin, key, None, "glued-envelope", &message.bytes, outcome);
            return Some(());
        }
        self.message(&origin, key, None, &message, header.as_ref(), outcome);
        Some(())
    }

    fn message(
        &self,
        origin: &Origin,
        key: &str,
        mut timestamp: Option<i64>,
        message: &Message,
        header: Option<&Vec<String>>,
        outcome: &mut Outcome,
    ) {
        let Some(rule) = self.rule(origin, key) else {
            return self.reject(origin, key, timestamp, "no-rule", &message.bytes, outcome);
        };
        let text = match &message.repaired {
            Some(_) if rejects_bad_text(rule) => {
                return self.reject(origin, key, timestamp, "bad-encoding", &message.bytes, outcome);
            }
            Some(repaired) => repaired.clone(),
            None => String::from_utf8(message.bytes.clone()).unwrap(),
        };
        let parsed = match kind(rule) {
            "vpc-flow" => {
                flow(&header.cloned().unwrap_or_else(|| fields(rule)), &text).map(|values| (values, false))
            }
            "json" => json(rule, &text),
            _ => ids(&text).map(|values| (values, false)),
        };
        let parsed = parsed.and_then(|(values, is_repaired)| match lacks(rule, &values) {
            Some(reason) => Err(reason),
            None => Ok((values, is_repaired || message.repaired.is_some())),
        });
        let (mut values, is_repaired) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => return self.reject(origin, key, timestamp, reason, &message.bytes, outcome),
        };
        if kind(rule) == "vpc-flow" {
            if origin.is_plain {
                let start = values.get("start").filter(|start| *start != "-");
                timestamp = start.map(|start| start.parse::<i64>().unwrap() * 1000);
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
        outcome.repaired += u64::from(is_repaired);
        self.table(rule, outcome).push(row);
    }

    fn reject(
        &self,
        origin: &Origin,
        key: &str,
        timestamp: Option<i64>,
        reason: &str,
        message: &[u8],
        outcome: &mut Outcome,
    ) {
        if let Some(rule) = self.rule(origin, key) {
            self.table(rule, outcome);
        }
        let mut line = serde_json::json!({
            "object": key, "record": outcome.read, "timestamp": timestamp, "log_group": origin.log_group,
            "log_stream": origin.log_stream, "reason": reason,
        });
        match std::str::from_utf8(message) {
            Ok(message) => line["message"] = message.into(),
            // Base64; only its length counts.
            Err(_) => line["message_base64"] = "A".repeat(message.len().div_ceil(3) * 4).into(),
        }
        outcome.reject_bytes += line.to_string().len() as u64 + 1;
        outcome.rejects.push((outcome.read, timestamp, reason.to_owned(), shown(message)));
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
