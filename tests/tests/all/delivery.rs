//! Runs from begin to report, on the fakes. Whatever fails, a run ends as done or its report names the failure.

use std::{cell::Cell, ops::ControlFlow, sync::Mutex, time::Duration};

use flowherd_coordinator::{error::CoordinatorError, options::RunOptions, state::Operation};
use flowherd_shared::{
    ledger::{Amendment, Failure, Receipt, Report, ReportState, layout},
    queue::{NewMessage, Queue, QueueDepth},
    task::Task,
};
use flowherd_tests::fake::{Faults, MemoryQueue};
use flowherd_worker::telemetry::{METRICS, TaskOutcome};

use super::fleet::{Damage, Flaky, Fleet, SETTLE, has_planned_nothing, object};

pub(super) fn counts(report: &Report) -> (ReportState, u64, u64, u64) {
    (report.state, report.objects.done, report.objects.failed, report.objects.missing)
}

pub(super) fn send(queue: &MemoryQueue, group: String, body: String, deduplication: &str) {
    let deduplication = format!("{deduplication} {body}");
    assert_eq!(queue.send(&[NewMessage { body, group, deduplication }]).unwrap(), []);
}

#[test]
fn a_fleet_drains_a_prefix_and_the_report_is_done() {
    let fleet = Fleet::new(40);
    let report = fleet.finish(fleet.begin("r", "firehose/"));
    assert_eq!((counts(&report), report.records.rows), ((ReportState::Done, 40, 0, 0), 80));
    assert_eq!((fleet.queue.bodies().len(), fleet.queue.dead().len()), (0, 0));
    assert!(!fleet.has(&layout::active("r")) && !fleet.has(&layout::unfinished_report("r")));
}

#[test]
fn duplicate_and_reordered_deliveries_change_nothing() {
    let once = Fleet::new(20);
    let report = once.finish(once.begin("r", ""));

    let twice = Fleet::new(20);
    let step = twice.plan("r", "");
    // Duplicates that deduplication does not detect: the same bodies with other deduplication ids.
    for body in twice.queue.bodies().into_iter().rev() {
        send(&twice.queue, Task::parse(&body).unwrap().group(), body, "again");
    }
    twice.drain(3);
    let again = twice.finish(step);
    assert_eq!(twice.results(), once.results());
    assert_eq!(again.records, report.records);
    let outputs =
        |fleet: &Fleet| fleet.store.published().into_iter().filter(|path| path.starts_with("csv/")).count();
    assert_eq!(outputs(&twice), outputs(&once), "the second delivery wrote outputs");
}

#[test]
fn a_worker_that_dies_only_delays_its_message() {
    let fleet = Fleet::new(10);
    let step = fleet.plan("r", "");
    // Received by a worker that dies.
    assert_eq!(fleet.queue.receive(3, Duration::ZERO).unwrap().len(), 3);
    fleet.queue.advance(fleet.settings.visibility);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 10, 0, 0));
}

type Fails = fn(&Fleet, Option<usize>);

/// Drives a run from a begin with a purge to its report. Repeats failed operations, as the step loop does.
fn whole_run(fleet: &Fleet) -> Report {
    let asked = RunOptions {
        prefix: Some(String::new()),
        run: Some("r".to_owned()),
        purge: true,
        ..RunOptions::default()
    };
    let begun = loop {
        match fleet.coordinate(|coordinator| coordinator.begin(&asked)) {
            Ok(step) => break step,
            Err(CoordinatorError::Refused(why)) => panic!("{why}"),
            Err(_) => {}
        }
    };
    fleet.finish(begun)
}

#[test]
fn each_operation_of_store_source_and_queue_may_fail_once() {
    let whole = Fleet::new(6);
    whole_run(&whole);
    let operations = (whole.store.operations(), whole.source.operations(), whole.queue.operations());
    assert!(operations.0 > 60 && operations.1 > 6 && operations.2 > 10, "{operations:?}");
    let ports: [(&str, usize, Fails); 3] = [
        ("store", operations.0, |fleet, at| fleet.store.fail_at(at)),
        ("source", operations.1, |fleet, at| fleet.source.fail_at(at)),
        ("queue", operations.2, |fleet, at| fleet.queue.fail_at(at)),
    ];
    for (port, operations, fails) in ports {
        for (operation, answers_are_lost) in
            (0..operations).flat_map(|operation| [(operation, false), (operation, true)])
        {
            let fleet = Fleet::new(6);
            if answers_are_lost {
                fleet.store.lose_responses();
                fleet.queue.lose_responses();
            }
            fails(&fleet, Some(operation));
            let report = whole_run(&fleet);
            let context = format!("{port} {operation}, after it: {answers_are_lost}");
            assert_eq!(counts(&report), (ReportState::Done, 6, 0, 0), "{context}");
            assert_eq!(fleet.results(), whole.results(), "{context}");
            assert!(!fleet.has(&layout::active("r")), "{context}");
        }
    }
}

#[test]
fn a_begin_interrupted_at_any_call_can_be_repeated_and_leaves_no_second_run() {
    for (named, purge) in [(true, false), (true, true), (false, false), (false, true)] {
        let run = named.then(|| "r".to_owned());
        let asked = RunOptions { prefix: Some(String::new()), run, purge, ..RunOptions::default() };
        for operation in 0.. {
            let fleet = Fleet::new(2);
            fleet.store.fail_at(Some(operation));
            let first = fleet.coordinate(|coordinator| coordinator.begin(&asked));
            if first.is_ok() {
                assert!(operation > 2);
                break;
            }
            // A minute later: without a name in the options, the run gets another name.
            fleet.queue.advance(Duration::from_mins(1));
            let again = fleet.coordinate(|coordinator| coordinator.begin(&asked)).unwrap();
            assert_eq!(counts(&fleet.finish(again)), (ReportState::Done, 2, 0, 0));
            let active = fleet.store.files().keys().filter(|path| path.starts_with("active/")).count();
            assert_eq!(active, 0, "{named} {purge} {operation}");
        }
    }
}

#[test]
fn a_repeated_begin_with_a_purge_does_not_purge_messages_sent_since() {
    let fleet = Fleet::new(4);
    let asked = RunOptions {
        prefix: Some(String::new()),
        run: Some("r".to_owned()),
        purge: true,
        ..RunOptions::default()
    };
    let begin = || fleet.coordinate(|coordinator| coordinator.begin(&asked)).unwrap();
    // One of two pages is sent, then the driver dies.
    let step = fleet.drive(begin(), has_planned_nothing);
    assert_eq!((step.operation.name(), fleet.queue.bodies().len()), ("plan", 3));
    assert_eq!(counts(&fleet.finish(begin())), (ReportState::Done, 4, 0, 0));
}

fn check_retried(damage: Damage) {
    let fleet = Fleet::new(5);
    let step = fleet.plan("r", "");
    let flaky = Flaky { source: &fleet.source, failures_left: Mutex::new(4), damage };
    let handler = fleet.handler(&flaky);
    handler.poll(&|| fleet.queue.depth().unwrap() != QueueDepth::default(), &|| ControlFlow::Continue(()));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 5, 0, 0));
    assert!(
        !fleet.store.files().keys().any(|path| path.contains("/failures/")),
        "a done object has a failure"
    );
}

#[test]
fn broken_reads_are_retried_later() {
    check_retried(Damage::Broken);
}

#[test]
fn corruption_in_transit_is_retried() {
    check_retried(Damage::Changed);
}

#[test]
fn denied_access_is_retried_and_is_permanent_from_the_fifth_attempt() {
    for (denials, expected) in [(4, (ReportState::Done, 1, 0, 0)), (5, (ReportState::Failed, 0, 1, 0))] {
        let mut fleet = Fleet::new(1);
        fleet.settings.max_deliveries = 10;
        fleet.queue = MemoryQueue::new(fleet.settings);
        let step = fleet.plan("r", "");
        let denying =
            Flaky { source: &fleet.source, failures_left: Mutex::new(denials), damage: Damage::Denied };
        let handler = fleet.handler(&denying);
        handler
            .poll(&|| fleet.queue.depth().unwrap() != QueueDepth::default(), &|| ControlFlow::Continue(()));
        let report = fleet.finish(step);
        assert_eq!(counts(&report), expected, "{denials} denials");
        if expected.0 == ReportState::Failed {
            let failure = &report.failures[0];
            assert!(failure.error.contains("permission denied"), "{failure:?}");
            // The permissions are granted, but IAM is eventually consistent: a redriven message gets as many attempts as a
            // first one.
            let step = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap().1.unwrap();
            *denying.failures_left.lock().unwrap() = 1;
            handler.poll(&|| fleet.queue.depth().unwrap() != QueueDepth::default(), &|| {
                ControlFlow::Continue(())
            });
            assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
        }
    }
}

#[test]
fn damaged_and_vanished_objects_are_named_and_done_after_repair_and_redrive() {
    for can_redrive in [false, true] {
        let fleet = Fleet::new(12);
        fleet.queue.set_faults(Faults { can_redrive, ..Faults::default() });
        let keys = fleet.source.keys();
        for key in &keys[..3] {
            let mut bytes = fleet.source.remove(key).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fleet.source.put(key, bytes);
        }
        let step = fleet.plan("r", "");
        fleet.source.remove(&keys[3]);
        let report = fleet.finish(step);
        assert_eq!(counts(&report), (ReportState::Failed, 8, 4, 0));
        let named: Vec<&String> = report.failures.iter().map(|failure| &failure.key).collect();
        assert_eq!(named, keys[..4].iter().collect::<Vec<_>>());
        assert_eq!(fleet.queue.dead().len(), 4);

        // Three objects are repaired, so they have other versions than those listed. One is not.
        for number in [0, 1, 3] {
            let (key, bytes) = object("firehose", number);
            fleet.source.put(&key, bytes);
        }
        let redrive = || fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap().1.unwrap();
        let report = fleet.finish(redrive());
        assert_eq!(counts(&report), (ReportState::Failed, 11, 1, 0));
        assert_eq!(report.failures[0].key, keys[2]);
        assert_eq!(fleet.queue.dead().len(), 1);

        let (key, bytes) = object("firehose", 2);
        fleet.source.put(&key, bytes);
        let report = fleet.finish(redrive());
        assert_eq!(counts(&report), (ReportState::Done, 12, 0, 0));
        let whole = Fleet::new(12);
        whole.finish(whole.begin("r", ""));
        assert_eq!(fleet.results(), whole.results());
    }
}

#[test]
fn an_object_replaced_after_the_listing_fails_by_name_and_is_done_after_a_redrive() {
    let fleet = Fleet::new(3);
    let step = fleet.plan("r", "");
    let key = fleet.source.keys().remove(0);
    fleet.source.put(&key, object("firehose", 4).1);
    let report = fleet.finish(step);
    assert_eq!(counts(&report), (ReportState::Failed, 2, 1, 0));
    assert!(report.failures[0].error.contains("has changed since it was listed"), "{report:?}");
    let step = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap().1.unwrap();
    let report = fleet.finish(step);
    assert_eq!((counts(&report), report.records.rows), ((ReportState::Done, 3, 0, 0), 1 + 2 + 4));
    assert!(fleet.has(&layout::amendment("r", &key)));
    // The message is delivered again because a response was lost. The object is done.
    let amendment = &fleet.store.files()[&layout::amendment("r", &key)];
    let amendment: Amendment = serde_json::from_slice(amendment).unwrap();
    let task = Task {
        run: "r".to_owned(),
        fleet: "main".to_owned(),
        bucket: "logs".to_owned(),
        object: amendment.listed,
    };
    send(&fleet.queue, task.group(), task.body(), "again");
    let first = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    fleet.queue.change_visibility(&first.handle, Duration::ZERO).unwrap();
    fleet.drain(1);
    assert_eq!((fleet.queue.bodies().len(), fleet.queue.dead().len()), (0, 0));
}

#[test]
fn a_redriven_message_is_attempted_even_if_its_first_delivery_is_lost() {
    for can_redrive in [false, true] {
        let fleet = Fleet::new(1);
        fleet.queue.set_faults(Faults { can_redrive, ..Faults::default() });
        let step = fleet.plan("r", "");
        let key = fleet.source.keys().remove(0);
        let whole = fleet.source.remove(&key).unwrap();
        assert_eq!(counts(&fleet.finish(step)).0, ReportState::Failed);
        // The object has its original bytes again, so only an attempt shows the repair.
        fleet.source.put(&key, whole);
        let step = fleet.coordinate(|coordinator| coordinator.redrive("r")).unwrap().1.unwrap();
        let lost = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
        fleet.queue.change_visibility(&lost.handle, Duration::ZERO).unwrap();
        assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
    }
}

#[test]
fn a_permanent_failure_becomes_a_dead_letter_without_another_attempt() {
    let fleet = Fleet::new(1);
    let key = fleet.source.keys().remove(0);
    let bytes = fleet.source.remove(&key).unwrap();
    fleet.source.put(&key, bytes[..20].to_vec());
    let report = fleet.finish(fleet.begin("r", ""));
    assert_eq!(counts(&report), (ReportState::Failed, 0, 1, 0));
    assert_eq!(fleet.queue.dead().len(), 1);
    let failure = &fleet.store.files()[&layout::failure("r", &key)];
    let failure: serde_json::Value = serde_json::from_slice(failure).unwrap();
    assert_eq!((&failure["attempts"], &failure["verdict"]), (&1.into(), &"permanent".into()));
}

#[test]
fn messages_that_are_not_tasks_become_dead_letters_and_nothing_else_is_lost() {
    let fleet = Fleet::new(4);
    let step = fleet.plan("r", "");
    let odd = [
        "",
        "{",
        "[]",
        r#"{"v":2}"#,
        r#"{"v":1,"run":"../..","fleet":"main","bucket":"logs","key":"k","size":0,"etag":""}"#,
    ];
    for body in odd {
        send(&fleet.queue, format!("odd {body}"), body.to_owned(), "");
    }
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 4, 0, 0));
    assert_eq!(fleet.queue.dead().len(), odd.len());
}

#[test]
fn a_task_of_another_bucket_is_refused_and_named() {
    let fleet = Fleet::new(1);
    let step = fleet.plan("r", "");
    let key = fleet.source.keys().remove(0);
    fleet.drain(1);
    let other = Task {
        run: "r".to_owned(),
        fleet: "main".to_owned(),
        bucket: "secrets".to_owned(),
        object: fleet.source.entry(&key),
    };
    send(&fleet.queue, other.group(), other.body(), "");
    // Even if the object with this key in the right bucket is done. Its receipt must remain.
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
    assert_eq!(fleet.queue.dead().len(), 1);
    let refused = &fleet.store.files()[&layout::failure("r", &key)];
    assert!(String::from_utf8_lossy(refused).contains("secrets"));
}

#[test]
fn a_task_of_a_run_whose_rules_have_changed_in_the_ledger_is_refused_and_named() {
    use flowherd_shared::store::Store;
    let fleet = Fleet::new(2);
    let step = fleet.plan("r", "");
    fleet.store.put(&layout::config("r"), b"[limits]\nmax_layers = 1\n").unwrap();
    let report = fleet.finish(step);
    assert_eq!((counts(&report), fleet.results().len()), ((ReportState::Failed, 0, 2, 0), 0));
    assert!(report.failures[0].error.contains("are not those of the run"), "{report:?}");
}

#[test]
fn a_run_keeps_the_rules_and_names_of_its_begin() {
    let fleet = Fleet::new(2);
    let names = |name: &str| {
        let text = format!(r#"{{"interfaces":{{"eni-1":{{"description":"{name}"}}}}}}"#);
        fleet.inputs.lock().unwrap().names = Some(text.into_bytes());
    };
    names("before");
    let first = fleet.plan("first", "");
    names("after");
    let text = || {
        let files = fleet.store.files();
        let csv = files.iter().find(|(path, _)| path.contains("/001")).unwrap().1;
        String::from_utf8(flowherd_tests::objects::gunzip(csv)).unwrap()
    };
    assert_eq!(counts(&fleet.finish(first)).0, ReportState::Done);
    assert!(text().contains(",before,"));
    assert_eq!(counts(&fleet.finish(fleet.begin("second", ""))).0, ReportState::Done);
    assert!(text().contains(",after,"));
}

#[test]
fn two_concurrent_runs_do_not_affect_each_other() {
    let fleet = Fleet::new(9);
    (0..7).map(|number| object("other", number)).for_each(|(key, bytes)| fleet.source.put(&key, bytes));
    let (one, two) = (fleet.plan("one", "firehose/"), fleet.plan("two", "other/"));
    fleet.drain(3);
    assert_eq!(counts(&fleet.finish(one)), (ReportState::Done, 9, 0, 0));
    assert_eq!(counts(&fleet.finish(two)), (ReportState::Done, 7, 0, 0));
}

#[test]
fn lost_responses_of_the_queue_only_delay_a_run() {
    let fleet = Fleet::new(15);
    fleet.queue.set_faults(Faults { send_fails_every: Some(3), ..Faults::default() });
    assert_eq!(counts(&fleet.finish(fleet.begin("r", ""))), (ReportState::Done, 15, 0, 0));
}

#[test]
fn a_run_continues_from_its_ledger_when_its_state_is_lost() {
    // Loses the state of the run before its first page, during the listing, and while workers process its objects.
    for lost_after in 0..5 {
        let fleet = Fleet::new(7);
        let operations = Cell::new(0);
        let begun = fleet.begin("r", "firehose/");
        fleet.drive(begun, |_| operations.replace(operations.get() + 1) < lost_after);
        let state = fleet.coordinate(|coordinator| coordinator.resume_driving("r")).unwrap();
        let planned = fleet.has(&layout::manifest_part("r", 3));
        assert_eq!(state.operation.name(), if planned { "check" } else { "plan" }, "{lost_after}");
        assert_eq!(counts(&fleet.finish(state)), (ReportState::Done, 7, 0, 0), "{lost_after}");
    }
    let fleet = Fleet::new(1);
    let unknown = fleet.coordinate(|coordinator| coordinator.resume_driving("r"));
    assert!(matches!(unknown, Err(CoordinatorError::Refused(why)) if why.contains("no run named \"r\"")));
}

#[test]
fn a_prefix_without_keys_ends_at_once_with_a_message() {
    let fleet = Fleet::new(3);
    let step = fleet.drive(fleet.begin("r", "elsewhere/"), |_| true);
    assert_eq!(step.ended().map(|ended| ended.state), Some(ReportState::Done));
    let message = step.message.unwrap();
    assert!(
        message.starts_with(r#"run r: no objects in s3://logs with prefix "elsewhere/". Check "#),
        "{message}"
    );
    assert_eq!(fleet.queue.now(), Duration::ZERO, "the run waited");
}

#[test]
fn objects_of_lost_messages_are_missing_and_a_resumed_run_processes_only_those() {
    let fleet = Fleet::new(8);
    let step = fleet.plan("r", "");
    // A purge from outside deletes messages.
    for message in fleet.queue.receive(3, Duration::ZERO).unwrap() {
        fleet.queue.delete(&message.handle).unwrap();
    }
    let report = fleet.finish(step);
    assert_eq!(counts(&report), (ReportState::Incomplete, 5, 0, 3));
    assert!(
        fleet.queue.now() >= SETTLE,
        "the report precedes the time after which the queue's counts are exact"
    );

    let resume =
        RunOptions { resume: Some("r".to_owned()), run: Some("again".to_owned()), ..RunOptions::default() };
    let step = fleet.coordinate(|coordinator| coordinator.begin(&resume)).unwrap();
    let step = fleet.drive(step, |step| matches!(step.operation, Operation::Plan(_)));
    assert_eq!(fleet.queue.bodies().len(), 3);
    let report = fleet.finish(step);
    assert_eq!((counts(&report), report.objects.skipped), ((ReportState::Done, 3, 0, 0), 5));
}

#[test]
fn the_metrics_of_a_task_are_those_of_its_receipt_or_failure() {
    let fleet = Fleet::new(5);
    let damaged = fleet.source.keys().remove(0);
    fleet.source.put(&damaged, b"\x1f\x8b".to_vec());
    let report = fleet.finish(fleet.begin("r", ""));
    let files = fleet.store.files();
    let (mut sums, mut failed) = (std::collections::BTreeMap::<String, u64>::new(), 0);
    for (path, bytes) in &files {
        let receipt = path.contains("/receipts/").then(|| serde_json::from_slice::<Receipt>(bytes).unwrap());
        let failure = path.contains("/failures/").then(|| serde_json::from_slice::<Failure>(bytes).unwrap());
        let closing = match (&receipt, &failure) {
            (Some(receipt), _) => TaskOutcome::Done(receipt),
            (_, Some(failure)) => TaskOutcome::Failed(failure),
            _ => continue,
        };
        let line = closing.metrics("q.fifo", 7);
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&line["_aws"]["Timestamp"], &line["Queue"]), (&7.into(), &"q.fifo".into()));
        assert_eq!(
            (&metrics["Namespace"], &metrics["Dimensions"]),
            (&"Flowherd".into(), &serde_json::json!([["Queue"]]))
        );
        for metric in metrics["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            let known = METRICS.iter().find(|known| known.name == name).unwrap();
            assert_eq!(metric["Unit"], known.unit);
            *sums.entry(name.to_owned()).or_default() += line[name].as_u64().unwrap();
        }
        failed += u64::from(failure.is_some());
    }
    assert_eq!((sums["ObjectsDone"], sums["ObjectsFailed"], failed), (4, 1, 1));
    assert_eq!((sums["RowsWritten"], sums["BytesOut"]), (report.records.rows, report.bytes.compressed_out));
}

#[test]
fn late_queue_counts_do_not_end_a_run() {
    let fleet = Fleet::new(5);
    let counts_nothing_until = Duration::from_secs(110);
    fleet.queue.set_faults(Faults { counts_nothing_until, ..Faults::default() });
    // No worker receives while the counts are zero, or for some time after.
    let step = fleet.drive(fleet.begin("r", ""), |_| fleet.queue.now() < SETTLE * 3);
    assert_eq!((step.operation.name(), step.progress.queued), ("check", 5));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 5, 0, 0));
}
