//! Tables and their columns: what the rules that feed a table add up to.

use serde::{Deserialize, Serialize};

use super::{Metadata, quoted};
use crate::{
    flow_fields::{FLOW_FIELDS, FieldKind},
    limits::MAX_COLUMNS,
    pipeline::rules::Format,
};

/// The columns that lookups add behind a flow log's own, in order.
pub const ENRICHED_COLUMNS: [&str; 5] =
    ["interface_description", "subnet_name", "vpc_name", "src_subnet_name", "dst_subnet_name"];

const TIMESTAMP: &str = "timestamp";

/// How a query should see a column. The CSV itself holds text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text.
    #[default]
    String,
    /// 32-bit whole number.
    Int,
    /// 64-bit whole number.
    BigInt,
    /// Floating point.
    Double,
    /// `true` or `false`.
    Boolean,
    /// ISO-8601.
    Timestamp,
}

impl From<FieldKind> for ColumnType {
    fn from(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Int => Self::Int,
            FieldKind::BigInt | FieldKind::Seconds => Self::BigInt,
            FieldKind::Address | FieldKind::Text | FieldKind::Tag => Self::String,
        }
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Letters, digits and underscores.
    pub name: String,
    /// How a query should see it.
    pub kind: ColumnType,
}

/// A table: `timestamp`, metadata, the columns of its rules' formats, and what lookups add.
#[derive(Debug)]
pub struct Table {
    /// Lower-case letters, digits and underscores.
    pub name: String,
    /// All columns in the order of the CSV.
    pub columns: Vec<Column>,
    /// The columns behind `timestamp`.
    pub metadata: Vec<Metadata>,
    /// How many columns behind the metadata come from formats.
    pub format_columns: usize,
    /// Whether [`ENRICHED_COLUMNS`] stand at the end.
    pub enriched: bool,
}

impl Table {
    /// The columns that come from formats.
    #[must_use]
    pub fn format(&self) -> &[Column] {
        let first = 1 + self.metadata.len();
        &self.columns[first..first + self.format_columns]
    }

    /// For each format column of the table, the position of its name among `names`.
    pub(super) fn place(&self, names: &[Column]) -> Vec<Option<usize>> {
        let position =
            |column: &Column| names.iter().position(|other| other.name.eq_ignore_ascii_case(&column.name));
        self.format().iter().map(position).collect()
    }
}

/// A name that Athena, Glue and DuckDB take without trouble; Glue folds case.
pub(super) fn check_table_name(name: &str, wrong: &mut impl FnMut(String)) {
    let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && starts_well(name);
    if !fits {
        wrong(format!(
            "table = {}: use up to 128 lower-case letters, digits and underscores, not beginning with a digit; an example: \"vpc_flow\"",
            quoted(name)
        ));
    }
}

fn starts_well(name: &str) -> bool {
    name.starts_with(|first: char| !first.is_ascii_digit()) && name.len() <= 128
}

/// The columns of one rule by themselves: names that fit and differ.
pub(super) fn check(metadata: &[Metadata], format: &Format, wrong: &mut impl FnMut(String)) {
    let columns = format.columns().len();
    if columns > MAX_COLUMNS {
        wrong(format!("has {columns} columns; at most {MAX_COLUMNS}: leave out what nobody asks for"));
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || !starts_well(name) {
            wrong(format!(
                "column {}: use up to 128 letters, digits and underscores, not beginning with a digit; an example: \"client_ip\"",
                quoted(name)
            ));
        }
        // Athena and Hive fold case: two names that differ only in case are one.
        let folded = name.to_ascii_lowercase();
        if folded == TIMESTAMP {
            wrong(format!(
                "column {name:?}: the record's own timestamp has that name; an example: \"event_time\""
            ));
        } else if seen.contains(&folded) {
            wrong(format!("column {name:?} stands twice; the names of a table's columns must differ"));
        }
        seen.push(folded);
    };
    metadata.iter().for_each(|column| add(column.column()));
    format.columns().iter().for_each(|column| add(&column.name));
    if format.is_flow() {
        ENRICHED_COLUMNS.iter().for_each(|column| add(column));
    }
}

struct Fed<'a> {
    name: &'a str,
    rules: usize,
    metadata: Vec<Metadata>,
    format: Vec<Column>,
    enriched: bool,
}

/// The tables that these rules feed, in order of first appearance; each rule as its table, metadata and format.
pub(super) fn tables<'a>(
    rules: impl Iterator<Item = (&'a str, &'a [Metadata], &'a Format)>,
) -> Result<Vec<Table>, Vec<String>> {
    let mut problems = Vec::new();
    let mut tables: Vec<Fed<'_>> = Vec::new();
    for (name, metadata, format) in rules {
        let at = tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
            tables.push(Fed { name, rules: 0, metadata: Vec::new(), format: Vec::new(), enriched: false });
            tables.len() - 1
        });
        let table = &mut tables[at];
        table.rules += 1;
        table.enriched |= format.is_flow();
        for column in metadata {
            if !table.metadata.contains(column) {
                table.metadata.push(*column);
            }
        }
        for column in format.columns() {
            // What is too many is not compared with each other any more.
            if table.format.len() > MAX_COLUMNS {
                break;
            }
            match table.format.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) {
                None => table.format.push(column),
                Some(other) if other.kind == column.kind => {}
                Some(other) => problems.push(format!(
                    "table {name:?}: its rules give column {:?} the types {} and {}; they must agree",
                    other.name,
                    type_name(other.kind),
                    type_name(column.kind)
                )),
            }
        }
    }
    for table in &mut tables {
        if table.format.len() > MAX_COLUMNS {
            problems.push(format!(
                "table {:?}: its rules have more than {MAX_COLUMNS} columns together; give some of them another table",
                table.name
            ));
            continue;
        }
        if table.rules > 1 && table.enriched {
            // Stable: columns that are no flow-log fields keep the order of first appearance, behind those that are.
            table.format.sort_by_key(|column| {
                FLOW_FIELDS.iter().position(|field| field.column == column.name).unwrap_or(usize::MAX)
            });
        }
        let metadata = table.metadata.iter().map(|column| column.column());
        for name in metadata.chain(ENRICHED_COLUMNS.into_iter().filter(|_| table.enriched)) {
            if table.format.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
                problems
                    .push(format!("table {:?}: two of its rules' columns are named {name:?}", table.name));
            }
        }
    }
    if problems.is_empty() { Ok(tables.into_iter().map(Fed::into_table).collect()) } else { Err(problems) }
}

fn type_name(kind: ColumnType) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}

impl Fed<'_> {
    fn into_table(self) -> Table {
        let text = |name: &str| Column { name: name.to_owned(), kind: ColumnType::String };
        let mut columns = vec![Column { name: TIMESTAMP.to_owned(), kind: ColumnType::Timestamp }];
        columns.extend(self.metadata.iter().map(|column| text(column.column())));
        let format_columns = self.format.len();
        columns.extend(self.format);
        columns.extend(ENRICHED_COLUMNS.iter().filter(|_| self.enriched).map(|name| text(name)));
        Table {
            name: self.name.to_owned(),
            columns,
            metadata: self.metadata,
            format_columns,
            enriched: self.enriched,
        }
    }
}
