//! `flowherd status`, `runs` and `report`: the state of the ledger and the queue. They change nothing, except
//! `report --now` and `runs --forget`.

use anyhow::Context;
use flowherd_coordinator::state::{Operation, Reporting, RunState};
use flowherd_shared::{
    ledger::{ReportState, Run, examine_json, examine_report, layout},
    store::Store,
};
use indicatif::HumanCount;
use serde::Serialize;

use super::{
    Fleet, connected,
    drive::Command,
    json, outcome,
    runs::{self, all_runs, latest, search},
};
use crate::{
    args::{ReportArgs, RunsArgs, StatusArgs},
    missing::MissingObjects,
    page,
    runs_table::{self, ReportFile, RunProgress},
    stop::Stop,
    summary::{self, printable},
    words::counted,
};

/// Maximum runs named as owners of messages.
const ENDED_RUNS: usize = 10;

/// What `flowherd status --json` prints.
#[derive(Serialize)]
struct Status {
    runs: Vec<RunProgress>,
    /// Runs with a marker, but without `run.json`.
    without_ledger: Vec<String>,
    queue: QueueStatus,
}

/// The queue's own counts, which are approximate.
#[derive(Serialize)]
struct QueueStatus {
    waiting: u64,
    in_flight: u64,
    dead_letters: u64,
    /// Messages beyond those that active runs can have.
    of_ended_runs: u64,
    /// Runs whose messages these may be, latest first.
    ended_runs: Vec<String>,
}

/// `flowherd status`.
pub(crate) fn status(args: &StatusArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        let status = look(fleet, args.run.as_deref())?;
        // Without RUN there may be many.
        for run in status.runs.iter().filter(|run| args.run.is_some() && run.is_active) {
            runs::stopped(fleet, &run.run)?.iter().for_each(|why| summary::print_message(why));
        }
        if args.json {
            return summary::print(&json(&status)?);
        }
        summary::print(&text(&status))
    })
}

fn look(fleet: &Fleet<'_>, only: Option<&str>) -> Result<Status, Stop> {
    let (coordinator, patience) = (fleet.coordinator, fleet.patience);
    if let Some(run) = only {
        runs::find(fleet, run)?;
    }
    let active = runs::active(fleet)?;
    let mut names = active.clone();
    names.extend(only.filter(|run| !active.iter().any(|name| name == run)).map(str::to_owned));
    let (mut shown, mut without_ledger) = (Vec::new(), Vec::new());
    // Objects without a receipt, of active runs: each has a message at most. `None` if a run is still being listed.
    let mut pending = Some(0);
    for name in names {
        let path = layout::run(&name);
        let run = patience.during("the ledger of the run", || {
            examine_json::<Run>(coordinator.results, &path).context("cannot read the ledger")
        })?;
        let run = match run {
            Some(Ok(run)) => run,
            Some(Err(why)) => return Err(anyhow::anyhow!("{path}: {why}").into()),
            None => {
                without_ledger.push(name);
                continue;
            }
        };
        let counts = format!("the counts of the queue and of the ledger of run {name}");
        let progress = patience.during(counts, || coordinator.progress(&name))?;
        if active.contains(&name) {
            let without_receipt = progress.listed.saturating_sub(progress.done + progress.skipped);
            pending =
                pending.filter(|_| run.manifest.is_some()).map(|pending: u64| pending + without_receipt);
        }
        if only.is_none_or(|only| only == name) {
            let is_active = active.contains(&name);
            let report = if is_active {
                None
            } else {
                let read = || examine_report(coordinator.results, &layout::report(&name));
                let report = patience.during("the report", read);
                report.context("cannot read the report")?
            };
            shown.push(RunProgress {
                state: runs_table::state(is_active, report.as_ref()),
                run: run.run,
                prefix: run.prefix,
                started: run.started,
                is_active,
                is_listed: run.manifest.is_some(),
                listed: progress.listed,
                done: progress.done,
                skipped: progress.skipped,
                failed: progress.failed,
                remaining: progress.pending(),
            });
        }
    }
    let depth = patience.during("the counts of the queue", || coordinator.queue_depth())?;
    let messages = depth.queued + depth.in_flight;
    let of_ended_runs = pending.map_or(0, |pending| messages.saturating_sub(pending));
    let ended_runs = if of_ended_runs == 0 { Vec::new() } else { ended_runs(fleet, &active)? };
    let queue = QueueStatus {
        waiting: depth.queued,
        in_flight: depth.in_flight,
        dead_letters: depth.dead_letters,
        of_ended_runs,
        ended_runs,
    };
    Ok(Status { runs: shown, without_ledger, queue })
}

/// Returns runs without a marker that may have left messages: their report names missing or failed objects, or there is none.
fn ended_runs(fleet: &Fleet<'_>, active: &[String]) -> Result<Vec<String>, Stop> {
    let mut runs = all_runs(fleet)?;
    runs.retain(|run| !active.contains(&run.run));
    let is_unfinished =
        |report: &ReportFile| !matches!(report, Some(Ok(report)) if report.state == ReportState::Done);
    search(fleet, &runs, ENDED_RUNS, is_unfinished)
}

fn text(status: &Status) -> String {
    let count = |number| HumanCount(number).to_string();
    let mut text = if status.runs.is_empty() {
        "no run is active\n".to_owned()
    } else {
        runs_table::of_progress(&status.runs)
    };
    let queue = &status.queue;
    text += &format!(
        "\nqueue    {} waiting, {} in flight, {}\n",
        count(queue.waiting),
        count(queue.in_flight),
        counted(queue.dead_letters, "dead-letter message", "dead-letter messages")
    );
    if queue.of_ended_runs > 0 {
        let runs = queue.ended_runs.iter().map(|run| printable(run)).collect::<Vec<_>>().join(", ");
        let whose = if runs.is_empty() { "a run whose ledger was deleted".to_owned() } else { runs };
        text += &format!(
            "\nabout {} of no active run, perhaps of {whose}\n\
             until workers delete them, they delay newer messages for the same objects\n",
            match queue.of_ended_runs {
                1 => "1 of these messages is".to_owned(),
                more => format!("{} of these messages are", count(more)),
            }
        );
    }
    for run in &status.without_ledger {
        let run = printable(run);
        text += &format!(
            "\nrun {run} has a run marker, but no ledger: it is just being begun, or its begin was interrupted, or its \
             ledger was deleted\nto remove the marker: flowherd runs --forget {run}\n"
        );
    }
    text
}

/// `flowherd runs`.
pub(crate) fn runs(args: &RunsArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        if let Some(run) = &args.forget {
            let forget = || fleet.coordinator.forget(run, args.force);
            fleet.patience.during("the run marker and the counts of the queue", forget)?;
            return summary::print(&format!("run {run} has no run marker any more: it blocks no purge\n"));
        }
        let runs = latest(fleet, args.last)?;
        if args.json {
            summary::print(&json(&runs)?)?;
        } else if runs.is_empty() {
            summary::print("no runs yet; begin one with: flowherd run --prefix PREFIX --watch\n")?;
        } else {
            summary::print(&runs_table::of_runs(&runs))?;
        }
        runs_table::check_reports(&runs)
    })
}

/// `flowherd report`.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        let Fleet { coordinator, settings, patience, .. } = fleet;
        let run = runs::find(fleet, &args.run)?;
        if args.missing {
            return show_missing(fleet, &run, args.json);
        }
        let written = || coordinator.finished_report(&args.run).context("cannot read the report");
        // `--now` replaces a damaged report.
        let before = if args.now { None } else { patience.during("the report", written)? };
        // A redrive since the report makes it out of date.
        let marker =
            patience.during("the run marker", || coordinator.results.head(&layout::active(&args.run)));
        let is_active = marker.context("cannot read the ledger")?.is_some();
        let report = match before {
            Some(report) if !is_active => report,
            _ => {
                make_report(fleet, &run, args.now)?;
                patience.during("the report", written)?.context("the report was removed")?
            }
        };
        page::write(args.html.as_deref(), &run, &report)?;
        outcome::show(&report, settings, args.json, args.strict)
    })
}

/// Lists the missing objects of a run.
fn show_missing(fleet: &Fleet<'_>, run: &Run, as_json: bool) -> Result<(), Stop> {
    let patience = fleet.patience;
    let objects = MissingObjects {
        store: fleet.coordinator.results,
        run,
        all_runs: &|| all_runs(fleet),
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
    fleet.coordinator.drive(&mut state, &mut Command::new(fleet, None, true))?;
    if state.has_ended() {
        return Ok(());
    }
    if let Some(why) = runs::stopped(fleet, &run.run)? {
        summary::print_message(&why);
    }
    summary::print_message(&format!(
        "run {} is in progress; see: flowherd status {}; for a report of its state now: add --now",
        run.run, run.run
    ));
    Err(Stop::Failed)
}
