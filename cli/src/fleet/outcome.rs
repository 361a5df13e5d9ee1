//! The end of every fleet command that has a report.

use flowherd_coordinator::settings::Settings;
use flowherd_shared::ledger::Report;

use super::json;
use crate::{
    stop::Stop,
    summary::{self, print_message},
    words::counted,
};

/// Prints a report and its warnings. Fails unless every object is done; with `strict` also if the run needs attention.
pub(super) fn show(report: &Report, settings: &Settings, as_json: bool, strict: bool) -> Result<(), Stop> {
    let text = if as_json {
        json(report)?
    } else {
        summary::report(report, &format!("s3://{}", settings.common.results_bucket))
    };
    summary::print(&text)?;
    summary::warn(report, &format!("s3://{}", settings.common.source_bucket), as_json);
    if report.objects.missing > 0 {
        let (run, missing) = (&report.run, &report.objects.missing);
        print_message(&format!(
            "{}; to list them: flowherd report {run} --missing",
            counted(*missing, "object is missing", "objects are missing")
        ));
    }
    summary::verdict(report, strict)
}
