//! `flowherd runs` and `report`: the runs of the ledger and their reports. They change nothing, except `report --now` and
//! `runs --forget`.

use anyhow::Context;
use flowherd_coordinator::{
    forget::forget_marker,
    marker::RunMarker,
    report::finished_report,
    state::{Operation, Reporting, RunState},
};
use flowherd_shared::{
    ledger::{Run, layout},
    store::Store,
};

use super::{
    Deployment, Fleet, connected,
    drive::Command,
    json, outcome,
    runs::{self, all_runs, latest},
};
use crate::{
    args::{ReportArgs, RunsArgs},
    missing::MissingObjects,
    page, runs_table,
    stop::Stop,
    summary::{self, print_message},
};

/// `flowherd runs`.
pub(crate) fn runs(args: &RunsArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        if let Some(run) = &args.forget {
            forget(deployment, run, args.force)?;
            return summary::print(&format!("run {run} has no run marker any more: it blocks no purge\n"));
        }
        let runs = latest(deployment, args.of_fleet.as_deref(), args.last)?;
        if args.json {
            summary::print(&json(&runs)?)?;
        } else if runs.is_empty() {
            summary::print("no runs yet; begin one with: flowherd run --prefix PREFIX --watch\n")?;
        } else {
            summary::print(&runs_table::of_runs(&runs, deployment.has_several_fleets()))?;
        }
        runs_table::check_reports(&runs)
    })
}

/// Removes the marker of a run. The queue of its fleet may still have its messages. A marker that does not parse names no fleet,
/// and a fleet that is no longer in the stack has no queue.
fn forget(deployment: &Deployment<'_>, run: &str, force: bool) -> Result<(), Stop> {
    let results = &deployment.connected.results;
    let read = || layout::is_run_name(run).then(|| RunMarker::find(results, run)).transpose();
    let marker = deployment.patience.during("the run marker", read).context("cannot read the ledger")?;
    let fleet = marker.flatten().and_then(|marker| marker.fleet);
    match fleet.filter(|fleet| deployment.settings.fleets.get(fleet).is_ok()) {
        Some(fleet) => deployment.with_fleet(&fleet, |fleet| {
            let forget = || fleet.coordinator.forget(run, force);
            Ok(deployment.patience.during("the run marker and the counts of the queue", forget)?)
        }),
        None => Ok(deployment.patience.during("the run marker", || forget_marker(results, run))?),
    }
}

/// `flowherd report`.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let Deployment { connected, settings, patience, .. } = deployment;
        let run = runs::find(deployment, &args.run)?;
        if args.missing {
            return show_missing(deployment, &run, args.json);
        }
        let written = || finished_report(&connected.results, &args.run).context("cannot read the report");
        // `--now` replaces a damaged report.
        let before = if args.now { None } else { patience.during("the report", written)? };
        // A redrive since the report makes it out of date.
        let marker = patience.during("the run marker", || connected.results.head(&layout::active(&args.run)));
        let is_active = marker.context("cannot read the ledger")?.is_some();
        let report = match before {
            Some(report) if !is_active => report,
            _ => {
                let fleet = settings.fleets.of_run(&run.run, &run.fleet)?;
                deployment.with_fleet(fleet, |fleet| make_report(fleet, &run, args.now))?;
                patience.during("the report", written)?.context("the report was removed")?
            }
        };
        page::write(args.html.as_deref(), &run, &report)?;
        outcome::show(&report, settings, args.json, args.strict)
    })
}

/// Lists the missing objects of a run.
fn show_missing(deployment: &Deployment<'_>, run: &Run, as_json: bool) -> Result<(), Stop> {
    let patience = deployment.patience;
    let objects = MissingObjects {
        store: &deployment.connected.results,
        run,
        all_runs: &|| all_runs(deployment),
        status: format!("flowherd status {}", run.run),
        resume: format!("process them with: flowherd run --resume {}", run.run),
        renew: &|| patience.renew(),
        pause: &|print| patience.pause(print),
    };
    patience.during("the receipts and failures of the ledger", || objects.show(as_json))
}

/// Writes the report of a run as its ledger is now. Fails if objects are unfinished, unless `now` is set.
fn make_report(fleet: &Fleet<'_>, run: &Run, now: bool) -> Result<(), Stop> {
    let mut state = if now {
        RunState::report_now(run)
    } else {
        RunState::new(run, Operation::Report(Reporting::default()))
    };
    fleet.coordinator.drive(&mut state, &mut Command::new(fleet.deployment.patience, None, true))?;
    if state.has_ended() {
        return Ok(());
    }
    if let Some(why) = runs::stopped(fleet.deployment, &run.run)? {
        print_message(&why);
    }
    print_message(&format!(
        "run {} is in progress; see: flowherd status {}; for a report of its state now: add --now",
        run.run, run.run
    ));
    Err(Stop::Failed)
}
