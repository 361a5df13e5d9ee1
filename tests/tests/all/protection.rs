//! Protection of the ledger and of other runs' messages, on the fakes: clock skew, prefixes, failed listings, run markers,
//! redrives that move nothing, interrupted reports.

use std::{cell::Cell, ops::ControlFlow, time::Duration};

use flowherd_coordinator::{
    error::CoordinatorError,
    marker::{RunMarker, Stage},
    options::RunOptions,
    reconcile,
    redrive::Redriven,
    report::finished_report,
    state::{Operation, Reporting, RunState},
};
use flowherd_shared::{
    ledger::{ManifestEntry, Missing, ReportState, layout},
    queue::Queue,
    store::{Store, StoreError},
};
use flowherd_tests::fake::{Fault, Faults};
use jiff::SignedDuration;

use super::fleet::{BUCKET, Fleet, object};

const SKEWS: [SignedDuration; 4] = [
    SignedDuration::from_mins(-11),
    SignedDuration::from_mins(11),
    SignedDuration::from_hours(-25),
    SignedDuration::from_hours(25),
];

fn ask(run: &str, prefix: &str) -> RunOptions {
    RunOptions { run: Some(run.to_owned()), prefix: Some(prefix.to_owned()), ..RunOptions::default() }
}

fn rerun(fleet: &Fleet, run: &str, prefix: &str) -> Result<RunState, CoordinatorError> {
    let asked = RunOptions { purge: true, ..ask(run, prefix) };
    fleet.coordinate(|coordinator| coordinator.begin(&asked))
}

fn refused(fleet: &Fleet, options: &RunOptions) -> String {
    match fleet.coordinate(|coordinator| coordinator.begin(options)) {
        Err(CoordinatorError::Refused(why)) => why,
        other => panic!("{options:?}: {other:?}"),
    }
}

fn set_skew(fleet: &Fleet, skew: SignedDuration) {
    *fleet.skew.lock().unwrap() = skew;
}

/// Two runs of different prefixes, each with objects.
fn two_prefixes() -> Fleet {
    let fleet = Fleet::new(3);
    fleet.source.put("other/1", object("x", 1).1);
    fleet
}

#[test]
fn a_purge_is_detected_with_any_clock_skew() {
    for skew in SKEWS {
        let fleet = two_prefixes();
        set_skew(&fleet, skew);
        let purging = rerun(&fleet, "monday", "firehose/").unwrap();
        set_skew(&fleet, SignedDuration::ZERO);
        let waiting = fleet.drive(fleet.begin("tuesday", "other/"), |step| step.wait_seconds == 0);
        assert_eq!((waiting.operation.name(), fleet.queue.bodies().len()), ("plan", 0), "{skew}");
        let redrive = fleet.coordinate(|coordinator| coordinator.redrive("tuesday").map(|_| ()));
        assert!(matches!(redrive, Err(CoordinatorError::Refused(_))), "{skew}: {redrive:?}");

        set_skew(&fleet, skew);
        let purged = fleet.drive(purging, |step| matches!(step.operation, Operation::Purge(_)));
        set_skew(&fleet, SignedDuration::ZERO);
        // Another driver of the purging run waits until its minute has passed.
        let second = fleet.drive(fleet.begin("monday", "firehose/"), |step| step.wait_seconds == 0);
        assert_eq!((second.operation.name(), fleet.queue.bodies().len()), ("plan", 0), "{skew}");
        assert_eq!(fleet.finish(purged).state, ReportState::Done);
        assert_eq!(fleet.finish(waiting).state, ReportState::Done);
        assert_eq!(fleet.queue.lost().len(), 0, "{skew}");
    }
}

#[test]
fn of_two_purges_of_one_prefix_the_later_one_wins_with_any_clock_skew() {
    for skew in SKEWS {
        let fleet = Fleet::new(3);
        let first = rerun(&fleet, "one", "firehose/").unwrap();
        fleet.queue.advance(Duration::from_secs(1));
        set_skew(&fleet, skew);
        let second = rerun(&fleet, "two", "firehose/").unwrap();
        assert_eq!(fleet.finish(second).state, ReportState::Done, "{skew}");
        assert_eq!(fleet.finish(first).purged.unwrap().by, "two", "{skew}");
    }
}

#[test]
fn the_time_limit_of_a_run_uses_the_clock_of_the_store() {
    let fleet = Fleet::new(3);
    let checking = fleet.plan("r", "firehose/");
    let check = |step: &RunState| {
        let turn = Cell::new(true);
        fleet.drive(step.clone(), |_| turn.replace(false))
    };
    set_skew(&fleet, SignedDuration::from_hours(25));
    assert!(matches!(check(&checking).operation, Operation::Check(_)));
    set_skew(&fleet, SignedDuration::ZERO);
    fleet.queue.advance(Duration::from_hours(24));
    let checked = check(&checking).operation;
    assert!(matches!(&checked, Operation::Report(report) if report.is_final), "{checked:?}");
}

#[test]
fn results_are_never_listed_as_sources() {
    let mut fleet = Fleet::new(3);
    fleet.results_bucket = BUCKET;
    for prefix in
        ["", "a", "active/", "athena/x", "c", "csv/vpc_flow/", "names/", "rejects", "runs/r/receipts/"]
    {
        let why = refused(&fleet, &ask("r", prefix));
        assert!(
            why.contains("choose a prefix that excludes active/, athena/, csv/, names/, rejects/, runs/"),
            "{why}"
        );
    }
    assert!(fleet.store.files().is_empty(), "the refused begin wrote files");
    let begun = fleet.begin("r", "firehose/");
    assert_eq!(fleet.finish(begun).state, ReportState::Done);
    fleet.results_bucket = "results";
    assert_eq!(fleet.finish(fleet.begin("other", "")).state, ReportState::Done);
}

#[test]
fn a_permanent_listing_error_ends_the_run_at_once_and_blocks_no_other_run() {
    let faults: [Fault; 5] = [
        || StoreError::Invalid("injected".into()),
        || StoreError::InvalidKey("injected".into()),
        || StoreError::WrongBucket("injected".into()),
        || StoreError::NotFound("injected".into()),
        || StoreError::AccessDenied("injected".into()),
    ];
    for fault in faults {
        let kind = fault();
        // The error occurs at the begin, which then writes nothing.
        let fleet = Fleet::new(7);
        fleet.source.fail_with(0, fault);
        let why = refused(&fleet, &ask("r", "firehose/"));
        assert!(
            why.starts_with("cannot list prefix \"firehose/\" of bucket logs") && why.contains("injected"),
            "{why}"
        );
        assert!(fleet.store.files().is_empty(), "{kind:?}");

        // The error occurs at the second page, after the messages of the first are sent.
        let fleet = Fleet::new(7);
        let begun = fleet.begin("r", "firehose/");
        fleet.source.fail_with(1, fault);
        let refused = fleet.coordinate(|coordinator| coordinator.step(begun, &|| true)).unwrap_err();
        assert!(matches!(refused, CoordinatorError::Refused(_)), "{kind:?}: {refused}");
        fleet.source.fail_at(None);
        let purge = rerun(&fleet, "early", "other/").unwrap_err();
        assert!(purge.to_string().contains("run r (prefix \"firehose/\""), "{kind:?}: {purge}");
        // When they are done, the run blocks no purge.
        fleet.drain(1);
        rerun(&fleet, "late", "other/").unwrap();
    }
}

#[test]
fn a_transient_listing_error_is_retried() {
    let fleet = Fleet::new(7);
    fleet.source.fail_at(Some(0));
    let begun = fleet.coordinate(|coordinator| coordinator.begin(&ask("r", "firehose/")));
    assert!(matches!(begun, Err(CoordinatorError::Plan(_))), "{begun:?}");
    assert_eq!(fleet.finish(fleet.begin("r", "firehose/")).state, ReportState::Done);
}

#[test]
fn an_object_whose_ledger_paths_are_too_long_for_the_store_fails_by_its_name() {
    let fleet = Fleet::new(2);
    // One key whose output path fits and whose receipt path does not, and one where neither fits.
    for length in [80, 150] {
        fleet.source.put(&format!("firehose/{}", "k".repeat(length)), object("x", 1).1);
    }
    fleet.store.limit_keys(140);
    let run = "r".repeat(40);
    let report = fleet.finish(fleet.begin(&run, "firehose/"));
    assert_eq!((report.state, report.objects.done, report.objects.failed), (ReportState::Failed, 2, 2));
    assert!(report.failures.iter().all(|failure| failure.error.contains("KeyTooLongError")), "{report:?}");
    assert!(!fleet.has(&layout::active(&run)));
    let outputs = fleet.results().into_iter().filter(|(path, _)| path.contains("kkk"));
    assert_eq!(outputs.count(), 0, "an output has no receipt");
}

#[test]
fn a_run_marker_without_a_ledger_blocks_no_purge_and_one_call_removes_it() {
    let fleet = two_prefixes();
    let driven = fleet.plan("lost", "other/");
    for path in fleet.store.files().into_keys().filter(|path| path.starts_with("runs/")) {
        fleet.store.remove(&path).unwrap();
    }
    // The error names the command that removes the marker.
    let why = fleet.coordinate(|coordinator| coordinator.run("lost")).unwrap_err().to_string();
    assert!(why.ends_with("remove the marker with: flowherd runs --forget lost"), "{why}");
    assert!(fleet.coordinate(|coordinator| coordinator.step(driven, &|| false)).is_err());
    assert_eq!(fleet.finish(rerun(&fleet, "monday", "firehose/").unwrap()).state, ReportState::Done);

    fleet.coordinate(|coordinator| coordinator.forget("lost", false)).unwrap();
    assert!(!fleet.has(&layout::active("lost")));
    let again = fleet.coordinate(|coordinator| coordinator.forget("lost", false)).unwrap_err().to_string();
    assert!(again.contains("has no run marker"), "{again}");
}

#[test]
fn a_run_with_work_in_the_queue_is_forgotten_only_by_force() {
    let fleet = two_prefixes();
    fleet.plan("tuesday", "other/");
    let forget = |force| fleet.coordinate(|coordinator| coordinator.forget("tuesday", force));
    let why = forget(false).unwrap_err().to_string();
    assert!(why.contains("the queue has 1 message that"), "{why}");
    rerun(&fleet, "monday", "firehose/").unwrap_err();
    forget(true).unwrap();
    rerun(&fleet, "monday", "firehose/").unwrap();
}

#[test]
fn a_run_marker_that_does_not_parse_protects_its_run() {
    let fleet = two_prefixes();
    fleet.plan("tuesday", "other/");
    fleet.store.put(&layout::active("tuesday"), b"{").unwrap();
    let why = rerun(&fleet, "monday", "firehose/").unwrap_err().to_string();
    assert!(why.contains("run tuesday"), "{why}");
}

/// A fleet whose only run has failed objects with these numbers; their messages are in the dead-letter queue.
fn failed(numbers: &[usize]) -> Fleet {
    let fleet = Fleet::new(5);
    let keys = fleet.source.keys();
    numbers.iter().for_each(|number| fleet.source.put(&keys[*number], b"\x1f\x8b".to_vec()));
    assert_eq!(fleet.finish(fleet.begin("r", "firehose/")).state, ReportState::Failed);
    assert_eq!(fleet.queue.dead().len(), numbers.len());
    fleet
}

fn message_after_redrive(fleet: &Fleet) -> (Redriven, String) {
    fleet.queue.advance(Duration::from_mins(1));
    let (redriven, step) = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap();
    let mut step = step.unwrap();
    while !step.has_ended() {
        fleet.drain(1);
        let turn = Cell::new(true);
        step = fleet.drive(step, |_| turn.replace(false));
    }
    (redriven, step.message.unwrap())
}

#[test]
fn a_driver_does_not_end_a_run_that_another_driver_has_redriven() {
    let fleet = Fleet::new(3);
    let key = fleet.source.keys().remove(1);
    let whole = fleet.source.remove(&key).unwrap();
    fleet.source.put(&key, whole[..whole.len() - 1].to_vec());
    let first = fleet.plan("r", "firehose/");
    while fleet.queue.dead().is_empty() {
        fleet.drain(2);
    }
    fleet.source.put(&key, whole);
    let redriven = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap().1.unwrap();

    // To the first driver, every object has an outcome.
    let reporting = fleet.drive(first, |step| !matches!(step.operation, Operation::Report(_)));
    let turn = Cell::new(true);
    let next = fleet.drive(reporting, |_| turn.replace(false));
    assert_eq!(next.operation.name(), "check");
    assert!(fleet.has(&layout::active("r")), "the messages are not protected");
    fleet.finish(redriven);
    assert_eq!(fleet.finish(next).state, ReportState::Done);
}

#[test]
fn a_report_by_request_keeps_redriven_messages_protected() {
    let fleet = failed(&[1]);
    fleet.queue.advance(Duration::from_mins(1));
    fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap();
    let run = fleet.coordinate(|coordinator| coordinator.run("r")).unwrap();
    let report_now = || fleet.drive(RunState::report_now(&run), |state| !state.has_ended());

    report_now();
    assert!(fleet.has(&layout::active("r")), "the messages are not protected");

    let key = fleet.source.keys().remove(1);
    fleet.source.put(&key, object("firehose/", 1).1);
    fleet.drain(1);
    let state = RunState::new(&run, Operation::Report(Reporting::default()));
    let ended = fleet.coordinate(|coordinator| coordinator.step(state, &|| true)).unwrap();
    assert_eq!(ended.ended().unwrap().state, ReportState::Done);
    assert!(!fleet.has(&layout::active("r")), "the done run still has a marker");
}

#[test]
fn a_refused_redrive_does_not_change_the_marker_of_its_run() {
    let fleet = failed(&[1]);
    let run = fleet.coordinate(|coordinator| coordinator.run("r")).unwrap();
    for before in [None, Some(RunMarker::new(&run, Stage::Sending))] {
        before.iter().for_each(|marker| marker.write(&fleet.store).unwrap());
        // Another run begins a purge between the redrive's two reads of the markers.
        let other = RunMarker { run: "other".to_owned(), ..RunMarker::new(&run, Stage::Purging) };
        let store = fleet.store.clone();
        fleet.store.before(layout::active("r"), move || other.write(&store).unwrap());
        let refused = fleet.coordinate(|coordinator| coordinator.redrive("r"));
        assert!(matches!(refused, Err(CoordinatorError::Refused(_))), "{refused:?}");
        assert_eq!(RunMarker::find(&fleet.store, "r").unwrap(), before);
        RunMarker::remove(&fleet.store, "other").unwrap();
    }
}

#[test]
fn a_run_whose_listing_is_not_complete_is_not_reported_as_empty() {
    let fleet = Fleet::new(3);
    fleet.begin("r", "firehose/");
    let run = fleet.coordinate(|coordinator| coordinator.run("r")).unwrap();
    fleet.drive(RunState::report_now(&run), |state| !state.has_ended());
    let report = finished_report(&fleet.store, "r").unwrap().unwrap();
    assert_eq!((report.state, report.objects.listed), (ReportState::Incomplete, 0));
    assert_eq!(report.no_objects("s3://logs"), None);
}

#[test]
fn a_redrive_that_retries_nothing_reports_it() {
    for can_redrive in [false, true] {
        let fleet = failed(&[1, 3]);
        fleet.queue.set_faults(Faults { can_redrive, ..Faults::default() });
        let (_, message) = message_after_redrive(&fleet);
        assert_eq!(message, "run r: 2 of 5 objects failed; repair them and redrive");

        fleet.queue.dead_letters().purge().unwrap();
        let (redriven, message) = message_after_redrive(&fleet);
        assert!(matches!(redriven, Redriven::Started(0) | Redriven::Moved(0)), "{redriven:?}");
        assert!(message.contains("; the redrive retried none of them"), "{message}");
        assert!(message.contains("flowherd run --resume r"), "{message}");
    }
}

#[test]
fn missing_objects_are_named_with_the_reason_and_a_resume_is_not_advised_over_another_runs_outputs() {
    let fleet = Fleet::new(3);
    let ended = fleet.plan("first", "firehose/");
    fleet.finish(ended);
    let output = fleet.results().remove(0).0;
    let missing = || {
        let mut found = Vec::new();
        let add = |entry: &ManifestEntry, why: Missing| -> ControlFlow<()> {
            found.push((entry.key.clone(), why));
            ControlFlow::Continue(())
        };
        fleet.coordinate(|coordinator| {
            let run = coordinator.run("first").unwrap();
            assert!(reconcile::missing(coordinator.results, &run, add).unwrap().is_continue());
        });
        found
    };
    let message = || {
        let run = fleet.coordinate(|coordinator| coordinator.run("first")).unwrap();
        let step = RunState::report_now(&run);
        fleet.coordinate(|coordinator| coordinator.step(step, &|| true)).unwrap().message.unwrap()
    };
    assert_eq!(missing(), []);

    let content = fleet.store.get(&output).unwrap().unwrap();
    fleet.store.put(&output, b"of another run").unwrap();
    let key = fleet.source.keys().remove(0);
    assert_eq!(missing(), [(key.clone(), Missing::Replaced(output.clone()))]);
    assert!(message().contains("another run has since replaced the outputs"), "{}", message());
    assert!(message().contains("do not resume this run"), "{}", message());

    fleet.store.remove(&output).unwrap();
    assert_eq!(missing(), [(key.clone(), Missing::Removed(output.clone()))]);
    assert!(message().contains("; resume the run"), "{}", message());

    fleet.store.put(&output, &content).unwrap();
    fleet.store.remove(&layout::receipt("first", &key)).unwrap();
    assert_eq!(missing(), [(key, Missing::NoOutcome)]);
}

#[test]
fn an_interrupted_report_keeps_its_partial_sum() {
    let reporting = |fleet: &Fleet| {
        let checking = fleet.plan("r", "firehose/");
        fleet.drain(1);
        fleet.drive(checking, |step| matches!(step.operation, Operation::Check(_)))
    };
    let whole = Fleet::new(9);
    let step = reporting(&whole);
    whole.store.fail_at(None);
    whole.coordinate(|coordinator| coordinator.step(step, &|| true)).unwrap();
    let operations = whole.store.operations();

    let (mut kept, mut without_page) = (0, 0);
    for operation in 0..operations {
        let fleet = Fleet::new(9);
        let step = reporting(&fleet);
        fleet.store.fail_at(Some(operation));
        let broken = fleet.coordinate(|coordinator| coordinator.step(step.clone(), &|| true));
        fleet.store.fail_at(None);
        let next = match broken {
            Ok(next) if matches!(&next.operation, Operation::Report(report) if report.parts > 0) => {
                kept += 1;
                let message = next.message.as_deref().unwrap();
                assert!(message.contains("injected"), "{operation}: {message}");
                // Parts that are in the sum are not read again.
                fleet.store.remove(&layout::manifest_part("r", 0)).unwrap();
                next
            }
            // The sum has no part, or all of them.
            Err(CoordinatorError::Ledger(_)) => step,
            // The page of the report was not written. It proves nothing, so the run ends.
            Ok(next) if next.ended().is_some() => {
                without_page += 1;
                continue;
            }
            other => panic!("{operation}: {other:?}"),
        };
        let ended = fleet.coordinate(|coordinator| coordinator.step(next, &|| true)).unwrap();
        let state = ended.ended().map(|ended| ended.state);
        assert_eq!((state, ended.progress.done), (Some(ReportState::Done), 9), "{operation}");
    }
    assert!(kept > 10, "{kept} of {operations}");
    assert_eq!(without_page, 1);
}
