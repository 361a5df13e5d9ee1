//! `flowherd run`, `rerun` and `redrive`: the commands that send messages to the queue.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use flowherd_coordinator::{
    coordinator::PURGE_SECONDS,
    marker::RunMarker,
    options::{RunOptions, new_run_name},
    redrive::{REDRIVEN_OPEN, Redriven},
    report::finished_report,
    state::{Operation, Progress, RunState},
};
use flowherd_shared::{
    ledger::{ReportState, Run, layout, read_json},
    store::Store,
};
use indicatif::HumanCount;
use jiff::Timestamp;

use super::{
    Fleet, connected,
    drive::Command,
    json, outcome, runs,
    step_loop::{Execution, StepLoop, taken},
    watch::Watch,
};
use crate::{
    args::{FleetArgs, OutputArgs, RedriveArgs, RerunArgs, RunArgs},
    stop::Stop,
    summary::{self, print_message},
    words::counted,
};

/// Objects whose outcomes are counted in a second or two. Those of a larger run are counted less often.
const COUNTED_AT_ONCE: u64 = 20_000;

/// `flowherd run`, without what follows it. Returns the name of the run.
pub(super) fn run(args: &RunArgs) -> Result<String, Stop> {
    begin(&args.fleet, args.options.clone(), &args.output)
}

/// `flowherd rerun`.
pub(crate) fn rerun(args: &RerunArgs) -> Result<(), Stop> {
    let prefix = Some(args.prefix.clone());
    let fleet = args.of_fleet.clone();
    let options = RunOptions { prefix, fleet, purge: true, force: args.force, ..RunOptions::default() };
    begin(&args.fleet, options, &args.output).map(drop)
}

/// Begins a run in the fleet that its options choose. Returns its name.
pub(super) fn begin(args: &FleetArgs, mut options: RunOptions, output: &OutputArgs) -> Result<String, Stop> {
    connected(args, |deployment| {
        let choose = || deployment.connected.choose(&options);
        let fleet = deployment.patience.during("the ledger of the resumed run", choose)?;
        // The step loop chooses by its own settings.
        options.fleet = Some(fleet.to_owned());
        deployment.with_fleet(fleet, |fleet| begin_and_follow(fleet, options, output))
    })
}

/// `flowherd redrive`.
pub(crate) fn redrive(args: &RedriveArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let run = match &args.run {
            Some(run) => run.clone(),
            None => runs::latest_with_failures(deployment, args.of_fleet.as_deref())?,
        };
        let fleet = match &args.of_fleet {
            Some(fleet) => fleet.clone(),
            None => runs::fleet_of(deployment, &run)?,
        };
        deployment.with_fleet(&fleet, |fleet| redrive_and_follow(fleet, &run, &args.output))
    })
}

fn redrive_and_follow(fleet: &Fleet<'_>, run: &str, output: &OutputArgs) -> Result<(), Stop> {
    let coordinator = fleet.coordinator;
    let (redriven, state) = fleet
        .deployment
        .patience
        .during("the move of the dead-letter messages", || coordinator.redrive(run))?;
    print_message(&match redriven {
        Redriven::Started(0) | Redriven::Moved(0) => {
            "the dead-letter queue is empty: nothing is moved back".to_owned()
        }
        Redriven::Started(count) => {
            format!("SQS moves about {} back", counted(count, "dead-letter message", "dead-letter messages"))
        }
        Redriven::Moved(1) => "1 dead-letter message is back in the queue".to_owned(),
        Redriven::Moved(count) => {
            format!("{} dead-letter messages are back in the queue", HumanCount(count))
        }
    });
    let Some(state) = state else {
        print_message(REDRIVEN_OPEN);
        return Ok(());
    };
    let Some(step_loop) = fleet.deployment.step_loop else { return follow_here(fleet, state, output) };
    // An execution whose input is a state continues from it.
    let name = new_run_name(Timestamp::now(), run);
    let start = || step_loop.start(&format!("redrive-{name}"), &state);
    let execution = fleet.deployment.patience.during("the start of the step loop", start)?;
    follow_step_loop(fleet, step_loop, &execution, run, output)
}

fn begin_and_follow(fleet: &Fleet<'_>, mut options: RunOptions, output: &OutputArgs) -> Result<String, Stop> {
    let Some(step_loop) = fleet.deployment.step_loop else {
        fleet.coordinator.refuse_without_step_loop()?;
        let state =
            fleet.deployment.patience.during("the begin of the run", || fleet.coordinator.begin(&options))?;
        let run = state.run.clone();
        print_message(&format!("run {run}"));
        return follow_here(fleet, state, output).map(|()| run);
    };
    let run = options.run_name(Timestamp::now())?;
    // A second start with the same input would return the first execution instead of an error.
    if options.run.is_some()
        && fleet.deployment.patience.during("the state of the step loop", || step_loop.find(&run))?.is_some()
    {
        return Err(taken(&run));
    }
    options.run = Some(run.clone());
    let execution =
        fleet.deployment.patience.during("the start of the step loop", || step_loop.start(&run, &options))?;
    print_message(&format!("run {run}"));
    if !output.watch {
        fleet
            .deployment
            .patience
            .during("the begin of the run", || await_begin(fleet, step_loop, &execution, &run))?;
    }
    follow_step_loop(fleet, step_loop, &execution, &run, output).map(|()| run)
}

/// Waits until the step loop has begun a run. The error is the reason if it refuses the run.
fn await_begin(fleet: &Fleet<'_>, step_loop: &StepLoop<'_>, execution: &str, run: &str) -> Result<(), Stop> {
    loop {
        let state = step_loop.look(execution)?;
        // First the execution, then the ledger: an execution that has ended writes no more.
        if find_run(fleet, run)?.is_some() {
            return Ok(());
        }
        match state {
            Execution::Running | Execution::Ended => thread::sleep(Duration::from_millis(500)),
            Execution::Refused(why) => return Err(Stop::usage(format!("the run is refused: {why}"))),
            Execution::Failed(why) => {
                return Err(anyhow::anyhow!(why)
                    .context("the step loop ended before it began the run")
                    .into());
            }
        }
    }
}

fn find_run(fleet: &Fleet<'_>, name: &str) -> Result<Option<Run>, Stop> {
    Ok(read_json(fleet.coordinator.results, &layout::run(name)).context("cannot read the ledger")?)
}

/// Drives a run in this process: until everything is in the queue, or to its end with `--watch`.
pub(super) fn follow_here(fleet: &Fleet<'_>, mut state: RunState, output: &OutputArgs) -> Result<(), Stop> {
    let watch = Watch::new(&state.run, fleet.deployment.settings.settle);
    let mut command = Command::new(fleet.deployment.patience, Some(&watch), !output.watch);
    let driven = fleet.coordinator.drive(&mut state, &mut command);
    // Standard output may be the same terminal.
    drop(watch);
    driven?;
    if state.has_ended() {
        let report =
            finished_report(fleet.coordinator.results, &state.run).context("cannot read the report")?;
        let report = report.context("the report was removed")?;
        if let Some(message) = &state.message
            && report.state != ReportState::Done
        {
            print_message(message);
        }
        return outcome::show(&report, fleet.deployment.settings, output.json, output.strict);
    }
    // The state is of the last operation, and workers have processed objects since.
    let counts = fleet
        .deployment
        .patience
        .during("the counts of the queue and of the ledger", || fleet.coordinator.progress(&state.run));
    state.progress = counts?;
    if output.json {
        return summary::print(&json(&state)?);
    }
    summary::print(&format!(
        "{}\nnext: flowherd status {run}, then flowherd report {run}\n",
        sent(&state.run, &state.progress),
        run = state.run
    ))
}

/// Returns the counts of a run whose objects are all sent. The queue's counts are of all runs, and so at most those of this one.
fn sent(run: &str, progress: &Progress) -> String {
    let pending = progress.pending();
    let in_flight = progress.in_flight.min(pending);
    let queued = progress.queued.min(pending - in_flight);
    let count = |number| HumanCount(number).to_string();
    let mut text = format!("run {run}: {}", counted(progress.listed, "object", "objects"));
    let parts = [
        (progress.done, "done"),
        (progress.skipped, "skipped"),
        (progress.failed, "failed"),
        (queued, "queued"),
        (in_flight, "in flight"),
    ];
    for (number, state) in parts.into_iter().filter(|(number, state)| *number > 0 || *state == "done") {
        text += &format!(", {} {state}", count(number));
    }
    let lost = pending - in_flight - queued;
    if lost > 0 {
        text += &format!(
            "\n{} neither an outcome nor a message: SQS counts messages with a delay of about a minute; if `flowherd status \
             {run}` still shows none later, another run has purged the queue or they are dead-letter messages",
            match lost {
                1 => "1 object has".to_owned(),
                _ => format!("{} objects have", count(lost)),
            }
        );
    }
    text
}

/// The step loop drives the run; progress comes from the ledger and the queue.
fn follow_step_loop(
    fleet: &Fleet<'_>,
    step_loop: &StepLoop<'_>,
    execution: &str,
    run: &str,
    output: &OutputArgs,
) -> Result<(), Stop> {
    if !output.watch {
        let started = serde_json::json!({ "run": run, "execution": execution });
        return summary::print(&if output.json {
            json(&started)?
        } else {
            format!(
                "run {run} has begun: the step loop lists the prefix and sends the objects\n\
                 next: flowherd status {run}, then flowherd report {run}\n"
            )
        });
    }
    // A redriven run has a report already, which the new one replaces.
    let report = || {
        let report = fleet
            .deployment
            .patience
            .during("the report", || finished_report(fleet.coordinator.results, run));
        report.context("cannot read the report")
    };
    let before = report()?;
    let watch = Watch::new(run, fleet.deployment.settings.settle);
    let mut counted: Option<(Instant, Progress)> = None;
    loop {
        let execution =
            fleet.deployment.patience.during("the state of the step loop", || step_loop.look(execution))?;
        // First the report: the step loop also writes one for a run that is refused while it is planned.
        if let Some(report) = report()?.filter(|report| Some(report) != before.as_ref()) {
            drop(watch);
            return outcome::show(&report, fleet.deployment.settings, output.json, output.strict);
        }
        if let Execution::Refused(why) = execution {
            drop(watch);
            return Err(Stop::usage(why));
        }
        if let Execution::Failed(why) = execution {
            drop(watch);
            return Err(anyhow::anyhow!(why).context("the step loop ended without a report").into());
        }
        let is_due = counted.as_ref().is_none_or(|(when, progress)| {
            when.elapsed().as_secs() >= 2 * (progress.listed / COUNTED_AT_ONCE)
        });
        let look = || look(fleet, run);
        if is_due
            && let Some(state) =
                fleet.deployment.patience.during("the counts of the queue and of the ledger", look)?
        {
            watch.show(&state);
            counted = Some((Instant::now(), state.progress));
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Returns the state of a run that the step loop drives; `None` before its begin.
fn look(fleet: &Fleet<'_>, name: &str) -> Result<Option<RunState>, Stop> {
    if find_run(fleet, name)?.is_none() {
        return Ok(None);
    }
    let state = fleet.coordinator.resume_driving(name)?;
    let wait_seconds = match state.operation {
        Operation::Plan(_) => purge_seconds(fleet, name)?,
        _ => 0,
    };
    Ok(Some(RunState { progress: fleet.coordinator.progress(name)?, wait_seconds, ..state }))
}

/// Returns for how long a purge of this run continues.
fn purge_seconds(fleet: &Fleet<'_>, name: &str) -> Result<u64, Stop> {
    let results = fleet.coordinator.results;
    let marker = RunMarker::find(results, name).context("cannot read the ledger")?;
    if !marker.is_some_and(|marker| marker.purging) {
        return Ok(0);
    }
    let head = results.head(&layout::active(name)).context("cannot read the ledger")?;
    Ok(head.map_or(0, |head| PURGE_SECONDS.saturating_sub(head.age().as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_sent_reports_done_queued_and_lost_objects() {
        let progress = Progress { listed: 1, ..Progress::default() };
        let of = |progress: Progress| sent("r", &progress);
        assert_eq!(of(Progress { queued: 1, ..progress }), "run r: 1 object, 0 done, 1 queued");
        // Messages of other runs.
        assert_eq!(
            of(Progress { queued: 7, in_flight: 2, ..progress }),
            "run r: 1 object, 0 done, 1 in flight"
        );
        let progress =
            Progress { listed: 1200, done: 3, failed: 1, queued: 1000, in_flight: 195, ..progress };
        let lost = of(progress);
        assert!(
            lost.starts_with(
                "run r: 1,200 objects, 3 done, 1 failed, 1,000 queued, 195 in flight\n1 object has neither an outcome nor a \
                 message"
            ),
            "{lost}"
        );
    }
}
