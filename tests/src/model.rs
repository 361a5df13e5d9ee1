//! The slow, obvious implementation that the pipeline must agree with.
//!
//! It holds the whole object in memory, reads JSON with `serde_json`, splits lines on spaces and compares every subnet. It
//! shares no code with the pipeline, not even the configuration.

mod enrich;
mod enrich_files;
mod flow_logs;
mod formats;
mod items;
mod json_object;
mod json_path;
mod keys;
mod layers;
mod records;
mod rules;
mod tables;
mod times;
mod values;

use std::collections::BTreeMap;

use serde_json::Value;

use self::{
    formats::Header,
    json_object::mask_bytes,
    records::{Origin, Record},
    rules::{Verdict, could_take_plain, is_candidate, is_drop, takes, tries_next},
};

/// The result of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By table, the header and then the rows.
    pub tables: BTreeMap<String, Vec<Vec<String>>>,
    /// Ordinal, timestamp, reason and message of each reject; the bytes of the message as [`shown`].
    pub rejects: Vec<(u64, Option<i64>, String, String)>,
    /// Records read.
    pub read: u64,
    /// Events of control envelopes, comments, and lines that are about the log.
    pub control: u64,
    /// Records that a rule with `drop` took.
    pub dropped: u64,
    /// Rows in which text was replaced.
    pub repaired: u64,
    /// Rows with a name of another time.
    pub named_by_guess: u64,
    /// Bytes of the rejects as JSON lines.
    pub reject_bytes: u64,
}

impl Outcome {
    /// Counts a record whose array or payload has no records as control. `read` was the count before it.
    fn count_if_without_records(&mut self, read: u64) {
        if self.read == read {
            self.read += 1;
            self.control += 1;
        }
    }
}

/// Bytes as a test prints them.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Rules and names of a model, read directly from their files.
#[derive(Debug)]
pub struct Model {
    rules: Vec<toml::Table>,
    names: Value,
    enrich: Vec<toml::Table>,
    /// Texts of the files of `enrich`.
    files: BTreeMap<String, String>,
    guards: bool,
    max_rejects: u64,
    max_reject_percent: u64,
    max_reject_bytes: u64,
}

/// One text: an object, or the payload of a record.
struct Scope<'k> {
    key: &'k str,
    is_payload: bool,
    header: Header,
    /// Whether the current record is the first of this text.
    is_first: bool,
}

impl Model {
    /// Reads the text of a `flowherd.toml` and a `names.json`.
    #[must_use]
    pub fn new(config: &str, names: &str) -> Self {
        let config: toml::Table = toml::from_str(config).unwrap();
        let rules =
            config["rule"].as_array().unwrap().iter().map(|rule| rule.as_table().unwrap().clone()).collect();
        let limit = |name: &str, default: u64| {
            let given = config.get("limits").and_then(|limits| limits.get(name));
            given.map_or(default, |limit| limit.as_integer().unwrap().try_into().unwrap())
        };
        let enrich = config.get("enrich").map(|entries| entries.as_array().unwrap());
        let enrich = enrich.into_iter().flatten().map(|entry| entry.as_table().unwrap().clone()).collect();
        Self {
            rules,
            enrich,
            files: BTreeMap::new(),
            names: serde_json::from_str(names).unwrap(),
            guards: config.get("csv").is_some_and(|csv| csv["guard_formulas"].as_bool().unwrap()),
            max_rejects: limit("max_rejects", 100_000),
            max_reject_percent: limit("max_reject_percent", 50),
            max_reject_bytes: limit("max_reject_bytes", 256 << 20),
        }
    }

    /// Adds the texts of the files that `[[enrich]]` names.
    #[must_use]
    pub fn with_files(self, files: &[(&str, &str)]) -> Self {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self { files: files.iter().map(owned).collect(), ..self }
    }

    /// Converts an object. Returns `None` if the object fails.
    #[must_use]
    pub fn convert(&self, object: &[u8], key: &str) -> Option<Outcome> {
        let mut outcome = Outcome::default();
        self.read(object, key, false, &mut outcome)?;
        if outcome.tables.is_empty()
            && let Some(rule) = self.rules.iter().find(|rule| rules::has_table_for_key(rule, key))
        {
            self.table(rule, &mut outcome);
        }
        let rejects = outcome.rejects.len() as u64;
        let judged = outcome.read - outcome.control - outcome.dropped;
        let too_many = rejects > self.max_rejects
            || outcome.reject_bytes > self.max_reject_bytes
            || (judged >= 100 && 100 * rejects > self.max_reject_percent * judged);
        (!too_many).then_some(outcome)
    }

    /// Reads all items of an object or a payload.
    fn read(&self, bytes: &[u8], key: &str, is_payload: bool, outcome: &mut Outcome) -> Option<()> {
        let text = layers::text(bytes)?;
        let text = mask_bytes(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text));
        let mut scope = Scope { key, is_payload, header: Header::default(), is_first: true };
        let pointers = self.pointers(&scope);
        let mut rest = &*text;
        while let Some((item, after)) = items::next(rest, &pointers).ok()? {
            rest = after;
            for record in records::of_item(item)? {
                self.record(&record, &mut scope, outcome)?;
                scope.is_first = false;
            }
        }
        Some(())
    }

    /// The rules that apply to a text: a payload has no payloads.
    fn rules_of(&self, scope: &Scope<'_>) -> impl Iterator<Item = &toml::Table> {
        let is_payload = scope.is_payload;
        self.rules.iter().filter(move |rule| !(is_payload && rule.contains_key("decode")))
    }

    /// Paths of the arrays whose elements are the records of plain JSON objects.
    fn pointers(&self, scope: &Scope<'_>) -> Vec<Vec<String>> {
        let rules = self.rules_of(scope).filter(|rule| could_take_plain(rule, scope.key));
        rules
            .filter_map(|rule| rule.get("records"))
            .map(|path| json_path::steps(path.as_str().unwrap()))
            .collect()
    }

    /// Tries the rules in order. Returns `None` if the object fails.
    fn record(&self, record: &Record, scope: &mut Scope<'_>, outcome: &mut Outcome) -> Option<()> {
        if record.is_control {
            outcome.read += 1;
            outcome.control += 1;
            return Some(());
        }
        let rules: Vec<&toml::Table> =
            self.rules_of(scope).filter(|rule| is_candidate(rule, record, scope.key)).collect();
        let line = String::from_utf8_lossy(&record.bytes).into_owned();
        // The header line of a W3C log is for all rules, whichever takes it. Those after a rule that takes all records are never
        // tried.
        let takes_all = |rule: &&toml::Table| !rules::reads_message(rule) && !tries_next(rule);
        let reached = rules.iter().position(takes_all).map_or(rules.len(), |at| at + 1);
        if rules[..reached].iter().any(|rule| formats::is_w3c_header(rule, record)) {
            let fields = formats::w3c_fields(&record.lossy_text());
            scope.header.w3c = Some(fields.filter(|_| record.fault.is_none()));
        }
        let first = scope.is_first;
        let is_lost_header = || flow_logs::is_lost_header(&line, first);
        let mut has_passed_flow_rule = false;
        let mut last = (None, record.fault.unwrap_or("no-rule"));
        for rule in rules {
            if !takes(rule, record, scope.key) {
                // A header line is for the lines after it, whatever the rule's message pattern is.
                if rules::is_flow_line(rule, record) {
                    if flow_logs::is_header(&line, scope.is_first) {
                        return self.header(rule, flow_logs::header(&line), scope, outcome);
                    }
                    has_passed_flow_rule = true;
                }
                if formats::is_w3c_header(rule, record) {
                    if has_passed_flow_rule && is_lost_header() {
                        return None;
                    }
                    outcome.read += 1;
                    outcome.control += 1;
                    return Some(());
                }
                continue;
            }
            if let Some(reason) = record.fault {
                if has_passed_flow_rule && is_lost_header() {
                    return None;
                }
                return self.faulty(record, reason, rule, scope, outcome);
            }
            // The table of another rule may lack the fields of a header line.
            let lacks = |fields: &Vec<String>| !self.has_columns_of(rule, fields);
            let lacks_columns =
                rules::uses_flow_header(rule, record) && scope.header.flow.as_ref().is_some_and(lacks);
            let verdict = rules::apply(rule, record, &scope.header, scope.is_first, lacks_columns);
            let is_mismatch = matches!(verdict, Verdict::Mismatch(_)) && tries_next(rule);
            let is_flow = matches!(verdict, Verdict::Row(_) | Verdict::Header(_))
                && flow_logs::is_flow(keys::kind(rule));
            if has_passed_flow_rule && !is_mismatch && !is_flow && is_lost_header() {
                return None;
            }
            match verdict {
                Verdict::Row(row) => {
                    self.row(rule, record, row, scope.key, outcome);
                    return Some(());
                }
                Verdict::Dropped => {
                    outcome.read += 1;
                    outcome.dropped += 1;
                    return Some(());
                }
                Verdict::Control => {
                    outcome.read += 1;
                    outcome.control += 1;
                    return Some(());
                }
                Verdict::Header(fields) => return self.header(rule, fields, scope, outcome),
                Verdict::Fields(line) => {
                    if !formats::reads_w3c_line(rule, record) {
                        let name = rule["name"].as_str().unwrap().to_owned();
                        scope.header.w3c_inside.insert(name, formats::w3c_fields(&line)?);
                    }
                    outcome.read += 1;
                    outcome.control += 1;
                    return Some(());
                }
                Verdict::Elements(elements) => {
                    let read = outcome.read;
                    elements.iter().try_for_each(|element| self.record(element, scope, outcome))?;
                    outcome.count_if_without_records(read);
                    return Some(());
                }
                Verdict::Payload(payload) => {
                    let mut attempt = outcome.clone();
                    if self.read(&payload, scope.key, true, &mut attempt).is_some() {
                        attempt.count_if_without_records(outcome.read);
                        *outcome = attempt;
                        return Some(());
                    }
                    last = (Some(rule), "bad-payload");
                }
                Verdict::Mismatch(reason) => last = (Some(rule), reason),
                Verdict::ObjectFails => return None,
            }
            if !tries_next(rule) {
                break;
            }
        }
        if has_passed_flow_rule && is_lost_header() {
            return None;
        }
        let (rule, reason) = last;
        self.reject(record, reason, rule, scope.key, outcome);
        Some(())
    }

    /// A header line is no record. The object fails if the rule's table lacks one of its fields.
    fn header(
        &self,
        rule: &toml::Table,
        fields: Vec<String>,
        scope: &mut Scope<'_>,
        outcome: &mut Outcome,
    ) -> Option<()> {
        if !self.has_columns_of(rule, &fields) {
            return None;
        }
        self.table(rule, outcome);
        scope.header.flow = Some(fields);
        Some(())
    }

    /// A record with a fault of its own: the first rule that takes it decides whether it is dropped.
    fn faulty(
        &self,
        record: &Record,
        reason: &str,
        rule: &toml::Table,
        scope: &Scope<'_>,
        outcome: &mut Outcome,
    ) -> Option<()> {
        if rules::fails_on_lost_header(rule, record, &scope.header, scope.is_first) {
            return None;
        }
        let is_of_the_envelope = ["glued-envelope", "bad-envelope", "unknown-message-type"].contains(&reason);
        if is_drop(rule) && !rules::reads_message(rule) && !is_of_the_envelope {
            outcome.read += 1;
            outcome.dropped += 1;
            return Some(());
        }
        self.reject(record, reason, Some(rule), scope.key, outcome);
        Some(())
    }

    fn reject(
        &self,
        record: &Record,
        reason: &str,
        rule: Option<&toml::Table>,
        key: &str,
        outcome: &mut Outcome,
    ) {
        if let Some(rule) = rule.filter(|rule| rule.contains_key("table")) {
            self.table(rule, outcome);
        }
        let Origin { log_group, log_stream, .. } = &record.origin;
        let mut line = serde_json::json!({
            "object": key, "record": outcome.read, "timestamp": record.timestamp, "log_group": log_group,
            "log_stream": log_stream, "reason": reason,
        });
        match std::str::from_utf8(&record.bytes) {
            Ok(message) => line["message"] = message.into(),
            // Base64; only its length counts.
            Err(_) => line["message_base64"] = "A".repeat(record.bytes.len().div_ceil(3) * 4).into(),
        }
        outcome.reject_bytes += line.to_string().len() as u64 + 1;
        outcome.rejects.push((outcome.read, record.timestamp, reason.to_owned(), shown(&record.bytes)));
        outcome.read += 1;
    }
}
