//! Text for people: reports as aligned tables, and messages on standard error.

mod report_text;
pub(crate) mod table;

use std::io::{self, Write};

use anyhow::Context;
use console::Style;
use flowherd_shared::ledger::{Report, ReportState};
pub(crate) use flowherd_shared::text::{is_printable, printable};
use indicatif::HumanCount;
use serde::Serialize;

pub(crate) use self::report_text::Details;
use crate::{stop::Stop, terminal};

/// The words for the states of a report.
const DONE: &str = "done";
const FAILED: &str = "failed";
const INCOMPLETE: &str = "incomplete";
/// Absent columns shown; the others are in the report.
const ABSENT_SHOWN: usize = 10;

/// Returns the summary of a run in the ledger, whose results are below `dest`.
pub(crate) fn report(report: &Report, dest: &str) -> String {
    report_text::text(report, &Details::of_ledger(dest), terminal::width())
}

/// Returns the summary of a run with its details.
pub(crate) fn detailed(report: &Report, details: &Details<'_>) -> String {
    report_text::text(report, details, terminal::width())
}

/// One line about a column without a value in any row of a rule.
pub(crate) fn absent_column(rule: &str, column: &str, rows: u64) -> String {
    let records = match rows {
        1 => "in the only record".to_owned(),
        rows => format!("in all {} records", HumanCount(rows)),
    };
    format!("{column}: absent {records} of rule {rule}")
}

/// Indented lines, the first [`ABSENT_SHOWN`] of them.
pub(crate) fn shortened(lines: &[String]) -> String {
    let more = lines.len().saturating_sub(ABSENT_SHOWN);
    let mut text: String =
        lines.iter().take(ABSENT_SHOWN).map(|line| format!("  {}\n", printable(line))).collect();
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    text
}

/// Prints what needs attention to standard error: each warning, and that no object was listed. The summary has the warnings
/// too, so a terminal that shows both streams gets them once. `as_json` means that no summary was printed.
pub(crate) fn warn(report: &Report, source: &str, as_json: bool) {
    if let Some(message) = report.no_objects(source) {
        print_message(&message);
    }
    if !as_json && terminal::shows_both_streams() {
        return;
    }
    for warning in &report.warnings {
        print_message(&format!("warning: {warning}"));
    }
}

/// Fails unless every object is done; with `strict` also if the run needs attention.
pub(crate) fn verdict(report: &Report, strict: bool) -> Result<(), Stop> {
    let fails = report.state != ReportState::Done || (strict && report.needs_attention());
    if fails { Err(Stop::Failed) } else { Ok(()) }
}

/// Returns the word for a state.
pub(crate) fn state(state: ReportState) -> &'static str {
    match state {
        ReportState::Done => DONE,
        ReportState::Failed => FAILED,
        ReportState::Incomplete => INCOMPLETE,
    }
}

/// Returns the style of a word for the state of a run.
pub(crate) fn state_style(state: &str) -> Style {
    let bold = Style::new().bold();
    match state {
        DONE => bold.green(),
        FAILED => bold.red(),
        INCOMPLETE => bold.yellow(),
        _ => Style::new(),
    }
}

/// Returns a table that fits the terminal. Columns from `numbers_from` on are right-aligned.
pub(crate) fn columns(
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    numbers_from: usize,
) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    table::render(head, &rows, |column| column >= numbers_from, terminal::width())
}

/// Prints to standard output. A closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    match terminal::without_line(|| io::stdout().lock().write_all(text.as_bytes())) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot print").into())
        }
        _ => Ok(()),
    }
}

/// Returns the output of `--json`.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Stop> {
    Ok(serde_json::to_string_pretty(value).context("cannot print JSON")? + "\n")
}

/// Prints one line to standard error, above a line of progress. A closed standard error does not stop the work.
pub(crate) fn print_message(text: &str) {
    terminal::print_line(&format!("flowherd: {}", printable(text)));
}
