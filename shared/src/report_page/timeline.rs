//! Rows by the hour of the logs beside objects by the hour of arrival, on one axis.

use maud::{Markup, html};

use super::{
    charts::{self, Mark},
    text::{count, number},
};
use crate::{
    ledger::Report,
    times::{Period, PeriodUnit, TimeCounts},
};

/// Maximum columns of a chart. More hours become days, and so on.
const MAX_COLUMNS: usize = 200;
/// More empty periods than these between two others are one column, so that one wrong timestamp does not hide the others.
const MAX_EMPTY: i64 = 24;
/// Gaps that the page lists.
const MAX_GAPS: usize = 10;

/// Consecutive periods that share a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    first: Period,
    last: Period,
}

impl Column {
    fn text(self) -> String {
        if self.first == self.last {
            self.first.text()
        } else {
            format!("{} to {}", self.first.text(), self.last.text())
        }
    }
}

/// Both counts in periods of the same length, and the columns.
struct Timeline {
    rows: TimeCounts,
    arrivals: TimeCounts,
    columns: Vec<Column>,
}

/// Returns the section with both charts.
pub(super) fn section(report: &Report) -> Markup {
    let timeline = Timeline::new(report);
    let unit = timeline.rows.unit().name();
    let without_time = count(timeline.rows.without(), "row");
    let unknown = count(timeline.arrivals.without(), "object");
    let gaps = timeline.gaps();
    html! {
        section {
            h2 { "Rows and objects by " (unit) }
            p {
                "The upper chart has the rows of this run, by the time of the record in UTC. The lower chart has the listed \
                 objects, by the time in their keys, which is when they were delivered. A pale column is empty."
            }
            @if timeline.columns.is_empty() {
                p { "No row and no key has a time." }
            } @else {
                (timeline.chart("Rows by time of the record", "rows", "row", &timeline.rows))
                (timeline.chart("Objects by time of arrival", "arrivals", "object", &timeline.arrivals))
                @if gaps.is_empty() {
                    p { "No gaps: each " (unit) " from the first to the last one with rows has rows." }
                } @else {
                    p { "Gaps, without rows:" }
                    ul {
                        @for gap in gaps.iter().take(MAX_GAPS) { li { (gap.text()) } }
                        @if gaps.len() > MAX_GAPS { li { "and " (count((gaps.len() - MAX_GAPS) as u64, "more gap")) } }
                    }
                }
                (timeline.table(unit))
            }
            @if timeline.rows.without() > 0 { p { (without_time) " without a time." } }
            @if timeline.arrivals.without() > 0 { p { (unknown) " without a time in the key." } }
        }
    }
}

/// Returns the number of periods with rows, and its name with the number of gaps.
pub(super) fn periods_with_rows(report: &Report) -> (u64, String) {
    let timeline = Timeline::new(report);
    let periods = timeline.rows.periods().filter(|(_, count)| *count > 0).count() as u64;
    let plural = if periods == 1 { "" } else { "s" };
    let gaps = match timeline.gaps().len() {
        0 => "no gaps".to_owned(),
        gaps => count(gaps as u64, "gap"),
    };
    (periods, format!("{}{plural} with rows, {gaps}", timeline.rows.unit().name()))
}

impl Timeline {
    fn new(report: &Report) -> Self {
        let (mut rows, mut arrivals) = (report.times.clone(), report.arrivals.clone());
        let mut columns = Vec::new();
        for unit in [PeriodUnit::Hour, PeriodUnit::Day, PeriodUnit::Month, PeriodUnit::Year] {
            rows.lengthen(unit.max(arrivals.unit()));
            arrivals.lengthen(rows.unit());
            columns = columns_of(&rows, &arrivals);
            if columns.len() <= MAX_COLUMNS {
                break;
            }
        }
        columns.truncate(MAX_COLUMNS);
        Self { rows, arrivals, columns }
    }

    fn chart(&self, title: &str, class: &'static str, noun: &str, counts: &TimeCounts) -> Markup {
        let mark = |column: &Column| {
            let value = counts.count(column.first);
            let class = if value == 0 { "gap" } else { class };
            Mark { class, value, title: format!("{}: {}", column.text(), count(value, noun)) }
        };
        let marks: Vec<Mark> = self.columns.iter().map(mark).collect();
        let max = marks.iter().map(|mark| mark.value).max().unwrap_or(0);
        let (first, last) = (self.label(0), self.label(self.columns.len().saturating_sub(1)));
        let description = format!(
            "From {first} to {last}: {} in {}, at most {}. The table below has the numbers.",
            count(marks.iter().fold(0, |sum, mark| sum.saturating_add(mark.value)), noun),
            count(marks.len() as u64, "column"),
            count(max, noun)
        );
        html! {
            figure {
                figcaption { (title) ", at most " (count(max, noun)) }
                (charts::columns(title, &description, &marks))
                div.axis {
                    span { (first) }
                    @if self.columns.len() > 2 { span { (self.label(self.columns.len() / 2)) } }
                    @if self.columns.len() > 1 { span { (last) } }
                }
            }
        }
    }

    fn label(&self, at: usize) -> String {
        self.columns.get(at).map_or_else(String::new, |column| column.first.text())
    }

    fn table(&self, unit: &str) -> Markup {
        html! {
            details {
                summary { "The numbers as a table" }
                table {
                    thead { tr { th scope="col" { (unit) } th.number scope="col" { "rows" } th.number scope="col" { "objects" } } }
                    tbody {
                        @for column in &self.columns {
                            tr {
                                th scope="row" { (column.text()) }
                                td.number { (number(self.rows.count(column.first))) }
                                td.number { (number(self.arrivals.count(column.first))) }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Returns the periods without rows between the first and the last one with rows.
    fn gaps(&self) -> Vec<Column> {
        let mut gaps = Vec::new();
        let mut before: Option<Period> = None;
        for (period, count) in self.rows.periods() {
            if count == 0 {
                continue;
            }
            if let Some(before) = before
                && period.number > before.number + 1
            {
                let first = Period { number: before.number + 1, ..before };
                gaps.push(Column { first, last: Period { number: period.number - 1, ..period } });
            }
            before = Some(period);
        }
        gaps
    }
}

fn columns_of(rows: &TimeCounts, arrivals: &TimeCounts) -> Vec<Column> {
    let mut periods: Vec<Period> =
        rows.periods().chain(arrivals.periods()).map(|(period, _)| period).collect();
    periods.sort_unstable();
    periods.dedup();
    let mut columns: Vec<Column> = Vec::new();
    for period in periods {
        if let Some(before) = columns.last().map(|column| column.last) {
            let empty = period.number - before.number - 1;
            let at = |number| Period { number, ..period };
            if empty > MAX_EMPTY {
                columns.push(Column { first: at(before.number + 1), last: at(period.number - 1) });
            } else {
                columns.extend(
                    (before.number + 1..period.number)
                        .map(|number| Column { first: at(number), last: at(number) }),
                );
            }
        }
        columns.push(Column { first: period, last: period });
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(json: &str) -> TimeCounts {
        serde_json::from_str(json).unwrap()
    }

    fn texts(rows: &str, arrivals: &str) -> Vec<String> {
        columns_of(&counts(rows), &counts(arrivals)).into_iter().map(Column::text).collect()
    }

    #[test]
    fn a_short_gap_has_a_column_for_each_period_and_a_long_one_a_single_column() {
        assert_eq!(
            texts(r#"{"2026-02-18T10":1,"2026-02-18T12":1}"#, r#"{"2026-02-18T13":1}"#),
            ["2026-02-18T10", "2026-02-18T11", "2026-02-18T12", "2026-02-18T13"]
        );
        assert_eq!(
            texts(r#"{"1970-01-01T00":1,"2026-02-18T12":1}"#, "{}"),
            ["1970-01-01T00", "1970-01-01T01 to 2026-02-18T11", "2026-02-18T12"]
        );
    }
}
