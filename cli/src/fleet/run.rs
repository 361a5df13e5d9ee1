//! `flowherd run`, `rerun` and `redrive`: what puts work into the queue.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use flowherd_coordinator::{
    begin::new_name,
    redrive::Redriven,
    steps::{Begin, CoordinatorError, Operation, Step},
};
use flowherd_shared::ledger::{ReportState, Run, layout, read_json};
use jiff::Timestamp;

use super::{
    Fleet, connected, json, outcome, status,
    step_loop::{Execution, StepLoop},
    watch::Watch,
};
use crate::{
    args::{OutputArgs, RedriveArgs, RerunArgs, RunArgs},
    stop::Stop,
    summary::{self, tell},
};

/// A person who watches sees something new at least so often.
const LONGEST_WAIT: u64 = 5;
/// Objects whose outcomes are counted in a second or two; of more, they are counted less often.
const COUNTED_AT_ONCE: u64 = 20_000;

/// `flowherd run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), Stop> {
    let begin = Begin {
        prefix: args.prefix.clone(),
        purge: args.purge.then_some(true),
        force: args.force.then_some(true),
        resume: args.resume.clone(),
        run: args.run.clone(),
    };
    connected(&args.fleet, |fleet| begin_and_follow(fleet, begin, &args.output))
}

/// `flowherd rerun`.
pub(crate) fn rerun(args: &RerunArgs) -> Result<(), Stop> {
    let (prefix, force) = (Some(args.prefix.clone()), args.force.then_some(true));
    let begin = Begin { prefix, purge: Some(true), force, ..Begin::default() };
    connected(&args.fleet, |fleet| begin_and_follow(fleet, begin, &args.output))
}

/// `flowherd redrive`.
pub(crate) fn redrive(args: &RedriveArgs) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        let coordinator = fleet.coordinator;
        let run = match &args.run {
            Some(run) => run.clone(),
            None => status::latest_with_failures(fleet)?
                .ok_or_else(|| Stop::usage("no run has failures; name one to report it anew"))?,
        };
        let (redriven, step) =
            fleet.patience.during("the move of the dead letters", || coordinator.redrive(&run))?;
        tell(&match redriven {
            Redriven::Started(0) | Redriven::Moved(0) => {
                "the dead-letter queue is empty: nothing is moved back".to_owned()
            }
            Redriven::Started(count) => format!("SQS moves about {count} dead letters back by itself"),
            Redriven::Moved(count) => format!("{count} dead letters are back in the queue"),
        });
        let Some(step_loop) = fleet.step_loop else { return follow_here(fleet, step, &args.output) };
        // An execution that gets a step goes on from there.
        let name = new_name(Timestamp::now(), &run);
        let start = || step_loop.start(&format!("redrive-{name}"), &step);
        let execution = fleet.patience.during("the start of the step loop", start)?;
        follow_step_loop(fleet, step_loop, &execution, &run, &args.output)
    })
}

fn begin_and_follow(fleet: &Fleet<'_>, mut begin: Begin, output: &OutputArgs) -> Result<(), Stop> {
    let Some(step_loop) = fleet.step_loop else {
        let step = fleet.patience.during("the begin of the run", || fleet.coordinator.begin(&begin))?;
        tell(&format!("run {}", step.run));
        step.message.iter().for_each(|message| tell(message));
        return follow_here(fleet, step, output);
    };
    let run = begin.run.take();
    let run = run.unwrap_or_else(|| new_name(Timestamp::now(), begin.prefix.as_deref().unwrap_or_default()));
    if !layout::is_run_name(&run) {
        return Err(Stop::usage(format!("--run {run:?}: use letters, digits, '-', '_' and '.', at most 80")));
    }
    begin.run = Some(run.clone());
    let execution =
        fleet.patience.during("the start of the step loop", || step_loop.start(&run, &Given(&begin)))?;
    tell(&format!("run {run}"));
    follow_step_loop(fleet, step_loop, &execution, &run, output)
}

/// What was given, and nothing else: the step loop refuses a null.
struct Given<'a>(&'a Begin);

impl serde::Serialize for Given<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let begin = self.0;
        let text = |text: &Option<String>| text.clone().map(serde_json::Value::from);
        let members = [
            ("prefix", text(&begin.prefix)),
            ("resume", text(&begin.resume)),
            ("run", text(&begin.run)),
            ("purge", begin.purge.map(Into::into)),
            ("force", begin.force.map(Into::into)),
        ];
        serializer.collect_map(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// Does the steps here: until everything is in the queue, or if it is watched until its end.
fn follow_here(fleet: &Fleet<'_>, mut step: Step, output: &OutputArgs) -> Result<(), Stop> {
    let watch = Watch::new(&step.run);
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
        step = patiently(fleet, &step, &|| false)?;
        if step.operation == Operation::Report {
            step.message.iter().for_each(|message| tell(message));
        }
    }
    watch.finish();
    if step.operation == Operation::End {
        let report = fleet.coordinator.finished_report(&step.run).context("cannot read the report")?;
        let report = report.context("the report is not there any more")?;
        if let Some(message) = &step.message
            && report.state != ReportState::Done
        {
            tell(message);
        }
        return outcome::show(&report, fleet.settings, output.json, output.strict);
    }
    if output.json {
        return summary::print(&json(&step)?);
    }
    summary::print(&format!(
        "run {}: {} objects, {} of them done; the others are in the queue\n\
         next: flowherd status {}, then flowherd report {}\n",
        step.run,
        step.progress.listed,
        step.progress.done + step.progress.skipped,
        step.run,
        step.run
    ))
}

/// Does a step, and again if it fails in a way that may pass, as the step loop does.
pub(super) fn patiently(fleet: &Fleet<'_>, step: &Step, goes_on: &dyn Fn() -> bool) -> Result<Step, Stop> {
    let what = match step.operation {
        Operation::Purge => "the purge",
        Operation::Plan => "the listing and the sending of the run's objects",
        Operation::Check => "the counts of the queue and of the ledger",
        Operation::Report | Operation::End => "the ledger's receipts and failures",
    };
    let goes_on = || {
        fleet.patience.renew();
        goes_on()
    };
    let once = || fleet.patience.during(what, || fleet.coordinator.step(step.clone(), &goes_on));
    for pause in [1, 2, 4, 8, 16, 32] {
        match once() {
            Ok(next) => return Ok(next),
            Err(error @ CoordinatorError::Refused(_)) => return Err(error.into()),
            Err(error) => {
                tell(&format!("{}; trying again in {pause} s", error.on_one_line()));
                thread::sleep(Duration::from_secs(pause));
            }
        }
    }
    Ok(once()?)
}

/// The step loop does the steps; what is shown comes from the ledger and the queue.
fn follow_step_loop(
    fleet: &Fleet<'_>,
    step_loop: &StepLoop<'_>,
    execution: &str,
    run: &str,
    output: &OutputArgs,
) -> Result<(), Stop> {
    if !output.watch {
        let told = serde_json::json!({ "run": run, "execution": execution });
        return summary::print(&if output.json {
            json(&told)?
        } else {
            format!("the step loop is at work\nnext: flowherd status {run}, then flowherd report {run}\n")
        });
    }
    // A redriven run has a report already: the new one is another.
    let report = || {
        let report = fleet.patience.during("the report", || fleet.coordinator.finished_report(run));
        report.context("cannot read the report")
    };
    let before = report()?;
    let watch = Watch::new(run);
    let mut counted: Option<(Instant, Step)> = None;
    loop {
        let ended = fleet.patience.during("the state of the step loop", || step_loop.look(execution))?;
        if let Execution::Refused(why) = ended {
            watch.finish();
            return Err(Stop::usage(why));
        }
        if let Some(report) = report()?.filter(|report| Some(report) != before.as_ref()) {
            watch.finish();
            return outcome::show(&report, fleet.settings, output.json, output.strict);
        }
        if let Execution::Failed(why) = ended {
            watch.finish();
            return Err(anyhow::anyhow!(why).context("the step loop has ended without a report").into());
        }
        let is_due = counted.as_ref().is_none_or(|(when, step)| {
            when.elapsed().as_secs() >= 2 * (step.progress.listed / COUNTED_AT_ONCE)
        });
        let look = || look(fleet, run);
        if is_due
            && let Some(step) = fleet.patience.during("the counts of the queue and of the ledger", look)?
        {
            watch.show(&step);
            counted = Some((Instant::now(), step));
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// How far a run is that somebody else drives; `None` before its begin.
fn look(fleet: &Fleet<'_>, name: &str) -> Result<Option<Step>, Stop> {
    let run: Option<Run> =
        read_json(fleet.coordinator.results, &layout::run(name)).context("cannot read the ledger")?;
    let Some(run) = run else { return Ok(None) };
    let operation = if run.manifest.is_some() { Operation::Check } else { Operation::Plan };
    let progress = fleet.coordinator.progress(name)?;
    Ok(Some(Step { progress, ..Step::new(operation, &run) }))
}
