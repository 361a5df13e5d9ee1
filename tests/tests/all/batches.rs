//! Messages that are received together, on the fakes: the function's time limit, objects that end the process, and the number
//! of requests.
//!
//! Time is virtual: reading an object moves the clock of the queue, which is also the worker's.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::sqs::SqsMessage;
use flowherd_shared::{
    ledger::{Failure, ManifestEntry, ReportState, layout},
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::{Source, Store, StoreError},
    task::Task,
};
use flowherd_tests::{
    fake::{EPOCH_MS, Faults, MemoryQueue, MemorySource, Pace, Paced, Process, QueueSettings},
    local_cloud::LocalCloud,
};
use flowherd_worker::{
    handler::{Disposition, MessageHandler},
    lambda::batch,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    delivery::counts,
    fleet::{BUCKET, Damage, Flaky, Fleet, START},
    functions::receive_as_lambda,
};

const TIMEOUT: SignedDuration = SignedDuration::from_secs(300);
/// As in the stack: six times the function's timeout, and ten deliveries.
const SETTINGS: QueueSettings = QueueSettings { visibility: Duration::from_mins(30), max_deliveries: 10 };
/// Number of reads of a body.
const PORTIONS: u32 = 20;

fn fleet(objects: usize) -> Fleet {
    let queue = MemoryQueue::new(SETTINGS);
    let clock = queue.clone();
    let fleet = Fleet { queue, settings: SETTINGS, ..Fleet::new(objects) };
    fleet.store.set_clock(move || START + clock.now());
    fleet
}

fn now(queue: &MemoryQueue) -> Timestamp {
    Timestamp::from_millisecond(EPOCH_MS).unwrap() + queue.now()
}

/// Objects that take time, and some that end the process that opens them.
struct Objects<'a> {
    source: &'a MemorySource,
    /// Advances the clock.
    pass: &'a (dyn Fn(Duration) + Sync),
    time: Duration,
    killers: &'a [String],
    process: &'a Process,
    /// Number of attempts by key.
    opened: &'a Mutex<BTreeMap<String, u32>>,
}

struct Body<'a> {
    bytes: Cursor<Vec<u8>>,
    pass: &'a (dyn Fn(Duration) + Sync),
    time: Duration,
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let portion = self.bytes.get_ref().len() / PORTIONS as usize + 1;
        let limit = out.len().min(portion);
        let read = self.bytes.read(&mut out[..limit])?;
        if read > 0 {
            (self.pass)(self.time / PORTIONS);
        }
        Ok(read)
    }
}

impl<'a> Source for Objects<'a> {
    type Body = Body<'a>;

    fn open(&self, object: &ManifestEntry) -> Result<Body<'a>, StoreError> {
        *self.opened.lock().unwrap().entry(object.key.clone()).or_default() += 1;
        if self.killers.contains(&object.key) {
            self.process.kill();
        }
        Ok(Body { bytes: self.source.open(object)?, pass: self.pass, time: self.time })
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        self.source.head(key)
    }
}

/// The queue for an invocation that began when the clock of the queue stopped.
struct Later<'a> {
    queue: &'a MemoryQueue,
    elapsed: &'a AtomicU64,
}

impl Queue for Later<'_> {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        self.queue.send(batch)
    }

    fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        self.queue.receive(limit, wait)
    }

    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        self.queue.delete_batch(handles)
    }

    fn change_visibility_batch(
        &self,
        changes: &[(&str, Duration)],
    ) -> Result<Vec<RejectedEntry>, QueueError> {
        let elapsed = Duration::from_millis(self.elapsed.load(Ordering::Relaxed));
        let changes: Vec<(&str, Duration)> =
            changes.iter().map(|(handle, time)| (*handle, *time + elapsed)).collect();
        self.queue.change_visibility_batch(&changes)
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        self.queue.depth()
    }

    fn purge(&self) -> Result<(), PurgeError> {
        self.queue.purge()
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        self.queue.redrive()
    }
}

/// Result of a simulation.
struct Simulated {
    /// Keys of the dead-letter messages.
    dead: Vec<String>,
    opened: BTreeMap<String, u32>,
}

/// Runs functions until the queue is empty, up to `concurrency` at the same time.
fn simulate(fleet: &Fleet, time: Duration, killers: &[String], concurrency: usize) -> Simulated {
    let opened = Mutex::default();
    // The time of each function's next receive. The queue has the results of one invocation before the next receive.
    let mut free_at = vec![fleet.queue.now(); concurrency];
    for number in 0.. {
        assert!(number < 100_000, "the queue never empties");
        let next = free_at.iter_mut().min().unwrap();
        fleet.queue.advance(next.saturating_sub(fleet.queue.now()));
        let messages = receive_as_lambda(fleet);
        if messages.is_empty() && fleet.queue.bodies().is_empty() {
            break;
        }
        *next += if messages.is_empty() {
            Duration::from_secs(5)
        } else {
            invoke(fleet, messages, time, killers, &opened)
        };
    }
    let key = |body: &String| Task::parse(body).unwrap().object.key;
    let mut dead: Vec<String> = fleet.queue.dead().iter().map(key).collect();
    dead.sort();
    Simulated { dead, opened: opened.into_inner().unwrap() }
}

/// Runs one invocation and returns its duration.
fn invoke(
    fleet: &Fleet,
    messages: Vec<SqsMessage>,
    time: Duration,
    killers: &[String],
    opened: &Mutex<BTreeMap<String, u32>>,
) -> Duration {
    let process = Process::new("invocation".to_owned(), Pace::Whole, Arc::new(|_, _, _| {}));
    let receipt_handles: BTreeMap<String, String> = messages
        .iter()
        .map(|message| (message.message_id.clone().unwrap(), message.receipt_handle.clone().unwrap()))
        .collect();
    let elapsed = AtomicU64::new(0);
    let pass = |time: Duration| {
        elapsed.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    };
    let clock = || now(&fleet.queue) + Duration::from_millis(elapsed.load(Ordering::Relaxed));
    let source = Objects { source: &fleet.source, pass: &pass, time, killers, process: &process, opened };
    let later = Later { queue: &fleet.queue, elapsed: &elapsed };
    let (store, queue) = (Paced::new(&fleet.store, &process), Paced::new(&later, &process));
    let mut handler = MessageHandler::new((BUCKET, &source), &store, (&queue, Duration::from_hours(12)));
    handler.sleep = |_| {};
    handler.clock = &clock;
    handler.max_deliveries = Some(SETTINGS.max_deliveries);
    handler.deletes_messages = false;
    let response = batch(&handler, messages, clock() + TIMEOUT, 1).unwrap();
    // If the process ends, Lambda gets no response and deletes no message.
    if !process.is_dead() {
        let failed: Vec<&String> =
            response.batch_item_failures.iter().map(|failure| &failure.item_identifier).collect();
        for (_, handle) in receipt_handles.iter().filter(|(id, _)| !failed.contains(id)) {
            fleet.queue.delete(handle).unwrap();
        }
    }
    Duration::from_millis(elapsed.into_inner())
}

#[test]
fn no_object_is_a_dead_letter_because_its_batches_ran_out_of_time() {
    // Objects of 1.5 GB take 140 s each. In 300 s, two of a batch of ten are done, and a third is started.
    let fleets = [(140, 1, 1), (140, 20, 2), (140, 20, 3), (90, 10, 4), (40, 5, 5), (5, 20, 6)];
    for (seconds, concurrency, seed) in fleets {
        let fleet = fleet(400);
        fleet.queue.set_faults(Faults { shuffles_partitions: Some(seed), ..Faults::default() });
        let step = fleet.plan("r", "");
        let Simulated { dead, .. } = simulate(&fleet, Duration::from_secs(seconds), &[], concurrency);
        assert_eq!(dead, [""; 0], "{seconds} s an object, {concurrency} at once");
        assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 400, 0, 0));
    }
}

#[test]
fn an_object_that_ends_the_process_is_named_and_no_other_object_becomes_a_dead_letter() {
    for (objects, killers, seed) in
        [(10, 1, None), (10, 3, None), (60, 3, Some(1)), (60, 6, Some(2)), (11, 2, Some(3))]
    {
        let fleet = fleet(objects);
        fleet.queue.set_faults(Faults { shuffles_partitions: seed, ..Faults::default() });
        let step = fleet.plan("r", "");
        let killers: Vec<String> =
            fleet.source.keys().into_iter().step_by(objects / killers).take(killers).collect();
        let Simulated { dead, opened } = simulate(&fleet, Duration::from_secs(1), &killers, 1);
        assert_eq!(dead, killers, "{objects} objects, seed {seed:?}");
        // Suspects take turns: each was attempted again after it had ended a process.
        assert!(killers.iter().all(|key| opened[key] >= 2), "{opened:?}");
        for key in &killers {
            let failure = fleet.store.get(&layout::failure("r", key)).unwrap().unwrap();
            let failure: Failure = serde_json::from_slice(&failure).unwrap();
            assert!(failure.unfinished && failure.error().contains("did not report its end"), "{failure:?}");
        }
        let report = fleet.finish(step);
        let (done, failed) = ((objects - killers.len()) as u64, killers.len() as u64);
        assert_eq!(counts(&report), (ReportState::Failed, done, failed, 0));
    }
}

/// Makes one message of the queue a suspect: on its third delivery, after an attempt that did not end. Returns its key.
fn make_a_suspect(fleet: &Fleet) -> String {
    let mut key = String::new();
    for _ in 0..2 {
        let message = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
        fleet.queue.change_visibility(&message.handle, Duration::ZERO).unwrap();
        let task = Task::parse(&message.body).unwrap();
        key.clone_from(&task.object.key);
        let note = serde_json::json!({
            "run": "r", "key": key, "size": task.object.size, "etag": task.object.etag, "config_hash": "", "names_hash": "",
            "errors": ["it did not end"], "verdict": "retry", "attempts": 1, "finished": "", "message_id": message.id,
            "unfinished": true,
        });
        fleet.store.put(&layout::failure("r", &key), note.to_string().as_bytes()).unwrap();
    }
    key
}

/// Records the number of messages in flight when one object is opened.
struct Watched<'a> {
    fleet: &'a Fleet,
    key: String,
    in_flight: Mutex<Vec<u64>>,
}

impl Source for Watched<'_> {
    type Body = Cursor<Vec<u8>>;

    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError> {
        if object.key == self.key {
            self.in_flight.lock().unwrap().push(self.fleet.queue.depth().unwrap().in_flight);
        }
        self.fleet.source.open(object)
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        self.fleet.source.head(key)
    }
}

#[test]
fn a_suspect_begins_when_its_process_has_no_other_message_in_flight() {
    let fleet = fleet(120);
    let step = fleet.plan("r", "");
    let key = make_a_suspect(&fleet);
    let source = Watched { fleet: &fleet, key, in_flight: Mutex::default() };
    let handler = fleet.handler(&source);
    let is_left = || !fleet.queue.bodies().is_empty();
    std::thread::scope(|scope| {
        (0..4).for_each(|_| _ = scope.spawn(|| handler.poll(&is_left, &|| ControlFlow::Continue(()))));
    });
    assert_eq!(*source.in_flight.lock().unwrap(), [1], "the suspect alone");
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 120, 0, 0));
}

#[test]
fn a_poller_makes_about_a_fifth_of_a_request_for_each_object() {
    let fleet = fleet(500);
    let step = fleet.plan("r", "");
    let handler = fleet.handler(&fleet.source);
    let before = fleet.queue.requests().sum();
    handler.poll(&|| !fleet.queue.bodies().is_empty(), &|| ControlFlow::Continue(()));
    // The first receive requests one message, the others ten. Each has one batch of deletions.
    assert_eq!(fleet.queue.requests().sum() - before, 2 * (1 + 499_u64.div_ceil(10)));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 500, 0, 0));
}

#[test]
fn a_poller_of_slow_objects_holds_one_message_at_a_time() {
    let fleet = fleet(12);
    let step = fleet.plan("r", "");
    let (process, opened) =
        (Process::new("p".to_owned(), Pace::Whole, Arc::new(|_, _, _| {})), Mutex::default());
    let time = Duration::from_mins(2);
    let pass = |time| fleet.queue.advance(time);
    let source = Objects {
        source: &fleet.source,
        pass: &pass,
        time,
        killers: &[],
        process: &process,
        opened: &opened,
    };
    let mut handler = fleet.handler(&source);
    let clock = || now(&fleet.queue);
    handler.clock = &clock;
    let peak = AtomicU32::new(0);
    handler.poll(&|| !fleet.queue.bodies().is_empty(), &|| {
        let in_flight = u32::try_from(fleet.queue.depth().unwrap().in_flight).unwrap();
        peak.fetch_max(in_flight, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert_eq!(peak.into_inner(), 1, "the worker has more than one message in flight");
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 12, 0, 0));
}

#[test]
fn messages_that_were_not_started_are_returned_at_once_when_a_poller_stops() {
    let fleet = fleet(30);
    let step = fleet.plan("r", "");
    let handler = fleet.handler(&fleet.source);
    let done = || fleet.store.files().keys().filter(|path| path.contains("/receipts/")).count();
    handler.poll(&|| done() < 4, &|| ControlFlow::Continue(()));
    // One object of the first receive and three of the second are done. The other seven messages are returned.
    let depth = fleet.queue.depth().unwrap();
    assert_eq!((done(), depth.visible, depth.in_flight), (4, 26, 0));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 30, 0, 0));
}

#[test]
fn only_the_deletions_that_a_batch_rejects_are_retried() {
    let fleet = fleet(10);
    let step = fleet.plan("r", "");
    fleet.queue.set_faults(Faults { deletions_to_reject: 2, ..Faults::default() });
    let messages = fleet.queue.receive(10, Duration::ZERO).unwrap();
    let answers = fleet.handler(&fleet.source).batch(messages, 1, &|| true, &|| ControlFlow::Continue(()));
    assert_eq!(answers, [Some(Disposition::Ack); 10]);
    assert_eq!((fleet.queue.bodies().len(), fleet.queue.requests().deletes), (0, 3));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 10, 0, 0));
}

/// Sends batches in which one handle is valid and one is not.
fn check_batches(queue: &impl Queue) {
    let message = |name: &str| NewMessage {
        body: name.to_owned(),
        group: name.to_owned(),
        deduplication: name.to_owned(),
    };
    assert_eq!(queue.send(&["a", "b", "c"].map(message)).unwrap(), []);
    let received = queue.receive(10, Duration::ZERO).unwrap();
    let mut handles: Vec<&str> = received.iter().map(|message| message.handle.as_str()).collect();
    queue.delete(handles[1]).unwrap();
    let changes: Vec<(&str, Duration)> = handles.iter().map(|handle| (*handle, Duration::ZERO)).collect();
    let refused = queue.change_visibility_batch(&changes).unwrap();
    assert_eq!(refused.iter().map(|refused| refused.position).collect::<Vec<_>>(), [1], "{refused:?}");
    // Messages that are returned at once are received at once.
    let again = queue.receive(10, Duration::ZERO).unwrap();
    assert_eq!(again.len(), 2);
    handles = again.iter().map(|message| message.handle.as_str()).collect();
    assert_eq!(queue.delete_batch(&handles).unwrap(), []);
    assert_eq!(queue.depth().unwrap(), QueueDepth::default());
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_batch_reports_only_the_entries_that_the_queue_rejected() {
    check_batches(&MemoryQueue::new(SETTINGS));
    let cloud = LocalCloud::start();
    check_batches(&cloud.queue("q", SETTINGS.visibility, SETTINGS.max_deliveries).0);
}

/// Two runs of the same object, whose messages are received together.
fn two_runs_of_one_object(fleet: &Fleet) -> Vec<SqsMessage> {
    fleet.plan("old", "");
    fleet.plan("new", "");
    let messages = receive_as_lambda(fleet);
    assert_eq!(messages.len(), 2);
    messages
}

#[test]
fn later_messages_of_a_group_are_returned_in_order_after_one_that_is_retried() {
    let fleet = fleet(1);
    let flaky = Flaky { source: &fleet.source, failures_left: Mutex::new(1), damage: Damage::Broken };
    let messages = two_runs_of_one_object(&fleet);
    let ids: Vec<String> = messages.iter().map(|message| message.message_id.clone().unwrap()).collect();
    let mut handler = fleet.handler(&flaky);
    handler.deletes_messages = false;
    let response = batch(&handler, messages, Timestamp::now() + TIMEOUT, 2).unwrap();
    let failed: Vec<String> =
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
    assert_eq!(failed, ids);
    assert_eq!(fleet.results(), [], "the newer run is done before the older one's next attempt");
    fleet.queue.advance(Duration::from_secs(10));
    let again: Vec<String> =
        fleet.queue.receive(10, Duration::ZERO).unwrap().into_iter().map(|message| message.id).collect();
    assert_eq!(again, ids);
}

#[test]
fn later_messages_of_a_group_are_processed_after_one_that_failed_permanently() {
    let fleet = fleet(1);
    fleet.plan("old", "");
    // The object was replaced, so the older run fails permanently. Its message must not delay the newer one.
    let key = fleet.source.keys().remove(0);
    fleet.source.put(&key, super::fleet::object("firehose", 3).1);
    let step = fleet.plan("new", "");
    let messages = receive_as_lambda(&fleet);
    let mut handler = fleet.handler(&fleet.source);
    handler.deletes_messages = false;
    let response = batch(&handler, messages, Timestamp::now() + TIMEOUT, 2).unwrap();
    assert_eq!(response.batch_item_failures.len(), 1);
    // SQS would redeliver messages that Lambda deletes later.
    fleet.queue.advance(SETTINGS.visibility);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
}

#[test]
fn a_message_on_its_last_delivery_is_attempted_even_after_a_retried_one_of_its_group() {
    let fleet = fleet(1);
    let flaky = Flaky { source: &fleet.source, failures_left: Mutex::new(99), damage: Damage::Broken };
    two_runs_of_one_object(&fleet);
    for _ in 1..SETTINGS.max_deliveries {
        fleet.queue.advance(SETTINGS.visibility);
        let messages = fleet.queue.receive(10, Duration::ZERO).unwrap();
        fleet.handler(&flaky).batch(messages, 1, &|| true, &|| ControlFlow::Continue(()));
    }
    let of_new = fleet.store.files().into_iter().filter(|(path, _)| path.starts_with("runs/new/failures/"));
    assert_eq!(of_new.count(), 1, "the last delivery has no attempt");
}

#[test]
fn when_a_thread_panics_every_message_not_known_to_be_done_is_returned() {
    let fleet = fleet(10);
    let step = fleet.plan("r", "");
    let messages = receive_as_lambda(&fleet);
    let done = || fleet.store.files().keys().filter(|path| path.contains("/receipts/")).count();
    // Panics both during an attempt and outside of one.
    let panics = AtomicU32::new(0);
    let clock = || {
        assert!(done() < 4 || panics.fetch_add(1, Ordering::Relaxed) >= 2, "a bug");
        Timestamp::now()
    };
    let mut handler = fleet.handler(&fleet.source);
    handler.clock = &clock;
    handler.deletes_messages = false;
    let bodies: BTreeMap<String, String> = messages
        .iter()
        .map(|message| (message.message_id.clone().unwrap(), message.body.clone().unwrap()))
        .collect();
    let response = batch(&handler, messages, Timestamp::now() + TIMEOUT, 1).unwrap();
    let mut acknowledged = bodies;
    for failure in &response.batch_item_failures {
        acknowledged.remove(&failure.item_identifier).unwrap();
    }
    assert_eq!(acknowledged.len(), 3, "{response:?}");
    for body in acknowledged.values() {
        let key = Task::parse(body).unwrap().object.key;
        assert!(fleet.has(&layout::receipt("r", &key)), "{key} is acknowledged, but not done");
    }
    fleet.queue.advance(SETTINGS.visibility);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 10, 0, 0));
}
