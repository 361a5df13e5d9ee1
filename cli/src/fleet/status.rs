//! `flowherd status`: the progress of runs, and the queue of each fleet. It changes nothing.

use anyhow::Context;
use flowherd_coordinator::state::Progress;
use flowherd_shared::ledger::{ReportState, Run, examine_json, examine_report, layout};
use indicatif::HumanCount;
use serde::Serialize;

use super::{
    Deployment, Fleet, connected, json,
    runs::{self, runs_of, search},
};
use crate::{
    args::StatusArgs,
    runs_table::{self, ReportFile, RunProgress},
    stop::Stop,
    summary::{self, printable, table},
    terminal,
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
    /// The queue of each fleet.
    queues: Vec<QueueStatus>,
}

/// The queue's own counts, which are approximate.
#[derive(Serialize)]
struct QueueStatus {
    fleet: String,
    waiting: u64,
    in_flight: u64,
    dead_letters: u64,
    /// Messages beyond those that active runs can have.
    of_ended_runs: u64,
    /// Runs whose messages these may be, latest first.
    ended_runs: Vec<String>,
}

/// The runs that a command looks at.
struct Runs {
    /// Names of the runs with a marker.
    active: Vec<String>,
    /// The active runs, and the run that the command names.
    found: Vec<Run>,
    without_ledger: Vec<String>,
}

/// `flowherd status`.
pub(crate) fn status(args: &StatusArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let status = look(deployment, args.run.as_deref(), args.of_fleet.as_deref())?;
        // Without RUN there may be many.
        for run in status.runs.iter().filter(|run| args.run.is_some() && run.is_active) {
            runs::stopped(deployment, &run.run)?.iter().for_each(|why| summary::print_message(why));
        }
        if args.json {
            return summary::print(&json(&status)?);
        }
        summary::print(&text(&status, deployment.has_several_fleets()))
    })
}

/// Reads the state of all fleets, or of one. A fleet whose queue cannot be used is named, and the others are shown.
fn look(deployment: &Deployment<'_>, only: Option<&str>, only_fleet: Option<&str>) -> Result<Status, Stop> {
    let fleets = &deployment.settings.fleets;
    if let Some(fleet) = only_fleet {
        fleets.get(fleet)?;
    }
    let runs = find_runs(deployment, only)?;
    let mut status =
        Status { runs: Vec::new(), without_ledger: runs.without_ledger.clone(), queues: Vec::new() };
    for (name, _) in fleets.iter().filter(|(name, _)| only_fleet.is_none_or(|only| only == *name)) {
        let looked = deployment.with_fleet(name, |fleet| look_at_fleet(fleet, name, &runs, only));
        match looked {
            Ok((shown, queue)) => {
                status.runs.extend(shown);
                status.queues.push(queue);
            }
            Err(stop) if fleets.count() > 1 && only_fleet.is_none() => {
                deployment.name_damage(&format!("fleet {name}: {}", stop.on_one_line()));
            }
            Err(stop) => return Err(stop),
        }
    }
    for run in &runs.found {
        if let Err(error) = fleets.of_run(&run.run, &run.fleet) {
            deployment.name_damage(&error.on_one_line());
        }
    }
    Ok(status)
}

/// Finds the active runs, and the run that the command names.
fn find_runs(deployment: &Deployment<'_>, only: Option<&str>) -> Result<Runs, Stop> {
    if let Some(run) = only {
        runs::find(deployment, run)?;
    }
    let active = runs::active(deployment)?;
    let mut names = active.clone();
    names.extend(only.filter(|run| !active.iter().any(|name| name == run)).map(str::to_owned));
    let (mut found, mut without_ledger) = (Vec::new(), Vec::new());
    for name in names {
        let path = layout::run(&name);
        let run = deployment.patience.during("the ledger of the run", || {
            examine_json::<Run>(&deployment.connected.results, &path).context("cannot read the ledger")
        })?;
        match run {
            Some(Ok(run)) => found.push(run),
            Some(Err(why)) => return Err(anyhow::anyhow!("{path}: {why}").into()),
            None => without_ledger.push(name),
        }
    }
    Ok(Runs { active, found, without_ledger })
}

/// Returns the progress of a fleet's runs, all or only one, and the state of its queue.
fn look_at_fleet(
    fleet: &Fleet<'_>,
    name: &str,
    runs: &Runs,
    only: Option<&str>,
) -> Result<(Vec<RunProgress>, QueueStatus), Stop> {
    let (coordinator, patience) = (fleet.coordinator, fleet.deployment.patience);
    let mut shown = Vec::new();
    // Objects without a receipt, of active runs: each has a message at most. `None` if a run is still being listed.
    let mut pending = Some(0);
    for run in runs.found.iter().filter(|run| run.fleet == name) {
        let counts = format!("the counts of the queue and of the ledger of run {}", run.run);
        let progress = patience.during(counts, || coordinator.progress(&run.run))?;
        let is_active = runs.active.contains(&run.run);
        if is_active {
            let without_receipt = progress.listed.saturating_sub(progress.done + progress.skipped);
            pending =
                pending.filter(|_| run.manifest.is_some()).map(|pending: u64| pending + without_receipt);
        }
        if only.is_none_or(|only| only == run.run) {
            shown.push(run_progress(fleet, run, is_active, &progress)?);
        }
    }
    let depth = patience.during("the counts of the queue", || coordinator.queue_depth())?;
    let messages = depth.queued + depth.in_flight;
    let of_ended_runs = pending.map_or(0, |pending| messages.saturating_sub(pending));
    let ended_runs =
        if of_ended_runs == 0 { Vec::new() } else { ended_runs(fleet.deployment, name, &runs.active)? };
    let queue = QueueStatus {
        fleet: name.to_owned(),
        waiting: depth.queued,
        in_flight: depth.in_flight,
        dead_letters: depth.dead_letters,
        of_ended_runs,
        ended_runs,
    };
    Ok((shown, queue))
}

fn run_progress(
    fleet: &Fleet<'_>,
    run: &Run,
    is_active: bool,
    progress: &Progress,
) -> Result<RunProgress, Stop> {
    let report = if is_active {
        None
    } else {
        let read = || examine_report(fleet.coordinator.results, &layout::report(&run.run));
        fleet.deployment.patience.during("the report", read).context("cannot read the report")?
    };
    Ok(RunProgress {
        state: runs_table::state(is_active, report.as_ref()),
        run: run.run.clone(),
        fleet: Some(run.fleet.clone()),
        prefix: run.prefix.clone(),
        started: run.started.clone(),
        is_active,
        is_listed: run.manifest.is_some(),
        listed: progress.listed,
        done: progress.done,
        skipped: progress.skipped,
        failed: progress.failed,
        remaining: progress.pending(),
    })
}

/// Returns runs of a fleet without a marker that may have left messages: their report names missing or failed objects, or there
/// is none.
fn ended_runs(deployment: &Deployment<'_>, fleet: &str, active: &[String]) -> Result<Vec<String>, Stop> {
    let mut runs = runs_of(deployment, Some(fleet))?;
    runs.retain(|run| !active.contains(&run.run));
    let is_unfinished =
        |report: &ReportFile| !matches!(report, Some(Ok(report)) if report.state == ReportState::Done);
    search(deployment, &runs, ENDED_RUNS, is_unfinished)
}

fn text(status: &Status, has_several_fleets: bool) -> String {
    let mut text = if status.runs.is_empty() {
        "no run is active\n".to_owned()
    } else {
        runs_table::of_progress(&status.runs, has_several_fleets)
    };
    text += "\n";
    text += &if has_several_fleets { queue_table(&status.queues) } else { queue_lines(&status.queues) };
    for queue in status.queues.iter().filter(|queue| queue.of_ended_runs > 0) {
        text += &of_ended_runs(queue, has_several_fleets);
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

fn queue_lines(queues: &[QueueStatus]) -> String {
    let line = |queue: &QueueStatus| {
        format!(
            "queue    {} waiting, {} in flight, {}\n",
            count(queue.waiting),
            count(queue.in_flight),
            counted(queue.dead_letters, "dead-letter message", "dead-letter messages")
        )
    };
    queues.iter().map(line).collect()
}

fn queue_table(queues: &[QueueStatus]) -> String {
    let rows = queues.iter().map(|queue| {
        let counts = [queue.waiting, queue.in_flight, queue.dead_letters].map(count);
        std::iter::once(queue.fleet.clone()).chain(counts).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = ["fleet", "waiting", "in flight", "dead-letter messages"];
    table::render(&head, &rows, |column| column >= 1, terminal::width())
}

fn of_ended_runs(queue: &QueueStatus, has_several_fleets: bool) -> String {
    let runs = queue.ended_runs.iter().map(|run| printable(run)).collect::<Vec<_>>().join(", ");
    let whose = if runs.is_empty() { "a run whose ledger was deleted".to_owned() } else { runs };
    let messages =
        if has_several_fleets { format!("messages of fleet {}", queue.fleet) } else { "messages".to_owned() };
    format!(
        "\nabout {} of no active run, perhaps of {whose}\n\
         until workers delete them, they delay newer messages for the same objects\n",
        match queue.of_ended_runs {
            1 => format!("1 of these {messages} is"),
            more => format!("{} of these {messages} are", count(more)),
        }
    )
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}
