//! The tables of `flowherd runs` and `flowherd status`.

use flowherd_shared::ledger::{Report, Run};
use indicatif::HumanCount;
use serde::Serialize;

use crate::summary::{self, columns};

/// A run, its state and its report.
#[derive(Debug, Serialize)]
pub(crate) struct ListedRun {
    #[serde(flatten)]
    pub(crate) run: Run,
    pub(crate) state: &'static str,
    pub(crate) report: Option<Report>,
}

/// The objects of a run by outcome.
#[derive(Debug, Serialize)]
pub(crate) struct RunProgress {
    pub(crate) run: String,
    pub(crate) prefix: String,
    pub(crate) state: &'static str,
    pub(crate) started: String,
    #[serde(skip)]
    pub(crate) is_active: bool,
    pub(crate) listed: u64,
    pub(crate) done: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    /// Without an outcome.
    pub(crate) remaining: u64,
}

/// Returns the word for the state of a run.
pub(crate) fn state(is_active: bool, report: Option<&Report>) -> &'static str {
    match report {
        _ if is_active => "in progress",
        Some(report) => summary::state(report.state),
        None => "no report",
    }
}

/// Returns the table of `flowherd runs`.
pub(crate) fn of_runs(runs: &[ListedRun]) -> String {
    let rows = runs.iter().map(|ListedRun { run, state, report }| {
        let listed = run.manifest.map_or_else(|| "-".to_owned(), |totals| count(totals.objects));
        let mut row = vec![run.run.clone(), run.prefix.clone(), (*state).to_owned(), listed];
        match report {
            Some(report) => {
                let objects = &report.objects;
                let counts = [objects.done, objects.skipped, objects.failed, objects.missing];
                row.extend(counts.map(count));
                row.push(count(report.records.rows));
            }
            None => row.extend(["-"; 5].map(str::to_owned)),
        }
        row
    });
    let head = ["run", "prefix", "state", "listed", "done", "skipped", "failed", "missing", "rows"];
    columns(&head, rows, 3)
}

/// Returns the table of `flowherd status`.
pub(crate) fn of_progress(runs: &[RunProgress]) -> String {
    let rows = runs.iter().map(|run| {
        let mut row = vec![run.run.clone(), run.prefix.clone(), run.state.to_owned()];
        row.extend([run.listed, run.done, run.skipped, run.failed, run.remaining].map(count));
        row
    });
    let head = ["run", "prefix", "state", "listed", "done", "skipped", "failed", "remaining"];
    columns(&head, rows, 3)
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}
