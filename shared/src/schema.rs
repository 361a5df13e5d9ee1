//! How queries see the tables: definitions for Athena, Glue and DuckDB, all from the configuration.
//!
//! Of each table there are two: `<table>_text`, over the files, in which everything is text, because `OpenCSVSerDe` reads
//! nothing else rightly
//! (<https://docs.aws.amazon.com/athena/latest/ug/csv-serde.html>); and `<table>`, a view on it with types, in which absent
//! is null.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use crate::config::{Column, ColumnType, Table};

/// Hive's reader of CSV.
const SERDE: &str = "org.apache.hadoop.hive.serde2.OpenCSVSerde";
/// A character that no log holds: the default, a backslash, would be taken out of values.
const ESCAPE: &str = "\\u0001";

/// A table over the files, for Glue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextTable {
    /// Its name.
    pub name: String,
    /// Where its files are, within the results.
    pub prefix: String,
    /// The names of its columns, in order.
    pub columns: Vec<String>,
    /// The class that reads it.
    pub serde: &'static str,
    /// How it reads.
    pub serde_parameters: BTreeMap<&'static str, &'static str>,
}

/// The table over the files.
#[must_use]
pub fn text_table(table: &Table) -> TextTable {
    TextTable {
        name: format!("{}_text", table.name),
        prefix: format!("csv/{}/", table.name),
        columns: table.columns.iter().map(|column| column.name.to_lowercase()).collect(),
        serde: SERDE,
        serde_parameters: [("separatorChar", ","), ("quoteChar", "\""), ("escapeChar", "\u{1}")].into(),
    }
}

/// The statements that make table and view in Athena. `results` is where the results are, as `s3://bucket`.
#[must_use]
pub fn athena(table: &Table, results: &str) -> [String; 2] {
    let text = text_table(table);
    let columns: Vec<String> = text.columns.iter().map(|name| format!("  `{name}` string")).collect();
    let external = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS `{}` (\n{}\n)\nROW FORMAT SERDE '{SERDE}'\nWITH SERDEPROPERTIES (\
         'separatorChar' = ',', 'quoteChar' = '\"', 'escapeChar' = '{ESCAPE}')\nSTORED AS TEXTFILE\n\
         LOCATION '{}/{}'\nTBLPROPERTIES ('skip.header.line.count' = '1')",
        text.name,
        columns.join(",\n"),
        results.trim_end_matches('/'),
        text.prefix
    );
    [external, view(table, &format!("\"{}\"", text.name), Dialect::Athena)]
}

/// The statement that makes the view in DuckDB, straight over the files below a directory.
#[must_use]
pub fn duckdb(table: &Table, results: &str) -> String {
    let files =
        format!("{}/csv/{}/**/*.csv.gz", results.trim_end_matches('/'), table.name).replace('\'', "''");
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("'{}': 'VARCHAR'", column.name.to_lowercase())).collect();
    let from = format!(
        "read_csv('{files}', header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', \
         columns = {{{}}})",
        columns.join(", ")
    );
    view(table, &from, Dialect::DuckDb)
}

#[derive(Clone, Copy)]
enum Dialect {
    Athena,
    DuckDb,
}

fn view(table: &Table, from: &str, dialect: Dialect) -> String {
    let mut sql = format!("CREATE OR REPLACE VIEW \"{}\" AS SELECT", table.name);
    for (number, column) in table.columns.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(sql, "{comma}\n  {} AS \"{}\"", typed(column, dialect), column.name.to_lowercase());
    }
    sql + "\nFROM " + from
}

/// A value with its type; null where it is absent or does not fit.
fn typed(column: &Column, dialect: Dialect) -> String {
    let value = format!("NULLIF(\"{}\", '-')", column.name.to_lowercase());
    let kind = match column.kind {
        ColumnType::String => return value,
        ColumnType::Timestamp => {
            return match dialect {
                Dialect::Athena => format!("TRY(from_iso8601_timestamp({value}))"),
                Dialect::DuckDb => format!("TRY_CAST({value} AS TIMESTAMP)"),
            };
        }
        ColumnType::Int => "INTEGER",
        ColumnType::BigInt => "BIGINT",
        ColumnType::Double => "DOUBLE",
        ColumnType::Boolean => "BOOLEAN",
    };
    format!("TRY_CAST({value} AS {kind})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_table_is_text_and_its_view_has_types() {
        let config = Config::default();
        let [table, view] = athena(&config.tables[0], "s3://r/");
        assert!(
            table.starts_with(
                "CREATE EXTERNAL TABLE IF NOT EXISTS `vpc_flow_text` (\n  `timestamp` string,\n"
            )
        );
        assert!(
            table.contains("LOCATION 's3://r/csv/vpc_flow/'\n") && table.contains(r"'escapeChar' = '\u0001'")
        );
        assert!(view.contains("TRY(from_iso8601_timestamp(NULLIF(\"timestamp\", '-'))) AS \"timestamp\",\n"));
        assert!(view.contains("TRY_CAST(NULLIF(\"bytes\", '-') AS BIGINT) AS \"bytes\",\n"));
        assert!(
            view.ends_with("NULLIF(\"dst_subnet_name\", '-') AS \"dst_subnet_name\"\nFROM \"vpc_flow_text\"")
        );
        assert!(duckdb(&config.tables[0], "it's").contains("read_csv('it''s/csv/vpc_flow/**/*.csv.gz'"));
        let glue = serde_json::to_value(text_table(&config.tables[0])).unwrap();
        assert_eq!(
            (&glue["prefix"], &glue["serde_parameters"]["escapeChar"]),
            (&"csv/vpc_flow/".into(), &"\u{1}".into())
        );
    }
}
