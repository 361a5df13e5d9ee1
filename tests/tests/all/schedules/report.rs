//! Compares a report with the state of the objects.

use flowherd_coordinator::{manifest, state::RunState};
use flowherd_shared::{
    layout,
    ledger::{ManifestEntry, Report, ReportState, Run},
};

use super::{
    services::Services,
    truth::{Truth, read, truth},
};

/// Returns the run's file.
pub(super) fn run(services: &Services, run: &str) -> Run {
    read(&services.store, &layout::run(run)).unwrap()
}

/// Returns the state of each listed object.
pub(super) fn truths(services: &Services, run: &Run) -> Vec<(ManifestEntry, Truth)> {
    if run.manifest.is_none() {
        return Vec::new();
    }
    let entries = manifest::read(&services.store, run)
        .map(|entry| entry.inspect_err(|error| services.violate(error.to_string())).ok());
    entries.flatten().map(|entry| (entry.clone(), truth(&services.store, run, &entry))).collect()
}

/// Checks a report that was just written while nothing else was running.
pub(super) fn check(services: &Services, step: &RunState) {
    let run = run(services, &step.run);
    let report: Report = read(&services.store, &layout::report(&step.run)).unwrap();
    let truths = truths(services, &run);
    let count = |of| truths.iter().filter(|(_, truth)| *truth == of).count() as u64;
    let reported = &report.objects;
    let counted = [Truth::Done, Truth::Failed, Truth::Skipped, Truth::Missing].map(count);
    if [reported.done, reported.failed, reported.skipped, reported.missing] != counted
        || reported.listed != truths.len() as u64
    {
        services.violate(format!("the report of {} says {reported:?}, but there are {counted:?}", run.run));
    }
    let records = report.records;
    if records.read != records.rows + records.rejected + records.control + records.dropped {
        services.violate(format!("the records of {} do not add up: {:?}", run.run, report.records));
    }
    let is_done = run.manifest.is_some() && reported.failed + reported.missing == 0;
    if (report.state == ReportState::Done) != is_done {
        services.violate(format!("{} is {:?} with {reported:?}", run.run, report.state));
    }
}
