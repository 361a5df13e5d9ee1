//! `runs/<run>/report.html`: the report of a run as one page to keep, without scripts and without requests.
//!
//! A page is smaller than [`MAX_REPORT_PAGE_BYTES`](crate::limits::MAX_REPORT_PAGE_BYTES), whatever the run: each list has a
//! maximum length, and each text a maximum size. `report.json` has the others. Log content is hostile, so every text is
//! escaped by its type, and a policy in the page forbids scripts and requests.

mod advice;
mod charts;
mod checks;
mod sections;
mod text;
mod timeline;

use maud::{DOCTYPE, PreEscaped, html};

pub use self::advice::{ADVICE, Advice};
use self::text::{Name, count, number, plural};
use crate::{
    layout,
    ledger::{Report, ReportState, Run},
    store::{Store, StoreError},
};

/// The colours are variables, so that dark mode and print change them in one place.
const STYLE: &str = include_str!("report_page/style.css");
/// Nothing is loaded, whatever the page contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Returns the page of a report. The same run and report give the same bytes.
#[must_use]
pub fn render(run: &Run, report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Run " (Name(&report.run)) ": " (state_name(report.state)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (sections::verdict(run, report))
                    div.pair { (sections::objects(report)) (sections::records(report)) }
                    @if report.documents.is_none() { (timeline::section(report)) }
                    (sections::rejects(report))
                    (sections::failures(report))
                    (sections::top_objects(report))
                    (sections::fingerprints(run))
                    (checks::section(run, report))
                }
            }
        }
    };
    page.into_string()
}

/// Writes the page beside the report.
pub fn write(store: &impl Store, run: &Run, report: &Report) -> Result<(), StoreError> {
    store.put(&layout::report_page(&run.run), render(run, report).as_bytes())
}

fn state_name(state: ReportState) -> &'static str {
    match state {
        ReportState::Done => "done",
        ReportState::Failed => "failed",
        ReportState::Incomplete => "incomplete",
    }
}

/// Returns the result of the run in one or two sentences.
fn verdict(report: &Report) -> String {
    let objects = &report.objects;
    let all = count(objects.listed, "object");
    let are = |count| plural(count, "is", "are");
    let done = match objects.listed {
        1 => "The object is done".to_owned(),
        _ => format!("All {all} are done"),
    };
    match report.state {
        ReportState::Done if objects.listed == 0 => "The listing has no objects.".to_owned(),
        ReportState::Done if objects.skipped > 0 => format!(
            "{done}: {} by this run, {} by an earlier run.",
            count(objects.done, "object"),
            count(objects.skipped, "object")
        ),
        ReportState::Done if report.documents.is_some() => {
            format!("{done}. Each row is a document of the cluster, or refused.")
        }
        ReportState::Done => {
            format!("{done}. Each record is a row, a reject, a control event or dropped.")
        }
        ReportState::Failed => {
            format!("{} of {all} failed. No object is missing.", number(objects.failed))
        }
        ReportState::Incomplete => format!(
            "{} of {all} {} missing, and {} failed. The report does not prove the run.",
            number(objects.missing),
            are(objects.missing),
            number(objects.failed)
        ),
    }
}
