//! Purges and reruns, on the fakes: no messages are lost silently, and a former run does not affect the next one.

use std::{ops::ControlFlow, time::Duration};

use flowherd_coordinator::{
    error::CoordinatorError,
    marker::RunMarker,
    options::RunOptions,
    state::{Operation, Purging, Reporting, RunState},
};
use flowherd_shared::{
    ledger::{ReportState, layout},
    queue::Queue,
    store::Store,
};

use super::fleet::{Damage, Flaky, Fleet, has_planned_nothing, object};

/// Receives all messages, fails at their objects, and returns them with a pause.
fn fail_once(fleet: &Fleet) {
    let flaky = Flaky {
        source: &fleet.source,
        failures_left: std::sync::Mutex::new(u32::MAX),
        damage: Damage::Broken,
    };
    let messages = fleet.queue.receive(10, Duration::ZERO).unwrap();
    assert!(!messages.is_empty());
    fleet.handler(&flaky).batch(messages, 1, &|| true, &|| ControlFlow::Continue(()));
}

fn rerun(fleet: &Fleet, run: &str, prefix: &str, force: bool) -> Result<RunState, CoordinatorError> {
    let (run, prefix) = (Some(run.to_owned()), Some(prefix.to_owned()));
    let asked = RunOptions { run, prefix, purge: true, force, ..RunOptions::default() };
    fleet.coordinate(|coordinator| coordinator.begin(&asked))
}

#[test]
fn a_failed_day_is_run_again_within_five_minutes_and_the_former_report_records_the_purge() {
    let fleet = Fleet::new(6);
    let first = fleet.plan("first", "firehose/");
    // A worker of the first run still processes an object when the queue is purged.
    let stale = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    let step = rerun(&fleet, "second", "firehose/", false).unwrap();
    assert_eq!(step.operation.name(), "purge");
    let before = fleet.queue.now();
    let step = fleet.drive(step, |step| matches!(step.operation, Operation::Purge(_) | Operation::Plan(_)));
    assert!(
        fleet.queue.now() >= before + Duration::from_mins(1),
        "the run sends during the minute of the purge"
    );
    assert!(fleet.queue.now() < Duration::from_mins(5));

    // The late worker replaces no output of the new run.
    let published = fleet.store.published().len();
    fleet.handler(&fleet.source).single(&stale, &|| ControlFlow::Continue(()));
    assert_eq!(fleet.store.published().len(), published);

    let report = fleet.finish(step);
    assert_eq!((report.state, report.objects.done), (ReportState::Done, 6));
    let report = fleet.finish(first);
    assert_eq!((report.state, report.objects.missing), (ReportState::Incomplete, 6));
    assert_eq!(report.purged.unwrap().by, "second");
}

#[test]
fn a_run_whose_listing_is_denied_midway_keeps_its_sent_messages_protected() {
    let fleet = Fleet::new(7);
    let begun = fleet.begin("tuesday", "firehose/");
    // Access to the second page is denied, in the same call as the first.
    fleet.source.deny_at(1);
    let refused = fleet.coordinate(|coordinator| coordinator.step(begun, &|| true)).unwrap_err();
    assert!(refused.to_string().contains("cannot list prefix"), "{refused}");
    assert_eq!(fleet.queue.bodies().len(), 3);
    let refused = rerun(&fleet, "monday", "other/", false).unwrap_err();
    assert!(refused.to_string().contains("run tuesday"), "{refused}");

    // A run that has sent nothing blocks no purge.
    let fleet = Fleet::new(7);
    let begun = fleet.begin("tuesday", "firehose/");
    fleet.source.deny_at(0);
    fleet.coordinate(|coordinator| coordinator.step(begun, &|| true)).unwrap_err();
    rerun(&fleet, "monday", "other/", false).unwrap();
}

#[test]
fn a_purge_that_would_destroy_another_runs_work_is_refused_and_names_it() {
    let fleet = Fleet::new(4);
    fleet.source.put("other/1", object("x", 1).1);
    let other = fleet.plan("tuesday", "other/");
    let refused = rerun(&fleet, "monday", "firehose/", false).unwrap_err();
    let CoordinatorError::Refused(why) = refused else { panic!("{refused}") };
    assert!(why.contains("run tuesday (prefix \"other/\"") && why.contains("force"), "{why}");
    assert!(!fleet.has(&layout::run("monday")) && !fleet.has(&layout::active("monday")));
    assert_eq!(fleet.queue.bodies().len(), 1, "the messages of the other run are lost");

    // When only its report is pending, the run blocks no purge.
    fleet.drain(1);
    let step = rerun(&fleet, "monday", "firehose/", false).unwrap();
    assert_eq!(fleet.finish(step).state, ReportState::Done);
    let report = fleet.finish(other);
    assert_eq!((report.state, report.purged), (ReportState::Done, None));
}

#[test]
fn a_forced_purge_is_in_the_report_of_the_run_that_lost_its_work() {
    let fleet = Fleet::new(4);
    fleet.source.put("other/1", object("x", 1).1);
    let other = fleet.plan("tuesday", "other/");
    let step = rerun(&fleet, "monday", "firehose/", true).unwrap();
    assert_eq!(fleet.finish(step).state, ReportState::Done);
    let before = fleet.queue.now();
    let report = fleet.finish(other);
    assert_eq!((report.state, report.objects.missing), (ReportState::Incomplete, 1));
    assert_eq!(report.purged.unwrap().by, "monday");
    assert!(fleet.queue.now() < before + Duration::from_mins(1), "the report waits for purged messages");
}

#[test]
fn a_purge_waits_for_another_purge_in_progress() {
    let fleet = Fleet::new(2);
    fleet.queue.purge().unwrap();
    let step = fleet
        .drive(rerun(&fleet, "r", "", false).unwrap(), |step| matches!(step.operation, Operation::Purge(_)));
    assert!(fleet.queue.now() >= Duration::from_mins(1));
    let step = fleet.drive(step, |step| matches!(step.operation, Operation::Plan(_)));
    assert!(fleet.queue.now() >= Duration::from_mins(2));
    assert_eq!(fleet.finish(step).state, ReportState::Done);
}

#[test]
fn a_second_driver_does_not_purge_the_messages_of_the_run() {
    let fleet = Fleet::new(5);
    let begun = rerun(&fleet, "r", "", false).unwrap();
    let step =
        fleet.drive(begun.clone(), |step| matches!(step.operation, Operation::Purge(_) | Operation::Plan(_)));
    assert_eq!(fleet.queue.bodies().len(), 5);
    // A second driver repeats the purge, because the response was lost.
    fleet.queue.advance(Duration::from_mins(1));
    let late = fleet.drive(begun, |step| matches!(step.operation, Operation::Purge(_)));
    assert_eq!((late.operation.name(), fleet.queue.bodies().len()), ("plan", 5));
    assert_eq!(fleet.finish(step).state, ReportState::Done);
}

#[test]
fn a_second_driver_sends_nothing_during_the_purge_of_the_first() {
    let fleet = Fleet::new(5);
    let second = rerun(&fleet, "r", "", false).unwrap();
    let one_call = |step: RunState| {
        let turn = std::cell::Cell::new(true);
        fleet.drive(step, |_| turn.replace(false))
    };
    let second = one_call(second);
    // The first driver purges after the second has waited for its own purge.
    fleet.queue.advance(Duration::from_mins(1));
    let first = one_call(fleet.coordinate(|coordinator| {
        let run = coordinator.run("r").unwrap();
        RunState::new(&run, Operation::Purge(Purging::default()))
    }));
    let second = one_call(RunState { wait_seconds: 0, ..second });
    assert_eq!((second.operation.name(), fleet.queue.lost().len()), ("plan", 0));
    assert_eq!(fleet.finish(first).state, ReportState::Done);
    assert_eq!(fleet.finish(second).state, ReportState::Done);
}

#[test]
fn a_begin_repeated_without_a_purge_sends_nothing_during_the_first_begins_purge() {
    let fleet = Fleet::new(5);
    let begun = rerun(&fleet, "r", "firehose/", false).unwrap();
    let purged = fleet.drive(begun, |step| matches!(step.operation, Operation::Purge(_)));
    assert_eq!((purged.operation.name(), purged.wait_seconds), ("plan", 60));
    // The waiting driver is stopped, and the run is begun again by its name.
    fleet.queue.advance(Duration::from_secs(10));
    let again = fleet.begin("r", "firehose/");
    assert_eq!((fleet.finish(again).state, fleet.queue.lost().len()), (ReportState::Done, 0));
}

#[test]
fn the_minute_of_a_purge_begins_with_it_however_long_reading_the_markers_took() {
    let fleet = Fleet::new(5);
    fleet.plan("former", "firehose/");
    let begun = rerun(&fleet, "r", "firehose/", false).unwrap();
    let queue = fleet.queue.clone();
    fleet.store.before("runs/former/purged.json".to_owned(), move || queue.advance(Duration::from_secs(40)));
    fleet.drive(begun, |step| matches!(step.operation, Operation::Purge(_)));
    let purged = fleet.queue.lost().len();
    let again = fleet.begin("r", "firehose/");
    assert_eq!(fleet.finish(again).state, ReportState::Done);
    assert_eq!(fleet.queue.lost().len(), purged, "messages were sent within the minute of the purge");
}

#[test]
fn a_waiting_second_driver_keeps_the_messages_of_the_first_protected() {
    let fleet = Fleet::new(5);
    let begun = fleet.begin("r", "firehose/");
    let sent = fleet.drive(begun.clone(), has_planned_nothing);
    // Another run is about to purge, so the second driver must wait before it plans.
    let fresh =
        RunState { operation: Operation::Purge(Purging::default()), ..fleet.begin("other", "other/") };
    let purging = RunMarker {
        fleet: Some("main".to_owned()),
        run: "other".to_owned(),
        prefix: "other/".to_owned(),
        started: None,
        has_sent: false,
        purging: true,
        redriven: false,
        sent: None,
    };
    purging.write(&fleet.store).unwrap();
    let waits = fleet.drive(begun, |step| step.wait_seconds == 0);
    assert_eq!(waits.operation.name(), "plan");
    let refused = fleet.coordinate(|coordinator| coordinator.step(fresh, &|| false)).unwrap_err().to_string();
    assert!(refused.contains("run r (prefix \"firehose/\""), "{refused}");
    assert_eq!(fleet.finish(sent).state, ReportState::Done);
}

#[test]
fn a_run_begun_during_a_purge_sends_nothing_before_its_end() {
    let fleet = Fleet::new(3);
    fleet.source.put("other/1", object("x", 1).1);
    let purging = rerun(&fleet, "monday", "firehose/", false).unwrap();
    let waiting = fleet.begin("tuesday", "other/");
    let waiting = fleet.drive(waiting, |step| step.wait_seconds == 0);
    assert_eq!((waiting.operation.name(), fleet.queue.bodies().len()), ("plan", 0));
    let purging =
        fleet.drive(purging, |step| matches!(step.operation, Operation::Purge(_) | Operation::Plan(_)));
    assert_eq!(fleet.finish(waiting).state, ReportState::Done);
    assert_eq!(fleet.finish(purging).state, ReportState::Done);
}

#[test]
fn of_two_concurrent_purges_the_later_waits_or_supersedes_the_same_prefix() {
    let fleet = Fleet::new(3);
    let first = rerun(&fleet, "one", "firehose/", false).unwrap();
    let refused = rerun(&fleet, "two", "other/", true).unwrap_err().to_string();
    assert!(refused.contains("is being purged for run one"), "{refused}");
    // The driver of the first run has died, and the same prefix is begun again.
    fleet.queue.advance(Duration::from_secs(1));
    let second = rerun(&fleet, "three", "firehose/", false).unwrap();
    assert_eq!(fleet.finish(second).state, ReportState::Done);
    let report = fleet.finish(first);
    assert_eq!((report.state, report.purged.unwrap().by.as_str()), (ReportState::Incomplete, "three"));
}

#[test]
fn a_redrive_is_refused_during_a_purge() {
    let fleet = Fleet::new(2);
    let key = fleet.source.keys().remove(0);
    fleet.source.put(&key, b"\x1f\x8b".to_vec());
    fleet.finish(fleet.begin("r", "firehose/"));
    assert_eq!(fleet.queue.dead().len(), 1);
    rerun(&fleet, "other", "other/", false).unwrap();
    let refused = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap_err().to_string();
    assert!(refused.contains("is being purged for run other"), "{refused}");
    assert_eq!(fleet.queue.dead().len(), 1);
}

#[test]
fn resuming_or_reporting_an_active_run_keeps_it_protected() {
    let fleet = Fleet::new(4);
    let begun = fleet.begin("monday", "firehose/");
    let look = |is_final| {
        let run = fleet.coordinate(|coordinator| coordinator.run("monday")).unwrap();
        let reporting = Reporting { is_final, ..Reporting::default() };
        let step = RunState::new(&run, Operation::Report(reporting));
        fleet.coordinate(|coordinator| coordinator.step(step, &|| true)).unwrap()
    };
    // During the listing and during the work, with and without a forced report.
    assert_eq!(look(false).operation.name(), "check");
    let step = fleet.drive(begun, |step| matches!(step.operation, Operation::Plan(_)));
    assert_eq!(look(false).operation.name(), "check");
    assert_eq!(look(true).ended().map(|ended| ended.state), Some(ReportState::Incomplete));
    assert!(rerun(&fleet, "tuesday", "other/", false).is_err());
    assert_eq!(fleet.finish(step).state, ReportState::Done);
    assert!(rerun(&fleet, "tuesday", "other/", false).is_ok());
}

#[test]
fn a_begin_reports_what_is_wrong_with_its_options() {
    let fleet = Fleet::new(1);
    fleet.begin("r", "firehose/");
    let refused = |asked: &RunOptions| {
        let error = fleet.coordinate(|coordinator| coordinator.begin(asked)).unwrap_err();
        assert!(matches!(error, CoordinatorError::Refused(_)), "{error}");
        error.to_string()
    };
    let named = |name: &str| Some(name.to_owned());
    assert!(refused(&RunOptions::default()).contains("neither prefix nor resume is given"));
    let prefix = named("firehose/");
    assert!(
        refused(&RunOptions { prefix: prefix.clone(), run: named("../x"), ..RunOptions::default() })
            .contains("invalid run name \"../x\"")
    );
    assert!(
        refused(&RunOptions { prefix, resume: named("gone"), ..RunOptions::default() })
            .contains("no run named \"gone\"")
    );
    let other = RunOptions { prefix: named("other/"), resume: named("r"), ..RunOptions::default() };
    assert!(refused(&other).contains("has prefix \"firehose/\""));
    fleet.inputs.lock().unwrap().config = Some(b"[[rule]]\n".to_vec());
    assert!(
        refused(&RunOptions { prefix: named(""), ..RunOptions::default() }).starts_with("flowherd.toml: ")
    );
}

#[test]
fn a_waiting_message_of_a_run_that_is_over_is_acknowledged_without_work() {
    let fleet = Fleet::new(1);
    fleet.plan("old", "");
    fleet.queue.advance(Duration::from_secs(1));
    fail_once(&fleet);
    // A forced report does not end the run: the message is attempted again, and then waits for 20 s.
    let unchanged = |coordinator: &super::fleet::TwinCoordinator<'_>| {
        let run = coordinator.run("old").unwrap();
        coordinator.step(RunState::report_now(&run), &|| true).unwrap()
    };
    assert_eq!(fleet.coordinate(unchanged).operation.name(), "end");
    fleet.queue.advance(Duration::from_secs(10));
    fail_once(&fleet);
    assert_eq!(fleet.queue.bodies().len(), 1);

    // The run is abandoned, and the prefix is run again. The new message waits for the old one.
    fleet.store.remove(&layout::active("old")).unwrap();
    let step = fleet.plan("new", "");
    fleet.queue.advance(Duration::from_secs(20));
    let published = fleet.store.published().len();
    let old = fleet.queue.receive(1, Duration::ZERO).unwrap();
    fleet.handler(&fleet.source).batch(old, 1, &|| true, &|| ControlFlow::Continue(()));
    assert_eq!(
        (fleet.queue.bodies().len(), fleet.store.published().len()),
        (1, published),
        "the message caused work"
    );
    let report = fleet.finish(step);
    assert_eq!((report.state, report.objects.done), (ReportState::Done, 1));
}

#[test]
fn a_waiting_message_of_a_purged_run_is_acknowledged_without_work() {
    let fleet = Fleet::new(1);
    fleet.plan("old", "");
    fail_once(&fleet);
    let purged = serde_json::json!({ "by": "new", "at": "2026-02-18T00:00:00.000Z" });
    fleet.store.put(&layout::purged("old"), purged.to_string().as_bytes()).unwrap();
    fleet.queue.advance(Duration::from_secs(10));
    fail_once(&fleet);
    assert_eq!((fleet.queue.bodies().len(), fleet.queue.dead().len()), (0, 0));
}

#[test]
fn a_redriven_message_is_never_acknowledged_as_one_of_a_run_that_is_over() {
    for can_redrive in [false, true] {
        let fleet = Fleet::new(2);
        fleet.queue.set_faults(flowherd_tests::fake::Faults { can_redrive, ..Default::default() });
        let keys = fleet.source.keys();
        let runs = ["one", "two"];
        for (run, key) in runs.iter().zip(&keys) {
            let step = fleet.plan(run, key);
            let whole = fleet.source.remove(key).unwrap();
            assert_eq!(fleet.finish(step).state, ReportState::Failed);
            fleet.source.put(key, whole);
        }
        // The redrive for the first run also moves the message of the second, which has no marker. Its first delivery is
        // lost.
        fleet.queue.advance(Duration::from_mins(1));
        let step = fleet.coordinate(|coordinator| coordinator.redrive("one")).unwrap().1;
        for message in fleet.queue.receive(10, Duration::ZERO).unwrap() {
            fleet.queue.change_visibility(&message.handle, Duration::ZERO).unwrap();
        }
        assert_eq!(fleet.finish(step.unwrap()).state, ReportState::Done);
        for (run, key) in runs.iter().zip(&keys) {
            assert!(fleet.has(&layout::receipt(run, key)), "{run}");
        }
    }
}

#[test]
fn a_message_of_a_run_without_files_returns_after_a_short_pause() {
    let fleet = Fleet::new(1);
    fleet.plan("old", "");
    fleet.store.remove(&layout::run("old")).unwrap();
    for _ in 0..fleet.settings.max_deliveries {
        let messages = fleet.queue.receive(10, Duration::ZERO).unwrap();
        assert_eq!(messages.len(), 1);
        fleet.handler(&fleet.source).batch(messages, 1, &|| true, &|| ControlFlow::Continue(()));
        fleet.queue.advance(Duration::from_secs(10));
    }
    assert_eq!(fleet.queue.receive(1, Duration::ZERO).unwrap(), []);
    assert_eq!(
        fleet.queue.dead().len(),
        1,
        "the message is lost, although the worker may have another results bucket"
    );
}
