//! Events that come twice, late, out of order, never, or for objects that are gone.

use std::cell::Cell;

use flowherd_shared::{layout, queue::Queue};
use flowherd_tests::{fake::Faults, objects::gunzip};
use serde_json::json;

use super::{super::fleet::BUCKET, HOUR, Live, objects};

const DAY: &str = "live-main-2026-02-18";

#[test]
fn objects_are_converted_as_they_arrive_and_the_close_proves_that_all_are_done() {
    let live = Live::new();
    let events: Vec<String> =
        (0..25).map(|n| live.put(&format!("p/2026/02/18/{n:02}/a b+%ü"), "g")).collect();
    for batch in events.chunks(10) {
        live.arrive_all(batch);
    }
    live.work();
    assert_eq!(live.receipts(DAY), live.fleet.source.keys());
    let (before, published) = (live.fleet.results(), live.fleet.store.published().len());
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), report.prefix.as_str()), (DAY, "p/"));
    assert_eq!(objects(&report), [25, 25, 0, 0, 0]);
    assert_eq!(report.records.rows, 25);
    assert_eq!(live.fleet.results(), before);
    let again = live.fleet.store.published().split_off(published);
    assert!(again.iter().all(|path| !path.contains("/receipts/")), "an object was sent again: {again:?}");
    assert!(!live.fleet.has(&layout::active(DAY)));
}

#[test]
fn an_event_that_comes_twice_or_late_or_never_changes_nothing_of_the_report() {
    let live = Live::new();
    let events: Vec<String> = (0..12).map(|n| live.put(&format!("p/2026/02/18/10/{n:02}"), "g")).collect();
    // Twice in a batch, in the next batch, out of order, and after the queue has forgotten the deduplication ids.
    live.arrive_all(&[events[3].clone(), events[1].clone(), events[3].clone()]);
    live.arrive_all(&[events[1].clone(), events[0].clone()]);
    assert_eq!(live.messages(), 3);
    live.work();
    live.pass(HOUR);
    live.arrive_all(&events[..6]);
    live.work();
    live.pass(HOUR);
    live.arrive_all(&events[..6]);
    live.work();
    // The others never come.
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!(objects(&report), [12, 12, 0, 0, 0]);
    assert_eq!(report.records.rows, 12);
}

#[test]
fn objects_whose_events_were_purged_or_never_sent_are_done_at_the_close() {
    let live = Live::new();
    // EventBridge is off all day: no run has begun.
    (0..7).for_each(|n| _ = live.put(&format!("p/2026/02/18/10/{n}"), "g"));
    live.pass(26 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), (DAY, [7, 7, 0, 0, 0]));
    // A day without an object is proven too.
    live.pass(24 * HOUR);
    let report = live.close_one(None);
    assert_eq!((report.run.as_str(), objects(&report)), ("live-main-2026-02-19", [0; 5]));
}

#[test]
fn an_object_that_is_deleted_before_its_turn_does_not_make_the_day_failed() {
    let live = Live::new();
    let events = [live.put("p/2026/02/18/10/gone", "g"), live.put("p/2026/02/18/10/stays", "g")];
    live.fleet.source.remove("p/2026/02/18/10/gone");
    live.arrive_all(&events);
    live.work();
    assert!(live.fleet.has(&layout::failure(DAY, "p/2026/02/18/10/gone")), "the worker has failed");
    live.pass(26 * HOUR);
    assert_eq!(objects(&live.close_one(None)), [1, 1, 0, 0, 0]);
}

#[test]
fn the_version_that_the_listing_of_the_close_has_is_the_one_that_is_done() {
    for order in [[0, 1], [1, 0]] {
        let live = Live::new();
        let key = "p/2026/02/18/10/a";
        let events = [live.put(key, "first"), live.put(key, "second is longer")];
        for at in order {
            live.arrive_all(&[events[at].clone()]);
            live.work();
        }
        live.pass(26 * HOUR);
        let report = live.close_one(None);
        assert_eq!(objects(&report), [1, 1, 0, 0, 0], "{order:?}");
        // Overwritten after its receipt, and the event is lost.
        let live = Live::new();
        live.arrive_all(&[live.put(key, "first")]);
        live.work();
        live.put(key, "second is longer");
        live.pass(26 * HOUR);
        let report = live.close_one(None);
        assert_eq!(objects(&report), [1, 1, 0, 0, 0]);
        assert_eq!(report.bytes.compressed_in, live.fleet.source.entry(key).size);
    }
}

#[test]
fn a_message_that_is_no_event_of_the_fleets_objects_becomes_a_dead_letter_and_the_others_are_sent() {
    let live = Live::with(&["p/"], &["p/other/"]);
    let good = live.put("p/2026/02/18/10/a b", "g");
    let with = |from: &str, to: &str| good.replace(from, to);
    let notification = json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": "2026-02-18T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": "p/2026/02/18/10/a+b",
            "size": live.fleet.source.entry("p/2026/02/18/10/a b").size,
            "eTag": live.fleet.source.entry("p/2026/02/18/10/a b").etag.trim_matches('"')}}
    }]});
    let bodies = [
        good.clone(),
        with("p/2026", "q/2026"),
        with(&format!("\"name\":\"{BUCKET}\""), "\"name\":\"results\""),
        "not JSON".to_owned(),
        with("\"version\":\"0\"", "\"version\":\"1\""),
        notification.to_string(),
        json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}).to_string(),
        with("Object Created", "Object Deleted"),
        // Of a fleet that is not live.
        with("p/2026", "p/other/2026"),
    ];
    let handled = live.arrive(&bodies);
    assert_eq!(handled.failed, ["1", "2", "3", "4"]);
    assert_eq!((handled.sent, handled.ignored, handled.refused, handled.unsent), (2, 3, 4, 0));
    assert_eq!(handled.problems.len(), 4, "{:?}", handled.problems);
    assert_eq!(
        handled.response(),
        json!({"batchItemFailures": [
            {"itemIdentifier": "1"}, {"itemIdentifier": "2"}, {"itemIdentifier": "3"}, {"itemIdentifier": "4"}
        ]})
    );
    // The event and the notification are of the same object.
    assert_eq!(live.messages(), 1);
    live.work();
    assert_eq!(live.receipts(DAY), ["p/2026/02/18/10/a b"]);
}

#[test]
fn a_function_that_dies_after_sending_sends_nothing_twice() {
    let live = Live::new();
    let events: Vec<String> = (0..5).map(|n| live.put(&format!("p/2026/02/18/10/{n}"), "g")).collect();
    live.arrive_all(&events);
    // SQS delivers the messages again, because Lambda did not delete them.
    live.arrive_all(&events);
    assert_eq!(live.messages(), 5);
    // And again after the tasks are done, and the deduplication ids forgotten.
    live.work();
    live.pass(HOUR);
    let published = live.fleet.store.published().len();
    live.arrive_all(&events);
    live.work();
    assert_eq!(live.fleet.store.published().len(), published, "an object was processed twice");
}

#[test]
fn messages_whose_tasks_the_queue_does_not_accept_are_delivered_again() {
    let live = Live::new();
    let events: Vec<String> = (0..15).map(|n| live.put(&format!("p/2026/02/18/10/{n:02}"), "g")).collect();
    live.fleet.queue.set_faults(Faults { send_fails_every: Some(1), ..Faults::default() });
    let handled = live.arrive(&events);
    assert_eq!((handled.sent, handled.unsent, handled.failed.len()), (0, 15, 15));
    assert!(handled.problems[0].contains("fleet main, day 2026-02-18: "), "{:?}", handled.problems);
    live.fleet.queue.set_faults(Faults::default());
    live.arrive_all(&events);
    live.work();
    assert_eq!(live.receipts(DAY).len(), 15);
    assert_eq!(live.fleet.queue.dead_letters().depth().unwrap().sum(), 0);
    let row = live.fleet.results().into_iter().next().unwrap().1;
    assert!(String::from_utf8(gunzip(&row)).unwrap().lines().count() == 2);
}

#[test]
fn events_that_are_unfinished_when_the_functions_time_ends_are_delivered_again() {
    let live = Live::new();
    let keys = ["p/2026/02/18/10/a", "p/2026/02/17/10/b", "p/2026/02/18/10/c"];
    let events = keys.map(|key| live.put(key, "g"));
    // There is time for the first day of the batch.
    let days = Cell::new(1_u32);
    let handled = live.arrive_while(&events, &|| days.replace(days.get().saturating_sub(1)) > 0);
    assert_eq!((handled.sent, handled.unsent, handled.refused), (1, 2, 0));
    assert_eq!(
        handled.response(),
        json!({"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "2"}]})
    );
    let [problem] = &handled.problems[..] else { panic!("{:?}", handled.problems) };
    assert!(problem.contains("day 2026-02-18: the function has no time left"), "{problem}");
    live.work();
    assert_eq!(
        (live.receipts("live-main-2026-02-17"), live.receipts(DAY)),
        (vec![keys[1].to_owned()], vec![])
    );
    live.arrive_all(&[events[0].clone(), events[2].clone()]);
    live.work();
    assert_eq!(live.receipts(DAY), [keys[0], keys[2]]);
}

#[test]
fn the_status_of_a_day_has_its_objects_their_latency_and_the_oldest_that_waits() {
    let live = Live::new();
    let status = || {
        let day = flowherd_coordinator::live::day::Day::of(live.now());
        live.fleet.coordinate(|coordinator| coordinator.day_status(live.prefixes(), day)).unwrap()
    };
    assert_eq!((status().objects, status().latency, status().runs), (0, None, vec![]));
    let done = [live.put("p/2026/02/18/10/a", "g"), live.put("p/2026/02/18/10/b", "g")];
    live.fleet.source.put("p/2026/02/18/10/broken", b"\x1f\x8b broken".to_vec());
    live.arrive_all(&done);
    live.pass(std::time::Duration::from_secs(7));
    live.work();
    live.arrive_all(&[live.event("p/2026/02/18/10/broken")]);
    live.work();
    live.put("p/2026/02/18/10/waits", "g");
    live.pass(std::time::Duration::from_secs(30));
    live.put("p/2026/02/18/10/new", "g");
    let status = status();
    assert_eq!((status.objects, status.done, status.failed, status.waiting), (5, 2, 1, 2));
    assert_eq!(status.latency.unwrap().median_seconds, 7);
    let oldest = status.oldest_waiting.unwrap();
    assert_eq!((oldest.key.as_str(), oldest.seconds), ("p/2026/02/18/10/waits", 30));
    assert_eq!((status.runs, status.verdict), (vec![DAY.to_owned()], None));
}
