//! `flowherd check`: checks a configuration without objects, and prints its rules and tables.

use flowherd_shared::{
    config::Config,
    pipeline::rules::{Action, OnMismatch},
    table::{ColumnType, Table},
};

use crate::{args::CheckArgs, inputs, stop::Stop, summary, terminal, words::counted};

/// Length of the lines that list columns, unless the terminal is narrower.
const LINE_CHARS: usize = 96;
/// Blanks before each line of columns, and the comma at its end.
const AROUND_LINE: usize = 3;

/// Prints the rules and tables, or all mistakes.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Stop> {
    let plan = inputs::read(Some(&args.file), args.names.as_ref())?.run_config;
    let config = &plan.config;
    let mut text = format!(
        "{}: valid, {} and {}\n\n",
        summary::printable(&args.file.display().to_string()),
        counted(config.rules.len() as u64, "rule", "rules"),
        counted(config.tables.len() as u64, "table", "tables")
    );
    text += &rules(config);
    for table in &config.tables {
        text += &format!(
            "\ntable {}, {}\n{}",
            table.name,
            counted(table.columns.len() as u64, "column", "columns"),
            columns(table, terminal::width())
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
fn columns(table: &Table, width: Option<usize>) -> String {
    let (mut text, mut line) = (String::new(), String::new());
    let longest = width.map_or(LINE_CHARS, |width| width.saturating_sub(AROUND_LINE).min(LINE_CHARS));
    for column in &table.columns {
        let name = match column.kind {
            ColumnType::String => column.name.clone(),
            kind => format!("{} {}", column.name, type_name(kind)),
        };
        if !line.is_empty() && line.len() + name.len() + 2 > longest {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_columns_fit_a_narrow_terminal() {
        let config = Config::default();
        for width in [60, 80, 200] {
            let text = columns(&config.tables[0], Some(width));
            let longest = text.lines().map(str::len).max().unwrap();
            assert!(longest <= width && longest > width.min(96) - 30, "{width}: {text}");
        }
    }
}
