//! An entry of `[[enrich]]` as it is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::choice::Choice;
use crate::table::ColumnType;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EnrichFile {
    pub(super) file: Option<String>,
    pub(super) source: Option<Choice<SourceWord>>,
    pub(super) key: Option<String>,
    #[serde(rename = "match")]
    pub(super) matches: Option<Choice<MatchWord>>,
    pub(super) on: Vec<String>,
    pub(super) columns: Columns,
    pub(super) column: Option<String>,
    pub(super) tables: Option<Vec<String>>,
}

/// A source that is not a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceWord {
    Names,
}

/// How a key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MatchWord {
    Cidr,
    Address,
    Value,
}

/// The added columns, in the order of the file.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Columns(pub(super) Vec<(String, ColumnFile)>);

/// Where the value of a column is, and its type.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnFile {
    pub(super) path: Option<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: Choice<ColumnType>,
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of columns, such as { country = \"country.iso_code\" }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some((name, PathOrTable(column))) = members.next_entry()? {
                    columns.push((name, column));
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A path, or a table with a path and a type.
struct PathOrTable(ColumnFile);

impl<'de> Deserialize<'de> for PathOrTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PathOrTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a path, or a table such as { path = \"autonomous_system_number\", type = \"bigint\" }",
                )
            }

            fn visit_str<E>(self, path: &str) -> Result<PathOrTable, E> {
                Ok(PathOrTable(ColumnFile { path: Some(path.to_owned()), kind: Choice::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<PathOrTable, A::Error> {
                Ok(PathOrTable(ColumnFile::deserialize(MapAccessDeserializer::new(members))?))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
