//! The state of a day of a live fleet, from the listings of its objects, receipts and failures. It reads no object and no receipt,
//! only the runs and their reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use flowherd_shared::{
    ledger::{ReportState, Run, layout},
    queue::Queue,
    store::{Lister, Store, StoreError, pages},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    day::{Day, FleetPrefixes},
    listing::{DayListing, Position},
};
use crate::{coordinator::Coordinator, error::CoordinatorError, report::finished_report};

/// The state of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DayStatus {
    /// The day in UTC.
    pub day: String,
    /// Its runs, in the order of their begin.
    pub runs: Vec<String>,
    /// Objects of the day that exist now.
    pub objects: u64,
    /// Those with a receipt.
    pub done: u64,
    /// Those with a failure and no receipt.
    pub failed: u64,
    /// The others. Before the close, this includes objects from before the fleet was live.
    pub waiting: u64,
    /// From the last modification of an object to its receipt; `None` without a receipt.
    pub latency: Option<Latency>,
    /// The object that has waited longest, of those written since the fleet went live.
    pub oldest_waiting: Option<Waiting>,
    /// Seconds since the latest receipt.
    pub last_done_seconds: Option<u64>,
    /// The report of the day: that of the last run that has one.
    pub verdict: Option<Verdict>,
    /// The latest run, if it began after the run of the verdict and has no report: objects arrived after the close.
    pub late_run: Option<String>,
}

/// Seconds from the last modification of an object to its receipt. The store rounds both times to seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of the objects took at most this long.
    pub median_seconds: u64,
    /// 95 % of the objects took at most this long.
    pub p95_seconds: u64,
}

/// An object without a receipt or failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The object.
    pub key: String,
    /// Since its last modification.
    pub seconds: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The run.
    pub run: String,
    /// The state that its report gives.
    pub state: ReportState,
    /// Objects that were listed.
    pub listed: u64,
    /// Objects that failed or are missing.
    pub not_done: u64,
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Returns the state of a day. Changes nothing.
    pub fn day_status(&self, keys: &FleetPrefixes, day: Day) -> Result<DayStatus, CoordinatorError> {
        let runs: Vec<Run> = self.runs_of_day(day)?.into_iter().map(|found| found.run).collect();
        let live_since = self.live_since(day, &runs)?;
        let runs = runs.into_iter().map(|run| run.run).collect();
        let mut status = DayStatus { day: day.text(), runs, ..DayStatus::default() };
        let outcomes = self.read_outcomes(&status.runs).map_err(CoordinatorError::Ledger)?;
        let now = SystemTime::from((self.clock)());
        status.last_done_seconds = outcomes.receipts.values().max().map(|last| seconds(*last, now));
        let mut latencies = Vec::new();
        let listing = DayListing { prefixes: keys.clone(), day, lost: Vec::new() };
        let mut next = Some(Position::default());
        while let Some(position) = next {
            let page =
                listing.page(self.source, &position).map_err(|error| self.list_error(&day.path(), error))?;
            next = page.next;
            (self.on_page)();
            for (entry, modified) in page.entries.iter().zip(page.modified) {
                let modified = modified.unwrap_or(now);
                status.objects += 1;
                if let Some(receipt) = outcomes.receipts.get(&entry.key) {
                    status.done += 1;
                    latencies.push(seconds(modified, *receipt));
                } else if outcomes.failures.contains(&entry.key) {
                    status.failed += 1;
                } else {
                    status.waiting += 1;
                    if live_since.is_some_and(|since| modified >= since) {
                        status.add_waiting(&entry.key, seconds(modified, now));
                    }
                }
            }
        }
        status.latency = latency(latencies);
        self.add_verdict(&mut status)?;
        Ok(status)
    }

    /// Returns since when the fleet is known to be live: the begin of the first run of the day before, or else of this day.
    fn live_since(&self, day: Day, runs: &[Run]) -> Result<Option<SystemTime>, CoordinatorError> {
        let before = self.runs_of_day(day.plus(-1))?;
        let begins = before.iter().map(|found| &found.run).chain(runs).map(|run| {
            let begin: Result<Timestamp, _> = run.started.parse();
            begin.map(SystemTime::from).map_err(|error| {
                CoordinatorError::Damaged(format!("{}: started: {error}", layout::run(&run.run)))
            })
        });
        Ok(begins.collect::<Result<Vec<_>, _>>()?.into_iter().min())
    }

    fn add_verdict(&self, status: &mut DayStatus) -> Result<(), CoordinatorError> {
        for run in status.runs.iter().rev() {
            let Some(report) = finished_report(self.results, run).map_err(CoordinatorError::Ledger)? else {
                continue;
            };
            status.late_run = status.runs.last().filter(|last| *last != run).cloned();
            status.verdict = Some(Verdict {
                run: run.clone(),
                state: report.state,
                listed: report.objects.listed,
                not_done: report.objects.failed + report.objects.missing,
            });
            break;
        }
        Ok(())
    }

    /// Reads the keys with an outcome in one of the runs.
    fn read_outcomes(&self, runs: &[String]) -> Result<Outcomes, StoreError> {
        let mut outcomes = Outcomes::default();
        for run in runs {
            self.each(&layout::receipts(run), |key, modified| {
                if let Some(modified) = modified {
                    outcomes.receipts.insert(key, modified);
                }
            })?;
            self.each(&layout::failures(run), |key, _| _ = outcomes.failures.insert(key))?;
        }
        Ok(outcomes)
    }

    /// Calls `visit` with the source key of each ledger file below a path.
    fn each(
        &self,
        directory: &str,
        mut visit: impl FnMut(String, Option<SystemTime>),
    ) -> Result<(), StoreError> {
        for page in pages(self.results, directory) {
            (self.on_page)();
            let page = page?;
            for (entry, modified) in page.entries.iter().zip(page.modified) {
                let key = entry.key.strip_prefix(directory).and_then(|path| path.strip_suffix(".json"));
                if let Some(key) = key {
                    visit(key.to_owned(), modified);
                }
            }
        }
        Ok(())
    }
}

impl DayStatus {
    /// Notes an object that waits, if none has waited longer.
    fn add_waiting(&mut self, key: &str, seconds: u64) {
        if self.oldest_waiting.as_ref().is_none_or(|oldest| oldest.seconds < seconds) {
            self.oldest_waiting = Some(Waiting { key: key.to_owned(), seconds });
        }
    }
}

/// The keys with an outcome, from the paths of ledger files.
#[derive(Default)]
struct Outcomes {
    /// With the time of the receipt.
    receipts: BTreeMap<String, SystemTime>,
    failures: BTreeSet<String>,
}

/// Returns the seconds between two times; 0 if the store has rounded the later one below the earlier one.
fn seconds(from: SystemTime, to: SystemTime) -> u64 {
    to.duration_since(from).unwrap_or(Duration::ZERO).as_secs()
}

fn latency(mut seconds: Vec<u64>) -> Option<Latency> {
    seconds.sort_unstable();
    let at = |percent: usize| {
        let rank = (seconds.len() * percent).div_ceil(100);
        seconds.get(rank.checked_sub(1)?).copied()
    };
    Some(Latency { median_seconds: at(50)?, p95_seconds: at(95)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_95th_percentile_are_values_that_occurred() {
        assert_eq!(latency(vec![]), None);
        assert_eq!(latency(vec![7]), Some(Latency { median_seconds: 7, p95_seconds: 7 }));
        let hundred = (1..=100).rev().collect();
        assert_eq!(latency(hundred), Some(Latency { median_seconds: 50, p95_seconds: 95 }));
    }
}
