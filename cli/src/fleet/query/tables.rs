//! Flowherd's tables in a database.

use aws_sdk_athena::types::TableMetadata;
use jiff::{civil::DateTime, tz::TimeZone};

use crate::{query::schema::DATEHOUR, stop::Stop};

/// The stored tables of one table's rows.
#[derive(Debug)]
pub(super) struct RowsOf {
    /// One for each Firehose prefix, or one for all files.
    pub(super) tables: Vec<String>,
    /// The columns of each of them, in order.
    pub(super) columns: Vec<String>,
    /// First hour of their partitions in Unix seconds; `None` without partitions.
    pub(super) since: Option<i64>,
}

impl RowsOf {
    /// Finds the tables of `name`, with hourly partitions if there are any, unless `everywhere`.
    pub(super) fn find(
        found: &[TableMetadata],
        name: &str,
        ending: &str,
        everywhere: bool,
    ) -> Result<Self, Stop> {
        check_name(name)?;
        let table = |name: &str| found.iter().find(|table| table.name == name);
        let whole = format!("{name}_everywhere_{ending}");
        let first = format!("{name}_{ending}");
        let first = if everywhere && table(&whole).is_some() { whole } else { first };
        let Some(stored) = table(&first) else {
            return Err(Stop::usage(format!(
                "no table {first} in the stack's database; deploy tables (flowherd sql --dialect glue, setting \
                 tables), or choose another with --table"
            )));
        };
        let numbered =
            |table: &&TableMetadata| {
                table.name.strip_prefix(&first).and_then(|rest| rest.strip_prefix('_')).is_some_and(
                    |number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
                )
            };
        let mut tables = vec![first.clone()];
        tables.extend(found.iter().filter(numbered).map(|table| table.name.clone()));
        let since = since_text(stored).and_then(|text| {
            let time = DateTime::strptime("%Y/%m/%d/%H:%M", format!("{text}:00")).ok()?;
            Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
        });
        Ok(Self { tables, columns: columns(stored), since })
    }
}

/// Returns the table name of a text table: `x` for `x_text`, `x_text_2` and `x_everywhere_text`. Returns `None` for others.
pub(super) fn rows_of(table: &str) -> Option<&str> {
    let whole = table.trim_end_matches(|last: char| last.is_ascii_digit());
    let stem = if whole.len() < table.len() { whole.strip_suffix('_') } else { Some(table) };
    let rows = stem?.strip_suffix("_text")?;
    Some(rows.strip_suffix("_everywhere").unwrap_or(rows))
}

/// Returns the names of a table's own columns.
pub(super) fn columns(table: &TableMetadata) -> Vec<String> {
    table.columns().iter().map(|column| column.name().to_owned()).collect()
}

/// Returns the first hour of a table's partitions, `yyyy/MM/dd/HH`, if it has any.
pub(super) fn since_text(table: &TableMetadata) -> Option<&str> {
    let range = table.parameters()?.get(&format!("projection.{DATEHOUR}.range"))?;
    range.split(',').next()
}

/// Checks a table name, which becomes part of statements.
pub(super) fn check_name(name: &str) -> Result<(), Stop> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Stop::usage(format!(
            "--table {name:?} is not the name of a table; an example: vpc_flow"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_tables_are_recognised_by_their_names() {
        for table in ["flow_text", "flow_text_2", "flow_text_12", "flow_everywhere_text"] {
            assert_eq!(rows_of(table), Some("flow"), "{table}");
        }
        for table in ["flow", "flow_text2", "text", "ledger_rejects_json", "flow_everywhere"] {
            assert_eq!(rows_of(table), None, "{table}");
        }
    }
}
