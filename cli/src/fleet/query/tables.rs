//! Flowherd's tables in a database.

use aws_sdk_athena::types::TableMetadata;

use crate::{query::layout::TimeFormat, stop::Stop};

/// The stored tables of one table's rows.
#[derive(Debug)]
pub(super) struct RowsOf {
    /// One for each layout of the keys, or one for all files.
    pub(super) tables: Vec<Stored>,
    /// The columns of each of them, in order.
    pub(super) columns: Vec<String>,
}

/// A stored table and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: String,
    /// `None` if one partition does not have one time.
    pub(super) time: Option<Partitions>,
    /// Partition columns whose values every query must give.
    pub(super) injected: Vec<String>,
    /// The folders before those of the time, such as `csv/flow/AWSLogs/${account}/`.
    pub(super) folders: Option<String>,
}

/// Partitions by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partitions {
    pub(super) format: TimeFormat,
    /// First value.
    pub(super) since: String,
    /// First second of that value.
    pub(super) since_second: i64,
}

impl RowsOf {
    /// Finds the tables of `name`, with partitions if there are any, unless `everywhere`.
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
        let is_numbered =
            |table: &&TableMetadata| {
                table.name.strip_prefix(&first).and_then(|rest| rest.strip_prefix('_')).is_some_and(
                    |number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
                )
            };
        let numbered = found.iter().filter(is_numbered);
        let tables = std::iter::once(stored).chain(numbered).map(Stored::new).collect::<Result<_, _>>()?;
        Ok(Self { tables, columns: columns(stored) })
    }
}

impl Stored {
    fn new(table: &TableMetadata) -> Result<Self, Stop> {
        let projected = |kind: &'static str| {
            let of = table.parameters().into_iter().flatten();
            of.filter(move |(_, value)| *value == kind)
                .filter_map(|(name, _)| name.strip_prefix("projection.")?.strip_suffix(".type"))
        };
        let mut injected: Vec<String> = projected("injected").map(str::to_owned).collect();
        injected.sort_unstable();
        let folders = projected("date").next().and_then(|column| folders(table, column));
        let time = projected("date").next().map(|column| {
            partitions(table, column).ok_or_else(|| {
                Stop::usage(format!(
                    "table {} has partitions that Flowherd does not know (projection.{column}); deploy tables of \
                     flowherd sql, or use --everywhere",
                    table.name
                ))
            })
        });
        Ok(Self { name: table.name.clone(), time: time.transpose()?, injected, folders })
    }
}

/// Returns the partitions by time of a table, if it has any that this version writes.
pub(super) fn time_partitions(table: &TableMetadata) -> Option<Partitions> {
    Stored::new(table).ok()?.time
}

fn partitions(table: &TableMetadata, column: &str) -> Option<Partitions> {
    let parameter = |name: &str| table.parameters()?.get(&format!("projection.{column}.{name}"));
    let format = TimeFormat::from_pattern(parameter("format")?)?;
    let since = parameter("range")?.split(',').next()?.to_owned();
    let since_second = format.first_second(&since)?;
    (format.unit().column() == column).then_some(Partitions { format, since, since_second })
}

/// Returns the folders of the location of the partitions, up to the time column.
fn folders(table: &TableMetadata, column: &str) -> Option<String> {
    let template = table.parameters()?.get("storage.location.template")?.strip_prefix("s3://")?;
    let (folders, _) = template.split_once('/')?.1.split_once(&format!("${{{column}}}"))?;
    Some(folders.to_owned())
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

    fn table(name: &str, parameters: &[(&str, &str)]) -> TableMetadata {
        let parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TableMetadata::builder().name(name).set_parameters(Some(parameters)).build().unwrap()
    }

    #[test]
    fn partitions_are_read_from_the_properties_of_a_table() {
        let by_day = [
            ("projection.day.type", "date"),
            ("projection.day.format", "yyyy'/month='MM'/day='dd"),
            ("projection.day.range", "2026/month=01/day=01,NOW"),
            ("projection.region.type", "enum"),
            ("projection.b.type", "injected"),
            ("projection.a.type", "injected"),
        ];
        let found = [table("f_text", &by_day), table("f_text_2", &by_day), table("f_everywhere_text", &[])];
        let rows = RowsOf::find(&found, "f", "text", false).unwrap();
        let names: Vec<&str> = rows.tables.iter().map(|table| &*table.name).collect();
        assert_eq!(names, ["f_text", "f_text_2"]);
        assert_eq!(rows.tables[0].injected, ["a", "b"]);
        let time = rows.tables[0].time.as_ref().unwrap();
        assert_eq!((&*time.since, time.since_second), ("2026/month=01/day=01", 1_767_225_600));
        let all = RowsOf::find(&found, "f", "text", true).unwrap();
        assert_eq!((&*all.tables[0].name, &all.tables[0].time), ("f_everywhere_text", &None));
    }

    #[test]
    fn unknown_partitions_are_refused() {
        for (name, value) in [("format", "dd/MM/yyyy"), ("range", "NOW-3YEARS,NOW"), ("range", "")] {
            let mut parameters = vec![
                ("projection.day.type", "date"),
                ("projection.day.format", "yyyy/MM/dd"),
                ("projection.day.range", "2026/01/01,NOW"),
            ];
            let changed = format!("projection.day.{name}");
            parameters.retain(|(other, _)| *other != changed);
            parameters.push((&changed, value));
            let found = [table("f_text", &parameters)];
            assert!(RowsOf::find(&found, "f", "text", false).is_err(), "{name}");
        }
    }
}
