//! `flowherd check`: checks a configuration without objects, and prints its rules and tables.

use flowherd_shared::{
    config::Config,
    pipeline::rules::{Action, OnMismatch},
    table::{ColumnType, Table},
};

use crate::{args::CheckArgs, inputs, stop::Stop, summary, words::counted};

/// Length of the lines that list columns.
const LINE_CHARS: usize = 96;

/// Prints the rules and tables, or all mistakes.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Stop> {
    let plan = inputs::plan(Some(&args.file), args.lookups.as_ref())?;
    let config = &plan.config;
    let mut text = format!(
        "{}: valid, {} and {}\n\n",
        args.file.display(),
        counted(config.rules.len() as u64, "rule", "rules"),
        counted(config.tables.len() as u64, "table", "tables")
    );
    text += &rules(config);
    for table in &config.tables {
        text += &format!(
            "\ntable {}, {}\n{}",
            table.name,
            counted(table.columns.len() as u64, "column", "columns"),
            columns(table)
        );
    }
    summary::print(&text)
}

fn rules(config: &Config) -> String {
    let rows = config.rules.iter().map(|rule| {
        let action = match &rule.action {
            Action::Write(writing) => format!("rows of {}", config.tables[writing.table].name),
            Action::Drop => "dropped and counted".to_owned(),
            Action::Decode => "decoded; other rules take the records inside".to_owned(),
        };
        let mismatch = match rule.on_mismatch {
            OnMismatch::Reject => "is rejected",
            OnMismatch::Next => "is tried on the rules below",
        };
        vec![rule.name.clone(), action, mismatch.to_owned()]
    });
    summary::columns(&["rule", "its records are", "a record that does not fit"], rows, usize::MAX)
}

/// Returns the columns with the types of those that are no text, in indented lines.
fn columns(table: &Table) -> String {
    let (mut text, mut line) = (String::new(), String::new());
    for column in &table.columns {
        let name = match column.kind {
            ColumnType::String => column.name.clone(),
            kind => format!("{} {}", column.name, type_name(kind)),
        };
        if !line.is_empty() && line.len() + name.len() + 2 > LINE_CHARS {
            text += &format!("  {line},\n");
            line.clear();
        }
        if !line.is_empty() {
            line += ", ";
        }
        line += &name;
    }
    format!("{text}  {line}\n")
}

/// Returns the name of a type, as `types` has it.
fn type_name(kind: ColumnType) -> String {
    serde_json::to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
