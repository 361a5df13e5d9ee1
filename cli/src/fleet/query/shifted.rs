//! Rows that were written with other columns than a table has now: a reader of CSV goes by position, so it would take one
//! value for another and say nothing.

use std::{collections::BTreeMap, io};

use flowherd_coordinator::parallel;
use flowherd_shared::{
    config::Config,
    ledger::{Report, ReportState, Run, layout, read_json},
    questions::Span,
    store::Store,
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};

/// Ledger files read at once.
const READERS: usize = 32;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A table and the columns that it has in the database.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) table: &'a str,
    pub(super) columns: &'a [String],
}

/// What a run wrote that a table would misread, one line each. `span` is the time that is asked for; none: any.
pub(super) fn find(
    results: &impl Store,
    runs: &[String],
    known: &[Known<'_>],
    span: Option<Span>,
) -> io::Result<Vec<String>> {
    let read = parallel::map(READERS, runs, |name| read_json::<Run>(results, &layout::run(name)));
    let read: io::Result<Vec<Option<Run>>> = read.into_iter().collect();
    let mut runs: Vec<Run> = read?.into_iter().flatten().collect();
    runs.sort_by(|a, b| b.started.cmp(&a.started));

    // Latest first: a prefix that was done since with the right columns has no others any more.
    let mut by_config: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut done_since: Vec<String> = Vec::new();
    let mut told = Vec::new();
    for run in &runs {
        if !by_config.contains_key(&run.basis.config_hash) {
            by_config.insert(run.basis.config_hash.clone(), shifted(results, &run.run, known)?);
        }
        let tables = &by_config[&run.basis.config_hash];
        if tables.is_empty() {
            // Only what may be replaced needs the proof that it was.
            done_since.push(run.run.clone());
            continue;
        }
        if span.is_some_and(|span| !may_hold(&run.prefix, span)) {
            continue;
        }
        let mut is_replaced = false;
        for later in &done_since {
            let prefix = runs.iter().find(|run| run.run == *later).map_or("", |run| &*run.prefix);
            if run.prefix.starts_with(prefix) {
                let report: Option<Report> = read_json(results, &layout::report(later))?;
                is_replaced |= report.is_some_and(|report| report.state == ReportState::Done);
            }
        }
        if !is_replaced {
            told.push(format!(
                "run {} (prefix {:?}, {}) wrote other columns than table {} has: its rows would be misread; run that \
                 prefix again (flowherd rerun --prefix), or deploy the tables of its rules (runs/{}/flowherd.toml)",
                run.run,
                run.prefix,
                run.started,
                tables.join(" and "),
                run.run
            ));
        }
    }
    Ok(told)
}

/// Which of the tables have other columns by the rules of a run.
fn shifted(results: &impl Store, run: &str, known: &[Known<'_>]) -> io::Result<Vec<String>> {
    let config = match results.get(&layout::config(run))? {
        None => Some(Config::default()),
        Some(bytes) => std::str::from_utf8(&bytes).ok().and_then(|text| Config::parse(text).ok()),
    };
    // Rules of a later version than this one: nobody can say.
    let Some(config) = config else { return Ok(known.iter().map(|known| known.table.to_owned()).collect()) };
    let differs = |known: &&Known<'_>| {
        config.tables.iter().filter(|table| table.name == known.table).any(|table| {
            let written = table.columns.iter().map(|column| column.name.to_ascii_lowercase());
            !written.eq(known.columns.iter().cloned())
        })
    };
    Ok(known.iter().filter(differs).map(|known| known.table.to_owned()).collect())
}

/// Whether keys with this prefix can hold records of that time: by the year, month, day and hour in it, if it has any.
fn may_hold(prefix: &str, span: Span) -> bool {
    let parts: Vec<&str> = prefix.split('/').collect();
    let number = |at: usize, digits: usize| -> Option<i64> {
        parts.get(at).filter(|part| part.len() == digits)?.parse().ok()
    };
    let Some(at) =
        (0..parts.len()).find(|at| number(*at, 4).is_some_and(|year| (1970..3000).contains(&year)))
    else {
        return true;
    };
    let (month, day, hour) = (number(at + 1, 2), number(at + 2, 2), number(at + 3, 2));
    let date = Date::new(
        number(at, 4).unwrap_or_default() as i16,
        month.unwrap_or(1) as i8,
        day.filter(|_| month.is_some()).unwrap_or(1) as i8,
    );
    let Ok(date) = date else { return true };
    let second = |date: Date| date.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_second());
    let (from, to) = match (month, day, hour) {
        (Some(_), Some(_), Some(hour)) => (second(date) + hour * HOUR, second(date) + (hour + 1) * HOUR),
        (Some(_), Some(_), None) => (second(date), second(date) + DAY),
        (Some(_), None, _) => (second(date), second(date.saturating_add(1.month()))),
        _ => (second(date), second(date.saturating_add(1.year()))),
    };
    // Records arrive up to a day late.
    from - DAY < span.to && to + HOUR > span.from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_tells_by_its_date_which_records_it_can_hold() {
        let day = Span { from: 1_771_372_800, to: 1_771_459_200 }; // 2026-02-18
        let holds =
            ["", "firehose/", "a/2026/02/18/", "a/2026/02/19/03", "a/2026/02/", "2026/", "a/2026/02/18/23/x"];
        for prefix in holds {
            assert!(may_hold(prefix, day), "{prefix}");
        }
        for prefix in ["a/2026/02/17/", "a/2026/02/21/", "2025/", "a/2026/03/", "a/2026/02/17/22/"] {
            assert!(!may_hold(prefix, day), "{prefix}");
        }
    }
}
