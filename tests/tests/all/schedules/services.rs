//! The services that the processes of a schedule share, and their work.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    state::RunState,
};
use flowherd_shared::{ledger::Receipt, queue::Queue, store::Store, task::Task};
use flowherd_tests::fake::{MemoryQueue, MemorySource, MemoryStore, Paced, Process, QueueSettings, Watch};
use flowherd_worker::handler::MessageHandler;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::fleet::{BUCKET, SETTLE, START},
    truth,
};

/// Shorter than a process may wait, so that messages are redelivered while a process still handles them.
const VISIBILITY: Duration = Duration::from_secs(30);
const SETTINGS: QueueSettings = QueueSettings { visibility: VISIBILITY, max_deliveries: 4 };

/// The services that all processes share.
pub(super) struct Services {
    pub(super) source: MemorySource,
    pub(super) store: MemoryStore,
    pub(super) queue: MemoryQueue,
    /// All calls and events, as lines.
    trace: Mutex<Vec<String>>,
    pub(super) violations: Mutex<Vec<String>>,
}

pub(super) type FakePorts<'a> =
    Coordinator<'a, Paced<'a, MemorySource>, Paced<'a, MemoryStore>, Paced<'a, MemoryQueue>>;

impl Services {
    /// Creates the services. With `versions`, each write of the same bytes has another version.
    pub(super) fn new(versions: bool) -> Arc<Self> {
        let store = MemoryStore::default();
        if versions {
            store.version_each_write();
        }
        let queue = MemoryQueue::new(SETTINGS);
        let clock = queue.clone();
        store.set_clock(move || START + clock.now());
        Arc::new(Self {
            source: MemorySource::default(),
            store,
            queue,
            trace: Mutex::default(),
            violations: Mutex::default(),
        })
    }

    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        let services = Arc::downgrade(self);
        Arc::new(move |who, what, bytes| {
            let Some(services) = services.upgrade() else { return };
            services.trace.lock().unwrap().push(format!("{who}: {what}"));
            if what.starts_with("put runs/") && what.contains("/receipts/") {
                let receipt: Receipt = serde_json::from_slice(bytes).unwrap();
                let gone =
                    receipt.outputs.iter().find(|output| services.store.get(&output.path).unwrap().is_none());
                // Another worker on the object may have removed the output meanwhile.
                let is_sole_owner =
                    services.trace.lock().unwrap().iter().all(|line| !line.contains(": remove csv/"));
                if let Some(gone) = gone.filter(|_| is_sole_owner) {
                    services.violate(format!("{who} writes a receipt before {} exists", gone.path));
                }
            }
        })
    }

    pub(super) fn violate(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub(super) fn record(&self, what: String) {
        self.trace.lock().unwrap().push(what);
    }

    pub(super) fn trace(&self) -> String {
        self.trace.lock().unwrap().join("\n")
    }

    fn commits(&self, process: &Process) -> usize {
        let its = format!("{}: commit ", process.name());
        self.trace.lock().unwrap().iter().filter(|line| line.starts_with(&its)).count()
    }

    /// Returns the time on a process's machine, whose clock is wrong by up to 15 minutes.
    pub(super) fn now(&self, process: &Process) -> Timestamp {
        let sum: i64 = process.name().bytes().map(i64::from).sum();
        let now = Timestamp::try_from(SystemTime::UNIX_EPOCH + START + self.queue.now()).unwrap();
        now + SignedDuration::from_secs(sum * 97 % 1800 - 900)
    }

    pub(super) fn coordinate<T>(&self, process: &Process, work: impl FnOnce(&FakePorts<'_>) -> T) -> T {
        let dead = self.queue.dead_letters();
        let (source, store) = (Paced::new(&self.source, process), Paced::new(&self.store, process));
        let (queue, dead) = (Paced::new(&self.queue, process), Paced::new(&dead, process));
        work(&Coordinator {
            fleet: "main",
            source: &source,
            bucket: BUCKET,
            results_bucket: "results",
            results: &store,
            queue: Some(&queue),
            dead_letters: Some(&dead),
            index: None,
            inputs: &|| Ok(Inputs::default()),
            settle: SETTLE,
            time_limit: Duration::from_hours(24),
            max_keys: u64::MAX,
            clock: &|| self.now(process),
            pause: &|_| {},
            on_page: &|| {},
        })
    }

    /// Receives one message and handles it. `is_only_process`: no other process runs.
    pub(super) fn work(&self, process: &Process, is_only_process: bool) -> Outcome {
        let (source, store) = (Paced::new(&self.source, process), Paced::new(&self.store, process));
        let queue = Paced::new(&self.queue, process);
        let Some(message) = queue.receive(1, Duration::ZERO).unwrap_or_default().pop() else {
            return Outcome::Worked { has_received: false };
        };
        let task = Task::parse(&message.body).unwrap();
        self.record(format!(
            "  the message names {} of {}, delivery {}",
            task.object.key, task.run, message.deliveries
        ));
        let was_done = truth::receipt(&self.store, &task.run, &task.object).is_some();
        let mut handler = MessageHandler::new((BUCKET, &source), &store, (&queue, VISIBILITY));
        handler.sleep = |_| {};
        handler.max_deliveries = Some(SETTINGS.max_deliveries);
        let clock = || self.now(process);
        handler.clock = &clock;
        handler.single(&message, &|| ControlFlow::Continue(()));
        if is_only_process && was_done && self.commits(process) > 0 {
            self.violate(format!("{} of {} is processed again", task.object.key, task.run));
        }
        Outcome::Worked { has_received: true }
    }
}

/// The result of a process.
pub(super) enum Outcome {
    Worked { has_received: bool },
    Stepped(Box<Result<RunState, CoordinatorError>>),
}
