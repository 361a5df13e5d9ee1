//! Several fleets on the fakes: each has a queue of its own, and all share the source, the results and the ledger.

mod cloud;

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    fleets::{Driver, FleetSettings, Fleets},
    marker::RunMarker,
    options::RunOptions,
    redrive::Redriven,
    state::{Operation, RunState},
};
use flowherd_shared::{
    ledger::{Report, Run, layout, read_json, read_report},
    queue::{Queue, QueueDepth},
    store::Store,
    task::Task,
};
use flowherd_tests::{
    fake::{MemoryQueue, MemorySource, MemoryStore, QueueSettings},
    objects::{FLOW, envelope, event, gzip},
};
use flowherd_worker::handler::MessageHandler;
use jiff::Timestamp;

use super::fleet::{BUCKET, SETTLE, START, TwinCoordinator, object};

/// A stack with the fleets `flow` and `waf`, each with a queue of its own.
struct Stack {
    source: MemorySource,
    store: MemoryStore,
    flow: MemoryQueue,
    waf: MemoryQueue,
    fleets: Fleets,
}

impl Stack {
    fn new(objects: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let settings = QueueSettings::default();
        let (flow, waf) = (MemoryQueue::new(settings), MemoryQueue::new(settings));
        let (store, clock) = (MemoryStore::default(), flow.clone());
        store.set_clock(move || START + clock.now());
        let fleet = |name: &str| {
            let driver = Driver::Queue { url: format!("https://sqs/{name}.fifo"), dead_letters: None };
            (
                name.to_owned(),
                FleetSettings { prefixes: vec![format!("{name}/")], ..FleetSettings::on(driver) },
            )
        };
        let fleets = Fleets::new([fleet("flow"), fleet("waf")].into());
        let mut source: MemorySource = objects.into_iter().collect();
        source.page_size = 1000;
        Self { source, store, flow, waf, fleets }
    }

    /// A stack with this number of objects in each fleet.
    fn with(objects: usize) -> Self {
        let numbers = 0..objects;
        Self::new(numbers.flat_map(|number| [object("flow", number), object("waf", number)]))
    }

    fn queue(&self, fleet: &str) -> &MemoryQueue {
        match fleet {
            "flow" => &self.flow,
            "waf" => &self.waf,
            other => panic!("no fleet {other}"),
        }
    }

    fn messages(&self, fleet: &str) -> usize {
        self.queue(fleet).bodies().len()
    }

    fn coordinate<T>(&self, fleet: &str, work: impl FnOnce(&TwinCoordinator<'_>) -> T) -> T {
        let queue = self.queue(fleet);
        work(&Coordinator {
            fleet,
            source: &self.source,
            bucket: BUCKET,
            results_bucket: "results",
            results: &self.store,
            queue: Some(queue),
            dead_letters: Some(&queue.dead_letters()),
            index: None,
            inputs: &|| Ok(Inputs::default()),
            settle: SETTLE,
            time_limit: Duration::from_hours(24),
            max_keys: 100_000,
            clock: &|| Timestamp::try_from(SystemTime::UNIX_EPOCH + START + self.flow.now()).unwrap(),
            pause: &|_| {},
            on_page: &|| {},
        })
    }

    /// Begins a run in the fleet that its options choose.
    fn begin(&self, options: &RunOptions) -> Result<RunState, CoordinatorError> {
        let read = |name: &String| read_json::<Run>(&self.store, &layout::run(name)).unwrap().unwrap();
        let fleet = self.fleets.choose(options, options.resume.as_ref().map(read).as_ref())?;
        self.coordinate(fleet, |coordinator| coordinator.begin(options))
    }

    /// Begins a run of the prefix and sends all of its messages.
    fn plan(&self, run: &str, prefix: &str) -> RunState {
        let begun = self.begin(&options(run, prefix)).unwrap();
        self.drive(begun, |state| matches!(state.operation, Operation::Plan(_)))
    }

    fn step(&self, state: RunState) -> Result<RunState, CoordinatorError> {
        let wait = Duration::from_secs(state.wait_seconds);
        [&self.flow, &self.waf].into_iter().for_each(|queue| queue.advance(wait));
        let fleet = self.fleets.of_run(&state.run, &state.fleet)?;
        self.coordinate(fleet, |coordinator| coordinator.step(state, &|| true))
    }

    fn drive(&self, mut state: RunState, should_continue: impl Fn(&RunState) -> bool) -> RunState {
        while should_continue(&state) {
            state = self.step(state).unwrap();
        }
        state
    }

    /// Drives a run to its end, with workers of its fleet only.
    fn finish(&self, state: RunState) -> Report {
        let fleet = state.fleet.clone();
        let ended = self.drive(state, |state| {
            if matches!(state.operation, Operation::Check(_)) {
                self.drain(&fleet);
            }
            !state.has_ended()
        });
        read_report(&self.store, &layout::report(&ended.run)).unwrap().unwrap()
    }

    /// Runs a worker of the fleet until its queue is empty.
    fn drain(&self, fleet: &str) {
        let (queue, settings) = (self.queue(fleet), QueueSettings::default());
        let mut handler =
            MessageHandler::new((BUCKET, &self.source), &self.store, (queue, settings.visibility));
        handler.sleep = |_| {};
        handler.max_deliveries = Some(settings.max_deliveries);
        let is_left = || queue.depth().map_or(true, |depth| depth != QueueDepth::default());
        handler.poll(&is_left, &|| ControlFlow::Continue(()));
    }
}

fn options(run: &str, prefix: &str) -> RunOptions {
    let (run, prefix) = (Some(run.to_owned()), Some(prefix.to_owned()));
    RunOptions { run, prefix, ..RunOptions::default() }
}

/// Returns the number of objects of a report. All must be done.
fn done(report: &Report) -> u64 {
    let objects = report.objects;
    assert_eq!(
        (objects.done, objects.failed + objects.skipped + objects.missing),
        (objects.listed, 0),
        "{report:?}"
    );
    objects.done
}

#[test]
fn a_flood_in_one_fleet_does_not_delay_another() {
    let body = gzip(envelope("g", &[event(1, FLOW)]).as_bytes());
    let flood = (0..10_000).map(|number| (format!("flow/{number:05}"), body.clone()));
    let few = (0..3).map(|number| (format!("waf/{number}"), body.clone()));
    let stack = Stack::new(flood.chain(few));
    stack.plan("flood", "flow/");
    assert_eq!((stack.messages("flow"), stack.messages("waf")), (10_000, 0));
    let report = stack.finish(stack.plan("few", "waf/"));
    assert_eq!((done(&report), report.fleet.as_str()), (3, "waf"));
    assert_eq!((stack.messages("flow"), stack.messages("waf")), (10_000, 0), "the flood is still queued");
}

#[test]
fn a_run_names_its_fleet_in_the_ledger_and_in_its_messages() {
    let stack = Stack::with(2);
    let state = stack.plan("r", "waf/");
    let run: Run = read_json(&stack.store, &layout::run("r")).unwrap().unwrap();
    let marker = RunMarker::find(&stack.store, "r").unwrap().unwrap();
    assert_eq!((&*run.fleet, marker.fleet.as_deref(), &*state.fleet), ("waf", Some("waf"), "waf"));
    let bodies = stack.waf.bodies();
    assert_eq!(bodies.len(), 2);
    for body in bodies {
        assert_eq!(Task::parse(&body).unwrap().fleet, "waf", "{body}");
    }
    assert_eq!(stack.finish(state).fleet, "waf");
}

#[test]
fn a_purge_concerns_only_the_runs_and_the_queue_of_its_fleet() {
    let stack = Stack::with(5);
    let of_flow = stack.plan("of-flow", "flow/");
    stack.plan("old", "waf/");
    // Nothing of the other fleet blocks it, although that has unfinished objects of another prefix.
    let purging = stack.begin(&RunOptions { purge: true, ..options("new", "waf/") }).unwrap();
    // A run of the other fleet does not wait for it either.
    let meanwhile = stack.plan("meanwhile", "flow/");
    assert_eq!(meanwhile.operation.name(), "check");
    let planning = stack.step(purging).unwrap();
    assert_eq!((stack.messages("flow"), stack.messages("waf")), (10, 0));
    let purged = |run: &str| stack.store.files().contains_key(&layout::purged(run));
    assert_eq!((purged("old"), purged("of-flow"), purged("meanwhile")), (true, false, false));
    assert!(RunMarker::find(&stack.store, "of-flow").unwrap().is_some());
    assert_eq!(done(&stack.finish(planning)), 5);
    assert_eq!(done(&stack.finish(of_flow)), 5);
    // Within a fleet, a run of another prefix is protected as ever.
    stack.plan("again", "flow/");
    let refused = stack.begin(&RunOptions { purge: true, ..options("other", "flow/0") }).unwrap_err();
    assert!(refused.to_string().starts_with("run again (prefix \"flow/\""), "{refused}");
}

#[test]
fn a_marker_that_does_not_parse_protects_its_run_in_every_fleet() {
    let stack = Stack::with(2);
    stack.plan("damaged", "flow/");
    stack.store.put(&layout::active("damaged"), b"{").unwrap();
    for prefix in ["waf/", "flow/0"] {
        let refused = stack.begin(&RunOptions { purge: true, ..options("r", prefix) }).unwrap_err();
        assert!(refused.to_string().starts_with("run damaged (prefix \"\""), "{refused}");
    }
}

#[test]
fn a_redrive_moves_only_the_dead_letters_of_its_fleet() {
    let stack = Stack::with(3);
    for (run, prefix) in [("a", "flow/"), ("b", "waf/")] {
        let (key, whole) = object(prefix.trim_end_matches('/'), 1);
        stack.source.put(&key, whole[..whole.len() - 3].to_vec());
        let report = stack.finish(stack.plan(run, prefix));
        assert_eq!((report.objects.done, report.objects.failed), (2, 1), "{report:?}");
        stack.source.put(&key, whole);
    }
    let dead = |fleet: &str| stack.queue(fleet).dead().len();
    assert_eq!((dead("flow"), dead("waf")), (1, 1));
    // A purge of the other fleet does not delay it.
    stack.begin(&RunOptions { purge: true, ..options("purging", "flow/") }).unwrap();
    let (redriven, state) = stack.coordinate("waf", |coordinator| coordinator.redrive("b")).unwrap();
    assert!(matches!(redriven, Redriven::Started(1) | Redriven::Moved(1)), "{redriven:?}");
    assert_eq!((dead("flow"), dead("waf")), (1, 0));
    assert_eq!(done(&stack.finish(state.unwrap())), 3);
    assert_eq!((dead("flow"), stack.messages("flow")), (1, 0));
}

#[test]
fn an_operation_on_a_run_of_another_fleet_is_refused_and_changes_nothing() {
    let stack = Stack::with(2);
    let begun = stack.begin(&options("r", "waf/")).unwrap();
    let before = stack.store.files();
    let refused = stack.coordinate("flow", |coordinator| {
        let step = coordinator.step(begun.clone(), &|| true).unwrap_err();
        let redrive = coordinator.redrive("r").unwrap_err();
        let forget = coordinator.forget("r", true).unwrap_err();
        let again = coordinator.begin(&options("r", "waf/")).unwrap_err();
        [step, redrive, forget, again].map(|error| error.to_string())
    });
    let [step, redrive, forget, again] = refused;
    for refused in [step, redrive, forget] {
        assert_eq!(refused, "run r is of fleet waf, not of fleet flow");
    }
    assert!(again.starts_with("run r already exists"), "{again}");
    assert!(stack.store.files() == before && stack.flow.bodies().is_empty());
}

#[test]
fn a_run_of_a_removed_fleet_is_refused_and_can_be_resumed_in_another() {
    let mut stack = Stack::with(4);
    let state = stack.plan("r", "flow/");
    let only_waf = FleetSettings { prefixes: Vec::new(), ..FleetSettings::on(Driver::Map) };
    stack.fleets = Fleets::new([("waf".to_owned(), only_waf)].into());
    let refused = stack.step(state).unwrap_err();
    assert!(refused.is_permanent());
    assert!(
        refused.to_string().starts_with("run r is of fleet flow, which is not in this stack"),
        "{refused}"
    );
    let resume = RunOptions { resume: Some("r".to_owned()), ..RunOptions::default() };
    assert!(stack.begin(&resume).unwrap_err().to_string().ends_with("flowherd run --resume r --fleet NAME"));
    // Before the removal, a worker did some objects.
    stack.drain("flow");
    let receipt = layout::receipt("r", &object("flow", 2).0);
    stack.store.remove(&receipt).unwrap();
    let state = stack.begin(&RunOptions { fleet: Some("waf".to_owned()), ..resume }).unwrap();
    let report = stack.finish(state);
    let objects = report.objects;
    assert_eq!((objects.listed, objects.done, objects.skipped), (4, 1, 3));
    assert_eq!(report.fleet, "waf");
}

#[test]
fn the_same_run_name_in_two_fleets_is_one_run() {
    let stack = Stack::with(1);
    stack.begin(&options("r", "flow/")).unwrap();
    let taken = stack.begin(&options("r", "waf/")).unwrap_err();
    assert!(taken.to_string().starts_with("run r already exists"), "{taken}");
}

#[test]
fn a_run_is_processed_by_the_fleet_whose_prefix_contains_its_prefix() {
    let mut stack = Stack::with(2);
    let fleet = |stack: &Stack, prefix: &str, fleet: Option<&str>| {
        let options = RunOptions { fleet: fleet.map(str::to_owned), run: None, ..options("", prefix) };
        stack.begin(&options).map(|state| state.fleet).map_err(|error| error.to_string())
    };
    assert_eq!(fleet(&stack, "waf/0", None).unwrap(), "waf");
    assert_eq!(fleet(&stack, "flow/", Some("flow")).unwrap(), "flow");
    let before = stack.store.files();
    let outside = fleet(&stack, "other/", None).unwrap_err();
    assert!(outside.starts_with("no fleet has a prefix with which \"other/\" begins"), "{outside}");
    let other = fleet(&stack, "waf/", Some("flow")).unwrap_err();
    assert!(other.starts_with("prefix \"waf/\" is outside the prefixes of fleet flow"), "{other}");
    let driver = || Driver::Queue { url: "https://sqs/x.fifo".to_owned(), dead_letters: None };
    let same = |name: &str| {
        let prefixes = vec!["waf/".to_owned()];
        (name.to_owned(), FleetSettings { prefixes, ..FleetSettings::on(driver()) })
    };
    stack.fleets = Fleets::new([same("flow"), same("waf")].into());
    let shared = fleet(&stack, "waf/", None).unwrap_err();
    assert!(shared.starts_with("fleets flow and waf have the same prefix"), "{shared}");
    assert!(stack.store.files() == before, "a refused run writes nothing");
}
