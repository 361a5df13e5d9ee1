//! Fleets with driver map, on the fakes. The coordinator plans and reports; in between, a Distributed Map passes the objects to
//! workers. [`Map`] is a fake of the step loop's map.

use std::{
    collections::BTreeMap,
    io::Cursor,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use flowherd_coordinator::{
    error::CoordinatorError,
    event::Event,
    options::RunOptions,
    state::{Mapping, Operation, RunState},
};
use flowherd_shared::{
    ledger::{Failure, ManifestEntry, Report, ReportState, layout, read_json},
    store::{Source, StoreError, pages},
};
use flowherd_tests::fake::{MemorySource, Pace, Paced, Process};
use flowherd_worker::{
    handler::MessageHandler,
    map::{Answer, MapEvent, NoQueue, Unfinished, convert},
    processor::StopReason,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    delivery::counts,
    fleet::{BUCKET, Fleet, object},
};

/// Attempts of a child, as in the stack: one and five retries.
const ATTEMPTS: u32 = 6;

fn map_fleet(objects: usize) -> Fleet {
    Fleet { has_queue: false, ..Fleet::new(objects) }
}

/// The source of an invocation. Counts attempts at each object.
struct Watched<'a> {
    source: &'a MemorySource,
    opened: &'a Mutex<BTreeMap<String, u32>>,
    /// Objects that end the process.
    killers: &'a [String],
    process: &'a Process,
}

impl Source for Watched<'_> {
    type Body = Cursor<Vec<u8>>;

    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError> {
        *self.opened.lock().unwrap().entry(object.key.clone()).or_default() += 1;
        if self.killers.contains(&object.key) {
            self.process.kill();
        }
        self.source.open(object)
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        self.source.head(key)
    }
}

/// The map of the step loop, and its workers.
struct Map<'a> {
    fleet: &'a Fleet,
    batch: usize,
    /// Keys whose child the map does not start.
    lost: Vec<String>,
    killers: Vec<String>,
    opened: Mutex<BTreeMap<String, u32>>,
    /// Errors of the children that failed in every attempt.
    failed: Mutex<Vec<String>>,
}

impl<'a> Map<'a> {
    fn new(fleet: &'a Fleet, batch: usize) -> Self {
        let (lost, killers) = (Vec::new(), Vec::new());
        Self { fleet, batch, lost, killers, opened: Mutex::default(), failed: Mutex::default() }
    }

    /// Lists the prefix, as the `ItemReader` does, and runs a child for each batch.
    fn run(&self, state: &RunState) {
        let listed: Vec<ManifestEntry> =
            pages(&self.fleet.source, &state.prefix).flat_map(|page| page.unwrap().entries).collect();
        let listed: Vec<ManifestEntry> =
            listed.into_iter().filter(|object| !self.lost.contains(&object.key)).collect();
        for batch in listed.chunks(self.batch) {
            let items: Vec<Value> = batch.iter().map(|object| item(state, object)).collect();
            let input = if self.batch == 1 { items[0].clone() } else { json!({ "Items": items }) };
            if let Err(error) = self.child(&input) {
                self.failed.lock().unwrap().push(error);
            }
        }
    }

    /// One child execution: invokes the worker until it succeeds or the attempts are exhausted.
    fn child(&self, input: &Value) -> Result<Answer, String> {
        let mut last = String::new();
        for attempt in 1..=ATTEMPTS {
            match self.invoke(input, attempt) {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(unfinished)) => last = unfinished.to_string(),
                None => "Runtime.ExitError".clone_into(&mut last),
            }
        }
        Err(last)
    }

    /// One invocation of the worker; `None` if its process ends.
    fn invoke(&self, input: &Value, attempt: u32) -> Option<Result<Answer, Unfinished>> {
        self.invoke_until(input, attempt, &|| ControlFlow::Continue(()))
    }

    fn invoke_until(
        &self,
        input: &Value,
        attempt: u32,
        has_time: &(dyn Fn() -> ControlFlow<StopReason> + Sync),
    ) -> Option<Result<Answer, Unfinished>> {
        let process = Process::new("invocation".to_owned(), Pace::Whole, Arc::new(|_, _, _| {}));
        let source = Watched {
            source: &self.fleet.source,
            opened: &self.opened,
            killers: &self.killers,
            process: &process,
        };
        let store = Paced::new(&self.fleet.store, &process);
        let mut handler =
            MessageHandler::new((BUCKET, &source), &store, (&NoQueue, Duration::from_hours(12)));
        handler.skips_resumed = true;
        let event = MapEvent::parse(
            json!({ "attempt": attempt, "started": Timestamp::now().to_string(), "input": input }),
        )
        .unwrap();
        let answer = convert(&handler, &event, 1, has_time);
        (!process.is_dead()).then_some(answer)
    }

    fn opened(&self) -> BTreeMap<String, u32> {
        self.opened.lock().unwrap().clone()
    }
}

/// An item as the map's `ItemSelector` makes it.
fn item(state: &RunState, object: &ManifestEntry) -> Value {
    let ManifestEntry { key, size, etag } = object;
    let (run, fleet) = (&state.run, &state.fleet);
    json!({ "v": 1, "run": run, "fleet": fleet, "bucket": BUCKET, "key": key, "size": size, "etag": etag })
}

/// Plans a run, and checks that its next operation is the map.
fn plan(fleet: &Fleet, state: RunState) -> RunState {
    let planned = fleet.drive(state, |state| matches!(state.operation, Operation::Plan(_)));
    assert_eq!(planned.operation, Operation::Map(Mapping::default()));
    planned
}

/// Reports a run after its map has ended.
fn report(fleet: &Fleet, planned: RunState) -> Report {
    let mapped = RunState { operation: Operation::Map(Mapping { ended: true }), ..planned };
    fleet.finish(mapped)
}

fn failure(fleet: &Fleet, run: &str, key: &str) -> Failure {
    read_json(&fleet.store, &layout::failure(run, key)).unwrap().unwrap()
}

#[test]
fn a_map_run_ends_with_the_same_outputs_as_a_queue_run() {
    let queued = Fleet::new(40);
    let expected = queued.finish(queued.begin("r", "firehose/"));
    for batch in [1, 10] {
        let fleet = map_fleet(40);
        let planned = plan(&fleet, fleet.begin("r", "firehose/"));
        assert_eq!((fleet.queue.bodies().len(), planned.progress.listed), (0, 40));
        let map = Map::new(&fleet, batch);
        map.run(&planned);
        let report = report(&fleet, planned);
        assert_eq!((counts(&report), report.records), ((ReportState::Done, 40, 0, 0), expected.records));
        assert!(fleet.results() == queued.results(), "batches of {batch}: other outputs");
        assert!(!fleet.has(&layout::active("r")), "the run still has a marker");
        assert!(map.opened().values().all(|attempts| *attempts == 1));
    }
}

#[test]
fn an_object_without_an_outcome_after_the_map_is_in_the_report() {
    let fleet = map_fleet(12);
    let keys = fleet.source.keys();
    fleet.source.put(&keys[3], b"\x1f\x8b damaged".to_vec());
    let planned = plan(&fleet, fleet.begin("r", ""));
    let map = Map { lost: keys[8..10].to_vec(), ..Map::new(&fleet, 4) };
    map.run(&planned);
    // The damaged object has failed permanently, so its child has succeeded.
    assert_eq!(*map.failed.lock().unwrap(), [""; 0]);
    let report = report(&fleet, planned);
    assert_eq!(counts(&report), (ReportState::Incomplete, 9, 1, 2));
    assert_eq!(report.failures[0].key, keys[3]);
    assert!(!fleet.has(&layout::active("r")), "nothing can still process the run");
}

#[test]
fn another_attempt_at_a_batch_only_works_on_what_is_not_done() {
    let fleet = map_fleet(10);
    let keys = fleet.source.keys();
    fleet.source.put(&keys[2], b"\x1f\x8b damaged".to_vec());
    let planned = plan(&fleet, fleet.begin("r", ""));
    let map = Map::new(&fleet, 10);
    let items: Vec<Value> = keys.iter().map(|key| item(&planned, &fleet.source.entry(key))).collect();
    let input = json!({ "Items": items });
    // The source fails when the worker opens the first object.
    fleet.source.fail_at(Some(0));
    let unfinished = map.invoke(&input, 1).unwrap().unwrap_err();
    let (key, run) = (keys[0].clone(), "r".to_owned());
    assert_eq!(unfinished, Unfinished { pending: 1, total: 10, key, run });
    assert_eq!(failure(&fleet, "r", &keys[0]).attempts, 1);
    assert_eq!(map.invoke(&input, 2).unwrap().unwrap(), Answer { done: 9, failed: 1 });
    let opened = map.opened();
    assert_eq!(opened[&keys[0]], 2);
    assert!(keys[1..].iter().all(|key| opened[key] == 1), "{opened:?}");
    assert_eq!(counts(&report(&fleet, planned)), (ReportState::Failed, 9, 1, 0));
}

#[test]
fn an_object_that_ends_the_process_is_named_and_the_others_of_its_batch_are_done() {
    let fleet = map_fleet(20);
    let killer = fleet.source.keys()[3].clone();
    let planned = plan(&fleet, fleet.begin("r", ""));
    let map = Map { killers: vec![killer.clone()], ..Map::new(&fleet, 10) };
    map.run(&planned);
    assert_eq!(*map.failed.lock().unwrap(), ["Runtime.ExitError"]);
    let report = report(&fleet, planned);
    assert_eq!(counts(&report), (ReportState::Failed, 19, 1, 0));
    assert_eq!(report.failures[0].key, killer);
    assert!(report.failures[0].error.contains("did not report its end"), "{:?}", report.failures);
}

#[test]
fn a_child_whose_time_ends_publishes_nothing_and_the_next_attempt_does_its_objects() {
    let fleet = map_fleet(4);
    let planned = plan(&fleet, fleet.begin("r", ""));
    let map = Map::new(&fleet, 10);
    let items: Vec<Value> =
        fleet.source.keys().iter().map(|key| item(&planned, &fleet.source.entry(key))).collect();
    let input = json!({ "Items": items });
    let late = || ControlFlow::Break(StopReason::Deadline);
    let unfinished = map.invoke_until(&input, 1, &late).unwrap().unwrap_err();
    assert_eq!((unfinished.pending, fleet.results().len()), (4, 0));
    assert_eq!(map.child(&input), Ok(Answer { done: 4, failed: 0 }));
    assert_eq!(counts(&report(&fleet, planned)), (ReportState::Done, 4, 0, 0));
}

#[test]
fn a_resumed_map_run_works_only_on_objects_without_a_receipt() {
    let fleet = map_fleet(9);
    let keys = fleet.source.keys();
    let first = plan(&fleet, fleet.begin("r1", ""));
    Map { lost: keys[6..].to_vec(), ..Map::new(&fleet, 3) }.run(&first);
    assert_eq!(counts(&report(&fleet, first)), (ReportState::Incomplete, 6, 0, 3));

    let options =
        RunOptions { resume: Some("r1".to_owned()), run: Some("r2".to_owned()), ..RunOptions::default() };
    let second = fleet.coordinate(|coordinator| coordinator.begin(&options)).unwrap();
    let second = plan(&fleet, second);
    assert_eq!(second.progress.skipped, 6);
    let map = Map::new(&fleet, 3);
    map.run(&second);
    assert_eq!(map.opened().into_keys().collect::<Vec<_>>(), keys[6..]);
    let report = report(&fleet, second);
    assert_eq!((counts(&report), report.objects.skipped), ((ReportState::Done, 3, 0, 0), 6));
}

#[test]
fn a_run_whose_execution_ended_in_the_map_continues_with_the_map() {
    let fleet = map_fleet(6);
    let keys = fleet.source.keys();
    let planned = plan(&fleet, fleet.begin("r", ""));
    Map { lost: keys[2..].to_vec(), ..Map::new(&fleet, 2) }.run(&planned);
    let again = fleet.coordinate(|coordinator| coordinator.resume_driving("r")).unwrap();
    assert_eq!(again.operation, Operation::Map(Mapping::default()));
    let map = Map::new(&fleet, 2);
    map.run(&again);
    assert_eq!(map.opened().into_keys().collect::<Vec<_>>(), keys[2..]);
    assert_eq!(counts(&report(&fleet, again)), (ReportState::Done, 6, 0, 0));
}

#[test]
fn an_object_that_arrives_after_planning_has_outputs_and_is_not_counted() {
    let fleet = map_fleet(5);
    let planned = plan(&fleet, fleet.begin("r", ""));
    let (late, bytes) = object("firehose", 7);
    fleet.source.put(&late, bytes);
    Map::new(&fleet, 10).run(&planned);
    assert!(fleet.has(&layout::receipt("r", &late)));
    let report = report(&fleet, planned);
    assert_eq!((counts(&report), report.objects.listed), ((ReportState::Done, 5, 0, 0), 5));
    // The next run of the prefix lists it.
    let next = plan(&fleet, fleet.begin("r2", ""));
    assert_eq!(next.progress.listed, 6);
}

#[test]
fn an_object_that_is_replaced_after_planning_is_missing_until_the_run_is_resumed() {
    let fleet = map_fleet(5);
    let planned = plan(&fleet, fleet.begin("r", ""));
    let key = fleet.source.keys()[1].clone();
    let (_, bytes) = object("firehose", 4);
    fleet.source.put(&key, bytes);
    Map::new(&fleet, 10).run(&planned);
    assert_eq!(counts(&report(&fleet, planned)), (ReportState::Incomplete, 4, 0, 1));

    let options =
        RunOptions { resume: Some("r".to_owned()), run: Some("r2".to_owned()), ..RunOptions::default() };
    let resumed = fleet.coordinate(|coordinator| coordinator.begin(&options)).unwrap();
    // All objects are done: the receipt of the first run is for the new version of the object.
    let report = fleet.finish(resumed);
    assert_eq!((counts(&report), report.objects.skipped), ((ReportState::Done, 0, 0, 0), 5));
}

#[test]
fn a_prefix_without_objects_needs_no_map() {
    let fleet = map_fleet(0);
    let report = fleet.finish(fleet.begin("r", "nothing/"));
    assert_eq!(counts(&report), (ReportState::Done, 0, 0, 0));
}

#[test]
fn what_needs_a_queue_is_refused_in_a_map_fleet_and_the_error_says_what_to_do() {
    let refusal = |refused: Result<RunState, CoordinatorError>| match refused {
        Err(CoordinatorError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let fleet = map_fleet(2);
    let purge = RunOptions {
        prefix: Some(String::new()),
        run: Some("p".to_owned()),
        purge: true,
        ..RunOptions::default()
    };
    let no_queue = "fleet main has driver map, so it has no queue";
    assert_eq!(
        refusal(fleet.coordinate(|coordinator| coordinator.begin(&purge))),
        format!("{no_queue}; begin the run without a purge: flowherd run --prefix PREFIX")
    );
    assert!(!fleet.has(&layout::run("p")) && !fleet.has(&layout::active("p")));
    let planned = plan(&fleet, fleet.begin("r", ""));
    assert_eq!(
        refusal(fleet.coordinate(|coordinator| coordinator.redrive("r").map(|(_, state)| state.unwrap()))),
        format!("{no_queue}; begin a run of its failed and missing objects: flowherd run --resume r")
    );
    // Only the step loop runs the map.
    let only_there = "fleet main has driver map, and only the step loop of a deployed stack passes its objects to the workers; \
                      begin the run in a stack (flowherd run --stack NAME), or start its state machine";
    assert_eq!(
        refusal(fleet.coordinate(|coordinator| coordinator.step(planned.clone(), &|| true))),
        format!("run r is planned, and its objects wait for the step loop: {only_there}")
    );
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself has too specific a lifetime"
    )]
    let refused = fleet.coordinate(|coordinator| coordinator.refuse_without_step_loop());
    assert_eq!(refused.unwrap_err().to_string(), only_there);
    // A run that waits for its map blocks nothing, and its marker can be removed.
    fleet.coordinate(|coordinator| coordinator.forget("r", false)).unwrap();
}

#[test]
fn the_state_before_the_map_is_an_event_again() {
    let fleet = map_fleet(3);
    let planned = plan(&fleet, fleet.begin("r", ""));
    let mut json = serde_json::to_value(&planned).unwrap();
    assert_eq!((&json["operation"], &json["ended"]), (&json!("map"), &json!(false)));
    // The step loop changes nothing else.
    json["ended"] = json!(true);
    let Event::State(state) = Event::parse(json).unwrap() else { panic!("a state") };
    assert_eq!(state.operation, Operation::Map(Mapping { ended: true }));
}
