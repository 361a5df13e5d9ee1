//! `kind = "vpc-flow"` and `"tgw-flow"`: a line of fields between single spaces, in the order that the rule or a header line
//! gives.

use std::{borrow::Cow, net::IpAddr};

use super::{
    Cell, Values,
    lost_header::{shown, unknown_fields},
};
use crate::{
    error::{ObjectError, Reason},
    flow_fields::{FieldKind, FlowField, FlowKind, is_field},
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
/// `fields` of a format whose header lines may name any known field.
const ANY: &str = "any";
/// Bytes of the name of a field that this version does not know.
const MAX_UNKNOWN_NAME_BYTES: usize = 64;

/// The order of fields in a line.
#[derive(Clone, Debug)]
pub struct FlowLayout {
    kind: FlowKind,
    /// In the order of the line.
    fields: Vec<LayoutField>,
    kinds: Vec<FieldKind>,
    interface_id: Option<usize>,
    vpc_id: Option<usize>,
    subnet_id: Option<usize>,
    srcaddr: Option<usize>,
    dstaddr: Option<usize>,
    start: Option<usize>,
}

/// A field of a layout: one of AWS's, or one that this version does not know.
#[derive(Clone, Debug)]
struct LayoutField {
    /// AWS's name.
    name: Cow<'static, str>,
    column: Cow<'static, str>,
    kind: FieldKind,
}

impl From<&'static FlowField> for LayoutField {
    fn from(field: &'static FlowField) -> Self {
        Self { name: field.name.into(), column: field.column.into(), kind: field.kind }
    }
}

impl LayoutField {
    /// A field that this version does not know: any text.
    fn unknown(name: &str) -> Self {
        Self { name: name.to_owned().into(), column: name.replace('-', "_").into(), kind: FieldKind::Text }
    }

    fn to_column(&self) -> Column {
        Column { name: self.column.to_string(), kind: ColumnType::from(self.kind) }
    }
}

/// `kind = "vpc-flow"` or `"tgw-flow"`: the layout of lines without a header line, and the columns.
#[derive(Debug)]
pub struct FlowFormat {
    /// The layout of lines without a header line.
    pub layout: FlowLayout,
    /// Whether the table has all known fields, so that any header line fits.
    any: bool,
}

impl FlowFormat {
    /// The default format of AWS.
    #[must_use]
    pub fn new(kind: FlowKind) -> Self {
        Self { layout: FlowLayout::new(kind, default_fields(kind)), any: false }
    }

    /// Parses AWS's format string: `${version} ${account-id} …`, or `any`. With `unknown_as_text`, an unknown name
    /// is a text column. The error has all problems, one line each.
    pub fn parse(kind: FlowKind, text: &str, unknown_as_text: bool) -> Result<Self, Vec<String>> {
        if text == ANY {
            return Ok(Self { any: true, ..Self::new(kind) });
        }
        Ok(Self { layout: FlowLayout::from_format_string(kind, text, unknown_as_text)?, any: false })
    }

    /// Returns the service that writes the lines.
    #[must_use]
    pub fn kind(&self) -> FlowKind {
        self.layout.kind
    }

    /// Returns the columns of the table.
    pub(super) fn columns(&self) -> Vec<Column> {
        if self.any {
            self.kind().fields().iter().map(|field| LayoutField::from(field).to_column()).collect()
        } else {
            self.layout.columns()
        }
    }
}

fn default_fields(kind: FlowKind) -> Vec<LayoutField> {
    kind.default_fields().iter().map(LayoutField::from).collect()
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

impl FlowLayout {
    fn new(kind: FlowKind, fields: Vec<LayoutField>) -> Self {
        // Only VPC flow logs are enriched. Both kinds have a start.
        let position = |name: &str| fields.iter().position(|field| field.name == name);
        let enriched = |name: &str| position(name).filter(|_| kind == FlowKind::Vpc);
        Self {
            kind,
            kinds: fields.iter().map(|field| field.kind).collect(),
            interface_id: enriched("interface-id"),
            vpc_id: enriched("vpc-id"),
            subnet_id: enriched("subnet-id"),
            srcaddr: enriched("srcaddr"),
            dstaddr: enriched("dstaddr"),
            start: position("start"),
            fields,
        }
    }

    fn from_format_string(kind: FlowKind, text: &str, unknown_as_text: bool) -> Result<Self, Vec<String>> {
        let mut fields: Vec<LayoutField> = Vec::new();
        let mut problems = Vec::new();
        let (words, limit) = (text.split_whitespace().count(), MAX_HEADER_WORDS);
        if words > limit {
            return Err(vec![format!(
                "fields: {words} words: the limit is {limit}; name each field at most once"
            )]);
        }
        for word in text.split_whitespace() {
            let Some(name) = word.strip_prefix("${").and_then(|word| word.strip_suffix('}')) else {
                problems.push(format!(
                    "fields: {word:?} is not a field; write ${{name}}, for example ${{srcaddr}}, or fields = {ANY:?} for \
                     files with header lines"
                ));
                continue;
            };
            let field = match kind.field(name) {
                Some(field) => LayoutField::from(field),
                None if kind.other().field(name).is_some() => {
                    let other = kind.other().name();
                    problems
                        .push(format!("fields: {name:?} is a field of kind = {other:?}; correct the kind"));
                    continue;
                }
                None if unknown_as_text && is_name(name) => LayoutField::unknown(name),
                None => {
                    problems.push(format!("fields: unknown field {name:?}{}", suggestion(kind, name)));
                    continue;
                }
            };
            if fields.iter().any(|other| other.name == field.name) {
                problems.push(format!("fields: {name:?} appears twice; remove one of them"));
            } else {
                fields.push(field);
            }
        }
        if fields.is_empty() && problems.is_empty() {
            problems.push("fields is empty; remove it to use AWS's default format".to_owned());
        }
        if problems.is_empty() { Ok(Self::new(kind, fields)) } else { Err(problems) }
    }

    /// Returns a column for each field, in order.
    pub(crate) fn columns(&self) -> Vec<Column> {
        self.fields.iter().map(LayoutField::to_column).collect()
    }

    fn field(&self, name: &str) -> Option<LayoutField> {
        let own = || self.fields.iter().find(|field| field.name == name).cloned();
        self.kind.field(name).map(LayoutField::from).or_else(own)
    }

    /// Returns the layout of a header line; `None` if the line is not a header. `self` is the layout of the rule. Flow logs
    /// delivered to S3 begin each file with the names of its fields, and concatenated files have several such lines. A line
    /// with mostly field names is a header. If it is not valid, the lines after it cannot be read.
    pub(super) fn header(&self, line: &[u8], first: bool) -> Result<Option<Self>, ObjectError> {
        let Ok(line) = std::str::from_utf8(line) else { return Ok(None) };
        let is_known = |name: &str| is_field(name) || self.fields.iter().any(|field| field.name == name);
        // The first two words rule out almost every other line.
        if !first && !line.split_ascii_whitespace().take(2).any(is_known) {
            return Ok(None);
        }
        // Among more words than this with mostly names, one name is repeated, so the line is an error anyway.
        let names: Vec<&str> = line.split_ascii_whitespace().take(MAX_HEADER_WORDS + 1).collect();
        let known = names.iter().filter(|name| is_known(name)).count();
        // A single word may be a value, for example of a tag. It is a name only at the start of the object.
        if known * 2 <= names.len() || (names.len() == 1 && !first) {
            return Ok(None);
        }
        // Header words are the only text of an object that an error quotes.
        let error = |fields: &[&str], why: String| ObjectError::Header { field: shown(fields), why };
        let unknown: Vec<&str> = names.iter().filter(|name| !is_known(name)).copied().collect();
        if !unknown.is_empty() {
            return Err(unknown_fields(&unknown));
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                let why = "twice, so its values are ambiguous; correct the header line";
                return Err(error(&[*name], why.to_owned()));
            }
        }
        let of_other_kind: Vec<&str> =
            names.iter().filter(|name| self.field(name).is_none()).copied().collect();
        if !of_other_kind.is_empty() {
            let (kind, other) = (self.kind.name(), self.kind.other().name());
            let why = format!(
                "which is not a field of kind = {kind:?}; give these objects a rule with kind = {other:?}"
            );
            return Err(error(&of_other_kind, why));
        }
        let fields = names.iter().filter_map(|name| self.field(name)).collect();
        Ok(Some(Self::new(self.kind, fields)))
    }

    /// Returns, for each format column of the table, its position in this line. A field without a column is an error,
    /// because its values would be lost.
    pub(super) fn place_in(&self, table: &Table) -> Result<Vec<Option<usize>>, ObjectError> {
        let columns = table.format();
        let lost: Vec<&str> = self
            .fields
            .iter()
            .filter(|field| !columns.iter().any(|column| column.name == field.column))
            .map(|field| &*field.name)
            .collect();
        if !lost.is_empty() {
            let fields: Vec<String> =
                self.fields.iter().map(|field| format!("${{{}}}", field.name)).collect();
            let (table, fields) = (&table.name, fields.join(" "));
            let why = format!(
                "but table {table} has no column for it; give its rule fields = \"{fields}\", or fields = {ANY:?} for a \
                 column of every known field"
            );
            return Err(ObjectError::Header { field: lost.join(" "), why });
        }
        let position = |column: &Column| self.fields.iter().position(|field| field.column == column.name);
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

/// Returns whether a word has the form of AWS's field names.
fn is_name(word: &str) -> bool {
    word.len() <= MAX_UNKNOWN_NAME_BYTES
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Suggests the most similar field.
fn suggestion(kind: FlowKind, name: &str) -> Cow<'static, str> {
    let similarity = |field: &str| strsim::jaro_winkler(field, &name.replace('_', "-"));
    let nearest =
        kind.fields().iter().map(|field| field.name).max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest {
        Some(nearest) if similarity(nearest) > 0.8 => format!("; did you mean {nearest:?}?").into(),
        _ => "; AWS's user guide lists the fields, for example ${srcaddr}. For a field that is newer than this version, add \
              unknown_fields = \"text\""
            .into(),
    }
}
