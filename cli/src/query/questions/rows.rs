//! The rows that a statement reads, limited to a time.

use flowherd_shared::timestamp::{IsoFormatter, MAX_MS};

use crate::query::{
    layout::{Template, TimeFormat},
    schema::{TypedColumn, rows},
};

/// Rejected records without a valid timestamp are in every time.
const NO_TIME: &str = "\"timestamp\" IS NULL OR reason = 'bad-timestamp'";

/// A time in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First second.
    pub from: i64,
    /// The second after the last.
    pub to: i64,
}

impl Span {
    /// Returns the time of the same length that ends where this one begins.
    #[must_use]
    pub fn before(self) -> Self {
        Self { from: self.from - (self.to - self.from), to: self.from }
    }
}

/// The selects that fill a question's sources.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Flow-log rows of the time.
    pub flows: String,
    /// Flow-log rows of the time before.
    pub before: String,
    /// Rejected records of the time.
    pub rejects: String,
}

/// Returns the select of a view's rows in a time.
#[must_use]
pub fn of_view(view: &str, span: Span) -> String {
    format!("    SELECT * FROM \"{view}\" WHERE {}", within(span))
}

/// A stored table, and the condition on its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The name of the table.
    pub table: String,
    /// `None` to read all its files.
    pub condition: Option<String>,
}

/// Returns the select of the rows of text tables, with types, for databases without views.
#[must_use]
pub fn of_tables(columns: &[TypedColumn], scans: &[Scan], span: Span) -> String {
    let select = |scan: &Scan| {
        let condition =
            scan.condition.as_ref().map_or_else(String::new, |condition| format!("\nWHERE {condition}"));
        rows(columns, &format!("\"{}\"", scan.table)) + &condition
    };
    let selects: Vec<String> = scans.iter().map(select).collect();
    format!("SELECT * FROM (\n{}\n) AS typed WHERE {}", selects.join("\nUNION ALL\n"), within(span))
}

/// Returns the statement that gives the first and the last time of the rows of text tables.
#[must_use]
pub fn extent_of_tables(columns: &[TypedColumn], scans: &[Scan]) -> String {
    let selects: Vec<String> =
        scans.iter().map(|scan| rows(columns, &format!("\"{}\"", scan.table))).collect();
    format!(
        "SELECT min(\"timestamp\") AS first, max(\"timestamp\") AS last FROM (\n{}\n) AS typed",
        selects.join("\nUNION ALL\n")
    )
}

/// Returns the same of rejected records, in milliseconds.
#[must_use]
pub fn extent_of_rejects(scans: &[Scan]) -> String {
    let select = |scan: &Scan| format!("    SELECT \"timestamp\" FROM \"{}\"", scan.table);
    let selects: Vec<String> = scans.iter().map(select).collect();
    format!(
        "SELECT min(\"timestamp\") AS first, max(\"timestamp\") AS last FROM (\n{}\n) AS rejects",
        selects.join("\nUNION ALL\n")
    )
}

/// Returns the statement that gives one row if a select has any.
#[must_use]
pub fn any_row(select: &str) -> String {
    format!("SELECT 1 AS found FROM (\n{select}\n  ) AS earlier LIMIT 1")
}

/// Returns the select of rejected records from tables whose timestamps are milliseconds.
#[must_use]
pub fn of_rejects(scans: &[Scan], span: Span) -> String {
    let time = format!("(\"timestamp\" >= {}000 AND \"timestamp\" < {}000 OR {NO_TIME})", span.from, span.to);
    let columns = "object, record, log_group, log_stream, reason, message";
    let select = |scan: &Scan| {
        let condition =
            scan.condition.as_ref().map_or_else(String::new, |condition| format!("{condition} AND "));
        format!("    SELECT {columns} FROM \"{}\" WHERE {condition}{time}", scan.table)
    };
    scans.iter().map(select).collect::<Vec<_>>().join("\nUNION ALL\n")
}

/// Returns the condition that selects the partitions of a time. The first and the last partition may begin before it and end
/// after it.
#[must_use]
pub fn within_partitions(time: &TimeFormat, span: Span) -> String {
    let column = time.unit().column();
    format!("\"{column}\" >= '{}' AND \"{column}\" <= '{}'", time.value(span.from), time.value(span.to - 1))
}

/// Returns the select of rejected records from the view.
#[must_use]
pub fn of_rejects_view(span: Span) -> String {
    format!("    SELECT * FROM \"ledger_rejects\" WHERE {} OR {NO_TIME}", within(span))
}

/// Returns selects of the 24 hours before a statement runs, from the views. Saved statements use them. `flows` and `rejects`
/// are the layouts of the keys.
#[must_use]
pub fn last_day(view: &str, flows: Option<&Template>, rejects: Option<&Template>) -> Rows {
    Rows {
        flows: of_last_hours(view, flows, 24, 0),
        before: of_last_hours(view, flows, 48, 24),
        rejects: of_last_hours("ledger_rejects", rejects, 24, 0),
    }
}

/// Returns the name in capitals. Saved statements have it where the value of a partition column is not known.
#[must_use]
pub fn placeholder(column: &str) -> String {
    column.to_ascii_uppercase()
}

fn of_last_hours(view: &str, layout: Option<&Template>, from: u32, to: u32) -> String {
    let ago = |hours: u32| format!("(now() - INTERVAL '{hours}' HOUR) AT TIME ZONE 'UTC'");
    let time = |hours| format!("CAST({} AS TIMESTAMP)", ago(hours));
    let mut condition = format!("\"timestamp\" >= {}", time(from));
    if to > 0 {
        condition += &format!(" AND \"timestamp\" < {}", time(to));
    }
    if let Some(layout) = layout {
        let (column, format) = (layout.time().unit().column(), layout.time().sql());
        condition += &format!(" AND \"{column}\" >= date_format({}, '{format}')", ago(from + 1));
        for (column, _) in layout.named_columns().filter(|(_, values)| values.is_empty()) {
            condition += &format!(" AND \"{column}\" = '{}'", placeholder(column));
        }
    }
    format!("    SELECT * FROM \"{view}\" WHERE {condition}")
}

fn within(span: Span) -> String {
    let time = |second: i64| text(second, 19).replace('T', " ");
    format!(
        "\"timestamp\" >= TIMESTAMP '{}' AND \"timestamp\" < TIMESTAMP '{}'",
        time(span.from),
        time(span.to)
    )
}

/// Returns the first characters of a second's ISO-8601 text.
fn text(second: i64, length: usize) -> String {
    let ms = second.saturating_mul(1000).clamp(0, MAX_MS);
    IsoFormatter::default().format(ms).iter().take(length).copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span { from: 1_771_372_800, to: 1_771_459_200 };

    #[test]
    fn only_partitions_that_can_contain_the_time_are_read() {
        // From the hour before, to 24 hours after.
        let read = Span { from: DAY.from - 3600, to: DAY.to + 24 * 3600 };
        for (pattern, condition) in [
            ("yyyy/MM/dd/HH", "\"datehour\" >= '2026/02/17/23' AND \"datehour\" <= '2026/02/19/23'"),
            ("yyyy/MM/dd", "\"day\" >= '2026/02/17' AND \"day\" <= '2026/02/19'"),
            (
                "yyyy'/month='MM'/day='dd",
                "\"day\" >= '2026/month=02/day=17' AND \"day\" <= '2026/month=02/day=19'",
            ),
            ("yyyyMM", "\"month\" >= '202602' AND \"month\" <= '202602'"),
        ] {
            let time = TimeFormat::from_pattern(pattern).unwrap();
            let scan = Scan { table: "a".to_owned(), condition: Some(within_partitions(&time, read)) };
            let sql = of_tables(&[], std::slice::from_ref(&scan), DAY);
            assert!(sql.contains(&format!("FROM \"a\"\nWHERE {condition}")), "{sql}");
            assert!(sql.contains("\"timestamp\" < TIMESTAMP '2026-02-19 00:00:00'"), "{sql}");
            assert!(
                of_rejects(std::slice::from_ref(&scan), DAY)
                    .contains(&format!("FROM \"a\" WHERE {condition} AND (\"timestamp\""))
            );
        }
    }

    #[test]
    fn saved_statements_have_conditions_on_all_partition_columns_that_need_one() {
        let layout =
            Template::parse("{account}/{region:us-east-1}/year={yyyy}/month={MM}/day={dd}/").unwrap();
        let rows = last_day("flow", Some(&layout), None);
        let ending = "AND \"day\" >= date_format((now() - INTERVAL '25' HOUR) AT TIME ZONE 'UTC', '%Y/month=%m/day=%d') \
                      AND \"account\" = 'ACCOUNT'";
        assert!(rows.flows.ends_with(ending), "{}", rows.flows);
        assert!(rows.before.contains("INTERVAL '49' HOUR"), "{}", rows.before);
        assert!(!rows.rejects.contains("day"), "{}", rows.rejects);
    }
}
