//! Tables and columns, as the CSV and queries see them.

use serde::{Deserialize, Serialize};

use crate::flow_fields::{FieldKind, FlowKind};

/// Name of every table's first column, which holds the record's own time.
pub const TIMESTAMP: &str = "timestamp";

/// The columns that enrichment appends to a flow log's own columns, in order.
pub const ENRICHED_COLUMNS: [&str; 5] =
    ["interface_description", "subnet_name", "vpc_name", "src_subnet_name", "dst_subnet_name"];

/// A table: `timestamp`, metadata, the columns of its rules' formats, names, and the columns of `[[enrich]]`.
#[derive(Debug)]
pub struct Table {
    /// Lower-case letters, digits and underscores.
    pub name: String,
    /// All columns in the order of the CSV.
    pub columns: Vec<Column>,
    /// The columns after `timestamp`.
    pub metadata: Vec<Metadata>,
    /// Number of columns after the metadata that come from formats.
    pub format_columns: usize,
    /// Whether [`ENRICHED_COLUMNS`] follow them.
    pub enriched: bool,
    /// The kind of flow log that one of its rules reads. Each field of the flow log has a column with its name.
    pub flow_kind: Option<FlowKind>,
    /// The sources of the last columns, in their order.
    pub enrichments: Vec<TableEnrichment>,
}

/// The columns that an entry of `[[enrich]]` adds to a table for one of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEnrichment {
    /// Position of the entry in the configuration.
    pub enrichment: usize,
    /// The column whose values it looks up.
    pub input: InputColumn,
}

/// A column whose values an entry of `[[enrich]]` looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputColumn {
    /// Position among [`Table::format`].
    Format(usize),
    /// Position among [`Table::metadata`].
    Metadata(usize),
}

impl Table {
    /// Returns the columns that come from formats.
    #[must_use]
    pub fn format(&self) -> &[Column] {
        let first = 1 + self.metadata.len();
        &self.columns[first..first + self.format_columns]
    }

    /// Returns the column of this name that `[[enrich]]` can look up.
    pub(crate) fn input(&self, name: &str) -> Option<InputColumn> {
        let metadata = self.metadata.iter().position(|column| column.column() == name);
        let format = || self.format().iter().position(|column| column.name == name);
        metadata.map(InputColumn::Metadata).or_else(|| format().map(InputColumn::Format))
    }

    /// Returns, for each format column of the table, its position in `columns`.
    pub(crate) fn positions_in(&self, columns: &[Column]) -> Vec<Option<usize>> {
        let position =
            |column: &Column| columns.iter().position(|other| other.name.eq_ignore_ascii_case(&column.name));
        self.format().iter().map(position).collect()
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Letters, digits and underscores.
    pub name: String,
    /// The type that queries use.
    pub kind: ColumnType,
}

/// The type of a column in queries. The CSV itself holds text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text.
    #[default]
    String,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    BigInt,
    /// Floating-point number.
    Double,
    /// `true` or `false`.
    Boolean,
    /// ISO-8601.
    Timestamp,
    /// An IPv4 or IPv6 address. Text in SQL; a search cluster finds it by its network.
    Ip,
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

/// A value beside the message that a rule may add as a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metadata {
    /// The AWS account of the envelope.
    Owner,
    /// The log group of the envelope.
    LogGroup,
    /// The log stream of the envelope.
    LogStream,
    /// The id of the event, which is the same in every copy of it.
    EventId,
    /// The key of the object.
    Key,
    /// A field that the subscription filter extracted from the event.
    Extracted(String),
}

const EXTRACTED: &str = "extracted:";

impl TryFrom<String> for Metadata {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(match &*text {
            "owner" => Self::Owner,
            "log_group" => Self::LogGroup,
            "log_stream" => Self::LogStream,
            "event_id" => Self::EventId,
            "key" => Self::Key,
            _ => match text.strip_prefix(EXTRACTED) {
                Some(name) if !name.is_empty() => Self::Extracted(name.to_owned()),
                _ => {
                    return Err(
                        "expected \"owner\", \"log_group\", \"log_stream\", \"event_id\", \"key\" or \
                         \"extracted:NAME\""
                            .to_owned(),
                    );
                }
            },
        })
    }
}

impl From<Metadata> for String {
    fn from(metadata: Metadata) -> Self {
        match metadata {
            Metadata::Extracted(name) => format!("{EXTRACTED}{name}"),
            other => other.column(),
        }
    }
}

impl Metadata {
    /// Returns the column's name.
    #[must_use]
    pub fn column(&self) -> String {
        let name = match self {
            Self::Owner => "owner",
            Self::LogGroup => "log_group",
            Self::LogStream => "log_stream",
            Self::EventId => "event_id",
            Self::Key => "key",
            Self::Extracted(name) => {
                let part = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                return format!("extracted_{}", name.chars().map(part).collect::<String>());
            }
        };
        name.to_owned()
    }
}
