//! Tries the rules on the records of one object, in order.

use super::{
    Action, BadText, FlowValues, Format, OnMismatch, Parsed, Row, Rule, Values, Writing,
    flow_header::{self, FlowHeader},
    lost_header::{self, Line},
    message::{self, Message, TextOf},
    w3c,
    w3c_header::{self, W3cHeaders},
};
use crate::{
    error::{ObjectError, Reason},
    pipeline::{
        json_input::JsonInput,
        records::{Origin, OriginKind, Record, RecordsPath, has_array, unmatched_path},
    },
    table::Table,
};

/// Applies the rules to the records of one object.
#[derive(Debug)]
pub struct Rules<'a> {
    list: Vec<&'a Rule>,
    /// Whether a rule reads W3C logs.
    has_w3c: bool,
    tables: &'a [Table],
    arrays: &'a [RecordsPath],
    key: &'a str,
    /// The rules for records of the origin with this serial number, as far as it decides.
    candidates: Vec<&'a Rule>,
    serial: Option<u64>,
    /// The file of the object that holds the current record.
    file: u64,
    flow_header: Option<FlowHeader>,
    w3c_headers: W3cHeaders,
    values: Values,
    flow: FlowValues,
    /// The message and the time that a rule found inside its record.
    unwrapped: Values,
    /// The last array or payload with nested records.
    nested: Vec<u8>,
    /// By rule: the groups that a regular expression finds.
    found: Vec<Option<::regex::bytes::CaptureLocations>>,
}

/// The outcome of a rule for a record, without the values.
#[derive(Clone, Copy, Debug)]
enum Applied<'a> {
    Row {
        writing: &'a Writing,
        timestamp: Option<i64>,
        text: TextOf,
        is_repaired: bool,
        has_flow: bool,
        /// Whether the line is in the order of the object's own header line.
        by_header: bool,
    },
    Header(usize),
    Control,
    Dropped,
    /// An array or a payload with nested records, and the reason of the reject if it is not valid.
    Nested(Reason),
    Reject(Reason),
}

impl<'a> Rules<'a> {
    /// Creates the rules for the records of the object `key`. `arrays` are the paths that [`Source::records`] refers to.
    ///
    /// [`Source::records`]: super::Source::records
    #[must_use]
    pub fn new(rules: &'a [Rule], tables: &'a [Table], arrays: &'a [RecordsPath], key: &'a str) -> Self {
        Self {
            list: rules.iter().collect(),
            has_w3c: rules.iter().any(Rule::reads_w3c),
            tables,
            arrays,
            key,
            candidates: Vec::new(),
            serial: None,
            file: 0,
            flow_header: None,
            w3c_headers: W3cHeaders::new(rules.len()),
            values: Values::default(),
            flow: FlowValues::default(),
            unwrapped: Values::default(),
            nested: Vec::new(),
            found: vec![None; rules.len()],
        }
    }

    /// Creates the rules for the records of payloads: those without `decode`.
    pub(crate) fn for_payloads(&self) -> Self {
        let list = self.list.iter().filter(|rule| !matches!(rule.action, Action::Decode)).copied().collect();
        let mut rules = Self::new(&[], self.tables, self.arrays, self.key);
        rules.found = vec![None; self.found.len()];
        rules.w3c_headers = W3cHeaders::new(self.found.len());
        rules.has_w3c = self.has_w3c;
        rules.list = list;
        rules
    }

    /// Resets the state that depends on earlier records: ordinal, file and header lines.
    pub(crate) fn restart(&mut self) {
        self.serial = None;
        self.file = 0;
        self.forget_header_lines();
    }

    fn forget_header_lines(&mut self) {
        self.flow_header = None;
        self.w3c_headers.clear();
    }

    /// Returns whether a line can fail its object, because it is a header line or a damaged one.
    pub(crate) fn have_header_lines(&self) -> bool {
        let has_header = |writing: &Writing| matches!(writing.format, Format::Flow(_) | Format::W3c(_));
        self.list.iter().any(|rule| rule.writing().is_some_and(has_header))
    }

    /// Returns the paths of the arrays whose elements are records, if a rule for this key reads them. The position of a path
    /// is the same in all objects; a path that no rule reads never matches.
    pub(crate) fn arrays(&self) -> Vec<RecordsPath> {
        let asks = |at: usize| {
            self.list
                .iter()
                .any(|rule| rule.source.records == Some(at) && rule.matches.may_match(None, None, self.key))
        };
        if !(0..self.arrays.len()).any(asks) {
            return Vec::new();
        }
        let path = |(at, path): (usize, &RecordsPath)| if asks(at) { path.clone() } else { unmatched_path() };
        self.arrays.iter().enumerate().map(path).collect()
    }

    /// Returns the path at this position, and for the others paths that never match.
    pub(crate) fn only_array(&self, at: usize) -> Vec<RecordsPath> {
        let path =
            |(other, path): (usize, &RecordsPath)| if other == at { path.clone() } else { unmatched_path() };
        self.arrays.iter().enumerate().map(path).collect()
    }

    /// Returns the array or payload that [`Rules::parse`] found last.
    pub(crate) fn take_nested(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.nested)
    }

    /// Parses a record.
    pub fn parse<'r>(&'r mut self, record: &Record<'r>) -> Result<Parsed<'r>, ObjectError> {
        self.parse_below(record, None)
    }

    /// Parses a record on the rules below the one with this number, which found invalid nested records. Only a rule
    /// with `on_mismatch = "next"` has rules below it.
    pub(crate) fn parse_below<'r>(
        &'r mut self,
        record: &Record<'r>,
        refused: Option<(usize, Reason)>,
    ) -> Result<Parsed<'r>, ObjectError> {
        self.find_candidates(record.origin);
        if record.file != self.file {
            self.file = record.file;
            self.forget_header_lines();
        }
        let is_w3c_header = self.read_w3c_header(record);
        let refused_at = refused.and_then(|(number, reason)| {
            let at = self.candidates.iter().position(|rule| rule.number == number)?;
            Some((at, reason))
        });
        let mut refused = refused_at.map(|(at, reason)| (self.candidates[at], reason));
        if let Some((rule, reason)) = refused
            && rule.on_mismatch == OnMismatch::Reject
        {
            return Ok(Parsed::Reject { reason, rule: Some(rule) });
        }
        let mut outcome = None;
        let mut passed_flow_rule = false;
        for at in refused_at.map_or(0, |(at, _)| at + 1)..self.candidates.len() {
            let rule = self.candidates[at];
            if rule.matches.has_message() && !self.takes_message(rule, record) {
                if let Some((writing, format)) = flow_header::line_format(rule, record) {
                    // A header line is for the lines after it, whatever they match.
                    if let Some(layout) = format.layout.header(record.message(), record.is_first)? {
                        self.flow_header = Some(FlowHeader::new(layout, rule, writing, self.tables)?);
                        return Ok(Parsed::Header { table: writing.table });
                    }
                    passed_flow_rule = true;
                } else if is_w3c_header && w3c_header::reads_text(rule, record) {
                    outcome = Some((rule, Applied::Control));
                    break;
                }
                continue;
            }
            match self.apply(rule, record)? {
                Applied::Reject(reason) if rule.on_mismatch == OnMismatch::Next && record.fault.is_none() => {
                    refused = Some((rule, reason));
                }
                applied => {
                    outcome = Some((rule, applied));
                    break;
                }
            }
        }
        let by_flow_rule =
            matches!(&outcome, Some((_, Applied::Row { has_flow: true, .. } | Applied::Header(_))));
        if passed_flow_rule && !by_flow_rule {
            // If Flowherd ignored a damaged header line, it would read the lines after it in the wrong order.
            let line = if record.is_first { Line::FirstReject } else { Line::Reject };
            lost_header::refuse(record.message(), line)?;
        }
        let (rule, applied) = match (outcome, refused) {
            (Some(outcome), _) => outcome,
            (None, Some((rule, reason))) => return Ok(Parsed::Reject { reason, rule: Some(rule) }),
            (None, None) => {
                let reason = record.fault.unwrap_or(Reason::NoRule);
                return Ok(Parsed::Reject { reason, rule: None });
            }
        };
        Ok(match applied {
            Applied::Header(table) => Parsed::Header { table },
            Applied::Control => Parsed::Control,
            Applied::Dropped => Parsed::Dropped { rule },
            Applied::Nested(otherwise) => Parsed::Nested { otherwise, rule },
            Applied::Reject(reason) => Parsed::Reject { reason, rule: Some(rule) },
            Applied::Row { writing, timestamp, text, is_repaired, has_flow, by_header } => {
                let (cells, in_order) = match &self.flow_header {
                    Some(header) if by_header => (&header.cells, header.in_order),
                    _ => (&writing.cells, writing.in_order),
                };
                let message = text.of(rule, record, &self.unwrapped);
                Parsed::Row(Row {
                    rule,
                    writing,
                    timestamp,
                    flow: has_flow.then_some(&self.flow),
                    repaired: is_repaired,
                    key: self.key,
                    id: record.id,
                    extracted: record.extracted,
                    origin: record.origin,
                    text: self.values.text(message),
                    values: &self.values.cells,
                    columns: writing.columns,
                    cells,
                    in_order,
                })
            }
        })
    }

    /// Returns the table of an object without records: that of the first rule for its key that has one.
    #[must_use]
    pub fn table_of_empty_object(&self) -> Option<usize> {
        let rules = self.list.iter().filter(|rule| rule.matches.key(self.key));
        rules.filter_map(|rule| rule.writing()).map(|writing| writing.table).next()
    }

    /// Finds the rules that can take records of this origin. Searches once per origin.
    fn find_candidates(&mut self, origin: &Origin) {
        if self.serial == Some(origin.serial) {
            return;
        }
        let (group, stream) = (origin.log_group.as_deref(), origin.log_stream.as_deref());
        self.candidates.clear();
        for rule in &self.list {
            if rule.matches.may_match(group, stream, self.key) {
                self.candidates.push(rule);
                // It takes every record, so no rule below it is tried.
                if !rule.matches.has_message() && rule.on_mismatch == OnMismatch::Reject {
                    break;
                }
            }
        }
        self.serial = Some(origin.serial);
    }

    /// Reads the header line of a W3C log, whichever rule takes the line. Returns whether the record is one.
    fn read_w3c_header(&mut self, record: &Record<'_>) -> bool {
        if !self.has_w3c {
            return false;
        }
        let text = record.repaired.unwrap_or_else(|| record.message());
        text.starts_with(w3c::DIRECTIVE)
            && self.candidates.iter().any(|rule| w3c_header::reads_text(rule, record))
            && self.w3c_headers.read(text, record.fault)
    }

    fn takes_message(&self, rule: &Rule, record: &Record<'_>) -> bool {
        let (group, stream) = (record.origin.log_group.as_deref(), record.origin.log_stream.as_deref());
        rule.matches.record(group, stream, self.key, record.repaired.unwrap_or_else(|| record.message()))
    }

    fn apply(&mut self, rule: &'a Rule, record: &Record<'_>) -> Result<Applied<'a>, ObjectError> {
        let is_flow = rule.writing().is_some_and(|writing| matches!(writing.format, Format::Flow(_)));
        let is_flow_line = is_flow && flow_header::line_format(rule, record).is_some();
        let line = if record.is_first { Line::FirstReject } else { Line::Reject };
        if is_flow_line && !record.skipped.is_empty() {
            lost_header::refuse(record.skipped, Line::End)?;
        }
        if let Some(reason) = record.fault {
            if is_flow_line {
                lost_header::refuse(record.message(), line)?;
            }
            return Ok(if rule.drops_invalid(reason) { Applied::Dropped } else { Applied::Reject(reason) });
        }
        if matches!(rule.action, Action::Drop) {
            return Ok(Applied::Dropped);
        }
        let is_comment = |comments: &String| {
            let text = record.repaired.unwrap_or_else(|| record.message());
            !comments.is_empty() && text.starts_with(comments.as_bytes())
        };
        if rule.source.comments.as_ref().is_some_and(is_comment) {
            return Ok(Applied::Control);
        }
        let can_repair = rule.bad_text == BadText::Replace;
        let message = match record.repaired {
            None => Message::of_record(rule, record),
            Some(text) if can_repair && !is_flow => Message::of_repaired(text),
            Some(_) => {
                // If Flowherd ignored a damaged header line, it would read the lines after it in the wrong order.
                if is_flow_line {
                    lost_header::refuse(record.message(), line)?;
                }
                return Ok(Applied::Reject(Reason::BadEncoding));
            }
        };
        if rule.source.is_whole() {
            return self.apply_to_message(rule, record, message, None, (is_flow_line, line));
        }
        self.apply_to_part(rule, record, message, (is_flow_line, line))
    }

    /// Finds the message inside the record. Out of line, because few rules need it.
    #[cold]
    fn apply_to_part(
        &mut self,
        rule: &'a Rule,
        record: &Record<'_>,
        message: Message<'_>,
        flow_line: (bool, Line),
    ) -> Result<Applied<'a>, ObjectError> {
        let message = match message.of_line(rule, record) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Applied::Control),
            Err(reason) => return Ok(Applied::Reject(reason)),
        };
        if let Some(path) = rule.source.records
            && record.element != Some(path)
        {
            return Ok(self.split(path, message.text, record));
        }
        let Some(unwrap) = &rule.source.unwrap else {
            return self.apply_to_message(rule, record, message, None, flow_line);
        };
        if let Err(reason) =
            unwrap.parse(message.json(), rule.bad_text == BadText::Replace, &mut self.unwrapped)
        {
            return Ok(Applied::Reject(reason));
        }
        if let Err(reason) = self.unwrapped.detach(message.json()) {
            return Ok(Applied::Reject(reason));
        }
        if self.unwrapped.cells[0].is_none() {
            return Ok(Applied::Reject(Reason::NoMessage));
        }
        // Taken out, because the message is part of it while the rule is used.
        let outer = std::mem::take(&mut self.unwrapped);
        let is_repaired = message.is_repaired || outer.repaired;
        let inner = Message {
            text: message::unwrapped(&outer),
            has_escaped_quotes: false,
            of: TextOf::Unwrapped,
            is_repaired,
            time: message.time,
        };
        let outcome = self.apply_to_message(rule, record, inner, Some(&outer), flow_line);
        self.unwrapped = outer;
        outcome
    }

    /// Finds the array of records in the message of an event.
    fn split(&mut self, path: usize, message: &[u8], record: &Record<'_>) -> Applied<'a> {
        let is_event = record.origin.kind != OriginKind::Plain && record.element.is_none();
        if !is_event || !has_array(message, &self.arrays[path]) {
            return Applied::Reject(Reason::NoRecords);
        }
        self.nested.clear();
        self.nested.extend_from_slice(message);
        Applied::Nested(Reason::NotJson)
    }

    #[inline]
    fn apply_to_message(
        &mut self,
        rule: &'a Rule,
        record: &Record<'_>,
        message: Message<'_>,
        unwrapped: Option<&Values>,
        (is_flow_line, line): (bool, Line),
    ) -> Result<Applied<'a>, ObjectError> {
        let can_repair = rule.bad_text == BadText::Replace;
        let writing = match &rule.action {
            Action::Write(writing) => writing,
            Action::Drop => return Ok(Applied::Dropped),
            // It has no payload.
            Action::Decode if message.text.trim_ascii().is_empty() => return Ok(Applied::Control),
            Action::Decode => {
                let is_base64 = message::decode(message.text, &mut self.nested);
                let reason = Reason::BadPayload;
                return Ok(if is_base64 { Applied::Nested(reason) } else { Applied::Reject(reason) });
            }
        };
        let is_plain = record.origin.kind == OriginKind::Plain;
        self.values.decoded.clear();
        let mut is_repaired = message.is_repaired;
        let mut by_header = false;
        let outcome = match &writing.format {
            Format::Flow(format) => {
                if message.is_repaired {
                    return Ok(Applied::Reject(Reason::BadEncoding));
                }
                if is_flow_line && let Some(layout) = format.layout.header(message.text, record.is_first)? {
                    self.flow_header = Some(FlowHeader::new(layout, rule, writing, self.tables)?);
                    return Ok(Applied::Header(writing.table));
                }
                let is_line_of_header = is_plain && rule.source.unwrap.is_none() && message.time.is_none();
                let layout = match &mut self.flow_header {
                    Some(header) if is_line_of_header => {
                        header.place(rule, writing, self.tables)?;
                        by_header = true;
                        &header.layout
                    }
                    _ => &format.layout,
                };
                let outcome = layout.parse(message.text, &mut self.values, &mut self.flow);
                if is_flow_line && (outcome.is_err() || layout.accepts_any_text()) {
                    let kind = if outcome.is_ok() { Line::Row } else { line };
                    lost_header::refuse(message.text, kind)?;
                }
                outcome
            }
            Format::Regex(format) => {
                let found = self.found[rule.number].get_or_insert_with(|| format.locations());
                let outcome = format.parse(message.text, found, &mut self.values);
                outcome
                    .and_then(|()| self.values.satisfy(writing.columns, &writing.required))
                    .and_then(|()| self.values.fit(JsonInput::new(message.text)))
            }
            Format::Json(format) => {
                let outcome = format.parse(message.json(), can_repair, &mut self.values);
                is_repaired |= self.values.repaired;
                outcome
                    .and_then(|()| self.values.satisfy(writing.columns, &writing.required))
                    .and_then(|()| self.values.fit(message.json()))
            }
            Format::W3c(format) => {
                let is_inside = !w3c_header::reads_text(rule, record);
                if message.text.starts_with(w3c::DIRECTIVE) {
                    // An event names no fields of the lines after its envelope.
                    if is_plain && is_inside {
                        self.w3c_headers.read_inside(rule.number, message.text, format)?;
                    }
                    return Ok(Applied::Control);
                }
                let order = match (is_plain, is_inside) {
                    (false, _) => Some(format.own_order()),
                    (true, false) => self.w3c_headers.order(rule.number, format)?,
                    (true, true) => self.w3c_headers.order_inside(rule.number),
                };
                let Some(order) = order else { return Ok(Applied::Reject(Reason::NoHeader)) };
                let outcome = format.parse(message.text, order, &mut self.values);
                outcome.and_then(|()| self.values.satisfy(writing.columns, &writing.required))
            }
        };
        if let Err(reason) = outcome {
            return Ok(Applied::Reject(reason));
        }
        let has_flow = matches!(writing.format, Format::Flow(_));
        let timestamp = match (&writing.timestamp, record.timestamp.or(message.time)) {
            (_, Some(time)) => Some(time),
            (Some(source), None) => {
                let time = match unwrapped {
                    Some(outer) if source.is_outer => source.time(outer.detached(), &outer.cells),
                    _ => source.time(self.values.text(message.json()), &self.values.cells),
                };
                if time.is_none() {
                    return Ok(Applied::Reject(Reason::BadTimestamp));
                }
                time
            }
            (None, None) if has_flow => self.flow.start_ms(),
            (None, None) => None,
        };
        Ok(Applied::Row { writing, timestamp, text: message.of, is_repaired, has_flow, by_header })
    }
}
