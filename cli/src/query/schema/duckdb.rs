//! Statements for DuckDB: the same views, directly over the files below a directory.

use flowherd_shared::{
    config::Config,
    table::{ColumnType, Table},
};

use super::{
    Dialect, TypedColumn, ledger, rows,
    typed::{self, typed_columns},
};
use crate::query::layout::{Layouts, Template};

/// Text that no value of the CSV has, because no value is null before the view's expressions.
const NO_NULL: &str = "e'\\x01'";
/// Maximum length of a line: a record of the maximum length that consists of quotes.
const MAX_LINE_BYTES: usize = 4 << 20;

/// The first version that reads a list of files although some do not exist (`allow_empty`).
pub const MAJOR: u32 = 2;

/// The path of the file that a row is in. No table has a column of this name.
const FILE: &str = "_flowherd_file";

/// Returns a check of the version, and the statements that create all views. `results` is the directory.
#[must_use]
pub fn statements(config: &Config, results: &str, layouts: &Layouts) -> Vec<String> {
    let results = results.trim_end_matches('/').replace('\'', "''");
    let mut statements = vec![check_of_version()];
    for table in &config.tables {
        let columns = typed_columns(&table.columns, table.enriched, Dialect::DuckDb);
        let below = format!("{results}/csv/{}/", table.name);
        let files = Files { from: csv(table, &results), below };
        statements.extend(views(&table.name, &columns, &files, &layouts.of_table(&table.name)));
    }
    let from = json(&results, "rejects/**/*.jsonl.gz", &ledger::REJECTS, "object");
    let files = Files { from, below: format!("{results}/rejects/") };
    let columns = ledger::rejects_columns(Dialect::DuckDb);
    statements.extend(views("ledger_rejects", &columns, &files, &layouts.of_all_keys()));
    for (part, columns) in ledger::PARTS {
        let ending = if part == "manifest" { "*.jsonl.gz" } else { "**/*.json" };
        let names: Vec<String> = columns.iter().map(|(name, _)| typed::quoted(name)).collect();
        statements.push(format!(
            "CREATE OR REPLACE VIEW \"ledger_{part}\" AS\nSELECT\n  {},\n  split_part(substr({FILE}, \
             length('{results}/runs/') + 1), '/', 1) AS \"run\"\nFROM {}",
            names.join(", "),
            json(&results, &format!("runs/*/{part}/{ending}"), columns, "key")
        ));
    }
    statements
}

/// Returns a statement that fails in an older `DuckDB`. Assigning to a variable prints no row.
fn check_of_version() -> String {
    format!(
        "SET VARIABLE flowherd_version_check = CASE WHEN try_cast(split_part(ltrim(version(), 'v'), '.', 1) AS INTEGER) < \
         {MAJOR}\nTHEN error('these views need DuckDB {MAJOR}.0 or later, and this is ' || version()) END"
    )
}

/// The files that a view reads.
struct Files {
    /// Their rows, as a source of a SELECT.
    from: String,
    /// The directory to which their paths are relative.
    below: String,
}

/// Returns the view of all files, and with layouts also that of the keys that have them, with partition columns.
fn views(name: &str, columns: &[TypedColumn], files: &Files, templates: &[&Template]) -> Vec<String> {
    let create = |name: &str, select: &str| format!("CREATE OR REPLACE VIEW \"{name}\" AS\n{select}");
    if templates.is_empty() {
        return vec![create(name, &rows(columns, &files.from))];
    }
    let names = templates[0].columns();
    let of_layout = |template: &&Template| {
        let key = format!("substr({FILE}, length('{}') + 1)", files.below);
        let mut columns = columns.to_vec();
        let found = template.columns();
        columns.extend(names.iter().map(|name| TypedColumn {
            name: (*name).to_owned(),
            kind: ColumnType::String,
            sql: format!(
                "regexp_extract({key}, '{}', {})",
                template.regex(),
                found.iter().position(|other| other == name).map_or(0, |at| at + 1)
            ),
        }));
        let from =
            format!("(SELECT * FROM {})\nWHERE regexp_matches({key}, '{}')", files.from, template.regex());
        rows(&columns, &from)
    };
    let selects: Vec<String> = templates.iter().map(of_layout).collect();
    vec![
        create(name, &selects.join("\nUNION ALL\n")),
        create(&format!("{name}_everywhere"), &rows(columns, &files.from)),
    ]
}

/// Reads the CSV of a table. With run.json, a table without files is empty instead of an error: its single line is read as a
/// header.
fn csv(table: &Table, results: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("'{}': 'VARCHAR'", column.name.to_ascii_lowercase()))
        .collect();
    format!(
        "read_csv(['{results}/csv/{}/**/*.csv.gz', '{results}/runs/*/run.json'], allow_empty = true, header = true, \
         auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = {NO_NULL}, max_line_size = \
         {MAX_LINE_BYTES}, filename = '{FILE}', columns = {{{}}})",
        table.name,
        columns.join(", ")
    )
}

/// Reads JSON lines of files that may not exist: without a reject there is no file. run.json, which always exists, is read
/// with them and filtered out by a column that it lacks.
fn json(results: &str, files: &str, columns: &[(&str, &str)], never_null: &str) -> String {
    let columns: Vec<String> =
        columns.iter().map(|(name, kind)| format!("'{name}': '{}'", duckdb_type(kind))).collect();
    format!(
        "read_json(['{results}/{files}', '{results}/runs/*/run.json'], format = 'newline_delimited', allow_empty = true, \
         filename = '{FILE}', columns = {{{}}})\nWHERE \"{never_null}\" IS NOT NULL",
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
