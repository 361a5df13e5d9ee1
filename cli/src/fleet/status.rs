//! `flowherd status`, `runs` and `report`: what the ledger and the queue say. They change nothing, but for `report --now`.

use std::io;

use anyhow::Context;
use flowherd_coordinator::{
    active::Active,
    parallel,
    steps::{Operation, Progress, Step},
};
use flowherd_shared::{
    ledger::{Report, Run, layout, read_json},
    store::Store,
};
use indicatif::HumanCount;
use serde::Serialize;

use super::{Fleet, Here, connected, json, run::show};
use crate::{
    Stop,
    args::{ReportArgs, RunsArgs, StatusArgs},
    summary::{self, columns, state},
};

/// Ledger files read at once.
const READERS: usize = 32;

#[derive(Serialize)]
struct Status {
    run: String,
    prefix: String,
    started: String,
    #[serde(flatten)]
    progress: Progress,
    left: u64,
}

/// `flowherd status`.
pub(crate) fn status(args: &StatusArgs) -> Result<(), Stop> {
    connected(&args.fleet, |Fleet { coordinator, .. }| {
        let names = if let Some(run) = &args.run {
            vec![run.clone()]
        } else {
            let active = Active::others(coordinator.results, "").context("cannot read the ledger")?;
            active.into_iter().map(|active| active.run).collect()
        };
        let mut statuses = Vec::new();
        for name in names {
            let run: Option<Run> =
                read_json(coordinator.results, &layout::run(&name)).context("cannot read the ledger")?;
            // Of all active ones, one may be being begun just now.
            let Some(run) = run else {
                if args.run.is_some() {
                    coordinator.run(&name)?;
                }
                continue;
            };
            let progress = coordinator.progress(&name)?;
            let left = progress.left();
            statuses.push(Status { run: run.run, prefix: run.prefix, started: run.started, progress, left });
        }
        if args.json {
            return summary::print(&json(&statuses)?);
        }
        let queue = coordinator.queue_depth()?;
        let mut text = if statuses.is_empty() {
            "no run is active\n".to_owned()
        } else {
            let count = |number| HumanCount(number).to_string();
            let rows = statuses.iter().map(|status| {
                let progress = &status.progress;
                vec![
                    status.run.clone(),
                    status.prefix.clone(),
                    count(progress.listed),
                    count(progress.done),
                    count(progress.failed),
                    count(status.left),
                ]
            });
            columns(&["run", "prefix", "listed", "done", "failed", "left"], rows, 2)
        };
        text += &format!(
            "\nqueue    {} waiting, {} in hand, {} dead letters\n",
            HumanCount(queue.queued),
            HumanCount(queue.in_flight),
            HumanCount(queue.dead_letters)
        );
        summary::print(&text)
    })
}

#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    run: Run,
    report: Option<Report>,
}

/// `flowherd runs`.
pub(crate) fn runs(args: &RunsArgs) -> Result<(), Stop> {
    connected(&args.fleet, |Fleet { coordinator, .. }| {
        let known = latest(coordinator, args.last)?;
        if args.json {
            return summary::print(&json(&known)?);
        }
        if known.is_empty() {
            return summary::print("no runs yet; begin one with: flowherd run --prefix PREFIX --watch\n");
        }
        let count = |number| HumanCount(number).to_string();
        let rows = known.iter().map(|Known { run, report }| {
            let mut row = vec![run.run.clone(), run.prefix.clone()];
            row.push(report.as_ref().map_or("under way", |report| state(report.state)).to_owned());
            let listed = run.manifest.map_or_else(|| "-".to_owned(), |totals| count(totals.objects));
            row.push(listed);
            match report {
                Some(report) => {
                    let objects = &report.objects;
                    row.extend(
                        [objects.done, objects.failed, objects.missing, report.records.rows].map(count),
                    );
                }
                None => row.extend(["-"; 4].map(str::to_owned)),
            }
            row
        });
        let head = ["run", "prefix", "state", "listed", "done", "failed", "missing", "rows"];
        summary::print(&columns(&head, rows, 3))
    })
}

/// `flowherd report`.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Stop> {
    connected(&args.fleet, |Fleet { coordinator, settings, .. }| {
        let run = coordinator.run(&args.run)?;
        let written = coordinator.finished_report(&args.run).context("cannot read the report")?;
        // One whose dead letters were moved back since has a report that is no longer true.
        let is_active =
            coordinator.results.etag(&layout::active(&args.run)).context("cannot read the ledger")?.is_some();
        let report = match written {
            Some(report) if !args.now && !is_active => report,
            _ => {
                let is_final = args.now;
                let step = Step { is_final, ..Step::new(Operation::Report, &run) };
                let step = coordinator.step(step, &|| true)?;
                if step.operation != Operation::End {
                    summary::tell(&format!(
                        "run {} is under way; see flowherd status {}, or report it as it stands with --now",
                        run.run, run.run
                    ));
                    return Err(Stop::Failed);
                }
                let report = coordinator.finished_report(&args.run).context("cannot read the report")?;
                report.context("the report is not there any more")?
            }
        };
        show(&report, settings, args.json)
    })
}

/// The run to report anew when dead letters are moved back.
pub(super) fn latest_with_failures(coordinator: &Here<'_>) -> Result<Option<String>, Stop> {
    let known = latest(coordinator, usize::MAX)?;
    let failed = |known: &Known| known.report.as_ref().is_some_and(|report| report.objects.failed > 0);
    Ok(known.into_iter().rev().find(failed).map(|known| known.run.run))
}

/// The runs begun last, latest last.
fn latest(coordinator: &Here<'_>, most: usize) -> Result<Vec<Known>, Stop> {
    let names = coordinator.results.names_below("runs/").context("cannot list the runs")?;
    let runs =
        parallel::map(READERS, &names, |name| read_json::<Run>(coordinator.results, &layout::run(name)));
    let runs: io::Result<Vec<Option<Run>>> = runs.into_iter().collect();
    let mut runs: Vec<Run> = runs.context("cannot read the ledger")?.into_iter().flatten().collect();
    // By time, not by name: people choose names.
    runs.sort_by(|a, b| a.started.cmp(&b.started));
    let runs = runs.split_off(runs.len().saturating_sub(most));
    let reports = parallel::map(READERS, &runs, |run| coordinator.finished_report(&run.run));
    let reports: io::Result<Vec<Option<Report>>> = reports.into_iter().collect();
    let reports = reports.context("cannot read the ledger")?;
    Ok(runs.into_iter().zip(reports).map(|(run, report)| Known { run, report }).collect())
}
