//! Stage 3: the first rule that matches a record turns its message into values or rejects it.

mod apply;
mod flow;
mod flow_header;
mod json;
mod lost_header;
mod matches;
mod message;
mod pattern;
mod regex;
mod row_text;
mod rule;
mod time;
mod w3c;
mod w3c_header;

pub use self::{
    apply::Rules,
    flow::{FlowFormat, FlowLayout, FlowValues},
    json::{JsonColumn, JsonFormat, JsonPath},
    matches::Matches,
    regex::RegexFormat,
    rule::{Action, BadText, OnMismatch, Rule, Source, Writing},
    time::{TimeForm, TimeSource, TimeUnit},
    w3c::{Delimiter, W3cFormat},
};
pub(crate) use self::{
    json::{compact, pointer_steps},
    matches::Patterns,
    row_text::{Cell, RowText},
};
use std::{borrow::Cow, collections::BTreeMap};

use super::{json_input::JsonInput, records::Origin};
use crate::{
    error::Reason,
    flow_fields::FlowKind,
    limits::MAX_ROW_BYTES,
    table::{Column, ColumnType},
    text::quoted,
};

/// How a message becomes values.
#[derive(Debug)]
pub enum Format {
    /// A flow-log line.
    Flow(FlowFormat),
    /// A regular expression's named groups.
    Regex(RegexFormat),
    /// JSON Pointers and JSONPath into an object.
    Json(JsonFormat),
    /// Fields that a header line names.
    W3c(W3cFormat),
}

impl Format {
    /// Returns the columns that it gives to its table, in its own order.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        match self {
            Self::Flow(format) => format.columns(),
            Self::Regex(format) => format.columns().to_vec(),
            Self::Json(format) => format.columns().to_vec(),
            Self::W3c(format) => format.columns().to_vec(),
        }
    }

    /// Returns the columns of its values, in order. Those of a flow log with `fields = "any"` are fewer than its columns.
    pub(crate) fn value_columns(&self) -> Vec<Column> {
        match self {
            Self::Flow(format) => format.layout.columns(),
            other => other.columns(),
        }
    }

    /// Returns whether a message is the values of these columns, in order, separated by spaces.
    pub(crate) fn is_in_order(&self, cells: &[Option<usize>]) -> bool {
        matches!(self, Self::Flow(format) if format.layout.is_in_order(cells))
    }

    /// Returns the kind of flow log, if it is one.
    #[must_use]
    pub fn flow_kind(&self) -> Option<FlowKind> {
        match self {
            Self::Flow(format) => Some(format.kind()),
            _ => None,
        }
    }
}

/// Returns a problem for each name in `types` that is not one of the columns. `what` is the missing part of the format.
fn unknown_names(types: &BTreeMap<String, ColumnType>, columns: &[Column], what: &str) -> Vec<String> {
    let example =
        columns.first().map(|column| format!("; an example: types = {{ {} = \"int\" }}", column.name));
    let example = example.unwrap_or_default();
    let unknown = types.keys().filter(|name| !columns.iter().any(|column| column.name == **name));
    unknown
        .map(|name| format!("types.{}: {what} of that name{example}", quoted(name).trim_matches('"')))
        .collect()
}

/// The values of a message. Reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// By position of the format's columns.
    pub(crate) cells: Vec<Cell>,
    /// Values that differ from their text in the message.
    pub(crate) decoded: Vec<u8>,
    /// Whether invalid text was replaced in a value.
    pub(crate) repaired: bool,
    /// The ends of a line's fields.
    ends: Vec<usize>,
    /// Buffers of JSON formats.
    json: json::Scratch,
}

impl Values {
    /// Returns the text of the cells.
    pub(crate) fn text<'v>(&'v self, message: JsonInput<'v>) -> RowText<'v> {
        RowText { message, decoded: &self.decoded }
    }

    /// Checks that at least one of the columns, and every required column, has a value.
    fn satisfy(&self, columns: usize, required: &[usize]) -> Result<(), Reason> {
        if self.cells[..columns].iter().all(Option::is_none) {
            return Err(Reason::NoColumns);
        }
        let is_missing = required.iter().any(|column| self.cells[*column].is_none());
        if is_missing { Err(Reason::MissingRequired) } else { Ok(()) }
    }

    /// Checks that the values fit a row. Values may overlap.
    fn fit(&self, message: JsonInput<'_>) -> Result<(), Reason> {
        let text = self.text(message);
        // The upper bound decides almost always.
        let length = message.bytes.len() + self.decoded.len();
        if length.saturating_mul(self.cells.len()) <= MAX_ROW_BYTES {
            return Ok(());
        }
        let bytes: usize = self.cells.iter().flatten().map(|cell| text.value(*cell).len()).sum();
        if bytes > MAX_ROW_BYTES { Err(Reason::TooLong) } else { Ok(()) }
    }

    /// Copies the values out of their message. After the call, their text has an empty message.
    fn detach(&mut self, message: JsonInput<'_>) -> Result<(), Reason> {
        let mut copied = Vec::new();
        let text = RowText { message, decoded: &self.decoded };
        for cell in &mut self.cells {
            let Some(span) = *cell else { continue };
            if copied.len() > MAX_ROW_BYTES {
                return Err(Reason::TooLong);
            }
            let start = copied.len() as u32;
            copied.extend_from_slice(&text.value(span));
            *cell = Some((start, copied.len() as u32));
        }
        self.decoded = copied;
        Ok(())
    }

    /// Returns the text of cells after [`Values::detach`].
    fn detached(&self) -> RowText<'_> {
        self.text(JsonInput::new(&[]))
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
    /// It is a comment or a directive, and counts as control.
    Control,
    /// A rule drops it.
    Dropped {
        /// The rule.
        rule: &'a Rule,
    },
    /// It is not a record, but holds an array or a payload with nested records. `Rules::take_nested` returns that.
    Nested {
        /// Why the message is rejected if the array or payload is not valid.
        otherwise: Reason,
        /// The rule that takes it.
        rule: &'a Rule,
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
    /// How that rule writes rows.
    pub writing: &'a Writing,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The values that enrichment needs; `None` for formats other than flow logs.
    pub flow: Option<&'a FlowValues>,
    /// Whether invalid text in the message was replaced.
    pub repaired: bool,
    /// The key of its object.
    pub key: &'a str,
    /// The raw content of the event's id, if it has one.
    pub id: Option<&'a [u8]>,
    /// The raw value of the event's extracted fields, if it has any.
    pub extracted: Option<&'a [u8]>,
    origin: &'a Origin,
    text: RowText<'a>,
    values: &'a [Cell],
    /// Number of columns of the format. More values are hidden.
    columns: usize,
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
    pub fn values(&self) -> impl Iterator<Item = Option<Cow<'a, [u8]>>> {
        let text = self.text;
        self.cells().map(move |cell| cell.map(|span| text.value(span)))
    }

    /// Returns the value of the table's format column at this position; `None` if it is absent.
    pub(crate) fn value(&self, column: usize) -> Option<Cow<'a, [u8]>> {
        Some(self.text.value(self.values[self.cells[column]?]?))
    }

    /// Returns start and end of each value in [`Row::text`].
    #[inline]
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell> + use<'a> {
        let Self { values, cells, .. } = *self;
        cells.iter().map(move |cell| values[(*cell)?])
    }

    /// Returns the positions of the format's columns that a record may lack; none for flow logs.
    pub(crate) fn optional_columns(&self) -> Vec<u16> {
        let is_flow = matches!(self.writing.format, Format::Flow(_));
        if is_flow { Vec::new() } else { (0..).take(self.columns).collect() }
    }

    /// Returns whether the row has no value for this column of the format.
    pub(crate) fn is_absent(&self, column: u16) -> bool {
        self.values[usize::from(column)].is_none()
    }

    /// Returns whether the text is the values in the order of the columns, separated by spaces.
    pub(crate) fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// Returns whether the values are those of a JSON object.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.writing.format, Format::Json(_))
    }

    /// Returns the text that the values are cut from.
    pub(crate) fn text(&self) -> RowText<'a> {
        self.text
    }

    /// Returns the message of a format whose values are all in it. If that needs no CSV quoting, no value does.
    pub(crate) fn message(&self) -> &'a [u8] {
        self.text.message.bytes
    }
}
