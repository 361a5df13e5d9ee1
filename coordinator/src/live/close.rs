//! Closes days: from then on a run accepts no arrivals, and the operations of every run list the day, send the objects without a
//! receipt, check and report.

use std::{collections::BTreeSet, time::Duration};

use flowherd_shared::{
    layout,
    ledger::{ReportState, Run, put_json_if_absent},
    queue::Queue,
    store::{Lister, Store, pages},
};
use serde::{Deserialize, Serialize};

use super::{
    batch::FleetKeys,
    day::{Day, FleetPrefixes, parse_run_name, run_name},
    stage::{LiveStage, RunOfDay},
};
use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    marker::{self, PURGE_LIMIT},
    state::RunState,
};

/// Days before yesterday that a close looks for, because the schedule may have failed.
const LOOK_BACK: i64 = 7;
/// Runs of a response. The state of each has about 400 bytes, and up to 1,024 more of its prefix.
const RETURNED_RUNS: usize = 100;
/// Problems of a response, of a few hundred bytes each.
const PROBLEMS: usize = 50;
/// Purged runs that a problem names.
const NAMED_RUNS: usize = 10;
/// Age from which the marker of a purged run without `purged.json` belongs to a purge that was interrupted: it has not deleted
/// messages.
const STALE: Duration = PURGE_LIMIT.saturating_mul(6);

/// The options of a close: members of the function's event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseOptions {
    /// The fleet; by default the only convert fleet, or the only live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The day; by default all days that are over and not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
}

/// The runs that were closed, each with the state from which to drive it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The operation, as in the event.
    pub operation: &'static str,
    /// The runs.
    pub runs: Vec<RunState>,
    /// Why other days are not closed, one line each.
    pub problems: Vec<String>,
    /// Days that this call has not looked at, because it has returned enough runs. The next close does.
    pub remaining: usize,
}

impl CloseOptions {
    /// Parses the day.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for other text than a day.
    pub fn parse_day(&self) -> Result<Option<Day>, CoordinatorError> {
        let parse = |text: &String| {
            Day::parse(text).ok_or_else(|| {
                CoordinatorError::Refused(format!("{text:?} is not a day. Example: 2026-02-18"))
            })
        };
        self.day.as_ref().map(parse).transpose()
    }
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Closes all days that are over, or one day. A day that is named is closed again if it is closed already, and today's
    /// remaining objects then go into another run. Of a fleet that is no longer live, closes only the runs that have begun.
    ///
    /// Returns at most 100 runs, because a state of Step Functions has at most 256 KiB
    /// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>). The next close returns others.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for a day in the future, and for a fleet that is not live and has nothing to close. The call
    /// can be repeated.
    pub fn close(&self, keys: &FleetKeys, day: Option<Day>) -> Result<Closed, CoordinatorError> {
        self.queue_or("set its driver to queue to close its days")?;
        let today = Day::of((self.clock)());
        let mut closed = Closed { operation: "close", ..Closed::default() };
        if let Some(day) = day {
            if day > today {
                return Err(CoordinatorError::Refused(format!("day {} has not begun", day.text())));
            }
            closed.runs = self.close_again(keys, day)?;
            return Ok(closed);
        }
        let days = if keys.live { self.days_to_close(today)? } else { self.marked_days(|day| day <= today)? };
        for (at, day) in days.iter().enumerate() {
            if closed.runs.len() >= RETURNED_RUNS || closed.problems.len() >= PROBLEMS {
                closed.remaining = days.len() - at;
                break;
            }
            match self.close_day(keys, *day, RETURNED_RUNS - closed.runs.len()) {
                Ok(states) => closed.runs.extend(states),
                Err(error) if error.is_permanent() => {
                    closed.problems.push(format!("day {}: {}", day.text(), error.on_one_line()));
                }
                Err(error) => return Err(error),
            }
        }
        if !keys.live && closed.runs.is_empty() && closed.problems.is_empty() {
            return Err(not_live(keys, "no day to close"));
        }
        Ok(closed)
    }

    /// Closes the runs of a day that have not ended. Begins a run if the last one does not prove the day, or if there is none:
    /// its events may have been lost.
    fn close_day(&self, keys: &FleetKeys, day: Day, limit: usize) -> Result<Vec<RunState>, CoordinatorError> {
        let purged = self.purged_runs(day)?;
        let settled = self.settled(&purged)?;
        let mut runs = self.runs_of_day(day)?;
        let needs_run = match runs.last() {
            Some(RunOfDay { run, stage: LiveStage::Ended }) => !self.proves_its_day(run)?,
            Some(_) => false,
            None => true,
        };
        if !needs_run && runs.iter().all(|found| found.stage == LiveStage::Ended) {
            for name in settled {
                self.results.remove(&layout::unclosed(name)).map_err(CoordinatorError::Ledger)?;
            }
        }
        if needs_run && keys.live {
            let run = self.open_run(&keys.prefixes, day)?;
            runs.push(RunOfDay { run, stage: LiveStage::Open });
        }
        let closed = self.close_pending(keys, &runs, limit)?;
        if needs_run && !keys.live && closed.is_empty() && !purged.is_empty() {
            return Err(CoordinatorError::Refused(format!(
                "a purge ended {names}, and fleet {} is not live, so no close begins another run; run its prefix: flowherd run \
                 --prefix PREFIX; then remove each marker, such as: flowherd runs --forget {}",
                keys.fleet,
                purged[0],
                names = purged.iter().take(NAMED_RUNS).map(String::as_str).collect::<Vec<_>>().join(", "),
            )));
        }
        Ok(closed)
    }

    /// Returns the runs of a day that a purge has ended, or is about to end: those with a marker for it.
    fn purged_runs(&self, day: Day) -> Result<Vec<String>, CoordinatorError> {
        let mut runs = Vec::new();
        // The names of all runs of a day begin with that of the first one.
        let first = layout::unclosed(&run_name(self.fleet, day, 0));
        for page in pages(self.results, first.trim_end_matches(".json")) {
            let entries = page.map_err(CoordinatorError::Ledger)?.entries;
            let names = entries.iter().filter_map(|entry| unclosed_run(&entry.key));
            let is_of_day = |name: &&str| parse_run_name(self.fleet, name).is_some_and(|(of, _)| of == day);
            runs.extend(names.filter(is_of_day).map(str::to_owned));
        }
        Ok(runs)
    }

    /// Returns those of these purged runs whose marker may be removed if the day turns out to be proven. Call it before reading the
    /// proof: a purge writes the marker before `purged.json`, so a marker without that file may belong to a purge in progress, which
    /// the proof does not see yet.
    fn settled<'r>(&self, purged: &'r [String]) -> Result<Vec<&'r str>, CoordinatorError> {
        let ledger = CoordinatorError::Ledger;
        let mut settled = Vec::new();
        for name in purged {
            let age = || self.results.head(&layout::unclosed(name)).map(|head| head.map(|head| head.age()));
            // A run with a run marker can still lose its messages to another purge.
            let is_interrupted = || -> Result<bool, CoordinatorError> {
                let is_stale = age().map_err(ledger)?.is_some_and(|age| age >= STALE);
                Ok(is_stale && !self.exists(&layout::active(name))?)
            };
            let is_settled =
                marker::purged(self.results, name).map_err(ledger)?.is_some() || is_interrupted()?;
            if is_settled {
                settled.push(name.as_str());
            }
        }
        Ok(settled)
    }

    /// Returns whether a run has a report of its whole listing. After a purge, only a report without a lost task counts.
    fn proves_its_day(&self, run: &Run) -> Result<bool, CoordinatorError> {
        let Some(report) = self.report_of_listing(run)? else { return Ok(false) };
        let is_purged = marker::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some();
        Ok(!is_purged || report.state == ReportState::Done)
    }

    /// Closes the runs of a day that have not ended. Begins another one if all have ended.
    fn close_again(&self, keys: &FleetKeys, day: Day) -> Result<Vec<RunState>, CoordinatorError> {
        let mut runs = self.runs_of_day(day)?;
        if runs.iter().all(|found| found.stage == LiveStage::Ended) {
            if !keys.live {
                return Err(not_live(keys, &format!("no open run of day {}", day.text())));
            }
            let run = self.open_run(&keys.prefixes, day)?;
            runs.push(RunOfDay { run, stage: LiveStage::Open });
        }
        self.close_pending(keys, &runs, RETURNED_RUNS)
    }

    /// Closes up to `limit` of these runs.
    fn close_pending(
        &self,
        keys: &FleetKeys,
        runs: &[RunOfDay],
        limit: usize,
    ) -> Result<Vec<RunState>, CoordinatorError> {
        let pending = runs.iter().filter(|found| found.stage != LiveStage::Ended);
        pending.take(limit).map(|found| self.close_run(&keys.prefixes, found)).collect()
    }

    fn close_run(&self, prefixes: &FleetPrefixes, found: &RunOfDay) -> Result<RunState, CoordinatorError> {
        let run = &found.run;
        if found.stage == LiveStage::Open {
            let begun = run.live.as_ref().map_or(&[][..], |live| &live.prefixes);
            let closing = prefixes.closing(begun);
            put_json_if_absent(self.results, &layout::closing(&run.run), &closing)
                .map_err(CoordinatorError::Ledger)?;
        }
        self.resume_driving(&run.run)
    }

    /// Returns the days to close, in this order: yesterday; the days before it, back to the earliest of the past week with a run or run
    /// marker; older days with a run marker. The older days are rotated by date, so that days which never close do not starve the
    /// others.
    fn days_to_close(&self, today: Day) -> Result<Vec<Day>, CoordinatorError> {
        let yesterday = today.plus(-1);
        // The marker is written before the run, so after a failed begin there may be only the marker.
        let marked = self.marked_days(|day| day < yesterday)?;
        let in_week = marked.iter().copied().filter(|day| *day >= yesterday.plus(-LOOK_BACK));
        let mut first = in_week.min().unwrap_or(yesterday);
        for day in (1..=LOOK_BACK).map(|back| yesterday.plus(-back)) {
            if self.exists(&layout::run(&run_name(self.fleet, day, 0)))? {
                first = first.min(day);
            }
        }
        let mut days: Vec<Day> =
            (0..=LOOK_BACK).map(|back| yesterday.plus(-back)).take_while(|day| *day >= first).collect();
        let mut older: Vec<Day> = marked.into_iter().filter(|day| *day < first).collect();
        if !older.is_empty() {
            let turn = today.in_year() * RETURNED_RUNS % older.len();
            older.rotate_left(turn);
        }
        days.append(&mut older);
        Ok(days)
    }

    /// Returns the days that fit with a run marker, also of runs that a purge has ended, latest first.
    fn marked_days(&self, fits: impl Fn(Day) -> bool) -> Result<Vec<Day>, CoordinatorError> {
        let mut marked = BTreeSet::new();
        for page in pages(self.results, layout::ACTIVE) {
            let entries = page.map_err(CoordinatorError::Ledger)?.entries;
            let names = entries
                .iter()
                .filter_map(|entry| entry.key.strip_prefix(layout::ACTIVE)?.strip_suffix(".json"))
                .map(|name| name.strip_prefix(layout::UNCLOSED).unwrap_or(name));
            let days = names.filter_map(|name| parse_run_name(self.fleet, name)).map(|(day, _)| day);
            marked.extend(days.filter(|day| fits(*day)));
        }
        Ok(marked.into_iter().rev().collect())
    }
}

/// Returns the run of the path of a purged run's marker.
fn unclosed_run(path: &str) -> Option<&str> {
    path.strip_prefix(layout::ACTIVE)?.strip_prefix(layout::UNCLOSED)?.strip_suffix(".json")
}

fn not_live(keys: &FleetKeys, why: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "fleet {} is not live and has {why}; set \"live\": true in its settings, or choose another one with --fleet",
        keys.fleet
    ))
}
