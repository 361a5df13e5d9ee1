//! Coordinator, queue and workers on the twins: whatever fails, a run ends done, or with the failure named.

use std::{io, time::Duration};

use flowherd_coordinator::{
    plan::{Planned, Planner},
    reconcile::reconcile,
};
use flowherd_shared::{
    ledger::{Basis, Report, ReportState, Run, layout, put_json},
    pipeline::Plan,
    queue::{Outgoing, Queue},
    store::Source,
    task::Task,
};
use flowherd_tests::{
    objects::{FLOW, envelope, event, gzip},
    twin::{Faults, MemoryQueue, MemorySource, MemoryStore, QueueSettings},
};
use flowherd_worker::tasks::Tasks;

const BUCKET: &str = "logs";

struct Fleet {
    source: MemorySource,
    store: MemoryStore,
    queue: MemoryQueue,
    plan: Plan,
    settings: QueueSettings,
}

impl Fleet {
    fn new(objects: usize) -> Self {
        let object = |number: usize| {
            let events = vec![event(1, FLOW); number % 5];
            (format!("firehose/{number:03} +%ü"), gzip(envelope("g", &events).as_bytes()))
        };
        let settings = QueueSettings::default();
        Self {
            source: MemorySource((0..objects).map(object).collect()),
            store: MemoryStore::default(),
            queue: MemoryQueue::new(settings),
            plan: Plan::default(),
            settings,
        }
    }

    /// Begins a run and plans all of it.
    fn begin(&self, name: &str, prefix: &str) -> Run {
        let mut run = Run {
            run: name.to_owned(),
            prefix: prefix.to_owned(),
            basis: Basis::from(&self.plan),
            version: "test".to_owned(),
            started: String::new(),
            resumed: None,
            resumes: Vec::new(),
            manifest: None,
        };
        put_json(&self.store, &layout::run(name), &run).unwrap();
        let (source, results, queue) = (&self.source, &self.store, &self.queue);
        let planner = Planner { source, bucket: BUCKET, results, queue, pause: &|_: Duration| {} };
        planner.plan(&mut run, Planned::default(), || true).unwrap();
        run
    }

    fn tasks<'a, S: Source>(&'a self, source: &'a S) -> Tasks<'a, S, MemoryStore, MemoryQueue> {
        Tasks::new(&self.plan, (BUCKET, source), &self.store, (&self.queue, self.settings.visibility))
    }

    /// Several workers at once, until nothing is left in the queue.
    fn drain(&self, workers: usize) {
        let tasks = self.tasks(&self.source);
        let is_left = || {
            let depth = self.queue.depth().unwrap();
            depth.visible + depth.in_flight > 0
        };
        std::thread::scope(|scope| {
            (0..workers).for_each(|_| _ = scope.spawn(|| tasks.poll(&is_left)));
        });
    }

    fn report(&self, run: &Run) -> Report {
        reconcile(&self.store, run, String::new()).unwrap()
    }

    fn results(&self) -> Vec<(String, Vec<u8>)> {
        self.store.files().into_iter().filter(|(path, _)| !path.starts_with("runs/")).collect()
    }
}

#[test]
fn a_fleet_drains_a_prefix_and_the_report_is_done() {
    let fleet = Fleet::new(40);
    let run = fleet.begin("r", "firehose/");
    fleet.drain(4);
    let report = fleet.report(&run);
    assert_eq!((report.state, report.objects.done, report.records.rows), (ReportState::Done, 40, 80));
    assert_eq!((fleet.queue.bodies().len(), fleet.queue.dead().len()), (0, 0));
}

#[test]
fn every_message_twice_and_out_of_order_changes_nothing() {
    let once = Fleet::new(20);
    once.begin("r", "");
    once.drain(1);

    let twice = Fleet::new(20);
    let run = twice.begin("r", "");
    // As if the queue had lost its memory of what it delivered: the same bodies under other deduplication ids.
    for (number, body) in twice.queue.bodies().into_iter().rev().enumerate() {
        let group = Task::parse(&body).unwrap().group();
        twice.queue.send(&[Outgoing { body, group, deduplication: format!("again {number}") }]).unwrap();
    }
    twice.drain(3);
    assert_eq!(twice.results(), once.results());
    assert_eq!(twice.report(&run).records, once.report(&run).records);
    assert_eq!(
        twice.store.published().len(),
        once.store.published().len(),
        "the second time nothing is written"
    );
}

#[test]
fn a_worker_that_dies_with_a_message_in_hand_costs_only_time() {
    let fleet = Fleet::new(10);
    let run = fleet.begin("r", "");
    // Received and never heard of again.
    assert_eq!(fleet.queue.receive(3, Duration::ZERO).unwrap().len(), 3);
    fleet.queue.advance(fleet.settings.visibility);
    fleet.drain(2);
    assert_eq!(fleet.report(&run).state, ReportState::Done);
}

#[test]
fn each_operation_of_the_store_may_fail_once() {
    let whole = Fleet::new(6);
    let run = whole.begin("r", "");
    whole.store.fail_at(None);
    whole.drain(1);
    let operations = whole.store.operations();
    assert!(operations > 40);
    for operation in 0..operations {
        let fleet = Fleet::new(6);
        fleet.begin("r", "");
        fleet.store.fail_at(Some(operation));
        fleet.drain(1);
        fleet.store.fail_at(None);
        let report = fleet.report(&run);
        assert_eq!(
            (report.state, report.objects.done),
            (ReportState::Done, 6),
            "fault at operation {operation}"
        );
        assert_eq!(fleet.results(), whole.results(), "fault at operation {operation}");
    }
}

/// A source whose first reads of each object break off midway.
struct Flaky<'a> {
    source: &'a MemorySource,
    failures_left: std::sync::Mutex<u32>,
}

impl Source for Flaky<'_> {
    type Body = Box<dyn io::Read>;

    fn open(&self, object: &flowherd_shared::ledger::ManifestEntry) -> io::Result<Self::Body> {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let body = self.source.open(object)?;
        let mut left = self.failures_left.lock().unwrap();
        if *left == 0 {
            return Ok(Box::new(body));
        }
        *left -= 1;
        let half = object.size / 2;
        Ok(Box::new(io::Read::chain(io::Read::take(body, half), Broken)))
    }
}

#[test]
fn reads_that_break_off_are_tried_again_later() {
    let fleet = Fleet::new(5);
    let run = fleet.begin("r", "");
    let flaky = Flaky { source: &fleet.source, failures_left: std::sync::Mutex::new(4) };
    let tasks = fleet.tasks(&flaky);
    tasks.poll(&|| fleet.queue.depth().unwrap() != flowherd_shared::queue::Depth::default());
    let report = fleet.report(&run);
    assert_eq!((report.state, report.objects.done), (ReportState::Done, 5));
    assert!(
        !fleet.store.files().keys().any(|path| path.contains("/failures/")),
        "no failure of what is done"
    );
}

#[test]
fn damaged_and_vanished_objects_are_named_and_reach_the_dead_letters() {
    let mut fleet = Fleet::new(12);
    let run = fleet.begin("r", "");
    let keys: Vec<String> = fleet.source.0.keys().cloned().collect();
    let whole = fleet.source.0.clone();
    for key in &keys[..3] {
        // Damaged, but of the size and version that was listed.
        *fleet.source.0.get_mut(key).unwrap().last_mut().unwrap() ^= 1;
    }
    fleet.source.0.remove(&keys[3]);
    fleet.drain(2);

    let report = fleet.report(&run);
    assert_eq!((report.state, report.objects.done, report.objects.failed), (ReportState::Failed, 8, 4));
    let named: Vec<&String> = report.failures.iter().map(|failure| &failure.key).collect();
    assert_eq!(named, keys[..4].iter().collect::<Vec<_>>());
    assert_eq!(fleet.queue.dead().len(), 4);

    // Repaired, and the dead letters moved back, as a redrive does.
    fleet.source.0 = whole;
    for body in fleet.queue.dead() {
        let group = Task::parse(&body).unwrap().group();
        fleet.queue.send(&[Outgoing { deduplication: format!("redrive {body}"), body, group }]).unwrap();
    }
    fleet.drain(2);
    assert_eq!(fleet.report(&run).state, ReportState::Done);
}

#[test]
fn a_permanent_failure_is_a_dead_letter_without_being_worked_on_again() {
    let mut fleet = Fleet::new(1);
    let run = fleet.begin("r", "");
    fleet.source.0.values_mut().for_each(|object| object.truncate(20));
    fleet.drain(1);
    assert_eq!(fleet.queue.dead().len(), 1);
    let failure = &fleet.store.files()[&layout::failure("r", &run_key(&fleet))];
    let failure: serde_json::Value = serde_json::from_slice(failure).unwrap();
    assert_eq!((&failure["attempts"], &failure["verdict"]), (&1.into(), &"permanent".into()));
    assert_eq!(fleet.report(&run).state, ReportState::Failed);
}

fn run_key(fleet: &Fleet) -> String {
    fleet.source.0.keys().next().unwrap().clone()
}

#[test]
fn messages_that_are_no_tasks_reach_the_dead_letters_and_nothing_else_is_lost() {
    let fleet = Fleet::new(4);
    let run = fleet.begin("r", "");
    let odd = [
        "",
        "{",
        "[]",
        r#"{"v":2}"#,
        r#"{"v":1,"run":"../..","bucket":"logs","key":"k","size":0,"etag":""}"#,
    ];
    for body in odd {
        let body = body.to_owned();
        fleet
            .queue
            .send(&[Outgoing { group: format!("odd {body}"), deduplication: body.clone(), body }])
            .unwrap();
    }
    fleet.drain(2);
    assert_eq!(fleet.queue.dead().len(), odd.len());
    assert_eq!(fleet.report(&run).state, ReportState::Done);
}

#[test]
fn a_task_of_another_bucket_is_refused_and_named() {
    let fleet = Fleet::new(1);
    let run = fleet.begin("r", "");
    let object = fleet.source.entry(&run_key(&fleet));
    fleet.drain(1);
    let other = Task { run: "r".to_owned(), bucket: "secrets".to_owned(), object };
    assert!(fleet.queue.purge().is_ok());
    fleet.queue.advance(Duration::from_mins(2));
    fleet
        .queue
        .send(&[Outgoing { body: other.body(), group: other.group(), deduplication: other.deduplication() }])
        .unwrap();
    fleet.drain(1);
    // Also where an object of the same name in the right bucket is done, and without a stain on it.
    assert_eq!((fleet.report(&run).state, fleet.queue.dead().len()), (ReportState::Done, 1));
    let refused = &fleet.store.files()[&layout::failure("r", &run_key(&fleet))];
    assert!(String::from_utf8_lossy(refused).contains("secrets"));
}

#[test]
fn a_worker_with_other_rules_touches_nothing() {
    let mut fleet = Fleet::new(2);
    let run = fleet.begin("r", "");
    fleet.plan.config = flowherd_shared::config::Config::parse("[limits]\nmax_layers = 1\n").unwrap();
    fleet.drain(1);
    let report = fleet.report(&run);
    assert_eq!((report.objects.failed, fleet.results().len()), (2, 0));
    assert!(report.failures[0].error.contains("rules or lookups are not those of the run"), "{report:?}");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let mut fleet = Fleet::new(9);
    fleet.source.0.extend(
        Fleet::new(7).source.0.into_iter().map(|(key, object)| (key.replace("firehose", "other"), object)),
    );
    let (one, two) = (fleet.begin("one", "firehose/"), fleet.begin("two", "other/"));
    fleet.drain(3);
    assert_eq!((fleet.report(&one).objects.done, fleet.report(&two).objects.done), (9, 7));
    assert_eq!((fleet.report(&one).state, fleet.report(&two).state), (ReportState::Done, ReportState::Done));
}

#[test]
fn a_purged_run_is_missing_its_objects_and_a_new_one_within_five_minutes_is_done() {
    let fleet = Fleet::new(6);
    let first = fleet.begin("first", "");
    // A worker of the first run is still at it when the queue is purged.
    let stale = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    fleet.queue.purge().unwrap();
    assert!(matches!(fleet.queue.purge(), Err(flowherd_shared::queue::PurgeError::InProgress)));
    fleet.queue.advance(Duration::from_mins(1));
    let second = fleet.begin("second", "");
    fleet.tasks(&fleet.source).answer(&stale);
    fleet.drain(2);
    assert_eq!(fleet.report(&second).state, ReportState::Done);
    let report = fleet.report(&first);
    assert_eq!(
        (report.state, report.objects.missing),
        (ReportState::Incomplete, 5),
        "a stale worker did one"
    );
}

#[test]
fn lost_answers_of_the_queue_cost_only_time() {
    let fleet = Fleet::new(15);
    fleet.queue.set_faults(Faults { send_fails_every: Some(3), ..Faults::default() });
    let run = fleet.begin("r", "");
    fleet.drain(2);
    assert_eq!(fleet.report(&run).state, ReportState::Done);
}
