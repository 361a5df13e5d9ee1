//! Closes that fail, are repeated or come late, and runs that are not over: no day counts as proven without a report of its
//! whole listing.

use std::cell::Cell;

use flowherd_coordinator::{
    error::CoordinatorError,
    live::{
        close::Closed,
        day::{Day, run_name},
    },
    marker::{RunMarker, Stage},
    options::RunOptions,
    redrive::Redriven,
    report::finished_report,
    state::{Checking, Operation, RunState},
};
use flowherd_shared::{
    layout,
    ledger::{Purged, ReportState, Run, put_json},
};

use super::{HOUR, Live, days::set_config, objects};

const DAY: &str = "live-main-2026-02-18";
const LATE: &str = "live-main-2026-02-18-late-1";
const LATER: &str = "live-main-2026-02-18-late-2";

fn refusal<T>(outcome: Result<T, CoordinatorError>) -> String {
    match outcome {
        Err(CoordinatorError::Refused(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is not refused"),
    }
}

impl Live {
    fn run(&self, name: &str) -> Run {
        self.fleet.coordinate(|coordinator| coordinator.run(name)).unwrap()
    }

    fn step(&self, state: RunState) -> Result<RunState, CoordinatorError> {
        self.fleet.coordinate(|coordinator| coordinator.step(state, &|| true))
    }

    fn report_now(&self, name: &str) -> RunState {
        self.step(RunState::report_now(&self.run(name))).unwrap()
    }

    /// Begins another run that purges the queue of the fleet, and drives it to its end.
    fn purge(&self, force: bool) -> Result<(), CoordinatorError> {
        self.fleet.source.put("q/a", b"plain".to_vec());
        let (run, prefix) = (Some("manual".to_owned()), Some("q/".to_owned()));
        let options = RunOptions { run, prefix, purge: true, force, ..RunOptions::default() };
        let state = self.fleet.coordinate(|coordinator| coordinator.begin(&options))?;
        self.fleet.finish(state);
        Ok(())
    }

    fn names(closed: &Closed) -> Vec<&str> {
        closed.runs.iter().map(|state| state.run.as_str()).collect()
    }
}

#[test]
fn a_close_whose_planning_failed_is_repeated_although_it_has_a_report() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.put("p/2026/02/18/10/lost", "g");
    live.pass(26 * HOUR);
    let state = live.close(None).runs.remove(0);
    live.fleet.source.fail_at(Some(0));
    assert!(live.step(state).is_err());
    live.fleet.source.fail_at(None);
    // The step loop reports the state after its last attempt.
    let ended = live.report_now(DAY).ended().unwrap().clone();
    assert_eq!(ended.state, ReportState::Incomplete);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), (DAY, [2, 2, 0, 0, 0]));
}

#[test]
fn a_report_from_before_the_listing_does_not_end_a_run_whose_listing_is_complete() {
    let live = Live::new();
    live.put("p/2026/02/18/10/a", "g");
    live.pass(26 * HOUR);
    live.close(None);
    live.report_now(DAY);
    let state = live.close(None).runs.remove(0);
    // Planned, but its driver dies before the report.
    live.fleet.drive(state, |state| matches!(state.operation, Operation::Plan(_)));
    assert!(live.run(DAY).manifest.is_some());
    assert_eq!(objects(&live.close_one(None)), [1, 1, 0, 0, 0]);
}

#[test]
fn a_purged_run_proves_its_day_only_if_its_report_is_done() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g"), live.put("p/2026/02/18/10/b", "g")]);
    live.purge(true).unwrap();
    live.report_now(DAY);
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), (LATE, [2, 2, 0, 0, 0]));
}

#[test]
fn a_day_whose_run_is_purged_while_it_is_planned_is_closed_again_also_days_later() {
    let live = Live::new();
    // More than a call lists: 20 pages of three.
    for n in 0..70 {
        live.put(&format!("p/2026/02/18/10/{n:02}"), "g");
    }
    live.pass(26 * HOUR);
    let turn = Cell::new(true);
    let state = live.fleet.drive(live.close(None).runs.remove(0), |_| turn.replace(false));
    assert!(live.run(DAY).manifest.is_none() && live.messages() > 0);
    live.purge(true).unwrap();
    assert_eq!(live.fleet.finish(state).state, ReportState::Incomplete);
    live.pass(48 * HOUR);
    let reports = live.close_and_report(None);
    let day = reports.iter().find(|report| report.run == LATE).expect("the day is closed again");
    assert_eq!((objects(day), day.state), ([70, 70, 0, 0, 0], ReportState::Done));
}

#[test]
fn the_day_of_a_purged_run_is_closed_also_after_more_than_a_week_without_a_close() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.purge(true).unwrap();
    let marker = layout::unclosed(DAY);
    assert!(!live.fleet.has(&layout::active(DAY)) && live.fleet.has(&marker));
    live.pass(20 * 24 * HOUR);
    let reports = live.close_and_report(None);
    let day = reports.iter().find(|report| report.run == LATE).expect("the day is closed again");
    assert_eq!((objects(day), day.state), ([1, 1, 0, 0, 0], ReportState::Done));
    // The next close finds nothing to do for the day, and removes the marker.
    assert_eq!(live.close(None).runs, []);
    assert!(!live.fleet.has(&marker));
    assert_eq!(live.close(None).runs, []);
}

#[test]
fn the_marker_of_a_purge_in_progress_outlives_the_close_of_a_proven_day() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    live.close_one(None);
    // A purge writes this marker, then purged.json.
    let purged = Purged { by: "manual".to_owned(), at: live.now().to_string() };
    let marker = layout::unclosed(DAY);
    let write = |path: &str| put_json(&live.fleet.store, path, &purged).unwrap();
    write(&marker);
    assert_eq!(live.close(None).runs, []);
    assert!(live.fleet.has(&marker));
    write(&layout::purged(DAY));
    assert_eq!(live.close(None).runs, []);
    assert!(!live.fleet.has(&marker));
}

#[test]
fn the_marker_of_an_interrupted_purge_is_removed_after_an_hour() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    live.close_one(None);
    let marker = layout::unclosed(DAY);
    let purged = Purged { by: "manual".to_owned(), at: live.now().to_string() };
    put_json(&live.fleet.store, &marker, &purged).unwrap();
    live.pass(HOUR);
    assert_eq!(live.close(None).runs, []);
    assert!(!live.fleet.has(&marker));
}

#[test]
fn the_marker_of_an_interrupted_purge_stays_while_its_run_has_a_run_marker() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    let begun = live.run(DAY);
    live.pass(26 * HOUR);
    live.close_one(None);
    let marker = layout::unclosed(DAY);
    let purged = Purged { by: "manual".to_owned(), at: live.now().to_string() };
    put_json(&live.fleet.store, &marker, &purged).unwrap();
    RunMarker::new(&begun, Stage::Sending).write(&live.fleet.store).unwrap();
    live.pass(2 * HOUR);
    live.close(None);
    assert!(live.fleet.has(&marker));
}

#[test]
fn a_redrive_of_an_open_run_moves_the_messages_and_does_not_end_its_protection() {
    let live = Live::new();
    let key = "p/2026/02/18/10/a";
    let event = live.put(key, "g");
    let whole = live.fleet.source.remove(key).unwrap();
    live.arrive_all(&[event]);
    live.work();
    assert_eq!(live.fleet.queue.dead().len(), 1);
    live.fleet.source.put(key, whole);
    live.pass(HOUR);
    let (redriven, state) = live.fleet.coordinate(|coordinator| coordinator.redrive(DAY)).unwrap();
    assert!(matches!(redriven, Redriven::Started(1) | Redriven::Moved(1)), "{redriven:?}");
    assert!(state.is_none(), "the open run is driven: {state:?}");
    live.work();
    live.pass(HOUR);
    assert!(live.fleet.has(&layout::active(DAY)) && !live.fleet.has(&layout::report(DAY)));
    live.pass(26 * HOUR);
    assert_eq!(objects(&live.close_one(None)), [1, 1, 0, 0, 0]);
}

#[test]
fn an_open_run_is_not_checked_or_reported() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    let run = live.run(DAY);
    let check = RunState::new(&run, Operation::Check(Checking::default()));
    for state in [RunState::report_now(&run), check] {
        let why = refusal(live.step(state));
        assert!(why.starts_with("live run live-main-2026-02-18 is open"), "{why}");
        assert!(why.contains("flowherd live status"), "{why}");
    }
    assert!(live.fleet.has(&layout::active(DAY)) && !live.fleet.has(&layout::report(DAY)));
}

#[test]
fn after_a_failed_step_a_closing_run_is_left_to_the_next_close_once_it_is_listed() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.put("p/2026/02/18/10/lost", "g");
    live.pass(26 * HOUR);
    let state = live.close(None).runs.remove(0);
    // Listed and sent. Then a check fails, and the step loop asks for its last report, while the workers do the objects.
    live.fleet.drive(state, |state| matches!(state.operation, Operation::Plan(_)));
    let report = || live.fleet.coordinate(|coordinator| coordinator.report_after_failure(DAY, &|| true));
    assert_eq!(
        refusal(report()),
        "live run live-main-2026-02-18 has not ended; the next close of its fleet continues it"
    );
    assert!(live.fleet.has(&layout::active(DAY)) && !live.fleet.has(&layout::report(DAY)));
    assert_eq!(objects(&live.close_one(None)), [2, 2, 0, 0, 0]);
    // A run of a prefix gets its report.
    live.fleet.plan("manual", "p/");
    let reported = live.fleet.coordinate(|coordinator| coordinator.report_after_failure("manual", &|| true));
    assert_eq!(reported.unwrap().ended().unwrap().state, ReportState::Incomplete);
}

#[test]
fn a_second_apply_now_closes_the_run_that_followed_the_first_one() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    let first = live.close(Some("2026-02-18"));
    live.arrive_all(&[live.put("p/2026/02/18/11/b", "g")]);
    // The first run has no report yet.
    let second = live.close(Some("2026-02-18"));
    assert_eq!((Live::names(&first), Live::names(&second)), (vec![DAY], vec![DAY, LATE]));
    assert!(live.fleet.has(&layout::closing(LATE)));
    live.arrive_all(&[live.put("p/2026/02/18/12/c", "g")]);
    assert!(live.fleet.has(&layout::run(LATER)));
    live.pass(26 * HOUR);
    let reports = live.close_and_report(None);
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| report.state == ReportState::Done), "{reports:?}");
}

#[test]
fn a_missed_day_before_one_with_a_run_is_closed() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    live.close_one(None);
    // The event of the 19th is lost, and there is no close on the 20th and 21st.
    live.put("p/2026/02/19/10/lost", "g");
    live.pass(24 * HOUR);
    live.arrive_all(&[live.put("p/2026/02/20/10/b", "g")]);
    live.pass(48 * HOUR);
    let days: Vec<_> = live
        .close_and_report(None)
        .into_iter()
        .map(|report| (report.run.clone(), objects(&report)[1]))
        .collect();
    let expected = [("live-main-2026-02-19", 1), ("live-main-2026-02-20", 1), ("live-main-2026-02-21", 0)];
    assert_eq!(days, expected.map(|(run, done)| (run.to_owned(), done)));
}

#[test]
fn a_rerun_of_the_fleets_prefix_does_not_supersede_an_open_live_run() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    assert_eq!(live.run(DAY).prefix, "p/");
    let rerun = |force| {
        let (run, prefix) = (Some("rerun".to_owned()), Some("p/".to_owned()));
        let options = RunOptions { run, prefix, purge: true, force, ..RunOptions::default() };
        live.fleet.coordinate(|coordinator| coordinator.begin(&options))
    };
    let why = refusal(rerun(false));
    assert!(why.contains(DAY) && why.contains("unfinished objects"), "{why}");
    assert_eq!(live.messages(), 1);
    rerun(true).unwrap();
}

#[test]
fn a_closing_run_is_unfinished_whatever_the_number_of_its_receipts() {
    let live = Live::new();
    // Three objects are converted and then removed, so their receipts are not of objects in the listing.
    let events: Vec<String> = (0..3).map(|n| live.put(&format!("p/2026/02/18/10/gone {n}"), "g")).collect();
    live.arrive_all(&events);
    live.work();
    (0..3).for_each(|n| _ = live.fleet.source.remove(&format!("p/2026/02/18/10/gone {n}")));
    (0..3).for_each(|n| _ = live.put(&format!("p/2026/02/18/10/lost {n}"), "g"));
    live.pass(26 * HOUR);
    let state = live.close(None).runs.remove(0);
    live.fleet.drive(state, |state| matches!(state.operation, Operation::Plan(_)));
    assert_eq!((live.run(DAY).manifest.unwrap().objects, live.receipts(DAY).len()), (3, 3));
    let why = refusal(live.purge(false));
    assert!(why.contains(DAY) && why.contains("unfinished objects"), "{why}");
    let why = refusal(live.fleet.coordinate(|coordinator| coordinator.forget(DAY, false)));
    assert!(why.contains("objects without a receipt"), "{why}");
    assert_eq!(objects(&live.close_one(None)), [3, 3, 0, 0, 0]);
    live.purge(false).unwrap();
}

#[test]
fn an_event_that_comes_again_after_the_close_begins_no_run() {
    let live = Live::new();
    let event = live.put("p/2026/02/18/10/a", "g");
    live.arrive_all(std::slice::from_ref(&event));
    live.pass(26 * HOUR);
    live.close_one(None);
    live.pass(HOUR);
    let handled = live.arrive(std::slice::from_ref(&event));
    assert_eq!((handled.sent, handled.ignored, handled.failed.len()), (0, 1, 0));
    assert_eq!((live.messages(), live.fleet.has(&layout::run(LATE))), (0, false));
    // Another version of the object is another object. It does not bring the first one back.
    let newer = live.put("p/2026/02/18/10/a", "longer group");
    live.arrive_all(&[event, newer]);
    assert_eq!((live.messages(), live.fleet.has(&layout::run(LATE))), (1, true));
    live.work();
    assert_eq!(objects(&live.close_one(Some("2026-02-18"))), [1, 1, 0, 0, 0]);
    // The first version comes back: its receipt is there, but its outputs were replaced.
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    assert_eq!((live.messages(), live.fleet.has(&layout::run(LATER))), (1, true));
}

#[test]
fn days_of_a_fleet_that_is_no_longer_live_are_closed_and_no_other_day() {
    let mut live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.put("p/2026/02/18/10/lost", "g");
    live.keys[0].live = false;
    assert!(flowherd_coordinator::live::batch::FleetKeys::choose_to_close(&live.keys, None).is_ok());
    // Today's run too: nothing arrives any more.
    assert_eq!(objects(&live.close_one(None)), [2, 2, 0, 0, 0]);
    live.pass(48 * HOUR);
    for day in [None, Day::parse("2026-02-18"), Day::parse("2026-02-19")] {
        let why = refusal(live.fleet.coordinate(|coordinator| coordinator.close(&live.keys[0], day)));
        assert!(why.starts_with("fleet main is not live and has no "), "{why}");
    }
}

#[test]
fn a_fleet_that_is_no_longer_live_names_its_purged_days_and_their_markers_can_be_forgotten() {
    let mut live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.purge(true).unwrap();
    live.keys[0].live = false;
    let closed = live.close(None);
    assert!(closed.runs.is_empty() && closed.problems.len() == 1, "{closed:?}");
    let why = &closed.problems[0];
    assert!(
        why.starts_with(&format!("day 2026-02-18: a purge ended {DAY}, and fleet main is not live")),
        "{why}"
    );
    assert!(why.contains(&format!("flowherd runs --forget {DAY}")), "{why}");
    live.fleet.coordinate(|coordinator| coordinator.forget(DAY, false)).unwrap();
    assert!(!live.fleet.has(&layout::unclosed(DAY)));
    let why = refusal(live.fleet.coordinate(|coordinator| coordinator.close(&live.keys[0], None)));
    assert!(why.contains("fleet main is not live and has no day to close"), "{why}");
    let again = refusal(live.fleet.coordinate(|coordinator| coordinator.forget(DAY, false)));
    assert!(again.contains("has no run marker"), "{again}");
}

#[test]
fn a_close_of_a_fleet_that_is_no_longer_live_names_a_purged_day_beside_an_open_one() {
    let mut live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.purge(true).unwrap();
    live.pass(24 * HOUR);
    live.arrive_all(&[live.put("p/2026/02/19/10/b", "g")]);
    live.keys[0].live = false;
    let closed = live.close(None);
    let runs: Vec<_> = closed.runs.iter().map(|state| state.run.as_str()).collect();
    assert_eq!(runs, ["live-main-2026-02-19"]);
    assert!(closed.problems.len() == 1 && closed.problems[0].starts_with("day 2026-02-18:"), "{closed:?}");
}

#[test]
fn a_close_of_a_thousand_days_returns_yesterday_first_and_fits_into_a_state() {
    let live = Live::new();
    set_config(&live, "one");
    live.pass(1000 * 24 * HOUR);
    live.arrive_all(&[live.put("p/without date", "g")]);
    let template = run_name("main", Day::of(live.now()), 0);
    let yesterday = Day::of(live.now()).plus(-1);
    for back in 0..1000 {
        let name = run_name("main", yesterday.plus(-back), 0);
        let mut run = Run { run: name.clone(), prefix: "p/".repeat(20), ..live.run(&template) };
        run.live.as_mut().unwrap().day = yesterday.plus(-back).text();
        put_json(&live.fleet.store, &layout::run(&name), &run).unwrap();
        RunMarker::new(&run, Stage::Sending).write(&live.fleet.store).unwrap();
    }
    let mut closed_days = 0;
    for _ in 0..20 {
        let closed = live.close(None);
        let bytes = serde_json::to_vec(&closed).unwrap().len();
        assert!(bytes < 200 * 1024, "{bytes} bytes");
        if closed_days == 0 {
            assert_eq!(closed.runs[0].run, run_name("main", yesterday, 0));
        }
        closed_days += closed.runs.len();
        let remaining = closed.remaining;
        for state in closed.runs {
            live.report(state);
        }
        if remaining == 0 {
            break;
        }
    }
    assert_eq!(closed_days, 1000);
    assert_eq!(live.close(None), Closed { operation: "close", ..Closed::default() });
}

impl Live {
    /// Drives a run to its end, without work.
    fn report(&self, state: RunState) {
        let run = state.run.clone();
        self.fleet.drive(state, |_| true);
        assert!(finished_report(&self.fleet.store, &run).unwrap().is_some());
    }
}
