//! Stage 3: the first rule that matches a record turns its message into values or rejects it.

mod json;
mod lost_header;
mod matches;
mod regex;
mod rule;
mod vpc_flow;

use self::lost_header::Line;
pub(crate) use self::matches::Patterns;
pub use self::{
    json::{JsonColumn, JsonFormat, JsonPath},
    matches::Matches,
    regex::RegexFormat,
    rule::{BadText, Rule},
    vpc_flow::{FlowLayout, FlowValues},
};
use super::records::{Origin, OriginKind, Record};
use crate::{
    error::{ObjectError, Reason},
    limits::MAX_ROW_BYTES,
    table::{Column, Table},
};

/// How a message becomes values.
#[derive(Debug)]
pub enum Format {
    /// A flow-log line.
    VpcFlow(FlowLayout),
    /// A regular expression's named groups.
    Regex(RegexFormat),
    /// JSON Pointers into an object.
    Json(JsonFormat),
}

impl Format {
    /// Returns its columns, in its own order.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        match self {
            Self::VpcFlow(layout) => layout.columns(),
            Self::Regex(format) => format.columns().to_vec(),
            Self::Json(format) => format.columns().to_vec(),
        }
    }

    /// Returns whether a message is the values of these columns, in order, separated by spaces.
    pub(crate) fn is_in_order(&self, cells: &[Option<usize>]) -> bool {
        matches!(self, Self::VpcFlow(layout) if layout.is_in_order(cells))
    }

    pub(crate) fn is_flow(&self) -> bool {
        matches!(self, Self::VpcFlow(_))
    }
}

/// Start and end of a value in the row's text; `None` if it is absent.
pub(crate) type Cell = Option<(u32, u32)>;

/// The values of a message. Reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// By position of the format's columns.
    pub(crate) cells: Vec<Cell>,
    /// Text that the cells point into, if they do not point into the message.
    pub(crate) text: Vec<u8>,
    /// Whether invalid text was replaced in a value.
    pub(crate) repaired: bool,
    /// For each child of the nodes on the current path: the position of its first value in the message.
    seen: Vec<Option<(u32, u32)>>,
}

impl Values {
    /// Checks that at least one column, and every required column, has a value.
    fn satisfy(&self, rule: &Rule) -> Result<(), Reason> {
        if self.cells.iter().all(Option::is_none) {
            return Err(Reason::NoColumns);
        }
        let is_missing = rule.required.iter().any(|column| self.cells[*column].is_none());
        if is_missing { Err(Reason::MissingRequired) } else { Ok(()) }
    }

    /// Checks that the values, cut from a text of this length, fit a row. Values may overlap.
    fn fit(&self, text: usize) -> Result<(), Reason> {
        // The upper bound decides almost always.
        if text.saturating_mul(self.cells.len()) <= MAX_ROW_BYTES {
            return Ok(());
        }
        let bytes: usize = self.cells.iter().flatten().map(|(start, end)| (end - start) as usize).sum();
        if bytes > MAX_ROW_BYTES { Err(Reason::TooLong) } else { Ok(()) }
    }
}

/// The outcome of the rules for a record.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// It is a row.
    Row(Row<'a>),
    /// It is a flow-log header line, not a record.
    Header {
        /// The table of the lines after it.
        table: usize,
    },
    /// It matches no rule, or does not fit the rule that takes it.
    Reject {
        /// The reason.
        reason: Reason,
        /// The rule that takes it, if one does.
        rule: Option<&'a Rule>,
    },
}

/// One row before enrichment.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The rule that made it.
    pub rule: &'a Rule,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The values that enrichment needs; `None` for formats other than flow logs.
    pub flow: Option<&'a FlowValues>,
    /// Whether invalid text in the message was replaced.
    pub repaired: bool,
    origin: &'a Origin,
    text: &'a [u8],
    values: &'a [Cell],
    cells: &'a [Option<usize>],
    in_order: bool,
}

impl<'a> Row<'a> {
    /// Returns the record's origin.
    #[must_use]
    pub fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// Returns the values of the table's format columns, in order; `None` where absent.
    pub fn values(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let Self { text, values, cells, .. } = *self;
        cells.iter().map(move |cell| values[(*cell)?].map(|(start, end)| &text[start as usize..end as usize]))
    }

    /// Returns the positions of the format's columns that a record may lack; none for flow logs.
    pub(crate) fn optional_columns(&self) -> Vec<u16> {
        if self.rule.format.is_flow() { Vec::new() } else { (0..).take(self.values.len()).collect() }
    }

    /// Returns whether the row has no value for this column of the format.
    pub(crate) fn is_absent(&self, column: u16) -> bool {
        self.values[usize::from(column)].is_none()
    }

    /// Returns whether the text is the values in the order of the columns, separated by spaces.
    pub(crate) fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// Returns the text that the values are cut from. If it needs no CSV quoting, no value does.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.text
    }
}

/// Applies the rules to the records of one object.
#[derive(Debug)]
pub struct Rules<'a> {
    list: &'a [Rule],
    tables: &'a [Table],
    key: &'a str,
    /// The rule for records of the origin with this serial number.
    current: Option<(u64, Option<&'a Rule>)>,
    /// The file of the object that holds the current record.
    file: u64,
    /// The layout of the object's own header line, the positions of the table's columns in it, and whether they are in
    /// order.
    header: Option<(FlowLayout, Vec<Option<usize>>, bool)>,
    values: Values,
    flow: FlowValues,
    /// By rule: the groups that a regular expression finds.
    found: Vec<Option<::regex::bytes::CaptureLocations>>,
}

impl<'a> Rules<'a> {
    /// Creates the rules for the records of the object `key`.
    #[must_use]
    pub fn new(rules: &'a [Rule], tables: &'a [Table], key: &'a str) -> Self {
        Self {
            list: rules,
            tables,
            key,
            current: None,
            file: 0,
            header: None,
            values: Values::default(),
            flow: FlowValues::default(),
            found: vec![None; rules.len()],
        }
    }

    /// Parses a record.
    pub fn parse<'r>(&'r mut self, record: &Record<'r>) -> Result<Parsed<'r>, ObjectError> {
        let rule = self.rule(record.origin);
        if record.file != self.file {
            (self.file, self.header) = (record.file, None);
        }
        let is_flow_line = record.is_line && rule.is_some_and(|rule| rule.format.is_flow());
        let reject = if record.is_first { Line::FirstReject } else { Line::Reject };
        if is_flow_line && !record.skipped.is_empty() {
            lost_header::refuse(record.skipped, Line::End)?;
        }
        if let Some(reason) = record.fault {
            if is_flow_line {
                lost_header::refuse(record.message, reject)?;
            }
            return Ok(Parsed::Reject { reason, rule });
        }
        let Some(rule) = rule else { return Ok(Parsed::Reject { reason: Reason::NoRule, rule: None }) };

        let can_repair = rule.bad_text == BadText::Replace;
        let message = match record.repaired {
            None => record.message,
            Some(repaired) if can_repair && !rule.format.is_flow() => repaired,
            Some(_) => {
                // Without a damaged header line, the lines after it would be read in the wrong order.
                if is_flow_line {
                    lost_header::refuse(record.message, reject)?;
                }
                return Ok(Parsed::Reject { reason: Reason::BadEncoding, rule: Some(rule) });
            }
        };
        let mut row = Row {
            rule,
            timestamp: record.timestamp,
            flow: None,
            repaired: record.repaired.is_some(),
            origin: record.origin,
            text: message,
            values: &[],
            cells: &rule.cells,
            in_order: rule.in_order,
        };
        let outcome = match &rule.format {
            Format::VpcFlow(layout) => {
                let is_plain = record.origin.kind == OriginKind::Plain;
                if is_flow_line && let Some(header) = FlowLayout::header(message, record.is_first)? {
                    let table = &self.tables[rule.table];
                    let cells = header.place_in(table)?;
                    let in_order = header.is_in_order(&cells);
                    self.header = Some((header, cells, in_order));
                    return Ok(Parsed::Header { table: rule.table });
                }
                let layout = match &self.header {
                    Some((header, cells, in_order)) if is_plain => {
                        (row.cells, row.in_order) = (cells, *in_order);
                        header
                    }
                    _ => layout,
                };
                let outcome = layout.parse(message, &mut self.values, &mut self.flow);
                row.flow = Some(&self.flow);
                if is_flow_line && (outcome.is_err() || layout.accepts_any_text()) {
                    let kind = if outcome.is_ok() { Line::Row } else { reject };
                    lost_header::refuse(message, kind)?;
                }
                if is_plain {
                    row.timestamp = self.flow.start_ms();
                }
                outcome
            }
            Format::Regex(format) => {
                let found = self.found[rule.number].get_or_insert_with(|| format.locations());
                let outcome = format.parse(message, found, &mut self.values);
                outcome.and_then(|()| self.values.satisfy(rule)).and_then(|()| self.values.fit(message.len()))
            }
            Format::Json(format) => {
                let outcome = format.parse(message, can_repair, &mut self.values);
                let outcome = outcome.and_then(|()| self.values.satisfy(rule));
                let outcome = outcome.and_then(|()| self.values.fit(self.values.text.len()));
                row.text = &self.values.text;
                row.repaired |= self.values.repaired;
                outcome
            }
        };
        row.values = &self.values.cells;
        Ok(match outcome {
            Ok(()) => Parsed::Row(row),
            Err(reason) => Parsed::Reject { reason, rule: Some(rule) },
        })
    }

    /// Returns the table of an object without records: that of the first rule for its key.
    #[must_use]
    pub fn table_of_empty_object(&self) -> Option<usize> {
        self.list.iter().find(|rule| rule.matches.key(self.key)).map(|rule| rule.table)
    }

    /// Returns the first rule that takes records of this origin. Searches once per origin.
    fn rule(&mut self, origin: &Origin) -> Option<&'a Rule> {
        if let Some((serial, rule)) = self.current
            && serial == origin.serial
        {
            return rule;
        }
        let (group, stream) = (origin.log_group.as_deref(), origin.log_stream.as_deref());
        let rule = self.list.iter().find(|rule| rule.matches.record(group, stream, self.key));
        self.current = Some((origin.serial, rule));
        rule
    }
}
