//! Coordinator, queue and workers on the fakes.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    drive::Host,
    error::CoordinatorError,
    options::RunOptions,
    state::{Operation, RunState},
};
use flowherd_shared::{
    ledger::{Report, layout},
    queue::{Queue, QueueDepth},
    store::{Source, StoreError},
};
use flowherd_tests::{
    fake::{MemoryQueue, MemorySource, MemoryStore, QueueSettings},
    objects::{FLOW, envelope, event, gzip},
};
use flowherd_worker::handler::MessageHandler;
use jiff::{SignedDuration, Timestamp};

pub(super) const BUCKET: &str = "logs";
pub(super) const SETTLE: Duration = Duration::from_mins(2);
/// Start of the store's clock: 2026-02-18, from the epoch.
pub(super) const START: Duration = Duration::from_hours(492_048);

/// A fleet in memory. Its clock is the queue's.
pub(super) struct Fleet {
    pub(super) source: MemorySource,
    pub(super) store: MemoryStore,
    pub(super) queue: MemoryQueue,
    /// `false` for a fleet with driver map. Its queue is only the clock then.
    pub(super) has_queue: bool,
    pub(super) settings: QueueSettings,
    pub(super) max_keys: u64,
    pub(super) results_bucket: &'static str,
    /// Difference between the clock of the coordinator's machine and the store's clock.
    pub(super) skew: Mutex<SignedDuration>,
    /// `flowherd.toml` and `names.json` of new runs.
    pub(super) inputs: Mutex<Inputs>,
    /// Errors of operations that were retried.
    pub(super) step_errors: Mutex<Vec<String>>,
    /// Pages after which a command would have renewed its time limit.
    pub(super) renewals: AtomicU64,
}

pub(super) type TwinCoordinator<'a> = Coordinator<'a, MemorySource, MemoryStore, MemoryQueue>;

impl Fleet {
    pub(super) fn new(objects: usize) -> Self {
        let settings = QueueSettings::default();
        let (store, queue) = (MemoryStore::default(), MemoryQueue::new(settings));
        let clock = queue.clone();
        store.set_clock(move || START + clock.now());
        Self {
            source: (0..objects).map(|number| object("firehose", number)).collect(),
            store,
            queue,
            has_queue: true,
            settings,
            max_keys: 10_000,
            results_bucket: "results",
            skew: Mutex::default(),
            inputs: Mutex::default(),
            step_errors: Mutex::default(),
            renewals: AtomicU64::default(),
        }
    }

    pub(super) fn coordinate<T>(&self, work: impl FnOnce(&TwinCoordinator<'_>) -> T) -> T {
        let inputs = || Ok(self.inputs.lock().unwrap().clone());
        let clock = || {
            let now = Timestamp::try_from(SystemTime::UNIX_EPOCH + START + self.queue.now()).unwrap();
            now + *self.skew.lock().unwrap()
        };
        work(&Coordinator {
            fleet: "main",
            source: &self.source,
            bucket: BUCKET,
            results_bucket: self.results_bucket,
            results: &self.store,
            queue: self.has_queue.then_some(&self.queue),
            dead_letters: self.has_queue.then_some(&self.queue.dead_letters()),
            index: None,
            inputs: &inputs,
            settle: SETTLE,
            time_limit: Duration::from_hours(24),
            max_keys: self.max_keys,
            clock: &clock,
            pause: &|_| {},
            on_page: &|| _ = self.renewals.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Begins a run.
    pub(super) fn begin(&self, run: &str, prefix: &str) -> RunState {
        let (run, prefix) = (Some(run.to_owned()), Some(prefix.to_owned()));
        let options = RunOptions { run, prefix, ..RunOptions::default() };
        self.coordinate(|coordinator| coordinator.begin(&options)).unwrap()
    }

    /// Begins a run and plans all of it.
    pub(super) fn plan(&self, run: &str, prefix: &str) -> RunState {
        self.drive(self.begin(run, prefix), |state| matches!(state.operation, Operation::Plan(_)))
    }

    /// Drives a run as the step loop does, while `should_continue` returns `true`: waits before each operation, and repeats
    /// it if it fails.
    pub(super) fn drive(&self, mut state: RunState, should_continue: impl Fn(&RunState) -> bool) -> RunState {
        let mut clock = Clock { fleet: self, should_continue };
        match self.coordinate(|coordinator| coordinator.drive(&mut state, &mut clock)) {
            Ok(()) => state,
            Err(error) => panic!("{}", error.on_one_line()),
        }
    }

    /// Drives a run to its end, with workers that drain the queue before each check.
    pub(super) fn finish(&self, state: RunState) -> Report {
        let state = self.drive(state, |state| {
            if matches!(state.operation, Operation::Check(_)) {
                self.drain(2);
            }
            true
        });
        let report = &self.store.files()[&layout::report(&state.run)];
        serde_json::from_slice(report).unwrap()
    }

    pub(super) fn handler<'a, S: Source>(
        &'a self,
        source: &'a S,
    ) -> MessageHandler<'a, S, MemoryStore, MemoryQueue> {
        let mut handler =
            MessageHandler::new((BUCKET, source), &self.store, (&self.queue, self.settings.visibility));
        handler.sleep = |_| {};
        handler.max_deliveries = Some(self.settings.max_deliveries);
        handler
    }

    /// Runs workers in parallel until the queue is empty.
    pub(super) fn drain(&self, workers: usize) {
        let handler = self.handler(&self.source);
        let is_left = || self.queue.depth().map_or(true, |depth| depth != QueueDepth::default());
        std::thread::scope(|scope| {
            (0..workers)
                .for_each(|_| _ = scope.spawn(|| handler.poll(&is_left, &|| ControlFlow::Continue(()))));
        });
    }

    pub(super) fn results(&self) -> Vec<(String, Vec<u8>)> {
        let is_output = |path: &String| path.starts_with("csv/") || path.starts_with("rejects/");
        self.store.files().into_iter().filter(|(path, _)| is_output(path)).collect()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.store.files().contains_key(path)
    }
}

/// Drives a run by the clock of the queue.
struct Clock<'a, F> {
    fleet: &'a Fleet,
    should_continue: F,
}

impl<F: Fn(&RunState) -> bool> Host for Clock<'_, F> {
    fn before(&mut self, state: &mut RunState) -> ControlFlow<()> {
        if !(self.should_continue)(state) {
            return ControlFlow::Break(());
        }
        self.fleet.queue.advance(Duration::from_secs(state.wait_seconds));
        ControlFlow::Continue(())
    }

    fn should_continue(&self) -> bool {
        false
    }

    fn failed(&mut self, error: &CoordinatorError, _failures: u32) -> ControlFlow<()> {
        self.fleet.step_errors.lock().unwrap().push(error.to_string());
        ControlFlow::Continue(())
    }
}

/// Returns whether no page is planned yet.
pub(super) fn has_planned_nothing(state: &RunState) -> bool {
    match &state.operation {
        Operation::Purge(_) => true,
        Operation::Plan(planning) => planning.totals.objects == 0,
        _ => false,
    }
}

/// An object with `number % 5` records.
pub(super) fn object(prefix: &str, number: usize) -> (String, Vec<u8>) {
    let events = vec![event(1, FLOW); number % 5];
    (format!("{prefix}/{number:03} +%ü"), gzip(envelope("g", &events).as_bytes()))
}

/// A source whose first bodies are damaged in transit.
pub(super) struct Flaky<'a> {
    pub(super) source: &'a MemorySource,
    pub(super) failures_left: Mutex<u32>,
    pub(super) damage: Damage,
}

/// A fault of a body.
#[derive(Clone, Copy)]
pub(super) enum Damage {
    /// The connection breaks in the middle.
    Broken,
    /// A byte is changed. The checksum at the end detects it.
    Changed,
    /// Access is denied.
    Denied,
}

impl Source for Flaky<'_> {
    type Body = Box<dyn io::Read + Send>;

    fn open(&self, object: &flowherd_shared::ledger::ManifestEntry) -> Result<Self::Body, StoreError> {
        struct Failing(io::ErrorKind);
        impl io::Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
        }
        let mut body = self.source.open(object)?;
        let mut failures = self.failures_left.lock().unwrap();
        if *failures == 0 {
            return Ok(Box::new(body));
        }
        *failures -= 1;
        let half = object.size / 2;
        Ok(match self.damage {
            Damage::Denied => return Err(StoreError::AccessDenied("injected: permission denied".into())),
            Damage::Broken => {
                Box::new(io::Read::chain(io::Read::take(body, half), Failing(io::ErrorKind::ConnectionReset)))
            }
            Damage::Changed => {
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut body, &mut bytes)?;
                bytes[usize::try_from(half).unwrap()] ^= 0xff;
                Box::new(io::Read::chain(io::Cursor::new(bytes), Failing(io::ErrorKind::InvalidData)))
            }
        })
    }

    fn head(&self, key: &str) -> Result<Option<flowherd_shared::ledger::ManifestEntry>, StoreError> {
        self.source.head(key)
    }
}
