//! An entry of `[[enrich]]`, checked.

use crate::table::ColumnType;

/// An entry of `[[enrich]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrichment {
    /// The source of the values.
    pub source: EnrichmentSource,
    /// The columns whose values it looks up.
    pub on: Vec<String>,
    /// The columns that it adds for each column of `on`.
    pub columns: Vec<EnrichmentColumn>,
    /// The only tables that get the columns; `None` for all tables.
    pub tables: Option<Vec<String>>,
}

impl Enrichment {
    /// Returns whether the table may get the columns.
    pub(crate) fn is_for(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.iter().any(|name| name == table))
    }
}

/// The source of an entry's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrichmentSource {
    /// A MaxMind DB.
    MaxMind {
        /// Path or URL, as in the configuration.
        file: String,
    },
    /// A CSV with a header line.
    Table {
        /// Path or URL, as in the configuration.
        file: String,
        /// The column that is compared.
        key: String,
        /// How it is compared.
        matching: Matching,
    },
    /// A list of values, one a line.
    List {
        /// Path or URL, as in the configuration.
        file: String,
        /// How they are compared.
        matching: Matching,
    },
    /// The `ip-ranges.json` of AWS.
    AwsRanges {
        /// Path or URL, as in the configuration.
        file: String,
    },
    /// The names of the run.
    Names,
}

impl EnrichmentSource {
    /// Returns the file, if it has one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::MaxMind { file }
            | Self::Table { file, .. }
            | Self::List { file, .. }
            | Self::AwsRanges { file } => Some(file),
            Self::Names => None,
        }
    }
}

/// How a value is compared with the keys of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The longest CIDR block that contains the address.
    Cidr,
    /// The same address, in any spelling.
    Address,
    /// The same text.
    Value,
}

/// A column that an entry adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichmentColumn {
    /// The end of its name, after the column of `on` and `_`.
    pub name: String,
    /// Where the value is: the path in a record of a MaxMind DB, or a column of the file.
    pub path: String,
    /// Its type.
    pub kind: ColumnType,
}

/// The paths of [`NameColumn`].
pub(crate) const NAME_COLUMNS: [&str; 2] = ["subnet_name", "vpc_name"];

/// A name that `source = "names"` gives an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameColumn {
    /// Of its subnet.
    Subnet,
    /// Of its VPC.
    Vpc,
}

impl NameColumn {
    fn of(path: &str) -> Option<Self> {
        let [subnet, vpc] = NAME_COLUMNS;
        let columns = [(subnet, Self::Subnet), (vpc, Self::Vpc)];
        columns.into_iter().find(|(name, _)| *name == path).map(|(_, column)| column)
    }
}

/// Returns the names that an entry with `source = "names"` adds.
pub(super) fn name_columns(enrichment: &Enrichment) -> Vec<NameColumn> {
    enrichment.columns.iter().filter_map(|column| NameColumn::of(&column.path)).collect()
}
