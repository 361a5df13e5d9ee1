//! Statements for DuckDB: the same views, directly over the files below a directory.

use flowherd_shared::{config::Config, table::Table};

use super::{
    Dialect, TypedColumn, ledger, rows,
    typed::{self, typed_columns},
};

/// Text that no value of the CSV has, because no value is null before the view's expressions.
const NO_NULL: &str = "e'\\x01'";
/// Maximum length of a line: a record of the maximum length that consists of quotes.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Returns the statements that create all views. `results` is the directory.
#[must_use]
pub fn statements(config: &Config, results: &str) -> Vec<String> {
    let results = results.trim_end_matches('/').replace('\'', "''");
    let mut statements: Vec<String> = config.tables.iter().map(|table| table_view(table, &results)).collect();
    let rejects = json(&results, "rejects/**/*.jsonl.gz", &ledger::REJECTS, "object");
    statements.push(view("ledger_rejects", &ledger::rejects_columns(Dialect::DuckDb), &rejects));
    for (part, columns) in ledger::PARTS {
        let ending = if part == "manifest" { "*.jsonl.gz" } else { "**/*.json" };
        let names: Vec<String> = columns.iter().map(|(name, _)| typed::quoted(name)).collect();
        statements.push(format!(
            "CREATE OR REPLACE VIEW \"ledger_{part}\" AS\nSELECT\n  {},\n  split_part(substr(filename, length('{results}/runs/') \
             + 1), '/', 1) AS \"run\"\nFROM {}",
            names.join(", "),
            json(&results, &format!("runs/*/{part}/{ending}"), columns, "key")
        ));
    }
    statements
}

fn table_view(table: &Table, results: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("'{}': 'VARCHAR'", column.name.to_ascii_lowercase()))
        .collect();
    // With run.json, a table without files is empty instead of an error: its single line is read as a header.
    let from = format!(
        "read_csv(['{results}/csv/{}/**/*.csv.gz', '{results}/runs/*/run.json'], allow_empty = true, header = true, \
         auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = {NO_NULL}, max_line_size = \
         {MAX_LINE_BYTES}, columns = {{{}}})",
        table.name,
        columns.join(", ")
    );
    view(&table.name, &typed_columns(&table.columns, table.enriched, Dialect::DuckDb), &from)
}

fn view(name: &str, columns: &[TypedColumn], from: &str) -> String {
    format!("CREATE OR REPLACE VIEW \"{name}\" AS\n{}", rows(columns, from))
}

/// Reads JSON lines of files that may not exist: without a reject there is no file. run.json, which always exists, is read
/// with them and filtered out by a column that it lacks.
fn json(results: &str, files: &str, columns: &[(&str, &str)], never_null: &str) -> String {
    let columns: Vec<String> =
        columns.iter().map(|(name, kind)| format!("'{name}': '{}'", duckdb_type(kind))).collect();
    format!(
        "read_json(['{results}/{files}', '{results}/runs/*/run.json'], format = 'newline_delimited', allow_empty = true, \
         filename = true, columns = {{{}}})\nWHERE \"{never_null}\" IS NOT NULL",
        columns.join(", ")
    )
}

/// Converts a Hive type to `DuckDB`'s name.
fn duckdb_type(kind: &str) -> String {
    let inner = |opening: &str| kind.strip_prefix(opening).and_then(|rest| rest.strip_suffix('>'));
    if let Some(item) = inner("array<") {
        return duckdb_type(item) + "[]";
    }
    if let Some(pair) = inner("map<") {
        let (key, value) = pair.split_once(',').unwrap_or((pair, "string"));
        return format!("MAP({}, {})", duckdb_type(key), duckdb_type(value));
    }
    if let Some(fields) = inner("struct<") {
        let fields: Vec<String> = fields
            .split(',')
            .filter_map(|field| field.split_once(':'))
            .map(|(name, kind)| format!("\"{name}\" {}", duckdb_type(kind)))
            .collect();
        return format!("STRUCT({})", fields.join(", "));
    }
    match kind {
        "string" => "VARCHAR".to_owned(),
        "int" => "INTEGER".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}
