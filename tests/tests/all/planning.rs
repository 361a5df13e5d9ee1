//! Planning on the fakes: every key becomes a line of the manifest and one message, whatever fails.

use std::{cell::Cell, time::Duration};

use flowherd_coordinator::{
    planner::{PlanError, Planner},
    state::Planning,
};
use flowherd_shared::{
    ledger::{ManifestEntry, ManifestTotals, Run, layout},
    pipeline::RunConfig,
    store::Store,
    task::Task,
};
use flowherd_tests::{
    fake::{Faults, MemoryQueue, MemorySource, MemoryStore},
    ledger::run,
    objects::{FLOW, envelope, event},
};
use flowherd_worker::processor::{Control, ObjectProcessor};

struct Fleet {
    source: MemorySource,
    store: MemoryStore,
    queue: MemoryQueue,
    run: Run,
}

impl Fleet {
    fn new(objects: usize) -> Self {
        let text = envelope("g", &[event(1, FLOW)]);
        let object = |number| (format!("logs/{number:03} +%ü"), text.clone().into_bytes());
        let run = Run { prefix: "logs/".to_owned(), ..run("r1", &RunConfig::default(), None) };
        let source = (0..objects).map(object).collect();
        Self { source, store: MemoryStore::default(), queue: MemoryQueue::default(), run }
    }

    /// Makes one planning call with a page limit.
    fn plan(&self, run: &mut Run, from: Planning, pages: usize) -> Result<Planning, PlanError> {
        let remaining = Cell::new(pages);
        let planner = Planner {
            source: &self.source,
            bucket: "bucket",
            results: &self.store,
            queue: Some(&self.queue),
            rows_of: None,
            max_keys: 10_000,
            pause: &|_: Duration| {},
            note: &|_| {},
        };
        planner.plan(run, from, || {
            remaining.set(remaining.get() - 1);
            remaining.get() > 0
        })
    }

    fn keys_sent(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.queue.bodies().iter().map(|body| Task::parse(body).unwrap().object.key).collect();
        keys.sort();
        keys
    }

    fn keys(&self) -> Vec<String> {
        self.source.keys()
    }

    fn keys_in_manifest(&self, run: &Run) -> Vec<String> {
        flowherd_coordinator::manifest::read(&self.store, run).map(|entry| entry.unwrap().key).collect()
    }
}

#[test]
fn a_prefix_is_planned_in_as_many_calls_as_it_needs() {
    for pages in [1, 2, 100] {
        let fleet = Fleet::new(23);
        let (mut run, mut planned, mut calls) = (fleet.run.clone(), Planning::default(), 0);
        while !planned.complete {
            assert_eq!(run.manifest, None, "the manifest is complete before the last page is planned");
            planned = fleet.plan(&mut run, planned, pages).unwrap();
            calls += 1;
        }
        assert_eq!(calls, 8_usize.div_ceil(pages));
        assert_eq!(run.manifest, Some(planned.totals));
        assert_eq!(fleet.keys_in_manifest(&run), fleet.keys());
        assert_eq!(fleet.keys_sent(), fleet.keys());
        let written: Run = serde_json::from_slice(&fleet.store.files()["runs/r1/run.json"]).unwrap();
        assert_eq!(written, run);
    }
}

#[test]
fn a_prefix_without_keys_is_planned_at_once() {
    let fleet = Fleet::new(0);
    let mut run = fleet.run.clone();
    let planned = fleet.plan(&mut run, Planning::default(), 1).unwrap();
    assert!(planned.complete && planned.totals.objects == 0 && run.manifest.is_some());
    assert_eq!(fleet.keys_in_manifest(&run), [""; 0]);
}

#[test]
fn a_page_planned_twice_sends_nothing_new() {
    let fleet = Fleet::new(20);
    let mut run = fleet.run.clone();
    let first = fleet.plan(&mut run, Planning::default(), 2).unwrap();
    assert_eq!(fleet.plan(&mut run, Planning::default(), 2).unwrap(), first);
    assert_eq!(fleet.keys_sent().len(), 6);
    fleet.plan(&mut run, first, 100).unwrap();
    assert_eq!(fleet.keys_sent(), fleet.keys());
}

#[test]
fn a_page_in_the_manifest_is_not_listed_again() {
    let fleet = Fleet::new(20);
    let mut run = fleet.run.clone();
    let first = fleet.plan(&mut run, Planning::default(), 2).unwrap();
    let listed = fleet.queue.bodies();
    // One object is replaced, one is removed, one is added. Then the call is repeated, because its response was lost.
    let keys = fleet.keys();
    fleet.source.put(&keys[0], b"replaced".to_vec());
    fleet.source.remove(&keys[1]);
    fleet.source.put("logs/001 a", b"new".to_vec());
    assert_eq!(fleet.plan(&mut run, Planning::default(), 2).unwrap(), first);
    assert_eq!(fleet.queue.bodies(), listed, "a second message names another version");
    fleet.plan(&mut run, Planning::default(), 100).unwrap();
    assert_eq!(fleet.keys_in_manifest(&run), keys);
    assert_eq!(fleet.keys_sent(), keys);
}

#[test]
fn a_position_that_the_manifest_does_not_confirm_loses_no_key() {
    let key = |number: usize| Some(format!("logs/{number:03} +%ü"));
    let totals = |parts: u64, objects: u64| ManifestTotals { parts, objects, ..ManifestTotals::default() };
    for claimed in [
        Planning { after: key(11), ..Planning::default() },
        Planning { complete: true, ..Planning::default() },
        Planning { after: key(11), complete: false, totals: totals(1, 3) },
        Planning { after: None, complete: true, totals: totals(2, 6) },
    ] {
        let fleet = Fleet::new(20);
        let mut run = fleet.run.clone();
        // Two of three pages are planned.
        fleet.plan(&mut run, Planning::default(), 2).unwrap();
        let planned = fleet.plan(&mut run, claimed, 100).unwrap();
        assert!(planned.complete);
        assert_eq!(fleet.keys_in_manifest(&run), fleet.keys());
        assert_eq!(fleet.keys_sent(), fleet.keys());
    }
    let fleet = Fleet::new(20);
    let beyond = Planning { after: key(11), complete: true, totals: totals(4, 12) };
    let progress = fleet.plan(&mut fleet.run.clone(), beyond, 100).unwrap_err();
    assert!(
        matches!(&progress, PlanError::Ledger(why) if why.to_string().contains("part-000003")),
        "{progress:?}"
    );
}

#[test]
fn repeated_planning_lists_nothing_after_the_end() {
    for (keys, end_removed) in [(0, false), (3, false), (20, false), (0, true), (3, true), (20, true)] {
        let fleet = Fleet::new(keys);
        let mut run = fleet.run.clone();
        let progress = fleet.plan(&mut run, Planning::default(), 100).unwrap();
        let listed = fleet.keys();
        if end_removed {
            // The part that marks the end is removed.
            fleet.store.remove(&layout::manifest_part("r1", progress.totals.parts)).unwrap();
        }
        // The response is lost, and an object is added before the call is repeated.
        fleet.source.put("logs/zzz", b"late".to_vec());
        let mut unlisted = fleet.run.clone();
        assert_eq!(fleet.plan(&mut run, Planning::default(), 100).unwrap(), progress);
        if !end_removed {
            assert_eq!(fleet.plan(&mut unlisted, Planning::default(), 100).unwrap(), progress);
        }
        assert_eq!(fleet.keys_sent(), listed, "a message names a key that is not in the manifest");
        assert_eq!(fleet.keys_in_manifest(&run), listed);
    }
}

#[test]
fn two_drivers_that_list_a_page_concurrently_agree_on_it() {
    // The other driver lists a page after an object was added: within the page, at its end, and where the end was.
    for (keys, new, part) in [(8, "logs/003 +", 1), (8, "logs/zzz", 2), (9, "logs/zzz", 3)] {
        let other = Fleet::new(keys);
        other.source.put(new, b"new".to_vec());
        other.plan(&mut other.run.clone(), Planning::default(), 100).unwrap();
        let fleet = Fleet::new(keys);
        let (store, path) = (fleet.store.clone(), layout::manifest_part("r1", part));
        let (theirs, there) = (other.store.files()[&path].clone(), path.clone());
        // This driver has listed the page without the object, and is about to write the part.
        fleet.store.before(path, move || store.put(&there, &theirs).unwrap());
        let mut run = fleet.run.clone();
        assert!(fleet.plan(&mut run, Planning::default(), 100).unwrap().complete);
        let sent = fleet.keys_sent();
        assert_eq!(sent, other.keys(), "a key is not sent");
        assert_eq!(fleet.keys_in_manifest(&run), sent, "manifest and messages differ");
    }
}

#[test]
fn a_new_run_within_five_minutes_sends_everything_again() {
    let fleet = Fleet::new(5);
    let mut run = fleet.run.clone();
    fleet.plan(&mut run, Planning::default(), 100).unwrap();
    let mut again = Run { run: "r2".to_owned(), ..fleet.run.clone() };
    fleet.plan(&mut again, Planning::default(), 100).unwrap();
    assert_eq!(fleet.keys_sent().len(), 10);
}

#[test]
fn only_the_messages_that_a_batch_rejects_are_sent_again() {
    for faults in [
        Faults { send_accepts_half_every: Some(1), ..Faults::default() },
        Faults { send_accepts_half_every: Some(2), ..Faults::default() },
        Faults { send_fails_every: Some(2), ..Faults::default() },
        Faults { send_fails_every: Some(3), send_accepts_half_every: Some(2), ..Faults::default() },
    ] {
        let fleet = Fleet::new(50);
        fleet.queue.set_faults(faults.clone());
        let mut run = fleet.run.clone();
        fleet.plan(&mut run, Planning::default(), 100).unwrap();
        assert_eq!(fleet.keys_sent(), fleet.keys(), "{faults:?}");
    }
}

#[test]
fn a_queue_that_does_not_respond_is_an_error_and_the_call_can_be_repeated() {
    let fleet = Fleet::new(10);
    let mut run = fleet.run.clone();
    let first = fleet.plan(&mut run, Planning::default(), 1).unwrap();
    fleet.queue.set_faults(Faults { send_fails_every: Some(1), ..Faults::default() });
    let error = fleet.plan(&mut run, first.clone(), 100).unwrap_err();
    assert!(matches!(error, PlanError::Send { .. }), "{error}");
    assert_eq!(run.manifest, None);
    fleet.queue.set_faults(Faults::default());
    assert!(fleet.plan(&mut run, first, 100).unwrap().complete);
    assert_eq!(fleet.keys_sent(), fleet.keys());
}

#[test]
fn a_message_that_can_never_be_sent_is_named() {
    let fleet = Fleet::new(5);
    fleet.queue.set_faults(Faults { reject: Some("002".to_owned()), ..Faults::default() });
    let error = fleet.plan(&mut fleet.run.clone(), Planning::default(), 100).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("logs/002 +%ü") && source.contains("InvalidMessageContents"), "{source}");
}

#[test]
fn resuming_sends_only_objects_without_a_receipt() {
    let fleet = Fleet::new(8);
    let plan = RunConfig::default();
    let processor = ObjectProcessor::new("r1", &plan, &fleet.source, &fleet.store);
    for key in fleet.keys().iter().take(5) {
        processor.process_unqueued(&fleet.source.entry(key), &Control::NEVER_STOP).unwrap();
    }
    let mut run = Run { run: "r2".to_owned(), resumes: vec!["r1".to_owned()], ..fleet.run.clone() };
    let planned = fleet.plan(&mut run, Planning::default(), 100).unwrap();
    assert_eq!((planned.totals.objects, planned.totals.skipped), (8, 5));
    assert_eq!(fleet.keys_sent(), fleet.keys()[5..]);
    assert_eq!(fleet.keys_in_manifest(&run), fleet.keys());
}

#[test]
fn after_a_ledger_fault_at_any_point_the_call_can_be_repeated() {
    let whole = Fleet::new(10);
    whole.plan(&mut whole.run.clone(), Planning::default(), 100).unwrap();
    for operation in 0..whole.store.operations() {
        let fleet = Fleet::new(10);
        fleet.store.fail_at(Some(operation));
        let mut run = fleet.run.clone();
        assert!(matches!(fleet.plan(&mut run, Planning::default(), 100), Err(PlanError::Ledger(_))));
        fleet.store.fail_at(None);
        let mut run = fleet.run.clone();
        fleet.plan(&mut run, Planning::default(), 100).unwrap();
        assert_eq!((fleet.keys_sent(), fleet.keys_in_manifest(&run)), (fleet.keys(), fleet.keys()));
    }
}

#[test]
fn entries_are_small_enough_for_a_page_in_memory() {
    // A page of S3 holds 1,000 keys of up to 1,024 bytes.
    let entry = ManifestEntry { key: "k".repeat(1024), size: u64::MAX, etag: "e".repeat(40) };
    let task = Task { run: "r".repeat(80), fleet: "main".to_owned(), bucket: "b".repeat(63), object: entry };
    assert!(task.body().len() < 256 << 10, "a task is too large for a message");
}
