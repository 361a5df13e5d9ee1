//! `flowherd live`: the state of live fleets, and the close of their days.

mod check;
mod rule;

use std::time::Duration;

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

use self::check::check;
use super::{Deployment, connected, json, run::follow_here};
use crate::{
    args::{
        OutputArgs,
        live::{LiveApplyArgs, LiveArgs, LiveCommand, LiveLookArgs},
    },
    stop::Stop,
    summary::{self, print_message, printable, table},
    terminal, words,
};

/// The state of a live fleet.
#[derive(Serialize)]
struct LiveFleet {
    fleet: String,
    today: DayStatus,
    yesterday: DayStatus,
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
                let look = || fleet.coordinator.day_status(&keys.prefixes, day);
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

fn close(args: &LiveApplyArgs, day: Option<String>) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let all = FleetKeys::of(&deployment.settings.fleets);
        let keys = FleetKeys::choose_to_close(&all, args.of_fleet.as_deref())?;
        let options = CloseOptions { fleet: Some(keys.fleet.clone()), day };
        let day = options.parse_day()?;
        if let Some(step_loop) = deployment.step_loop {
            refuse_output(&args.output)?;
            let name = format!("close-{}", new_run_name(Timestamp::now(), &keys.fleet));
            let input = CloseInput { operation: "close", options };
            deployment.patience.during("the start of the step loop", || step_loop.start(&name, &input))?;
            return summary::print(&started(&keys.fleet, day));
        }
        deployment.with_fleet(&keys.fleet, |fleet| {
            let close = || fleet.coordinator.close(keys, day);
            let closed = deployment.patience.during("the close of the days", close)?;
            closed.problems.iter().for_each(|problem| deployment.name_damage(problem));
            if closed.remaining > 0 {
                print_message(&remaining(closed.remaining as u64));
            }
            if closed.runs.is_empty() && closed.problems.is_empty() {
                print_message("all days that are over are closed");
            }
            follow_all(closed.runs, |state| follow_here(fleet, state, &args.output))
        })
    })
}

/// Refuses options that have no effect with a stack.
fn refuse_output(OutputArgs { watch, json, strict }: &OutputArgs) -> Result<(), Stop> {
    if !(*watch || *json || *strict) {
        return Ok(());
    }
    Err(Stop::usage(
        "with a stack, the step loop closes the day, and --watch, --strict and --json have no effect; leave them out, then run: \
         flowherd live status",
    ))
}

/// Returns what the step loop does, for people.
fn started(fleet: &str, day: Option<Day>) -> String {
    let what = day.map_or_else(|| "the days".to_owned(), |day| format!("day {}", day.text()));
    format!("the step loop closes {what} of fleet {fleet}\nnext: flowherd live status, then flowherd runs\n")
}

/// Returns how many days the next close closes, for people.
fn remaining(days: u64) -> String {
    format!("{}: run flowherd live close again", words::counted(days, "more day remains", "more days remain"))
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
    fn options_without_effect_are_refused_with_a_stack() {
        let given = |watch, json, strict| refuse_output(&OutputArgs { watch, json, strict });
        assert!(given(false, false, false).is_ok());
        for refused in [given(true, false, false), given(false, true, false), given(true, false, true)] {
            let Err(Stop::Usage(problems)) = refused else { panic!("{refused:?}") };
            assert!(problems[0].contains("leave them out, then run: flowherd live status"), "{problems:?}");
        }
    }

    #[test]
    fn messages_of_a_close_name_the_day_and_the_number_of_days() {
        assert!(started("main", None).starts_with("the step loop closes the days of fleet main\n"));
        let day = started("main", Day::parse("2026-02-18"));
        assert!(day.starts_with("the step loop closes day 2026-02-18 of fleet main\n"), "{day}");
        assert_eq!(remaining(1), "1 more day remains: run flowherd live close again");
        assert_eq!(remaining(2), "2 more days remain: run flowherd live close again");
    }

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
