//! The tables of `flowherd runs` and `flowherd status`.

use console::Style;
use flowherd_shared::ledger::{Report, Run, layout};
use indicatif::HumanCount;
use serde::Serialize;

use crate::{
    stop::Stop,
    summary::{self, print_message, state_style, table},
    terminal,
};

/// The report of a run: absent, valid, or there and unusable for a reason.
pub(crate) type ReportFile = Option<Result<Report, String>>;

/// A run, its state and its report.
#[derive(Debug, Serialize)]
pub(crate) struct ListedRun {
    #[serde(flatten)]
    pub(crate) run: Run,
    pub(crate) state: &'static str,
    pub(crate) report: Option<Report>,
    /// Why the report cannot be used.
    #[serde(skip)]
    damage: Option<String>,
}

impl ListedRun {
    pub(crate) fn new(run: Run, is_active: bool, report: ReportFile) -> Self {
        let state = state(is_active, report.as_ref());
        let (report, damage) = match report {
            Some(Ok(report)) => (Some(report), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        Self { run, state, report, damage }
    }
}

/// Fails after it has named the runs whose report cannot be used.
pub(crate) fn check_reports(runs: &[ListedRun]) -> Result<(), Stop> {
    let damaged = runs.iter().filter_map(|run| Some((layout::report(&run.run.run), run.damage.as_ref()?)));
    let count = damaged.map(|(path, why)| print_message(&format!("{path}: {why}"))).count();
    if count == 0 { Ok(()) } else { Err(Stop::Failed) }
}

/// The objects of a run by outcome.
#[derive(Debug, Serialize)]
pub(crate) struct RunProgress {
    pub(crate) run: String,
    /// `None` for a run of `flowherd convert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fleet: Option<String>,
    pub(crate) prefix: String,
    pub(crate) state: &'static str,
    pub(crate) started: String,
    #[serde(skip)]
    pub(crate) is_active: bool,
    /// Whether all objects are listed. Until then `listed` and `remaining` are not known.
    pub(crate) is_listed: bool,
    pub(crate) listed: u64,
    pub(crate) done: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    /// Without an outcome.
    pub(crate) remaining: u64,
}

/// Returns the word for the state of a run.
pub(crate) fn state(is_active: bool, report: Option<&Result<Report, String>>) -> &'static str {
    match report {
        _ if is_active => "in progress",
        Some(Ok(report)) => summary::state(report.state),
        Some(Err(_)) => "damaged report",
        None => "no report",
    }
}

/// Returns the table of `flowherd runs`; `with_fleets`: with the fleet of each run.
pub(crate) fn of_runs(runs: &[ListedRun], with_fleets: bool) -> String {
    let rows = runs.iter().map(|ListedRun { run, state, report, .. }| {
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
    let fleets = runs.iter().map(|run| run.run.fleet.as_str());
    with_states(&head, rows.collect(), with_fleets.then(|| fleets.collect()))
}

/// Returns the table of `flowherd status`; `with_fleets`: with the fleet of each run.
pub(crate) fn of_progress(runs: &[RunProgress], with_fleets: bool) -> String {
    let rows = runs.iter().map(|run| {
        let mut row = vec![run.run.clone(), run.prefix.clone(), run.state.to_owned()];
        let if_listed = |number| if run.is_listed { count(number) } else { "-".to_owned() };
        row.push(if_listed(run.listed));
        row.extend([run.done, run.skipped, run.failed].map(count));
        row.push(if_listed(run.remaining));
        row
    });
    let head = ["run", "prefix", "state", "listed", "done", "skipped", "failed", "remaining"];
    let fleets = runs.iter().map(|run| run.fleet.as_deref().unwrap_or("-"));
    with_states(&head, rows.collect(), with_fleets.then(|| fleets.collect()))
}

/// Returns a table of run, fleet if given, prefix, coloured state, and counts.
fn with_states(head: &[&str], mut rows: Vec<Vec<String>>, fleets: Option<Vec<&str>>) -> String {
    let (mut head, mut state_column) = (head.to_vec(), 2);
    if let Some(fleets) = fleets {
        head.insert(1, "fleet");
        state_column += 1;
        rows.iter_mut().zip(fleets).for_each(|(row, fleet)| row.insert(1, fleet.to_owned()));
    }
    let style = |column, text: &str| if column == state_column { state_style(text) } else { Style::new() };
    table::render_styled(&head, &rows, |column| column > state_column, style, terminal::width())
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}
