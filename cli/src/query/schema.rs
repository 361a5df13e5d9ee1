//! Definitions of tables over the results, and of views with types, for Athena, Glue and DuckDB. The configuration decides
//! their columns.
//!
//! `<table>_text` reads the CSV of a table, with all columns as text, because `OpenCSVSerDe` reads other types incorrectly
//! (<https://docs.aws.amazon.com/athena/latest/ug/csv-serde.html>). The view `<table>` adds the types and turns absent values
//! into null. If the keys have Firehose's hours, `<table>` reads them as partitions, and `<table>_everywhere` reads all files.

mod athena;
mod duckdb;
mod ledger;
mod typed;

use std::collections::BTreeMap;

use flowherd_shared::{config::Config, table::Table};
use serde::Serialize;

pub use athena::statements as athena;
pub use duckdb::statements as duckdb;
pub use typed::{Dialect, TypedColumn, flow_columns, rows, typed_columns};

/// Hive's CSV reader.
const CSV_SERDE: &str = "org.apache.hadoop.hive.serde2.OpenCSVSerde";
/// A character that the CSV never has. The default, a backslash, would be removed from values.
const ESCAPE: &str = "\u{1}";
/// The reader of JSON lines.
const JSON_SERDE: &str = "org.openx.data.jsonserde.JsonSerDe";

/// The partition column: Firehose's `yyyy/MM/dd/HH` in UTC, the time of arrival.
pub const DATEHOUR: &str = "datehour";

/// The objects that have their hour in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The part of the keys before `yyyy/MM/dd/HH/`, one for each Firehose stream. Empty: no partitions.
    pub firehose: Vec<String>,
    /// The first day of the partitions, `yyyy/MM/dd`.
    pub since: String,
}

/// A column of a stored table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredColumn {
    /// Lower case.
    pub name: String,
    /// Hive's name of the type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl StoredColumn {
    fn new(name: &str, kind: &str) -> Self {
        Self { name: name.to_ascii_lowercase(), kind: kind.to_owned() }
    }
}

/// A table over files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredTable {
    /// Its name.
    pub name: String,
    /// Its contents.
    pub description: String,
    /// Folder of its files in the results.
    pub location: String,
    /// Folder of the files of one partition in the results.
    pub location_template: Option<String>,
    /// In order.
    pub columns: Vec<StoredColumn>,
    /// Columns whose values come from the folder.
    pub partitions: Vec<StoredColumn>,
    /// The class of its reader.
    pub serde: &'static str,
    /// The reader's parameters.
    pub serde_parameters: BTreeMap<&'static str, &'static str>,
    /// Other table properties of Hive and Athena.
    pub parameters: BTreeMap<String, String>,
}

/// A view with types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its contents.
    pub description: String,
    /// In order.
    pub columns: Vec<ViewColumn>,
    /// Its statement in Athena's dialect, which is Trino's.
    pub sql: String,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// Hive's name of the type, for Glue.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Trino's name of the type.
    pub trino_type: &'static str,
}

/// All tables and views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Tables over files.
    pub tables: Vec<StoredTable>,
    /// Views on them.
    pub views: Vec<View>,
}

impl Schema {
    /// Creates the definitions for a configuration. The error has all problems: equal names, and invalid prefixes.
    pub fn new(config: &Config, layout: &Layout) -> Result<Self, Vec<String>> {
        let mut problems: Vec<String> =
            layout.firehose.iter().filter_map(|prefix| prefix_problem(prefix)).collect();
        for (at, prefix) in layout.firehose.iter().enumerate() {
            if layout.firehose[..at].contains(prefix) {
                problems.push(format!(
                    "prefix {prefix:?} is given twice, so its rows would count twice; remove one of them"
                ));
            }
        }
        let mut schema = Self { tables: Vec::new(), views: Vec::new() };
        for table in &config.tables {
            schema.add_rows(table, layout);
        }
        ledger::add(&mut schema, layout);
        let mut names: Vec<&str> = schema.tables.iter().map(|table| &*table.name).collect();
        names.extend(schema.views.iter().map(|view| &*view.name));
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            problems.push(format!(
                "two tables or views would have the name {:?}; rename the table of that rule",
                pair[0]
            ));
        }
        if problems.is_empty() { Ok(schema) } else { Err(problems) }
    }

    fn add_rows(&mut self, table: &Table, layout: &Layout) {
        let base = StoredTable {
            name: table.name.clone(),
            description: "Rows as text; the CSV of every object".to_owned(),
            location: format!("csv/{}/", table.name),
            location_template: None,
            columns: table.columns.iter().map(|column| StoredColumn::new(&column.name, "string")).collect(),
            partitions: Vec::new(),
            serde: CSV_SERDE,
            serde_parameters: [("separatorChar", ","), ("quoteChar", "\""), ("escapeChar", ESCAPE)].into(),
            // Each file has one header line.
            parameters: parameters(&[("classification", "csv"), ("skip.header.line.count", "1")]),
        };
        let columns = typed_columns(&table.columns, table.enriched, Dialect::Trino);
        self.add(&base, "text", layout, &columns, "Rows with types; absent is null");
    }

    /// Adds the stored tables of one type of file and their views: with hourly partitions if there are any, and for all files.
    fn add(
        &mut self,
        base: &StoredTable,
        ending: &str,
        layout: &Layout,
        columns: &[TypedColumn],
        description: &str,
    ) {
        let all = if layout.firehose.is_empty() {
            base.name.clone()
        } else {
            let by_hour: Vec<StoredTable> = (1..)
                .zip(&layout.firehose)
                .map(|(number, prefix)| by_hour(base, ending, layout, number, prefix))
                .collect();
            let names: Vec<&str> = by_hour.iter().map(|table| &*table.name).collect();
            self.views.push(view(&base.name, description, columns, &names, true));
            self.tables.extend(by_hour);
            format!("{}_everywhere", base.name)
        };
        let stored = format!("{all}_{ending}");
        self.views.push(view(&all, description, columns, &[&stored], false));
        self.tables.push(StoredTable { name: stored, ..base.clone() });
    }
}

/// Returns the problem of a prefix that cannot be part of a location.
fn prefix_problem(prefix: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !br#"'"\{}$*?"#.contains(&byte);
    (!prefix.bytes().all(fits) || prefix.starts_with('/') || prefix.len() > 900).then(|| {
        format!(
            "prefix {prefix:?}: use the part of the keys before yyyy/MM/dd/HH/, in visible ASCII without quotes, \
             braces, $, * and ?; an example: firehose/"
        )
    })
}

/// Returns the table with its hours as projected partitions, which are computed and never registered
/// (<https://docs.aws.amazon.com/athena/latest/ug/partition-projection-kinesis-firehose-example.html>).
fn by_hour(base: &StoredTable, ending: &str, layout: &Layout, number: usize, prefix: &str) -> StoredTable {
    let numbered = if number == 1 { String::new() } else { format!("_{number}") };
    let mut table = StoredTable {
        name: format!("{}_{ending}{numbered}", base.name),
        description: format!("{}, by hours below {prefix}", base.description),
        location: format!("{}{prefix}", base.location),
        location_template: Some(format!("{}{prefix}${{{DATEHOUR}}}/", base.location)),
        partitions: vec![StoredColumn::new(DATEHOUR, "string")],
        ..base.clone()
    };
    table.parameters.extend(parameters(&[
        ("projection.enabled", "true"),
        ("projection.datehour.type", "date"),
        ("projection.datehour.format", "yyyy/MM/dd/HH"),
        ("projection.datehour.range", &format!("{}/00,NOW", layout.since)),
        ("projection.datehour.interval", "1"),
        ("projection.datehour.interval.unit", "HOURS"),
    ]));
    // A location is a folder, even if the prefix ends within a name.
    let folder = table.location.rfind('/').map_or(0, |at| at + 1);
    table.location.truncate(folder);
    table
}

fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn view(name: &str, description: &str, columns: &[TypedColumn], tables: &[&str], has_hours: bool) -> View {
    let mut columns = columns.to_vec();
    if has_hours {
        columns.push(TypedColumn::unchanged(DATEHOUR));
    }
    let selects: Vec<String> = tables.iter().map(|table| rows(&columns, &format!("\"{table}\""))).collect();
    let columns = columns.iter().map(|column| ViewColumn {
        name: column.name.clone(),
        kind: typed::hive_type(column.kind),
        trino_type: typed::trino_type(column.kind),
    });
    View {
        name: name.to_owned(),
        description: description.to_owned(),
        columns: columns.collect(),
        sql: selects.join("\nUNION ALL\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(prefixes: &[&str]) -> Layout {
        Layout {
            firehose: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            since: "2026/01/01".into(),
        }
    }

    fn names(schema: &Schema) -> (Vec<&str>, Vec<&str>) {
        let tables = schema.tables.iter().map(|table| &*table.name).collect();
        (tables, schema.views.iter().map(|view| &*view.name).collect())
    }

    #[test]
    fn without_hours_there_is_one_table_and_one_view_of_each() {
        let schema = Schema::new(&Config::default(), &Layout::default()).unwrap();
        let (tables, views) = names(&schema);
        assert_eq!(views, ["vpc_flow", "ledger_rejects"]);
        assert_eq!(
            tables,
            ["vpc_flow_text", "ledger_rejects_json", "ledger_manifest", "ledger_receipts", "ledger_failures"]
        );
        assert_eq!(schema.tables[0].location, "csv/vpc_flow/");
        assert!(schema.tables[0].partitions.is_empty() && schema.tables[0].location_template.is_none());
    }

    #[test]
    fn with_hours_there_are_partitions_and_a_table_of_all_files() {
        let schema = Schema::new(&Config::default(), &layout(&["firehose/", "eu-logs-"])).unwrap();
        let (tables, views) = names(&schema);
        assert_eq!(tables[..3], ["vpc_flow_text", "vpc_flow_text_2", "vpc_flow_everywhere_text"]);
        assert_eq!(views[..2], ["vpc_flow", "vpc_flow_everywhere"]);
        let table = &schema.tables[1];
        assert_eq!(table.location, "csv/vpc_flow/");
        assert_eq!(table.location_template.as_deref(), Some("csv/vpc_flow/eu-logs-${datehour}/"));
        assert_eq!(table.parameters["projection.datehour.range"], "2026/01/01/00,NOW");
        assert!(schema.views[0].sql.contains("FROM \"vpc_flow_text\"\nUNION ALL\nSELECT"));
        assert_eq!(schema.views[0].columns.last().unwrap().name, DATEHOUR);
    }

    #[test]
    fn equal_names_and_invalid_prefixes_are_refused() {
        let config = Config::parse(
            "[[rule]]\nname = \"a\"\ntable = \"ledger_rejects\"\nformat = { kind = \"regex\", pattern = '(?P<end>.*)' }",
        )
        .unwrap();
        let problems = Schema::new(&config, &Layout::default()).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("ledger_rejects"));
        for prefix in ["/a", "it's", "a b", "a!{timestamp:yyyy}", "$x", "é"] {
            assert!(Schema::new(&Config::default(), &layout(&[prefix])).is_err(), "{prefix}");
        }
        assert!(Schema::new(&Config::default(), &layout(&[""])).is_ok());
        let twice = Schema::new(&Config::default(), &layout(&["a/", "b/", "a/"])).unwrap_err();
        assert_eq!(
            twice,
            ["prefix \"a/\" is given twice, so its rows would count twice; remove one of them"]
        );
    }
}
