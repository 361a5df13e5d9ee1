//! The state of a day of a live fleet, from two listings: the objects of the day, and the receipts of its runs. It reads none of
//! the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use flowherd_shared::{
    ledger::{ReportState, layout},
    queue::Queue,
    store::{Lister, Store, StoreError, pages},
};
use serde::Serialize;

use super::{
    day::{Day, Territory},
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
    /// The others.
    pub waiting: u64,
    /// From the last modification of an object to its receipt; `None` without a receipt.
    pub latency: Option<Latency>,
    /// The object that has waited for the longest time.
    pub oldest_waiting: Option<Waiting>,
    /// Seconds since the latest receipt.
    pub last_done_seconds: Option<u64>,
    /// How the last run of the day ended; `None` without a report.
    pub verdict: Option<Verdict>,
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
    pub fn day_status(&self, territory: &Territory, day: Day) -> Result<DayStatus, CoordinatorError> {
        let runs: Vec<String> = self.runs_of_day(day)?.into_iter().map(|found| found.run.run).collect();
        let mut status = DayStatus { day: day.text(), runs, ..DayStatus::default() };
        let outcomes = Outcomes::read(self.results, &status.runs).map_err(CoordinatorError::Ledger)?;
        let now = SystemTime::from((self.clock)());
        status.last_done_seconds = outcomes.receipts.values().max().map(|last| seconds(*last, now));
        let mut latencies = Vec::new();
        let listing = DayListing { territory: territory.clone(), day };
        let mut next = Some(Position::default());
        while let Some(position) = next {
            let page =
                listing.page(self.source, &position).map_err(|error| self.list_error(&day.path(), error))?;
            next = page.next;
            for (entry, modified) in page.entries.iter().zip(page.modified) {
                let modified = modified.unwrap_or(now);
                status.objects += 1;
                if let Some(receipt) = outcomes.receipts.get(&entry.key) {
                    status.done += 1;
                    latencies.push(seconds(modified, *receipt));
                } else if outcomes.failures.contains(&entry.key) {
                    status.failed += 1;
                } else {
                    status.add_waiting(&entry.key, seconds(modified, now));
                }
            }
        }
        status.latency = latency(latencies);
        status.verdict = self.verdict(&status.runs)?;
        Ok(status)
    }

    fn verdict(&self, runs: &[String]) -> Result<Option<Verdict>, CoordinatorError> {
        let Some(run) = runs.last() else { return Ok(None) };
        let report = finished_report(self.results, run).map_err(CoordinatorError::Ledger)?;
        Ok(report.map(|report| Verdict {
            run: run.clone(),
            state: report.state,
            listed: report.objects.listed,
            not_done: report.objects.failed + report.objects.missing,
        }))
    }
}

impl DayStatus {
    fn add_waiting(&mut self, key: &str, seconds: u64) {
        self.waiting += 1;
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

impl Outcomes {
    fn read(results: &(impl Store + Lister), runs: &[String]) -> Result<Self, StoreError> {
        let mut outcomes = Self::default();
        for run in runs {
            each(results, &layout::receipts(run), |key, modified| {
                if let Some(modified) = modified {
                    outcomes.receipts.insert(key, modified);
                }
            })?;
            each(results, &layout::failures(run), |key, _| _ = outcomes.failures.insert(key))?;
        }
        Ok(outcomes)
    }
}

/// Calls `visit` with the source key of each ledger file below a path.
fn each(
    results: &impl Lister,
    directory: &str,
    mut visit: impl FnMut(String, Option<SystemTime>),
) -> Result<(), StoreError> {
    for page in pages(results, directory) {
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
