//! Closes days: from then on a run accepts no arrivals, and the operations of every run list the day, send the objects without a
//! receipt, check and report.

use std::collections::BTreeSet;

use flowherd_shared::{
    layout,
    ledger::put_json_if_absent,
    queue::Queue,
    store::{Lister, Store, pages},
};
use serde::{Deserialize, Serialize};

use super::{
    begin::{LiveStage, RunOfDay},
    day::{Day, Territory, parse_run_name, run_name},
};
use crate::{coordinator::Coordinator, error::CoordinatorError, state::RunState};

/// Days before yesterday that a close looks for, because the schedule may have failed.
const LOOK_BACK: i64 = 7;

/// The options of a close: members of the function's event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseOptions {
    /// The fleet; by default the only live one.
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
    /// remaining objects then go into another run.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for a day in the future. The call can be repeated.
    pub fn close(&self, territory: &Territory, day: Option<Day>) -> Result<Closed, CoordinatorError> {
        let today = Day::of((self.clock)());
        let mut closed = Closed { operation: "close", ..Closed::default() };
        if let Some(day) = day {
            if day > today {
                return Err(CoordinatorError::Refused(format!("day {} has not begun", day.text())));
            }
            let found = self.run_of_day(territory, day, |stage| stage != LiveStage::Ended)?;
            closed.runs.push(self.close_run(territory, &found)?);
            return Ok(closed);
        }
        for day in self.days_to_close(today)? {
            match self.close_day(territory, day) {
                Ok(states) => closed.runs.extend(states),
                Err(error) if error.is_permanent() => {
                    closed.problems.push(format!("day {}: {}", day.text(), error.on_one_line()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(closed)
    }

    /// Closes the runs of a day that have no report. Begins a run if the day has none: its events may have been lost.
    fn close_day(&self, territory: &Territory, day: Day) -> Result<Vec<RunState>, CoordinatorError> {
        let mut runs = self.runs_of_day(day)?;
        let is_proven = match runs.last() {
            // A purge may have ended the last run without a report.
            Some(RunOfDay { run, stage: LiveStage::Ended }) => self.exists(&layout::report(&run.run))?,
            Some(_) => true,
            None => false,
        };
        if !is_proven {
            runs.push(self.run_of_day(territory, day, |stage| stage != LiveStage::Ended)?);
        }
        let pending = runs.iter().filter(|found| found.stage != LiveStage::Ended);
        pending.map(|found| self.close_run(territory, found)).collect()
    }

    fn close_run(&self, territory: &Territory, found: &RunOfDay) -> Result<RunState, CoordinatorError> {
        let run = &found.run;
        if found.stage == LiveStage::Open {
            let begun = run.live.as_ref().map_or(&[][..], |live| &live.prefixes);
            let closing = territory.closing(begun);
            put_json_if_absent(self.results, &layout::closing(&run.run), &closing)
                .map_err(CoordinatorError::Ledger)?;
        }
        self.resume_driving(&run.run)
    }

    /// Returns yesterday, the days before it since the last one that has a run, and all days before today with a run marker.
    fn days_to_close(&self, today: Day) -> Result<BTreeSet<Day>, CoordinatorError> {
        let yesterday = today.plus(-1);
        let mut days = BTreeSet::from([yesterday]);
        let mut missed = BTreeSet::new();
        for back in 1..=LOOK_BACK {
            let day = yesterday.plus(-back);
            if self.exists(&layout::run(&run_name(self.fleet, day, 0)))? {
                days.append(&mut missed);
                break;
            }
            missed.insert(day);
        }
        for page in pages(self.results, layout::ACTIVE) {
            let entries = page.map_err(CoordinatorError::Ledger)?.entries;
            let names = entries
                .iter()
                .filter_map(|entry| entry.key.strip_prefix(layout::ACTIVE)?.strip_suffix(".json"));
            let marked = names.filter_map(|name| parse_run_name(self.fleet, name));
            days.extend(marked.map(|(day, _)| day).filter(|day| *day < today));
        }
        Ok(days)
    }
}
