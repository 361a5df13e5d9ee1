//! `flowherd run`, `rerun` and `redrive`: what puts work into the queue.

use std::{thread, time::Duration};

use anyhow::Context;
use flowherd_coordinator::{
    redrive::Redriven,
    settings::Settings,
    steps::{Begin, Operation, Step},
};
use flowherd_shared::ledger::{Report, ReportState};

use super::{Here, connected, json, status, watch::Watch};
use crate::{
    Stop,
    args::{OutputArgs, RedriveArgs, RerunArgs, RunArgs},
    summary::{self, tell},
};

/// A person who watches sees something new at least so often.
const LONGEST_WAIT: u64 = 5;

/// `flowherd run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), Stop> {
    let begin = Begin {
        prefix: args.prefix.clone(),
        purge: Some(args.purge),
        force: Some(args.force),
        resume: args.resume.clone(),
        run: args.run.clone(),
    };
    begin_and_follow(&begin, &args.output)
}

/// `flowherd rerun`.
pub(crate) fn rerun(args: &RerunArgs) -> Result<(), Stop> {
    let (prefix, force) = (Some(args.prefix.clone()), Some(args.force));
    begin_and_follow(&Begin { prefix, purge: Some(true), force, ..Begin::default() }, &args.output)
}

/// `flowherd redrive`.
pub(crate) fn redrive(args: &RedriveArgs) -> Result<(), Stop> {
    connected(|coordinator, settings| {
        let run = match &args.run {
            Some(run) => run.clone(),
            None => status::latest_with_failures(coordinator)?
                .ok_or_else(|| Stop::usage("no run has failures; name one to report it anew"))?,
        };
        let (redriven, step) = coordinator.redrive(&run)?;
        tell(&match redriven {
            Redriven::Started => "SQS moves the dead letters back by itself".to_owned(),
            Redriven::Moved(count) => format!("{count} dead letters are back in the queue"),
        });
        follow(coordinator, settings, step, &args.output)
    })
}

fn begin_and_follow(begin: &Begin, output: &OutputArgs) -> Result<(), Stop> {
    connected(|coordinator, settings| {
        let step = coordinator.begin(begin)?;
        follow(coordinator, settings, step, output)
    })
}

/// Sends the run on its way, and watches it if that is asked for.
fn follow(coordinator: &Here<'_>, settings: &Settings, step: Step, output: &OutputArgs) -> Result<(), Stop> {
    tell(&format!("run {}", step.run));
    let watch = Watch::new(&step.run);
    let mut step = step;
    loop {
        watch.show(&step);
        let is_under_way = matches!(step.operation, Operation::Check);
        if step.operation == Operation::End || (is_under_way && !output.watch) {
            break;
        }
        step.wait_seconds = match step.operation {
            // These waits are as long as they must be.
            Operation::Purge | Operation::Plan => step.wait_seconds,
            _ => step.wait_seconds.min(LONGEST_WAIT),
        };
        thread::sleep(Duration::from_secs(step.wait_seconds));
        step = coordinator.step(step, &|| false)?;
    }
    watch.finish();
    if step.operation == Operation::End {
        return ended(coordinator, settings, &step, output.json);
    }
    if output.json {
        return summary::print(&json(&step)?);
    }
    summary::print(&format!(
        "run {}: {} objects listed, {} of them done before; the others are in the queue\n\
         next: flowherd status {}, then flowherd report {}\n",
        step.run, step.progress.listed, step.progress.skipped, step.run, step.run
    ))
}

fn ended(coordinator: &Here<'_>, settings: &Settings, step: &Step, as_json: bool) -> Result<(), Stop> {
    let report = coordinator.finished_report(&step.run).context("cannot read the report")?;
    let report = report.context("the report is not there any more")?;
    if let Some(message) = &step.message
        && (report.state != ReportState::Done || report.objects.listed == 0)
    {
        tell(message);
    }
    show(&report, settings, as_json)
}

/// Prints a report, and fails unless everything is done.
pub(super) fn show(report: &Report, settings: &Settings, as_json: bool) -> Result<(), Stop> {
    let text = if as_json {
        json(report)?
    } else {
        summary::report(report, &format!("s3://{}", settings.results_bucket))
    };
    summary::print(&text)?;
    if report.state == ReportState::Done { Ok(()) } else { Err(Stop::Failed) }
}
