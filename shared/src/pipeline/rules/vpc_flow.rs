//! `kind = "vpc-flow"`: a line of fields between single spaces, in the order that the rule or a header line gives.

use std::{borrow::Cow, net::IpAddr};

use super::{
    Cell, Values,
    lost_header::{QUOTED_CHARS, unknown_fields},
};
use crate::{
    error::{ObjectError, Reason},
    flow_fields::{DEFAULT_FIELDS, FLOW_FIELDS, FieldKind, field_index},
    limits::MAX_HEADER_WORDS,
    pipeline::{
        address,
        bytes::{Ends, is_number, number},
    },
    table::{Column, ColumnType, Table},
    timestamp::MAX_MS,
};

/// The latest time in seconds since 1970 that a row can hold.
const MAX_SECONDS: u64 = MAX_MS as u64 / 1000;

/// The order of fields in a line.
#[derive(Clone, Debug)]
pub struct FlowLayout {
    /// Positions in [`FLOW_FIELDS`], in the order of the line.
    fields: Vec<usize>,
    kinds: Vec<FieldKind>,
    interface_id: Option<usize>,
    vpc_id: Option<usize>,
    subnet_id: Option<usize>,
    srcaddr: Option<usize>,
    dstaddr: Option<usize>,
    start: Option<usize>,
}

/// The values of a line that enrichment and the timestamp need.
#[derive(Clone, Debug, Default)]
pub struct FlowValues {
    /// Cells in the line; `None` if the line has no such field or a `-`.
    pub(crate) interface_id: Cell,
    pub(crate) vpc_id: Cell,
    pub(crate) subnet_id: Cell,
    pub(crate) srcaddr: Option<IpAddr>,
    pub(crate) dstaddr: Option<IpAddr>,
    start: Option<u64>,
}

impl FlowValues {
    /// Returns the record's start in milliseconds since 1970, if it has one.
    pub(super) fn start_ms(&self) -> Option<i64> {
        // A parsed line has no time after MAX_MS.
        self.start.and_then(|seconds| i64::try_from(seconds * 1000).ok())
    }
}

impl Default for FlowLayout {
    /// Version 2, the default format of AWS.
    fn default() -> Self {
        Self::new((0..DEFAULT_FIELDS).collect())
    }
}

impl FlowLayout {
    fn new(fields: Vec<usize>) -> Self {
        let position = |name: &str| fields.iter().position(|field| FLOW_FIELDS[*field].name == name);
        Self {
            kinds: fields.iter().map(|field| FLOW_FIELDS[*field].kind).collect(),
            interface_id: position("interface-id"),
            vpc_id: position("vpc-id"),
            subnet_id: position("subnet-id"),
            srcaddr: position("srcaddr"),
            dstaddr: position("dstaddr"),
            start: position("start"),
            fields,
        }
    }

    /// Parses AWS's format string: `${version} ${account-id} …`. The error has all problems, one line each.
    pub fn from_format_string(text: &str) -> Result<Self, Vec<String>> {
        let mut fields = Vec::new();
        let mut problems = Vec::new();
        let (words, limit) = (text.split_whitespace().count(), FLOW_FIELDS.len());
        if words > limit {
            return Err(vec![format!(
                "fields: {words} words: there are only {limit} fields; name each at most once"
            )]);
        }
        for word in text.split_whitespace() {
            let Some(name) = word.strip_prefix("${").and_then(|word| word.strip_suffix('}')) else {
                problems.push(format!(
                    "fields: {word:?} is not a field; write ${{name}}, for example ${{srcaddr}}"
                ));
                continue;
            };
            match field_index(name) {
                None => problems.push(format!("fields: unknown field {name:?}{}", suggestion(name))),
                Some(field) if fields.contains(&field) => {
                    problems.push(format!("fields: {name:?} appears twice; remove one of them"));
                }
                Some(field) => fields.push(field),
            }
        }
        if fields.is_empty() && problems.is_empty() {
            problems.push("fields is empty; remove it to use the fields of version 2".to_owned());
        }
        if problems.is_empty() { Ok(Self::new(fields)) } else { Err(problems) }
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let column = |field: &usize| {
            let field = &FLOW_FIELDS[*field];
            Column { name: field.column.to_owned(), kind: ColumnType::from(field.kind) }
        };
        self.fields.iter().map(column).collect()
    }

    /// Returns the layout of a header line; `None` if the line is not a header. Flow logs delivered to S3 begin each file
    /// with the names of its fields, and concatenated files have several such lines. A line with mostly field names is a
    /// header. If it is not valid, the lines after it cannot be read.
    pub(super) fn header(line: &[u8], first: bool) -> Result<Option<Self>, ObjectError> {
        let Ok(line) = std::str::from_utf8(line) else { return Ok(None) };
        // The first two words rule out almost every other line.
        if !first && !line.split_ascii_whitespace().take(2).any(|word| field_index(word).is_some()) {
            return Ok(None);
        }
        // Among more words than this with mostly names, one name is repeated, so the line is an error anyway.
        let names: Vec<&str> = line.split_ascii_whitespace().take(MAX_HEADER_WORDS + 1).collect();
        let known: Vec<usize> = names.iter().filter_map(|name| field_index(name)).collect();
        // A single word may be a value, for example of a tag. It is a name only at the start of the object.
        if known.len() * 2 <= names.len() || (names.len() == 1 && !first) {
            return Ok(None);
        }
        // Header words are the only text of an object that an error quotes.
        let quoted = |field: &str| field.chars().take(QUOTED_CHARS).collect();
        let error =
            |field: &str, why: &str| ObjectError::Header { field: quoted(field), why: why.to_owned() };
        let unknown: Vec<&str> = names.iter().filter(|name| field_index(name).is_none()).copied().collect();
        if !unknown.is_empty() {
            return Err(unknown_fields(&unknown));
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(error(name, "twice, so its values are ambiguous; correct the header line"));
            }
        }
        Ok(Some(Self::new(known)))
    }

    /// Returns, for each format column of the table, its position in this line. A field without a column is an error,
    /// because its values would be lost.
    pub(super) fn place_in(&self, table: &Table) -> Result<Vec<Option<usize>>, ObjectError> {
        let columns = table.format();
        let names = || self.fields.iter().map(|field| &FLOW_FIELDS[*field]);
        let lost: Vec<&str> = names()
            .filter(|field| !columns.iter().any(|column| column.name == field.column))
            .map(|field| field.name)
            .collect();
        if !lost.is_empty() {
            let fields: Vec<String> = names().map(|field| format!("${{{}}}", field.name)).collect();
            let (table, fields) = (&table.name, fields.join(" "));
            let why = format!("but table {table} has no column for it; give its rule fields = \"{fields}\"");
            return Err(ObjectError::Header { field: lost.join(" "), why });
        }
        let position =
            |column: &Column| self.fields.iter().position(|field| FLOW_FIELDS[*field].column == column.name);
        Ok(columns.iter().map(position).collect())
    }

    /// Returns whether every field takes any text, so that a header line in another form could be a row.
    pub(super) fn accepts_any_text(&self) -> bool {
        self.kinds.iter().all(|kind| matches!(kind, FieldKind::Text | FieldKind::Tag))
    }

    /// Returns whether these cells are all fields in the order of the line.
    pub(super) fn is_in_order(&self, cells: &[Option<usize>]) -> bool {
        cells.len() == self.fields.len() && cells.iter().enumerate().all(|(at, cell)| *cell == Some(at))
    }

    /// Parses a line. A value that is not of its field's type shows that the line has another format, because two formats
    /// can have the same number of fields.
    pub(super) fn parse(
        &self,
        line: &[u8],
        values: &mut Values,
        flow: &mut FlowValues,
    ) -> Result<(), Reason> {
        self.cut(line, values, flow).map_err(|reason| {
            // A wrong number of fields is a clearer reason than the first field that does not fit.
            let fields = memchr::memchr_iter(b' ', line).count() + 1;
            if fields == self.kinds.len() { reason } else { Reason::FieldCount }
        })
    }

    fn cut(&self, line: &[u8], values: &mut Values, flow: &mut FlowValues) -> Result<(), Reason> {
        let cells = &mut values.cells;
        cells.clear();
        cells.resize(self.kinds.len(), None);
        *flow = FlowValues::default();
        let mut ends = Ends::new(line, b' ');
        let mut start = 0;
        for (at, (kind, cell)) in self.kinds.iter().zip(&mut *cells).enumerate() {
            let end = ends.next();
            if start >= end {
                return Err(Reason::FieldCount);
            }
            if end - start > 1 || line[start] != b'-' {
                *cell = Some((start as u32, end as u32));
                if *kind == FieldKind::Address {
                    let address = address::parse(&line[start..end]).ok_or(Reason::FieldType)?;
                    if self.srcaddr == Some(at) {
                        flow.srcaddr = Some(address);
                    } else if self.dstaddr == Some(at) {
                        flow.dstaddr = Some(address);
                    }
                } else if *kind == FieldKind::Seconds {
                    if !is_number(line, start, end, MAX_SECONDS) {
                        let is_number = is_number(line, start, end, i64::MAX as u64);
                        return Err(if is_number { Reason::BadTimestamp } else { Reason::FieldType });
                    }
                } else if matches!(kind, FieldKind::Int | FieldKind::BigInt) {
                    let limit = if *kind == FieldKind::Int { i32::MAX as u64 } else { i64::MAX as u64 };
                    if !is_number(line, start, end, limit) {
                        return Err(Reason::FieldType);
                    }
                }
            }
            start = end + 1;
        }
        if start <= line.len() {
            return Err(Reason::FieldCount);
        }
        let cell = |at: Option<usize>| at.and_then(|at| cells[at]);
        flow.interface_id = cell(self.interface_id);
        flow.vpc_id = cell(self.vpc_id);
        flow.subnet_id = cell(self.subnet_id);
        flow.start = cell(self.start).and_then(|(start, end)| number(line, start as usize, end as usize));
        Ok(())
    }
}

/// Suggests the most similar field.
fn suggestion(name: &str) -> Cow<'static, str> {
    let likeness = |field: &str| strsim::jaro_winkler(field, &name.replace('_', "-"));
    let nearest =
        FLOW_FIELDS.iter().map(|field| field.name).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(nearest) if likeness(nearest) > 0.8 => format!("; did you mean {nearest:?}?").into(),
        _ => "; AWS's user guide lists the fields, for example ${srcaddr}".into(),
    }
}
