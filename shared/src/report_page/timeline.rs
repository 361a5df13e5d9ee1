//! Rows by the hour of the logs beside objects by the hour of arrival, on one axis.

use maud::{Markup, html};

use super::{
    charts::{self, Mark},
    text::{count, number, plural},
};
use crate::{
    ledger::Report,
    limits::MAX_REPORT_PERIODS,
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

/// Returns the section with both charts. Gaps are in the periods of the report, which may be shorter than those of the charts.
pub(super) fn section(report: &Report) -> Markup {
    let timeline = Timeline::new(report);
    let unit = timeline.rows.unit().name();
    let period = report.times.unit().name();
    let gaps = gaps(&report.times);
    let days_apart = if timeline.rows.unit() < PeriodUnit::Day { total(&report.arrivals_by_day) } else { 0 };
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
                @if report.times.number_of_periods() == 0 {
                    p { "No row has a time." }
                } @else if gaps.is_empty() {
                    p { "No gaps: each " (period) " from the first to the last one with rows has rows." }
                } @else {
                    p { "Gaps, without rows, by " (period) ":" }
                    ul {
                        @for gap in gaps.iter().take(MAX_GAPS) { li { (gap.text()) } }
                        @if gaps.len() > MAX_GAPS { li { "and " (count((gaps.len() - MAX_GAPS) as u64, "more gap")) } }
                    }
                }
                (timeline.table(unit))
            }
            @if report.times.without() > 0 { p { (count(report.times.without(), "row")) " without a time" (beyond(report)) "." } }
            @if timeline.arrivals.without() > 0 {
                p { (count(timeline.arrivals.without(), "object")) " without a time in the key." }
            }
            @if days_apart > 0 { p { (count(days_apart, "object")) " with only a day in the key, not in the chart." } }
        }
    }
}

/// Returns the number of periods with rows, and its name with the number of gaps.
pub(super) fn periods_with_rows(report: &Report) -> (u64, String) {
    let times = &report.times;
    let periods = times.periods().filter(|(_, count)| *count > 0).count() as u64;
    let gaps = match gaps(times).len() {
        _ if periods == 0 => String::new(),
        0 => ", no gaps".to_owned(),
        gaps => format!(", {}", count(gaps as u64, "gap")),
    };
    (periods, format!("{}{} with rows{gaps}", times.unit().name(), plural(periods, "", "s")))
}

/// Says that rows of some years count as rows without a time.
fn beyond(report: &Report) -> &'static str {
    if report.times.unit() == PeriodUnit::Year { ", or outside the years shown" } else { "" }
}

fn total(counts: &TimeCounts) -> u64 {
    counts.periods().fold(counts.without(), |sum, (_, count)| sum.saturating_add(count))
}

impl Timeline {
    fn new(report: &Report) -> Self {
        let (mut rows, mut arrivals) = (report.times.clone(), report.arrivals.clone());
        let mut columns = Vec::new();
        for unit in [PeriodUnit::Hour, PeriodUnit::Day, PeriodUnit::Month, PeriodUnit::Year] {
            // Objects lengthen the periods of rows only if they have more hours than the chart has columns.
            rows.lengthen(unit.max(arrivals.unit()));
            arrivals.lengthen(rows.unit());
            columns = columns_of(&rows, &arrivals);
            if columns.len() <= MAX_COLUMNS {
                break;
            }
        }
        if rows.unit() >= PeriodUnit::Day && report.arrivals_by_day.number_of_periods() > 0 {
            arrivals.add(&report.arrivals_by_day, MAX_REPORT_PERIODS);
            // Only too many days are longer than these periods.
            rows.lengthen(arrivals.unit());
            columns = columns_of(&rows, &arrivals);
        }
        if let Some(last) = columns.last().map(|column| column.last)
            && columns.len() > MAX_COLUMNS
        {
            columns.truncate(MAX_COLUMNS);
            if let Some(rest) = columns.last_mut() {
                rest.last = last;
            }
        }
        Self { rows, arrivals, columns }
    }

    fn chart(&self, title: &str, class: &'static str, noun: &str, counts: &TimeCounts) -> Markup {
        let mark = |column: &Column| {
            let value = sum(counts, column);
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
                                td.number { (number(sum(&self.rows, column))) }
                                td.number { (number(sum(&self.arrivals, column))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the periods without rows between the first and the last one with rows.
fn gaps(times: &TimeCounts) -> Vec<Column> {
    let mut gaps = Vec::new();
    let mut before: Option<Period> = None;
    for (period, count) in times.periods() {
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

/// Returns the count of a column.
fn sum(counts: &TimeCounts, column: &Column) -> u64 {
    let in_column = |(period, _): &(Period, u64)| (column.first..=column.last).contains(period);
    counts.periods().filter(in_column).fold(0, |sum, (_, count)| sum.saturating_add(count))
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
    use crate::ledger::{Fingerprint, Job, Run};

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

    /// A report of rows and of objects, by hour or by day.
    fn report(times: &str, arrivals: &str, arrivals_by_day: &str) -> Report {
        let hash = || "c".to_owned();
        let run = Run {
            run: "r".to_owned(),
            fleet: "main".to_owned(),
            prefix: String::new(),
            job: Job::Convert,
            fingerprint: Fingerprint { config_hash: hash(), names_hash: hash() },
            enrichment: Vec::new(),
            version: String::new(),
            started: String::new(),
            resumed: None,
            resumes: Vec::new(),
            live: None,
            lacks_names: false,
            manifest: None,
        };
        let mut report = Report::new(&run);
        report.times = counts(times);
        (report.arrivals, report.arrivals_by_day) = (counts(arrivals), counts(arrivals_by_day));
        report
    }

    fn page(report: &Report) -> String {
        section(report).into_string()
    }

    #[test]
    fn without_a_row_with_a_time_there_is_no_statement_on_gaps() {
        for times in ["{}", r#"{"-":7}"#] {
            let report = report(times, r#"{"2026-02-18T10":1}"#, "{}");
            assert_eq!(periods_with_rows(&report), (0, "hours with rows".to_owned()));
            let page = page(&report);
            assert!(page.contains("No row has a time.") && !page.contains("No gaps"), "{page}");
        }
    }

    #[test]
    fn gaps_are_in_the_periods_of_the_report_although_the_charts_have_longer_ones() {
        let mut counted = TimeCounts::default();
        // Nine days without two hours.
        for hour in (0..216).filter(|hour| ![30, 31].contains(hour)) {
            counted.add_period(Period { unit: PeriodUnit::Hour, number: hour }, 1, MAX_REPORT_PERIODS);
        }
        let mut report = report("{}", "{}", "{}");
        report.times = counted;
        assert_eq!(periods_with_rows(&report), (214, "hours with rows, 1 gap".to_owned()));
        let page = page(&report);
        assert!(page.contains("Rows and objects by day"), "{page}");
        assert!(page.contains("1970-01-02T06 to 1970-01-02T07"), "{page}");
    }

    #[test]
    fn a_key_with_only_a_day_does_not_turn_hours_into_days() {
        let hours = r#"{"2026-02-18T10":5,"2026-02-18T11":6}"#;
        let page = page(&report(hours, hours, r#"{"2026-02-18":1}"#));
        assert!(page.contains("Rows and objects by hour"), "{page}");
        assert!(page.contains("1 object with only a day in the key, not in the chart."), "{page}");
        let page = self::page(&report(r#"{"2026-02-18":5}"#, "{}", r#"{"2026-02-18":3}"#));
        assert!(page.contains("3 objects in 1 column") && !page.contains("only a day"), "{page}");
    }

    #[test]
    fn the_last_column_has_everything_after_it() {
        let mut report = report("{}", "{}", "{}");
        for year in 0..MAX_REPORT_PERIODS {
            let number = i64::try_from(year).unwrap() + 100;
            report.times.add_period(Period { unit: PeriodUnit::Year, number }, 1, MAX_REPORT_PERIODS);
        }
        let timeline = Timeline::new(&report);
        assert_eq!(timeline.columns.len(), MAX_COLUMNS);
        assert_eq!(timeline.columns.last().unwrap().text(), "2269 to 2469");
        let page = page(&report);
        assert!(page.contains("400 rows in 200 columns"), "{page}");
    }

    #[test]
    fn rows_beyond_the_years_shown_are_named() {
        let page = page(&report(r#"{"2026":5,"-":1}"#, "{}", "{}"));
        assert!(page.contains("1 row without a time, or outside the years shown."), "{page}");
    }
}
