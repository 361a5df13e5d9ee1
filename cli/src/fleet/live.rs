//! `flowherd live`: the state of live fleets, and the close of their days.

use std::time::Duration;

use anyhow::Context;
use flowherd_coordinator::{
    live::{
        batch::FleetKeys,
        close::CloseOptions,
        day::Day,
        status::{DayStatus, Verdict},
    },
    options::new_run_name,
    state::RunState,
};
use flowherd_shared::ledger::ReportState;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde::Serialize;

use super::{Deployment, connected, json, run::follow_here, stack};
use crate::{
    args::live::{LiveApplyArgs, LiveArgs, LiveCommand, LiveLookArgs},
    stop::Stop,
    summary::{self, print_message, printable, table},
    terminal, words,
};

/// Age of a waiting object above which a check names it as a problem: several times what an arrival takes.
const LONG: Duration = Duration::from_mins(15);

/// The state of a live fleet.
#[derive(Serialize)]
struct LiveFleet {
    fleet: String,
    today: DayStatus,
    yesterday: DayStatus,
}

/// What `flowherd live check` found.
#[derive(Serialize)]
struct Checked {
    /// Whether the bucket sends its events to `EventBridge`; `null` if that cannot be read.
    sends_events: Option<bool>,
    /// Messages of the queue of arrivals; `null` outside of a stack.
    arrivals: Option<Arrivals>,
    fleets: Vec<LiveFleet>,
    problems: Vec<String>,
}

/// The counts of the queue of arrivals, which are approximate.
#[derive(Serialize)]
struct Arrivals {
    waiting: u64,
    dead_letters: u64,
}

/// The input of the step loop.
#[derive(Serialize)]
struct CloseInput {
    operation: &'static str,
    #[serde(flatten)]
    options: CloseOptions,
}

/// `flowherd live`.
pub(crate) fn live(args: &LiveArgs) -> Result<(), Stop> {
    match &args.command {
        LiveCommand::Check(args) => check(args),
        LiveCommand::Status(args) => status(args),
        LiveCommand::Close(args) => close(&args.apply, args.day.map(|day| day.to_string())),
        LiveCommand::ApplyNow(args) => close(args, Some(Day::of(Timestamp::now()).text())),
    }
}

fn status(args: &LiveLookArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let fleets = look(deployment, args.of_fleet.as_deref())?;
        if args.json {
            return summary::print(&json(&fleets)?);
        }
        summary::print(&text(&fleets))
    })
}

/// Reads the state of all live fleets, or of one.
fn look(deployment: &Deployment<'_>, only: Option<&str>) -> Result<Vec<LiveFleet>, Stop> {
    let all = FleetKeys::of(&deployment.settings.fleets);
    let chosen: Vec<&FleetKeys> = match only {
        Some(_) => vec![FleetKeys::choose(&all, only)?],
        None => all.iter().filter(|keys| keys.live).collect(),
    };
    if chosen.is_empty() {
        FleetKeys::choose(&all, None)?;
    }
    let today = Day::of(Timestamp::now());
    let look_at = |keys: &FleetKeys| {
        deployment.with_fleet(&keys.fleet, |fleet| {
            let day = |day: Day| {
                let what = format!("the listing of {} and its receipts", day.text());
                let look = || fleet.coordinator.day_status(&keys.territory, day);
                deployment.patience.during(what, look)
            };
            Ok(LiveFleet { fleet: keys.fleet.clone(), today: day(today)?, yesterday: day(today.plus(-1))? })
        })
    };
    chosen.into_iter().map(look_at).collect()
}

fn text(fleets: &[LiveFleet]) -> String {
    let head = [
        "fleet",
        "day",
        "objects",
        "done",
        "waiting",
        "failed",
        "median",
        "p95",
        "oldest waiting",
        "yesterday",
    ];
    let rows: Vec<Vec<String>> = fleets.iter().map(row).collect();
    let mut text = table::render(&head, &rows, |column| (2..=5).contains(&column), terminal::width());
    for LiveFleet { fleet, today, .. } in fleets {
        if let Some(oldest) = &today.oldest_waiting {
            text += &format!("\noldest waiting object of {fleet}: {}\n", printable(&oldest.key));
        }
    }
    text
}

fn row(LiveFleet { fleet, today, yesterday }: &LiveFleet) -> Vec<String> {
    let count = |number| HumanCount(number).to_string();
    let time = |seconds: Option<u64>| {
        seconds.map_or("-".to_owned(), |seconds| words::duration(Duration::from_secs(seconds)))
    };
    vec![
        fleet.clone(),
        today.day.clone(),
        count(today.objects),
        count(today.done),
        count(today.waiting),
        count(today.failed),
        time(today.latency.map(|latency| latency.median_seconds)),
        time(today.latency.map(|latency| latency.p95_seconds)),
        time(today.oldest_waiting.as_ref().map(|oldest| oldest.seconds)),
        verdict(yesterday),
    ]
}

/// Returns how a day ended.
fn verdict(day: &DayStatus) -> String {
    let verdict = match &day.verdict {
        None => return "not closed".to_owned(),
        Some(Verdict { state: ReportState::Done, listed, .. }) => {
            format!("done, {}", words::counted(*listed, "object", "objects"))
        }
        Some(Verdict { listed, not_done, run, .. }) => {
            let (not_done, listed) = (HumanCount(*not_done), HumanCount(*listed));
            format!("{not_done} of {listed} not done: flowherd report {run}")
        }
    };
    let late = if day.late_run.is_some() { "; late objects until the next close" } else { "" };
    verdict + late
}

fn check(args: &LiveLookArgs) -> Result<(), Stop> {
    let queues = |outputs: &stack::Outputs| {
        Some((outputs.get("ArrivalsQueueUrl")?, outputs.get("ArrivalsDeadLetterQueueUrl")?))
    };
    connected(&args.fleet, |deployment| {
        let fleets = look(deployment, args.of_fleet.as_deref())?;
        let mut checked = Checked { sends_events: None, arrivals: None, fleets, problems: Vec::new() };
        let bucket = &deployment.settings.common.source_bucket;
        let read = || deployment.connected.source.sends_events();
        match deployment.patience.during("the notifications of the source bucket", read) {
            Ok(sends) => checked.sends_events = Some(sends),
            Err(error) => print_message(&format!(
                "cannot read the notifications of {bucket}: {error}; allow s3:GetBucketNotification"
            )),
        }
        if deployment.step_loop.is_some() {
            let outputs = || stack::outputs(deployment.aws, &args.fleet);
            let outputs = deployment.patience.during("the outputs of the stack", outputs)?;
            checked.arrivals = queues(&outputs).map(|urls| arrivals(deployment, urls)).transpose()?;
        }
        checked.find_problems(bucket);
        summary::print(&if args.json { json(&checked)? } else { checked.text() })?;
        checked.problems.iter().for_each(|problem| print_message(problem));
        if checked.problems.is_empty() { Ok(()) } else { Err(Stop::Failed) }
    })
}

fn arrivals(deployment: &Deployment<'_>, (queue, dead): (String, String)) -> Result<Arrivals, Stop> {
    use flowherd_shared::queue::Queue as _;
    let depth = |url: &str| {
        let read = || deployment.aws.queue(url).depth();
        deployment
            .patience
            .during("the counts of the queue of arrivals", read)
            .context("cannot read the queue")
    };
    Ok(Arrivals { waiting: depth(&queue)?.sum(), dead_letters: depth(&dead)?.sum() })
}

impl Checked {
    fn find_problems(&mut self, bucket: &str) {
        if self.sends_events == Some(false) {
            self.problems.push(format!(
                "bucket {bucket} does not send its events to EventBridge: objects are only converted when their day is \
                 closed; to enable it, run the command in docs/live.md"
            ));
        }
        if let Some(Arrivals { dead_letters: 1.., .. }) = self.arrivals {
            self.problems.push(
                "the queue of arrivals has dead-letter messages; see docs/operations.md#alarm-arrivals-dead-letters"
                    .to_owned(),
            );
        }
        for LiveFleet { fleet, today, yesterday } in &self.fleets {
            if let Some(oldest) =
                today.oldest_waiting.as_ref().filter(|oldest| oldest.seconds > LONG.as_secs())
            {
                self.problems.push(format!(
                    "fleet {fleet}: {} has waited for {}; check its workers, and that the rule is enabled",
                    printable(&oldest.key),
                    words::duration(Duration::from_secs(oldest.seconds))
                ));
            }
            if let Some(Verdict { state, .. }) = &yesterday.verdict
                && *state != ReportState::Done
            {
                self.problems.push(format!("fleet {fleet}, {}: {}", yesterday.day, verdict(yesterday)));
            }
        }
    }

    fn text(&self) -> String {
        let events = match self.sends_events {
            Some(true) => "sent to EventBridge",
            Some(false) => "not sent",
            None => "unknown",
        };
        let mut text = format!("events    {events}\n");
        if let Some(Arrivals { waiting, dead_letters }) = self.arrivals {
            let dead = words::counted(dead_letters, "dead-letter message", "dead-letter messages");
            text += &format!("arrivals  {waiting} waiting, {dead}\n");
        }
        for LiveFleet { fleet, today, .. } in &self.fleets {
            let last = today.last_done_seconds.map_or("none today".to_owned(), |seconds| {
                format!("{} ago", words::duration(Duration::from_secs(seconds)))
            });
            text += &format!("last done {last} (fleet {fleet})\n");
        }
        text
    }
}

fn close(args: &LiveApplyArgs, day: Option<String>) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let all = FleetKeys::of(&deployment.settings.fleets);
        let keys = FleetKeys::choose_to_close(&all, args.of_fleet.as_deref())?;
        let options = CloseOptions { fleet: Some(keys.fleet.clone()), day };
        let day = options.parse_day()?;
        if let Some(step_loop) = deployment.step_loop {
            let name = format!("close-{}", new_run_name(Timestamp::now(), &keys.fleet));
            let input = CloseInput { operation: "close", options };
            deployment.patience.during("the start of the step loop", || step_loop.start(&name, &input))?;
            return summary::print(&format!(
                "the step loop closes the days of fleet {}\nnext: flowherd live status, then flowherd runs\n",
                keys.fleet
            ));
        }
        deployment.with_fleet(&keys.fleet, |fleet| {
            let close = || fleet.coordinator.close(keys, day);
            let closed = deployment.patience.during("the close of the days", close)?;
            closed.problems.iter().for_each(|problem| deployment.name_damage(problem));
            if closed.remaining > 0 {
                print_message(&format!(
                    "{} more days remain: close again",
                    HumanCount(closed.remaining as u64)
                ));
            }
            if closed.runs.is_empty() && closed.problems.is_empty() {
                print_message("all days that are over are closed");
            }
            follow_all(closed.runs, |state| follow_here(fleet, state, &args.output))
        })
    })
}

/// Follows each run. A run that fails does not stop the others.
fn follow_all(runs: Vec<RunState>, mut follow: impl FnMut(RunState) -> Result<(), Stop>) -> Result<(), Stop> {
    let mut has_failed = false;
    for state in runs {
        let run = state.run.clone();
        print_message(&format!("run {run}"));
        if let Err(stop) = follow(state) {
            has_failed = true;
            // A run that is not done has printed its report.
            if !matches!(stop, Stop::Failed) {
                print_message(&format!("run {run}: {}", stop.on_one_line()));
            }
        }
    }
    if has_failed { Err(Stop::Failed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use flowherd_coordinator::state::{Checking, Operation, Progress};

    use super::*;

    #[test]
    fn a_run_that_is_not_done_does_not_stop_those_after_it() {
        let state = |run: &str| RunState {
            run: run.to_owned(),
            fleet: "main".to_owned(),
            prefix: "p/".to_owned(),
            wait_seconds: 0,
            progress: Progress::default(),
            message: None,
            operation: Operation::Check(Checking::default()),
        };
        let mut followed = Vec::new();
        let ended = follow_all(["a", "b", "c"].map(state).into(), |state| {
            followed.push(state.run.clone());
            match &*state.run {
                "a" => Err(Stop::Failed),
                "b" => Err(Stop::usage("denied")),
                _ => Ok(()),
            }
        });
        assert_eq!(followed, ["a", "b", "c"]);
        assert!(matches!(ended, Err(Stop::Failed)), "{ended:?}");
        assert!(follow_all(vec![state("a")], |_| Ok(())).is_ok());
    }

    #[test]
    fn the_verdict_on_a_closed_day_names_late_objects() {
        let mut day = DayStatus { late_run: None, ..DayStatus::default() };
        assert_eq!(verdict(&day), "not closed");
        let closed = |state, not_done| Some(Verdict { run: "r".to_owned(), state, listed: 7, not_done });
        day.verdict = closed(ReportState::Done, 0);
        assert_eq!(verdict(&day), "done, 7 objects");
        day.late_run = Some("r-late-1".to_owned());
        assert_eq!(verdict(&day), "done, 7 objects; late objects until the next close");
        day.verdict = closed(ReportState::Failed, 2);
        assert_eq!(verdict(&day), "2 of 7 not done: flowherd report r; late objects until the next close");
    }
}
