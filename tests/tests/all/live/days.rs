//! The runs of a day: late arrivals, changes of the configuration, begins at once, purges, and missed closes.

use std::sync::Barrier;

use flowherd_coordinator::{
    coordinator::Inputs,
    error::CoordinatorError,
    live::day::Day,
    options::RunOptions,
    state::{Operation, RunState},
};
use flowherd_shared::{
    layout,
    ledger::{LiveBegin, ReportState, Run, put_json},
    store::Store,
};

use super::{HOUR, Live, objects};

const DAY: &str = "live-main-2026-02-18";
const LATE: &str = "live-main-2026-02-18-late-1";

fn run(live: &Live, name: &str) -> Run {
    serde_json::from_slice(&live.fleet.store.files()[&layout::run(name)]).unwrap()
}

/// A configuration with this table.
fn config(table: &str) -> Inputs {
    let text = format!("[[rule]]\nname = \"r\"\ntable = \"{table}\"\n[rule.format]\nkind = \"vpc-flow\"\n");
    Inputs { config: Some(text.into_bytes()), ..Inputs::default() }
}

pub(super) fn set_config(live: &Live, table: &str) {
    *live.fleet.inputs.lock().unwrap() = config(table);
}

#[test]
fn an_object_that_arrives_after_the_close_goes_into_a_run_of_its_own_that_the_next_close_proves() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    assert_eq!(objects(&live.close_one(None)), [1, 1, 0, 0, 0]);
    live.arrive_all(&[live.put("p/2026/02/18/23/late", "g")]);
    live.work();
    assert_eq!(live.receipts(LATE), ["p/2026/02/18/23/late"]);
    // Another one comes without an event.
    live.put("p/2026/02/18/23/without event", "g");
    live.pass(24 * HOUR);
    let reports = live.close_and_report(None);
    let [late, day] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((late.run.as_str(), objects(late), late.state), (LATE, [3, 2, 0, 1, 0], ReportState::Done));
    assert_eq!(late.earlier[DAY].objects, 1);
    assert_eq!((day.run.as_str(), objects(day)), ("live-main-2026-02-19", [0; 5]));
    // Nothing is left to close.
    live.pass(24 * HOUR);
    assert_eq!(live.close_one(None).run, "live-main-2026-02-20");
}

#[test]
fn a_configuration_that_changes_at_noon_holds_from_the_next_day_or_at_once_after_a_close() {
    let live = Live::new();
    set_config(&live, "one");
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(12 * HOUR);
    set_config(&live, "two");
    live.arrive_all(&[live.put("p/2026/02/18/12/b", "g")]);
    live.work();
    let tables = || live.fleet.results().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(tables(), ["csv/one/p/2026/02/18/10/a.csv.gz", "csv/one/p/2026/02/18/12/b.csv.gz"]);
    // Applied at once: the run so far is closed.
    let noon = live.close_one(Some("2026-02-18"));
    assert_eq!((noon.run.as_str(), objects(&noon)), (DAY, [2, 2, 0, 0, 0]));
    live.arrive_all(&[live.put("p/2026/02/18/12/c", "g")]);
    live.work();
    assert_eq!(tables()[2], "csv/two/p/2026/02/18/12/c.csv.gz");
    live.pass(14 * HOUR);
    let evening = live.close_one(None);
    assert_eq!((evening.run.as_str(), objects(&evening)), (LATE, [3, 1, 0, 2, 0]));
    // The report says which objects were done with which configuration.
    assert_eq!(evening.earlier[DAY].objects, 2);
    assert_eq!(evening.earlier[DAY].config_hash, run(&live, DAY).fingerprint.config_hash);
    assert_ne!(run(&live, LATE).fingerprint, run(&live, DAY).fingerprint);
}

#[test]
fn invocations_that_begin_a_day_at_once_begin_one_run() {
    let live = Live::new();
    let events: Vec<String> = (0..8).map(|n| live.put(&format!("p/2026/02/18/10/{n}"), "g")).collect();
    let barrier = Barrier::new(events.len());
    std::thread::scope(|scope| {
        for event in &events {
            scope.spawn(|| {
                barrier.wait();
                live.arrive_all(std::slice::from_ref(event));
            });
        }
    });
    live.work();
    assert_eq!(live.receipts(DAY).len(), 8);
    assert!(!live.fleet.has(&layout::run(LATE)));
}

#[test]
fn of_two_configurations_that_begin_a_day_one_wins_and_the_other_waits() {
    let live = Live::new();
    let events = [live.put("p/2026/02/18/10/a", "g"), live.put("p/2026/02/18/10/b", "g")];
    // The first invocation dies after it has decided, and then a deployment changes the configuration.
    set_config(&live, "one");
    live.fleet.store.fail_at(Some(4));
    assert_eq!(live.arrive(&events[..1]).failed, ["0"]);
    live.fleet.store.fail_at(None);
    assert!(live.fleet.has(&layout::live_begin(DAY)) && !live.fleet.has(&layout::run(DAY)));
    set_config(&live, "two");
    let handled = live.arrive(&events);
    assert_eq!(handled.failed, ["0", "1"]);
    assert!(
        handled.problems[0].contains("another invocation begins it with another configuration"),
        "{handled:?}"
    );
    // An invocation with the former configuration is still running: it wins.
    set_config(&live, "one");
    live.arrive_all(&events[..1]);
    set_config(&live, "two");
    live.arrive_all(&events[1..]);
    live.pass(26 * HOUR);
    assert_eq!(objects(&live.close_one(None)), [2, 2, 0, 0, 0]);
    assert!(live.fleet.results().iter().all(|(path, _)| path.starts_with("csv/one/")));
}

#[test]
fn an_abandoned_begin_is_replaced_by_the_next_run_of_the_day() {
    let live = Live::new();
    let other = Run { run: DAY.to_owned(), ..run_of_config(&live) };
    put_json(&live.fleet.store, &layout::live_begin(DAY), &LiveBegin { fingerprint: other.fingerprint })
        .unwrap();
    let event = [live.put("p/2026/02/18/10/a", "g")];
    assert_eq!(live.arrive(&event).failed, ["0"]);
    live.pass(HOUR);
    live.arrive_all(&event);
    live.work();
    assert_eq!(live.receipts(LATE), ["p/2026/02/18/10/a"]);
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), (LATE, [1, 1, 0, 0, 0]));
}

/// A run of another fleet in memory, with another configuration.
fn run_of_config(live: &Live) -> Run {
    let other = Live::new();
    set_config(&other, "other");
    other.arrive_all(&[other.put("p/2026/02/18/10/x", "g")]);
    assert!(live.fleet.store.files().is_empty());
    run(&other, DAY)
}

#[test]
fn a_purge_costs_a_live_run_time_and_no_object() {
    let live = Live::new();
    live.fleet.source.put("q/a", b"plain".to_vec());
    let events: Vec<String> = (0..4).map(|n| live.put(&format!("p/2026/02/18/10/{n}"), "g")).collect();
    live.arrive_all(&events);
    let purge = |force| {
        let (run, prefix) = (Some("manual".to_owned()), Some("q/".to_owned()));
        let options = RunOptions { run, prefix, purge: true, force, ..RunOptions::default() };
        live.fleet.coordinate(|coordinator| coordinator.begin(&options))
    };
    let refused = purge(false).unwrap_err().to_string();
    assert!(refused.contains("live-main-2026-02-18") && refused.contains("unfinished objects"), "{refused}");
    let state = purge(true).unwrap();
    let state = live.fleet.drive(state, |state| matches!(state.operation, Operation::Purge(_)));
    assert_eq!(live.messages(), 0, "the purge has deleted the tasks");
    // What arrives during the purge waits for its end.
    let later = [live.put("p/2026/02/18/10/later", "g")];
    assert_eq!(live.arrive(&later).failed, ["0"]);
    live.fleet.finish(state);
    live.arrive_all(&later);
    live.work();
    assert_eq!(live.receipts(LATE), ["p/2026/02/18/10/later"]);
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), (LATE, [5, 5, 0, 0, 0]));
}

#[test]
fn a_close_also_closes_the_days_that_the_schedule_has_missed() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    live.close_one(None);
    // Three days without a close. On the second one, nothing arrives but its object exists.
    live.arrive_all(&[live.put("p/2026/02/19/10/b", "g")]);
    live.pass(24 * HOUR);
    live.put("p/2026/02/20/10/c", "g");
    live.pass(48 * HOUR);
    let closed = live.close_and_report(None);
    let days: Vec<_> = closed.iter().map(|report| (report.run.as_str(), report.objects.done)).collect();
    assert_eq!(days, [("live-main-2026-02-19", 1), ("live-main-2026-02-20", 1), ("live-main-2026-02-21", 0)]);
}

#[test]
fn a_close_that_is_repeated_drives_the_same_runs_and_the_report_is_the_same() {
    let live = Live::new();
    (0..9).for_each(|n| _ = live.put(&format!("p/2026/02/18/10/{n}"), "g"));
    live.pass(26 * HOUR);
    let states: Vec<RunState> =
        [live.close(None), live.close(None)].into_iter().flat_map(|closed| closed.runs).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0], states[1]);
    // Both drivers take turns.
    let [first, second] = <[RunState; 2]>::try_from(states).unwrap();
    let first = live.fleet.drive(first, |state| !matches!(state.operation, Operation::Check(_)));
    let report = live.fleet.finish(second);
    assert_eq!(objects(&report), [9, 9, 0, 0, 0]);
    assert_eq!(objects(&live.fleet.finish(first)), [9, 9, 0, 0, 0]);
    // A close after the end has nothing to do; one that names the day lists it again.
    assert_eq!(live.close(None).runs, []);
    assert_eq!(objects(&live.close_one(Some("2026-02-18"))), [9, 0, 0, 9, 0]);
}

#[test]
fn a_live_run_is_not_resumed_or_continued_as_a_run_of_its_prefix() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    let refusal = |error: CoordinatorError| match error {
        CoordinatorError::Refused(why) => why,
        error => panic!("{error}"),
    };
    live.fleet.coordinate(|coordinator| {
        let resume = RunOptions { resume: Some(DAY.to_owned()), ..RunOptions::default() };
        let why = refusal(coordinator.begin(&resume).unwrap_err());
        assert!(why.ends_with("flowherd live close --day 2026-02-18"), "{why}");
        let why = refusal(coordinator.resume_driving(DAY).unwrap_err());
        assert!(why.contains("is open") && why.ends_with("flowherd live close --day 2026-02-18"), "{why}");
        let named = RunOptions {
            run: Some("live-x".to_owned()),
            prefix: Some("p/".to_owned()),
            ..RunOptions::default()
        };
        let why = refusal(coordinator.begin(&named).unwrap_err());
        assert!(why.contains("begins with live-"), "{why}");
        let tomorrow = Day::parse("2026-02-19");
        let why = refusal(coordinator.close(&live.keys[0], tomorrow).unwrap_err());
        assert_eq!(why, "day 2026-02-19 has not begun");
    });
    assert!(live.fleet.store.get(&layout::closing(DAY)).unwrap().is_none());
}

#[test]
fn outputs_that_another_run_has_replaced_are_named_and_not_written_again() {
    let live = Live::new();
    set_config(&live, "one");
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.work();
    set_config(&live, "one\"\nmetadata = [\"log_group\"]\n# \"");
    let manual = live.fleet.finish(live.fleet.begin("manual", "p/2026/02/18/"));
    assert_eq!(manual.state, ReportState::Done);
    let before = live.fleet.results();
    live.pass(26 * HOUR);
    let report = live.close_and_report(None).remove(0);
    assert_eq!((objects(&report), report.state), ([1, 0, 0, 0, 1], ReportState::Incomplete));
    assert_eq!(live.fleet.results(), before);
}
