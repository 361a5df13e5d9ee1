//! The rows that a statement reads, limited to a time.

use flowherd_shared::timestamp::{IsoFormatter, MAX_MS};

use crate::query::schema::{DATEHOUR, TypedColumn, rows};

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

/// Returns the select of the rows of text tables, with types, for databases without views. `hours` limits the partitions
/// that are read.
#[must_use]
pub fn of_tables(columns: &[TypedColumn], tables: &[String], span: Span, hours: Option<Span>) -> String {
    let hours = hours.map_or(String::new(), |hours| format!("\nWHERE {}", within_hours(hours)));
    let selects: Vec<String> =
        tables.iter().map(|table| rows(columns, &format!("\"{table}\"")) + &hours).collect();
    format!("SELECT * FROM (\n{}\n) AS typed WHERE {}", selects.join("\nUNION ALL\n"), within(span))
}

/// Returns the select of rejected records from tables whose timestamps are milliseconds.
#[must_use]
pub fn of_rejects(tables: &[String], span: Span, hours: Option<Span>) -> String {
    let time = format!("(\"timestamp\" >= {}000 AND \"timestamp\" < {}000 OR {NO_TIME})", span.from, span.to);
    let hours = hours.map_or(String::new(), |hours| format!("{} AND ", within_hours(hours)));
    let columns = "object, record, log_group, log_stream, reason, message";
    let selects: Vec<String> = tables
        .iter()
        .map(|table| format!("    SELECT {columns} FROM \"{table}\" WHERE {hours}{time}"))
        .collect();
    selects.join("\nUNION ALL\n")
}

/// Returns the select of rejected records from the view.
#[must_use]
pub fn of_rejects_view(span: Span) -> String {
    format!("    SELECT * FROM \"ledger_rejects\" WHERE {} OR {NO_TIME}", within(span))
}

/// Returns selects of the 24 hours before a statement runs, from the views. Saved statements use them.
#[must_use]
pub fn last_day(view: &str, has_hours: bool) -> Rows {
    let ago = |hours: u32| format!("(now() - INTERVAL '{hours}' HOUR) AT TIME ZONE 'UTC'");
    let hour = |hours| format!("date_format({}, '%Y/%m/%d/%H')", ago(hours));
    let time = |hours| format!("CAST({} AS TIMESTAMP)", ago(hours));
    let condition = |from: u32, to: u32| {
        let until = if to == 0 { String::new() } else { format!(" AND \"timestamp\" < {}", time(to)) };
        let hours =
            if has_hours { format!(" AND \"{DATEHOUR}\" >= {}", hour(from + 1)) } else { String::new() };
        format!("\"timestamp\" >= {}{until}{hours}", time(from))
    };
    let rows = |view: &str, from, to| format!("    SELECT * FROM \"{view}\" WHERE {}", condition(from, to));
    Rows { flows: rows(view, 24, 0), before: rows(view, 48, 24), rejects: rows("ledger_rejects", 24, 0) }
}

fn within_hours(hours: Span) -> String {
    let hour = |second: i64| text(second, 13).replace(['-', 'T'], "/");
    format!("\"{DATEHOUR}\" >= '{}' AND \"{DATEHOUR}\" <= '{}'", hour(hours.from), hour(hours.to - 1))
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

    #[test]
    fn only_hours_of_arrival_that_can_contain_the_time_are_read() {
        let day = Span { from: 1_771_372_800, to: 1_771_459_200 };
        let hours = Span { from: day.from - 3600, to: day.to + 24 * 3600 };
        let sql = of_tables(&[], &["a".to_owned()], day, Some(hours));
        assert!(sql.contains("\"datehour\" >= '2026/02/17/23' AND \"datehour\" <= '2026/02/19/23'"), "{sql}");
        assert!(sql.contains("\"timestamp\" < TIMESTAMP '2026-02-19 00:00:00'"), "{sql}");
    }
}
