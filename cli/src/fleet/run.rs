//! `flowherd run`, `rerun` and `redrive`: the commands that send messages to the queue.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use flowherd_coordinator::{
    options::{RunOptions, new_run_name},
    redrive::Redriven,
    state::{Progress, RunState},
};
use flowherd_shared::ledger::{ReportState, Run, layout, read_json};
use jiff::Timestamp;

use super::{
    Fleet, connected,
    drive::Command,
    json, outcome, runs,
    step_loop::{Execution, StepLoop},
    watch::Watch,
};
use crate::{
    args::{OutputArgs, RedriveArgs, RerunArgs, RunArgs},
    stop::Stop,
    summary::{self, print_message},
};

/// Objects whose outcomes are counted in a second or two. Those of a larger run are counted less often.
const COUNTED_AT_ONCE: u64 = 20_000;

/// `flowherd run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| begin_and_follow(fleet, args.options.clone(), &args.output))
}

/// `flowherd rerun`.
pub(crate) fn rerun(args: &RerunArgs) -> Result<(), Stop> {
    let prefix = Some(args.prefix.clone());
    let options = RunOptions { prefix, purge: true, force: args.force, ..RunOptions::default() };
    connected(&args.fleet, |fleet| begin_and_follow(fleet, options, &args.output))
}

/// `flowherd redrive`.
pub(crate) fn redrive(args: &RedriveArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        let coordinator = fleet.coordinator;
        let run = match &args.run {
            Some(run) => run.clone(),
            None => runs::latest_with_failures(fleet)?,
        };
        let (redriven, state) =
            fleet.patience.during("the move of the dead-letter messages", || coordinator.redrive(&run))?;
        print_message(&match redriven {
            Redriven::Started(0) | Redriven::Moved(0) => {
                "the dead-letter queue is empty: nothing is moved back".to_owned()
            }
            Redriven::Started(count) => format!("SQS moves about {count} dead-letter messages back"),
            Redriven::Moved(count) => format!("{count} dead-letter messages are back in the queue"),
        });
        let Some(step_loop) = fleet.step_loop else { return follow_here(fleet, state, &args.output) };
        // An execution whose input is a state continues from it.
        let name = new_run_name(Timestamp::now(), &run);
        let start = || step_loop.start(&format!("redrive-{name}"), &state);
        let execution = fleet.patience.during("the start of the step loop", start)?;
        follow_step_loop(fleet, step_loop, &execution, &run, &args.output)
    })
}

fn begin_and_follow(fleet: &Fleet<'_>, mut options: RunOptions, output: &OutputArgs) -> Result<(), Stop> {
    let Some(step_loop) = fleet.step_loop else {
        let state = fleet.patience.during("the begin of the run", || fleet.coordinator.begin(&options))?;
        print_message(&format!("run {}", state.run));
        state.message.iter().for_each(|message| print_message(message));
        return follow_here(fleet, state, output);
    };
    let run = options.run_name(Timestamp::now())?;
    options.run = Some(run.clone());
    let execution =
        fleet.patience.during("the start of the step loop", || step_loop.start(&run, &options))?;
    print_message(&format!("run {run}"));
    follow_step_loop(fleet, step_loop, &execution, &run, output)
}

/// Drives a run in this process: until everything is in the queue, or to its end with `--watch`.
fn follow_here(fleet: &Fleet<'_>, mut state: RunState, output: &OutputArgs) -> Result<(), Stop> {
    let watch = Watch::new(&state.run);
    let mut command = Command { fleet, watch: Some(&watch), stops_at_check: !output.watch };
    let driven = fleet.coordinator.drive(&mut state, &mut command);
    watch.finish();
    driven?;
    if state.has_ended() {
        let report = fleet.coordinator.finished_report(&state.run).context("cannot read the report")?;
        let report = report.context("the report was removed")?;
        if let Some(message) = &state.message
            && report.state != ReportState::Done
        {
            print_message(message);
        }
        return outcome::show(&report, fleet.settings, output.json, output.strict);
    }
    if output.json {
        return summary::print(&json(&state)?);
    }
    summary::print(&format!(
        "run {run}: {} objects, {} of them done; the others are in the queue\n\
         next: flowherd status {run}, then flowherd report {run}\n",
        state.progress.listed,
        state.progress.done + state.progress.skipped,
        run = state.run
    ))
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
            format!("the step loop drives the run\nnext: flowherd status {run}, then flowherd report {run}\n")
        });
    }
    // A redriven run has a report already, which the new one replaces.
    let report = || {
        let report = fleet.patience.during("the report", || fleet.coordinator.finished_report(run));
        report.context("cannot read the report")
    };
    let before = report()?;
    let watch = Watch::new(run);
    let mut counted: Option<(Instant, Progress)> = None;
    loop {
        let execution = fleet.patience.during("the state of the step loop", || step_loop.look(execution))?;
        // First the report: the step loop also writes one for a run that is refused while it is planned.
        if let Some(report) = report()?.filter(|report| Some(report) != before.as_ref()) {
            watch.finish();
            return outcome::show(&report, fleet.settings, output.json, output.strict);
        }
        if let Execution::Refused(why) = execution {
            watch.finish();
            return Err(Stop::usage(why));
        }
        if let Execution::Failed(why) = execution {
            watch.finish();
            return Err(anyhow::anyhow!(why).context("the step loop ended without a report").into());
        }
        let is_due = counted.as_ref().is_none_or(|(when, progress)| {
            when.elapsed().as_secs() >= 2 * (progress.listed / COUNTED_AT_ONCE)
        });
        let look = || look(fleet, run);
        if is_due
            && let Some(state) = fleet.patience.during("the counts of the queue and of the ledger", look)?
        {
            watch.show(&state);
            counted = Some((Instant::now(), state.progress));
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Returns the state of a run that the step loop drives; `None` before its begin.
fn look(fleet: &Fleet<'_>, name: &str) -> Result<Option<RunState>, Stop> {
    let run: Option<Run> =
        read_json(fleet.coordinator.results, &layout::run(name)).context("cannot read the ledger")?;
    if run.is_none() {
        return Ok(None);
    }
    let state = fleet.coordinator.resume_driving(name)?;
    Ok(Some(RunState { progress: fleet.coordinator.progress(name)?, ..state }))
}
