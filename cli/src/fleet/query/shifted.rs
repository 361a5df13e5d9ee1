//! Finds rows that were written with other columns than a table has now. CSV is read by position, so these values would be in
//! the wrong columns without an error.

use std::collections::BTreeMap;

use flowherd_coordinator::{parallel, runs::IndexedRun};
use flowherd_shared::{
    ledger::{Report, ReportState, layout, read_report},
    store::{Store, StoreError},
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};

use crate::{query::questions::Span, run_rules};

/// Ledger files read in parallel.
const READERS: usize = 32;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A table and its columns in the database.
#[derive(Debug)]
pub(super) struct StoredTable {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

/// The period that a question reads, and the maximum lateness of its records in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) span: Span,
    pub(super) late: i64,
}

/// The columns of a table by the rules of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    Same,
    Other,
    /// The run did not write it.
    None,
    /// Its ledger does not have its rules.
    Unknown,
}

/// Returns one line for each table that would misread rows of runs. Without a period, rows of any time count.
pub(super) fn find(
    results: &impl Store,
    mut runs: Vec<IndexedRun>,
    tables: &[StoredTable],
    period: Option<Period>,
) -> Result<Vec<String>, StoreError> {
    // In the order of their begin.
    runs.reverse();
    let mut by_config: BTreeMap<&str, Vec<Columns>> = BTreeMap::new();
    for run in &runs {
        if !by_config.contains_key(&*run.config_hash) {
            by_config.insert(&run.config_hash, columns(results, run, tables)?);
        }
    }

    let mut problems = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let is = |run: &IndexedRun, columns: Columns| by_config[&*run.config_hash][at] == columns;
        let may_be_misread = |run: &&IndexedRun| {
            (is(run, Columns::Other) || is(run, Columns::Unknown))
                && period.is_none_or(|period| may_hold(&run.prefix, period))
        };
        let suspects: Vec<&IndexedRun> = runs.iter().filter(may_be_misread).collect();
        if suspects.is_empty() {
            continue;
        }
        // Reads the reports of these runs, and of the runs that may have replaced their rows.
        let may_replace = |run: &&IndexedRun| {
            is(run, Columns::Same) && suspects.iter().any(|suspect| may_replace(run, suspect))
        };
        let right: Vec<&IndexedRun> = runs.iter().filter(may_replace).collect();
        let needed: Vec<&IndexedRun> = suspects.iter().chain(&right).copied().collect();
        let report = |run: &&IndexedRun| read_report(results, &layout::report(&run.run));
        let reports: Vec<Option<Report>> = parallel::try_map(READERS, &needed, report)?;
        let (of_suspects, of_right) = reports.split_at(suspects.len());
        let is_replaced = |run: &IndexedRun, report: Option<&Report>| {
            right.iter().zip(of_right).any(|(later, done)| replaces(later, done.as_ref(), run, report))
        };
        let remaining: Vec<&IndexedRun> = suspects
            .iter()
            .zip(of_suspects)
            .filter(|(run, report)| !is_replaced(run, report.as_ref()))
            .map(|(run, _)| *run)
            .collect();
        problems.extend(problem(&table.name, &remaining));
    }
    Ok(problems)
}

/// Returns one line for all runs whose rows a table would misread.
fn problem(table: &str, runs: &[&IndexedRun]) -> Option<String> {
    let last = runs.last()?;
    let others = match runs.len() {
        1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    Some(format!(
        "run {} (prefix {:?}, {}){others} wrote other or unknown columns than table {table} has, so its rows would be \
         misread; convert the prefix again (flowherd rerun --prefix), or deploy the tables of its rules \
         (runs/{}/flowherd.toml); use --anyway to query nevertheless",
        last.run, last.prefix, last.started, last.run
    ))
}

/// Returns whether a run began later, with the same prefix or a shorter one.
fn may_replace(later: &IndexedRun, earlier: &IndexedRun) -> bool {
    earlier.started < later.started && earlier.prefix.starts_with(&later.prefix)
}

/// Returns whether a later run certainly replaced all outputs of an earlier one: it began after the earlier one had ended,
/// listed the same prefix or a shorter one, found at least as many objects, and completed all of them.
fn replaces(
    later: &IndexedRun,
    done: Option<&Report>,
    earlier: &IndexedRun,
    report: Option<&Report>,
) -> bool {
    let (Some(done), Some(report)) = (done, report) else { return false };
    may_replace(later, earlier)
        && done.state == ReportState::Done
        && done.objects.skipped == 0
        && report.finished < later.started
        && (later.prefix != earlier.prefix || done.objects.listed >= report.objects.listed)
}

fn columns(
    results: &impl Store,
    run: &IndexedRun,
    tables: &[StoredTable],
) -> Result<Vec<Columns>, StoreError> {
    let config = run_rules::rules_of_run(results, &run.run, &run.config_hash)?;
    let of = |stored: &StoredTable| {
        let Some(config) = &config else { return Columns::Unknown };
        let Some(table) = config.tables.iter().find(|table| table.name == stored.name) else {
            return Columns::None;
        };
        let written = table.columns.iter().map(|column| column.name.to_ascii_lowercase());
        if written.eq(stored.columns.iter().cloned()) { Columns::Same } else { Columns::Other }
    };
    Ok(tables.iter().map(of).collect())
}

/// Returns whether keys with this prefix can have records of the time, by the last `yyyy/MM[/dd[/HH]]` in it, if any. Names of
/// Hive's style, such as `year=`, may be before the numbers.
fn may_hold(prefix: &str, period: Period) -> bool {
    let parts: Vec<&str> = prefix.split('/').map(|part| part.rsplit('=').next().unwrap_or(part)).collect();
    let number = |at: usize, digits: usize| -> Option<i64> {
        parts.get(at).filter(|part| part.len() == digits)?.parse().ok()
    };
    let date = |at: usize| {
        let (year, month) = (number(at, 4)?, number(at + 1, 2)?);
        let day = number(at + 2, 2);
        let first = Date::new(year as i16, month as i8, day.unwrap_or(1) as i8).ok()?;
        Some((first, day.is_some(), number(at + 3, 2).filter(|_| day.is_some())))
    };
    let Some((date, has_day, hour)) = (0..parts.len()).rev().find_map(date) else { return true };
    let second = |date: Date| date.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_second());
    let from = second(date) + hour.unwrap_or(0) * HOUR;
    let to = match (has_day, hour) {
        (_, Some(_)) => from + HOUR,
        (true, None) => from + DAY,
        (false, None) => second(date.saturating_add(1.month())),
    };
    from - period.late < period.span.to && to + HOUR > period.span.from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_in_a_prefix_decides_which_records_it_can_have() {
        let span = Span { from: 1_771_372_800, to: 1_771_459_200 }; // 2026-02-18
        let day = Period { span, late: DAY };
        let holds = [
            "",
            "firehose/",
            "2025/",
            "a/2026/02/18/",
            "a/2026/02/19/03",
            "a/2026/02/",
            "a/2026/02/18/23/x",
            "team/2000/firehose/2026/02/18/",
            "2001/01/firehose/2026/02/",
            "a/year=2026/month=02/day=18/",
            "dt=2026-02-16/",
        ];
        for prefix in holds {
            assert!(may_hold(prefix, day), "{prefix}");
        }
        for prefix in
            ["a/2026/02/16/", "a/2026/02/21/", "a/2026/03/", "a/2026/02/17/22/", "year=2026/month=02/day=16/"]
        {
            assert!(!may_hold(prefix, day), "{prefix}");
        }
        assert!(may_hold("a/2026/02/21/", Period { span, late: 7 * DAY }));
    }
}
